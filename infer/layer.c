/* A LAYER section: the tensors of a linear layer, checked and brought into rows. The format is in format.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "infer/model.h"
#include "infer/range.h"

enum { PARAMETER_LIMIT = 1000000, WHERE = 48 };

/* A tensor as its header describes it. */
struct header {
    enum format_values values;
    enum format_map map;
    enum format_coding coding;
    size_t rows, columns, size, nonzero;
    double scale, parameter;
};

/* --- headers ------------------------------------------------------------------------------------------------------- */

static int has_parameter(unsigned map) {
    return map == FORMAT_POWER || map == FORMAT_EXP || map == FORMAT_POW2 || map == FORMAT_MADAM;
}

static int is_good(double x) {
    return x - x == 0 && x > 0;
}

static int header_read(const struct tally_model *m, struct header *h, struct tally_cursor *c, size_t rows,
                       size_t columns, const char *where) {
    unsigned values = tally_read_u8(c), map = tally_read_u8(c), coding = tally_read_u8(c),
             zero = tally_read_u8(c);
    h->nonzero = tally_read_u32(c);
    h->scale = tally_read_f64(c);
    h->parameter = has_parameter(map) ? tally_read_f64(c) : 1;
    if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "%s: ends within its header", where);
    if (values < FORMAT_I8 || values >= FORMAT_VALUES_END)
        return tally_fail(m, TALLY_BAD_FILE, "%s: unknown kind of values %u, wanted 1 to %d", where, values,
                          FORMAT_VALUES_END - 1);
    if (map >= FORMAT_MAP_END || (map == FORMAT_NONE) != (values == FORMAT_F32))
        return tally_fail(m, TALLY_BAD_FILE, "%s: number system %u does not go with values %u", where, map,
                          values);
    if (coding < FORMAT_DENSE || coding >= FORMAT_CODING_END)
        return tally_fail(m, TALLY_BAD_FILE, "%s: unknown coding %u, wanted 1 to %d", where, coding,
                          FORMAT_CODING_END - 1);
    if (zero != 0) return tally_fail(m, TALLY_BAD_FILE, "%s: reserved byte is %u, wanted 0", where, zero);
    if (!is_good(h->scale))
        return tally_fail(m, TALLY_BAD_FILE, "%s: the scale is %g, wanted a finite number above 0", where,
                          h->scale);
    if (map == FORMAT_NONE && h->scale != 1)
        return tally_fail(m, TALLY_BAD_FILE, "%s: floats with a scale of %g, wanted 1", where, h->scale);
    if (!is_good(h->parameter) || h->parameter > PARAMETER_LIMIT)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: the number system's parameter is %g, wanted one above 0, up to %d", where,
                          h->parameter, PARAMETER_LIMIT);
    h->values = (enum format_values)values;
    h->map = (enum format_map)map;
    h->coding = (enum format_coding)coding;
    h->rows = rows;
    h->columns = columns;
    if (!tally_multiply(&h->size, rows, columns) || h->nonzero > h->size)
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu of %lu x %lu numbers are not zero, its header says",
                          where, (unsigned long)h->nonzero, (unsigned long)rows, (unsigned long)columns);
    return TALLY_OK;
}

/* --- numbers ------------------------------------------------------------------------------------------------------- */

/* scale · f(counter), as src/number.h has it. */
static float counter_value(const struct header *h, int32_t counter) {
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
    return (float)(h->scale * (counter < 0 ? -f : f));
}

static size_t value_bytes(enum format_values values) {
    return values == FORMAT_I8 ? 1 : values == FORMAT_I16 ? 2 : 4;
}

/* The number that a code means. *code gets the counter, or the float's bits: 0 for a dead weight. False where the counter is
 * outside its symmetric range or the number not finite. */
static int number_make(float *value, int32_t *code, const struct header *h, uint32_t bits) {
    if (h->values == FORMAT_F32) {
        memcpy(value, &bits, sizeof *value);
        if (*value == 0) *value = 0, bits = 0; /* -0 is no weight */
        *code = (int32_t)bits;
    } else {
        uint32_t sign = h->values == FORMAT_I8 ? 0x80u : h->values == FORMAT_I16 ? 0x8000u : 0x80000000u;
        if (bits == sign) return 0; /* -128, -32768 ... */
        int64_t counter = bits & sign ? (int64_t)bits - (int64_t)sign * 2 : (int64_t)bits;
        *code = (int32_t)counter;
        *value = counter_value(h, *code);
    }
    return *value - *value == 0;
}

static int number_read(float *value, int32_t *code, const struct header *h, struct tally_cursor *c) {
    uint32_t bits = h->values == FORMAT_I8    ? tally_read_u8(c)
                    : h->values == FORMAT_I16 ? tally_read_u16(c)
                                              : tally_read_u32(c);
    return number_make(value, code, h, bits);
}

/* The same for what the range decoder gives. */
static int number_take(float *value, const struct header *h, int32_t code) {
    uint32_t mask = h->values == FORMAT_I8 ? 0xffu : h->values == FORMAT_I16 ? 0xffffu : 0xffffffffu;
    int32_t again;
    return number_make(value, &again, h, (uint32_t)code & mask) && again == code;
}

/* Whether this is stored for a dead weight; a counter whose number is too small for a float is not. */
static int is_dead(const struct header *h, const unsigned char *at) {
    struct tally_cursor c = tally_cursor_open(at, value_bytes(h->values));
    if (h->values == FORMAT_I8) return *at == 0;
    if (h->values == FORMAT_I16) return tally_read_u16(&c) == 0;
    return (tally_read_u32(&c) & (h->values == FORMAT_F32 ? 0x7fffffffu : 0xffffffffu)) == 0; /* or -0 */
}

/* --- payloads ------------------------------------------------------------------------------------------------------ */

static int dense_read(struct tally_model *m, struct tally_rows *rows, const struct header *h,
                      struct tally_cursor *c, const char *where) {
    size_t bytes;
    if (!tally_multiply(&bytes, h->size, value_bytes(h->values)) || bytes > tally_cursor_left(c))
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu x %lu values, %lu bytes are left", where,
                          (unsigned long)h->rows, (unsigned long)h->columns,
                          (unsigned long)tally_cursor_left(c));
    struct tally_builder b;
    if (tally_builder_open(&b, m, h->rows, h->columns, h->nonzero) != TALLY_OK) return TALLY_NO_MEMORY;
    size_t alive = 0;
    for (size_t i = 0; i < h->rows; i++) {
        for (size_t j = 0; j < h->columns; j++) {
            float value;
            int32_t code;
            if (!number_read(&value, &code, h, c))
                return tally_fail(m, TALLY_BAD_FILE, "%s: weight (%lu, %lu) is out of range", where,
                                  (unsigned long)i, (unsigned long)j);
            if (code != 0 && ++alive <= h->nonzero) tally_builder_add(&b, j, value);
        }
        tally_builder_end_row(&b);
    }
    if (alive != h->nonzero)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: the header says %lu weights that are not zero, there are %lu", where,
                          (unsigned long)h->nonzero, (unsigned long)alive);
    *rows = tally_builder_rows(&b);
    return TALLY_OK;
}

/* Rows as they lie in the file; only values of more than a byte are brought into floats. *stored gets where the values
 * lie. */
static int rows_find(struct tally_model *m, struct tally_rows *rows, const unsigned char **stored,
                     const struct header *h, struct tally_cursor *c, const char *where) {
    rows->wide = h->columns >= FORMAT_SHORT_COLUMNS;
    rows->counts = tally_read_bytes(c, h->rows, rows->wide ? 4 : 2);
    if (!rows->counts)
        return tally_fail(m, TALLY_BAD_FILE, "%s: counts of %lu rows, %lu bytes are left", where,
                          (unsigned long)h->rows, (unsigned long)tally_cursor_left(c));
    struct tally_walk walk = tally_walk_open(rows);
    for (size_t i = 0; i < h->rows; i++) {
        size_t count = tally_walk_row(&walk);
        if (count > h->columns || !tally_add(&rows->entries, rows->entries, count))
            return tally_fail(m, TALLY_BAD_FILE, "%s: row %lu has %lu entries for %lu columns", where,
                              (unsigned long)i, (unsigned long)count, (unsigned long)h->columns);
    }
    rows->steps = tally_read_bytes(c, rows->entries, 1);
    const unsigned char *codes =
        rows->steps ? tally_read_bytes(c, rows->entries, value_bytes(h->values)) : NULL;
    *stored = codes;
    if (!codes)
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu entries, %lu bytes are left", where,
                          (unsigned long)rows->entries, (unsigned long)tally_cursor_left(c));
    if (h->values == FORMAT_I8) {
        float *levels = tally_take(m, TALLY_LEVELS, sizeof *levels);
        if (!levels) return TALLY_NO_MEMORY;
        int32_t code;
        for (uint32_t i = 0; i < TALLY_LEVELS; i++)
            if (!number_make(&levels[i], &code, h, i)) levels[i] = INFINITY; /* refused where it is used */
        rows->codes = codes;
        rows->levels = levels;
        return TALLY_OK;
    }
    float *values = tally_take(m, rows->entries + 1, sizeof *values);
    if (!values) return TALLY_NO_MEMORY;
    struct tally_cursor numbers = tally_cursor_open(codes, rows->entries * value_bytes(h->values));
    for (size_t i = 0; i < rows->entries; i++) {
        int32_t code;
        if (!number_read(&values[i], &code, h, &numbers)) values[i] = INFINITY;
    }
    rows->values = values;
    return TALLY_OK;
}

/* Whether the rows hold what the format promises: columns that rise and stay inside, no zeros but bridges. */
static int rows_check(struct tally_model *m, const struct tally_rows *rows, const unsigned char *stored,
                      const struct header *h, const char *where) {
    struct tally_walk walk = tally_walk_open(rows);
    size_t alive = 0;
    for (size_t i = 0; i < h->rows; i++) {
        size_t count = tally_walk_row(&walk);
        for (size_t k = 0; k < count; k++) {
            size_t entry = walk.entry, before = walk.column;
            float value = tally_walk_next(&walk);
            int zero = is_dead(h, stored + entry * value_bytes(h->values));
            if (k > 0 && walk.column == before)
                return tally_fail(m, TALLY_BAD_FILE, "%s: row %lu has column %lu twice", where,
                                  (unsigned long)i, (unsigned long)walk.column);
            if (walk.column >= h->columns)
                return tally_fail(m, TALLY_BAD_FILE, "%s: row %lu goes to column %lu of %lu", where,
                                  (unsigned long)i, (unsigned long)walk.column, (unsigned long)h->columns);
            if (value - value != 0)
                return tally_fail(m, TALLY_BAD_FILE, "%s: weight (%lu, %lu) is out of range", where,
                                  (unsigned long)i, (unsigned long)walk.column);
            if (zero && (rows->steps[entry] != FORMAT_STEP_MAX || k + 1 == count))
                return tally_fail(m, TALLY_BAD_FILE, "%s: weight (%lu, %lu) is stored, but zero", where,
                                  (unsigned long)i, (unsigned long)walk.column);
            alive += !zero;
        }
    }
    if (alive != h->nonzero)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: the header says %lu weights that are not zero, there are %lu", where,
                          (unsigned long)h->nonzero, (unsigned long)alive);
    return TALLY_OK;
}

/* The weight of a RANGED layer; the decoder is left at the bias. */
static int ranged_rows(struct tally_model *m, struct tally_builder *b, const struct header *h,
                       struct tally_coder *coder, size_t width, const char *where) {
    struct tally_matrix_model *model = tally_take(m, 1, sizeof *model);
    uint32_t *alive = model ? tally_take(m, h->columns, sizeof *alive) : NULL;
    int32_t *row = alive ? tally_take(m, h->columns, sizeof *row) : NULL;
    if (!row) return TALLY_NO_MEMORY;
    tally_matrix_open(model, h->rows, h->columns, width, h->nonzero, h->values == FORMAT_F32, alive);
    size_t left = h->nonzero;
    int status = TALLY_OK;
    for (size_t i = 0; i < h->rows && status == TALLY_OK; i++) {
        memset(row, 0, h->columns * sizeof *row);
        tally_code_row(model, coder, row);
        if (coder->failed)
            status = tally_fail(m, TALLY_BAD_FILE, "%s: its stream ends in row %lu", where, (unsigned long)i);
        for (size_t j = 0; j < h->columns && status == TALLY_OK; j++) {
            float value;
            if (row[j] == 0) continue;
            if (!number_take(&value, h, row[j]) || (value == 0 && h->values == FORMAT_F32))
                status = tally_fail(m, TALLY_BAD_FILE, "%s: weight (%lu, %lu) is out of range", where,
                                    (unsigned long)i, (unsigned long)j);
            else if (left-- == 0)
                status = tally_fail(m, TALLY_BAD_FILE, "%s: more weights than the %lu of its header", where,
                                    (unsigned long)h->nonzero);
            else
                tally_builder_add(b, j, value);
        }
        tally_builder_end_row(b);
    }
    if (status == TALLY_OK && left)
        status = tally_fail(m, TALLY_BAD_FILE, "%s: %lu weights fewer than its header says", where,
                            (unsigned long)left);
    tally_give_back(m, row);
    tally_give_back(m, alive);
    tally_give_back(m, model);
    return status;
}

static int ranged_bias(struct tally_model *m, float *bias, const struct header *h, struct tally_coder *coder,
                       const char *where) {
    int32_t *numbers = tally_take(m, h->columns, sizeof *numbers);
    if (!numbers) return TALLY_NO_MEMORY;
    tally_code_numbers(coder, numbers, h->columns, h->values == FORMAT_F32);
    int status = TALLY_OK;
    size_t alive = 0;
    if (coder->failed) status = tally_fail(m, TALLY_BAD_FILE, "%s: its stream ends in the bias", where);
    for (size_t i = 0; i < h->columns && status == TALLY_OK; i++) {
        alive += numbers[i] != 0;
        if (!number_take(&bias[i], h, numbers[i]))
            status = tally_fail(m, TALLY_BAD_FILE, "%s: bias %lu is out of range", where, (unsigned long)i);
    }
    if (status == TALLY_OK && alive != h->nonzero)
        status =
            tally_fail(m, TALLY_BAD_FILE, "%s: the header says %lu biases that are not zero, there are %lu",
                       where, (unsigned long)h->nonzero, (unsigned long)alive);
    tally_give_back(m, numbers);
    return status;
}

static int ranged_read(struct tally_model *m, struct tally_linear *l, float *bias, const struct header *h,
                       const struct header *hb, struct tally_cursor *c, size_t width, const char *where) {
    size_t numbers = h->size + (hb ? hb->size : 0);
    if (h->size > FORMAT_RANGED_MAX)
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu weights, at most %d are range coded", where,
                          (unsigned long)h->size, FORMAT_RANGED_MAX);
    if (numbers > m->ranged_left)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: %lu numbers, %lu more may be range coded in so small a file", where,
                          (unsigned long)numbers, (unsigned long)m->ranged_left);
    m->ranged_left -= numbers;
    struct tally_builder b;
    if (tally_builder_open(&b, m, h->rows, h->columns, h->nonzero) != TALLY_OK) return TALLY_NO_MEMORY;
    size_t bytes = tally_cursor_left(c);
    struct tally_coder coder = tally_decoder_open(tally_read_bytes(c, bytes, 1), bytes);
    int status = ranged_rows(m, &b, h, &coder, width, where);
    if (status == TALLY_OK && hb) status = ranged_bias(m, bias, hb, &coder, where);
    if (status == TALLY_OK && !tally_decoder_ended(&coder))
        status = tally_fail(m, TALLY_BAD_FILE, "%s: its stream does not end where the section does", where);
    l->rows = tally_builder_rows(&b);
    return status;
}

static int dense_bias(struct tally_model *m, float *bias, const struct header *h, struct tally_cursor *c,
                      const char *where) {
    size_t alive = 0;
    for (size_t i = 0; i < h->columns; i++) {
        int32_t code;
        if (!number_read(&bias[i], &code, h, c) && !c->failed)
            return tally_fail(m, TALLY_BAD_FILE, "%s: bias %lu is out of range", where, (unsigned long)i);
        alive += code != 0;
    }
    if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "%s: ends within the bias", where);
    if (alive != h->nonzero)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: the header says %lu biases that are not zero, there are %lu", where,
                          (unsigned long)h->nonzero, (unsigned long)alive);
    return TALLY_OK;
}

int tally_layer_read(struct tally_model *m, struct tally_linear *l, struct tally_cursor *c, int with_bias,
                     size_t width, const char *where) {
    struct header h, hb;
    int status = header_read(m, &h, c, l->out, l->in, where);
    char bias_where[WHERE];
    snprintf(bias_where, sizeof bias_where, "%s's bias", where);
    if (status == TALLY_OK && with_bias) status = header_read(m, &hb, c, 1, l->out, bias_where);
    if (status != TALLY_OK) return status;
    if (with_bias && hb.coding != (h.coding == FORMAT_RANGED ? FORMAT_RANGED : FORMAT_DENSE))
        return tally_fail(m, TALLY_BAD_FILE, "%s: coding %d does not go with a bias of coding %d", where,
                          (int)h.coding, (int)hb.coding);
    /* The bias is small, so that it may be taken before the payload is looked at only where there are bytes for it. */
    if (h.coding != FORMAT_RANGED && l->out > tally_cursor_left(c))
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu outputs in %lu bytes", where, (unsigned long)l->out,
                          (unsigned long)tally_cursor_left(c));
    float *bias = tally_take(m, (l->out + TALLY_PANEL - 1) / TALLY_PANEL * TALLY_PANEL, sizeof *bias);
    if (!bias) return TALLY_NO_MEMORY;
    l->bias = bias;
    l->nonzero = h.nonzero;
    if (h.coding == FORMAT_RANGED)
        return ranged_read(m, l, bias, &h, with_bias ? &hb : NULL, c, width, where);
    if (h.coding == FORMAT_ROWS) {
        const unsigned char *stored;
        status = rows_find(m, &l->rows, &stored, &h, c, where);
        if (status == TALLY_OK) status = rows_check(m, &l->rows, stored, &h, where);
    } else {
        status = dense_read(m, &l->rows, &h, c, where);
    }
    if (status == TALLY_OK && with_bias) status = dense_bias(m, bias, &hb, c, where);
    if (status == TALLY_OK && tally_cursor_left(c))
        status = tally_fail(m, TALLY_BAD_FILE, "%s: %lu bytes behind its payload", where,
                            (unsigned long)tally_cursor_left(c));
    return status;
}
