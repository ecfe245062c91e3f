// The data set npy: arrays of every type that is read, as samples with classes or with numbers, and every file that is
// refused.
#include "datasets/batches.h"
#include "datasets/io/npy.h"
#include "src/file.h"
#include "tests/check.h"

enum { PATH = 400 };

static void must(int result, const struct err *e) {
    if (result != 0) fail_msg("%s", e->text);
}

static int set_open(struct dataset *d, const char *options, const char *folder, bool *missing,
                    struct err *e) {
    struct json *node = json_of(options);
    struct data_source source = {.folder = {NULL, folder, NULL}, .threads = 1};
    int result = dataset_open(d, node, "data.set", &source, e);
    if (missing) *missing = source.missing;
    json_free(node);
    return result;
}

// The array FOLDER/NAME of elements as they lie in memory.
static void array_write(const char *folder, const char *name, const char *descr, size_t width,
                        struct shape shape, const void *elements) {
    char path[PATH], header[NPY_HEADER];
    struct err e = {""};
    size_t size = npy_header(header, descr, shape), bytes = shape_size(shape) * width;
    uint8_t *file = mem_new(size + bytes, 1);
    memcpy(file, header, size);
    memcpy(file + size, elements, bytes);
    snprintf(path, PATH, "%.200s/%.90s", folder, name);
    must(file_write_bytes(path, file, size + bytes, &e), &e);
    mem_free(file);
}

enum { COUNT = 6 };
static const uint8_t bytes[COUNT * 4] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                         12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 255};
static const double doubles[COUNT * 2] = {0, 0.1, -2.5, 3e38, 4, 1e-40, 6, 7, 8, 9, 10, 1 / 3.0};
static const int64_t labels[COUNT] = {2, 0, 1, 2, 1, 0};

// Images and classes, with test arrays of their own; (samples, height, width) gets a channel.
static void images_with_classes(void **state) {
    struct dataset d;
    struct err e = {""};
    array_write(*state, "x.npy", "|u1", 1, shape_3(COUNT, 2, 2), bytes);
    array_write(*state, "y.npy", "<i8", 8, shape_1(COUNT), labels);
    array_write(*state, "x_test.npy", "|u1", 1, shape_3(2, 2, 2), bytes + 16);
    array_write(*state, "y_test.npy", "|i1", 1, shape_1(2), (int8_t[]){1, 0});
    must(set_open(&d, "{\"npy\": {\"folder\": \".\"}}", *state, NULL, &e), &e);
    assert_true(d.kind == DATA_IMAGES && shape_equal(d.sample, shape_3(1, 2, 2)));
    assert_true(d.classes == 3 && d.train.count == COUNT && d.test.count == 2);
    assert_memory_equal(d.train.pixels, bytes, sizeof bytes);
    assert_memory_equal(d.test.pixels, bytes + 16, 8);
    for (int i = 0; i < COUNT; i++) assert_int_equal(d.train.labels[i], labels[i]);
    assert_true(d.test.labels[0] == 1 && d.test.labels[1] == 0);
    dataset_close(&d);
}

static void labels_of_every_type(void **state) {
    static const struct {
        const char *descr;
        size_t width;
    } types[] = {{"|u1", 1}, {"|i1", 1}, {"<i2", 2}, {"<u2", 2}, {"<i4", 4}, {"<u4", 4}, {"<i8", 8}};
    array_write(*state, "x.npy", "|u1", 1, shape_2(COUNT, 4), bytes);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        uint8_t elements[COUNT * 8] = {0};
        struct dataset d;
        struct err e = {""};
        for (int i = 0; i < COUNT; i++) elements[(size_t)i * types[t].width] = (uint8_t)labels[i];
        array_write(*state, "y.npy", types[t].descr, types[t].width, shape_1(COUNT), elements);
        must(set_open(&d, "{\"npy\": {\"folder\": \".\", \"test\": 0.3}}", *state, NULL, &e), &e);
        assert_true(d.sample.rank == 1 && d.sample.dim[0] == 4); // flat images stay flat
        assert_true(d.train.count == 4 && d.test.count == 2 && d.classes == 3);
        for (int part = 0; part < 2; part++) {
            const struct split *s = part ? &d.test : &d.train;
            for (int i = 0; i < s->count; i++)
                assert_int_equal(s->labels[i], labels[dataset_pixels(&d, s, (size_t)i)[0] / 4]);
        }
        dataset_close(&d);
    }
}

// float64 and float32 numbers, answered with numbers.
static void numbers_with_numbers(void **state) {
    float floats[COUNT * 2];
    for (int i = 0; i < COUNT * 2; i++) floats[i] = (float)doubles[i];
    for (int wide = 0; wide < 2; wide++) {
        struct dataset d;
        struct err e = {""};
        array_write(*state, "x.npy", wide ? "<f8" : "<f4", wide ? 8 : 4, shape_2(COUNT, 2),
                    wide ? (const void *)doubles : floats);
        array_write(*state, "y.npy", wide ? "<f4" : "<f8", wide ? 4 : 8,
                    wide ? shape_2(COUNT, 2) : shape_1(COUNT), wide ? (const void *)floats : doubles);
        must(set_open(&d, "{\"npy\": {\"folder\": \".\", \"test\": 0.5, \"seed\": 3}}", *state, NULL, &e),
             &e);
        assert_true(d.kind == DATA_NUMBERS && d.classes == 0 && d.train.count == 3 && d.test.count == 3);
        assert_true(shape_equal(d.target, shape_1(wide ? 2 : 1)));
        assert_true(shape_equal(dataset_output(&d), d.target));
        for (int part = 0; part < 2; part++) {
            const struct split *s = part ? &d.test : &d.train;
            for (size_t i = 0; i < 3; i++) {
                const float *x = dataset_numbers(&d, s, i), *y = dataset_values(&d, s, i);
                int k = 0;
                while (k < COUNT && (floats[2 * k] != x[0] || floats[2 * k + 1] != x[1])) k++;
                assert_true(k < COUNT);
                assert_true(wide ? y[0] == x[0] && y[1] == x[1] : y[0] == (float)doubles[k]);
            }
        }
        dataset_close(&d);
    }
}

static void refused(void **state) {
    static const float bad[COUNT] = {1, 2, NAN, 4, 5, 6}, good[COUNT] = {1, 2, 3, 4, 5, 6};
    static const double wide[COUNT] = {1, 2, 3, 4, 1e39, 6};
    static const int64_t far[COUNT] = {0, 1, 256, 0, 0, 0}, negative[COUNT] = {0, 1, 0, 0, -1, 0},
                         zeros[COUNT] = {0}, three[COUNT] = {0, 1, 3, 0, 0, 0};
    enum { X, Y, X_TEST, Y_TEST };
    static const char *const names[] = {"x.npy", "y.npy", "x_test.npy", "y_test.npy"};
    static const struct {
        int file; // that is another one
        const char *descr;
        size_t width;
        struct shape shape;
        const void *elements; // NULL: the file is not there
        const char *message;
    } rows[] = {
        {X, "<i4", 4, {2, {COUNT, 1}}, bytes, "FOLDER/x.npy: elements are '<i4', wanted '|u1', '<f4', '<f8'"},
        {X, "|u1", 1, {1, {COUNT}}, bytes, "FOLDER/x.npy: an array (6), wanted (samples, ...)"},
        {X, "<f4", 4, {2, {COUNT, 1}}, bad, "FOLDER/x.npy: number 2 is not a finite float32"},
        {X, "<f8", 8, {2, {COUNT, 1}}, wide, "FOLDER/x.npy: number 4 is not a finite float32"},
        {X, NULL, 0, {0, {0}}, NULL, "FOLDER/x.npy: No such file or directory"},
        {Y, NULL, 0, {0, {0}}, NULL, "FOLDER/y.npy: No such file or directory"},
        {Y,
         "|S1",
         1,
         {1, {COUNT}},
         bytes,
         "FOLDER/y.npy: elements are '|S1', wanted '|u1', '<f4', '<f8', '|i1', '<i2', '<i4', '<i8', '<u2', "
         "'<u4'"},
        {Y, "<i8", 8, {1, {COUNT - 1}}, labels, "FOLDER/y.npy: 5 samples, wanted 6, one for each of x"},
        {Y,
         "|u1",
         1,
         {2, {COUNT, 1}},
         bytes,
         "FOLDER/y.npy: an array (6, 1) of whole numbers, wanted (samples)"},
        {Y, "<i8", 8, {1, {COUNT}}, far, "FOLDER/y.npy: label 2 is 256, wanted 0 to 255"},
        {Y, "<i8", 8, {1, {COUNT}}, negative, "FOLDER/y.npy: label 4 is -1, wanted 0 to 255"},
        {Y, "<i8", 8, {1, {COUNT}}, zeros, "FOLDER/y.npy: every label is 0, wanted two classes or more"},
        {Y, "<f4", 4, {1, {COUNT}}, bad, "FOLDER/y.npy: number 2 is not a finite float32"},
        {Y, "<f4", 4, {1, {COUNT}}, good, "FOLDER/y_test.npy: not of the kind and shape of y.npy"},
        {X_TEST,
         "|u1",
         1,
         {2, {COUNT, 3}},
         bytes,
         "FOLDER/x_test.npy: images of (3), wanted images of (4) as in x.npy"},
        {X_TEST,
         "<f4",
         4,
         {2, {3, 2}},
         good,
         "FOLDER/x_test.npy: numbers of (2), wanted images of (4) as in x.npy"},
        {X_TEST, NULL, 0, {0, {0}}, NULL, "FOLDER/x_test.npy: No such file or directory"},
        {Y_TEST, NULL, 0, {0, {0}}, NULL, "FOLDER/y_test.npy: No such file or directory"},
        {Y_TEST, "<i8", 8, {1, {COUNT}}, three, "FOLDER/y_test.npy: label 3, wanted at most 2 as in y.npy"},
    };
    struct dataset d;
    struct err e = {""};
    bool missing;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char folder[PATH], options[PATH], wanted[2 * PATH];
        snprintf(folder, PATH, "%.200s/%zu", (char *)*state, i);
        must(file_make_folder(folder, &e), &e);
        for (int k = 0; k < 4; k++) {
            if (k == rows[i].file && !rows[i].elements) continue;
            if (k == rows[i].file)
                array_write(folder, names[k], rows[i].descr, rows[i].width, rows[i].shape, rows[i].elements);
            else if (k % 2 == X)
                array_write(folder, names[k], "|u1", 1, shape_2(COUNT, 4), bytes);
            else
                array_write(folder, names[k], "<i8", 8, shape_1(COUNT), labels);
        }
        snprintf(options, PATH, "{\"npy\": {\"folder\": \"%zu\"}}", i);
        assert_int_equal(set_open(&d, options, *state, &missing, &e), -1);
        snprintf(wanted, sizeof wanted, "%s%s", folder, rows[i].message + strlen("FOLDER"));
        assert_string_equal(e.text, wanted);
        assert_false(missing);
        dataset_close(&d);
    }
    assert_int_equal(set_open(&d, "{\"npy\": {\"folder\": \"nowhere\"}}", *state, &missing, &e), -1);
    assert_true(missing);
    char options[PATH];
    snprintf(options, PATH, "{\"npy\": {\"folder\": \"%d\", \"test\": 0.01}}", 16); // where x_test.npy is not
    char path[PATH];
    snprintf(path, PATH, "%.200s/16/y_test.npy", (char *)*state);
    remove(path);
    assert_int_equal(set_open(&d, options, *state, &missing, &e), -1);
    assert_non_null(
        strstr(e.text, "/16/x.npy: 6 samples can't be cut into training and test; give x_test.npy"));
    dataset_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(images_with_classes),
        IN_FOLDER(labels_of_every_type),
        IN_FOLDER(numbers_with_numbers),
        IN_FOLDER(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
