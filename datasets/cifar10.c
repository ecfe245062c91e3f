// CIFAR-10: 32x32 photographs in colour of ten kinds of things, 50,000 to train on and 10,000 to test with.
//
// Six files, data_batch_1.bin to data_batch_5.bin and test_batch.bin, of records of 3073 bytes: the label 0 .. 9, then the
// red, the green and the blue plane, row by row.
//
// Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and
// https://www.cs.toronto.edu/~kriz/cifar.html, "binary version". Departures: none. A file may have any number of records.
#include <stdio.h>
#include <string.h>

#include "datasets/source.h"
#include "src/file.h"

enum {
    CLASSES = 10,
    SIDE = 32,
    PIXELS = 3 * SIDE * SIDE,
    RECORD = 1 + PIXELS,
    FILE_LIMIT = 1 << 30,
    BATCHES = 5
};

struct config {
    int64_t limit;
};

static const struct field fields[] = {
    {"limit", FIELD_INT, offsetof(struct config, limit), 0, 0, 1e9, NULL,
     "train on at most this many images, the first of the files; 0: on all"},
    FIELD_END};

static const char *const train_files[BATCHES + 1] = {
    "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", NULL};
static const char *const test_files[] = {"test_batch.bin", NULL};
static const char get_command[] = "datasets/get cifar10";

static bool folder_has_some(const char *folder) {
    char path[SOURCE_PATH];
    struct err ignored;
    bool found = file_join(path, sizeof path, folder, test_files[0], &ignored) == 0 && file_exists(path);
    for (int i = 0; i < BATCHES; i++)
        found |= file_join(path, sizeof path, folder, train_files[i], &ignored) == 0 && file_exists(path);
    return found;
}

// The file's records behind those that are there.
static int records_add(struct split *s, const uint8_t *records, size_t size, const char *path,
                       struct err *e) {
    if (size == 0 || size % RECORD != 0)
        return err_set(e, "%.300s: %zu bytes, wanted whole records of %d", path, size, RECORD);
    size_t count = size / RECORD, before = (size_t)s->count;
    for (size_t i = 0; i < count; i++)
        if (records[i * RECORD] >= CLASSES)
            return err_set(e, "%.300s: label %zu is %d, wanted 0 to %d", path, i, records[i * RECORD],
                           CLASSES - 1);
    struct split more = {.count = (int)(before + count),
                         .pixels = mem_new(before + count, PIXELS),
                         .labels = mem_new(before + count, 1)};
    if (before) {
        memcpy(more.pixels, s->pixels, before * PIXELS);
        memcpy(more.labels, s->labels, before);
    }
    for (size_t i = 0; i < count; i++) {
        more.labels[before + i] = records[i * RECORD];
        memcpy(more.pixels + (before + i) * PIXELS, records + i * RECORD + 1, PIXELS);
    }
    mem_free(s->pixels);
    mem_free(s->labels);
    *s = more;
    return 0;
}

static int split_read(struct split *s, const char *folder, const char *const *files,
                      const struct data_source *source, struct err *e) {
    for (; *files; files++) {
        char path[SOURCE_PATH];
        size_t size;
        if (file_join(path, sizeof path, folder, *files, e) != 0) return -1;
        if (!file_exists(path))
            return err_set(e,
                           "cifar10: %s not found in %.200s, though other files of the set are (get it: %s)",
                           *files, folder, get_command);
        if (source_room(source, (double)s->count * RECORD + 2 * (double)file_bytes(path), "cifar10", e) != 0)
            return -1;
        uint8_t *records = file_read_new(&size, path, FILE_LIMIT, e);
        if (!records) return -1;
        int result = records_add(s, records, size, path, e);
        mem_free(records);
        if (result != 0) return -1;
    }
    return 0;
}

static int cifar10_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    static const char *const places[] = {"cifar-10-batches-bin", "cifar10", "", NULL};
    char folder[SOURCE_PATH];
    d->classes = CLASSES;
    d->sample = shape_3(3, SIDE, SIDE);
    if (source_find(folder, source, places, folder_has_some, "cifar10", train_files[0], get_command, e) != 0)
        return -1;
    if (split_read(&d->train, folder, train_files, source, e) != 0) return -1;
    if (split_read(&d->test, folder, test_files, source, e) != 0) return -1;
    if (c->limit > 0 && c->limit < d->train.count) d->train.count = (int)c->limit;
    return 0;
}

const struct dataset_type cifar10_dataset = {
    .name = "cifar10",
    .help = "32x32 photographs in colour of ten kinds of things",
    .get = get_command,
    .fields = fields,
    .config_size = sizeof(struct config),
    .open = cifar10_open,
};
