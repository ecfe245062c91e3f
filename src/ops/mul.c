// mul: y = a * b, element by element, equal shapes. da = dy * b, db = dy * a.
#include "src/ops.h"

struct tensor *op_mul(struct tape *t, struct tensor *a, struct tensor *b) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(shape_equal(a->shape, b->shape), "mul: %s and %s", shape_text(left, a->shape),
          shape_text(right, b->shape));
    struct tensor *y = tape_push(t, &mul_op, a->shape, a, b, NULL);
    for (size_t i = 0; i < y->size; i++) y->value[i] = a->value[i] * b->value[i];
    return y;
}

static void mul_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *a = y->input[0], *b = y->input[1];
    if (a->grad)
        for (size_t i = 0; i < y->size; i++) a->grad[i] += y->grad[i] * b->value[i];
    if (b->grad)
        for (size_t i = 0; i < y->size; i++) b->grad[i] += y->grad[i] * a->value[i];
}

static struct tensor *mul_example(struct tape *t, struct tensor **x) {
    return op_mul(t, x[0], x[1]);
}

const struct op mul_op = {.name = "mul",
                          .backward = mul_backward,
                          .example = mul_example,
                          .example_input = {{2, {2, 3}}, {2, {2, 3}}},
                          .example_inputs = 2};
