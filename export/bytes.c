// Bytes that grow. Contracts in bytes.h.
#include "export/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_ROOM = 1024, TEXT = 1001 };

void bytes_add(struct bytes *b, const void *from, size_t size) {
    if (size == 0) return;
    if (size > b->room - b->size) {
        size_t room = b->room ? b->room : FIRST_ROOM;
        while (room - b->size < size) CHECK(size_mul(&room, room, 2), "bytes: %zu and %zu", b->size, size);
        unsigned char *larger = mem_new(room, 1);
        if (b->size) memcpy(larger, b->at, b->size);
        mem_free(b->at);
        b->at = larger;
        b->room = room;
    }
    memcpy(b->at + b->size, from, size);
    b->size += size;
}

void bytes_add_u16(struct bytes *b, unsigned value) {
    bytes_add(b, (unsigned char[]){(unsigned char)value, (unsigned char)(value >> 8)}, 2);
}

void bytes_add_u32(struct bytes *b, uint32_t value) {
    bytes_add_u16(b, value & 0xffff);
    bytes_add_u16(b, value >> 16);
}

void bytes_print(struct bytes *b, const char *format, ...) {
    char text[TEXT];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK(length >= 0 && length < TEXT, "bytes: a text of %d characters", length);
    bytes_add(b, text, (size_t)length);
}

void bytes_free(struct bytes *b) {
    mem_free(b->at);
    *b = (struct bytes){0};
}
