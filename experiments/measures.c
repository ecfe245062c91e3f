// What is measured of a trained run. Contracts in measures.h.
//
// With c(1) <= ... <= c(N) the sorted abs(w) of all weights, l1 = Σ c, l2 = sqrt(Σ c²):
//
//   Gini       1 - 2 Σ c(k)/l1 · (N - k + 1/2)/N        0 .. 1 - 1/N
//   Hoyer      (sqrt(N) - l1/l2) / (sqrt(N) - 1)        0 .. 1
//   kurtosis   m4 / m2², central moments of w
//   norm       share of l2² in the largest ceil(1 % N), ceil(5 % N) weights
//   pruning    the largest round(cut · N) weights stay, of equals the earlier (as sparsity_cut in optim/sparsity.h)
//   entropy    per weight tensor of density p: N·H(p)/8 bytes for the positions; for the values the order-0 entropy of
//              its non-zero counters, or 4 bytes per non-zero float; 1 byte per number that is not a weight
//
// Where all weights are zero (or, for Hoyer, there is one only; for kurtosis, all are equal) a ratio is 0/0 and the
// measure NAN. Gini and Hoyer: N. Hurley, S. Rickard, "Comparing measures of sparsity", IEEE Transactions on
// Information Theory 55(10), 2009. Entropy: C. Shannon, "A mathematical theory of communication", 1948.
#include "experiments/measures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/results.h"
#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"

const double measures_cut[MEASURES_CUTS] = {0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005};
const double measures_goal[MEASURES_GOALS] = {5, 3, 2};

enum { PATH_LENGTH = 4096, MEASURES_LIMIT = 1 << 16, METRICS_LIMIT = 1 << 28 };

static const char MEASURES_FILE[] = "measures.json";

// --- how sparse, how spiky
// --------------------------------------------------------------------------------------

static int real_order(const void *a, const void *b) {
    real x = *(const real *)a, y = *(const real *)b;
    return (x > y) - (x < y);
}

// abs(w) of all weights in rising order; mem_free it.
static real *sorted_new(size_t *count, const struct params *ps) {
    size_t nonzero, at = 0;
    train_density(count, &nonzero, ps);
    real *sorted = mem_new(*count + 1, sizeof *sorted);
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        for (size_t j = 0; param_is_weight(p) && j < p->size; j++)
            sorted[at++] = (real)fabs((double)p->value[j]);
    }
    qsort(sorted, *count, sizeof *sorted, real_order);
    return sorted;
}

static double share_above(const real *sorted, size_t n, double limit) {
    size_t above = 0;
    while (above < n && (double)sorted[n - 1 - above] > limit) above++;
    return n ? (double)above / (double)n : 0;
}

static void shape_measure(struct measures *m, const real *sorted, size_t n) {
    double l1 = 0, squares = 0, weighted = 0, top[2] = {0}, count = (double)n;
    const size_t first[2] = {n - (n + 99) / 100, n - (n + 19) / 20}; // of the largest 1 % and 5 %
    for (size_t k = 0; k < n; k++) {
        double c = (double)sorted[k];
        l1 += c;
        squares += c * c;
        weighted += c * (count - (double)k - 0.5);
        for (int t = 0; t < 2; t++) top[t] += k >= first[t] ? c * c : 0;
    }
    double largest = n ? (double)sorted[n - 1] : 0;
    m->density_0p1 = share_above(sorted, n, 0.001 * largest);
    m->density_1 = share_above(sorted, n, 0.01 * largest);
    m->norm_top_1 = squares > 0 ? top[0] / squares : NAN;
    m->norm_top_5 = squares > 0 ? top[1] / squares : NAN;
    m->gini = l1 > 0 ? 1 - 2 * weighted / (l1 * count) : NAN;
    m->hoyer = squares > 0 && n > 1 ? (sqrt(count) - l1 / sqrt(squares)) / (sqrt(count) - 1) : NAN;
}

static double kurtosis(const struct params *ps, size_t n) {
    double sum = 0, m2 = 0, m4 = 0;
    for (int i = 0; i < ps->count; i++)
        for (size_t j = 0; param_is_weight(&ps->list[i]) && j < ps->list[i].size; j++)
            sum += (double)ps->list[i].value[j];
    for (int i = 0; i < ps->count; i++)
        for (size_t j = 0; param_is_weight(&ps->list[i]) && j < ps->list[i].size; j++) {
            double d = (double)ps->list[i].value[j] - sum / (double)n;
            m2 += d * d;
            m4 += d * d * d * d;
        }
    return m2 > 0 ? m4 * (double)n / (m2 * m2) : NAN;
}

// --- bytes
// ------------------------------------------------------------------------------------------------------

// Bits that one outcome of this share adds to the entropy of a distribution.
static double entropy_bits(double share) {
    return share > 0 ? -share * log2(share) : 0;
}

static int counter_order(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static double tensor_bytes(const struct param *p) {
    double size = (double)p->size;
    size_t nonzero = 0;
    int32_t *counters = mem_new(p->counted ? p->size : 1, sizeof *counters);
    for (size_t j = 0; j < p->size; j++) {
        int32_t c = p->counted ? param_counter(p, j) : p->value[j] != 0;
        if (c != 0 && p->counted) counters[nonzero] = c;
        nonzero += c != 0;
    }
    double bits = p->counted ? 0 : 32.0 * (double)nonzero, density = (double)nonzero / size;
    if (p->counted) qsort(counters, nonzero, sizeof *counters, counter_order);
    for (size_t first = 0, end; p->counted && first < nonzero; first = end) {
        for (end = first; end < nonzero && counters[end] == counters[first]; end++) {}
        bits += (double)nonzero * entropy_bits((double)(end - first) / (double)nonzero);
    }
    mem_free(counters);
    return (size * (entropy_bits(density) + entropy_bits(1 - density)) + bits) / 8;
}

static double entropy_bytes(const struct params *ps) {
    double bytes = 0;
    for (int i = 0; i < ps->count; i++)
        bytes += param_is_weight(&ps->list[i]) ? tensor_bytes(&ps->list[i]) : (double)ps->list[i].size;
    return bytes;
}

// --- pruning
// ----------------------------------------------------------------------------------------------------

// Zeroes all but the `keep` largest weights, in the values only.
static void weights_cut(struct params *ps, const real *sorted, size_t n, size_t keep) {
    real threshold = keep ? sorted[n - keep] : (real)INFINITY;
    size_t ties = keep; // how many of those that equal the threshold stay
    for (size_t i = n; i > 0 && sorted[i - 1] > threshold; i--) ties--;
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        for (size_t j = 0; param_is_weight(p) && j < p->size; j++) {
            real a = (real)fabs((double)p->value[j]);
            if (a > threshold) continue;
            if (a == threshold && ties > 0)
                ties--;
            else
                p->value[j] = 0;
        }
    }
}

static void pruning_measure(struct measures *m, struct run *r, const real *sorted, size_t n) {
    struct params *ps = r->params;
    struct score whole = {0}; // without pruning, once it is asked for
    real *values = mem_new(ps->size, sizeof *values);
    memcpy(values, ps->values, ps->size * sizeof *values);
    for (int i = 0; i < MEASURES_CUTS; i++) {
        size_t keep = (size_t)floor(measures_cut[i] * (double)n + 0.5);
        bool same = (double)keep >= m->nonzero;
        if (!same) weights_cut(ps, sorted, n, keep);
        struct score cut = same && whole.count ? whole : run_evaluate(r, PART_TEST);
        if (same) whole = cut;
        memcpy(ps->values, values, ps->size * sizeof *values);
        m->pruned_error[i] = score_error(cut);
        m->pruned_loss[i] = score_loss(cut);
    }
    mem_free(values);
}

// --- the run folder's files
// -------------------------------------------------------------------------------------

// A number or null, which is NAN.
static int number_read(double *out, const struct json *node, const char *key, struct err *e) {
    const struct json *value = json_find(node, key);
    if (!value) return err_set(e, "%s is missing", key);
    *out = NAN;
    if (json_type(value) == JSON_NUMBER)
        *out = json_number(value);
    else if (json_type(value) != JSON_NULL)
        return err_set(e, "%s: wanted a number or null, found %s", key, json_type_name(value));
    return 0;
}

static int summary_measure(struct measures *m, const struct run *r, const char *folder, struct err *e) {
    struct json *s = saved_summary_new(folder, e);
    if (!s) return -1;
    double speed = NAN;
    struct err ignored; // runs from before losses were written have none
    if (number_read(&m->test_loss, s, "test_loss", &ignored) != 0) m->test_loss = NAN;
    if (number_read(&m->validation_loss, s, "validation_loss", &ignored) != 0) m->validation_loss = NAN;
    int result = 0;
    if (number_read(&m->test_error, s, "test_error", e) != 0 ||
        number_read(&m->validation_error, s, "validation_error", e) != 0 ||
        number_read(&speed, s, "samples_per_second", e) != 0) {
        char path[PATH_LENGTH];
        result = file_join(path, sizeof path, folder, TRAIN_SUMMARY, &ignored) == 0 ? err_at(e, path) : -1;
    } else {
        m->step_seconds = speed > 0 ? (double)r->config.train.batch / speed : NAN;
    }
    json_free(s);
    return result;
}

// One line of metrics.jsonl, which may be the first to reach a goal.
static int line_measure(struct measures *m, const char *text, size_t length, int64_t batches, struct err *e) {
    struct json *line = json_parse_new(text, length, e);
    if (!line) return -1;
    const struct json *node = json_find(line, "epoch");
    int64_t epoch = 0;
    double error = NAN;
    int result =
        node ? json_read_int(&epoch, node, 1, INT32_MAX, "epoch", e) : err_set(e, "epoch is missing");
    if (result == 0) result = number_read(&error, line, "validation_error", e);
    for (int i = 0; result == 0 && i < MEASURES_GOALS; i++) {
        double steps = (double)epoch * (double)batches;
        if (error <= measures_goal[i] && !(m->steps_to_goal[i] <= steps)) m->steps_to_goal[i] = steps;
    }
    json_free(line);
    return result;
}

static int goals_measure(struct measures *m, const struct run *r, const char *folder, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, folder, TRAIN_METRICS, e) != 0) return -1;
    size_t size;
    char *text = (char *)file_read_new(&size, path, METRICS_LIMIT, e);
    if (!text) return -1;
    for (int i = 0; i < MEASURES_GOALS; i++) m->steps_to_goal[i] = NAN;
    int result = 0, number = 1;
    for (size_t first = 0, end; result == 0 && first < size; first = end + 1, number++) {
        const char *stop = memchr(text + first, '\n', size - first);
        end = stop ? (size_t)(stop - text) : size;
        result = line_measure(m, text + first, end - first, run_batches(r), e);
        if (result == 0) continue;
        // Each line is parsed as a text of one line.
        const struct err said = *e;
        bool has_column = strncmp(said.text, "line 1, ", 8) == 0;
        err_set(e, "%s: line %d%s%s", path, number, has_column ? ", " : ": ",
                said.text + (has_column ? 8 : 0));
    }
    mem_free(text);
    return result;
}

int measures_make(struct measures *m, struct run *r, const char *folder, struct err *e) {
    memset(m, 0, sizeof *m);
    if (summary_measure(m, r, folder, e) != 0 || goals_measure(m, r, folder, e) != 0) return -1;
    if (params_not_finite(r->params) >= 0) return err_set(e, "%s: a weight is not finite", folder);
    size_t weights, nonzero;
    train_density(&weights, &nonzero, r->params);
    m->weights = (double)weights;
    m->nonzero = (double)nonzero;
    m->density = weights ? (double)nonzero / (double)weights : 0;
    m->kurtosis = kurtosis(r->params, weights);
    m->entropy_bytes = entropy_bytes(r->params);
    m->state_bytes = optim_state_bytes(r->optim, OPTIM_WEIGHTS);
    real *sorted = sorted_new(&weights, r->params);
    shape_measure(m, sorted, weights);
    pruning_measure(m, r, sorted, weights);
    mem_free(sorted);
    return 0;
}

// --- JSON and the cache
// -----------------------------------------------------------------------------------------

struct json *measures_write_new(const struct measures *m) {
    struct json *node = json_object_new();
    for (const struct column *c = results_columns; c->key; c++)
        json_add_number(node, c->key, *(const double *)((const char *)m + c->offset));
    return node;
}

int measures_read(struct measures *m, const struct json *node, const char *path, struct err *e) {
    if (json_type(node) != JSON_OBJECT)
        return err_set(e, "%s: wanted an object, found %s", path, json_type_name(node));
    memset(m, 0, sizeof *m);
    for (const struct column *c = results_columns; c->key; c++)
        if (number_read((double *)((char *)m + c->offset), node, c->key, e) != 0) return err_at(e, path);
    for (const struct json *member = json_first(node); member; member = json_next(member)) {
        const struct column *c = results_columns;
        while (c->key && strcmp(c->key, json_key(member)) != 0) c++;
        if (!c->key) return err_set(e, "%s: unknown measure '%.60s'", path, json_key(member));
    }
    return 0;
}

// Whether the file is there and not older than the folder's other file, where there is one.
static bool fresh(const char *path, const char *folder, const char *other) {
    char other_path[PATH_LENGTH];
    struct err ignored;
    return file_join(other_path, sizeof other_path, folder, other, &ignored) == 0 &&
           file_is_fresh(path, other_path);
}

// -1 when there are no saved measures, or none that hold.
static int cache_read(struct measures *m, const char *path, const char *folder) {
    struct err ignored;
    if (!fresh(path, folder, TRAIN_CHECKPOINT) || !fresh(path, folder, TRAIN_SUMMARY)) return -1;
    struct json *node = json_load_new(path, MEASURES_LIMIT, &ignored);
    int result = node ? measures_read(m, node, path, &ignored) : -1;
    json_free(node);
    return result;
}

int measures_save(const struct measures *m, const char *folder, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, folder, MEASURES_FILE, e) != 0) return -1;
    struct json *node = measures_write_new(m);
    char *text = json_print_new(node, true);
    int result = file_write_text(path, text, e);
    mem_free(text);
    json_free(node);
    return result;
}

int measures_of_folder(struct measures *m, const char *folder, const struct run_options *options,
                       struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, folder, MEASURES_FILE, e) != 0) return -1;
    if (cache_read(m, path, folder) == 0) return 0;
    const struct run_options defaults = {0};
    struct run r;
    int result = saved_open(&r, folder, options ? options : &defaults, e);
    if (result == 0) result = measures_make(m, &r, folder, e);
    run_close(&r);
    return result == 0 ? measures_save(m, folder, e) : -1;
}
