// Target: data sets that are read from files: CIFAR-10, MNIST, text, arrays, folders of images. An input's first part is the
// set, {"name": {options}}; the others are files, each of a name of the table below.
//
// Small inputs stand for large files: of CIFAR-10's the bytes are the records' labels, unless the part says "raw".
#include "datasets/dataset.h"

#include <math.h>
#include <string.h>

#include "datasets/batches.h"
#include "datasets/samples.h"
#include "tests/fuzz/fuzz.h"

enum {
    RECORD = 3073,
    RECORDS = 64,
    RAW = 128,
    SAMPLES = 1 << 18,
    LOOKED_AT = 40,
    SIDE = 64,
    MEMORY = 1 << 25
};

static const char *const names[] = {"data_batch_1.bin",
                                    "data_batch_2.bin",
                                    "data_batch_3.bin",
                                    "data_batch_4.bin",
                                    "data_batch_5.bin",
                                    "cifar10/test_batch.bin",
                                    "test_batch.bin",
                                    "train-images-idx3-ubyte",
                                    "train-labels-idx1-ubyte",
                                    "t10k-images-idx3-ubyte.gz",
                                    "t10k-images-idx3-ubyte",
                                    "t10k-labels-idx1-ubyte",
                                    "tinyshakespeare/input.txt",
                                    "npy/x.npy",
                                    "npy/y.npy",
                                    "npy/x_test.npy",
                                    "npy/y_test.npy",
                                    "images/a/1.png",
                                    "images/b/2.png",
                                    "images/b/3.PNG",
                                    "images/train/a/1.png",
                                    "images/train/b/2.png",
                                    "images/test/a/1.png",
                                    "images/test/c/1.png",
                                    "images/test/b/1.png"};
enum { NAMES = sizeof names / sizeof *names, CIFAR = 7 };

static void file_make(const char *folder, const struct fuzz_part *part) {
    const char *name = names[(part->what & ~RAW) % NAMES];
    bool records = (part->what & ~RAW) % NAMES < CIFAR && !(part->what & RAW);
    if (!records) {
        fuzz_file_write(folder, name, part->bytes, part->size);
        return;
    }
    size_t count = part->size < RECORDS ? part->size : RECORDS;
    uint8_t *file = mem_new(count + 1, RECORD);
    for (size_t i = 0; i < count * RECORD; i++)
        file[i] = i % RECORD ? (uint8_t)(i * 7 + i / RECORD) : part->bytes[i / RECORD];
    fuzz_file_write(folder, name, file, count * RECORD);
    mem_free(file);
}

// Whether the options ask for what a test may do: no files but its own, no sets that are made, no images that grow.
static bool is_modest(const struct json *node) {
    if (json_type(node) == JSON_STRING &&
        (strcmp(json_string(node), "digits") == 0 || strcmp(json_string(node), "tales") == 0))
        return false;
    for (const struct json *member = json_first(node); member; member = json_next(member)) {
        const char *key = json_key(member);
        if (strcmp(key, "digits") == 0 || strcmp(key, "tales") == 0) return false;
        if (json_type(member) == JSON_STRING &&
            (*json_string(member) == '/' || strstr(json_string(member), "..")))
            return false;
        const struct json *side = strcmp(key, "resize") == 0 ? json_first(member) : NULL;
        for (; side; side = json_next(side))
            if (json_type(side) == JSON_NUMBER && json_number(side) > SIDE) return false;
        if (!is_modest(member)) return false;
    }
    return true;
}

static void resolve_check(const struct json *node) {
    struct err e = {""};
    struct json *resolved = dataset_resolve_new(node, "set", &e);
    if (!resolved) {
        fuzz_check_message(e.text);
        return;
    }
    struct json *again = dataset_resolve_new(resolved, "set", &e);
    CHECK(again && json_equal(resolved, again), "resolved to something else: %s", e.text);
    json_free(again);
    json_free(resolved);
}

static void labels_check(const struct dataset *d, const uint8_t *labels, size_t count) {
    for (size_t i = 0; i < count; i++)
        CHECK(labels[i] < d->classes, "label %zu is %d of %d", i, labels[i], d->classes);
}

// Every sample of the part, or the first.
static void part_check(const struct batches *b, enum part part) {
    size_t size = b->sample_size, count = b->count[part], targets = dataset_targets(b->data);
    if (count > LOOKED_AT) count = LOOKED_AT;
    if (count > SAMPLES / size) count = SAMPLES / size;
    if (count == 0) return;
    real *x = mem_new(count * size, sizeof *x);
    uint8_t *labels = b->data->classes ? mem_new(count, targets) : NULL;
    for (int draw = 0; draw < (part == PART_TRAIN ? 2 : 1); draw++) {
        if (draw)
            batches_draw(x, labels, b, 0, count);
        else
            batches_get(x, labels, b, part, 0, count);
        for (size_t i = 0; i < count * size; i++)
            CHECK(!isnan(x[i]) && (b->data->kind != DATA_TOKENS || x[i] < b->data->classes),
                  "number %zu is %g", i, (double)x[i]);
        if (labels) labels_check(b->data, labels, count * targets);
    }
    if (!labels) {
        size_t answers = shape_size(b->data->target);
        real *values = mem_new(count, answers * sizeof *values);
        batches_values(values, b, part, 0, count);
        for (size_t i = 0; i < count * answers; i++) CHECK(isfinite(values[i]), "answer %zu", i);
        mem_free(values);
    }
    mem_free(labels);
    mem_free(x);
}

static void set_check(const struct dataset *d, int64_t validation) {
    static const struct augment move = {.shift = 1, .flip = true};
    struct batches b;
    struct err e = {""};
    CHECK(d->train.count >= 1 && shape_size(d->sample) >= 1 && d->classes != 1 && d->classes <= 256,
          "%d samples", d->train.count);
    if (batches_open(&b, d, validation, true, 1, "data", &e) == 0) {
        if (augment_check(&move, d, "data.augment", &e) == 0) batches_augment(&b, &move);
        batches_epoch(&b, 3);
        for (int part = 0; part < PARTS; part++) part_check(&b, (enum part)part);
    } else {
        fuzz_check_message(e.text);
    }
    batches_close(&b);
}

// The files alone, as `infer --input` takes them.
static void samples_check(const char *folder, const char *name) {
    char path[FUZZ_LONG_PATH];
    struct samples s;
    struct err e = {""};
    struct data_source source = {.folder = {folder}, .threads = 1};
    if (samples_open(&s, fuzz_join(path, folder, name), shape_3(1, 4, 3), &source, &e) == 0)
        CHECK(s.count >= 1 && (s.bytes || s.floats), "no samples");
    else
        fuzz_check_message(e.text);
    samples_close(&s);
}

static void set_try(const struct json *node, const char *folder) {
    struct data_source source = {.folder = {folder}, .threads = 1, .max_memory = MEMORY};
    struct dataset d;
    struct err e = {""};
    if (dataset_open(&d, node, "set", &source, &e) == 0) {
        set_check(&d, d.type->keeps_validation ? -1 : 0);
        set_check(&d, d.type->keeps_validation ? 0 : d.train.count / 2);
    } else {
        fuzz_check_message(e.text);
    }
    dataset_close(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    const uint8_t *at = input, *end = input + size;
    struct fuzz_part part;
    struct err e = {""};
    if (!fuzz_part_next(&part, &at, end)) return 0;
    struct json *root = json_parse_new((const char *)part.bytes, part.size, &e);
    if (root && is_modest(root)) {
        char folder[FUZZ_PATH];
        fuzz_folder_open(folder);
        resolve_check(root);
        while (fuzz_part_next(&part, &at, end)) {
            file_make(folder, &part);
            const char *name = names[(part.what & ~RAW) % NAMES];
            if (strstr(name, ".png") || strstr(name, ".npy")) samples_check(folder, name);
        }
        set_try(root, folder);
        fuzz_folder_close(folder);
    }
    json_free(root);
    return 0;
}
