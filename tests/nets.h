// Nets made by hand, layer by layer, with random weights: what tests export and run.
#ifndef TALLY_TESTS_NETS_H
#define TALLY_TESTS_NETS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "export/net.h"
#include "src/rng.h"

enum { NETS_LAYERS = 24 };

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

static inline struct net_layer *nets_conv2d(struct net *n, int out, const struct window *window, int groups,
                                            const struct nets_weights *w, uint64_t seed) {
    struct net_layer *l = nets_add(n, NET_CONV2D);
    struct rng r = rng_stream(seed, "nets");
    l->window = *window;
    l->groups = groups;
    l->out.dim[0] = out;
    for (int k = 0; k < 2; k++) l->out.dim[1 + k] = window_count(window, k, l->in.dim[1 + k]);
    nets_fill(&l->weight, (struct shape){4, {out, l->in.dim[0] / groups, window->size[0], window->size[1]}},
              w, &r);
    return l;
}

static inline struct net_layer *nets_pool(struct net *n, enum net_kind kind, const struct window *window) {
    struct net_layer *l = nets_add(n, kind);
    l->window = *window;
    for (int k = 0; k < 2; k++) l->out.dim[1 + k] = window_count(window, k, l->in.dim[1 + k]);
    return l;
}

// Joins the results of layers a and b.
static inline struct net_layer *nets_join(struct net *n, enum net_kind kind, int a, int b) {
    struct net_layer *l = nets_add(n, kind);
    l->input[0] = a;
    l->input[1] = b;
    l->in = l->out = n->layers[a].out;
    if (kind == NET_CONCAT) l->out.dim[0] += n->layers[b].out.dim[0];
    return l;
}

// Numbers between 1/4 and 5/4.
static inline void nets_floats(struct net_tensor *t, int count, uint64_t seed) {
    struct rng r = rng_stream(seed, "floats");
    net_tensor_alloc(t, shape_1(count), false);
    for (int i = 0; i < count; i++) t->value[i] = (float)(rng_uniform(&r) + 0.25);
}

// A net that only version 2 of the native file holds: every kind of layer that version 1 has not, but embeddings.
static inline struct net *nets_every_new(void) {
    const struct nets_weights counted = {NUMBER_SQUARE, 100, 0.5, BIAS_COUNTERS},
                              floats = {NUMBER_KINDS, 0, 0.5, BIAS_NONE};
    const struct window three = {{3, 2}, {1, 1}, {1, 1}, {1, 1}}, one = {{1, 1}, {1, 1}, {0, 0}, {1, 1}},
                        two = {{2, 2}, {2, 2}, {1, 0}, {1, 1}}, six = {{3, 2}, {2, 2}, {1, 0}, {1, 1}};
    struct net *n = nets_new(shape_3(2, 5, 4));
    struct net_layer *l = nets_add(n, NET_BATCH_NORM);
    nets_floats(&l->factor, 2, 1);
    nets_floats(&l->bias, 2, 2);
    l = nets_conv2d(n, 4, &three, 2, &counted, 3);
    nets_floats(&l->factor, 4, 4);
    nets_floats(&l->bias, 4, 5);
    net_refresh(l);
    nets_add(n, NET_LEAKY_RELU)->slope = 0.25;
    nets_conv2d(n, 4, &one, 1, &floats, 6);
    nets_join(n, NET_ADD, 3, 2);
    l = nets_add(n, NET_K_WINNERS);
    l->k = 2;
    l->local = true;
    nets_floats(&l->factor, 4, 7);
    nets_pool(n, NET_MAX_POOL2D, &two);
    nets_pool(n, NET_AVG_POOL2D, &six);
    l = &n->layers[7];
    l->input[0] = 5;
    l->in = n->layers[5].out;
    l->out = n->layers[6].out;
    nets_join(n, NET_CONCAT, 6, 7);
    nets_add(n, NET_SILU);
    l = nets_add(n, NET_LAYER_NORM);
    l->eps = 0.0625;
    nets_floats(&l->factor, 2, 8);
    nets_floats(&l->bias, 2, 9);
    l = nets_add(n, NET_POSITIONAL_EMBEDDING);
    struct rng r = rng_stream(10, "nets");
    nets_fill(&l->weight, shape_2(24, 2), &counted, &r);
    nets_add(n, NET_GLOBAL_AVG_POOL2D)->out = shape_1(8);
    l = nets_add(n, NET_RMS_NORM);
    l->eps = 0.0625;
    nets_floats(&l->factor, 8, 11);
    nets_linear(n, 6, &counted, 12);
    nets_add(n, NET_SOFTMAX);
    return n;
}

static inline void nets_gate(struct net_layer *l, int gate, int unit) {
    l->gated = true;
    l->gate = gate;
    l->unit = unit;
}

// Experts 0 and 2 of three, of which one is chosen, and a select of 2 blocks out of 3 of their sum.
static inline struct net *nets_choosing_new(void) {
    const struct nets_weights w = {NUMBER_SQUARE, 100, 0.5, BIAS_COUNTERS};
    struct net *n = nets_new(shape_1(6));
    nets_linear(n, 3, &w, 1);
    nets_add(n, NET_SOFTMAX);
    nets_add(n, NET_K_WINNERS)->k = 1;
    for (int unit = 0; unit <= 2; unit += 2) {
        int first = n->count, sum = unit ? first - 1 : NET_NONE;
        n->layers[first - 1].out = shape_1(6); // what the linear layer reads
        struct net_layer *l = nets_linear(n, 4, &w, 2 + (uint64_t)unit);
        n->layers[first - 1].out = shape_1(unit ? 4 : 3);
        l->input[0] = NET_SAMPLE;
        nets_gate(l, 2, unit);
        if (unit == 0) nets_gate(nets_add(n, NET_RELU), 2, unit);
        l = nets_add(n, NET_MIX);
        l->input[1] = sum;
        nets_gate(l, 2, unit);
    }
    nets_linear(n, 3, &w, 6);
    struct net_layer *l = nets_add(n, NET_SELECT);
    struct rng r = rng_stream(7, "nets");
    l->input[0] = n->count - 3;
    l->input[1] = n->count - 2;
    l->in = shape_1(4);
    l->out = shape_1(5);
    l->k = l->block = 2;
    nets_fill(&l->weight, shape_2(5, 4), &w, &r);
    nets_floats(&l->bias, 5, 8);
    return n;
}

// Words to vectors, and a linear layer that acts on each.
static inline struct net *nets_words_new(void) {
    const struct nets_weights w = {NUMBER_SQUARE, 100, 0.5, BIAS_COUNTERS};
    struct net *n = nets_new(shape_1(3));
    struct net_layer *l = nets_add(n, NET_EMBEDDING);
    struct rng r = rng_stream(1, "nets");
    nets_fill(&l->weight, shape_2(7, 4), &w, &r);
    l->out = shape_2(3, 4);
    l = nets_add(n, NET_LINEAR);
    nets_fill(&l->weight, shape_2(2, 4), &w, &r);
    l->out = shape_2(3, 2);
    nets_add(n, NET_FLATTEN);
    return n;
}

enum { NETS_SECOND = 3 };

static const char *const nets_second_names[NETS_SECOND] = {"every", "words", "choosing"};

// Those that want version 2 of the native file.
static inline struct net *nets_second_new(int i) {
    return i == 0 ? nets_every_new() : i == 1 ? nets_words_new() : nets_choosing_new();
}

#endif
