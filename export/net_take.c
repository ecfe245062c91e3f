// Networks that leave: from a trained model to a list of layers. Contracts in net.h.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "export/net.h"
#include "layers/k_winners.h"
#include "layers/positional_embedding.h"
#include "layers/selector.h"
#include "layers/sliding.h"

// What taking a model has at hand.
struct taking {
    struct net *net;
    const struct params *params;
    int64_t epoch;
    bool gated; // where it stands in a list of an expert: its gate
    int gate, unit;
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
    CHECK(f->name, "net: %s has no option %s", l->type->name, name);
    const void *at = (const char *)l->config + f->offset;
    if (f->type == FIELD_REAL) return *(const double *)at;
    CHECK(f->type == FIELD_INT || f->type == FIELD_BOOL, "net: option %s of %s is no number", name,
          l->type->name);
    return f->type == FIELD_INT ? (double)*(const int64_t *)at : *(const bool *)at;
}

static void take_weight(const struct taking *t, struct net_layer *to, const struct layer *l) {
    tensor_take(&to->weight, param_of(t, l, 0));
}

static void take_linear(const struct taking *t, struct net_layer *to, const struct layer *l) {
    tensor_take(&to->weight, param_of(t, l, 0));
    tensor_take(&to->bias, param_of(t, l, 1));
}

static void take_positions(const struct taking *t, struct net_layer *to, const struct layer *l) {
    take_weight(t, to, l);
    if (to->weight.shape.rank) return;
    net_tensor_alloc(&to->weight, l->in, false);
    real *waves = mem_new(to->weight.size, sizeof *waves);
    positional_embedding_waves(waves, l->in.dim[0], l->in.dim[1]);
    for (size_t i = 0; i < to->weight.size; i++) to->weight.value[i] = (float)waves[i];
    mem_free(waves);
}

static void rows_clear(struct net_tensor *t, const uint8_t *chosen, size_t rows) {
    size_t row = t->size / rows;
    for (size_t i = 0; i < t->size; i++) {
        if (chosen[i / row]) continue;
        t->value[i] = 0;
        if (t->counted) t->counter[i] = 0;
    }
}

// All samples have the same rows: a linear layer without the others.
static void take_shared(const struct taking *t, struct net_layer *to, const struct layer *l) {
    size_t rows = (size_t)l->out.dim[0];
    uint8_t *chosen = mem_new(rows, 1);
    take_linear(t, to, l);
    if (to->weight.counted && to->weight.number.kind == NUMBER_MADAM) { // has no zero
        mem_free(to->weight.counter);
        to->weight.counter = NULL, to->weight.counted = false, to->weight.scale = 1;
    }
    selector_rows(chosen, l, t->params);
    rows_clear(&to->weight, chosen, rows);
    if (to->bias.shape.rank) rows_clear(&to->bias, chosen, rows);
    mem_free(chosen);
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

// Layers that leave, by their name in layer.def. Those that only train vanish; what becomes several layers is below.
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
                 {"positional_embedding", NET_POSITIONAL_EMBEDDING, take_positions},
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

static void layer_gate(struct net_layer *l, const struct taking *t) {
    l->gated = t->gated;
    l->gate = t->gate;
    l->unit = t->unit;
}

static int list_take(const struct taking *t, const struct model *m, int *result, struct err *e);

// A linear layer without bias that the model does not have by itself: `param` is its weight, or the transpose of it.
static int part_append(const struct taking *t, const char *name, const char *part, int from,
                       const struct param *param, bool transposed) {
    char path[PARAM_NAME];
    struct net_tensor whole = {0};
    tensor_take(&whole, param);
    size_t rows = (size_t)param->shape.dim[transposed], columns = whole.size / rows;
    CHECK(snprintf(path, sizeof path, "%s.%s", name, part) < (int)sizeof path, "net: %s is too long", name);
    int at = layer_append(t->net, NET_LINEAR, path, from, NET_NONE, shape_1((int)rows));
    struct net_tensor *weight = &t->net->layers[at].weight;
    if (!transposed) {
        *weight = whole;
        return at;
    }
    CHECK(!whole.counted, "net: %s is counted", path);
    net_tensor_alloc(weight, shape_2((int)rows, (int)columns), false);
    for (size_t i = 0; i < whole.size; i++) weight->value[i] = whole.value[i % columns * rows + i / columns];
    net_tensor_free(&whole);
    return at;
}

// Each sample has its own rows: two linear layers make the blocks' scores, and a select computes the best.
static int selector_take(const struct taking *t, const struct layer *l, int *result) {
    const struct selector *config = l->config;
    int from = *result;
    if (selector_shared(l)) {
        *result = layer_append(t->net, NET_LINEAR, l->name, from, NET_NONE, l->out);
        take_shared(t, &t->net->layers[*result], l);
        return 0;
    }
    int score = part_append(t, l->name, "sketch_in", from, param_of(t, l, SELECTOR_SKETCH_IN), true);
    score = part_append(t, l->name, "sketch_out", score, param_of(t, l, SELECTOR_SKETCH_OUT), true);
    *result = layer_append(t->net, NET_SELECT, l->name, from, score, l->out);
    struct net_layer *to = &t->net->layers[*result];
    take_linear(t, to, l);
    to->k = config->k;
    to->block = (int)config->block;
    return 0;
}

// The router's scores, of which the chosen stay; each expert's list behind its score; and the sum.
static int experts_take(const struct taking *t, const struct layer *l, int *result, struct err *e) {
    if (t->gated) return err_set(e, "%s: experts within experts can't be exported", l->path);
    if (l->in.rank != 1)
        return err_set(e,
                       "%s: experts can't be exported where each token has its own: the runtime chooses for "
                       "whole samples",
                       l->path);
    int from = *result, sum = NET_NONE;
    char name[PARAM_NAME];
    int gate = part_append(t, l->name, "router", from, param_of(t, l, 0), false);
    struct shape scores = t->net->layers[gate].out;
    snprintf(name, sizeof name, "%s.softmax", l->name);
    gate = layer_append(t->net, NET_SOFTMAX, name, gate, NET_NONE, scores);
    snprintf(name, sizeof name, "%s.k_winners", l->name);
    gate = layer_append(t->net, NET_K_WINNERS, name, gate, NET_NONE, scores);
    t->net->layers[gate].k = (int)option_of(l, "k");
    for (int i = 0; i < l->inner_count; i++) {
        struct taking inner = *t;
        inner.gated = true, inner.gate = gate, inner.unit = i;
        int part = from;
        if (list_take(&inner, l->inner[i], &part, e) != 0) return -1;
        bool last = i + 1 == l->inner_count;
        snprintf(name, sizeof name, last ? "%s" : "%s.mix%d", l->name, i + 1);
        sum = layer_append(t->net, NET_MIX, name, part, sum, l->out);
        layer_gate(&t->net->layers[sum], &inner);
    }
    *result = sum;
    return 0;
}

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
        layer_gate(&t->net->layers[joined], t);
    }
    if (sum && l->inner_count == 1) {
        joined = layer_append(t->net, NET_ADD, l->name, joined, from, l->out);
        layer_gate(&t->net->layers[joined], t);
    }
    *result = joined;
    return 0;
}

// Layers that can't leave, and why; NULL where there is nothing against it.
static const char *refusal(const struct layer *l) {
    static const char *const rows[][2] = {
        {"attention", "the runtime multiplies by weights, not by other results"},
        {"transformer_block", "its attention multiplies results by results, the runtime only by weights"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i][0], l->type->name) == 0) return rows[i][1];
    return NULL;
}

static int layer_take(const struct taking *t, const struct layer *l, int *result, struct err *e) {
    size_t k = 0, kinds = sizeof kind_rows / sizeof *kind_rows;
    if (strcmp(l->type->name, "residual") == 0 || strcmp(l->type->name, "concat") == 0)
        return lists_take(t, l, result, e);
    if (strcmp(l->type->name, "experts") == 0) return experts_take(t, l, result, e);
    if (strcmp(l->type->name, "selector") == 0) return selector_take(t, l, result);
    const char *reason = refusal(l);
    if (reason) return err_set(e, "%s: a layer '%s' can't be exported: %s", l->path, l->type->name, reason);
    while (k < kinds && strcmp(kind_rows[k].name, l->type->name) != 0) k++;
    if (k == kinds) return err_set(e, "%s: a layer '%s' can't be exported", l->path, l->type->name);
    if (kind_rows[k].kind == NET_KINDS) return 0;
    *result = layer_append(t->net, kind_rows[k].kind, l->name, *result, NET_NONE, l->out);
    layer_gate(&t->net->layers[*result], t);
    if (kind_rows[k].take) kind_rows[k].take(t, &t->net->layers[*result], l);
    return 0;
}

// *result: what the list reads, then what it makes.
static int list_take(const struct taking *t, const struct model *m, int *result, struct err *e) {
    for (int i = 0; i < m->count; i++)
        if (layer_take(t, &m->layers[i], result, e) != 0) return -1;
    return 0;
}

// Room for what a list becomes: layers with lists are at most a layer more for each, and no layer is more than three.
static size_t list_room(const struct model *m) {
    size_t room = 0;
    for (int i = 0; i < m->count; i++) {
        const struct layer *l = &m->layers[i];
        room += 3 + (size_t)l->inner_count;
        for (int k = 0; k < l->inner_count; k++) room += list_room(l->inner[k]);
    }
    return room;
}

struct net *net_new(const char *name, const struct model *m, const struct params *ps, double mean, double std,
                    int64_t epoch, struct err *e) {
    if (params_not_finite(ps) >= 0) {
        err_set(e, "%s: a weight is not finite", name);
        return NULL;
    }
    struct net *n = mem_new(1, sizeof *n);
    snprintf(n->name, sizeof n->name, "%s", name);
    n->in = m->in;
    n->mean = mean;
    n->std = std;
    n->layers = mem_new(list_room(m) + 2, sizeof *n->layers); // and an affine and a softmax
    struct taking t = {.net = n, .params = ps, .epoch = epoch};
    int result = NET_SAMPLE, status = list_take(&t, m, &result, e);
    if (status == 0 && n->count == 0) status = err_set(e, "%s: no layer is left to export", name);
    if (status == 0) return n;
    net_free(n);
    return NULL;
}

void net_add_softmax(struct net *n) {
    int last = n->count - 1;
    layer_append(n, NET_SOFTMAX, "softmax", last, NET_NONE, n->layers[last].out);
}
