// Sweeps. Contracts in sweep.h.
#include "experiments/sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"
#include "src/rng.h"

enum { CONFIG_LIMIT = 1 << 20, VALUE = 2000, TEXT = 4096, PATH_LENGTH = 4096 };

// --- reading KEY=VALUES -----------------------------------------------------------------------------------------

static int value_add(struct sweep_axis *a, const char *text, size_t length, struct err *e) {
    char value[VALUE];
    if (length == 0) return err_set(e, "an empty value");
    if (length >= sizeof value) return err_set(e, "a value of more than %d bytes", VALUE - 1);
    memcpy(value, text, length);
    value[length] = 0;
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->values[i], value) == 0) return err_set(e, "%.80s is given twice", value);
    if (a->count == SWEEP_RUNS) return err_set(e, "more than %d values", SWEEP_RUNS);
    a->values[a->count++] = mem_string_new(value);
    return 0;
}

// At commas that are outside of brackets and quotes.
static int list_read(struct sweep_axis *a, const char *text, struct err *e) {
    int depth = 0;
    bool quoted = false;
    const char *start = text;
    for (const char *p = text;; p++) {
        if (quoted && *p == '\\' && p[1]) {
            p++;
            continue;
        }
        if (*p == '"') quoted = !quoted;
        if (!quoted && (*p == '[' || *p == '{')) depth++;
        if (!quoted && (*p == ']' || *p == '}')) depth--;
        if (*p && (*p != ',' || quoted || depth > 0)) continue;
        if (value_add(a, start, (size_t)(p - start), e) != 0) return -1;
        if (!*p) return 0;
        start = p + 1;
    }
}

static bool number_read(double *value, const char *text, size_t length) {
    char number[64], *end;
    if (length == 0 || length >= sizeof number || strspn(text, "0123456789+-.eE") < length) return false;
    memcpy(number, text, length);
    number[length] = 0;
    *value = strtod(number, &end);
    return !*end && isfinite(*value);
}

// The points of a range, in six digits: what a run's name says is what it was trained with.
static int points_add(struct sweep_axis *a, int points, struct err *e) {
    for (int i = 0; i < points; i++) {
        double part = (double)i / (points - 1);
        double value = a->log ? exp(log(a->low) + part * (log(a->high) - log(a->low)))
                              : a->low + part * (a->high - a->low);
        char text[32];
        int length = snprintf(text, sizeof text, "%.6g", value);
        if (value_add(a, text, (size_t)length, e) != 0) return -1;
    }
    return 0;
}

// LOW..HIGH:log:POINTS, of which `dots` is the place of the dots.
static int range_read(struct sweep_axis *a, const char *text, const char *dots, bool random, struct err *e) {
    const char *high = dots + 2, *colon = strchr(high, ':');
    int low_length = (int)(dots - text), high_length = (int)(colon ? colon - high : (long)strlen(high));
    if (!number_read(&a->low, text, (size_t)low_length))
        return err_set(e, "'%.*s' is not a number", low_length < 80 ? low_length : 80, text);
    if (!number_read(&a->high, high, (size_t)high_length))
        return err_set(e, "'%.*s' is not a number", high_length < 80 ? high_length : 80, high);
    a->range = true;
    a->log = colon && strncmp(colon, ":log", 4) == 0;
    if (!a->log && !(colon && strncmp(colon, ":lin", 4) == 0))
        return err_set(e, "a range is written a..b:log:n or a..b:lin:n");
    const char *rest = colon + 4;
    if (*rest && *rest != ':') return err_set(e, "a range is written a..b:log:n or a..b:lin:n");
    if (!(a->low < a->high)) return err_set(e, "%.9g is not below %.9g", a->low, a->high);
    if (a->log && !(a->low > 0)) return err_set(e, "log wants a range above 0");
    if (!*rest && random) return 0;
    if (!*rest) return err_set(e, "how many points? a..b:%s:n, or --trials N", a->log ? "log" : "lin");
    char *end;
    long points = strtol(rest + 1, &end, 10);
    if (!rest[1] || *end || points < 2 || points > SWEEP_RUNS)
        return err_set(e, "'%.40s' points, wanted 2 .. %d", rest + 1, SWEEP_RUNS);
    return points_add(a, (int)points, e);
}

static int values_read(struct sweep_axis *a, const char *text, bool random, struct err *e) {
    const char *dots = strpbrk(text, ",[{\"") ? NULL : strstr(text, "..");
    double ignored;
    // "../data" and "a..b" are texts.
    bool range = dots && (number_read(&ignored, text, (size_t)(dots - text)) || strstr(dots, ":log") ||
                          strstr(dots, ":lin"));
    return range ? range_read(a, text, dots, random, e) : list_read(a, text, e);
}

int sweep_add(struct sweep *s, const char *assignment, bool random, struct err *e) {
    const char *equals = strchr(assignment, '=');
    size_t length = equals ? (size_t)(equals - assignment) : 0;
    if (length == 0) return err_set(e, "'%.80s': wanted key=values, for example rate=0.01,0.03", assignment);
    if (length >= JSON_PATH) return err_set(e, "'%.60s...': the key is too long", assignment);
    if (s->count == SWEEP_KEYS) return err_set(e, "more than %d keys", SWEEP_KEYS);
    struct sweep_axis *a = &s->axes[s->count];
    memset(a, 0, sizeof *a);
    memcpy(a->key, assignment, length);
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->axes[i].key, a->key) == 0) return err_set(e, "%s: given twice", a->key);
    if (strcmp(a->key, "name") == 0) return err_set(e, "name: is made of the values");
    a->values = mem_new(SWEEP_RUNS, sizeof *a->values);
    s->count++; // sweep_free looks after it, also after a failure
    return values_read(a, equals + 1, random, e) == 0 ? 0 : err_at(e, assignment);
}

void sweep_free(struct sweep *s) {
    for (int k = 0; k < s->count; k++) {
        for (int i = 0; i < s->axes[k].count; i++) mem_free(s->axes[k].values[i]);
        mem_free(s->axes[k].values);
    }
    for (int i = 0; i < s->trial_count; i++)
        for (int k = 0; k < s->count; k++) mem_free(s->trials[i].values[k]);
    mem_free(s->trials);
    memset(s, 0, sizeof *s);
}

// --- trials -----------------------------------------------------------------------------------------------------

static bool axis_varies(const struct sweep_axis *a) {
    return a->range || a->count > 1;
}

// A key's last part, where no other key of the sweep ends so.
static const char *key_short(const struct sweep *s, int k) {
    const char *dot = strrchr(s->axes[k].key, '.');
    if (!dot) return s->axes[k].key;
    for (int i = 0; i < s->count; i++) {
        const char *other = strrchr(s->axes[i].key, '.');
        if (i != k && strcmp(other ? other + 1 : s->axes[i].key, dot + 1) == 0) return s->axes[k].key;
    }
    return dot + 1;
}

// "rate=0.01,leak=0.03" of the keys that vary; what does not suit a file system becomes '-', and then, or where it is
// too long, a hash of the whole (FNV-1a) keeps it apart from others.
static void name_make(struct sweep_trial *t, const struct sweep *s) {
    char text[TEXT] = "";
    size_t used = 0;
    uint32_t hash = 2166136261u;
    bool changed = false;
    for (int k = 0; k < s->count; k++) {
        if (!axis_varies(&s->axes[k])) continue;
        const char *parts[] = {used ? "," : "", key_short(s, k), "=", t->values[k]};
        for (int p = 0; p < 4; p++)
            for (const char *c = parts[p]; *c; c++) {
                hash = (hash ^ (unsigned char)*c) * 16777619u;
                bool safe = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                            (*c >= 'A' && *c <= 'Z') || strchr("._-+=,", *c);
                changed = changed || !safe;
                if (used + 1 < sizeof text) text[used++] = safe ? *c : '-';
            }
    }
    text[used] = 0;
    if (!changed && used <= 100)
        snprintf(t->name, sizeof t->name, "%.100s", text);
    else
        snprintf(t->name, sizeof t->name, "%.80s-%08x", text, (unsigned)hash);
}

static int trials_start(struct sweep *s, struct err *e) {
    int varying = 0;
    for (int k = 0; k < s->count; k++) varying += axis_varies(&s->axes[k]);
    CHECK(!s->trials, "sweep: the trials were made before");
    if (!varying)
        return err_set(e, "nothing to sweep: give a key several values, for example rate=0.01,0.03");
    s->trials = mem_new(SWEEP_RUNS, sizeof *s->trials);
    return 0;
}

int sweep_grid(struct sweep *s, struct err *e) {
    double runs = 1;
    for (int k = 0; k < s->count; k++) runs *= s->axes[k].count;
    if (runs > SWEEP_RUNS)
        return err_set(e, "%.0f combinations, at most %d; give fewer values, or draw some with --trials N",
                       runs, SWEEP_RUNS);
    if (trials_start(s, e) != 0) return -1;
    for (int i = 0; i < (int)runs; i++) {
        struct sweep_trial *t = &s->trials[s->trial_count++];
        for (int k = s->count - 1, rest = i; k >= 0; rest /= s->axes[k--].count)
            t->values[k] = mem_string_new(s->axes[k].values[rest % s->axes[k].count]);
        name_make(t, s);
    }
    return 0;
}

// In four digits; where that leaves the range, in all.
static char *draw_new(const struct sweep_axis *a, struct rng *r) {
    if (!a->range) return mem_string_new(a->values[rng_below(r, (uint32_t)a->count)]);
    double part = rng_uniform(r), value = a->low + part * (a->high - a->low);
    if (a->log) value = exp(log(a->low) + part * (log(a->high) - log(a->low)));
    value = fmin(fmax(value, a->low), a->high);
    char text[32];
    snprintf(text, sizeof text, "%.4g", value);
    double shown = strtod(text, NULL);
    if (shown < a->low || shown > a->high) snprintf(text, sizeof text, "%.17g", value);
    return mem_string_new(text);
}

int sweep_draw(struct sweep *s, int trials, uint64_t seed, struct err *e) {
    if (trials < 1 || trials > SWEEP_RUNS) return err_set(e, "%d trials, wanted 1 .. %d", trials, SWEEP_RUNS);
    if (trials_start(s, e) != 0) return -1;
    for (int i = 0; i < trials; i++) {
        struct rng r = rng_row(rng_stream(seed, "sweep"), (uint64_t)i);
        struct sweep_trial *t = &s->trials[s->trial_count];
        for (int k = 0; k < s->count; k++) t->values[k] = draw_new(&s->axes[k], &r);
        name_make(t, s);
        bool drawn = false;
        for (int j = 0; j < s->trial_count; j++) drawn = drawn || strcmp(s->trials[j].name, t->name) == 0;
        for (int k = 0; k < s->count && drawn; k++) mem_free(t->values[k]);
        s->trial_count += !drawn;
    }
    return 0;
}

// --- jobs -------------------------------------------------------------------------------------------------------

// The trial's config, which is opened once to see whether it can be.
static struct json *trial_config_new(const struct sweep *s, const struct sweep_trial *t,
                                     const struct json *base, const char *path, struct err *e) {
    struct json *root = json_copy_new(base);
    struct config opened = {0};
    char name[VALUE + JSON_PATH];
    snprintf(name, sizeof name, "name=\"%s\"", t->name);
    int result = json_override(root, name, e);
    for (int k = 0; k < s->count && result == 0; k++) {
        char *assignment = mem_new(JSON_PATH + VALUE + 2, 1);
        snprintf(assignment, JSON_PATH + VALUE + 2, "%s=%s", s->axes[k].key, t->values[k]);
        if ((result = json_override(root, assignment, e)) != 0) err_at(e, path);
        mem_free(assignment);
    }
    if (result == 0 && !json_find(root, "seed")) json_add_number(root, "seed", 1);
    if (result == 0) result = config_open_json(&opened, json_copy_new(root), path, e);
    if (result == 0 && opened.data.validation == 0)
        result = err_set(e, "%s: a sweep is sorted by validation error; set data.validation above 0", path);
    config_close(&opened);
    if (result == 0) return root;
    json_free(root);
    return NULL;
}

int sweep_jobs(struct jobs *jobs, const struct sweep *s, const char *config, const char *out, struct err *e) {
    struct json *base = json_load_new(config, CONFIG_LIMIT, e);
    int result = base ? 0 : -1;
    if (base && json_type(base) != JSON_OBJECT)
        result = err_set(e, "%s: wanted an object, found %s", config, json_type_name(base));
    for (int i = 0; i < s->trial_count && result == 0; i++) {
        char folder[JOB_FOLDER];
        struct json *root = NULL;
        result = file_join(folder, sizeof folder, out, s->trials[i].name, e);
        if (result == 0) result = (root = trial_config_new(s, &s->trials[i], base, config, e)) ? 0 : -1;
        if (result == 0) jobs_add(jobs, folder, root);
    }
    json_free(base);
    return result;
}

// --- results ----------------------------------------------------------------------------------------------------

struct row {
    struct json *run;
    int rank;     // 0 trained, 1 diverged, 2 not done
    double value; // what is sorted by: error, or loss where no run has an error; NAN where there is none
    int index;
};

static int row_order(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    double vx = isnan(x->value) ? INFINITY : x->value, vy = isnan(y->value) ? INFINITY : y->value;
    if (x->rank != y->rank) return x->rank - y->rank;
    return vx != vy ? (vx < vy ? -1 : 1) : x->index - y->index;
}

static double number_of(const struct json *node, const char *key) {
    const struct json *member = json_find(node, key);
    return member && json_type(member) == JSON_NUMBER ? json_number(member) : NAN;
}

static struct row row_make(const struct sweep *s, const struct jobs *jobs, int i) {
    const struct job *job = &jobs->list[i];
    struct err ignored;
    struct json *summary = saved_summary_new(job->folder, &ignored), *values = json_object_new();
    const struct json *found = json_find(summary, "status");
    const char *status = found && json_type(found) == JSON_STRING ? json_string(found) : "not done";
    if (!text_is_plain(status) || strpbrk(status, ",\"")) status = "not done"; // ours are words
    // One that diverged before its first checkpoint has nothing to be compared with.
    char path[PATH_LENGTH];
    bool saved =
        file_join(path, sizeof path, job->folder, TRAIN_CHECKPOINT, &ignored) == 0 && file_exists(path);
    bool diverged = strcmp(status, "diverged") == 0, done = saved ? job_done(job) : diverged;
    struct row row = {json_object_new(), done ? diverged : 2, NAN, i};
    json_add_string(row.run, "name", s->trials[i].name);
    json_add_string(row.run, "folder", job->folder);
    json_add_string(row.run, "status", done ? status : "not done");
    json_add_number(row.run, "validation_error", done ? number_of(summary, "validation_error") : NAN);
    json_add_number(row.run, "validation_loss", done ? number_of(summary, "validation_loss") : NAN);
    json_add_number(row.run, "density", done ? number_of(summary, "density") : NAN);
    for (int k = 0; k < s->count; k++) json_add_string(values, s->axes[k].key, s->trials[i].values[k]);
    json_add(row.run, "values", values);
    json_free(summary);
    return row;
}

struct json *sweep_results_new(const struct sweep *s, const struct jobs *jobs) {
    CHECK(jobs->count == s->trial_count, "sweep: %d jobs, %d trials", jobs->count, s->trial_count);
    struct row *rows = mem_new((size_t)jobs->count + 1, sizeof *rows);
    bool errors = false, losses = false;
    for (int i = 0; i < jobs->count; i++) {
        rows[i] = row_make(s, jobs, i);
        errors |= !isnan(number_of(rows[i].run, "validation_error"));
        losses |= !isnan(number_of(rows[i].run, "validation_loss"));
    }
    const char *key = errors || !losses ? "validation_error" : "validation_loss";
    for (int i = 0; i < jobs->count; i++) rows[i].value = number_of(rows[i].run, key);
    qsort(rows, (size_t)jobs->count, sizeof *rows, row_order);
    struct json *results = json_object_new(), *runs = json_array_new();
    json_add_string(results, "sorted_by", key);
    for (int i = 0; i < jobs->count; i++) json_add(runs, NULL, rows[i].run);
    json_add(results, "runs", runs);
    mem_free(rows);
    return results;
}

// A field in quotes, quotes within doubled (RFC 4180).
static void csv_text(struct file_stream *f, const char *text) {
    file_print(f, "\"");
    for (; *text; text++) file_print(f, *text == '"' ? "\"\"" : "%c", *text);
    file_print(f, "\"");
}

static int csv_write(void *context, struct file_stream *f, struct err *e) {
    (void)e;
    const struct json *results = context, *runs = json_find(results, "runs");
    const char *const keys[] = {json_string(json_find(results, "sorted_by")), "density"};
    file_print(f, "name,status,%s,density", keys[0]);
    for (int i = 0; i < json_count(runs); i++) {
        const struct json *run = json_item(runs, i), *values = json_find(run, "values");
        for (int k = 0; k < json_count(values) && i == 0; k++)
            file_print(f, ","), csv_text(f, json_key(json_item(values, k)));
        file_print(f, "\n");
        csv_text(f, json_string(json_find(run, "name")));
        file_print(f, ",%s", json_string(json_find(run, "status")));
        for (int k = 0; k < 2; k++) {
            double number = number_of(run, keys[k]);
            file_print(f, isnan(number) ? "," : ",%.9g", number);
        }
        for (int k = 0; k < json_count(values); k++)
            file_print(f, ","), csv_text(f, json_string(json_item(values, k)));
    }
    file_print(f, "\n");
    return 0;
}

int sweep_save(const struct json *results, const char *folder, struct err *e) {
    char path[PATH_LENGTH];
    if (file_make_folder(folder, e) != 0 || file_join(path, sizeof path, folder, "sweep.json", e) != 0)
        return -1;
    char *text = json_print_new(results, true);
    int result = file_write_text(path, text, e);
    mem_free(text);
    if (result != 0 || file_join(path, sizeof path, folder, "sweep.csv", e) != 0) return -1;
    return file_write_atomic(path, csv_write, (void *)results, e);
}

void sweep_print(const struct json *results) {
    const struct json *runs = json_find(results, "runs");
    const char *key = json_string(json_find(results, "sorted_by"));
    bool errors = strcmp(key, "validation_error") == 0;
    printf("%s    density  status    run\n", errors ? "validation %" : "valid. loss ");
    for (int i = 0; i < json_count(runs); i++) {
        const struct json *run = json_item(runs, i);
        double value = number_of(run, key), density = number_of(run, "density");
        char text[2][24] = {"-", "-"};
        if (!isnan(value)) snprintf(text[0], sizeof text[0], "%.*f", errors ? 2 : 4, value);
        if (!isnan(density)) snprintf(text[1], sizeof text[1], "%.4g", density);
        printf("%12s %10s  %-8s  %s\n", text[0], text[1], json_string(json_find(run, "status")),
               json_string(json_find(run, "name")));
    }
}
