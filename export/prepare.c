// Making a network ready to run. Contract of net_prepare in net.h.
//
// Normalisation: with x = (p - mean) / std and p = pixel / 255, a linear layer's w·x + b is (w / std)·p + (b - mean / std · Σ w).
// The products then skip black pixels, of which most images are made.
//
// A unit is one output of a linear layer that one more linear layer reads, with only activations between. Dead ones:
//   nothing reads it     its inputs and bias are zeroed
//   it has no inputs     it is the constant f(bias), f the activations; the next bias takes w·f(bias), and w is zeroed
// Each may make others dead, so both are repeated until nothing changes.
#include <math.h>
#include <string.h>

#include "export/net.h"

static void bias_ensure(struct net_layer *l) {
    struct net_tensor *b = &l->bias;
    if (b->shape.rank) {
        mem_free(b->counter);
        b->counter = NULL;
        b->counted = false;
        b->scale = 1;
        return;
    }
    b->shape = shape_1(net_rows(&l->weight));
    b->size = shape_size(b->shape);
    b->value = mem_new(b->size, sizeof *b->value);
    b->scale = 1;
}

static void normalisation_into_linear(struct net_layer *l, double mean, double std) {
    struct net_tensor *w = &l->weight;
    bias_ensure(l);
    int rows = net_rows(w), columns = net_columns(w);
    for (int i = 0; i < rows; i++) {
        double sum = 0;
        for (int j = 0; j < columns; j++) sum += (double)w->value[(size_t)i * (size_t)columns + (size_t)j];
        l->bias.value[i] = (float)((double)l->bias.value[i] - mean / std * sum);
    }
    if (w->counted) w->scale /= std;
    for (size_t i = 0; i < w->size && !w->counted; i++) w->value[i] = (float)((double)w->value[i] / std);
    net_refresh(l);
}

static void normalisation_fold(struct net *n) {
    if (n->mean == 0 && n->std == 1) return;
    int first = 0;
    while (first < n->count && n->layers[first].kind == NET_FLATTEN) first++;
    if (first < n->count && n->layers[first].kind == NET_LINEAR) {
        normalisation_into_linear(&n->layers[first], n->mean, n->std);
    } else {
        memmove(n->layers + 1, n->layers, (size_t)n->count * sizeof *n->layers);
        n->count++;
        for (int i = 1; i < n->count; i++)
            for (int k = 0; k < NET_INPUTS; k++)
                if (n->layers[i].input[k] >= NET_SAMPLE) n->layers[i].input[k]++;
        n->layers[0] = (struct net_layer){.kind = NET_AFFINE,
                                          .name = "normalise",
                                          .input = {NET_SAMPLE, NET_NONE},
                                          .groups = 1,
                                          .in = n->in,
                                          .out = n->in,
                                          .scale = (double)(float)(1 / n->std),
                                          .shift = (double)(float)(-n->mean / n->std)};
    }
    n->mean = 0;
    n->std = 1;
}

static void weight_zero(struct net_tensor *t, size_t i) {
    t->value[i] = 0;
    if (t->counted) t->counter[i] = 0;
}

// Whether there is a weight in the row (or column) of a matrix.
static bool row_lives(const struct net_tensor *w, int row) {
    size_t columns = (size_t)net_columns(w);
    for (size_t j = 0; j < columns; j++)
        if (w->value[(size_t)row * columns + j] != 0) return true;
    return false;
}

static bool column_lives(const struct net_tensor *w, int column) {
    size_t columns = (size_t)net_columns(w);
    for (int i = 0; i < net_rows(w); i++)
        if (w->value[(size_t)i * columns + (size_t)column] != 0) return true;
    return false;
}

// Weights and bias of a unit that nothing reads. Whether there was anything.
static bool unit_silence(struct net_layer *l, int unit) {
    bool changed = l->bias.value[unit] != 0;
    l->bias.value[unit] = 0;
    size_t columns = (size_t)net_columns(&l->weight), first = (size_t)unit * columns;
    for (size_t i = first; i < first + columns; i++) {
        changed |= l->weight.value[i] != 0;
        weight_zero(&l->weight, i);
    }
    return changed;
}

// The constant unit of `n->layers[from]` goes into the bias of `to`.
static void unit_absorb(struct net *n, int from, int to, int unit) {
    double constant = (double)n->layers[from].bias.value[unit];
    for (int i = from + 1; i < to; i++) constant = net_activation(&n->layers[i], constant);
    struct net_layer *next = &n->layers[to];
    size_t columns = (size_t)net_columns(&next->weight);
    for (int i = 0; i < net_rows(&next->weight); i++) {
        size_t at = (size_t)i * columns + (size_t)unit;
        double product = (double)next->weight.value[at] * constant;
        next->bias.value[i] = (float)((double)next->bias.value[i] + product);
        weight_zero(&next->weight, at);
    }
}

// The linear layer that reads this one's units, with only what acts on each element alone between; -1: none.
static int reader_of(const struct net *n, int from) {
    for (int i = from, next; net_readers(n, i, &next) == 1; i = next) {
        if (n->layers[next].kind == NET_LINEAR) return next;
        if (!net_is_activation(n->layers[next].kind) && n->layers[next].kind != NET_FLATTEN) return -1;
    }
    return -1;
}

static bool dead_units_remove(struct net *n, int from, int to) {
    bool changed = false;
    struct net_layer *l = &n->layers[from];
    for (int unit = 0; unit < net_rows(&l->weight); unit++) {
        if (!column_lives(&n->layers[to].weight, unit)) {
            changed |= unit_silence(l, unit);
        } else if (!row_lives(&l->weight, unit)) {
            unit_absorb(n, from, to, unit);
            changed = true;
        }
    }
    return changed;
}

void net_prepare(struct net *n) {
    normalisation_fold(n);
    for (int i = 0; i < n->count; i++)
        if (n->layers[i].kind == NET_LINEAR) bias_ensure(&n->layers[i]);
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < n->count; i++) {
            int to = n->layers[i].kind == NET_LINEAR ? reader_of(n, i) : -1;
            if (to >= 0) changed |= dead_units_remove(n, i, to);
        }
    }
}
