// Data compressed by gzip (RFC 1952), unpacked from memory to memory. The only file that uses zlib.
//
// The packed bytes are from outside: nothing they say about sizes is believed, and a small file that unpacks
// to a huge one is stopped at the size its reader wants.
#ifndef TALLY_DATASETS_IO_GZ_H
#define TALLY_DATASETS_IO_GZ_H

#include "src/base.h"

// Whether the bytes begin as gzip data does: 1f 8b.
bool gz_begins(const uint8_t *bytes, size_t size);

// Unpacks the first bytes into head: *count of them, `room` or fewer when the data ends before. Fails on data
// that is damaged or cut there; what lies behind stays unchecked.
int gz_peek(uint8_t *head, size_t room, size_t *count, const uint8_t *packed, size_t size, struct err *e);

// All of it, which must come to exactly `wanted` bytes. NULL when fewer or more come, when the data is
// damaged or cut, when its checksum is wrong and when anything follows it. Memory is taken only as bytes
// arrive, at most twice `wanted`. Free with mem_free.
uint8_t *gz_unpack_new(const uint8_t *packed, size_t size, size_t wanted, struct err *e);

#endif
