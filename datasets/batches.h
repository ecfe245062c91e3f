// Batches: the train, validation and test parts of a data set, shuffled by epoch, as the numbers a model gets.
#ifndef TALLY_DATASETS_BATCHES_H
#define TALLY_DATASETS_BATCHES_H

#include "datasets/augment.h"

enum part { PART_TRAIN, PART_VALIDATION, PART_TEST, PARTS };

// How many samples are held out when nothing is said.
enum { BATCHES_VALIDATION = 5000 };

struct batches {
    const struct dataset *data;
    size_t sample_size;
    // Of the training numbers, pixels as value / 255; 0 and 1 when not normalising, and of tokens.
    double mean, std;
    // A byte becomes value · slope + shift: (value / 255 - mean) / std of a pixel, a token itself. The level of each value.
    real slope, shift, level[256];
    uint32_t count[PARTS];
    uint32_t *order[PARTS]; // sample numbers within the split
    uint32_t *sorted;       // the training samples before shuffling
    struct rng shuffle;
    struct augment augment; // of training samples, where batches_draw gives them
    struct rng moves;       // its stream
    int64_t epoch;
};

// Holds out `validation` training samples, chosen by the seed; -1 stands for BATCHES_VALIDATION, or for the split that the
// set keeps for it, which no number can be given for. Errors name `path`.validation. Close with batches_close.
int batches_open(struct batches *b, const struct dataset *data, int64_t validation, bool normalise,
                 uint64_t seed, const char *path, struct err *e);
void batches_close(struct batches *b);

// From here on batches_draw augments; it must suit the set (augment_check).
void batches_augment(struct batches *b, const struct augment *augment);

// Orders the training part for this epoch: a function of seed and epoch alone.
void batches_epoch(struct batches *b, int64_t epoch);

// Where sample i of the part is: the split, and its number there.
const struct split *batches_find(size_t *sample, const struct batches *b, enum part part, size_t i);

// Sample i of the part, of a set with bytes and one label per sample: its bytes [sample_size], borrowed, and its label.
const uint8_t *batches_sample(uint8_t *label, const struct batches *b, enum part part, size_t i);

// Samples first .. first+count-1 of the part: x (count, sample), and where the set has classes labels (count, targets).
void batches_get(real *x, uint8_t *labels, const struct batches *b, enum part part, size_t first,
                 size_t count);

// The same of the training part, as training wants them: augmented.
void batches_draw(real *x, uint8_t *labels, const struct batches *b, size_t first, size_t count);

// What the same samples are to be answered with, where the set has no classes: (count, target).
void batches_values(real *values, const struct batches *b, enum part part, size_t first, size_t count);

const char *part_name(enum part part);

#endif
