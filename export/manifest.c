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

static struct json *layer_new(const struct net_layer *l) {
    struct json *object = json_object_new();
    json_add_string(object, "kind", net_kind_name(l->kind));
    json_add_string(object, "name", l->name);
    json_add(object, "in", shape_new(l->in));
    json_add(object, "out", shape_new(l->out));
    if (l->kind == NET_AFFINE) {
        json_add_number(object, "scale", l->scale);
        json_add_number(object, "shift", l->shift);
    }
    return object;
}

struct json *manifest_new(const struct net *n) {
    struct json *object = json_object_new(), *layers = json_array_new();
    for (int i = 0; i < n->count; i++) json_add(layers, NULL, layer_new(&n->layers[i]));
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
