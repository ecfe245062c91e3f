// Protocol Buffers. Format and contracts in protobuf.h.
#include "export/protobuf.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FOUR = 5, VARINT_MAX = 10 };

void protobuf_add_varint(struct bytes *b, uint64_t value) {
    unsigned char varint[VARINT_MAX];
    size_t size = 0;
    for (; value >= 128; value >>= 7) varint[size++] = (unsigned char)(value | 128);
    varint[size++] = (unsigned char)value;
    bytes_add(b, varint, size);
}

size_t protobuf_varint_size(uint64_t value) {
    size_t size = 1;
    for (; value >= 128; value >>= 7) size++;
    return size;
}

static void key_add(struct bytes *b, int field, int wire) {
    protobuf_add_varint(b, (uint64_t)field << 3 | (uint64_t)wire);
}

void protobuf_add_int(struct bytes *b, int field, uint64_t value) {
    key_add(b, field, WIRE_VARINT);
    protobuf_add_varint(b, value);
}

void protobuf_add_float(struct bytes *b, int field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    key_add(b, field, WIRE_FOUR);
    bytes_add_u32(b, bits);
}

void protobuf_add_bytes(struct bytes *b, int field, const void *bytes, size_t size) {
    key_add(b, field, WIRE_BYTES);
    protobuf_add_varint(b, size);
    bytes_add(b, bytes, size);
}

void protobuf_add_string(struct bytes *b, int field, const char *text) {
    protobuf_add_bytes(b, field, text, strlen(text));
}

void protobuf_add_message(struct bytes *b, int field, struct bytes *inner) {
    protobuf_add_bytes(b, field, inner->at, inner->size);
    bytes_free(inner);
}
