// The training loop. Contracts in train.h.
#include "experiments/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/health.h"
#include "experiments/keep.h"
#include "experiments/picture.h"
#include "experiments/version.h"
#include "src/blas.h"
#include "src/file.h"

const char TRAIN_CHECKPOINT[] = "checkpoint.safetensors", TRAIN_SUMMARY[] = "summary.json";
const char TRAIN_CONFIG[] = "config.json", TRAIN_METRICS[] = "metrics.jsonl";
const char TRAIN_BEST[] = "best.safetensors";

enum { PATH_LENGTH = 4096 };

// The loop's own state, between the epochs.
struct loop {
    struct run *run;
    const struct train_options *options;
    struct log log;
    struct keep keep;
    double first_step;               // where this process began
    double seconds, samples;         // of training steps in this epoch
    double all_seconds, all_samples; // of those in the epochs before, in this process
    struct score training;           // of the last whole epoch
    double loss;                     // of the last step
    struct health health;
    char fault[HEALTH_TEXT]; // of a run that diverged
};

const char *train_status_name(enum train_status status) {
    static const char *const names[] = {"finished", "interrupted", "diverged", "dead"};
    return names[status];
}

void train_density(size_t *weights, size_t *nonzero, const struct params *ps) {
    *weights = *nonzero = 0;
    for (int i = 0; i < ps->count; i++) {
        if (!param_is_weight(&ps->list[i])) continue;
        *weights += ps->list[i].size;
        *nonzero += param_nonzero(&ps->list[i]);
    }
}

static double density(const struct params *ps) {
    size_t weights, nonzero;
    train_density(&weights, &nonzero, ps);
    return weights ? (double)nonzero / (double)weights : 0;
}

struct json *train_layers_new(const struct params *ps) {
    struct json *layers = json_array_new();
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        if (!param_is_weight(p)) continue;
        struct json *layer = json_object_new(), *shape = json_array_new();
        for (int d = 0; d < p->shape.rank; d++) json_add_number(shape, NULL, p->shape.dim[d]);
        size_t nonzero = param_nonzero(p);
        json_add_string(layer, "name", p->name);
        json_add(layer, "shape", shape);
        json_add_number(layer, "weights", (double)p->size);
        json_add_number(layer, "nonzero", (double)nonzero);
        json_add_number(layer, "density", (double)nonzero / (double)p->size);
        if (p->counted) {
            int64_t largest = 0;
            for (size_t j = 0; j < p->size; j++) {
                int64_t c = llabs((long long)param_counter(p, j));
                if (c > largest) largest = c;
            }
            json_add_string(layer, "map", number_name(p->number.kind));
            json_add_number(layer, "bits", p->number.bits);
            json_add_number(layer, "scale", p->scale);
            json_add_number(layer, "largest_counter", (double)largest);
            json_add_number(layer, "saturated", (double)param_saturated(p));
        }
        json_add(layers, NULL, layer);
    }
    return layers;
}

// --- files
// ------------------------------------------------------------------------------------------------------

static int tree_save(const struct loop *l, const char *name, const struct json *tree, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, l->options->folder, name, e) != 0) return -1;
    char *text = json_print_new(tree, true), *line = mem_new(strlen(text) + 2, 1);
    strcat(strcpy(line, text), "\n");
    int result = file_write_text(path, line, e);
    mem_free(line);
    mem_free(text);
    return result;
}

// --- an epoch
// ---------------------------------------------------------------------------------------------------

// Training samples per second, of this epoch.
static double speed(const struct loop *l) {
    return l->seconds > 0 ? l->samples / l->seconds : 0;
}

static void progress(struct loop *l, double step_density) {
    const struct run *r = l->run;
    double per_epoch = (double)run_batches(r);
    struct progress p = {.done = (double)r->epoch * per_epoch + (double)r->batch,
                         .total = (double)r->config.train.epochs * per_epoch,
                         .first = l->first_step,
                         .elapsed = log_seconds() - l->log.start,
                         .samples_per_second = speed(l),
                         .epoch = (int)r->epoch + 1,
                         .epochs = (int)r->config.train.epochs,
                         .loss = score_loss(r->training),
                         .error = score_error(r->training),
                         .density = step_density};
    log_progress(&l->log, &p);
}

// All steps that are left in the epoch.
static enum train_status epoch_steps(struct loop *l) {
    struct run *r = l->run;
    double start_density = density(r->params);
    while (r->batch < run_batches(r)) {
        if (l->options->stop && *l->options->stop) return TRAIN_INTERRUPTED;
        double start = log_seconds();
        uint64_t seen = r->training.count;
        l->loss = run_step(r);
        l->seconds += log_seconds() - start;
        l->samples += (double)(r->training.count - seen) / (double)dataset_targets(&r->data);
        if (*r->fault) return TRAIN_DIVERGED;
        health_step(&l->health, r, &l->log);
        progress(l, start_density);
        keep_step(&l->keep);
    }
    return TRAIN_FINISHED;
}

static void perplexity_add(struct json *object, const char *key, const struct run *r, struct score s) {
    if (r->loss.metric[METRIC_PERPLEXITY]) json_add_number(object, key, score_perplexity(&r->loss, s));
}

static struct json *metrics_new(struct loop *l) {
    const struct run *r = l->run;
    struct json *line = json_object_new(), *layers = json_object_new();
    json_add_number(line, "epoch", (double)r->epoch);
    json_add_string(line, "dataset", r->data.type->name);
    json_add_number(line, "loss", score_loss(l->training));
    json_add_number(line, "train_error", score_error(l->training));
    json_add_number(line, "validation_loss", score_loss(l->run->validation));
    json_add_number(line, "validation_error", score_error(l->run->validation));
    perplexity_add(line, "validation_perplexity", r, l->run->validation);
    json_add_number(line, "density", density(r->params));
    for (int i = 0; i < r->params->count; i++) {
        const struct param *p = &r->params->list[i];
        if (param_is_weight(p)) json_add_number(layers, p->name, (double)param_nonzero(p) / (double)p->size);
    }
    json_add(line, "density_per_layer", layers);
    json_add_number(line, "rate",
                    schedule_factor(&r->optim->schedule, (double)r->epoch, (double)r->config.train.epochs));
    json_add_number(line, "samples_per_second", speed(l));
    return line;
}

// The line that stays when the bar has moved on, and what there is to warn of.
static void epoch_say(struct loop *l) {
    const struct run *r = l->run;
    char train_error[48] = "", validation[SCORE_TEXT] = "";
    if (l->training.judged)
        snprintf(train_error, sizeof train_error, "  train %.2f %%", score_error(l->training));
    if (l->run->validation.count) score_text(validation, &r->loss, l->run->validation, "");
    log_line(&l->log, "epoch %d/%d  loss %.4f%s%s%s  density %.4f  %.0f samples/s", (int)r->epoch,
             (int)r->config.train.epochs, score_loss(l->training), train_error,
             *validation ? "  validation " : "", validation, density(r->params), speed(l));
    health_epoch(&l->health, r, &l->log);
}

// A run without a freeze, or too short for its density path, still ends at its target.
static void last_cut(struct loop *l) {
    struct run *r = l->run;
    size_t weights, before, after;
    char count[32];
    train_density(&weights, &before, r->params);
    optim_epoch(r->optim, r->config.train.epochs, r->config.train.epochs);
    train_density(&weights, &after, r->params);
    if (after < before)
        log_line(&l->log,
                 "cut %s weights at the end of the run, to hold its target density; a longer run trains on "
                 "after the cut",
                 log_count(count, (double)(before - after)));
    health_step(&l->health, r, &l->log);
}

static void validate(struct loop *l) {
    bool can = l->run->batches.count[PART_VALIDATION] > 0;
    l->run->validation = can ? run_evaluate(l->run, PART_VALIDATION) : (struct score){0};
}

static int epoch_end(struct loop *l, struct err *e) {
    struct run *r = l->run;
    l->training = r->training;
    if (r->epoch + 1 == r->config.train.epochs) last_cut(l);
    validate(l);
    r->epoch++;
    r->batch = 0;
    struct json *metrics = metrics_new(l);
    char *line = json_print_new(metrics, false);
    json_free(metrics);
    if (l->options->json) puts(line), fflush(stdout);
    epoch_say(l);
    l->all_seconds += l->seconds, l->all_samples += l->samples;
    l->seconds = l->samples = 0;
    int result = keep_epoch(&l->keep, line, e);
    mem_free(line);
    return result;
}

// --- the run
// ----------------------------------------------------------------------------------------------------

static void summary_build(struct json *s, const struct loop *l, enum train_status status, struct score test) {
    const struct run *r = l->run;
    size_t weights, nonzero;
    train_density(&weights, &nonzero, r->params);
    json_add_string(s, "status", train_status_name(status));
    if (*l->fault) json_add_string(s, "fault", l->fault);
    json_add_string(s, "name", r->config.name);
    json_add_string(s, "dataset", r->data.type->name);
    json_add_number(s, "seed", (double)r->config.seed);
    json_add_number(s, "epochs", (double)r->epoch);
    json_add_number(s, "test_error", score_error(test));
    json_add_number(s, "test_loss", score_loss(test));
    perplexity_add(s, "test_perplexity", r, test);
    json_add_number(s, "validation_error", score_error(l->run->validation));
    json_add_number(s, "validation_loss", score_loss(l->run->validation));
    perplexity_add(s, "validation_perplexity", r, l->run->validation);
    json_add_number(s, "train_loss", score_loss(l->training));
    json_add_number(s, "train_error", score_error(l->training));
    json_add_number(s, "parameters", (double)params_trained(r->params));
    json_add_number(s, "weights", (double)weights);
    json_add_number(s, "nonzero", (double)nonzero);
    json_add_number(s, "density", weights ? (double)nonzero / (double)weights : 0);
    json_add(s, "per_layer", train_layers_new(r->params));
    json_add_number(s, "state_bytes_per_weight", optim_state_bytes(r->optim, OPTIM_WEIGHTS));
    char path[PATH_LENGTH];
    struct err ignored;
    if (file_join(path, sizeof path, l->options->folder, TRAIN_CHECKPOINT, &ignored) == 0)
        json_add_number(s, "checkpoint_bytes", (double)file_bytes(path));
    double seconds = l->all_seconds + l->seconds;
    json_add_number(s, "samples_per_second", seconds > 0 ? (l->all_samples + l->samples) / seconds : 0);
    json_add_number(s, "seconds", log_seconds() - l->log.start);
    json_add_number(s, "threads", r->threads);
    json_add_number(s, "shards", (double)r->config.train.shards);
    json_add_string(s, "version", version_text());
    json_add_string(s, "commit", version_commit());
    json_add_string(s, "build", version_build());
    json_add_string(s, "blas", blas_name());
}

// The pictures are made once, at the end.
static int pictures_save(const struct loop *l, struct err *e) {
    char path[PATH_LENGTH];
    struct json *histogram = histogram_write_new(l->run->params);
    json_add_string(histogram, "dataset", l->run->data.type->name);
    int result = tree_save(l, "histogram.json", histogram, e);
    json_free(histogram);
    if (result != 0 || file_join(path, sizeof path, l->options->folder, "weights.png", e) != 0) return -1;
    return picture_write(l->run->params, l->run->data.sample, path, e);
}

static int epochs_run(struct loop *l, enum train_status *status, struct err *e) {
    struct run *r = l->run;
    int64_t epochs = r->config.train.epochs;
    if (r->epoch == epochs) { // killed between its last checkpoint and its summary, or that one was damaged
        l->training = r->training;
        validate(l);
        if (keep_now(&l->keep, e) != 0) return -1;
    }
    while (r->epoch < epochs) {
        if (r->batch == 0) {
            r->training = (struct score){0};
            optim_epoch(r->optim, r->epoch, epochs);
        }
        batches_epoch(&r->batches, r->epoch);
        *status = epoch_steps(l);
        double start = log_seconds();
        optim_settle(r->optim, r->threads);
        l->seconds += log_seconds() - start;
        if (!health_finite(l->fault, r, l->loss)) {
            *status = TRAIN_DIVERGED;
            log_line(&l->log, "diverged at %s: stopped; %s", l->fault,
                     l->keep.step < 0 ? "there is no checkpoint" : "the last checkpoint stays");
            return 0;
        }
        if (*status == TRAIN_INTERRUPTED) return keep_now(&l->keep, e);
        if (epoch_end(l, e) != 0) return -1;
    }
    *status = health_dead(r->params) >= 0 ? TRAIN_DEAD : TRAIN_FINISHED;
    return 0;
}

static int loop_run(struct loop *l, enum train_status *status, struct json **summary, struct err *e) {
    if (tree_save(l, TRAIN_CONFIG, l->run->resolved, e) != 0) return -1;
    if (epochs_run(l, status, e) != 0) return -1;
    struct score test = {0};
    if (*status == TRAIN_FINISHED || *status == TRAIN_DEAD) {
        test = run_evaluate(l->run, PART_TEST);
        if (pictures_save(l, e) != 0) return -1;
    }
    struct json *s = json_object_new();
    summary_build(s, l, *status, test);
    if (tree_save(l, TRAIN_SUMMARY, s, e) != 0) {
        json_free(s);
        return -1;
    }
    *summary = s;
    return 0;
}

int train(struct run *r, const struct train_options *options, enum train_status *status,
          struct json **summary, struct err *e) {
    struct loop l = {.run = r, .options = options};
    log_open(&l.log, options->quiet || options->json);
    l.first_step = (double)r->epoch * (double)run_batches(r) + (double)r->batch;
    *summary = NULL;
    health_open(&l.health, r);
    int result = keep_open(&l.keep, r, options, &l.log, e);
    if (result == 0) result = loop_run(&l, status, summary, e);
    keep_close(&l.keep);
    health_close(&l.health);
    return result;
}
