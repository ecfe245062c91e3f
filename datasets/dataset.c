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

static const struct dataset_type *type_find(const char *name, const char *path, struct err *e) {
    const char *known[TYPES] = {NULL};
    for (int i = 0; dataset_types[i]; i++) {
        if (strcmp(dataset_types[i]->name, name) == 0) return dataset_types[i];
        known[i] = dataset_types[i]->name;
    }
    json_unknown(path, "data set", name, known, e);
    return NULL;
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
    struct split *const splits[] = {&d->train, &d->test};
    for (int i = 0; i < 2; i++) {
        mem_free(splits[i]->pixels);
        mem_free(splits[i]->labels);
        *splits[i] = (struct split){0};
    }
}
