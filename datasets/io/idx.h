// IDX files: one array of unsigned bytes, plain or packed by gzip.
//
//   offset 0   00 00 08 r          08 = unsigned bytes, r = the number of dimensions
//   offset 4   r times u32         the dimensions, big-endian
//   then       the elements, last dimension fastest, to the end of the file
//
// Source: LeCun, Cortes, Burges: THE MNIST DATABASE of handwritten digits, http://yann.lecun.com/exdb/mnist,
// "the IDX file format". Departure: of its element types only unsigned bytes are read.
#ifndef TALLY_DATASETS_IO_IDX_H
#define TALLY_DATASETS_IO_IDX_H

#include "src/shape.h"

enum { IDX_DIM_MAX = 1 << 24 };

// The elements of the file at `path`, which must have `rank` dimensions (1 to SHAPE_RANK_MAX) of 1 to
// IDX_DIM_MAX each and end exactly where they say. The content decides whether it is unpacked, not the name.
// NULL when the file can't be read, is anything else, or would take more than `limit` bytes, packed or
// unpacked; memory is taken only for bytes that are there. Errors start with the path. *shape is set on
// success. Free with mem_free.
uint8_t *idx_read_new(struct shape *shape, const char *path, int rank, size_t limit, struct err *e);

#endif
