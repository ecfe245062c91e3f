// The formats that others read: what npz, mtx, safetensors and onnx write, parsed back here by independent readers.
// tests/readers/ has the real ones: SciPy, PyTorch, ONNX Runtime.
#include <dirent.h>
#include <zlib.h>

#include "datasets/io/npy.h"
#include "export/csr.h"
#include "export/export.h"
#include "export/protobuf.h"
#include "export/zip.h"
#include "src/file.h"
#include "src/rng.h"
#include "src/safetensors.h"
#include "tests/check.h"
#include "tests/onnx.h"

enum { PATH = 300, TEXT = 8192, LIMIT = 1 << 24, LAYERS = 16 };

// In place of the C library's: many files are made here, and a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

// --- nets made by hand -------------------------------------------------------------------------------------

static struct net *net_make(struct shape in) {
    struct net *n = mem_new(1, sizeof *n);
    snprintf(n->name, sizeof n->name, "by hand");
    n->in = in;
    n->std = 1;
    n->layers = mem_new(LAYERS, sizeof *n->layers);
    return n;
}

static struct net_layer *layer_push(struct net *n, enum net_kind kind, struct shape out) {
    struct net_layer *l = &n->layers[n->count];
    int number = 1;
    for (int i = 0; i < n->count; i++) number += n->layers[i].kind == kind;
    l->input[0] = n->count - 1; // the layer before, or NET_SAMPLE
    l->input[1] = NET_NONE;
    l->groups = 1;
    l->in = n->count ? n->layers[n->count - 1].out : n->in;
    l->out = out;
    l->kind = kind;
    snprintf(l->name, sizeof l->name, "%s%d", net_kind_name(kind), number);
    n->count++;
    return l;
}

static void tensor_floats(struct net_tensor *t, struct shape shape, const float *values) {
    t->shape = shape;
    t->size = shape_size(shape);
    t->scale = 1;
    t->value = mem_new(t->size, sizeof *t->value);
    memcpy(t->value, values, t->size * sizeof *values);
}

static void tensor_counters(struct net_tensor *t, struct shape shape, struct number number, double scale,
                            const int32_t *counters) {
    t->shape = shape;
    t->size = shape_size(shape);
    t->counted = true;
    t->number = number;
    t->scale = scale;
    t->value = mem_new(t->size, sizeof *t->value);
    t->counter = mem_new(t->size, sizeof *t->counter);
    for (size_t i = 0; i < t->size; i++) {
        t->counter[i] = counters[i];
        t->value[i] = (float)(scale * number_value(&number, counters[i]));
    }
}

// Counters of every size up to the limit, at this density; the first is the limit, where there is any. The largest value
// is 1.
static void tensor_random(struct net_tensor *t, struct shape shape, struct number number, double density,
                          struct rng *r) {
    size_t size = shape_size(shape);
    int32_t *counters = mem_new(size, sizeof *counters);
    for (size_t i = 0; i < size; i++) {
        bool there = rng_uniform(r) < density, negative = rng_below(r, 2);
        int32_t c = (int32_t)exp(rng_uniform(r) * log(number.limit));
        if (there) counters[i] = negative ? -c : c;
    }
    if (density > 0) counters[0] = -number.limit;
    double most = fmax(number_value(&number, 1), number_value(&number, number.limit));
    tensor_counters(t, shape, number, 1 / most, counters);
    mem_free(counters);
}

static void tensor_random_floats(struct net_tensor *t, struct shape shape, double density, struct rng *r) {
    float *values = mem_new(shape_size(shape), sizeof *values);
    for (size_t i = 0; i < shape_size(shape); i++)
        if (rng_uniform(r) < density) values[i] = (float)(rng_uniform(r) - 0.5);
    tensor_floats(t, shape, values);
    mem_free(values);
}

// (2) -> linear1, counters of 16 bits, squares -> relu1 -> linear2, floats, no bias, one row.
static struct net *net_tiny(void) {
    static const int32_t counters[] = {0, -300, 2, 0, 0, 0};
    static const float bias[] = {0.5f, 0, -1e-20f}, floats[] = {0, 0.1f, 0};
    struct net *n = net_make(shape_1(2));
    struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(3));
    tensor_counters(&l->weight, shape_2(3, 2), number_make(NUMBER_SQUARE, 16, 0, 0), 0.125, counters);
    tensor_floats(&l->bias, shape_1(3), bias);
    layer_push(n, NET_RELU, shape_1(3));
    l = layer_push(n, NET_LINEAR, shape_1(1));
    tensor_floats(&l->weight, shape_2(1, 3), floats);
    n->mean = 0.25;
    n->std = 0.5;
    return n;
}

static size_t folder_bytes(const char *folder) {
    char path[2 * PATH];
    size_t sum = 0;
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (const struct dirent *d; (d = readdir(entries));) {
        snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
        if (*d->d_name != '.') sum += file_bytes(path);
    }
    closedir(entries);
    return sum;
}

// Writes it; the sizes must be those of the file. Returns the bytes that belong to no layer.
static size_t format_write(const struct export_format *f, const struct net *n, const char *out, bool dense) {
    struct err e = {""};
    size_t layer[LAYERS], sum = 0;
    struct export_sizes sizes = {0, layer};
    memset(layer, 0xff, sizeof layer); // a layer that is not set is found out
    if (f->write(n, out, &(struct export_options){.dense = dense}, &sizes, &e) != 0) fail_msg("%s", e.text);
    for (int i = 0; i < n->count; i++) {
        assert_true(layer[i] <= sizes.total);
        sum += layer[i];
    }
    assert_true(sum < sizes.total);
    assert_int_equal(f->suffix ? file_bytes(out) : folder_bytes(out), sizes.total);
    return sizes.total - sum;
}

static const struct export_format *format_of(const char *name) {
    for (int i = 0; export_formats[i]; i++)
        if (strcmp(export_formats[i]->name, name) == 0) return export_formats[i];
    fail_msg("no format %s", name);
    return NULL;
}

static unsigned char *file_of(size_t *size, const char *path) {
    struct err e = {""};
    unsigned char *bytes = file_read_new(size, path, LIMIT, &e);
    assert_string_equal(e.text, "");
    return bytes;
}

static void text_check(const char *path, const char *wanted) {
    size_t size;
    char *text = (char *)file_of(&size, path);
    assert_string_equal(text, wanted);
    assert_int_equal(size, strlen(wanted));
    mem_free(text);
}

static void registry(void **state) {
    (void)state;
    static const struct {
        const char *name, *suffix;
        bool runs;
    } wanted[] = {{"npz", NULL, false},
                  {"mtx", NULL, false},
                  {"safetensors", ".safetensors", false},
                  {"onnx", ".onnx", true}};
    for (int i = 0; i < 4; i++) {
        const struct export_format *f = format_of(wanted[i].name);
        assert_true(f->runs == wanted[i].runs && *f->help);
        if (wanted[i].suffix)
            assert_string_equal(f->suffix, wanted[i].suffix);
        else
            assert_null(f->suffix);
    }
}

// --- compressed rows ---------------------------------------------------------------------------------------

// Against the definition: entries of a row in rising columns, all others zero.
static void csr_check(const struct net_tensor *t, int rows, int columns) {
    struct csr *c = csr_new(t);
    float *values = csr_values_new(c, t), *all = mem_new(t->size, sizeof *all);
    assert_int_equal(c->rows, rows);
    assert_int_equal(c->columns, columns);
    assert_int_equal(c->pointer[0], 0);
    assert_int_equal(c->pointer[rows], c->nonzero);
    for (int i = 0; i < rows; i++) {
        assert_true(c->pointer[i] <= c->pointer[i + 1]);
        for (int32_t k = c->pointer[i]; k < c->pointer[i + 1]; k++) {
            assert_true(c->column[k] >= 0 && c->column[k] < columns);
            assert_true(k == c->pointer[i] || c->column[k] > c->column[k - 1]);
            assert_int_equal(c->at[k], i * columns + c->column[k]);
            assert_true(values[k] != 0);
            all[c->at[k]] = values[k];
        }
    }
    assert_memory_equal(all, t->value, t->size * sizeof *all);
    mem_free(all);
    mem_free(values);
    csr_free(c);
}

static void csr_edges(void **state) {
    (void)state;
    static const struct {
        struct shape shape;
        double density;
    } rows[] = {
        {{2, {7, 5}}, 0},   {{2, {7, 5}}, 0.2}, {{2, {7, 5}}, 1},         {{2, {1, 9}}, 0.5},
        {{2, {9, 1}}, 0.5}, {{1, {6}}, 0.5},    {{4, {3, 2, 2, 2}}, 0.4}, {{3, {1, 1, 1}}, 1},
    };
    struct rng r = rng_stream(1, "csr");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct shape s = rows[i].shape;
        struct net_tensor t = {.size = 0};
        int columns = (int)(shape_size(s) / (size_t)s.dim[0]);
        tensor_random_floats(&t, s, rows[i].density, &r);
        csr_check(&t, s.dim[0], columns);
        mem_free(t.value);
        tensor_random(&t, s, number_make(NUMBER_SQUARE, 8, 0, 0), rows[i].density, &r);
        csr_check(&t, s.dim[0], columns);
        mem_free(t.value);
        mem_free(t.counter);
    }
}

static void csr_counters(void **state) {
    (void)state;
    static const int32_t small[] = {127, 0, -127, -1, 0, 1}, large[] = {2147483647, 0, -2147483647, -1, 0, 1};
    static const int8_t wanted8[] = {127, -127, -1, 1};
    static const int16_t wanted16[] = {127, -127, -1, 1};
    static const int32_t wanted32[] = {2147483647, -2147483647, -1, 1};
    static const int bits[] = {8, 12, 16, 32};
    for (int i = 0; i < 4; i++) {
        struct net_tensor t = {.size = 0};
        tensor_counters(&t, shape_2(2, 3), number_make(NUMBER_LINEAR, bits[i], 0, 0), 1,
                        bits[i] == 32 ? large : small);
        struct csr *c = csr_new(&t);
        void *counters = csr_counters_new(c, &t);
        assert_int_equal(c->nonzero, 4);
        if (bits[i] == 8)
            assert_memory_equal(counters, wanted8, sizeof wanted8);
        else if (bits[i] == 32)
            assert_memory_equal(counters, wanted32, sizeof wanted32);
        else
            assert_memory_equal(counters, wanted16, sizeof wanted16);
        mem_free(counters);
        csr_free(c);
        mem_free(t.value);
        mem_free(t.counter);
    }
}

// --- npz ---------------------------------------------------------------------------------------------------

// A member of a zip, checked on the way: both headers agree, nothing is packed, the checksum is right.
static const unsigned char *zip_member(size_t *size, const char *name, const unsigned char *zip,
                                       size_t zip_size) {
    const unsigned char *end = zip + zip_size - 22;
    assert_memory_equal(end, "PK\5\6\0\0\0\0", 8);
    unsigned count = end[10] + 256u * end[11], directory_size, offset;
    memcpy(&directory_size, end + 12, 4);
    memcpy(&offset, end + 16, 4);
    assert_int_equal(offset + directory_size + 22, zip_size);
    const unsigned char *found = NULL, *entry = zip + offset;
    for (unsigned i = 0; i < count; i++) {
        uint32_t at, bytes, crc;
        unsigned length = entry[28] + 256u * entry[29];
        assert_memory_equal(entry, "PK\1\2", 4);
        assert_memory_equal(entry + 6, "\x14\0\0\0\0\0\0\0\x21\0", 10); // 2.0, no flags, stored, 1980-01-01
        assert_memory_equal(entry + 20, entry + 24, 4);
        memcpy(&crc, entry + 16, 4);
        memcpy(&bytes, entry + 20, 4);
        memcpy(&at, entry + 42, 4);
        assert_true(at + 30 + length + bytes <= offset);
        assert_memory_equal(zip + at, "PK\3\4", 4);
        assert_memory_equal(zip + at + 4, entry + 6, 26);
        assert_memory_equal(zip + at + 30, entry + 46, length);
        assert_int_equal(crc32(0, zip + at + 30 + length, bytes), crc);
        if (strlen(name) == length && memcmp(name, entry + 46, length) == 0) {
            found = zip + at + 30 + length;
            *size = bytes;
        }
        entry += 46 + length;
    }
    assert_ptr_equal(entry, end);
    return found;
}

// The member is an array of this type and shape with these elements.
static void member_check(const unsigned char *zip, size_t zip_size, const char *name, const char *descr,
                         const char *shape, const void *elements, size_t elements_size) {
    char dict[160];
    size_t size = 0;
    const unsigned char *at = zip_member(&size, name, zip, zip_size);
    snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': %s, } ", descr, shape);
    assert_non_null(at);
    assert_memory_equal(at, "\x93NUMPY\1\0", 8);
    assert_memory_equal(at + 10, dict, strlen(dict));
    size_t header = 10 + at[8] + 256u * at[9];
    assert_int_equal(header % 64, 0);
    assert_int_equal(size, header + elements_size);
    assert_memory_equal(at + header, elements, elements_size);
}

static void npz_members(void **state) {
    char path[PATH], out[PATH], again[PATH], file[2 * PATH];
    struct net *n = net_tiny();
    size_t size, size_again;
    path_of(out, state, "out");
    path_of(again, state, "new/folders");
    size_t rest = format_write(format_of("npz"), n, out, false);
    format_write(format_of("npz"), n, again, false);
    snprintf(file, sizeof file, "%s/manifest.json", out);
    assert_int_equal(file_bytes(file), rest);
    static const int32_t indices[] = {1, 0}, indptr[] = {0, 1, 2, 2};
    static const int64_t shape[] = {3, 2};
    static const float values[] = {-300 * 300 * 0.125f, 4 * 0.125f}, bias[] = {0.5f, 0, -1e-20f};
    static const int16_t counters[] = {-300, 2};
    static const double scale = 0.125;
    static const char *const names[] = {"linear1.weight.npz", "linear1.weight.counters.npz"};
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s", out, names[i]);
        unsigned char *zip = file_of(&size, file);
        snprintf(file, sizeof file, "%s/%s", again, names[i]);
        unsigned char *zip_again = file_of(&size_again, file);
        assert_int_equal(size, size_again);
        assert_memory_equal(zip, zip_again, size);
        member_check(zip, size, "indices.npy", "<i4", "(2,)", indices, sizeof indices);
        member_check(zip, size, "indptr.npy", "<i4", "(4,)", indptr, sizeof indptr);
        member_check(zip, size, "shape.npy", "<i8", "(2,)", shape, sizeof shape);
        member_check(zip, size, "format.npy", "|S3", "()", "csr", 3);
        size_t ignored;
        assert_null(zip_member(&ignored, "parameter.npy", zip, size));
        if (i == 0) {
            member_check(zip, size, "data.npy", "<f4", "(2,)", values, sizeof values);
            assert_null(zip_member(&ignored, "scale.npy", zip, size));
        } else {
            member_check(zip, size, "data.npy", "<i2", "(2,)", counters, sizeof counters);
            member_check(zip, size, "scale.npy", "<f8", "()", &scale, sizeof scale);
            member_check(zip, size, "map.npy", "|S6", "()", "square", 6);
        }
        mem_free(zip);
        mem_free(zip_again);
    }
    snprintf(path, sizeof path, "%.200s/linear2.weight.counters.npz", out);
    assert_false(file_exists(path)); // floats
    snprintf(path, sizeof path, "%.200s/linear2.bias.npy", out);
    assert_false(file_exists(path)); // there is none
    snprintf(path, sizeof path, "%.200s/linear1.bias.npy", out);
    struct npy a;
    struct err e;
    assert_int_equal(npy_read(&a, path, LIMIT, &e), 0);
    assert_true(a.type == NPY_F32 && shape_equal(a.shape, shape_1(3)));
    assert_memory_equal(a.floats, bias, sizeof bias);
    npy_free(&a);
    net_free(n);
}

// The widths of counters, a map with a parameter, no entries at all, four dimensions.
static void npz_counters(void **state) {
    static const struct {
        int bits;
        const char *descr;
        int8_t bytes[8];
    } rows[] = {{8, "|i1", {7, -2}},
                {12, "<i2", {7, 0, -2, -1}},
                {16, "<i2", {7, 0, -2, -1}},
                {32, "<i4", {7, 0, 0, 0, -2, -1, -1, -1}}};
    static const int32_t counters[] = {0, 7, 0, 0, 0, -2, 0, 0}, none[8] = {0};
    char out[PATH], file[2 * PATH];
    for (int i = 0; i < 4; i++) {
        struct net *n = net_make(shape_1(4));
        struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(2));
        struct number number = number_make(NUMBER_POWER, rows[i].bits, 1.5, 1);
        tensor_counters(&l->weight, (struct shape){4, {2, 2, 1, 2}}, number, 3, counters);
        l = layer_push(n, NET_LINEAR, shape_1(2));
        tensor_counters(&l->weight, shape_2(2, 4), number, 3, none);
        path_of(out, state, "out");
        format_write(format_of("npz"), n, out, false);
        size_t size, width = (size_t)number_bytes(&number);
        const double parameter = 1.5;
        snprintf(file, sizeof file, "%s/linear1.weight.counters.npz", out);
        unsigned char *zip = file_of(&size, file);
        member_check(zip, size, "data.npy", rows[i].descr, "(2,)", rows[i].bytes, 2 * width);
        member_check(zip, size, "shape.npy", "<i8", "(2,)", (int64_t[]){2, 4}, 16);
        member_check(zip, size, "indices.npy", "<i4", "(2,)", (int32_t[]){1, 1}, 8);
        member_check(zip, size, "map.npy", "|S5", "()", "power", 5);
        member_check(zip, size, "parameter.npy", "<f8", "()", &parameter, sizeof parameter);
        mem_free(zip);
        snprintf(file, sizeof file, "%s/linear2.weight.npz", out);
        zip = file_of(&size, file);
        member_check(zip, size, "data.npy", "<f4", "(0,)", "", 0);
        member_check(zip, size, "indices.npy", "<i4", "(0,)", "", 0);
        member_check(zip, size, "indptr.npy", "<i4", "(3,)", (int32_t[]){0, 0, 0}, 12);
        mem_free(zip);
        net_free(n);
    }
}

static void zip_limits(void **state) {
    char path[PATH], wanted[2 * PATH];
    struct err e;
    size_t size;
    path_of(path, state, "a.zip");
    struct zip z = {0};
    assert_int_equal(zip_write(path, &z, &size, &e), 0);
    assert_int_equal(size, 22); // an empty zip
    zip_free(&z);
    zip_add(&z, "a", "1234", 4);
    size_t real_size = z.members.size;
    z.members.size = UINT32_MAX; // as if there were that many
    assert_int_equal(zip_write(path, &z, &size, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: 4294967342 bytes, at most 4294967295 fit a zip", path);
    assert_string_equal(e.text, wanted);
    z.members.size = real_size;
    zip_free(&z);
}

// --- mtx ---------------------------------------------------------------------------------------------------

static void mtx_texts(void **state) {
    char out[PATH], file[2 * PATH];
    struct net *n = net_tiny();
    path_of(out, state, "out");
    size_t rest = format_write(format_of("mtx"), n, out, false);
    snprintf(file, sizeof file, "%s/linear1.weight.mtx", out);
    text_check(file, "%%MatrixMarket matrix coordinate integer general\n"
                     "% counters c of number system square, 16 bits\n"
                     "% w = scale * c * |c|\n"
                     "% scale 0.125\n"
                     "3 2 2\n"
                     "1 2 -300\n"
                     "2 1 2\n");
    snprintf(file, sizeof file, "%s/linear1.bias.mtx", out);
    text_check(file, "%%MatrixMarket matrix array real general\n3 1\n0.5\n0\n-9.99999968e-21\n");
    snprintf(file, sizeof file, "%s/linear2.weight.mtx", out);
    text_check(file, "%%MatrixMarket matrix coordinate real general\n1 3 1\n1 2 0.100000001\n");
    snprintf(file, sizeof file, "%s/manifest.json", out);
    text_check(file, "{\n\t\"name\":\t\"by hand\",\n\t\"in\":\t[2],\n\t\"mean\":\t0.25,\n\t\"std\":\t0.5,\n"
                     "\t\"layers\":\t[{\n"
                     "\t\t\t\"kind\":\t\"linear\",\n\t\t\t\"name\":\t\"linear1\",\n"
                     "\t\t\t\"inputs\":\t[\"input\"],\n"
                     "\t\t\t\"in\":\t[2],\n\t\t\t\"out\":\t[3],\n\t\t\t\"weight\":\t[3, 2]\n\t\t}, {\n"
                     "\t\t\t\"kind\":\t\"relu\",\n\t\t\t\"name\":\t\"relu1\",\n"
                     "\t\t\t\"inputs\":\t[\"linear1\"],\n"
                     "\t\t\t\"in\":\t[3],\n\t\t\t\"out\":\t[3]\n\t\t}, {\n"
                     "\t\t\t\"kind\":\t\"linear\",\n\t\t\t\"name\":\t\"linear2\",\n"
                     "\t\t\t\"inputs\":\t[\"relu1\"],\n"
                     "\t\t\t\"in\":\t[3],\n\t\t\t\"out\":\t[1],\n\t\t\t\"weight\":\t[1, 3]\n\t\t}]\n}");
    assert_int_equal(file_bytes(file), rest);
    net_free(n);
}

static void mtx_numbers(void **state) {
    static const struct {
        enum number_kind kind;
        double parameter;
        const char *text;
    } rows[] = {
        {NUMBER_LINEAR, 0, "linear, 8 bits\n% w = scale * c\n% scale 0.10000000000000001\n"},
        {NUMBER_POWER, 3,
         "power, 8 bits\n% w = scale * sign(c) * |c|^parameter\n% scale 0.10000000000000001\n% parameter "
         "3\n"},
        {NUMBER_EXP, 0.1,
         "exp, 8 bits\n% w = scale * sign(c) * (e^(parameter * |c|) - 1)\n% scale 0.10000000000000001\n"
         "% parameter 0.10000000000000001\n"},
        {NUMBER_POW2, 2,
         "pow2, 8 bits\n% w = scale * sign(c) * 2^((|c| - 1) / parameter), 0 for c = 0\n"
         "% scale 0.10000000000000001\n% parameter 2\n"},
        {NUMBER_MADAM, 0.5,
         "madam, 8 bits\n% w = scale * sign(c) * e^(-parameter * (|c| - 1)), 0 for c = 0\n"
         "% scale 0.10000000000000001\n% parameter 0.5\n"},
    };
    char out[PATH], file[2 * PATH], wanted[400];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct net *n = net_make(shape_1(1));
        struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(1));
        tensor_counters(&l->weight, shape_2(1, 1), number_make(rows[i].kind, 8, rows[i].parameter, 1), 0.1,
                        (int32_t[]){0});
        path_of(out, state, "out");
        format_write(format_of("mtx"), n, out, false);
        snprintf(file, sizeof file, "%s/linear1.weight.mtx", out);
        snprintf(
            wanted, sizeof wanted,
            "%%%%MatrixMarket matrix coordinate integer general\n%% counters c of number system %s1 1 0\n",
            rows[i].text);
        text_check(file, wanted);
        net_free(n);
    }
}

// --- safetensors -------------------------------------------------------------------------------------------

static void tensor_check(const struct safetensors *file, const char *name, enum dtype dtype, int size,
                         const void *wanted) {
    const struct safetensor *t = safetensors_find(file, name);
    assert_non_null(t);
    assert_int_equal(t->dtype, dtype);
    assert_true(shape_equal(t->shape, shape_1(size)));
    assert_memory_equal(t->bytes, wanted, (size_t)size * dtype_bytes(dtype));
}

static void safetensors_triples(void **state) {
    char path[PATH], again[PATH];
    struct net *n = net_tiny();
    path_of(path, state, "a.safetensors");
    path_of(again, state, "b.safetensors");
    size_t size, size_again, rest = format_write(format_of("safetensors"), n, path, false);
    format_write(format_of("safetensors"), n, again, false);
    unsigned char *bytes = file_of(&size, path), *bytes_again = file_of(&size_again, again);
    assert_int_equal(rest, 8 + bytes[0] + 256u * bytes[1]); // the header, its length before it
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, bytes_again, size);
    mem_free(bytes);
    mem_free(bytes_again);
    struct safetensors f;
    struct err e = {""};
    if (safetensors_open(&f, path, LIMIT, &e) != 0) fail_msg("%s", e.text);
    assert_int_equal(f.count, 7);
    tensor_check(&f, "linear1.weight.crow_indices", DTYPE_I32, 4, (int32_t[]){0, 1, 2, 2});
    tensor_check(&f, "linear1.weight.col_indices", DTYPE_I32, 2, (int32_t[]){1, 0});
    tensor_check(&f, "linear1.weight.counters", DTYPE_I16, 2, (int16_t[]){-300, 2});
    tensor_check(&f, "linear1.bias", DTYPE_F32, 3, (float[]){0.5f, 0, -1e-20f});
    tensor_check(&f, "linear2.weight.crow_indices", DTYPE_I32, 2, (int32_t[]){0, 1});
    tensor_check(&f, "linear2.weight.col_indices", DTYPE_I32, 1, (int32_t[]){1});
    tensor_check(&f, "linear2.weight.values", DTYPE_F32, 1, (float[]){0.1f});
    static const char *const meta[][2] = {
        {"name", "by hand"},
        {"mean", "0.25"},
        {"std", "0.5"},
        {"layers", "[{\"kind\":\"linear\",\"name\":\"linear1\",\"inputs\":[\"input\"],\"in\":[2],\"out\":[3],"
                   "\"weight\":[3,2]},"
                   "{\"kind\":\"relu\",\"name\":\"relu1\",\"inputs\":[\"linear1\"],\"in\":[3],\"out\":[3]},"
                   "{\"kind\":\"linear\",\"name\":\"linear2\",\"inputs\":[\"relu1\"],\"in\":[3],\"out\":[1],"
                   "\"weight\":[1,3]}]"},
        {"linear1.weight.shape", "[3,2]"},
        {"linear1.weight.map", "square"},
        {"linear1.weight.formula", "w = scale * c * |c|"},
        {"linear1.weight.scale", "0.125"},
        {"linear2.weight.shape", "[1,3]"},
    };
    enum { META = sizeof meta / sizeof *meta };
    assert_int_equal(json_count(f.metadata), META);
    for (int i = 0; i < META; i++) {
        const char *found = safetensors_meta(&f, meta[i][0]);
        assert_non_null(found);
        assert_string_equal(found, meta[i][1]);
    }
    safetensors_close(&f);
    net_free(n);
}

static void safetensors_counters(void **state) {
    static const enum dtype dtypes[] = {DTYPE_I8, DTYPE_I16, DTYPE_I16, DTYPE_I32};
    static const int bits[] = {8, 12, 16, 32};
    static const int32_t counters[] = {0, 7, 0, 0, 0, -2, 0, 0};
    char path[PATH];
    path_of(path, state, "a.safetensors");
    for (int i = 0; i < 4; i++) {
        struct net *n = net_make(shape_1(4));
        struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(2));
        tensor_counters(&l->weight, (struct shape){4, {2, 2, 1, 2}},
                        number_make(NUMBER_MADAM, bits[i], 0.1, 0), 1e-5, counters);
        format_write(format_of("safetensors"), n, path, false);
        struct safetensors f;
        struct err e = {""};
        if (safetensors_open(&f, path, LIMIT, &e) != 0) fail_msg("%s", e.text);
        const struct safetensor *t = safetensors_find(&f, "linear1.weight.counters");
        assert_non_null(t);
        assert_int_equal(t->dtype, dtypes[i]);
        assert_int_equal(*(const int8_t *)t->bytes, 7);
        assert_string_equal(safetensors_meta(&f, "linear1.weight.shape"), "[2,2,1,2]");
        assert_string_equal(safetensors_meta(&f, "linear1.weight.map"), "madam");
        assert_string_equal(safetensors_meta(&f, "linear1.weight.parameter"), "0.10000000000000001");
        assert_string_equal(safetensors_meta(&f, "linear1.weight.scale"), "1.0000000000000001e-05");
        safetensors_close(&f);
        net_free(n);
    }
}

static void safetensors_nothing(void **state) {
    char path[PATH];
    struct net *n = net_make(shape_1(4));
    struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(2));
    tensor_floats(&l->weight, shape_2(2, 4), (float[8]){0});
    path_of(path, state, "a.safetensors");
    format_write(format_of("safetensors"), n, path, false);
    size_t size;
    char *bytes = (char *)file_of(&size, path);
    const char *header = bytes + 8;
    assert_non_null(strstr(
        header, "\"linear1.weight.crow_indices\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[0,12]}"));
    assert_non_null(strstr(
        header, "\"linear1.weight.col_indices\":{\"dtype\":\"I32\",\"shape\":[0],\"data_offsets\":[0,0]}"));
    assert_non_null(strstr(
        header, "\"linear1.weight.values\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[12,12]}"));
    uint64_t length;
    memcpy(&length, bytes, 8);
    assert_int_equal(8 + length + 12, size);
    mem_free(bytes);
    net_free(n);
}

// --- onnx --------------------------------------------------------------------------------------------------

static void varints(void **state) {
    (void)state;
    static const struct {
        uint64_t value;
        const char *bytes;
        size_t size;
    } rows[] = {{0, "\0", 1},
                {1, "\1", 1},
                {127, "\x7f", 1},
                {128, "\x80\1", 2},
                {300, "\xac\2", 2},
                {16383, "\xff\x7f", 2},
                {16384, "\x80\x80\1", 3},
                {UINT64_MAX, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 10}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes b = {0};
        protobuf_add_varint(&b, rows[i].value);
        assert_int_equal(b.size, rows[i].size);
        assert_int_equal(protobuf_varint_size(rows[i].value), rows[i].size);
        assert_memory_equal(b.at, rows[i].bytes, b.size);
        bytes_free(&b);
    }
}

// How a weight is written, and what the graph makes of it.
static void weight_check(const char *path, const struct net_tensor *t, int type, bool sparse) {
    struct onnx *o = onnx_open_new(path);
    const struct onnx_value *counters = onnx_find(o, "linear1.weight.counters"),
                            *w = onnx_find(o, "linear1.weight");
    const struct onnx_value *stored = type == 1 ? w : counters;
    if (type == 1) assert_null(counters);
    assert_non_null(stored);
    assert_int_equal(stored->type, type);
    assert_int_equal(stored->sparse, sparse);
    for (size_t i = 0; i < t->size; i++)
        assert_true(stored->at[i] == (type == 1 ? t->value[i] : (float)t->counter[i]));
    onnx_run(o, (float[64]){0}, 1);
    w = onnx_find(o, "linear1.weight");
    assert_true(w->rank == 2 && w->dim[0] == t->shape.dim[0] && w->size == t->size);
    for (size_t i = 0; i < t->size; i++) assert_near(w->at[i], t->value[i], 4e-6 * fabs((double)t->value[i]));
    onnx_free(o);
}

static void onnx_maps(void **state) {
    static const int all_bits[] = {8, 12, 16, 32};
    static const double densities[] = {0, 0.1, 1};
    enum { IN = 50, OUT = 7 };
    char path[PATH];
    struct rng r = rng_stream(1, "onnx");
    path_of(path, state, "a.onnx");
    for (int kind = 0; kind < NUMBER_KINDS; kind++)
        for (int b = 0; b < 4; b++)
            for (int d = 0; d < 3; d++)
                for (int dense = 0; dense < 2; dense++) {
                    struct net *n = net_make(shape_1(IN));
                    struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(OUT));
                    struct number number = number_make((enum number_kind)kind, all_bits[b], 0, 0);
                    tensor_random(&l->weight, shape_2(OUT, IN), number, densities[d], &r);
                    tensor_random_floats(&l->bias, shape_1(OUT), 1, &r);
                    format_write(format_of("onnx"), n, path, dense);
                    int type = all_bits[b] == 8 ? 3 : all_bits[b] < 32 ? 5 : 1;
                    weight_check(path, &l->weight, type, !dense && densities[d] < 1);
                    onnx_check(path, n, 1e-5, 1, &r);
                    net_free(n);
                }
}

// Counters that float can't carry through the map become values; so do those whose scale it can't carry.
static void onnx_out_of_range(void **state) {
    static const struct {
        double parameter, scale;
        int type;
    } rows[] = {{3, 1e-13, 5}, {12, 1e-38, 1}, {3, 1e-31, 1}, {0.1, 1e31, 1}, {-9, 1, 1}};
    static const int32_t counters[] = {0, 30000, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    char path[PATH];
    path_of(path, state, "a.onnx");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct net *n = net_make(shape_1(8));
        struct net_layer *l = layer_push(n, NET_LINEAR, shape_1(2));
        struct number number = number_make(NUMBER_POWER, 16, rows[i].parameter, 0);
        tensor_counters(&l->weight, shape_2(2, 8), number, rows[i].scale, counters);
        format_write(format_of("onnx"), n, path, false);
        weight_check(path, &l->weight, rows[i].type, true);
        net_free(n);
    }
}

// Every kind of layer, counted biases too.
static struct net *net_of_all(struct rng *r) {
    struct net *n = net_make(shape_3(2, 3, 4));
    struct net_layer *l = layer_push(n, NET_AFFINE, n->in);
    l->scale = 3.25;
    l->shift = -0.4;
    layer_push(n, NET_FLATTEN, shape_1(24));
    static const enum net_kind between[] = {NET_RELU, NET_GELU, NET_TANH, NET_SIGMOID};
    int in = 24, out = 12;
    for (int i = 0; i < 5; i++, in = out, out = 10 - i) {
        l = layer_push(n, NET_LINEAR, shape_1(out));
        struct number number = number_make((enum number_kind)i, i % 2 ? 8 : 16, 0, 0);
        tensor_random(&l->weight, shape_2(out, in), number, 0.3, r);
        if (i == 1) tensor_random_floats(&l->bias, shape_1(out), 1, r);
        if (i > 1) tensor_random(&l->bias, shape_1(out), number_make(NUMBER_LINEAR, 8, 0, 1), 1, r);
        if (i < 4) layer_push(n, between[i], shape_1(out));
    }
    layer_push(n, NET_SOFTMAX, n->layers[n->count - 1].out);
    return n;
}

static void onnx_layers(void **state) {
    char path[PATH], again[PATH];
    struct rng r = rng_stream(2, "onnx");
    path_of(path, state, "a.onnx");
    path_of(again, state, "b.onnx");
    struct net *n = net_of_all(&r);
    format_write(format_of("onnx"), n, path, false);
    format_write(format_of("onnx"), n, again, false);
    size_t size, size_again;
    unsigned char *bytes = file_of(&size, path), *bytes_again = file_of(&size_again, again);
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, bytes_again, size);
    mem_free(bytes);
    mem_free(bytes_again);
    onnx_check(path, n, 2e-6, 1, &r);
    struct onnx *o = onnx_open_new(path);
    assert_int_equal(o->opset, 13);
    assert_string_equal(o->name, "by hand");
    assert_string_equal(o->input, "input");
    assert_string_equal(o->output, "probabilities");
    assert_int_equal(o->input_rank, 4);
    assert_true(o->input_dim[1] == 2 && o->input_dim[2] == 3 && o->input_dim[3] == 4);
    assert_true(o->output_rank == 2 && o->output_dim[1] == 6);
    assert_string_equal(o->metadata[0][0], "run");
    assert_string_equal(o->metadata[0][1], "by hand");
    assert_string_equal(o->metadata[1][0], "input");
    assert_non_null(strstr(o->metadata[1][1], "value / 255"));
    assert_string_equal(o->metadata[2][0], "density");
    size_t weights = 0, nonzero = 0;
    for (int i = 0; i < n->count; i++)
        if (n->layers[i].kind == NET_LINEAR)
            weights += n->layers[i].weight.size, nonzero += net_nonzero(&n->layers[i].weight);
    char wanted[100];
    snprintf(wanted, sizeof wanted, "%.4g, %zu of %zu weights", (double)nonzero / (double)weights, nonzero,
             weights);
    assert_string_equal(o->metadata[2][1], wanted);
    onnx_free(o);
    n->count--; // without the softmax
    format_write(format_of("onnx"), n, path, false);
    o = onnx_open_new(path);
    assert_string_equal(o->output, "logits");
    onnx_free(o);
    onnx_check(path, n, 2e-6, 1, &r);
    net_free(n);
}

// Alone and over a wide range, since a net's next layers hide a small mistake.
static void onnx_activations(void **state) {
    static const enum net_kind kinds[] = {NET_RELU, NET_GELU, NET_TANH, NET_SIGMOID};
    char path[PATH];
    struct rng r = rng_stream(3, "onnx");
    path_of(path, state, "a.onnx");
    for (int i = 0; i < 4; i++) {
        struct net *n = net_make(shape_2(20, 5)); // two dimensions stay two
        struct net_layer *l = layer_push(n, NET_AFFINE, n->in);
        l->scale = 8;
        l->shift = -4;
        layer_push(n, kinds[i], n->in);
        format_write(format_of("onnx"), n, path, false);
        onnx_check(path, n, 1e-6, 1, &r);
        net_free(n);
    }
}

// --- what can't be written ---------------------------------------------------------------------------------

static void refusal_check(const char *format, const struct net *n, const char *out, const char *wanted) {
    struct err e = {""};
    size_t layer[LAYERS];
    struct export_sizes sizes = {0, layer};
    assert_int_equal(format_of(format)->write(n, out, &(struct export_options){0}, &sizes, &e), -1);
    if (!strstr(e.text, wanted)) fail_msg("%s: found '%s', wanted '%s'", format, e.text, wanted);
}

static void refusals(void **state) {
    char path[PATH], file[PATH];
    struct net *n = net_tiny();
    struct err e;
    path_of(file, state, "file");
    assert_int_equal(file_write_text(file, "x", &e), 0);
    snprintf(path, sizeof path, "%.200s/inside", file);
    refusal_check("npz", n, file, "file: not a folder");
    refusal_check("mtx", n, file, "file: not a folder");
    refusal_check("npz", n, path, "file/inside: Not a directory");
    refusal_check("safetensors", n, path, "Not a directory");
    n->mean = 0;
    n->std = 1;
    refusal_check("onnx", n, path, "Not a directory");
    // A folder lies where the file belongs.
    static const char *const blocked[][2] = {
        {"npz", "linear1.weight.npz"}, {"npz", "linear1.weight.counters.npz"}, {"npz", "linear1.bias.npy"},
        {"npz", "manifest.json"},      {"mtx", "linear2.weight.mtx"},          {"mtx", "linear1.bias.mtx"}};
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) {
        char out[PATH], at[2 * PATH];
        snprintf(out, sizeof out, "%s/out%zu", (char *)*state, i);
        snprintf(at, sizeof at, "%s/%s", out, blocked[i][1]);
        assert_int_equal(file_make_folder(at, &e), 0);
        refusal_check(blocked[i][0], n, out, "directory");
    }
    net_free(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry),
        cmocka_unit_test(csr_edges),
        cmocka_unit_test(csr_counters),
        IN_FOLDER(npz_members),
        IN_FOLDER(npz_counters),
        IN_FOLDER(zip_limits),
        IN_FOLDER(mtx_texts),
        IN_FOLDER(mtx_numbers),
        IN_FOLDER(safetensors_triples),
        IN_FOLDER(safetensors_counters),
        IN_FOLDER(safetensors_nothing),
        cmocka_unit_test(varints),
        IN_FOLDER(onnx_maps),
        IN_FOLDER(onnx_out_of_range),
        IN_FOLDER(onnx_layers),
        IN_FOLDER(onnx_activations),
        IN_FOLDER(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
