// NumPy's .npy files, version 1.0: one array.
//
//   offset 0    93 "NUMPY" 01 00
//   offset 8    u16 little-endian: bytes of the header that follows
//   offset 10   a Python dict as ASCII, {'descr': '<f4', 'fortran_order': False, 'shape': (5, 7), }, padded with
//               spaces and ended by a newline, so that the elements begin at a multiple of 64
//   then        the elements, last dimension fastest ("C order"), to the end of the file
//
// Source: NumPy manual, numpy.lib.format, "Format Version 1.0". Departure: of its types those of enum npy_type are read.
#ifndef TALLY_DATASETS_IO_NPY_H
#define TALLY_DATASETS_IO_NPY_H

#include "src/shape.h"

enum { NPY_DIM_MAX = 1 << 30, NPY_HEADER = 192 };

enum npy_type { NPY_U8, NPY_F32, NPY_F64, NPY_I8, NPY_I16, NPY_I32, NPY_I64, NPY_U16, NPY_U32, NPY_TYPES };

struct npy {
    enum npy_type type;
    struct shape shape;
    size_t size;    // elements
    uint8_t *bytes; // NPY_U8: them
    float *floats;  // NPY_F32: them
    void *others;   // of other types: them; two of the three pointers are NULL
};

// Reads an array of 1 to 4 dimensions, 1 to NPY_DIM_MAX each. Fails when the file can't be read, has more than `limit`
// bytes, is anything else or does not end exactly where its shape says; errors start with the path. Memory is taken
// only for bytes that are there. Native byte order must be little-endian. npy_free it, also after a failure. Elements
// must be NPY_U8 or NPY_F32; for npy_read_types of one of the types (1 << type) in `types`.
int npy_read(struct npy *a, const char *path, size_t limit, struct err *e);
int npy_read_types(struct npy *a, const char *path, unsigned types, size_t limit, struct err *e);
void npy_free(struct npy *a);

bool npy_is_float(enum npy_type type);

// Element i; of an array of floats, which may be infinite or NAN, and of one of whole numbers.
double npy_number(const struct npy *a, size_t i);
int64_t npy_integer(const struct npy *a, size_t i);

// Writes the elements [shape_size(shape)] atomically: uint8_t for NPY_U8, float for NPY_F32.
int npy_write(const char *path, enum npy_type type, struct shape shape, const void *elements, struct err *e);

// Magic, length and header for elements of any type, '<i4' say, into `out`; returns their bytes, a multiple of 64. Any
// rank; a dimension may be 0 here.
size_t npy_header(char out[NPY_HEADER], const char *descr, struct shape shape);

#endif
