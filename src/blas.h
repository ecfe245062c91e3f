// Dense matrix products by OpenBLAS. Single-threaded: Tally's threads are above it, one shard of the batch
// each.
#ifndef TALLY_SRC_BLAS_H
#define TALLY_SRC_BLAS_H

#include "src/base.h"

// One matrix operand: row-major, `stride` numbers from row to row, taken transposed when asked.
struct matrix {
    const real *value;
    int stride;
    bool transposed;
};

// c (m, n) = a (m, k) · b (k, n) + beta · c, with a and b as seen after their transposition; c is row-major
// with `stride` numbers from row to row. beta 0 ignores what was in c.
void blas_gemm(real *c, int stride, int m, int n, int k, struct matrix a, struct matrix b, real beta);

// y (m) = a (m, k) · x (k), with a as seen after its transposition: faster than a gemm of one column.
void blas_gemv(real *y, int m, int k, struct matrix a, const real *x);

// Keeps OpenBLAS to one thread per caller. Call once, before the first product.
void blas_start(void);

// How many floats the vectors have that OpenBLAS's products work with on this processor: 16 or, at most, 8.
int blas_lanes(void);

// The library's own words: version, kernels chosen for this processor.
const char *blas_name(void);

#endif
