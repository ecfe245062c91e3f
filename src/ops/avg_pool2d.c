// avg_pool2d: y (B, C, down, across) = the mean of the numbers under each window of x (B, C, height, width),
// plane by plane. With count_include_pad the padding counts as zeros, as is PyTorch's default; else only what
// lies inside the image counts. dx = dy / count for each number under the window.
#include <string.h>

#include "src/ops.h"
#include "src/sums.h"

// Saved: the windows and, for each of a plane, 1 / count.
struct pool {
    struct window window;
    int height, width, down, across;
    bool whole; // one window that is the image
    real *share;
    struct window_range *range; // of a row's windows, those whose element j lies inside
};

// Element j of a row of windows, forward (adds the image's row to the sums) or back.
static inline void row_add(real *restrict sum, const real *restrict from, int n, int step) {
    for (int k = 0; k < n; k++) sum[k] += from[k * step];
}

static inline void row_spread(real *restrict to, const real *restrict dy, const real *restrict share, int n,
                              int step) {
    for (int k = 0; k < n; k++) to[k * step] += dy[k] * share[k];
}

VECTOR_CLONES static void plane_pool(real *y, const struct pool *p, const real *x) {
    const struct window *w = &p->window;
    int step = w->stride[1];
    memset(y, 0, (size_t)p->down * (size_t)p->across * sizeof *y);
    for (int o = 0; o < p->down && !p->whole; o++) {
        real *sum = y + (size_t)o * (size_t)p->across;
        int top = o * w->stride[0] - w->padding[0];
        for (int i = top < 0 ? 0 : top; i < top + w->size[0] && i < p->height; i++)
            for (int j = 0; j < w->size[1]; j++) {
                struct window_range s = p->range[j];
                const real *from = x + (size_t)i * (size_t)p->width + s.at;
                if (step == 2)
                    row_add(sum + s.first, from, s.end - s.first, 2);
                else
                    row_add(sum + s.first, from, s.end - s.first, step);
            }
    }
    if (p->whole) y[0] = (real)sums_of(x, (size_t)p->height * (size_t)p->width);
    for (int k = 0; k < p->down * p->across; k++) y[k] *= p->share[k];
}

VECTOR_CLONES static void plane_spread(real *restrict dx, const struct pool *p, const real *restrict dy) {
    const struct window *w = &p->window;
    int step = w->stride[1];
    for (size_t k = 0; p->whole && k < (size_t)p->height * (size_t)p->width; k++)
        dx[k] += dy[0] * p->share[0];
    for (int o = 0; o < p->down && !p->whole; o++) {
        size_t row = (size_t)o * (size_t)p->across;
        int top = o * w->stride[0] - w->padding[0];
        for (int i = top < 0 ? 0 : top; i < top + w->size[0] && i < p->height; i++)
            for (int j = 0; j < w->size[1]; j++) {
                struct window_range s = p->range[j];
                row_spread(dx + (size_t)i * (size_t)p->width + s.at, dy + row + s.first,
                           p->share + row + s.first, s.end - s.first, step);
            }
    }
}

// How many numbers window o has along a side.
static int inside(const struct pool *p, int axis, int o, int length) {
    int first = o * p->window.stride[axis] - p->window.padding[axis], end = first + p->window.size[axis];
    return (end < length ? end : length) - (first > 0 ? first : 0);
}

struct tensor *op_avg_pool2d(struct tape *t, struct tensor *x, const struct window *w,
                             bool count_include_pad) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank == 4 && w->dilation[0] == 1 && w->dilation[1] == 1, "avg_pool2d: x %s",
          shape_text(text, x->shape));
    struct shape shape = x->shape;
    for (int k = 0; k < 2; k++) {
        shape.dim[2 + k] = window_count(w, k, x->shape.dim[2 + k]);
        CHECK(shape.dim[2 + k] > 0 && 2 * w->padding[k] <= w->size[k], "avg_pool2d: %d by %d windows on x %s",
              w->size[0], w->size[1], shape_text(text, x->shape));
    }
    struct tensor *y = tape_push(t, &avg_pool2d_op, shape, x, NULL, NULL);
    struct pool *p = y->saved = arena_alloc(t->arena, 1, sizeof *p);
    *p = (struct pool){*w, x->shape.dim[2], x->shape.dim[3], shape.dim[2], shape.dim[3], false, NULL, NULL};
    p->whole = w->size[0] == p->height && w->size[1] == p->width && p->down * p->across == 1;
    size_t windows = (size_t)p->down * (size_t)p->across, plane = (size_t)p->height * (size_t)p->width;
    p->share = arena_alloc(t->arena, windows, sizeof *p->share);
    p->range = arena_alloc(t->arena, (size_t)w->size[1], sizeof *p->range);
    for (int j = 0; j < w->size[1]; j++) p->range[j] = window_range(w, 1, j, p->width, p->across);
    for (int i = 0; i < p->down; i++)
        for (int j = 0; j < p->across; j++) {
            double count = (double)inside(p, 0, i, p->height) * inside(p, 1, j, p->width);
            if (count_include_pad) count = (double)w->size[0] * w->size[1];
            p->share[i * p->across + j] = (real)(1 / count);
        }
    for (size_t i = 0; i < x->size / plane; i++) plane_pool(y->value + i * windows, p, x->value + i * plane);
    return y;
}

static void avg_pool2d_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    const struct pool *p = y->saved;
    size_t windows = (size_t)p->down * (size_t)p->across, plane = (size_t)p->height * (size_t)p->width;
    for (size_t i = 0; i < x->size / plane; i++) plane_spread(x->grad + i * plane, p, y->grad + i * windows);
}

static struct tensor *avg_pool2d_example(struct tape *t, struct tensor **x) {
    static const struct window w = {.size = {3, 2}, .stride = {2, 1}, .padding = {1, 1}, .dilation = {1, 1}};
    return op_avg_pool2d(t, x[0], &w, false);
}

const struct op avg_pool2d_op = {.name = "avg_pool2d",
                                 .backward = avg_pool2d_backward,
                                 .example = avg_pool2d_example,
                                 .example_input = {{4, {2, 3, 6, 5}}},
                                 .example_inputs = 1};
