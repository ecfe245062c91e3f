// .npy files: what is written comes back, the header is NumPy's to the byte, and files that break a rule are refused.
#include "datasets/io/npy.h"
#include "src/file.h"
#include "src/rng.h"
#include "tests/check.h"

enum { PATH = 300, ROOM = 1024, LIMIT = 1 << 20, PREFIX = 10 };

static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

// In place of the C library's: many files are made here, and a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

// --- what is written comes back ----------------------------------------------------------------------------

static void round_trip(void **state) {
    static const struct shape shapes[] = {{1, {1}}, {1, {9}}, {2, {5, 7}}, {3, {2, 1, 3}}, {4, {2, 3, 1, 4}}};
    char path[PATH];
    path_of(path, state, "a.npy");
    uint8_t bytes[64];
    float floats[64];
    struct rng r = rng_stream(1, "npy");
    for (int i = 0; i < 64; i++) {
        bytes[i] = (uint8_t)rng_u32(&r);
        floats[i] = (float)((int)rng_below(&r, 1000) - 500) / 7;
    }
    floats[0] = -INFINITY;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct err e = {""};
        struct npy a;
        size_t size = shape_size(shapes[i]);
        assert_int_equal(npy_write(path, NPY_U8, shapes[i], bytes, &e), 0);
        assert_int_equal(npy_read(&a, path, 128 + 64, &e), 0);
        assert_true(a.type == NPY_U8 && shape_equal(a.shape, shapes[i]) && a.size == size && !a.floats);
        assert_memory_equal(a.bytes, bytes, size);
        npy_free(&a);
        assert_int_equal(npy_write(path, NPY_F32, shapes[i], floats, &e), 0);
        assert_int_equal(npy_read(&a, path, LIMIT, &e), 0);
        assert_true(a.type == NPY_F32 && shape_equal(a.shape, shapes[i]) && a.size == size && !a.bytes);
        assert_int_equal((uintptr_t)a.floats % sizeof(float), 0);
        assert_memory_equal(a.floats, floats, size * sizeof *floats);
        npy_free(&a);
    }
    struct err e = {""};
    char wanted[2 * PATH];
    path_of(path, state, "no such folder/a.npy");
    assert_int_equal(npy_write(path, NPY_U8, shape_1(1), bytes, &e), -1);
    assert_non_null(strstr(e.text, "No such file or directory"));
    struct npy a;
    assert_int_equal(npy_read(&a, path, LIMIT, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: No such file or directory", path);
    assert_string_equal(e.text, wanted);
    npy_free(&a);
}

// As numpy.save writes them (NumPy 1.24).
static void headers(void **state) {
    (void)state;
    static const struct {
        const char *descr;
        struct shape shape;
        const char *dict;
        size_t size;
    } rows[] = {
        {"<f4", {2, {5, 7}}, "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 7), }", 128},
        {"|i1", {1, {9}}, "{'descr': '|i1', 'fortran_order': False, 'shape': (9,), }", 128},
        {"<i2", {1, {0}}, "{'descr': '<i2', 'fortran_order': False, 'shape': (0,), }", 128},
        {"|S3", {0, {0}}, "{'descr': '|S3', 'fortran_order': False, 'shape': (), }", 128},
        {"<i8",
         {4, {1 << 30, 1 << 30, 1 << 30, 1 << 30}},
         "{'descr': '<i8', 'fortran_order': False, 'shape': (1073741824, 1073741824, 1073741824, "
         "1073741824), }",
         128},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char header[NPY_HEADER];
        memset(header, '?', sizeof header);
        size_t size = npy_header(header, rows[i].descr, rows[i].shape), length = strlen(rows[i].dict);
        assert_int_equal(size, rows[i].size);
        assert_memory_equal(header, "\x93NUMPY\1\0", 8);
        assert_int_equal((unsigned char)header[8] + 256 * (unsigned char)header[9], size - PREFIX);
        assert_memory_equal(header + PREFIX, rows[i].dict, length);
        for (size_t j = PREFIX + length; j < size - 1; j++) assert_int_equal(header[j], ' ');
        assert_int_equal(header[size - 1], '\n');
    }
}

// --- files that are not ------------------------------------------------------------------------------------

#define D "'descr': '<f4', "
#define F "'fortran_order': False, "
#define BAD_DICT "the header is not a dict of three keys"
#define BAD_SHAPE "'shape' of the header is not a list of numbers"

static const struct {
    const char *dict;
    size_t elements;     // bytes after the header
    const char *message; // after the path; "": it is read
} rows[] = {
    {"{" D F "'shape': (2, 3), }", 24, ""},
    {"{" D F "'shape': (2, 3)}", 24, ""},
    {"{\"shape\":(6,),\"descr\":\"<f4\",\"fortran_order\":False}   \n", 24, ""},
    {"  { 'descr' :'|u1' ,'fortran_order' : False , 'shape' : ( 24 , ) , }", 24, ""},
    {"{" D F "'shape': (1, 1, 1, 1), }", 4, ""},
    {"{" D F "'shape': (007), }", 28, ""},
    // types
    {"{'descr': '<f8', " F "'shape': (3,), }", 24,
     "elements are '<f8', wanted '<f4' (float32) or '|u1' (uint8)"},
    {"{'descr': '>f4', " F "'shape': (6,), }", 24,
     "elements are '>f4', wanted '<f4' (float32) or '|u1' (uint8)"},
    {"{'descr': '|b1', " F "'shape': (24,), }", 24,
     "elements are '|b1', wanted '<f4' (float32) or '|u1' (uint8)"},
    {"{'descr': '|O', " F "'shape': (3,), }", 24,
     "elements are '|O', wanted '<f4' (float32) or '|u1' (uint8)"},
    {"{'descr': '', " F "'shape': (3,), }", 24, "elements are '', wanted '<f4' (float32) or '|u1' (uint8)"},
    {"{'descr': [('a', '<f4')], " F "'shape': (6,), }", 24, "'descr' of the header is not one word"},
    {"{'descr': '<f4<f4<f4<f4<f4<f4<f4<f4', " F "'shape': (6,), }", 24,
     "'descr' of the header is not one word"},
    {"{'descr': '\\x3cf4', " F "'shape': (6,), }", 24, "'descr' of the header is not one word"},
    {"{'descr': '<f4", 24, "'descr' of the header is not one word"},
    {"{'descr': <f4, " F "'shape': (6,), }", 24, "'descr' of the header is not one word"},
    {"{'descr':", 24, "'descr' of the header is not one word"},
    // order
    {"{" D "'fortran_order': True, 'shape': (2, 3), }", 24, "the array is in Fortran order, wanted C order"},
    {"{" D "'fortran_order': 0, 'shape': (2, 3), }", 24,
     "'fortran_order' of the header is neither True nor False"},
    {"{" D "'fortran_order': false, 'shape': (2, 3), }", 24,
     "'fortran_order' of the header is 'false', wanted False"},
    {"{" D "'fortran_order': FalseFalseFalseFalseFalseFalse, 'shape': (2, 3), }", 24,
     "'fortran_order' of the header is 'FalseFalseFalseFalseFal', wanted False"},
    {"{" D "'fortran_order':", 24, "'fortran_order' of the header is neither True nor False"},
    // shapes
    {"{" D F "'shape': (), }", 4, "the array is a single number, wanted 1 to 4 dimensions"},
    {"{" D F "'shape': (1, 1, 1, 1, 6), }", 24, "more than 4 dimensions"},
    {"{" D F "'shape': (0, 3), }", 0, "dimension 0 is 0"},
    {"{" D F "'shape': (3, 0), }", 0, "dimension 1 is 0"},
    {"{" D F "'shape': (1073741825,), }", 24, "dimension 0 is more than 1073741824"},
    {"{" D F "'shape': (2, 18446744073709551619), }", 24, "dimension 1 is more than 1073741824"},
    {"{" D F "'shape': (1073741824, 1073741824, 16), }", 0, "the shape is too large"}, // 2^64 elements
    {"{" D F "'shape': (1073741824, 1073741824, 1073741824, 1073741824), }", 0, "the shape is too large"},
    {"{" D F "'shape': (1073741824, 1073741824, 4), }", 0, "the shape is too large"}, // 2^64 bytes
    {"{" D F "'shape': (1073741824, 1073741824), }", 24,
     "24 bytes of elements, wanted 4611686018427387904 for (1073741824, 1073741824) of '<f4'"},
    {"{" D F "'shape': (-1, 6), }", 24, BAD_SHAPE},
    {"{" D F "'shape': (6 6), }", 24, BAD_SHAPE},
    {"{" D F "'shape': (,), }", 24, BAD_SHAPE},
    {"{" D F "'shape': (6,,), }", 24, BAD_SHAPE},
    {"{" D F "'shape': (6.0,), }", 24, BAD_SHAPE},
    {"{" D F "'shape': [6], }", 24, BAD_SHAPE},
    {"{" D F "'shape': 6, }", 24, BAD_SHAPE},
    {"{" D F "'shape': (6,", 24, BAD_SHAPE},
    {"{" D F "'shape': (6", 24, BAD_SHAPE},
    {"{" D F "'shape':", 24, BAD_SHAPE},
    // sizes
    {"{" D F "'shape': (2, 3), }", 23, "23 bytes of elements, wanted 24 for (2, 3) of '<f4'"},
    {"{" D F "'shape': (2, 3), }", 25, "25 bytes of elements, wanted 24 for (2, 3) of '<f4'"},
    {"{" D F "'shape': (2, 3), }", 0, "0 bytes of elements, wanted 24 for (2, 3) of '<f4'"},
    {"{'descr': '|u1', " F "'shape': (2, 3), }", 24, "24 bytes of elements, wanted 6 for (2, 3) of '|u1'"},
    // keys
    {"{" D F "}", 24, "no 'shape' in the header"},
    {"{" D "'shape': (6,), }", 24, "no 'fortran_order' in the header"},
    {"{" F "'shape': (6,), }", 24, "no 'descr' in the header"},
    {"{}", 24, "no 'descr' in the header"},
    {"{" D D F "'shape': (6,), }", 24, "'descr' is in the header twice"},
    {"{" D F "'shape': (6,), 'shape': (6,), }", 24, "'shape' is in the header twice"},
    {"{" D F "'shape': (6,), 'more': 1, }", 24, "unknown key 'more' in the header"},
    {"{" D F "'shape': (6,), \"odd\n\": 1, }", 24, "unknown key 'odd?' in the header"},
    // the dict itself
    {"", 24, "the header is not a dict"},
    {"[]", 24, "the header is not a dict"},
    {"{", 24, BAD_DICT},
    {"{,}", 24, BAD_DICT},
    {"{" D F, 24, BAD_DICT},
    {"{" D F "'shape': (6,)", 24, BAD_DICT},
    {"{'descr' '<f4', " F "'shape': (6,), }", 24, BAD_DICT},
    {"{" D F "'shape': (6,) 'more': 1, }", 24, BAD_DICT},
    {"{" D F "'shape': (6,),, }", 24, BAD_DICT},
    {"{" D F "'shape': (6,), } x", 24, "the header goes on after its dict"},
    {"{" D F "'shape': (6,), }{", 24, "the header goes on after its dict"},
};

static size_t file_make(unsigned char file[ROOM], const char *dict, size_t elements) {
    size_t length = strlen(dict);
    assert_true(PREFIX + length + elements <= ROOM);
    memset(file, 0, ROOM);
    memcpy(file, "\x93NUMPY\1", 7);
    file[8] = (unsigned char)(length & 255);
    file[9] = (unsigned char)(length >> 8);
    memcpy(file + PREFIX, dict, length);
    return PREFIX + length + elements;
}

// Reads these bytes; *message is what is said after the path, "" when nothing.
static void message_of(struct err *message, const char *path, const void *bytes, size_t size) {
    struct npy a;
    struct err e;
    assert_int_equal(file_write_bytes(path, bytes, size, &e), 0);
    message->text[0] = 0;
    if (npy_read(&a, path, LIMIT, message) != 0) {
        size_t length = strlen(path);
        assert_null(a.bytes);
        assert_null(a.floats);
        assert_memory_equal(message->text, path, length);
        assert_memory_equal(message->text + length, ": ", 2);
        memmove(message->text, message->text + length + 2, strlen(message->text + length + 2) + 1);
    } else {
        assert_true((a.type == NPY_U8) == (a.bytes != NULL) && (a.type == NPY_F32) == (a.floats != NULL));
        assert_int_equal(a.size, shape_size(a.shape));
    }
    npy_free(&a);
}

static void every_row(void **state) {
    char path[PATH];
    int failed = 0;
    path_of(path, state, "bad.npy");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char file[ROOM];
        struct err found;
        message_of(&found, path, file, file_make(file, rows[i].dict, rows[i].elements));
        if (strcmp(found.text, rows[i].message) == 0) continue;
        print_error("row %zu: %s\n  found  %s\n  wanted %s\n", i, rows[i].dict, found.text, rows[i].message);
        failed++;
    }
    assert_int_equal(failed, 0);
}

static void bad_beginnings(void **state) {
    static const struct {
        int at, byte;
        const char *message;
    } edits[] = {
        {0, 0x92, "not a .npy file"},
        {5, 'y', "not a .npy file"},
        {6, 2, "version 2.0, wanted 1.0"},
        {7, 1, "version 1.1, wanted 1.0"},
        {6, 0, "version 0.0, wanted 1.0"},
        {9, 1, "a header of 315 bytes, where 83 are left"},
        {8, 56, "the header is not a dict of three keys"},
    };
    static const char dict[] = "{" D F "'shape': (2, 3), }";
    char path[PATH], wanted[2 * PATH];
    unsigned char file[ROOM];
    struct err found;
    path_of(path, state, "bad.npy");
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        size_t size = file_make(file, dict, 24);
        file[edits[i].at] = (unsigned char)edits[i].byte;
        message_of(&found, path, file, size);
        assert_string_equal(found.text, edits[i].message);
    }
    size_t size = file_make(file, dict, 24);
    for (size_t cut = 0; cut < size; cut++) {
        if (cut < PREFIX)
            snprintf(wanted, sizeof wanted, "%zu bytes, too short for a .npy file", cut);
        else if (cut < size - 24)
            snprintf(wanted, sizeof wanted, "a header of %zu bytes, where %zu are left", sizeof dict - 1,
                     cut - PREFIX);
        else
            snprintf(wanted, sizeof wanted, "%zu bytes of elements, wanted 24 for (2, 3) of '<f4'",
                     cut - (size - 24));
        message_of(&found, path, file, cut);
        assert_string_equal(found.text, wanted);
    }
    struct npy a;
    assert_int_equal(file_write_bytes(path, file, size, &found), 0);
    assert_int_equal(npy_read(&a, path, size - 1, &found), -1);
    snprintf(wanted, sizeof wanted, "%s: %zu bytes, at most %zu are read", path, size, size - 1);
    assert_string_equal(found.text, wanted);
    npy_free(&a);
    assert_int_equal(npy_read(&a, path, size, &found), 0);
    npy_free(&a);
}

static void random_mutations(void **state) {
    enum { ROUNDS = 3000 };
    static const char likely[] = "0123456789'\"(){},: <f4|u1";
    static const char dict[] = "{" D F "'shape': (2, 3), }      \n";
    char path[PATH];
    int good = 0, bad = 0;
    path_of(path, state, "bad.npy");
    struct rng r = rng_stream(1, "mutations");
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char file[ROOM];
        size_t size = file_make(file, dict, 24);
        for (uint32_t edits = 1 + rng_below(&r, 3); edits > 0; edits--) {
            size_t at =
                rng_below(&r, 3) ? PREFIX + rng_below(&r, sizeof dict - 1) : rng_below(&r, (uint32_t)size);
            file[at] = (unsigned char)(rng_below(&r, 2) ? likely[rng_below(&r, sizeof likely - 1)]
                                                        : (char)rng_u32(&r));
        }
        struct err found;
        message_of(&found, path, file, size);
        if (*found.text)
            bad++;
        else
            good++;
    }
    assert_true(good > ROUNDS / 50 && bad > ROUNDS / 2); // both ways are taken
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(round_trip),     cmocka_unit_test(headers),   IN_FOLDER(every_row),
        IN_FOLDER(bad_beginnings), IN_FOLDER(random_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
