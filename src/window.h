// Windows that slide over images, for convolution and pooling. A pair is [0] down, [1] across.
//
// Window o along a side looks at the numbers o · stride - padding + k · dilation, k = 0 .. size-1; what lies
// outside the image is zero to a convolution and not there to a maximum.
#ifndef TALLY_SRC_WINDOW_H
#define TALLY_SRC_WINDOW_H

#include "src/base.h"

struct window {
    int size[2], stride[2], padding[2], dilation[2];
};

// How conv2d cuts its work: a product of fewer columns than this spends its time on preparing the weight; more numbers than
// a chunk leave the cache.
enum { CONV2D_COLUMNS = 64, CONV2D_CHUNK = 1 << 17 };

// From the first to the last number that a window covers along a side.
int64_t window_reach(const struct window *w, int axis);

// How many windows a side of `length` has; 0 when not even one fits.
int window_count(const struct window *w, int axis, int length);

// Of `count` windows along a side of `length`, those from first to end-1 have their element k inside; window
// `first` has it at `at`, each next one `stride` further.
struct window_range {
    int first, end, at;
};
struct window_range window_range(const struct window *w, int axis, int k, int length, int count);

// Image planes (planes, height, width), and which rows of windows are meant.
struct patch {
    int planes, height, width;
    int first, rows; // window rows first .. first + rows-1
    int across;      // windows in a row
};

// What the windows see as a matrix (im2col): row (plane, i, j), column (window row, window), `stride` numbers
// from row to row. Zero outside the image.
void window_gather(real *columns, size_t stride, const struct window *w, const struct patch *p,
                   const real *image);

// The transpose (col2im): adds the matrix to the image's numbers that the windows see.
void window_scatter(real *image, const struct window *w, const struct patch *p, const real *columns,
                    size_t stride);

#endif
