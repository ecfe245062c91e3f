// The results of a comparison. Contracts in results.h.
#include "experiments/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/log.h"
#include "experiments/saved.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096, CELL = 256, CELLS = 11, SPARK_LEVELS = 8 };

#define AT(member) offsetof(struct measures, member)

// One line per member, in the struct's order: keys of measures.json, columns of results.csv, titles of tables.
const struct column results_columns[] = {
    {"test_error", "test error %", AT(test_error), 2, false},
    {"validation_error", "validation error %", AT(validation_error), 2, false},
    {"weights", "weights", AT(weights), 0, false},
    {"nonzero", "non-zero weights", AT(nonzero), 0, false},
    {"density", "density", AT(density), 4, false},
    {"density_0p1", "density above 0.1 % of the largest", AT(density_0p1), 4, false},
    {"density_1", "density above 1 % of the largest", AT(density_1), 4, false},
    {"norm_top_1", "norm share of the top 1 %", AT(norm_top_1), 3, false},
    {"norm_top_5", "norm share of the top 5 %", AT(norm_top_5), 3, false},
    {"gini", "Gini", AT(gini), 3, false},
    {"hoyer", "Hoyer", AT(hoyer), 3, false},
    {"kurtosis", "kurtosis", AT(kurtosis), 1, false},
    {"pruned_error_0.5", "error % at 50 %", AT(pruned_error[0]), 2, false},
    {"pruned_error_0.2", "error % at 20 %", AT(pruned_error[1]), 2, false},
    {"pruned_error_0.1", "error % at 10 %", AT(pruned_error[2]), 2, false},
    {"pruned_error_0.05", "error % at 5 %", AT(pruned_error[3]), 2, false},
    {"pruned_error_0.02", "error % at 2 %", AT(pruned_error[4]), 2, false},
    {"pruned_error_0.01", "error % at 1 %", AT(pruned_error[5]), 2, false},
    {"pruned_error_0.005", "error % at 0.5 %", AT(pruned_error[6]), 2, false},
    {"steps_to_5", "steps to 5 %", AT(steps_to_goal[0]), 0, false},
    {"steps_to_3", "steps to 3 %", AT(steps_to_goal[1]), 0, false},
    {"steps_to_2", "steps to 2 %", AT(steps_to_goal[2]), 0, false},
    {"entropy_bytes", "entropy, bytes", AT(entropy_bytes), 0, false},
    {"state_bytes", "state, bytes per weight", AT(state_bytes), 3, false},
    {"test_loss", "test loss", AT(test_loss), 4, false},
    {"validation_loss", "validation loss", AT(validation_loss), 4, false},
    {"pruned_loss_0.5", "loss at 50 %", AT(pruned_loss[0]), 4, false},
    {"pruned_loss_0.2", "loss at 20 %", AT(pruned_loss[1]), 4, false},
    {"pruned_loss_0.1", "loss at 10 %", AT(pruned_loss[2]), 4, false},
    {"pruned_loss_0.05", "loss at 5 %", AT(pruned_loss[3]), 4, false},
    {"pruned_loss_0.02", "loss at 2 %", AT(pruned_loss[4]), 4, false},
    {"pruned_loss_0.01", "loss at 1 %", AT(pruned_loss[5]), 4, false},
    {"pruned_loss_0.005", "loss at 0.5 %", AT(pruned_loss[6]), 4, false},
    {"step_seconds", "seconds per step", AT(step_seconds), 5, true},
    {NULL, NULL, 0, 0, false},
};

static double value_of(const struct measures *m, const struct column *c) {
    return *(const double *)((const char *)m + c->offset);
}

struct estimate results_estimate(const struct variant *v, const struct column *c) {
    struct estimate s = {NAN, NAN, 0};
    double sum = 0, squares = 0;
    for (int i = 0; i < v->count; i++) {
        double value = value_of(&v->runs[i].measures, c);
        if (isnan(value)) continue;
        sum += value;
        s.n++;
    }
    if (s.n == 0) return s;
    s.mean = sum / s.n;
    for (int i = 0; i < v->count; i++) {
        double value = value_of(&v->runs[i].measures, c);
        if (!isnan(value)) squares += (value - s.mean) * (value - s.mean);
    }
    s.error = s.n > 1 ? sqrt(squares / (s.n - 1) / s.n) : 0;
    return s;
}

bool results_have_errors(const struct results *r) {
    bool losses = false;
    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < r->variants[i].count; j++) {
            const struct measures *m = &r->variants[i].runs[j].measures;
            if (!isnan(m->test_error)) return true;
            losses |= !isnan(m->test_loss);
        }
    return !losses;
}

const struct column *results_column(const struct results *r, const char *key) {
    char other[64];
    const char *error = results_have_errors(r) ? NULL : strstr(key, "_error");
    if (error) {
        snprintf(other, sizeof other, "%.*s_loss%s", (int)(error - key), key, error + strlen("_error"));
        key = other;
    }
    const struct column *c = results_columns;
    while (c->key && strcmp(c->key, key) != 0) c++;
    CHECK(c->key, "no column %s", key);
    return c;
}

// --- putting runs together
// --------------------------------------------------------------------------------------

static struct variant *variant_of(struct results *r, const char *name) {
    struct variant *v = r->variants;
    while (v < r->variants + r->count && strcmp(v->name, name) != 0) v++;
    if (v == r->variants + r->count) {
        r->count++;
        snprintf(v->name, sizeof v->name, "%s", name);
    }
    return v;
}

// A non-empty string of the summary, or NULL with `e` filled.
static const char *summary_string(const struct json *s, const char *key, struct err *e) {
    const struct json *node = json_find(s, key);
    const char *text = node && json_type(node) == JSON_STRING ? json_string(node) : "";
    if (*text && strlen(text) < RESULTS_NAME && text_is_plain(text)) return text;
    err_set(e, "summary.json: %s is not a name", key);
    return NULL;
}

// Checks a finished run's summary against the runs before it and gives it its place.
static int run_add(struct results *r, const struct json *s, const char *folder, int limit, struct err *e) {
    int64_t seed = 0;
    const struct json *seed_node = json_find(s, "seed");
    const char *status = summary_string(s, "status", e);
    if (!status) return -1;
    if (strcmp(status, "finished") != 0 && strcmp(status, "dead") != 0)
        return err_set(e, "no finished run here, it is '%s'", status);
    const char *name = summary_string(s, "name", e), *dataset = name ? summary_string(s, "dataset", e) : NULL;
    if (!dataset) return -1;
    if (!seed_node) return err_set(e, "summary.json: seed is missing");
    if (json_read_int(&seed, seed_node, 0, INT64_MAX, "summary.json: seed", e) != 0) return -1;
    if (!*r->dataset) snprintf(r->dataset, sizeof r->dataset, "%s", dataset);
    if (strcmp(r->dataset, dataset) != 0)
        return err_set(e, "trained on '%s', the others on '%s'", dataset, r->dataset);
    struct variant *v = variant_of(r, name);
    for (int i = 0; i < v->count; i++)
        if (v->runs[i].seed == seed)
            return err_set(e, "'%s' with seed %lld is given twice, first as %s", name, (long long)seed,
                           v->runs[i].folder);
    if (!v->runs) v->runs = mem_new((size_t)limit, sizeof *v->runs);
    struct result_run *run = &v->runs[v->count++];
    run->seed = seed;
    if (snprintf(run->folder, sizeof run->folder, "%s", folder) >= RESULTS_FOLDER)
        return err_set(e, "the path is too long");
    return 0;
}

static int folder_add(struct results *r, const char *folder, int limit, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, folder, "summary.json", e) != 0) return -1;
    if (!saved_exists(folder) || !file_exists(path)) return err_set(e, "%s: no finished run here", folder);
    struct json *s = saved_summary_new(folder, e);
    if (!s) return -1;
    int result = run_add(r, s, folder, limit, e);
    json_free(s);
    return result == 0 ? 0 : err_at(e, folder);
}

struct results *results_new(const char *name, const char *const *folders, int count,
                            const struct run_options *options, struct err *e) {
    struct results *r = mem_new(1, sizeof *r);
    snprintf(r->name, sizeof r->name, "%s", name);
    r->variants = mem_new((size_t)count + 1, sizeof *r->variants);
    int result = 0;
    // All checks come before the first measure: evaluations take time.
    for (int i = 0; i < count && result == 0; i++) result = folder_add(r, folders[i], count, e);
    for (int i = 0; i < r->count && result == 0; i++)
        for (int j = 0; j < r->variants[i].count && result == 0; j++) {
            struct result_run *run = &r->variants[i].runs[j];
            result = measures_of_folder(&run->measures, run->folder, options, e);
        }
    if (result == 0) return r;
    results_free(r);
    return NULL;
}

void results_free(struct results *r) {
    if (!r) return;
    for (int i = 0; i < r->count; i++) mem_free(r->variants[i].runs);
    mem_free(r->variants);
    mem_free(r);
}

// --- CSV and JSON
// -----------------------------------------------------------------------------------------------

// Quoted where it must be (RFC 4180).
static void csv_text(struct file_stream *f, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        file_print(f, "%s", text);
        return;
    }
    file_print(f, "\"");
    for (; *text; text++) file_print(f, *text == '"' ? "\"\"" : "%c", *text);
    file_print(f, "\"");
}

// The header, or with `m` the values; what differs from run to run of equal bits comes last.
static void csv_columns(struct file_stream *f, const struct measures *m) {
    for (int timing = 0; timing < 2; timing++)
        for (const struct column *c = results_columns; c->key; c++) {
            if (c->timing != timing) continue;
            file_print(f, ",");
            if (!m)
                file_print(f, "%s", c->key);
            else if (isfinite(value_of(m, c)))
                file_print(f, "%.9g", value_of(m, c));
        }
    file_print(f, "\n");
}

static int csv_write(void *context, struct file_stream *f, struct err *e) {
    (void)e;
    const struct results *r = context;
    file_print(f, "variant,seed");
    csv_columns(f, NULL);
    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < r->variants[i].count; j++) {
            csv_text(f, r->variants[i].name);
            file_print(f, ",%lld", (long long)r->variants[i].runs[j].seed);
            csv_columns(f, &r->variants[i].runs[j].measures);
        }
    return 0;
}

static struct json *variant_write_new(const struct variant *v) {
    struct json *node = json_object_new(), *runs = json_array_new(), *estimates = json_object_new();
    for (int i = 0; i < v->count; i++) {
        struct json *run = json_object_new();
        json_add_number(run, "seed", (double)v->runs[i].seed);
        json_add_string(run, "folder", v->runs[i].folder);
        json_add(run, "measures", measures_write_new(&v->runs[i].measures));
        json_add(runs, NULL, run);
    }
    for (const struct column *c = results_columns; c->key; c++) {
        struct estimate s = results_estimate(v, c);
        struct json *estimate = json_object_new();
        json_add_number(estimate, "mean", s.mean);
        json_add_number(estimate, "error", s.error);
        json_add_number(estimate, "n", s.n);
        json_add(estimates, c->key, estimate);
    }
    json_add_string(node, "name", v->name);
    json_add(node, "runs", runs);
    json_add(node, "estimates", estimates);
    return node;
}

struct json *results_write_new(const struct results *r) {
    struct json *root = json_object_new(), *variants = json_array_new();
    json_add_string(root, "name", r->name);
    json_add_string(root, "dataset", r->dataset);
    for (int i = 0; i < r->count; i++) json_add(variants, NULL, variant_write_new(&r->variants[i]));
    json_add(root, "variants", variants);
    return root;
}

int results_save(const struct results *r, const char *folder, struct err *e) {
    char csv[PATH_LENGTH], path[PATH_LENGTH];
    if (file_join(csv, sizeof csv, folder, "results.csv", e) != 0 ||
        file_join(path, sizeof path, folder, "results.json", e) != 0 || file_make_folder(folder, e) != 0 ||
        file_write_atomic(csv, csv_write, (void *)r, e) != 0)
        return -1;
    struct json *root = results_write_new(r);
    char *text = json_print_new(root, true);
    int result = file_write_text(path, text, e);
    mem_free(text);
    json_free(root);
    return result;
}

// --- the table
// --------------------------------------------------------------------------------------------------

static const char *const titles[CELLS] = {"variant", "runs",         "test error %", "density",
                                          "at 10 %", "at 2 %",       "Gini",         "norm of top 1 %",
                                          "bytes",   "steps to 2 %", "pruning"};
// The column of results_columns that a column of the table shows.
static const char *const keys[CELLS] = {NULL,
                                        NULL,
                                        "test_error",
                                        "density",
                                        "pruned_error_0.1",
                                        "pruned_error_0.02",
                                        "gini",
                                        "norm_top_1",
                                        "entropy_bytes",
                                        "steps_to_2",
                                        NULL};

// How many characters a terminal shows: the bytes that begin a character.
static int width_of(const char *text) {
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

// A mean; with its standard error in the first column of numbers; how many runs it is of, where some have none.
static void estimate_print(char cell[CELL], const struct variant *v, const struct column *c) {
    struct estimate s = results_estimate(v, c);
    char count[32];
    if (s.n == 0) {
        strcpy(cell, "-");
        return;
    }
    int used = c->digits || fabs(s.mean) > 1e15 ? snprintf(cell, CELL, "%.*f", c->digits, s.mean)
                                                : snprintf(cell, CELL, "%s", log_count(count, s.mean));
    if (used >= CELL) used = CELL - 1; // files may hold any number, of 300 digits too
    if (c->offset == AT(test_error) || c->offset == AT(test_loss))
        used += snprintf(cell + used, (size_t)(CELL - used), " ± %.*f", c->digits, s.error);
    if (used >= CELL) used = CELL - 1;
    if (s.n < v->count) snprintf(cell + used, (size_t)(CELL - used), " (%d of %d)", s.n, v->count);
}

// Smallest and largest mean of all pruning curves; false when there is none.
static bool curve_range(double *low, double *high, const struct results *r) {
    const struct column *first = results_column(r, "pruned_error_0.5");
    *low = INFINITY, *high = 0;
    for (int i = 0; i < r->count; i++)
        for (int k = 0; k < MEASURES_CUTS; k++) {
            double mean = results_estimate(&r->variants[i], first + k).mean;
            if (isnan(mean)) continue;
            *low = fmin(*low, fmax(mean, 0.01));
            *high = fmax(*high, fmax(mean, 0.01));
        }
    return *high > 0;
}

static void sparkline(char cell[CELL], const struct variant *v, const struct column *first, double low,
                      double high) {
    static const char *const blocks[SPARK_LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    *cell = 0;
    for (int k = 0; k < MEASURES_CUTS; k++) {
        double mean = results_estimate(v, first + k).mean;
        double height = high > low ? log(fmax(mean, 0.01) / low) / log(high / low) : 0;
        strcat(cell, isnan(mean) ? "-" : blocks[(int)(height * (SPARK_LEVELS - 1) + 0.5)]);
    }
}

// All cells of the table, row 0 the titles; mem_free it.
static char (*cells_new(const struct results *r, double low, double high))[CELLS][CELL] {
    char(*cells)[CELLS][CELL] = mem_new((size_t)r->count + 1, sizeof *cells);
    for (int k = 0; k < CELLS; k++) strcpy(cells[0][k], titles[k]);
    if (!results_have_errors(r)) strcpy(cells[0][2], results_column(r, keys[2])->title);
    for (int i = 0; i < r->count; i++) {
        const struct variant *v = &r->variants[i];
        char(*row)[CELL] = cells[i + 1];
        snprintf(row[0], CELL, "%s", v->name);
        snprintf(row[1], CELL, "%d", v->count);
        for (int k = 2; k < CELLS - 1; k++) estimate_print(row[k], v, results_column(r, keys[k]));
        sparkline(row[CELLS - 1], v, results_column(r, "pruned_error_0.5"), low, high);
    }
    return cells;
}

void results_print(const struct results *r) {
    double low, high;
    int width[CELLS] = {0};
    bool curves = curve_range(&low, &high, r);
    char(*cells)[CELLS][CELL] = cells_new(r, low, high);
    for (int i = 0; i <= r->count; i++)
        for (int k = 0; k < CELLS; k++)
            if (width_of(cells[i][k]) > width[k]) width[k] = width_of(cells[i][k]);
    for (int i = 0; i <= r->count; i++) {
        for (int k = 0; k < CELLS; k++) {
            int gap = width[k] - width_of(cells[i][k]);
            bool left = k == 0, last = k == CELLS - 1;
            printf("%*s%s%*s", left || last ? 0 : gap, "", cells[i][k], left ? gap : 0, "");
            fputs(last ? "\n" : "  ", stdout);
        }
    }
    mem_free(cells);
    if (!curves) return;
    bool errors = results_have_errors(r);
    printf("\nat 10 %%, at 2 %%, pruning: test %s with so many of all weights kept, and no training "
           "after; the curve\n"
           "is for 50, 20, 10, 5, 2, 1 and 0.5 %%, its height the logarithm of the %s, from %.2f to %.2f%s\n",
           errors ? "error %" : "loss", errors ? "error" : "loss", low, high, errors ? " %" : "");
}
