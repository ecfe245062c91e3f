/* The forms of a weight that kernels want, and the choice between them. */
#include <string.h>
#include <time.h>

#include "infer/model.h"

/* --- forms --------------------------------------------------------------------------------------------------------- */

static int columns_make(struct tally_model *m, struct tally_linear *l) {
    uint32_t *start = tally_take(m, l->in + 2, sizeof *start);
    struct tally_entry *entries = start ? tally_take(m, l->nonzero + TALLY_SPARE, sizeof *entries) : NULL;
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

/* A file may make a few bytes mean a large layer, and many of them: a model is measured for about this long. */
enum { MEASURE = CLOCKS_PER_SEC, ATTEMPT = CLOCKS_PER_SEC / 5000, LONG_CALL = CLOCKS_PER_SEC / 200 };

/* Whether panels, and what measuring wants beside them, stay within the limit. */
static int panels_fit(const struct tally_model *m, const struct tally_linear *l, size_t lanes) {
    size_t padded = (l->out + TALLY_PANEL - 1) / TALLY_PANEL * TALLY_PANEL, floats, activations;
    size_t left = (m->options.memory_limit - m->used) / sizeof(float), overhead = 64;
    return tally_multiply(&floats, padded, l->in) && tally_multiply(&activations, padded + l->in, lanes) &&
           tally_add(&floats, floats, activations) && tally_add(&floats, floats, overhead) && floats <= left;
}

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
        } while (now - start < ATTEMPT && calls < 1000000);
        double ticks = (double)(now - start) / (double)calls;
        if (best < 0 || ticks < best) best = ticks;
        if (ticks > LONG_CALL) break; /* no second try for what takes long; it is measured well enough */
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

/* Without measuring: dense pays from about a third on. */
static int choice_guess(struct tally_model *m, struct tally_linear *l) {
    int dense = l->nonzero > l->in * l->out / 3 && panels_fit(m, l, 0);
    l->dense_one = l->dense_many = dense;
    return dense ? panels_make(m, l) : TALLY_OK;
}

static int choice_make(struct tally_model *m, struct tally_linear *l) {
    if (m->measured > MEASURE || !panels_fit(m, l, TALLY_LANES)) return choice_guess(m, l);
    clock_t start = clock(); /* filling the memory may take longer than the kernels */
    if (panels_make(m, l) != TALLY_OK || choice_measure(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
    m->measured += clock() - start;
    return TALLY_OK;
}

int tally_layer_build(struct tally_model *m, struct tally_linear *l) {
    enum tally_kernel kernel = m->options.kernel;
    l->dense_one = l->dense_many = kernel == TALLY_DENSE;
    if (kernel != TALLY_DENSE && columns_make(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
    if (kernel == TALLY_DENSE && panels_make(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
    if (kernel == TALLY_AUTO && choice_make(m, l) != TALLY_OK) return TALLY_NO_MEMORY;
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
