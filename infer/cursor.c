/* Checked reading. Contracts in cursor.h. */
#include "infer/cursor.h"

#include <string.h>

struct tally_cursor tally_cursor_open(const void *bytes, size_t size) {
    struct tally_cursor c = {bytes, (const unsigned char *)bytes + size, 0};
    return c;
}

size_t tally_cursor_left(const struct tally_cursor *c) {
    return (size_t)(c->end - c->at);
}

const unsigned char *tally_read_bytes(struct tally_cursor *c, size_t count, size_t size) {
    size_t bytes;
    if (c->failed || !tally_multiply(&bytes, count, size) || bytes > tally_cursor_left(c)) {
        c->failed = 1;
        return NULL;
    }
    const unsigned char *at = c->at;
    c->at += bytes;
    return at;
}

/* A little-endian number of this many bytes. */
static uint64_t read_number(struct tally_cursor *c, size_t bytes) {
    const unsigned char *at = tally_read_bytes(c, bytes, 1);
    uint64_t value = 0;
    for (size_t i = 0; at && i < bytes; i++) value |= (uint64_t)at[i] << 8 * i;
    return value;
}

uint8_t tally_read_u8(struct tally_cursor *c) {
    return (uint8_t)read_number(c, 1);
}

uint16_t tally_read_u16(struct tally_cursor *c) {
    return (uint16_t)read_number(c, 2);
}

uint32_t tally_read_u32(struct tally_cursor *c) {
    return (uint32_t)read_number(c, 4);
}

uint32_t tally_read_number(struct tally_cursor *c) {
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 32; shift += 7) {
        uint32_t byte = tally_read_u8(c);
        value |= (byte & 127) << shift;
        if (shift == 28 && byte > 15) break; /* more than 32 bits */
        if (byte < 128) return value;
    }
    c->failed = 1;
    return 0;
}

float tally_read_f32(struct tally_cursor *c) {
    uint32_t bits = tally_read_u32(c);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double tally_read_f64(struct tally_cursor *c) {
    uint64_t bits = read_number(c, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

int tally_multiply(size_t *product, size_t a, size_t b) {
    if (a && b > SIZE_MAX / a) return 0;
    *product = a * b;
    return 1;
}

int tally_add(size_t *sum, size_t a, size_t b) {
    if (b > SIZE_MAX - a) return 0;
    *sum = a + b;
    return 1;
}
