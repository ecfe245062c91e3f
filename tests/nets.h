// Nets made by hand, layer by layer, with random weights: what tests export and run.
#ifndef TALLY_TESTS_NETS_H
#define TALLY_TESTS_NETS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "export/net.h"
#include "src/rng.h"

enum { NETS_LAYERS = 16 };

enum nets_bias { BIAS_NONE, BIAS_FLOATS, BIAS_COUNTERS };

// The weights of a linear layer.
struct nets_weights {
    enum number_kind kind; // NUMBER_KINDS: floats
    int32_t limit;         // the largest counter; it occurs
    double density;        // of weights, about
    enum nets_bias bias;
};

static inline struct net *nets_new(struct shape in) {
    struct net *n = mem_new(1, sizeof *n);
    snprintf(n->name, sizeof n->name, "by hand");
    n->in = in;
    n->std = 1;
    n->layers = mem_new(NETS_LAYERS, sizeof *n->layers);
    return n;
}

// Any layer but a linear one; of an affine, scale and shift are set afterwards.
static inline struct net_layer *nets_add(struct net *n, enum net_kind kind) {
    CHECK(n->count < NETS_LAYERS, "nets: more than %d layers", NETS_LAYERS);
    struct net_layer *l = &n->layers[n->count];
    l->kind = kind;
    l->input[0] = n->count - 1; // the layer before, or NET_SAMPLE
    l->input[1] = NET_NONE;
    l->groups = 1;
    l->in = n->count ? n->layers[n->count - 1].out : n->in;
    l->out = kind == NET_FLATTEN ? shape_1((int)shape_size(l->in)) : l->in;
    snprintf(l->name, sizeof l->name, "%s%d", net_kind_name(kind), ++n->count);
    return l;
}

// Counters or floats that nets_linear drew, to values; the largest is 1/2.
static inline void nets_refresh(struct net_tensor *t, int32_t limit) {
    const struct number *f = &t->number;
    t->scale = 1;
    if (t->counted) t->scale = 0.5 / fmax(number_value(f, limit), number_value(f, 1));
    for (size_t i = 0; i < t->size && t->counted; i++)
        t->value[i] = (float)(t->scale * number_value(f, t->counter[i]));
}

static inline void nets_fill(struct net_tensor *t, struct shape shape, const struct nets_weights *w,
                             struct rng *r) {
    int32_t limit = w->limit < 1 ? 1 : w->limit;
    t->shape = shape;
    t->size = shape_size(shape);
    t->value = mem_new(t->size, sizeof *t->value);
    t->counted = w->kind != NUMBER_KINDS;
    if (t->counted) {
        t->number = number_make(w->kind, limit < 128 ? 8 : limit < 32768 ? 16 : 32, 0, 0);
        t->counter = mem_new(t->size, sizeof *t->counter);
    }
    bool first = true;
    for (size_t i = 0; i < t->size; i++) {
        if (rng_uniform(r) >= w->density) continue;
        int32_t magnitude = first ? limit : 1 + (int32_t)rng_below(r, (uint32_t)limit);
        double sign = rng_below(r, 2) ? 1 : -1;
        if (t->counted)
            t->counter[i] = (int32_t)sign * magnitude;
        else
            t->value[i] = (float)(sign * (rng_uniform(r) / 2 + 1e-3));
        first = false;
    }
    nets_refresh(t, limit);
}

static inline struct net_layer *nets_linear(struct net *n, int out, const struct nets_weights *w,
                                            uint64_t seed) {
    struct net_layer *l = nets_add(n, NET_LINEAR);
    struct rng r = rng_stream(seed, "nets");
    l->out = shape_1(out);
    nets_fill(&l->weight, shape_2(out, (int)shape_size(l->in)), w, &r);
    const struct nets_weights bias = {w->bias == BIAS_COUNTERS ? NUMBER_LINEAR : NUMBER_KINDS, 127, 0.9,
                                      BIAS_NONE};
    if (w->bias != BIAS_NONE) nets_fill(&l->bias, shape_1(out), &bias, &r);
    return l;
}

#endif
