// reshape: y holds the numbers of x in another shape of equal size. The values are shared, not copied; the
// gradient goes back element by element.
#include "src/ops.h"

struct tensor *op_reshape(struct tape *t, struct tensor *x, struct shape shape) {
    char from[SHAPE_TEXT], to[SHAPE_TEXT];
    CHECK(shape_size(shape) == x->size, "reshape: %s to %s", shape_text(from, x->shape),
          shape_text(to, shape));
    return tape_share(t, &reshape_op, shape, x);
}

static void reshape_backward(struct tape *t, struct tensor *y) {
    (void)t;
    tape_add_grad(y->input[0], y, true);
}

static struct tensor *reshape_example(struct tape *t, struct tensor **x) {
    return op_reshape(t, x[0], shape_2(3, 4));
}

const struct op reshape_op = {.name = "reshape",
                              .backward = reshape_backward,
                              .sets = 1 << 0,
                              .example = reshape_example,
                              .example_input = {{3, {2, 3, 2}}},
                              .example_inputs = 1};
