// Looking at weights: the first layer as a picture, the histogram of log10 abs(w).
#ifndef TALLY_EXPERIMENTS_PICTURE_H
#define TALLY_EXPERIMENTS_PICTURE_H

#include "src/json.h"
#include "src/params.h"

enum { HISTOGRAM_BINS = 48 };

// Of one weight tensor: how many weights have log10 abs(w) in [low + i·step, low + (i+1)·step); smaller ones
// count in the first bin, larger ones in the last, zeros apart.
struct histogram {
    size_t zeros, count[HISTOGRAM_BINS];
};

double histogram_low(int bin); // the bin's lower edge
struct histogram histogram_make(const struct param *p);

// {"bins": [edges], "layers": {NAME: {"zeros": n, "counts": [...]}}}
struct json *histogram_write_new(const struct params *ps);

// The first weight tensor as a PNG: orange is positive, blue negative, dark is zero, brightness the cube root
// of abs(w) / max abs(w). Of kernels (out, in, height, width) a tile for each; where its inputs are the pixels of
// `sample` (1, height, width), a tile of that size for each output; else the matrix itself.
int picture_write(const struct params *ps, struct shape sample, const char *path, struct err *e);

#endif
