// Protocol Buffers, written: each function adds one field, its key and its value, to a message.
//
//   key     varint of number · 8 + wire type: 0 a varint, 2 a length and that many bytes, 5 four bytes
//   varint  seven bits a byte, lowest first, the top bit set on all but the last
//
// Source: Protocol Buffers Documentation, "Encoding".
#ifndef TALLY_EXPORT_PROTOBUF_H
#define TALLY_EXPORT_PROTOBUF_H

#include "export/bytes.h"

void protobuf_add_varint(struct bytes *b, uint64_t value); // without a key

// Bytes that protobuf_add_varint takes for the value.
size_t protobuf_varint_size(uint64_t value);

// value is not negative.
void protobuf_add_int(struct bytes *b, int field, uint64_t value);

void protobuf_add_float(struct bytes *b, int field, float value);

void protobuf_add_bytes(struct bytes *b, int field, const void *bytes, size_t size);
void protobuf_add_string(struct bytes *b, int field, const char *text);

// An inner message, which is emptied.
void protobuf_add_message(struct bytes *b, int field, struct bytes *inner);

#endif
