// Checkpoints: everything a run needs to go on to the same bits, as one safetensors file.
//
// Tensors: NAME for a float parameter, NAME.counter for a counted one (its float values are scale ·
// f(counter) and are not stored), NAME.alive after a freeze, optim.LIST.STAGE.SLOT.NAME for optimiser state.
// Metadata: the config, the data set, the position, each counted parameter's number system and scale. Random
// streams are functions of seed and position, so those are their state.
#ifndef TALLY_EXPERIMENTS_CHECKPOINT_H
#define TALLY_EXPERIMENTS_CHECKPOINT_H

#include "experiments/run.h"
#include "src/safetensors.h"

int checkpoint_save(const struct run *r, const char *path, struct err *e);

// Reads and checks the file; what it says of itself is in the metadata. Close with safetensors_close.
int checkpoint_open(struct safetensors *file, const char *path, struct err *e);

// Puts the file's state into a run that was opened with the same config; an error names the key that differs. Only
// optim.sparsity.sparse_density may differ.
int checkpoint_load(struct run *r, const struct safetensors *file, const char *path, struct err *e);

// The config a checkpoint was made with.
int checkpoint_config(struct config *c, const struct safetensors *file, const char *path, struct err *e);

// The data set it was trained on: its name and, without samples, its description.
int checkpoint_data(const char **set, struct dataset *data, const struct safetensors *file, struct err *e);

#endif
