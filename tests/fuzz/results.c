// Target: what `compare`, `report` and `sweep` read back: summary.json, measures.json, metrics.jsonl, histogram.json and
// weights.png of run folders, compare configs, and a sweep's words. Each part of an input is one of these files, by a letter;
// small letters are for one run, capitals for another.
//
// Runs that are taken become a table, files and a page; JSON that is written is read again.
#include "experiments/results.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "experiments/compare.h"
#include "experiments/report.h"
#include "experiments/saved.h"
#include "experiments/sweep.h"
#include "experiments/verdict.h"
#include "src/file.h"
#include "tests/fuzz/fuzz.h"

enum { RUNS = 2, FILES = 6, LIMIT = 1 << 20, WORD = 200, SEEDS = 8, TRIALS = 2 };

static const struct {
    char letter[RUNS];
    const char *name;
} files[FILES] = {{"cC", "config.json"},    {"sS", "summary.json"}, {"lL", "metrics.jsonl"},
                  {"hH", "histogram.json"}, {"wW", "weights.png"},  {"mM", "measures.json"}};

// In place of the C library's: there is no gnuplot, and finding that out takes a process.
int posix_spawnp(pid_t *child, const char *program, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const words[], char *const environment[]) {
    (void)child, (void)program, (void)actions, (void)attributes, (void)words, (void)environment;
    return ENOENT;
}

// The text of a small file as JSON, or NULL.
static struct json *tree_new(const char *folder, const char *name) {
    char path[FUZZ_LONG_PATH];
    struct err ignored;
    return json_load_new(fuzz_join(path, folder, name), LIMIT, &ignored);
}

static void measures_check(const char *folder, const char *name) {
    struct measures m, again;
    struct err e = {""};
    struct json *node = tree_new(folder, name);
    if (node && measures_read(&m, node, "measures.json", &e) == 0) {
        struct json *written = measures_write_new(&m);
        CHECK(measures_read(&again, written, "again", &e) == 0, "%s", e.text);
        const double *was = (const double *)&m, *is = (const double *)&again;
        for (size_t i = 0; i < sizeof m / sizeof *was; i++)
            CHECK(was[i] == is[i] || (isnan(was[i]) && isnan(is[i])), "measure %zu differs", i);
        json_free(written);
    } else if (node) {
        fuzz_check_message(e.text);
    }
    json_free(node);
}

// Standard output goes nowhere.
static void results_show(const struct results *r) {
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY);
    CHECK(kept >= 0 && nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0, "fuzz: no way out");
    results_print(r);
    fflush(stdout);
    CHECK(dup2(kept, STDOUT_FILENO) >= 0, "fuzz: no way back");
    close(kept);
    close(nowhere);
}

static void results_try(const char *folder, const char *const *runs, int count) {
    struct err e = {""};
    struct results *r = results_new("fuzz", runs, count, NULL, &e);
    if (!r) {
        fuzz_check_message(e.text);
        return;
    }
    char path[FUZZ_LONG_PATH], verdicts[VERDICTS][VERDICT_TEXT];
    bool drawn = true;
    verdicts_make(verdicts, r);
    for (int i = 0; i < VERDICTS; i++) fuzz_check_message(verdicts[i]);
    CHECK(results_save(r, fuzz_join(path, folder, "out"), &e) == 0, "%s", e.text);
    struct json *written = results_write_new(r), *again = tree_new(path, "results.json");
    CHECK(again && json_equal(written, again), "results.json is not what was written");
    json_free(written);
    json_free(again);
    results_show(r);
    if (report_write(r, path, &drawn, &e) != 0) fuzz_check_message(e.text);
    results_free(r);
}

static bool compare_is_modest(const struct json *root) {
    const struct json *seeds = root && json_type(root) == JSON_OBJECT ? json_find(root, "seeds") : NULL;
    const struct json *base = root && json_type(root) == JSON_OBJECT ? json_find(root, "base") : NULL;
    bool own = base && json_type(base) == JSON_STRING && !strchr(json_string(base), '/');
    return own && (!seeds || (json_type(seeds) == JSON_NUMBER && json_number(seeds) <= SEEDS));
}

static void compare_try(const char *folder) {
    char path[FUZZ_LONG_PATH];
    struct compare c;
    struct err e = {""};
    struct json *root = tree_new(folder, "compare.json");
    if (compare_is_modest(root)) {
        if (compare_open(&c, fuzz_join(path, folder, "compare.json"), folder, NULL, &e) == 0)
            for (int i = 0; i < c.jobs.count; i++) CHECK(!job_done(&c.jobs.list[i]), "done without a run");
        else
            fuzz_check_message(e.text);
        compare_close(&c);
    }
    json_free(root);
}

// A word as on the command line; and the results of a sweep whose trials are the runs.
static void sweep_try(const char *const *runs, const char *word) {
    struct err e = {""};
    struct sweep s = {0}, fixed = {0};
    for (int random = 0; random < 2; random++) {
        if (sweep_add(&s, word, random, &e) != 0) fuzz_check_message(e.text);
        if (s.count && (random ? sweep_draw(&s, 4, 1, &e) : sweep_grid(&s, &e)) != 0)
            fuzz_check_message(e.text);
        sweep_free(&s);
        s = (struct sweep){0};
    }
    struct jobs jobs = {0};
    CHECK(sweep_add(&fixed, "train.epochs=1,2", false, &e) == 0 && sweep_grid(&fixed, &e) == 0 &&
              fixed.trial_count == TRIALS,
          "%s", e.text);
    for (int i = 0; i < TRIALS; i++) jobs_add(&jobs, runs[i], json_object_new());
    struct json *results = sweep_results_new(&fixed, &jobs);
    char *text = json_print_new(results, true);
    struct json *again = json_parse_new(text, strlen(text), &e);
    CHECK(again && json_equal(results, again), "the sweep's results are not what is written");
    json_free(again);
    mem_free(text);
    json_free(results);
    jobs_free(&jobs);
    sweep_free(&fixed);
}

// The part as the file of its letter; the words of a sweep are kept.
static void part_write(const char *folder, const struct fuzz_part *part, char word[WORD]) {
    for (int i = 0; i < FILES; i++)
        for (int run = 0; run < RUNS; run++) {
            char name[40];
            snprintf(name, sizeof name, "run%d/%s", run, files[i].name);
            if (part->what == (uint8_t)files[i].letter[run])
                fuzz_file_write(folder, name, part->bytes, part->size);
        }
    if (part->what == 'x') fuzz_file_write(folder, "compare.json", part->bytes, part->size);
    if (part->what == 'b') fuzz_file_write(folder, "base.json", part->bytes, part->size);
    if (part->what != 'v') return;
    size_t size = part->size < WORD - 1 ? part->size : WORD - 1;
    memcpy(word, part->bytes, size);
    word[size] = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    const uint8_t *at = input, *end = input + size;
    char folder[FUZZ_PATH], word[WORD] = "optim.rate=1e-3..1e-1:log:3", run[RUNS][FUZZ_LONG_PATH];
    struct fuzz_part part;
    fuzz_folder_open(folder);
    fuzz_file_write(folder, "run0/config.json", "{}", 2);
    fuzz_file_write(folder, "run1/config.json", "{}", 2);
    // measures.json counts only where it is not older than the others: they come first.
    while (fuzz_part_next(&part, &at, end))
        if (part.what != 'm' && part.what != 'M') part_write(folder, &part, word);
    for (at = input; fuzz_part_next(&part, &at, end);)
        if (part.what == 'm' || part.what == 'M') part_write(folder, &part, word);
    const char *const runs[RUNS] = {fuzz_join(run[0], folder, "run0"), fuzz_join(run[1], folder, "run1")};
    measures_check(folder, "run0/measures.json");
    results_try(folder, runs, 1);
    results_try(folder, runs, RUNS);
    compare_try(folder);
    sweep_try(runs, word);
    fuzz_folder_close(folder);
    return 0;
}
