// Samples. Contracts in samples.h.
#include "datasets/samples.h"

#include <string.h>
#include <strings.h>

#include "datasets/image.h"
#include "datasets/io/png.h"

enum { ARRAY_LIMIT = 1 << 30 };

void samples_close(struct samples *s) {
    mem_free(s->picture);
    npy_free(&s->array);
    dataset_close(&s->data);
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcasecmp(text + length - tail, end) == 0;
}

static struct shape without_ones(struct shape s) {
    struct shape out = {0};
    for (int i = 0; i < s.rank; i++)
        if (s.dim[i] != 1) out.dim[out.rank++] = s.dim[i];
    return out;
}

// The same shape, or, where one of them is flat, as many numbers.
static bool shape_fits(struct shape s, struct shape wanted) {
    if (s.rank <= 1 || wanted.rank == 1) return shape_size(s) == shape_size(wanted);
    return shape_equal(without_ones(s), without_ones(wanted));
}

static int png_open(struct samples *s, const char *path, struct shape wanted, struct err *e) {
    char text[SHAPE_TEXT];
    int rank = wanted.rank, channels = rank == 3 ? wanted.dim[0] : 1, width, height;
    if (rank < 2 || rank > 3 || (channels != 1 && channels != 3))
        return err_set(e, "%.300s: a picture, but the model wants samples of %s", path,
                       shape_text(text, wanted));
    uint8_t *pixels = png_read_new(&width, &height, path, channels, e);
    if (!pixels) return -1;
    int wide = wanted.dim[rank - 1], high = wanted.dim[rank - 2];
    if (width != wide || height != high) {
        mem_free(pixels);
        return err_set(e, "%.300s: %dx%d pixels, the model wants %dx%d", path, width, height, wide, high);
    }
    size_t area = (size_t)wide * (size_t)high, planes = (size_t)channels;
    s->picture = mem_new(area, planes);
    image_planes(s->picture, pixels, area, planes);
    mem_free(pixels);
    s->bytes = s->picture;
    s->count = 1;
    return 0;
}

static int npy_open(struct samples *s, const char *path, struct shape wanted, struct err *e) {
    char found[SHAPE_TEXT], text[SHAPE_TEXT];
    if (npy_read(&s->array, path, ARRAY_LIMIT, e) != 0) return -1;
    struct shape sample = {.rank = s->array.shape.rank - 1};
    for (int i = 0; i < sample.rank; i++) sample.dim[i] = s->array.shape.dim[i + 1];
    if (!shape_fits(sample, wanted)) {
        shape_text(found, s->array.shape);
        shape_text(text, wanted);
        if (wanted.rank == 1)
            return err_set(e, "%.250s: an array %s, wanted (samples, %s", path, found, text + 1);
        return err_set(e, "%.250s: an array %s, wanted (samples, %s or (samples, %zu)", path, found, text + 1,
                       shape_size(wanted));
    }
    s->bytes = s->array.bytes;
    s->floats = s->array.floats;
    s->count = (size_t)s->array.shape.dim[0];
    return 0;
}

static int data_open(struct samples *s, const char *input, struct shape wanted, struct data_source *source,
                     struct err *e) {
    char found[SHAPE_TEXT], text[SHAPE_TEXT];
    if (*input != '{' && strpbrk(input, "./"))
        return err_set(e, "--input: '%.300s' is no .png, no .npy and no data set", input);
    const struct json *node;
    struct json *root = dataset_named_new(&node, input, e);
    if (!root) return err_at(e, "--input");
    int result = dataset_open(&s->data, node, "--input", source, e);
    json_free(root);
    if (result != 0) return -1;
    if (s->data.kind != DATA_IMAGES || !s->data.classes || s->data.targets > 1)
        return err_set(e, "%s: wanted images with one class each, the set has %s%s", s->data.type->name,
                       data_kind_name(s->data.kind), s->data.classes ? "" : " without classes");
    if (!shape_fits(s->data.sample, wanted))
        return err_set(e, "%s: samples of %s, the model wants %s", s->data.type->name,
                       shape_text(found, s->data.sample), shape_text(text, wanted));
    s->bytes = s->data.test.pixels;
    s->labels = s->data.test.labels;
    s->count = (size_t)s->data.test.count;
    return 0;
}

int samples_open(struct samples *s, const char *input, struct shape wanted, struct data_source *source,
                 struct err *e) {
    *s = (struct samples){.kind = ends_with(input, ".png")   ? SAMPLES_PNG
                                  : ends_with(input, ".npy") ? SAMPLES_NPY
                                                             : SAMPLES_DATASET};
    if (s->kind == SAMPLES_PNG) return png_open(s, input, wanted, e);
    return s->kind == SAMPLES_NPY ? npy_open(s, input, wanted, e) : data_open(s, input, wanted, source, e);
}
