// Networks ready to run with every kind of layer that a model can have, for the tests of the formats that run.
#ifndef TALLY_TESTS_READY_NETS_H
#define TALLY_TESTS_READY_NETS_H

#include "export/net.h"
#include "layers/model.h"
#include "src/rng.h"
#include "tests/check.h"

// Ready to run, of a sample (2, 9, 8). Weights are counted in the number system (NUMBER_KINDS: floats), `density`
// of them not zero; everything else is random, too.
static inline struct net *ready_net_new(const char *text, enum number_kind kind, int bits, double density,
                                        uint64_t seed) {
    struct params *ps = params_new();
    struct err e;
    struct json *list = json_of(text);
    struct model *model = model_new(list, "model", shape_3(2, 9, 8), ps, &e);
    if (!model) fail_msg("%s", e.text);
    json_free(list);
    params_alloc(ps, 1, seed);
    struct rng r = rng_stream(seed, "net");
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        bool positive = strstr(p->name, "running_var") || strstr(p->name, "duty");
        if (param_is_weight(p) && kind != NUMBER_KINDS) param_count(p, number_make(kind, bits, 0, 0));
        for (size_t j = 0; j < p->size; j++) {
            bool dead = rng_uniform(&r) >= density;
            if (!param_is_weight(p))
                p->value[j] = (real)(rng_uniform(&r) + (positive ? 0.1 : -0.4));
            else if (dead && p->counted)
                param_set_counter(p, j, 0);
            else if (dead)
                p->value[j] = 0;
        }
    }
    struct net *n = net_new("net", model, ps, 0.3, 0.4, 3, &e);
    if (!n) fail_msg("%s", e.text);
    net_prepare(n);
    model_free(model);
    params_free(ps);
    return n;
}

static const char *const ready_texts[] = {
    // LeNet-5 in small; what is pooled is there one plane at a time.
    "[{\"conv2d\": {\"out\": 6, \"kernel_size\": 3}}, \"relu\", {\"max_pool2d\": {\"kernel_size\": 2}}, "
    "{\"conv2d\": {\"out\": 8, \"kernel_size\": [2, 3]}}, {\"max_pool2d\": {\"kernel_size\": [2, 1]}}, "
    "\"tanh\", "
    "\"flatten\", {\"linear\": {\"out\": 12}}, \"relu\", {\"linear\": {\"out\": 5}}, \"softmax\"]",
    // Windows of every shape, means of all kinds.
    "[{\"conv2d\": {\"out\": 6, \"kernel_size\": [3, 2], \"stride\": [2, 1], \"padding\": [1, 2], "
    "\"dilation\": [1, 2], \"groups\": 2}}, \"silu\", {\"avg_pool2d\": {\"kernel_size\": 3, \"stride\": 2, "
    "\"padding\": 1}}, {\"avg_pool2d\": {\"kernel_size\": 2, \"stride\": 1, \"padding\": 1, "
    "\"count_include_pad\": false}}, {\"conv2d\": {\"out\": 4, \"kernel_size\": 1, \"bias\": false}}, "
    "{\"max_pool2d\": {\"kernel_size\": 3, \"stride\": 1, \"padding\": 1}}, \"gelu\", \"global_avg_pool2d\", "
    "\"sigmoid\", {\"linear\": {\"out\": 5}}]",
    // Residual blocks.
    "[{\"conv2d\": {\"out\": 4, \"kernel_size\": 3, \"padding\": 1}}, \"batch_norm\", \"relu\", "
    "{\"residual\": {\"layers\": [{\"conv2d\": {\"out\": 4, \"kernel_size\": 3, \"padding\": 1, \"bias\": "
    "false}}, \"batch_norm\", \"relu\", {\"conv2d\": {\"out\": 4, \"kernel_size\": 3, \"padding\": 1}}, "
    "\"batch_norm\"]}}, \"relu\", {\"residual\": {\"layers\": [\"batch_norm\", {\"conv2d\": {\"out\": 6, "
    "\"kernel_size\": 3, \"padding\": 1, \"stride\": 2}}, \"batch_norm\"], \"shortcut\": [{\"conv2d\": "
    "{\"out\": "
    "6, \"kernel_size\": 1, \"stride\": 2}}, \"batch_norm\"]}}, \"gelu\", {\"conv2d\": {\"out\": 4, "
    "\"kernel_size\": 3}}, \"global_avg_pool2d\", {\"residual\": {\"layers\": [\"relu\"]}}, {\"linear\": "
    "{\"out\": 5}}, {\"batch_norm\": {\"affine\": false}}]",
    // Joins along the channels, norms over rows.
    "[{\"concat\": {\"branches\": [[], [{\"conv2d\": {\"out\": 3, \"kernel_size\": 3, \"padding\": 1}}, "
    "\"relu\"], [{\"dropout\": {\"p\": 0.5}}], [{\"max_pool2d\": {\"kernel_size\": 3, \"stride\": 1, "
    "\"padding\": 1}}]]}}, {\"leaky_relu\": {\"negative_slope\": 0.2}}, {\"concat\": {\"branches\": [[], "
    "[\"batch_norm\", \"sigmoid\"]]}}, {\"layer_norm\": {\"bias\": false}}, \"relu\", \"rms_norm\", "
    "\"flatten\", "
    "\"layer_norm\", {\"linear\": {\"out\": 4}}]",
    // Winners, with and without factors, of all numbers and of each place.
    "[{\"conv2d\": {\"out\": 8, \"kernel_size\": 3}}, {\"k_winners\": {\"density\": 0.1}}, {\"max_pool2d\": "
    "{\"kernel_size\": 2}}, {\"k_winners\": {\"k\": 2, \"local\": true, \"boost_strength\": 0}}, \"relu\", "
    "\"flatten\", {\"linear\": {\"out\": 12, \"bias\": false}}, {\"k_winners\": {\"k\": 3, "
    "\"k_inference_factor\": 1}}, {\"linear\": {\"out\": 6}}]",
    // Nothing but joins of the sample.
    "[{\"residual\": {\"layers\": [\"relu\"]}}, {\"residual\": {\"layers\": [{\"dropout\": {\"p\": 0.2}}]}}]",
    // Rows and experts that each sample chooses.
    "[\"flatten\", {\"selector\": {\"out\": 42, \"density\": 0.3, \"block\": 4, \"rank\": 5}}, \"relu\", "
    "{\"linear\": "
    "{\"out\": 8}}, {\"selector\": {\"out\": 9, \"density\": 0.5, \"block\": 2, \"bias\": false}}, "
    "\"softmax\"]",
    "[\"flatten\", {\"experts\": {\"experts\": 5, \"k\": 2, \"layers\": [{\"linear\": {\"out\": 6}}, "
    "\"relu\", "
    "{\"residual\": {\"layers\": [{\"linear\": {\"out\": 6}}, \"tanh\"]}}, \"layer_norm\"]}}, \"relu\", "
    "{\"linear\": "
    "{\"out\": 8}}, {\"experts\": {\"experts\": 3, \"layers\": [{\"dropout\": {\"p\": 0.5}}]}}, "
    "{\"residual\": {\"layers\": "
    "[{\"experts\": {\"experts\": 2, \"k\": 2, \"layers\": [{\"linear\": {\"out\": 8, \"bias\": "
    "false}}]}}]}}]",
};

enum { READY_TEXTS = sizeof ready_texts / sizeof *ready_texts };

#endif
