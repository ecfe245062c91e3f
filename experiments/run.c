// A run. Contracts in run.h.
#include "experiments/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/memory.h"
#include "src/blas.h"
#include "src/memory.h"
#include "src/parallel.h"

enum { EVALUATE_SAMPLES = 256, EVALUATE_POSITIONS = 1024 }; // of a tape at a time, whichever are fewer

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

// The `data` section with all defaults but what depends on the set that is used; NULL on failure.
static struct json *data_resolve_new(const struct config_data *d, struct err *e) {
    struct json *data = json_object_new();
    if (set_resolve(data, "set", d->set, e) != 0 ||
        (d->fallback && set_resolve(data, "fallback", d->fallback, e) != 0)) {
        json_free(data);
        return NULL;
    }
    json_add_string(data, "folder", d->folder);
    return data;
}

static void data_resolve_for(struct json *data, const struct config_data *d, const char *set) {
    const struct dataset_type *type = dataset_type_find(set);
    bool usual = d->validation < 0 && !(type && type->keeps_validation);
    json_add_number(data, "validation", usual ? BATCHES_VALIDATION : (double)d->validation);
    json_add_bool(data, "normalise", d->normalise);
    // Left out where there is none, as checkpoints from before there was any have it.
    if (augment_acts(&d->augment)) json_add(data, "augment", fields_write_new(&d->augment, augment_fields));
}

// The set the config names, else its fallback when the files are nowhere; or just the one that is wanted.
static int data_open(struct run *r, const struct run_options *options, struct err *e) {
    const struct config_data *d = &r->config.data;
    struct data_source source = {.folder = {options->data_folder, getenv("TALLY_DATA"), d->folder},
                                 .threads = parallel_processors(),
                                 .max_memory = r->max_memory};
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

// What the model puts out must be what the data asks for.
static int output_check(const struct model *m, const struct dataset *data, struct err *e) {
    char text[2][SHAPE_TEXT];
    struct shape wanted = dataset_output(data);
    if (shape_equal(m->out, wanted)) return 0;
    shape_text(text[0], m->out);
    if (data->classes && data->targets <= 1)
        return err_set(e, "model: ends with %s, the data set has %d classes", text[0], data->classes);
    return err_set(e, "model: ends with %s, the data set wants %s%s", text[0], shape_text(text[1], wanted),
                   data->classes ? ": classes for each position" : "");
}

static int parts_check(const struct run *r, const struct dataset *data, struct err *e) {
    const struct config_train *train = &r->config.train;
    if (output_check(r->model, data, e) != 0) return -1;
    if (r->params->tokens && data->kind != DATA_TOKENS)
        return err_set(e, "model: an embedding wants tokens, the data set has %s",
                       data_kind_name(data->kind));
    if (r->params->tokens && r->params->tokens < data->classes)
        return err_set(e, "model: an embedding has rows for %d tokens, the data set has %d",
                       r->params->tokens, data->classes);
    if (train->checkpoint_best == BEST_ERROR && !r->loss.metric[METRIC_ERROR])
        return err_set(e, "train.checkpoint_best: this run measures no error; take \"loss\"");
    if (params_trained(r->params) == 0) return err_set(e, "model: has nothing to train");
    if (train->batch / train->shards < r->params->shard_rows)
        return err_set(e, "train.shards: %lld parts of a batch of %lld; the model needs %d samples in each",
                       (long long)train->shards, (long long)train->batch, r->params->shard_rows);
    return 0;
}

static void config_resolve(struct run *r, const char *set, const struct dataset *data, struct json *section) {
    const struct config *c = &r->config;
    struct config_train train = c->train;
    train.loss = train.metrics = NULL;
    data_resolve_for(section, &c->data, set);
    r->resolved = json_object_new();
    json_add_string(r->resolved, "name", c->name);
    json_add_number(r->resolved, "seed", (double)c->seed);
    json_add_string(r->resolved, "dataset", set);
    json_add(r->resolved, "data", section);
    json_add(r->resolved, "model", model_write_new(r->model));
    json_add(r->resolved, "optim", optim_write_new(r->optim));
    struct json *written = fields_write_new(&train, config_train_fields);
    loss_write(written, &r->loss, data);
    json_add(r->resolved, "train", written);
}

// Loss, model, parameters, optimiser and tapes; then the config again with all defaults, of which `section` becomes the part
// `data`.
static int parts_build(struct run *r, const char *set, const struct dataset *data, struct json *section,
                       struct err *e) {
    const struct config *c = &r->config;
    struct memory need;
    r->params = params_new();
    int result = loss_read(&r->loss, c->train.loss, c->train.metrics, data, "train", e);
    if (result == 0) r->model = model_new(c->model, "model", data->sample, r->params, e);
    if (result == 0) result = r->model ? parts_check(r, data, e) : -1;
    if (result == 0) result = memory_need(&need, r, e);
    if (result == 0) result = memory_check(&need, r->max_memory, e);
    if (result == 0) {
        r->memory = memory_sum(&need);
        params_alloc(r->params, (int)c->train.shards, (uint64_t)c->seed);
        r->optim = optim_new(c->optim, "optim", r->params, (uint64_t)c->seed, e);
        if (!r->optim) result = -1;
    }
    if (result != 0) {
        json_free(section);
        return err_at(e, c->where);
    }
    r->tapes = mem_new((size_t)c->train.shards, sizeof *r->tapes);
    r->scores = mem_new((size_t)c->train.shards, sizeof *r->scores);
    for (int i = 0; i < c->train.shards; i++) r->tapes[i] = tape_new(r->params, i);
    config_resolve(r, set, data, section);
    return 0;
}

int run_open(struct run *r, struct config *config, const struct run_options *options, struct err *e) {
    memset(r, 0, sizeof *r);
    r->config = *config;
    const struct config_data *d = &r->config.data;
    config->root = NULL;
    r->max_memory = options->max_memory > 0 ? options->max_memory : memory_machine();
    blas_start();
    int shards = (int)r->config.train.shards, processors = parallel_processors();
    r->threads = options->threads ? options->threads : processors < shards ? processors : shards;
    struct json *data = data_resolve_new(d, e);
    if (!data) return err_at(e, r->config.where);
    int result = data_open(r, options, e);
    if (result == 0 && batches_open(&r->batches, &r->data, d->validation, d->normalise,
                                    (uint64_t)r->config.seed, "data", e) != 0)
        result = err_at(e, r->config.where);
    if (result == 0 && r->config.train.checkpoint_best != BEST_NONE && !r->batches.count[PART_VALIDATION])
        result = err_set(e, "%s: train.checkpoint_best: there is no validation part, see data.validation",
                         r->config.where);
    if (result == 0 && augment_check(&d->augment, &r->data, "data.augment", e) != 0)
        result = err_at(e, r->config.where);
    if (result != 0) {
        json_free(data);
        return -1;
    }
    batches_augment(&r->batches, &d->augment);
    return parts_build(r, r->data.type->name, &r->data, data, e);
}

int run_open_without_data(struct run *r, struct config *config, const char *set, const struct dataset *data,
                          struct err *e) {
    memset(r, 0, sizeof *r);
    r->config = *config;
    config->root = NULL;
    r->max_memory = memory_machine();
    r->threads = 1;
    struct json *section = data_resolve_new(&r->config.data, e);
    return section ? parts_build(r, set, data, section, e) : err_at(e, r->config.where);
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

// The samples as a leaf, and what they are to be answered with.
static struct tensor *samples_take(struct truth *truth, const struct run *r, struct tape *t, enum part part,
                                   size_t first, size_t count) {
    const struct dataset *data = &r->data;
    struct shape shape = {data->sample.rank + 1, {(int)count}};
    for (int i = 0; i < data->sample.rank; i++) shape.dim[i + 1] = data->sample.dim[i];
    struct tensor *x = tape_leaf(t, shape, false);
    uint8_t *labels = data->classes ? arena_alloc(t->arena, count, dataset_targets(data)) : NULL;
    if (t->training)
        batches_draw(x->value, labels, &r->batches, first, count);
    else
        batches_get(x->value, labels, &r->batches, part, first, count);
    *truth = (struct truth){.rows = count * dataset_targets(data), .labels = labels};
    if (labels) return x;
    truth->values = arena_alloc(t->arena, count, shape_size(data->target) * sizeof(real));
    batches_values(truth->values, &r->batches, part, first, count);
    return x;
}

// Forward over `count` samples from `first` on this tape; adds to the score and returns the mean loss. `out` is NULL or
// gets what the model puts out.
static struct tensor *forward(const struct run *r, struct tape *t, enum part part, size_t first, size_t count,
                              struct score *score, real *out) {
    struct truth truth;
    profile_start(t->profile, PROFILE_PART, "gather");
    struct tensor *x = samples_take(&truth, r, t, part, first, count);
    t->epoch = r->epoch;
    struct tensor *y = model_forward(r->model, t, x);
    struct tensor *loss = loss_forward(&r->loss, t, y, &truth);
    profile_start(t->profile, PROFILE_PART, "score");
    score_add(score, &r->loss, y, &truth, loss);
    if (out) memcpy(out, y->value, y->size * sizeof *out);
    return loss;
}

static void score_sum(struct score *sum, const struct score *part) {
    sum->loss += part->loss;
    sum->wrong += part->wrong;
    sum->judged += part->judged;
    sum->count += part->count;
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
    struct tape *t = r->tapes[shard];
    profile_start(t->profile, PROFILE_PART, "unset gradients");
    params_unset_grad(r->params, shard);
    r->scores[shard] = (struct score){0};
    if (from == to) return profile_stop(t->profile);
    tape_reset(t, true);
    t->dropout = rng_row(rng_stream((uint64_t)r->config.seed, "dropout"), (uint64_t)r->step * shards + s);
    struct tensor *loss = forward(r, t, PART_TRAIN, task->first + from, to - from, &r->scores[shard], NULL);
    if (t->penalty) loss = op_add(t, loss, t->penalty);
    tape_backward(t, loss, (real)((double)(to - from) / (double)task->count));
}

// Of a step whose loss is not finite.
static void fault_find(struct run *r) {
    for (int i = 0; i < r->config.train.shards; i++)
        if (r->scores[i].count && tape_fault(r->fault, r->tapes[i])) return;
    snprintf(r->fault, sizeof r->fault, "the sum of the loss");
}

double run_step(struct run *r) {
    size_t batch = (size_t)r->config.train.batch, first = (size_t)r->batch * batch;
    size_t left = r->batches.count[PART_TRAIN] - first;
    struct batch_task task = {r, first, left < batch ? left : batch};
    int shards = (int)r->config.train.shards;
    optim_ready(r->optim);
    profile_start(r->profile, PROFILE_PART, "shards");
    parallel_for(r->threads, shards, shard_step, &task);
    struct score sum = {0};
    for (int i = 0; i < shards; i++) score_sum(&sum, &r->scores[i]);
    score_sum(&r->training, &sum);
    double loss = score_loss(sum);
    if (!isfinite(loss)) {
        fault_find(r);
        return loss;
    }
    profile_start(r->profile, PROFILE_PART, "reduce");
    int bad = params_reduce(r->params, r->threads);
    if (bad >= 0) {
        snprintf(r->fault, sizeof r->fault, "the gradient of %s", r->params->list[bad].name);
        return loss;
    }
    profile_start(r->profile, PROFILE_PART, "buffers");
    double seen = (double)r->epoch * (double)r->batches.count[PART_TRAIN] + (double)(first + task.count);
    params_update_buffers(r->params, task.count, seen);
    double position = (double)r->epoch + (double)r->batch / (double)run_batches(r);
    optim_step(r->optim, ++r->step, position, (double)r->config.train.epochs, r->threads);
    r->batch++;
    return loss;
}

void run_measure(struct run *r, struct profile *profiles) {
    int shards = (int)r->config.train.shards;
    for (int i = 0; i < shards; i++) r->tapes[i]->profile = profiles ? &profiles[i] : NULL;
    r->profile = r->optim->profile = profiles ? &profiles[shards] : NULL;
}

struct evaluate_task {
    struct run *run;
    enum part part;
    real *logits; // of the whole part, or NULL
};

double run_evaluate_rows(const struct run *r) {
    size_t most = EVALUATE_POSITIONS / dataset_targets(&r->data);
    return most < 1 ? 1 : most > EVALUATE_SAMPLES ? EVALUATE_SAMPLES : (double)most;
}

// Each shard's tape takes every shards-th chunk.
static void shard_evaluate(void *context, int shard) {
    const struct evaluate_task *task = context;
    struct run *r = task->run;
    size_t count = r->batches.count[task->part], most = (size_t)run_evaluate_rows(r);
    r->scores[shard] = (struct score){0};
    for (size_t first = (size_t)shard * most; first < count; first += most * (size_t)r->config.train.shards) {
        size_t samples = count - first < most ? count - first : most;
        tape_reset(r->tapes[shard], false);
        real *logits = task->logits ? task->logits + first * shape_size(r->model->out) : NULL;
        forward(r, r->tapes[shard], task->part, first, samples, &r->scores[shard], logits);
    }
}

struct score run_logits(struct run *r, enum part part, real *logits) {
    struct evaluate_task task = {r, part, logits};
    optim_settle(r->optim, r->threads);
    optim_ready(r->optim);
    parallel_for(r->threads, (int)r->config.train.shards, shard_evaluate, &task);
    optim_settle(r->optim, r->threads);
    struct score sum = {0};
    for (int i = 0; i < r->config.train.shards; i++) score_sum(&sum, &r->scores[i]);
    return sum;
}

struct score run_evaluate(struct run *r, enum part part) {
    return run_logits(r, part, NULL);
}
