// The integer form of the generated C: shifts and additions as c_shifts.h plans them.
#include <stdio.h>

#include "export/c_source.h"

enum { TEXT = 4 * C_NAME };

// The codes in the order of the table, bridges and zeros as SHIFT_ZERO. Whether any of them shifts right.
static bool codes_table(struct c_source *s, const struct shift_layer *l, const struct c_rows *rows,
                        bool dense) {
    size_t n = dense ? (size_t)l->rows * (size_t)l->columns : rows->entries;
    int32_t *code = mem_new(n, sizeof *code);
    bool rights = false;
    size_t term = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = dense ? i : rows->at[i];
        term = i > 0 && !dense && at == rows->at[i - 1] ? term + 1 : 0;
        code[i] = at == C_BRIDGE ? SHIFT_ZERO : l->code[at * SHIFT_TERMS + term];
        rights |= (code[i] & SHIFT_MASK) >= SHIFT_RIGHT;
    }
    c_table(s, l->layer, "weight", C_UINT8, code, n);
    mem_free(code);
    return rights;
}

// sum += or -= one shifted input. A negative input is shifted as its magnitude: C leaves shifts of negatives open.
static void term_print(struct c_source *s, const struct shift_layer *l, bool rights) {
    struct bytes *b = &s->functions;
    bytes_print(b, "            const uint32_t w = %s_%s_weight[k];\n", s->prefix,
                s->net->layers[l->layer].name);
    if (rights) bytes_print(b, "            const uint32_t s = w & %d;\n", SHIFT_MASK);
    if (l->signed_in)
        bytes_print(b, "            const int32_t a = x[column] < 0 ? -x[column] : x[column];\n"
                       "            const uint32_t minus = x[column] < 0 ? ~w : w;\n");
    else
        bytes_print(b, "            const int32_t a = x[column];\n");
    if (rights)
        bytes_print(b, "            const int32_t t = s < %d ? a << s : ((a >> (s - %d)) + 1) >> 1;\n",
                    SHIFT_RIGHT, SHIFT_RIGHT);
    else
        bytes_print(b, "            const int32_t t = a << (w & %d);\n", SHIFT_RIGHT - 1);
    bytes_print(b,
                "            if (%s & %d)\n"
                "                sum -= t;\n"
                "            else\n"
                "                sum += t;\n",
                l->signed_in ? "minus" : "w", SHIFT_MINUS);
}

// `v` >= 0 shifted right by `by`, the half rounded up, without a sum that could leave 32 bits.
static void right_print(char text[TEXT], const char *v, int by) {
    if (by == 1)
        snprintf(text, TEXT, "(%s + 1) >> 1", v);
    else
        snprintf(text, TEXT, "((%s >> %d) + 1) >> 1", v, by - 1);
}

static void output_print(struct c_source *s, const struct shift_layer *l) {
    struct bytes *b = &s->functions;
    char plus[TEXT] = "sum", minus[TEXT] = "-sum";
    if (l->out_shift) {
        right_print(plus, "sum", l->out_shift);
        right_print(minus, "-sum", l->out_shift);
    }
    if (l->relu) bytes_print(b, "        if (sum < 0) sum = 0;\n");
    if (l->relu || l->out_shift == 0)
        bytes_print(b, "        y[row] = %s;\n", plus);
    else
        bytes_print(b, "        y[row] = sum < 0 ? -(%s) : %s;\n", minus, plus);
    bytes_print(b, "    }\n}\n\n");
}

static void note_add(struct c_source *s, const struct shift_layer *l, bool dense) {
    char unit[C_NUMBER];
    c_note(s, l->layer, net_nonzero(&s->net->layers[l->layer].weight), dense, "shifts");
    if (l->terms > l->weights)
        bytes_print(&s->notes, " *             as %zu powers of two, one or two for a weight\n", l->terms);
    if (l->dropped)
        bytes_print(&s->notes, " *             %zu of them are left out: too small to change a sum\n",
                    l->dropped);
    bytes_print(&s->notes, " *             least exponent %d, then %s>> %d; one unit of a sum is %s\n",
                l->least, l->relu ? "relu and " : "", l->out_shift, c_short_text(unit, l->sigma));
}

static void layer_print(struct c_source *s, const struct shift_layer *l, bool first) {
    const char *name = s->net->layers[l->layer].name;
    size_t size = (size_t)l->rows * (size_t)l->columns;
    bool dense = c_is_dense(l->weights, size) && l->terms == l->weights;
    uint8_t *alive = mem_new(size, sizeof *alive);
    for (size_t i = 0; i < size * SHIFT_TERMS; i++) alive[i / SHIFT_TERMS] += l->code[i] != SHIFT_ZERO;
    struct c_rows *rows = c_rows_new(alive, l->rows, l->columns);
    size_t entries = dense ? size : rows->entries;
    char sum[TEXT];
    c_table(s, l->layer, "bias", C_INT32, l->bias, (size_t)l->rows);
    snprintf(sum, sizeof sum, "        int32_t sum = %s_%s_bias[row];\n", s->prefix, name);
    if (!dense) c_rows_tables(s, l->layer, rows);
    bool rights = entries ? codes_table(s, l, rows, dense) : false;
    c_loop_begin(s, l->layer, first ? "uint8_t" : "int32_t", "int32_t", sum, entries, dense);
    if (entries) term_print(s, l, rights);
    c_loop_end(s, entries);
    output_print(s, l);
    note_add(s, l, dense);
    c_rows_free(rows);
    mem_free(alive);
}

void c_integer_stages(struct c_source *s) {
    for (int i = 0; i < s->shifts->count; i++) layer_print(s, &s->shifts->layers[i], i == 0);
}
