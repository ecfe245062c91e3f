// leaky_relu: y = x where x > 0, else negative_slope · x, element by element (Maas et al. 2013).
// dx = dy where x > 0, else negative_slope · dy (also at x = 0). Saved: the slope.
#include "src/ops.h"

VECTOR_CLONES static void values_bend(real *restrict y, const real *restrict x, size_t n, real slope) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : slope * x[i];
}

struct tensor *op_leaky_relu(struct tape *t, struct tensor *x, double negative_slope) {
    struct tensor *y = tape_push(t, &leaky_relu_op, x->shape, x, NULL, NULL);
    real *slope = y->saved = arena_alloc(t->arena, 1, sizeof *slope);
    *slope = (real)negative_slope;
    values_bend(y->value, x->value, y->size, *slope);
    return y;
}

VECTOR_CLONES static void leaky_relu_backward(struct tape *t, struct tensor *y) {
    (void)t;
    real *restrict dx = y->input[0]->grad, slope = *(const real *)y->saved;
    const real *restrict value = y->input[0]->value, *restrict dy = y->grad;
    for (size_t i = 0; i < y->size; i++) dx[i] += value[i] > 0 ? dy[i] : slope * dy[i];
}

static struct tensor *leaky_relu_example(struct tape *t, struct tensor **x) {
    return op_leaky_relu(t, x[0], 0.3);
}

const struct op leaky_relu_op = {.name = "leaky_relu",
                                 .backward = leaky_relu_backward,
                                 .example = leaky_relu_example,
                                 .example_input = {{2, {3, 5}}},
                                 .example_inputs = 1};
