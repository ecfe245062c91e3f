// The registry of data sets. Contracts in dataset.h.
#include "datasets/dataset.h"

#include <string.h>

#include "src/rng.h"

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

static void split_free(struct split *s) {
    mem_free(s->pixels);
    mem_free(s->labels);
    mem_free(s->numbers);
    mem_free(s->values);
    *s = (struct split){0};
}

void dataset_close(struct dataset *d) {
    split_free(&d->train);
    split_free(&d->validation);
    split_free(&d->test);
}

// The samples whose place in `chosen` is `wanted`, as arrays of their own.
static struct split split_take(const struct dataset *d, const struct split *s, const bool *chosen,
                               bool wanted) {
    struct split out = {0};
    size_t size = shape_size(d->sample), values = d->classes ? 0 : shape_size(d->target), count = 0;
    for (int i = 0; i < s->count; i++) out.count += chosen[i] == wanted;
    size_t room = (size_t)out.count;
    if (s->pixels) out.pixels = mem_new(room, size);
    if (s->labels) out.labels = mem_new(room, 1);
    if (s->numbers) out.numbers = mem_new(room, size * sizeof *out.numbers);
    if (s->values) out.values = mem_new(room, values * sizeof *out.values);
    for (size_t i = 0; i < (size_t)s->count; i++) {
        if (chosen[i] != wanted) continue;
        if (s->pixels) memcpy(out.pixels + count * size, s->pixels + i * size, size);
        if (s->labels) out.labels[count] = s->labels[i];
        if (s->numbers) memcpy(out.numbers + count * size, s->numbers + i * size, size * sizeof *s->numbers);
        if (s->values)
            memcpy(out.values + count * values, s->values + i * values, values * sizeof *s->values);
        count++;
    }
    return out;
}

void dataset_hold_out(struct dataset *d, double share, uint64_t seed) {
    CHECK(dataset_targets(d) == 1 && !d->train.stride && d->test.count == 0, "dataset_hold_out: of %s",
          d->type->name);
    uint32_t count = (uint32_t)d->train.count, held = (uint32_t)(share * count + 0.5);
    uint32_t *order = mem_new(count, sizeof *order);
    bool *chosen = mem_new(count, sizeof *chosen);
    struct rng r = rng_stream(seed, "test split");
    rng_shuffle(order, count, &r);
    for (uint32_t i = 0; i < held; i++) chosen[order[i]] = true;
    struct split all = d->train;
    d->test = split_take(d, &all, chosen, true);
    d->train = split_take(d, &all, chosen, false);
    split_free(&all);
    mem_free(order);
    mem_free(chosen);
}

struct json *dataset_named_new(const struct json **node, const char *text, struct err *e) {
    struct json *root = *text == '{' ? json_parse_new(text, strlen(text), e) : json_object_new();
    if (!root) return NULL;
    if (*text != '{') json_add_string(root, "set", text);
    *node = *text == '{' ? root : json_find(root, "set");
    return root;
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
