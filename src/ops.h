// The operations: prototypes and the registry, both from ops.def.
//
// To add one: a line in ops.def and a file src/ops/<name>.c that ends with `const struct op <name>_op`. Its
// `example` is the gradient test: tests run over the registry, so an op without one does not pass.
#ifndef TALLY_SRC_OPS_H
#define TALLY_SRC_OPS_H

#include "src/tape.h"
#include "src/window.h"

// Which units of rows serve which samples.
struct choice {
    int block, count;   // rows of a unit; how many units serve any sample
    const int *unit;    // [count] those, rising
    const int *samples; // [count] how many samples each serves
    const int *
        sample; // those samples, a unit's rising, one unit after the other; NULL: every unit serves all of them
};

struct op {
    const char *name;
    // Adds to the gradient of each input that has one, from y->grad.
    void (*backward)(struct tape *t, struct tensor *y);
    // Floating-point operations of its matrix products, forward or backward, for measurements; NULL: it has none.
    double (*flops)(const struct tensor *y, bool backward);
    bool sparse; // its second input may be sparse
    // A bit for each input whose gradient it sets by tape_keep and the like; the others' are zeroed before it.
    unsigned sets;
    // For the gradient check: the shapes of the op's differentiable inputs, how many there are, and the op
    // applied to them.
    struct shape example_input[OP_INPUTS];
    int example_inputs;
    struct tensor *(*example)(struct tape *t, struct tensor **x);
};

#define OP(name, arguments, help)       \
    struct tensor *op_##name arguments; \
    extern const struct op name##_op;
#include "src/ops.def"
#undef OP

// The registry, NULL-terminated, and one line of help for each.
extern const struct op *const ops[];
extern const char *const ops_help[];

#endif
