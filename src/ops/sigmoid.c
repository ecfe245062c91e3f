// sigmoid: y = 1 / (1 + exp(-x)), element by element. dx = dy * y * (1 - y).
#include <math.h>

#include "src/ops.h"

struct tensor *op_sigmoid(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &sigmoid_op, x->shape, x, NULL, NULL);
    for (size_t i = 0; i < y->size; i++) y->value[i] = (real)(1 / (1 + exp(-(double)x->value[i])));
    return y;
}

static void sigmoid_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct tensor *x = y->input[0];
    for (size_t i = 0; i < y->size; i++) x->grad[i] += y->grad[i] * y->value[i] * (1 - y->value[i]);
}

static struct tensor *sigmoid_example(struct tape *t, struct tensor **x) {
    return op_sigmoid(t, x[0]);
}

const struct op sigmoid_op = {.name = "sigmoid",
                              .backward = sigmoid_backward,
                              .example = sigmoid_example,
                              .example_input = {{2, {3, 4}}},
                              .example_inputs = 1};
