/* The forms of a weight that kernels want, and the choice between them. */
#include <string.h>
#include <time.h>

#include "infer/model.h"

/* --- forms --------------------------------------------------------------------------------------------------------- */

static int columns_make(struct tally_model *m, struct tally_linear *l) {
    uint32_t *start = tally_take(m, l->in + 2, sizeof *start);
    struct tally_entry *entries = start ? tally_take(m, l->nonzero + 1, sizeof *entries) : NULL;
    if (!entries) return TALLY_NO_MEMORY;
    /* start[j + 2] counts column j; summed up, start[j + 1] is where it begins and moves to where it ends. */
    struct tally_walk w = tally_walk_open(&l->rows);
    for (size_t i = 0; i < l->out; i++)
        for (size_t count = tally_walk_row(&w); count > 0; count--)
            if (tally_walk_next(&w) != 0 && w.column + 2 < l->in + 2) start[w.column + 2]++;
    for (size_t j = 2; j < l->in + 2; j++) start[j] += start[j - 1];
    w = tally_walk_open(&l->rows);
    for (size_t i = 0; i < l->out; i++)
        for (size_t count = tally_walk_row(&w); count > 0; count--) {
            float value = tally_walk_next(&w);
            if (value == 0) continue;
            struct tally_entry *entry = &entries[start[w.column + 1]++];
            entry->row = (uint32_t)i;
            entry->value = value;
        }
    l->columns.start = start;
    l->columns.entries = entries;
    return TALLY_OK;
}

static int panels_make(struct tally_model *m, struct tally_linear *l) {
    size_t panels = (l->out + TALLY_PANEL - 1) / TALLY_PANEL, size;
    if (!tally_multiply(&size, panels * TALLY_PANEL, l->in)) size = SIZE_MAX;
    float *values = tally_take(m, size, sizeof *values);
    if (!values) return TALLY_NO_MEMORY;
    struct tally_walk w = tally_walk_open(&l->rows);
    for (size_t i = 0; i < l->out; i++) {
        float *panel = values + i / TALLY_PANEL * TALLY_PANEL * l->in + i % TALLY_PANEL;
        for (size_t count = tally_walk_row(&w); count > 0; count--) {
            float value = tally_walk_next(&w);
            if (value != 0) panel[w.column * TALLY_PANEL] = value;
        }
    }
    l->panels = values;
    return TALLY_OK;
}

/* --- the choice ---------------------------------------------------------------------------------------------------- */

/* Ticks for one call on made-up numbers, the best of a few. */
static double ticks_of(const struct tally_model *m, const struct tally_linear *l, int dense, int many,
                       float *y, const float *x) {
    double best = -1;
    for (int attempt = 0; attempt < 3; attempt++) {
        long calls = 0;
        clock_t start = clock(), now;
        do {
            if (many)
                (dense ? m->kernels->dense_many : m->kernels->sparse_many)(y, l, x, TALLY_LANES);
            else
                (dense ? m->kernels->dense_one : m->kernels->sparse_one)(y, l, x);
            calls++;
            now = clock();
        } while (now - start < CLOCKS_PER_SEC / 5000 && calls < 1000000);
        double ticks = (double)(now - start) / (double)calls;
        if (best < 0 || ticks < best) best = ticks;
    }
    return best;
}

static int choice_measure(struct tally_model *m, struct tally_linear *l) {
    size_t padded = (l->out + TALLY_PANEL - 1) / TALLY_PANEL * TALLY_PANEL;
    float *x = tally_take(m, l->in * TALLY_LANES, sizeof *x);
    float *y = x ? tally_take(m, padded * TALLY_LANES, sizeof *y) : NULL;
    if (!y) return TALLY_NO_MEMORY;
    /* Every second number is zero, as behind a relu. */
    for (size_t i = 0; i < l->in * TALLY_LANES; i++) x[i] = i & 1 ? (float)(i % 7) : 0;
    l->dense_one = ticks_of(m, l, 1, 0, y, x) < ticks_of(m, l, 0, 0, y, x);
    l->dense_many = ticks_of(m, l, 1, 1, y, x) < ticks_of(m, l, 0, 1, y, x);
    tally_give_back(m, y);
    tally_give_back(m, x);
    return TALLY_OK;
}

int tally_layer_build(struct tally_model *m, struct tally_linear *l) {
    int sparse = m->options.kernel != TALLY_DENSE, dense = m->options.kernel != TALLY_SPARSE;
    l->dense_one = l->dense_many = !sparse;
    if (sparse && columns_make(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
    if (dense && panels_make(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
    if (sparse && dense && choice_measure(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
    if (l->dense_one && l->columns.start) {
        tally_give_back(m, l->columns.start);
        tally_give_back(m, l->columns.entries);
        memset(&l->columns, 0, sizeof l->columns);
    }
    if (!l->dense_one && !l->dense_many && l->panels) {
        tally_give_back(m, l->panels);
        l->panels = NULL;
    }
    return TALLY_OK;
}
