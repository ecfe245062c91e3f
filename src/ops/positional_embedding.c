// positional_embedding: y[b, p, :] = x[b, p, :] + weight[p, :]; x (B, T, d), weight (T, d).
// dx = dy; dweight = dy summed over the samples.
#include "src/ops.h"

struct tensor *op_positional_embedding(struct tape *t, struct tensor *x, struct tensor *weight) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(x->shape.rank == 3 && shape_equal(weight->shape, shape_2(x->shape.dim[1], x->shape.dim[2])),
          "positional_embedding: x %s, weight %s", shape_text(left, x->shape),
          shape_text(right, weight->shape));
    struct tensor *y = tape_push(t, &positional_embedding_op, x->shape, x, weight, NULL);
    for (size_t row = 0; row < y->size; row += weight->size)
        for (size_t i = 0; i < weight->size; i++) y->value[row + i] = x->value[row + i] + weight->value[i];
    return y;
}

static void positional_embedding_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0], *weight = y->input[1];
    for (size_t row = 0; weight->grad && row < y->size; row += weight->size)
        for (size_t i = 0; i < weight->size; i++) weight->grad[i] += y->grad[row + i];
    if (x->grad) tape_add_grad(x, y, true);
}

static struct tensor *positional_embedding_example(struct tape *t, struct tensor **x) {
    return op_positional_embedding(t, x[0], x[1]);
}

const struct op positional_embedding_op = {.name = "positional_embedding",
                                           .backward = positional_embedding_backward,
                                           .sets = 1 << 0,
                                           .example = positional_embedding_example,
                                           .example_input = {{3, {2, 3, 4}}, {2, {3, 4}}},
                                           .example_inputs = 2};
