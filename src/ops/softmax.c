// softmax: y = exp(x - max) / sum of exp(x - max), over the last dimension.
// dx = y · (dy - sum of dy · y over the last dimension).
#include "src/curves.h"
#include "src/ops.h"

VECTOR_CLONES static void rows_forward(real *restrict y, const real *restrict x, size_t size, size_t n) {
    for (size_t row = 0; row < size; row += n) curve_softmax(y + row, x + row, n, 1);
}

struct tensor *op_softmax(struct tape *t, struct tensor *x) {
    CHECK(x->shape.rank >= 1, "softmax: of a scalar");
    struct tensor *y = tape_push(t, &softmax_op, x->shape, x, NULL, NULL);
    rows_forward(y->value, x->value, x->size, (size_t)x->shape.dim[x->shape.rank - 1]);
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
