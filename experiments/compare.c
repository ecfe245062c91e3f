// Reading a compare config. Contracts in compare.h.
#include "experiments/compare.h"

#include <stdio.h>
#include <string.h>

#include "experiments/config.h"
#include "src/file.h"

enum { FILE_LIMIT = 1 << 20, PATH_LENGTH = 4096, VARIANTS_LIMIT = 100 };

struct description {
    const char *base;
    int64_t seeds;
    const struct json *set, *variants;
};

const struct field compare_fields[] = {{"base", FIELD_STRING, offsetof(struct description, base), 0, 0, 0,
                                        NULL, "the config that variants start from, seen from this file"},
                                       {"seeds", FIELD_INT, offsetof(struct description, seeds), 3, 1, 1000,
                                        NULL, "runs per variant, seeds 1 .. this"},
                                       {"set", FIELD_NODE, offsetof(struct description, set), 0, 0, 0, NULL,
                                        "keys of all variants: {\"path\": value}"},
                                       {"variants", FIELD_NODE, offsetof(struct description, variants), 0, 0,
                                        0, NULL,
                                        "{\"name\": {\"path\": value}}; an empty object is the base itself"},
                                       FIELD_END};

void compare_name(char name[104], const char *path) {
    const char *slash = strrchr(path, '/');
    snprintf(name, 104, "%.103s", slash ? slash + 1 : path);
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".json") == 0) name[length - 5] = 0;
}

// Sets each {"path": value} in the config.
static int values_set(struct json *config, const struct json *values, const char *path, struct err *e) {
    if (!values) return 0;
    if (json_type(values) != JSON_OBJECT)
        return err_set(e, "%s: wanted {\"path\": value}, found %s", path, json_type_name(values));
    for (const struct json *v = json_first(values); v; v = json_next(v)) {
        char *text = json_print_new(v, false);
        size_t size = strlen(json_key(v)) + strlen(text) + 2;
        char *assignment = mem_new(size, 1);
        snprintf(assignment, size, "%s=%s", json_key(v), text);
        int result = json_override(config, assignment, e);
        mem_free(text);
        mem_free(assignment);
        if (result != 0) return err_at(e, path);
    }
    return 0;
}

static bool name_wanted(const char *name, const char *const *only) {
    if (!only || !*only) return true;
    for (; *only; only++)
        if (strcmp(*only, name) == 0) return true;
    return false;
}

// The variant's config for one seed, checked as far as it can be without data; NULL on failure.
static struct json *config_new(const struct json *base, const struct description *d,
                               const struct json *variant, int64_t seed, const char *path, struct err *e) {
    struct json *config = json_copy_new(base), *own = json_object_new();
    json_add_string(own, "name", json_key(variant));
    json_add_number(own, "seed", (double)seed);
    struct config checked = {0};
    int result = values_set(config, d->set, "set", e);
    if (result == 0) result = values_set(config, variant, path, e);
    if (result == 0) result = values_set(config, own, path, e);
    if (result == 0) result = config_open_json(&checked, json_copy_new(config), path, e);
    config_close(&checked);
    json_free(own);
    if (result == 0) return config;
    json_free(config);
    return NULL;
}

// A job for each seed.
static int variant_add(struct compare *c, const struct json *base, const struct description *d,
                       const struct json *variant, const char *out, struct err *e) {
    char path[JSON_PATH], folder[JOB_FOLDER];
    json_path(path, "variants", json_key(variant), 0);
    for (int64_t seed = 1; seed <= d->seeds; seed++) {
        struct json *config = config_new(base, d, variant, seed, path, e);
        if (!config) return -1;
        snprintf(folder, sizeof folder, "%.3800s/%.100s-%lld", out, json_key(variant), (long long)seed);
        jobs_add(&c->jobs, folder, config);
    }
    return 0;
}

// Every name that was asked for must be there.
static int only_check(const struct json *variants, const char *const *only, struct err *e) {
    const char *known[VARIANTS_LIMIT + 1] = {NULL};
    int count = 0;
    for (const struct json *v = json_first(variants); v; v = json_next(v)) known[count++] = json_key(v);
    for (; only && *only; only++)
        if (!json_find(variants, *only)) return json_unknown("variants", "variant", *only, known, e);
    return 0;
}

static int description_use(struct compare *c, const struct description *d, const char *path, const char *out,
                           const char *const *only, struct err *e) {
    if (!d->base) return err_set(e, "base: must be given, a config such as \"../mnist.json\"");
    if (!d->variants || json_type(d->variants) != JSON_OBJECT || json_count(d->variants) == 0 ||
        json_count(d->variants) > VARIANTS_LIMIT)
        return err_set(e, "variants: wanted an object of 1 to %d variants", VARIANTS_LIMIT);
    if (only_check(d->variants, only, e) != 0) return -1;
    char base_path[PATH_LENGTH];
    const char *slash = d->base[0] == '/' ? NULL : strrchr(path, '/');
    int length =
        snprintf(base_path, sizeof base_path, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, d->base);
    if (length < 0 || length >= PATH_LENGTH) return err_set(e, "base: the path is too long");
    struct json *base = json_load_new(base_path, FILE_LIMIT, e);
    if (!base) return -1;
    int result = json_type(base) == JSON_OBJECT ? 0 : err_set(e, "%s: wanted an object", base_path);
    for (const struct json *v = json_first(d->variants); v && result == 0; v = json_next(v))
        if (name_wanted(json_key(v), only)) result = variant_add(c, base, d, v, out, e);
    json_free(base);
    return result;
}

int compare_open(struct compare *c, const char *path, const char *out, const char *const *only,
                 struct err *e) {
    memset(c, 0, sizeof *c);
    compare_name(c->name, path);
    struct json *root = json_load_new(path, FILE_LIMIT, e);
    if (!root) return -1;
    struct description d;
    int result = fields_read(&d, compare_fields, root, "", e);
    if (result == 0) result = description_use(c, &d, path, out, only, e);
    json_free(root);
    return result == 0 ? 0 : err_at(e, path);
}

void compare_close(struct compare *c) {
    jobs_free(&c->jobs);
}
