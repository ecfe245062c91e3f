// What is said beside matrices. Contracts in manifest.h.
#include "export/manifest.h"

#include <string.h>

#include "src/file.h"

enum { PATH_LENGTH = 4096 };

static struct json *shape_new(struct shape s) {
    struct json *list = json_array_new();
    for (int i = 0; i < s.rank; i++) json_add_number(list, NULL, s.dim[i]);
    return list;
}

static void pair_add(struct json *object, const char *key, const int pair[2]) {
    json_add(object, key, shape_new(shape_2(pair[0], pair[1])));
}

// What some kinds of layers have besides.
static void options_add(struct json *object, const struct net_layer *l) {
    bool conv2d = l->kind == NET_CONV2D, pool = l->kind == NET_MAX_POOL2D || l->kind == NET_AVG_POOL2D;
    if (l->kind == NET_AFFINE) {
        json_add_number(object, "scale", l->scale);
        json_add_number(object, "shift", l->shift);
    }
    if (conv2d || pool) {
        pair_add(object, "kernel_size", l->window.size);
        pair_add(object, "stride", l->window.stride);
        pair_add(object, "padding", l->window.padding);
        pair_add(object, "dilation", l->window.dilation);
    }
    if (conv2d) json_add_number(object, "groups", l->groups);
    if (l->kind == NET_AVG_POOL2D) json_add_bool(object, "count_include_pad", l->count_pad);
    if (l->kind == NET_LEAKY_RELU) json_add_number(object, "negative_slope", l->slope);
    if (l->kind == NET_LAYER_NORM || l->kind == NET_RMS_NORM) json_add_number(object, "eps", l->eps);
    if (l->kind == NET_K_WINNERS) {
        json_add_number(object, "k", l->k);
        json_add_bool(object, "local", l->local);
    }
    if (l->kind == NET_SELECT) {
        json_add_number(object, "k", l->k);
        json_add_number(object, "block", l->block);
    }
}

static const char *result_name(const struct net *n, int result) {
    return result == NET_SAMPLE ? "input" : n->layers[result].name;
}

static struct json *layer_new(const struct net *n, const struct net_layer *l) {
    struct json *object = json_object_new(), *inputs = json_array_new();
    for (int k = 0; k < net_inputs(l); k++) json_add_string(inputs, NULL, result_name(n, l->input[k]));
    json_add_string(object, "kind", net_kind_name(l->kind));
    json_add_string(object, "name", l->name);
    json_add(object, "inputs", inputs);
    if (l->gated) {
        json_add_string(object, "gate", result_name(n, l->gate));
        json_add_number(object, "unit", l->unit);
    }
    json_add(object, "in", shape_new(l->in));
    json_add(object, "out", shape_new(l->out));
    if (l->weight.shape.rank) json_add(object, "weight", shape_new(l->weight.shape));
    options_add(object, l);
    return object;
}

struct json *manifest_new(const struct net *n) {
    struct json *object = json_object_new(), *layers = json_array_new();
    for (int i = 0; i < n->count; i++) json_add(layers, NULL, layer_new(n, &n->layers[i]));
    json_add_string(object, "name", n->name);
    json_add(object, "in", shape_new(n->in));
    json_add_number(object, "mean", n->mean);
    json_add_number(object, "std", n->std);
    json_add(object, "layers", layers);
    return object;
}

int manifest_write(const char *folder, const struct net *n, size_t *size, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, folder, "manifest.json", e) != 0) return -1;
    struct json *manifest = manifest_new(n);
    char *text = json_print_new(manifest, true);
    json_free(manifest);
    *size = strlen(text);
    int result = file_write_text(path, text, e);
    mem_free(text);
    return result;
}

const char *manifest_formula(enum number_kind kind) {
    static const char *const formulas[NUMBER_KINDS] = {
        [NUMBER_LINEAR] = "w = scale * c",
        [NUMBER_SQUARE] = "w = scale * c * |c|",
        [NUMBER_POWER] = "w = scale * sign(c) * |c|^parameter",
        [NUMBER_EXP] = "w = scale * sign(c) * (e^(parameter * |c|) - 1)",
        [NUMBER_POW2] = "w = scale * sign(c) * 2^((|c| - 1) / parameter), 0 for c = 0",
        [NUMBER_MADAM] = "w = scale * sign(c) * e^(-parameter * (|c| - 1)), 0 for c = 0",
    };
    return formulas[kind];
}

bool manifest_has_parameter(enum number_kind kind) {
    return kind != NUMBER_LINEAR && kind != NUMBER_SQUARE;
}
