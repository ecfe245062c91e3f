// tanh: y = tanh(x), element by element. dx = dy * (1 - y^2).
#include <math.h>

#include "src/ops.h"

struct tensor *op_tanh(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &tanh_op, x->shape, x, NULL, NULL);
    for (size_t i = 0; i < y->size; i++) y->value[i] = (real)tanh((double)x->value[i]);
    return y;
}

static void tanh_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct tensor *x = y->input[0];
    for (size_t i = 0; i < y->size; i++) x->grad[i] += y->grad[i] * (1 - y->value[i] * y->value[i]);
}

static struct tensor *tanh_example(struct tape *t, struct tensor **x) {
    return op_tanh(t, x[0]);
}

const struct op tanh_op = {.name = "tanh",
                           .backward = tanh_backward,
                           .example = tanh_example,
                           .example_input = {{2, {4, 3}}},
                           .example_inputs = 1};
