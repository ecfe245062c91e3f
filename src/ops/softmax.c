// softmax: y = exp(x - max) / sum of exp(x - max), over the last dimension.
// dx = y · (dy - sum of dy · y over the last dimension).
#include <math.h>

#include "src/ops.h"
#include "src/sums.h"

static void row_forward(real *y, const real *x, size_t n) {
    double largest = (double)x[0], sum = 0;
    for (size_t j = 1; j < n; j++) largest = fmax(largest, (double)x[j]);
    for (size_t j = 0; j < n; j++) {
        double power = exp((double)x[j] - largest);
        y[j] = (real)power;
        sum += power;
    }
    for (size_t j = 0; j < n; j++) y[j] = (real)((double)y[j] / sum);
}

struct tensor *op_softmax(struct tape *t, struct tensor *x) {
    CHECK(x->shape.rank >= 1, "softmax: of a scalar");
    struct tensor *y = tape_push(t, &softmax_op, x->shape, x, NULL, NULL);
    size_t n = (size_t)x->shape.dim[x->shape.rank - 1];
    for (size_t row = 0; row < x->size; row += n) row_forward(y->value + row, x->value + row, n);
    return y;
}

VECTOR_CLONES static void softmax_backward(struct tape *t, struct tensor *y) {
    (void)t;
    size_t n = (size_t)y->shape.dim[y->shape.rank - 1];
    for (size_t row = 0; row < y->size; row += n) {
        real *restrict dx = y->input[0]->grad + row;
        const real *restrict value = y->value + row, *restrict dy = y->grad + row;
        real inner = (real)sums_products(dy, value, n);
        for (size_t j = 0; j < n; j++) dx[j] += value[j] * (dy[j] - inner);
    }
}

static struct tensor *softmax_example(struct tape *t, struct tensor **x) {
    return op_softmax(t, x[0]);
}

const struct op softmax_op = {.name = "softmax",
                              .backward = softmax_backward,
                              .example = softmax_example,
                              .example_input = {{2, {3, 4}}},
                              .example_inputs = 1};
