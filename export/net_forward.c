// The plain way through a network. Contract of net_forward in net.h.
#include <math.h>
#include <string.h>

#include "export/net.h"

bool net_is_activation(enum net_kind kind) {
    return kind == NET_AFFINE || kind == NET_RELU || kind == NET_GELU || kind == NET_TANH ||
           kind == NET_SIGMOID || kind == NET_LEAKY_RELU || kind == NET_SILU;
}

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
    case NET_LEAKY_RELU:
        return x > 0 ? x : l->slope * x;
    case NET_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

static float row_forward(const struct net_layer *l, const float *x, int row) {
    int columns = net_columns(&l->weight);
    const float *weight = l->weight.value + (size_t)row * (size_t)columns;
    float sum = l->bias.shape.rank ? l->bias.value[row] : 0;
    for (int j = 0; j < columns; j++) sum += weight[j] * x[j];
    return sum;
}

static void linear_forward(float *y, const struct net_layer *l, const float *x) {
    int rows = net_rows(&l->weight), columns = net_columns(&l->weight);
    for (int r = 0; r < net_row_count(l); r++, x += columns, y += rows)
        for (int i = 0; i < rows; i++) y[i] = row_forward(l, x, i);
}

// Of window (o, p): where its element (i, j) lies in a plane, or -1: outside.
static long place(const struct net_layer *l, int o, int p, int i, int j) {
    const struct window *w = &l->window;
    int y = o * w->stride[0] - w->padding[0] + i * w->dilation[0];
    int x = p * w->stride[1] - w->padding[1] + j * w->dilation[1];
    if (y < 0 || y >= l->in.dim[1] || x < 0 || x >= l->in.dim[2]) return -1;
    return (long)y * l->in.dim[2] + x;
}

static float conv2d_window(const struct net_layer *l, const float *x, int out, int o, int p) {
    const int *kernel = l->window.size;
    int channels = l->weight.shape.dim[1], group = out / (l->out.dim[0] / l->groups);
    size_t plane = (size_t)l->in.dim[1] * (size_t)l->in.dim[2];
    const float *w = l->weight.value + (size_t)out * (size_t)net_columns(&l->weight);
    const float *from = x + (size_t)group * (size_t)channels * plane;
    float sum = l->bias.shape.rank ? l->bias.value[out] : 0;
    for (int c = 0; c < channels; c++, from += plane)
        for (int i = 0; i < kernel[0]; i++)
            for (int j = 0; j < kernel[1]; j++, w++) {
                long at = place(l, o, p, i, j);
                if (at >= 0) sum += *w * from[at];
            }
    return sum;
}

static float pool_window(const struct net_layer *l, const float *plane, int o, int p) {
    const int *size = l->window.size;
    float most = -INFINITY, sum = 0;
    int count = 0;
    for (int i = 0; i < size[0]; i++)
        for (int j = 0; j < size[1]; j++) {
            long at = place(l, o, p, i, j);
            if (at < 0) continue;
            most = plane[at] > most ? plane[at] : most;
            sum += plane[at];
            count++;
        }
    if (l->kind == NET_MAX_POOL2D) return most;
    return sum * (float)(1.0 / (l->count_pad ? size[0] * size[1] : count));
}

static void windows_forward(float *y, const struct net_layer *l, const float *x) {
    size_t plane = (size_t)l->in.dim[1] * (size_t)l->in.dim[2];
    for (int c = 0; c < l->out.dim[0]; c++)
        for (int o = 0; o < l->out.dim[1]; o++)
            for (int p = 0; p < l->out.dim[2]; p++)
                *y++ = l->kind == NET_CONV2D ? conv2d_window(l, x, c, o, p)
                                             : pool_window(l, x + (size_t)c * plane, o, p);
}

static void global_forward(float *y, const struct net_layer *l, const float *x) {
    size_t plane = shape_size(l->in) / (size_t)l->in.dim[0];
    for (int c = 0; c < l->in.dim[0]; c++) {
        double sum = 0;
        for (size_t i = 0; i < plane; i++) sum += (double)*x++;
        y[c] = (float)(sum / (double)plane);
    }
}

static void batch_norm_forward(float *y, const struct net_layer *l, const float *x) {
    size_t plane = shape_size(l->in) / (size_t)l->in.dim[0];
    for (size_t i = 0; i < shape_size(l->in); i++)
        y[i] = (float)((double)l->factor.value[i / plane] * (double)x[i] + (double)l->bias.value[i / plane]);
}

static void softmax_forward(float *y, const float *x, size_t size) {
    float most = x[0];
    double sum = 0;
    for (size_t i = 1; i < size; i++) most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < size; i++) sum += exp((double)(x[i] - most));
    for (size_t i = 0; i < size; i++) y[i] = (float)(exp((double)(x[i] - most)) / sum);
}

static void norm_forward(float *y, const struct net_layer *l, const float *x, size_t size) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < size && l->kind == NET_LAYER_NORM; i++) mean += (double)x[i];
    mean /= (double)size;
    for (size_t i = 0; i < size; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1 / sqrt(squares / (double)size + l->eps);
    for (size_t i = 0; i < size; i++) {
        double value = ((double)x[i] - mean) * inverse;
        if (l->factor.shape.rank) value *= (double)l->factor.value[i];
        if (l->bias.shape.rank) value += (double)l->bias.value[i];
        y[i] = (float)value;
    }
}

static void rows_forward(float *y, const struct net_layer *l, const float *x) {
    size_t length = (size_t)net_row_length(l);
    for (int r = 0; r < net_row_count(l); r++, x += length, y += length)
        if (l->kind == NET_SOFTMAX)
            softmax_forward(y, x, length);
        else
            norm_forward(y, l, x, length);
}

// An integer that orders as the number does.
static uint32_t order_key(float x) {
    uint32_t bits;
    x += 0.0f; // -0 becomes 0
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

// wins[i]: whether key i is among the k largest; of equals the first ones are.
static void winners_find(bool *wins, const uint32_t *key, size_t count, int k) {
    uint32_t last = 0; // the k-th largest, bit by bit
    for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
        size_t above = 0;
        for (size_t i = 0; i < count; i++) above += key[i] >= (last | bit);
        if (above >= (size_t)k) last |= bit;
    }
    size_t equals = (size_t)k;
    for (size_t i = 0; i < count; i++) equals -= key[i] > last;
    for (size_t i = 0; i < count; i++) {
        wins[i] = key[i] > last || (key[i] == last && equals > 0);
        if (key[i] == last && equals > 0) equals--;
    }
}

// Of the group of `count` numbers at x[first], x[first + stride] ...
static void group_forward(float *y, const struct net_layer *l, const float *x, size_t first, size_t count,
                          size_t stride) {
    size_t plane = shape_size(l->in) / (size_t)l->in.dim[0];
    uint32_t *key = mem_new(count, sizeof *key);
    bool *wins = mem_new(count, sizeof *wins);
    for (size_t i = 0; i < count; i++) {
        size_t at = first + i * stride;
        key[i] = order_key(l->factor.shape.rank ? x[at] * l->factor.value[at / plane] : x[at]);
    }
    winners_find(wins, key, count, l->k);
    for (size_t i = 0; i < count; i++) y[first + i * stride] = wins[i] ? x[first + i * stride] : 0;
    mem_free(wins);
    mem_free(key);
}

static void k_winners_forward(float *y, const struct net_layer *l, const float *x) {
    size_t size = shape_size(l->in), plane = size / (size_t)l->in.dim[0];
    if (!l->local) group_forward(y, l, x, 0, size, 1);
    for (size_t i = 0; l->local && i < plane; i++) group_forward(y, l, x, i, (size_t)l->in.dim[0], plane);
}

static void select_forward(float *y, const struct net_layer *l, const float *x, const float *score) {
    int rows = net_rows(&l->weight), blocks = (rows + l->block - 1) / l->block;
    uint32_t *key = mem_new((size_t)blocks, sizeof *key);
    bool *wins = mem_new((size_t)blocks, sizeof *wins);
    for (int b = 0; b < blocks; b++) key[b] = order_key(score[b]);
    winners_find(wins, key, (size_t)blocks, l->k);
    for (int i = 0; i < rows; i++) y[i] = wins[i / l->block] ? row_forward(l, x, i) : 0;
    mem_free(wins);
    mem_free(key);
}

// b: the sum so far, or NULL.
static void mix_forward(float *y, const struct net_layer *l, const float *x, const float *b, float gate) {
    for (size_t i = 0; i < shape_size(l->out); i++) {
        float sum = b ? b[i] : 0;
        y[i] = gate != 0 ? sum + gate * x[i] : sum;
    }
}

static void embedding_forward(float *y, const struct net_layer *l, const float *x) {
    int columns = net_columns(&l->weight), rows = net_rows(&l->weight);
    for (size_t i = 0; i < shape_size(l->in); i++, y += columns) {
        size_t row = x[i] >= (float)rows ? (size_t)rows - 1 : x[i] >= 1 ? (size_t)x[i] : 0;
        memcpy(y, l->weight.value + row * (size_t)columns, (size_t)columns * sizeof *y);
    }
}

// What acts on each element alone, and the joins: a is input[0]'s result, b input[1]'s.
static void elements_forward(float *y, const struct net_layer *l, const float *a, const float *b) {
    size_t in = shape_size(l->in), out = shape_size(l->out);
    if (l->kind == NET_CONCAT) {
        memcpy(y, a, in * sizeof *y);
        memcpy(y + in, b, (out - in) * sizeof *y);
        return;
    }
    for (size_t i = 0; i < out; i++) {
        if (l->kind == NET_ADD)
            y[i] = a[i] + b[i];
        else if (l->kind == NET_POSITIONAL_EMBEDDING)
            y[i] = a[i] + l->weight.value[i];
        else
            y[i] = (float)net_activation(l, (double)a[i]);
    }
}

// gate: 1 where the layer has none.
static void layer_forward(float *y, const struct net_layer *l, const float *a, const float *b, float gate) {
    if (gate == 0 && l->kind != NET_MIX) return;
    switch (l->kind) {
    case NET_LINEAR:
        linear_forward(y, l, a);
        break;
    case NET_CONV2D:
    case NET_MAX_POOL2D:
    case NET_AVG_POOL2D:
        windows_forward(y, l, a);
        break;
    case NET_GLOBAL_AVG_POOL2D:
        global_forward(y, l, a);
        break;
    case NET_BATCH_NORM:
        batch_norm_forward(y, l, a);
        break;
    case NET_SOFTMAX:
    case NET_LAYER_NORM:
    case NET_RMS_NORM:
        rows_forward(y, l, a);
        break;
    case NET_K_WINNERS:
        k_winners_forward(y, l, a);
        break;
    case NET_EMBEDDING:
        embedding_forward(y, l, a);
        break;
    case NET_SELECT:
        select_forward(y, l, a, b);
        break;
    case NET_MIX:
        mix_forward(y, l, a, b, gate);
        break;
    default:
        elements_forward(y, l, a, b);
    }
}

void net_forward(const struct net *n, const float *x, float *y) {
    float **result = mem_new((size_t)n->count, sizeof *result);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        const float *input[NET_INPUTS] = {NULL};
        for (int k = 0; k < net_inputs(l); k++)
            input[k] = l->input[k] == NET_SAMPLE ? x : result[l->input[k]];
        result[i] = mem_new(shape_size(l->out), sizeof **result);
        layer_forward(result[i], l, input[0], input[1], l->gated ? result[l->gate][l->unit] : 1);
    }
    memcpy(y, result[n->count - 1], shape_size(n->layers[n->count - 1].out) * sizeof *y);
    for (int i = 0; i < n->count; i++) mem_free(result[i]);
    mem_free(result);
}
