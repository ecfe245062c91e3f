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
// Where a layer's outputs have factors, they multiply its weight's values last, as a tensor (out, 1 ...).
//
//   linear        Gemm; of samples that are rows, MatMul by the Transpose of the weight, and Add
//   conv2d        Conv            max_pool2d, avg_pool2d   MaxPool, AveragePool     global_avg_pool2d   GlobalAveragePool, Flatten
//   batch_norm    Mul, Add        layer_norm, rms_norm     ReduceMean, Sqrt, Div .. (operators of their own came later)
//   k_winners     TopK, GatherElements and ScatterElements into zeros; among equals the lower index wins, as here
//   silu          Mul by Sigmoid  gelu                     by Erf                   embedding           Clip, Cast, Gather
//   residual      Add             concat                   Concat
//   selector      linear, by zeros and ones of TopK of the blocks' scores, one for each row: all rows are computed
//   experts       all of them, each by its number of the router's k_winners, and Add
//
// ONNX Runtime 1.30 (node) runs sparse initialisers of int8, int16 and float, without entries too. It expands them while
// loading: the file is smaller, the speed is that of dense weights. onnx.checker 1.12 passes them, but not its optional
// shape inference, which knows no operator that takes one; with --dense that passes too.
//
// Source: ONNX, Operator Schemas, opset 13, and onnx.proto. Departures: none.
#include <stdio.h>

#include "export/export.h"
#include "export/onnx_parts.h"
#include "src/file.h"

enum { IR_VERSION = 8, OPSET = 13 };

enum { MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_METADATA = 14 };
enum { OPSET_VERSION = 2, ENTRY_KEY = 1, ENTRY_VALUE = 2 };

// --- the graph ---

static const char *result_name(const struct net *n, int layer, const char *end) {
    return layer == NET_SAMPLE ? "input" : layer == n->count - 1 ? end : n->layers[layer].name;
}

static void layers_add(struct graph *g, const struct net *n, bool dense, struct export_sizes *sizes) {
    const struct net_layer *last = &n->layers[n->count - 1];
    const char *end = last->kind == NET_SOFTMAX ? "probabilities" : "logits";
    graph_add_value(g, GRAPH_INPUT, "input", n->in);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        const char *in[NET_INPUTS] = {NULL};
        size_t before = graph_size(g);
        for (int k = 0; k < net_inputs(l); k++) in[k] = result_name(n, l->input[k], end);
        const char *gate = l->gated ? result_name(n, l->gate, end) : NULL;
        onnx_layer(g, l, in, gate, result_name(n, i, end), dense);
        sizes->layer[i] = graph_size(g) - before;
    }
    graph_add_value(g, GRAPH_OUTPUT, end, last->out);
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
    layers_add(&g, n, options->dense, sizes);
    struct bytes model = model_make(n, &g);
    int result = 0;
    sizes->total = model.size;
    if (model.size > INT32_MAX)
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
