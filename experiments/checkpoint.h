// Checkpoints: everything a run needs to go on to the same bits, as one safetensors file.
//
// Tensors: NAME for a float parameter, NAME.counter for a counted one (its float values are scale ·
// f(counter) and are not stored), NAME.alive after a freeze, optim.LIST.STAGE.SLOT.NAME for optimiser state.
// Metadata: the config, the data set, the position, each counted parameter's number system and scale, and a checksum of all
// that (files of version 1 have none). Random streams are functions of seed and position, so those are their state.
#ifndef TALLY_EXPERIMENTS_CHECKPOINT_H
#define TALLY_EXPERIMENTS_CHECKPOINT_H

#include "experiments/run.h"
#include "src/safetensors.h"

extern const char CHECKPOINT_CHECKSUM[]; // its key in the metadata

// Fails, and leaves the file that is there, also when a number is not finite: it could not be loaded.
int checkpoint_save(const struct run *r, const char *path, struct err *e);

// Reads the file and its checksum: one that was changed or cut is refused. What it says of itself is in the metadata. Close
// with safetensors_close.
int checkpoint_open(struct safetensors *file, const char *path, struct err *e);

// Steps of the run when it was written; -1 when the file does not say.
int64_t checkpoint_step(const struct safetensors *file);

// How the run did on its validation part after the last whole epoch before; of no rows when that is not known.
int checkpoint_validation(struct score *s, const struct safetensors *file, const struct run *r,
                          struct err *e);

// Makes what a file says of when checkpoints are written, or does not say, equal to the run's config.
void checkpoint_forgive(struct json *theirs, const struct json *ours);

// Puts the file's state into a run that was opened with the same config; an error names the key that differs. Only
// optim.sparsity.sparse_density and train.checkpoint_... may differ.
int checkpoint_load(struct run *r, const struct safetensors *file, const char *path, struct err *e);

// The config a checkpoint was made with.
int checkpoint_config(struct config *c, const struct safetensors *file, const char *path, struct err *e);

// The data set it was trained on: its name and, without samples, its description.
int checkpoint_data(const char **set, struct dataset *data, const struct safetensors *file, struct err *e);

#endif
