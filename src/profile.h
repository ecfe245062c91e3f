// Where the time of training steps goes: a watch that is always on one thing, and what it counted for each. Nobody needs
// one: a tape, an optimiser or a run without a profile (NULL) measures nothing.
#ifndef TALLY_SRC_PROFILE_H
#define TALLY_SRC_PROFILE_H

#include "src/base.h"

enum { PROFILE_CELLS = 128 };

enum profile_group { PROFILE_FORWARD, PROFILE_BACKWARD, PROFILE_STAGE, PROFILE_PART, PROFILE_GROUPS };

struct profile_cell {
    enum profile_group group;
    const char *name; // an op, a stage of the optimiser, another part of a step; borrowed
    double seconds, calls;
    // Of matrix products: floating-point operations, and bytes when each tensor of an op is read once and each result
    // written once, or read and written where it is added to.
    double flops, bytes;
};

struct tensor;

// All zero at first. Belongs to one thread.
struct profile {
    struct profile_cell cells[PROFILE_CELLS];
    int count;
    struct profile_cell *on; // what the watch is on; NULL: stopped
    const struct tensor *op; // its result, when that is an op
    double since;
};

// The watch goes to something else, here an op whose result is y, going forward or backward. From tape.c.
void profile_op(struct profile *p, enum profile_group group, const struct tensor *y);

// The same to a stage or a part. Does nothing without a profile, like profile_stop.
void profile_start(struct profile *p, enum profile_group group, const char *name);
void profile_stop(struct profile *p);

// Adds what the part counted, thing by thing.
void profile_add(struct profile *sum, const struct profile *part);

// Seconds of a clock that only goes forward.
double profile_seconds(void);

#endif
