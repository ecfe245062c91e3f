/* CRC-32 as in zip, gzip and PNG: polynomial 0x04c11db7 reflected, all bits inverted before and after (ISO 3309). */
#ifndef TALLY_INFER_CRC_H
#define TALLY_INFER_CRC_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of the bytes that gave `crc` (0: none) followed by these. */
uint32_t tally_crc32(uint32_t crc, const void *bytes, size_t size);

#endif
