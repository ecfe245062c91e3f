// silu: y = x · s, s = 1 / (1 + exp(-x)), element by element (Hendrycks and Gimpel 2016; Elfwing et al. 2017;
// "swish" in Ramachandran et al. 2017). dx = dy · s · (1 + x · (1 - s)). Saved: s.
#include "src/curves.h"
#include "src/ops.h"

VECTOR_CLONES static void shares_make(real *restrict s, const real *restrict x, size_t count) {
    for (size_t i = 0; i < count; i++) s[i] = 1 / (1 + curve_exp(-x[i]));
}

struct tensor *op_silu(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &silu_op, x->shape, x, NULL, NULL);
    real *s = y->saved = y->grad ? arena_alloc(t->arena, y->size, sizeof *s) : y->value;
    shares_make(s, x->value, y->size);
    for (size_t i = 0; i < y->size; i++) y->value[i] = x->value[i] * s[i];
    return y;
}

VECTOR_CLONES static void silu_backward(struct tape *t, struct tensor *y) {
    (void)t;
    real *restrict dx = y->input[0]->grad;
    const real *restrict x = y->input[0]->value, *restrict s = y->saved, *restrict dy = y->grad;
    for (size_t i = 0; i < y->size; i++) dx[i] += dy[i] * s[i] * (1 + x[i] * (1 - s[i]));
}

static struct tensor *silu_example(struct tape *t, struct tensor **x) {
    return op_silu(t, x[0]);
}

const struct op silu_op = {.name = "silu",
                           .backward = silu_backward,
                           .example = silu_example,
                           .example_input = {{2, {3, 5}}},
                           .example_inputs = 1};
