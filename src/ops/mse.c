// mse: y = mean of (x - target)^2, a scalar; equal shapes. dx = dy * 2 (x - target) / size, and the negative
// of it for the target where that has a gradient.
#include "src/ops.h"

struct tensor *op_mse(struct tape *t, struct tensor *x, struct tensor *target) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(shape_equal(x->shape, target->shape), "mse: %s and %s", shape_text(left, x->shape),
          shape_text(right, target->shape));
    struct tensor *y = tape_push(t, &mse_op, (struct shape){0}, x, target, NULL);
    double sum = 0;
    for (size_t i = 0; i < x->size; i++) {
        double difference = (double)x->value[i] - (double)target->value[i];
        sum += difference * difference;
    }
    y->value[0] = (real)(sum / (double)x->size);
    return y;
}

static void mse_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0], *target = y->input[1];
    real share = 2 * y->grad[0] / (real)x->size;
    for (size_t i = 0; i < x->size; i++) {
        real slope = share * (x->value[i] - target->value[i]);
        if (x->grad) x->grad[i] += slope;
        if (target->grad) target->grad[i] -= slope;
    }
}

static struct tensor *mse_example(struct tape *t, struct tensor **x) {
    return op_mse(t, x[0], x[1]);
}

const struct op mse_op = {.name = "mse",
                          .backward = mse_backward,
                          .example = mse_example,
                          .example_input = {{2, {3, 2}}, {2, {3, 2}}},
                          .example_inputs = 2};
