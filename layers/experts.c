// experts: a mixture of experts with top-k routing:
//   y = sum over the k chosen experts e of p[e] · expert_e(x),  p = softmax(x · routerᵀ),  router (experts, d)
// The experts are `experts` lists of layers of one description; the k largest p choose, among equals the first ones.
// Only they compute, and only the parameters of experts that some sample chose are stepped (lazy, src/params.h).
// Samples are (d), or tokens (T, d), which are routed one by one.
//
//   {"experts": {"experts": 8, "k": 2, "layers": [{"linear": {"out": 64}}, "relu", {"linear": {"out": 32}}]}}
//
// In training each shard's part adds
//   balance · experts · sum over e of f[e] · P[e]     f: share of its choices that went to e, P: its mean of p[e]
// to the loss, least when all are used alike (Fedus et al. 2021, "Switch transformers", eq. 4 to 6; k = 1 there). With a
// `capacity`, an expert takes at most ceil(capacity · k · samples / experts) of a shard's samples in training, the first
// ones; what is dropped gives 0 (eq. 3), so a residual around the layer passes it on. Outside training nothing is dropped
// and nothing added: what comes out for a sample does not depend on its neighbours.
//
// As in Fedus, p is the softmax over all experts and not over the chosen k (Shazeer et al. 2017, eq. 3 and 5), so that
// the router has a gradient at k = 1; and no noise is added to the choice (eq. 4 there).
#include <math.h>
#include <stdio.h>

#include "layers/choose.h"
#include "layers/init.h"
#include "layers/model.h"

enum { EXPERTS_LIMIT = 1024 };

struct experts {
    int64_t experts, k;
    double capacity, balance;
    const struct json *layers;
};

enum { ROUTER };

static const struct field fields[] = {
    {"experts", FIELD_INT, offsetof(struct experts, experts), 0, 1, EXPERTS_LIMIT, NULL,
     "how many there are; must be given"},
    {"k", FIELD_INT, offsetof(struct experts, k), 1, 1, EXPERTS_LIMIT, NULL, "how many a sample has"},
    {"capacity", FIELD_REAL, offsetof(struct experts, capacity), 0, 0, 1e6, NULL,
     "of an expert in training, as a multiple of an even share; 0: no limit"},
    {"balance", FIELD_REAL, offsetof(struct experts, balance), 0.01, 0, 1e6, NULL,
     "weight of the loss that evens the load"},
    {"layers", FIELD_NODE, offsetof(struct experts, layers), 0, 0, 0, NULL,
     "list of layers of each expert; must be given"},
    FIELD_END};

static int expert_add(struct layer *l, struct params *ps, int number, struct shape in, struct err *e) {
    const struct experts *config = l->config;
    const struct json *layers = config->layers && json_count(config->layers) ? config->layers : NULL;
    char path[JSON_PATH], part[24];
    json_path(path, l->path, "layers", 0);
    snprintf(part, sizeof part, "expert%d", number);
    int first = ps->count;
    if (!layer_add_inner(l, ps, layers, path, part, in, e)) return -1;
    for (int i = first; i < ps->count; i++) {
        if (ps->list[i].buffer)
            return err_set(e, "%s: %s follows all samples, an expert sees some of them", path,
                           ps->list[i].name);
        params_add_units(ps, i, ps->list[i].size);
    }
    return 0;
}

static int experts_build(struct layer *l, struct params *ps, struct err *e) {
    const struct experts *config = l->config;
    char text[SHAPE_TEXT];
    if (config->experts == 0) return err_set(e, "%s.experts: must be given", l->path);
    if (config->k > config->experts)
        return err_set(e, "%s.k: %d of %d experts", l->path, (int)config->k, (int)config->experts);
    if (l->in.rank > 2)
        return err_set(e, "%s: wants samples of one dimension or two, gets %s; put \"flatten\" before it",
                       l->path, shape_text(text, l->in));
    int d = l->in.dim[l->in.rank - 1], experts = (int)config->experts;
    l->param[ROUTER] = layer_add_matrix(l, ps, "router", experts, d, INIT_PYTORCH);
    for (int i = 1; i <= experts; i++)
        if (expert_add(l, ps, i, shape_1(d), e) != 0) return -1;
    l->out = l->inner[0]->out;
    if (l->in.rank == 1) return 0;
    if (l->out.rank != 1)
        return err_set(e, "%s.layers: give %s for a token; wanted one dimension", l->path,
                       shape_text(text, l->out));
    l->out = shape_2(l->in.dim[0], l->out.dim[0]);
    return 0;
}

// The loss that evens the load.
static void balance_add(struct tape *t, const struct layer *l, struct tensor *p,
                        const struct choice *choice) {
    const struct experts *config = l->config;
    size_t rows = (size_t)p->shape.dim[0], experts = (size_t)config->experts;
    struct tensor *share = tape_leaf(t, p->shape, false);
    real factor = (real)(config->balance * (double)experts / (double)rows);
    for (size_t i = 0; i < share->size; i++) share->value[i] = 0;
    for (int k = 0; k < choice->count; k++) {
        real f = (real)choice->samples[k] / (real)(rows * (size_t)config->k);
        for (size_t i = 0; i < rows; i++) share->value[i * experts + (size_t)choice->unit[k]] = factor * f;
    }
    tape_add_penalty(t, op_sum(t, op_mul(t, p, share)));
}

static struct tensor *experts_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct experts *config = l->config;
    int experts = (int)config->experts, k = (int)config->k, d = l->in.dim[l->in.rank - 1];
    struct shape out = l->out;
    for (int i = out.rank++; i > 0; i--) out.dim[i] = out.dim[i - 1];
    out.dim[0] = x->shape.dim[0];
    if (l->in.rank > 1) x = op_reshape(t, x, shape_2((int)(x->size / (size_t)d), d));
    int rows = x->shape.dim[0];
    struct tensor *p = op_softmax(t, op_linear(t, x, tape_param(t, l->param[ROUTER]), NULL));
    const struct choice *choice = choose_each(t, p->value, rows, experts, k, 1);
    if (t->training && config->balance > 0) balance_add(t, l, p, choice);
    if (t->training && config->capacity > 0)
        choice = choose_first(t, choice, ceil(config->capacity * k * rows / experts));
    struct tensor **part = arena_alloc(t->arena, (size_t)choice->count, sizeof(struct tensor *));
    const int *sample = choice->sample;
    for (int i = 0; i < choice->count; sample += choice->samples[i++])
        part[i] = model_forward(l->inner[choice->unit[i]], t, op_take_rows(t, x, sample, choice->samples[i]));
    struct tensor *y = op_mix_rows(t, part, p, choice);
    return l->in.rank > 1 ? op_reshape(t, y, out) : y;
}

static struct json *experts_write(const struct layer *l) {
    const struct experts *config = l->config;
    struct json *options = json_object_new();
    json_add_number(options, "experts", (double)config->experts);
    json_add_number(options, "k", (double)config->k);
    json_add_number(options, "capacity", config->capacity);
    json_add_number(options, "balance", config->balance);
    json_add(options, "layers", model_write_new(l->inner[0]));
    return options;
}

// Each token of a sample goes through k of the lists.
static double experts_step_numbers(const struct layer *l, double samples) {
    const struct experts *config = l->config;
    double tokens = l->in.rank > 1 ? l->in.dim[0] : 1, d = l->in.dim[l->in.rank - 1];
    double routed = samples * tokens * (double)config->k;
    return samples * (3 * (double)shape_size(l->out) + tokens * 8 * (double)config->experts) +
           2 * d * routed + model_step_numbers(l->inner[0], routed);
}

const struct layer_type experts_layer = {
    .name = "experts",
    .help = "a mixture of experts, lists of layers of which a router picks k",
    .fields = fields,
    .config_size = sizeof(struct experts),
    .build = experts_build,
    .forward = experts_forward,
    .write = experts_write,
    .step_numbers = experts_step_numbers};
