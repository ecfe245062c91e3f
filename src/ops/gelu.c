// gelu: y = x * Phi(x), element by element, the exact form with erf (Hendrycks and Gimpel 2016, section 2).
// dx = dy * (Phi(x) + x * phi(x)), phi the normal density.
#include "src/curves.h"
#include "src/ops.h"

VECTOR_CLONES static void gelu_forward(real *restrict y, const real *restrict x, size_t count) {
    real density;
    for (size_t i = 0; i < count; i++) y[i] = x[i] * curve_normal(&density, x[i]);
}

struct tensor *op_gelu(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &gelu_op, x->shape, x, NULL, NULL);
    gelu_forward(y->value, x->value, y->size);
    return y;
}

VECTOR_CLONES static void gelu_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *input = y->input[0];
    real keep = tape_pass(input, y), *dx = input->grad;
    const real *x = input->value, *dy = y->grad;
    if (keep == 0)
        for (size_t i = 0; i < y->size; i++) {
            real density, below = curve_normal(&density, x[i]);
            dx[i] = dy[i] * (below + x[i] * density);
        }
    else
        for (size_t i = 0; i < y->size; i++) {
            real density, below = curve_normal(&density, x[i]);
            dx[i] += dy[i] * (below + x[i] * density);
        }
}

static struct tensor *gelu_example(struct tape *t, struct tensor **x) {
    return op_gelu(t, x[0]);
}

const struct op gelu_op = {.name = "gelu",
                           .backward = gelu_backward,
                           .sets = 1 << 0,
                           .example = gelu_example,
                           .example_input = {{2, {3, 5}}},
                           .example_inputs = 1};
