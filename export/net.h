// What leaves Tally: a trained model as the formats see it, a list of layers with their weights and without anything
// that is only for training. Two forms:
//
//   as trained      weights and counters as they are in the checkpoint; samples are normalised before the first layer
//   ready to run    pixels go in as value / 255: the normalisation is folded into the first layer with weights where that
//                   is exact, batch norms into the layers before them, and units that can't matter are gone (net_prepare)
//
// Each layer makes one result and names the results that it reads, always of layers before it. A residual block or a concat
// of the model becomes its inner layers and then an ADD or CONCAT of two results.
//
// A layer may have a gate: one number of an earlier result. Where that is 0 for a sample, nothing is computed, and nobody
// reads what would have been. So experts become the router's scores, of which K_WINNERS leaves the chosen ones, then each
// expert's layers behind its gate, and after each a MIX that adds what the expert made to the sum so far.
#ifndef TALLY_EXPORT_NET_H
#define TALLY_EXPORT_NET_H

#include "layers/model.h"
#include "src/params.h"

// What a layer computes, for one sample, in float unless it says otherwise. C is the first dimension of the sample, D the
// last.
enum net_kind {
    NET_FLATTEN,    // (size), the same numbers
    NET_LINEAR,     // weight · x + bias over D; weight (out, D)
    NET_AFFINE,     // scale · x + shift, in double
    NET_RELU,       //
    NET_GELU,       //
    NET_TANH,       //
    NET_SIGMOID,    //
    NET_SOFTMAX,    // over D
    NET_LEAKY_RELU, // slope · x below 0
    NET_SILU,       //
    NET_CONV2D,     // weight (out, C / groups, kh, kw); what lies outside the image is left out of the sum
    NET_MAX_POOL2D, // what lies outside does not count
    NET_AVG_POOL2D, // the sum times (float)(1 / count); what lies outside counts where count_pad
    NET_GLOBAL_AVG_POOL2D, // (C, height, width) to (C), the sum in double
    NET_BATCH_NORM,        // factor[c] · x + bias[c] by channel, in double
    NET_K_WINNERS,         // see net_forward
    NET_LAYER_NORM,        // over D, in double, then · factor + bias where there are
    NET_RMS_NORM,          // over D, in double, then · factor where there is
    NET_ADD,               // input[0] + input[1]
    NET_CONCAT,            // input[0], then input[1], along the first dimension
    NET_EMBEDDING, // (T) whole numbers to (T, D), row x of weight (count, D), the first or last where outside
    NET_POSITIONAL_EMBEDDING, // x + weight (T, D)
    NET_SELECT, // linear of the rows whose block is among the k with the largest scores, input[1]; the other rows give 0
    NET_MIX, // input[1] (NET_NONE: 0) + gate · input[0]; input[1] alone where the gate is 0
    NET_KINDS
};

// A weight, its factor or a bias. value[i] is (float)(scale · f(counter[i])) where there are counters; of a weight whose
// layer has a factor, (float)(scale · f(counter[i]) · factor of the row).
struct net_tensor {
    struct shape shape; // rank 0: the layer has none
    size_t size;
    bool counted;
    struct number number; // when counted, like scale and counter
    double scale;
    int32_t *counter; // [size]
    float *value;     // [size]
};

enum { NET_INPUTS = 2, NET_SAMPLE = -1, NET_NONE = -2 };

struct net_layer {
    enum net_kind kind;
    char name[PARAM_NAME]; // "linear1", "residual1.linear1", as in the model
    int input[NET_INPUTS]; // layers whose results it reads; NET_SAMPLE: the sample; NET_NONE behind the last
    bool gated;            // it also reads number `unit` of the result of layer `gate`; always of a mix
    int gate, unit;
    struct shape in, out; // of one sample; in: of input[0]
    struct net_tensor weight, bias;
    struct net_tensor
        factor; // linear, conv2d: of each output, above 0, only with counters; batch_norm, k_winners: of each
                // channel; layer_norm, rms_norm: of D
    double scale, shift;  // affine
    double slope;         // leaky_relu
    double eps;           // layer_norm, rms_norm
    struct window window; // conv2d and pooling
    int groups;           // conv2d
    bool count_pad;       // avg_pool2d
    int k;                // k_winners: so many win ...
    bool local; // ... among the C channels at each place, not of all numbers; select: so many blocks ...
    int block;  // ... of so many neighbouring rows, the last may have fewer
};

struct net {
    char name[104]; // of the run
    struct shape in;
    double mean, std;         // the first layer wants (pixel / 255 - mean) / std; 0 and 1 once it is folded
    struct net_layer *layers; // the last one's result is the net's
    int count;
};

// The model as trained, `epoch` epochs long. `mean` and `std` are how its samples were normalised. NULL when a layer can't
// leave. net_free it.
struct net *net_new(const char *name, const struct model *m, const struct params *ps, double mean, double std,
                    int64_t epoch, struct err *e);
void net_free(struct net *n);

struct net *net_copy_new(const struct net *n);

// Appends a softmax.
void net_add_softmax(struct net *n);

// Weights' counters of `bits` (2 .. 16, the sign included): c becomes round(c / max · (2^(bits-1) - 1)), and a survivor stays
// one; scale or parameter of the number system change so that the largest keeps its value. Float weights become linear
// counters. A tensor whose counters fit already stays as it is.
void net_requantise(struct net *n, int bits);

// Ready to run. Folds the normalisation into the first layer with weights (an affine layer in front where that is not exact)
// and batch norms into the layer before them; takes out what can't matter: weights of units that nothing reads, and units
// without inputs, whose constant goes into the next bias. What exactly is said in prepare.c and dead.c.
void net_prepare(struct net *n);

// Biases become linear counters of 8 bits, factors of linear and conv2d pow2 counters of 8 bits; after net_prepare, which
// makes them float. Scales and parameters of all counters are rounded to float.
void net_requantise_biases(struct net *n);

const char *net_kind_name(enum net_kind kind);

// How many inputs a layer has, 1 or 2, its gate not counted.
int net_inputs(const struct net_layer *l);

// The results that a layer reads, the gate the last of them: where the layer holds number k (from 0); NULL behind the last.
int *net_read(struct net_layer *l, int k);

// How many layers read the result of layer i (NET_SAMPLE: of the sample), one that reads it twice counted twice; *last gets
// the last of them, n->count for the net's result, i where there is none. `last` may be NULL.
int net_readers(const struct net *n, int i, int *last);

// Rows (outputs) and columns (inputs per output) of a weight.
int net_rows(const struct net_tensor *t);
int net_columns(const struct net_tensor *t);

size_t net_nonzero(const struct net_tensor *t);

// Whether the layer changes each element alone (affine, relu, gelu, tanh, sigmoid, leaky_relu, silu), and what it makes of
// one number.
bool net_is_activation(enum net_kind kind);
double net_activation(const struct net_layer *l, double x);

// For layers that see a sample as rows (linear, softmax, norms): the length of a row, and how many the sample has.
int net_row_length(const struct net_layer *l);
int net_row_count(const struct net_layer *l);

// One sample x [in] to y [out], the plain way: for each output, bias first, then the inputs in their order (of a conv2d:
// channel, row, column of its kernel), in float. What fast kernels and generated code are compared with.
//
// k_winners: a number stays where it is among the k largest of x · factor, in float, of its group; among equals the first
// ones; -0 and 0 are equals, and a NaN above or, with its sign, below all. select: blocks likewise.
void net_forward(const struct net *n, const float *x, float *y);

// For the files of this room: memory and values of tensors.
void net_tensor_alloc(struct net_tensor *t, struct shape shape, bool counted);
void net_tensor_free(struct net_tensor *t); // and gone: rank 0
void net_refresh(struct net_layer *l);      // every value from its counter

// x rounded to float. A function, since GCC 12 at -O3 leaves the conversions of two neighbouring (double)(float) out.
double net_as_float(double x);

// The part of net_prepare that takes out dead units; every linear and conv2d layer has a bias of floats.
void net_drop_dead(struct net *n);

#endif
