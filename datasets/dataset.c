// The registry of data sets. Contracts in dataset.h.
#include "datasets/dataset.h"

#include <string.h>

#define DATASET(name) extern const struct dataset_type name##_dataset;
#include "datasets/dataset.def"
#undef DATASET

const struct dataset_type *const dataset_types[] = {
#define DATASET(name) &name##_dataset,
#include "datasets/dataset.def"
#undef DATASET
    NULL};

enum { TYPES = sizeof dataset_types / sizeof *dataset_types };

const struct dataset_type *dataset_type_find(const char *name) {
    for (int i = 0; dataset_types[i]; i++)
        if (strcmp(dataset_types[i]->name, name) == 0) return dataset_types[i];
    return NULL;
}

static const struct dataset_type *type_find(const char *name, const char *path, struct err *e) {
    const struct dataset_type *found = dataset_type_find(name);
    const char *known[TYPES] = {NULL};
    for (int i = 0; dataset_types[i]; i++) known[i] = dataset_types[i]->name;
    if (!found) json_unknown(path, "data set", name, known, e);
    return found;
}

// The type that the node names, and its config (mem_free it); NULL on failure.
static const struct dataset_type *node_read(void **config, const struct json *node, const char *path,
                                            struct err *e) {
    const char *name;
    const struct json *options;
    if (json_read_named(&name, &options, node, path, e) != 0) return NULL;
    const struct dataset_type *type = type_find(name, path, e);
    if (!type) return NULL;
    char type_path[JSON_PATH];
    json_path(type_path, path, name, 0);
    *config = mem_new(1, type->config_size);
    if (fields_read(*config, type->fields, options, type_path, e) == 0) return type;
    mem_free(*config);
    return NULL;
}

int dataset_open(struct dataset *d, const struct json *node, const char *path, struct data_source *source,
                 struct err *e) {
    memset(d, 0, sizeof *d);
    source->missing = false;
    void *config;
    d->type = node_read(&config, node, path, e);
    if (!d->type) return -1;
    int result = d->type->open(d, config, source, e);
    mem_free(config);
    return result;
}

struct json *dataset_resolve_new(const struct json *node, const char *path, struct err *e) {
    void *config;
    const struct dataset_type *type = node_read(&config, node, path, e);
    if (!type) return NULL;
    struct json *resolved = json_object_new();
    json_add(resolved, type->name, fields_write_new(config, type->fields));
    mem_free(config);
    return resolved;
}

void dataset_close(struct dataset *d) {
    struct split *const splits[] = {&d->train, &d->validation, &d->test};
    for (int i = 0; i < 3; i++) {
        mem_free(splits[i]->pixels);
        mem_free(splits[i]->labels);
        mem_free(splits[i]->numbers);
        mem_free(splits[i]->values);
        *splits[i] = (struct split){0};
    }
}

size_t dataset_targets(const struct dataset *d) {
    return d->targets ? (size_t)d->targets : 1;
}

const uint8_t *dataset_pixels(const struct dataset *d, const struct split *s, size_t i) {
    return s->pixels ? s->pixels + i * (s->stride ? s->stride : shape_size(d->sample)) : NULL;
}

const uint8_t *dataset_labels(const struct dataset *d, const struct split *s, size_t i) {
    return s->labels ? s->labels + i * (s->label_stride ? s->label_stride : dataset_targets(d)) : NULL;
}

const float *dataset_numbers(const struct dataset *d, const struct split *s, size_t i) {
    return s->numbers ? s->numbers + i * (s->stride ? s->stride : shape_size(d->sample)) : NULL;
}

const float *dataset_values(const struct dataset *d, const struct split *s, size_t i) {
    return s->values ? s->values + i * shape_size(d->target) : NULL;
}

struct shape dataset_output(const struct dataset *d) {
    if (!d->classes) return d->target;
    return d->targets > 1 ? shape_2(d->targets, d->classes) : shape_1(d->classes);
}

const char *data_kind_name(enum data_kind kind) {
    static const char *const names[] = {"images", "tokens", "numbers"};
    return names[kind];
}
