// Sweeps: one config, some keys with several values, a run for each combination (or for random ones), sorted by
// validation error. The test set is not looked at: it is for the one setting that is chosen.
#ifndef TALLY_EXPERIMENTS_SWEEP_H
#define TALLY_EXPERIMENTS_SWEEP_H

#include "experiments/config.h"
#include "experiments/jobs.h"

enum { SWEEP_KEYS = 16, SWEEP_RUNS = 1000 };

// A key and its values: a list, or a range that random draws are made from.
struct sweep_axis {
    char key[JSON_PATH];
    char **values; // as on the command line
    int count;
    bool range, log; // range: draws are uniform in low .. high, or in its logarithm
    double low, high;
};

struct sweep_trial {
    char name[CONFIG_NAME];   // of run and folder: "rate=0.01,leak=0.03"
    char *values[SWEEP_KEYS]; // one per axis
};

struct sweep {
    struct sweep_axis axes[SWEEP_KEYS];
    int count;
    struct sweep_trial *trials;
    int trial_count;
};

// Adds one key: KEY=VALUE, KEY=A,B,C, KEY=A..B:log:N or KEY=A..B:lin:N; `random` allows ranges without :N. A comma
// inside JSON brackets or quotes separates nothing.
int sweep_add(struct sweep *s, const char *assignment, bool random, struct err *e);

// Makes the trials. The grid: every combination, the last key fastest. Random: `trials` draws from the stream of this
// seed; equal draws are made once.
int sweep_grid(struct sweep *s, struct err *e);
int sweep_draw(struct sweep *s, int trials, uint64_t seed, struct err *e);

void sweep_free(struct sweep *s);

// A job for each trial, in OUT/NAME. Fails when a config is wrong, as far as that shows without data, or has no
// validation samples.
int sweep_jobs(struct jobs *jobs, const struct sweep *s, const char *config, const char *out, struct err *e);

// {"sorted_by": "validation_error", "runs": [{name, folder, status, validation_error, validation_loss, density, values},
// ...]}, best first (by validation_loss where no run has an error); then those that diverged, then those that are not done.
// json_free it.
struct json *sweep_results_new(const struct sweep *s, const struct jobs *jobs);

// FOLDER/sweep.json and FOLDER/sweep.csv.
int sweep_save(const struct json *results, const char *folder, struct err *e);

// The table, on stdout.
void sweep_print(const struct json *results);

#endif
