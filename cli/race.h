// Timing pieces of code against each other on a machine that others use too: short runs in turn, so that what slows the
// machine down hits all of them; medians; processor time of this thread, which leaves out the time that others had.
#ifndef TALLY_CLI_RACE_H
#define TALLY_CLI_RACE_H

#include "src/base.h"

enum { RACE_RACERS = 16, RACE_ROUNDS_MIN = 11, RACE_ROUNDS = 101 };

// Something that can be done many times.
struct racer {
    void (*run)(void *context, size_t calls);
    void *context;
};

struct race {
    int racers, rounds;
    double seconds[RACE_RACERS][RACE_ROUNDS]; // for one call, in each round
};

// Runs 1 .. RACE_RACERS racers for about so many seconds together, in at least RACE_ROUNDS_MIN rounds and with at least one
// call each, after some for warming up. Every second round goes backwards.
void race_run(struct race *r, const struct racer *racers, int count, double seconds);

struct spread {
    double median, low, high;
};

// Of the seconds for one call.
struct spread race_spread(const struct race *r, int racer);

// How many times longer `slow` takes than `fast`: the median of the rounds' ratios.
double race_ratio(const struct race *r, int slow, int fast);

#endif
