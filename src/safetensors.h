// The safetensors container: named tensors and a map of strings in one file (Hugging Face, format of 2022): 8
// bytes of header length, a JSON header, the tensors' bytes. Written so that equal content gives equal bytes;
// read with every rule of the format checked before anything is believed.
#ifndef TALLY_SRC_SAFETENSORS_H
#define TALLY_SRC_SAFETENSORS_H

#include "src/json.h"
#include "src/shape.h"

enum dtype { DTYPE_U8, DTYPE_I8, DTYPE_I16, DTYPE_I32, DTYPE_F32, DTYPE_F64, DTYPES };

enum { SAFETENSORS_NAME = 160 };

struct safetensor {
    char name[SAFETENSORS_NAME];
    enum dtype dtype;
    struct shape shape; // a dimension may be 0: no numbers
    const void
        *bytes; // writing: the caller's; reading: inside the file's memory, 8-byte aligned for its dtype
};

struct safetensors {
    struct safetensor *tensors;
    int count;
    struct json *metadata; // object of strings, or NULL
    unsigned char *memory;
};

// Bytes of one number, and the dtype of `real`.
size_t dtype_bytes(enum dtype type);
enum dtype dtype_real(void);

// Bytes of all the tensor's numbers; its shape may have a dimension of 0, which shape_size does not take.
size_t safetensor_bytes(const struct safetensor *t);

// Writes atomically. Tensors are sorted by falling alignment, then name (the list is reordered); metadata, an
// object of strings, may be NULL. Native byte order must be little-endian.
int safetensors_write(const char *path, struct safetensor *tensors, int count, const struct json *metadata,
                      struct err *e);

// Reads and checks a whole file of at most `limit` bytes. Close with safetensors_close, also after a failure.
int safetensors_open(struct safetensors *file, const char *path, size_t limit, struct err *e);
void safetensors_close(struct safetensors *file);

// NULL when absent.
const struct safetensor *safetensors_find(const struct safetensors *file, const char *name);
const char *safetensors_meta(const struct safetensors *file, const char *key);

// Of all that such a file holds: the sum of a FNV-1a hash for each tensor and each string of the metadata but the one under
// the key `except`, which may hold the checksum itself. The order does not matter.
uint64_t safetensors_checksum(const struct safetensor *tensors, int count, const struct json *metadata,
                              const char *except);

#endif
