// embedding: y[..., :] = weight[x[...], :]; x holds token numbers 0 .. n-1 as reals, weight (n, d).
// dweight[x[...], :] += dy[..., :], in the order of the positions; x has no gradient.
#include <string.h>

#include "src/ops.h"

struct tensor *op_embedding(struct tape *t, struct tensor *x, struct tensor *weight) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(x->shape.rank < SHAPE_RANK_MAX && weight->shape.rank == 2, "embedding: x %s, weight %s",
          shape_text(left, x->shape), shape_text(right, weight->shape));
    size_t d = (size_t)weight->shape.dim[1];
    struct shape shape = x->shape;
    shape.dim[shape.rank++] = weight->shape.dim[1];
    struct tensor *y = tape_push(t, &embedding_op, shape, weight, NULL, NULL);
    uint32_t *token = y->saved = arena_alloc(t->arena, x->size, sizeof *token);
    for (size_t i = 0; i < x->size; i++) {
        real number = x->value[i];
        CHECK(number >= 0 && number < (real)weight->shape.dim[0], "embedding: token %g of %d", (double)number,
              weight->shape.dim[0]);
        token[i] = (uint32_t)number;
        CHECK((real)token[i] == number, "embedding: token %g", (double)number);
        memcpy(y->value + i * d, weight->value + token[i] * d, d * sizeof(real));
    }
    return y;
}

static void embedding_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *weight = y->input[0];
    const uint32_t *token = y->saved;
    size_t d = (size_t)weight->shape.dim[1];
    for (size_t i = 0; i * d < y->size; i++) {
        real *restrict grad = weight->grad + token[i] * d;
        const real *restrict dy = y->grad + i * d;
        for (size_t j = 0; j < d; j++) grad[j] += dy[j];
    }
}

// Tokens that come several times, and one that never does.
static struct tensor *embedding_example(struct tape *t, struct tensor **x) {
    static real tokens[6] = {2, 0, 2, 3, 3, 2};
    return op_embedding(t, tape_input(t, shape_2(2, 3), tokens), x[0]);
}

const struct op embedding_op = {.name = "embedding",
                                .backward = embedding_backward,
                                .example = embedding_example,
                                .example_input = {{2, {4, 3}}},
                                .example_inputs = 1};
