// The safetensors container: what is written comes back, equal content gives equal bytes, the layout is the
// format's, and files that break a rule are refused with a message, however they were broken.
#include <unistd.h>

#include "src/file.h"
#include "src/rng.h"
#include "src/safetensors.h"
#include "tests/check.h"

enum { PATH = 300, FILE_ROOM = 4096, LIMIT = 1 << 20, PREFIX = 8 };

static const char *const dtype_names[DTYPES] = {"U8", "I8", "I16", "I32", "F32", "F64"};
static const size_t dtype_sizes[DTYPES] = {1, 1, 2, 4, 4, 8};

static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

// In place of the C library's: many files are made here, and a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

// In place: a file system may wait for the disk when a file is replaced.
static void bytes_write(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "r+b");
    if (!f) f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(ftruncate(fileno(f), (off_t)size), 0);
    assert_int_equal(fclose(f), 0);
}

static struct safetensor tensor_of(const char *name, enum dtype dtype, struct shape shape,
                                   const void *bytes) {
    struct safetensor t = {.dtype = dtype, .shape = shape, .bytes = bytes};
    strcpy(t.name, name);
    return t;
}

static void write_all(const char *path, struct safetensor *tensors, int count, const char *metadata) {
    struct err e = {""};
    struct json *meta = metadata ? json_of(metadata) : NULL;
    if (safetensors_write(path, tensors, count, meta, &e) != 0) fail_msg("%s", e.text);
    json_free(meta);
}

static void open_all(struct safetensors *file, const char *path) {
    struct err e = {""};
    if (safetensors_open(file, path, LIMIT, &e) != 0) fail_msg("%s", e.text);
}

// --- what is written comes back ----------------------------------------------------------------------------

static void dtypes(void **state) {
    (void)state;
    for (int i = 0; i < DTYPES; i++) assert_int_equal(dtype_bytes((enum dtype)i), dtype_sizes[i]);
    assert_int_equal(dtype_real(), sizeof(real) == 4 ? DTYPE_F32 : DTYPE_F64);
}

static void round_trip(void **state) {
    static const struct shape shapes[] = {{0, {0}},       {1, {7}},          {2, {3, 5}},
                                          {3, {1, 2, 3}}, {4, {2, 3, 1, 4}}, {2, {3, 0}}};
    enum { RANKS = sizeof shapes / sizeof *shapes, COUNT = DTYPES * RANKS, ROOM = 24 * 8 };
    static uint8_t bytes[COUNT][ROOM]; // every bit pattern may come, NaN with a payload too
    struct safetensor tensors[COUNT];
    struct rng r = rng_stream(1, "round trip");
    for (int i = 0; i < COUNT; i++) {
        char name[40];
        for (int j = 0; j < ROOM; j++) bytes[i][j] = (uint8_t)rng_u32(&r);
        snprintf(name, sizeof name, "rank%d.%s", i % RANKS, dtype_names[i / RANKS]);
        tensors[i] = tensor_of(name, (enum dtype)(i / RANKS), shapes[i % RANKS], bytes[i]);
    }
    char path[PATH];
    path_of(path, state, "a");
    write_all(path, tensors, COUNT, "{\"one\": \"1\", \"empty\": \"\", \"odd \\\"key\\\"\": \"\\u00e9\\n\"}");
    struct safetensors file;
    open_all(&file, path);
    assert_int_equal(file.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char name[40];
        snprintf(name, sizeof name, "rank%d.%s", i % RANKS, dtype_names[i / RANKS]);
        const struct safetensor *t = safetensors_find(&file, name);
        assert_non_null(t);
        assert_int_equal(t->dtype, i / RANKS);
        assert_true(shape_equal(t->shape, shapes[i % RANKS]));
        assert_int_equal((uintptr_t)t->bytes % dtype_sizes[t->dtype], 0);
        assert_memory_equal(t->bytes, bytes[i], safetensor_bytes(t));
    }
    assert_null(safetensors_find(&file, "rank9.F32"));
    assert_null(safetensors_find(&file, "rank1.f32"));
    assert_null(safetensors_find(&file, "__metadata__"));
    assert_int_equal(json_count(file.metadata), 3);
    assert_string_equal(safetensors_meta(&file, "one"), "1");
    assert_string_equal(safetensors_meta(&file, "empty"), "");
    assert_string_equal(safetensors_meta(&file, "odd \"key\""), "\xc3\xa9\n");
    assert_null(safetensors_meta(&file, "two"));
    safetensors_close(&file);
    assert_null(file.memory);
    safetensors_close(&file); // twice is fine
}

static void names_and_nothing(void **state) {
    char path[PATH], longest[SAFETENSORS_NAME];
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = 0;
    const uint8_t byte = 7;
    struct safetensor tensors[] = {tensor_of(longest, DTYPE_U8, shape_1(1), &byte),
                                   tensor_of("a \"b\" \\ /\t\xe2\x9c\x93", DTYPE_U8, shape_1(1), &byte),
                                   tensor_of("", DTYPE_U8, shape_1(1), &byte)};
    path_of(path, state, "a");
    write_all(path, tensors, 3, NULL);
    struct safetensors file;
    open_all(&file, path);
    assert_non_null(safetensors_find(&file, longest));
    assert_non_null(safetensors_find(&file, "a \"b\" \\ /\t\xe2\x9c\x93"));
    assert_non_null(safetensors_find(&file, ""));
    assert_null(file.metadata);
    assert_null(safetensors_meta(&file, "one"));
    safetensors_close(&file);
    write_all(path, tensors, 0, NULL); // no tensors at all
    open_all(&file, path);
    assert_int_equal(file.count, 0);
    assert_null(safetensors_find(&file, ""));
    safetensors_close(&file);
}

// --- layout ------------------------------------------------------------------------------------------------

static const uint8_t u8[3] = {1, 2, 3};
static const int8_t i8[1] = {-1};
static const int16_t i16[3] = {256, -2, 3};
static const int32_t i32[1] = {-3};
static const float f32[2] = {1, -2};
static const double f64[1] = {0.5};

enum { LAID = 7 };

static void laid_make(struct safetensor t[LAID]) {
    t[0] = tensor_of("z", DTYPE_U8, shape_1(3), u8);
    t[1] = tensor_of("Z", DTYPE_I8, shape_1(1), i8);
    t[2] = tensor_of("h", DTYPE_I16, shape_2(1, 3), i16);
    t[3] = tensor_of("w", DTYPE_I32, (struct shape){0, {0}}, i32);
    t[4] = tensor_of("v", DTYPE_F32, shape_1(2), f32);
    t[5] = tensor_of("zz", DTYPE_F64, shape_3(1, 1, 1), f64);
    t[6] = tensor_of("b", DTYPE_F64, shape_1(1), f64);
}

static const char laid_header[] = "{\"__metadata__\":{\"k\":\"v\"},"
                                  "\"b\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                                  "\"zz\":{\"dtype\":\"F64\",\"shape\":[1,1,1],\"data_offsets\":[8,16]},"
                                  "\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]},"
                                  "\"w\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[24,28]},"
                                  "\"h\":{\"dtype\":\"I16\",\"shape\":[1,3],\"data_offsets\":[28,34]},"
                                  "\"Z\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[34,35]},"
                                  "\"z\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[35,38]}}";

static const uint8_t laid_data[] = {0,    0,    0,    0,    0, 0, 0xe0, 0x3f, // b
                                    0,    0,    0,    0,    0, 0, 0xe0, 0x3f, // zz
                                    0,    0,    0x80, 0x3f, 0, 0, 0,    0xc0, // v
                                    0xfd, 0xff, 0xff, 0xff,                   // w
                                    0,    1,    0xfe, 0xff, 3, 0,             // h
                                    0xff,                                     // Z
                                    1,    2,    3};                           // z

// 8 bytes of length, the header, spaces to a multiple of 8, the data by falling alignment, then name.
static void layout(void **state) {
    struct safetensor t[LAID];
    char path[PATH];
    struct err e;
    size_t size, text = strlen(laid_header), padded = (text + 7) / 8 * 8;
    assert_true(padded > text); // else the padding would not be tested
    laid_make(t);
    path_of(path, state, "a");
    write_all(path, t, LAID, "{\"k\": \"v\"}");
    assert_string_equal(t[0].name, "b"); // the list is in the file's order now
    unsigned char *bytes = file_read_new(&size, path, LIMIT, &e);
    assert_non_null(bytes);
    assert_int_equal(size, PREFIX + padded + sizeof laid_data);
    for (int i = 0; i < PREFIX; i++) assert_int_equal(bytes[i], padded >> (8 * i) & 255);
    assert_memory_equal(bytes + PREFIX, laid_header, text);
    for (size_t i = text; i < padded; i++) assert_int_equal(bytes[PREFIX + i], ' ');
    assert_memory_equal(bytes + PREFIX + padded, laid_data, sizeof laid_data);
    mem_free(bytes);
}

static void headers_of_every_length(void **state) {
    char path[PATH], name[20] = "";
    path_of(path, state, "a");
    for (int i = 0; i < 9; i++) {
        struct safetensor t = tensor_of(strcat(name, "n"), DTYPE_F64, shape_1(1), f64);
        struct err e;
        size_t size;
        write_all(path, &t, 1, NULL);
        unsigned char *bytes = file_read_new(&size, path, LIMIT, &e);
        assert_non_null(bytes);
        assert_int_equal(bytes[0] % 8, 0);
        assert_int_equal(size, PREFIX + bytes[0] + sizeof f64);
        mem_free(bytes);
        struct safetensors file;
        open_all(&file, path);
        safetensors_close(&file);
    }
}

static void equal_content_equal_bytes(void **state) {
    struct safetensor t[LAID], mixed[LAID];
    char path[2][PATH];
    unsigned char *bytes[2];
    size_t size[2];
    struct err e;
    laid_make(t);
    laid_make(mixed);
    for (int i = 0; i < LAID; i++) mixed[i] = t[(i * 3 + 2) % LAID];
    memset(mixed[0].name + strlen(mixed[0].name) + 1, '#', 30); // what lies behind a name is not content
    for (int i = 0; i < 2; i++) {
        path_of(path[i], state, i ? "b" : "a");
        write_all(path[i], i ? mixed : t, LAID, "{\"k\": \"v\"}");
        bytes[i] = file_read_new(&size[i], path[i], LIMIT, &e);
        assert_non_null(bytes[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    mem_free(bytes[0]);
    mem_free(bytes[1]);
}

static void cannot_write(void **state) {
    struct safetensor t = tensor_of("a", DTYPE_F64, shape_1(1), f64);
    char path[PATH];
    struct err e = {""};
    path_of(path, state, "nowhere/a");
    assert_int_equal(safetensors_write(path, &t, 1, NULL, &e), -1);
    assert_memory_equal(e.text, path, strlen(path));
    assert_non_null(strstr(e.text, ": No such file or directory"));
}

// --- bad files ---------------------------------------------------------------------------------------------

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define ENTRY(dtype, shape, offsets) \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define NAME_40 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

struct row {
    const char *header;
    int data; // bytes after the header
    const char *message;
};

// The messages without the path before them; "" is a good file.
static const struct row rows[] = {
    {"{" A "}", 8, ""},
    {"{}", 0, ""},
    {"{\"__metadata__\":{}}", 0, ""},
    {"{" A ",\"__metadata__\":{\"k\":\"v\"}}", 8, ""},
    {"{\n \"a\": {\"data_offsets\": [0, 1], \"shape\": [], \"dtype\": \"U8\"}}", 1, ""},
    {ENTRY("I16", "[1e0]", "[0,2.0]"), 2, ""},
    // the header
    {"", 0, "line 1, column 1: not valid JSON here"},
    {"{" A, 8, "line 1, column 56: not valid JSON here"},
    {"{" A "} x", 8, "line 1, column 56: text after the end of the JSON"},
    {"[1]", 0, "the header is a list"},
    {"7", 0, "the header is a number"},
    {"null", 0, "the header is null"},
    {" {" A "}", 8, "the header does not begin with '{'"},
    {"\xef\xbb\xbf{" A "}", 8, "the header does not begin with '{'"},
    {"{\"a\\u0000b\":1}", 0, "line 1, column 4: a zero byte in a string"},
    // names
    {"{" A "," A "}", 8, "a: given twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__: given twice"},
    {"{\"" NAME_40 NAME_40 NAME_40 NAME_40 "\":{}}", 0, "the name " NAME_40 "... is too long"},
    // metadata
    {"{\"__metadata__\":[]}", 0, "__metadata__: wanted an object"},
    {"{\"__metadata__\":\"text\"}", 0, "__metadata__: wanted an object"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__.k: wanted a string"},
    {"{\"__metadata__\":{\"k\":\"v\",\"n\":null}}", 0, "__metadata__.n: wanted a string"},
    {"{\"__metadata__\":{\"k\":\"v\",\"k\":\"w\"}}", 0, "__metadata__.k: given twice"},
    // entries
    {"{\"a\":[]}", 0, "a: wanted an object"},
    {"{\"a\":{}}", 0, "a.dtype: missing"},
    {"{\"a\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "a.dtype: missing"},
    {ENTRY("F33", "[2]", "[0,8]"), 8, "a: unknown dtype 'F33'; did you mean 'F32'?"},
    {ENTRY("f32", "[2]", "[0,8]"), 8, "a: unknown dtype 'f32'; did you mean 'I32'?"},
    {ENTRY("BOOLEAN", "[2]", "[0,2]"), 2, "a: unknown dtype 'BOOLEAN'; known: U8, I8, I16, I32, F32, F64"},
    {"{\"a\":{\"Dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "a.dtype: missing"},
    // shapes
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "a.shape: wanted a list of at most 4 numbers"},
    {ENTRY("F32", "2", "[0,8]"), 8, "a.shape: wanted a list of at most 4 numbers"},
    {ENTRY("F32", "[1,1,1,1,2]", "[0,8]"), 8, "a.shape: wanted a list of at most 4 numbers"},
    {ENTRY("F32", "[0]", "[0,4]"), 4, "a: 4 bytes at its offsets, its shape wants another number"},
    {ENTRY("F32", "[2,-1]", "[0,8]"), 8, "a.shape: -1 is not in 0 .. 1073741824"},
    {ENTRY("F32", "[1.5]", "[0,8]"), 8, "a.shape: wanted a whole number, found 1.5"},
    {ENTRY("F32", "[1e300]", "[0,8]"), 8, "a.shape: 1.0000000000000001e+300 is not in 0 .. 1073741824"},
    {ENTRY("F32", "[\"2\"]", "[0,8]"), 8, "a.shape: wanted a whole number, found a string"},
    {ENTRY("F32", "[[2]]", "[0,8]"), 8, "a.shape: wanted a whole number, found a list"},
    {ENTRY("F32", "[null]", "[0,8]"), 8, "a.shape: wanted a whole number, found null"},
    {ENTRY("F32", "[true]", "[0,8]"), 8, "a.shape: wanted a whole number, found true or false"},
    {ENTRY("U8", "[1073741824,1073741824,16]", "[0,0]"), 0, "a.shape: too large"}, // 2^64
    {ENTRY("U8", "[1073741824,1073741824,1073741824,1073741824]", "[0,8]"), 8, "a.shape: too large"},
    {ENTRY("F64", "[1073741824,1073741824,2]", "[0,0]"), 0, // 2^61 numbers fit, their bytes do not
     "a: 0 bytes at its offsets, its shape wants another number"},
    {ENTRY("F32", "[NaN]", "[0,8]"), 8, "line 1, column 30: not valid JSON here"},
    {ENTRY("F32", "[1e999]", "[0,8]"), 8, "a.shape.0: the number does not fit"},
    // offsets
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "a.data_offsets: wanted two numbers"},
    {ENTRY("F32", "[2]", "[8]"), 8, "a.data_offsets: wanted two numbers"},
    {ENTRY("F32", "[2]", "[0,8,8]"), 8, "a.data_offsets: wanted two numbers"},
    {ENTRY("F32", "[2]", "{\"0\":0,\"1\":8}"), 8, "a.data_offsets: wanted two numbers"},
    {ENTRY("F32", "[2]", "[0,\"8\"]"), 8, "a.data_offsets: wanted a whole number, found a string"},
    {ENTRY("F32", "[2]", "[-8,0]"), 8, "a.data_offsets: -8 is not in 0 .. 8"},
    {ENTRY("F32", "[2]", "[0.5,8]"), 8, "a.data_offsets: wanted a whole number, found 0.5"},
    {ENTRY("F32", "[2]", "[8,0]"), 8, "a.data_offsets: 0 is not in 8 .. 8"},
    {ENTRY("F32", "[2]", "[0,9]"), 8, "a.data_offsets: 9 is not in 0 .. 8"},
    {ENTRY("F32", "[2]", "[0,18446744073709551624]"), 8, // 2^64 + 8
     "a.data_offsets: 1.8446744073709552e+19 is not in 0 .. 8"},
    {ENTRY("F32", "[3]", "[0,8]"), 8, "a: 8 bytes at its offsets, its shape wants another number"},
    {ENTRY("F64", "[2]", "[0,8]"), 8, "a: 8 bytes at its offsets, its shape wants another number"},
    {ENTRY("F32", "[1]", "[2,6]"), 8, "a: its offset is not aligned"},
    // how the entries lie
    {ENTRY("F32", "[1]", "[4,8]"), 8, "a: starts at 4, wanted 0"},
    {"{" A "}", 12, "12 bytes of data, the header describes 8"},
    {"{" A "}", 9, "9 bytes of data, the header describes 8"},
    {"{}", 1, "1 bytes of data, the header describes 0"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}}", 10,
     "b: starts at 9, wanted 8"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[7,8]}}", 8, "b: starts at 7, wanted 8"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "b: starts at 0, wanted 8"},
    {"{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}," A "}", 12,
     "b: starts at 8, wanted 0"},
};

// Writes length, header padded with spaces, and data; returns the size.
static size_t row_write(unsigned char file[FILE_ROOM], const char *header, size_t data) {
    size_t text = strlen(header), padded = (text + 7) / 8 * 8;
    assert_true(PREFIX + padded + data <= FILE_ROOM);
    memset(file, 0, FILE_ROOM);
    memset(file + PREFIX, ' ', padded);
    memcpy(file + PREFIX, header, text);
    for (int i = 0; i < PREFIX; i++) file[i] = (unsigned char)(padded >> (8 * i));
    return PREFIX + padded + data;
}

// Opens these bytes; *message is what is said after the path, "" when nothing.
static void message_of(struct err *message, const char *path, const unsigned char *bytes, size_t size) {
    struct safetensors file;
    bytes_write(path, bytes, size);
    message->text[0] = 0;
    if (safetensors_open(&file, path, LIMIT, message) != 0) {
        size_t length = strlen(path);
        assert_memory_equal(message->text, path, length);
        assert_memory_equal(message->text + length, ": ", 2);
        memmove(message->text, message->text + length + 2, strlen(message->text + length + 2) + 1);
    }
    safetensors_close(&file);
}

static void every_row(void **state) {
    char path[PATH];
    int failed = 0;
    path_of(path, state, "bad");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char file[FILE_ROOM];
        struct err found;
        message_of(&found, path, file, row_write(file, rows[i].header, (size_t)rows[i].data));
        if (strcmp(found.text, rows[i].message) == 0) continue;
        print_error("row %zu: %s\n  found  %s\n  wanted %s\n", i, rows[i].header, found.text,
                    rows[i].message);
        failed++;
    }
    assert_int_equal(failed, 0);
    assert_true(sizeof rows / sizeof *rows >= 50);
}

static void bad_lengths(void **state) {
    static const uint64_t lengths[] = {
        72,        // beyond the file
        48 + 1,    // in the header; a length that leaves the data unaligned
        56 + 4,    // in the data
        100000001, // beyond the cap
        100000008, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63, (UINT64_C(1) << 32) + 56};
    unsigned char file[FILE_ROOM];
    char path[PATH];
    struct err found;
    path_of(path, state, "bad");
    size_t size = row_write(file, "{" A "}", 8);
    assert_int_equal(size, PREFIX + 56 + 8);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int j = 0; j < PREFIX; j++) file[j] = (unsigned char)(lengths[i] >> (8 * j));
        message_of(&found, path, file, size);
        assert_string_equal(found.text, "not a safetensors file, or cut off");
    }
    memset(file, 0, PREFIX);
    file[0] = 56 + 8; // the data is taken for the header
    message_of(&found, path, file, size);
    assert_string_equal(found.text, "line 1, column 57: a zero byte");
    file[0] = 48; // the header ends too early
    message_of(&found, path, file, size);
    assert_string_equal(found.text, "line 1, column 48: not valid JSON here");
}

// A good file with every section, cut after each of its bytes.
static void cut_anywhere(void **state) {
    struct safetensor t[LAID];
    char path[PATH];
    struct err e, found;
    size_t size;
    laid_make(t);
    path_of(path, state, "a");
    write_all(path, t, LAID, "{\"k\": \"v\"}");
    unsigned char *bytes = file_read_new(&size, path, LIMIT, &e);
    assert_non_null(bytes);
    size_t data = size - sizeof laid_data;
    for (size_t cut = 0; cut < size; cut++) {
        static const struct {
            const char *name;
            size_t end;
        } parts[] = {{"b", 8}, {"zz", 16}, {"v", 24}, {"w", 28}, {"h", 34}, {"Z", 35}, {"z", 38}};
        char wanted[100] = "not a safetensors file, or cut off";
        size_t left = cut - data, begin = 0;
        for (int i = 0; i < LAID && cut >= data; begin = parts[i++].end) {
            if (left >= parts[i].end) continue;
            bool starts = left >= begin; // the number that leaves the data is the begin or the end
            snprintf(wanted, sizeof wanted, "%s.data_offsets: %zu is not in %zu .. %zu", parts[i].name,
                     starts ? parts[i].end : begin, starts ? begin : 0, left);
            break;
        }
        message_of(&found, path, bytes, cut);
        assert_string_equal(found.text, wanted);
    }
    message_of(&found, path, bytes, size);
    assert_string_equal(found.text, "");
    mem_free(bytes);
}

static void limits(void **state) {
    unsigned char file[FILE_ROOM];
    char path[PATH], wanted[PATH + 100];
    struct err e;
    struct safetensors opened;
    path_of(path, state, "a");
    bytes_write(path, file, row_write(file, "{" A "}", 8));
    assert_int_equal(safetensors_open(&opened, path, 72, &e), 0);
    safetensors_close(&opened);
    assert_int_equal(safetensors_open(&opened, path, 71, &e), -1);
    safetensors_close(&opened);
    snprintf(wanted, sizeof wanted, "%s: 72 bytes, at most 71 are read", path);
    assert_string_equal(e.text, wanted);
    path_of(path, state, "nowhere");
    assert_int_equal(safetensors_open(&opened, path, LIMIT, &e), -1);
    safetensors_close(&opened);
    snprintf(wanted, sizeof wanted, "%s: No such file or directory", path);
    assert_string_equal(e.text, wanted);
    assert_int_equal(safetensors_open(&opened, *state, LIMIT, &e), -1);
    safetensors_close(&opened);
    snprintf(wanted, sizeof wanted, "%s: not a file", (char *)*state);
    assert_string_equal(e.text, wanted);
}

// --- broken at random --------------------------------------------------------------------------------------

// One edit: bytes turned, set, moved, cut out or put in.
static size_t mutate(unsigned char file[FILE_ROOM], size_t size, struct rng *r) {
    static const char likely[] = "0123456789\"[]{},:.-eE\\u \xff";
    size_t at = rng_below(r, (uint32_t)size), length = 1 + rng_below(r, 8);
    if (at + length > size) length = size - at;
    switch (rng_below(r, 6)) {
    case 0:
        file[at] ^= (unsigned char)(1u << rng_below(r, 8));
        break;
    case 1:
        file[at] = (unsigned char)rng_u32(r);
        break;
    case 2:
        file[at] = (unsigned char)likely[rng_below(r, sizeof likely - 1)];
        break;
    case 3: // another piece of the file over this one
        memmove(file + at, file + rng_below(r, (uint32_t)(size - length + 1)), length);
        break;
    case 4:
        memmove(file + at, file + at + length, size - at - length);
        return size - length;
    default:
        if (size + length > FILE_ROOM) break;
        memmove(file + at + length, file + at, size - at);
        return size + length;
    }
    return size;
}

// What was opened must keep the contract: everything inside the file, aligned, and it can be written again.
static void opened_check(const struct safetensors *file, size_t size, const char *path) {
    unsigned sum = 0;
    for (int i = 0; i < file->count; i++) {
        const struct safetensor *t = &file->tensors[i];
        const unsigned char *bytes = t->bytes;
        size_t length = safetensor_bytes(t);
        assert_true(bytes >= file->memory && bytes + length <= file->memory + size);
        assert_int_equal((uintptr_t)bytes % dtype_bytes(t->dtype), 0);
        for (size_t j = 0; j < length; j++) sum += bytes[j];
        assert_ptr_equal(safetensors_find(file, t->name), t);
    }
    (void)sum;
    for (int i = 0; i < json_count(file->metadata); i++)
        assert_non_null(safetensors_meta(file, json_key(json_item(file->metadata, i))));
    struct safetensor *copy = mem_new((size_t)file->count, sizeof *copy);
    memcpy(copy, file->tensors, (size_t)file->count * sizeof *copy);
    struct err e;
    assert_int_equal(safetensors_write(path, copy, file->count, file->metadata, &e), 0);
    mem_free(copy);
    struct safetensors again;
    open_all(&again, path);
    assert_int_equal(again.count, file->count);
    safetensors_close(&again);
}

static void random_mutations(void **state) {
    enum { ROUNDS = 4000 };
    struct safetensor t[LAID];
    static unsigned char good[FILE_ROOM], bad[FILE_ROOM];
    char path[PATH], other[PATH];
    struct err e;
    size_t size;
    int opened = 0, refused = 0;
    laid_make(t);
    path_of(path, state, "a");
    path_of(other, state, "b");
    write_all(path, t, LAID, "{\"k\": \"v\", \"another\": \"\\u00e9\"}");
    unsigned char *bytes = file_read_new(&size, path, FILE_ROOM, &e);
    assert_non_null(bytes);
    memcpy(good, bytes, size);
    mem_free(bytes);
    struct rng r = rng_stream(1, "mutations");
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(bad, good, FILE_ROOM);
        size_t bad_size = size;
        for (uint32_t edits = 1 + rng_below(&r, 3); edits > 0 && bad_size > 0; edits--)
            bad_size = mutate(bad, bad_size, &r);
        bytes_write(path, bad, bad_size);
        struct safetensors file;
        e.text[0] = 0;
        if (safetensors_open(&file, path, LIMIT, &e) == 0) {
            if (opened++ % 32 == 0) opened_check(&file, bad_size, other);
        } else {
            refused++;
            assert_true(strlen(e.text) > strlen(path) + 8);
        }
        safetensors_close(&file);
    }
    assert_true(opened > ROUNDS / 50 && refused > ROUNDS / 2); // both ways are taken
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes),
        IN_FOLDER(round_trip),
        IN_FOLDER(names_and_nothing),
        IN_FOLDER(layout),
        IN_FOLDER(headers_of_every_length),
        IN_FOLDER(equal_content_equal_bytes),
        IN_FOLDER(cannot_write),
        IN_FOLDER(every_row),
        IN_FOLDER(bad_lengths),
        IN_FOLDER(cut_anywhere),
        IN_FOLDER(limits),
        IN_FOLDER(random_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
