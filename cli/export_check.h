// What an export costs: the test samples through the exported model, beside the run's own answers.
#ifndef TALLY_CLI_EXPORT_CHECK_H
#define TALLY_CLI_EXPORT_CHECK_H

#include "experiments/run.h"
#include "export/export.h"

struct export_check {
    size_t answers, wrong_before, wrong_after, differ; // answers: one for each label; differ: predictions
    double largest;                                    // difference of an output
};

// Runs the net, which is ready to run and ends as the model does, on the run's test part: as the native file, by the inference
// library, or, with options->integer, by shifts and additions. *c is zeroed before.
int export_check(struct export_check *c, const struct net *ready, struct run *r,
                 const struct export_options *options, struct err *e);

#endif
