// Arrays from NumPy: a folder with x.npy and y.npy to train on, and x_test.npy and y_test.npy, or a share of the others, to
// test with.
//
//   x   uint8 (samples, ...): images, of which (samples, height, width) have one channel
//       float32 or float64 (samples, ...): numbers
//   y   whole numbers (samples): classes 0, 1, ... at most 255
//       float32 or float64 (samples) or (samples, ...): numbers to answer with, for the loss "mse"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "datasets/io/npy.h"
#include "datasets/source.h"
#include "src/file.h"

enum {
    CLASSES_MAX = 256,
    X_TYPES = 1 << NPY_U8 | 1 << NPY_F32 | 1 << NPY_F64,
    Y_TYPES = (1 << NPY_TYPES) - 1
};
static const size_t FILE_LIMIT = (size_t)1 << 33;

struct config {
    const char *folder;
    double test;
    int64_t seed;
};

static const struct field fields[] = {
    {"folder", FIELD_STRING, offsetof(struct config, folder), 0, 0, 0, "npy",
     "holds the arrays, seen from the folders where data is looked for"},
    {"test", FIELD_REAL, offsetof(struct config, test), 0.2, 0.001, 0.9, NULL,
     "share of the samples that is for the test, where there is no x_test.npy"},
    {"seed", FIELD_INT, offsetof(struct config, seed), 0, 0, 9007199254740991.0, NULL, "chooses that share"},
    FIELD_END};

// A copy as float32; NULL where a number is not finite.
static float *floats_new(const struct npy *a, const char *path, struct err *e) {
    float *out = mem_new(a->size, sizeof *out);
    for (size_t i = 0; i < a->size; i++) {
        double number = npy_number(a, i);
        out[i] = fabs(number) <= FLT_MAX ? (float)number : NAN;
        if (isfinite(out[i])) continue;
        err_set(e, "%.300s: number %zu is not a finite float32", path, i);
        mem_free(out);
        return NULL;
    }
    return out;
}

// The array's samples into the split; `sample` gets the shape of one.
static int x_read(struct split *s, enum data_kind *kind, struct shape *sample, const char *path,
                  struct err *e) {
    struct npy a;
    char text[SHAPE_TEXT];
    int result = npy_read_types(&a, path, X_TYPES, FILE_LIMIT, e);
    if (result == 0 && a.shape.rank < 2)
        result = err_set(e, "%.300s: an array %s, wanted (samples, ...)", path, shape_text(text, a.shape));
    if (result == 0 && a.shape.dim[0] > INT32_MAX / 2)
        result = err_set(e, "%.300s: %d samples are too many", path, a.shape.dim[0]);
    if (result == 0) {
        *kind = a.type == NPY_U8 ? DATA_IMAGES : DATA_NUMBERS;
        *sample = (struct shape){.rank = a.shape.rank - 1};
        for (int i = 0; i < sample->rank; i++) sample->dim[i] = a.shape.dim[i + 1];
        if (*kind == DATA_IMAGES && sample->rank == 2) *sample = shape_3(1, sample->dim[0], sample->dim[1]);
        s->count = a.shape.dim[0];
        s->pixels = a.bytes;
        a.bytes = NULL;
        if (*kind == DATA_NUMBERS) s->numbers = floats_new(&a, path, e);
        if (!s->pixels && !s->numbers) result = -1;
    }
    npy_free(&a);
    return result;
}

// Labels or values into the split; `target` gets the shape of a sample's values, rank 0 of labels; `classes` is raised to hold
// the labels.
static int y_take(struct split *s, const struct npy *a, struct shape *target, int *classes, const char *path,
                  struct err *e) {
    char text[SHAPE_TEXT];
    *target = (struct shape){0};
    if (a->shape.dim[0] != s->count)
        return err_set(e, "%.300s: %d samples, wanted %d, one for each of x", path, a->shape.dim[0],
                       s->count);
    if (npy_is_float(a->type)) {
        *target = a->shape.rank == 1 ? shape_1(1) : (struct shape){.rank = a->shape.rank - 1};
        for (int i = 1; i < a->shape.rank; i++) target->dim[i - 1] = a->shape.dim[i];
        s->values = floats_new(a, path, e);
        return s->values ? 0 : -1;
    }
    if (a->shape.rank != 1)
        return err_set(e, "%.300s: an array %s of whole numbers, wanted (samples)", path,
                       shape_text(text, a->shape));
    s->labels = mem_new(a->size, 1);
    for (size_t i = 0; i < a->size; i++) {
        int64_t label = npy_integer(a, i);
        if (label < 0 || label >= CLASSES_MAX)
            return err_set(e, "%.300s: label %zu is %lld, wanted 0 to %d", path, i, (long long)label,
                           CLASSES_MAX - 1);
        s->labels[i] = (uint8_t)label;
        if (label >= *classes) *classes = (int)label + 1;
    }
    return 0;
}

static int y_read(struct split *s, struct shape *target, int *classes, const char *path, struct err *e) {
    struct npy a;
    int result = npy_read_types(&a, path, Y_TYPES, FILE_LIMIT, e);
    if (result == 0) result = y_take(s, &a, target, classes, path, e);
    npy_free(&a);
    return result;
}

static int train_read(struct dataset *d, char paths[4][SOURCE_PATH], struct err *e) {
    if (x_read(&d->train, &d->kind, &d->sample, paths[0], e) != 0) return -1;
    if (y_read(&d->train, &d->target, &d->classes, paths[1], e) != 0) return -1;
    if (d->train.labels && d->classes < 2)
        return err_set(e, "%.300s: every label is 0, wanted two classes or more", paths[1]);
    return 0;
}

// The test arrays must be as those to train on.
static int test_read(struct dataset *d, char paths[4][SOURCE_PATH], struct err *e) {
    enum data_kind kind;
    struct shape sample, target;
    char text[2][SHAPE_TEXT];
    int classes = d->classes;
    if (x_read(&d->test, &kind, &sample, paths[2], e) != 0) return -1;
    if (kind != d->kind || !shape_equal(sample, d->sample))
        return err_set(e, "%.250s: %s of %s, wanted %s of %s as in x.npy", paths[2], data_kind_name(kind),
                       shape_text(text[0], sample), data_kind_name(d->kind), shape_text(text[1], d->sample));
    if (y_read(&d->test, &target, &classes, paths[3], e) != 0) return -1;
    if (!d->test.labels != !d->train.labels || !shape_equal(target, d->target))
        return err_set(e, "%.250s: not of the kind and shape of y.npy", paths[3]);
    if (classes > d->classes)
        return err_set(e, "%.250s: label %d, wanted at most %d as in y.npy", paths[3], classes - 1,
                       d->classes - 1);
    return 0;
}

static int npy_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    static const char *const files[4] = {"x.npy", "y.npy", "x_test.npy", "y_test.npy"};
    const char *const names[] = {c->folder, NULL};
    char folder[SOURCE_PATH], paths[4][SOURCE_PATH];
    if (source_find(folder, source, names, file_exists, "npy", c->folder, NULL, e) != 0) return -1;
    double bytes = 0; // a file, and its numbers as float32
    for (int i = 0; i < 4; i++) {
        if (file_join(paths[i], SOURCE_PATH, folder, files[i], e) != 0) return -1;
        bytes += 3 * (double)file_bytes(paths[i]);
    }
    if (source_room(source, bytes, "npy", e) != 0) return -1;
    if (train_read(d, paths, e) != 0) return -1;
    if (file_exists(paths[2]) || file_exists(paths[3])) return test_read(d, paths, e);
    int held = (int)(c->test * d->train.count + 0.5);
    if (held == 0 || held == d->train.count)
        return err_set(e, "%.300s: %d samples can't be cut into training and test; give x_test.npy", paths[0],
                       d->train.count);
    dataset_hold_out(d, c->test, (uint64_t)c->seed);
    return 0;
}

const struct dataset_type npy_dataset = {
    .name = "npy",
    .help = "arrays from NumPy: images or numbers, with classes or numbers to answer with",
    .fields = fields,
    .config_size = sizeof(struct config),
    .open = npy_open,
};
