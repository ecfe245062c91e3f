// Data sets: images with labels, whole in memory, as bytes.
//
// Each file of this room ends with a `struct dataset_type`; dataset.def lists them. The config names one by
// {"mnist": {options}}, and may name another as fallback for machines that do not have the first one's files.
#ifndef TALLY_DATASETS_DATASET_H
#define TALLY_DATASETS_DATASET_H

#include "src/json.h"
#include "src/shape.h"

struct split {
    int count;
    uint8_t *pixels; // [count][sample], 0 .. 255
    uint8_t *labels; // [count], 0 .. classes-1
};

struct dataset {
    const struct dataset_type *type;
    struct shape sample; // (channels, height, width)
    int classes;
    struct split train, test;
};

enum { DATA_FOLDERS = 3 };

// Where to look, and how many threads may be used to read or make the data.
struct data_source {
    const char *folder[DATA_FOLDERS]; // in this order; NULL entries are skipped
    int threads;
    bool missing; // set by `open` when no folder has the files: the only failure a fallback is for
};

struct dataset_type {
    const char *name, *help;
    const char *get; // one line for the user: how to get the files; NULL when the set is generated
    const struct field *fields;
    size_t config_size;
    // Fills sample, classes, train and test (zeroed before; memory by mem_new). On failure dataset_close
    // frees it.
    int (*open)(struct dataset *d, const void *config, struct data_source *source, struct err *e);
};

extern const struct dataset_type *const dataset_types[]; // NULL-terminated, in the order of dataset.def

// Opens the set that {"name": {options}} at `path` of the config describes. Close with dataset_close also
// after a failure.
int dataset_open(struct dataset *d, const struct json *node, const char *path, struct data_source *source,
                 struct err *e);

// The description with all defaults filled in, checked, without opening anything. NULL on failure; json_free
// it.
struct json *dataset_resolve_new(const struct json *node, const char *path, struct err *e);

void dataset_close(struct dataset *d);

#endif
