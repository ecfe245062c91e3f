// Networks that leave: from a trained model to a list of layers. Contracts in net.h.
#include "export/net.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "layers/k_winners.h"
#include "layers/sliding.h"

// --- tensors
// ------------------------------------------------------------------------------------------------------

void net_tensor_alloc(struct net_tensor *t, struct shape shape, bool counted) {
    *t = (struct net_tensor){.shape = shape, .size = shape_size(shape), .counted = counted, .scale = 1};
    t->value = mem_new(t->size, sizeof *t->value);
    if (counted) t->counter = mem_new(t->size, sizeof *t->counter);
}

void net_tensor_free(struct net_tensor *t) {
    mem_free(t->value);
    mem_free(t->counter);
    *t = (struct net_tensor){0};
}

double net_as_float(double x) {
    volatile float rounded = (float)x;
    return (double)rounded;
}

static void tensor_refresh(struct net_tensor *t, const struct net_tensor *factor) {
    size_t row = factor && factor->shape.rank ? t->size / factor->size : 0;
    for (size_t i = 0; i < t->size && t->counted; i++) {
        double value = t->scale * number_value(&t->number, t->counter[i]);
        t->value[i] = (float)(row ? value * (double)factor->value[i / row] : value);
    }
}

void net_refresh(struct net_layer *l) {
    tensor_refresh(&l->bias, NULL);
    tensor_refresh(&l->factor, NULL);
    tensor_refresh(&l->weight, &l->factor);
}

static void tensor_copy(struct net_tensor *t, const struct net_tensor *from) {
    if (from->shape.rank == 0) return;
    net_tensor_alloc(t, from->shape, from->counted);
    t->number = from->number;
    t->scale = from->scale;
    memcpy(t->value, from->value, t->size * sizeof *t->value);
    if (t->counted) memcpy(t->counter, from->counter, t->size * sizeof *t->counter);
}

// --- from the model
// ----------------------------------------------------------------------------------------------

// What taking a model has at hand.
struct taking {
    struct net *net;
    const struct params *params;
    int64_t epoch;
};

static const struct param *param_of(const struct taking *t, const struct layer *l, int which) {
    return l->param[which] >= 0 ? &t->params->list[l->param[which]] : NULL;
}

// Nothing where the layer does not have it.
static void tensor_take(struct net_tensor *t, const struct param *p) {
    if (!p) return;
    net_tensor_alloc(t, p->shape, p->counted);
    if (p->counted) {
        t->number = p->number;
        t->scale = p->scale;
        for (size_t i = 0; i < t->size; i++) t->counter[i] = param_counter(p, i);
    }
    for (size_t i = 0; i < t->size; i++) t->value[i] = (float)p->value[i];
}

// An option of the layer, as its table calls it.
static double option_of(const struct layer *l, const char *name) {
    const struct field *f = l->type->fields;
    while (f->name && strcmp(f->name, name) != 0) f++;
    CHECK(f->name && (f->type == FIELD_REAL || f->type == FIELD_BOOL), "net: %s has no option %s",
          l->type->name, name);
    const char *at = (const char *)l->config + f->offset;
    return f->type == FIELD_REAL ? *(const double *)(const void *)at : *(const bool *)(const void *)at;
}

static void take_weight(const struct taking *t, struct net_layer *to, const struct layer *l) {
    tensor_take(&to->weight, param_of(t, l, 0));
}

static void take_linear(const struct taking *t, struct net_layer *to, const struct layer *l) {
    tensor_take(&to->weight, param_of(t, l, 0));
    tensor_take(&to->bias, param_of(t, l, 1));
}

static void take_window(const struct taking *t, struct net_layer *to, const struct layer *l) {
    (void)t;
    to->window = ((const struct sliding *)l->config)->window;
}

static void take_conv2d(const struct taking *t, struct net_layer *to, const struct layer *l) {
    take_window(t, to, l);
    take_linear(t, to, l);
    to->groups = l->in.dim[0] / to->weight.shape.dim[1];
}

static void take_avg_pool2d(const struct taking *t, struct net_layer *to, const struct layer *l) {
    take_window(t, to, l);
    to->count_pad = option_of(l, "count_include_pad") != 0;
}

static void take_leaky_relu(const struct taking *t, struct net_layer *to, const struct layer *l) {
    (void)t;
    to->slope = net_as_float(option_of(l, "negative_slope"));
}

// y = (x - mean) / sqrt(var + eps) · weight + bias, as one product and one sum.
static void take_batch_norm(const struct taking *t, struct net_layer *to, const struct layer *l) {
    const struct param *weight = param_of(t, l, 0), *bias = param_of(t, l, 1), *mean = param_of(t, l, 2),
                       *var = param_of(t, l, 3);
    double eps = option_of(l, "eps");
    net_tensor_alloc(&to->factor, mean->shape, false);
    net_tensor_alloc(&to->bias, mean->shape, false);
    for (size_t c = 0; c < mean->size; c++) {
        double factor = (weight ? (double)weight->value[c] : 1) / sqrt((double)var->value[c] + eps);
        to->factor.value[c] = (float)factor;
        to->bias.value[c] = (float)((bias ? (double)bias->value[c] : 0) - (double)mean->value[c] * factor);
    }
}

static void take_k_winners(const struct taking *t, struct net_layer *to, const struct layer *l) {
    const struct k_winners *config = l->config;
    const struct param *duty = param_of(t, l, 0);
    double boost = k_winners_boost(config, t->epoch);
    to->k = config->winners_inference;
    to->local = config->local;
    if (boost == 0) return;
    net_tensor_alloc(&to->factor, duty->shape, false);
    for (size_t c = 0; c < duty->size; c++) to->factor.value[c] = (float)exp(-boost * (double)duty->value[c]);
}

static void take_norm(const struct taking *t, struct net_layer *to, const struct layer *l) {
    tensor_take(&to->factor, param_of(t, l, 0));
    if (to->kind == NET_LAYER_NORM) tensor_take(&to->bias, param_of(t, l, 1));
    to->eps = net_as_float(option_of(l, "eps"));
}

// Layers that leave, by their name in layer.def. Those that only train vanish; residual and concat are lists_take's.
static const struct kind_row {
    const char *name;
    enum net_kind kind; // NET_KINDS: vanishes
    void (*take)(const struct taking *t, struct net_layer *to, const struct layer *l);
} kind_rows[] = {{"linear", NET_LINEAR, take_linear},
                 {"relu", NET_RELU, NULL},
                 {"gelu", NET_GELU, NULL},
                 {"tanh", NET_TANH, NULL},
                 {"sigmoid", NET_SIGMOID, NULL},
                 {"silu", NET_SILU, NULL},
                 {"leaky_relu", NET_LEAKY_RELU, take_leaky_relu},
                 {"softmax", NET_SOFTMAX, NULL},
                 {"flatten", NET_FLATTEN, NULL},
                 {"conv2d", NET_CONV2D, take_conv2d},
                 {"max_pool2d", NET_MAX_POOL2D, take_window},
                 {"avg_pool2d", NET_AVG_POOL2D, take_avg_pool2d},
                 {"global_avg_pool2d", NET_GLOBAL_AVG_POOL2D, NULL},
                 {"batch_norm", NET_BATCH_NORM, take_batch_norm},
                 {"k_winners", NET_K_WINNERS, take_k_winners},
                 {"layer_norm", NET_LAYER_NORM, take_norm},
                 {"rms_norm", NET_RMS_NORM, take_norm},
                 {"embedding", NET_EMBEDDING, take_weight},
                 {"positional_embedding", NET_POSITIONAL_EMBEDDING, take_weight},
                 {"dropout", NET_KINDS, NULL}};

static struct shape result_shape(const struct net *n, int result) {
    return result == NET_SAMPLE ? n->in : n->layers[result].out;
}

// Appends a layer that reads `a` and, unless it is NET_NONE, `b`. Its result is that of the index returned.
static int layer_append(struct net *n, enum net_kind kind, const char *name, int a, int b, struct shape out) {
    struct net_layer *l = &n->layers[n->count];
    *l = (struct net_layer){.kind = kind, .input = {a, b}, .in = result_shape(n, a), .out = out, .groups = 1};
    snprintf(l->name, sizeof l->name, "%s", name);
    return n->count++;
}

static int list_take(const struct taking *t, const struct model *m, int *result, struct err *e);

// A residual or concat: its lists read the same result; what they make is joined.
static int lists_take(const struct taking *t, const struct layer *l, int *result, struct err *e) {
    bool sum = strcmp(l->type->name, "residual") == 0;
    int from = *result, joined = from;
    for (int i = 0; i < l->inner_count; i++) {
        int branch = from;
        if (list_take(t, l->inner[i], &branch, e) != 0) return -1;
        if (i == 0) {
            joined = branch;
            continue;
        }
        char name[PARAM_NAME];
        bool last = i + 1 == l->inner_count;
        snprintf(name, sizeof name, last ? "%s" : "%s.join%d", l->name, i);
        struct shape out = result_shape(t->net, joined);
        if (!sum) out.dim[0] += result_shape(t->net, branch).dim[0];
        joined = layer_append(t->net, sum ? NET_ADD : NET_CONCAT, name, joined, branch, out);
    }
    if (sum && l->inner_count == 1) joined = layer_append(t->net, NET_ADD, l->name, joined, from, l->out);
    *result = joined;
    return 0;
}

static int layer_take(const struct taking *t, const struct layer *l, int *result, struct err *e) {
    size_t k = 0, kinds = sizeof kind_rows / sizeof *kind_rows;
    if (strcmp(l->type->name, "residual") == 0 || strcmp(l->type->name, "concat") == 0)
        return lists_take(t, l, result, e);
    while (k < kinds && strcmp(kind_rows[k].name, l->type->name) != 0) k++;
    if (k == kinds) return err_set(e, "%s: a layer '%s' can't be exported", l->path, l->type->name);
    if (kind_rows[k].kind == NET_KINDS) return 0;
    *result = layer_append(t->net, kind_rows[k].kind, l->name, *result, NET_NONE, l->out);
    if (kind_rows[k].take) kind_rows[k].take(t, &t->net->layers[*result], l);
    return 0;
}

// *result: what the list reads, then what it makes.
static int list_take(const struct taking *t, const struct model *m, int *result, struct err *e) {
    for (int i = 0; i < m->count; i++)
        if (layer_take(t, &m->layers[i], result, e) != 0) return -1;
    return 0;
}

// Room for what a list becomes: a residual or concat is at most a layer more for each list in it.
static size_t list_room(const struct model *m) {
    size_t room = 0;
    for (int i = 0; i < m->count; i++) {
        const struct layer *l = &m->layers[i];
        room += 1 + (size_t)l->inner_count;
        for (int k = 0; k < l->inner_count; k++) room += list_room(l->inner[k]);
    }
    return room;
}

struct net *net_new(const char *name, const struct model *m, const struct params *ps, double mean, double std,
                    int64_t epoch, struct err *e) {
    if (!params_finite(ps)) {
        err_set(e, "%s: a weight is not finite", name);
        return NULL;
    }
    struct net *n = mem_new(1, sizeof *n);
    snprintf(n->name, sizeof n->name, "%s", name);
    n->in = m->in;
    n->mean = mean;
    n->std = std;
    n->layers = mem_new(list_room(m) + 2, sizeof *n->layers); // and an affine and a softmax
    struct taking t = {n, ps, epoch};
    int result = NET_SAMPLE, status = list_take(&t, m, &result, e);
    if (status == 0 && n->count == 0) status = err_set(e, "%s: no layer is left to export", name);
    if (status == 0) return n;
    net_free(n);
    return NULL;
}

void net_free(struct net *n) {
    if (!n) return;
    for (int i = 0; i < n->count; i++) {
        net_tensor_free(&n->layers[i].weight);
        net_tensor_free(&n->layers[i].bias);
        net_tensor_free(&n->layers[i].factor);
    }
    mem_free(n->layers);
    mem_free(n);
}

struct net *net_copy_new(const struct net *n) {
    struct net *copy = mem_new(1, sizeof *copy);
    *copy = *n;
    copy->layers = mem_new((size_t)n->count + 2, sizeof *copy->layers);
    for (int i = 0; i < n->count; i++) {
        struct net_layer *to = &copy->layers[i];
        const struct net_layer *from = &n->layers[i];
        *to = *from;
        to->weight = to->bias = to->factor = (struct net_tensor){0};
        tensor_copy(&to->weight, &from->weight);
        tensor_copy(&to->bias, &from->bias);
        tensor_copy(&to->factor, &from->factor);
    }
    return copy;
}

void net_add_softmax(struct net *n) {
    int last = n->count - 1;
    layer_append(n, NET_SOFTMAX, "softmax", last, NET_NONE, n->layers[last].out);
}

// --- looking
// ------------------------------------------------------------------------------------------------------

const char *net_kind_name(enum net_kind kind) {
    static const char *const names[NET_KINDS] = {[NET_FLATTEN] = "flatten",
                                                 [NET_LINEAR] = "linear",
                                                 [NET_AFFINE] = "affine",
                                                 [NET_RELU] = "relu",
                                                 [NET_GELU] = "gelu",
                                                 [NET_TANH] = "tanh",
                                                 [NET_SIGMOID] = "sigmoid",
                                                 [NET_SOFTMAX] = "softmax",
                                                 [NET_LEAKY_RELU] = "leaky_relu",
                                                 [NET_SILU] = "silu",
                                                 [NET_CONV2D] = "conv2d",
                                                 [NET_MAX_POOL2D] = "max_pool2d",
                                                 [NET_AVG_POOL2D] = "avg_pool2d",
                                                 [NET_GLOBAL_AVG_POOL2D] = "global_avg_pool2d",
                                                 [NET_BATCH_NORM] = "batch_norm",
                                                 [NET_K_WINNERS] = "k_winners",
                                                 [NET_LAYER_NORM] = "layer_norm",
                                                 [NET_RMS_NORM] = "rms_norm",
                                                 [NET_ADD] = "add",
                                                 [NET_CONCAT] = "concat",
                                                 [NET_EMBEDDING] = "embedding",
                                                 [NET_POSITIONAL_EMBEDDING] = "positional_embedding"};
    return names[kind];
}

int net_inputs(const struct net_layer *l) {
    return l->input[1] == NET_NONE ? 1 : 2;
}

int net_readers(const struct net *n, int i, int *last) {
    int readers = 0, at = i == n->count - 1 ? n->count : i;
    for (int k = i + 1; k < n->count; k++)
        for (int input = 0; input < net_inputs(&n->layers[k]); input++)
            if (n->layers[k].input[input] == i) readers++, at = k;
    if (last) *last = at;
    return readers;
}

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

int net_row_length(const struct net_layer *l) {
    return l->in.dim[l->in.rank - 1];
}

int net_row_count(const struct net_layer *l) {
    return (int)(shape_size(l->in) / (size_t)net_row_length(l));
}
