// The texts of NAME.h and NAME.c. Contracts in c_source.h.
#include <stdio.h>

#include "export/c_source.h"

// Four digits of a bound are still one.
static const double ROUNDED_UP = 1.001;

// The run's name in a comment: it may hold anything.
static void name_print(struct bytes *b, const char *name) {
    for (const char *c = name; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                     *c == '.' || *c == '-' || *c == '_';
        bytes_print(b, "%c", plain ? *c : '_');
    }
}

static size_t inputs(const struct c_source *s) {
    return shape_size(s->net->in);
}

static size_t outputs(const struct c_source *s) {
    return shape_size(s->net->layers[s->net->count - 1].out);
}

// How often a sample uses a weight: of a convolution, at each place, those outside the image too.
static size_t weight_uses(const struct net_layer *l) {
    return shape_size(l->out) / (size_t)net_rows(&l->weight);
}

// What a sample costs: a product, or a shift and an addition, each.
static size_t work(const struct c_source *s) {
    size_t sum = 0;
    for (int i = 0; s->shifts && i < s->shifts->count; i++)
        sum += s->shifts->layers[i].terms * weight_uses(&s->net->layers[s->shifts->layers[i].layer]);
    if (s->shifts) return sum;
    for (int i = 0; i < s->net->count; i++) {
        const struct net_layer *l = &s->net->layers[i];
        if (l->weight.shape.rank) sum += net_nonzero(&l->weight) * weight_uses(l);
    }
    return sum;
}

static const char *number_type(const struct c_source *s) {
    return s->shifts ? "int32_t" : "float";
}

bool c_takes_numbers(const struct c_source *s) {
    return s->net->layers[0].kind == NET_EMBEDDING;
}

// An array of the caller has at least one number.
static size_t scratch(const struct c_source *s) {
    return s->scratch ? s->scratch : 1;
}

void c_note(struct c_source *s, int layer, size_t weights, bool dense, const char *coding) {
    const struct net_layer *l = &s->net->layers[layer], *trained = &s->original->layers[layer];
    char density[C_NUMBER], kernel[2 * C_NUMBER] = "";
    bool conv2d = l->kind == NET_CONV2D;
    if (conv2d) snprintf(kernel, sizeof kernel, "channels by %d x %d ", l->window.size[0], l->window.size[1]);
    int in = conv2d ? l->in.dim[0] : net_columns(&l->weight), out = net_rows(&l->weight);
    int in_before = conv2d ? trained->in.dim[0] : net_columns(&trained->weight);
    bytes_print(&s->notes, " *   %-9s %d -> %d %s(as trained %d -> %d), ", trained->name, in, out, kernel,
                in_before, net_rows(&trained->weight));
    bytes_print(&s->notes, "%zu weights, density %s, %s%s, %zu bytes\n", weights,
                c_short_text(density, (double)weights / (double)trained->weight.size), dense ? "dense " : "",
                coding, s->layer_bytes[layer]);
}

// --- NAME.h ------------------------------------------------------------------------------------------------------------

static void shapes_print(struct bytes *b, const struct c_source *s) {
    char shape[SHAPE_TEXT], error[C_NUMBER];
    shape_text(shape, s->net->in);
    if (s->shifts)
        bytes_print(b,
                    " * Input    %zu bytes %s, the last dimension fastest: the pixels themselves, 0 .. 255.\n"
                    " * Output   %zu integers; y[i] * %s_SIGMA is the network's output i. Rounding moves it "
                    "by at most "
                    "%s,\n *          whatever the pixels.\n",
                    inputs(s), shape, outputs(s), s->macro,
                    c_short_text(error, s->shifts->error * ROUNDED_UP));
    else
        bytes_print(b,
                    " * Input    %zu floats %s, the last dimension fastest: %s.\n"
                    " * Output   %zu floats.\n",
                    inputs(s), shape, c_takes_numbers(s) ? "whole numbers" : "pixel / 255.0f", outputs(s));
}

static void stages_print(struct bytes *b, const struct c_source *s) {
    bytes_print(b, " * Layers  ");
    for (int i = 0; i < s->net->count; i++) bytes_print(b, " %s", s->original->layers[i].name);
    bytes_print(b, "\n");
    bytes_add(b, s->notes.at, s->notes.size);
}

static void costs_print(struct bytes *b, const struct c_source *s) {
    bytes_print(
        b,
        " * Flash    %zu bytes of const tables, and the code.\n"
        " * RAM      %zu bytes of scratch, the caller's, besides x and y; a result lies there until its last "
        "reader.\n"
        " * Work     %zu %s a sample.\n"
        " * Tables   CRC-32 %08lx of their numbers, little-endian, in their order.\n",
        s->table_bytes, scratch(s) * 4, work(s),
        s->shifts ? "shifts and additions" : "multiplications and additions", (unsigned long)s->crc);
}

static void example_print(struct bytes *b, const struct c_source *s) {
    bytes_print(b,
                " *\n"
                " *     %s x[%s_INPUTS]; %s y[%s_OUTPUTS], scratch[%s_SCRATCH_%s];\n"
                " *     %s_run(x, y, scratch);\n"
                " *     label = %s_argmax(y);\n",
                s->shifts ? "uint8_t" : "float", s->macro, number_type(s), s->macro, s->macro,
                s->shifts ? "INTS" : "FLOATS", s->prefix, s->prefix);
}

void c_header(struct bytes *out, const struct c_source *s) {
    const char *number = number_type(s);
    char sigma[C_NUMBER];
    bytes_print(out, "/* %s: the sparse neural network ", s->stem);
    name_print(out, s->net->name);
    bytes_print(out, ", written by `tally export`. C99.\n *\n");
    shapes_print(out, s);
    stages_print(out, s);
    costs_print(out, s);
    example_print(out, s);
    bytes_print(out, " */\n#ifndef %s_H\n#define %s_H\n\n#include <stdint.h>\n\n", s->macro, s->macro);
    bytes_print(out, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    bytes_print(out, "#define %s_INPUTS %zu\n#define %s_OUTPUTS %zu\n#define %s_SCRATCH_%s %zu\n", s->macro,
                inputs(s), s->macro, outputs(s), s->macro, s->shifts ? "INTS" : "FLOATS", scratch(s));
    if (s->shifts)
        bytes_print(out, "#define %s_SIGMA %s\n", s->macro, c_float_text(sigma, (float)s->shifts->sigma));
    bytes_print(
        out,
        "\n/* One sample. Keeps nothing, so that any number of threads may call it, each with its own "
        "scratch;\n"
        " * what is in scratch does not matter before or after. x, y and scratch may not overlap. */\n"
        "void %s_run(const %s *x, %s *y, %s *scratch);\n\n"
        "/* The index of the largest output, the first of equals. */\n"
        "int %s_argmax(const %s *y);\n\n",
        s->prefix, s->shifts ? "uint8_t" : "float", number, number, s->prefix, number);
    bytes_print(out, "#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
}

// --- NAME.c ------------------------------------------------------------------------------------------------------------

static const char table_comment[] = " *\n"
                                    " * A sparse layer is rows, one for each output or output channel: row i "
                                    "has count[i] entries, each `step` "
                                    "columns after\n"
                                    " * the one before, the first of a row `step` after column 0. A gap of "
                                    "more than 255 columns is bridged by "
                                    "entries of\n"
                                    " * step 255 and weight 0. A layer that is mostly not zero is dense, all "
                                    "of its weights row by row. A column of "
                                    "a\n"
                                    " * convolution is (channel, row, column) of its kernel.\n";

static const char float_comment[] =
    " *\n"
    " * A weight is a float, or an index into the layer's distinct values, or a "
    "counter c that stands for\n"
    " * scale * c or scale * c * |c|; times the factor of its output where there are factors.\n";

static const char integer_comment[] = " *\n"
                                      " * A weight is a power of two: bit 7 its sign (1: minus), bits 0 .. 4 "
                                      "a shift s, bit 5 its direction. Per output\n"
                                      " *\n"
                                      " *     sum = bias + sum of +- (x << s), or where bit 5 is set, of +- "
                                      "(x >> s + 1) with the half rounded up\n"
                                      " *\n"
                                      " * and then relu and a rounded shift to the right where the layer has "
                                      "them. An integer v of a layer stands for the\n"
                                      " * real number unit * v; relu (unit * v) = unit * relu (v), so scales "
                                      "need no arithmetic. The shifts are chosen so\n"
                                      " * that no sum can leave 32 bits, whatever the pixels.\n";

void c_body(struct bytes *out, const struct c_source *s) {
    bytes_print(out, "/* %s: tables and code of the network; what it is and how to call it is in %s.h.\n",
                s->stem, s->stem);
    bytes_print(out, "%s", table_comment);
    bytes_print(out, "%s */\n", s->shifts ? integer_comment : float_comment);
    bytes_print(out, "#include \"%s.h\"\n\n", s->stem);
    if (s->limits) bytes_print(out, "#include <float.h>\n%s", s->math ? "" : "\n");
    if (s->math) bytes_print(out, "#include <math.h>\n\n");
    bytes_add(out, s->tables.at, s->tables.size);
    if (s->tables.size) bytes_print(out, "\n");
    bytes_add(out, s->functions.at, s->functions.size);
}
