// What lazy parameters (src/params.h) owe: the steps since the last time that all were up to date, and how many of
// them each unit has made. Part of the optimiser; its contracts are in optim.h.
#ifndef TALLY_OPTIM_LAZY_H
#define TALLY_OPTIM_LAZY_H

#include <stdatomic.h>

#include "src/params.h"

struct optim;
struct step;

struct lazy {
    struct step *step; // [steps]; NULL when no parameter is lazy
    int steps;
    atomic_int *
        *made; // [params][units] how many of those steps a unit has made; NULL for one that isn't lazy
};

void lazy_open(struct optim *o);
void lazy_close(struct optim *o);

// Makes all steps up.
void lazy_settle(struct optim *o, int threads);

// Before a step's spans: everybody owes it now, those that were touched have made it. Lists each stage's work.
void lazy_step(struct optim *o, const struct step *step);

#endif
