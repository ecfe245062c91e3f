// The report's plots. Contracts in plots.h.
#include "experiments/plots.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"

enum {
    PATH_LENGTH = 4200,
    METRICS_LIMIT = 1 << 28,
    HISTOGRAM_LIMIT = 1 << 24,
    COUNTER_BINS = 32,
    LAYERS_MAX = 10000
};
static const double ERROR_FLOOR = 0.01; // percent: where an error of zero stands on a log axis
static const double AXIS_LIMIT =
    1e100; // files may hold any number: larger ones, and smaller than 1 / this on a log axis

static const struct plot kinds[PLOT_KINDS] = {
    {"trade", "Error against density",
     "Each mark is a variant: mean test error over seeds, with its standard error. Lower is more accurate, "
     "further left is sparser; the best corner is bottom left.",
     "density (non-zero / all weights)", "test error %", PLOT_POINTS, true, false, NULL, 0},
    {"pruning", "Pruning without retraining",
     "Test error when only the largest weights are kept, by magnitude over the whole network. A line that "
     "stays low towards the left holds its knowledge in few weights.",
     "share of weights kept", "test error %", PLOT_LINES, true, true, NULL, 0},
    {"learning", "Learning curves",
     "Validation error after each epoch, mean over seeds. Lines that fall earlier learn faster.", "epoch",
     "validation error %", PLOT_LINES, false, true, NULL, 0},
    {"density", "Density during training",
     "Share of weights that are not zero after each epoch, in the first run.", "epoch",
     "density (non-zero / all weights)", PLOT_LINES, false, true, NULL, 0},
    {"weights", "Sizes of weights",
     "How the non-zero weights of the first run spread over magnitudes, in bins of a quarter of a power of "
     "ten. The key says how many are exactly zero. A wide, flat shape is a spiky network.",
     "log10 of abs(w)", "share of non-zero weights %", PLOT_STEPS, false, false, NULL, 0},
    {"counters", "Sizes of counters",
     "How the non-zero counters of the first run spread, in bins that double: 1, 2 to 3, 4 to 7 and so on. "
     "Runs whose weights are plain floats have no counters.",
     "abs(counter)", "share of non-zero counters %", PLOT_STEPS, true, false, NULL, 0}};

// The first three where no run has errors.
static const struct plot loss_kinds[] = {
    {"trade", "Loss against density",
     "Each mark is a variant: mean test loss over seeds, with its standard error. Lower is better, further "
     "left is sparser; the best corner is bottom left.",
     "density (non-zero / all weights)", "test loss", PLOT_POINTS, true, false, NULL, 0},
    {"pruning", "Pruning without retraining",
     "Test loss when only the largest weights are kept, by magnitude over the whole network. A line that "
     "stays low towards the left holds its knowledge in few weights.",
     "share of weights kept", "test loss", PLOT_LINES, true, true, NULL, 0},
    {"learning", "Learning curves",
     "Validation loss after each epoch, mean over seeds. Lines that fall earlier learn faster.", "epoch",
     "validation loss", PLOT_LINES, false, true, NULL, 0}};
enum { LOSS_KINDS = sizeof loss_kinds / sizeof *loss_kinds };

// --- series
// ---------------------------------------------------------------------------------------------------------

static struct series *series_add(struct plot *p, const char *name, int room, int place) {
    p->list = mem_grow(p->list, (size_t)p->count, sizeof *p->list);
    struct series *s = &p->list[p->count++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->points = mem_new((size_t)room, sizeof *s->points);
    s->place = place;
    return s;
}

// Leaves out what the axes can't show.
static void point_add(const struct plot *p, struct series *s, double x, double y, double error) {
    if (!(fabs(x) <= AXIS_LIMIT && fabs(y) <= AXIS_LIMIT) || (p->log_x && x < 1 / AXIS_LIMIT)) return;
    if (p->log_y && y < ERROR_FLOOR && p->style == PLOT_LINES && strcmp(p->id, "density") != 0)
        y = ERROR_FLOOR;
    if (p->log_y && y < 1 / AXIS_LIMIT) return;
    s->points[s->count++] = (struct point){x, y, fabs(error) <= AXIS_LIMIT ? error : 0};
}

void plot_free(struct plot *p) {
    for (int i = 0; i < p->count; i++) mem_free(p->list[i].points);
    mem_free(p->list);
    p->list = NULL;
    p->count = 0;
}

bool plot_filled(const struct plot *p) {
    int points = 0;
    for (int i = 0; i < p->count; i++) points += p->list[i].count;
    return points > 0;
}

static void trade_make(struct plot *p, const struct results *r, int place) {
    const struct variant *v = &r->variants[place];
    struct series *s = series_add(p, v->name, 1, place);
    struct estimate x = results_estimate(v, results_column(r, "density")),
                    y = results_estimate(v, results_column(r, "test_error"));
    if (x.n && y.n) point_add(p, s, x.mean, y.mean, y.error);
}

static void pruning_make(struct plot *p, const struct results *r, int place) {
    const struct variant *v = &r->variants[place];
    struct series *s = series_add(p, v->name, MEASURES_CUTS + 1, place);
    struct estimate y = results_estimate(v, results_column(r, "test_error"));
    if (y.n) point_add(p, s, 1, y.mean, y.error);
    const struct column *first = results_column(r, "pruned_error_0.5");
    for (int i = 0; i < MEASURES_CUTS; i++) {
        y = results_estimate(v, first + i);
        if (y.n) point_add(p, s, measures_cut[i], y.mean, y.error);
    }
}

// --- numbers from run folders
// ---------------------------------------------------------------------------------------

struct json *plot_metrics_new(const char *folder, bool *failed, struct err *e) {
    char path[PATH_LENGTH];
    *failed = file_join(path, sizeof path, folder, TRAIN_METRICS, e) != 0;
    if (*failed || !file_exists(path)) return NULL;
    size_t size;
    char *text = (char *)file_read_new(&size, path, METRICS_LIMIT, e);
    *failed = !text;
    struct json *list = text ? json_array_new() : NULL;
    for (char *line = text, *end; list && line < text + size; line = end + 1) {
        end = line + strcspn(line, "\n");
        if (end == line) continue;
        struct json *node = json_parse_new(line, (size_t)(end - line), e);
        if (node) {
            json_add(list, NULL, node);
            continue;
        }
        err_at(e, path);
        *failed = true;
        json_free(list);
        list = NULL;
    }
    mem_free(text);
    return list;
}

// The member of an object, NULL when there is none or `node` is no object.
static const struct json *member(const struct json *node, const char *key) {
    return node && json_type(node) == JSON_OBJECT ? json_find(node, key) : NULL;
}

// NAN when it is no number.
static double number_of(const struct json *node) {
    return node && json_type(node) == JSON_NUMBER ? json_number(node) : NAN;
}

static double number_at(const struct json *node, const char *key) {
    return number_of(member(node, key));
}

static int learning_make(struct plot *p, const struct results *r, int place, struct err *e) {
    const struct variant *v = &r->variants[place];
    const char *key = results_column(r, "validation_error")->key;
    struct series *s = series_add(p, v->name, MEASURES_EPOCHS + 1, place);
    double *sum = mem_new(MEASURES_EPOCHS + 1, sizeof *sum), *n = mem_new(MEASURES_EPOCHS + 1, sizeof *n);
    bool failed = false;
    for (int i = 0; i < v->count && !failed; i++) {
        struct json *lines = plot_metrics_new(v->runs[i].folder, &failed, e);
        for (const struct json *l = lines ? json_first(lines) : NULL; l; l = json_next(l)) {
            double epoch = number_at(l, "epoch"), error = number_at(l, key);
            if (!(epoch >= 0 && epoch <= MEASURES_EPOCHS) || isnan(error)) continue;
            sum[(int)epoch] += error, n[(int)epoch]++;
        }
        json_free(lines);
    }
    for (int i = 0; i <= MEASURES_EPOCHS; i++)
        if (n[i] > 0) point_add(p, s, i, sum[i] / n[i], 0);
    mem_free(sum);
    mem_free(n);
    return failed ? -1 : 0;
}

// How many lines give a number for this layer (or, without one, overall).
static int density_count(const struct json *first, const char *layer) {
    int count = 0;
    for (const struct json *l = first; l; l = json_next(l))
        count += !isnan(layer ? number_at(member(l, "density_per_layer"), layer) : number_at(l, "density"));
    return count;
}

// Of a variant's first run: overall, or layer by layer.
static int density_make(struct plot *p, const struct variant *v, int place, bool layers, struct err *e) {
    bool failed = false;
    struct json *lines = v->count ? plot_metrics_new(v->runs[0].folder, &failed, e) : NULL;
    const struct json *first = lines ? json_first(lines) : NULL;
    const struct json *names = layers ? member(first, "density_per_layer") : NULL;
    int count = layers ? (names ? json_count(names) : 0) : 1;
    if (count > LAYERS_MAX) count = LAYERS_MAX;
    for (int i = 0; i < count; i++) {
        const char *key = layers ? json_key(json_item(names, i)) : "density";
        // Room for what is there alone: many names and many lines make a small file.
        struct series *s =
            series_add(p, layers ? key : v->name, density_count(first, layers ? key : NULL), place + i);
        for (const struct json *l = first; l; l = json_next(l)) {
            const struct json *from = layers ? member(l, "density_per_layer") : l;
            point_add(p, s, number_at(l, "epoch"), number_at(from, key), 0);
        }
    }
    json_free(lines);
    return failed ? -1 : 0;
}

// Bins as points in percent of those that are not zero; the share of zeros goes into the name.
static void bins_add(struct plot *p, const char *name, const double *x, const double *count, int bins,
                     double zeros, int place) {
    char full[192];
    double all = 0;
    for (int b = 0; b < bins; b++) all += count[b];
    snprintf(full, sizeof full, "%.120s, %.4g %% zeros", name,
             all + zeros > 0 ? 100 * zeros / (all + zeros) : 0);
    struct series *s = series_add(p, full, bins, place);
    int low = 0, high = bins - 1;
    while (low < bins && count[low] == 0) low++;
    while (high >= 0 && count[high] == 0) high--;
    for (int b = low - 1; b <= high + 1; b++) // an empty bin on either side brings the line down to zero
        if (b >= 0 && b < bins && all > 0) point_add(p, s, x[b], 100 * count[b] / all, 0);
}

static int weights_make(struct plot *p, const struct variant *v, int place, bool layers, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, v->runs[0].folder, "histogram.json", e) != 0) return -1;
    if (!file_exists(path)) return 0;
    struct json *root = json_load_new(path, HISTOGRAM_LIMIT, e);
    if (!root) return -1;
    const struct json *bins = member(root, "bins"), *list = member(root, "layers");
    double x[HISTOGRAM_BINS] = {0}, count[HISTOGRAM_BINS] = {0}, zeros = 0;
    bool good = bins && list && json_count(bins) == HISTOGRAM_BINS + 1 && json_count(list) <= LAYERS_MAX;
    for (int b = 0; good && b < HISTOGRAM_BINS; b++)
        x[b] = (number_of(json_item(bins, b)) + number_of(json_item(bins, b + 1))) / 2;
    for (int i = 0; good && i < json_count(list); i++) {
        const struct json *layer = json_item(list, i), *counts = member(layer, "counts");
        zeros += number_at(layer, "zeros");
        good = counts && json_count(counts) == HISTOGRAM_BINS && isfinite(zeros);
        for (int b = 0; good && b < HISTOGRAM_BINS; b++) {
            count[b] += number_of(json_item(counts, b));
            good = isfinite(count[b]);
        }
        if (!layers || !good) continue;
        bins_add(p, json_key(layer), x, count, HISTOGRAM_BINS, zeros, place + i);
        memset(count, 0, sizeof count);
        zeros = 0;
    }
    if (good && !layers) bins_add(p, v->name, x, count, HISTOGRAM_BINS, zeros, place);
    json_free(root);
    return good ? 0 : err_set(e, "%s: not a histogram of %d bins", path, HISTOGRAM_BINS);
}

static int counters_make(struct plot *p, const struct variant *v, int place, bool layers, struct err *e) {
    char path[PATH_LENGTH];
    struct run run;
    if (file_join(path, sizeof path, v->runs[0].folder, TRAIN_CHECKPOINT, e) != 0) return -1;
    if (!file_exists(path)) return 0;
    if (saved_open(&run, v->runs[0].folder, NULL, e) != 0) {
        run_close(&run);
        return -1;
    }
    double x[COUNTER_BINS], count[COUNTER_BINS] = {0}, zeros = 0;
    bool counted = false;
    // Steps change half way between points: bin b is 2^(b-1) .. 2^b - 1.
    for (int b = 0; b < COUNTER_BINS; b++) x[b] = ldexp(2.0 / 3, b);
    for (int i = 0, layer = 0; i < run.params->count; i++) {
        const struct param *w = &run.params->list[i];
        if (!param_is_weight(w)) continue;
        for (size_t j = 0; w->counted && j < w->size; j++) {
            int bin = 0;
            for (int64_t c = llabs((long long)param_counter(w, j)); c; c >>= 1) bin++;
            if (bin == 0)
                zeros++;
            else
                count[bin < COUNTER_BINS ? bin : COUNTER_BINS - 1]++;
        }
        counted |= w->counted;
        if (layers && w->counted) {
            bins_add(p, w->name, x, count, COUNTER_BINS, zeros, place + layer);
            memset(count, 0, sizeof count);
            zeros = 0;
        }
        layer++;
    }
    if (counted && !layers) bins_add(p, v->name, x, count, COUNTER_BINS, zeros, place);
    run_close(&run);
    return 0;
}

int plot_make(struct plot *p, enum plot_kind kind, const struct results *r, struct err *e) {
    *p = (int)kind < LOSS_KINDS && !results_have_errors(r) ? loss_kinds[kind] : kinds[kind];
    bool layers = r->count == 1;
    int result = 0;
    for (int i = 0; i < r->count && result == 0; i++) {
        const struct variant *v = &r->variants[i];
        if (v->count == 0) continue;
        if (kind == PLOT_TRADE && r->count > 1) trade_make(p, r, i);
        if (kind == PLOT_PRUNING) pruning_make(p, r, i);
        if (kind == PLOT_LEARNING) result = learning_make(p, r, i, e);
        if (kind == PLOT_DENSITY) result = density_make(p, v, i, layers, e);
        if (kind == PLOT_WEIGHTS) result = weights_make(p, v, i, layers, e);
        if (kind == PLOT_COUNTERS) result = counters_make(p, v, i, layers, e);
    }
    return result;
}
