// What a run keeps while it trains: its checkpoints and the lines of metrics.jsonl, whatever happens to the disk.
//
//   checkpoint.safetensors        the newest; written after every train.checkpoint_every epochs and after
//                                 train.checkpoint_minutes, when the run is stopped and when it is over
//   checkpoint-STEP.safetensors   the newest train.checkpoint_keep of them, where that is 2 or more; the last of these and
//                                 checkpoint.safetensors are one file with two names
//   best.safetensors              the epoch with the lowest validation loss or error, the first of equals, where
//                                 train.checkpoint_best asks for it; it can be gone on from as well
//
// Each is written beside its place, synced and renamed, so what has one of these names is whole. What can't be written, on a
// full disk or in a folder that is gone, is a warning, once: the run goes on and tries again when the next one is due. The
// lines of an epoch are written before its checkpoint. When a checkpoint is written has no influence on the numbers.
#ifndef TALLY_EXPERIMENTS_KEEP_H
#define TALLY_EXPERIMENTS_KEEP_H

#include "experiments/log.h"
#include "experiments/run.h"
#include "experiments/train.h"

struct keep {
    const struct run *run;
    const char *folder;
    const struct lock *lock; // of the folder, or NULL
    struct log *log;
    char *lines;     // of metrics.jsonl, those that could not be written yet
    double written;  // when a checkpoint was last tried, on the clock of log_seconds
    double best;     // what best.safetensors reached; INFINITY: there is none
    int64_t step;    // of the newest checkpoint; -1: there is none
    struct err said; // the last warning
};

// For a run that begins, or goes on from the checkpoint it was loaded from: of metrics.jsonl only the epochs before that
// stay. Close with keep_close, also after a failure.
int keep_open(struct keep *k, const struct run *r, const struct train_options *options, struct log *log,
              struct err *e);
void keep_close(struct keep *k);

// After a step: a checkpoint, when the clock says so.
void keep_step(struct keep *k);

// After an epoch, with its line of metrics: what is due. After the last one everything must be written, else it fails.
int keep_epoch(struct keep *k, const char *line, struct err *e);

// A checkpoint, which must be written.
int keep_now(struct keep *k, struct err *e);

// STEP of a file's name, -1 when it is no checkpoint-STEP.safetensors.
int64_t keep_step_of(const char *name);

#endif
