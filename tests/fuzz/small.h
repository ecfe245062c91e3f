// For the targets that build models: whether a config's is small enough for them, since most of what a fuzzer asks for is
// not; and a step of training without a data set.
#ifndef TALLY_TESTS_FUZZ_SMALL_H
#define TALLY_TESTS_FUZZ_SMALL_H

#include <math.h>

#include "experiments/memory.h"
#include "src/arena.h"
#include "src/rng.h"
#include "tests/fuzz/fuzz.h"

enum {
    SMALL_NUMBERS = 1 << 16, // parameters
    SMALL_MEMORY = 1 << 25,  // bytes in all
    SMALL_LAYERS = 200,
    SMALL_SHARDS = 8,
    SMALL_ROWS = 3, // samples of a shard
    SMALL_SETS = 4
};

// Descriptions of data, without data.
static inline struct dataset small_set(int which) {
    const struct dataset sets[SMALL_SETS] = {
        {.kind = DATA_IMAGES, .sample = shape_3(1, 6, 6), .classes = 10, .targets = 1},
        {.kind = DATA_TOKENS, .sample = shape_1(8), .classes = 20, .targets = 8},
        {.kind = DATA_NUMBERS, .sample = shape_1(5), .target = shape_1(2), .targets = 1},
        {.kind = DATA_IMAGES, .sample = shape_3(3, 5, 7), .classes = 3, .targets = 1}};
    return sets[which % SMALL_SETS];
}

static inline int small_layers(const struct model *m) {
    int layers = m->count;
    for (int i = 0; i < m->count; i++)
        for (int k = 0; k < m->layers[i].inner_count; k++) layers += small_layers(m->layers[i].inner[k]);
    return layers;
}

// Samples of a shard, as many as the run would give it, or fewer.
static inline int small_rows(const struct config *c, const struct params *ps) {
    int64_t rows = c->train.batch / c->train.shards;
    if (rows > SMALL_ROWS) rows = SMALL_ROWS > ps->shard_rows ? SMALL_ROWS : ps->shard_rows;
    return (int)rows;
}

// Builds the model alone, which takes no memory for its numbers yet, and asks what it will need.
static inline bool small_enough(const struct config *c, const struct dataset *data) {
    struct run r = {.config = *c, .data = *data, .params = params_new()};
    struct memory need;
    struct err e = {""};
    r.model = model_new(c->model, "model", data->sample, r.params, &e);
    bool small = false;
    if (r.model) {
        r.config.train.batch = c->train.shards * small_rows(c, r.params);
        small = small_layers(r.model) <= SMALL_LAYERS && c->train.shards <= SMALL_SHARDS &&
                r.params->size <= SMALL_NUMBERS && memory_need(&need, &r, &e) == 0 &&
                memory_sum(&need) <= SMALL_MEMORY;
    }
    bool refused = *e.text != 0; // it will be once more
    CHECK(r.model || refused, "a model is refused without a message");
    model_free(r.model);
    params_free(r.params);
    return small || refused;
}

// Samples and what they are to be answered with, on this tape.
static inline struct tensor *small_samples(struct truth *truth, struct tape *t, const struct dataset *data,
                                           int rows, uint64_t seed) {
    struct rng r = rng_stream(seed, "samples");
    struct shape shape = {data->sample.rank + 1, {rows}};
    for (int i = 0; i < data->sample.rank; i++) shape.dim[i + 1] = data->sample.dim[i];
    struct tensor *x = tape_leaf(t, shape, false);
    for (size_t i = 0; i < x->size; i++)
        x->value[i] = data->kind == DATA_TOKENS ? (real)rng_below(&r, (uint32_t)data->classes)
                                                : (real)(rng_uniform(&r) * 2 - 1);
    size_t targets = (size_t)rows * dataset_targets(data);
    *truth = (struct truth){.rows = targets};
    if (data->classes) {
        uint8_t *labels = arena_alloc(t->arena, targets, 1);
        for (size_t i = 0; i < targets; i++) labels[i] = (uint8_t)rng_below(&r, (uint32_t)data->classes);
        truth->labels = labels;
    } else {
        size_t answers = (size_t)rows * shape_size(data->target);
        real *values = arena_alloc(t->arena, answers, sizeof *values);
        for (size_t i = 0; i < answers; i++) values[i] = (real)rng_uniform(&r);
        truth->values = values;
    }
    return x;
}

// As run_step, on numbers drawn at random; where those are not finite, nothing moves, and what is told must be a message.
static inline void small_step(struct run *r, const struct dataset *data) {
    int shards = (int)r->config.train.shards, rows = small_rows(&r->config, r->params);
    double bytes = 0;
    optim_ready(r->optim);
    for (int i = 0; i < shards; i++) {
        struct tape *t = r->tapes[i];
        struct truth truth;
        struct score score = {0};
        params_unset_grad(r->params, i);
        tape_reset(t, true);
        t->dropout =
            rng_row(rng_stream((uint64_t)r->config.seed, "dropout"), (uint64_t)(r->step * shards + i));
        t->epoch = r->epoch;
        struct tensor *x = small_samples(&truth, t, data, rows, (uint64_t)(r->step * shards + i));
        struct tensor *y = model_forward(r->model, t, x), *loss = loss_forward(&r->loss, t, y, &truth);
        score_add(&score, &r->loss, y, &truth, loss);
        if (!isfinite(loss->value[0])) {
            if (tape_fault(r->fault, t)) fuzz_check_message(r->fault);
            return;
        }
        if (t->penalty) loss = op_add(t, loss, t->penalty);
        tape_backward(t, loss, (real)1 / (real)shards);
        bytes += (double)arena_bytes(t->arena);
    }
    CHECK(bytes <= 2 * r->memory, "a step took %.0f bytes, all was to take %.0f", bytes, r->memory);
    if (params_reduce(r->params, 1) >= 0) return;
    params_update_buffers(r->params, (size_t)(shards * rows),
                          (double)(shards * rows) * (double)(r->step + 1));
    optim_step(r->optim, ++r->step, (double)r->epoch, (double)r->config.train.epochs, 1);
}

#endif
