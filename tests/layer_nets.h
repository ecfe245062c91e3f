// Nets with every kind of layer, taken from models: what tests of the export and of the inference library run.
#ifndef TALLY_TESTS_LAYER_NETS_H
#define TALLY_TESTS_LAYER_NETS_H

#include "export/net.h"
#include "layers/model.h"
#include "src/rng.h"
#include "tests/check.h"

enum { LAYER_NETS_EPOCH = 3 };

static const double LAYER_NETS_MEAN = 0.3, LAYER_NETS_STD = 0.4;

static const char *const layer_nets[] = {
    "[{\"conv2d\": {\"out\": 4, \"kernel_size\": 3}}, \"relu\", {\"max_pool2d\": {\"kernel_size\": 2}}, "
    "{\"conv2d\": {\"out\": 6, \"kernel_size\": [2, 3], \"bias\": false}}, \"tanh\", \"flatten\", "
    "{\"linear\": {\"out\": 7}}]",
    "[{\"conv2d\": {\"out\": 6, \"kernel_size\": [3, 2], \"stride\": [2, 1], \"padding\": [1, 2], "
    "\"dilation\": [1, 2], \"groups\": 2}}, \"silu\", {\"avg_pool2d\": {\"kernel_size\": 3, \"stride\": 2, "
    "\"padding\": 1}}, {\"avg_pool2d\": {\"kernel_size\": 2, \"stride\": 1, \"padding\": 1, "
    "\"count_include_pad\": false}}, \"global_avg_pool2d\", {\"linear\": {\"out\": 5}}, \"softmax\"]",
    "[{\"conv2d\": {\"out\": 4, \"kernel_size\": 3, \"padding\": 1}}, \"batch_norm\", \"relu\", "
    "{\"residual\": {\"layers\": [{\"conv2d\": {\"out\": 4, \"kernel_size\": 3, \"padding\": 1, \"bias\": "
    "false}}, \"batch_norm\", \"relu\", {\"conv2d\": {\"out\": 4, \"kernel_size\": 3, \"padding\": 1}}, "
    "\"batch_norm\"]}}, \"relu\", {\"residual\": {\"layers\": [{\"conv2d\": {\"out\": 6, \"kernel_size\": 3, "
    "\"padding\": 1, \"stride\": 2}}, \"batch_norm\"], \"shortcut\": [{\"conv2d\": {\"out\": 6, "
    "\"kernel_size\": 1, \"stride\": 2}}, \"batch_norm\"]}}, \"gelu\", \"global_avg_pool2d\", {\"linear\": "
    "{\"out\": 5}}, {\"batch_norm\": {\"affine\": false}}]",
    "[{\"concat\": {\"branches\": [[], [{\"conv2d\": {\"out\": 3, \"kernel_size\": 3, \"padding\": 1}}, "
    "\"relu\"], [{\"dropout\": {\"p\": 0.5}}], [{\"max_pool2d\": {\"kernel_size\": 3, \"stride\": 1, "
    "\"padding\": 1}}]]}}, {\"leaky_relu\": {\"negative_slope\": 0.2}}, {\"concat\": {\"branches\": [[], "
    "[\"batch_norm\", \"sigmoid\"]]}}, {\"layer_norm\": {\"bias\": false}}, \"rms_norm\", \"flatten\", "
    "\"layer_norm\", {\"linear\": {\"out\": 4}}]",
    "[\"batch_norm\", {\"conv2d\": {\"out\": 8, \"kernel_size\": 3}}, \"batch_norm\", {\"k_winners\": "
    "{\"density\": "
    "0.1}}, {\"max_pool2d\": {\"kernel_size\": 2}}, {\"k_winners\": {\"k\": 2, \"local\": true, "
    "\"boost_strength\": 0}}, \"flatten\", {\"linear\": {\"out\": 12, \"bias\": false}}, {\"k_winners\": "
    "{\"k\": 3, "
    "\"k_inference_factor\": 1}}, {\"linear\": {\"out\": 6}}]",
    "[\"flatten\", {\"selector\": {\"out\": 42, \"density\": 0.3, \"block\": 4, \"per\": \"batch\"}}, "
    "\"relu\", "
    "{\"selector\": {\"out\": 9, \"density\": 0.5, \"block\": 2, \"choose\": \"random\", \"bias\": false}}, "
    "{\"linear\": "
    "{\"out\": 4}}]",
    "[{\"residual\": {\"layers\": [\"relu\"]}}, {\"residual\": {\"layers\": [{\"dropout\": {\"p\": 0.2}}]}}]",
    "[\"flatten\", {\"selector\": {\"out\": 42, \"density\": 0.3, \"block\": 4, \"rank\": 5}}, \"relu\", "
    "{\"selector\": "
    "{\"out\": 9, \"density\": 0.5, \"block\": 2, \"bias\": false}}, {\"linear\": {\"out\": 4}}]",
    "[\"flatten\", {\"experts\": {\"experts\": 5, \"k\": 2, \"layers\": [{\"linear\": {\"out\": 6}}, "
    "\"relu\", "
    "{\"residual\": {\"layers\": [{\"linear\": {\"out\": 6}}, \"tanh\"]}}, \"layer_norm\"]}}, {\"linear\": "
    "{\"out\": 8}}, "
    "\"relu\", {\"experts\": {\"experts\": 3, \"layers\": [{\"dropout\": {\"p\": 0.5}}]}}, {\"residual\": "
    "{\"layers\": "
    "[{\"experts\": {\"experts\": 2, \"k\": 2, \"layers\": [{\"linear\": {\"out\": 8, \"bias\": "
    "false}}]}}]}}]",
};

enum { LAYER_NETS = sizeof layer_nets / sizeof *layer_nets };

struct made {
    struct params *params;
    struct model *model;
    struct net *net;
};

// Weights, half of them zero, counted in the number system (NUMBER_KINDS: floats); biases, norms and statistics are
// random, too.
static inline struct made made_new(const char *text, enum number_kind kind) {
    struct made m = {.params = params_new()};
    struct err e;
    struct json *list = json_of(text);
    m.model = model_new(list, "model", shape_3(2, 9, 8), m.params, &e);
    if (!m.model) fail_msg("%s", e.text);
    json_free(list);
    params_alloc(m.params, 1, 3);
    struct rng r = rng_stream(5, "net");
    for (int i = 0; i < m.params->count; i++) {
        struct param *p = &m.params->list[i];
        bool variance = strstr(p->name, "running_var") || strstr(p->name, "duty");
        if (param_is_weight(p) && kind != NUMBER_KINDS) param_count(p, number_make(kind, 16, 0, 0));
        for (size_t j = 0; j < p->size; j++) {
            if (!param_is_weight(p))
                p->value[j] = (real)(rng_uniform(&r) + (variance ? 0.1 : -0.4));
            else if (rng_below(&r, 2) == 0 && p->counted)
                param_set_counter(p, j, 0);
            else if (rng_below(&r, 2) == 0 && !p->counted)
                p->value[j] = 0;
        }
    }
    m.net = net_new("net", m.model, m.params, LAYER_NETS_MEAN, LAYER_NETS_STD, LAYER_NETS_EPOCH, &e);
    if (!m.net) fail_msg("%s", e.text);
    return m;
}

static inline void made_free(struct made *m) {
    net_free(m->net);
    model_free(m->model);
    params_free(m->params);
}

#endif
