// Making a network ready to run. Contract of net_prepare in net.h; dead units are in dead.c.
//
// Normalisation: with x = (p - mean) / std and p = pixel / 255, a linear layer's w·x + b is (w / std)·p + (b - mean / std · Σ w).
// The products then skip black pixels, of which most images are made. A conv2d without padding is the same; with padding,
// whose zeros are zeros of x, windows at the border miss other weights than those inside, so an affine layer stays in front.
// A batch norm takes it into its factor and bias.
//
// Batch norm: f·(w·x + b) + s behind a linear or conv2d layer that nothing else reads is (f·w)·x + (f·b + s). Counters stay:
// |f| goes into the layer's factor, the sign into the counters; where f is 0, the counters become 0.
#include <math.h>
#include <string.h>

#include "export/net.h"

static bool has_weights(const struct net_layer *l) {
    return l->kind == NET_LINEAR || l->kind == NET_CONV2D;
}

// Makes the bias one of floats, zeros where there was none.
static void bias_ensure(struct net_layer *l) {
    struct net_tensor *b = &l->bias;
    if (!b->shape.rank) net_tensor_alloc(b, shape_1(net_rows(&l->weight)), false);
    mem_free(b->counter);
    b->counter = NULL;
    b->counted = false;
    b->scale = 1;
}

// --- normalisation
// ------------------------------------------------------------------------------------------------

static void normalisation_into_weights(struct net_layer *l, double mean, double std) {
    struct net_tensor *w = &l->weight;
    bias_ensure(l);
    size_t rows = (size_t)net_rows(w), columns = (size_t)net_columns(w);
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;
        for (size_t j = 0; j < columns; j++) sum += (double)w->value[i * columns + j];
        l->bias.value[i] = (float)((double)l->bias.value[i] - mean / std * sum);
    }
    if (w->counted) w->scale /= std;
    for (size_t i = 0; i < w->size && !w->counted; i++) w->value[i] = (float)((double)w->value[i] / std);
    net_refresh(l);
}

static void normalisation_into_norm(struct net_layer *l, double mean, double std) {
    for (size_t c = 0; c < l->factor.size; c++) {
        double factor = (double)l->factor.value[c] / std;
        l->factor.value[c] = (float)factor;
        l->bias.value[c] = (float)((double)l->bias.value[c] - mean * factor);
    }
}

static void normalisation_in_front(struct net *n) {
    memmove(n->layers + 1, n->layers, (size_t)n->count * sizeof *n->layers);
    n->count++;
    int *from;
    for (int i = 1; i < n->count; i++)
        for (int k = 0; (from = net_read(&n->layers[i], k)); k++) ++*from;
    n->layers[0] = (struct net_layer){.kind = NET_AFFINE,
                                      .name = "normalise",
                                      .input = {NET_SAMPLE, NET_NONE},
                                      .in = n->in,
                                      .out = n->in,
                                      .groups = 1,
                                      .scale = net_as_float(1 / n->std),
                                      .shift = net_as_float(-n->mean / n->std)};
}

static void normalisation_fold(struct net *n) {
    if (n->mean == 0 && n->std == 1) return;
    int first = NET_SAMPLE, readers;
    do readers = net_readers(n, first, &first);
    while (readers == 1 && n->layers[first].kind == NET_FLATTEN);
    struct net_layer *l = readers == 1 ? &n->layers[first] : NULL;
    bool padded = l && l->kind == NET_CONV2D && (l->window.padding[0] || l->window.padding[1]);
    if (l && has_weights(l) && !padded)
        normalisation_into_weights(l, n->mean, n->std);
    else if (l && l->kind == NET_BATCH_NORM)
        normalisation_into_norm(l, n->mean, n->std);
    else
        normalisation_in_front(n);
    n->mean = 0;
    n->std = 1;
}

// --- batch norms
// --------------------------------------------------------------------------------------------------

static void row_multiply(struct net_layer *l, size_t row, double factor) {
    struct net_tensor *w = &l->weight;
    size_t columns = (size_t)net_columns(w);
    for (size_t i = row * columns; i < (row + 1) * columns; i++)
        if (w->counted)
            w->counter[i] = factor == 0 ? 0 : factor < 0 ? -w->counter[i] : w->counter[i];
        else
            w->value[i] = (float)(factor * (double)w->value[i]);
    if (w->counted && factor != 0)
        l->factor.value[row] = (float)(fabs(factor) * (double)l->factor.value[row]);
}

static void norm_into_weights(struct net_layer *l, const struct net_layer *norm) {
    bias_ensure(l);
    size_t rows = norm->factor.size;
    if (l->weight.counted && !l->factor.shape.rank) {
        net_tensor_alloc(&l->factor, shape_1((int)rows), false);
        for (size_t i = 0; i < rows; i++) l->factor.value[i] = 1;
    }
    for (size_t i = 0; i < rows; i++) {
        double factor = (double)norm->factor.value[i];
        row_multiply(l, i, factor);
        l->bias.value[i] = (float)(factor * (double)l->bias.value[i] + (double)norm->bias.value[i]);
    }
    net_refresh(l);
}

// Takes out layer i, whose readers then read layer `instead`.
static void layer_remove(struct net *n, int i, int instead) {
    net_tensor_free(&n->layers[i].weight);
    net_tensor_free(&n->layers[i].bias);
    net_tensor_free(&n->layers[i].factor);
    memmove(n->layers + i, n->layers + i + 1, (size_t)(n->count - i - 1) * sizeof *n->layers);
    n->count--;
    int *from;
    for (int k = i; k < n->count; k++)
        for (int input = 0; (from = net_read(&n->layers[k], input)); input++)
            *from = *from == i ? instead : *from > i ? *from - 1 : *from;
}

static void norms_fold(struct net *n) {
    for (int i = 1; i < n->count; i++) {
        int from = n->layers[i].input[0];
        if (n->layers[i].kind != NET_BATCH_NORM || from != i - 1 || net_readers(n, from, NULL) != 1) continue;
        struct net_layer *l = &n->layers[from];
        if (!has_weights(l) || (l->kind == NET_LINEAR && l->in.rank != 1)) continue;
        norm_into_weights(l, &n->layers[i]);
        layer_remove(n, i--, from);
    }
}

void net_prepare(struct net *n) {
    norms_fold(n);
    normalisation_fold(n);
    for (int i = 0; i < n->count; i++)
        if (has_weights(&n->layers[i]) || n->layers[i].kind == NET_SELECT) bias_ensure(&n->layers[i]);
    net_drop_dead(n);
}
