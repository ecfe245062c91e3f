// Data sets: samples with the answers that a model should give, whole in memory.
//
// Each file of this room ends with a `struct dataset_type`; dataset.def lists them. The config names one by
// {"mnist": {options}}, and may name another as fallback for machines that do not have the first one's files.
#ifndef TALLY_DATASETS_DATASET_H
#define TALLY_DATASETS_DATASET_H

#include "src/json.h"
#include "src/shape.h"

enum data_kind {
    DATA_IMAGES, // bytes 0 .. 255, which become value / 255, normalised where that is wanted
    DATA_TOKENS, // bytes that name one of the classes; a model gets the number itself
    DATA_NUMBERS // floats, normalised where that is wanted
};

// Samples lie at a fixed distance; windows over a text overlap. A distance of 0: one after the other.
struct split {
    int count;
    uint8_t *pixels; // sample i from i * stride: images and tokens
    uint8_t *labels; // [targets] of sample i from i * label_stride, 0 .. classes-1
    float *numbers;  // sample i from i * stride, of DATA_NUMBERS
    float *values;   // [target] of sample i, one after the other, where there are no classes
    size_t stride, label_stride;
};

struct dataset {
    const struct dataset_type *type;
    enum data_kind kind;
    struct shape sample; // images: (channels, height, width); tokens: (length)
    int classes;         // 2 .. 256; 0: the answers are numbers
    int targets;         // labels per sample, 1 unless every position has one; 0 stands for 1
    struct shape target; // of a sample's numbers where there are no classes
    struct split train, validation, test; // validation: of sets that keep one, else empty
    uint8_t alphabet[256];                // [classes] of tokens: the byte that each stands for
    uint32_t checksum;                    // of what statistics of the numbers do not tell apart; 0: none
};

enum { DATA_FOLDERS = 3 };

// Where to look, and how many threads may be used to read or make the data.
struct data_source {
    const char *folder[DATA_FOLDERS]; // in this order; NULL entries are skipped
    int threads;
    double max_memory; // bytes that the samples may take; 0: no limit
    bool missing;      // set by `open` when no folder has the files: the only failure a fallback is for
};

struct dataset_type {
    const char *name, *help;
    const char *get; // one line for the user: how to get the files; NULL when the set is generated
    const struct field *fields;
    size_t config_size;
    bool keeps_validation; // it has a validation split of its own
    // Fills the description and the splits (zeroed before; memory by mem_new). On failure dataset_close frees
    // it.
    int (*open)(struct dataset *d, const void *config, struct data_source *source, struct err *e);
};

extern const struct dataset_type *const dataset_types[]; // NULL-terminated, in the order of dataset.def

const struct dataset_type *dataset_type_find(const char *name); // NULL when there is none

// Opens the set that {"name": {options}} at `path` of the config describes. Close with dataset_close also
// after a failure.
int dataset_open(struct dataset *d, const struct json *node, const char *path, struct data_source *source,
                 struct err *e);

// The description with all defaults filled in, checked, without opening anything. NULL on failure; json_free
// it.
struct json *dataset_resolve_new(const struct json *node, const char *path, struct err *e);

void dataset_close(struct dataset *d);

// For `open`: moves a share of the training samples, chosen by the seed, to the test split; the others stay in their order,
// and so do these. Samples must lie one after the other, with one label each or none.
void dataset_hold_out(struct dataset *d, double share, uint64_t seed);

// The data set's name, or {"name": {options}}, as a node of an object that is to be freed; NULL on failure.
struct json *dataset_named_new(const struct json **node, const char *text, struct err *e);

// Labels per sample.
size_t dataset_targets(const struct dataset *d);

// Sample i of the split: its bytes, its labels [targets], its numbers or the numbers it is to be answered with. NULL
// where the set has none.
const uint8_t *dataset_pixels(const struct dataset *d, const struct split *s, size_t i);
const uint8_t *dataset_labels(const struct dataset *d, const struct split *s, size_t i);
const float *dataset_numbers(const struct dataset *d, const struct split *s, size_t i);
const float *dataset_values(const struct dataset *d, const struct split *s, size_t i);

// What a model for this set puts out for a sample: (classes), (targets, classes), or the target's shape.
struct shape dataset_output(const struct dataset *d);

const char *data_kind_name(enum data_kind kind); // "images", "tokens", "numbers"

#endif
