// Field tables: one table is a struct's parser, defaults, limits and help. Contracts in json.h.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/json.h"

enum { FIELDS_LIMIT = 48, CHOICE_LIMIT = 32 };

int json_unknown(const char *path, const char *kind, const char *word, const char *const *known,
                 struct err *e) {
    const char *near = name_nearest(word, known);
    const char *separator = *path ? ": " : "";
    if (near)
        return err_set(e, "%s%sunknown %s '%.60s'; did you mean '%s'?", path, separator, kind, word, near);
    if (!known[0]) return err_set(e, "%s%sunknown %s '%.60s'; there are none", path, separator, kind, word);
    err_set(e, "%s%sunknown %s '%.60s'; known:", path, separator, kind, word);
    for (int i = 0; known[i]; i++) {
        size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, "%s %s", i ? "," : "", known[i]);
    }
    return -1;
}

static int choice_read(int *out, const struct field *f, const struct json *node, const char *path,
                       struct err *e) {
    if (json_type(node) != JSON_STRING)
        return err_set(e, "%s: wanted a string, found %s", path, json_type_name(node));
    char words[256];
    const char *known[CHOICE_LIMIT + 1] = {NULL};
    CHECK(strlen(f->text) < sizeof words, "field %s: too many choices", f->name);
    strcpy(words, f->text);
    int count = 0;
    for (char *word = words; word; count++) {
        CHECK(count < CHOICE_LIMIT, "field %s: too many choices", f->name);
        known[count] = word;
        word = strchr(word, '|');
        if (word) *word++ = 0;
    }
    for (int i = 0; i < count; i++)
        if (strcmp(json_string(node), known[i]) == 0) return *out = i, 0;
    return json_unknown(path, "value", json_string(node), known, e);
}

static int real_read(double *out, const struct field *f, const struct json *node, const char *path,
                     struct err *e) {
    if (json_type(node) != JSON_NUMBER)
        return err_set(e, "%s: wanted a number, found %s", path, json_type_name(node));
    *out = json_number(node);
    if (*out < f->min || *out > f->max)
        return err_set(e, "%s: %g is not in %g .. %g", path, *out, f->min, f->max);
    return 0;
}

static int field_read(void *at, const struct field *f, const struct json *node, const char *path,
                      struct err *e) {
    switch (f->type) {
    case FIELD_INT:
        return json_read_int(at, node, (int64_t)f->min, (int64_t)f->max, path, e);
    case FIELD_REAL:
        return real_read(at, f, node, path, e);
    case FIELD_BOOL:
        if (json_type(node) != JSON_BOOL)
            return err_set(e, "%s: wanted true or false, found %s", path, json_type_name(node));
        *(bool *)at = json_number(node) != 0;
        return 0;
    case FIELD_STRING:
        if (json_type(node) != JSON_STRING)
            return err_set(e, "%s: wanted a string, found %s", path, json_type_name(node));
        *(const char **)at = json_string(node);
        return 0;
    case FIELD_CHOICE:
        return choice_read(at, f, node, path, e);
    case FIELD_NODE:
        *(const struct json **)at = json_type(node) == JSON_NULL ? NULL : node;
    }
    return 0;
}

static void field_default(void *at, const struct field *f) {
    switch (f->type) {
    case FIELD_INT:
        *(int64_t *)at = (int64_t)f->initial;
        break;
    case FIELD_REAL:
        *(double *)at = f->initial;
        break;
    case FIELD_BOOL:
        *(bool *)at = f->initial != 0;
        break;
    case FIELD_STRING:
        *(const char **)at = f->text;
        break;
    case FIELD_CHOICE:
        *(int *)at = (int)f->initial;
        break;
    case FIELD_NODE:
        *(const struct json **)at = NULL;
    }
}

int fields_read(void *into, const struct field *fields, const struct json *node, const char *path,
                struct err *e) {
    const char *known[FIELDS_LIMIT + 1] = {NULL};
    int count = 0;
    for (; fields[count].name; count++) {
        CHECK(count < FIELDS_LIMIT, "more than %d fields", FIELDS_LIMIT);
        known[count] = fields[count].name;
        field_default((char *)into + fields[count].offset, &fields[count]);
    }
    if (!node) return 0;
    if (json_type(node) != JSON_OBJECT)
        return err_set(e, "%s%swanted an object, found %s", path, *path ? ": " : "", json_type_name(node));
    for (int i = 0; i < json_count(node); i++) {
        const struct json *member = json_item(node, i);
        int f = 0;
        while (f < count && strcmp(fields[f].name, json_key(member)) != 0) f++;
        if (f == count) return json_unknown(path, "key", json_key(member), known, e);
        char member_path[JSON_PATH];
        json_path(member_path, path, json_key(member), 0);
        if (field_read((char *)into + fields[f].offset, &fields[f], member, member_path, e) != 0) return -1;
    }
    return 0;
}

static void choice_add(struct json *object, const struct field *f, int choice) {
    const char *word = f->text;
    for (; choice > 0; choice--) word = strchr(word, '|') + 1;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "|"), word);
    json_add_string(object, f->name, name);
}

struct json *fields_write_new(const void *from, const struct field *fields) {
    struct json *object = json_object_new();
    for (const struct field *f = fields; f->name; f++) {
        const void *at = (const char *)from + f->offset;
        const struct json *const *node = at;
        switch (f->type) {
        case FIELD_INT:
            json_add_number(object, f->name, (double)*(const int64_t *)at);
            break;
        case FIELD_REAL:
            json_add_number(object, f->name, *(const double *)at);
            break;
        case FIELD_BOOL:
            json_add_bool(object, f->name, *(const bool *)at);
            break;
        case FIELD_STRING:
            if (*(const char *const *)at) json_add_string(object, f->name, *(const char *const *)at);
            break;
        case FIELD_CHOICE:
            choice_add(object, f, *(const int *)at);
            break;
        case FIELD_NODE:
            if (*node) json_add(object, f->name, json_copy_new(*node));
        }
    }
    return object;
}

int json_read_named(const char **name, const struct json **options, const struct json *node, const char *path,
                    struct err *e) {
    *options = NULL;
    if (json_type(node) == JSON_STRING) return *name = json_string(node), 0;
    if (json_type(node) != JSON_OBJECT || json_count(node) != 1)
        return err_set(e, "%s: wanted a name or {\"name\": {options}}, found %s", path,
                       json_type(node) == JSON_OBJECT ? "an object of several keys or none"
                                                      : json_type_name(node));
    *options = json_item(node, 0);
    *name = json_key(*options);
    return 0;
}
