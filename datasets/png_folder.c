// Images in folders, a folder for each class:
//
//   FOLDER/train/CLASS/NAME.png and FOLDER/test/CLASS/NAME.png
//   FOLDER/train/CLASS/NAME.png or FOLDER/CLASS/NAME.png, of which a share, chosen by the seed, is for the test
//
// Classes are the folders of the training part, by name, up to 256; samples are in the order of their files' names, of equal
// names in the order of classes, so that files which carry numbers keep the order of the numbers. Names that begin with a
// dot, and files that don't end in .png, are left out. What becomes of colours, palettes, 16 bits and transparency:
// datasets/io/png.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "datasets/image.h"
#include "datasets/io/png.h"
#include "datasets/source.h"
#include "src/file.h"
#include "src/parallel.h"

enum { CLASSES_MAX = 256, CHUNK = 64, SIDE_MAX = 4096, COUNT_MAX = 1 << 26 };
static const size_t BYTES_MAX = (size_t)1 << 34;

struct config {
    const char *folder;
    const struct json *resize;
    int channels;
    double test;
    int64_t seed;
};

static const struct field fields[] = {
    {"folder", FIELD_STRING, offsetof(struct config, folder), 0, 0, 0, "images",
     "holds the folders, seen from the folders where data is looked for"},
    {"resize", FIELD_NODE, offsetof(struct config, resize), 0, 0, 0, NULL,
     "[height, width] that images are brought to: means of areas, or between pixels where they grow"},
    {"channels", FIELD_CHOICE, offsetof(struct config, channels), 0, 0, 0, "file|grey|rgb",
     "one, three, or as many as the first training image has"},
    {"test", FIELD_REAL, offsetof(struct config, test), 0.2, 0.001, 0.9, NULL,
     "share of the images that is for the test, where there is no folder for it"},
    {"seed", FIELD_INT, offsetof(struct config, seed), 0, 0, 9007199254740991.0, NULL, "chooses that share"},
    FIELD_END};

enum { CHANNELS_FILE, CHANNELS_GREY, CHANNELS_RGB };

// --- the files -------------------------------------------------------------------------------------------------

struct names {
    char **list;
    int count;
};

struct image {
    const char *name; // of the file
    int label;
};

// A part: its folder's classes, and its images in order.
struct part {
    const char *folder;
    struct names files[CLASSES_MAX];
    struct image *images;
    int count;
};

static void names_free(struct names *n) {
    for (int i = 0; i < n->count; i++) mem_free(n->list[i]);
    mem_free(n->list);
}

static void part_free(struct part *p) {
    for (int i = 0; i < CLASSES_MAX; i++) names_free(&p->files[i]);
    mem_free(p->images);
}

static bool is_png(const char *name) {
    size_t length = strlen(name);
    return length > 4 && strcasecmp(name + length - 4, ".png") == 0;
}

// The folders in `folder`, by name.
static int classes_read(struct names *classes, const char *folder, struct err *e) {
    struct names all;
    char path[SOURCE_PATH];
    all.list = file_names_new(&all.count, folder, e);
    if (!all.list) return -1;
    classes->list = mem_new((size_t)all.count + 1, sizeof *classes->list);
    for (int i = 0; i < all.count; i++) {
        bool good = file_join(path, sizeof path, folder, all.list[i], e) == 0 && file_is_folder(path);
        if (good) classes->list[classes->count++] = mem_string_new(all.list[i]);
    }
    names_free(&all);
    if (classes->count == 0) return err_set(e, "%.300s: no folders, wanted one for each class", folder);
    if (classes->count == 1)
        return err_set(e, "%.300s: only one class, '%.60s', wanted two or more", folder, classes->list[0]);
    if (classes->count > CLASSES_MAX)
        return err_set(e, "%.300s: %d classes, at most %d", folder, classes->count, CLASSES_MAX);
    return 0;
}

static int image_order(const void *a, const void *b) {
    const struct image *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->label - y->label;
}

// The images of the classes that are there.
static int part_read(struct part *p, const struct names *classes, struct err *e) {
    char path[SOURCE_PATH];
    size_t count = 0;
    for (int i = 0; i < classes->count; i++) {
        if (file_join(path, sizeof path, p->folder, classes->list[i], e) != 0) return -1;
        if (!file_is_folder(path)) continue;
        struct names *files = &p->files[i];
        files->list = file_names_new(&files->count, path, e);
        if (!files->list) return -1;
        size_t before = count;
        for (int k = 0; k < files->count; k++) count += is_png(files->list[k]);
        if (count == before) return err_set(e, "%.400s: no .png files", path);
    }
    if (count > COUNT_MAX) return err_set(e, "%.300s: %zu images, at most %d", p->folder, count, COUNT_MAX);
    p->images = mem_new(count, sizeof *p->images);
    for (int i = 0; i < classes->count; i++)
        for (int k = 0; k < p->files[i].count; k++)
            if (is_png(p->files[i].list[k])) p->images[p->count++] = (struct image){p->files[i].list[k], i};
    qsort(p->images, (size_t)p->count, sizeof *p->images, image_order);
    return 0;
}

// Every class of the test must be one of training.
static int test_check(const char *folder, const struct names *classes, struct err *e) {
    struct names found = {0};
    int result = classes_read(&found, folder, e);
    for (int i = 0; i < found.count && result == 0; i++) {
        int k = 0;
        while (k < classes->count && strcmp(found.list[i], classes->list[k]) != 0) k++;
        if (k == classes->count)
            result = err_set(e, "%.300s/%.60s: a class that the training part does not have", folder,
                             found.list[i]);
    }
    names_free(&found);
    return result;
}

// --- reading ---------------------------------------------------------------------------------------------------

struct work {
    const struct part *part;
    const struct names *classes;
    struct split *split;
    struct shape sample;
    bool resize;
    struct err *errors; // of each chunk; empty where all went well
};

static int image_path(char path[SOURCE_PATH], const struct part *p, const struct names *classes, int i,
                      struct err *e) {
    const struct image *image = &p->images[i];
    int length = snprintf(path, SOURCE_PATH, "%s/%s/%s", p->folder, classes->list[image->label], image->name);
    return length < SOURCE_PATH ? 0 : err_set(e, "%.200s...: the path is too long", path);
}

static int image_read(uint8_t *out, const struct work *w, int i, struct err *e) {
    char path[SOURCE_PATH];
    int width, height, channels = w->sample.dim[0], wanted_height = w->sample.dim[1],
                       wanted_width = w->sample.dim[2];
    if (image_path(path, w->part, w->classes, i, e) != 0) return -1;
    uint8_t *pixels = png_read_new(&width, &height, path, channels, e);
    if (!pixels) return -1;
    bool same = width == wanted_width && height == wanted_height;
    size_t area = (size_t)width * (size_t)height;
    if (same) {
        image_planes(out, pixels, area, (size_t)channels);
    } else if (w->resize) {
        uint8_t *planes = mem_new(area, (size_t)channels);
        image_planes(planes, pixels, area, (size_t)channels);
        image_resize(out, wanted_height, wanted_width, planes, height, width, channels);
        mem_free(planes);
    } else {
        err_set(e, "%.300s: %dx%d pixels, wanted %dx%d as the first has; or give \"resize\"", path, width,
                height, wanted_width, wanted_height);
    }
    mem_free(pixels);
    return same || w->resize ? 0 : -1;
}

static void chunk_read(void *context, int task) {
    const struct work *w = context;
    int first = task * CHUNK, last = first + CHUNK < w->split->count ? first + CHUNK : w->split->count;
    size_t size = shape_size(w->sample);
    for (int i = first; i < last; i++) {
        w->split->labels[i] = (uint8_t)w->part->images[i].label;
        if (image_read(w->split->pixels + (size_t)i * size, w, i, &w->errors[task]) != 0) return;
    }
}

// All images of the part. Of several that fail, the first is told, whatever the threads.
static int images_read(struct split *s, const struct dataset *d, const struct part *p,
                       const struct names *classes, bool resize, const struct data_source *source,
                       struct err *e) {
    size_t bytes;
    if (!size_mul(&bytes, (size_t)p->count, shape_size(d->sample)) || bytes > BYTES_MAX)
        return err_set(e, "%.300s: %d images of this size are more than 16 GB", p->folder, p->count);
    if (source_room(source, (double)bytes, "png_folder", e) != 0) return -1;
    int chunks = (p->count + CHUNK - 1) / CHUNK, result = 0;
    s->count = p->count;
    s->pixels = mem_new(bytes, 1);
    s->labels = mem_new((size_t)p->count, 1);
    struct work w = {p, classes, s, d->sample, resize, mem_new((size_t)chunks, sizeof *w.errors)};
    parallel_for(source->threads, chunks, chunk_read, &w);
    for (int i = 0; i < chunks && result == 0; i++)
        if (*w.errors[i].text) result = err_set(e, "%s", w.errors[i].text);
    mem_free(w.errors);
    return result;
}

// The shape of a sample: from the options, else from the first image.
static int sample_find(struct dataset *d, const struct config *c, const struct part *train,
                       const struct names *classes, struct err *e) {
    char path[SOURCE_PATH];
    int channels = c->channels == CHANNELS_GREY ? 1 : 3, side[2] = {0};
    if (image_path(path, train, classes, 0, e) != 0) return -1;
    if (c->channels == CHANNELS_FILE && (channels = png_channels(path, e)) == 0) return -1;
    for (int i = 0; i < 2 && c->resize; i++) {
        int64_t number;
        if (json_type(c->resize) != JSON_ARRAY || json_count(c->resize) != 2)
            return err_set(e, "png_folder.resize: wanted [height, width], found %s",
                           json_type_name(c->resize));
        if (json_read_int(&number, json_item(c->resize, i), 1, SIDE_MAX, "png_folder.resize", e) != 0)
            return -1;
        side[i] = (int)number;
    }
    if (!c->resize) {
        uint8_t *pixels = png_read_new(&side[1], &side[0], path, 1, e);
        if (!pixels) return -1;
        mem_free(pixels);
    }
    d->sample = shape_3(channels, side[0], side[1]);
    return 0;
}

static int parts_read(struct dataset *d, const struct config *c, struct part *train, struct part *test,
                      const struct names *classes, const struct data_source *source, struct err *e) {
    if (part_read(train, classes, e) != 0 || (test->folder && part_read(test, classes, e) != 0)) return -1;
    if (sample_find(d, c, train, classes, e) != 0) return -1;
    d->classes = classes->count;
    if (images_read(&d->train, d, train, classes, c->resize, source, e) != 0) return -1;
    if (test->folder) return images_read(&d->test, d, test, classes, c->resize, source, e);
    int held = (int)(c->test * train->count + 0.5);
    if (held == 0 || held == train->count)
        return err_set(e, "%.300s: %d images can't be cut into training and test", train->folder,
                       train->count);
    dataset_hold_out(d, c->test, (uint64_t)c->seed);
    return 0;
}

static int png_folder_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    const char *const places[] = {c->folder, NULL};
    char folder[SOURCE_PATH], paths[2][SOURCE_PATH];
    if (source_find(folder, source, places, file_is_folder, "png_folder", c->folder, NULL, e) != 0) return -1;
    if (file_join(paths[0], SOURCE_PATH, folder, "train", e) != 0 ||
        file_join(paths[1], SOURCE_PATH, folder, "test", e) != 0)
        return -1;
    bool trains = file_is_folder(paths[0]), tests = file_is_folder(paths[1]);
    if (tests && !trains) return err_set(e, "%.300s: a folder 'test' but no folder 'train'", folder);
    struct part *parts = mem_new(2, sizeof *parts);
    struct names classes = {0};
    parts[0].folder = trains ? paths[0] : folder;
    parts[1].folder = tests ? paths[1] : NULL;
    int result = classes_read(&classes, parts[0].folder, e);
    if (result == 0 && tests) result = test_check(paths[1], &classes, e);
    if (result == 0) result = parts_read(d, c, &parts[0], &parts[1], &classes, source, e);
    for (int i = 0; i < 2; i++) part_free(&parts[i]);
    mem_free(parts);
    names_free(&classes);
    return result;
}

const struct dataset_type png_folder_dataset = {
    .name = "png_folder",
    .help = "PNG images in folders, a folder for each class",
    .fields = fields,
    .config_size = sizeof(struct config),
    .open = png_folder_open,
};
