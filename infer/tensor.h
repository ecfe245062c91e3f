/* Tensors as a file describes them. */
#ifndef TALLY_INFER_TENSOR_H
#define TALLY_INFER_TENSOR_H

#include "infer/model.h"
#include "infer/range.h"

struct tally_tensor {
    enum format_values values;
    enum format_map map;
    enum format_coding coding;
    size_t rows, columns, size, nonzero; /* rows and columns are known before the header */
    double scale, parameter;
    const float *factor; /* [rows] of the numbers of each row, or NULL */
};

/* Of a layer, in the order of the file. */
enum { TALLY_FACTOR, TALLY_WEIGHT, TALLY_BIAS, TALLY_TENSORS };

/* A layer while it is read: the tensors that it has, and memory for those that are no weight. */
struct tally_reading {
    struct tally_step *step;
    struct tally_tensor tensor[TALLY_TENSORS];
    int has[TALLY_TENSORS];
    float *vector[TALLY_TENSORS];
    struct tally_rows rows; /* of the weight */
    unsigned char *alive;   /* whether each row has weights, where a stream wants it */
    char where[32];         /* names the layer in messages */
};

/* What is to be read for step `number`. */
struct tally_reading tally_reading_open(struct tally_step *s, size_t number);

/* Headers of the tensors that it has, in `is_short` form. */
int tally_reading_headers(struct tally_model *m, struct tally_reading *r, struct tally_cursor *c,
                          int is_short);

/* A LAYER section. */
int tally_layer_read(struct tally_model *m, struct tally_reading *r, struct tally_cursor *c);

/* Memory for what is no weight. */
int tally_reading_take(struct tally_model *m, struct tally_reading *r);

/* The rows of the weight before in a stream; none: NULL. */
struct tally_alive {
    unsigned char *rows;
    size_t count;
};

/* All its tensors from a range coder; counts them against m->ranged_left first. `before` in a stream, else NULL; it becomes
 * this layer's. */
int tally_reading_allow(struct tally_model *m, const struct tally_reading *r);
int tally_reading_decode(struct tally_model *m, struct tally_reading *r, struct tally_coder *coder,
                         struct tally_alive *before);

/* What was read goes into the step. */
int tally_reading_close(struct tally_model *m, struct tally_reading *r);

/* The header of a tensor whose rows and columns are filled in. */
int tally_tensor_header(const struct tally_model *m, struct tally_tensor *t, struct tally_cursor *c,
                        int is_short, const char *where);

size_t tally_value_bytes(enum format_values values);

/* The number that a code means. *code gets the counter, or the float's bits: 0 for a dead weight. False where the counter is
 * outside its symmetric range or the number not finite. */
int tally_number_make(float *value, int32_t *code, const struct tally_tensor *t, size_t row, uint32_t bits);
int tally_number_read(float *value, int32_t *code, const struct tally_tensor *t, size_t row,
                      struct tally_cursor *c);

/* The same for what the range decoder gives. */
int tally_number_take(float *value, const struct tally_tensor *t, size_t row, int32_t code);

#endif
