// Building and running a list of layers. Contracts in model.h.
#include "layers/model.h"

#include <stdio.h>
#include <string.h>

#include "layers/init.h"

#define LAYER(name) extern const struct layer_type name##_layer;
#include "layers/layer.def"
#undef LAYER

const struct layer_type *const layer_types[] = {
#define LAYER(name) &name##_layer,
#include "layers/layer.def"
#undef LAYER
    NULL};

// LAYERS_TOTAL: of all lists together, since experts build theirs many times over, and may hold experts.
enum {
    TYPES = sizeof layer_types / sizeof *layer_types,
    LAYERS_LIMIT = 1000,
    LAYERS_TOTAL = 10000,
    PARAMS_LIMIT = 1 << 30
};

const struct field layer_no_fields[] = {FIELD_END};

static const struct layer_type *type_find(const char *name, const char *path, struct err *e) {
    const char *known[TYPES] = {NULL};
    for (int i = 0; layer_types[i]; i++) {
        if (strcmp(layer_types[i]->name, name) == 0) return layer_types[i];
        known[i] = layer_types[i]->name;
    }
    json_unknown(path, "layer", name, known, e);
    return NULL;
}

static int layer_build(struct model *m, const struct json *node, const char *path, const char *prefix,
                       bool first, struct params *ps, struct err *e) {
    struct layer *l = &m->layers[m->count];
    const char *name;
    const struct json *options;
    if (json_read_named(&name, &options, node, path, e) != 0) return -1;
    const struct layer_type *type = type_find(name, path, e);
    if (!type) return -1;
    if (++ps->layers > LAYERS_TOTAL)
        return err_set(e, "%s: more than %d layers in all lists together", path, LAYERS_TOTAL);
    l->type = type;
    l->config = mem_new(1, type->config_size);
    int number = 1;
    for (int i = 0; i < m->count; i++) number += m->layers[i].type == type;
    m->count++;
    json_path(l->path, path, name, 0);
    if (snprintf(l->name, sizeof l->name, "%s%s%d", prefix, type->name, number) >= (int)sizeof l->name)
        return err_set(e, "%s: too deep in lists of layers for a name", l->path);
    if (fields_read(l->config, type->fields, options, l->path, e) != 0) return -1;
    l->in = m->out;
    l->first = first;
    if (type->build(l, ps, e) != 0) return -1;
    m->out = l->out;
    return 0;
}

// The layers' names begin with the prefix: empty for the model itself, which may not be an empty list. `raw`: the list gets
// the samples themselves.
static struct model *list_build(const struct json *list, const char *path, const char *prefix, bool raw,
                                struct shape in, struct params *ps, struct err *e) {
    if (!list || json_type(list) != JSON_ARRAY || (json_count(list) == 0 && !*prefix)) {
        err_set(e, "%s: wanted a list of layers, such as [\"flatten\", {\"linear\": {\"out\": 10}}]", path);
        return NULL;
    }
    if (json_count(list) > LAYERS_LIMIT) {
        err_set(e, "%s: %d layers, at most %d", path, json_count(list), LAYERS_LIMIT);
        return NULL;
    }
    struct model *m = mem_new(1, sizeof *m);
    m->layers = mem_new((size_t)json_count(list), sizeof *m->layers);
    m->in = m->out = in;
    for (int i = 0; i < json_count(list); i++) {
        char item_path[JSON_PATH];
        json_path(item_path, path, NULL, i);
        if (layer_build(m, json_item(list, i), item_path, prefix, raw && i == 0, ps, e) != 0) {
            model_free(m);
            return NULL;
        }
        if (ps->size > PARAMS_LIMIT) {
            err_set(e, "%s: the model has %zu parameters here, at most %d", item_path, ps->size,
                    PARAMS_LIMIT);
            model_free(m);
            return NULL;
        }
    }
    return m;
}

struct model *model_new(const struct json *list, const char *path, struct shape in, struct params *ps,
                        struct err *e) {
    return list_build(list, path, "", true, in, ps, e);
}

void model_free(struct model *m) {
    if (!m) return;
    for (int i = 0; i < m->count; i++) {
        struct layer *l = &m->layers[i];
        for (int k = 0; k < l->inner_count; k++) model_free(l->inner[k]);
        mem_free(l->inner);
        mem_free(l->config);
    }
    mem_free(m->layers);
    mem_free(m);
}

struct tensor *model_forward(const struct model *m, struct tape *t, struct tensor *x) {
    for (int i = 0; i < m->count; i++) x = m->layers[i].type->forward(&m->layers[i], t, x);
    return x;
}

double model_step_numbers(const struct model *m, double samples) {
    double numbers = 0;
    for (int i = 0; i < m->count; i++) {
        const struct layer *l = &m->layers[i];
        if (l->type->step_numbers) {
            numbers += l->type->step_numbers(l, samples);
            continue;
        }
        numbers += 3 * (double)shape_size(l->out) * samples;
        for (int k = 0; k < l->inner_count; k++) numbers += model_step_numbers(l->inner[k], samples);
    }
    return numbers;
}

struct json *model_write_new(const struct model *m) {
    struct json *list = json_array_new();
    for (int i = 0; i < m->count; i++) {
        const struct layer *l = &m->layers[i];
        struct json *item = json_object_new();
        json_add(item, l->type->name,
                 l->type->write ? l->type->write(l) : fields_write_new(l->config, l->type->fields));
        json_add(list, NULL, item);
    }
    return list;
}

static void param_name(char name[PARAM_NAME], const struct layer *l, const char *what) {
    int length = snprintf(name, PARAM_NAME, "%s.%s", l->name, what);
    CHECK(length < PARAM_NAME, "%s: the name %s is too long", l->name, what);
}

int layer_add_param(struct layer *l, struct params *ps, const char *what, struct shape shape, double bound,
                    double initial) {
    char name[PARAM_NAME];
    param_name(name, l, what);
    return params_add(ps, name, shape, bound, initial);
}

int layer_add_matrix(struct layer *l, struct params *ps, const char *what, int out, int in, int init) {
    int index = layer_add_param(l, ps, what, shape_2(out, in), init_bound(init, in, out), 0);
    params_add_matrix(ps, index);
    return index;
}

int layer_add_buffer(struct layer *l, struct params *ps, const char *what, struct shape shape, double initial,
                     struct average average) {
    char name[PARAM_NAME];
    param_name(name, l, what);
    return params_add_buffer(ps, name, shape, initial, average);
}

struct model *layer_add_inner(struct layer *l, struct params *ps, const struct json *list, const char *path,
                              const char *part, struct shape in, struct err *e) {
    char prefix[2 * PARAM_NAME];
    int length = snprintf(prefix, sizeof prefix, "%s.%s%s", l->name, part ? part : "", part ? "." : "");
    CHECK(length < (int)sizeof prefix, "%s: the name %s is too long", l->name, part);
    struct model *m = list_build(list, path, prefix, l->first, in, ps, e);
    if (!m) return NULL;
    l->inner = mem_grow(l->inner, (size_t)l->inner_count, sizeof *l->inner);
    return l->inner[l->inner_count++] = m;
}

int layer_build_elementwise(struct layer *l, struct params *ps, struct err *e) {
    (void)ps, (void)e;
    l->out = l->in;
    return 0;
}
