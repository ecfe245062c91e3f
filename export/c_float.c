// The float form of the generated C: the arithmetic of net_forward, so that it gives the same bits where the compiler does
// not fuse multiplications with additions. A sum is a bias and then the products in the order of the inputs. Here are the
// layers with weights; the others are in c_layers.c.
#include <stdio.h>

#include "export/c_source.h"

// What the kinds of layers with weights share.
struct weights {
    struct c_rows *rows; // NULL: dense
    size_t entries;
    char lines[C_LINES];
};

static void weights_begin(struct weights *w, struct c_source *s, int layer) {
    static const char *const codings[] = {"floats", "indices of distinct values", "counters"};
    const struct net_tensor *t = &s->net->layers[layer].weight;
    size_t nonzero = net_nonzero(t);
    *w = (struct weights){.entries = t->size};
    if (!c_is_dense(nonzero, t->size)) {
        uint8_t *alive = mem_new(t->size, sizeof *alive);
        for (size_t i = 0; i < t->size; i++) alive[i] = t->value[i] != 0;
        w->rows = c_rows_new(alive, net_rows(t), net_columns(t));
        w->entries = w->rows->entries;
        mem_free(alive);
        c_rows_tables(s, layer, w->rows);
    }
    enum c_coding coding = w->entries ? c_weights(s, layer, w->rows, w->lines) : C_FLOATS;
    c_note(s, layer, nonzero, !w->rows, codings[coding]);
}

static void pool_print(struct c_source *s, int layer, int end) {
    bool global = s->net->layers[layer].kind == NET_GLOBAL_AVG_POOL2D;
    c_pool_begin(s, layer, "float");
    c_maps_print(s, layer + 1, end, global ? "    " : "            ");
    c_pool_end(s, layer);
}

static void sums_print(struct c_source *s, const struct c_stage *stage) {
    const struct net_layer *l = &s->net->layers[stage->first];
    bool conv2d = l->kind == NET_CONV2D, pooled = stage->pool != C_NONE;
    char bias[C_EXPRESSION], sum[C_LINES];
    struct weights w;
    if (pooled) pool_print(s, stage->pool, stage->end);
    c_vector(bias, s, stage->first, "bias", &l->bias, "row");
    snprintf(sum, sizeof sum, "        float sum = %s;\n", bias);
    weights_begin(&w, s, stage->first);
    struct c_loop loop = {
        .stage = stage,
        .from = "float",
        .to = "float",
        .sum = sum,
        .weight = w.lines,
        .term =
            conv2d ? "                    const float product = w * v;\n                    sum += product;\n"
                   : "            const float product = w * v;\n            sum += product;\n",
        .entries = w.entries,
        .dense = !w.rows,
    };
    int end = pooled ? stage->pool : stage->end;
    for (int i = stage->first + 1; i < end; i++) loop.finish |= s->net->layers[i].kind != NET_FLATTEN;
    c_loop_begin(s, &loop);
    c_maps_print(s, stage->first + 1, end, conv2d ? "            " : "        ");
    c_loop_end(s, &loop);
    c_rows_free(w.rows);
}

// A row of the table for each number of x.
static void embedding_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    int rows = net_rows(&l->weight), columns = net_columns(&l->weight);
    struct weights w;
    weights_begin(&w, s, stage->first);
    bytes_print(b,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t n, i;\n"
                "    for (n = 0; n < %zu; n++, y += %d) {\n"
                "        const uint32_t row = x[n] >= %d.0f ? %d : x[n] >= 1.0f ? (uint32_t)x[n] : 0;\n"
                "        uint32_t k = 0;\n",
                s->prefix, l->name, shape_size(l->in), columns, rows, rows - 1);
    if (w.entries && w.rows)
        bytes_print(b, "        for (i = 0; i < row; i++) k += %s_%s_count[i];\n", s->prefix, l->name);
    else
        bytes_print(b, "        k = row * %d;\n", columns);
    bytes_print(b, "        for (i = 0; i < %d; i++) y[i] = 0.0f;\n", columns);
    if (w.entries) {
        c_entries_begin(s, stage->first, !w.rows);
        bytes_print(b, "%s            y[column] = w;\n        }\n", w.lines);
    }
    bytes_print(b, "    }\n}\n\n");
    c_rows_free(w.rows);
}

static void positional_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    int columns = net_columns(&l->weight);
    struct weights w;
    weights_begin(&w, s, stage->first);
    bytes_print(b,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t row, i%s;\n"
                "    for (row = 0; row < %d; row++, x += %d, y += %d) {\n"
                "        for (i = 0; i < %d; i++) y[i] = x[i];\n",
                s->prefix, l->name, w.entries ? ", k = 0" : "", net_rows(&l->weight), columns, columns,
                columns);
    if (w.entries) {
        c_entries_begin(s, stage->first, !w.rows);
        bytes_print(b, "%s            y[column] += w;\n        }\n", w.lines);
    }
    bytes_print(b, "    }\n}\n\n");
    c_rows_free(w.rows);
}

// Rows in the blocks with the k largest scores; of the others only the entries are counted.
static void select_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    int rows = net_rows(&l->weight), blocks = (rows + l->block - 1) / l->block;
    char bias[C_EXPRESSION];
    struct weights w;
    c_winners_print(s);
    c_vector(bias, s, stage->first, "bias", &l->bias, "row");
    weights_begin(&w, s, stage->first);
    bytes_print(b,
                "static void %s_%s(const float *x, const float *score, float *y)\n{\n"
                "    uint32_t row, left = 0, equals%s;\n"
                "    const uint32_t last = %s_last(score, 0, %d, 1, 1, %d, &equals);\n"
                "    int wins = 0;\n",
                s->prefix, l->name, w.entries ? ", k = 0" : "", s->prefix, blocks, l->k);
    if (!w.entries) bytes_print(b, "    (void)x;\n");
    bytes_print(b,
                "    for (row = 0; row < %d; row++, left--) {\n"
                "        float sum = 0.0f;\n"
                "        if (left == 0) {\n"
                "            left = %d;\n"
                "            wins = %s_wins(%s_order(*score++, 0), last, &equals);\n"
                "        }\n"
                "        y[row] = sum;\n",
                rows, l->block, s->prefix, s->prefix);
    if (!w.entries)
        bytes_print(b, "        if (!wins) continue;\n");
    else if (w.rows)
        bytes_print(b,
                    "        if (!wins) {\n"
                    "            k += (uint32_t)%s_%s_count[row];\n"
                    "            continue;\n"
                    "        }\n",
                    s->prefix, l->name);
    else
        bytes_print(b,
                    "        if (!wins) {\n"
                    "            k += %d;\n"
                    "            continue;\n"
                    "        }\n",
                    net_columns(&l->weight));
    bytes_print(b, "        sum = %s;\n", bias);
    if (w.entries) {
        c_entries_begin(s, stage->first, !w.rows);
        bytes_print(b,
                    "            const float v = x[column];\n"
                    "%s            const float product = w * v;\n            sum += product;\n        }\n",
                    w.lines);
    }
    bytes_print(b, "        y[row] = sum;\n    }\n}\n\n");
    c_rows_free(w.rows);
}

void c_float_stages(struct c_source *s) {
    for (int i = 0; i < s->count; i++) {
        const struct c_stage *stage = &s->stages[i];
        enum net_kind kind = s->net->layers[stage->first].kind;
        if (kind == NET_LINEAR || kind == NET_CONV2D)
            sums_print(s, stage);
        else if (kind == NET_EMBEDDING)
            embedding_print(s, stage);
        else if (kind == NET_POSITIONAL_EMBEDDING)
            positional_print(s, stage);
        else if (kind == NET_SELECT)
            select_print(s, stage);
        else if (c_is_pool(kind))
            pool_print(s, stage->first, stage->end);
        else
            c_layer_print(s, stage);
    }
}
