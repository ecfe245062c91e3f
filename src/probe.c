// Gradient check by finite differences of fourth order. Contract in probe.h.
#include "src/probe.h"

#include <math.h>
#include <string.h>

static const double STEP =
    1e-3; // with the fourth-order formula: truncation about 1e-13, rounding about 1e-13

struct probe {
    const struct op *op;
    real *value[OP_INPUTS]; // the inputs' numbers
};

// The weight of result element i: uneven, of both signs.
static real weight_of(size_t i) {
    return (real)(1 + 0.37 * (double)(i % 7)) * (i % 2 ? -1 : 1);
}

static struct tensor *example_run(struct tape *t, const struct probe *p, struct tensor **x) {
    t->dropout = rng_stream(1, "dropout"); // the same mask every time
    for (int k = 0; k < p->op->example_inputs; k++) {
        x[k] = tape_leaf(t, p->op->example_input[k], true);
        memcpy(x[k]->value, p->value[k], x[k]->size * sizeof(real));
        for (size_t i = 0; i < x[k]->size; i++) x[k]->grad[i] = weight_of(i);
    }
    struct tensor *y = p->op->example(t, x), *w = tape_leaf(t, y->shape, false);
    for (size_t i = 0; i < w->size; i++) w->value[i] = weight_of(i);
    return op_sum(t, op_mul(t, y, w));
}

static double example_value(struct tape *t, const struct probe *p) {
    struct tensor *x[OP_INPUTS];
    tape_reset(t, true);
    return (double)example_run(t, p, x)->value[0];
}

static double difference(struct tape *t, const struct probe *p, real *at) {
    static const double shift[4] = {-2, -1, 1, 2}, factor[4] = {1, -8, 8, -1};
    real saved = *at;
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        *at = saved + (real)(shift[k] * STEP);
        sum += factor[k] * example_value(t, p);
    }
    *at = saved;
    return sum / (12 * STEP);
}

double probe_gradient(const struct op *op, uint64_t seed) {
    struct probe p = {.op = op};
    struct rng r = rng_stream(seed, op->name);
    for (int k = 0; k < op->example_inputs; k++) {
        size_t size = shape_size(op->example_input[k]);
        p.value[k] = mem_new(size, sizeof(real));
        for (size_t i = 0; i < size; i++) {
            double u =
                2 * rng_uniform(&r) - 1; // kept away from 0, where relu and the like have no derivative
            p.value[k][i] = (real)(u + (u < 0 ? -0.05 : 0.05));
        }
    }
    struct tape *backward = tape_new(NULL, 0), *forward = tape_new(NULL, 0);
    struct tensor *x[OP_INPUTS];
    tape_reset(backward, true);
    tape_backward(backward, example_run(backward, &p, x), 1);
    double worst = 0;
    for (int k = 0; k < op->example_inputs; k++)
        for (size_t i = 0; i < x[k]->size; i++) {
            double wanted = difference(forward, &p, &p.value[k][i]);
            double found = (double)(x[k]->grad[i] - weight_of(i));
            double error = fabs(found - wanted) / fmax(1, fabs(wanted));
            if (!(error <= worst)) worst = error; // keeps NaN
        }
    tape_free(backward);
    tape_free(forward);
    for (int k = 0; k < op->example_inputs; k++) mem_free(p.value[k]);
    return worst;
}
