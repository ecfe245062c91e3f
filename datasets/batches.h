// Batches: the train, validation and test parts of a data set, shuffled by epoch, as normalised numbers.
#ifndef TALLY_DATASETS_BATCHES_H
#define TALLY_DATASETS_BATCHES_H

#include "datasets/dataset.h"
#include "src/rng.h"

enum part { PART_TRAIN, PART_VALIDATION, PART_TEST, PARTS };

struct batches {
    const struct dataset *data;
    size_t sample_size;
    double mean, std; // of the training pixels as value / 255; 0 and 1 when not normalising
    real level[256];  // what a pixel becomes: (value / 255 - mean) / std
    uint32_t count[PARTS];
    uint32_t *order[PARTS]; // sample numbers within the split
    uint32_t *sorted;       // the training samples before shuffling
    struct rng shuffle;
};

// Holds out `validation` training samples, chosen by the seed. Errors name `path`.validation. Close with
// batches_close.
int batches_open(struct batches *b, const struct dataset *data, int64_t validation, bool normalise,
                 uint64_t seed, const char *path, struct err *e);
void batches_close(struct batches *b);

// Orders the training part for this epoch: a function of seed and epoch alone.
void batches_epoch(struct batches *b, int64_t epoch);

// Sample i of the part: its pixels [sample_size], borrowed, and its label.
const uint8_t *batches_sample(uint8_t *label, const struct batches *b, enum part part, size_t i);

// Samples first .. first+count-1 of the part: x (count, sample), labels (count).
void batches_get(real *x, uint8_t *labels, const struct batches *b, enum part part, size_t first,
                 size_t count);

const char *part_name(enum part part);

#endif
