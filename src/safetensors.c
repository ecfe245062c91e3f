// The safetensors container. Contracts and source in safetensors.h.
#include "src/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/file.h"

enum { HEADER_LIMIT = 100000000, TENSORS_LIMIT = 100000, PREFIX = 8 };

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DTYPES] = {{"U8", 1}, {"I8", 1}, {"I16", 2}, {"I32", 4}, {"F32", 4}, {"F64", 8}};

size_t dtype_bytes(enum dtype type) {
    return dtypes[type].bytes;
}

enum dtype dtype_real(void) {
    return sizeof(real) == 8 ? DTYPE_F64 : DTYPE_F32;
}

size_t safetensor_bytes(const struct safetensor *t) {
    for (int d = 0; d < t->shape.rank; d++)
        if (t->shape.dim[d] == 0) return 0;
    return shape_size(t->shape) * dtype_bytes(t->dtype);
}

// --- writing
// ----------------------------------------------------------------------------------------------------

struct content {
    const struct safetensor *tensors;
    int count;
    const char *header;
    size_t header_size; // padded to a multiple of 8
};

static int order(const void *a, const void *b) {
    const struct safetensor *x = a, *y = b;
    size_t bx = dtype_bytes(x->dtype), by = dtype_bytes(y->dtype);
    return bx != by ? (bx < by ? 1 : -1) : strcmp(x->name, y->name);
}

static int content_write(void *context, struct file_stream *f, struct err *e) {
    (void)e;
    const struct content *c = context;
    uint64_t length = c->header_size;
    file_add(f, &length, PREFIX);
    file_print(f, "%-*s", (int)c->header_size, c->header);
    for (int i = 0; i < c->count; i++) file_add(f, c->tensors[i].bytes, safetensor_bytes(&c->tensors[i]));
    return 0;
}

int safetensors_write(const char *path, struct safetensor *tensors, int count, const struct json *metadata,
                      struct err *e) {
    const uint16_t one = 1;
    CHECK(*(const uint8_t *)&one == 1, "safetensors: this machine is not little-endian");
    qsort(tensors, (size_t)count, sizeof *tensors, order);
    struct json *header = json_object_new();
    if (metadata) json_add(header, "__metadata__", json_copy_new(metadata));
    size_t offset = 0;
    for (int i = 0; i < count; i++) {
        struct json *entry = json_object_new(), *shape = json_array_new(), *offsets = json_array_new();
        for (int d = 0; d < tensors[i].shape.rank; d++) json_add_number(shape, NULL, tensors[i].shape.dim[d]);
        json_add_number(offsets, NULL, (double)offset);
        offset += safetensor_bytes(&tensors[i]);
        json_add_number(offsets, NULL, (double)offset);
        json_add_string(entry, "dtype", dtypes[tensors[i].dtype].name);
        json_add(entry, "shape", shape);
        json_add(entry, "data_offsets", offsets);
        json_add(header, tensors[i].name, entry);
    }
    char *text = json_print_new(header, false);
    json_free(header);
    struct content content = {tensors, count, text, (strlen(text) + 7) / 8 * 8};
    int result = file_write_atomic(path, content_write, &content, e);
    mem_free(text);
    return result;
}

// --- reading
// ----------------------------------------------------------------------------------------------------

static int dtype_read(enum dtype *type, const struct json *node, const char *path, struct err *e) {
    const char *known[DTYPES + 1] = {NULL};
    for (int i = 0; i < DTYPES; i++) known[i] = dtypes[i].name;
    if (!node || json_type(node) != JSON_STRING) return err_set(e, "%s.dtype: missing", path);
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(json_string(node), known[i]) == 0) return *type = (enum dtype)i, 0;
    return json_unknown(path, "dtype", json_string(node), known, e);
}

static int shape_read(struct shape *shape, size_t *size, const struct json *node, const char *path,
                      struct err *e) {
    if (!node || json_type(node) != JSON_ARRAY || json_count(node) > SHAPE_RANK_MAX)
        return err_set(e, "%s: wanted a list of at most %d numbers", path, SHAPE_RANK_MAX);
    shape->rank = json_count(node);
    *size = 1;
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim;
        if (json_read_int(&dim, json_item(node, i), 0, 1 << 30, path, e) != 0) return -1;
        shape->dim[i] = (int)dim;
        if (!size_mul(size, *size, (size_t)dim)) return err_set(e, "%s: too large", path);
    }
    return 0;
}

// One entry of the header: into `t`, its bytes at begin .. end of the data.
static int entry_read(struct safetensor *t, size_t *begin, size_t *end, const struct json *entry,
                      size_t data_size, struct err *e) {
    const char *name = json_key(entry);
    if (strlen(name) >= sizeof t->name) return err_set(e, "the name %.40s... is too long", name);
    if (json_type(entry) != JSON_OBJECT) return err_set(e, "%s: wanted an object", name);
    strcpy(t->name, name);
    char path[JSON_PATH];
    size_t size, bytes;
    if (dtype_read(&t->dtype, json_find(entry, "dtype"), name, e) != 0) return -1;
    json_path(path, name, "shape", 0);
    if (shape_read(&t->shape, &size, json_find(entry, "shape"), path, e) != 0) return -1;
    json_path(path, name, "data_offsets", 0);
    const struct json *offsets = json_find(entry, "data_offsets");
    if (!offsets || json_type(offsets) != JSON_ARRAY || json_count(offsets) != 2)
        return err_set(e, "%s: wanted two numbers", path);
    int64_t from, to;
    if (json_read_int(&from, json_item(offsets, 0), 0, (int64_t)data_size, path, e) != 0) return -1;
    if (json_read_int(&to, json_item(offsets, 1), from, (int64_t)data_size, path, e) != 0) return -1;
    *begin = (size_t)from, *end = (size_t)to;
    if (!size_mul(&bytes, size, dtype_bytes(t->dtype)) || *end - *begin != bytes)
        return err_set(e, "%s: %zu bytes at its offsets, its shape wants another number", name,
                       *end - *begin);
    if (*begin % dtype_bytes(t->dtype) != 0) return err_set(e, "%s: its offset is not aligned", name);
    return 0;
}

static int metadata_read(struct safetensors *file, const struct json *node, struct err *e) {
    if (json_type(node) != JSON_OBJECT) return err_set(e, "__metadata__: wanted an object");
    for (const struct json *entry = json_first(node); entry; entry = json_next(entry))
        if (json_type(entry) != JSON_STRING)
            return err_set(e, "__metadata__.%.60s: wanted a string", json_key(entry));
    file->metadata = json_copy_new(node);
    return 0;
}

// The entries must cover the data in the order they come: no holes, nothing twice, an exact end.
static int header_read(struct safetensors *file, const struct json *header, unsigned char *data,
                       size_t data_size, struct err *e) {
    if (json_type(header) != JSON_OBJECT) return err_set(e, "the header is %s", json_type_name(header));
    if (file->memory[PREFIX] != '{') return err_set(e, "the header does not begin with '{'");
    if (json_count(header) > TENSORS_LIMIT) return err_set(e, "more than %d tensors", TENSORS_LIMIT);
    file->tensors = mem_new((size_t)json_count(header), sizeof *file->tensors);
    size_t expected = 0;
    for (const struct json *entry = json_first(header); entry; entry = json_next(entry)) {
        if (strcmp(json_key(entry), "__metadata__") == 0) {
            if (metadata_read(file, entry, e) != 0) return -1;
            continue;
        }
        struct safetensor *t = &file->tensors[file->count];
        size_t begin = 0, end = 0;
        if (entry_read(t, &begin, &end, entry, data_size, e) != 0) return -1;
        if (begin != expected) return err_set(e, "%s: starts at %zu, wanted %zu", t->name, begin, expected);
        expected = end;
        t->bytes = data + begin;
        file->count++;
    }
    if (expected != data_size)
        return err_set(e, "%zu bytes of data, the header describes %zu", data_size, expected);
    return 0;
}

int safetensors_open(struct safetensors *file, const char *path, size_t limit, struct err *e) {
    memset(file, 0, sizeof *file);
    size_t size;
    if (!(file->memory = file_read_new(&size, path, limit, e))) return -1;
    uint64_t length = 0;
    if (size >= PREFIX) memcpy(&length, file->memory, PREFIX);
    int result = 0;
    if (size < PREFIX || length > HEADER_LIMIT || length > size - PREFIX || length % 8 != 0) {
        result = err_set(e, "not a safetensors file, or cut off");
    } else {
        unsigned char *data = file->memory + PREFIX + length;
        struct json *header = json_parse_new((const char *)file->memory + PREFIX, (size_t)length, e);
        result = header ? header_read(file, header, data, size - PREFIX - (size_t)length, e) : -1;
        json_free(header);
    }
    return result == 0 ? 0 : err_at(e, path);
}

void safetensors_close(struct safetensors *file) {
    mem_free(file->tensors);
    json_free(file->metadata);
    mem_free(file->memory);
    memset(file, 0, sizeof *file);
}

const struct safetensor *safetensors_find(const struct safetensors *file, const char *name) {
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

const char *safetensors_meta(const struct safetensors *file, const char *key) {
    const struct json *node = json_find(file->metadata, key);
    return node ? json_string(node) : NULL;
}

static uint64_t text_hash(const char *text, uint64_t before) {
    return hash_add(before, text, strlen(text) + 1);
}

uint64_t safetensors_checksum(const struct safetensor *tensors, int count, const struct json *metadata,
                              const char *except) {
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) {
        const struct safetensor *t = &tensors[i];
        uint64_t one = text_hash(dtypes[t->dtype].name, text_hash(t->name, HASH_START));
        one = hash_add(one, t->shape.dim, (size_t)t->shape.rank * sizeof *t->shape.dim);
        sum += hash_add(one, t->bytes, safetensor_bytes(t));
    }
    for (const struct json *entry = json_first(metadata); entry; entry = json_next(entry)) {
        const char *key = json_key(entry), *value = json_string(entry);
        if (strcmp(key, except) != 0) sum += text_hash(value, text_hash(key, HASH_START));
    }
    return sum;
}
