// gelu: y = x * Phi(x), element by element, the exact form with erf (Hendrycks and Gimpel 2016, section 2).
// dx = dy * (Phi(x) + x * phi(x)), phi the normal density.
#include <math.h>

#include "src/ops.h"

// Phi: the share of the normal distribution below x.
static double normal_below(double x) {
    return 0.5 * erfc(-x * 0.7071067811865476); // sqrt(1 / 2)
}

struct tensor *op_gelu(struct tape *t, struct tensor *x) {
    struct tensor *y = tape_push(t, &gelu_op, x->shape, x, NULL, NULL);
    for (size_t i = 0; i < y->size; i++) y->value[i] = (real)(x->value[i] * normal_below(x->value[i]));
    return y;
}

static void gelu_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct tensor *x = y->input[0];
    for (size_t i = 0; i < y->size; i++) {
        double v = x->value[i], density = exp(-v * v / 2) * 0.3989422804014327; // 1 / sqrt(2 pi)
        x->grad[i] += y->grad[i] * (real)(normal_below(v) + v * density);
    }
}

static struct tensor *gelu_example(struct tape *t, struct tensor **x) {
    return op_gelu(t, x[0]);
}

const struct op gelu_op = {.name = "gelu",
                           .backward = gelu_backward,
                           .example = gelu_example,
                           .example_input = {{2, {3, 5}}},
                           .example_inputs = 1};
