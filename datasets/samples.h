// Samples from wherever the user has them: a picture, an array, or the test part of a data set.
#ifndef TALLY_DATASETS_SAMPLES_H
#define TALLY_DATASETS_SAMPLES_H

#include "datasets/dataset.h"
#include "datasets/io/npy.h"

enum samples_kind { SAMPLES_PNG, SAMPLES_NPY, SAMPLES_DATASET };

struct samples {
    enum samples_kind kind;
    size_t count;
    const uint8_t
        *bytes;          // [count][sample], last dimension of the sample fastest; NULL where there are floats
    const float *floats; // the same
    const uint8_t *labels; // [count] of a data set, else NULL
    // What they lie in.
    uint8_t *picture;
    struct npy array;
    struct dataset data;
};

// Opens what `input` names: FILE.png, FILE.npy, a data set ("mnist") or one with options ({"digits": {"test": 200}}), and
// checks that its samples fit a model that wants `wanted`: (channels, height, width), or (numbers). A picture must have
// exactly its size; one with one channel is read as grey, with three as red, green, blue. Arrays may be flat, and
// dimensions of 1 do not count. Errors name the file, the data set or --input. Close with samples_close, also after a
// failure.
int samples_open(struct samples *s, const char *input, struct shape wanted, struct data_source *source,
                 struct err *e);
void samples_close(struct samples *s);

#endif
