/* Reading bytes that are not trusted: every read is checked against the end. A read past it sets `failed`, which stays,
 * and gives 0, so a run of reads is checked once, at its end. */
#ifndef TALLY_INFER_CURSOR_H
#define TALLY_INFER_CURSOR_H

#include <stddef.h>
#include <stdint.h>

struct tally_cursor {
    const unsigned char *at, *end;
    int failed;
};

struct tally_cursor tally_cursor_open(const void *bytes, size_t size);

size_t tally_cursor_left(const struct tally_cursor *c);

uint8_t tally_read_u8(struct tally_cursor *c);
uint16_t tally_read_u16(struct tally_cursor *c);
uint32_t tally_read_u32(struct tally_cursor *c);
uint32_t tally_read_number(struct tally_cursor *c); /* of 7 bits a byte; more than 32 bits: failed */
float tally_read_f32(struct tally_cursor *c);
double tally_read_f64(struct tally_cursor *c);

/* The next `count` items of `size` bytes, in place; NULL when there are not as many. */
const unsigned char *tally_read_bytes(struct tally_cursor *c, size_t count, size_t size);

/* *product = a * b, *sum = a + b; 0 where it does not fit. The one place where sizes from a file are multiplied. */
int tally_multiply(size_t *product, size_t a, size_t b);
int tally_add(size_t *sum, size_t a, size_t b);

#endif
