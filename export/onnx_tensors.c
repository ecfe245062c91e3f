// Tensors in an ONNX graph: initialisers, and the nodes that make values of counters. What is written is in onnx.c.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/onnx_parts.h"

// --- a tensor's map ----------------------------------------------------------------------------------------

const char *onnx_part(char name[ONNX_NAME], const char *owner, const char *part) {
    snprintf(name, ONNX_NAME, "%s%s%s", owner, *part ? "." : "", part);
    return name;
}

void onnx_step(struct graph *g, const char *owner, const char *type, const char *out, const char *a,
               const char *b) {
    char names[3][ONNX_NAME];
    graph_add_node(g, (struct graph_node){
                          .type = type,
                          .out = onnx_part(names[0], owner, out),
                          .in = {onnx_part(names[1], owner, a), b ? onnx_part(names[2], owner, b) : NULL}});
}

void onnx_constant(struct graph *g, const char *owner, const char *part, double value) {
    char name[ONNX_NAME];
    graph_add_scalar(g, onnx_part(name, owner, part), (float)value);
}

// "level": |c| - 1, times `rate`.
static void level_add(struct graph *g, const char *tensor, double rate) {
    onnx_constant(g, tensor, "one", 1);
    onnx_constant(g, tensor, "rate", rate);
    onnx_step(g, tensor, "Abs", "abs", "c", NULL);
    onnx_step(g, tensor, "Sub", "steps", "abs", "one");
    onnx_step(g, tensor, "Mul", "level", "steps", "rate");
}

static void sign_add(struct graph *g, const char *tensor) {
    onnx_step(g, tensor, "Sign", "sign", "c", NULL);
    onnx_step(g, tensor, "Mul", "f", "size", "sign");
}

// From the part "c", the counters as floats, to the part `out`, the values.
static void map_add(struct graph *g, const char *tensor, const struct net_tensor *t, const char *out) {
    double parameter = t->number.parameter, scale = t->scale;
    const char *f = "f";
    switch (t->number.kind) {
    case NUMBER_SQUARE:
        onnx_step(g, tensor, "Abs", "abs", "c", NULL);
        onnx_step(g, tensor, "Mul", "f", "c", "abs");
        break;
    case NUMBER_POWER:
        onnx_constant(g, tensor, "power", parameter);
        onnx_step(g, tensor, "Abs", "abs", "c", NULL);
        onnx_step(g, tensor, "Pow", "size", "abs", "power");
        sign_add(g, tensor);
        break;
    case NUMBER_EXP:
        onnx_constant(g, tensor, "rate", parameter / 2);
        onnx_step(g, tensor, "Mul", "y", "c", "rate");
        onnx_step(g, tensor, "Sinh", "sinh", "y", NULL);
        onnx_step(g, tensor, "Abs", "abs", "y", NULL);
        onnx_step(g, tensor, "Exp", "exp", "abs", NULL);
        onnx_step(g, tensor, "Mul", "f", "sinh", "exp");
        scale *= 2;
        break;
    case NUMBER_POW2:
        level_add(g, tensor, 1 / parameter);
        onnx_constant(g, tensor, "two", 2);
        onnx_step(g, tensor, "Pow", "size", "two", "level");
        sign_add(g, tensor);
        break;
    case NUMBER_MADAM:
        level_add(g, tensor, -parameter);
        onnx_step(g, tensor, "Exp", "size", "level", NULL);
        sign_add(g, tensor);
        break;
    case NUMBER_LINEAR:
    case NUMBER_KINDS:
        f = "c";
    }
    onnx_constant(g, tensor, "scale", scale);
    onnx_step(g, tensor, "Mul", out, f, "scale");
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

void onnx_tensor(struct graph *g, const char *tensor, const struct net_tensor *t,
                 const struct net_tensor *factor, bool dense) {
    char name[ONNX_NAME], counters[ONNX_NAME];
    struct csr *places = csr_new(t);
    bool mapped = map_fits(t), times = mapped && factor && factor->shape.rank;
    size_t width = mapped ? (size_t)number_bytes(&t->number) : sizeof(float);
    void *numbers = mapped ? csr_counters_new(places, t) : (void *)csr_values_new(places, t);
    enum graph_type type = !mapped ? GRAPH_FLOAT : width == 1 ? GRAPH_INT8 : GRAPH_INT16;
    onnx_part(name, tensor, mapped ? "counters" : "");
    if (dense || graph_places_bytes(places) + places->nonzero * width >= t->size * width)
        dense_add(g, name, type, t, places, numbers, width);
    else
        graph_add_sparse(g, name, type, t->shape, places, numbers, width);
    if (mapped) {
        graph_add_node(g, (struct graph_node){.type = "Cast",
                                              .out = onnx_part(counters, tensor, "c"),
                                              .in = {name},
                                              .attribute = {GRAPH_INT_IS("to", GRAPH_FLOAT)}});
        map_add(g, tensor, t, times ? "unscaled" : "");
    }
    if (times) {
        struct net_tensor shaped = *factor; // (out, 1, 1 ...)
        shaped.shape.rank = t->shape.rank;
        for (int i = 1; i < t->shape.rank; i++) shaped.shape.dim[i] = 1;
        onnx_tensor(g, onnx_part(name, tensor, "factor"), &shaped, NULL, true);
        onnx_step(g, tensor, "Mul", "", "unscaled", "factor");
    }
    mem_free(numbers);
    csr_free(places);
}
