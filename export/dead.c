// Taking out what can't matter. Contract of net_drop_dead in net.h.
//
// A unit is one output of a linear or select layer or one channel of a conv2d. It is looked at where one linear or conv2d layer reads
// it and nothing else does, with only what acts on each element or channel alone between. Dead ones:
//   nothing reads it     its weights and bias are zeroed
//   it has no weights    (but a select) it is the constant f(bias), f what lies between; the next bias takes f(bias) · Σ w over the weights
//                        that read it, and they are zeroed. Behind a padding, where some windows read fewer of them, only
//                        where f(bias) is 0
// Each may make others dead, so both are repeated until nothing changes.
#include "export/net.h"

// Who reads a layer's units.
struct reading {
    int from, to;    // layers; to: -1 where units can't be followed
    size_t per_unit; // numbers of the sample that `to` reads for each unit
};

static bool has_units(const struct net_layer *l) {
    return l->kind == NET_LINEAR || l->kind == NET_CONV2D;
}

static bool keeps_channels(const struct net_layer *l) {
    switch (l->kind) {
    case NET_FLATTEN:
    case NET_BATCH_NORM:
    case NET_MAX_POOL2D:
    case NET_AVG_POOL2D:
    case NET_GLOBAL_AVG_POOL2D:
        return true;
    default:
        return net_is_activation(l->kind);
    }
}

static struct reading reading_of(const struct net *n, int from) {
    struct reading none = {from, -1, 0};
    const struct net_layer *l = &n->layers[from];
    if (!has_units(l) && l->kind != NET_SELECT) return none;
    bool rows = l->kind == NET_LINEAR && l->in.rank > 1; // units are the last dimension, not the first
    for (int i = from, next; net_readers(n, i, &next) == 1; i = next) {
        const struct net_layer *to = &n->layers[next];
        if (has_units(to)) {
            if (to->kind == NET_LINEAR && !rows && to->in.rank > 1) return none;
            size_t inputs = to->kind == NET_LINEAR ? (size_t)net_columns(&to->weight) : shape_size(to->in);
            return (struct reading){from, next, inputs / (size_t)net_rows(&l->weight)};
        }
        if (!keeps_channels(to) || (rows && !net_is_activation(to->kind))) return none;
        if (to->kind == NET_BATCH_NORM && to->factor.size != (size_t)net_rows(&l->weight)) return none;
    }
    return none;
}

// The weights that read a unit: of each row first .. end-1 the columns at .. at + count-1.
struct block {
    size_t first, end, at, count, columns;
};

static struct block block_of(const struct net *n, const struct reading *r, int unit) {
    const struct net_layer *to = &n->layers[r->to];
    size_t rows = (size_t)net_rows(&to->weight), columns = (size_t)net_columns(&to->weight);
    if (to->kind == NET_LINEAR)
        return (struct block){0, rows, (size_t)unit * r->per_unit, r->per_unit, columns};
    size_t channels = (size_t)to->weight.shape.dim[1], kernel = columns / channels,
           group = (size_t)unit / channels, per_group = rows / (size_t)to->groups;
    return (struct block){group * per_group, (group + 1) * per_group, (size_t)unit % channels * kernel,
                          kernel, columns};
}

static bool block_lives(const struct net_tensor *w, const struct block *b) {
    for (size_t i = b->first; i < b->end; i++)
        for (size_t j = b->at; j < b->at + b->count; j++)
            if (w->value[i * b->columns + j] != 0) return true;
    return false;
}

static void weight_zero(struct net_tensor *t, size_t i) {
    t->value[i] = 0;
    if (t->counted) t->counter[i] = 0;
}

static bool row_lives(const struct net_tensor *w, int row) {
    size_t columns = (size_t)net_columns(w);
    for (size_t j = 0; j < columns; j++)
        if (w->value[(size_t)row * columns + j] != 0) return true;
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

// What the reader sees of a constant unit; false where that is not the same everywhere.
static bool constant_follow(double *constant, const struct net *n, const struct reading *r, int unit) {
    double x = (double)n->layers[r->from].bias.value[unit];
    const struct net_layer *l = &n->layers[r->to];
    for (int i = r->from, next; net_readers(n, i, &next), next != r->to; i = next) {
        l = &n->layers[next];
        bool padded = l->window.padding[0] || l->window.padding[1];
        if (l->kind == NET_AVG_POOL2D && l->count_pad && padded && x != 0) return false;
        if (l->kind == NET_BATCH_NORM)
            x = (double)l->factor.value[unit] * x + (double)l->bias.value[unit];
        else
            x = net_activation(l, x);
    }
    *constant = x;
    l = &n->layers[r->to];
    return x == 0 || l->kind == NET_LINEAR || (l->window.padding[0] == 0 && l->window.padding[1] == 0);
}

// The constant unit goes into the bias of the layer that reads it.
static bool unit_absorb(struct net *n, const struct reading *r, int unit, const struct block *b) {
    double constant;
    if (!constant_follow(&constant, n, r, unit)) return false;
    struct net_layer *to = &n->layers[r->to];
    for (size_t i = b->first; i < b->end; i++) {
        double sum = 0;
        for (size_t j = b->at; j < b->at + b->count; j++) {
            sum += (double)to->weight.value[i * b->columns + j];
            weight_zero(&to->weight, i * b->columns + j);
        }
        to->bias.value[i] = (float)((double)to->bias.value[i] + sum * constant);
    }
    return true;
}

static bool units_drop(struct net *n, const struct reading *r) {
    bool changed = false;
    struct net_layer *l = &n->layers[r->from];
    for (int unit = 0; unit < net_rows(&l->weight); unit++) {
        struct block b = block_of(n, r, unit);
        if (!block_lives(&n->layers[r->to].weight, &b))
            changed |= unit_silence(l, unit);
        else if (l->kind != NET_SELECT && !row_lives(&l->weight, unit))
            changed |= unit_absorb(n, r, unit, &b);
    }
    return changed;
}

void net_drop_dead(struct net *n) {
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < n->count; i++) {
            struct reading r = reading_of(n, i);
            if (r.to >= 0) changed |= units_drop(n, &r);
        }
    }
}
