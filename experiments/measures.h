// What is measured of a trained run beside its error: how sparse it is, how spiky, how it stands pruning, how fast it
// learned. One struct, and its JSON, which is kept in the run folder as measures.json.
#ifndef TALLY_EXPERIMENTS_MEASURES_H
#define TALLY_EXPERIMENTS_MEASURES_H

#include "experiments/picture.h"
#include "experiments/run.h"

enum { MEASURES_CUTS = 7, MEASURES_GOALS = 3, MEASURES_EPOCHS = 4096 };

// Shares of weights kept: 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005. Validation errors in percent: 5, 3, 2.
extern const double measures_cut[MEASURES_CUTS], measures_goal[MEASURES_GOALS];

// All shares and densities are over the weights (rank >= 2) of the whole model; errors are in percent. NAN where a run
// has no such number: no validation part, no error among its metrics, a goal never reached, a ratio of zeros (all weights
// zero).
struct measures {
    double test_error, validation_error;
    double weights, nonzero, density;
    double density_0p1, density_1; // weights with abs(w) above 0.1 % and 1 % of the largest
    double norm_top_1, norm_top_5; // share of the sum of squares that the largest 1 % and 5 % hold
    double gini, hoyer;            // of abs(w), both 0 (all equal) .. 1 (one weight), Hurley and Rickard 2009
    double kurtosis;               // of w, 3 for a normal distribution
    // Test error after global magnitude pruning to measures_cut, no retraining.
    double pruned_error[MEASURES_CUTS];
    // The first step after which an epoch's validation error is at most the goal; NAN: never.
    double steps_to_goal[MEASURES_GOALS];
    double entropy_bytes; // bound for positions and counters (floats: 32 bits each) plus 8-bit biases
    double state_bytes;   // per weight
    double test_loss, validation_loss, pruned_loss[MEASURES_CUTS]; // as the errors
    double step_seconds; // wall time of a training step; differs from run to run
};

// Measures the run, which has its data open (and is left as it was: weights are pruned in a copy and restored);
// `folder` is where its metrics.jsonl and summary.json are.
int measures_make(struct measures *m, struct run *r, const char *folder, struct err *e);

// As JSON, NAN as null.
struct json *measures_write_new(const struct measures *m);
int measures_read(struct measures *m, const struct json *node, const char *path, struct err *e);

// Writes FOLDER/measures.json.
int measures_save(const struct measures *m, const char *folder, struct err *e);

// The measures of a finished run folder: from its measures.json when that is whole and not older than checkpoint and
// summary, else made and written there. Without `options`: the defaults.
int measures_of_folder(struct measures *m, const char *folder, const struct run_options *options,
                       struct err *e);

#endif
