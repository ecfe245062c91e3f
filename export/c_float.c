// The float form of the generated C: the arithmetic of net_forward, so that it gives the same bits where the compiler does
// not fuse multiplications with additions. A sum is a bias and then the products in the order of the inputs.
//
// A weight is stored as
//   indexed   a byte, the index into the layer's distinct values, where there are at most 256 and that is smaller
//   counted   its counter in 8 or 16 bits, and the code computes (float)(scale · f(c)); maps linear and square
//   floats    itself
// and a bias as its counter in 8 bits, or itself.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/c_source.h"

enum { INDEX_MAX = 256, EXPRESSION = 4 * C_NAME };

enum coding { FLOATS, INDEXED, COUNTED };

// Numbers of a tensor in the order of a table, with what they are coded from.
struct numbers {
    size_t n;
    float *value;     // [n]
    int32_t *counter; // [n] or NULL
};

// --- choosing ----------------------------------------------------------------------------------------------------------

static void numbers_free(struct numbers *m) {
    mem_free(m->value);
    mem_free(m->counter);
}

// at[i] is where number i is in the tensor, C_BRIDGE for 0; NULL: all of it.
static struct numbers numbers_take(const struct net_tensor *t, const size_t *at, size_t n) {
    struct numbers m = {.n = n, .value = mem_new(n, sizeof *m.value)};
    if (t->counted) m.counter = mem_new(n, sizeof *m.counter);
    for (size_t i = 0; i < n; i++) {
        size_t from = at ? at[i] : i;
        if (from == C_BRIDGE) continue;
        m.value[i] = t->value[from];
        if (t->counted) m.counter[i] = t->counter[from];
    }
    return m;
}

static int float_compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// The distinct values, rising; *count of them.
static float *distinct_new(size_t *count, const struct numbers *m) {
    float *sorted = mem_new(m->n, sizeof *sorted);
    memcpy(sorted, m->value, m->n * sizeof *sorted);
    qsort(sorted, m->n, sizeof *sorted, float_compare);
    *count = 0;
    for (size_t i = 0; i < m->n; i++)
        if (i == 0 || sorted[i] != sorted[*count - 1]) sorted[(*count)++] = sorted[i];
    return sorted;
}

// Whether the code can compute the values from counters of at most `limit`.
static bool can_count(const struct net_tensor *t, const struct numbers *m, int32_t limit) {
    if (!m->counter || (t->number.kind != NUMBER_LINEAR && t->number.kind != NUMBER_SQUARE)) return false;
    for (size_t i = 0; i < m->n; i++) {
        double f = number_value(&t->number, m->counter[i]);
        if (m->counter[i] < -limit || m->counter[i] > limit || m->value[i] != (float)(t->scale * f))
            return false;
    }
    return true;
}

// --- tables ------------------------------------------------------------------------------------------------------------

static void counters_table(struct c_source *s, int layer, const char *what, const struct net_tensor *t,
                           const struct numbers *m) {
    c_table(s, layer, what, can_count(t, m, INT8_MAX) ? C_INT8 : C_INT16, m->counter, m->n);
}

static void indices_table(struct c_source *s, int layer, const struct numbers *m, const float *distinct,
                          size_t count) {
    int32_t *index = mem_new(m->n, sizeof *index);
    for (size_t i = 0; i < m->n; i++) {
        const float *found = bsearch(&m->value[i], distinct, count, sizeof *distinct, float_compare);
        index[i] = (int32_t)(found - distinct);
    }
    c_table(s, layer, "weight", C_UINT8, index, m->n);
    c_table_floats(s, layer, "value", distinct, count);
    mem_free(index);
}

static enum coding weights_table(struct c_source *s, int layer, const struct numbers *m) {
    const struct net_tensor *t = &s->net->layers[layer].weight;
    size_t count;
    float *distinct = distinct_new(&count, m);
    enum coding coding = FLOATS;
    if (count <= INDEX_MAX && m->n + count * sizeof *distinct < m->n * sizeof *distinct)
        coding = INDEXED;
    else if (count > INDEX_MAX && can_count(t, m, INT16_MAX))
        coding = COUNTED;
    if (coding == INDEXED)
        indices_table(s, layer, m, distinct, count);
    else if (coding == COUNTED)
        counters_table(s, layer, "weight", t, m);
    else
        c_table_floats(s, layer, "weight", m->value, m->n);
    mem_free(distinct);
    return coding;
}

// --- functions ---------------------------------------------------------------------------------------------------------

// The float that a counter stands for, as C; `c` is its name there.
static void counted_print(char text[EXPRESSION], const struct net_tensor *t, char c) {
    char scale[C_NUMBER];
    c_double_text(scale, t->scale);
    if (t->number.kind == NUMBER_SQUARE)
        snprintf(text, EXPRESSION, "(float)(%s * (double)(%c < 0 ? -(%c * %c) : %c * %c))", scale, c, c, c, c,
                 c);
    else
        snprintf(text, EXPRESSION, "(float)(%s * (double)%c)", scale, c);
}

// The bias's table; the first value of a row's sum into `text`.
static void bias_print(char *text, size_t room, struct c_source *s, int layer) {
    const struct net_layer *l = &s->net->layers[layer];
    if (l->bias.shape.rank == 0) {
        snprintf(text, room, "        float sum = 0.0f;\n");
        return;
    }
    struct numbers m = numbers_take(&l->bias, NULL, l->bias.size);
    if (can_count(&l->bias, &m, INT8_MAX)) {
        char value[EXPRESSION];
        counters_table(s, layer, "bias", &l->bias, &m);
        counted_print(value, &l->bias, 'b');
        snprintf(text, room, "        const int32_t b = %s_%s_bias[row];\n        float sum = %s;\n",
                 s->prefix, l->name, value);
    } else {
        c_table_floats(s, layer, "bias", m.value, m.n);
        snprintf(text, room, "        float sum = %s_%s_bias[row];\n", s->prefix, l->name);
    }
    numbers_free(&m);
}

// What acts on each element alone, in layers first .. end-1.
static void maps_print(struct c_source *s, int first, int end, const char *indent) {
    struct bytes *b = &s->functions;
    char scale[C_NUMBER], shift[C_NUMBER];
    for (int i = first; i < end; i++) {
        const struct net_layer *l = &s->net->layers[i];
        s->math |= l->kind == NET_GELU || l->kind == NET_TANH || l->kind == NET_SIGMOID;
        if (l->kind == NET_AFFINE)
            bytes_print(b, "%ssum = (float)(%s * (double)sum + %s);\n", indent,
                        c_double_text(scale, l->scale), c_double_text(shift, l->shift));
        else if (l->kind == NET_RELU)
            bytes_print(b, "%ssum = sum > 0.0f ? sum : 0.0f;\n", indent);
        else if (l->kind == NET_GELU)
            bytes_print(b, "%ssum = (float)((double)sum * 0.5 * erfc(-(double)sum * 0.7071067811865476));\n",
                        indent);
        else if (l->kind == NET_TANH)
            bytes_print(b, "%ssum = (float)tanh((double)sum);\n", indent);
        else if (l->kind == NET_SIGMOID)
            bytes_print(b, "%ssum = (float)(1.0 / (1.0 + exp(-(double)sum)));\n", indent);
    }
}

static void linear_print(struct c_source *s, const struct c_stage *stage) {
    static const char *const codings[] = {"floats", "indices of distinct values", "counters"};
    int layer = stage->first;
    const struct net_layer *l = &s->net->layers[layer];
    const struct net_tensor *w = &l->weight;
    struct bytes *b = &s->functions;
    size_t nonzero = net_nonzero(w);
    bool dense = c_is_dense(nonzero, w->size);
    uint8_t *alive = mem_new(w->size, sizeof *alive);
    for (size_t i = 0; i < w->size; i++) alive[i] = w->value[i] != 0;
    struct c_rows *rows = c_rows_new(alive, net_rows(w), net_columns(w));
    struct numbers m = numbers_take(w, dense ? NULL : rows->at, dense ? w->size : rows->entries);
    char sum[2 * EXPRESSION], value[EXPRESSION];
    bias_print(sum, sizeof sum, s, layer);
    if (!dense) c_rows_tables(s, layer, rows);
    enum coding coding = m.n ? weights_table(s, layer, &m) : FLOATS;
    c_loop_begin(s, layer, "float", "float", sum, m.n, dense);
    if (m.n && coding == COUNTED) {
        counted_print(value, w, 'c');
        bytes_print(b, "            const int32_t c = %s_%s_weight[k];\n            const float w = %s;\n",
                    s->prefix, l->name, value);
    } else if (m.n && coding == INDEXED) {
        bytes_print(b, "            const float w = %s_%s_value[%s_%s_weight[k]];\n", s->prefix, l->name,
                    s->prefix, l->name);
    } else if (m.n) {
        bytes_print(b, "            const float w = %s_%s_weight[k];\n", s->prefix, l->name);
    }
    if (m.n)
        bytes_print(b, "            const float product = w * x[column];\n"
                       "            sum += product;\n");
    c_loop_end(s, m.n);
    maps_print(s, layer + 1, stage->end, "        ");
    bytes_print(b, "        y[row] = sum;\n    }\n}\n\n");
    c_note(s, layer, nonzero, dense, codings[coding]);
    numbers_free(&m);
    c_rows_free(rows);
    mem_free(alive);
}

static void maps_stage_print(struct c_source *s, const struct c_stage *stage) {
    const struct net_layer *l = &s->net->layers[stage->first];
    bytes_print(&s->functions,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t i;\n"
                "    for (i = 0; i < %zu; i++) {\n"
                "        float sum = x[i];\n",
                s->prefix, l->name, shape_size(l->in));
    maps_print(s, stage->first, stage->end, "        ");
    bytes_print(&s->functions, "        y[i] = sum;\n    }\n}\n\n");
}

static void softmax_print(struct c_source *s, const struct c_stage *stage) {
    const struct net_layer *l = &s->net->layers[stage->first];
    s->math = true;
    bytes_print(&s->functions,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t i;\n"
                "    float most = x[0];\n"
                "    double sum = 0.0;\n"
                "    for (i = 1; i < %zu; i++) most = x[i] > most ? x[i] : most;\n"
                "    for (i = 0; i < %zu; i++) sum += exp((double)(x[i] - most));\n"
                "    for (i = 0; i < %zu; i++) y[i] = (float)(exp((double)(x[i] - most)) / sum);\n"
                "}\n\n",
                s->prefix, l->name, shape_size(l->in), shape_size(l->in), shape_size(l->in));
}

void c_float_stages(struct c_source *s) {
    for (int i = 0; i < s->count; i++) {
        const struct c_stage *stage = &s->stages[i];
        if (stage->kind == C_LINEAR)
            linear_print(s, stage);
        else if (stage->kind == C_MAPS)
            maps_stage_print(s, stage);
        else
            softmax_print(s, stage);
    }
}
