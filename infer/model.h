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
    TALLY_SLACK = 16, /* numbers behind a result that may be read */
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
    int built;                  /* counts, steps and values are the model's memory, not the file's */
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

/* A weight of a conv2d: of output o the products start[o] .. start[o + 1] - 1, of a value and the number that lies `at` behind
 * the window's first in the padded images. */
struct tally_tap {
    uint32_t at;
    float value;
};

struct tally_conv {
    size_t out, down, across; /* channels and size of the result */
    size_t row, plane;        /* numbers of a row and of a plane of the padded images */
    size_t stride[2];
    size_t nonzero;
    const float *bias; /* [out] */
    const uint32_t *start;
    const struct tally_tap *taps;
};

struct tally_shape {
    size_t rank, dim[4];
    size_t width, plane; /* of the images that flattened ones were, or 0 */
};

struct tally_step {
    enum format_kind kind;
    unsigned form;             /* FORMAT_HAS_... */
    uint32_t input[2], inputs; /* results: 0 the sample, i + 1 that of step i; how many it has */
    int gated;                 /* it has a gate: a result, and a number of it */
    uint32_t gate, unit;
    struct tally_shape from, shape; /* of input[0] and of the result */
    size_t in, out;                 /* numbers of these */
    float scale, shift;             /* affine; leaky_relu: its slope; norms: eps */
    uint32_t size[2], stride[2], padding[2], dilation[2], groups, k, block;
    size_t rows, columns; /* of the weight; 0 where there is none */
    size_t nonzero;
    size_t width, plane; /* of the images that a row of it is, or 0: for the range coder */
    struct tally_linear *linear;
    struct tally_conv *conv;
    const struct tally_columns *lookup; /* embedding, select: by rows */
    const float *table;                 /* positional_embedding [in] */
    const float *bias, *factor;
    size_t at,
        work;     /* of its result, and of memory while it runs, in numbers from the begin of the scratch */
    int in_place; /* its result lies where input[0]'s did; a mix's of two inputs where input[1]'s did */
};

struct tally_kernels {
    const char *name;
    /* y = weight · x + bias for one sample; x [in], y [out rounded up to whole panels]. */
    void (*sparse_one)(float *y, const struct tally_linear *l, const float *x);
    void (*dense_one)(float *y, const struct tally_linear *l, const float *x);
    /* For `lanes` samples, 16, 32 or 64: x [in][lanes], y [out][lanes]. */
    void (*sparse_many)(float *y, const struct tally_linear *l, const float *x, size_t lanes);
    void (*dense_many)(float *y, const struct tally_linear *l, const float *x, size_t lanes);
    /* Of padded images x [channels][row][...], y [out][down][across]; TALLY_SLACK numbers behind x may be read. `plane`
     * [l->plane + TALLY_SLACK] is written to. */
    void (*conv_one)(float *y, const struct tally_conv *l, const float *x, float *plane);
    void (*conv_many)(float *y, const struct tally_conv *l, const float *x, size_t lanes);
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
    unsigned version;
    struct tally_shape shape; /* of a sample */
    size_t inputs, outputs;   /* numbers per sample */
    size_t room, result;      /* numbers of scratch per sample, and where in it the outputs are */
    size_t step_count;
    struct tally_step *steps;
    int chooses;               /* some steps have a gate or select rows, sample by sample */
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

/* Reads the program: fills shape, inputs, outputs, and the steps without their tensors. */
int tally_program_read(struct tally_model *m, struct tally_cursor c);

/* Where results lie in the scratch, so that each stays until its last reader is done: fills `at`, `work`, `in_place`, room. */
int tally_plan_make(struct tally_model *m);

/* Reads the tensors of all steps from their sections, or the one that is a stream; sections[0] is the program. */
int tally_tensors_read(struct tally_model *m, const struct tally_cursor *sections, size_t count, int stream);

/* Makes of a weight, given by rows, what the step keeps of it; s->bias is there. */
int tally_step_build(struct tally_model *m, struct tally_step *s, const struct tally_rows *rows,
                     size_t nonzero);
void tally_rows_give_back(struct tally_model *m, const struct tally_rows *rows);

/* The step without weights or sums: x and b its inputs, y its result, x itself where it works in place. */
void tally_step_apply(const struct tally_step *s, float *y, const float *x, const float *b, size_t lanes);

/* k_winners. */
void tally_winners_apply(const struct tally_step *s, float *y, const float *x, size_t lanes);

/* Steps that choose by sample, of which one runs at a time (choose.c). A mix of one input has no b. */
void tally_select_apply(const struct tally_step *s, float *y, const float *x, const float *score);
void tally_mix_apply(const struct tally_step *s, float *y, const float *x, const float *b, float gate);

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
