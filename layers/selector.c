// selector: a wide linear layer of which a few rows are at work, the others give 0:
//   y[r] = x · weight[r] + bias[r] where r is chosen, else 0;  weight (out, in), bias (out)
// `block` neighbouring rows, a unit, are chosen together; k = round(density · units) at a time.
//
// Who chooses:
//   sketch   the units with the largest scores, score = x · sketch_in · sketch_out, two fixed random matrices of rank
//            `rank`: a random hash of the sample as in Roller et al. 2021 (hash layers) or Chen et al. 2020 (SLIDE),
//            but with neighbours that share units
//   random   the control: units drawn anew in each step, whatever the sample
// For whom:
//   sample   each sample has its own units, in training and afterwards
//   batch    a shard's samples share the units with the largest sum of max(score, 0), which makes a step cheap.
//            Afterwards all samples share the units whose mean of that over the last `period` training samples (the
//            buffer `score`) is the largest
// A random choice afterwards is one fixed draw. So what comes out for a sample never depends on its neighbours, but for
// the rounding of matrix products.
//
// Rows that nobody chose are neither read nor stepped: the weight is lazy (src/params.h). The choice has no gradient.
#include "layers/selector.h"

#include <math.h>

#include "layers/choose.h"
#include "layers/init.h"
#include "src/winners.h"

static const struct field fields[] = {
    {"out", FIELD_INT, offsetof(struct selector, out), 0, 1, 1 << 20, NULL,
     "outputs per sample; must be given"},
    {"density", FIELD_REAL, offsetof(struct selector, density), 0.05, 0, 1, NULL,
     "share of the outputs that is computed"},
    {"block", FIELD_INT, offsetof(struct selector, block), 16, 1, 1 << 20, NULL,
     "neighbouring outputs that are chosen together"},
    {"choose", FIELD_CHOICE, offsetof(struct selector, choose), SKETCH, 0, 0, "sketch|random",
     "by a low-rank sketch of the sample, or at random, as a control"},
    {"per", FIELD_CHOICE, offsetof(struct selector, per), SAMPLE, 0, 0, "sample|batch",
     "each sample has its own outputs, or a shard's samples share them"},
    {"rank", FIELD_INT, offsetof(struct selector, rank), 16, 1, 1 << 16, NULL, "of the sketch"},
    {"period", FIELD_INT, offsetof(struct selector, period), 10000, 1, 1 << 30, NULL,
     "per batch: training samples that the choice for evaluation looks back"},
    {"bias", FIELD_BOOL, offsetof(struct selector, bias), 1, 0, 1, NULL, "adds a bias"},
    {"init", FIELD_CHOICE, offsetof(struct selector, init), INIT_KAIMING, 0, 0, INIT_WORDS,
     "initial weights"},
    FIELD_END};

// A buffer of fixed random numbers in -bound .. bound.
static int fixed_add(struct layer *l, struct params *ps, const char *what, struct shape shape, double bound) {
    int index = layer_add_buffer(l, ps, what, shape, 0, (struct average){0});
    ps->list[index].bound = bound;
    return index;
}

static int selector_build(struct layer *l, struct params *ps, struct err *e) {
    struct selector *config = l->config;
    char text[SHAPE_TEXT];
    if (config->out == 0) return err_set(e, "%s.out: must be given", l->path);
    if (l->in.rank != 1)
        return err_set(e, "%s: wants samples of one dimension, gets %s; put \"flatten\" before it", l->path,
                       shape_text(text, l->in));
    int in = l->in.dim[0], out = (int)config->out, block = (int)config->block;
    if (block > out) return err_set(e, "%s.block: %d of %d outputs", l->path, block, out);
    if ((int64_t)in * block % 4 != 0)
        return err_set(e, "%s.block: %d rows of %d inputs are not a multiple of 4 weights", l->path, block,
                       in);
    config->units = (out + block - 1) / block;
    config->k = (int)round(config->density * config->units);
    if (config->k < 1)
        return err_set(e, "%s.density: %g of %d blocks round to none", l->path, config->density,
                       config->units);
    l->out = shape_1(out);
    l->param[SELECTOR_WEIGHT] =
        layer_add_param(l, ps, "weight", shape_2(out, in), init_bound(config->init, in, out), 0);
    params_add_units(ps, l->param[SELECTOR_WEIGHT], (size_t)block * (size_t)in);
    l->param[SELECTOR_BIAS] = config->bias ? layer_add_param(l, ps, "bias", shape_1(out), 0, 0) : -1;
    if (config->choose == RANDOM) {
        l->param[SELECTOR_SCORE] = fixed_add(l, ps, "score", shape_1(config->units), 1);
        return 0;
    }
    if (config->per == BATCH)
        l->param[SELECTOR_SCORE] = layer_add_buffer(l, ps, "score", shape_1(config->units), 0,
                                                    (struct average){.period = (double)config->period});
    int rank = (int)config->rank;
    l->param[SELECTOR_SKETCH_IN] = fixed_add(l, ps, "sketch_in", shape_2(in, rank), sqrt(3.0 / in));
    l->param[SELECTOR_SKETCH_OUT] =
        fixed_add(l, ps, "sketch_out", shape_2(rank, config->units), sqrt(3.0 / rank));
    return 0;
}

// The sum over the samples of max(score, 0), which also goes to the running mean.
static const real *batch_score(struct tape *t, const struct layer *l, const real *score, size_t batch) {
    const struct selector *config = l->config;
    size_t units = (size_t)config->units;
    real *sum = arena_alloc(t->arena, units, sizeof *sum),
         *mean = tape_param(t, l->param[SELECTOR_SCORE])->grad;
    for (size_t u = 0; u < units; u++) sum[u] = 0;
    for (size_t i = 0; i < batch; i++)
        for (size_t u = 0; u < units; u++) sum[u] += score[i * units + u] > 0 ? score[i * units + u] : 0;
    for (size_t u = 0; mean && u < units; u++) mean[u] += sum[u];
    return sum;
}

bool selector_shared(const struct layer *l) {
    const struct selector *config = l->config;
    return config->k == config->units || config->choose == RANDOM || config->per == BATCH;
}

static const struct choice *selector_choose(const struct layer *l, struct tape *t, const struct tensor *x) {
    const struct selector *config = l->config;
    const struct param *list = t->params->list;
    int units = config->units, k = config->k, block = (int)config->block, batch = x->shape.dim[0];
    if (k == units) return choose_all(t, units, block);
    if (!t->training && selector_shared(l))
        return choose_one(t, list[l->param[SELECTOR_SCORE]].value, units, k, block);
    bool each = config->per == SAMPLE;
    if (config->choose == RANDOM) {
        const real *score = choose_random(t, (size_t)(each ? batch : 1) * (size_t)units);
        return each ? choose_each(t, score, batch, units, k, block) : choose_one(t, score, units, k, block);
    }
    const real *score =
        choose_sketch(t, x, &list[l->param[SELECTOR_SKETCH_IN]], &list[l->param[SELECTOR_SKETCH_OUT]]);
    if (each) return choose_each(t, score, batch, units, k, block);
    return choose_one(t, batch_score(t, l, score, (size_t)batch), units, k, block);
}

void selector_rows(uint8_t *chosen, const struct layer *l, const struct params *ps) {
    const struct selector *config = l->config;
    size_t units = (size_t)config->units, out = (size_t)config->out, block = (size_t)config->block;
    memset(chosen, config->k == config->units, out);
    if (config->k == config->units) return;
    const real *score = ps->list[l->param[SELECTOR_SCORE]].value;
    uint64_t *key = mem_new(2 * units, sizeof *key);
    uint32_t *winner = mem_new((size_t)config->k, sizeof *winner);
    for (size_t u = 0; u < units; u++) key[u] = winners_key((double)score[u]);
    winners_pick(winner, config->k, key, units, 1, key + units);
    for (int i = 0; i < config->k; i++)
        for (size_t r = winner[i] * block; r < (winner[i] + 1) * block && r < out; r++) chosen[r] = 1;
    mem_free(winner);
    mem_free(key);
}

static struct tensor *selector_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct choice *choice = selector_choose(l, t, x);
    for (int i = 0; t->recording && i < choice->count; i++)
        params_touch(t->params, t->shard, l->param[SELECTOR_WEIGHT], choice->unit[i]);
    struct tensor *bias = l->param[SELECTOR_BIAS] >= 0 ? tape_param(t, l->param[SELECTOR_BIAS]) : NULL;
    return op_linear_rows(t, x, tape_param(t, l->param[SELECTOR_WEIGHT]), bias, choice);
}

const struct layer_type selector_layer = {
    .name = "selector",
    .help = "a wide linear layer of which each sample or batch uses a few rows",
    .fields = fields,
    .config_size = sizeof(struct selector),
    .build = selector_build,
    .forward = selector_forward};
