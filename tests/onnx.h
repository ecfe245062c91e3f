// A reader and runner of ONNX files for the tests: the fields and operators that export/onnx.c writes and no others, so
// that anything unexpected fails. Written from the schema (onnx.proto of ONNX 1.12; Operator Schemas, opset 13).
#ifndef TALLY_TESTS_ONNX_H
#define TALLY_TESTS_ONNX_H

#include "export/net.h"
#include "src/file.h"
#include "src/rng.h"
#include "tests/check.h"

enum { ONNX_NAME = 140, ONNX_VALUES = 800, ONNX_NODES = 600, ONNX_RANK = 5 };

struct onnx_value {
    char name[ONNX_NAME];
    int type, rank; // type: 1 float, 3 int8, 5 int16, 7 int64; 0 what a node gives
    int64_t dim[ONNX_RANK];
    size_t size;
    float *at; // whatever the type
    bool sparse;
};

struct onnx_attribute {
    char name[ONNX_NAME];
    int type, count; // type: 1 float, 2 int, 7 ints
    float real;
    int64_t list[4]; // the first alone is an int's
};

struct onnx_node {
    char type[ONNX_NAME], out[2][ONNX_NAME], in[3][ONNX_NAME];
    int inputs, outputs, attributes;
    struct onnx_attribute attribute[6];
};

struct onnx {
    struct onnx_value values[ONNX_VALUES]; // initialisers, then the input, then what nodes give
    struct onnx_node nodes[ONNX_NODES];
    int value_count, node_count, opset;
    char name[ONNX_NAME], input[ONNX_NAME], output[ONNX_NAME], metadata[3][2][ONNX_NAME];
    int metadata_count;
    int input_rank, output_rank;
    int64_t input_dim[ONNX_RANK], output_dim[ONNX_RANK];
    unsigned char *file;
};

// --- Protocol Buffers --------------------------------------------------------------------------------------

struct onnx_cursor {
    const unsigned char *at, *end;
};

struct onnx_field {
    int number;
    uint64_t varint;
    struct onnx_cursor bytes; // empty for a varint
    float real;
    bool is_bytes;
};

static inline uint64_t onnx_varint(struct onnx_cursor *c) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(c->at < c->end && shift < 64);
        value |= (uint64_t)(*c->at & 127) << shift;
        if (*c->at++ < 128) return value;
    }
}

static inline bool onnx_field_next(struct onnx_field *f, struct onnx_cursor *c) {
    *f = (struct onnx_field){0};
    if (c->at == c->end) return false;
    uint64_t key = onnx_varint(c);
    f->number = (int)(key >> 3);
    if ((key & 7) == 5) {
        assert_true(c->end - c->at >= 4);
        memcpy(&f->real, c->at, 4);
        c->at += 4;
        return true;
    }
    f->varint = onnx_varint(c);
    if ((key & 7) == 0) return true;
    assert_int_equal(key & 7, 2);
    assert_true(f->varint <= (uint64_t)(c->end - c->at));
    f->is_bytes = true;
    f->bytes = (struct onnx_cursor){c->at, c->at + f->varint};
    c->at += f->varint;
    return true;
}

static inline void onnx_string(char text[ONNX_NAME], const struct onnx_field *f) {
    size_t length = (size_t)(f->bytes.end - f->bytes.at);
    assert_true(f->is_bytes && length > 0 && length < ONNX_NAME);
    memcpy(text, f->bytes.at, length);
    text[length] = 0;
}

// --- the file ----------------------------------------------------------------------------------------------

static inline struct onnx_value *onnx_find(struct onnx *o, const char *name) {
    for (int i = 0; i < o->value_count; i++)
        if (strcmp(o->values[i].name, name) == 0) return &o->values[i];
    return NULL;
}

static inline struct onnx_value *onnx_value_add(struct onnx *o, const char *name) {
    assert_true(o->value_count < ONNX_VALUES);
    assert_null(onnx_find(o, name)); // names are given once
    struct onnx_value *v = &o->values[o->value_count++];
    assert_true(strlen(name) < ONNX_NAME);
    strcpy(v->name, name);
    return v;
}

static inline void onnx_value_alloc(struct onnx_value *v) {
    v->size = 1;
    for (int i = 0; i < v->rank; i++) v->size *= (size_t)v->dim[i];
    v->at = mem_new(v->size, sizeof *v->at);
}

static inline float onnx_element(const unsigned char *at, int type) {
    int16_t word;
    int64_t whole;
    float number;
    if (type == 7) {
        memcpy(&whole, at, sizeof whole);
        return (float)whole;
    }
    if (type == 3) return (int8_t)*at;
    memcpy(&word, at, sizeof word);
    if (type == 5) return word;
    memcpy(&number, at, sizeof number);
    return number;
}

// A TensorProto of int8, int16 or float in raw_data.
static inline void onnx_tensor(struct onnx_value *v, char name[ONNX_NAME], struct onnx_cursor c) {
    struct onnx_field f;
    struct onnx_cursor raw = {NULL, NULL};
    while (onnx_field_next(&f, &c)) switch (f.number) {
        case 1:
            assert_true(v->rank < ONNX_RANK);
            v->dim[v->rank++] = (int64_t)f.varint;
            break;
        case 2:
            v->type = (int)f.varint;
            break;
        case 8:
            onnx_string(name, &f);
            break;
        case 9:
            raw = f.bytes;
            break;
        default:
            fail_msg("field %d of a tensor", f.number);
        }
    assert_true(v->type == 1 || v->type == 3 || v->type == 5 || v->type == 7);
    onnx_value_alloc(v);
    size_t width = v->type == 1 ? 4 : v->type == 3 ? 1 : v->type == 5 ? 2 : 8;
    assert_int_equal((size_t)(raw.end - raw.at), v->size * width);
    for (size_t i = 0; i < v->size; i++) v->at[i] = onnx_element(raw.at + i * width, v->type);
}

// A SparseTensorProto, made dense.
static inline void onnx_sparse(struct onnx *o, struct onnx_cursor c) {
    struct onnx_value numbers = {.size = 0};
    struct onnx_field f, g;
    struct onnx_cursor places = {NULL, NULL};
    char name[ONNX_NAME] = "";
    int64_t entries = -1, dim[ONNX_RANK];
    int rank = 0, type = 0;
    while (onnx_field_next(&f, &c)) switch (f.number) {
        case 1:
            onnx_tensor(&numbers, name, f.bytes);
            break;
        case 2:
            while (onnx_field_next(&g, &f.bytes)) {
                if (g.number == 1)
                    entries = (int64_t)g.varint;
                else if (g.number == 2)
                    type = (int)g.varint;
                else if (g.number == 7)
                    places = g.bytes;
                else
                    fail_msg("field %d of indices", g.number);
            }
            break;
        case 3:
            dim[rank++] = (int64_t)f.varint;
            break;
        default:
            fail_msg("field %d of a sparse tensor", f.number);
        }
    struct onnx_value *v = onnx_value_add(o, name);
    v->rank = rank;
    memcpy(v->dim, dim, sizeof dim);
    v->type = numbers.type;
    v->sparse = true;
    onnx_value_alloc(v);
    assert_int_equal(type, 7);
    assert_int_equal(numbers.rank, 1);
    assert_int_equal(entries, numbers.size);
    uint64_t next = 0;
    for (int64_t i = 0; i < entries; i++) {
        uint64_t at = onnx_varint(&places);
        assert_true(at >= next && at < v->size); // ascending and unique
        assert_true(numbers.at[i] != 0);
        v->at[at] = numbers.at[i];
        next = at + 1;
    }
    assert_ptr_equal(places.at, places.end);
    mem_free(numbers.at);
}

static inline void onnx_attribute_read(struct onnx_attribute *a, struct onnx_cursor c) {
    struct onnx_field f;
    while (onnx_field_next(&f, &c)) {
        if (f.number == 1)
            onnx_string(a->name, &f);
        else if (f.number == 2)
            a->real = f.real;
        else if (f.number == 3)
            a->list[0] = (int64_t)f.varint;
        else if (f.number == 8 && a->count < 4)
            a->list[a->count++] = (int64_t)f.varint;
        else if (f.number == 20)
            a->type = (int)f.varint;
        else
            fail_msg("field %d of an attribute", f.number);
    }
    assert_true(a->type == 1 || a->type == 2 || a->type == 7);
    assert_int_equal(a->count > 0, a->type == 7);
}

static inline void onnx_node(struct onnx_node *n, struct onnx_cursor c) {
    struct onnx_field f;
    char name[ONNX_NAME] = "";
    while (onnx_field_next(&f, &c)) switch (f.number) {
        case 1:
            assert_true(n->inputs < 3);
            onnx_string(n->in[n->inputs++], &f);
            break;
        case 2:
            assert_true(n->outputs < 2);
            onnx_string(n->out[n->outputs++], &f);
            break;
        case 3:
            onnx_string(name, &f);
            break;
        case 4:
            onnx_string(n->type, &f);
            break;
        case 5:
            assert_true(n->attributes < 6);
            onnx_attribute_read(&n->attribute[n->attributes++], f.bytes);
            break;
        default:
            fail_msg("field %d of a node", f.number);
        }
    assert_string_equal(name, n->out[0]);
}

// A ValueInfoProto: a float tensor whose first dimension is "N".
static inline void onnx_value_info(char name[ONNX_NAME], int *rank, int64_t dim[ONNX_RANK],
                                   struct onnx_cursor c) {
    struct onnx_field value, type, tensor, shape, d = {0};
    assert_true(onnx_field_next(&value, &c) && value.number == 1);
    onnx_string(name, &value);
    assert_true(onnx_field_next(&value, &c) && value.number == 2 && c.at == c.end);
    assert_true(onnx_field_next(&type, &value.bytes) && type.number == 1 &&
                value.bytes.at == value.bytes.end);
    assert_true(onnx_field_next(&tensor, &type.bytes) && tensor.number == 1 && tensor.varint == 1);
    assert_true(onnx_field_next(&tensor, &type.bytes) && tensor.number == 2 &&
                type.bytes.at == type.bytes.end);
    *rank = 0;
    while (onnx_field_next(&shape, &tensor.bytes)) {
        assert_true(shape.number == 1 && onnx_field_next(&d, &shape.bytes) &&
                    shape.bytes.at == shape.bytes.end);
        if (*rank == 0)
            assert_true(d.number == 2 && d.varint == 1 && *d.bytes.at == 'N');
        else
            assert_int_equal(d.number, 1);
        dim[(*rank)++] = d.number == 1 ? (int64_t)d.varint : 0;
    }
}

static inline void onnx_graph(struct onnx *o, struct onnx_cursor c) {
    struct onnx_field f;
    char name[ONNX_NAME];
    while (onnx_field_next(&f, &c)) {
        struct onnx_value v = {.size = 0}, *added;
        switch (f.number) {
        case 1:
            assert_true(o->node_count < ONNX_NODES);
            onnx_node(&o->nodes[o->node_count++], f.bytes);
            break;
        case 2:
            onnx_string(o->name, &f);
            break;
        case 5:
            onnx_tensor(&v, name, f.bytes);
            added = onnx_value_add(o, name);
            memcpy(v.name, added->name, sizeof v.name);
            *added = v;
            break;
        case 11:
            onnx_value_info(o->input, &o->input_rank, o->input_dim, f.bytes);
            break;
        case 12:
            onnx_value_info(o->output, &o->output_rank, o->output_dim, f.bytes);
            break;
        case 15:
            onnx_sparse(o, f.bytes);
            break;
        default:
            fail_msg("field %d of the graph", f.number);
        }
    }
}

static inline struct onnx *onnx_open_new(const char *path) {
    struct onnx *o = mem_new(1, sizeof *o);
    struct onnx_field f, g;
    struct err e = {""};
    size_t size;
    o->file = file_read_new(&size, path, 1 << 26, &e);
    assert_string_equal(e.text, "");
    struct onnx_cursor c = {o->file, o->file + size};
    int version = 0;
    while (onnx_field_next(&f, &c)) switch (f.number) {
        case 1:
            version = (int)f.varint;
            break;
        case 2:
            assert_memory_equal(f.bytes.at, "tally", 5);
            break;
        case 7:
            onnx_graph(o, f.bytes);
            break;
        case 8:
            assert_true(onnx_field_next(&g, &f.bytes) && g.number == 2 && f.bytes.at == f.bytes.end);
            o->opset = (int)g.varint;
            break;
        case 14:
            assert_true(o->metadata_count < 3);
            for (int i = 0; onnx_field_next(&g, &f.bytes); i++) {
                assert_int_equal(g.number, i + 1);
                onnx_string(o->metadata[o->metadata_count][i], &g);
            }
            o->metadata_count++;
            break;
        default:
            fail_msg("field %d of the model", f.number);
        }
    assert_int_equal(version, 8);
    return o;
}

static inline void onnx_free(struct onnx *o) {
    for (int i = 0; i < o->value_count; i++) mem_free(o->values[i].at);
    mem_free(o->file);
    mem_free(o);
}

// --- running -----------------------------------------------------------------------------------------------

// The attribute of this type; the node has it.
static inline const struct onnx_attribute *onnx_attribute(const struct onnx_node *n, const char *name,
                                                          int type) {
    for (int i = 0; i < n->attributes; i++)
        if (strcmp(n->attribute[i].name, name) == 0 && n->attribute[i].type == type) return &n->attribute[i];
    fail_msg("%s: no attribute %s", n->out[0], name);
    return NULL;
}

static inline int64_t onnx_int(const struct onnx_node *n, const char *name) {
    return onnx_attribute(n, name, 2)->list[0];
}

static inline void onnx_shape(struct onnx_value *y, const struct onnx_value *like) {
    y->rank = like->rank;
    memcpy(y->dim, like->dim, sizeof y->dim);
    onnx_value_alloc(y);
}

static inline float onnx_unary(const struct onnx_node *n, float x) {
    const char *type = n->type;
    if (strcmp(type, "Cast") == 0) return onnx_int(n, "to") == 7 ? truncf(x) : x;
    if (strcmp(type, "Abs") == 0) return fabsf(x);
    if (strcmp(type, "Sign") == 0) return (float)((x > 0) - (x < 0));
    if (strcmp(type, "Exp") == 0) return expf(x);
    if (strcmp(type, "Sinh") == 0) return sinhf(x);
    if (strcmp(type, "Erf") == 0) return erff(x);
    if (strcmp(type, "Tanh") == 0) return tanhf(x);
    if (strcmp(type, "Sqrt") == 0) return sqrtf(x);
    if (strcmp(type, "Sigmoid") == 0) return 1 / (1 + expf(-x));
    if (strcmp(type, "Relu") == 0) return x > 0 ? x : 0;
    if (strcmp(type, "LeakyRelu") == 0) return x > 0 ? x : onnx_attribute(n, "alpha", 1)->real * x;
    fail_msg("the operator %s", type);
    return 0;
}

static inline float onnx_binary(const char *type, float a, float b) {
    if (strcmp(type, "Mul") == 0) return a * b;
    if (strcmp(type, "Add") == 0) return a + b;
    if (strcmp(type, "Sub") == 0) return a - b;
    if (strcmp(type, "Div") == 0) return a / b;
    if (strcmp(type, "Pow") == 0) return powf(a, b);
    fail_msg("the operator %s", type);
    return 0;
}

// Element i of y in a tensor that is broadcast to it: dimensions from the last one, where they are 1 or not there the same
// numbers again.
static inline float onnx_broadcast(const struct onnx_value *v, const struct onnx_value *y, size_t i) {
    size_t at = 0, step = 1;
    for (int k = 1; k <= y->rank; k++) {
        size_t dim = (size_t)y->dim[y->rank - k], place = i % dim;
        i /= dim;
        if (k > v->rank) continue;
        int64_t own = v->dim[v->rank - k];
        assert_true(own == 1 || own == (int64_t)dim);
        at += own == 1 ? 0 : place * step;
        step *= (size_t)own;
    }
    return v->at[at];
}

static inline void onnx_elementwise(struct onnx_value *y, const struct onnx_node *n,
                                    const struct onnx_value *a, const struct onnx_value *b) {
    onnx_shape(y, b && b->size > a->size ? b : a);
    for (size_t i = 0; i < y->size; i++)
        y->at[i] = b ? onnx_binary(n->type, onnx_broadcast(a, y, i), onnx_broadcast(b, y, i))
                     : onnx_unary(n, a->at[i]);
}

// y (N, out) = x (N, in) · w (out, in) transposed + bias (out).
static inline void onnx_gemm(struct onnx_value *y, const struct onnx_value *x, const struct onnx_value *w,
                             const struct onnx_value *bias) {
    assert_true(x->rank == 2 && w->rank == 2 && x->dim[1] == w->dim[1]);
    size_t in = (size_t)w->dim[1], out = (size_t)w->dim[0];
    y->rank = 2;
    y->dim[0] = x->dim[0];
    y->dim[1] = w->dim[0];
    onnx_value_alloc(y);
    if (bias) assert_true(bias->rank == 1 && bias->size == out);
    for (size_t i = 0; i < y->size; i++) {
        float sum = bias ? bias->at[i % out] : 0;
        for (size_t j = 0; j < in; j++) sum += x->at[i / out * in + j] * w->at[i % out * in + j];
        y->at[i] = sum;
    }
}

// (..., in) by (in, out).
static inline void onnx_matmul(struct onnx_value *y, const struct onnx_value *x, const struct onnx_value *w) {
    size_t in = (size_t)w->dim[0], out = (size_t)w->dim[1];
    assert_true(w->rank == 2 && x->dim[x->rank - 1] == w->dim[0]);
    *y = *x;
    y->dim[x->rank - 1] = w->dim[1];
    onnx_value_alloc(y);
    for (size_t i = 0; i < y->size; i++)
        for (size_t j = 0; j < in; j++) y->at[i] += x->at[i / out * in + j] * w->at[j * out + i % out];
}

static inline void onnx_softmax(struct onnx_value *y, const struct onnx_value *x, int64_t axis) {
    assert_int_equal(axis, x->rank - 1);
    onnx_shape(y, x);
    size_t size = (size_t)x->dim[axis];
    for (size_t i = 0; i < y->size; i += size) {
        double sum = 0;
        for (size_t j = i; j < i + size; j++) sum += exp((double)x->at[j]);
        for (size_t j = i; j < i + size; j++) y->at[j] = (float)(exp((double)x->at[j]) / sum);
    }
}

// --- windows: Conv and pooling of (N, C, height, width)

// What one window of a plane comes to: the sum by weights, the most, or the mean.
static inline float onnx_window(const struct onnx_node *n, const struct onnx_value *x, const float *plane,
                                const float *w, int64_t o, int64_t p) {
    const int64_t *size = onnx_attribute(n, "kernel_shape", 7)->list,
                  *stride = onnx_attribute(n, "strides", 7)->list;
    const int64_t *pads = onnx_attribute(n, "pads", 7)->list, ones[2] = {1, 1};
    bool mean = strcmp(n->type, "AveragePool") == 0, most = strcmp(n->type, "MaxPool") == 0;
    const int64_t *dilation = mean ? ones : onnx_attribute(n, "dilations", 7)->list;
    float sum = most ? -INFINITY : 0;
    int64_t count = 0;
    assert_true(pads[0] == pads[2] && pads[1] == pads[3]);
    for (int64_t i = 0; i < size[0]; i++)
        for (int64_t j = 0; j < size[1]; j++) {
            int64_t row = o * stride[0] - pads[0] + i * dilation[0],
                    column = p * stride[1] - pads[1] + j * dilation[1];
            if (row < 0 || row >= x->dim[2] || column < 0 || column >= x->dim[3]) continue;
            float v = plane[row * x->dim[3] + column];
            count++;
            if (most)
                sum = fmaxf(sum, v);
            else
                sum += w ? w[i * size[1] + j] * v : v;
        }
    return sum / (float)(!mean ? 1 : onnx_int(n, "count_include_pad") ? size[0] * size[1] : count);
}

static inline void onnx_windows(struct onnx_value *y, const struct onnx_node *n, const struct onnx_value *x,
                                const struct onnx_value *w, const struct onnx_value *bias) {
    const int64_t *size = onnx_attribute(n, "kernel_shape", 7)->list,
                  *stride = onnx_attribute(n, "strides", 7)->list;
    const int64_t *pads = onnx_attribute(n, "pads", 7)->list, ones[2] = {1, 1};
    const int64_t *dilation =
        strcmp(n->type, "AveragePool") == 0 ? ones : onnx_attribute(n, "dilations", 7)->list;
    int64_t group = w ? onnx_int(n, "group") : 1;
    assert_int_equal(n->attributes, w ? 5 : 4);
    if (w)
        assert_true(w->rank == 4 && w->dim[1] * group == x->dim[1] && w->dim[2] == size[0] &&
                    w->dim[3] == size[1]);
    *y = *x;
    y->dim[1] = w ? w->dim[0] : x->dim[1];
    for (int k = 0; k < 2; k++)
        y->dim[2 + k] = (x->dim[2 + k] + 2 * pads[k] - dilation[k] * (size[k] - 1) - 1) / stride[k] + 1;
    onnx_value_alloc(y);
    float *to = y->at;
    for (int64_t b = 0; b < y->dim[0]; b++)
        for (int64_t c = 0; c < y->dim[1]; c++)
            for (int64_t i = 0; i < y->dim[2] * y->dim[3]; i++, to++) {
                int64_t first = w ? c / (y->dim[1] / group) * w->dim[1] : c;
                *to = bias ? bias->at[c] : 0;
                for (int64_t from = 0; from < (w ? w->dim[1] : 1); from++)
                    *to += onnx_window(n, x, x->at + (b * x->dim[1] + first + from) * x->dim[2] * x->dim[3],
                                       w ? w->at + (c * w->dim[1] + from) * size[0] * size[1] : NULL,
                                       i / y->dim[3], i % y->dim[3]);
            }
}

// --- along an axis

// Places of axis 1: `outer` blocks of `length` steps of `inner` numbers.
static inline size_t onnx_inner(const struct onnx_value *v) {
    size_t inner = 1;
    for (int i = 2; i < v->rank; i++) inner *= (size_t)v->dim[i];
    return inner;
}

// The k largest along axis 1, equal ones in the order of their places.
static inline void onnx_top_k(struct onnx_value *most, struct onnx_value *index, const struct onnx_value *x,
                              int64_t k) {
    size_t inner = onnx_inner(x), length = (size_t)x->dim[1];
    *most = *x;
    most->dim[1] = k;
    onnx_value_alloc(most);
    onnx_shape(index, most);
    bool *taken = mem_new(x->size, sizeof *taken);
    for (size_t i = 0; i < most->size; i++) {
        size_t first = i / inner / (size_t)k * length * inner + i % inner, best = length;
        for (size_t j = 0; j < length; j++)
            if (!taken[first + j * inner] &&
                (best == length || x->at[first + j * inner] > x->at[first + best * inner]))
                best = j;
        taken[first + best * inner] = true;
        most->at[i] = x->at[first + best * inner];
        index->at[i] = (float)best;
    }
    mem_free(taken);
}

// GatherElements (updates NULL) and ScatterElements along axis 1.
static inline void onnx_by_index(struct onnx_value *y, const struct onnx_value *x,
                                 const struct onnx_value *index, const struct onnx_value *updates) {
    size_t inner = onnx_inner(x), length = (size_t)x->dim[1], k = (size_t)index->dim[1];
    onnx_shape(y, updates ? x : index);
    if (updates) memcpy(y->at, x->at, x->size * sizeof *x->at);
    for (size_t i = 0; i < index->size; i++) {
        size_t at = (i / inner / k * length + (size_t)index->at[i]) * inner + i % inner;
        assert_true(at < x->size);
        if (updates)
            y->at[at] = updates->at[i];
        else
            y->at[i] = x->at[at];
    }
}

static inline void onnx_concat(struct onnx_value *y, const struct onnx_value *a, const struct onnx_value *b) {
    *y = *a;
    y->dim[1] += b->dim[1];
    onnx_value_alloc(y);
    size_t batch = (size_t)a->dim[0], first = a->size / batch, second = b->size / batch;
    for (size_t i = 0; i < batch; i++) {
        memcpy(y->at + i * (first + second), a->at + i * first, first * sizeof *y->at);
        memcpy(y->at + i * (first + second) + first, b->at + i * second, second * sizeof *y->at);
    }
}

// Means of runs of `length` numbers; the last dimensions become `ones` of 1.
static inline void onnx_mean(struct onnx_value *y, const struct onnx_value *x, int ones) {
    size_t length = 1;
    *y = *x;
    for (int i = x->rank - ones; i < x->rank; i++) {
        length *= (size_t)x->dim[i];
        y->dim[i] = 1;
    }
    onnx_value_alloc(y);
    for (size_t i = 0; i < y->size; i++) {
        double sum = 0;
        for (size_t j = 0; j < length; j++) sum += (double)x->at[i * length + j];
        y->at[i] = (float)(sum / (double)length);
    }
}

static inline void onnx_flatten(struct onnx_value *y, const struct onnx_value *x, int64_t axis) {
    assert_int_equal(axis, 1);
    y->rank = 2;
    y->dim[0] = x->dim[0];
    y->dim[1] = (int64_t)x->size / y->dim[0];
    onnx_value_alloc(y);
    memcpy(y->at, x->at, y->size * sizeof *y->at);
}

// To a shape, the numbers of x or zeros.
static inline void onnx_reshape(struct onnx_value *y, const struct onnx_value *shape,
                                const struct onnx_value *x) {
    y->rank = (int)shape->size;
    for (int i = 0; i < y->rank; i++) y->dim[i] = (int64_t)shape->at[i];
    onnx_value_alloc(y);
    if (!x) return;
    assert_int_equal(x->size, y->size);
    memcpy(y->at, x->at, y->size * sizeof *y->at);
}

// Rows of a matrix, or with axis 1 columns.
static inline void onnx_gather(struct onnx_value *y, const struct onnx_value *w,
                               const struct onnx_value *index, int64_t axis) {
    size_t width = (size_t)w->dim[1];
    assert_true(w->rank == 2 && (axis == 0 || (axis == 1 && index->rank == 1)));
    if (axis == 1) {
        y->rank = 2;
        y->dim[0] = w->dim[0];
        y->dim[1] = index->dim[0];
        onnx_value_alloc(y);
        for (size_t i = 0; i < y->size; i++)
            y->at[i] = w->at[i / index->size * width + (size_t)index->at[i % index->size]];
        return;
    }
    *y = *index;
    y->dim[y->rank++] = w->dim[1];
    onnx_value_alloc(y);
    for (size_t i = 0; i < index->size; i++)
        memcpy(y->at + i * width, w->at + (size_t)index->at[i] * width, width * sizeof *y->at);
}

static inline void onnx_transpose(struct onnx_value *y, const struct onnx_value *x) {
    assert_int_equal(x->rank, 2);
    y->rank = 2;
    y->dim[0] = x->dim[1];
    y->dim[1] = x->dim[0];
    onnx_value_alloc(y);
    for (size_t i = 0; i < x->size; i++)
        y->at[i % (size_t)x->dim[1] * (size_t)x->dim[0] + i / (size_t)x->dim[1]] = x->at[i];
}

static inline void onnx_node_run(struct onnx *o, const struct onnx_node *n) {
    const struct onnx_value *in[3] = {NULL};
    for (int i = 0; i < n->inputs; i++)
        if (!(in[i] = onnx_find(o, n->in[i]))) fail_msg("%s: no value %s", n->out[0], n->in[i]);
    struct onnx_value made = {.size = 0}, second = made, *y = &made;
    const char *type = n->type;
    bool axis_only = n->attributes == 1;
    if (strcmp(type, "Gemm") == 0) {
        assert_true(n->attributes == 1 && onnx_int(n, "transB") == 1 && n->inputs >= 2);
        onnx_gemm(y, in[0], in[1], in[2]);
    } else if (strcmp(type, "MatMul") == 0) {
        onnx_matmul(y, in[0], in[1]);
    } else if (strcmp(type, "Transpose") == 0) {
        onnx_transpose(y, in[0]);
    } else if (strcmp(type, "Softmax") == 0 && axis_only) {
        onnx_softmax(y, in[0], onnx_int(n, "axis"));
    } else if (strcmp(type, "Flatten") == 0 && axis_only) {
        onnx_flatten(y, in[0], onnx_int(n, "axis"));
    } else if (strcmp(type, "Conv") == 0 || strcmp(type, "MaxPool") == 0 ||
               strcmp(type, "AveragePool") == 0) {
        onnx_windows(y, n, in[0], in[1], in[2]);
    } else if (strcmp(type, "GlobalAveragePool") == 0) {
        onnx_mean(y, in[0], 2);
    } else if (strcmp(type, "ReduceMean") == 0) {
        assert_true(onnx_attribute(n, "axes", 7)->count == 1 && onnx_attribute(n, "axes", 7)->list[0] == -1);
        onnx_mean(y, in[0], 1);
    } else if (strcmp(type, "Concat") == 0) {
        assert_int_equal(onnx_int(n, "axis"), 1);
        onnx_concat(y, in[0], in[1]);
    } else if (strcmp(type, "TopK") == 0) {
        assert_true(onnx_int(n, "axis") == 1 && in[1]->type == 7 && in[1]->size == 1 && n->outputs == 2);
        onnx_top_k(y, &second, in[0], (int64_t)in[1]->at[0]);
    } else if (strcmp(type, "GatherElements") == 0 || strcmp(type, "ScatterElements") == 0) {
        assert_int_equal(onnx_int(n, "axis"), 1);
        onnx_by_index(y, in[0], in[1], in[2]);
    } else if (strcmp(type, "Shape") == 0) {
        y->rank = 1;
        y->dim[0] = in[0]->rank;
        onnx_value_alloc(y);
        for (int i = 0; i < in[0]->rank; i++) y->at[i] = (float)in[0]->dim[i];
    } else if (strcmp(type, "ConstantOfShape") == 0) {
        onnx_reshape(y, in[0], NULL);
    } else if (strcmp(type, "Reshape") == 0) {
        onnx_reshape(y, in[1], in[0]);
    } else if (strcmp(type, "Clip") == 0) {
        onnx_shape(y, in[0]);
        for (size_t i = 0; i < y->size; i++) y->at[i] = fminf(fmaxf(in[0]->at[i], *in[1]->at), *in[2]->at);
    } else if (strcmp(type, "Gather") == 0) {
        onnx_gather(y, in[0], in[1], onnx_int(n, "axis"));
    } else {
        bool cast = strcmp(type, "Cast") == 0;
        assert_int_equal(n->attributes, cast || strcmp(type, "LeakyRelu") == 0);
        assert_true(n->inputs <= 2 && (cast || in[0]->type <= 1) &&
                    (!in[1] || in[1]->type <= 1)); // of floats
        onnx_elementwise(y, n, in[0], in[1]);
    }
    for (int i = 0; i < n->outputs; i++) {
        struct onnx_value *to = onnx_value_add(o, n->out[i]), *from = i ? &second : &made;
        memcpy(from->name, to->name, sizeof to->name);
        from->type = 0;
        from->sparse = false;
        *to = *from;
    }
}

// Runs it once on x [batch][in...]; the output is borrowed.
static inline const float *onnx_run(struct onnx *o, const float *x, int batch) {
    struct onnx_value *v = onnx_value_add(o, o->input);
    v->rank = o->input_rank;
    memcpy(v->dim, o->input_dim, sizeof v->dim);
    v->dim[0] = batch;
    onnx_value_alloc(v);
    memcpy(v->at, x, v->size * sizeof *x);
    for (int i = 0; i < o->node_count; i++) onnx_node_run(o, &o->nodes[i]);
    const struct onnx_value *y = onnx_find(o, o->output);
    assert_non_null(y);
    assert_int_equal(y->rank, o->output_rank);
    for (int i = 1; i < y->rank; i++) assert_int_equal(y->dim[i], o->output_dim[i]);
    return y->at;
}

// What the file's graph computes from random x [BATCH][in] is what the net does, to a tolerance times 1 + |y|; x in 0 .. `most`.
static inline void onnx_check(const char *path, const struct net *n, double tolerance, double most,
                              struct rng *r) {
    enum { BATCH = 3 };
    size_t in = shape_size(n->in), out = shape_size(n->layers[n->count - 1].out);
    float *x = mem_new(BATCH * in, sizeof *x), *y = mem_new(out, sizeof *y);
    for (size_t i = 0; i < BATCH * in; i++) x[i] = (float)(rng_uniform(r) * most);
    struct onnx *o = onnx_open_new(path);
    const float *found = onnx_run(o, x, BATCH);
    for (size_t b = 0; b < BATCH; b++) {
        net_forward(n, x + b * in, y);
        for (size_t i = 0; i < out; i++)
            assert_near(found[b * out + i], y[i], tolerance * (1 + fabs((double)y[i])));
    }
    onnx_free(o);
    mem_free(x);
    mem_free(y);
}

#endif
