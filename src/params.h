// All trainable numbers: values, gradients and, where an optimiser counts, integer counters.
//
// One block holds every value, one block per shard every gradient. A parameter with a number system is its
// counters; its float values are a cache of scale · f(counter) for the matrix products, kept equal at all
// times.
#ifndef TALLY_SRC_PARAMS_H
#define TALLY_SRC_PARAMS_H

#include "src/number.h"
#include "src/rng.h"
#include "src/shape.h"

enum { PARAM_NAME = 48 };

struct param {
    char name[PARAM_NAME]; // "linear1.weight"
    struct shape shape;
    size_t size, offset; // offset into the blocks
    double bound;        // initial values: uniform in -bound .. bound; 0: all `initial`
    double initial;
    real *value;

    bool counted;         // the counter is the truth
    struct number number; // valid when counted, like scale and counter
    double scale;
    void *counter; // int8_t, int16_t or int32_t [size], by number_bytes

    uint8_t *alive; // [size], 0: frozen at zero; NULL until the freeze
};

struct params {
    struct param *list;
    int count;
    size_t size; // numbers in all parameters together
    int shards;
    real *values;
    real **grads; // [shards][size]; after params_reduce, grads[0] is the sum
};

struct params *params_new(void);
void params_free(struct params *ps);

// Adds a parameter and returns its index. Values are uniform in -bound .. bound, or `initial` when bound is
// 0.
int params_add(struct params *ps, const char *name, struct shape shape, double bound, double initial);

// After the last params_add: makes the blocks and draws the initial values (each parameter from a stream of
// its own name, so that adding one does not change the others).
void params_alloc(struct params *ps, int shards, uint64_t seed);

real *params_grad(const struct params *ps, int shard, int param);

// Zeroes the shard's gradients.
void params_zero_grad(struct params *ps, int shard);

// Adds the gradients of all shards into grads[0], in shard order: the same bits for any number of threads.
void params_reduce(struct params *ps, int threads);

// Weights are the parameters of rank >= 2; biases and the like are the others.
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

size_t param_nonzero(const struct param *p);

// Whether every value of every parameter is a finite number.
bool params_finite(const struct params *ps);

#endif
