// safetensors: one file, each weight as compressed rows (CSR) in the three tensors that torch.sparse_csr_tensor takes.
//
//   linear1.weight.crow_indices   I32 [rows + 1]
//   linear1.weight.col_indices    I32 [nonzero]
//   linear1.weight.values         F32 [nonzero]; or, with counters, .counters I8, I16 or I32 [nonzero]
//   linear1.bias                  F32 [rows]; and .factor, of norms and k_winners
//
// Metadata, all strings: "name", "mean", "std", "layers" (JSON), and for each weight its "linear1.weight.shape" as JSON
// and, with counters, .map, .parameter (where the map has one), .scale and .formula.
#include <stdio.h>
#include <string.h>

#include "export/csr.h"
#include "export/export.h"
#include "export/manifest.h"
#include "src/file.h"
#include "src/safetensors.h"

enum { NUMBER_TEXT = 40, KEY = PARAM_NAME + 32, TENSORS_PER_LAYER = 5 };

// The tensors of the file, the compressed rows they lie in and the numbers made for them.
struct content {
    struct safetensor *tensors;
    int count;
    struct csr **csr; // [layers]
    void **numbers;   // [layers]
    struct json *metadata;
};

static void tensor_add(struct content *c, enum dtype type, struct shape shape, const void *bytes,
                       const char *layer, const char *what) {
    struct safetensor *t = &c->tensors[c->count++];
    *t = (struct safetensor){.dtype = type, .shape = shape, .bytes = bytes};
    snprintf(t->name, sizeof t->name, "%s.%s", layer, what);
}

static void meta_add(struct content *c, const char *layer, const char *what, const char *value) {
    char key[KEY];
    snprintf(key, sizeof key, "%s.weight.%s", layer, what);
    json_add_string(c->metadata, key, value);
}

static const char *number_text(char text[NUMBER_TEXT], double value) {
    snprintf(text, NUMBER_TEXT, "%.17g", value);
    return text;
}

static void meta_add_tensor(struct content *c, const char *layer, const struct net_tensor *t) {
    char text[NUMBER_TEXT];
    struct json *shape = json_array_new();
    for (int i = 0; i < t->shape.rank; i++) json_add_number(shape, NULL, t->shape.dim[i]);
    char *list = json_print_new(shape, false);
    json_free(shape);
    meta_add(c, layer, "shape", list);
    mem_free(list);
    if (!t->counted) return;
    meta_add(c, layer, "map", number_name(t->number.kind));
    meta_add(c, layer, "formula", manifest_formula(t->number.kind));
    meta_add(c, layer, "scale", number_text(text, t->scale));
    if (manifest_has_parameter(t->number.kind))
        meta_add(c, layer, "parameter", number_text(text, t->number.parameter));
}

static void meta_add_net(struct content *c, const struct net *n) {
    char text[NUMBER_TEXT];
    struct json *manifest = manifest_new(n);
    char *layers = json_print_new(json_find(manifest, "layers"), false);
    json_add_string(c->metadata, "name", n->name);
    json_add_string(c->metadata, "mean", number_text(text, n->mean));
    json_add_string(c->metadata, "std", number_text(text, n->std));
    json_add_string(c->metadata, "layers", layers);
    mem_free(layers);
    json_free(manifest);
}

static size_t vector_add(struct content *c, const char *layer, const char *what, const struct net_tensor *t) {
    if (t->shape.rank == 0) return 0;
    tensor_add(c, DTYPE_F32, t->shape, t->value, layer, what);
    return t->size * sizeof *t->value;
}

// Returns the bytes of its tensors.
static size_t layer_add(struct content *c, const struct net_layer *l, int i) {
    static const enum dtype counters[] = {[1] = DTYPE_I8, [2] = DTYPE_I16, [4] = DTYPE_I32};
    const struct net_tensor *w = &l->weight;
    size_t bytes = 0;
    if (w->shape.rank) {
        struct csr *csr = c->csr[i] = csr_new(w);
        struct shape entries = shape_1((int)csr->nonzero);
        enum dtype type = w->counted ? counters[number_bytes(&w->number)] : DTYPE_F32;
        c->numbers[i] = w->counted ? csr_counters_new(csr, w) : csr_values_new(csr, w);
        tensor_add(c, DTYPE_I32, shape_1(csr->rows + 1), csr->pointer, l->name, "weight.crow_indices");
        tensor_add(c, DTYPE_I32, entries, csr->column, l->name, "weight.col_indices");
        tensor_add(c, type, entries, c->numbers[i], l->name,
                   w->counted ? "weight.counters" : "weight.values");
        meta_add_tensor(c, l->name, w);
        bytes = ((size_t)csr->rows + 1) * sizeof *csr->pointer;
        bytes += csr->nonzero * (sizeof *csr->column + dtype_bytes(type));
    }
    return bytes + vector_add(c, l->name, "bias", &l->bias) + vector_add(c, l->name, "factor", &l->factor);
}

// What is not the tensors' is the header.
static int all_write(struct content *c, const struct net *n, const char *out, struct export_sizes *sizes,
                     struct err *e) {
    meta_add_net(c, n);
    for (int i = 0; i < n->count; i++) sizes->layer[i] = layer_add(c, &n->layers[i], i);
    if (safetensors_write(out, c->tensors, c->count, c->metadata, e) != 0) return -1;
    uint64_t bytes = 0;
    if (file_size(&bytes, out, e) != 0) return -1;
    sizes->total = (size_t)bytes;
    return 0;
}

static int safetensors_export(const struct net *n, const char *out, const struct export_options *options,
                              struct export_sizes *sizes, struct err *e) {
    (void)options;
    size_t layers = (size_t)n->count;
    struct content c = {.tensors = mem_new(layers * TENSORS_PER_LAYER, sizeof *c.tensors),
                        .csr = mem_new(layers, sizeof *c.csr),
                        .numbers = mem_new(layers, sizeof *c.numbers),
                        .metadata = json_object_new()};
    int result = all_write(&c, n, out, sizes, e);
    for (int i = 0; i < n->count; i++) {
        csr_free(c.csr[i]);
        mem_free(c.numbers[i]);
    }
    mem_free(c.tensors);
    mem_free(c.csr);
    mem_free(c.numbers);
    json_free(c.metadata);
    return result;
}

const struct export_format safetensors_format = {
    .name = "safetensors",
    .help = "PyTorch's compressed rows (CSR), counters or values, in one file",
    .suffix = ".safetensors",
    .write = safetensors_export,
};
