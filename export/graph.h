// An ONNX graph while it is made: nodes, initialisers, inputs and outputs, as the fields of a GraphProto.
//
//   GraphProto         node 1, name 2, initializer 5, input 11, output 12, sparse_initializer 15
//   NodeProto          input 1, output 2, name 3, op_type 4, attribute 5
//   AttributeProto     name 1, f 2, i 3, ints 8, type 20 (FLOAT 1, INT 2, INTS 7)
//   TensorProto        dims 1, data_type 2, int64_data 7, name 8, raw_data 9
//   SparseTensorProto  values 1, indices 2, dims 3; the name is the values'
//   ValueInfoProto     name 1, type 2 > tensor_type 1 > elem_type 1, shape 2 > dim 1 > dim_value 1 or dim_param 2
//
// Source: onnx.proto of ONNX 1.12, IR version 8.
#ifndef TALLY_EXPORT_GRAPH_H
#define TALLY_EXPORT_GRAPH_H

#include "export/csr.h"
#include "export/protobuf.h"

struct graph {
    struct bytes nodes, dense, sparse, values; // values: inputs and outputs
};

// TensorProto.DataType
enum graph_type { GRAPH_FLOAT = 1, GRAPH_INT8 = 3, GRAPH_INT16 = 5, GRAPH_INT64 = 7 };

enum graph_value { GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };

enum { GRAPH_INPUTS = 3, GRAPH_ATTRIBUTES = 6 };

enum graph_attribute_type { GRAPH_A_FLOAT = 1, GRAPH_AN_INT = 2, GRAPH_INTS = 7 };

struct graph_attribute {
    const char *name; // NULL: none, and no more
    enum graph_attribute_type type;
    float real;
    int64_t list[4]; // the first alone is an int's
    int count;       // of INTS
};

// Named like its output.
struct graph_node {
    const char *type, *out, *in[GRAPH_INPUTS]; // in: as many as are not NULL
    const char *second;                        // another output, or NULL
    struct graph_attribute attribute[GRAPH_ATTRIBUTES];
};

// For a node's list.
#define GRAPH_INT_IS(key, value)                                \
    {                                                           \
        .name = (key), .type = GRAPH_AN_INT, .list = {(value) } \
    }

void graph_add_node(struct graph *g, struct graph_node node);

// Constants. `bytes` are the elements, little-endian, last dimension fastest.
void graph_add_dense(struct graph *g, const char *name, enum graph_type type, struct shape shape,
                     const void *bytes, size_t size);
void graph_add_scalar(struct graph *g, const char *name, float value);

// The numbers [nonzero], of `width` bytes each, at their places in a tensor that is zero elsewhere.
void graph_add_sparse(struct graph *g, const char *name, enum graph_type type, struct shape shape,
                      const struct csr *places, const void *numbers, size_t width);

// Bytes of the places in graph_add_sparse.
size_t graph_places_bytes(const struct csr *places);

// A float tensor (N, shape...).
void graph_add_value(struct graph *g, enum graph_value kind, const char *name, struct shape shape);

// Bytes so far.
size_t graph_size(const struct graph *g);

// The graph as the field of a message; empties it.
void graph_close(struct bytes *model, int field, const char *name, struct graph *g);

#endif
