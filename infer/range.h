/* The RANGED coding: a binary arithmetic coder with an adaptive model of where weights are and what they are.
 *
 * Coder: an interval [low, high] of 32-bit numbers is split in proportion to a probability of 16 bits; leading bytes that
 * both ends share go out, most significant first; four bytes of `low` end the stream. (Witten, Neal and Cleary 1987,
 * "Arithmetic coding for data compression".)
 *
 * Model: each weight is first a bit, zero or not. Four estimates of its probability, each an adaptive frequency under
 * another context (how alive its column is, its row, its neighbours, its columns' neighbours), are mixed in the logistic
 * domain by weights that learn (Mahoney 2005, "Adaptive weighing of context models for lossless data compression"). A
 * layer that reads an image has neighbours above and below too. A survivor's sign and magnitude follow: the magnitude's
 * bit length in unary, then its bits from the top, the first three adaptive.
 *
 * In a stream of version 2 six estimates are mixed. The first two are kept apart by whether the unit that the column reads,
 * a row of the weight before, has weights; the others are how alive the row is within the channel, and column and row
 * together. A magnitude's length has the size of the number before as context, a bias whether its row has weights.
 *
 * All arithmetic is on integers, so every machine decodes the same. Encoder and decoder run one model: tally_code_row
 * reads or writes its row according to the coder's `bit`. */
#ifndef TALLY_INFER_RANGE_H
#define TALLY_INFER_RANGE_H

#include <stddef.h>
#include <stdint.h>

struct tally_coder {
    /* Codes one bit that is 1 with probability p / 65536, 0 < p < 65536. Encoding writes `bit` and returns it; decoding
     * ignores it and returns the bit that was written. */
    int (*bit)(struct tally_coder *coder, int bit, uint32_t p);
    uint32_t low, high;
    uint32_t code;                 /* decoding: the window onto the stream */
    const unsigned char *at, *end; /* decoding */
    int failed;                    /* decoding: the stream ended too early */
    void *context;                 /* the encoder's own */
};

/* How the coder splits its interval; encoder and decoder share it. */
uint32_t tally_coder_split(const struct tally_coder *coder, uint32_t p);

/* A decoder of these bytes. */
struct tally_coder tally_decoder_open(const unsigned char *bytes, size_t size);

/* Whether everything was read, and nothing beyond. */
int tally_decoder_ended(const struct tally_coder *coder);

enum {
    TALLY_LENGTHS = 32,
    TALLY_RATIOS = 48,
    TALLY_MIXED = 6,
    TALLY_NEIGHBOURS = 24,
    TALLY_LOGISTIC = 4096,
    TALLY_HINTS = 3,
    TALLY_LASTS = 4
};

/* An adaptive probability: p / 2^24 that a bit is 1, from n bits seen. */
struct tally_cell {
    int32_t p, n;
};

/* For numbers: sign, bit length, bits. */
struct tally_number_model {
    struct tally_cell sign[9], length[TALLY_LASTS][TALLY_LENGTHS], bits[TALLY_LENGTHS][8];
    int last; /* context of a length */
};

/* What is known of a matrix before it is coded. */
struct tally_matrix {
    size_t rows, columns, nonzero;
    size_t width; /* of the image that a row is, or 0 */
    int floats;   /* the rows are the bits of floats */
    int extended; /* the model of a STREAM, which also uses what follows */
    size_t plane; /* columns of a channel, or 0 */
    const unsigned char
        *before; /* [columns / per] whether the unit that a column reads has weights; NULL: not known */
    size_t per;
};

struct tally_matrix_model {
    struct tally_matrix of;
    size_t row; /* next */
    uint64_t total;
    uint32_t *alive;           /* [columns], the caller's, zeroed: survivors so far */
    uint64_t in_row, in_plane; /* survivors so far */
    int mixed;                 /* estimates in use */
    int32_t weight[TALLY_MIXED];
    int32_t base; /* of the density, logistic */
    struct tally_cell column[TALLY_HINTS][TALLY_RATIOS], line[TALLY_HINTS][TALLY_RATIOS],
        near[TALLY_NEIGHBOURS], around[TALLY_RATIOS], channel[TALLY_HINTS][TALLY_RATIOS], both[64];
    struct tally_number_model number;
    int16_t stretch[TALLY_LOGISTIC]; /* logistic of (i + 1/2) / 4096, in 1/256 */
    uint16_t squash[TALLY_LOGISTIC]; /* its inverse, of (i - 2048) / 256, in 1/65536 */
};

/* Fills before and per: a weight of `columns` columns behind one whose rows are alive or not, NULL where there is none. */
void tally_matrix_link(struct tally_matrix *of, size_t columns, const unsigned char *alive, size_t count);

/* A model for a matrix. `alive` is the caller's memory for `columns` numbers. */
void tally_matrix_open(struct tally_matrix_model *m, const struct tally_matrix *of, uint32_t *alive);

/* Codes the next row: counters (or bits of floats), 0 for dead ones. */
void tally_code_row(struct tally_matrix_model *m, struct tally_coder *coder, int32_t *row);

/* Codes `count` numbers most of which are not zero, as biases are. `alive` says of each whether its row of the weight has
 * any; NULL: not known. */
void tally_code_numbers(struct tally_coder *coder, int32_t *numbers, size_t count, int floats,
                        const unsigned char *alive);

#endif
