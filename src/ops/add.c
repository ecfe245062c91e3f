// add: y = a + b, element by element, equal shapes. da = dy, db = dy.
#include "src/ops.h"

VECTOR_CLONES static void add(real *restrict y, const real *a, const real *b, size_t size) {
    for (size_t i = 0; i < size; i++) y[i] = a[i] + b[i];
}

struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(shape_equal(a->shape, b->shape), "add: %s and %s", shape_text(left, a->shape),
          shape_text(right, b->shape));
    struct tensor *y = tape_push(t, &add_op, a->shape, a, b, NULL);
    add(y->value, a->value, b->value, y->size);
    return y;
}

static void add_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *a = y->input[0], *b = y->input[1];
    if (b->grad) tape_add_grad(b, y, !a->grad);
    if (a->grad) tape_add_grad(a, y, true);
}

static struct tensor *add_example(struct tape *t, struct tensor **x) {
    return op_add(t, x[0], x[1]);
}

const struct op add_op = {.name = "add",
                          .backward = add_backward,
                          .sets = 1 << 0 | 1 << 1,
                          .example = add_example,
                          .example_input = {{2, {2, 3}}, {2, {2, 3}}},
                          .example_inputs = 2};
