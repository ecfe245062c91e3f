// mean: y = the mean of all elements of x, a scalar; added in double. dx = dy / size everywhere.
#include "src/ops.h"

struct tensor *op_mean(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &mean_op, (struct shape){0}, x, NULL, NULL);
    double sum = 0;
    for (size_t i = 0; i < x->size; i++) sum += (double)x->value[i];
    y->value[0] = (real)(sum / (double)x->size);
    return y;
}

static void mean_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    real share = y->grad[0] / (real)x->size;
    for (size_t i = 0; i < x->size; i++) x->grad[i] += share;
}

static struct tensor *mean_example(struct tape *t, struct tensor **x) {
    return op_mean(t, op_mul(t, x[0], x[0])); // squared, so that the check sees more than a constant
}

const struct op mean_op = {.name = "mean",
                           .backward = mean_backward,
                           .example = mean_example,
                           .example_input = {{2, {3, 4}}},
                           .example_inputs = 1};
