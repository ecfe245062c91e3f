// Choices: which units of a layer serve which samples. For layers that compute a part of themselves; the choice is
// made by scores that nobody derives.
//
// All of it is a function of the numbers and of the sample alone: never of the other samples, the number of threads or
// the instruction set.
#ifndef TALLY_LAYERS_CHOOSE_H
#define TALLY_LAYERS_CHOOSE_H

#include "src/ops.h"

// score (B, units) = x (B, in) · first (in, rank) · second (rank, units), in the step's memory.
real *choose_sketch(struct tape *t, const struct tensor *x, const struct param *first,
                    const struct param *second);

// Uniform scores from the tape's dropout stream.
real *choose_random(struct tape *t, size_t count);

// All units for all samples.
const struct choice *choose_all(struct tape *t, int units, int block);

// One choice for all samples: the k units with the largest score [units].
const struct choice *choose_one(struct tape *t, const real *score, int units, int k, int block);

// For each sample the k units with its largest score [batch][units].
const struct choice *choose_each(struct tape *t, const real *score, int batch, int units, int k, int block);

// The choice with the first `most` samples of each unit.
const struct choice *choose_first(struct tape *t, const struct choice *c, double most);

#endif
