// MNIST and what it is read and shown with: IDX files (plain and gzip), PNG files, the script that gets the
// data. The files are made here; the real ones are read when the environment's TALLY_DATA names the folder
// they are in.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "datasets/dataset.h"
#include "datasets/io/idx.h"
#include "src/file.h"

enum { TEXT = 1200, LIMIT = 1 << 26 };

#define BYTES(text) (text), sizeof(text) - 1

// How the bytes of a test file lie on the disk.
enum form { PLAIN, PACKED, PACKED_CUT, PACKED_TAIL, PACKED_CHECKSUM };

static int folder_setup(void **state) {
    char *folder = mem_string_new("test_mnist_XXXXXX");
    *state = folder;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_teardown(void **state) {
    char command[TEXT];
    snprintf(command, sizeof command, "rm -r '%s'", (char *)*state);
    mem_free(*state);
    return system(command);
}

static void file_put(const char *path, enum form form, const void *bytes, size_t size) {
    struct err e = {""};
    if (form == PLAIN) {
        assert_int_equal(file_write_bytes(path, bytes, size, &e), 0);
        return;
    }
    size_t room = size + size / 1000 + 1000;
    uint8_t *packed = mem_new(room, 1);
    z_stream z = {
        .next_in = (Bytef *)bytes, .avail_in = (uInt)size, .next_out = packed, .avail_out = (uInt)room};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t packed_size = z.total_out;
    deflateEnd(&z);
    if (form == PACKED_CUT) packed_size /= 2;
    if (form == PACKED_TAIL) packed[packed_size++] = 'x';
    if (form == PACKED_CHECKSUM) packed[packed_size - 8] ^= 1;
    assert_int_equal(file_write_bytes(path, packed, packed_size, &e), 0);
    mem_free(packed);
}

static void skip_because(const char *reason) {
    print_message("skipped: %s\n", reason);
    skip();
}

// --- IDX ---------------------------------------------------------------------------------------------------

static void idx_reads_back(void **state) {
    char path[TEXT];
    snprintf(path, sizeof path, "%s/a", (char *)*state);
    // The second dimension takes the size over the places where the unpacked data's memory grows.
    for (uint32_t last = 1; last <= 200000; last = last * 2 + last % 5) {
        uint8_t high = (uint8_t)(last >> 16), middle = (uint8_t)(last >> 8), low = (uint8_t)last;
        uint8_t head[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, high, middle, low};
        size_t size = sizeof head + 2 * last;
        uint8_t *file = mem_new(size, 1);
        memcpy(file, head, sizeof head);
        for (uint32_t i = 0; i < 2 * last; i++) file[sizeof head + i] = (uint8_t)((i * 2654435761u) >> 24);
        for (int form = PLAIN; form <= PACKED; form++) {
            struct err e = {""};
            struct shape shape;
            file_put(path, form, file, size);
            uint8_t *read = idx_read_new(&shape, path, 2, form == PLAIN ? size : LIMIT, &e);
            assert_string_equal(e.text, "");
            assert_true(shape_equal(shape, shape_2(2, (int)last)));
            assert_memory_equal(read, file + sizeof head, 2 * last);
            mem_free(read);
        }
        mem_free(file);
    }
}

static const struct {
    const char *bytes;
    size_t size;
    enum form form;
    int rank;
    const char *message; // after the path
} bad_idx[] = {
    {BYTES(""), PLAIN, 1, ": 0 bytes, too short for an IDX file"},
    {BYTES(""), PACKED, 1, ": 0 bytes, too short for an IDX file"},
    {BYTES("\0\0\x08"), PLAIN, 1, ": 3 bytes, too short for an IDX file"},
    {BYTES("\0\0\x08\1\0\0"), PLAIN, 1, ": the header is cut after 6 bytes, wanted 8"},
    {BYTES("\0\0\x08\1\0\0"), PACKED, 1, ": the header is cut after 6 bytes, wanted 8"},
    {BYTES("PK\3\4\0\0\0\1\1"), PLAIN, 1, ": starts with 50 4b, wanted 00 00 (an IDX file)"},
    {BYTES("PK\3\4\0\0\0\1\1"), PACKED, 1, ": starts with 50 4b, wanted 00 00 (an IDX file)"},
    {BYTES("\0\0\x0d\1\0\0\0\1\1\1\1\1"), PLAIN, 1, ": element type 0d, wanted 08 (unsigned bytes)"},
    {BYTES("\0\0\x08\1\0\0\0\1\1"), PLAIN, 3, ": number of dimensions 1, wanted 3"},
    {BYTES("\0\0\x08\xff\0\0\0\1\1"), PLAIN, 3, ": number of dimensions 255, wanted 3"},
    {BYTES("\0\0\x08\1\0\0\0\0"), PLAIN, 1, ": dimension 0 is 0, wanted 1 to 16777216"},
    {BYTES("\0\0\x08\2\0\0\0\1\0\0\0\0"), PACKED, 2, ": dimension 1 is 0, wanted 1 to 16777216"},
    // Cut data and counts that lie.
    {BYTES("\0\0\x08\1\0\0\0\3\1\2"), PLAIN, 1, ": 10 bytes, wanted 11 for (3)"},
    {BYTES("\0\0\x08\1\0\0\0\3\1\2"), PACKED, 1, ": unpacks to 10 bytes, wanted 11"},
    {BYTES("\0\0\x08\1\0\0\0\1\1\2"), PLAIN, 1, ": 10 bytes, wanted 9 for (1)"},
    {BYTES("\0\0\x08\1\0\0\0\1\1\2"), PACKED, 1, ": unpacks to more than the 9 bytes wanted"},
    {BYTES("\0\0\x08\1\1\0\0\0\1\2"), PLAIN, 1, ": 10 bytes, wanted 16777224 for (16777216)"},
    {BYTES("\0\0\x08\1\1\0\0\0\1\2"), PACKED, 1, ": unpacks to 10 bytes, wanted 16777224"},
    {BYTES("\0\0\x08\1\xff\xff\xff\xff\1"), PLAIN, 1, ": dimension 0 is 4294967295, wanted 1 to 16777216"},
    {BYTES("\0\0\x08\1\xff\xff\xff\xff\1"), PACKED, 1, ": dimension 0 is 4294967295, wanted 1 to 16777216"},
    {BYTES("\0\0\x08\2\1\0\0\0\0\0\0\4\1"), PLAIN, 2,
     ": (16777216, 4) elements are more than the 67108864 bytes allowed"},
    {BYTES("\0\0\x08\4\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1"), PACKED, 4,
     ": (16777216, 16777216, 16777216, 16777216) elements are more than the 67108864 bytes allowed"},
    // Damaged gzip data.
    {BYTES("\x1f\x8b"), PLAIN, 1, ": the gzip data ends too early"},
    {BYTES("\x1f\x8bxxxxxxxx"), PLAIN, 1, ": damaged gzip data: unknown compression method"},
    {BYTES("\0\0\x08\1\0\0\0\2\1\2"), PACKED_CUT, 1, ": the gzip data ends too early"},
    {BYTES("\0\0\x08\1\0\0\0\2\1\2"), PACKED_CHECKSUM, 1, ": damaged gzip data: incorrect data check"},
    {BYTES("\0\0\x08\1\0\0\0\2\1\2"), PACKED_TAIL, 1, ": 1 bytes after the end of the gzip data"},
};

static void idx_expect_error(const char *folder, enum form form, const void *bytes, size_t size, int rank,
                             size_t limit, const char *message) {
    char path[TEXT], wanted[2 * TEXT];
    struct err e = {""};
    struct shape shape;
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(wanted, sizeof wanted, "%s%s", path, message);
    file_put(path, form, bytes, size);
    assert_null(idx_read_new(&shape, path, rank, limit, &e));
    assert_string_equal(e.text, wanted);
}

static void idx_refuses(void **state) {
    for (size_t i = 0; i < sizeof bad_idx / sizeof *bad_idx; i++)
        idx_expect_error(*state, bad_idx[i].form, bad_idx[i].bytes, bad_idx[i].size, bad_idx[i].rank, LIMIT,
                         bad_idx[i].message);
    idx_expect_error(*state, PLAIN, BYTES("\0\0\x08\1\0\0\0\2\1\2"), 1, 9, ": 10 bytes, at most 9 are read");
}

// 32 MB of zeros in 32 KB. The wrong checksum at their end shows that the reader stops before.
static void idx_stops_a_bomb(void **state) {
    enum { BOMB = 1 << 25 };
    uint8_t *bomb = mem_new(BOMB, 1);
    memcpy(bomb, "\0\0\x08\1\0\0\0\4", 8);
    idx_expect_error(*state, PACKED_CHECKSUM, bomb, BOMB, 1, LIMIT,
                     ": unpacks to more than the 12 bytes wanted");
    mem_free(bomb);
}

// --- the data set ------------------------------------------------------------------------------------------

#define TRAIN_IMAGES "\0\0\x08\3\0\0\0\3\0\0\0\2\0\0\0\1abcdef"
#define TRAIN_LABELS "\0\0\x08\1\0\0\0\3\7\0\x09"
#define TEST_IMAGES "\0\0\x08\3\0\0\0\1\0\0\0\2\0\0\0\1gh"
#define TEST_LABELS "\0\0\x08\1\0\0\0\1\5"

static const struct {
    const char *name, *bytes;
    size_t size;
} good_set[] = {{"train-images-idx3-ubyte", BYTES(TRAIN_IMAGES)},
                {"train-labels-idx1-ubyte", BYTES(TRAIN_LABELS)},
                {"t10k-images-idx3-ubyte", BYTES(TEST_IMAGES)},
                {"t10k-labels-idx1-ubyte", BYTES(TEST_LABELS)}};

// Three training images and one test image of 2x1 pixels, as FOLDER/name.
static void set_put(const char *folder, enum form form) {
    for (int i = 0; i < 4; i++) {
        char path[2 * TEXT];
        snprintf(path, sizeof path, "%s/%s%s", folder, good_set[i].name, form == PLAIN ? "" : ".gz");
        file_put(path, form, good_set[i].bytes, good_set[i].size);
    }
}

static int set_open(struct dataset *d, const char *config, struct data_source *source, struct err *e) {
    struct json *node = json_parse_new(config, strlen(config), e);
    assert_non_null(node);
    int result = dataset_open(d, node, "data", source, e);
    json_free(node);
    return result;
}

static void set_check(const char *config, struct data_source source, int train_count) {
    struct dataset d;
    struct err e = {""};
    assert_int_equal(set_open(&d, config, &source, &e), 0);
    assert_true(shape_equal(d.sample, shape_3(1, 2, 1)));
    assert_int_equal(d.classes, 10);
    assert_int_equal(d.train.count, train_count);
    assert_int_equal(d.test.count, 1);
    assert_memory_equal(d.train.pixels, "abcdef", 2 * (size_t)train_count);
    assert_memory_equal(d.train.labels, "\7\0\x09", (size_t)train_count);
    assert_memory_equal(d.test.pixels, "gh", 2);
    assert_memory_equal(d.test.labels, "\5", 1);
    dataset_close(&d);
}

static void mnist_reads(void **state) {
    const char *folder = *state;
    char below[TEXT];
    struct err e;
    struct data_source source = {.folder = {"no such folder", NULL, folder}, .threads = 1};
    set_put(folder, PACKED);
    set_check("\"mnist\"", source, 3);
    set_check("{\"mnist\": {\"limit\": 2}}", source, 2);
    set_check("{\"mnist\": {\"limit\": 100}}", source, 3);
    snprintf(below, sizeof below, "%s/train-images-idx3-ubyte.gz", folder);
    file_put(below, PLAIN, BYTES("the plain file comes first"));
    set_put(folder, PLAIN);
    set_check("\"mnist\"", source, 3);
    snprintf(below, sizeof below, "%s/train-images-idx3-ubyte", folder);
    file_put(below, PLAIN, BYTES("the folder mnist comes first"));
    snprintf(below, sizeof below, "%s/mnist", folder);
    assert_int_equal(file_make_folder(below, &e), 0);
    set_put(below, PACKED);
    set_check("\"mnist\"", source, 3);
}

static void mnist_refuses_config(void **state) {
    struct data_source source = {.folder = {*state}, .threads = 1};
    struct dataset d;
    struct err e;
    set_put(*state, PLAIN);
    assert_int_equal(set_open(&d, "{\"mnist\": {\"limt\": 2}}", &source, &e), -1);
    assert_int_equal(set_open(&d, "{\"mnist\": {\"limit\": -1}}", &source, &e), -1);
    assert_non_null(strstr(e.text, "data.mnist.limit"));
    assert_false(source.missing);
}

static void mnist_missing(void **state) {
    char wanted[2 * TEXT];
    struct dataset d;
    struct err e;
    struct data_source source = {.folder = {"nowhere", NULL, *state}, .threads = 1};
    assert_int_equal(set_open(&d, "\"mnist\"", &source, &e), -1);
    snprintf(wanted, sizeof wanted,
             "mnist: train-images-idx3-ubyte not found in nowhere, %s (get it: datasets/get mnist)",
             (char *)*state);
    assert_string_equal(e.text, wanted);
    assert_true(source.missing);
    source = (struct data_source){.threads = 1};
    assert_int_equal(set_open(&d, "\"mnist\"", &source, &e), -1);
    assert_non_null(strstr(e.text, "not found in any folder: none is given (get it: datasets/get mnist)"));
    assert_true(source.missing);
}

static const struct {
    const char *name, *bytes; // takes the place of the good file; NULL: is not there
    size_t size;
    const char *before, *after; // the message, around the folder
} bad_sets[] = {
    {"train-labels-idx1-ubyte", BYTES("\0\0\x08\1\0\0\0\3\7\x0a\x09"), "",
     "/train-labels-idx1-ubyte: label 1 is 10, wanted 0 to 9"},
    {"t10k-labels-idx1-ubyte", BYTES("\0\0\x08\1\0\0\0\1\xff"), "",
     "/t10k-labels-idx1-ubyte: label 0 is 255, wanted 0 to 9"},
    {"train-labels-idx1-ubyte", BYTES("\0\0\x08\1\0\0\0\2\7\0"), "",
     "/train-labels-idx1-ubyte: 2 labels, wanted 3, one for each image"},
    {"t10k-labels-idx1-ubyte", BYTES("\0\0\x08\1\0\0\0\2\7\0"), "",
     "/t10k-labels-idx1-ubyte: 2 labels, wanted 1, one for each image"},
    {"t10k-images-idx3-ubyte", BYTES("\0\0\x08\3\0\0\0\1\0\0\0\1\0\0\0\2gh"), "",
     ": training images are 2x1, test images 1x2, wanted the same"},
    {"train-images-idx3-ubyte", BYTES(TRAIN_LABELS), "",
     "/train-images-idx3-ubyte: number of dimensions 1, wanted 3"},
    {"t10k-images-idx3-ubyte", BYTES(""), "", "/t10k-images-idx3-ubyte: 0 bytes, too short for an IDX file"},
    {"t10k-labels-idx1-ubyte", NULL, 0, "mnist: t10k-labels-idx1-ubyte not found in ",
     ", though other files of the set are (get it: datasets/get mnist)"},
    {"train-images-idx3-ubyte", NULL, 0, "mnist: train-images-idx3-ubyte not found in ",
     ", though other files of the set are (get it: datasets/get mnist)"},
};

static void mnist_refuses_files(void **state) {
    for (size_t i = 0; i < sizeof bad_sets / sizeof *bad_sets; i++) {
        char path[TEXT], wanted[2 * TEXT];
        struct dataset d;
        struct err e = {""};
        struct data_source source = {.folder = {*state}, .threads = 1};
        set_put(*state, PLAIN);
        snprintf(path, sizeof path, "%s/%s", (char *)*state, bad_sets[i].name);
        if (bad_sets[i].bytes)
            file_put(path, PLAIN, bad_sets[i].bytes, bad_sets[i].size);
        else
            assert_int_equal(unlink(path), 0);
        snprintf(wanted, sizeof wanted, "%s%s%s", bad_sets[i].before, (char *)*state, bad_sets[i].after);
        assert_int_equal(set_open(&d, "\"mnist\"", &source, &e), -1);
        assert_string_equal(e.text, wanted);
        assert_false(source.missing);
        dataset_close(&d);
    }
}

// Counts of each label: a published property of the set. CRC-32: Python's gzip.open(file).read() without the
// header, through zlib.crc32.
static void mnist_real(void **state) {
    (void)state;
    static const int train_labels[10] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
    struct data_source source = {.folder = {getenv("TALLY_DATA")}, .threads = 1};
    struct dataset d;
    struct err e = {""};
    int result = set_open(&d, "\"mnist\"", &source, &e), count[10] = {0};
    if (source.missing) skip_because("no data (TALLY_DATA)");
    assert_string_equal(e.text, "");
    assert_int_equal(result, 0);
    assert_true(shape_equal(d.sample, shape_3(1, 28, 28)));
    assert_int_equal(d.train.count, 60000);
    assert_int_equal(d.test.count, 10000);
    assert_int_equal(crc32(0, d.train.pixels, 60000 * 784), 0xf3639b56);
    assert_int_equal(crc32(0, d.test.pixels, 10000 * 784), 0xe4ca5f57);
    assert_int_equal(crc32(0, d.train.labels, 60000), 0xba07e8ef);
    assert_int_equal(crc32(0, d.test.labels, 10000), 0xee8604d9);
    assert_memory_equal(d.train.labels, "\5\0\4\1\x09", 5);
    for (int i = 0; i < d.train.count; i++) count[d.train.labels[i]]++;
    assert_memory_equal(count, train_labels, sizeof count);
    dataset_close(&d);
}

// --- datasets/get ------------------------------------------------------------------------------------------

static int entries_count(const char *folder) {
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    int count = -2; // "." and ".."
    while (readdir(entries)) count++;
    closedir(entries);
    return count;
}

static void curl_or_skip(void) {
    if (system("command -v curl >/dev/null") != 0) skip_because("no curl");
}

// Runs `datasets/get ARGUMENTS`, in which $folder is the test's folder; its exit status, its lines in output.
static int get_run(char output[TEXT], const char *folder, const char *arguments) {
    char command[3 * TEXT];
    snprintf(command, sizeof command, "folder='%s'; '%s/datasets/get' %s 2>&1", folder, TEST_SOURCE_DIR,
             arguments);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    output[fread(output, 1, TEXT - 1, f)] = 0;
    int status = pclose(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void get_refuses(void **state) {
    char output[TEXT], into[TEXT];
    curl_or_skip();
    set_put(*state, PACKED);
    snprintf(into, sizeof into, "%s/data/mnist", (char *)*state);
    assert_int_equal(get_run(output, *state, "--mirror \"file://$PWD/$folder\" mnist $folder/data"), 1);
    assert_non_null(strstr(output, "/train-images-idx3-ubyte.gz: damaged, or its SHA-256 is not ba891046"));
    assert_int_equal(entries_count(into), 0);
    assert_int_equal(get_run(output, *state, "--mirror \"file://$PWD/none\" mnist $folder/data"), 1);
    assert_non_null(strstr(output, "no mirror has the right train-images-idx3-ubyte.gz"));
    assert_int_equal(entries_count(into), 0);
    assert_int_equal(get_run(output, *state, "imagenet"), 2);
    assert_string_equal(output,
                        "datasets/get: unknown data set imagenet; known: mnist, cifar10, tinyshakespeare\n");
    assert_int_equal(get_run(output, *state, "--help"), 0);
    // The other sets: nothing wrong takes the place of their files.
    struct err e;
    char path[TEXT];
    snprintf(path, sizeof path, "%s/input.txt", (char *)*state);
    assert_int_equal(file_write_text(path, "To be", &e), 0);
    snprintf(path, sizeof path, "%s/cifar-10-binary.tar.gz", (char *)*state);
    assert_int_equal(file_write_text(path, "no archive", &e), 0);
    assert_int_equal(get_run(output, *state, "--mirror \"file://$PWD/$folder\" tinyshakespeare $folder/data"),
                     1);
    assert_non_null(strstr(output, "/input.txt: damaged, or its SHA-256 is not 86c4e6aa"));
    assert_int_equal(get_run(output, *state, "--mirror \"file://$PWD/$folder\" cifar10 $folder/data"), 1);
    assert_non_null(strstr(output, "/cifar-10-binary.tar.gz: damaged, or another file"));
    static const char *const folders[] = {"tinyshakespeare", "cifar-10-batches-bin"};
    for (int i = 0; i < 2; i++) {
        snprintf(into, sizeof into, "%s/data/%s", (char *)*state, folders[i]);
        assert_int_equal(entries_count(into), 0);
    }
}

static void get_real(void **state) {
    char output[TEXT], path[TEXT];
    const char *data = getenv("TALLY_DATA");
    curl_or_skip();
    snprintf(path, sizeof path, "%s/mnist/train-images-idx3-ubyte.gz", data ? data : "");
    if (!data || !file_exists(path)) skip_because("no data (TALLY_DATA)");
    assert_int_equal(
        get_run(output, *state, "mnist $folder --mirror \"file://$(cd \"$TALLY_DATA\" && pwd)/mnist\""), 0);
    // The second time nothing is fetched.
    assert_int_equal(get_run(output, *state, "mnist $folder --mirror file:///none"), 0);
    snprintf(path, sizeof path, "%s/mnist", (char *)*state);
    assert_int_equal(entries_count(path), 4);
    snprintf(path, sizeof path, "%s/tinyshakespeare/input.txt", data);
    if (!file_exists(path)) skip_because("no Shakespeare");
    for (int i = 0; i < 2; i++)
        assert_int_equal(get_run(output, *state,
                                 i ? "tinyshakespeare $folder --mirror file:///none"
                                   : "tinyshakespeare $folder --mirror \"file://$(cd \"$TALLY_DATA\" && "
                                     "pwd)/tinyshakespeare\""),
                         0);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(idx_reads_back),       IN_FOLDER(idx_refuses),
        IN_FOLDER(idx_stops_a_bomb),     IN_FOLDER(mnist_reads),
        IN_FOLDER(mnist_missing),        IN_FOLDER(mnist_refuses_files),
        IN_FOLDER(mnist_refuses_config), IN_FOLDER(mnist_real),
        IN_FOLDER(get_refuses),          IN_FOLDER(get_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
