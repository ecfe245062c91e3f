// Layers without weights in the float form of the generated C. The arithmetic is that of net_forward.
#include <stdio.h>

#include "export/c_source.h"

static size_t plane_of(const struct net_layer *l) {
    return shape_size(l->in) / (size_t)l->in.dim[0];
}

// --- element by element ------------------------------------------------------------------------------------------------

void c_maps_print(struct c_source *s, int first, int end, const char *indent) {
    struct bytes *b = &s->functions;
    char scale[C_NUMBER], shift[C_NUMBER];
    for (int i = first; i < end; i++) {
        const struct net_layer *l = &s->net->layers[i];
        s->math |=
            l->kind == NET_GELU || l->kind == NET_TANH || l->kind == NET_SIGMOID || l->kind == NET_SILU;
        if (l->kind == NET_AFFINE)
            bytes_print(b, "%ssum = (float)(%s * (double)sum + %s);\n", indent,
                        c_double_text(scale, l->scale), c_double_text(shift, l->shift));
        else if (l->kind == NET_RELU)
            bytes_print(b, "%ssum = sum > 0.0f ? sum : 0.0f;\n", indent);
        else if (l->kind == NET_LEAKY_RELU)
            bytes_print(b, "%ssum = sum > 0.0f ? sum : (float)(%s * (double)sum);\n", indent,
                        c_double_text(scale, l->slope));
        else if (l->kind == NET_GELU)
            bytes_print(b, "%ssum = (float)((double)sum * 0.5 * erfc(-(double)sum * 0.7071067811865476));\n",
                        indent);
        else if (l->kind == NET_TANH)
            bytes_print(b, "%ssum = (float)tanh((double)sum);\n", indent);
        else if (l->kind == NET_SIGMOID)
            bytes_print(b, "%ssum = (float)(1.0 / (1.0 + exp(-(double)sum)));\n", indent);
        else if (l->kind == NET_SILU)
            bytes_print(b, "%ssum = (float)((double)sum / (1.0 + exp(-(double)sum)));\n", indent);
    }
}

// `sum` says what element i of the result is before what follows.
static void elements_print(struct c_source *s, const struct c_stage *stage, const char *parameters,
                           const char *sum) {
    const struct net_layer *l = &s->net->layers[stage->first];
    bytes_print(&s->functions,
                "static void %s_%s(%s, float *y)\n{\n"
                "    uint32_t i;\n"
                "    for (i = 0; i < %zu; i++) {\n"
                "        float sum = %s;\n",
                s->prefix, l->name, parameters, shape_size(l->out), sum);
    c_maps_print(s, stage->first + (net_inputs(l) > 1), stage->end, "        ");
    bytes_print(&s->functions, "        y[i] = sum;\n    }\n}\n\n");
}

static void concat_print(struct c_source *s, const struct c_stage *stage) {
    char sum[4 * C_NUMBER];
    size_t first = shape_size(s->net->layers[stage->first].in);
    snprintf(sum, sizeof sum, "i < %zu ? a[i] : b[i - %zu]", first, first);
    elements_print(s, stage, "const float *a, const float *b", sum);
}

static void batch_norm_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    char factor[C_EXPRESSION], bias[C_EXPRESSION];
    c_vector(factor, s, stage->first, "factor", &l->factor, "row");
    c_vector(bias, s, stage->first, "bias", &l->bias, "row");
    bytes_print(b,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t row, i;\n"
                "    for (row = 0; row < %d; row++)\n"
                "        for (i = 0; i < %zu; i++) {\n",
                s->prefix, l->name, l->in.dim[0], plane_of(l));
    bytes_print(b, "            const double scaled = (double)%s * (double)*x++;\n", factor);
    bytes_print(b, "            float sum = (float)(scaled + (double)%s);\n", bias);
    c_maps_print(s, stage->first + 1, stage->end, "            ");
    bytes_print(b, "            *y++ = sum;\n        }\n}\n\n");
}

// --- rows --------------------------------------------------------------------------------------------------------------

static void softmax_print(struct c_source *s, const struct c_stage *stage) {
    const struct net_layer *l = &s->net->layers[stage->first];
    int length = net_row_length(l);
    s->math = true;
    bytes_print(&s->functions,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t i;\n"
                "    float most = x[0];\n"
                "    double sum = 0.0;\n"
                "    for (i = 1; i < %d; i++) most = x[i] > most ? x[i] : most;\n"
                "    for (i = 0; i < %d; i++) sum += exp((double)(x[i] - most));\n"
                "    for (i = 0; i < %d; i++) y[i] = (float)(exp((double)(x[i] - most)) / sum);\n"
                "}\n\n",
                s->prefix, l->name, length, length, length);
}

static void norm_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    int length = net_row_length(l);
    bool centred = l->kind == NET_LAYER_NORM;
    char factor[C_EXPRESSION], bias[C_EXPRESSION], eps[C_NUMBER];
    c_vector(factor, s, stage->first, "factor", &l->factor, "i");
    c_vector(bias, s, stage->first, "bias", &l->bias, "i");
    s->math = true;
    bytes_print(b,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t i;\n"
                "    double squares = 0.0, inverse;\n",
                s->prefix, l->name);
    if (centred)
        bytes_print(b,
                    "    double mean = 0.0;\n"
                    "    for (i = 0; i < %d; i++) mean += (double)x[i];\n"
                    "    mean /= %d.0;\n",
                    length, length);
    const char *distance = centred ? "(double)x[i] - mean" : "(double)x[i]";
    bytes_print(b,
                "    for (i = 0; i < %d; i++) {\n"
                "        const double v = %s, square = v * v;\n"
                "        squares += square;\n"
                "    }\n"
                "    inverse = 1.0 / sqrt(squares / %d.0 + %s);\n",
                length, distance, length, c_double_text(eps, l->eps));
    bytes_print(b,
                "    for (i = 0; i < %d; i++) {\n"
                "        double v = %s;\n"
                "        float sum;\n"
                "        v *= inverse;\n",
                length, distance);
    if (l->factor.shape.rank) bytes_print(b, "        v *= (double)%s;\n", factor);
    if (l->bias.shape.rank) bytes_print(b, "        v += (double)%s;\n", bias);
    bytes_print(b, "        sum = (float)v;\n");
    c_maps_print(s, stage->first + 1, stage->end, "        ");
    bytes_print(b, "        y[i] = sum;\n    }\n}\n\n");
}

// --- k_winners ---------------------------------------------------------------------------------------------------------

// The k-th largest number bit by bit: no memory, and 33 walks through the numbers.
void c_winners_print(struct c_source *s) {
    if (s->winners) return;
    s->winners = true;
    bytes_print(&s->functions,
                "/* An integer that orders as x * factor does; -0 as 0. */\n"
                "static uint32_t %s_order(float x, const float *factor)\n{\n"
                "    union {\n"
                "        float number;\n"
                "        uint32_t bits;\n"
                "    } u;\n"
                "    u.number = factor ? x * *factor : x;\n"
                "    u.number += 0.0f;\n"
                "    return u.bits >> 31 ? ~u.bits : u.bits | 0x80000000u;\n"
                "}\n\n",
                s->prefix);
    bytes_print(
        &s->functions,
        "/* The k-th largest order of the `count` numbers x[0], x[stride] .., of which every `each` share a "
        "factor, if\n"
        " * there are any; *equals: how many of that order are among the k. */\n"
        "static uint32_t %s_last(const float *x, const float *factor, uint32_t count, uint32_t stride,\n"
        "                        uint32_t each, uint32_t k, uint32_t *equals)\n{\n"
        "    uint32_t last = 0, bit, i;\n"
        "    for (bit = 0x80000000u; bit; bit >>= 1) {\n"
        "        uint32_t above = 0;\n"
        "        for (i = 0; i < count; i++)\n",
        s->prefix);
    bytes_print(
        &s->functions,
        "            above += %s_order(x[i * stride], factor ? factor + i / each : 0) >= (last | bit);\n"
        "        if (above >= k) last |= bit;\n"
        "    }\n"
        "    *equals = k;\n"
        "    for (i = 0; i < count; i++)\n"
        "        *equals -= %s_order(x[i * stride], factor ? factor + i / each : 0) > last;\n"
        "    return last;\n}\n\n"
        "/* Whether the next number of this order is among them. */\n"
        "static int %s_wins(uint32_t order, uint32_t last, uint32_t *equals)\n{\n"
        "    if (order != last) return order > last;\n"
        "    return *equals > 0 ? (*equals)--, 1 : 0;\n}\n\n",
        s->prefix, s->prefix, s->prefix);
}

// Those that don't win become 0.
static void group_print(struct c_source *s) {
    bytes_print(
        &s->functions,
        "static void %s_winners(const float *x, float *y, const float *factor, uint32_t count, uint32_t "
        "stride,\n"
        "                       uint32_t each, uint32_t k)\n{\n"
        "    uint32_t i, equals;\n"
        "    const uint32_t last = %s_last(x, factor, count, stride, each, k, &equals);\n"
        "    for (i = 0; i < count; i++) {\n",
        s->prefix, s->prefix);
    bytes_print(&s->functions,
                "        const uint32_t order = %s_order(x[i * stride], factor ? factor + i / each : 0);\n"
                "        y[i * stride] = %s_wins(order, last, &equals) ? x[i * stride] : 0.0f;\n"
                "    }\n}\n\n",
                s->prefix, s->prefix);
}

static void k_winners_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    const struct net_tensor *t = &l->factor;
    char factor[C_EXPRESSION] = "0";
    c_winners_print(s);
    if (!s->groups) group_print(s);
    s->groups = true;
    if (t->shape.rank) {
        c_table_floats(s, stage->first, "factor", t->value, t->size);
        snprintf(factor, sizeof factor, "%s_%s_factor", s->prefix, l->name);
    }
    bytes_print(b, "static void %s_%s(const float *x, float *y)\n{\n", s->prefix, l->name);
    if (l->local)
        bytes_print(b,
                    "    uint32_t i;\n"
                    "    for (i = 0; i < %zu; i++) %s_winners(x + i, y + i, %s, %d, %zu, 1, %d);\n",
                    plane_of(l), s->prefix, factor, l->in.dim[0], plane_of(l), l->k);
    else
        bytes_print(b, "    %s_winners(x, y, %s, %zu, 1, %zu, %d);\n", s->prefix, factor, shape_size(l->in),
                    plane_of(l), l->k);
    bytes_print(b, "}\n\n");
}

// --- mix ---------------------------------------------------------------------------------------------------------------

static void mix_print(struct c_source *s, const struct c_stage *stage) {
    const struct net_layer *l = &s->net->layers[stage->first];
    bool two = net_inputs(l) == 2;
    bytes_print(&s->functions,
                "static void %s_%s(const float *x, %sfloat gate, float *y)\n{\n"
                "    uint32_t i;\n"
                "    for (i = 0; i < %zu; i++) {\n"
                "        float sum = %s;\n"
                "        if (gate != 0.0f) {\n"
                "            const float product = gate * x[i];\n"
                "            sum += product;\n"
                "        }\n",
                s->prefix, l->name, two ? "const float *before, " : "", shape_size(l->out),
                two ? "before[i]" : "0.0f");
    c_maps_print(s, stage->first + 1, stage->end, "        ");
    bytes_print(&s->functions, "        y[i] = sum;\n    }\n}\n\n");
}

void c_layer_print(struct c_source *s, const struct c_stage *stage) {
    switch (s->net->layers[stage->first].kind) {
    case NET_SOFTMAX:
        softmax_print(s, stage);
        break;
    case NET_LAYER_NORM:
    case NET_RMS_NORM:
        norm_print(s, stage);
        break;
    case NET_BATCH_NORM:
        batch_norm_print(s, stage);
        break;
    case NET_K_WINNERS:
        k_winners_print(s, stage);
        break;
    case NET_CONCAT:
        concat_print(s, stage);
        break;
    case NET_MIX:
        mix_print(s, stage);
        break;
    case NET_ADD:
        elements_print(s, stage, "const float *a, const float *b", "a[i] + b[i]");
        break;
    default:
        elements_print(s, stage, "const float *x", "x[i]");
    }
}
