// Convolution and pooling: every case of golden/conv.json (torch), in double to 1e-10 and in float to 1e-4; against
// plain loops over many shapes; ties, NaN and infinities; build errors with their messages; JSON; initial weights;
// models that overfit eight samples; and a run whose bits do not depend on the number of threads.
#include "experiments/run.h"
#include "layers/model.h"
#include "optim/optim.h"
#include "src/blas.h"
#include "tests/golden.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { INPUTS_MAX = 3 };

// --- golden numbers ---------------------------------------------------------------------------------------

static void pair_of(int pair[2], const struct json *options, const char *key) {
    for (int k = 0; k < 2; k++) pair[k] = (int)json_number(json_item(child(options, key), k));
}

static struct tensor *apply(struct tape *t, const char *op, const struct json *options, struct tensor **in) {
    struct window w;
    pair_of(w.size, options, "kernel_size");
    pair_of(w.stride, options, "stride");
    pair_of(w.padding, options, "padding");
    pair_of(w.dilation, options, "dilation");
    if (strcmp(op, "max_pool2d") == 0) return op_max_pool2d(t, in[0], &w);
    if (strcmp(op, "avg_pool2d") == 0)
        return op_avg_pool2d(t, in[0], &w, json_number(child(options, "count_include_pad")) != 0);
    assert_string_equal(op, "conv2d");
    return op_conv2d(t, in[0], in[1], in[2], &w, (int)json_number(child(options, "groups")));
}

static void run_case(const struct json *one, int index) {
    char where[80];
    const char *op = json_string(child(one, "op"));
    snprintf(where, sizeof where, "case %d, %.30s", index, op);
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *in[INPUTS_MAX] = {NULL};
    int count = 0;
    for (const struct json *m = json_first(child(one, "inputs")); m; m = json_next(m))
        in[count++] = leaf_of(t, m);
    struct tensor *y = apply(t, op, child(one, "options"), in), *g = leaf_of(t, child(one, "g"));
    if (!shape_equal(y->shape, g->shape)) fail_msg("%s: another shape", where);
    check_numbers(where, "y", y->value, child(one, "y"));
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    count = 0;
    for (const struct json *m = json_first(child(one, "grads")); m; m = json_next(m))
        check_numbers(where, json_key(m), in[count++]->grad, m);
    tape_free(t);
}

static void every_case(void **state) {
    (void)state;
    struct json *golden = golden_new("conv");
    int index = 0, convolutions = 0;
    for (const struct json *c = json_first(child(golden, "cases")); c; c = json_next(c)) {
        convolutions += strcmp(json_string(child(c, "op")), "conv2d") == 0;
        run_case(c, index++);
    }
    assert_true(convolutions >= 12 && index - convolutions >= 6);
    json_free(golden);
}

// --- plain loops ------------------------------------------------------------------------------------------

// A convolution and everything that belongs to it, with numbers for all tensors.
struct problem {
    struct window w;
    struct shape x, weight, y;
    int groups;
};

static size_t at4(struct shape s, int a, int b, int c, int d) {
    return (((size_t)a * (size_t)s.dim[1] + (size_t)b) * (size_t)s.dim[2] + (size_t)c) * (size_t)s.dim[3] +
           (size_t)d;
}

// Calls visit(context, index into x, index into weight, index into y) for every product of the convolution.
static void products_visit(const struct problem *p, void (*visit)(void *, size_t, size_t, size_t),
                           void *context) {
    const struct window *w = &p->w;
    int per_group = p->weight.dim[0] / p->groups;
    for (int b = 0; b < p->y.dim[0]; b++)
        for (int o = 0; o < p->y.dim[1]; o++)
            for (int r = 0; r < p->y.dim[2]; r++)
                for (int q = 0; q < p->y.dim[3]; q++)
                    for (int c = 0; c < p->weight.dim[1]; c++)
                        for (int i = 0; i < w->size[0]; i++)
                            for (int j = 0; j < w->size[1]; j++) {
                                int down = r * w->stride[0] - w->padding[0] + i * w->dilation[0];
                                int across = q * w->stride[1] - w->padding[1] + j * w->dilation[1];
                                if (down < 0 || down >= p->x.dim[2] || across < 0 || across >= p->x.dim[3])
                                    continue;
                                int plane = o / per_group * p->weight.dim[1] + c;
                                visit(context, at4(p->x, b, plane, down, across), at4(p->weight, o, c, i, j),
                                      at4(p->y, b, o, r, q));
                            }
}

struct naive {
    const real *x, *weight, *dy;
    double *y, *dx, *dweight;
};

static void product_add(void *context, size_t x, size_t weight, size_t y) {
    struct naive *n = context;
    n->y[y] += (double)n->x[x] * (double)n->weight[weight];
    n->dx[x] += (double)n->dy[y] * (double)n->weight[weight];
    n->dweight[weight] += (double)n->dy[y] * (double)n->x[x];
}

static void fill(real *x, size_t n, struct rng *r) {
    for (size_t i = 0; i < n; i++) x[i] = (real)(2 * rng_uniform(r) - 1);
}

static void check_near_all(const char *where, const char *what, const real *found, const double *wanted,
                           size_t n) {
    double largest = 1e-2;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(wanted[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)found[i] - wanted[i]) <= TOLERANCE * largest))
            fail_msg("%s: %s[%zu] is %.12g, the plain loop's %.12g", where, what, i, (double)found[i],
                     wanted[i]);
}

// Gradients begin at uneven numbers, so that one which is assigned instead of added is seen.
static double start_of(size_t i) {
    return 0.25 * (double)(i % 5) - 0.5;
}

static void convolution_check(const struct problem *p, bool with_bias, uint64_t seed) {
    char x_text[SHAPE_TEXT], where[200];
    snprintf(where, sizeof where, "x %s, %d outputs, %d x %d, groups %d", shape_text(x_text, p->x),
             p->weight.dim[0], p->w.size[0], p->w.size[1], p->groups);
    struct rng r = rng_stream(seed, "convolution");
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x = tape_leaf(t, p->x, true), *weight = tape_leaf(t, p->weight, true);
    struct tensor *bias = tape_leaf(t, shape_1(p->weight.dim[0]), true), *g = tape_leaf(t, p->y, false);
    fill(x->value, x->size, &r), fill(weight->value, weight->size, &r);
    fill(bias->value, bias->size, &r), fill(g->value, g->size, &r);
    for (size_t i = 0; i < x->size; i++) x->grad[i] = (real)start_of(i);
    for (size_t i = 0; i < weight->size; i++) weight->grad[i] = (real)start_of(i);
    for (size_t i = 0; i < bias->size; i++) bias->grad[i] = (real)start_of(i);
    struct tensor *y = op_conv2d(t, x, weight, with_bias ? bias : NULL, &p->w, p->groups);
    assert_true(shape_equal(y->shape, p->y));
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    struct naive n = {.x = x->value, .weight = weight->value, .dy = g->value};
    n.y = mem_new(y->size, sizeof *n.y), n.dx = mem_new(x->size, sizeof *n.dx);
    n.dweight = mem_new(weight->size, sizeof *n.dweight);
    double *dbias = mem_new(bias->size, sizeof *dbias);
    for (size_t i = 0; i < x->size; i++) n.dx[i] = start_of(i);
    for (size_t i = 0; i < weight->size; i++) n.dweight[i] = start_of(i);
    for (size_t i = 0; i < bias->size; i++) dbias[i] = start_of(i);
    size_t plane = y->size / bias->size / (size_t)p->y.dim[0];
    for (size_t i = 0; with_bias && i < y->size; i++) {
        n.y[i] = (double)bias->value[i / plane % bias->size];
        dbias[i / plane % bias->size] += (double)g->value[i];
    }
    products_visit(p, product_add, &n);
    check_near_all(where, "y", y->value, n.y, y->size);
    check_near_all(where, "dx", x->grad, n.dx, x->size);
    check_near_all(where, "dweight", weight->grad, n.dweight, weight->size);
    check_near_all(where, "dbias", bias->grad, dbias, bias->size);
    mem_free(n.y), mem_free(n.dx), mem_free(n.dweight), mem_free(dbias);
    tape_free(t);
}

static struct problem problem_of(struct shape x, int out, int groups, struct window w) {
    struct problem p = {.w = w, .x = x, .groups = groups};
    p.weight = (struct shape){4, {out, x.dim[1] / groups, w.size[0], w.size[1]}};
    p.y = (struct shape){4, {x.dim[0], out, window_count(&w, 0, x.dim[2]), window_count(&w, 1, x.dim[3])}};
    return p;
}

// Images larger than a chunk of columns, groups of small ones, the image as its own columns, and straight from the image.
static void large_convolutions(void **state) {
    (void)state;
    static const struct {
        struct shape x;
        int out, groups, size, stride, padding, dilation;
    } rows[] = {
        {{4, {2, 32, 40, 41}}, 3, 1, 3, 1, 1, 1}, // 288 · 1640 columns: several chunks of rows
        {{4, {1, 16, 70, 30}}, 4, 2, 5, 2, 3, 1}, {{4, {1, 40, 33, 65}}, 2, 1, 4, 1, 6, 3},
        {{4, {1, 1, 3, 700}}, 2, 1, 2, 1, 1, 1}, // wide: a chunk is one row or two
        {{4, {2, 200, 9, 70}}, 2, 1, 3, 1, 0, 1}, {{4, {20, 3, 5, 5}}, 5, 1, 3, 1, 1, 1}, // 3 images each
        {{4, {7, 4, 4, 4}}, 6, 2, 3, 1, 0, 1},                                            // more than all
        {{4, {9, 6, 8, 8}}, 4, 2, 1, 1, 0, 1},                                            // direct, in groups
        {{4, {9, 6, 7, 8}}, 4, 1, 1, 1, 0, 1},                                            // too small for it
        {{4, {1, 6, 2, 2}}, 4, 1, 1, 1, 0, 1},                                            // one small image
        {{4, {2, 3, 9, 9}}, 4, 1, 1, 1, 1, 1},    {{4, {2, 8, 17, 16}}, 8, 8, 3, 1, 1, 1},   // depthwise
        {{4, {2, 8, 17, 16}}, 16, 8, 3, 2, 1, 1}, {{4, {3, 64, 9, 12}}, 300, 1, 3, 1, 1, 1}, // a large kernel
        {{4, {40, 2, 9, 12}}, 5, 1, 5, 1, 0, 1}, // straight: many small images, segments without a rest
        {{4, {33, 4, 6, 15}}, 6, 2, 3, 1, 1, 1}, // and with one, in groups
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int size = rows[i].size, stride = rows[i].stride, padding = rows[i].padding, gap = rows[i].dilation;
        struct window w = {{size, size}, {stride, stride}, {padding, padding}, {gap, gap}};
        struct problem p = problem_of(rows[i].x, rows[i].out, rows[i].groups, w);
        convolution_check(&p, i % 2 == 0, i);
    }
}

static struct window random_window(struct rng *r, int longest) {
    struct window w;
    for (int k = 0; k < 2; k++) {
        w.size[k] = 1 + (int)rng_below(r, (uint32_t)longest);
        w.stride[k] = 1 + (int)rng_below(r, 3);
        w.padding[k] = (int)rng_below(r, (uint32_t)w.size[k] / 2 + 1);
        w.dilation[k] = 1;
    }
    return w;
}

static void random_convolutions(void **state) {
    (void)state;
    struct rng r = rng_stream(1, "shapes");
    int done = 0;
    for (int i = 0; i < 200; i++) {
        struct window w = random_window(&r, 4);
        for (int k = 0; k < 2; k++) {
            w.dilation[k] = 1 + (int)rng_below(&r, 3);
            w.padding[k] = (int)rng_below(&r, 5);
        }
        int groups = 1 + (int)rng_below(&r, 3), planes = groups * (1 + (int)rng_below(&r, 3));
        struct shape x = {
            4, {1 + (int)rng_below(&r, 5), planes, 1 + (int)rng_below(&r, 12), 1 + (int)rng_below(&r, 20)}};
        if (window_count(&w, 0, x.dim[2]) < 1 || window_count(&w, 1, x.dim[3]) < 1) continue;
        struct problem p = problem_of(x, groups * (1 + (int)rng_below(&r, 3)), groups, w);
        convolution_check(&p, rng_below(&r, 2), (uint64_t)i);
        done++;
    }
    assert_true(done > 100);
}

// One window of a pool, the plain way: its maximum and where it is, its sum and how many numbers it has.
struct pooled {
    double most, sum;
    size_t at, inside;
};

static struct pooled pool_plain(const struct tensor *x, const struct window *w, int b, int c, int r, int q) {
    struct pooled p = {.most = -INFINITY};
    for (int i = 0; i < w->size[0]; i++)
        for (int j = 0; j < w->size[1]; j++) {
            int down = r * w->stride[0] - w->padding[0] + i, across = q * w->stride[1] - w->padding[1] + j;
            if (down < 0 || down >= x->shape.dim[2] || across < 0 || across >= x->shape.dim[3]) continue;
            size_t at = at4(x->shape, b, c, down, across);
            if ((double)x->value[at] > p.most) p.most = (double)x->value[at], p.at = at;
            p.sum += (double)x->value[at];
            p.inside++;
        }
    return p;
}

static void pool_check(struct shape shape, const struct window *w, bool include, bool recording,
                       uint64_t seed) {
    struct rng r = rng_stream(seed, "pool");
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    t->recording = recording;
    struct tensor *x = tape_leaf(t, shape, true), *x2 = tape_leaf(t, shape, true);
    for (size_t i = 0; i < x->size; i++) x2->value[i] = x->value[i] = (real)rng_below(&r, 7) - 3; // many ties
    struct tensor *y = op_max_pool2d(t, x, w), *mean = op_avg_pool2d(t, x2, w, include);
    assert_true(recording == (y->grad != NULL) && recording == (mean->grad != NULL));
    for (size_t i = 0; recording && i < y->size; i++) y->grad[i] = mean->grad[i] = (real)(1 + i % 5);
    if (recording) y->op->backward(t, y), mean->op->backward(t, mean);
    double *dx = mem_new(x->size, sizeof *dx), *mean_dx = mem_new(x->size, sizeof *dx);
    size_t k = 0;
    for (int b = 0; b < y->shape.dim[0]; b++)
        for (int c = 0; c < y->shape.dim[1]; c++)
            for (int p = 0; p < y->shape.dim[2]; p++)
                for (int q = 0; q < y->shape.dim[3]; q++, k++) {
                    struct pooled one = pool_plain(x, w, b, c, p, q);
                    double count = include ? (double)(w->size[0] * w->size[1]) : (double)one.inside;
                    assert_true((double)y->value[k] == one.most);
                    assert_near(mean->value[k], one.sum / count, TOLERANCE);
                    dx[one.at] += (double)(1 + k % 5);
                    for (int i = 0; i < w->size[0]; i++)
                        for (int j = 0; j < w->size[1]; j++) {
                            int down = p * w->stride[0] - w->padding[0] + i;
                            int across = q * w->stride[1] - w->padding[1] + j;
                            if (down >= 0 && down < shape.dim[2] && across >= 0 && across < shape.dim[3])
                                mean_dx[at4(shape, b, c, down, across)] += (double)(1 + k % 5) / count;
                        }
                }
    for (size_t i = 0; recording && i < x->size; i++) {
        assert_true((double)x->grad[i] == dx[i]);
        assert_near(x2->grad[i], mean_dx[i], TOLERANCE);
    }
    // Gradients that nobody has set yet are set, whatever is there.
    for (size_t i = 0; i < x->size; i++) x->grad[i] = (real)NAN;
    *x->unset = true;
    if (recording) y->op->backward(t, y);
    for (size_t i = 0; recording && i < x->size; i++) assert_true((double)x->grad[i] == dx[i]);
    assert_true(!recording || !*x->unset);
    mem_free(dx), mem_free(mean_dx);
    tape_free(t);
}

static void random_pools(void **state) {
    (void)state;
    struct rng r = rng_stream(2, "shapes");
    int done = 0;
    for (int i = 0; i < 300; i++) {
        struct window w = random_window(&r, 4);
        if (i % 4 == 0) w = (struct window){{2, 2}, {2, 2}, {0, 0}, {1, 1}};
        struct shape x = {4,
                          {1 + (int)rng_below(&r, 3), 1 + (int)rng_below(&r, 3), 1 + (int)rng_below(&r, 9),
                           1 + (int)rng_below(&r, 40)}};
        if (i % 5 == 0)
            for (int k = 0; k < 2; k++) w.size[k] = x.dim[2 + k], w.padding[k] = 0; // the whole image
        if (window_count(&w, 0, x.dim[2]) < 1 || window_count(&w, 1, x.dim[3]) < 1) continue;
        pool_check(x, &w, rng_below(&r, 2), i % 7 != 0, (uint64_t)i);
        done++;
    }
    assert_true(done > 200);
}

// --- corners ----------------------------------------------------------------------------------------------

static void maximum_of_extremes(void **state) {
    (void)state;
    enum { WINDOWS = 6 };
    const real inf = (real)INFINITY;
    real x[2][2 * WINDOWS] = {{1, 1, NAN, 5, -inf, -inf, -inf, 2, 3, NAN, 0, -0.0f},
                              {1, 1, 6, 7, -inf, -inf, inf, inf, 4, 9, 0, 0}};
    static const int winner[WINDOWS] = {0, 2, 4, 2 * WINDOWS + 6, 9, 10};
    for (int general = 0; general < 2; general++) { // windows of 2 by 2 have a way of their own
        struct window w = {{2, 2}, {2, 2}, {0, 0}, {1, 1}};
        if (general) w.size[0] = 3, w.padding[0] = 1, w.stride[0] = 3;
        struct tape *t = tape_new(NULL, 0);
        tape_reset(t, true);
        struct tensor *in = tape_leaf(t, (struct shape){4, {1, 1, 2, 2 * WINDOWS}}, true);
        memcpy(in->value, x, sizeof x);
        struct tensor *y = op_max_pool2d(t, in, &w);
        assert_int_equal(y->size, WINDOWS);
        tape_backward(t, op_sum(t, y), 1);
        for (int i = 0; i < WINDOWS; i++) {
            double value = (double)y->value[i], wanted = (double)in->value[winner[i]];
            assert_true(value == wanted || (isnan(value) && isnan(wanted)));
            assert_true(in->grad[winner[i]] == 1);
        }
        double all = 0;
        for (size_t i = 0; i < in->size; i++) all += (double)in->grad[i];
        assert_true(all == WINDOWS);
        tape_free(t);
    }
}

static void window_arithmetic(void **state) {
    (void)state;
    const struct window w = {.size = {3, 2}, .stride = {2, 1}, .padding = {1, 0}, .dilation = {2, 1023}};
    assert_int_equal(window_reach(&w, 0), 5);
    assert_int_equal(window_count(&w, 0, 3), 1);
    assert_int_equal(window_count(&w, 0, 2), 0);
    assert_int_equal(window_count(&w, 0, 7), 3);
    assert_int_equal(window_count(&w, 1, 1023), 0);
    assert_int_equal(window_count(&w, 1, 1024), 1);
    struct window_range r = window_range(&w, 0, 0, 7, 3); // element 0 of windows at -1, 1, 3
    assert_true(r.first == 1 && r.end == 3 && r.at == 1);
    r = window_range(&w, 0, 2, 7, 3); // element 2 at 3, 5, 7
    assert_true(r.first == 0 && r.end == 2 && r.at == 3);
    r = window_range(&w, 1, 1, 1000, 1); // outside
    assert_int_equal(r.first, r.end);
}

// After the first step a step of the same shapes takes no memory, and one that records nothing takes less.
static void steps_reuse_memory(void **state) {
    (void)state;
    struct tape *t = tape_new(NULL, 0);
    size_t bytes[3];
    for (int step = 0; step < 3; step++) {
        tape_reset(t, true);
        struct tensor *x = tape_leaf(t, (struct shape){4, {3, 4, 30, 30}}, true);
        struct tensor *weight = tape_leaf(t, (struct shape){4, {8, 4, 3, 3}}, true);
        memset(x->value, 0, x->size * sizeof(real)), memset(weight->value, 0, weight->size * sizeof(real));
        const struct window w = {{3, 3}, {1, 1}, {1, 1}, {1, 1}}, two = {{2, 2}, {2, 2}, {0, 0}, {1, 1}};
        struct tensor *y = op_max_pool2d(t, op_conv2d(t, x, weight, NULL, &w, 1), &two);
        tape_backward(t, op_sum(t, op_avg_pool2d(t, y, &two, true)), 1);
        bytes[step] = arena_bytes(t->arena);
    }
    assert_true(bytes[1] == bytes[2]);
    tape_free(t);
}

// --- models -----------------------------------------------------------------------------------------------

struct built {
    struct json *list;
    struct params *params;
    struct model *model;
    struct err e;
};

static struct built built_open(const char *text, struct shape in) {
    struct built b = {.list = json_of(text), .params = params_new(), .e = {""}};
    b.model = model_new(b.list, "model", in, b.params, &b.e);
    return b;
}

static void built_close(struct built *b) {
    model_free(b->model);
    params_free(b->params);
    json_free(b->list);
}

#define CONV(options) "[{\"conv2d\": {\"out\": 4, " options "}}]"
#define MAX(options) "[{\"max_pool2d\": {" options "}}]"
#define AVG(options) "[{\"avg_pool2d\": {" options "}}]"
#define PAIR_FORM "wanted a whole number or [down, across], found "

static const struct {
    const char *text;
    struct shape in;
    const char *message;
} bad_models[] = {
    {"[\"conv2d\"]", {3, {3, 8, 8}}, "model.0.conv2d.out: must be given"},
    {"[{\"conv2d\": {\"out\": 4}}]", {3, {3, 8, 8}}, "model.0.conv2d.kernel_size: must be given"},
    {CONV("\"kernel_size\": null"), {3, {3, 8, 8}}, "model.0.conv2d.kernel_size: must be given"},
    {"[{\"conv2d\": {\"out\": 0, \"kernel_size\": 3}}]",
     {3, {3, 8, 8}},
     "model.0.conv2d.out: 0 is not in 1 .. 1048576"},
    {CONV("\"kernel_size\": 0"), {3, {3, 8, 8}}, "model.0.conv2d.kernel_size: 0 is not in 1 .. 1024"},
    {CONV("\"kernel_size\": 1025"), {3, {3, 8, 8}}, "model.0.conv2d.kernel_size: 1025 is not in 1 .. 1024"},
    {CONV("\"kernel_size\": 2.5"),
     {3, {3, 8, 8}},
     "model.0.conv2d.kernel_size: wanted a whole number, found 2.5"},
    {CONV("\"kernel_size\": \"3\""), {3, {3, 8, 8}}, "model.0.conv2d.kernel_size: " PAIR_FORM "a string"},
    {CONV("\"kernel_size\": {}"), {3, {3, 8, 8}}, "model.0.conv2d.kernel_size: " PAIR_FORM "an object"},
    {CONV("\"kernel_size\": [3]"),
     {3, {3, 8, 8}},
     "model.0.conv2d.kernel_size: " PAIR_FORM "a list of another length"},
    {CONV("\"kernel_size\": [3, 3, 3]"),
     {3, {3, 8, 8}},
     "model.0.conv2d.kernel_size: " PAIR_FORM "a list of another length"},
    {CONV("\"kernel_size\": [3, 0]"), {3, {3, 8, 8}}, "model.0.conv2d.kernel_size.1: 0 is not in 1 .. 1024"},
    {CONV("\"kernel_size\": [true, 1]"),
     {3, {3, 8, 8}},
     "model.0.conv2d.kernel_size.0: wanted a whole number, found true or false"},
    {CONV("\"kernel_size\": 3, \"stride\": 0"),
     {3, {3, 8, 8}},
     "model.0.conv2d.stride: 0 is not in 1 .. 1024"},
    {CONV("\"kernel_size\": 3, \"padding\": -1"),
     {3, {3, 8, 8}},
     "model.0.conv2d.padding: -1 is not in 0 .. 1024"},
    {CONV("\"kernel_size\": 3, \"padding\": \"same\""),
     {3, {3, 8, 8}},
     "model.0.conv2d.padding: " PAIR_FORM "a string"},
    {CONV("\"kernel_size\": 3, \"dilation\": [1, 0]"),
     {3, {3, 8, 8}},
     "model.0.conv2d.dilation.1: 0 is not in 1 .. 1024"},
    {CONV("\"kernel\": 3"),
     {3, {3, 8, 8}},
     "model.0.conv2d: unknown key 'kernel'; known: out, kernel_size, "
     "stride, padding, dilation, groups, bias, init"},
    {CONV("\"kernel_size\": 3, \"init\": \"normal\""),
     {3, {3, 8, 8}},
     "model.0.conv2d.init: unknown value 'normal'; known: kaiming, xavier, lecun, pytorch"},
    {CONV("\"kernel_size\": 3"),
     {1, {192}},
     "model.0.conv2d: wants images (channels, height, width), gets (192)"},
    {CONV("\"kernel_size\": 3"),
     {4, {1, 3, 8, 8}},
     "model.0.conv2d: wants images (channels, height, width), gets (1, 3, 8, 8)"},
    {CONV("\"kernel_size\": [9, 3]"),
     {3, {3, 8, 8}},
     "model.0.conv2d: a window of 9 by 3 does not fit images (3, 8, 8) with padding 0 by 0"},
    {CONV("\"kernel_size\": 3, \"dilation\": 5, \"padding\": [2, 1]"),
     {3, {3, 8, 8}},
     "model.0.conv2d: a window of 11 by 11 does not fit images (3, 8, 8) with padding 2 by 1"},
    {CONV("\"kernel_size\": 3, \"groups\": 2"),
     {3, {3, 8, 8}},
     "model.0.conv2d.groups: 3 channels don't make 2 groups"},
    {CONV("\"kernel_size\": 3, \"groups\": 3"),
     {3, {3, 8, 8}},
     "model.0.conv2d.groups: 4 outputs don't make 3 groups"},
    {CONV("\"kernel_size\": 1"),
     {3, {65536, 256, 256}},
     "model.0.conv2d: images (65536, 256, 256) have more than 2147483647 numbers"},
    {"[{\"conv2d\": {\"out\": 1048576, \"kernel_size\": 1, \"padding\": 1024}}]",
     {3, {1, 1, 1}},
     "model.0.conv2d: 4402342526976 numbers per sample, at most 2147483647"},
    {"[{\"conv2d\": {\"out\": 1048576, \"kernel_size\": 1024, \"padding\": 1024}}]",
     {3, {3000, 4, 4}},
     "model.0.conv2d: a weight of 3298534883328000 numbers, at most 2147483647"},
    {"[{\"conv2d\": {\"out\": 1048576, \"kernel_size\": 40, \"padding\": 20}}]",
     {3, {1, 8, 8}},
     "model.0: the model has 1678770176 parameters here, at most 1073741824"},
    {"[\"max_pool2d\"]", {3, {3, 8, 8}}, "model.0.max_pool2d.kernel_size: must be given"},
    {MAX("\"kernel_size\": 2, \"dilation\": 1"),
     {3, {3, 8, 8}},
     "model.0.max_pool2d: unknown key 'dilation'; known: kernel_size, stride, padding"},
    {MAX("\"kernel_size\": 2"),
     {1, {64}},
     "model.0.max_pool2d: wants images (channels, height, width), gets (64)"},
    {MAX("\"kernel_size\": 3, \"padding\": 2"),
     {3, {3, 8, 8}},
     "model.0.max_pool2d.padding: 2 is more than half of kernel_size, 3"},
    {MAX("\"kernel_size\": 9"),
     {3, {3, 8, 8}},
     "model.0.max_pool2d: a window of 9 by 9 does not fit images (3, 8, 8) with padding 0 by 0"},
    {AVG("\"stride\": 2"), {3, {3, 8, 8}}, "model.0.avg_pool2d.kernel_size: must be given"},
    {AVG("\"kernel_size\": [4, 2], \"padding\": [2, 2]"),
     {3, {3, 8, 8}},
     "model.0.avg_pool2d.padding: 2 is more than half of kernel_size, 2"},
    {AVG("\"kernel_size\": 2, \"count_include_pad\": 1"),
     {3, {3, 8, 8}},
     "model.0.avg_pool2d.count_include_pad: wanted true or false, found a number"},
    {"[\"global_avg_pool2d\"]",
     {1, {64}},
     "model.0.global_avg_pool2d: wants images (channels, height, width), gets (64)"},
    {"[{\"global_avg_pool2d\": {\"kernel_size\": 2}}]",
     {3, {3, 8, 8}},
     "model.0.global_avg_pool2d: unknown key 'kernel_size'; there are none"},
    {"[{\"conv2d\": {\"out\": 4, \"kernel_size\": 3}}, {\"linear\": {\"out\": 10}}]",
     {3, {3, 8, 8}},
     "model.1.linear: wants samples of one or two dimensions, gets (4, 6, 6); put \"flatten\" before it"},
};

static void bad_models_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(bad_models); i++) {
        struct built b = built_open(bad_models[i].text, bad_models[i].in);
        if (b.model) fail_msg("%s: taken for valid", bad_models[i].text);
        assert_string_equal(b.e.text, bad_models[i].message);
        built_close(&b);
    }
}

#define LENET                                                                                              \
    "[{\"conv2d\": {\"out\": 20, \"kernel_size\": 5}}, \"relu\", {\"max_pool2d\": {\"kernel_size\": 2}}, " \
    "{\"conv2d\": {\"out\": 50, \"kernel_size\": 5}}, \"relu\", {\"max_pool2d\": {\"kernel_size\": 2}}, "  \
    "\"flatten\", {\"linear\": {\"out\": 500}}, \"relu\", {\"linear\": {\"out\": 10}}]"

// Caffe's LeNet: names, shapes, and its 430,500 weights.
static void lenet_is_built(void **state) {
    (void)state;
    static const struct shape out[] = {{3, {20, 24, 24}}, {3, {20, 24, 24}}, {3, {20, 12, 12}},
                                       {3, {50, 8, 8}},   {3, {50, 8, 8}},   {3, {50, 4, 4}},
                                       {1, {800}}};
    static const struct shape shapes[] = {{4, {20, 1, 5, 5}}, {1, {20}}, {4, {50, 20, 5, 5}}, {1, {50}}};
    static const char *const names[] = {"conv2d1.weight", "conv2d1.bias", "conv2d2.weight", "conv2d2.bias"};
    struct built b = built_open(LENET, shape_3(1, 28, 28));
    if (!b.model) fail_msg("%s", b.e.text);
    for (size_t i = 0; i < COUNT(out); i++) assert_true(shape_equal(b.model->layers[i].out, out[i]));
    size_t weights = 0;
    for (int i = 0; i < b.params->count; i++)
        weights += param_is_weight(&b.params->list[i]) ? b.params->list[i].size : 0;
    assert_int_equal(weights, 430500);
    for (size_t i = 0; i < COUNT(shapes); i++) {
        assert_string_equal(b.params->list[i].name, names[i]);
        assert_true(shape_equal(b.params->list[i].shape, shapes[i]));
    }
    built_close(&b);
}

// Pairs and numbers stay as they were given; what was left out is filled in.
static void write_fills_in_defaults(void **state) {
    (void)state;
    static const char wanted[] =
        "[{\"conv2d\":{\"out\":4,\"kernel_size\":[3,5],\"stride\":[2,1],\"groups\":1,\"bias\":true,"
        "\"init\":\"kaiming\",\"padding\":0,\"dilation\":1}},"
        "{\"max_pool2d\":{\"kernel_size\":[2,3],\"stride\":[2,3],\"padding\":0}},"
        "{\"avg_pool2d\":{\"kernel_size\":2,\"count_include_pad\":true,\"stride\":2,\"padding\":0}},"
        "{\"global_avg_pool2d\":{}}]";
    struct built b = built_open("[{\"conv2d\": {\"out\": 4, \"kernel_size\": [3, 5], \"stride\": [2, 1]}}, "
                                "{\"max_pool2d\": {\"kernel_size\": [2, 3]}}, {\"avg_pool2d\": "
                                "{\"kernel_size\": 2, \"stride\": null}}, \"global_avg_pool2d\"]",
                                shape_3(3, 20, 24));
    if (!b.model) fail_msg("%s", b.e.text);
    struct json *written = model_write_new(b.model);
    char *text = json_print_new(written, false);
    assert_string_equal(text, wanted);
    struct built again = built_open(text, shape_3(3, 20, 24));
    if (!again.model) fail_msg("%s", again.e.text);
    struct json *twice = model_write_new(again.model);
    assert_true(json_equal(written, twice));
    assert_true(shape_equal(again.model->out, shape_1(4)));
    mem_free(text);
    json_free(written), json_free(twice);
    built_close(&b), built_close(&again);
}

static void kernels_start_in_their_bounds(void **state) {
    (void)state;
    static const struct {
        const char *init;
        double bound;
    } rows[] = {
        {"kaiming", 0.288675134594813}, // sqrt(6 / 72): 4 of 8 channels, 3 by 6
        {"xavier", 0.0785674201318386}, // sqrt(6 / (72 + 900))
        {"lecun", 0.204124145231932},   // sqrt(3 / 72)
        {"pytorch", 0.117851130197758}, // sqrt(1 / 72)
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "[{\"conv2d\": {\"out\": 50, \"kernel_size\": [3, 6], \"groups\": 2, \"init\": \"%s\"}}]",
                 rows[i].init);
        struct built b = built_open(text, shape_3(8, 9, 9));
        if (!b.model) fail_msg("%s", b.e.text);
        assert_near(b.params->list[0].bound, rows[i].bound, 1e-12);
        assert_true(b.params->list[1].bound == 0 && b.params->list[1].initial == 0);
        built_close(&b);
    }
}

// Each layer hands its own options to its op.
static void layers_by_hand(void **state) {
    (void)state;
    static real x[] = {1, 2, 3, /**/ 4, 5, 6, /**/ 7, 8, 9};
    static const struct {
        const char *layers;
        int count;
        real wanted[9];
    } rows[] = {
        {"[{\"max_pool2d\": {\"kernel_size\": 2}}]", 1, {5}},
        {"[{\"max_pool2d\": {\"kernel_size\": 2, \"stride\": 1}}]", 4, {5, 6, 8, 9}},
        {"[{\"max_pool2d\": {\"kernel_size\": [1, 3]}}]", 3, {3, 6, 9}},
        {"[{\"max_pool2d\": {\"kernel_size\": 2, \"padding\": [0, 1]}}]", 2, {4, 6}},
        {"[{\"avg_pool2d\": {\"kernel_size\": [3, 1], \"stride\": [1, 2]}}]", 2, {4, 6}},
        {"[{\"avg_pool2d\": {\"kernel_size\": 2, \"padding\": 1}}]", 4, {0.25, 1.25, 2.75, 7}},
        {"[{\"avg_pool2d\": {\"kernel_size\": 2, \"padding\": 1, \"count_include_pad\": false}}]",
         4,
         {1, 2.5, 5.5, 7}},
        {"[\"global_avg_pool2d\"]", 1, {5}},
        {"[{\"conv2d\": {\"out\": 1, \"kernel_size\": 1, \"stride\": 2}}]", 4, {2.5, 6.5, 14.5, 18.5}},
        {"[{\"conv2d\": {\"out\": 1, \"kernel_size\": 1, \"padding\": 1, \"stride\": 2, \"bias\": false}}]",
         9,
         {0, 0, 0, 0, 10, 0, 0, 0, 0}},
        {"[{\"conv2d\": {\"out\": 1, \"kernel_size\": 2, \"dilation\": 2, \"bias\": false}}]", 1, {40}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct built b = built_open(rows[i].layers, shape_3(1, 3, 3));
        if (!b.model) fail_msg("%s", b.e.text);
        params_alloc(b.params, 1, 1);
        for (int k = 0; k < b.params->count; k++)
            for (size_t j = 0; j < b.params->list[k].size; j++) b.params->list[k].value[j] = k ? 0.5f : 2;
        struct tape *t = tape_new(b.params, 0);
        tape_reset(t, false);
        struct tensor *y = model_forward(b.model, t, tape_input(t, (struct shape){4, {1, 1, 3, 3}}, x));
        assert_int_equal(y->size, rows[i].count);
        for (size_t k = 0; k < y->size; k++)
            if (y->value[k] != rows[i].wanted[k])
                fail_msg("%s: [%zu] is %g, wanted %g", rows[i].layers, k, (double)y->value[k],
                         (double)rows[i].wanted[k]);
        tape_free(t);
        built_close(&b);
    }
}

// --- training ---------------------------------------------------------------------------------------------

enum { SAMPLES = 8, CLASSES = 4, SIDE = 8, CHANNELS = 2, NUMBERS = CHANNELS * SIDE * SIDE };

static const char *const networks[] = {
    "[{\"conv2d\": {\"out\": 6, \"kernel_size\": 3, \"padding\": 1}}, \"relu\", {\"max_pool2d\": "
    "{\"kernel_size\": 2}}, {\"conv2d\": {\"out\": 8, \"kernel_size\": 3}}, \"relu\", \"flatten\", "
    "{\"linear\": {\"out\": 4}}]",
    "[{\"conv2d\": {\"out\": 8, \"kernel_size\": [3, 2], \"stride\": 2, \"groups\": 2}}, \"relu\", "
    "{\"avg_pool2d\": {\"kernel_size\": 3, \"stride\": 1, \"padding\": 1}}, \"flatten\", {\"linear\": "
    "{\"out\": 4}}]",
    "[{\"conv2d\": {\"out\": 16, \"kernel_size\": 1}}, \"relu\", {\"conv2d\": {\"out\": 16, "
    "\"kernel_size\": 3, \"dilation\": 2, \"groups\": 16}}, \"relu\", {\"conv2d\": {\"out\": 4, "
    "\"kernel_size\": 3}}, \"global_avg_pool2d\"]",
};
static const char *const optimisers[] = {
    "{\"weights\": [{\"adam\": {\"rate\": 0.01}}], \"others\": [{\"adam\": {\"rate\": 0.01}}]}",
    "{\"weights\": [{\"counter\": {\"rate\": 0.03}}], \"others\": [{\"adam\": {\"rate\": 0.01}}]}",
};

static int wrong_count(const struct tensor *logits, const uint8_t *labels) {
    int wrong = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int best = 0;
        for (int j = 1; j < CLASSES; j++)
            if (logits->value[i * CLASSES + j] > logits->value[i * CLASSES + best]) best = j;
        wrong += best != labels[i];
    }
    return wrong;
}

// Trains on eight random images and arbitrary labels until all are right.
static void overfit(const char *layers, const char *optimiser) {
    struct err e = {""};
    struct built b = built_open(layers, shape_3(CHANNELS, SIDE, SIDE));
    if (!b.model) fail_msg("%s", b.e.text);
    params_alloc(b.params, 1, 1);
    struct json *config = json_of(optimiser);
    struct optim *o = optim_new(config, "optim", b.params, 1, &e);
    if (!o) fail_msg("%s", e.text);
    struct tape *t = tape_new(b.params, 0);
    struct rng r = rng_stream(7, "samples");
    real x[SAMPLES * NUMBERS];
    uint8_t labels[SAMPLES];
    fill(x, SAMPLES * NUMBERS, &r);
    for (int i = 0; i < SAMPLES; i++) labels[i] = (uint8_t)rng_below(&r, CLASSES);
    double loss = 0;
    int wrong = SAMPLES;
    for (int step = 1; step <= 300; step++) {
        params_zero_grad(b.params, 0);
        tape_reset(t, true);
        struct tensor *in = tape_input(t, (struct shape){4, {SAMPLES, CHANNELS, SIDE, SIDE}}, x);
        struct tensor *logits = model_forward(b.model, t, in);
        struct tensor *y = op_cross_entropy(t, logits, labels, 0);
        loss = (double)y->value[0], wrong = wrong_count(logits, labels);
        tape_backward(t, y, 1);
        params_reduce(b.params, 1);
        optim_step(o, step, 0, 1, 1);
    }
    if (wrong || !(loss < 0.1)) fail_msg("%s, %s: %d wrong, loss %g", layers, optimiser, wrong, loss);
    tape_free(t);
    optim_free(o);
    json_free(config);
    built_close(&b);
}

static void networks_overfit(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(networks); i++)
        for (size_t k = 0; k < COUNT(optimisers); k++) overfit(networks[i], optimisers[k]);
}

static const char run_text[] =
    "{\"name\": \"conv\", \"data\": {\"set\": {\"digits\": {\"train\": 60, \"test\": 20}}, \"validation\": "
    "10}, "
    "\"model\": [{\"conv2d\": {\"out\": 4, \"kernel_size\": 5, \"stride\": 2}}, \"relu\", {\"max_pool2d\": "
    "{\"kernel_size\": 2}}, {\"conv2d\": {\"out\": 6, \"kernel_size\": 3}}, {\"avg_pool2d\": "
    "{\"kernel_size\": "
    "2}}, \"flatten\", {\"linear\": {\"out\": 10}}], \"optim\": {\"weights\": [{\"counter\": {\"rate\": "
    "0.03}}], \"others\": [\"adam\"]}, \"train\": {\"epochs\": 2, \"batch\": 10, \"shards\": 4}}";

static struct params *run_values(struct run *r, int threads) {
    struct config config = {0};
    struct err e = {""};
    const struct run_options options = {.threads = threads};
    if (config_open_json(&config, json_of(run_text), "conv.json", &e) != 0 ||
        run_open(r, &config, &options, &e) != 0)
        fail_msg("%s", e.text);
    batches_epoch(&r->batches, 0);
    for (int64_t i = 0; i < run_batches(r); i++) assert_true(isfinite(run_step(r)));
    return r->params;
}

static void threads_do_not_matter(void **state) {
    (void)state;
    struct run one, three;
    struct params *a = run_values(&one, 1), *b = run_values(&three, 3);
    assert_memory_equal(a->values, b->values, a->size * sizeof(real));
    assert_true(run_evaluate(&one, PART_TEST).loss == run_evaluate(&three, PART_TEST).loss);
    run_close(&one), run_close(&three);
}

int main(void) {
    blas_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(large_convolutions),
        cmocka_unit_test(random_convolutions),
        cmocka_unit_test(random_pools),
        cmocka_unit_test(maximum_of_extremes),
        cmocka_unit_test(window_arithmetic),
        cmocka_unit_test(steps_reuse_memory),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(lenet_is_built),
        cmocka_unit_test(write_fills_in_defaults),
        cmocka_unit_test(kernels_start_in_their_bounds),
        cmocka_unit_test(layers_by_hand),
        cmocka_unit_test(networks_overfit),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
