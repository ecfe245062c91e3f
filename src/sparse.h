// Sparse matrices that train: most numbers of a matrix (rows, columns) are dead, zero for good. Its living ones are a
// list, row by row; the kernels visit these alone, forward and backward.
//
// Samples go through the kernels turned, feature by feature: a portion of up to 64 samples lies side by side, (features,
// lanes), so that one weight acts on all of them at once. Rows and columns in which nothing lives take no part.
#ifndef TALLY_SRC_SPARSE_H
#define TALLY_SRC_SPARSE_H

#include "src/base.h"

// The living numbers seen along one side of the matrix.
struct sparse_side {
    int size;        // rows or columns of the matrix
    int count;       // of those, the ones where something lives
    int *at;         // [count] which, rising
    uint32_t *first; // [count + 1] those of at[i] are first[i] .. first[i + 1] - 1
    uint32_t *other; // [live] the index into the other side's `at` of each
    uint32_t *entry; // [live] its place in the list; NULL: they are in the list's order
};

struct sparse {
    struct sparse_side rows, columns;
    size_t live;
};

// The list of what lives in the matrix. Free with sparse_free.
struct sparse *sparse_new(const uint8_t *alive, int rows, int columns);
void sparse_free(struct sparse *s);

// Of rows · columns numbers of `bytes` bytes, moves the living ones to the front, in the list's order; and back, with
// zeros for the dead.
void sparse_pack(void *numbers, size_t bytes, const struct sparse *s);
void sparse_unpack(void *numbers, size_t bytes, const struct sparse *s);

// How many numbers so many samples of the side take when they are turned.
size_t sparse_room(const struct sparse_side *side, size_t samples);

// Turns x (samples, size of the side). The lanes of samples that are not there are zero.
void sparse_turn(real *turned, const struct sparse_side *side, const real *x, size_t samples);

// Turns back and adds to x (samples, size of the side).
void sparse_turn_back(real *x, const struct sparse_side *side, const real *turned, size_t samples);

// Turned samples by the matrix, whose living values are value [live]: y = W · x, each sample a column.
void sparse_multiply(real *y, const struct sparse *s, const real *value, const real *x, size_t samples);

// The same by the matrix transposed: x = Wᵀ · y.
void sparse_multiply_back(real *x, const struct sparse *s, const real *value, const real *y, size_t samples);

// grad [live] += the living numbers of y · xᵀ, the sum over the samples.
void sparse_outer(real *grad, const struct sparse *s, const real *y, const real *x, size_t samples);

#endif
