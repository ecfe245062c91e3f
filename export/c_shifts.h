// Networks by shifts and additions of 32-bit integers: linear and conv2d layers whose weights are powers of two, relu, flatten
// and, behind a conv2d, max_pool2d.
//
// A weight is scale · sign(c) · 2^((|c|-1)/q), a power of two where q = 1. Else 2^(k + f/q) is taken as the nearest of 2^k,
// 2^k + 2^(k-i) and 2^(k+1) - 2^(k-i), i = 1 .. 6: a weight has one term or two. An integer v stands for the real number sigma · v, one sigma a layer; pixels have
// sigma 1/255. A layer chooses an exponent `least`, and for each output
//
//     sum = bias + Σ ±x · 2^s               s = the term's exponent - least; x << s, or for s < 0 a right shift, rounded half
//                                           up
//     sigma(sum) = sigma(x) · scale · 2^least      bias = round(b / sigma(sum))
//     y = relu(sum), then shifted right by `out_shift`, rounded: sigma(y) = sigma(sum) · 2^out_shift
//
// relu(a · v) = a · relu(v) for a > 0, and a maximum too, so scales need no arithmetic. Bounds of every y (of a conv2d: of
// each channel), whatever the pixels, are carried from layer to layer; `least` is the smallest for which no partial sum can leave -(2^31 - 2) .. 2^31 - 2. A larger out_shift
// rounds the activations, a smaller one makes more weights right shifts of the next layer; a bound on the error of both, and of
// weights that are not quite their terms, is carried along, and of the out_shifts that come within a tenth of the least bound, the one with the fewest right shifts is
// taken.
#ifndef TALLY_EXPORT_C_SHIFTS_H
#define TALLY_EXPORT_C_SHIFTS_H

#include "export/net.h"

// How a term is stored: SHIFT_MINUS for its sign, and s where s >= 0, else SHIFT_RIGHT - 1 - s. SHIFT_ZERO gives 0 for
// every x in range.
enum { SHIFT_MINUS = 128, SHIFT_RIGHT = 32, SHIFT_ZERO = 63, SHIFT_MASK = 63, SHIFT_TERMS = 2 };

// Of every partial sum, so that -v and v + 1 fit too.
enum { SHIFT_LIMIT = INT32_MAX - 1 };

struct shift_layer {
    int layer; // of the net
    int rows, columns;
    bool conv2d, pooled;         // rows are channels of
    struct shape in, out, after; // a sample, the sums and, where it is pooled, what is left
    struct window window, pool;
    int groups;
    bool relu, signed_in; // signed_in: x may be negative
    int least, out_shift;
    double sigma; // of the sum
    double error; // the real sum is at most this far from sigma · sum
    int32_t *bias;
    uint8_t *code;                  // [rows][columns][SHIFT_TERMS], SHIFT_ZERO for terms that aren't there
    uint32_t *place;                // [terms] where in a row's codes they are, row after row
    size_t *first;                  // [rows + 1] of a row's places
    size_t weights, terms, dropped; // weights and terms stored; terms too small to count whatever the pixels
};

struct shifts {
    struct shift_layer *layers;
    int count;
    double sigma, error; // of the outputs
};

// The plan for a net that is ready to run. NULL when it has other layers or weights that are not such powers of two; the
// message says what to train. shifts_free it.
struct shifts *shifts_new(const struct net *n, struct err *e);
void shifts_free(struct shifts *s);

// The arithmetic of the generated code, in 64 bits: a rounded right shift, and x · 2^s of a code, without its sign.
int64_t shift_right(int64_t v, int by);
int64_t shift_by(int64_t x, int code);

// What the generated code computes: y [outputs] from the pixels x [inputs].
void shifts_run(const struct shifts *s, const uint8_t *x, int32_t *y);

#endif
