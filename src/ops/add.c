// add: y = a + b, element by element, equal shapes. da = dy, db = dy.
#include "src/ops.h"

struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(shape_equal(a->shape, b->shape), "add: %s and %s", shape_text(left, a->shape),
          shape_text(right, b->shape));
    struct tensor *y = tape_push(t, &add_op, a->shape, a, b, NULL);
    for (size_t i = 0; i < y->size; i++) y->value[i] = a->value[i] + b->value[i];
    return y;
}

static void add_backward(struct tape *t, struct tensor *y) {
    (void)t;
    for (int k = 0; k < 2; k++) {
        real *grad = y->input[k]->grad;
        if (!grad) continue;
        for (size_t i = 0; i < y->size; i++) grad[i] += y->grad[i];
    }
}

static struct tensor *add_example(struct tape *t, struct tensor **x) {
    return op_add(t, x[0], x[1]);
}

const struct op add_op = {.name = "add",
                          .backward = add_backward,
                          .example = add_example,
                          .example_input = {{2, {2, 3}}, {2, {2, 3}}},
                          .example_inputs = 2};
