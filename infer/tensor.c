/* Tensors of a file: their headers, and the numbers that codes mean. Contracts in tensor.h. */
#include "infer/tensor.h"

#include <math.h>
#include <string.h>

enum { PARAMETER_LIMIT = 1000000 };

/* --- headers ------------------------------------------------------------------------------------------------------- */

static int has_parameter(unsigned map) {
    return map == FORMAT_POWER || map == FORMAT_EXP || map == FORMAT_POW2 || map == FORMAT_MADAM;
}

static int is_good(double x) {
    return x - x == 0 && x > 0;
}

/* The fields of a LAYER's header; returns its reserved byte. */
static unsigned long_read(struct tally_tensor *t, struct tally_cursor *c) {
    unsigned values = tally_read_u8(c), map = tally_read_u8(c), coding = tally_read_u8(c),
             zero = tally_read_u8(c);
    t->values = (enum format_values)values;
    t->map = (enum format_map)map;
    t->coding = (enum format_coding)coding;
    t->nonzero = tally_read_u32(c);
    t->scale = tally_read_f64(c);
    t->parameter = has_parameter(map) ? tally_read_f64(c) : 1;
    return zero;
}

static unsigned short_read(struct tally_tensor *t, struct tally_cursor *c) {
    unsigned bits = tally_read_u8(c), map = bits >> 3 & 7;
    int doubles = (bits & FORMAT_DOUBLES) != 0;
    t->values = (enum format_values)(bits & 7);
    t->map = (enum format_map)map;
    t->coding = FORMAT_RANGED;
    t->nonzero = tally_read_number(c);
    t->scale = map == FORMAT_NONE ? 1 : doubles ? tally_read_f64(c) : (double)tally_read_f32(c);
    t->parameter = !has_parameter(map) ? 1 : doubles ? tally_read_f64(c) : (double)tally_read_f32(c);
    return bits >> 7;
}

int tally_tensor_header(const struct tally_model *m, struct tally_tensor *t, struct tally_cursor *c,
                        int is_short, const char *where) {
    unsigned zero = is_short ? short_read(t, c) : long_read(t, c), values = t->values, map = t->map;
    if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "%s: ends within its header", where);
    if (values < FORMAT_I8 || values >= FORMAT_VALUES_END)
        return tally_fail(m, TALLY_BAD_FILE, "%s: unknown kind of values %u, wanted 1 to %d", where, values,
                          FORMAT_VALUES_END - 1);
    if (map >= FORMAT_MAP_END || (map == FORMAT_NONE) != (values == FORMAT_F32))
        return tally_fail(m, TALLY_BAD_FILE, "%s: number system %u does not go with values %u", where, map,
                          values);
    if (t->coding < FORMAT_DENSE || t->coding >= FORMAT_CODING_END)
        return tally_fail(m, TALLY_BAD_FILE, "%s: unknown coding %u, wanted 1 to %d", where,
                          (unsigned)t->coding, FORMAT_CODING_END - 1);
    if (zero != 0) return tally_fail(m, TALLY_BAD_FILE, "%s: reserved byte is %u, wanted 0", where, zero);
    if (!is_good(t->scale))
        return tally_fail(m, TALLY_BAD_FILE, "%s: the scale is %g, wanted a finite number above 0", where,
                          t->scale);
    if (map == FORMAT_NONE && t->scale != 1)
        return tally_fail(m, TALLY_BAD_FILE, "%s: floats with a scale of %g, wanted 1", where, t->scale);
    if (!is_good(t->parameter) || t->parameter > PARAMETER_LIMIT)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: the number system's parameter is %g, wanted one above 0, up to %d", where,
                          t->parameter, PARAMETER_LIMIT);
    if (!tally_multiply(&t->size, t->rows, t->columns) || t->nonzero > t->size)
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu of %lu x %lu numbers are not zero, its header says",
                          where, (unsigned long)t->nonzero, (unsigned long)t->rows,
                          (unsigned long)t->columns);
    return TALLY_OK;
}

/* --- numbers ------------------------------------------------------------------------------------------------------- */

/* scale · f(counter), as src/number.h has it. */
static double counter_value(const struct tally_tensor *h, int32_t counter) {
    if (counter == 0) return 0;
    double a = fabs((double)counter), f = a;
    switch (h->map) {
    case FORMAT_SQUARE:
        f = a * a;
        break;
    case FORMAT_POWER:
        f = pow(a, h->parameter);
        break;
    case FORMAT_EXP:
        f = expm1(h->parameter * a);
        break;
    case FORMAT_POW2:
        f = exp2((a - 1) / h->parameter);
        break;
    case FORMAT_MADAM:
        f = exp(-h->parameter * (a - 1));
        break;
    default:
        break;
    }
    return h->scale * (counter < 0 ? -f : f);
}

size_t tally_value_bytes(enum format_values values) {
    return values == FORMAT_I8 ? 1 : values == FORMAT_I16 ? 2 : 4;
}

int tally_number_make(float *value, int32_t *code, const struct tally_tensor *t, size_t row, uint32_t bits) {
    if (t->values == FORMAT_F32) {
        memcpy(value, &bits, sizeof *value);
        if (*value == 0) *value = 0, bits = 0; /* -0 is no weight */
        *code = (int32_t)bits;
    } else {
        uint32_t sign = t->values == FORMAT_I8 ? 0x80u : t->values == FORMAT_I16 ? 0x8000u : 0x80000000u;
        if (bits == sign) return 0; /* -128, -32768 ... */
        int64_t counter = bits & sign ? (int64_t)bits - (int64_t)sign * 2 : (int64_t)bits;
        *code = (int32_t)counter;
        double number = counter_value(t, *code);
        *value = (float)(t->factor ? number * (double)t->factor[row] : number);
    }
    return *value - *value == 0;
}

int tally_number_read(float *value, int32_t *code, const struct tally_tensor *t, size_t row,
                      struct tally_cursor *c) {
    uint32_t bits = t->values == FORMAT_I8    ? tally_read_u8(c)
                    : t->values == FORMAT_I16 ? tally_read_u16(c)
                                              : tally_read_u32(c);
    return tally_number_make(value, code, t, row, bits);
}

int tally_number_take(float *value, const struct tally_tensor *t, size_t row, int32_t code) {
    uint32_t mask = t->values == FORMAT_I8 ? 0xffu : t->values == FORMAT_I16 ? 0xffffu : 0xffffffffu;
    int32_t again;
    return tally_number_make(value, &again, t, row, (uint32_t)code & mask) && again == code;
}
