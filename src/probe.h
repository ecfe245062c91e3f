// Finite-difference gradient check, for the tests. Meant for the double build, where it sees errors of 1e-8.
#ifndef TALLY_SRC_PROBE_H
#define TALLY_SRC_PROBE_H

#include "src/ops.h"

// The largest disagreement between the op's backward pass and central differences, over every element of
// every example input: |backward - difference| / max(1, |difference|). The scalar that is differentiated is
// an unevenly weighted sum of the result (a plain sum would let a softmax pass with an empty backward).
// Inputs are drawn from `seed`, their gradients start at uneven non-zero values: a backward that assigns
// instead of adding is caught.
double probe_gradient(const struct op *op, uint64_t seed);

#endif
