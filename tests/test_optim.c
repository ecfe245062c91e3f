// The optimiser's stages, over the registry: they reach minima, stand absurd rates, rest when there is no
// gradient, keep frozen zeros at zero, do not depend on threads or on where a weight lies, and read their
// options back. Then what is special to counters, clip, the cost in bytes, and every error of a config.
#include <float.h>

#include "optim/optim.h"
#include "tests/check.h"

enum { TEXT = 600, SPAN = 1 << 13 }; // SPAN as in optim.c

// --- helpers ----------------------------------------------------------------------------------------------

// JSON written with ' for ".
static struct json *json_new(const char *text) {
    char quoted[TEXT];
    struct err e;
    assert_true(strlen(text) < sizeof quoted);
    for (size_t i = 0; i <= strlen(text); i++) quoted[i] = text[i] == '\'' ? '"' : text[i];
    struct json *node = json_parse_new(quoted, strlen(quoted), &e);
    if (!node) fail_msg("%s: %s", text, e.text);
    return node;
}

// A weight matrix with the usual initial values and a bias; gradients zero.
static struct params *params_of(int rows, int columns) {
    struct params *ps = params_new();
    params_add(ps, "w.weight", shape_2(rows, columns), 0.5, 0);
    params_add(ps, "w.bias", shape_1(3), 0.5, 0);
    params_alloc(ps, 1, 11);
    return ps;
}

static struct optim *optim_of(struct params *ps, const struct json *config) {
    struct err e;
    struct optim *o = optim_new(config, "optim", ps, 5, &e);
    if (!o) fail_msg("%s", e.text);
    return o;
}

// The stage with its options on the weights; then overrides of them, "rate=1 leak=0" (NULL: none).
static struct optim *stage_optim(struct params *ps, const char *stage, const char *options,
                                 const char *schedule, const char *overrides) {
    char text[TEXT];
    snprintf(text, sizeof text, "{\"weights\":[{\"%s\":%s}],\"others\":[\"sgd\"],\"schedule\":\"%s\"}", stage,
             options, schedule);
    struct json *config = json_new(text);
    while (overrides && *overrides) {
        struct err e;
        int length = (int)strcspn(overrides, " ");
        snprintf(text, sizeof text, "weights.0.%s.%.*s", stage, length, overrides);
        if (json_override(config, text, &e) != 0) fail_msg("%s", e.text);
        overrides += length + (overrides[length] == ' ');
    }
    struct optim *o = optim_of(ps, config);
    json_free(config); // nothing is borrowed from it
    return o;
}

static void both_free(struct optim *o, struct params *ps) {
    optim_free(o);
    params_free(ps);
}

// In -scale .. scale, most of them small.
static void gradients_random(struct params *ps, int step, double scale) {
    uint32_t *bits = mem_new(ps->size, sizeof *bits);
    struct rng r = rng_row(rng_stream(3, "gradients"), (uint64_t)step);
    rng_fill(bits, ps->size, &r, 0);
    for (size_t i = 0; i < ps->size; i++) {
        double u = bits[i] * 0x1p-31 - 1;
        ps->grads[0][i] = (real)(scale * u * u * u);
    }
    mem_free(bits);
}

// Counters are inside their limit and the values are theirs, to the bit.
static void check_counters(const char *where, const struct params *ps) {
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        for (size_t j = 0; p->counted && j < p->size; j++) {
            int32_t c = param_counter(p, j);
            if (c > p->number.limit || c < -p->number.limit)
                fail_msg("%s: counter %d, limit %d", where, (int)c, (int)p->number.limit);
            real want = (real)(p->scale * number_value(&p->number, c));
            if (!(p->value[j] == want && isfinite((double)want)))
                fail_msg("%s: counter %d is %g, value %g", where, (int)c, (double)want, (double)p->value[j]);
        }
    }
}

static bool has_field(const char *stage, const char *name) {
    for (int t = 0; stage_types[t]; t++)
        for (const struct field *f = stage_types[t]->fields; f->name; f++)
            if (strcmp(stage_types[t]->name, stage) == 0 && strcmp(f->name, name) == 0) return true;
    return false;
}

static void *copy_new(const void *from, size_t bytes) {
    return memcpy(mem_new(bytes, 1), from, bytes);
}

// --- the table --------------------------------------------------------------------------------------------

// Stages with options that suit a parabola and, the second if there is one, a narrow valley. The bounds are
// about twice the worst of 40 seeds.
static const struct row {
    const char *stage, *options, *valley_options;
    double parabola;         // largest distance from the target, in units of the largest initial weight
    double start[2], valley; // Rosenbrock's function at the end; 24 or more at the start
} rows[] = {
    {"sgd", "{'rate':0.05}", "{'rate':0.001}", 1e-6, {-1.2, 1}, 2e-6},
    {"sgd", "{'rate':0.05,'nesterov':true}", "{'rate':0.001,'nesterov':true}", 1e-6, {-1.2, 1}, 2e-6},
    {"adam", "{'rate':0.05}", NULL, 1e-6, {-1.2, 1}, 1e-5},
    {"adamw", "{'rate':0.05,'weight_decay':0}", NULL, 1e-6, {-1.2, 1}, 1e-5},
    {"madam", "{'rate':0.05,'beta':0.9}", NULL, 1e-6, {0.3, 1.8}, 3e-3},
    {"integer_madam", "{'factor':30,'beta':0.9}", NULL, 1e-3, {0.3, 1.8}, 0.2},
    {"integer_madam", "{'bits':10,'factor':10,'beta':0.9}", NULL, 4e-3, {0.3, 1.8}, 0.03},
    {"integer_madam", "{'bits':8,'factor':2,'beta':0.9}", NULL, 0.09, {0.3, 1.8}, 0.6},
    {"counter", "{'beta2':0.9}", NULL, 8e-3, {-1.2, 1}, 8e-3},
    {"counter", "{'beta2':0.9,'rounding':'nearest'}", NULL, 6e-3, {-1.2, 1}, 1e-3},
    {"counter", "{'bits':8,'direction':'tensor','momentum':0,'beta2':0.9}", NULL, 0.1, {-1.2, 1}, 6},
    {"counter", "{'direction':'sign'}", NULL, 4e-3, {-1.2, 1}, 2},
    {"counter", "{'map':'linear','bits':12,'direction':'momentum-sign'}", NULL, 0.025, {-1.2, 1}, 0.06},
    {"counter", "{'map':'power','parameter':3,'bits':32,'beta2':0.9}", NULL, 6e-4, {-1.2, 1}, 5e-8},
    {"counter", "{'map':'exp','direction':'tensor','beta2':0.9}", NULL, 0.02, {-1.2, 1}, 0.02},
    {"counter", "{'map':'pow2','beta2':0.9}", NULL, 0.035, {0.3, 1.8}, 0.05},
    {"counter",
     "{'direction':'chain','rate':0.2}",
     "{'direction':'chain','rate':0.001}",
     6e-3,
     {0.3, 1.8},
     0.04},
};

enum { ROWS = sizeof rows / sizeof *rows };

static struct optim *row_optim(struct params *ps, const struct row *row, const char *overrides) {
    return stage_optim(ps, row->stage, row->options, "cosine", overrides);
}

static void every_stage_has_a_row(void **state) {
    (void)state;
    for (int t = 0; stage_types[t]; t++) {
        bool found = !stage_types[t]->moves;
        for (int i = 0; i < ROWS; i++) found |= strcmp(rows[i].stage, stage_types[t]->name) == 0;
        if (!found) fail_msg("the table has no row for the stage '%s'", stage_types[t]->name);
    }
}

// --- minima -----------------------------------------------------------------------------------------------

// Runs a row down sum (w - target)^2 and gives the largest distance that is left; the targets lie on the side of
// the start, or across zero.
static double descend(const struct row *row, bool across) {
    enum { STEPS = 400, N = 64 };
    struct params *ps = params_of(8, 8);
    struct rng r = rng_stream(1, "targets");
    double target[N], furthest = 0;
    for (int j = 0; j < N; j++)
        target[j] = ((ps->values[j] < 0) != across ? -1 : 1) * (0.05 + 0.4 * rng_uniform(&r));
    struct optim *o = row_optim(ps, row, NULL);
    for (int step = 1; step <= STEPS; step++) {
        for (int j = 0; j < N; j++) ps->grads[0][j] = (real)(2 * ((double)ps->values[j] - target[j]));
        optim_step(o, step, step - 1, STEPS, 1);
    }
    for (int j = 0; j < N; j++) furthest = fmax(furthest, fabs((double)ps->values[j] - target[j]) / 0.5);
    check_counters(row->options, ps);
    both_free(o, ps);
    return furthest;
}

static void parabola(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        double left = descend(&rows[i], false);
        if (!(left <= rows[i].parabola)) fail_msg("%s %s: %g left", rows[i].stage, rows[i].options, left);
    }
}

// The sign of Madam's weights is for life, and chain is held where f' is 0; all others cross zero.
static void parabola_across_zero(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        bool held = strstr(rows[i].stage, "madam") || strstr(rows[i].options, "chain");
        double left = descend(&rows[i], true);
        if (held != !(left <= rows[i].parabola))
            fail_msg("%s %s: %g left", rows[i].stage, rows[i].options, left);
    }
}

static double rosenbrock(const real *w, real *grad) {
    double x = (double)w[0], y = (double)w[1];
    grad[0] = (real)(-2 * (1 - x) - 400 * x * (y - x * x));
    grad[1] = (real)(200 * (y - x * x));
    return (1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x);
}

static void valley(void **state) {
    (void)state;
    enum { STEPS = 3000 };
    for (int i = 0; i < ROWS; i++) {
        struct params *ps = params_of(1, 2);
        for (int j = 0; j < 2; j++) ps->values[j] = (real)rows[i].start[j];
        assert_true(rosenbrock(ps->values, ps->grads[0]) > 24);
        const char *options = rows[i].valley_options ? rows[i].valley_options : rows[i].options;
        struct optim *o = stage_optim(ps, rows[i].stage, options, "cosine", NULL);
        for (int step = 1; step <= STEPS; step++) {
            rosenbrock(ps->values, ps->grads[0]);
            optim_step(o, step, step - 1, STEPS, 1);
        }
        double end = rosenbrock(ps->values, ps->grads[0]);
        if (!(end <= rows[i].valley)) fail_msg("%s %s: %g left", rows[i].stage, options, end);
        both_free(o, ps);
    }
}

// --- what must not happen ---------------------------------------------------------------------------------

// The largest rates the options allow, on gradients of any size.
static void absurd_rate(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++)
        for (int power = -30; power <= 30; power += 15) {
            struct params *ps = params_of(8, 9);
            const char *most = has_field(rows[i].stage, "leak")      ? "rate=1000 leak=1000"
                               : has_field(rows[i].stage, "factor")  ? "factor=10000"
                               : has_field(rows[i].stage, "p_scale") ? "rate=10"
                                                                     : "rate=1000";
            struct optim *o = row_optim(ps, &rows[i], most);
            for (int step = 1; step <= 20; step++) {
                gradients_random(ps, step, pow(10, power));
                optim_step(o, step, step - 1, 20, 1);
                check_counters(rows[i].options, ps);
            }
            both_free(o, ps);
        }
}

static void gradient_not_finite(void **state) {
    (void)state;
    static const double poison[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX};
    for (int i = 0; i < ROWS; i++) {
        struct params *ps = params_of(9, 9);
        struct optim *o = row_optim(ps, &rows[i], NULL);
        for (int step = 1; step <= 10; step++) {
            gradients_random(ps, step, 1);
            for (size_t j = (size_t)step; j < ps->size; j += 3) ps->grads[0][j] = (real)poison[j % 5];
            optim_step(o, step, step - 1, 10, 1);
            check_counters(rows[i].options, ps);
        }
        both_free(o, ps);
    }
}

static void zero_gradient(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct params *ps = params_of(20, 30);
        struct optim *o = row_optim(ps, &rows[i], NULL);
        real *before = copy_new(ps->values, ps->size * sizeof(real));
        for (int step = 1; step <= 20; step++) optim_step(o, step, step - 1, 20, 1);
        if (memcmp(before, ps->values, ps->size * sizeof(real)) != 0)
            fail_msg("%s %s: moves without a gradient", rows[i].stage, rows[i].options);
        check_counters(rows[i].options, ps);
        mem_free(before);
        both_free(o, ps);
    }
}

// Without a gradient the leak drains every counter to exactly 0, where it stays; after the freeze nothing
// leaks.
static void leak_drains(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!has_field(rows[i].stage, "leak")) continue;
        struct params *ps = params_of(20, 30);
        const struct param *p = &ps->list[0];
        struct optim *o = stage_optim(ps, rows[i].stage, rows[i].options, "constant", "rate=0.05 leak=1");
        for (int step = 1; step <= 10; step++) optim_step(o, step, step - 1, 60, 1);
        assert_true(param_nonzero(p) > p->size / 4 && param_nonzero(p) < p->size);
        o->sparsity.frozen = true;
        real *before = copy_new(ps->values, ps->size * sizeof(real));
        for (int step = 11; step <= 20; step++) optim_step(o, step, step - 1, 60, 1);
        assert_memory_equal(before, ps->values, ps->size * sizeof(real));
        o->sparsity.frozen = false;
        for (int step = 21; step <= 60; step++) {
            size_t alive = param_nonzero(p);
            optim_step(o, step, step - 1, 60, 1);
            assert_true(param_nonzero(p) <= alive);
        }
        for (size_t j = 0; j < p->size; j++)
            if (param_counter(p, j) != 0 || p->value[j] != 0)
                fail_msg("%s: counter %d left", rows[i].options, (int)param_counter(p, j));
        mem_free(before);
        both_free(o, ps);
    }
}

static void zeros_make(struct param *p, size_t each) {
    for (size_t j = 0; j < p->size; j += each)
        if (p->counted)
            param_set_counter(p, j, 0);
        else
            p->value[j] = 0;
}

static void check_zeros(const char *where, const struct param *p, size_t each) {
    for (size_t j = 0; j < p->size; j += each)
        if (p->value[j] != 0 || (p->counted && param_counter(p, j) != 0))
            fail_msg("%s: frozen weight %d came back as %g", where, (int)j, (double)p->value[j]);
}

static void frozen_zeros(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct params *ps = params_of(100, 90); // two spans
        struct param *p = &ps->list[0];
        struct optim *o = row_optim(ps, &rows[i], NULL);
        zeros_make(p, 3);
        param_freeze(p);
        o->sparsity.frozen = true;
        real *before = copy_new(p->value, p->size * sizeof(real));
        for (int step = 1; step <= 12; step++) {
            gradients_random(ps, step, step % 4 == 0 ? 1e6 : 1);
            for (size_t j = 0; step > 6 && j < p->size; j += 5)
                ps->grads[0][j] = (real)(step % 2 ? NAN : INFINITY);
            optim_step(o, step, step - 1, 12, 1);
            check_zeros(rows[i].options, p, 3);
            size_t moved = 0;
            for (size_t j = 0; j < p->size; j++) moved += p->value[j] != before[j];
            if (step == 6 && moved < p->size / 4)
                fail_msg("%s %s: %d survivors move", rows[i].stage, rows[i].options, (int)moved);
        }
        mem_free(before);
        both_free(o, ps);
    }
}

// The gradients of the dead are in no norm and no mean: the living move to the same bits, whatever they are.
static void the_dead_do_not_count(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        char text[TEXT];
        struct params *ps[2];
        struct optim *o[2];
        snprintf(text, sizeof text, "{'weights':['clip',{'%s':%s}],'others':['sgd']}", rows[i].stage,
                 rows[i].options);
        struct json *config = json_new(text);
        for (int k = 0; k < 2; k++) {
            ps[k] = params_of(100, 90);
            o[k] = optim_of(ps[k], config);
            zeros_make(&ps[k]->list[0], 3);
            param_freeze(&ps[k]->list[0]);
            o[k]->sparsity.frozen = true;
            for (int step = 1; step <= 3; step++) {
                gradients_random(ps[k], step, 1);
                for (size_t j = 0; j < ps[k]->list[0].size; j += 3) ps[k]->grads[0][j] = (real)(k ? 1e3 : 0);
                optim_step(o[k], step, step - 1, 3, 1);
            }
        }
        if (memcmp(ps[0]->list[0].value, ps[1]->list[0].value, ps[0]->list[0].size * sizeof(real)) != 0)
            fail_msg("%s %s: the dead count", rows[i].stage, rows[i].options);
        json_free(config);
        for (int k = 0; k < 2; k++) both_free(o[k], ps[k]);
    }
}

static void mean_of_the_living(void **state) {
    (void)state;
    struct params *ps = params_of(2, 6);
    struct json *config =
        json_new("{'weights':[{'counter':{'direction':'tensor','beta2':0.75}}],'others':['sgd']}");
    struct optim *o = optim_of(ps, config);
    zeros_make(&ps->list[0], 3); // four of twelve
    param_freeze(&ps->list[0]);
    o->sparsity.frozen = true;
    for (size_t j = 0; j < 12; j++) ps->grads[0][j] = 2;
    optim_step(o, 1, 0, 1, 1);
    const struct stage *s = &o->stages[OPTIM_WEIGHTS][0];
    assert_string_equal(s->slots[1].name, "rms");
    assert_true(s->slots[1].value[0][0] == 1); // (1 - 0.75) · 2²
    json_free(config);
    both_free(o, ps);
}

// --- threads and places -----------------------------------------------------------------------------------

// What 2 steps with these threads leave behind: values, counters and slots, one after the other.
static uint8_t *trace_new(const struct row *row, int threads, size_t *bytes) {
    char text[TEXT];
    snprintf(text, sizeof text, "{'weights':['clip',{'%s':%s}],'others':['clip','sgd']}", row->stage,
             row->options);
    struct json *config = json_new(text);
    struct params *ps = params_of(150, 3 * SPAN / 150 + 20);
    struct optim *o = optim_of(ps, config);
    json_free(config);
    for (int step = 1; step <= 2; step++) {
        gradients_random(ps, step, 1);
        optim_step(o, step, step - 1, 2, threads);
    }
    const struct stage *s = &o->stages[OPTIM_WEIGHTS][1];
    const struct param *p = &ps->list[0];
    size_t room = p->size * sizeof(real), at = ps->size * sizeof(real);
    uint8_t *trace = mem_new(at + 4 * room, 1);
    memcpy(trace, ps->values, at);
    if (p->counted) memcpy(trace + at, p->counter, p->size * (size_t)number_bytes(&p->number));
    at += room;
    for (int k = 0; k < s->slot_count; k++, at += room)
        memcpy(trace + at, s->slots[k].value[0], s->slots[k].per_weight ? room : sizeof(real));
    *bytes = at;
    both_free(o, ps);
    return trace;
}

static void threads_do_not_matter(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        size_t bytes, again;
        uint8_t *one = trace_new(&rows[i], 1, &bytes), *two = trace_new(&rows[i], 2, &again);
        assert_int_equal(bytes, again);
        if (memcmp(one, two, bytes) != 0)
            fail_msg("%s %s: two threads differ from one", rows[i].stage, rows[i].options);
        mem_free(one);
        mem_free(two);
    }
}

// Weights with the same values and gradients move alike wherever they lie: in a block, at its end, in another
// span.
static void places_do_not_matter(void **state) {
    (void)state;
    enum { PERIOD = 20 };
    for (int i = 0; i < ROWS; i++) {
        struct params *ps = params_of(3, SPAN / 2 + 77);
        struct param *p = &ps->list[0];
        for (size_t j = PERIOD; j < p->size; j++) p->value[j] = p->value[j % PERIOD];
        struct optim *o =
            row_optim(ps, &rows[i], has_field(rows[i].stage, "rounding") ? "rounding=nearest" : NULL);
        for (size_t j = PERIOD; p->counted && j < p->size; j++)
            param_set_counter(p, j, param_counter(p, j % PERIOD)); // integer Madam starts at random
        for (int step = 1; step <= 5; step++) {
            gradients_random(ps, step, 1);
            for (size_t j = PERIOD; j < p->size; j++) ps->grads[0][j] = ps->grads[0][j % PERIOD];
            optim_step(o, step, step - 1, 5, 1);
        }
        for (size_t j = PERIOD; j < p->size; j++)
            if (p->value[j] != p->value[j % PERIOD])
                fail_msg("%s %s: weight %d is %g, not %g", rows[i].stage, rows[i].options, (int)j,
                         (double)p->value[j], (double)p->value[j % PERIOD]);
        both_free(o, ps);
    }
}

// --- options ----------------------------------------------------------------------------------------------

// The k-th value to try, as JSON: every choice, else one that is not the default; false when there is none.
static bool other_value(char *text, size_t size, const struct field *f, int k) {
    int value = (int)f->initial + 1;
    const char *word = f->text;
    switch (f->type) {
    case FIELD_INT:
        if (strcmp(f->name, "bits") == 0) value = f->initial == 12 ? 10 : 12;
        snprintf(text, size, "%d", value);
        return k == 0;
    case FIELD_REAL:
        snprintf(text, size, "%.17g", f->initial > 0 ? f->initial / 2 : fmin(f->max, 0.01));
        return k == 0;
    case FIELD_BOOL:
        snprintf(text, size, "%s", f->initial != 0 ? "false" : "true");
        return k == 0;
    case FIELD_CHOICE:
        for (; word && k > 0; k--) word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL;
        if (word) snprintf(text, size, "\"%.*s\"", (int)strcspn(word, "|"), word);
        return word != NULL;
    default:
        return false;
    }
}

// Builds from the text, writes; what is at `path` must be `value`; builds from that, writes: the same.
static void check_written(const char *text, const char *path, const char *value) {
    struct params *first = params_of(8, 8), *second = params_of(8, 8);
    struct json *config = json_new(text), *want = json_new(value);
    struct optim *o = optim_of(first, config);
    struct json *written = optim_write_new(o);
    const struct json *found = json_at(written, path);
    if (!found || !json_equal(found, want)) fail_msg("%s: %s was not written as %s", text, path, value);
    struct optim *rebuilt = optim_of(second, written);
    struct json *again = optim_write_new(rebuilt);
    char *a = json_print_new(written, false), *b = json_print_new(again, false);
    assert_string_equal(a, b);
    mem_free(a);
    mem_free(b);
    json_free(again);
    json_free(written);
    json_free(want);
    json_free(config);
    both_free(o, first);
    both_free(rebuilt, second);
}

static int check_fields(const struct field *fields, const char *format, const char *path, const char *name) {
    int count = 0;
    for (const struct field *f = fields; f->name; f++) {
        char value[80], options[200], text[TEXT], where[200];
        for (int k = 0; other_value(value, sizeof value, f, k); k++, count++) {
            snprintf(options, sizeof options, "{\"%s\":%s}", f->name, value);
            snprintf(text, sizeof text, format, name, options);
            snprintf(where, sizeof where, path, name, f->name);
            check_written(text, where, value);
        }
    }
    return count;
}

static void options_are_read_back(void **state) {
    (void)state;
    int count = 0;
    for (int t = 0; stage_types[t]; t++)
        count += check_fields(stage_types[t]->fields,
                              stage_types[t]->moves ? "{'weights':[{'%s':%s}],'others':['sgd']}"
                                                    : "{'weights':[{'%s':%s},'sgd'],'others':['sgd']}",
                              "weights.0.%s.%s", stage_types[t]->name);
    for (int k = 0; k < SCHEDULE_KINDS; k++)
        count += check_fields(schedule_types[k].fields,
                              "{'weights':['sgd'],'others':['sgd'],'schedule':{'%s':%s}}", "schedule.%s.%s",
                              schedule_types[k].name);
    count +=
        check_fields(sparsity_fields, "{'weights':['sgd'],'others':['sgd'],'%s':%s}", "%s.%s", "sparsity");
    assert_true(count > 60);
}

// --- counters ---------------------------------------------------------------------------------------------

static const char *const maps[] = {"linear", "square", "power", "exp", "pow2"};
static const int widths[] = {8, 12, 16, 32};
enum { MAPS = 5, WIDTHS = 4 };

static struct optim *counter_optim(struct params *ps, const char *map, int bits, const char *overrides) {
    char options[80];
    snprintf(options, sizeof options, "{\"map\":\"%s\",\"bits\":%d}", map, bits);
    return stage_optim(ps, "counter", options, "constant", overrides);
}

static void counters_set(struct param *p, int32_t c) {
    for (size_t j = 0; j < p->size; j++) param_set_counter(p, j, c);
}

static void value_is_the_counter(void **state) {
    (void)state;
    static const char *const others[] = {"rate=0.02 leak=0.1", "rate=0.5 direction=tensor momentum=0",
                                         "direction=chain rate=0.1"};
    for (int m = 0; m < MAPS; m++)
        for (int w = 0; w < WIDTHS; w++)
            for (int i = 0; i < 3; i++) {
                struct params *ps = params_of(20, 30);
                struct optim *o = counter_optim(ps, maps[m], widths[w], others[i]);
                check_counters(maps[m], ps);
                for (int step = 1; step <= 20; step++) {
                    gradients_random(ps, step, 1);
                    optim_step(o, step, step - 1, 20, 1);
                    check_counters(maps[m], ps);
                }
                both_free(o, ps);
            }
}

// The largest initial weight sits at `unit`, every other between its counter's neighbours (linear: within half a
// count).
static void counters_start_at_unit(void **state) {
    (void)state;
    for (int m = 0; m < MAPS; m++)
        for (int w = 0; w < WIDTHS; w++) {
            struct params *ps = params_of(20, 30);
            struct param *p = &ps->list[0];
            real *before = copy_new(p->value, p->size * sizeof(real));
            struct optim *o = counter_optim(ps, maps[m], widths[w], NULL);
            int32_t largest = 0;
            for (size_t j = 0; j < p->size; j++) {
                int32_t c = param_counter(p, j), a = c < 0 ? -c : c;
                if (a > largest) largest = a;
                double at = fabs((double)before[j]) / p->scale, half = 0.50001;
                double low = a > 0 ? number_value(&p->number, a - 1) : 0, here = number_value(&p->number, a);
                double high = number_value(&p->number, a + 1);
                assert_true(at > low && at < high && (c < 0) == (before[j] < 0 && c != 0));
                if (m == 0) assert_true(fabs(at - here) <= half);
            }
            assert_int_equal(largest, p->number.unit);
            mem_free(before);
            both_free(o, ps);
        }
}

static void counters_saturate(void **state) {
    (void)state;
    for (int m = 0; m < MAPS; m++)
        for (int w = 0; w < WIDTHS; w++) {
            struct params *ps = params_of(4, 5);
            struct param *p = &ps->list[0];
            struct optim *o = counter_optim(ps, maps[m], widths[w], "rate=100 direction=sign");
            for (int step = 1; step <= 40; step++) {
                for (size_t j = 0; j < p->size; j++) ps->grads[0][j] = j % 2 ? 1e-20f : -1e-20f;
                optim_step(o, step, step - 1, 40, 1);
            }
            for (size_t j = 0; j < p->size; j++)
                assert_int_equal(param_counter(p, j), j % 2 ? -p->number.limit : p->number.limit);
            check_counters(maps[m], ps);
            both_free(o, ps);
        }
}

// A counter at 0 follows its gradient in every direction but chain, where f'(0) = 0 holds it.
static void zero_is_no_trap(void **state) {
    (void)state;
    static const char *const directions[] = {"sign", "momentum-sign", "adam", "tensor", "chain"};
    for (int m = 0; m < MAPS; m++)
        for (int d = 0; d < 5; d++) {
            char overrides[80];
            snprintf(overrides, sizeof overrides, "direction=%s rate=0.05", directions[d]);
            struct params *ps = params_of(4, 5);
            struct param *p = &ps->list[0];
            struct optim *o = counter_optim(ps, maps[m], 16, overrides);
            counters_set(p, 0);
            for (int step = 1; step <= 5; step++) {
                for (size_t j = 0; j < p->size; j++) ps->grads[0][j] = j % 2 ? 1 : -1;
                optim_step(o, step, step - 1, 5, 1);
            }
            bool held = d == 4 && (strcmp(maps[m], "square") == 0 || strcmp(maps[m], "power") == 0);
            for (size_t j = 0; j < p->size && (held || d < 4); j++) {
                if (held) assert_int_equal(param_counter(p, j), 0);
                if (!held) assert_true(j % 2 ? param_counter(p, j) < 0 : param_counter(p, j) > 0);
            }
            both_free(o, ps);
        }
}

// Many moves of `move` counts: their mean within 4 standard errors, after one step and after 40; the sums'
// variance, which would grow if steps shared their random numbers; and no likeness of neighbours or tensors.
static void check_rounding(double move, int bits, int32_t from) {
    enum { STEPS = 40, SIDE = 100, N = SIDE * SIDE };
    struct params *ps = params_new();
    params_add(ps, "a.weight", shape_2(SIDE, SIDE), 0.5, 0);
    params_add(ps, "b.weight", shape_2(SIDE, SIDE), 0.5, 0);
    params_add(ps, "b.bias", shape_1(2), 0.5, 0);
    params_alloc(ps, 1, 11);
    char overrides[80];
    snprintf(overrides, sizeof overrides, "direction=sign unit=100 rate=%.17g", fabs(move) / 100);
    struct optim *o = counter_optim(ps, "linear", bits, overrides);
    counters_set(&ps->list[0], from);
    counters_set(&ps->list[1], from);
    double share = fabs(move) - floor(fabs(move)), each = share * (1 - share);
    for (int step = 1; step <= STEPS; step++) {
        for (int j = 0; j < 2 * N; j++) ps->grads[0][j] = move > 0 ? -1 : 1;
        optim_step(o, step, step - 1, STEPS, 1);
        if (step != 1 && step != STEPS) continue;
        double sum = 0, squares = 0, neighbours = 0, tensors = 0;
        for (size_t j = 0; j < N; j++) {
            double a = param_counter(&ps->list[0], j) - from - step * move;
            double next = param_counter(&ps->list[0], (j + 1) % N) - from - step * move;
            double b = param_counter(&ps->list[1], j) - from - step * move;
            sum += a, squares += a * a, neighbours += a * next, tensors += a * b;
        }
        double variance = step * each, error = 4 * sqrt(variance / N);
        if (!(fabs(sum / N) <= error)) fail_msg("moves of %g: off by %g, %g allowed", move, sum / N, error);
        double spread = (1 - 6 * each) / variance + 2; // of squares of a binomial: excess kurtosis + 2
        assert_true(fabs(squares / N - variance) <= 4 * variance * sqrt(spread / N));
        assert_true(fabs(neighbours / N) <= 4 * variance / sqrt(N));
        assert_true(fabs(tensors / N) <= 4 * variance / sqrt(N));
    }
    both_free(o, ps);
}

static void rounding_is_unbiased(void **state) {
    (void)state;
    check_rounding(0.3, 16, 5);
    check_rounding(-0.3, 16, 5);
    check_rounding(0.02, 16, -7);
    check_rounding(-2.75, 16, 3);
    check_rounding(0.001, 12, 100);
    check_rounding(0.3, 8, 0);
    check_rounding(0.25, 32, (1 << 30) + 1); // where a float has steps of 64
}

static void large_counters_keep_small_moves(void **state) {
    (void)state;
    struct params *ps = params_of(2, 2);
    struct param *p = &ps->list[0];
    struct optim *o = counter_optim(ps, "square", 32, "direction=sign unit=1000 rate=0.003 rounding=nearest");
    counters_set(p, (1 << 30) + 1);
    param_set_counter(p, 3, -(1 << 30) - 1);
    for (size_t j = 0; j < p->size; j++) ps->grads[0][j] = j == 1 ? 1 : -1;
    optim_step(o, 1, 0, 1, 1);
    assert_int_equal(param_counter(p, 0), (1 << 30) + 4);
    assert_int_equal(param_counter(p, 1), (1 << 30) - 2);
    assert_int_equal(param_counter(p, 2), (1 << 30) + 4);
    assert_int_equal(param_counter(p, 3), -(1 << 30) + 2);
    check_counters("square", ps);
    both_free(o, ps);
}

static void bytes_of_state(void **state) {
    (void)state;
    static const struct {
        const char *stage;
        double bytes;
    } table[] = {
        {"{'counter':{'direction':'tensor','momentum':0}}", 2},
        {"{'counter':{'direction':'tensor','momentum':0,'bits':8}}", 1},
        {"{'counter':{'direction':'tensor','momentum':0,'bits':12}}", 2},
        {"{'counter':{'direction':'tensor','momentum':0,'bits':32}}", 4},
        {"{'counter':{'direction':'sign'}}", 2},
        {"{'counter':{'direction':'chain','momentum':0}}", 2},
        {"{'counter':{'direction':'tensor'}}", 6},
        {"{'counter':{'direction':'momentum-sign','bits':8}}", 5},
        {"{'counter':{'direction':'adam','momentum':0}}", 6},
        {"{'counter':{}}", 10},
        {"{'integer_madam':{}}", 6},
        {"{'madam':{}}", 8},
        {"{'sgd':{'momentum':0}}", 4},
        {"'sgd'", 8},
        {"'adam'", 12},
        {"'adamw'", 12},
        {"'clip','adam'", 12},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[TEXT];
        snprintf(text, sizeof text, "{'weights':[%s],'others':['sgd']}", table[i].stage);
        struct json *config = json_new(text);
        struct params *ps = params_of(100, 100);
        struct optim *o = optim_of(ps, config);
        double bytes = optim_state_bytes(o, OPTIM_WEIGHTS);
        if (bytes < table[i].bytes || bytes > table[i].bytes + 8.0 / (100 * 100))
            fail_msg("%s: %g bytes a weight, wanted %g", table[i].stage, bytes, table[i].bytes);
        assert_true(optim_state_bytes(o, OPTIM_OTHERS) == 8);
        json_free(config);
        both_free(o, ps);
    }
}

// --- clip -------------------------------------------------------------------------------------------------

static double norm_of(const real *v, size_t size) {
    double sum = 0;
    for (size_t j = 0; j < size; j++) sum += (double)v[j] * (double)v[j];
    return sqrt(sum);
}

static void clip_limits_the_norm(void **state) {
    (void)state;
    struct params *ps = params_new();
    params_add(ps, "a.weight", shape_2(30, 300), 0.5, 0); // two spans
    params_add(ps, "b.weight", shape_2(7, 5), 0.5, 0);
    params_add(ps, "b.bias", shape_1(9), 0.5, 0);
    params_alloc(ps, 1, 11);
    struct json *config = json_new("{'weights':[{'clip':{'norm':2.5}},'sgd'],'others':['sgd']}");
    struct optim *o = optim_of(ps, config);
    real *grad = ps->grads[0], *before = mem_new(ps->size, sizeof(real));
    size_t weights = ps->list[2].offset;
    for (int power = -12; power <= 12; power += 3) {
        gradients_random(ps, power + 20, pow(10, power));
        memcpy(before, grad, ps->size * sizeof(real));
        double norm = norm_of(before, weights);
        optim_step(o, 1, 0, 1, 2);
        size_t untouched = norm <= 2.5 ? 0 : weights; // the biases have no clip
        assert_memory_equal(grad + untouched, before + untouched, (ps->size - untouched) * sizeof(real));
        if (norm <= 2.5) continue;
        assert_true(fabs(norm_of(grad, weights) / 2.5 - 1) < 1e-6);
        for (size_t j = 0; j < weights; j++)
            assert_true(fabs((double)grad[j] - (double)before[j] * 2.5 / norm) <=
                        1e-6 * fabs((double)grad[j]));
    }
    memset(grad, 0, ps->size * sizeof(real));
    grad[0] = 1.5f, grad[weights - 1] = -2; // a norm of exactly 2.5 passes
    optim_step(o, 1, 0, 1, 1);
    assert_true(grad[0] == 1.5f && grad[weights - 1] == -2);
    mem_free(before);
    json_free(config);
    both_free(o, ps);
}

// --- errors -----------------------------------------------------------------------------------------------

#define WEIGHTS(stages) "{'weights':[" stages "],'others':['sgd']}"
#define COUNTER(options) WEIGHTS("{'counter':{" options "}}")
#define OTHERS(stages) "{'weights':['sgd'],'others':[" stages "]}"
#define SCHEDULE(schedule) "{'weights':['sgd'],'others':['sgd'],'schedule':" schedule "}"
#define SPARSITY(options) "{'weights':['counter'],'others':['sgd'],'sparsity':{" options "}}"

static const struct {
    const char *config, *message;
} errors[] = {
    {WEIGHTS("'countr'"), "optim.weights.0: unknown stage 'countr'; did you mean 'counter'?"},
    {WEIGHTS("3"), "optim.weights.0: wanted a name or {\"name\": {options}}, found a number"},
    {WEIGHTS("{'adam':{},'sgd':{}}"),
     "optim.weights.0: wanted a name or {\"name\": {options}}, found an object of several keys or none"},
    {WEIGHTS("{'adam':3}"), "optim.weights.0.adam: wanted an object, found a number"},
    {WEIGHTS("'adam','sgd'"),
     "optim.weights: 'adam' and 'sgd' both move the numbers; a list has one such stage"},
    {WEIGHTS("'counter','integer_madam'"),
     "optim.weights: 'counter' and 'integer_madam' both move the numbers; a list has one such stage"},
    {WEIGHTS("'counter',{'counter':{'bits':8}}"),
     "optim.weights: 'counter' and 'counter' both move the numbers; a list has one such stage"},
    {WEIGHTS("'clip'"), "optim.weights: no stage moves the numbers; add one such as \"counter\" or \"adam\""},
    {WEIGHTS("'adam','clip'"), "optim.weights.1: 'clip' comes after 'adam', which has used the gradient"},
    {WEIGHTS(""), "optim.weights: wanted a list of 1 to 8 stages, such as [{\"adam\": {\"rate\": 0.001}}]"},
    {WEIGHTS("'clip','clip','clip','clip','clip','clip','clip','clip','sgd'"),
     "optim.weights: wanted a list of 1 to 8 stages, such as [{\"adam\": {\"rate\": 0.001}}]"},
    {"{'weights':'sgd','others':['sgd']}",
     "optim.weights: wanted a list of 1 to 8 stages, such as [{\"adam\": {\"rate\": 0.001}}]"},
    {"{'others':['sgd']}",
     "optim.weights: wanted a list of 1 to 8 stages, such as [{\"adam\": {\"rate\": 0.001}}]"},
    {"{'weights':['sgd']}",
     "optim.others: wanted a list of 1 to 8 stages, such as [{\"adam\": {\"rate\": 0.001}}]"},
    {"{'weights':['sgd'],'others':['sgd'],'weight':[]}",
     "optim: unknown key 'weight'; did you mean 'weights'?"},
    {"['sgd']", "optim: wanted an object, found a list"},
    {COUNTER("'rate':-1"), "optim.weights.0.counter.rate: -1 is not in 0 .. 1000"},
    {COUNTER("'rate':'fast'"), "optim.weights.0.counter.rate: wanted a number, found a string"},
    {COUNTER("'rate':2000"), "optim.weights.0.counter.rate: 2000 is not in 0 .. 1000"},
    {COUNTER("'leek':1"), "optim.weights.0.counter: unknown key 'leek'; did you mean 'leak'?"},
    {COUNTER("'map':'sqare'"), "optim.weights.0.counter.map: unknown value 'sqare'; did you mean 'square'?"},
    {COUNTER("'map':'madam'"),
     "optim.weights.0.counter.map: unknown value 'madam'; known: linear, square, power, exp, pow2"},
    {COUNTER("'direction':3"), "optim.weights.0.counter.direction: wanted a string, found a number"},
    {COUNTER("'bits':9"), "optim.weights.0.counter.bits: 9 is not 8, 12, 16 or 32"},
    {COUNTER("'bits':64"), "optim.weights.0.counter.bits: 64 is not in 8 .. 32"},
    {COUNTER("'bits':8.5"), "optim.weights.0.counter.bits: wanted a whole number, found 8.5"},
    {COUNTER("'bits':8,'unit':128"), "optim.weights.0.counter.unit: 128 does not fit 8 bits"},
    {COUNTER("'bits':32,'unit':4000000000"),
     "optim.weights.0.counter.unit: 4000000000 is not in 0 .. 1073741824"},
    {COUNTER("'map':'exp','parameter':1000"),
     "optim.weights.0.counter.parameter: 1000 takes 'exp' out of range at unit 1024"},
    {COUNTER("'map':'pow2','parameter':1,'unit':1024"),
     "optim.weights.0.counter.parameter: 1 takes 'pow2' out of range at unit 1024"},
    {COUNTER("'map':'power','parameter':0.5,'direction':'chain'"), // f'(0) is infinite
     "optim.weights.0.counter.parameter: 0.5 takes 'power' out of range at unit 1024"},
    {COUNTER("'eps':0"), "optim.weights.0.counter.eps: 0 is not in 1e-30 .. 1"},
    {COUNTER("'momentum':1"), "optim.weights.0.counter.momentum: 1 is not in 0 .. 0.9999"},
    {WEIGHTS("{'integer_madam':{'base_rate':0.1}}"),
     "optim.weights.0.integer_madam.base_rate: 0.1 over 4096 levels goes below the smallest float"},
    {WEIGHTS("{'integer_madam':{'bits':15}}"), "optim.weights.0.integer_madam.bits: 15 is not in 2 .. 14"},
    {WEIGHTS("{'sgd':{'nesterov':true,'momentum':0}}"),
     "optim.weights.0.sgd.nesterov: needs momentum above 0"},
    {WEIGHTS("{'sgd':{'nesterov':1}}"), "optim.weights.0.sgd.nesterov: wanted true or false, found a number"},
    {WEIGHTS("{'clip':{'norm':0}},'sgd'"), "optim.weights.0.clip.norm: 0 is not in 1e-12 .. 1e+12"},
    {OTHERS("'counter'"), "optim.others.0.counter: a.bias starts at one value, which gives counters no unit; "
                          "use another stage for it"},
    {OTHERS("'madam'"),
     "optim.others.0.madam: a.bias starts at zero and would never move; use another stage for it"},
    {OTHERS("'integer_madam'"),
     "optim.others.0.integer_madam: a.bias starts at one value and has no signs; use another stage for it"},
    {OTHERS("'clip'"), "optim.others: no stage moves the numbers; add one such as \"counter\" or \"adam\""},
    {SCHEDULE("'cosin'"), "optim.schedule: unknown schedule 'cosin'; did you mean 'cosine'?"},
    {SCHEDULE("{'cosine':{'final':2}}"), "optim.schedule.cosine.final: 2 is not in 0 .. 1"},
    {SCHEDULE("{'constant':{'final':1}}"), "optim.schedule.constant: unknown key 'final'; known: warmup"},
    {SCHEDULE("{'step':{'every':0}}"), "optim.schedule.step.every: 0 is not in 0.001 .. 1e+06"},
    {SPARSITY("'target':1.5"), "optim.sparsity.target: 1.5 is not in 0 .. 1"},
    {SPARSITY("'target':0.1,'begin':0.7,'end':0.6"), "optim.sparsity.end: 0.6 is before begin, 0.7"},
    {SPARSITY("'target':0.1,'freeze':0.5"), "optim.sparsity.freeze: 0.5 is before end, 0.65"},
    {SPARSITY("'target':0.1,'path':'none'"),
     "optim.sparsity.freeze: without a path the cut is made at the freeze, which must be below 1"},
    {SPARSITY("'granularity':'n:m','n':5,'m':4"), "optim.sparsity.n: 5 is more than m, 4"},
    {SPARSITY("'granularity':'n:m'"),
     "optim.sparsity.m: rows of a.weight have 6 weights, not a multiple of 4"},
    {SPARSITY("'granularity':'rows'"),
     "optim.sparsity.granularity: unknown value 'rows'; known: unstructured, block, n:m"},
    {SPARSITY("'granularity':'block','block_rows':0"), "optim.sparsity.block_rows: 0 is not in 1 .. 4096"},
    {"{'weights':['integer_madam'],'others':['sgd'],'sparsity':{'target':0.5}}",
     "optim.sparsity.target: a.weight counts in the number system 'madam', which has no zero"},
    {"{'weights':['sgd'],'others':['sgd'],'sparsity':true}",
     "optim.sparsity: wanted an object, found true or false"},
};

static void every_error(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct params *ps = params_new();
        params_add(ps, "a.weight", shape_2(4, 6), 0.5, 0);
        params_add(ps, "a.bias", shape_1(6), 0, 0);
        params_alloc(ps, 1, 1);
        struct json *config = json_new(errors[i].config);
        struct err e = {""};
        struct optim *o = optim_new(config, "optim", ps, 1, &e);
        if (o) fail_msg("%s: accepted", errors[i].config);
        assert_string_equal(e.text, errors[i].message);
        json_free(config);
        params_free(ps);
    }
    struct params *ps = params_of(2, 2);
    struct err e;
    assert_null(optim_new(NULL, "optim", ps, 1, &e));
    assert_string_equal(e.text, "optim: must be given");
    params_free(ps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stage_has_a_row), cmocka_unit_test(parabola),
        cmocka_unit_test(parabola_across_zero),  cmocka_unit_test(valley),
        cmocka_unit_test(absurd_rate),           cmocka_unit_test(gradient_not_finite),
        cmocka_unit_test(zero_gradient),         cmocka_unit_test(leak_drains),
        cmocka_unit_test(frozen_zeros),          cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(the_dead_do_not_count), cmocka_unit_test(mean_of_the_living),
        cmocka_unit_test(places_do_not_matter),  cmocka_unit_test(options_are_read_back),
        cmocka_unit_test(value_is_the_counter),  cmocka_unit_test(counters_start_at_unit),
        cmocka_unit_test(counters_saturate),     cmocka_unit_test(zero_is_no_trap),
        cmocka_unit_test(rounding_is_unbiased),  cmocka_unit_test(large_counters_keep_small_moves),
        cmocka_unit_test(bytes_of_state),        cmocka_unit_test(clip_limits_the_norm),
        cmocka_unit_test(every_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
