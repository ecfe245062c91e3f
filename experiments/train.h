// The training loop and what it leaves in the run folder: config.json, metrics.jsonl, checkpoint.safetensors (keep.h has more
// of it), summary.json, weights.png, histogram.json.
#ifndef TALLY_EXPERIMENTS_TRAIN_H
#define TALLY_EXPERIMENTS_TRAIN_H

#include <signal.h>

#include "experiments/log.h"
#include "experiments/run.h"
#include "src/lock.h"

enum train_status {
    TRAIN_FINISHED,
    TRAIN_INTERRUPTED, // a signal: the checkpoint holds the exact position
    TRAIN_DIVERGED,    // a loss or a weight that is not finite
    TRAIN_DEAD         // finished, but a weight tensor is all zero
};

struct train_options {
    const char *folder;                // the run folder; exists
    const volatile sig_atomic_t *stop; // set by a signal handler
    bool quiet, json;                  // json: metrics lines on stdout
    const struct lock *lock;           // of the folder, or NULL
};

extern const char TRAIN_CHECKPOINT[], TRAIN_SUMMARY[], TRAIN_CONFIG[], TRAIN_METRICS[], TRAIN_BEST[];

// Trains from the run's position to its last epoch and writes the run folder. `summary` gets what was written
// to summary.json (json_free it; NULL on failure).
int train(struct run *r, const struct train_options *options, enum train_status *status,
          struct json **summary, struct err *e);

const char *train_status_name(enum train_status status);

// Per weight tensor: name, shape, weights, nonzero, density, and for counters bits, largest, saturated.
struct json *train_layers_new(const struct params *ps);

// Weights and non-zero weights of the whole model.
void train_density(size_t *weights, size_t *nonzero, const struct params *ps);

#endif
