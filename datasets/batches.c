// Batches. Contracts in batches.h.
#include "datasets/batches.h"

#include <math.h>
#include <string.h>

enum { LINE = 64 }; // bytes that come from memory together

// Mean and standard deviation of the training pixels, from their exact histogram.
static void pixels_measure(struct batches *b) {
    const struct split *train = &b->data->train;
    size_t pixels = (size_t)train->count * b->sample_size;
    uint64_t histogram[256] = {0};
    for (int i = 0; i < train->count; i++) {
        const uint8_t *pixel = dataset_pixels(b->data, train, (size_t)i);
        for (size_t j = 0; j < b->sample_size; j++) histogram[pixel[j]]++;
    }
    double sum = 0, squares = 0;
    int levels = 0;
    for (int v = 0; v < 256; v++) {
        levels += histogram[v] > 0;
        sum += (double)histogram[v] * v;
        squares += (double)histogram[v] * v * v;
    }
    b->mean = sum / (double)pixels / 255;
    b->std = sqrt(squares / (double)pixels / 255 / 255 - b->mean * b->mean);
    if (levels == 1 || !(b->std > 0)) b->std = 1; // of one level, rounding would leave a little
}

// The same of training numbers, in two passes.
static void numbers_measure(struct batches *b) {
    const struct split *train = &b->data->train;
    double count = (double)train->count * (double)b->sample_size, sum = 0, squares = 0;
    bool equal = true;
    for (int i = 0; i < train->count; i++) {
        const float *number = dataset_numbers(b->data, train, (size_t)i);
        for (size_t j = 0; j < b->sample_size; j++) {
            sum += (double)number[j];
            equal = equal && number[j] == train->numbers[0];
        }
    }
    b->mean = sum / count;
    for (int i = 0; i < train->count; i++) {
        const float *number = dataset_numbers(b->data, train, (size_t)i);
        for (size_t j = 0; j < b->sample_size; j++)
            squares += ((double)number[j] - b->mean) * ((double)number[j] - b->mean);
    }
    b->std = sqrt(squares / count);
    if (equal || !(b->std > 0)) b->std = 1;
}

static void levels_make(struct batches *b, bool normalise) {
    enum data_kind kind = b->data->kind;
    b->mean = 0, b->std = 1;
    if (normalise && kind == DATA_IMAGES) pixels_measure(b);
    if (normalise && kind == DATA_NUMBERS) numbers_measure(b);
    b->slope = (real)(kind == DATA_TOKENS ? 1 : 1 / (255 * b->std));
    b->shift = (real)(kind == DATA_TOKENS ? 0 : -b->mean / b->std);
    for (int v = 0; v < 256; v++) b->level[v] = (real)v * b->slope + b->shift;
}

// How many training samples are held out.
static int held_out(uint32_t *count, const struct dataset *data, int64_t validation, const char *path,
                    struct err *e) {
    bool keeps = data->type && data->type->keeps_validation;
    if (keeps && validation >= 0)
        return err_set(e, "%s.validation: '%s' keeps a validation part of its own; leave this out", path,
                       data->type->name);
    if (validation < 0) validation = keeps ? 0 : BATCHES_VALIDATION;
    if (validation >= data->train.count)
        return err_set(e, "%s.validation: %lld held out of %d training samples leaves none", path,
                       (long long)validation, data->train.count);
    *count = (uint32_t)validation;
    return 0;
}

int batches_open(struct batches *b, const struct dataset *data, int64_t validation, bool normalise,
                 uint64_t seed, const char *path, struct err *e) {
    memset(b, 0, sizeof *b);
    uint32_t held = 0, all = (uint32_t)data->train.count;
    if (held_out(&held, data, validation, path, e) != 0) return -1;
    b->data = data;
    b->sample_size = shape_size(data->sample);
    levels_make(b, normalise);
    b->sorted = mem_new(all, sizeof *b->sorted);
    struct rng split = rng_stream(seed, "validation split");
    rng_shuffle(b->sorted, all, &split);
    b->count[PART_TRAIN] = all - held;
    b->count[PART_VALIDATION] = held ? held : (uint32_t)data->validation.count;
    b->count[PART_TEST] = (uint32_t)data->test.count;
    for (int part = 0; part < PARTS; part++) {
        b->order[part] = mem_new(b->count[part], sizeof **b->order);
        for (uint32_t i = 0; i < b->count[part]; i++) b->order[part][i] = i;
    }
    if (held) memcpy(b->order[PART_VALIDATION], b->sorted + b->count[PART_TRAIN], held * sizeof *b->sorted);
    b->shuffle = rng_stream(seed, "shuffle");
    b->moves = rng_stream(seed, "augment");
    batches_epoch(b, 0);
    return 0;
}

void batches_close(struct batches *b) {
    for (int part = 0; part < PARTS; part++) mem_free(b->order[part]);
    mem_free(b->sorted);
    memset(b, 0, sizeof *b);
}

void batches_augment(struct batches *b, const struct augment *augment) {
    b->augment = *augment;
}

void batches_epoch(struct batches *b, int64_t epoch) {
    struct rng row = rng_row(b->shuffle, (uint64_t)epoch);
    b->epoch = epoch;
    uint32_t *order = b->order[PART_TRAIN];
    rng_shuffle(order, b->count[PART_TRAIN], &row);
    for (uint32_t i = 0; i < b->count[PART_TRAIN]; i++) order[i] = b->sorted[order[i]];
}

const struct split *batches_find(size_t *sample, const struct batches *b, enum part part, size_t i) {
    *sample = b->order[part][i];
    if (part == PART_TEST) return &b->data->test;
    return part == PART_VALIDATION && b->data->validation.count ? &b->data->validation : &b->data->train;
}

const uint8_t *batches_sample(uint8_t *label, const struct batches *b, enum part part, size_t i) {
    size_t sample;
    const struct split *split = batches_find(&sample, b, part, i);
    CHECK(split->pixels && split->labels && dataset_targets(b->data) == 1, "batches_sample: of a set of %s",
          data_kind_name(b->data->kind));
    *label = *dataset_labels(b->data, split, sample);
    return dataset_pixels(b->data, split, sample);
}

// What b->level holds, computed, since that is faster.
VECTOR_CLONES static void pixels_copy(real *restrict x, const uint8_t *restrict pixels, size_t count,
                                      real slope, real shift) {
    for (size_t j = 0; j < count; j++) x[j] = (real)pixels[j] * slope + shift;
}

// A sample as the numbers a model gets.
static void sample_copy(real *restrict x, const struct batches *b, const struct split *split, size_t sample) {
    const uint8_t *pixels = dataset_pixels(b->data, split, sample);
    const float *numbers = dataset_numbers(b->data, split, sample);
    if (pixels)
        pixels_copy(x, pixels, b->sample_size, b->slope, b->shift);
    else
        for (size_t j = 0; j < b->sample_size; j++) x[j] = (real)(((double)numbers[j] - b->mean) / b->std);
}

// Samples are far apart in memory: asks for the pixels of one while another is copied.
static void sample_expect(const struct batches *b, enum part part, size_t i) {
    size_t sample;
    const struct split *split = batches_find(&sample, b, part, i);
    const uint8_t *pixels = dataset_pixels(b->data, split, sample);
    for (size_t j = 0; pixels && j < b->sample_size; j += LINE) PREFETCH(pixels + j);
}

static void samples_get(real *x, uint8_t *labels, const struct batches *b, enum part part, size_t first,
                        size_t count, bool moved) {
    CHECK(first + count <= b->count[part], "batches: %zu + %zu of %u", first, count, b->count[part]);
    size_t targets = dataset_targets(b->data), sample;
    for (size_t i = 0; i < count; i++, x += b->sample_size) {
        const struct split *split = batches_find(&sample, b, part, first + i);
        if (i + 1 < count) sample_expect(b, part, first + i + 1);
        if (moved)
            augment_copy(x, &b->augment, dataset_pixels(b->data, split, sample), b->data->sample, b->level,
                         rng_row(b->moves, (uint64_t)b->epoch << 32 | sample));
        else
            sample_copy(x, b, split, sample);
        if (b->data->classes) memcpy(labels + i * targets, dataset_labels(b->data, split, sample), targets);
    }
}

void batches_get(real *x, uint8_t *labels, const struct batches *b, enum part part, size_t first,
                 size_t count) {
    samples_get(x, labels, b, part, first, count, false);
}

void batches_draw(real *x, uint8_t *labels, const struct batches *b, size_t first, size_t count) {
    samples_get(x, labels, b, PART_TRAIN, first, count, augment_acts(&b->augment));
}

void batches_values(real *values, const struct batches *b, enum part part, size_t first, size_t count) {
    CHECK(first + count <= b->count[part], "batches_values: %zu + %zu of %u", first, count, b->count[part]);
    size_t size = shape_size(b->data->target), sample;
    for (size_t i = 0; i < count; i++) {
        const struct split *split = batches_find(&sample, b, part, first + i);
        const float *value = dataset_values(b->data, split, sample);
        for (size_t j = 0; j < size; j++) values[i * size + j] = (real)value[j];
    }
}

const char *part_name(enum part part) {
    static const char *const names[PARTS] = {"train", "validation", "test"};
    return names[part];
}
