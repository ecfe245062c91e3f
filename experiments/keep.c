// What a run keeps. Contracts in keep.h.
#include "experiments/keep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/checkpoint.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096, METRICS_LIMIT = 1 << 28 };

// A name in the folder, while that is this run's.
static int place(char path[PATH_LENGTH], const struct keep *k, const char *name, struct err *e) {
    if (file_join(path, PATH_LENGTH, k->folder, name, e) != 0) return -1;
    if (!k->lock || !lock_is_lost(k->lock, k->folder)) return 0;
    return err_set(e, "%.300s: this run's folder is gone, and another run writes into the one of its name",
                   k->folder);
}

// --- metrics.jsonl -------------------------------------------------------------------------------------------------

// Keeps the lines of the epochs that the checkpoint has; the others will be made again, and half a line is none.
static int metrics_trim(const struct keep *k, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, k->folder, TRAIN_METRICS, e) != 0) return -1;
    if (k->run->epoch == 0 || !file_exists(path)) return file_write_text(path, "", e);
    size_t size, kept = 0;
    char *text = (char *)file_read_new(&size, path, METRICS_LIMIT, e);
    if (!text) return -1;
    for (char *line = text, *end; (end = memchr(line, '\n', size - (size_t)(line - text))); line = end + 1) {
        struct err ignored;
        struct json *tree = json_parse_new(line, (size_t)(end - line), &ignored);
        const struct json *epoch = json_find(tree, "epoch");
        if (epoch && json_type(epoch) == JSON_NUMBER && json_number(epoch) <= (double)k->run->epoch) {
            memmove(text + kept, line, (size_t)(end + 1 - line));
            kept += (size_t)(end + 1 - line);
        }
        json_free(tree);
    }
    int result = file_write_bytes(path, text, kept, e);
    mem_free(text);
    return result;
}

static void lines_add(struct keep *k, const char *line) {
    char *lines = mem_new(strlen(k->lines) + strlen(line) + 2, 1);
    strcat(strcat(strcpy(lines, k->lines), line), "\n");
    mem_free(k->lines);
    k->lines = lines;
}

static int lines_write(struct keep *k, bool sync, struct err *e) {
    char path[PATH_LENGTH];
    if (place(path, k, TRAIN_METRICS, e) != 0) return -1;
    if (*k->lines && file_append_text(path, k->lines, e) != 0) return -1;
    *k->lines = 0;
    return sync ? file_sync(path, e) : 0;
}

// --- checkpoints ---------------------------------------------------------------------------------------------------

int64_t keep_step_of(const char *name) {
    static const char start[] = "checkpoint-";
    const char *digits = name + sizeof start - 1;
    if (strncmp(name, start, sizeof start - 1) != 0 || *digits < '0' || *digits > '9') return -1;
    char *end;
    long long step = strtoll(digits, &end, 10);
    return strcmp(end, ".safetensors") == 0 ? step : -1;
}

// How old the file of that name is, the smallest number being the oldest: steps that the run has not made yet are what is left
// of one that had come further, and may be damaged. INT64_MAX: it is none that could be removed.
static int64_t age(const struct keep *k, const char *name) {
    int64_t step = keep_step_of(name);
    return step < 0 ? INT64_MAX : step > k->step ? step - INT64_MAX : step;
}

// Removes the oldest of the files with a step in their name while there are more than are kept.
static void older_remove(const struct keep *k) {
    char path[PATH_LENGTH];
    struct err ignored;
    int count = 0;
    char **names = file_names_new(&count, k->folder, &ignored);
    for (int there;;) {
        int oldest = there = 0;
        for (int i = 0; i < count; i++) {
            there += age(k, names[i]) < INT64_MAX;
            if (age(k, names[i]) < age(k, names[oldest])) oldest = i;
        }
        if (there <= k->run->config.train.checkpoint_keep) break;
        if (file_join(path, sizeof path, k->folder, names[oldest], &ignored) == 0) file_remove(path);
        names[oldest][0] = 0; // also when it could not be removed
    }
    for (int i = 0; i < count; i++) mem_free(names[i]);
    mem_free(names);
}

static int checkpoint_write(struct keep *k, struct err *e) {
    char path[PATH_LENGTH], older[PATH_LENGTH], name[64];
    const struct run *r = k->run;
    int result = place(path, k, TRAIN_CHECKPOINT, e);
    if (result == 0) result = lines_write(k, true, e);
    if (result == 0) result = checkpoint_save(r, path, e);
    k->written = log_seconds();
    if (result != 0) return -1;
    k->step = r->step;
    if (r->config.train.checkpoint_keep == 1) return 0;
    snprintf(name, sizeof name, "checkpoint-%lld.safetensors", (long long)r->step);
    if (file_join(older, sizeof older, k->folder, name, e) != 0) return -1;
    if (!file_link(path, older) && checkpoint_save(r, older, e) != 0) return -1;
    older_remove(k);
    return 0;
}

// What is to become small; NAN where nothing was measured.
static double judge(const struct keep *k, struct score s) {
    return k->run->config.train.checkpoint_best == BEST_ERROR ? score_error(s) : score_loss(s);
}

static int best_write(struct keep *k, struct err *e) {
    char path[PATH_LENGTH];
    double here = judge(k, k->run->validation);
    if (k->run->config.train.checkpoint_best == BEST_NONE || !(here < k->best)) return 0;
    if (place(path, k, TRAIN_BEST, e) != 0) return -1;
    if (checkpoint_save(k->run, path, e) != 0) return -1;
    k->best = here;
    return 0;
}

// What the best file of the run so far reached. One that can't be read is no best.
static void best_read(struct keep *k) {
    char path[PATH_LENGTH];
    struct safetensors file;
    struct score score;
    struct err e;
    k->best = INFINITY;
    if (k->run->config.train.checkpoint_best == BEST_NONE || k->run->step == 0) return;
    if (file_join(path, sizeof path, k->folder, TRAIN_BEST, &e) != 0 || !file_exists(path)) return;
    if (checkpoint_open(&file, path, &e) != 0)
        log_warning(k->log, "%s; the best epoch from here on takes its place", e.text);
    else if (checkpoint_validation(&score, &file, k->run, &e) == 0)
        k->best = judge(k, score);
    safetensors_close(&file);
    if (isnan(k->best)) k->best = INFINITY;
}

// --- when ----------------------------------------------------------------------------------------------------------

int keep_open(struct keep *k, const struct run *r, const struct train_options *options, struct log *log,
              struct err *e) {
    *k = (struct keep){.run = r, .folder = options->folder, .lock = options->lock, .log = log};
    k->lines = mem_string_new("");
    k->written = log_seconds();
    k->step = r->step > 0 ? r->step : -1;
    best_read(k);
    return metrics_trim(k, e);
}

void keep_close(struct keep *k) {
    mem_free(k->lines);
    k->lines = NULL;
}

// Adds to the message what can be gone on from; returns -1.
static int intact_add(const struct keep *k, struct err *e) {
    struct err reason = *e;
    if (k->step < 0) return err_set(e, "%.400s; there is no checkpoint", reason.text);
    return err_set(e, "%.400s; the checkpoint of step %lld stays", reason.text, (long long)k->step);
}

// What could not be written is said once for each reason, and again when it worked meanwhile.
static void unwritten_say(struct keep *k, struct err *e) {
    intact_add(k, e);
    if (strcmp(e->text, k->said.text) != 0) log_warning(k->log, "%s, the run goes on", e->text);
    k->said = *e;
}

void keep_step(struct keep *k) {
    double minutes = k->run->config.train.checkpoint_minutes;
    struct err e;
    if (minutes == 0 || log_seconds() - k->written < minutes * 60) return;
    if (checkpoint_write(k, &e) != 0) unwritten_say(k, &e);
}

int keep_epoch(struct keep *k, const char *line, struct err *e) {
    const struct run *r = k->run;
    bool last = r->epoch == r->config.train.epochs;
    bool due = last || r->epoch % r->config.train.checkpoint_every == 0;
    struct err reason;
    lines_add(k, line);
    // The best first: who goes on from the checkpoint has the best of its epochs beside it.
    int best = best_write(k, e), result = due ? checkpoint_write(k, &reason) : lines_write(k, false, &reason);
    if (result != 0) *e = reason;
    if (best != 0) result = -1;
    if (result == 0) return 0;
    if (last) return intact_add(k, e);
    unwritten_say(k, e);
    return 0;
}

int keep_now(struct keep *k, struct err *e) {
    return checkpoint_write(k, e) == 0 ? 0 : intact_add(k, e);
}
