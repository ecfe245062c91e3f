// rms_norm: y = n · weight, n = x / sqrt(mean(x²) + eps), the mean over the last dimension (Zhang and Sennrich
// 2019, eq. 4; eps as is usual). weight has the last dimension's size and may be NULL.
//
// With g = dy · weight and the sum over the row of D numbers:
//   dx = (g - n · sum(g · n) / D) / sqrt(mean(x²) + eps);  dweight = sum over rows of dy · n
// Saved, where there is a backward pass: n, 1 / sqrt(mean(x²) + eps) of each row, and room for g.
#include <math.h>
#include <string.h>

#include "src/ops.h"
#include "src/sums.h"

struct saved {
    real *normal;  // (..., D)
    real *inverse; // of each row
    real *g;       // (D)
};

VECTOR_CLONES static void rows_forward(struct tensor *y, const struct saved *saved, double eps) {
    size_t n = (size_t)y->shape.dim[y->shape.rank - 1];
    const struct tensor *weight = y->input[1];
    for (size_t row = 0; row * n < y->size; row++) {
        const real *restrict x = y->input[0]->value + row * n;
        real *restrict value = y->value + row * n;
        real inverse = (real)(1 / sqrt(sums_products(x, x, n) / (double)n + eps));
        for (size_t j = 0; j < n; j++) value[j] = x[j] * inverse;
        if (saved) memcpy(saved->normal + row * n, value, n * sizeof *value);
        if (saved) saved->inverse[row] = inverse;
        for (size_t j = 0; weight && j < n; j++) value[j] *= weight->value[j];
    }
}

struct tensor *op_rms_norm(struct tape *t, struct tensor *x, struct tensor *weight, double eps) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank >= 1, "rms_norm: of a scalar");
    int n = x->shape.dim[x->shape.rank - 1];
    CHECK(!weight || shape_equal(weight->shape, shape_1(n)), "rms_norm: weight %s for rows of %d",
          weight ? shape_text(text, weight->shape) : "", n);
    struct tensor *y = tape_push(t, &rms_norm_op, x->shape, x, weight, NULL);
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

VECTOR_CLONES static void rms_norm_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct saved *saved = y->saved;
    size_t n = (size_t)y->shape.dim[y->shape.rank - 1];
    struct tensor *x = y->input[0], *weight = y->input[1];
    for (size_t row = 0; row * n < y->size; row++) {
        const real *restrict dy = y->grad + row * n, *restrict normal = saved->normal + row * n;
        real *restrict g = saved->g;
        if (weight && weight->grad)
            for (size_t j = 0; j < n; j++) weight->grad[j] += dy[j] * normal[j];
        if (!x->grad) continue;
        for (size_t j = 0; j < n; j++) g[j] = weight ? dy[j] * weight->value[j] : dy[j];
        real slope = (real)(sums_products(g, normal, n) / (double)n);
        real *restrict dx = x->grad + row * n, inverse = saved->inverse[row];
        for (size_t j = 0; j < n; j++) dx[j] += inverse * (g[j] - normal[j] * slope);
    }
}

static struct tensor *rms_norm_example(struct tape *t, struct tensor **x) {
    return op_rms_norm(t, x[0], x[1], 1e-2);
}

const struct op rms_norm_op = {.name = "rms_norm",
                               .backward = rms_norm_backward,
                               .example = rms_norm_example,
                               .example_input = {{3, {2, 2, 11}}, {1, {11}}},
                               .example_inputs = 2};
