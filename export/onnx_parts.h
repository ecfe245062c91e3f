// The parts of the ONNX export, which onnx.c puts together.
#ifndef TALLY_EXPORT_ONNX_PARTS_H
#define TALLY_EXPORT_ONNX_PARTS_H

#include "export/graph.h"

enum { ONNX_NAME = PARAM_NAME + 40 };

// "linear1.weight.abs"; the owner's own name for "".
const char *onnx_part(char name[ONNX_NAME], const char *owner, const char *part);

// A node between parts of an owner, of which it makes `out`; b may be NULL.
void onnx_step(struct graph *g, const char *owner, const char *type, const char *out, const char *a,
               const char *b);

// A part that is one float.
void onnx_constant(struct graph *g, const char *owner, const char *part, double value);

// A tensor's values under this name: an initialiser, or what the graph computes from counters. With `factor`, where the values
// have one by their first dimension (rank 0: none), that is a tensor NAME.factor.
void onnx_tensor(struct graph *g, const char *name, const struct net_tensor *t,
                 const struct net_tensor *factor, bool dense);

// The layer's nodes, from the results `in` and, where it has one, of its gate to `out`.
void onnx_layer(struct graph *g, const struct net_layer *l, const char *const in[NET_INPUTS],
                const char *gate, const char *out, bool dense);

#endif
