// What the native file is written with; its layout is in infer/format.h.
#ifndef TALLY_EXPORT_TALLY_TENSORS_H
#define TALLY_EXPORT_TALLY_TENSORS_H

#include "export/bytes.h"
#include "export/net.h"
#include "infer/format.h"
#include "infer/range.h"

// A number of 7 bits a byte.
void tally_add_number(struct bytes *b, size_t number);

// What number i is stored as: its counter, or the bits of its float; 0 for a dead one. And how many are not dead.
int32_t tally_code_of(const struct net_tensor *t, size_t i);
size_t tally_alive(const struct net_tensor *t);

// The smallest type that every code fits, and its bytes.
enum format_values tally_values(const struct net_tensor *t);
size_t tally_values_bytes(enum format_values values);

void tally_add_header(struct bytes *b, const struct net_tensor *t, enum format_coding coding);
void tally_add_short_header(struct bytes *b, const struct net_tensor *t);

void tally_add_dense(struct bytes *b, const struct net_tensor *t);
void tally_add_rows(struct bytes *b, const struct net_tensor *t);

// A range coder that appends to `b`: any number of tensors, then its last bytes.
struct tally_coder tally_encoder_open(struct bytes *b);
// Of `known` what is not the tensor's own is filled in. `alive` gets whether each row has a number, or is NULL.
void tally_encode_matrix(struct tally_coder *c, const struct net_tensor *t, const struct tally_matrix *known,
                         unsigned char *alive);
void tally_encode_vector(struct tally_coder *c, const struct net_tensor *t, const unsigned char *alive);
void tally_encoder_close(struct tally_coder *c);

#endif
