// CIFAR-10's files, images in folders and images of another size: what is read, in which order, and every file that is
// refused.
#include <sys/stat.h>
#include <unistd.h>

#include "datasets/batches.h"
#include "datasets/image.h"
#include "datasets/io/png.h"
#include "src/file.h"
#include "tests/check.h"

enum { PATH = 300, RECORD = 3073, PIXELS = 3072 };

static int set_open(struct dataset *d, const char *options, const char *folder, int threads, bool *missing,
                    struct err *e) {
    struct json *node = json_of(options);
    struct data_source source = {.folder = {NULL, folder, NULL}, .threads = threads};
    int result = dataset_open(d, node, "data.set", &source, e);
    if (missing) *missing = source.missing;
    json_free(node);
    return result;
}

static void must(int result, const struct err *e) {
    if (result != 0) fail_msg("%s", e->text);
}

// FOLDER in `wanted` stands for the folder.
static void message_check(const char *found, const char *wanted, const char *folder) {
    char text[2 * PATH];
    const char *at = strstr(wanted, "FOLDER");
    if (at)
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - wanted), wanted, folder, at + 6);
    else
        snprintf(text, sizeof text, "%s", wanted);
    assert_string_equal(found, text);
}

static void bytes_write(const char *folder, const char *name, const void *bytes, size_t size) {
    char path[PATH];
    struct err e = {""};
    snprintf(path, PATH, "%.200s/%.90s", folder, name);
    must(file_write_bytes(path, bytes, size, &e), &e);
}

// --- CIFAR-10 --------------------------------------------------------------------------------------------------

// `count` records: record i of file k has the label (i + k) % 10 and pixels that follow from both.
static void records_write(const char *folder, int k, int count) {
    char name[40] = "test_batch.bin";
    uint8_t *records = mem_new((size_t)count + 1, RECORD);
    for (int i = 0; i < count; i++) {
        uint8_t *r = records + i * RECORD;
        r[0] = (uint8_t)((i + k) % 10);
        for (int j = 0; j < PIXELS; j++) r[1 + j] = (uint8_t)(j * 7 + i * 31 + k * 101 + j / 256);
    }
    if (k < 6) snprintf(name, sizeof name, "data_batch_%d.bin", k);
    bytes_write(folder, name, records, (size_t)count * RECORD);
    mem_free(records);
}

static void cifar10_reads(void **state) {
    char inner[PATH];
    struct dataset d;
    struct err e = {""};
    for (int nested = 0; nested < 2; nested++) {
        snprintf(inner, PATH, "%s%s", (char *)*state, nested ? "/cifar-10-batches-bin" : "");
        must(file_make_folder(inner, &e), &e);
        for (int k = 1; k <= 6; k++) records_write(inner, k, k + nested); // files of 1, 2 ... records
        must(set_open(&d, "{\"cifar10\": {}}", *state, 1, NULL, &e), &e);
        assert_true(shape_equal(d.sample, shape_3(3, 32, 32)) && d.classes == 10 && d.kind == DATA_IMAGES);
        assert_int_equal(d.train.count, 15 + 5 * nested);
        assert_int_equal(d.test.count, 6 + nested);
        int sample = 0;
        for (int k = 1; k <= 6; k++)
            for (int i = 0; i < k + nested; i++) {
                const struct split *s = k < 6 ? &d.train : &d.test;
                size_t at = (size_t)(k < 6 ? sample++ : i);
                assert_int_equal(s->labels[at], (i + k) % 10);
                for (int j = 0; j < PIXELS; j++)
                    assert_int_equal(dataset_pixels(&d, s, at)[j],
                                     (uint8_t)(j * 7 + i * 31 + k * 101 + j / 256));
            }
        dataset_close(&d);
    }
    must(set_open(&d, "{\"cifar10\": {\"limit\": 3}}", *state, 1, NULL, &e), &e);
    assert_int_equal(d.train.count, 3);
    dataset_close(&d);
}

static void cifar10_refuses(void **state) {
    struct dataset d;
    struct err e = {""};
    bool missing;
    assert_int_equal(set_open(&d, "{\"cifar10\": {}}", *state, 1, &missing, &e), -1);
    message_check(e.text, "cifar10: data_batch_1.bin not found in FOLDER (get it: datasets/get cifar10)",
                  *state);
    assert_true(missing);
    static uint8_t records[2 * RECORD];
    static const struct {
        const char *name; // file to break
        size_t size;      // -1: remove it
        int label;        // of the second record
        const char *message;
    } rows[] = {
        {"data_batch_3.bin", 0, 0, "FOLDER/data_batch_3.bin: 0 bytes, wanted whole records of 3073"},
        {"data_batch_1.bin", 3072, 0, "FOLDER/data_batch_1.bin: 3072 bytes, wanted whole records of 3073"},
        {"test_batch.bin", 6145, 0, "FOLDER/test_batch.bin: 6145 bytes, wanted whole records of 3073"},
        {"data_batch_5.bin", 6146, 10, "FOLDER/data_batch_5.bin: label 1 is 10, wanted 0 to 9"},
        {"test_batch.bin", 6146, 255, "FOLDER/test_batch.bin: label 1 is 255, wanted 0 to 9"},
        {"data_batch_2.bin", (size_t)-1, 0,
         "cifar10: data_batch_2.bin not found in FOLDER, though other files of the set are (get it: "
         "datasets/get "
         "cifar10)"},
        {"test_batch.bin", (size_t)-1, 0,
         "cifar10: test_batch.bin not found in FOLDER, though other files of the set are (get it: "
         "datasets/get "
         "cifar10)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[PATH];
        for (int k = 1; k <= 6; k++) records_write(*state, k, 2);
        records[RECORD] = (uint8_t)rows[i].label;
        snprintf(path, PATH, "%s/%s", (char *)*state, rows[i].name);
        if (rows[i].size == (size_t)-1)
            unlink(path);
        else
            bytes_write(*state, rows[i].name, records, rows[i].size);
        assert_int_equal(set_open(&d, "{\"cifar10\": {}}", *state, 1, &missing, &e), -1);
        message_check(e.text, rows[i].message, *state);
        assert_false(missing); // broken is not missing: no fallback
        dataset_close(&d);
    }
}

// --- images in folders -----------------------------------------------------------------------------------------

// A PNG of one level in FOLDER/NAME, whose folder is made.
static void png_make(const char *folder, const char *name, int width, int height, int channels, int level) {
    char path[PATH], *slash;
    struct err e = {""};
    uint8_t *pixels = mem_new((size_t)(width * height), (size_t)channels);
    memset(pixels, level, (size_t)(width * height * channels));
    snprintf(path, PATH, "%.200s/%.90s", folder, name);
    slash = strrchr(path, '/');
    *slash = 0;
    must(file_make_folder(path, &e), &e);
    *slash = '/';
    must(png_write(path, width, height, channels, pixels, &e), &e);
    mem_free(pixels);
}

// The level of each sample and its label, as text: "5:0 7:1".
static void split_text(char text[PATH], const struct dataset *d, const struct split *s) {
    *text = 0;
    for (int i = 0; i < s->count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, PATH - used, "%s%d:%d", i ? " " : "", dataset_pixels(d, s, (size_t)i)[0],
                 s->labels[i]);
    }
}

static void folders_read(void **state) {
    // Made in an order that is neither that of names nor of classes.
    static const char *const names[] = {"train/cat/2.png", "train/dog/1.png", "train/ape/9.PNG",
                                        "train/dog/2.png", "train/cat/1.png", "test/dog/b.png",
                                        "test/cat/a.png"};
    char text[PATH];
    struct dataset d;
    struct err e = {""};
    for (int i = 0; i < 7; i++) png_make(*state, names[i], 3, 2, 1, 10 + i);
    bytes_write(*state, "train/cat/notes.txt", "no image", 8);
    bytes_write(*state, "train/cat/.hidden.png", "no image", 8);
    bytes_write(*state, "train/readme", "no class", 8);
    must(set_open(&d, "{\"png_folder\": {\"folder\": \".\"}}", *state, 1, NULL, &e), &e);
    assert_true(shape_equal(d.sample, shape_3(1, 2, 3)) && d.classes == 3);
    split_text(text, &d, &d.train);
    assert_string_equal(text, "14:1 11:2 10:1 13:2 12:0"); // by file name, then class
    split_text(text, &d, &d.test);
    assert_string_equal(text, "16:1 15:2");
    dataset_close(&d);
}

// Without a test folder a share is held out; which one depends on the seed alone.
static void share_for_the_test(void **state) {
    char text[4][2][PATH];
    struct err e = {""};
    for (int i = 0; i < 20; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s/%02d.png", i % 2 ? "odd" : "even", i);
        png_make(*state, name, 2, 2, 1, i);
    }
    static const char *const options[] = {"{\"png_folder\": {\"folder\": \".\"}}",
                                          "{\"png_folder\": {\"folder\": \".\", \"channels\": \"rgb\"}}",
                                          "{\"png_folder\": {\"folder\": \".\", \"seed\": 1}}",
                                          "{\"png_folder\": {\"folder\": \".\", \"test\": 0.5}}"};
    for (int k = 0; k < 4; k++) {
        struct dataset d;
        must(set_open(&d, options[k], *state, 1 + k, NULL, &e), &e);
        assert_int_equal(d.test.count, k == 3 ? 10 : 4);
        assert_int_equal(d.train.count + d.test.count, 20);
        assert_int_equal(d.sample.dim[0], k == 1 ? 3 : 1);
        int seen = 0;
        for (int part = 0; part < 2; part++) {
            const struct split *s = part ? &d.test : &d.train;
            for (int i = 0; i < s->count; i++) {
                int level = dataset_pixels(&d, s, (size_t)i)[0];
                assert_int_equal(s->labels[i], level % 2);
                assert_true(i == 0 || level > dataset_pixels(&d, s, (size_t)i - 1)[0]);
                seen |= 1 << level;
            }
            split_text(text[k][part], &d, s);
        }
        assert_int_equal(seen, (1 << 20) - 1);
        dataset_close(&d);
    }
    assert_string_equal(text[0][1], text[1][1]);
    assert_string_not_equal(text[0][1], text[2][1]);
}

static void colours_and_sizes(void **state) {
    struct dataset d;
    struct err e = {""};
    png_make(*state, "a/1.png", 4, 4, 3, 100);
    png_make(*state, "b/2.png", 8, 2, 1, 60);
    png_make(*state, "b/3.png", 4, 4, 1, 60);
    must(set_open(&d, "{\"png_folder\": {\"folder\": \".\", \"resize\": [3, 5], \"test\": 0.4}}", *state, 1,
                  NULL, &e),
         &e);
    assert_true(shape_equal(d.sample, shape_3(3, 3, 5))); // as the first file, which has colours
    for (int part = 0; part < 2; part++) {
        const struct split *s = part ? &d.test : &d.train;
        for (int i = 0; i < s->count; i++)
            for (int j = 0; j < 45; j++)
                assert_int_equal(dataset_pixels(&d, s, (size_t)i)[j], s->labels[i] ? 60 : 100);
    }
    dataset_close(&d);
}

static void folders_refused(void **state) {
    static const char cut[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\2\x08";
    enum { NONE, TEXT, CUT, SIZE, EMPTY, UNREADABLE };
    static const struct {
        const char *name; // what is made beside a/1.png and b/1.png, NULL: nothing
        int what;
        const char *options, *message;
    } rows[] = {
        {"b/x.png", TEXT, "", "FOLDER/b/x.png: not a PNG file"},
        {"a/0.png", TEXT, "", "FOLDER/a/0.png: not a PNG file"},
        {"a/0.png", CUT, "", "FOLDER/a/0.png: a broken PNG: it ends too early"},
        {"b/2.png", CUT, "", "FOLDER/b/2.png: a broken PNG: it ends too early"},
        {"b/2.png", SIZE, "", "FOLDER/b/2.png: 3x2 pixels, wanted 2x2 as the first has; or give \"resize\""},
        {"c/", EMPTY, "", "FOLDER/c: no .png files"},
        {"c/1.txt", TEXT, "", "FOLDER/c: no .png files"},
        {"test/a/1.png", SIZE, "", "FOLDER: a folder 'test' but no folder 'train'"},
        {"train/a/1.png", SIZE, "", "FOLDER/train: only one class, 'a', wanted two or more"},
        {"train/", EMPTY, "", "FOLDER/train: no folders, wanted one for each class"},
        {NULL, NONE, ", \"resize\": 3", "png_folder.resize: wanted [height, width], found a number"},
        {NULL, NONE, ", \"resize\": [3, 0]", "png_folder.resize: 0 is not in 1 .. 4096"},
        {NULL, NONE, ", \"channels\": \"four\"",
         "data.set.png_folder.channels: unknown value 'four'; known: file, grey, rgb"},
        {NULL, NONE, ", \"test\": 0.01", "FOLDER: 2 images can't be cut into training and test"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char folder[PATH], path[2 * PATH], options[PATH];
        struct dataset d;
        struct err e = {""};
        bool missing;
        snprintf(folder, PATH, "%.200s/%zu", (char *)*state, i);
        png_make(folder, "a/1.png", 2, 2, 1, 5);
        png_make(folder, "b/1.png", 2, 2, 1, 5);
        if (rows[i].name) {
            snprintf(path, sizeof path, "%.200s/%.90s", folder, rows[i].name);
            *strrchr(path, '/') = 0;
            must(file_make_folder(path, &e), &e);
        }
        if (rows[i].what == TEXT) bytes_write(folder, rows[i].name, "just words, and enough of them", 30);
        if (rows[i].what == CUT) bytes_write(folder, rows[i].name, cut, 25);
        if (rows[i].what == SIZE) png_make(folder, rows[i].name, 3, 2, 1, 5);
        snprintf(options, PATH, "{\"png_folder\": {\"folder\": \"%zu\"%s}}", i, rows[i].options);
        assert_int_equal(set_open(&d, options, *state, 2, &missing, &e), -1);
        message_check(e.text, rows[i].message, folder);
        assert_false(missing);
        dataset_close(&d);
    }
}

static void test_classes_refused(void **state) {
    struct dataset d;
    struct err e = {""};
    bool missing;
    assert_int_equal(set_open(&d, "{\"png_folder\": {}}", *state, 1, &missing, &e), -1);
    message_check(e.text, "png_folder: images not found in FOLDER", *state);
    assert_true(missing);
    static const char *const names[] = {"train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"};
    for (int i = 0; i < 4; i++) png_make(*state, names[i], 2, 2, 1, 5);
    assert_int_equal(set_open(&d, "{\"png_folder\": {\"folder\": \".\"}}", *state, 1, &missing, &e), -1);
    message_check(e.text, "FOLDER/./test/c: a class that the training part does not have", *state);
    dataset_close(&d);
    if (geteuid() == 0) return; // who may read everything
    char path[PATH];
    snprintf(path, PATH, "%s/train/b/1.png", (char *)*state);
    chmod(path, 0);
    snprintf(path, PATH, "%s/test/c", (char *)*state);
    rename(path, "gone");
    assert_int_equal(set_open(&d, "{\"png_folder\": {\"folder\": \".\"}}", *state, 1, &missing, &e), -1);
    message_check(e.text, "FOLDER/./train/b/1.png: Permission denied", *state);
    dataset_close(&d);
}

// --- another size ----------------------------------------------------------------------------------------------

static void planes_and_pixels(void **state) {
    (void)state;
    static const uint8_t pixels[] = {1, 2, 3, 4, 5, 6}, planes[] = {1, 4, 2, 5, 3, 6};
    uint8_t out[6];
    image_planes(out, pixels, 2, 3);
    assert_memory_equal(out, planes, 6);
    image_pixels(out, planes, 2, 3);
    assert_memory_equal(out, pixels, 6);
}

static void resize(void **state) {
    (void)state;
    static const struct {
        int height, width, to_height, to_width;
        uint8_t from[8], to[16];
    } rows[] = {
        {2, 2, 2, 2, {1, 2, 3, 4}, {1, 2, 3, 4}},
        {2, 4, 1, 2, {0, 10, 100, 200, 20, 30, 255, 101}, {15, 164}},
        {1, 3, 1, 2, {0, 90, 240}, {30, 190}},                // (0 + 90/2) / 1.5, (90/2 + 240) / 1.5
        {1, 2, 1, 4, {0, 100}, {0, 25, 75, 100}},             // centres at -1/4, 1/4, 3/4, 5/4
        {2, 1, 4, 1, {0, 100}, {0, 25, 75, 100}},             // the same down
        {2, 2, 1, 4, {0, 100, 100, 200}, {50, 75, 125, 150}}, // shorter down, longer across
        {1, 1, 2, 3, {77}, {77, 77, 77, 77, 77, 77}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t from[16], to[32], wanted[32];
        size_t size = (size_t)(rows[i].height * rows[i].width),
               out = (size_t)(rows[i].to_height * rows[i].to_width);
        for (size_t c = 0; c < 2; c++) { // a second plane: the negative
            for (size_t j = 0; j < size; j++)
                from[c * size + j] = c ? 255 - rows[i].from[j] : rows[i].from[j];
            for (size_t j = 0; j < out; j++) wanted[c * out + j] = c ? 255 - rows[i].to[j] : rows[i].to[j];
        }
        image_resize(to, rows[i].to_height, rows[i].to_width, from, rows[i].height, rows[i].width, 2);
        assert_memory_equal(to, wanted, 2 * out);
    }
    enum { SIDE = 13 };
    uint8_t white[SIDE * SIDE], out[29 * 29]; // no size makes white less than white
    memset(white, 255, sizeof white);
    for (int h = 1; h < 30; h += 4)
        for (int w = 1; w < 30; w += 3) {
            image_resize(out, h, w, white, SIDE, SIDE, 1);
            for (int j = 0; j < h * w; j++) assert_int_equal(out[j], 255);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(cifar10_reads),        IN_FOLDER(cifar10_refuses),          IN_FOLDER(folders_read),
        IN_FOLDER(share_for_the_test),   IN_FOLDER(colours_and_sizes),        IN_FOLDER(folders_refused),
        IN_FOLDER(test_classes_refused), cmocka_unit_test(planes_and_pixels), cmocka_unit_test(resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
