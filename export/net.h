// What leaves Tally: a trained model as the formats see it, a list of layers with their weights and without anything
// that is only for training. Two forms:
//
//   as trained      weights and counters as they are in the checkpoint; samples are normalised before the first layer
//   ready to run    pixels go in as value / 255: the normalisation is folded into the first linear layer, and units that
//                   can't matter are gone (net_prepare)
#ifndef TALLY_EXPORT_NET_H
#define TALLY_EXPORT_NET_H

#include "layers/model.h"
#include "src/params.h"

enum net_kind {
    NET_FLATTEN,
    NET_LINEAR,
    NET_AFFINE,
    NET_RELU,
    NET_GELU,
    NET_TANH,
    NET_SIGMOID,
    NET_SOFTMAX,
    NET_KINDS
};

// A weight (out, in) or a bias (out). value[i] is (float)(scale · f(counter[i])) where there are counters.
struct net_tensor {
    struct shape shape; // rank 0: the layer has none
    size_t size;
    bool counted;
    struct number number; // when counted, like scale and counter
    double scale;
    int32_t *counter; // [size]
    float *value;     // [size]
};

struct net_layer {
    enum net_kind kind;
    char name[PARAM_NAME]; // "linear1", as in the model
    struct shape in, out;  // of one sample
    struct net_tensor weight, bias;
    double scale, shift; // NET_AFFINE: y = scale · x + shift
};

struct net {
    char name[104]; // of the run
    struct shape in;
    double mean, std; // the first layer wants (pixel / 255 - mean) / std; 0 and 1 once it is folded
    struct net_layer *layers;
    int count;
};

// The model as trained. `mean` and `std` are how its samples were normalised. NULL when a layer can't leave. net_free it.
struct net *net_new(const char *name, const struct model *m, const struct params *ps, double mean, double std,
                    struct err *e);
void net_free(struct net *n);

struct net *net_copy_new(const struct net *n);

// Appends a softmax.
void net_add_softmax(struct net *n);

// Weights' counters of `bits` (2 .. 16, the sign included): c becomes round(c / max · (2^(bits-1) - 1)), and a survivor stays
// one; scale or parameter of the number system change so that the largest keeps its value. Float weights become linear
// counters. A tensor whose counters fit already stays as it is.
void net_requantise(struct net *n, int bits);

// Ready to run. Folds the normalisation into the first linear layer (an affine layer in front where that is not the first
// that computes); takes out what can't matter: weights of units that nothing reads, and units without inputs, whose constant
// goes into the next bias.
void net_prepare(struct net *n);

// Biases become linear counters of 8 bits; after net_prepare, which makes them float.
void net_requantise_biases(struct net *n);

const char *net_kind_name(enum net_kind kind);

// Rows (outputs) and columns (inputs per output) of a weight.
int net_rows(const struct net_tensor *t);
int net_columns(const struct net_tensor *t);

size_t net_nonzero(const struct net_tensor *t);

// What an elementwise layer (affine, relu, gelu, tanh, sigmoid) makes of one number.
double net_activation(const struct net_layer *l, double x);

// One sample x [in] to y [out], the plain way: for each output, bias first, then the inputs in their order, in float. What
// fast kernels and generated code are compared with.
void net_forward(const struct net *n, const float *x, float *y);

#endif
