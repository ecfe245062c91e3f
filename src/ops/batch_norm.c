// batch_norm: y = n · weight + bias, n = (x - mean) / sqrt(var + eps), channel by channel (Ioffe and Szegedy
// 2015, algorithm 1). x (B, C) or (B, C, ...); all else is (C), weight and bias may be NULL.
//
// Training: mean and (biased) variance of the N numbers that this tape has of a channel. A tape holds one
// shard of the batch, so this is ghost batch norm (Hoffer, Hubara and Soudry 2017, section 4); shards are part of
// the config, so results don't depend on threads. To the gradients of running_mean and running_var it adds
// B · mean and B · var · N / (N - 1), which params_update_buffers makes an average of (as PyTorch, the running
// variance is unbiased). Otherwise, and in training where N is 1, which has no variance: the running
// statistics, which are then left as they are.
//
// With sums over the channel, and without the two sums where the running statistics were used:
//   dx = weight · (dy - sum(dy) / N - n · sum(dy · n) / N) / sqrt(var + eps)
//   dweight = sum(dy · n);  dbias = sum(dy)
// Saved: n and the channels' numbers.
#include <math.h>
#include <string.h>

#include "src/ops.h"
#include "src/sums.h"

struct saved {
    real *normal;        // as x
    real *mean, *factor; // (C) and 1 / sqrt(var + eps)
    double *sum, *slope; // (C)
    bool running;        // the running statistics were used
};

// A tensor as channels see it: numbers row · channels · inner + channel · inner + i.
struct layout {
    size_t rows, channels, inner;
};

static struct layout layout_of(const struct tensor *x) {
    size_t rows = (size_t)x->shape.dim[0], channels = (size_t)x->shape.dim[1];
    return (struct layout){rows, channels, x->size / (rows * channels)};
}

// sum[c] = the sum of a over channel c, or of a · b where b is not NULL.
VECTOR_CLONES static void channel_sums(double *restrict sum, const real *restrict a, const real *b,
                                       struct layout l) {
    memset(sum, 0, l.channels * sizeof *sum);
    for (size_t row = 0; row < l.rows; row++) {
        size_t at = row * l.channels * l.inner;
        if (l.inner > 1)
            for (size_t c = 0; c < l.channels; c++, at += l.inner)
                sum[c] += b ? sums_products(a + at, b + at, l.inner) : sums_of(a + at, l.inner);
        else if (b)
            for (size_t c = 0; c < l.channels; c++) sum[c] += (double)a[at + c] * (double)b[at + c];
        else
            for (size_t c = 0; c < l.channels; c++) sum[c] += (double)a[at + c];
    }
}

// y = (x - shift) · factor + offset, channel by channel; offset may be NULL.
VECTOR_CLONES static void channel_map(real *restrict y, const real *restrict x, const real *restrict shift,
                                      const real *restrict factor, const real *restrict offset,
                                      struct layout l) {
    for (size_t row = 0; row < l.rows; row++) {
        real *to = y + row * l.channels * l.inner;
        const real *from = x + row * l.channels * l.inner;
        if (l.inner == 1)
            for (size_t c = 0; c < l.channels; c++)
                to[c] = (from[c] - shift[c]) * factor[c] + (offset ? offset[c] : 0);
        else
            for (size_t c = 0; c < l.channels; c++, to += l.inner, from += l.inner) {
                real away = shift[c], scale = factor[c], plus = offset ? offset[c] : 0;
                for (size_t i = 0; i < l.inner; i++) to[i] = (from[i] - away) * scale + plus;
            }
    }
}

// The statistics of x into mean and factor, and into the running statistics' gradients, where they have some.
static void batch_statistics(struct saved *s, const struct tensor *x, struct tensor *running_mean,
                             struct tensor *running_var, double eps) {
    struct layout l = layout_of(x);
    double n = (double)(l.rows * l.inner), rows = (double)l.rows;
    channel_sums(s->sum, x->value, NULL, l);
    for (size_t c = 0; c < l.channels; c++) s->mean[c] = (real)(s->sum[c] / n), s->factor[c] = 1;
    channel_map(s->normal, x->value, s->mean, s->factor, NULL, l);
    channel_sums(s->slope, s->normal, s->normal, l);
    for (size_t c = 0; c < l.channels; c++) {
        s->factor[c] = (real)(1 / sqrt(s->slope[c] / n + eps));
        if (running_mean->grad) running_mean->grad[c] += (real)(rows * (double)s->mean[c]);
        if (running_var->grad) running_var->grad[c] += (real)(rows * s->slope[c] / (n - 1));
    }
}

// The running statistics into mean and factor. In training they are what the shard saw: then they stay.
static void running_statistics(struct saved *s, const struct tensor *x, bool training,
                               struct tensor *running_mean, struct tensor *running_var, double eps) {
    struct layout l = layout_of(x);
    real rows = (real)l.rows;
    for (size_t c = 0; c < l.channels; c++) {
        s->mean[c] = running_mean->value[c];
        s->factor[c] = (real)(1 / sqrt((double)running_var->value[c] + eps));
        if (training && running_mean->grad) running_mean->grad[c] += rows * running_mean->value[c];
        if (training && running_var->grad) running_var->grad[c] += rows * running_var->value[c];
    }
}

struct tensor *op_batch_norm(struct tape *t, struct tensor *x, struct tensor *weight, struct tensor *bias,
                             struct tensor *running_mean, struct tensor *running_var, double eps) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank >= 2, "batch_norm: of %s", shape_text(text, x->shape));
    const struct tensor *const all[] = {weight, bias, running_mean, running_var};
    for (int i = 0; i < 4; i++)
        CHECK((!all[i] && i < 2) || shape_equal(all[i]->shape, shape_1(x->shape.dim[1])),
              "batch_norm: %s for %d channels", shape_text(text, all[i]->shape), x->shape.dim[1]);
    struct tensor *y = tape_push(t, &batch_norm_op, x->shape, x, weight, bias);
    struct layout l = layout_of(x);
    struct saved *s = y->saved = arena_alloc(t->arena, 1, sizeof *s);
    s->running = !t->training || l.rows * l.inner == 1;
    s->normal = y->grad || !s->running ? arena_alloc(t->arena, y->size, sizeof(real)) : NULL;
    s->mean = arena_alloc(t->arena, l.channels, sizeof(real));
    s->factor = arena_alloc(t->arena, l.channels, sizeof(real));
    s->sum = arena_alloc(t->arena, l.channels, sizeof(double));
    s->slope = arena_alloc(t->arena, l.channels, sizeof(double));
    if (s->running)
        running_statistics(s, x, t->training, running_mean, running_var, eps);
    else
        batch_statistics(s, x, running_mean, running_var, eps);
    real *factor = arena_alloc(t->arena, l.channels, sizeof(real));
    for (size_t c = 0; c < l.channels; c++)
        factor[c] = weight ? weight->value[c] * s->factor[c] : s->factor[c];
    if (y->grad) channel_map(s->normal, x->value, s->mean, s->factor, NULL, l);
    channel_map(y->value, x->value, s->mean, factor, bias ? bias->value : NULL, l);
    return y;
}

// dx += factor · (dy - sum - n · slope), channel by channel.
VECTOR_CLONES static void input_backward(real *restrict dx, const real *restrict dy,
                                         const real *restrict normal, const real *restrict factor,
                                         const real *restrict sum, const real *restrict slope,
                                         struct layout l) {
    for (size_t row = 0, at = 0; row < l.rows; row++) {
        if (l.inner == 1) {
            for (size_t c = 0; c < l.channels; c++, at++)
                dx[at] += factor[c] * (dy[at] - sum[c] - normal[at] * slope[c]);
            continue;
        }
        for (size_t c = 0; c < l.channels; c++) {
            real scale = factor[c], mean = sum[c], tilt = slope[c];
            for (size_t end = at + l.inner; at < end; at++)
                dx[at] += scale * (dy[at] - mean - normal[at] * tilt);
        }
    }
}

static void batch_norm_backward(struct tape *t, struct tensor *y) {
    struct saved *s = y->saved;
    struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    struct layout l = layout_of(x);
    channel_sums(s->sum, y->grad, NULL, l);
    channel_sums(s->slope, y->grad, s->normal, l);
    for (size_t c = 0; bias && bias->grad && c < l.channels; c++) bias->grad[c] += (real)s->sum[c];
    for (size_t c = 0; weight && weight->grad && c < l.channels; c++) weight->grad[c] += (real)s->slope[c];
    if (!x->grad) return;
    real *sum = arena_alloc(t->arena, l.channels, sizeof *sum);
    real *slope = arena_alloc(t->arena, l.channels, sizeof *slope);
    double share = s->running ? 0 : 1 / (double)(l.rows * l.inner);
    for (size_t c = 0; c < l.channels; c++) {
        sum[c] = (real)(s->sum[c] * share), slope[c] = (real)(s->slope[c] * share);
        if (weight) s->factor[c] *= weight->value[c];
    }
    input_backward(x->grad, y->grad, s->normal, s->factor, sum, slope, l);
}

static struct tensor *batch_norm_example(struct tape *t, struct tensor **x) {
    struct tensor *running = tape_leaf(t, x[1]->shape, false);
    return op_batch_norm(t, x[0], x[1], x[2], running, running, 1e-2);
}

const struct op batch_norm_op = {.name = "batch_norm",
                                 .backward = batch_norm_backward,
                                 .example = batch_norm_example,
                                 .example_input = {{3, {3, 2, 3}}, {1, {2}}, {1, {2}}},
                                 .example_inputs = 3};
