// JSON trees on top of cJSON. Contracts in json.h; field tables are in fields.c.
#include "src/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/file.h"

enum { DEPTH_LIMIT = 64 };

// struct json is cJSON under another name, so that no other file sees cJSON.
static const cJSON *inner(const struct json *node) {
    return (const cJSON *)node;
}

static struct json *outer(cJSON *node) {
    CHECK(node, "json: out of memory");
    return (struct json *)node;
}

void json_path(char out[JSON_PATH], const char *path, const char *key, int index) {
    char number[16];
    if (!key || !*key) {
        snprintf(number, sizeof number, "%d", index);
        key = number;
    }
    snprintf(out, JSON_PATH, "%.90s%s%.60s", path, *path ? "." : "", key);
}

static int key_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// A key that the object has twice, or NULL. By sorting: objects from outside may have many keys.
static const char *key_twice(const cJSON *object) {
    size_t count = 0;
    for (const cJSON *child = object->child; child; child = child->next) count++;
    if (count < 2) return NULL;
    const char **keys = mem_new(count, sizeof *keys), *twice = NULL;
    count = 0;
    for (const cJSON *child = object->child; child; child = child->next) keys[count++] = child->string;
    qsort(keys, count, sizeof *keys, key_order);
    for (size_t i = 1; i < count && !twice; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0) twice = keys[i];
    mem_free(keys);
    return twice;
}

// What cJSON lets through: keys twice, numbers out of range, trees without end.
static int tree_check(const cJSON *node, const char *path, int depth, struct err *e) {
    char child_path[JSON_PATH];
    if (depth > DEPTH_LIMIT) return err_set(e, "%s: nested deeper than %d", path, DEPTH_LIMIT);
    if (cJSON_IsNumber(node) && !isfinite(node->valuedouble))
        return err_set(e, "%s: the number does not fit", *path ? path : "the config");
    const char *twice = cJSON_IsObject(node) ? key_twice(node) : NULL;
    if (twice) {
        json_path(child_path, path, twice, 0);
        return err_set(e, "%s: given twice", child_path);
    }
    int index = 0;
    for (const cJSON *child = node->child; child; child = child->next, index++) {
        json_path(child_path, path, child->string, index);
        if (tree_check(child, child_path, depth + 1, e) != 0) return -1;
    }
    return 0;
}

static int text_error(const char *text, const char *at, const char *what, struct err *e) {
    int line = 1, column = 1;
    for (const char *p = text; p < at; p++) {
        column++;
        if (*p == '\n') line++, column = 1;
    }
    return err_set(e, "line %d, column %d: %s", line, column, what);
}

struct json *json_parse_new(const char *text, size_t length, struct err *e) {
    for (const char *p = text; p < text + length; p++) {
        if (*p == 0) return text_error(text, p, "a zero byte", e), NULL;
        if (*p == '\\' && p + 1 < text + length) {
            if (length - (size_t)(p - text) >= 6 && memcmp(p, "\\u0000", 6) == 0)
                return text_error(text, p, "a zero byte in a string", e), NULL;
            p++;
        }
    }
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, length, &end, false);
    if (!root) return text_error(text, end ? end : text, "not valid JSON here", e), NULL;
    for (; end < text + length; end++)
        if (!strchr(" \t\r\n", *end)) {
            cJSON_Delete(root);
            return text_error(text, end, "text after the end of the JSON", e), NULL;
        }
    if (tree_check(root, "", 0, e) != 0) {
        cJSON_Delete(root);
        return NULL;
    }
    return outer(root);
}

struct json *json_load_new(const char *path, size_t limit, struct err *e) {
    size_t size;
    unsigned char *text = file_read_new(&size, path, limit, e);
    if (!text) return NULL;
    struct json *root = json_parse_new((const char *)text, size, e);
    if (!root) err_at(e, path);
    mem_free(text);
    return root;
}

void json_free(struct json *root) {
    cJSON_Delete((cJSON *)root);
}

enum json_type json_type(const struct json *node) {
    const cJSON *n = inner(node);
    if (cJSON_IsObject(n)) return JSON_OBJECT;
    if (cJSON_IsArray(n)) return JSON_ARRAY;
    if (cJSON_IsString(n)) return JSON_STRING;
    if (cJSON_IsNumber(n)) return JSON_NUMBER;
    return cJSON_IsBool(n) ? JSON_BOOL : JSON_NULL;
}

const char *json_type_name(const struct json *node) {
    static const char *const names[] = {"null",     "true or false", "a number",
                                        "a string", "a list",        "an object"};
    return names[json_type(node)];
}

int json_count(const struct json *node) {
    enum json_type type = json_type(node);
    return type == JSON_OBJECT || type == JSON_ARRAY ? cJSON_GetArraySize(inner(node)) : 0;
}

const struct json *json_item(const struct json *node, int i) {
    const cJSON *item = cJSON_GetArrayItem(inner(node), i);
    CHECK(item, "json_item: %d of %d", i, json_count(node));
    return (const struct json *)item;
}

const struct json *json_first(const struct json *node) {
    return json_count(node) ? (const struct json *)inner(node)->child : NULL;
}

const struct json *json_next(const struct json *member) {
    return (const struct json *)inner(member)->next;
}

const struct json *json_find(const struct json *node, const char *key) {
    return node ? (const struct json *)cJSON_GetObjectItemCaseSensitive(inner(node), key) : NULL;
}

const char *json_key(const struct json *member) {
    return inner(member)->string ? inner(member)->string : "";
}

const char *json_string(const struct json *node) {
    CHECK(json_type(node) == JSON_STRING, "json_string of %s", json_type_name(node));
    return inner(node)->valuestring;
}

double json_number(const struct json *node) {
    if (json_type(node) == JSON_BOOL) return cJSON_IsTrue(inner(node));
    CHECK(json_type(node) == JSON_NUMBER, "json_number of %s", json_type_name(node));
    return inner(node)->valuedouble;
}

int json_read_int(int64_t *out, const struct json *node, int64_t min, int64_t max, const char *path,
                  struct err *e) {
    if (json_type(node) != JSON_NUMBER)
        return err_set(e, "%s: wanted a whole number, found %s", path, json_type_name(node));
    double value = json_number(node);
    if (value != floor(value)) return err_set(e, "%s: wanted a whole number, found %.9g", path, value);
    // 2^63 is what the largest int64_t becomes as a double, and does not fit.
    if (value < (double)min || value > (double)max || value >= 0x1p63)
        return err_set(e, "%s: %.17g is not in %lld .. %lld", path, value, (long long)min, (long long)max);
    *out = (int64_t)value;
    return 0;
}

// One step down a path. A list's member by number, an object's by key.
static cJSON *step_down(cJSON *node, const char *part) {
    if (!cJSON_IsArray(node)) return cJSON_GetObjectItemCaseSensitive(node, part);
    char *end;
    long index = strtol(part, &end, 10);
    return *part && !*end && index >= 0 && index < 1000000 ? cJSON_GetArrayItem(node, (int)index) : NULL;
}

const struct json *json_at(const struct json *root, const char *path) {
    cJSON *node = (cJSON *)root;
    char part[JSON_PATH];
    while (node && *path) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof part) return NULL;
        memcpy(part, path, length);
        part[length] = 0;
        node = step_down(node, part);
        path += length + (path[length] == '.');
    }
    return (const struct json *)node;
}

static int override_set(cJSON *parent, const char *part, cJSON *value, const char *path, struct err *e) {
    cJSON *old = step_down(parent, part);
    if (cJSON_IsArray(parent)) {
        if (!old) return err_set(e, "%s: the list has %d items", path, cJSON_GetArraySize(parent));
        CHECK(cJSON_ReplaceItemViaPointer(parent, old, value), "json: replace");
        return 0;
    }
    if (!cJSON_IsObject(parent))
        return err_set(e, "%s: '%s' is inside %s", path, part, json_type_name((struct json *)parent));
    if (old) cJSON_Delete(cJSON_DetachItemViaPointer(parent, old));
    CHECK(cJSON_AddItemToObject(parent, part, value), "json: out of memory");
    return 0;
}

// How many nodes below `node` end with `suffix`; the path of the first goes to `found`.
static int suffix_count(const cJSON *node, const char *path, const char *suffix, char found[JSON_PATH]) {
    int count = 0, index = 0;
    for (const cJSON *child = node->child; child; child = child->next, index++) {
        char child_path[JSON_PATH];
        json_path(child_path, path, child->string, index);
        size_t length = strlen(child_path), tail = strlen(suffix);
        bool ends = length > tail && strcmp(child_path + length - tail, suffix) == 0;
        if (ends && child_path[length - tail - 1] == '.' && ++count == 1)
            memcpy(found, child_path, JSON_PATH);
        char other[JSON_PATH];
        count += suffix_count(child, child_path, suffix, count ? other : found);
    }
    return count;
}

// Completes a path that does not start with a key of the root, where one node of the tree ends with it.
static int path_complete(char path[JSON_PATH], const struct json *root, struct err *e) {
    char first[JSON_PATH], found[JSON_PATH];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(path, "."), path);
    if (json_find(root, first)) return 0;
    int count = suffix_count(inner(root), "", path, found);
    if (count > 1)
        return err_set(e, "%s: %d keys end so, such as %s; give the whole path", path, count, found);
    if (count == 1) memcpy(path, found, JSON_PATH);
    return 0;
}

// The node at `path`; objects that are missing on the way are made, and a thing given by its name alone ("counter")
// becomes one with options. NULL where a list has no such item.
static cJSON *parent_make(cJSON *root, const char *path) {
    cJSON *node = root;
    char part[JSON_PATH];
    for (; node && *path; path += strcspn(path, "."), path += *path == '.') {
        snprintf(part, sizeof part, "%.*s", (int)strcspn(path, "."), path);
        if (cJSON_IsString(node) && strcmp(node->valuestring, part) == 0) {
            cJSON_free(node->valuestring);
            node->valuestring = NULL;
            node->type = cJSON_Object;
        }
        cJSON *next = step_down(node, part);
        if (!next && cJSON_IsObject(node)) next = cJSON_AddObjectToObject(node, part);
        node = next;
    }
    return node;
}

int json_override(struct json *root, const char *assignment, struct err *e) {
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment)
        return err_set(e, "'%.80s': wanted path.key=value, for example train.epochs=1", assignment);
    char path[JSON_PATH];
    if ((size_t)(equals - assignment) >= sizeof path)
        return err_set(e, "'%.60s...': the path is too long", assignment);
    memcpy(path, assignment, (size_t)(equals - assignment));
    path[equals - assignment] = 0;
    if (path_complete(path, root, e) != 0) return -1;
    char *last = strrchr(path, '.');
    cJSON *parent = (cJSON *)root;
    if (last) {
        *last = 0;
        parent = parent_make(parent, path);
        if (!parent) return err_set(e, "%s: there is no '%s' in the config", assignment, path);
        *last = '.';
    }
    struct err ignored;
    struct json *value = json_parse_new(equals + 1, strlen(equals + 1), &ignored);
    if (!value) value = outer(cJSON_CreateString(equals + 1));
    if (override_set(parent, last ? last + 1 : path, (cJSON *)value, path, e) == 0) return 0;
    json_free(value);
    return -1;
}

struct json *json_object_new(void) {
    return outer(cJSON_CreateObject());
}

struct json *json_array_new(void) {
    return outer(cJSON_CreateArray());
}

struct json *json_copy_new(const struct json *node) {
    return outer(cJSON_Duplicate(inner(node), true));
}

void json_add(struct json *parent, const char *key, struct json *child) {
    cJSON *p = (cJSON *)parent, *c = (cJSON *)child;
    CHECK(key ? cJSON_AddItemToObject(p, key, c) : cJSON_AddItemToArray(p, c), "json: out of memory");
}

void json_add_number(struct json *parent, const char *key, double value) {
    json_add(parent, key, outer(isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull()));
}

void json_add_string(struct json *parent, const char *key, const char *value) {
    json_add(parent, key, outer(cJSON_CreateString(value)));
}

void json_add_bool(struct json *parent, const char *key, bool value) {
    json_add(parent, key, outer(cJSON_CreateBool(value)));
}

// cJSON prints 15 digits where they are nearly right, which turns 9007199254740991 into another seed. Numbers
// that 15 digits do not give back to the bit become raw text of 17.
static void numbers_exact(cJSON *node) {
    for (cJSON *child = node->child; child; child = child->next) numbers_exact(child);
    if (!cJSON_IsNumber(node)) return;
    char text[32];
    snprintf(text, sizeof text, "%.15g", node->valuedouble);
    if (strtod(text, NULL) == node->valuedouble) return;
    snprintf(text, sizeof text, "%.17g", node->valuedouble);
    node->valuestring = cJSON_malloc(sizeof text);
    CHECK(node->valuestring, "json: out of memory");
    strcpy(node->valuestring, text);
    node->type = cJSON_Raw;
}

char *json_print_new(const struct json *node, bool indented) {
    struct json *exact = json_copy_new(node);
    numbers_exact((cJSON *)exact);
    char *text = indented ? cJSON_Print(inner(exact)) : cJSON_PrintUnformatted(inner(exact));
    CHECK(text, "json: out of memory");
    json_free(exact);
    char *copy = mem_string_new(text);
    cJSON_free(text);
    return copy;
}

// Not cJSON_Compare, for which numbers that differ in the last bit are equal.
bool json_equal(const struct json *a, const struct json *b) {
    enum json_type type = json_type(a);
    if (type != json_type(b) || json_count(a) != json_count(b)) return false;
    if (type == JSON_STRING) return strcmp(json_string(a), json_string(b)) == 0;
    if (type == JSON_NUMBER || type == JSON_BOOL) return json_number(a) == json_number(b);
    for (int i = 0; i < json_count(a); i++) {
        const struct json *mine = json_item(a, i);
        const struct json *theirs = type == JSON_OBJECT ? json_find(b, json_key(mine)) : json_item(b, i);
        if (!theirs || !json_equal(mine, theirs)) return false;
    }
    return true;
}

void json_difference(char path[JSON_PATH], const struct json *a, const struct json *b) {
    path[0] = 0;
    while (a && b && json_type(a) == json_type(b) && !json_equal(a, b)) {
        const struct json *holder = json_count(a) >= json_count(b) ? a : b, *other = holder == a ? b : a;
        int i = 0, count = json_count(holder);
        if (count == 0) return;
        const struct json *mine = NULL, *theirs = NULL;
        for (; i < count; i++) {
            mine = json_item(holder, i);
            if (json_type(holder) == JSON_OBJECT)
                theirs = json_find(other, json_key(mine));
            else
                theirs = i < json_count(other) ? json_item(other, i) : NULL;
            if (!theirs || !json_equal(mine, theirs)) break;
        }
        if (i == count) return;
        char here[JSON_PATH];
        memcpy(here, path, JSON_PATH);
        json_path(path, here, json_key(mine), i);
        a = mine, b = theirs;
    }
}
