// Tensors in the native file: headers, codings, and the range coder's writing half. Contracts in tally_tensors.h.
#include "export/tally_tensors.h"

#include <string.h>

#include "export/csr.h"

// --- tensors
// ------------------------------------------------------------------------------------------------------

// What a number is stored as: its counter, or the bits of its float; 0 for a dead one.
int32_t tally_code_of(const struct net_tensor *t, size_t i) {
    if (t->counted) return t->counter[i];
    int32_t bits = 0;
    if (t->value[i] != 0) memcpy(&bits, &t->value[i], sizeof bits);
    return bits;
}

size_t tally_alive(const struct net_tensor *t) {
    size_t alive = 0;
    for (size_t i = 0; i < t->size; i++) alive += tally_code_of(t, i) != 0;
    return alive;
}

// The smallest integer that every counter fits.
enum format_values tally_values(const struct net_tensor *t) {
    if (!t->counted) return FORMAT_F32;
    int32_t most = 0;
    for (size_t i = 0; i < t->size; i++) {
        int32_t a = t->counter[i] < 0 ? -t->counter[i] : t->counter[i];
        most = a > most ? a : most;
    }
    return most <= INT8_MAX ? FORMAT_I8 : most <= INT16_MAX ? FORMAT_I16 : FORMAT_I32;
}

size_t tally_values_bytes(enum format_values values) {
    return values == FORMAT_I8 ? 1 : values == FORMAT_I16 ? 2 : 4;
}

void tally_add_header(struct bytes *b, const struct net_tensor *t, enum format_coding coding) {
    unsigned map = t->counted ? (unsigned)t->number.kind + FORMAT_MAP_LINEAR : FORMAT_NONE;
    const unsigned char kinds[4] = {(unsigned char)tally_values(t), (unsigned char)map, (unsigned char)coding,
                                    0};
    double scale = t->counted ? t->scale : 1;
    bytes_add(b, kinds, 4);
    bytes_add_u32(b, (uint32_t)tally_alive(t));
    bytes_add(b, &scale, sizeof scale);
    if (map >= FORMAT_POWER) bytes_add(b, &t->number.parameter, sizeof t->number.parameter);
}

static void code_add(struct bytes *b, int32_t code, enum format_values values) {
    bytes_add(b, &code, tally_values_bytes(values)); // the low bytes of a little-endian number
}

void tally_add_short_header(struct bytes *b, const struct net_tensor *t) {
    unsigned map = t->counted ? (unsigned)t->number.kind + FORMAT_MAP_LINEAR : FORMAT_NONE;
    double numbers[2] = {t->scale, t->number.parameter};
    int count = map == FORMAT_NONE ? 0 : map >= FORMAT_POWER ? 2 : 1;
    bool doubles = false;
    for (int i = 0; i < count; i++) doubles |= (double)(float)numbers[i] != numbers[i];
    bytes_add(
        b, &(unsigned char){(unsigned char)(tally_values(t) | map << 3 | (doubles ? FORMAT_DOUBLES : 0))}, 1);
    tally_add_number(b, tally_alive(t));
    for (int i = 0; i < count; i++) {
        float number = (float)numbers[i];
        if (doubles)
            bytes_add(b, &numbers[i], sizeof numbers[i]);
        else
            bytes_add(b, &number, sizeof number);
    }
}

void tally_add_number(struct bytes *b, size_t number) {
    for (; number > 127; number >>= 7)
        bytes_add(b, &(unsigned char){(unsigned char)((number & 127) | 128)}, 1);
    bytes_add(b, &(unsigned char){(unsigned char)number}, 1);
}

void tally_add_dense(struct bytes *b, const struct net_tensor *t) {
    enum format_values values = tally_values(t);
    for (size_t i = 0; i < t->size; i++) code_add(b, tally_code_of(t, i), values);
}

void tally_add_rows(struct bytes *b, const struct net_tensor *t) {
    enum format_values values = tally_values(t);
    struct csr *c = csr_new(t);
    struct bytes steps = {0}, codes = {0};
    for (int i = 0; i < c->rows; i++) {
        size_t before = steps.size;
        int at = 0;
        for (int32_t k = c->pointer[i]; k < c->pointer[i + 1]; k++) {
            for (; c->column[k] - at > FORMAT_STEP_MAX; at += FORMAT_STEP_MAX) {
                bytes_add(&steps, &(unsigned char){FORMAT_STEP_MAX}, 1);
                code_add(&codes, 0, values);
            }
            bytes_add(&steps, &(unsigned char){(unsigned char)(c->column[k] - at)}, 1);
            code_add(&codes, tally_code_of(t, c->at[k]), values);
            at = c->column[k];
        }
        if (c->columns < FORMAT_SHORT_COLUMNS)
            bytes_add_u16(b, (unsigned)(steps.size - before));
        else
            bytes_add_u32(b, (uint32_t)(steps.size - before));
    }
    if (steps.size) bytes_add(b, steps.at, steps.size);
    if (codes.size) bytes_add(b, codes.at, codes.size);
    bytes_free(&steps);
    bytes_free(&codes);
    csr_free(c);
}

// --- the range coder's other half
// ---------------------------------------------------------------------------------

static int encode_bit(struct tally_coder *c, int bit, uint32_t p) {
    uint32_t split = tally_coder_split(c, p);
    if (bit)
        c->high = split;
    else
        c->low = split + 1;
    while ((c->low ^ c->high) >> 24 == 0) {
        bytes_add(c->context, &(unsigned char){(unsigned char)(c->low >> 24)}, 1);
        c->low <<= 8;
        c->high = c->high << 8 | 255;
    }
    return bit;
}

struct tally_coder tally_encoder_open(struct bytes *b) {
    return (struct tally_coder){.bit = encode_bit, .high = UINT32_MAX, .context = b};
}

void tally_encoder_close(struct tally_coder *c) {
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes_add(c->context, &(unsigned char){(unsigned char)(c->low >> shift)}, 1);
}

void tally_encode_matrix(struct tally_coder *c, const struct net_tensor *t, const struct tally_matrix *known,
                         unsigned char *alive) {
    struct tally_matrix_model *model = mem_new(1, sizeof *model);
    struct tally_matrix of = *known;
    of.rows = (size_t)net_rows(t);
    of.columns = (size_t)net_columns(t);
    of.nonzero = tally_alive(t);
    of.floats = !t->counted;
    uint32_t *seen = mem_new(of.columns, sizeof *seen);
    int32_t *row = mem_new(of.columns, sizeof *row);
    tally_matrix_open(model, &of, seen);
    for (size_t i = 0; i < of.rows; i++) {
        unsigned char any = 0;
        for (size_t j = 0; j < of.columns; j++) {
            row[j] = tally_code_of(t, i * of.columns + j);
            any |= row[j] != 0;
        }
        tally_code_row(model, c, row);
        if (alive) alive[i] = any;
    }
    mem_free(row);
    mem_free(seen);
    mem_free(model);
}

void tally_encode_vector(struct tally_coder *c, const struct net_tensor *t, const unsigned char *alive) {
    int32_t *numbers = mem_new(t->size, sizeof *numbers);
    for (size_t i = 0; i < t->size; i++) numbers[i] = tally_code_of(t, i);
    tally_code_numbers(c, numbers, t->size, !t->counted, alive);
    mem_free(numbers);
}
