// Runs that were saved: finding a run folder's checkpoint and opening it again.
#ifndef TALLY_EXPERIMENTS_SAVED_H
#define TALLY_EXPERIMENTS_SAVED_H

#include "experiments/run.h"
#include "src/safetensors.h"

// Opens the run in a folder (or a checkpoint file) with the weights it was saved with. With `options` its
// data set is opened too; NULL leaves the data closed, for looking only. Close with run_close, also after a
// failure.
int saved_open(struct run *r, const char *folder, const struct run_options *options, struct err *e);

// Opens the newest checkpoint of the folder that is whole (its path: `path`, of `size` bytes): checkpoint.safetensors, else
// that of the most steps among the others. `why` says why it is not checkpoint.safetensors, "" when it is. Close the file
// with safetensors_close, also after a failure.
int saved_newest(struct safetensors *file, char *path, size_t size, struct err *why, const char *folder,
                 struct err *e);

// The summary.json of a run folder; NULL on failure. json_free it.
struct json *saved_summary_new(const char *folder, struct err *e);

// Whether a run was started in this folder.
bool saved_exists(const char *folder);

#endif
