// onnx: the whole network for ONNX Runtime and others; IR version 8, operator set 13.
//
//   input "input"     float (N, in...), pixels as value / 255
//   output "logits"   float (N, out...); "probabilities" where the network ends with a softmax
//
// A weight is a sparse initialiser where that is smaller, else a dense one; with --dense always a dense one. Counters
// of up to 16 bits stay counters, int8 or int16, and the graph computes w = scale · f(c) in float (c a float by Cast):
//
//   linear   c                                     square   c·Abs(c)
//   power    Sign(c)·Pow(Abs(c), p)                exp      e^(b|c|) - 1 = 2·e^y·sinh(y), y = b|c|/2, which keeps the
//   pow2     Sign(c)·Pow(2, (Abs(c) - 1)/q)                 digits of small counters: Sinh(y)·Exp(Abs(y)), y = b·c/2
//   madam    Sign(c)·Exp(-b·(Abs(c) - 1))
//
// Zero stays zero in each. Counters of 32 bits, and maps or scales that leave the range of float, are written as float
// values. Places of survivors are linear indices in ascending order, as varints.
//
// ONNX Runtime 1.30 (node) runs sparse initialisers of int8, int16 and float, without entries too. It expands them while
// loading: the file is smaller, the speed is that of dense weights. onnx.checker 1.12 passes them, but not its optional
// shape inference, which knows no operator that takes one; with --dense that passes too.
//
// Source: ONNX, Operator Schemas, opset 13, and onnx.proto. Departures: none.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/export.h"
#include "export/graph.h"
#include "src/file.h"

enum { IR_VERSION = 8, OPSET = 13, NAME = PARAM_NAME + 40 };

enum { MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_METADATA = 14 };
enum { OPSET_VERSION = 2, ENTRY_KEY = 1, ENTRY_VALUE = 2 };

// --- a tensor's map ----------------------------------------------------------------------------------------

// "linear1.weight.abs"; the tensor's own name for "".
static const char *part_name(char name[NAME], const char *tensor, const char *part) {
    snprintf(name, NAME, "%s%s%s", tensor, *part ? "." : "", part);
    return name;
}

// A node between parts of a tensor; b may be NULL.
static void step_add(struct graph *g, const char *tensor, const char *type, const char *out, const char *a,
                     const char *b) {
    char names[3][NAME];
    graph_add_node(g, (struct graph_node){
                          .type = type,
                          .out = part_name(names[0], tensor, out),
                          .in = {part_name(names[1], tensor, a), b ? part_name(names[2], tensor, b) : NULL}});
}

static void constant_add(struct graph *g, const char *tensor, const char *part, double value) {
    char name[NAME];
    graph_add_scalar(g, part_name(name, tensor, part), (float)value);
}

// "level": |c| - 1, times `rate`.
static void level_add(struct graph *g, const char *tensor, double rate) {
    constant_add(g, tensor, "one", 1);
    constant_add(g, tensor, "rate", rate);
    step_add(g, tensor, "Abs", "abs", "c", NULL);
    step_add(g, tensor, "Sub", "steps", "abs", "one");
    step_add(g, tensor, "Mul", "level", "steps", "rate");
}

static void sign_add(struct graph *g, const char *tensor) {
    step_add(g, tensor, "Sign", "sign", "c", NULL);
    step_add(g, tensor, "Mul", "f", "size", "sign");
}

// From the part "c", the counters as floats, to the tensor's name, the values.
static void map_add(struct graph *g, const char *tensor, const struct net_tensor *t) {
    double parameter = t->number.parameter, scale = t->scale;
    const char *f = "f";
    switch (t->number.kind) {
    case NUMBER_SQUARE:
        step_add(g, tensor, "Abs", "abs", "c", NULL);
        step_add(g, tensor, "Mul", "f", "c", "abs");
        break;
    case NUMBER_POWER:
        constant_add(g, tensor, "power", parameter);
        step_add(g, tensor, "Abs", "abs", "c", NULL);
        step_add(g, tensor, "Pow", "size", "abs", "power");
        sign_add(g, tensor);
        break;
    case NUMBER_EXP:
        constant_add(g, tensor, "rate", parameter / 2);
        step_add(g, tensor, "Mul", "y", "c", "rate");
        step_add(g, tensor, "Sinh", "sinh", "y", NULL);
        step_add(g, tensor, "Abs", "abs", "y", NULL);
        step_add(g, tensor, "Exp", "exp", "abs", NULL);
        step_add(g, tensor, "Mul", "f", "sinh", "exp");
        scale *= 2;
        break;
    case NUMBER_POW2:
        level_add(g, tensor, 1 / parameter);
        constant_add(g, tensor, "two", 2);
        step_add(g, tensor, "Pow", "size", "two", "level");
        sign_add(g, tensor);
        break;
    case NUMBER_MADAM:
        level_add(g, tensor, -parameter);
        step_add(g, tensor, "Exp", "size", "level", NULL);
        sign_add(g, tensor);
        break;
    case NUMBER_LINEAR:
    case NUMBER_KINDS:
        f = "c";
    }
    constant_add(g, tensor, "scale", scale);
    step_add(g, tensor, "Mul", "", f, "scale");
}

// Whether the graph can compute the values: a counter is an int8 or int16, and no step leaves the range of float. f is
// monotone in |c|, so its ends are enough.
static bool map_fits(const struct net_tensor *t) {
    const double least = 1e-30, most = 1e30;
    int32_t smallest = INT32_MAX, largest = 0;
    if (!t->counted || number_bytes(&t->number) > 2) return false;
    for (size_t i = 0; i < t->size; i++) {
        int32_t c = abs(t->counter[i]);
        if (c && c < smallest) smallest = c;
        if (c > largest) largest = c;
    }
    if (largest == 0) return true;
    double a = number_value(&t->number, smallest), b = number_value(&t->number, largest);
    return fmin(a, b) > least && fmax(a, b) < most && t->scale > least && t->scale < most;
}

// --- a tensor ----------------------------------------------------------------------------------------------

// The numbers [nonzero] of `width` bytes as a tensor that is not sparse.
static void dense_add(struct graph *g, const char *name, enum graph_type type, const struct net_tensor *t,
                      const struct csr *places, const char *numbers, size_t width) {
    char *all = mem_new(t->size, width);
    for (size_t i = 0; i < places->nonzero; i++)
        memcpy(all + places->at[i] * width, numbers + i * width, width);
    graph_add_dense(g, name, type, t->shape, all, t->size * width);
    mem_free(all);
}

static void tensor_add(struct graph *g, const char *tensor, const struct net_tensor *t, bool dense) {
    char name[NAME], counters[NAME];
    struct csr *places = csr_new(t);
    bool mapped = map_fits(t);
    size_t width = mapped ? (size_t)number_bytes(&t->number) : sizeof(float);
    void *numbers = mapped ? csr_counters_new(places, t) : (void *)csr_values_new(places, t);
    enum graph_type type = !mapped ? GRAPH_FLOAT : width == 1 ? GRAPH_INT8 : GRAPH_INT16;
    part_name(name, tensor, mapped ? "counters" : "");
    if (dense || graph_places_bytes(places) + places->nonzero * width >= t->size * width)
        dense_add(g, name, type, t, places, numbers, width);
    else
        graph_add_sparse(g, name, type, t->shape, places, numbers, width);
    if (mapped) {
        graph_add_node(g, (struct graph_node){.type = "Cast",
                                              .out = part_name(counters, tensor, "c"),
                                              .in = {name},
                                              .attribute = "to",
                                              .number = GRAPH_FLOAT});
        map_add(g, tensor, t);
    }
    mem_free(numbers);
    csr_free(places);
}

// --- layers ------------------------------------------------------------------------------------------------

static int linear_add(struct graph *g, const struct net_layer *l, const char *in, const char *out, bool dense,
                      struct err *e) {
    char weight[NAME], bias[NAME], shape[SHAPE_TEXT];
    if (l->weight.shape.rank != 2)
        return err_set(e, "%s: a weight of %s can't be written as ONNX, wanted two dimensions", l->name,
                       shape_text(shape, l->weight.shape));
    bool biased = l->bias.shape.rank > 0;
    tensor_add(g, part_name(weight, l->name, "weight"), &l->weight, dense);
    if (biased) tensor_add(g, part_name(bias, l->name, "bias"), &l->bias, true);
    graph_add_node(g, (struct graph_node){.type = "Gemm",
                                          .out = out,
                                          .in = {in, weight, biased ? bias : NULL},
                                          .attribute = "transB",
                                          .number = 1});
    return 0;
}

// y = scale · x + shift.
static void affine_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char scale[NAME], shift[NAME], scaled[NAME];
    graph_add_scalar(g, part_name(scale, l->name, "scale"), (float)l->scale);
    graph_add_scalar(g, part_name(shift, l->name, "shift"), (float)l->shift);
    part_name(scaled, l->name, "scaled");
    graph_add_node(g, (struct graph_node){.type = "Mul", .out = scaled, .in = {in, scale}});
    graph_add_node(g, (struct graph_node){.type = "Add", .out = out, .in = {scaled, shift}});
}

// y = x / 2 · (1 + erf(x / sqrt(2))).
static void gelu_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char root[NAME], half[NAME], one[NAME], name[4][NAME];
    graph_add_scalar(g, part_name(root, l->name, "root"), 0.70710678118654752f);
    graph_add_scalar(g, part_name(one, l->name, "one"), 1);
    graph_add_scalar(g, part_name(half, l->name, "half"), 0.5f);
    part_name(name[0], l->name, "scaled");
    part_name(name[1], l->name, "erf");
    part_name(name[2], l->name, "below");
    part_name(name[3], l->name, "twice");
    graph_add_node(g, (struct graph_node){.type = "Mul", .out = name[0], .in = {in, root}});
    graph_add_node(g, (struct graph_node){.type = "Erf", .out = name[1], .in = {name[0]}});
    graph_add_node(g, (struct graph_node){.type = "Add", .out = name[2], .in = {name[1], one}});
    graph_add_node(g, (struct graph_node){.type = "Mul", .out = name[3], .in = {in, name[2]}});
    graph_add_node(g, (struct graph_node){.type = "Mul", .out = out, .in = {name[3], half}});
}

static int layer_add(struct graph *g, const struct net_layer *l, const char *in, const char *out, bool dense,
                     struct err *e) {
    static const char *const types[NET_KINDS] = {
        [NET_FLATTEN] = "Flatten", [NET_RELU] = "Relu",       [NET_TANH] = "Tanh",
        [NET_SIGMOID] = "Sigmoid", [NET_SOFTMAX] = "Softmax",
    };
    if (l->kind == NET_LINEAR) return linear_add(g, l, in, out, dense, e);
    if (l->kind == NET_AFFINE) return affine_add(g, l, in, out), 0;
    if (l->kind == NET_GELU) return gelu_add(g, l, in, out), 0;
    if (l->kind == NET_SOFTMAX && l->in.rank != 1)
        return err_set(e, "%s: a softmax over %d dimensions can't be written as ONNX, wanted one", l->name,
                       l->in.rank);
    bool along = l->kind == NET_FLATTEN || l->kind == NET_SOFTMAX; // the batch is axis 0
    graph_add_node(
        g,
        (struct graph_node){
            .type = types[l->kind], .out = out, .in = {in}, .attribute = along ? "axis" : NULL, .number = 1});
    return 0;
}

static int layers_add(struct graph *g, const struct net *n, bool dense, struct export_sizes *sizes,
                      struct err *e) {
    const struct net_layer *last = &n->layers[n->count - 1];
    const char *in = "input", *end = last->kind == NET_SOFTMAX ? "probabilities" : "logits";
    graph_add_value(g, GRAPH_INPUT, in, n->in);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        const char *out = l == last ? end : l->name;
        size_t before = graph_size(g);
        if (layer_add(g, l, in, out, dense, e) != 0) return -1;
        sizes->layer[i] = graph_size(g) - before;
        in = out;
    }
    graph_add_value(g, GRAPH_OUTPUT, end, last->out);
    return 0;
}

// --- the file ----------------------------------------------------------------------------------------------

static void metadata_add(struct bytes *model, const char *key, const char *value) {
    struct bytes entry = {0};
    protobuf_add_string(&entry, ENTRY_KEY, key);
    protobuf_add_string(&entry, ENTRY_VALUE, value);
    protobuf_add_message(model, MODEL_METADATA, &entry);
}

static void density_text(char *text, size_t room, const struct net *n) {
    size_t weights = 0, nonzero = 0;
    for (int i = 0; i < n->count; i++) {
        const struct net_tensor *w = &n->layers[i].weight;
        if (w->shape.rank == 0) continue;
        weights += w->size;
        nonzero += net_nonzero(w);
    }
    snprintf(text, room, "%.4g, %zu of %zu weights", weights ? (double)nonzero / (double)weights : 0, nonzero,
             weights);
}

static struct bytes model_make(const struct net *n, struct graph *g) {
    char density[80];
    struct bytes model = {0}, opset = {0};
    density_text(density, sizeof density, n);
    protobuf_add_int(&model, MODEL_IR_VERSION, IR_VERSION);
    protobuf_add_string(&model, MODEL_PRODUCER, "tally");
    graph_close(&model, MODEL_GRAPH, n->name, g);
    protobuf_add_int(&opset, OPSET_VERSION, OPSET);
    protobuf_add_message(&model, MODEL_OPSET, &opset);
    metadata_add(&model, "run", n->name);
    metadata_add(&model, "input", "pixels as value / 255; their normalisation is folded into the network");
    metadata_add(&model, "density", density);
    return model;
}

static int onnx_write(const struct net *n, const char *out, const struct export_options *options,
                      struct export_sizes *sizes, struct err *e) {
    CHECK(n->count > 0 && n->mean == 0 && n->std == 1, "onnx: %s is not ready to run", n->name);
    struct graph g = {0};
    int result = net_check_chain(n, "onnx", e);
    if (result == 0) result = layers_add(&g, n, options->dense, sizes, e);
    struct bytes model = model_make(n, &g);
    sizes->total = model.size;
    if (result == 0 && model.size > INT32_MAX)
        result = err_set(e, "%s: %zu bytes, an ONNX file holds at most %d", out, model.size, INT32_MAX);
    if (result == 0) result = file_write_bytes(out, model.at, model.size, e);
    bytes_free(&model);
    return result;
}

const struct export_format onnx_format = {
    .name = "onnx",
    .help = "the whole network for ONNX Runtime and others, ready to run",
    .suffix = ".onnx",
    .runs = true,
    .write = onnx_write,
};
