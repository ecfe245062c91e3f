/* Weights by rows: walking over them, and building them where the file holds something else. Contracts in model.h. */
#include "infer/model.h"

/* --- walking ------------------------------------------------------------------------------------------------------- */

struct tally_walk tally_walk_open(const struct tally_rows *rows) {
    struct tally_walk w = {rows, 0, 0, 0, 0};
    return w;
}

size_t tally_walk_row(struct tally_walk *w) {
    size_t bytes = w->rows->wide ? 4 : 2, count = 0;
    const unsigned char *at = w->rows->counts + bytes * w->row++;
    for (size_t i = 0; i < bytes; i++) count |= (size_t)at[i] << 8 * i;
    w->column = 0;
    return count;
}

float tally_walk_next(struct tally_walk *w) {
    const struct tally_rows *rows = w->rows;
    size_t entry = w->entry++;
    w->column += rows->steps[entry];
    return rows->codes ? rows->levels[rows->codes[entry]] : rows->values[entry];
}

/* --- building ------------------------------------------------------------------------------------------------------ */

int tally_builder_open(struct tally_builder *b, struct tally_model *m, size_t rows, size_t columns,
                       size_t nonzero) {
    /* A bridge stands for FORMAT_STEP_MAX columns of its row. */
    size_t bridges, room;
    if (!tally_multiply(&bridges, rows, columns / FORMAT_STEP_MAX) || !tally_add(&room, nonzero, bridges) ||
        !tally_add(&room, room, 1))
        room = SIZE_MAX;
    b->wide = columns >= FORMAT_SHORT_COLUMNS;
    b->entries = b->row = b->row_start = b->column = 0;
    b->counts = tally_take(m, rows, b->wide ? 4 : 2);
    b->steps = b->counts ? tally_take(m, room, 1) : NULL;
    b->values = b->steps ? tally_take(m, room, sizeof *b->values) : NULL;
    return b->values ? TALLY_OK : TALLY_NO_MEMORY;
}

void tally_builder_add(struct tally_builder *b, size_t column, float value) {
    for (; column - b->column > FORMAT_STEP_MAX; b->column += FORMAT_STEP_MAX) {
        b->steps[b->entries] = FORMAT_STEP_MAX;
        b->values[b->entries++] = 0;
    }
    b->steps[b->entries] = (unsigned char)(column - b->column);
    b->values[b->entries++] = value;
    b->column = column;
}

void tally_builder_end_row(struct tally_builder *b) {
    size_t count = b->entries - b->row_start, bytes = b->wide ? 4 : 2;
    for (size_t i = 0; i < bytes; i++) b->counts[b->row * bytes + i] = (unsigned char)(count >> 8 * i);
    b->row_start = b->entries;
    b->column = 0;
    b->row++;
}

struct tally_rows tally_builder_rows(const struct tally_builder *b) {
    struct tally_rows rows = {b->counts, b->wide, b->steps, NULL, NULL, b->values, b->entries, 1};
    return rows;
}

void tally_rows_give_back(struct tally_model *m, const struct tally_rows *rows) {
    tally_give_back(m, rows->values);
    tally_give_back(m, rows->levels);
    if (!rows->built) return;
    tally_give_back(m, rows->steps);
    tally_give_back(m, rows->counts);
}
