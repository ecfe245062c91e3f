// The loops of the generated C over weights and windows, the same for floats and for integers. Contracts in c_source.h.
//
// A linear layer takes one output after the other, and of each its weights. A convolution takes one output channel after the
// other, and of each its weights, and adds each weight times what it sees to the whole plane: a weight is unpacked once a
// sample, the inner loop is a row of multiplications and additions, and each output's sum still has the order of the
// weights. Places are offsets that only grow, without products: the integer form has none, and offsets below 0 come round.
// With padding, two small tables say which windows see the image through a row or column of the kernel.
#include <stdio.h>

#include "export/c_source.h"

enum { PLACE = 400 };

static bool is_padded(const struct window *w) {
    return w->padding[0] > 0 || w->padding[1] > 0;
}

static size_t plane_of(struct shape s) {
    return shape_size(s) / (size_t)s.dim[0];
}

// `name` times a small number. The integer form has additions only.
static const char *times_text(char text[PLACE], const struct c_source *s, const char *name, int by) {
    int used = snprintf(text, PLACE, by == 1 || s->shifts ? "%s" : "%s * %d", name, by);
    for (int i = 1; i < by && s->shifts; i++)
        used += snprintf(text + used, (size_t)(PLACE - used), " + %s", name);
    return text;
}

// --- entries -----------------------------------------------------------------------------------------------------------

void c_entries_begin(struct c_source *s, int layer, bool dense) {
    const struct net_layer *l = &s->net->layers[layer];
    if (dense)
        bytes_print(&s->functions,
                    "        uint32_t column;\n        for (column = 0; column < %d; column++, k++) {\n",
                    net_columns(&l->weight));
    else
        bytes_print(&s->functions,
                    "        uint32_t column = 0;\n"
                    "        const uint32_t end = k + (uint32_t)%s_%s_count[row];\n"
                    "        for (; k < end; k++) {\n"
                    "            column += %s_%s_step[k];\n",
                    s->prefix, l->name, s->prefix, l->name);
}

// --- convolution -------------------------------------------------------------------------------------------------------

// For each place along the kernel the first window that has it inside the image, and then for each the one behind the last.
static void ranges_table(struct c_source *s, int layer, const char *what, int axis) {
    const struct net_layer *l = &s->net->layers[layer];
    const struct window *w = &l->window;
    int count = l->out.dim[1 + axis], size = w->size[axis];
    int32_t *range = mem_new((size_t)size, 2 * sizeof *range);
    for (int k = 0; k < size; k++) {
        struct window_range r = window_range(w, axis, k, l->in.dim[1 + axis], count);
        range[k] = r.first < r.end ? r.first : 0;
        range[size + k] = r.first < r.end ? r.end : 0;
    }
    c_table(s, layer, what, c_type_for(count), range, 2 * (size_t)size);
    mem_free(range);
}

// The loop over a channel's weights: j is the place of weight k in the kernel's row i, `from` where that row begins in x.
static void kernel_begin(struct c_source *s, int layer, bool dense) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[layer];
    const struct window *w = &l->window;
    int line = w->dilation[0] * l->in.dim[2];
    long rest =
        (long)plane_of(l->in) - (long)w->size[0] * line; // from behind a channel's kernel to the next channel
    bytes_print(b, "        uint32_t i = 0, j = 0, from = %s;\n", l->groups > 1 ? "group" : "0");
    bytes_print(b, "        const uint32_t end = k + ");
    if (dense)
        bytes_print(b, "%d;\n        for (; k < end; k++, j++) {\n", net_columns(&l->weight));
    else
        bytes_print(b,
                    "(uint32_t)%s_%s_count[row];\n"
                    "        for (; k < end; k++) {\n"
                    "            j += %s_%s_step[k];\n",
                    s->prefix, l->name, s->prefix, l->name);
    bytes_print(b, "            for (; j >= %d; j -= %d, from += %d)\n", w->size[1], w->size[1], line);
    bytes_print(b,
                "                if (++i == %d) {\n"
                "                    i = 0;\n"
                "                    from %s= %ld;\n"
                "                }\n",
                w->size[0], rest < 0 ? "-" : "+", rest < 0 ? -rest : rest);
}

// The windows that see the image through that place, and `v`, what each of them sees.
static void windows_begin(struct c_source *s, int layer, const char *type) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[layer];
    const struct window *w = &l->window;
    int width = l->in.dim[2], before = w->padding[0] * width + w->padding[1];
    char across[PLACE];
    bytes_print(b, "            uint32_t at = 0, see = from + %s",
                times_text(across, s, "j", w->dilation[1]));
    if (before) bytes_print(b, " - %d", before);
    bytes_print(b, ";\n            for (o = 0; o < %d; o++, see += %d, at += %d)", l->out.dim[1],
                w->stride[0] * width, l->out.dim[2]);
    if (is_padded(w)) {
        bytes_print(b,
                    " {\n"
                    "                if (o < %s_%s_down[i] || o >= %s_%s_down[i + %d]) continue;\n",
                    s->prefix, l->name, s->prefix, l->name, w->size[0]);
        bytes_print(b, "                for (p = %s_%s_across[j]; p < %s_%s_across[j + %d]; p++) {\n",
                    s->prefix, l->name, s->prefix, l->name, w->size[1]);
    } else {
        bytes_print(b, "\n                for (p = 0; p < %d; p++) {\n", l->out.dim[2]);
    }
    bytes_print(b,
                "                    const %s v = x[see + %s];\n"
                "                    sum = plane[at + p];\n",
                type, times_text(across, s, "p", w->stride[1]));
}

static void windows_end(struct c_source *s, int layer) {
    bytes_print(&s->functions, "                    plane[at + p] = sum;\n"
                               "                }\n");
    if (is_padded(&s->net->layers[layer].window)) bytes_print(&s->functions, "            }\n");
    bytes_print(&s->functions, "        }\n");
}

static void conv2d_begin(struct c_source *s, const struct c_loop *loop) {
    struct bytes *b = &s->functions;
    const struct c_stage *stage = loop->stage;
    const struct net_layer *l = &s->net->layers[stage->first];
    size_t plane = plane_of(l->out);
    bool pooled = stage->pool != C_NONE, groups = l->groups > 1 && loop->entries;
    if (loop->entries && is_padded(&l->window)) {
        ranges_table(s, stage->first, "down", 0);
        ranges_table(s, stage->first, "across", 1);
    }
    bytes_print(b, "static void %s_%s(const %s *restrict x, ", s->prefix, l->name, loop->from);
    if (pooled) bytes_print(b, "%s *y, ", loop->to);
    bytes_print(b, "%s *restrict plane)\n{\n", loop->to);
    bytes_print(b, loop->entries ? "    uint32_t row, k = 0, n, o, p;\n"
                                 : "    uint32_t row, n;\n    (void)x;\n");
    if (groups) bytes_print(b, "    uint32_t group = 0, left = %d;\n", l->out.dim[0] / l->groups);
    bytes_print(b, "    for (row = 0; row < %d; row++, %s += %zu) {\n%s", l->out.dim[0],
                pooled ? "y" : "plane", pooled ? plane_of(s->net->layers[stage->pool].out) : plane,
                loop->sum);
    bytes_print(b, "        for (n = 0; n < %zu; n++) plane[n] = sum;\n", plane);
    if (loop->entries) {
        kernel_begin(s, stage->first, loop->dense);
        bytes_print(b, "%s", loop->weight);
        windows_begin(s, stage->first, loop->from);
        bytes_print(b, "%s", loop->term);
        windows_end(s, stage->first);
    }
    if (groups)
        bytes_print(b,
                    "        if (--left == 0) {\n"
                    "            left = %d;\n"
                    "            group += %zu;\n"
                    "        }\n",
                    l->out.dim[0] / l->groups, plane_of(l->in) * (size_t)l->weight.shape.dim[1]);
    if (loop->finish)
        bytes_print(b, "        for (n = 0; n < %zu; n++) {\n            sum = plane[n];\n", plane);
}

static void conv2d_end(struct c_source *s, const struct c_loop *loop) {
    struct bytes *b = &s->functions;
    if (loop->finish) bytes_print(b, "            plane[n] = sum;\n        }\n");
    if (loop->stage->pool != C_NONE)
        bytes_print(b, "        %s_%s(plane, y);\n", s->prefix, s->net->layers[loop->stage->pool].name);
    bytes_print(b, "    }\n}\n\n");
}

// --- linear ------------------------------------------------------------------------------------------------------------

static void linear_begin(struct c_source *s, const struct c_loop *loop) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[loop->stage->first];
    bytes_print(b, "static void %s_%s(const %s *x, %s *y)\n{\n", s->prefix, l->name, loop->from, loop->to);
    bytes_print(b, loop->entries ? "    uint32_t row, k = 0;\n" : "    uint32_t row;\n    (void)x;\n");
    bytes_print(b, "    for (row = 0; row < %d; row++) {\n%s", net_rows(&l->weight), loop->sum);
    if (loop->entries == 0) return;
    c_entries_begin(s, loop->stage->first, loop->dense);
    bytes_print(b, "%s            const %s v = x[column];\n%s        }\n", loop->weight, loop->from,
                loop->term);
}

void c_loop_begin(struct c_source *s, const struct c_loop *loop) {
    if (s->net->layers[loop->stage->first].kind == NET_CONV2D)
        conv2d_begin(s, loop);
    else
        linear_begin(s, loop);
}

void c_loop_end(struct c_source *s, const struct c_loop *loop) {
    if (s->net->layers[loop->stage->first].kind == NET_CONV2D)
        conv2d_end(s, loop);
    else
        bytes_print(&s->functions, "        y[row] = sum;\n    }\n}\n\n");
}

// --- pooling -----------------------------------------------------------------------------------------------------------

static void sum_begin(struct c_source *s, const struct net_layer *l, const char *type) {
    bool integer = *type == 'i';
    const char *least = integer ? "INT32_MIN" : "-FLT_MAX";
    bool most = l->kind == NET_MAX_POOL2D;
    s->limits |= most && !integer;
    bytes_print(&s->functions, "            %s sum = %s;\n", type, most ? least : "0.0f");
}

// What takes the sum of a window to its mean.
static void mean_print(struct c_source *s, const struct net_layer *l) {
    char text[C_NUMBER];
    const struct window *w = &l->window;
    bool counts = is_padded(w) && !l->count_pad;
    if (counts)
        bytes_print(&s->functions, "            sum *= (float)(1.0 / (double)inside);\n");
    else
        bytes_print(&s->functions, "            sum *= %s;\n",
                    c_float_text(text, (float)(1.0 / (w->size[0] * w->size[1]))));
}

static void global_begin(struct c_source *s, const struct net_layer *l) {
    size_t plane = plane_of(l->in);
    bytes_print(&s->functions,
                "static void %s_%s(const float *x, float *y)\n{\n"
                "    uint32_t n;\n"
                "    double total = 0.0;\n"
                "    float sum;\n"
                "    for (n = 0; n < %zu; n++) total += (double)x[n];\n"
                "    sum = (float)(total / %zu.0);\n",
                s->prefix, l->name, plane, plane);
}

void c_pool_begin(struct c_source *s, int layer, const char *type) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[layer];
    const struct window *w = &l->window;
    bool padded = is_padded(w), most = l->kind == NET_MAX_POOL2D, counts = padded && !most && !l->count_pad;
    int width = l->in.dim[2], before = w->padding[0] * width + w->padding[1];
    char text[4][PLACE];
    if (l->kind == NET_GLOBAL_AVG_POOL2D) {
        global_begin(s, l);
        return;
    }
    bytes_print(b,
                "static void %s_%s(const %s *x, %s *y)\n{\n"
                "    uint32_t o, p, i, j, line = 0;\n"
                "    for (o = 0; o < %d; o++, line += %d)\n"
                "        for (p = 0; p < %d; p++) {\n",
                s->prefix, l->name, type, type, l->out.dim[1], w->stride[0] * width, l->out.dim[2]);
    bytes_print(b, "            uint32_t see = line + %s", times_text(text[0], s, "p", w->stride[1]));
    if (before) bytes_print(b, " - %d", before);
    bytes_print(b, counts ? ", inside = 0;\n" : ";\n");
    sum_begin(s, l, type);
    bytes_print(b,
                "            for (i = 0; i < %d; i++, see += %d)\n"
                "                for (j = 0; j < %d; j++) {\n",
                w->size[0], w->dilation[0] * width, w->size[1]);
    if (padded) { // what is below 0 comes round
        bytes_print(b, "                    if (%s + %s - %d >= %d || ",
                    times_text(text[0], s, "o", w->stride[0]), times_text(text[1], s, "i", w->dilation[0]),
                    w->padding[0], l->in.dim[1]);
        bytes_print(b, "%s + %s - %d >= %d) continue;\n", times_text(text[2], s, "p", w->stride[1]),
                    times_text(text[3], s, "j", w->dilation[1]), w->padding[1], width);
    }
    times_text(text[0], s, "j", w->dilation[1]);
    if (most)
        bytes_print(b, "                    if (x[see + %s] > sum) sum = x[see + %s];\n", text[0], text[0]);
    else
        bytes_print(b, "                    sum += x[see + %s];\n", text[0]);
    if (counts) bytes_print(b, "                    inside++;\n");
    bytes_print(b, "                }\n");
    if (!most) mean_print(s, l);
}

void c_pool_end(struct c_source *s, int layer) {
    bool global = s->net->layers[layer].kind == NET_GLOBAL_AVG_POOL2D;
    bytes_print(&s->functions, global ? "    *y = sum;\n}\n\n" : "            *y++ = sum;\n        }\n}\n\n");
}
