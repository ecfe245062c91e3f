// sum: y = the sum of all elements of x, a scalar; added in double. dx = dy everywhere.
#include "src/ops.h"

struct tensor *op_sum(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &sum_op, (struct shape){0}, x, NULL, NULL);
    double sum = 0;
    for (size_t i = 0; i < x->size; i++) sum += (double)x->value[i];
    y->value[0] = (real)sum;
    return y;
}

static void sum_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    for (size_t i = 0; i < x->size; i++) x->grad[i] += y->grad[0];
}

static struct tensor *sum_example(struct tape *t, struct tensor **x) {
    return op_sum(t, op_mul(t, x[0], x[0])); // squared, so that the check sees more than a constant
}

const struct op sum_op = {.name = "sum",
                          .backward = sum_backward,
                          .example = sum_example,
                          .example_input = {{2, {3, 4}}},
                          .example_inputs = 1};
