// layer_norm: y = n · weight + bias, n = (x - mean) / sqrt(var + eps), mean and (biased) variance over the last
// dimension (Ba, Kiros and Hinton 2016, eq. 3 and 4; eps inside the root as is usual). weight and bias have the
// last dimension's size and may be NULL.
//
// With g = dy · weight and sums over the row of D numbers:
//   dx = (g - sum(g) / D - n · sum(g · n) / D) / sqrt(var + eps);  dweight = sum over rows of dy · n;
//   dbias = sum over rows of dy
// Saved, where there is a backward pass: n, 1 / sqrt(var + eps) of each row, and room for g.
#include <math.h>
#include <string.h>

#include "src/ops.h"
#include "src/sums.h"

struct saved {
    real *normal;  // (..., D)
    real *inverse; // of each row
    real *g;       // (D)
};

// normal = (x - mean) / sqrt(var + eps); returns 1 / sqrt(var + eps).
static inline real row_normalise(real *normal, const real *x, size_t n, double eps) {
    real mean = (real)(sums_of(x, n) / (double)n);
    for (size_t j = 0; j < n; j++) normal[j] = x[j] - mean;
    real inverse = (real)(1 / sqrt(sums_products(normal, normal, n) / (double)n + eps));
    for (size_t j = 0; j < n; j++) normal[j] *= inverse;
    return inverse;
}

VECTOR_CLONES static void rows_forward(struct tensor *y, const struct saved *saved, double eps) {
    size_t n = (size_t)y->shape.dim[y->shape.rank - 1];
    const struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    for (size_t row = 0; row * n < y->size; row++) {
        real *restrict value = y->value + row * n;
        real inverse = row_normalise(value, x->value + row * n, n, eps);
        if (saved) memcpy(saved->normal + row * n, value, n * sizeof *value);
        if (saved) saved->inverse[row] = inverse;
        for (size_t j = 0; weight && j < n; j++) value[j] *= weight->value[j];
        for (size_t j = 0; bias && j < n; j++) value[j] += bias->value[j];
    }
}

struct tensor *op_layer_norm(struct tape *t, struct tensor *x, struct tensor *weight, struct tensor *bias,
                             double eps) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank >= 1, "layer_norm: of a scalar");
    int n = x->shape.dim[x->shape.rank - 1];
    CHECK(!weight || shape_equal(weight->shape, shape_1(n)), "layer_norm: weight %s for rows of %d",
          weight ? shape_text(text, weight->shape) : "", n);
    CHECK(!bias || shape_equal(bias->shape, shape_1(n)), "layer_norm: bias %s for rows of %d",
          bias ? shape_text(text, bias->shape) : "", n);
    struct tensor *y = tape_push(t, &layer_norm_op, x->shape, x, weight, bias);
    struct saved *saved = NULL;
    if (y->grad) {
        saved = y->saved = arena_alloc(t->arena, 1, sizeof *saved);
        saved->normal = arena_alloc(t->arena, y->size, sizeof(real));
        saved->inverse = arena_alloc(t->arena, y->size / (size_t)n, sizeof(real));
        saved->g = arena_alloc(t->arena, (size_t)n, sizeof(real));
    }
    rows_forward(y, saved, eps);
    return y;
}

VECTOR_CLONES static void layer_norm_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct saved *saved = y->saved;
    size_t n = (size_t)y->shape.dim[y->shape.rank - 1];
    struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    real keep = x->grad ? tape_keep(x) : 1;
    for (size_t row = 0; row * n < y->size; row++) {
        const real *restrict dy = y->grad + row * n, *restrict normal = saved->normal + row * n;
        real *restrict g = saved->g;
        if (bias && bias->grad)
            for (size_t j = 0; j < n; j++) bias->grad[j] += dy[j];
        if (weight && weight->grad)
            for (size_t j = 0; j < n; j++) weight->grad[j] += dy[j] * normal[j];
        if (!x->grad) continue;
        for (size_t j = 0; j < n; j++) g[j] = weight ? dy[j] * weight->value[j] : dy[j];
        real mean = (real)(sums_of(g, n) / (double)n),
             slope = (real)(sums_products(g, normal, n) / (double)n);
        real *restrict dx = x->grad + row * n, inverse = saved->inverse[row];
        if (keep == 0)
            for (size_t j = 0; j < n; j++) dx[j] = inverse * (g[j] - mean - normal[j] * slope);
        else
            for (size_t j = 0; j < n; j++) dx[j] += inverse * (g[j] - mean - normal[j] * slope);
    }
}

static struct tensor *layer_norm_example(struct tape *t, struct tensor **x) {
    return op_layer_norm(t, x[0], x[1], x[2], 1e-2);
}

const struct op layer_norm_op = {.name = "layer_norm",
                                 .backward = layer_norm_backward,
                                 .sets = 1 << 0,
                                 .example = layer_norm_example,
                                 .example_input = {{3, {2, 2, 11}}, {1, {11}}, {1, {11}}},
                                 .example_inputs = 3};
