// Batches. Contracts in batches.h.
#include "datasets/batches.h"

#include <math.h>
#include <string.h>

// Mean and standard deviation of the training pixels, from their exact histogram.
static void levels_make(struct batches *b, bool normalise) {
    const struct split *train = &b->data->train;
    size_t pixels = (size_t)train->count * b->sample_size;
    b->mean = 0, b->std = 1;
    if (normalise) {
        uint64_t histogram[256] = {0};
        for (size_t i = 0; i < pixels; i++) histogram[train->pixels[i]]++;
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
    for (int v = 0; v < 256; v++) b->level[v] = (real)((v / 255.0 - b->mean) / b->std);
}

int batches_open(struct batches *b, const struct dataset *data, int64_t validation, bool normalise,
                 uint64_t seed, const char *path, struct err *e) {
    memset(b, 0, sizeof *b);
    if (validation >= data->train.count)
        return err_set(e, "%s.validation: %lld held out of %d training samples leaves none", path,
                       (long long)validation, data->train.count);
    b->data = data;
    b->sample_size = shape_size(data->sample);
    levels_make(b, normalise);
    uint32_t all = (uint32_t)data->train.count;
    b->sorted = mem_new(all, sizeof *b->sorted);
    struct rng split = rng_stream(seed, "validation split");
    rng_shuffle(b->sorted, all, &split);
    b->count[PART_TRAIN] = all - (uint32_t)validation;
    b->count[PART_VALIDATION] = (uint32_t)validation;
    b->count[PART_TEST] = (uint32_t)data->test.count;
    for (int part = 0; part < PARTS; part++) b->order[part] = mem_new(b->count[part], sizeof **b->order);
    memcpy(b->order[PART_VALIDATION], b->sorted + b->count[PART_TRAIN],
           (size_t)validation * sizeof *b->sorted);
    for (uint32_t i = 0; i < b->count[PART_TEST]; i++) b->order[PART_TEST][i] = i;
    b->shuffle = rng_stream(seed, "shuffle");
    batches_epoch(b, 0);
    return 0;
}

void batches_close(struct batches *b) {
    for (int part = 0; part < PARTS; part++) mem_free(b->order[part]);
    mem_free(b->sorted);
    memset(b, 0, sizeof *b);
}

void batches_epoch(struct batches *b, int64_t epoch) {
    struct rng row = rng_row(b->shuffle, (uint64_t)epoch);
    uint32_t *order = b->order[PART_TRAIN];
    rng_shuffle(order, b->count[PART_TRAIN], &row);
    for (uint32_t i = 0; i < b->count[PART_TRAIN]; i++) order[i] = b->sorted[order[i]];
}

const uint8_t *batches_sample(uint8_t *label, const struct batches *b, enum part part, size_t i) {
    const struct split *split = part == PART_TEST ? &b->data->test : &b->data->train;
    size_t sample = b->order[part][i];
    *label = split->labels[sample];
    return split->pixels + sample * b->sample_size;
}

void batches_get(real *x, uint8_t *labels, const struct batches *b, enum part part, size_t first,
                 size_t count) {
    CHECK(first + count <= b->count[part], "batches_get: %zu + %zu of %u", first, count, b->count[part]);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *pixels = batches_sample(&labels[i], b, part, first + i);
        for (size_t j = 0; j < b->sample_size; j++) x[i * b->sample_size + j] = b->level[pixels[j]];
    }
}

const char *part_name(enum part part) {
    static const char *const names[PARTS] = {"train", "validation", "test"};
    return names[part];
}
