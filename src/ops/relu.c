// relu: y = max(x, 0), element by element; of NaN, NaN. dx = dy where y > 0, else 0 (also at x = 0, as is usual).
#include "src/ops.h"

VECTOR_CLONES static void relu_forward(real *restrict y, const real *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : x[i];
}

struct tensor *op_relu(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &relu_op, x->shape, x, NULL, NULL);
    relu_forward(y->value, x->value, y->size);
    return y;
}

VECTOR_CLONES static void relu_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    real keep = tape_pass(x, y), *dx = x->grad;
    const real *value = y->value, *dy = y->grad;
    if (keep == 0)
        for (size_t i = 0; i < y->size; i++) dx[i] = value[i] > 0 ? dy[i] : 0;
    else
        for (size_t i = 0; i < y->size; i++) dx[i] += value[i] > 0 ? dy[i] : 0;
}

static struct tensor *relu_example(struct tape *t, struct tensor **x) {
    return op_relu(t, x[0]);
}

const struct op relu_op = {.name = "relu",
                           .backward = relu_backward,
                           .sets = 1 << 0,
                           .example = relu_example,
                           .example_input = {{2, {3, 5}}},
                           .example_inputs = 1};
