// What a run will take, before it is taken.
#ifndef TALLY_EXPERIMENTS_MEMORY_H
#define TALLY_EXPERIMENTS_MEMORY_H

#include "experiments/run.h"

// In bytes. `step` is an estimate from the shapes that each layer gives (model_step_numbers), the others are counted.
struct memory {
    double data, parameters, optimiser, step;
};

// Of a run whose data is open and whose model is built; parameters and optimiser need not be there yet. Errors are the
// optimiser's.
int memory_need(struct memory *m, const struct run *r, struct err *e);

double memory_sum(const struct memory *m);

// Fails, with the figures, when it is more than `most` bytes.
int memory_check(const struct memory *m, double most, struct err *e);

#endif
