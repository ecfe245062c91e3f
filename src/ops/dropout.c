// dropout: y = x * mask / (1 - p), mask 0 with probability p, else 1 (Srivastava et al. 2014, in the
// "inverted" form that leaves inference alone). dx = dy * mask / (1 - p). Outside training y is x itself.
//
// Saved: the scaled mask (size of x). Its random numbers come from the tape's dropout stream.
#include "src/ops.h"

VECTOR_CLONES static void drop(real *restrict y, real *restrict mask, const real *restrict x,
                               const uint32_t *restrict bits, size_t size, uint32_t threshold, real kept) {
    for (size_t i = 0; i < size; i++) {
        mask[i] = bits[i] < threshold ? 0 : kept;
        y[i] = x[i] * mask[i];
    }
}

struct tensor *op_dropout(struct tape *t, struct tensor *x, double p) {
    CHECK(p >= 0 && p < 1, "dropout: p is %g", p);
    if (!t->training || p == 0) return x;
    struct tensor *y = tape_push(t, &dropout_op, x->shape, x, NULL, NULL);
    size_t padded = (y->size + 3) / 4 * 4;
    uint32_t *bits = arena_alloc(t->arena, padded, sizeof *bits);
    rng_fill(bits, padded, &t->dropout, t->dropout.next);
    t->dropout.next += padded;
    uint32_t threshold = (uint32_t)(p * 0x1p32);
    real kept = (real)(1 / (1 - p));
    real *mask = y->saved = arena_alloc(t->arena, y->size, sizeof *mask);
    drop(y->value, mask, x->value, bits, y->size, threshold, kept);
    return y;
}

VECTOR_CLONES static void dropout_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    real keep = tape_pass(x, y), *dx = x->grad;
    const real *mask = y->saved, *dy = y->grad;
    if (keep == 0)
        for (size_t i = 0; i < y->size; i++) dx[i] = dy[i] * mask[i];
    else
        for (size_t i = 0; i < y->size; i++) dx[i] += dy[i] * mask[i];
}

static struct tensor *dropout_example(struct tape *t, struct tensor **x) {
    return op_dropout(t, x[0], 0.4);
}

const struct op dropout_op = {.name = "dropout",
                              .backward = dropout_backward,
                              .sets = 1 << 0,
                              .example = dropout_example,
                              .example_input = {{2, {5, 7}}},
                              .example_inputs = 1};
