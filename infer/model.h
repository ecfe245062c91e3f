/* The model in memory, and what loading, kernels and running share. */
#ifndef TALLY_INFER_MODEL_H
#define TALLY_INFER_MODEL_H

#include <time.h>

#include "infer/cursor.h"
#include "infer/format.h"
#include "infer/tally_infer.h"

enum {
    TALLY_LANES = 64, /* samples that run together, at most */
    TALLY_PANEL = 32, /* outputs of a dense panel */
    TALLY_SPARE = 8,  /* entries behind the last column's that may be read */
    TALLY_LEVELS = 256
};

/* Samples that run together are feature-major: x[feature][lanes], so that a weight meets `lanes` neighbouring numbers. */

/* A weight by rows (outputs), as in the file's coding ROWS: counts and steps may lie in the file itself. Values are looked
 * up in `levels` by their 8-bit counter, also in the file, or are floats of ours. */
struct tally_rows {
    const unsigned char *counts; /* entries per row, u16, or u32 when `wide` */
    int wide;
    const unsigned char *steps; /* [entries] */
    const unsigned char *codes; /* [entries], or NULL */
    const float *levels;        /* [TALLY_LEVELS], by code */
    const float *values;        /* [entries], where there are no codes */
    size_t entries;             /* bridges too */
};

/* The same by columns (inputs): entries start[j] .. start[j + 1] - 1 belong to input j. TALLY_SPARE more are there. */
struct tally_entry {
    uint32_t row;
    float value;
};

struct tally_columns {
    const uint32_t *start;
    const struct tally_entry *entries;
};

struct tally_linear {
    size_t in, out, nonzero;
    const float *bias; /* [out rounded up to whole panels], zeros where the layer has none */
    struct tally_rows rows;
    struct tally_columns columns;
    const float
        *panels; /* dense: [out / TALLY_PANEL][in][TALLY_PANEL], zeros beyond out; NULL where not needed */
    int dense_one, dense_many;
};

struct tally_step {
    enum format_kind kind;
    size_t in, out;
    float scale, shift; /* affine */
    struct tally_linear *linear;
};

struct tally_kernels {
    const char *name;
    /* y = weight · x + bias for one sample; x [in], y [out rounded up to whole panels]. */
    void (*sparse_one)(float *y, const struct tally_linear *l, const float *x);
    void (*dense_one)(float *y, const struct tally_linear *l, const float *x);
    /* For `lanes` samples, 16, 32 or 64: x [in][lanes], y [out][lanes]. */
    void (*sparse_many)(float *y, const struct tally_linear *l, const float *x, size_t lanes);
    void (*dense_many)(float *y, const struct tally_linear *l, const float *x, size_t lanes);
    /* x [lanes][features] to feature-major y [features][lanes]; only `count` samples are there, the others become 0. */
    void (*to_lanes)(float *y, const float *x, size_t features, size_t count, size_t lanes);
    /* The way back for the `count` samples: x [features][lanes] to y [count][features]. */
    void (*from_lanes)(float *y, const float *x, size_t features, size_t count, size_t lanes);
};

/* Those of the sets that have AVX2. */
void tally_to_lanes_avx2(float *y, const float *x, size_t features, size_t count, size_t lanes);
void tally_from_lanes_avx2(float *y, const float *x, size_t features, size_t count, size_t lanes);

/* The best for this processor, or plain C. */
const struct tally_kernels *tally_kernels_choose(int portable);
const struct tally_kernels *tally_kernels_c(void);
const struct tally_kernels *tally_kernels_avx2(void); /* NULL where the compiler can't make them */
const struct tally_kernels *tally_kernels_avx512(void);

struct tally_block; /* of memory; a list, so that all can be released */

struct tally_model {
    struct tally_options options;
    size_t used;        /* bytes allocated */
    size_t ranged_left; /* numbers that may still be decoded, see format.h */
    clock_t measured;   /* spent on choosing kernels */
    struct tally_block *blocks;
    const struct tally_kernels *kernels;
    size_t rank, dim[4];
    size_t inputs, outputs, widest; /* numbers per sample; widest: of any layer, with whole panels */
    size_t step_count;
    struct tally_step *steps;
    struct tally_error *error; /* while loading */
};

/* Fills model->error (when it is not NULL) and returns `status`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
int tally_fail(const struct tally_model *m, int status, const char *format, ...);

/* Memory that lives as long as the model, zeroed; NULL, with the error filled, when over the limit. */
void *tally_take(struct tally_model *m, size_t count, size_t size);
void tally_give_back(struct tally_model *m, const void *memory); /* NULL is fine */

/* Reads a LAYER section into the step's linear: its bias, and its weight by rows. `width` is that of the image a row is,
 * or 0; `where` names the layer in messages. */
int tally_layer_read(struct tally_model *m, struct tally_linear *l, struct tally_cursor *c, int with_bias,
                     size_t width, const char *where);

/* Makes the forms that the kernel wants: columns, panels; measures where the choice is open. */
int tally_layer_build(struct tally_model *m, struct tally_linear *l);

/* A walk over a weight's rows. */
struct tally_walk {
    const struct tally_rows *rows;
    size_t row, left, entry, column;
};

struct tally_walk tally_walk_open(const struct tally_rows *rows);

/* Entries of the next row; then tally_walk_next that many times. */
size_t tally_walk_row(struct tally_walk *w);

/* The next entry's value; its column is in w->column. */
float tally_walk_next(struct tally_walk *w);

/* Rows that are built in memory, weight by weight in rising order. */
struct tally_builder {
    unsigned char *counts, *steps;
    float *values;
    int wide;
    size_t entries, row, row_start, column;
};

/* Room for a weight with `nonzero` numbers that are not zero. */
int tally_builder_open(struct tally_builder *b, struct tally_model *m, size_t rows, size_t columns,
                       size_t nonzero);
void tally_builder_add(struct tally_builder *b, size_t column, float value);
void tally_builder_end_row(struct tally_builder *b);
struct tally_rows tally_builder_rows(const struct tally_builder *b);

#endif
