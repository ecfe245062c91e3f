// Networks that leave: from a trained model to a list of layers. Contracts in net.h.
#include "export/net.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// --- from the model
// ----------------------------------------------------------------------------------------------

// Layers that leave, by their name in layer.def. Those that only train vanish.
static const struct {
    const char *name;
    enum net_kind kind;
    bool vanishes;
} layer_kinds[] = {{"linear", NET_LINEAR, false},   {"relu", NET_RELU, false},
                   {"gelu", NET_GELU, false},       {"tanh", NET_TANH, false},
                   {"sigmoid", NET_SIGMOID, false}, {"flatten", NET_FLATTEN, false},
                   {"dropout", NET_KINDS, true}};

const char *net_kind_name(enum net_kind kind) {
    static const char *const names[NET_KINDS] = {"flatten", "linear", "affine",  "relu",
                                                 "gelu",    "tanh",   "sigmoid", "softmax"};
    return names[kind];
}

static void tensor_alloc(struct net_tensor *t, struct shape shape, bool counted) {
    t->shape = shape;
    t->size = shape_size(shape);
    t->value = mem_new(t->size, sizeof *t->value);
    t->counted = counted;
    t->scale = 1;
    if (counted) t->counter = mem_new(t->size, sizeof *t->counter);
}

static void tensor_free(struct net_tensor *t) {
    mem_free(t->value);
    mem_free(t->counter);
}

static void tensor_refresh(struct net_tensor *t) {
    for (size_t i = 0; i < t->size; i++)
        t->value[i] = (float)(t->scale * number_value(&t->number, t->counter[i]));
}

static void tensor_take(struct net_tensor *t, const struct param *p) {
    tensor_alloc(t, p->shape, p->counted);
    if (p->counted) {
        t->number = p->number;
        t->scale = p->scale;
        for (size_t i = 0; i < t->size; i++) t->counter[i] = param_counter(p, i);
    }
    for (size_t i = 0; i < t->size; i++) t->value[i] = (float)p->value[i];
}

static int layer_take(struct net *n, const struct layer *l, const struct params *ps, struct err *e) {
    size_t k = 0, kinds = sizeof layer_kinds / sizeof *layer_kinds;
    while (k < kinds && strcmp(layer_kinds[k].name, l->type->name) != 0) k++;
    if (k == kinds) return err_set(e, "%s: a layer '%s' can't be exported", l->path, l->type->name);
    if (layer_kinds[k].vanishes) return 0;
    struct net_layer *layer = &n->layers[n->count++];
    layer->kind = layer_kinds[k].kind;
    snprintf(layer->name, sizeof layer->name, "%s", l->name);
    layer->in = l->in;
    layer->out = l->out;
    if (layer->kind != NET_LINEAR) return 0;
    tensor_take(&layer->weight, &ps->list[l->param[0]]);
    if (l->param[1] >= 0) tensor_take(&layer->bias, &ps->list[l->param[1]]);
    return 0;
}

struct net *net_new(const char *name, const struct model *m, const struct params *ps, double mean, double std,
                    struct err *e) {
    if (!params_finite(ps)) {
        err_set(e, "%s: a weight is not finite", name);
        return NULL;
    }
    struct net *n = mem_new(1, sizeof *n);
    snprintf(n->name, sizeof n->name, "%s", name);
    n->in = m->in;
    n->mean = mean;
    n->std = std;
    n->layers = mem_new((size_t)m->count + 2, sizeof *n->layers); // room for an affine and a softmax
    for (int i = 0; i < m->count; i++)
        if (layer_take(n, &m->layers[i], ps, e) != 0) {
            net_free(n);
            return NULL;
        }
    return n;
}

void net_free(struct net *n) {
    if (!n) return;
    for (int i = 0; i < n->count; i++) {
        tensor_free(&n->layers[i].weight);
        tensor_free(&n->layers[i].bias);
    }
    mem_free(n->layers);
    mem_free(n);
}

static void tensor_copy(struct net_tensor *t, const struct net_tensor *from) {
    *t = *from;
    if (from->shape.rank == 0) return;
    tensor_alloc(t, from->shape, from->counted);
    t->scale = from->scale;
    memcpy(t->value, from->value, t->size * sizeof *t->value);
    if (t->counted) memcpy(t->counter, from->counter, t->size * sizeof *t->counter);
}

struct net *net_copy_new(const struct net *n) {
    struct net *copy = mem_new(1, sizeof *copy);
    *copy = *n;
    copy->layers = mem_new((size_t)n->count + 2, sizeof *copy->layers);
    for (int i = 0; i < n->count; i++) {
        copy->layers[i] = n->layers[i];
        tensor_copy(&copy->layers[i].weight, &n->layers[i].weight);
        tensor_copy(&copy->layers[i].bias, &n->layers[i].bias);
    }
    return copy;
}

void net_add_softmax(struct net *n) {
    const struct net_layer *last = &n->layers[n->count - 1];
    struct shape out = last->out;
    n->layers[n->count++] = (struct net_layer){.kind = NET_SOFTMAX, .name = "softmax", .in = out, .out = out};
}

// --- looking
// ------------------------------------------------------------------------------------------------------

int net_rows(const struct net_tensor *t) {
    return t->shape.dim[0];
}

int net_columns(const struct net_tensor *t) {
    return (int)(t->size / (size_t)t->shape.dim[0]);
}

size_t net_nonzero(const struct net_tensor *t) {
    size_t nonzero = 0;
    for (size_t i = 0; i < t->size; i++) nonzero += t->value[i] != 0;
    return nonzero;
}

// --- fewer bits
// ---------------------------------------------------------------------------------------------------

// Float numbers become linear counters, the largest at the limit.
static void tensor_count(struct net_tensor *t, int bits) {
    int32_t limit = (1 << (bits - 1)) - 1;
    double most = 0;
    for (size_t i = 0; i < t->size; i++) most = fmax(most, fabs((double)t->value[i]));
    t->counted = true;
    t->counter = mem_new(t->size, sizeof *t->counter);
    t->number = number_make(NUMBER_LINEAR, bits <= 8 ? 8 : 16, 0, 1);
    t->scale = most > 0 ? most / limit : 1;
    for (size_t i = 0; i < t->size; i++) t->counter[i] = (int32_t)rint((double)t->value[i] / t->scale);
}

// What scale and parameter must be so that counter `limit` means what `most` means now.
static void number_stretch(struct net_tensor *t, double most, double limit) {
    double ratio = most / limit;
    switch (t->number.kind) {
    case NUMBER_LINEAR:
        t->scale *= ratio;
        break;
    case NUMBER_SQUARE:
        t->scale *= ratio * ratio;
        break;
    case NUMBER_POWER:
        t->scale *= pow(ratio, t->number.parameter);
        break;
    case NUMBER_EXP:
        t->number.parameter *= ratio;
        break;
    case NUMBER_POW2: // levels count from 1
        if (limit > 1)
            t->number.parameter *= (limit - 1) / (most - 1);
        else
            t->scale *= exp2((most - 1) / t->number.parameter);
        break;
    case NUMBER_MADAM:
        t->number.parameter *= limit > 1 ? (most - 1) / (limit - 1) : 1;
        break;
    case NUMBER_KINDS:
        break;
    }
}

static void tensor_requantise(struct net_tensor *t, int bits) {
    if (!t->counted) {
        size_t nonzero = net_nonzero(t);
        tensor_count(t, bits);
        for (size_t i = 0; i < t->size && nonzero; i++) // a survivor stays one
            if (t->counter[i] == 0 && t->value[i] != 0) t->counter[i] = t->value[i] < 0 ? -1 : 1;
        tensor_refresh(t);
        return;
    }
    int32_t limit = (1 << (bits - 1)) - 1, most = 0;
    for (size_t i = 0; i < t->size; i++) most = t->counter[i] > most ? t->counter[i] : most;
    for (size_t i = 0; i < t->size; i++) most = -t->counter[i] > most ? -t->counter[i] : most;
    if (most > limit) {
        bool from_one = t->number.kind == NUMBER_POW2 || t->number.kind == NUMBER_MADAM;
        double zero = from_one ? 1 : 0, ratio = (limit - zero) / (most - zero);
        for (size_t i = 0; i < t->size; i++) {
            int32_t c = t->counter[i];
            if (c == 0) continue;
            int32_t a = (int32_t)rint(zero + ((c < 0 ? -c : c) - zero) * ratio);
            if (a < 1) a = 1;
            t->counter[i] = c < 0 ? -a : a;
        }
        number_stretch(t, most, limit);
    }
    t->number.bits = bits <= 8 ? 8 : 16;
    t->number.limit = limit;
    tensor_refresh(t);
}

void net_requantise(struct net *n, int bits) {
    CHECK(bits >= 2 && bits <= 16, "net: %d bits", bits);
    for (int i = 0; i < n->count; i++)
        if (n->layers[i].weight.shape.rank) tensor_requantise(&n->layers[i].weight, bits);
}

void net_requantise_biases(struct net *n) {
    for (int i = 0; i < n->count; i++) {
        struct net_tensor *bias = &n->layers[i].bias;
        if (!bias->shape.rank || bias->counted) continue;
        tensor_count(bias, 8);
        tensor_refresh(bias);
    }
}

// --- the plain way
// ------------------------------------------------------------------------------------------------

double net_activation(const struct net_layer *l, double x) {
    switch (l->kind) {
    case NET_AFFINE:
        return l->scale * x + l->shift;
    case NET_RELU:
        return x > 0 ? x : 0;
    case NET_GELU:
        return x * 0.5 * erfc(-x * 0.7071067811865476); // sqrt(1 / 2)
    case NET_TANH:
        return tanh(x);
    case NET_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

static void linear_forward(float *y, const struct net_layer *l, const float *x) {
    int rows = net_rows(&l->weight), columns = net_columns(&l->weight);
    for (int i = 0; i < rows; i++) {
        float sum = l->bias.shape.rank ? l->bias.value[i] : 0;
        for (int j = 0; j < columns; j++)
            sum += l->weight.value[(size_t)i * (size_t)columns + (size_t)j] * x[j];
        y[i] = sum;
    }
}

static void softmax_forward(float *y, const float *x, size_t size) {
    float most = x[0];
    double sum = 0;
    for (size_t i = 1; i < size; i++) most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < size; i++) sum += exp((double)(x[i] - most));
    for (size_t i = 0; i < size; i++) y[i] = (float)(exp((double)(x[i] - most)) / sum);
}

void net_forward(const struct net *n, const float *x, float *y) {
    size_t widest = shape_size(n->in);
    for (int i = 0; i < n->count; i++) {
        size_t out = shape_size(n->layers[i].out);
        widest = out > widest ? out : widest;
    }
    float *now = mem_new(widest, sizeof *now), *next = mem_new(widest, sizeof *next);
    memcpy(now, x, shape_size(n->in) * sizeof *now);
    size_t size = shape_size(n->in);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        size = shape_size(l->out);
        if (l->kind == NET_LINEAR)
            linear_forward(next, l, now);
        else if (l->kind == NET_SOFTMAX)
            softmax_forward(next, now, size);
        else
            for (size_t j = 0; j < size; j++) next[j] = (float)net_activation(l, (double)now[j]);
        float *swap = now;
        now = next;
        next = swap;
    }
    memcpy(y, now, size * sizeof *y);
    mem_free(now);
    mem_free(next);
}
