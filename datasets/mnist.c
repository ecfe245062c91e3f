// MNIST: handwritten digits, 28x28 grey (0 = paper, 255 = ink), 60,000 to train on and 10,000 to test with.
//
// Sources: LeCun, Cortes, Burges: THE MNIST DATABASE of handwritten digits, http://yann.lecun.com/exdb/mnist;
// LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proceedings of the
// IEEE 86(11), 1998. Departures: none. Any other set of ten classes in the same four files is read as well,
// whatever its size: Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017), or digits padded to 32x32.
#include <stdio.h>

#include "datasets/io/idx.h"
#include "datasets/source.h"
#include "src/file.h"

enum { CLASSES = 10, FILE_LIMIT = 1 << 30 };

struct config {
    int64_t limit;
};

static const struct field fields[] = {{"limit", FIELD_INT, offsetof(struct config, limit), 0, 0, 1e9, NULL,
                                       "train on at most this many images, the first of the file; 0: on all"},
                                      FIELD_END};

struct file_pair {
    const char *images, *labels;
};

static const struct file_pair train_files = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"};
static const struct file_pair test_files = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
static const char get_command[] = "datasets/get mnist";

// --- where the files are -----------------------------------------------------------------------------------

// FOLDER/NAME or FOLDER/NAME.gz into path, whichever is there; false when neither is.
static bool file_find(char path[SOURCE_PATH], const char *folder, const char *name) {
    static const char *const endings[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        int length = snprintf(path, SOURCE_PATH, "%s/%s%s", folder, name, endings[i]);
        if (length < SOURCE_PATH && file_exists(path)) return true;
    }
    return false;
}

// All four files come from one folder, so that two sets of the same file names never mix: the first that has any of them. A
// set with a file too few is broken, not missing.
static bool folder_has_some(const char *folder) {
    char path[SOURCE_PATH];
    return file_find(path, folder, train_files.images) || file_find(path, folder, train_files.labels) ||
           file_find(path, folder, test_files.images) || file_find(path, folder, test_files.labels);
}

// --- reading -----------------------------------------------------------------------------------------------

static uint8_t *array_read_new(char path[SOURCE_PATH], struct shape *shape, const char *home,
                               const char *name, int rank, size_t limit, struct err *e) {
    if (file_find(path, home, name)) return idx_read_new(shape, path, rank, limit, e);
    err_set(e, "mnist: %s not found in %.200s, though other files of the set are (get it: %s)", name, home,
            get_command);
    return NULL;
}

// Images (count, height, width) and labels (count); *image gets the shape of one.
static int split_read(struct split *s, struct shape *image, const char *home, const struct file_pair *files,
                      size_t limit, struct err *e) {
    char path[SOURCE_PATH];
    struct shape images, labels;
    s->pixels = array_read_new(path, &images, home, files->images, 3, limit, e);
    if (!s->pixels) return -1;
    s->labels = array_read_new(path, &labels, home, files->labels, 1, limit, e);
    if (!s->labels) return -1;
    s->count = images.dim[0];
    *image = shape_3(1, images.dim[1], images.dim[2]);
    if (labels.dim[0] != s->count)
        return err_set(e, "%.300s: %d labels, wanted %d, one for each image", path, labels.dim[0], s->count);
    for (int i = 0; i < s->count; i++)
        if (s->labels[i] >= CLASSES)
            return err_set(e, "%.300s: label %d is %d, wanted 0 to %d", path, i, s->labels[i], CLASSES - 1);
    return 0;
}

static int mnist_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    char home[SOURCE_PATH];
    struct shape test_sample;
    d->classes = CLASSES;
    static const char *const places[] = {"mnist", "", NULL};
    if (source_find(home, source, places, folder_has_some, "mnist", train_files.images, get_command, e) != 0)
        return -1;
    size_t limit = source_limit(source, FILE_LIMIT);
    if (split_read(&d->train, &d->sample, home, &train_files, limit, e) != 0) return -1;
    if (split_read(&d->test, &test_sample, home, &test_files, limit, e) != 0) return -1;
    if (!shape_equal(d->sample, test_sample))
        return err_set(e, "%.300s: training images are %dx%d, test images %dx%d, wanted the same", home,
                       d->sample.dim[1], d->sample.dim[2], test_sample.dim[1], test_sample.dim[2]);
    if (c->limit > 0 && c->limit < d->train.count) d->train.count = (int)c->limit;
    return 0;
}

const struct dataset_type mnist_dataset = {
    .name = "mnist",
    .help = "handwritten digits, 28x28 grey, ten classes",
    .get = get_command,
    .fields = fields,
    .config_size = sizeof(struct config),
    .open = mnist_open,
};
