// How the float form of the generated C stores numbers. A weight is one of
//
//   indexed   a byte, the index into the layer's distinct values, where there are at most 256 and that is smaller
//   counted   its counter in 8 or 16 bits, and the code computes (float)(scale · f(c)); maps linear and square
//   floats    itself
//
// Where the outputs have factors, that of an output goes into the value (float)(scale · f(c) · factor): the distinct
// numbers are then scale · f(c), in double. A bias is its counter in 8 bits, or itself.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/c_source.h"

enum { INDEX_MAX = 256 };

// Numbers of a tensor in the order of a table, with what they are coded from.
struct numbers {
    size_t n;
    float *value;     // [n]
    int32_t *counter; // [n] or NULL
    double *base;     // [n] value, or with factors scale · f(counter)
};

// --- choosing ----------------------------------------------------------------------------------------------------------

static void numbers_free(struct numbers *m) {
    mem_free(m->value);
    mem_free(m->counter);
    mem_free(m->base);
}

// at[i] is where number i is in the tensor, C_BRIDGE for 0; NULL: all of it.
static struct numbers numbers_take(const struct net_tensor *t, const size_t *at, size_t n, bool factors) {
    struct numbers m = {.n = n, .value = mem_new(n, sizeof *m.value), .base = mem_new(n, sizeof *m.base)};
    if (t->counted) m.counter = mem_new(n, sizeof *m.counter);
    for (size_t i = 0; i < n; i++) {
        size_t from = at ? at[i] : i;
        if (from == C_BRIDGE) continue;
        m.value[i] = t->value[from];
        m.base[i] = (double)t->value[from];
        if (!t->counted) continue;
        m.counter[i] = t->counter[from];
        if (factors) m.base[i] = t->scale * number_value(&t->number, m.counter[i]);
    }
    return m;
}

static int double_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The distinct bases, rising; *count of them.
static double *distinct_new(size_t *count, const struct numbers *m) {
    double *sorted = mem_new(m->n, sizeof *sorted);
    memcpy(sorted, m->base, m->n * sizeof *sorted);
    qsort(sorted, m->n, sizeof *sorted, double_compare);
    *count = 0;
    for (size_t i = 0; i < m->n; i++)
        if (i == 0 || sorted[i] != sorted[*count - 1]) sorted[(*count)++] = sorted[i];
    return sorted;
}

// Whether the code can compute the values from counters of at most `limit`, but for factors.
static bool can_count(const struct net_tensor *t, const struct numbers *m, int32_t limit, bool factors) {
    if (!m->counter || (t->number.kind != NUMBER_LINEAR && t->number.kind != NUMBER_SQUARE)) return false;
    for (size_t i = 0; i < m->n; i++) {
        double f = number_value(&t->number, m->counter[i]);
        if (m->counter[i] < -limit || m->counter[i] > limit) return false;
        if (!factors && m->value[i] != (float)(t->scale * f)) return false;
    }
    return true;
}

// --- weights -----------------------------------------------------------------------------------------------------------

static void indices_table(struct c_source *s, int layer, const struct numbers *m, const double *distinct,
                          size_t count, bool factors) {
    int32_t *index = mem_new(m->n, sizeof *index);
    float *value = mem_new(count, sizeof *value);
    for (size_t i = 0; i < m->n; i++) {
        const double *found = bsearch(&m->base[i], distinct, count, sizeof *distinct, double_compare);
        index[i] = (int32_t)(found - distinct);
    }
    for (size_t i = 0; i < count; i++) value[i] = (float)distinct[i];
    c_table(s, layer, "weight", C_UINT8, index, m->n);
    if (factors)
        c_table_doubles(s, layer, "value", distinct, count);
    else
        c_table_floats(s, layer, "value", value, count);
    mem_free(index);
    mem_free(value);
}

static enum c_coding coding_choose(const struct net_layer *l, const struct numbers *m, size_t distinct,
                                   bool factors) {
    size_t each = factors ? sizeof(double) : sizeof(float);
    size_t beside = distinct * each + (factors ? l->factor.size * sizeof(float) : 0);
    if (distinct > INDEX_MAX) return can_count(&l->weight, m, INT16_MAX, factors) ? C_COUNTED : C_FLOATS;
    return m->n + beside < m->n * sizeof(float) ? C_INDEXED : C_FLOATS;
}

// The lines that make w of weight k, or of the counter c that it is.
static void weight_print(char lines[C_LINES], struct c_source *s, int layer, enum c_coding coding,
                         bool factors) {
    const struct net_layer *l = &s->net->layers[layer];
    char weight[C_EXPRESSION], base[C_EXPRESSION], factor[C_EXPRESSION], scale[C_NUMBER];
    int used = 0;
    snprintf(weight, sizeof weight, "%s_%s_weight[k]", s->prefix, l->name);
    if (coding == C_INDEXED)
        snprintf(base, sizeof base, "%s_%s_value[%s_%s_weight[k]]", s->prefix, l->name, s->prefix, l->name);
    else if (coding == C_COUNTED)
        snprintf(base, sizeof base, "%s * (double)%s", c_double_text(scale, l->weight.scale),
                 l->weight.number.kind == NUMBER_SQUARE ? "(c < 0 ? -(c * c) : c * c)" : "c");
    else
        snprintf(base, sizeof base, "%s", weight);
    if (coding == C_COUNTED) used = snprintf(lines, C_LINES, "            const int32_t c = %s;\n", weight);
    lines += used;
    if (factors && coding != C_FLOATS) {
        c_vector(factor, s, layer, "factor", &l->factor, "row");
        snprintf(lines, (size_t)(C_LINES - used), "            const float w = (float)(%s * (double)%s);\n",
                 base, factor);
    } else {
        snprintf(lines, (size_t)(C_LINES - used),
                 coding == C_COUNTED ? "            const float w = (float)(%s);\n"
                                     : "            const float w = %s;\n",
                 base);
    }
}

enum c_coding c_weights(struct c_source *s, int layer, const struct c_rows *rows, char lines[C_LINES]) {
    const struct net_layer *l = &s->net->layers[layer];
    const struct net_tensor *t = &l->weight;
    bool factors = l->factor.shape.rank > 0 && t->counted;
    struct numbers m = numbers_take(t, rows ? rows->at : NULL, rows ? rows->entries : t->size, factors);
    size_t count;
    double *distinct = distinct_new(&count, &m);
    enum c_coding coding = coding_choose(l, &m, count, factors);
    if (coding == C_INDEXED)
        indices_table(s, layer, &m, distinct, count, factors);
    else if (coding == C_COUNTED)
        c_table(s, layer, "weight", can_count(t, &m, INT8_MAX, factors) ? C_INT8 : C_INT16, m.counter, m.n);
    else
        c_table_floats(s, layer, "weight", m.value, m.n);
    weight_print(lines, s, layer, coding, factors);
    mem_free(distinct);
    numbers_free(&m);
    return coding;
}

// --- numbers per output ------------------------------------------------------------------------------------------------

void c_vector(char text[C_EXPRESSION], struct c_source *s, int layer, const char *what,
              const struct net_tensor *t, const char *row) {
    char scale[C_NUMBER];
    const char *name = s->net->layers[layer].name;
    if (t->shape.rank == 0) {
        snprintf(text, C_EXPRESSION, "0.0f");
        return;
    }
    struct numbers m = numbers_take(t, NULL, t->size, false);
    if (t->number.kind == NUMBER_LINEAR && can_count(t, &m, INT8_MAX, false)) {
        c_table(s, layer, what, C_INT8, m.counter, m.n);
        snprintf(text, C_EXPRESSION, "(float)(%s * (double)%s_%s_%s[%s])", c_double_text(scale, t->scale),
                 s->prefix, name, what, row);
    } else {
        c_table_floats(s, layer, what, m.value, m.n);
        snprintf(text, C_EXPRESSION, "%s_%s_%s[%s]", s->prefix, name, what, row);
    }
    numbers_free(&m);
}
