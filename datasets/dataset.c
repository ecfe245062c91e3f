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

int dataset_open(struct dataset *d, struct json **resolved, const struct json *node, const char *path,
                 struct data_source *source, struct err *e) {
    memset(d, 0, sizeof *d);
    *resolved = NULL;
    source->missing = false;
    const char *name;
    const struct json *options;
    if (json_read_named(&name, &options, node, path, e) != 0) return -1;
    const struct dataset_type *type = type_find(name, path, e);
    if (!type) return -1;
    char type_path[JSON_PATH];
    json_path(type_path, path, name, 0);
    void *config = mem_new(1, type->config_size);
    int result = fields_read(config, type->fields, options, type_path, e);
    if (result == 0) {
        d->type = type;
        *resolved = json_object_new();
        json_add(*resolved, name, fields_write_new(config, type->fields));
        result = type->open(d, config, source, e);
    }
    mem_free(config);
    return result;
}

void dataset_close(struct dataset *d) {
    struct split *const splits[] = {&d->train, &d->test};
    for (int i = 0; i < 2; i++) {
        mem_free(splits[i]->pixels);
        mem_free(splits[i]->labels);
        *splits[i] = (struct split){0};
    }
}
