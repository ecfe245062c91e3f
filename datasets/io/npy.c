// .npy files. Format and contracts in npy.h.
#include "datasets/io/npy.h"

#include <stdio.h>
#include <string.h>

#include "src/file.h"

enum { PREFIX = 10, ALIGNMENT = 64, WORD = 24 };

static const char magic[] = "\x93NUMPY";

static const struct {
    const char *descr;
    size_t bytes;
} types[NPY_TYPES] = {[NPY_U8] = {"|u1", 1},  [NPY_F32] = {"<f4", 4}, [NPY_F64] = {"<f8", 8},
                      [NPY_I8] = {"|i1", 1},  [NPY_I16] = {"<i2", 2}, [NPY_I32] = {"<i4", 4},
                      [NPY_I64] = {"<i8", 8}, [NPY_U16] = {"<u2", 2}, [NPY_U32] = {"<u4", 4}};

enum { USUAL = 1 << NPY_U8 | 1 << NPY_F32 };

// --- the header's dict -------------------------------------------------------------------------------------

struct reader {
    const char *at, *end;
    unsigned types; // that are wanted
};

static void blanks_skip(struct reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n')) r->at++;
}

// Whether the next character is this one; then it is read.
static bool character_read(struct reader *r, char wanted) {
    blanks_skip(r);
    if (r->at == r->end || *r->at != wanted) return false;
    r->at++;
    return true;
}

// A string in single or double quotes, without escapes, of fewer than WORD characters.
static bool string_read(char word[WORD], struct reader *r) {
    char quote = character_read(r, '\'') ? '\'' : '"';
    if (quote == '"' && !character_read(r, '"')) return false;
    const char *end = memchr(r->at, quote, (size_t)(r->end - r->at));
    if (!end || end - r->at >= WORD || memchr(r->at, '\\', (size_t)(end - r->at))) return false;
    memcpy(word, r->at, (size_t)(end - r->at));
    word[end - r->at] = 0;
    r->at = end + 1;
    return true;
}

// True or False, or whatever letters are there.
static bool letters_read(char word[WORD], struct reader *r) {
    blanks_skip(r);
    int length = 0;
    while (r->at < r->end && ((*r->at | 32) >= 'a' && (*r->at | 32) <= 'z') && length < WORD - 1)
        word[length++] = *r->at++;
    word[length] = 0;
    return length > 0;
}

static int type_read(struct npy *a, struct reader *r, struct err *e) {
    char word[WORD];
    if (!string_read(word, r)) return err_set(e, "'descr' of the header is not one word");
    for (int i = 0; i < NPY_TYPES; i++)
        if (r->types >> i & 1 && strcmp(word, types[i].descr) == 0) return a->type = (enum npy_type)i, 0;
    if (r->types == USUAL)
        return err_set(e, "elements are '%s', wanted '<f4' (float32) or '|u1' (uint8)", word);
    err_set(e, "elements are '%s', wanted", word);
    for (int i = 0, first = 1; i < NPY_TYPES; i++) {
        size_t used = strlen(e->text);
        if (r->types >> i & 1)
            snprintf(e->text + used, sizeof e->text - used, "%s '%s'", first ? "" : ",", types[i].descr),
                first = 0;
    }
    return -1;
}

static int order_read(struct reader *r, struct err *e) {
    char word[WORD];
    if (!letters_read(word, r)) return err_set(e, "'fortran_order' of the header is neither True nor False");
    if (strcmp(word, "False") == 0) return 0;
    if (strcmp(word, "True") == 0) return err_set(e, "the array is in Fortran order, wanted C order");
    return err_set(e, "'fortran_order' of the header is '%s', wanted False", word);
}

static int dimension_read(struct npy *a, struct reader *r, struct err *e) {
    struct shape *s = &a->shape;
    if (s->rank == SHAPE_RANK_MAX) return err_set(e, "more than %d dimensions", SHAPE_RANK_MAX);
    int64_t dim = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        dim = dim * 10 + (*r->at++ - '0');
        if (dim > NPY_DIM_MAX) return err_set(e, "dimension %d is more than %d", s->rank, NPY_DIM_MAX);
    }
    if (dim == 0) return err_set(e, "dimension %d is 0", s->rank);
    if (!size_mul(&a->size, a->size, (size_t)dim)) return err_set(e, "the shape is too large");
    s->dim[s->rank++] = (int)dim;
    return 0;
}

static int shape_read(struct npy *a, struct reader *r, struct err *e) {
    static const char message[] = "'shape' of the header is not a list of numbers";
    if (!character_read(r, '(')) return err_set(e, message);
    bool comma = true;
    while (!character_read(r, ')')) {
        blanks_skip(r);
        if (!comma || r->at == r->end || *r->at < '0' || *r->at > '9') return err_set(e, message);
        if (dimension_read(a, r, e) != 0) return -1;
        comma = character_read(r, ',');
    }
    if (a->shape.rank == 0)
        return err_set(e, "the array is a single number, wanted 1 to %d dimensions", SHAPE_RANK_MAX);
    return 0;
}

static int dict_read(struct npy *a, struct reader *r, struct err *e) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    enum { DESCR, ORDER, SHAPE, KEYS };
    bool seen[KEYS] = {false}, comma = true;
    if (!character_read(r, '{')) return err_set(e, "the header is not a dict");
    while (!character_read(r, '}')) {
        char key[WORD];
        if (!comma || !string_read(key, r) || !character_read(r, ':'))
            return err_set(e, "the header is not a dict of three keys");
        int k = 0;
        while (k < KEYS && strcmp(key, keys[k]) != 0) k++;
        if (k == KEYS) return err_set(e, "unknown key '%s' in the header", key);
        if (seen[k]) return err_set(e, "'%s' is in the header twice", key);
        seen[k] = true;
        if ((k == DESCR ? type_read(a, r, e) : k == ORDER ? order_read(r, e) : shape_read(a, r, e)) != 0)
            return -1;
        comma = character_read(r, ',');
    }
    for (int k = 0; k < KEYS; k++)
        if (!seen[k]) return err_set(e, "no '%s' in the header", keys[k]);
    blanks_skip(r);
    if (r->at != r->end) return err_set(e, "the header goes on after its dict");
    return 0;
}

// --- the file ----------------------------------------------------------------------------------------------

// *begin gets the offset of the elements.
static int whole_check(struct npy *a, size_t *begin, const unsigned char *file, size_t size, unsigned wanted,
                       struct err *e) {
    if (size < PREFIX) return err_set(e, "%zu bytes, too short for a .npy file", size);
    if (memcmp(file, magic, sizeof magic - 1) != 0) return err_set(e, "not a .npy file");
    if (file[6] != 1 || file[7] != 0) return err_set(e, "version %d.%d, wanted 1.0", file[6], file[7]);
    size_t header = (size_t)file[8] | (size_t)file[9] << 8, bytes;
    if (header > size - PREFIX)
        return err_set(e, "a header of %zu bytes, where %zu are left", header, size - PREFIX);
    const char *text = (const char *)file + PREFIX;
    a->size = 1;
    if (dict_read(a, &(struct reader){text, text + header, wanted}, e) != 0) return -1;
    *begin = PREFIX + header;
    char shape[SHAPE_TEXT];
    if (!size_mul(&bytes, a->size, types[a->type].bytes)) return err_set(e, "the shape is too large");
    if (bytes != size - *begin)
        return err_set(e, "%zu bytes of elements, wanted %zu for %s of '%s'", size - *begin, bytes,
                       shape_text(shape, a->shape), types[a->type].descr);
    return 0;
}

int npy_read(struct npy *a, const char *path, size_t limit, struct err *e) {
    return npy_read_types(a, path, USUAL, limit, e);
}

int npy_read_types(struct npy *a, const char *path, unsigned wanted, size_t limit, struct err *e) {
    size_t size, begin = 0;
    *a = (struct npy){0};
    unsigned char *file = file_read_new(&size, path, limit, e);
    if (!file) return -1;
    if (whole_check(a, &begin, file, size, wanted, e) != 0) {
        mem_free(file);
        return err_at(e, path);
    }
    memmove(file, file + begin, size - begin); // to where it is aligned
    if (a->type == NPY_F32)
        a->floats = (void *)file;
    else if (a->type == NPY_U8)
        a->bytes = file;
    else
        a->others = file;
    return 0;
}

bool npy_is_float(enum npy_type type) {
    return type == NPY_F32 || type == NPY_F64;
}

double npy_number(const struct npy *a, size_t i) {
    CHECK(npy_is_float(a->type), "npy_number: of '%s'", types[a->type].descr);
    return a->type == NPY_F32 ? (double)a->floats[i] : ((const double *)a->others)[i];
}

int64_t npy_integer(const struct npy *a, size_t i) {
    switch (a->type) {
    case NPY_U8:
        return a->bytes[i];
    case NPY_I8:
        return ((const int8_t *)a->others)[i];
    case NPY_I16:
        return ((const int16_t *)a->others)[i];
    case NPY_I32:
        return ((const int32_t *)a->others)[i];
    case NPY_I64:
        return ((const int64_t *)a->others)[i];
    case NPY_U16:
        return ((const uint16_t *)a->others)[i];
    case NPY_U32:
        return ((const uint32_t *)a->others)[i];
    default:
        check_failed(__FILE__, __LINE__, "npy_integer: of '%s'", types[a->type].descr);
    }
}

void npy_free(struct npy *a) {
    mem_free(a->bytes);
    mem_free(a->floats);
    mem_free(a->others);
    *a = (struct npy){0};
}

// --- writing -----------------------------------------------------------------------------------------------

size_t npy_header(char out[NPY_HEADER], const char *descr, struct shape shape) {
    int length = snprintf(out + PREFIX, NPY_HEADER - PREFIX,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    CHECK(length > 0 && length < ALIGNMENT, "npy: the type %s", descr);
    char *at = out + PREFIX + length;
    for (int i = 0; i < shape.rank; i++)
        at += sprintf(at, shape.rank == 1 ? "%d," : i == 0 ? "%d" : ", %d", shape.dim[i]);
    at += sprintf(at, "), }");
    size_t size = (size_t)(at + 1 - out + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(at, ' ', size - (size_t)(at - out));
    out[size - 1] = '\n';
    memcpy(out, magic, sizeof magic - 1);
    out[6] = 1;
    out[7] = 0;
    out[8] = (char)((size - PREFIX) & 255);
    out[9] = (char)((size - PREFIX) >> 8);
    return size;
}

struct content {
    char header[NPY_HEADER];
    size_t header_size, size;
    const void *elements;
};

static int content_write(void *context, struct file_stream *f, struct err *e) {
    (void)e;
    const struct content *c = context;
    file_add(f, c->header, c->header_size);
    file_add(f, c->elements, c->size);
    return 0;
}

int npy_write(const char *path, enum npy_type type, struct shape shape, const void *elements, struct err *e) {
    const uint16_t one = 1;
    CHECK(*(const uint8_t *)&one == 1, "npy: this machine is not little-endian");
    struct content c = {.size = shape_size(shape) * types[type].bytes, .elements = elements};
    c.header_size = npy_header(c.header, types[type].descr, shape);
    return file_write_atomic(path, content_write, &c, e);
}
