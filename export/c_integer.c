// The integer form of the generated C: shifts and additions as c_shifts.h plans them.
#include <stdio.h>

#include "export/c_source.h"

enum { TEXT = 4 * C_NAME + PARAM_NAME, LINES = 4 * TEXT };

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

// What a weight's code and an input do to the sum, in lines behind `indent`. A negative input is shifted as its magnitude: C
// leaves shifts of negatives open.
static void term_text(char text[LINES], const struct shift_layer *l, bool rights, const char *indent) {
    char shifted[TEXT] = "a << (w & 31)";
    if (rights)
        snprintf(shifted, sizeof shifted, "s < %d ? a << s : ((a >> (s - %d)) + 1) >> 1", SHIFT_RIGHT,
                 SHIFT_RIGHT);
    int used =
        snprintf(text, LINES, "%sconst int32_t a = v%s;\n", indent, l->signed_in ? " < 0 ? -v : v" : "");
    if (l->signed_in)
        used += snprintf(text + used, (size_t)(LINES - used), "%sconst uint32_t minus = v < 0 ? ~w : w;\n",
                         indent);
    snprintf(text + used, (size_t)(LINES - used),
             "%sconst int32_t t = %s;\n"
             "%sif (%s & %d)\n"
             "%s    sum -= t;\n"
             "%selse\n"
             "%s    sum += t;\n",
             indent, shifted, indent, l->signed_in ? "minus" : "w", SHIFT_MINUS, indent, indent, indent);
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
    const char *indent = l->conv2d ? "            " : "        ";
    char plus[TEXT], minus[TEXT];
    if (l->relu) bytes_print(b, "%sif (sum < 0) sum = 0;\n", indent);
    if (l->out_shift == 0) return;
    right_print(plus, "sum", l->out_shift);
    right_print(minus, "-sum", l->out_shift);
    if (l->relu)
        bytes_print(b, "%ssum = %s;\n", indent, plus);
    else
        bytes_print(b, "%ssum = sum < 0 ? -(%s) : %s;\n", indent, minus, plus);
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

static void layer_print(struct c_source *s, const struct c_stage *stage, const struct shift_layer *l,
                        bool first) {
    const char *name = s->net->layers[l->layer].name;
    size_t size = (size_t)l->rows * (size_t)l->columns;
    bool dense = c_is_dense(l->weights, size) && l->terms == l->weights;
    uint8_t *alive = mem_new(size, sizeof *alive);
    for (size_t i = 0; i < size * SHIFT_TERMS; i++) alive[i / SHIFT_TERMS] += l->code[i] != SHIFT_ZERO;
    struct c_rows *rows = c_rows_new(alive, l->rows, l->columns);
    size_t entries = dense ? size : rows->entries;
    char sum[TEXT], weight[LINES] = "", term[LINES] = "";
    if (l->pooled) {
        c_pool_begin(s, stage->pool, "int32_t");
        c_pool_end(s, stage->pool);
    }
    c_table(s, l->layer, "bias", C_INT32, l->bias, (size_t)l->rows);
    snprintf(sum, sizeof sum, "        int32_t sum = %s_%s_bias[row];\n", s->prefix, name);
    if (!dense) c_rows_tables(s, l->layer, rows);
    if (entries) {
        bool rights = codes_table(s, l, rows, dense);
        int used =
            snprintf(weight, LINES, "            const uint32_t w = %s_%s_weight[k];\n", s->prefix, name);
        if (rights)
            snprintf(weight + used, (size_t)(LINES - used), "            const uint32_t s = w & %d;\n",
                     SHIFT_MASK);
        term_text(term, l, rights, l->conv2d ? "                    " : "            ");
    }
    struct c_loop loop = {.stage = stage,
                          .from = first ? "uint8_t" : "int32_t",
                          .to = "int32_t",
                          .sum = sum,
                          .weight = weight,
                          .term = term,
                          .entries = entries,
                          .dense = dense,
                          .finish = l->relu || l->out_shift > 0};
    c_loop_begin(s, &loop);
    output_print(s, l);
    c_loop_end(s, &loop);
    note_add(s, l, dense);
    c_rows_free(rows);
    mem_free(alive);
}

void c_integer_stages(struct c_source *s) {
    CHECK(s->count == s->shifts->count, "c: %d stages of %d layers", s->count, s->shifts->count);
    for (int i = 0; i < s->count; i++) {
        CHECK(s->stages[i].first == s->shifts->layers[i].layer, "c: stage %d", i);
        layer_print(s, &s->stages[i], &s->shifts->layers[i], i == 0);
    }
}
