/* Range coded tensors: those of a LAYER section, and the STREAM section of all layers. The format is in format.h. */
#include <string.h>

#include "infer/tensor.h"

int tally_reading_allow(struct tally_model *m, const struct tally_reading *r) {
    size_t numbers = 0, weights = r->has[TALLY_WEIGHT] ? r->tensor[TALLY_WEIGHT].size : 0;
    if (weights > FORMAT_RANGED_MAX)
        return tally_fail(m, TALLY_BAD_FILE, "%s: %lu weights, at most %d are range coded", r->where,
                          (unsigned long)weights, FORMAT_RANGED_MAX);
    for (int k = 0; k < TALLY_TENSORS; k++)
        if (r->has[k]) numbers += r->tensor[k].size;
    if (numbers > m->ranged_left)
        return tally_fail(m, TALLY_BAD_FILE,
                          "%s: %lu numbers, %lu more may be range coded in so small a file", r->where,
                          (unsigned long)numbers, (unsigned long)m->ranged_left);
    m->ranged_left -= numbers;
    return TALLY_OK;
}

/* One row of a weight; *left counts down the weights that its header promises. */
static int row_take(struct tally_model *m, struct tally_builder *b, const struct tally_tensor *t,
                    const int32_t *row, size_t i, size_t *left, const char *where) {
    for (size_t j = 0; j < t->columns; j++) {
        float value;
        if (row[j] == 0) continue;
        if (!tally_number_take(&value, t, i, row[j]) || (value == 0 && t->values == FORMAT_F32))
            return tally_fail(m, TALLY_BAD_FILE, "%s: weight (%lu, %lu) is out of range", where,
                              (unsigned long)i, (unsigned long)j);
        if ((*left)-- == 0)
            return tally_fail(m, TALLY_BAD_FILE, "%s: more weights than the %lu of its header", where,
                              (unsigned long)t->nonzero);
        tally_builder_add(b, j, value);
    }
    tally_builder_end_row(b);
    return TALLY_OK;
}

/* `alive` gets whether each row has weights, or is NULL. */
static int ranged_rows(struct tally_model *m, struct tally_builder *b, const struct tally_tensor *t,
                       struct tally_coder *coder, const struct tally_matrix *of, unsigned char *alive,
                       const char *where) {
    struct tally_matrix_model *model = tally_take(m, 1, sizeof *model);
    uint32_t *seen = model ? tally_take(m, t->columns, sizeof *seen) : NULL;
    int32_t *row = seen ? tally_take(m, t->columns, sizeof *row) : NULL;
    if (!row) return TALLY_NO_MEMORY;
    tally_matrix_open(model, of, seen);
    size_t left = t->nonzero;
    int status = TALLY_OK;
    for (size_t i = 0; i < t->rows && status == TALLY_OK; i++) {
        size_t before = left;
        memset(row, 0, t->columns * sizeof *row);
        tally_code_row(model, coder, row);
        if (coder->failed)
            status = tally_fail(m, TALLY_BAD_FILE, "%s: its stream ends in row %lu", where, (unsigned long)i);
        if (status == TALLY_OK) status = row_take(m, b, t, row, i, &left, where);
        if (alive) alive[i] = left < before;
    }
    if (status == TALLY_OK && left)
        status = tally_fail(m, TALLY_BAD_FILE, "%s: %lu weights fewer than its header says", where,
                            (unsigned long)left);
    tally_give_back(m, row);
    tally_give_back(m, seen);
    tally_give_back(m, model);
    return status;
}

static int ranged_vector(struct tally_model *m, struct tally_reading *r, int k, struct tally_coder *coder) {
    const struct tally_tensor *t = &r->tensor[k];
    const char *what = k == TALLY_BIAS ? "bias" : "factor", *many = k == TALLY_BIAS ? "biases" : "factors";
    int32_t *numbers = tally_take(m, t->columns, sizeof *numbers);
    if (!numbers) return TALLY_NO_MEMORY;
    tally_code_numbers(coder, numbers, t->columns, t->values == FORMAT_F32, r->alive);
    int status = TALLY_OK;
    size_t alive = 0;
    if (coder->failed)
        status = tally_fail(m, TALLY_BAD_FILE, "%s: its stream ends in the %s", r->where, what);
    for (size_t i = 0; i < t->columns && status == TALLY_OK; i++) {
        alive += numbers[i] != 0;
        if (!tally_number_take(&r->vector[k][i], t, 0, numbers[i]))
            status =
                tally_fail(m, TALLY_BAD_FILE, "%s: %s %lu is out of range", r->where, what, (unsigned long)i);
    }
    if (status == TALLY_OK && alive != t->nonzero)
        status = tally_fail(m, TALLY_BAD_FILE, "%s: the header says %lu %s that are not zero, there are %lu",
                            r->where, (unsigned long)t->nonzero, many, (unsigned long)alive);
    tally_give_back(m, numbers);
    return status;
}

static int ranged_weight(struct tally_model *m, struct tally_reading *r, struct tally_coder *coder,
                         const struct tally_alive *before) {
    const struct tally_tensor *t = &r->tensor[TALLY_WEIGHT];
    struct tally_matrix of = {.rows = t->rows,
                              .columns = t->columns,
                              .nonzero = t->nonzero,
                              .width = r->step->width,
                              .floats = t->values == FORMAT_F32};
    struct tally_builder b;
    if (before) {
        of.extended = 1;
        of.plane = r->step->plane;
        tally_matrix_link(&of, t->columns, before->rows, before->count);
        r->alive = tally_take(m, t->rows, 1);
        if (!r->alive) return TALLY_NO_MEMORY;
    }
    if (tally_builder_open(&b, m, t->rows, t->columns, t->nonzero) != TALLY_OK) return TALLY_NO_MEMORY;
    int status = ranged_rows(m, &b, t, coder, &of, r->alive, r->where);
    r->rows = tally_builder_rows(&b);
    return status;
}

int tally_reading_decode(struct tally_model *m, struct tally_reading *r, struct tally_coder *coder,
                         struct tally_alive *before) {
    int status = TALLY_OK;
    for (int k = 0; k < TALLY_TENSORS && status == TALLY_OK; k++)
        if (r->has[k])
            status = k == TALLY_WEIGHT ? ranged_weight(m, r, coder, before) : ranged_vector(m, r, k, coder);
    if (status != TALLY_OK || !r->alive) return status;
    tally_give_back(m, before->rows);
    before->rows = r->alive;
    before->count = r->tensor[TALLY_WEIGHT].rows;
    return TALLY_OK;
}

/* --- the STREAM section -------------------------------------------------------------------------------------------- */

static int is_empty(const struct tally_reading *r) {
    return !r->has[TALLY_FACTOR] && !r->has[TALLY_WEIGHT] && !r->has[TALLY_BIAS];
}

static int stream_decode(struct tally_model *m, struct tally_reading *readings, size_t count,
                         struct tally_cursor *c) {
    size_t bytes = tally_cursor_left(c);
    struct tally_coder coder = tally_decoder_open(tally_read_bytes(c, bytes, 1), bytes);
    struct tally_alive before = {NULL, 0};
    for (size_t i = 0; i < count; i++) {
        struct tally_reading *r = &readings[i];
        int status = tally_reading_take(m, r);
        if (status == TALLY_OK) status = tally_reading_decode(m, r, &coder, &before);
        if (status == TALLY_OK) status = tally_reading_close(m, r);
        if (status != TALLY_OK) return status;
    }
    tally_give_back(m, before.rows);
    if (!tally_decoder_ended(&coder))
        return tally_fail(m, TALLY_BAD_FILE, "stream: it does not end where the section does");
    return TALLY_OK;
}

/* All headers come first: what they promise is checked before anything is decoded. */
static int stream_read(struct tally_model *m, struct tally_cursor c) {
    struct tally_reading *readings = tally_take(m, m->step_count, sizeof *readings);
    size_t count = 0;
    if (!readings) return TALLY_NO_MEMORY;
    for (size_t i = 0; i < m->step_count; i++) {
        struct tally_reading *r = &readings[count];
        *r = tally_reading_open(&m->steps[i], i);
        if (is_empty(r)) continue;
        if (tally_reading_headers(m, r, &c, 1) != TALLY_OK || tally_reading_allow(m, r) != TALLY_OK)
            return TALLY_BAD_FILE;
        count++;
    }
    int status = stream_decode(m, readings, count, &c);
    tally_give_back(m, readings);
    return status;
}

int tally_tensors_read(struct tally_model *m, const struct tally_cursor *sections, size_t count, int stream) {
    size_t next = 1;
    if (stream) return stream_read(m, sections[1]);
    for (size_t i = 0; i < m->step_count; i++) {
        struct tally_reading r = tally_reading_open(&m->steps[i], i);
        if (is_empty(&r)) continue;
        if (next == count) return tally_fail(m, TALLY_BAD_FILE, "%s: has no section", r.where);
        struct tally_cursor section = sections[next++];
        int status = tally_layer_read(m, &r, &section);
        if (status == TALLY_OK) status = tally_reading_close(m, &r);
        if (status != TALLY_OK) return status;
    }
    if (next != count)
        return tally_fail(m, TALLY_BAD_FILE, "%lu sections, but the program wants %lu", (unsigned long)count,
                          (unsigned long)next);
    return TALLY_OK;
}
