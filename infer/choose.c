/* What is chosen for each sample: k winners, the rows of a select, what a gate lets through. Contracts in model.h, meaning in
 * format.h. */
#include <string.h>

#include "infer/model.h"

/* --- k winners ----------------------------------------------------------------------------------------------------- */

/* Candidates of one sample: number i is x[i * step], its channel i / inner + first. */
struct group {
    const struct tally_step *step;
    const float *x;
    size_t count, stride, inner;
};

/* An integer that orders as the boosted number does; -0 and 0 are one, a NaN has its place. */
static uint32_t order_key(const struct group *g, size_t i) {
    const float *factor = g->step->factor;
    float value = g->x[i * g->stride];
    uint32_t bits;
    if (factor) value *= factor[i / g->inner];
    value += 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | (uint32_t)1 << 31;
}

/* The k-th largest key, byte by byte from the top; *equals gets how many of that key win. */
static uint32_t key_select(const struct group *g, size_t k, size_t *equals) {
    uint32_t prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        size_t seen[256] = {0};
        for (size_t i = 0; i < g->count; i++) {
            uint32_t key = order_key(g, i);
            seen[key >> shift & 255] += shift == 24 || key >> (shift + 8) == prefix;
        }
        size_t byte = 255;
        for (; k > seen[byte]; byte--) k -= seen[byte];
        prefix = prefix << 8 | (uint32_t)byte;
    }
    *equals = k;
    return prefix;
}

/* Of the candidates in their order, whether the next, i, wins. */
struct winners {
    const struct group *group;
    uint32_t last;
    size_t equals;
};

static struct winners winners_open(const struct group *g) {
    struct winners w = {g, 0, 0};
    w.last = key_select(g, g->step->k, &w.equals);
    return w;
}

static int winners_next(struct winners *w, size_t i) {
    uint32_t key = order_key(w->group, i);
    if (key != w->last) return key > w->last;
    if (w->equals == 0) return 0;
    w->equals--;
    return 1;
}

static void group_apply(const struct group *g, float *y) {
    struct winners w = winners_open(g);
    for (size_t i = 0; i < g->count; i++) y[i * g->stride] = winners_next(&w, i) ? g->x[i * g->stride] : 0;
}

void tally_winners_apply(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    size_t plane = s->in / s->from.dim[0];
    if (s->form & FORMAT_LOCAL) {
        struct group g = {s, x, s->from.dim[0], plane * lanes, 1};
        for (size_t i = 0; i < plane * lanes; i++, g.x++, y++) group_apply(&g, y);
    } else {
        struct group g = {s, x, s->in, lanes, plane};
        for (size_t l = 0; l < lanes; l++, g.x++, y++) group_apply(&g, y);
    }
}

/* --- select -------------------------------------------------------------------------------------------------------- */

enum { ROWS = 4 };

/* Products first .. end-1 of a row onto its sum. */
static float products_add(float sum, const struct tally_entry *entries, size_t first, size_t end,
                          const float *x) {
    for (size_t i = first; i < end; i++) sum += entries[i].value * x[entries[i].row];
    return sum;
}

/* Of neighbouring rows, side by side while all have products: one sum need not wait for another. */
static void rows_products(float y[], const struct tally_step *s, size_t row, size_t rows, const float *x) {
    const uint32_t *start = s->lookup->start + row;
    const struct tally_entry *from[ROWS];
    size_t common = SIZE_MAX;
    float sum[ROWS] = {0, 0, 0, 0};
    for (size_t k = 0; k < rows; k++) sum[k] = s->bias[row + k];
    for (size_t k = 0; k < ROWS && rows == ROWS; k++) {
        size_t count = start[k + 1] - start[k];
        from[k] = s->lookup->entries + start[k];
        common = count < common ? count : common;
    }
    if (rows < ROWS) common = 0;
    for (size_t i = 0; i < common; i++)
        for (size_t k = 0; k < ROWS; k++) sum[k] += from[k][i].value * x[from[k][i].row];
    for (size_t k = 0; k < rows; k++)
        y[k] = products_add(sum[k], s->lookup->entries, start[k] + common, start[k + 1], x);
}

void tally_select_apply(const struct tally_step *s, float *y, const float *x, const float *score) {
    struct group g = {s, score, (s->rows + s->block - 1) / s->block, 1, 1};
    struct winners w = winners_open(&g);
    memset(y, 0, s->rows * sizeof *y);
    for (size_t block = 0, row = 0; block < g.count; block++, row += s->block) {
        if (!winners_next(&w, block)) continue;
        size_t end = row + s->block < s->rows ? row + s->block : s->rows;
        for (size_t i = row; i < end; i += ROWS)
            rows_products(y + i, s, i, end - i < ROWS ? end - i : ROWS, x);
    }
}

/* --- mix ----------------------------------------------------------------------------------------------------------- */

void tally_mix_apply(const struct tally_step *s, float *y, const float *x, const float *b, float gate) {
    if (gate != 0) {
        for (size_t i = 0; i < s->out; i++) y[i] = (b ? b[i] : 0) + gate * x[i];
    } else if (!b) {
        memset(y, 0, s->out * sizeof *y);
    } else if (y != b) {
        memcpy(y, b, s->out * sizeof *y);
    }
}
