// Bytes that grow: where a file is composed before it is written. All zero is empty; numbers go in little-endian.
#ifndef TALLY_EXPORT_BYTES_H
#define TALLY_EXPORT_BYTES_H

#include "src/base.h"

struct bytes {
    unsigned char *at;
    size_t size, room;
};

void bytes_add(struct bytes *b, const void *from, size_t size);
void bytes_add_u16(struct bytes *b, unsigned value);
void bytes_add_u32(struct bytes *b, uint32_t value);

// Text of at most 1000 characters, without the zero byte.
void bytes_print(struct bytes *b, const char *format, ...) PRINTF_LIKE(2, 3);

// Leaves it empty.
void bytes_free(struct bytes *b);

#endif
