// A run. Contracts in run.h.
#include "experiments/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/blas.h"
#include "src/parallel.h"

enum { EVALUATE_ROWS = 256 };

// --- opening
// ----------------------------------------------------------------------------------------------------

// data.KEY of the config with all defaults, added to `data`.
static int set_resolve(struct json *data, const char *key, const struct json *node, struct err *e) {
    char path[JSON_PATH];
    json_path(path, "data", key, 0);
    struct json *resolved = dataset_resolve_new(node, path, e);
    if (!resolved) return -1;
    json_add(data, key, resolved);
    return 0;
}

// The `data` section with all defaults; NULL on failure.
static struct json *data_resolve_new(const struct config_data *d, struct err *e) {
    struct json *data = json_object_new();
    if (set_resolve(data, "set", d->set, e) != 0 ||
        (d->fallback && set_resolve(data, "fallback", d->fallback, e) != 0)) {
        json_free(data);
        return NULL;
    }
    json_add_string(data, "folder", d->folder);
    json_add_number(data, "validation", (double)d->validation);
    json_add_bool(data, "normalise", d->normalise);
    return data;
}

// The set the config names, else its fallback when the files are nowhere; or just the one that is wanted.
static int data_open(struct run *r, const struct run_options *options, struct err *e) {
    const struct config_data *d = &r->config.data;
    struct data_source source = {.folder = {options->data_folder, getenv("TALLY_DATA"), d->folder},
                                 .threads = parallel_processors()};
    const char *wanted = options->only_set ? options->only_set : r->config.dataset;
    const char *set, *fallback = NULL;
    const struct json *ignored;
    if (json_read_named(&set, &ignored, d->set, "data.set", e) != 0) return -1;
    if (d->fallback && json_read_named(&fallback, &ignored, d->fallback, "data.fallback", e) != 0) return -1;
    bool first = !wanted || strcmp(wanted, set) == 0;
    if (!first && (!fallback || strcmp(wanted, fallback) != 0))
        return err_set(e, "%s: dataset: '%.60s' is neither data.set nor data.fallback", r->config.where,
                       wanted);
    if (first) {
        int result = dataset_open(&r->data, d->set, "data.set", &source, e);
        if (result == 0 || wanted || !fallback || !source.missing) return result;
        snprintf(r->data_note, sizeof r->data_note, "%s", e->text);
        dataset_close(&r->data);
    }
    r->fell_back = true;
    return dataset_open(&r->data, d->fallback, "data.fallback", &source, e);
}

// Model, parameters, optimiser and tapes; then the config again with all defaults. `data` becomes part of it.
static int parts_build(struct run *r, const char *set, struct shape sample, int classes, struct json *data,
                       struct err *e) {
    const struct config *c = &r->config;
    r->params = params_new();
    r->model = model_new(c->model, "model", sample, r->params, e);
    int result = r->model ? 0 : -1;
    char text[SHAPE_TEXT];
    if (result == 0 && (r->model->out.rank != 1 || r->model->out.dim[0] != classes))
        result = err_set(e, "model: ends with %s, the data set has %d classes",
                         shape_text(text, r->model->out), classes);
    if (result == 0 && params_trained(r->params) == 0) result = err_set(e, "model: has nothing to train");
    if (result == 0 && c->train.batch / c->train.shards < r->params->shard_rows)
        result = err_set(e, "train.shards: %lld parts of a batch of %lld; the model needs %d samples in each",
                         (long long)c->train.shards, (long long)c->train.batch, r->params->shard_rows);
    if (result == 0) {
        params_alloc(r->params, (int)c->train.shards, (uint64_t)c->seed);
        r->optim = optim_new(c->optim, "optim", r->params, (uint64_t)c->seed, e);
        if (!r->optim) result = -1;
    }
    if (result != 0) {
        json_free(data);
        return err_at(e, c->where);
    }
    r->tapes = mem_new((size_t)c->train.shards, sizeof *r->tapes);
    r->scores = mem_new((size_t)c->train.shards, sizeof *r->scores);
    for (int i = 0; i < c->train.shards; i++) r->tapes[i] = tape_new(r->params, i);
    r->resolved = json_object_new();
    json_add_string(r->resolved, "name", c->name);
    json_add_number(r->resolved, "seed", (double)c->seed);
    json_add_string(r->resolved, "dataset", set);
    json_add(r->resolved, "data", data);
    json_add(r->resolved, "model", model_write_new(r->model));
    json_add(r->resolved, "optim", optim_write_new(r->optim));
    json_add(r->resolved, "train", fields_write_new(&c->train, config_train_fields));
    return 0;
}

int run_open(struct run *r, struct config *config, const struct run_options *options, struct err *e) {
    memset(r, 0, sizeof *r);
    r->config = *config;
    const struct config_data *d = &r->config.data;
    config->root = NULL;
    blas_start();
    int shards = (int)r->config.train.shards, processors = parallel_processors();
    r->threads = options->threads ? options->threads : processors < shards ? processors : shards;
    struct json *data = data_resolve_new(d, e);
    if (!data) return err_at(e, r->config.where);
    int result = data_open(r, options, e);
    if (result == 0 && batches_open(&r->batches, &r->data, d->validation, d->normalise,
                                    (uint64_t)r->config.seed, "data", e) != 0)
        result = err_at(e, r->config.where);
    if (result != 0) {
        json_free(data);
        return -1;
    }
    return parts_build(r, r->data.type->name, r->data.sample, r->data.classes, data, e);
}

int run_open_without_data(struct run *r, struct config *config, const char *set, struct shape sample,
                          int classes, struct err *e) {
    memset(r, 0, sizeof *r);
    r->config = *config;
    config->root = NULL;
    r->threads = 1;
    struct json *data = data_resolve_new(&r->config.data, e);
    return data ? parts_build(r, set, sample, classes, data, e) : err_at(e, r->config.where);
}

void run_close(struct run *r) {
    if (r->tapes)
        for (int i = 0; i < r->config.train.shards; i++) tape_free(r->tapes[i]);
    mem_free(r->tapes);
    mem_free(r->scores);
    optim_free(r->optim);
    model_free(r->model);
    params_free(r->params);
    batches_close(&r->batches);
    dataset_close(&r->data);
    json_free(r->resolved);
    config_close(&r->config);
    memset(r, 0, sizeof *r);
}

// --- working
// ----------------------------------------------------------------------------------------------------

int64_t run_batches(const struct run *r) {
    return (r->batches.count[PART_TRAIN] + r->config.train.batch - 1) / r->config.train.batch;
}

// Forward over `count` samples from `first` on this tape; adds to the score and returns the mean loss. `out` is NULL or
// gets the logits [count][classes].
static struct tensor *forward(const struct run *r, struct tape *t, enum part part, size_t first, size_t count,
                              struct score *score, real *out) {
    struct shape shape = {r->data.sample.rank + 1, {(int)count}};
    for (int i = 0; i < r->data.sample.rank; i++) shape.dim[i + 1] = r->data.sample.dim[i];
    struct tensor *x = tape_leaf(t, shape, false);
    uint8_t *labels = arena_alloc(t->arena, count, 1);
    batches_get(x->value, labels, &r->batches, part, first, count);
    t->epoch = r->epoch;
    struct tensor *logits = model_forward(r->model, t, x);
    struct tensor *loss = op_cross_entropy(t, logits, labels, 0);
    int classes = logits->shape.dim[1];
    if (out) memcpy(out, logits->value, count * (size_t)classes * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        const real *row = logits->value + i * (size_t)classes;
        int best = 0;
        for (int j = 1; j < classes; j++) best = row[j] > row[best] ? j : best;
        score->wrong += best != labels[i];
    }
    score->loss += (double)loss->value[0] * (double)count;
    score->count += count;
    return loss;
}

struct batch_task {
    struct run *run;
    size_t first, count;
};

static void shard_step(void *context, int shard) {
    const struct batch_task *task = context;
    struct run *r = task->run;
    size_t shards = (size_t)r->config.train.shards, s = (size_t)shard;
    size_t from = s * task->count / shards, to = (s + 1) * task->count / shards;
    params_zero_grad(r->params, shard);
    r->scores[shard] = (struct score){0};
    if (from == to) return;
    struct tape *t = r->tapes[shard];
    tape_reset(t, true);
    t->dropout = rng_row(rng_stream((uint64_t)r->config.seed, "dropout"), (uint64_t)r->step * shards + s);
    struct tensor *loss = forward(r, t, PART_TRAIN, task->first + from, to - from, &r->scores[shard], NULL);
    tape_backward(t, loss, (real)((double)(to - from) / (double)task->count));
}

double run_step(struct run *r) {
    size_t batch = (size_t)r->config.train.batch, first = (size_t)r->batch * batch;
    size_t left = r->batches.count[PART_TRAIN] - first;
    struct batch_task task = {r, first, left < batch ? left : batch};
    int shards = (int)r->config.train.shards;
    parallel_for(r->threads, shards, shard_step, &task);
    params_reduce(r->params, r->threads);
    double seen = (double)r->epoch * (double)r->batches.count[PART_TRAIN] + (double)(first + task.count);
    params_update_buffers(r->params, task.count, seen);
    double loss = 0;
    for (int i = 0; i < shards; i++) {
        loss += r->scores[i].loss;
        r->training.wrong += r->scores[i].wrong;
    }
    r->training.loss += loss;
    r->training.count += task.count;
    double position = (double)r->epoch + (double)r->batch / (double)run_batches(r);
    optim_step(r->optim, ++r->step, position, (double)r->config.train.epochs, r->threads);
    r->batch++;
    return loss / (double)task.count;
}

struct evaluate_task {
    struct run *run;
    enum part part;
    real *logits; // of the whole part, or NULL
};

// Each shard's tape takes every shards-th chunk.
static void shard_evaluate(void *context, int shard) {
    const struct evaluate_task *task = context;
    struct run *r = task->run;
    size_t count = r->batches.count[task->part], stride = (size_t)r->config.train.shards * EVALUATE_ROWS;
    r->scores[shard] = (struct score){0};
    for (size_t first = (size_t)shard * EVALUATE_ROWS; first < count; first += stride) {
        size_t rows = count - first < EVALUATE_ROWS ? count - first : EVALUATE_ROWS;
        tape_reset(r->tapes[shard], false);
        real *logits = task->logits ? task->logits + first * (size_t)r->data.classes : NULL;
        forward(r, r->tapes[shard], task->part, first, rows, &r->scores[shard], logits);
    }
}

struct score run_logits(struct run *r, enum part part, real *logits) {
    struct evaluate_task task = {r, part, logits};
    parallel_for(r->threads, (int)r->config.train.shards, shard_evaluate, &task);
    struct score sum = {0};
    for (int i = 0; i < r->config.train.shards; i++) {
        sum.loss += r->scores[i].loss;
        sum.wrong += r->scores[i].wrong;
        sum.count += r->scores[i].count;
    }
    return sum;
}

struct score run_evaluate(struct run *r, enum part part) {
    return run_logits(r, part, NULL);
}

double score_error(struct score s) {
    return s.count ? 100.0 * (double)s.wrong / (double)s.count : NAN;
}

double score_loss(struct score s) {
    return s.count ? s.loss / (double)s.count : NAN;
}
