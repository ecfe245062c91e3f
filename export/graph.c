// ONNX graphs. Fields and contracts in graph.h.
#include "export/graph.h"

enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_SPARSE_INITIALIZER = 15 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_TYPE = 4, NODE_ATTRIBUTE = 5 };
enum { ATTRIBUTE_NAME = 1, ATTRIBUTE_F = 2, ATTRIBUTE_I = 3, ATTRIBUTE_INTS = 8, ATTRIBUTE_TYPE = 20 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_INT64_DATA = 7, TENSOR_NAME = 8, TENSOR_RAW_DATA = 9 };
enum { SPARSE_VALUES = 1, SPARSE_INDICES = 2, SPARSE_DIMS = 3 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_ELEMENT = 1, TENSOR_SHAPE = 2, SHAPE_DIM = 1 };
enum { DIM_VALUE = 1, DIM_PARAM = 2 };

static void attribute_add(struct bytes *node, const struct graph_attribute *a) {
    struct bytes b = {0};
    protobuf_add_string(&b, ATTRIBUTE_NAME, a->name);
    if (a->type == GRAPH_A_FLOAT) protobuf_add_float(&b, ATTRIBUTE_F, a->real);
    if (a->type == GRAPH_AN_INT) protobuf_add_int(&b, ATTRIBUTE_I, (uint64_t)a->list[0]);
    for (int i = 0; i < a->count; i++) protobuf_add_int(&b, ATTRIBUTE_INTS, (uint64_t)a->list[i]);
    protobuf_add_int(&b, ATTRIBUTE_TYPE, a->type);
    protobuf_add_message(node, NODE_ATTRIBUTE, &b);
}

void graph_add_node(struct graph *g, struct graph_node node) {
    struct bytes b = {0};
    for (int i = 0; i < GRAPH_INPUTS && node.in[i]; i++) protobuf_add_string(&b, NODE_INPUT, node.in[i]);
    protobuf_add_string(&b, NODE_OUTPUT, node.out);
    if (node.second) protobuf_add_string(&b, NODE_OUTPUT, node.second);
    protobuf_add_string(&b, NODE_NAME, node.out);
    protobuf_add_string(&b, NODE_TYPE, node.type);
    for (int i = 0; i < GRAPH_ATTRIBUTES && node.attribute[i].name; i++)
        attribute_add(&b, &node.attribute[i]);
    protobuf_add_message(&g->nodes, GRAPH_NODE, &b);
}

static void dims_add(struct bytes *b, int field, struct shape shape) {
    for (int i = 0; i < shape.rank; i++) protobuf_add_int(b, field, (uint64_t)shape.dim[i]);
}

static struct bytes tensor_make(const char *name, enum graph_type type, struct shape shape, const void *bytes,
                                size_t size) {
    struct bytes b = {0};
    dims_add(&b, TENSOR_DIMS, shape);
    protobuf_add_int(&b, TENSOR_TYPE, type);
    protobuf_add_string(&b, TENSOR_NAME, name);
    protobuf_add_bytes(&b, TENSOR_RAW_DATA, bytes, size);
    return b;
}

void graph_add_dense(struct graph *g, const char *name, enum graph_type type, struct shape shape,
                     const void *bytes, size_t size) {
    struct bytes b = tensor_make(name, type, shape, bytes, size);
    protobuf_add_message(&g->dense, GRAPH_INITIALIZER, &b);
}

void graph_add_scalar(struct graph *g, const char *name, float value) {
    graph_add_dense(g, name, GRAPH_FLOAT, (struct shape){0}, &value, sizeof value);
}

size_t graph_places_bytes(const struct csr *places) {
    size_t size = 0;
    for (size_t i = 0; i < places->nonzero; i++) size += protobuf_varint_size(places->at[i]);
    return size;
}

// Readers compute wrong numbers from places that are twice there, without a word; so they are checked here.
static struct bytes places_make(const struct csr *places) {
    struct bytes b = {0}, list = {0};
    for (size_t i = 0; i < places->nonzero; i++) {
        CHECK(i == 0 || places->at[i] > places->at[i - 1], "graph: place %zu after %zu", places->at[i],
              places->at[i - 1]);
        protobuf_add_varint(&list, places->at[i]);
    }
    protobuf_add_int(&b, TENSOR_DIMS, places->nonzero);
    protobuf_add_int(&b, TENSOR_TYPE, GRAPH_INT64);
    protobuf_add_message(&b, TENSOR_INT64_DATA, &list);
    return b;
}

void graph_add_sparse(struct graph *g, const char *name, enum graph_type type, struct shape shape,
                      const struct csr *places, const void *numbers, size_t width) {
    struct bytes b = {0};
    struct bytes values =
        tensor_make(name, type, shape_1((int)places->nonzero), numbers, places->nonzero * width);
    struct bytes indices = places_make(places);
    protobuf_add_message(&b, SPARSE_VALUES, &values);
    protobuf_add_message(&b, SPARSE_INDICES, &indices);
    dims_add(&b, SPARSE_DIMS, shape);
    protobuf_add_message(&g->sparse, GRAPH_SPARSE_INITIALIZER, &b);
}

void graph_add_value(struct graph *g, enum graph_value kind, const char *name, struct shape shape) {
    struct bytes value = {0}, type = {0}, tensor = {0}, dims = {0}, batch = {0};
    protobuf_add_string(&batch, DIM_PARAM, "N");
    protobuf_add_message(&dims, SHAPE_DIM, &batch);
    for (int i = 0; i < shape.rank; i++) {
        struct bytes dim = {0};
        protobuf_add_int(&dim, DIM_VALUE, (uint64_t)shape.dim[i]);
        protobuf_add_message(&dims, SHAPE_DIM, &dim);
    }
    protobuf_add_int(&tensor, TENSOR_ELEMENT, GRAPH_FLOAT);
    protobuf_add_message(&tensor, TENSOR_SHAPE, &dims);
    protobuf_add_message(&type, TYPE_TENSOR, &tensor);
    protobuf_add_string(&value, VALUE_NAME, name);
    protobuf_add_message(&value, VALUE_TYPE, &type);
    protobuf_add_message(&g->values, kind, &value);
}

size_t graph_size(const struct graph *g) {
    return g->nodes.size + g->dense.size + g->sparse.size + g->values.size;
}

void graph_close(struct bytes *model, int field, const char *name, struct graph *g) {
    struct bytes b = {0};
    bytes_add(&b, g->nodes.at, g->nodes.size);
    protobuf_add_string(&b, GRAPH_NAME, name);
    bytes_add(&b, g->dense.at, g->dense.size);
    bytes_add(&b, g->values.at, g->values.size);
    bytes_add(&b, g->sparse.at, g->sparse.size);
    protobuf_add_message(model, field, &b);
    bytes_free(&g->nodes);
    bytes_free(&g->dense);
    bytes_free(&g->sparse);
    bytes_free(&g->values);
}
