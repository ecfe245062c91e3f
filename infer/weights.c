/* What steps keep of their weights: linear layers rows, columns or panels (build.c), the others what is made here. */
#include <string.h>

#include "infer/model.h"

/* --- conv2d -------------------------------------------------------------------------------------------------------- */

/* Where the number that column `column` of a kernel meets lies behind the window's first. */
static size_t tap_place(const struct tally_step *s, const struct tally_conv *l, size_t output,
                        size_t column) {
    size_t kernel = (size_t)s->size[0] * s->size[1], channels = s->from.dim[0] / s->groups,
           group = output / (s->rows / s->groups);
    size_t channel = group * channels + column / kernel, i = column % kernel / s->size[1],
           j = column % s->size[1];
    return channel * l->plane + i * s->dilation[0] * l->row + j * s->dilation[1];
}

static int conv_make(struct tally_model *m, struct tally_step *s, const struct tally_rows *rows,
                     size_t nonzero) {
    struct tally_conv *l = tally_take(m, 1, sizeof *l);
    uint32_t *start = l ? tally_take(m, s->rows + 1, sizeof *start) : NULL;
    struct tally_tap *taps = start ? tally_take(m, nonzero + 1, sizeof *taps) : NULL;
    if (!taps) return TALLY_NO_MEMORY;
    l->out = s->rows;
    l->down = s->shape.dim[1];
    l->across = s->shape.dim[2];
    l->row = s->from.dim[2] + 2 * (size_t)s->padding[1];
    l->plane = l->row * (s->from.dim[1] + 2 * (size_t)s->padding[0]);
    for (int k = 0; k < 2; k++) l->stride[k] = s->stride[k];
    l->nonzero = nonzero;
    l->bias = s->bias;
    l->start = start;
    l->taps = taps;
    struct tally_walk w = tally_walk_open(rows);
    size_t tap = 0;
    for (size_t o = 0; o < s->rows; o++) {
        for (size_t count = tally_walk_row(&w); count > 0; count--) {
            float value = tally_walk_next(&w);
            if (value == 0 || tap == nonzero) continue;
            taps[tap].at = (uint32_t)tap_place(s, l, o, w.column);
            taps[tap++].value = value;
        }
        start[o + 1] = (uint32_t)tap;
    }
    s->conv = l;
    return TALLY_OK;
}

/* --- embeddings and selects ---------------------------------------------------------------------------------------------------- */

/* Entries by rows: of row i start[i] .. start[i + 1] - 1, each with the column and the value. */
static int lookup_make(struct tally_model *m, struct tally_step *s, const struct tally_rows *rows,
                       size_t nonzero) {
    struct tally_columns *l = tally_take(m, 1, sizeof *l);
    uint32_t *start = l ? tally_take(m, s->rows + 1, sizeof *start) : NULL;
    struct tally_entry *entries = start ? tally_take(m, nonzero + 1, sizeof *entries) : NULL;
    if (!entries) return TALLY_NO_MEMORY;
    struct tally_walk w = tally_walk_open(rows);
    size_t entry = 0;
    for (size_t i = 0; i < s->rows; i++) {
        for (size_t count = tally_walk_row(&w); count > 0; count--) {
            float value = tally_walk_next(&w);
            if (value == 0 || entry == nonzero) continue;
            entries[entry].row = (uint32_t)w.column;
            entries[entry++].value = value;
        }
        start[i + 1] = (uint32_t)entry;
    }
    l->start = start;
    l->entries = entries;
    s->lookup = l;
    return TALLY_OK;
}

static int table_make(struct tally_model *m, struct tally_step *s, const struct tally_rows *rows) {
    float *table = tally_take(m, s->in, sizeof *table);
    if (!table) return TALLY_NO_MEMORY;
    struct tally_walk w = tally_walk_open(rows);
    for (size_t i = 0; i < s->rows; i++)
        for (size_t count = tally_walk_row(&w); count > 0; count--) {
            float value = tally_walk_next(&w);
            if (value != 0) table[i * s->columns + w.column] = value;
        }
    s->table = table;
    return TALLY_OK;
}

/* --- all ----------------------------------------------------------------------------------------------------------- */

int tally_step_build(struct tally_model *m, struct tally_step *s, const struct tally_rows *rows,
                     size_t nonzero) {
    int status;
    s->nonzero = nonzero;
    if (s->kind == FORMAT_LINEAR) {
        s->linear = tally_take(m, 1, sizeof *s->linear);
        if (!s->linear) return TALLY_NO_MEMORY;
        s->linear->in = s->columns;
        s->linear->out = s->rows;
        s->linear->nonzero = nonzero;
        s->linear->bias = s->bias;
        s->linear->rows = *rows;
        return tally_layer_build(m, s->linear);
    }
    if (s->kind == FORMAT_CONV2D)
        status = conv_make(m, s, rows, nonzero);
    else if (s->kind == FORMAT_EMBEDDING || s->kind == FORMAT_SELECT)
        status = lookup_make(m, s, rows, nonzero);
    else
        status = table_make(m, s, rows);
    tally_rows_give_back(m, rows);
    return status;
}
