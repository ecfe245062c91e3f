// conv2d: y (B, out, down, across) = x (B, C, height, width) convolved with weight (out, C / groups, kh, kw)
// + bias (out) or NULL. As in neural networks, the kernel is not flipped:
//
//   y[b, o, p, q] = bias[o] + sum over c, i, j of weight[o, c, i, j] · x[b, first + c, down(p, i), across(q, j)]
//
// first is the first channel of o's group, down(p, i) = p · stride - padding + i · dilation, and across likewise;
// outside the image x is 0.
//
// Group by group it is a matrix product, y = weight (out / groups, K) · columns (K, down · across), where row
// (c, i, j) of the columns has what the windows see at (i, j): K = C / groups · kh · kw.
// dweight = dy · columnsᵀ;  dcolumns = weightᵀ · dy, added back to dx;  dbias = dy summed over b, p and q.
//
// Where src/conv.h fits, y and dweight are computed without columns. Otherwise these are made for a few rows of one
// image, or for several small images, at a time, so that they stay in the cache; the backward pass makes them again. A
// 1 x 1 kernel that goes over the image by ones needs none: the image itself is the matrix.
#include <string.h>

#include "src/blas.h"
#include "src/conv.h"
#include "src/ops.h"
#include "src/sums.h"

// Saved. Channels and planes are those of one group.
struct saved {
    struct window window;
    struct patch patch;       // of a whole image: the group's planes, all rows of windows
    int groups, depth, out;   // depth: K
    int batch, samples, rows; // samples and window rows of one chunk
    bool direct;              // the image is the matrix
    struct conv *plan;        // of one group; NULL: everything by columns
    size_t image, windows;    // numbers of a group's planes; windows of an image
    real *columns, *results;  // (depth, chunk), and (out, chunk) where a chunk has several samples
};

// What one matrix product works on.
struct chunk {
    int group, sample, samples;
    struct patch patch;
    int columns;
    struct matrix weight;
};

// with_grad: of x.
static void columns_cut(struct saved *c, struct tape *t, bool with_grad) {
    const struct window *w = &c->window;
    int across = c->patch.across, down = c->patch.rows;
    bool small = c->windows < CONV2D_COLUMNS && c->batch > 1;
    int wanted = small ? (int)((CONV2D_COLUMNS + c->windows - 1) / c->windows) : 1;
    c->samples = wanted < c->batch ? wanted : c->batch;
    c->direct = c->samples == 1 && c->depth == c->patch.planes;
    for (int k = 0; k < 2; k++) c->direct = c->direct && w->stride[k] == 1 && w->padding[k] == 0;
    size_t rows = CONV2D_CHUNK / ((size_t)c->depth * (size_t)across);
    if (rows < (size_t)((CONV2D_COLUMNS + across - 1) / across))
        rows = (size_t)((CONV2D_COLUMNS + across - 1) / across);
    c->rows = c->samples > 1 || c->direct || rows > (size_t)down ? down : (int)rows;
    if (c->plan && !with_grad) return;
    size_t columns = (size_t)c->samples * (size_t)c->rows * (size_t)across;
    if (!c->direct) c->columns = arena_alloc(t->arena, (size_t)c->depth * columns, sizeof(real));
    if (c->samples > 1) c->results = arena_alloc(t->arena, (size_t)c->out * columns, sizeof(real));
}

static struct saved *saved_new(struct tape *t, const struct tensor *x, const struct tensor *weight,
                               const struct window *w, int groups) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    const int *dim = x->shape.dim, *kernel = weight->shape.dim;
    CHECK(x->shape.rank == 4 && weight->shape.rank == 4 && groups >= 1 && dim[1] == kernel[1] * groups &&
              kernel[0] % groups == 0 && w->size[0] == kernel[2] && w->size[1] == kernel[3],
          "conv2d: x %s by weight %s in %d groups", shape_text(left, x->shape),
          shape_text(right, weight->shape), groups);
    int down = window_count(w, 0, dim[2]), across = window_count(w, 1, dim[3]);
    CHECK(down > 0 && across > 0, "conv2d: weight %s does not fit x %s", shape_text(right, weight->shape),
          shape_text(left, x->shape));
    struct saved *c = arena_alloc(t->arena, 1, sizeof *c);
    *c = (struct saved){.window = *w,
                        .patch = {kernel[1], dim[2], dim[3], 0, down, across},
                        .groups = groups,
                        .depth = (int)(weight->size / (size_t)kernel[0]),
                        .out = kernel[0] / groups,
                        .batch = dim[0],
                        .image = (size_t)kernel[1] * (size_t)dim[2] * (size_t)dim[3],
                        .windows = (size_t)down * (size_t)across};
    if (conv_fits(w, &c->patch, c->out)) c->plan = conv_plan(t->arena, w, &c->patch, c->out);
    columns_cut(c, t, x->grad != NULL);
    return c;
}

// The first chunk is that of zeros; false after the last.
static bool chunk_next(struct chunk *k, const struct saved *c, const struct tensor *weight) {
    bool started = k->columns > 0;
    int row = started ? k->patch.first + k->patch.rows : 0;
    if (row == c->patch.rows) {
        row = 0;
        if (++k->group == c->groups) k->group = 0, k->sample += k->samples;
    }
    if (k->sample == c->batch) return false;
    int samples = c->batch - k->sample, rows = c->patch.rows - row;
    k->samples = samples < c->samples ? samples : c->samples;
    k->patch = c->patch;
    k->patch.first = row;
    k->patch.rows = rows < c->rows ? rows : c->rows;
    k->columns = k->samples * k->patch.rows * k->patch.across;
    size_t size = (size_t)c->out * (size_t)c->depth;
    k->weight = (struct matrix){weight->value + (size_t)k->group * size, c->depth, false};
    return true;
}

// Where the chunk's sample i begins in numbers like x, and in numbers like y for output o of its group.
static size_t image_at(const struct saved *c, const struct chunk *k, int i) {
    return ((size_t)(k->sample + i) * (size_t)c->groups + (size_t)k->group) * c->image;
}

static size_t result_at(const struct saved *c, const struct chunk *k, int i, int o) {
    size_t plane =
        ((size_t)(k->sample + i) * (size_t)c->groups + (size_t)k->group) * (size_t)c->out + (size_t)o;
    return plane * c->windows + (size_t)k->patch.first * (size_t)k->patch.across;
}

static struct matrix columns_of(const struct saved *c, const struct chunk *k, const real *x) {
    if (c->direct) return (struct matrix){x + image_at(c, k, 0), (int)c->windows, false};
    for (int i = 0; i < k->samples; i++)
        window_gather(c->columns + (size_t)i * c->windows, (size_t)k->columns, &c->window, &k->patch,
                      x + image_at(c, k, i));
    return (struct matrix){c->columns, k->columns, false};
}

static void straight_forward(struct tensor *y, const struct saved *c) {
    const struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    size_t results = (size_t)c->out * c->windows, numbers = (size_t)c->out * (size_t)c->depth;
    for (size_t i = 0; i < (size_t)c->batch * (size_t)c->groups; i++) {
        size_t group = i % (size_t)c->groups;
        conv_forward(y->value + i * results, c->plan, weight->value + group * numbers,
                     bias ? bias->value + group * (size_t)c->out : NULL, x->value + i * c->image);
    }
}

static void columns_forward(struct tensor *y, const struct saved *c) {
    const struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    for (struct chunk k = {0}; chunk_next(&k, c, weight);) {
        bool one = c->samples == 1;
        real *result = one ? y->value + result_at(c, &k, 0, 0) : c->results;
        size_t stride = one ? c->windows : (size_t)k.columns;
        for (int o = 0; bias && o < c->out; o++)
            for (int q = 0; q < k.columns; q++)
                result[(size_t)o * stride + (size_t)q] = bias->value[k.group * c->out + o];
        blas_gemm(result, (int)stride, c->out, k.columns, c->depth, k.weight, columns_of(c, &k, x->value),
                  bias ? 1 : 0);
        for (int i = 0; !one && i < k.samples; i++)
            for (int o = 0; o < c->out; o++)
                memcpy(y->value + result_at(c, &k, i, o),
                       result + (size_t)o * stride + (size_t)i * c->windows, c->windows * sizeof(real));
    }
}

struct tensor *op_conv2d(struct tape *t, struct tensor *x, struct tensor *weight, struct tensor *bias,
                         const struct window *window, int groups) {
    char text[SHAPE_TEXT];
    struct saved *c = saved_new(t, x, weight, window, groups);
    int channels = c->out * groups;
    CHECK(!bias || (bias->shape.rank == 1 && bias->shape.dim[0] == channels),
          "conv2d: bias %s for %d channels", bias ? shape_text(text, bias->shape) : "", channels);
    struct shape shape = {4, {c->batch, channels, c->patch.rows, c->patch.across}};
    struct tensor *y = tape_push(t, &conv2d_op, shape, x, weight, bias);
    y->saved = c;
    if (c->plan)
        straight_forward(y, c);
    else
        columns_forward(y, c);
    return y;
}

VECTOR_CLONES static void bias_backward(real *restrict dbias, const struct tensor *y) {
    size_t channels = (size_t)y->shape.dim[1], plane = y->size / ((size_t)y->shape.dim[0] * channels);
    for (size_t i = 0; i < (size_t)y->shape.dim[0] * channels; i++)
        dbias[i % channels] += (real)sums_of(y->grad + i * plane, plane);
}

static struct matrix results_of(const struct saved *c, const struct chunk *k, const real *dy) {
    if (c->samples == 1) return (struct matrix){dy + result_at(c, k, 0, 0), (int)c->windows, false};
    for (int i = 0; i < k->samples; i++)
        for (int o = 0; o < c->out; o++)
            memcpy(c->results + (size_t)o * (size_t)k->columns + (size_t)i * c->windows,
                   dy + result_at(c, k, i, o), c->windows * sizeof(real));
    return (struct matrix){c->results, k->columns, false};
}

static void straight_weight_grad(struct tensor *y, const struct saved *c) {
    const struct tensor *x = y->input[0];
    struct tensor *weight = y->input[1];
    size_t groups = (size_t)c->groups, results = (size_t)c->out * c->windows;
    if (tape_keep(weight) == 0) memset(weight->grad, 0, weight->size * sizeof *weight->grad);
    for (size_t group = 0; group < groups; group++)
        conv_weight_grad(weight->grad + group * (size_t)c->out * (size_t)c->depth, c->plan,
                         y->grad + group * results, groups * results, x->value + group * c->image,
                         groups * c->image, c->batch);
}

static void columns_weight_grad(struct tensor *weight, const struct saved *c, const struct chunk *k,
                                struct matrix dy, const real *x, real keep) {
    struct matrix columns = columns_of(c, k, x);
    columns.transposed = true;
    bool first = k->sample == 0 && k->patch.first == 0; // of its group
    blas_gemm(weight->grad + (k->weight.value - weight->value), c->depth, c->out, c->depth, k->columns, dy,
              columns, first ? keep : 1);
}

static void columns_input_grad(struct tensor *x, const struct saved *c, struct chunk *k, struct matrix dy) {
    real *dx = x->grad + image_at(c, k, 0);
    k->weight.transposed = true;
    if (c->direct) return blas_gemm(dx, (int)c->windows, c->depth, k->columns, c->out, k->weight, dy, 1);
    blas_gemm(c->columns, k->columns, c->depth, k->columns, c->out, k->weight, dy, 0);
    for (int i = 0; i < k->samples; i++)
        window_scatter(x->grad + image_at(c, k, i), &c->window, &k->patch,
                       c->columns + (size_t)i * c->windows, (size_t)k->columns);
}

static void columns_backward(struct tensor *y, const struct saved *c, bool with_weight) {
    struct tensor *x = y->input[0], *weight = y->input[1];
    real keep = with_weight ? tape_keep(weight) : 1;
    for (struct chunk k = {0}; chunk_next(&k, c, weight);) {
        struct matrix dy = results_of(c, &k, y->grad);
        if (with_weight) columns_weight_grad(weight, c, &k, dy, x->value, keep);
        if (x->grad) columns_input_grad(x, c, &k, dy);
    }
}

static void conv2d_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    const struct saved *c = y->saved;
    if (bias && bias->grad) bias_backward(bias->grad, y);
    if (weight->grad && c->plan) straight_weight_grad(y, c);
    bool with_weight = weight->grad && !c->plan;
    if (with_weight || x->grad) columns_backward(y, c, with_weight);
}

static double conv2d_flops(const struct tensor *y, bool backward) {
    const struct tensor *x = y->input[0], *weight = y->input[1];
    const struct saved *c = y->saved;
    int products = backward ? (x->grad != NULL) + (weight->grad != NULL) : 1;
    return 2.0 * products * (double)y->size * c->depth;
}

static struct tensor *conv2d_example(struct tape *t, struct tensor **x) {
    static const struct window w = {.size = {3, 2}, .stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}};
    return op_conv2d(t, x[0], x[1], x[2], &w, 2);
}

const struct op conv2d_op = {.name = "conv2d",
                             .backward = conv2d_backward,
                             .flops = conv2d_flops,
                             .sets = 1 << 1,
                             .example = conv2d_example,
                             .example_input = {{4, {2, 4, 5, 4}}, {4, {6, 2, 3, 2}}, {1, {6}}},
                             .example_inputs = 3};
