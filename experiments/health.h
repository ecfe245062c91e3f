// What goes wrong with numbers in training, said while it happens: numbers that are not finite, layers that died, counters
// at their limit.
#ifndef TALLY_EXPERIMENTS_HEALTH_H
#define TALLY_EXPERIMENTS_HEALTH_H

#include "experiments/log.h"
#include "experiments/run.h"

enum { HEALTH_TEXT = TAPE_FAULT + 256 };

struct health {
    bool *dead_said, *limit_said; // [parameters]
};

void health_open(struct health *h, const struct run *r);
void health_close(struct health *h);

// After each step: warns once of each layer whose weights are all zero now.
void health_step(struct health *h, const struct run *r, struct log *l);

// After an epoch: warns once of each layer of whose counters more than 1 % are at their limit.
void health_epoch(struct health *h, const struct run *r, struct log *l);

// Whether every number of the run is finite; else `text` says what is not, in which step, at which rates.
bool health_finite(char text[HEALTH_TEXT], struct run *r, double loss);

// The first layer whose weights are all zero, or -1.
int health_dead(const struct params *ps);

#endif
