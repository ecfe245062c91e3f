// The PROGRAM section of the native file. Contracts in tally.h; the layout is in infer/format.h.
#include "export/tally.h"
#include "export/tally_tensors.h"

static const enum format_kind program_kind[NET_KINDS] = {[NET_FLATTEN] = FORMAT_FLATTEN,
                                                         [NET_LINEAR] = FORMAT_LINEAR,
                                                         [NET_AFFINE] = FORMAT_AFFINE,
                                                         [NET_RELU] = FORMAT_RELU,
                                                         [NET_GELU] = FORMAT_GELU,
                                                         [NET_TANH] = FORMAT_TANH,
                                                         [NET_SIGMOID] = FORMAT_SIGMOID,
                                                         [NET_SOFTMAX] = FORMAT_SOFTMAX,
                                                         [NET_LEAKY_RELU] = FORMAT_LEAKY_RELU,
                                                         [NET_SILU] = FORMAT_SILU,
                                                         [NET_CONV2D] = FORMAT_CONV2D,
                                                         [NET_MAX_POOL2D] = FORMAT_MAX_POOL2D,
                                                         [NET_AVG_POOL2D] = FORMAT_AVG_POOL2D,
                                                         [NET_GLOBAL_AVG_POOL2D] = FORMAT_GLOBAL_AVG_POOL2D,
                                                         [NET_BATCH_NORM] = FORMAT_BATCH_NORM,
                                                         [NET_K_WINNERS] = FORMAT_K_WINNERS,
                                                         [NET_LAYER_NORM] = FORMAT_LAYER_NORM,
                                                         [NET_RMS_NORM] = FORMAT_RMS_NORM,
                                                         [NET_ADD] = FORMAT_ADD,
                                                         [NET_CONCAT] = FORMAT_CONCAT,
                                                         [NET_EMBEDDING] = FORMAT_EMBEDDING,
                                                         [NET_POSITIONAL_EMBEDDING] =
                                                             FORMAT_POSITIONAL_EMBEDDING,
                                                         [NET_SELECT] = FORMAT_SELECT,
                                                         [NET_MIX] = FORMAT_MIX};

bool tally_has_bias(const struct net_layer *l) {
    if (!l->bias.shape.rank) return false;
    return !l->weight.shape.rank || tally_alive(&l->bias) > 0; // adding 0 makes 0 of a norm's -0
}

int tally_version(const struct net *n) {
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        bool flat = (l->kind != NET_LINEAR && l->kind != NET_SOFTMAX) || l->in.rank == 1;
        if (l->kind > NET_SOFTMAX || l->input[0] != i - 1 || !flat || l->factor.shape.rank) return 2;
    }
    return 1;
}

static void byte_add(struct bytes *b, unsigned value) {
    bytes_add(b, &(unsigned char){(unsigned char)value}, 1);
}

static void float_add(struct bytes *b, double value) {
    float number = (float)value;
    bytes_add(b, &number, sizeof number);
}

// --- version 1
// ----------------------------------------------------------------------------------------------------

static void program_add_1(struct bytes *b, const struct net *n) {
    byte_add(b, (unsigned)n->in.rank);
    for (int i = 0; i < n->in.rank; i++) bytes_add_u32(b, (uint32_t)n->in.dim[i]);
    bytes_add_u16(b, (unsigned)n->count);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        byte_add(b, (unsigned)program_kind[l->kind]);
        if (l->kind == NET_LINEAR) {
            bytes_add_u32(b, (uint32_t)net_rows(&l->weight));
            byte_add(b, tally_has_bias(l));
        } else if (l->kind == NET_AFFINE) {
            float_add(b, l->scale);
            float_add(b, l->shift);
        }
    }
}

// --- version 2
// ----------------------------------------------------------------------------------------------------

static bool is_pair(const int pair[2], int a) {
    return pair[0] == a && pair[1] == a;
}

static void pair_add(struct bytes *b, const int pair[2]) {
    for (int k = 0; k < 2; k++) tally_add_number(b, (size_t)pair[k]);
}

static unsigned window_form(const struct window *w) {
    return (is_pair(w->stride, 1) ? 0u : FORMAT_HAS_STRIDE) |
           (is_pair(w->padding, 0) ? 0u : FORMAT_HAS_PADDING) |
           (is_pair(w->dilation, 1) ? 0u : FORMAT_HAS_DILATION);
}

static void window_add(struct bytes *b, const struct window *w) {
    unsigned form = window_form(w);
    pair_add(b, w->size);
    if (form & FORMAT_HAS_STRIDE) pair_add(b, w->stride);
    if (form & FORMAT_HAS_PADDING) pair_add(b, w->padding);
    if (form & FORMAT_HAS_DILATION) pair_add(b, w->dilation);
}

static unsigned form_of(const struct net_layer *l) {
    unsigned tensors =
        (tally_has_bias(l) ? FORMAT_HAS_BIAS : 0u) | (l->factor.shape.rank ? FORMAT_HAS_FACTOR : 0u);
    switch (l->kind) {
    case NET_CONV2D:
        return tensors | window_form(&l->window) | (l->groups > 1 ? FORMAT_HAS_GROUPS : 0u);
    case NET_MAX_POOL2D:
        return window_form(&l->window);
    case NET_AVG_POOL2D:
        return window_form(&l->window) | (l->count_pad ? FORMAT_COUNT_PAD : 0u);
    case NET_K_WINNERS:
        return tensors | (l->local ? FORMAT_LOCAL : 0u);
    default:
        return tensors;
    }
}

static void options_add(struct bytes *b, const struct net_layer *l) {
    switch (l->kind) {
    case NET_LINEAR:
    case NET_LAYER_NORM:
    case NET_RMS_NORM:
    case NET_CONV2D:
    case NET_MAX_POOL2D:
    case NET_AVG_POOL2D:
    case NET_K_WINNERS:
    case NET_SELECT:
        byte_add(b, form_of(l));
        break;
    default:
        break;
    }
    if (l->kind == NET_LINEAR || l->kind == NET_CONV2D || l->kind == NET_SELECT)
        tally_add_number(b, (size_t)net_rows(&l->weight));
    if (l->kind == NET_CONV2D || l->kind == NET_MAX_POOL2D || l->kind == NET_AVG_POOL2D)
        window_add(b, &l->window);
    if (l->kind == NET_CONV2D && l->groups > 1) tally_add_number(b, (size_t)l->groups);
    if (l->kind == NET_AFFINE) float_add(b, l->scale), float_add(b, l->shift);
    if (l->kind == NET_LEAKY_RELU) float_add(b, l->slope);
    if (l->kind == NET_LAYER_NORM || l->kind == NET_RMS_NORM) float_add(b, l->eps);
    if (l->kind == NET_K_WINNERS || l->kind == NET_SELECT) tally_add_number(b, (size_t)l->k);
    if (l->kind == NET_SELECT) tally_add_number(b, (size_t)l->block);
    if (l->kind == NET_EMBEDDING) {
        tally_add_number(b, (size_t)net_rows(&l->weight));
        tally_add_number(b, (size_t)net_columns(&l->weight));
    }
}

static void program_add_2(struct bytes *b, const struct net *n) {
    byte_add(b, (unsigned)n->in.rank);
    for (int i = 0; i < n->in.rank; i++) tally_add_number(b, (size_t)n->in.dim[i]);
    tally_add_number(b, (size_t)n->count);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        bool mix = l->kind == NET_MIX, given = mix || net_inputs(l) > 1 || l->input[0] != i - 1;
        byte_add(b, (unsigned)program_kind[l->kind] + (given ? FORMAT_INPUTS : 0u) +
                        (l->gated ? FORMAT_GATED : 0u));
        for (int k = 0; k < net_inputs(l) && given; k++) tally_add_number(b, (size_t)(i - l->input[k]));
        if (mix && net_inputs(l) == 1) tally_add_number(b, 0);
        if (l->gated) {
            tally_add_number(b, (size_t)(i - l->gate));
            tally_add_number(b, (size_t)l->unit);
        }
        options_add(b, l);
    }
}

void tally_add_program(struct bytes *b, const struct net *n) {
    if (tally_version(n) == 1)
        program_add_1(b, n);
    else
        program_add_2(b, n);
}
