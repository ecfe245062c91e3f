/* A LAYER section: the tensors of a layer, checked, and the weight brought into rows. The format is in format.h; range coded
 * ones are in stream.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "infer/tensor.h"

enum { WHERE = 48 };

/* --- what is read -------------------------------------------------------------------------------------------------- */

/* Numbers of what is no weight: by output, channel, or place in the last dimension. */
static size_t vector_size(const struct tally_step *s) {
    if (s->kind == FORMAT_LINEAR || s->kind == FORMAT_CONV2D || s->kind == FORMAT_SELECT) return s->rows;
    if (s->kind == FORMAT_BATCH_NORM || s->kind == FORMAT_K_WINNERS) return s->from.dim[0];
    return s->from.dim[s->from.rank - 1];
}

struct tally_reading tally_reading_open(struct tally_step *s, size_t number) {
    struct tally_reading r;
    memset(&r, 0, sizeof r);
    r.step = s;
    r.has[TALLY_WEIGHT] = s->rows > 0;
    r.has[TALLY_FACTOR] = (s->form & FORMAT_HAS_FACTOR) != 0;
    r.has[TALLY_BIAS] = (s->form & FORMAT_HAS_BIAS) != 0;
    for (int k = 0; k < TALLY_TENSORS; k++) {
        r.tensor[k].rows = k == TALLY_WEIGHT ? s->rows : 1;
        r.tensor[k].columns = k == TALLY_WEIGHT ? s->columns : vector_size(s);
    }
    snprintf(r.where, sizeof r.where, "layer %lu", (unsigned long)number);
    return r;
}

static void name_tensor(char where[WHERE], const struct tally_reading *r, int k) {
    snprintf(where, WHERE, "%s%s", r->where,
             k == TALLY_WEIGHT ? ""
             : k == TALLY_BIAS ? "'s bias"
                               : "'s factor");
}

int tally_reading_headers(struct tally_model *m, struct tally_reading *r, struct tally_cursor *c,
                          int is_short) {
    for (int k = 0; k < TALLY_TENSORS; k++) {
        char where[WHERE];
        name_tensor(where, r, k);
        if (r->has[k] && tally_tensor_header(m, &r->tensor[k], c, is_short, where) != TALLY_OK)
            return TALLY_BAD_FILE;
    }
    return TALLY_OK;
}

int tally_reading_take(struct tally_model *m, struct tally_reading *r) {
    for (int k = 0; k < TALLY_TENSORS; k++) {
        size_t panels = (r->tensor[k].columns + TALLY_PANEL - 1) / TALLY_PANEL;
        /* A weight's kernels want a bias in any case. */
        if (k == TALLY_WEIGHT || !(r->has[k] || (k == TALLY_BIAS && r->has[TALLY_WEIGHT]))) continue;
        r->vector[k] = tally_take(m, panels * TALLY_PANEL, sizeof *r->vector[k]);
        if (!r->vector[k]) return TALLY_NO_MEMORY;
    }
    r->tensor[TALLY_WEIGHT].factor = r->vector[TALLY_FACTOR];
    return TALLY_OK;
}

int tally_reading_close(struct tally_model *m, struct tally_reading *r) {
    struct tally_step *s = r->step;
    s->bias = r->vector[TALLY_BIAS];
    s->factor = r->vector[TALLY_FACTOR];
    if (!r->has[TALLY_WEIGHT]) return TALLY_OK;
    if (s->factor) tally_give_back(m, s->factor);
    s->factor = NULL;
    return tally_step_build(m, s, &r->rows, r->tensor[TALLY_WEIGHT].nonzero);
}

/* --- payloads ------------------------------------------------------------------------------------------------------ */

/* Whether this is stored for a dead weight; a counter whose number is too small for a float is not. */
static int is_dead(const struct tally_tensor *h, const unsigned char *at) {
    struct tally_cursor c = tally_cursor_open(at, tally_value_bytes(h->values));
    if (h->values == FORMAT_I8) return *at == 0;
    if (h->values == FORMAT_I16) return tally_read_u16(&c) == 0;
    return (tally_read_u32(&c) & (h->values == FORMAT_F32 ? 0x7fffffffu : 0xffffffffu)) == 0; /* or -0 */
}

/* --- payloads ------------------------------------------------------------------------------------------------------ */

static int dense_read(struct tally_model *m, struct tally_rows *rows, const struct tally_tensor *h,
                      struct tally_cursor *c, const char *where) {
    size_t bytes;
    if (!tally_multiply(&bytes, h->size, tally_value_bytes(h->values)) || bytes > tally_cursor_left(c))
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
            if (!tally_number_read(&value, &code, h, i, c))
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
                     const struct tally_tensor *h, struct tally_cursor *c, const char *where) {
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
        rows->steps ? tally_read_bytes(c, rows->entries, tally_value_bytes(h->values)) : NULL;
    *stored = codes;
    if (!codes)
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu entries, %lu bytes are left", where,
                          (unsigned long)rows->entries, (unsigned long)tally_cursor_left(c));
    if (h->values == FORMAT_I8 && !h->factor) {
        float *levels = tally_take(m, TALLY_LEVELS, sizeof *levels);
        if (!levels) return TALLY_NO_MEMORY;
        int32_t code;
        for (uint32_t i = 0; i < TALLY_LEVELS; i++)
            if (!tally_number_make(&levels[i], &code, h, 0, i))
                levels[i] = INFINITY; /* refused where it is used */
        rows->codes = codes;
        rows->levels = levels;
        return TALLY_OK;
    }
    float *values = tally_take(m, rows->entries + 1, sizeof *values);
    if (!values) return TALLY_NO_MEMORY;
    struct tally_cursor numbers = tally_cursor_open(codes, rows->entries * tally_value_bytes(h->values));
    walk = tally_walk_open(rows);
    for (size_t i = 0, entry = 0; i < h->rows; i++)
        for (size_t count = tally_walk_row(&walk); count > 0; count--, entry++) {
            int32_t code;
            if (!tally_number_read(&values[entry], &code, h, i, &numbers)) values[entry] = INFINITY;
        }
    rows->values = values;
    return TALLY_OK;
}

/* Whether the rows hold what the format promises: columns that rise and stay inside, no zeros but bridges. */
static int rows_check(struct tally_model *m, const struct tally_rows *rows, const unsigned char *stored,
                      const struct tally_tensor *h, const char *where) {
    struct tally_walk walk = tally_walk_open(rows);
    size_t alive = 0;
    for (size_t i = 0; i < h->rows; i++) {
        size_t count = tally_walk_row(&walk);
        for (size_t k = 0; k < count; k++) {
            size_t entry = walk.entry, before = walk.column;
            float value = tally_walk_next(&walk);
            int zero = is_dead(h, stored + entry * tally_value_bytes(h->values));
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

static int dense_vector(struct tally_model *m, struct tally_reading *r, int k, struct tally_cursor *c) {
    const struct tally_tensor *t = &r->tensor[k];
    const char *what = k == TALLY_BIAS ? "bias" : "factor", *many = k == TALLY_BIAS ? "biases" : "factors";
    size_t alive = 0;
    for (size_t i = 0; i < t->columns; i++) {
        int32_t code;
        if (!tally_number_read(&r->vector[k][i], &code, t, 0, c) && !c->failed)
            return tally_fail(m, TALLY_BAD_FILE, "%s: %s %lu is out of range", r->where, what,
                              (unsigned long)i);
        alive += code != 0;
    }
    if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "%s: ends within the %s", r->where, what);
    if (alive != t->nonzero)
        return tally_fail(m, TALLY_BAD_FILE, "%s: the header says %lu %s that are not zero, there are %lu",
                          r->where, (unsigned long)t->nonzero, many, (unsigned long)alive);
    return TALLY_OK;
}

static int weight_read(struct tally_model *m, struct tally_reading *r, struct tally_cursor *c) {
    const struct tally_tensor *t = &r->tensor[TALLY_WEIGHT];
    const unsigned char *stored;
    if (t->coding == FORMAT_DENSE) return dense_read(m, &r->rows, t, c, r->where);
    int status = rows_find(m, &r->rows, &stored, t, c, r->where);
    return status == TALLY_OK ? rows_check(m, &r->rows, stored, t, r->where) : status;
}

/* Everything goes with the weight's coding. */
static int codings_check(struct tally_model *m, const struct tally_reading *r) {
    enum format_coding coding = r->has[TALLY_WEIGHT] ? r->tensor[TALLY_WEIGHT].coding : FORMAT_DENSE,
                       wanted = coding == FORMAT_RANGED ? FORMAT_RANGED : FORMAT_DENSE;
    for (int k = 0; k < TALLY_TENSORS; k++)
        if (k != TALLY_WEIGHT && r->has[k] && r->tensor[k].coding != wanted)
            return tally_fail(m, TALLY_BAD_FILE, "%s: coding %d does not go with a %s of coding %d", r->where,
                              (int)coding, k == TALLY_BIAS ? "bias" : "factor", (int)r->tensor[k].coding);
    return TALLY_OK;
}

static int payloads_read(struct tally_model *m, struct tally_reading *r, struct tally_cursor *c) {
    int status = TALLY_OK;
    for (int k = 0; k < TALLY_TENSORS && status == TALLY_OK; k++)
        if (r->has[k]) status = k == TALLY_WEIGHT ? weight_read(m, r, c) : dense_vector(m, r, k, c);
    if (status == TALLY_OK && tally_cursor_left(c))
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu bytes behind its payload", r->where,
                          (unsigned long)tally_cursor_left(c));
    return status;
}

int tally_layer_read(struct tally_model *m, struct tally_reading *r, struct tally_cursor *c) {
    size_t outputs = r->tensor[TALLY_BIAS].columns;
    if (tally_reading_headers(m, r, c, 0) != TALLY_OK || codings_check(m, r) != TALLY_OK)
        return TALLY_BAD_FILE;
    int ranged = r->has[TALLY_WEIGHT] && r->tensor[TALLY_WEIGHT].coding == FORMAT_RANGED;
    if (ranged && tally_reading_allow(m, r) != TALLY_OK) return TALLY_BAD_FILE;
    /* The bias is small, so that it may be taken before the payload is looked at only where there are bytes for it. */
    if (!ranged && outputs > tally_cursor_left(c))
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu outputs in %lu bytes", r->where, (unsigned long)outputs,
                          (unsigned long)tally_cursor_left(c));
    int status = tally_reading_take(m, r);
    if (status != TALLY_OK) return status;
    if (!ranged) return payloads_read(m, r, c);
    size_t bytes = tally_cursor_left(c);
    struct tally_coder coder = tally_decoder_open(tally_read_bytes(c, bytes, 1), bytes);
    status = tally_reading_decode(m, r, &coder, NULL);
    if (status == TALLY_OK && !tally_decoder_ended(&coder))
        return tally_fail(m, TALLY_BAD_FILE, "%s: its stream does not end where the section does", r->where);
    return status;
}
