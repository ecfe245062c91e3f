// Sums over rows of numbers in a fixed order: eight lanes side by side, added at the end. So a compiler may use
// vector registers, and every instruction set gives the same bits. In double, since rows may be long.
//
// For the loops of ops; inlined, so that they are compiled for each of VECTOR_CLONES.
#ifndef TALLY_SRC_SUMS_H
#define TALLY_SRC_SUMS_H

#include "src/base.h"

enum { SUMS_LANES = 8 };

static inline double sums_lanes(const double lane[SUMS_LANES]) {
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

// The sum of x.
static inline double sums_of(const real *x, size_t n) {
    double lane[SUMS_LANES] = {0};
    size_t i = 0;
    for (; i + SUMS_LANES <= n; i += SUMS_LANES)
        for (size_t k = 0; k < SUMS_LANES; k++) lane[k] += (double)x[i + k];
    for (size_t k = 0; i + k < n; k++) lane[k] += (double)x[i + k];
    return sums_lanes(lane);
}

// The sum of a · b.
static inline double sums_products(const real *a, const real *b, size_t n) {
    double lane[SUMS_LANES] = {0};
    size_t i = 0;
    for (; i + SUMS_LANES <= n; i += SUMS_LANES)
        for (size_t k = 0; k < SUMS_LANES; k++) lane[k] += (double)a[i + k] * (double)b[i + k];
    for (size_t k = 0; i + k < n; k++) lane[k] += (double)a[i + k] * (double)b[i + k];
    return sums_lanes(lane);
}

#endif
