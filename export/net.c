// Networks that leave: their tensors and layers. Contracts in net.h; net_new is in net_take.c.
#include "export/net.h"

#include <string.h>

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
                                                 [NET_POSITIONAL_EMBEDDING] = "positional_embedding",
                                                 [NET_SELECT] = "select",
                                                 [NET_MIX] = "mix"};
    return names[kind];
}

int net_inputs(const struct net_layer *l) {
    return l->input[1] == NET_NONE ? 1 : 2;
}

int *net_read(struct net_layer *l, int k) {
    if (k < net_inputs(l)) return &l->input[k];
    return l->gated && k == net_inputs(l) ? &l->gate : NULL;
}

int net_readers(const struct net *n, int i, int *last) {
    int readers = 0, at = i == n->count - 1 ? n->count : i;
    for (int k = i + 1; k < n->count; k++) {
        const int *from;
        for (int input = 0; (from = net_read(&n->layers[k], input)); input++)
            if (*from == i) readers++, at = k;
    }
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
