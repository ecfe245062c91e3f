// A reader and runner of ONNX files for the tests: the fields and operators that export/onnx.c writes and no others, so
// that anything unexpected fails. Written from the schema (onnx.proto of ONNX 1.12; Operator Schemas, opset 13).
#ifndef TALLY_TESTS_ONNX_H
#define TALLY_TESTS_ONNX_H

#include "src/file.h"
#include "tests/check.h"

enum { ONNX_NAME = 120, ONNX_VALUES = 200, ONNX_NODES = 200, ONNX_RANK = 5 };

struct onnx_value {
    char name[ONNX_NAME];
    int type, rank; // type: 1 float, 3 int8, 5 int16
    int64_t dim[ONNX_RANK];
    size_t size;
    float *at; // whatever the type
    bool sparse;
};

struct onnx_node {
    char type[ONNX_NAME], out[ONNX_NAME], in[3][ONNX_NAME], attribute[ONNX_NAME];
    int inputs;
    int64_t number;
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
    float number;
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
    assert_true(v->type == 1 || v->type == 3 || v->type == 5);
    onnx_value_alloc(v);
    size_t width = v->type == 1 ? 4 : v->type == 3 ? 1 : 2;
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

static inline void onnx_node(struct onnx_node *n, struct onnx_cursor c) {
    struct onnx_field f, g;
    char name[ONNX_NAME] = "";
    int type = 0;
    while (onnx_field_next(&f, &c)) switch (f.number) {
        case 1:
            assert_true(n->inputs < 3);
            onnx_string(n->in[n->inputs++], &f);
            break;
        case 2:
            onnx_string(n->out, &f);
            break;
        case 3:
            onnx_string(name, &f);
            break;
        case 4:
            onnx_string(n->type, &f);
            break;
        case 5:
            while (onnx_field_next(&g, &f.bytes)) {
                if (g.number == 1)
                    onnx_string(n->attribute, &g);
                else if (g.number == 3)
                    n->number = (int64_t)g.varint;
                else if (g.number == 20)
                    type = (int)g.varint;
                else
                    fail_msg("field %d of an attribute", g.number);
            }
            assert_int_equal(type, 2);
            break;
        default:
            fail_msg("field %d of a node", f.number);
        }
    assert_string_equal(name, n->out);
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

static inline float onnx_unary(const char *type, float x) {
    if (strcmp(type, "Cast") == 0) return x;
    if (strcmp(type, "Abs") == 0) return fabsf(x);
    if (strcmp(type, "Sign") == 0) return (float)((x > 0) - (x < 0));
    if (strcmp(type, "Exp") == 0) return expf(x);
    if (strcmp(type, "Sinh") == 0) return sinhf(x);
    if (strcmp(type, "Erf") == 0) return erff(x);
    if (strcmp(type, "Tanh") == 0) return tanhf(x);
    if (strcmp(type, "Sigmoid") == 0) return 1 / (1 + expf(-x));
    if (strcmp(type, "Relu") == 0) return x > 0 ? x : 0;
    fail_msg("the operator %s", type);
    return 0;
}

static inline float onnx_binary(const char *type, float a, float b) {
    if (strcmp(type, "Mul") == 0) return a * b;
    if (strcmp(type, "Add") == 0) return a + b;
    if (strcmp(type, "Sub") == 0) return a - b;
    if (strcmp(type, "Pow") == 0) return powf(a, b);
    fail_msg("the operator %s", type);
    return 0;
}

// Of one shape, or one of them a scalar.
static inline void onnx_elementwise(struct onnx_value *y, const char *type, const struct onnx_value *a,
                                    const struct onnx_value *b) {
    const struct onnx_value *larger = b && a->rank == 0 ? b : a;
    y->rank = larger->rank;
    memcpy(y->dim, larger->dim, sizeof y->dim);
    onnx_value_alloc(y);
    if (b) assert_true((a->rank == 0 || a->size == y->size) && (b->rank == 0 || b->size == y->size));
    for (size_t i = 0; i < y->size; i++)
        y->at[i] = b ? onnx_binary(type, a->at[a->rank ? i : 0], b->at[b->rank ? i : 0])
                     : onnx_unary(type, a->at[i]);
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

static inline void onnx_softmax(struct onnx_value *y, const struct onnx_value *x) {
    assert_int_equal(x->rank, 2);
    y->rank = 2;
    memcpy(y->dim, x->dim, sizeof y->dim);
    onnx_value_alloc(y);
    size_t size = (size_t)x->dim[1];
    for (size_t i = 0; i < y->size; i += size) {
        double sum = 0;
        for (size_t j = i; j < i + size; j++) sum += exp((double)x->at[j]);
        for (size_t j = i; j < i + size; j++) y->at[j] = (float)(exp((double)x->at[j]) / sum);
    }
}

static inline void onnx_node_run(struct onnx *o, const struct onnx_node *n) {
    const struct onnx_value *in[3] = {NULL};
    for (int i = 0; i < n->inputs; i++)
        if (!(in[i] = onnx_find(o, n->in[i]))) fail_msg("%s: no value %s", n->out, n->in[i]);
    struct onnx_value *y = onnx_value_add(o, n->out);
    if (strcmp(n->type, "Gemm") == 0) {
        assert_true(strcmp(n->attribute, "transB") == 0 && n->number == 1 && n->inputs >= 2);
        onnx_gemm(y, in[0], in[1], in[2]);
    } else if (strcmp(n->type, "Softmax") == 0) {
        assert_true(strcmp(n->attribute, "axis") == 0 && n->number == 1 && n->inputs == 1);
        onnx_softmax(y, in[0]);
    } else if (strcmp(n->type, "Flatten") == 0) {
        assert_true(strcmp(n->attribute, "axis") == 0 && n->number == 1 && n->inputs == 1);
        y->rank = 2;
        y->dim[0] = in[0]->dim[0];
        y->dim[1] = (int64_t)in[0]->size / y->dim[0];
        onnx_value_alloc(y);
        memcpy(y->at, in[0]->at, y->size * sizeof *y->at);
    } else {
        bool cast = strcmp(n->type, "Cast") == 0;
        assert_string_equal(n->attribute, cast ? "to" : "");
        if (cast) assert_int_equal(n->number, 1);
        assert_true(n->inputs <= 2 && (cast || in[0]->type <= 1) &&
                    (!in[1] || in[1]->type <= 1)); // of floats
        onnx_elementwise(y, n->type, in[0], in[1]);
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

#endif
