// A run: data, model, optimiser and the position in training, put together from a config; one step; an
// evaluation. The loop over epochs is in train.c, saving and loading in checkpoint.c.
#ifndef TALLY_EXPERIMENTS_RUN_H
#define TALLY_EXPERIMENTS_RUN_H

#include "datasets/batches.h"
#include "experiments/config.h"
#include "experiments/loss.h"
#include "layers/model.h"
#include "optim/optim.h"

struct run {
    struct config config;
    struct json *resolved; // the config with every default filled in

    struct dataset data;
    struct batches batches;
    bool fell_back;      // the data set is the config's fallback
    char data_note[512]; // why, and how to get the real one

    struct params *params;
    struct model *model;
    struct loss loss;
    struct optim *optim;
    struct tape **tapes;  // one per shard
    struct score *scores; // one per shard
    int threads;
    double memory, max_memory; // bytes that it needs, about, and that it may need
    struct profile *profile;   // of what shards don't do; NULL: nothing is measured

    // Position: batches of this epoch that are done, steps of the run, this epoch's sums so far, and how the model did after
    // the last whole epoch (count 0: there is no validation part, or no such epoch).
    int64_t epoch, batch, step;
    struct score training, validation;

    char fault[TAPE_FAULT]; // what was not finite, of a step that could not be made; else empty
};

struct run_options {
    const char *data_folder; // --data, or NULL
    int threads;             // 0: as many as there are processors and shards
    const char *only_set;    // use just this data set of the config (a resumed or evaluated run's), or NULL
    double max_memory;       // bytes that the run may need; 0: as many as the machine has
};

// Everything but the training: opens the data, builds model and optimiser with their initial values. Takes
// the config over. Close with run_close, also after a failure.
int run_open(struct run *r, struct config *config, const struct run_options *options, struct err *e);

// The same without data, for looking at a saved model: the set's name and description (its kind, the shapes, how many
// classes and targets) come from the caller.
int run_open_without_data(struct run *r, struct config *config, const char *set, const struct dataset *data,
                          struct err *e);

void run_close(struct run *r);

int64_t run_batches(const struct run *r); // per epoch

double run_evaluate_rows(const struct run *r); // samples on a tape at a time

// One step on the next batch; adds to r->training. Returns the batch's mean loss. When the loss or a gradient is not finite,
// r->fault says so and nothing has moved but r->training: the position and all numbers are those before the step.
double run_step(struct run *r);

// From here on steps are measured: shard i's into profiles[i], what is done for all together into profiles[shards], where
// the part "shards" is the time until all shards are done. NULL: no longer.
void run_measure(struct run *r, struct profile *profiles);

// Runs the model over a part of the data without training.
struct score run_evaluate(struct run *r, enum part part);

// The same, keeping what the model puts out: logits [samples of the part][outputs], in the part's order.
struct score run_logits(struct run *r, enum part part, real *logits);

#endif
