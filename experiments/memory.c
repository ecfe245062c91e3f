// What a run will take. Contracts in memory.h.
#include "experiments/memory.h"

#include <math.h>

#include "src/memory.h"

static double split_bytes(const struct dataset *d, const struct split *s) {
    double samples = s->count, targets = (double)dataset_targets(d), sample = (double)shape_size(d->sample);
    double bytes = 0;
    if (s->pixels) bytes += samples * (s->stride ? (double)s->stride : sample);
    if (s->labels) bytes += samples * (s->label_stride ? (double)s->label_stride : targets);
    if (s->numbers) bytes += samples * (s->stride ? (double)s->stride : sample) * sizeof *s->numbers;
    if (s->values) bytes += samples * (double)shape_size(d->target) * sizeof *s->values;
    return bytes + samples * 2 * sizeof(uint32_t); // with the order of an epoch
}

// Values and a block of gradients for each shard, and the mark of the freeze.
static double parameter_bytes(const struct params *ps, double shards) {
    return (double)ps->size * ((1 + shards) * sizeof(real) + 1);
}

// The tapes of all shards, in training or, without gradients but of more samples, in an evaluation. Blocks of an arena
// grow, and are not filled to the end.
static double step_bytes(const struct run *r, double shards) {
    static const double room = 1.2, first_block = 1 << 20;
    double sample = (double)shape_size(r->model->in), rows = ceil((double)r->config.train.batch / shards);
    double train = sample * rows + model_step_numbers(r->model, rows);
    rows = run_evaluate_rows(r);
    double evaluate = sample * rows + model_step_numbers(r->model, rows) / 2;
    return shards * (first_block + room * (train > evaluate ? train : evaluate) * sizeof(real));
}

int memory_need(struct memory *m, const struct run *r, struct err *e) {
    const struct dataset *d = &r->data;
    double shards = (double)r->config.train.shards, weights = 0, others = 0, state[OPTIM_LISTS];
    if (optim_bytes(state, r->config.optim, "optim", e) != 0) return -1;
    for (int i = 0; i < r->params->count; i++) {
        const struct param *p = &r->params->list[i];
        if (!p->buffer) *(param_is_weight(p) ? &weights : &others) += (double)p->size;
    }
    *m = (struct memory){.data = split_bytes(d, &d->train) + split_bytes(d, &d->validation) +
                                 split_bytes(d, &d->test),
                         .parameters = parameter_bytes(r->params, shards),
                         .optimiser = weights * state[OPTIM_WEIGHTS] + others * state[OPTIM_OTHERS],
                         .step = step_bytes(r, shards)};
    return 0;
}

double memory_sum(const struct memory *m) {
    return m->data + m->parameters + m->optimiser + m->step;
}

int memory_check(const struct memory *m, double most, struct err *e) {
    char text[6][MEMORY_TEXT];
    if (memory_sum(m) <= most) return 0;
    return err_set(
        e, "needs about %s (data %s, parameters and gradients %s, optimiser %s, a step %s), %s are allowed",
        memory_text(text[0], memory_sum(m)), memory_text(text[1], m->data),
        memory_text(text[2], m->parameters), memory_text(text[3], m->optimiser),
        memory_text(text[4], m->step), memory_text(text[5], most));
}
