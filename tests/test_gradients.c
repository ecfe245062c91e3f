// Every op of the registry against finite differences, in double. An op whose backward is off by 0.1 % must
// fail, and so must one that assigns instead of adding: both are tried on a spoilt copy.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "src/probe.h"

static const double LIMIT = 1e-8;

static void every_op(void **state) {
    (void)state;
    for (int i = 0; ops[i]; i++) {
        assert_non_null(ops[i]->example);
        assert_true(ops[i]->example_inputs >= 1);
        for (uint64_t seed = 1; seed <= 3; seed++) {
            double error = probe_gradient(ops[i], seed);
            if (!(error < LIMIT)) fail_msg("%s, seed %d: off by %g", ops[i]->name, (int)seed, error);
        }
    }
}

// tanh with a backward that is wrong in one way.
static enum { TOO_LARGE, ASSIGNED, EMPTY } spoilt_how;

static void spoilt_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    for (size_t i = 0; i < y->size; i++) {
        real right = y->grad[i] * (1 - y->value[i] * y->value[i]);
        if (spoilt_how == TOO_LARGE) x->grad[i] += right * (real)1.001;
        if (spoilt_how == ASSIGNED) x->grad[i] = right;
    }
}

static const struct op spoilt_op = {.name = "spoilt", .backward = spoilt_backward};

static struct tensor *spoilt_example(struct tape *t, struct tensor **x) {
    struct tensor *y = op_tanh(t, x[0]);
    y->op = &spoilt_op;
    return y;
}

static void wrong_backward_is_caught(void **state) {
    (void)state;
    struct op probe = tanh_op;
    probe.example = spoilt_example;
    spoilt_how = TOO_LARGE;
    assert_true(probe_gradient(&probe, 1) > LIMIT);
    spoilt_how = ASSIGNED;
    assert_true(probe_gradient(&probe, 1) > LIMIT);
    spoilt_how = EMPTY;
    assert_true(probe_gradient(&probe, 1) > LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op),
        cmocka_unit_test(wrong_backward_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
