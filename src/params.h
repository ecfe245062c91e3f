// All trainable numbers: values, gradients and, where an optimiser counts, integer counters.
//
// One block holds every value, one block per shard every gradient. A parameter with a number system is its
// counters; its float values are a cache of scale · f(counter) for the matrix products, kept equal at all
// times.
//
// A buffer is a parameter that no optimiser moves: a running statistic, which follows what the forward pass
// sees.
//
// A lazy parameter is cut into units, such as some rows of a matrix, of which a step uses few. Whoever uses a unit in
// training says so first, by params_touch. Only touched units are zeroed, summed over the shards and stepped; what an
// optimiser owes the others it makes up for when they are touched again, so that laziness changes no number.
//
// A frozen matrix may be packed: its living numbers, values, counters and gradients alike, stand at the front of their
// arrays, in the order of src/sparse.h, and whatever works on it works on these `live` numbers. What is behind them means
// nothing until it is unpacked.
#ifndef TALLY_SRC_PARAMS_H
#define TALLY_SRC_PARAMS_H

#include "src/number.h"
#include "src/rng.h"
#include "src/shape.h"

enum { PARAM_NAME = 96 };

// How a buffer follows the statistic of each step: value = (1 - a) · value + a · statistic.
struct average {
    double momentum; // a, unless period is above 0
    double period; // in samples: a = samples of the step / min(period, samples of the run so far), at most 1
    bool positive; // can't be below 0, whatever a file says
};

struct param {
    char name[PARAM_NAME]; // "linear1.weight"
    struct shape shape;
    size_t size, offset; // offset into the blocks
    double bound;        // initial values: uniform in -bound .. bound; 0: all `initial`
    double initial;
    real *value;

    bool buffer;
    struct average average; // valid for a buffer

    bool counted;         // the counter is the truth
    struct number number; // valid when counted, like scale and counter
    double scale;
    void *counter; // int8_t, int16_t or int32_t [size], by number_bytes

    uint8_t *alive; // [size], 0: frozen at zero; NULL until the freeze

    bool matrix;           // (out, in), read by op_linear alone: may be packed
    struct sparse *sparse; // NULL: not packed

    bool lazy;
    size_t unit;      // numbers of a unit, the last may have fewer; all of them, when not lazy
    int units;        // 1 when not lazy
    uint8_t *touched; // lazy: [shards][units], 1: used in this step; after params_reduce shard 0 has them all
};

struct params {
    struct param *list;
    int count;
    size_t size; // numbers in all parameters together
    int shards;
    real *values;
    real **grads;   // [shards][size]; after params_reduce, grads[0] is the sum
    bool *unset;    // [shards][count]: of this step, the shard's part of the gradient means nothing yet
    int shard_rows; // samples a shard must have for its statistics: set by layers, 0 when none cares
    int tokens;     // the samples must be tokens below this: set by layers, 0 when none cares
    int layers;     // that were built on them, inner ones too: counted by the model, for its limit

    struct piece *pieces; // [piece_count] the blocks again, as portions of work
    int piece_count;

    // An optimiser's, NULL without one: brings a unit up to date. Several threads may ask for the same one.
    void (*wake)(void *waker, int param, int unit);
    void *waker;
};

struct params *params_new(void);
void params_free(struct params *ps);

// Adds a parameter and returns its index. Values are uniform in -bound .. bound, or `initial` when bound is
// 0.
int params_add(struct params *ps, const char *name, struct shape shape, double bound, double initial);

// Adds a buffer of equal initial values and returns its index. In a training step the forward pass adds its
// shard's statistic, summed over the samples, to the shard's part of the gradient block.
int params_add_buffer(struct params *ps, const char *name, struct shape shape, double initial,
                      struct average average);

// Makes the parameter a lazy one with units of `unit` numbers, a multiple of 4 (or all of them, in one unit).
void params_add_units(struct params *ps, int param, size_t unit);

// The parameter is the matrix of an op_linear, and read by nothing else.
void params_add_matrix(struct params *ps, int param);

// After the last params_add: makes the blocks and draws the initial values (each parameter from a stream of
// its own name, so that adding one does not change the others).
void params_alloc(struct params *ps, int shards, uint64_t seed);

real *params_grad(const struct params *ps, int shard, int param);

// The shard is going to read this unit of a lazy parameter, and may add to its gradient.
void params_touch(struct params *ps, int shard, int param, int unit);

// Zeroes the shard's gradients; no unit is touched now.
void params_zero_grad(struct params *ps, int shard);

// The same, but gradients of parameters that are neither lazy nor buffers are left for the step to set: unset, and zeroed
// by params_reduce where the step did not.
void params_unset_grad(struct params *ps, int shard);

// For tape_param: the parameter's flag; NULL: its gradient is always set.
bool *params_unset(const struct params *ps, int shard, int param);

// Adds the gradients of all shards into grads[0], in shard order: the same bits for any number of threads. Returns the first
// parameter of whose gradient a number is not finite, or -1.
int params_reduce(struct params *ps, int threads);

// After params_reduce: moves every buffer towards the mean over the step's samples of what was added to it.
// `seen` counts the run's samples, these included.
void params_update_buffers(struct params *ps, size_t samples, double seen);

// Numbers that an optimiser moves: all but the buffers.
size_t params_trained(const struct params *ps);

// Weights are the parameters of rank >= 2; biases and the like are the others. A buffer is neither.
bool param_is_weight(const struct param *p);

// Turns the values into counters of the number system: scale such that max |w| sits at `unit`, then the
// nearest counter. The values become scale · f(counter).
void param_count(struct param *p, struct number number);

// Gives a parameter uninitialised counters (for loading, and for Madam's own initialisation).
void param_count_alloc(struct param *p, struct number number, double scale);

int32_t param_counter(const struct param *p, size_t i);
void param_set_counter(struct param *p, size_t i, int32_t c); // and its value

// Recomputes every value from its counter.
void param_refresh(struct param *p);

// Marks the weights that are zero now as dead: they stay zero from here on.
void param_freeze(struct param *p);

// Puts the dead among weights first .. end-1 (and their counters) back to zero.
void param_bury(struct param *p, size_t first, size_t end);

// Packs the frozen matrices of at most this density, and back. Gradients are not moved: it is done between steps.
void params_pack(struct params *ps, double density);
void params_unpack(struct params *ps);

// Numbers that are not dead: all before the freeze.
size_t param_live(const struct param *p);

size_t param_nonzero(const struct param *p);

// Whether no weight is alive, by its values: looks no further than to the first that is not 0.
bool param_dead(const struct param *p);

// Counters at their limit, of a counted parameter.
size_t param_saturated(const struct param *p);

// The first parameter with a value that is not finite, or -1.
int params_not_finite(const struct params *ps);

#endif
