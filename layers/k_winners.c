// k_winners: keeps the k largest numbers of each sample and zeroes the others, in place of relu; numbers whose
// channel seldom won are boosted in the choice (Ahmad and Scheinkman 2019, arXiv 1903.11257; the formula is in
// src/ops/k_winners.c). Options and defaults as KWinners and KWinners2d of Numenta's nupic.torch:
//
//   density · n or k numbers win of the n of a sample, or, local, of the C channels at each place of an image
//   k_inference_factor times as many win outside training; both are rounded (nupic.torch cuts some)
//   boost = boost_strength · boost_strength_factor^epoch, the epoch counted from 0 (there on the user's call)
//   duty = (1 - a) · duty + a · share of the step's samples, a = samples / min(duty_cycle_period, all so far)
//
// Channels are the first dimension of a sample: of flat samples each number is one. duty_cycle is a buffer.
#include "layers/k_winners.h"

#include <math.h>

static const struct field fields[] = {
    {"density", FIELD_REAL, offsetof(struct k_winners, density), 0, 0, 1, NULL,
     "share of the numbers that win; this or k must be given"},
    {"k", FIELD_INT, offsetof(struct k_winners, k), 0, 0, 1 << 30, NULL, "how many numbers win"},
    {"k_inference_factor", FIELD_REAL, offsetof(struct k_winners, k_inference_factor), 1.5, 0.01, 100, NULL,
     "as many times more win outside training"},
    {"boost_strength", FIELD_REAL, offsetof(struct k_winners, boost_strength), 1, 0, 100, NULL,
     "help for channels that seldom won; 0: none"},
    {"boost_strength_factor", FIELD_REAL, offsetof(struct k_winners, boost_strength_factor), 0.9, 0, 1, NULL,
     "of the strength from epoch to epoch"},
    {"duty_cycle_period", FIELD_INT, offsetof(struct k_winners, duty_cycle_period), 1000, 1, 1 << 30, NULL,
     "samples that the share of wins looks back"},
    {"local", FIELD_BOOL, offsetof(struct k_winners, local), 0, 0, 1, NULL,
     "channels compete at each place of an image, not the whole sample"},
    FIELD_END};

static int k_winners_build(struct layer *l, struct params *ps, struct err *e) {
    struct k_winners *config = l->config;
    if ((config->density > 0) == (config->k > 0))
        return err_set(e, "%s: wants one of density and k, above 0", l->path);
    size_t of = config->local ? (size_t)l->in.dim[0] : shape_size(l->in);
    double wins = config->k > 0 ? (double)config->k : config->density * (double)of;
    double inference = round(wins * config->k_inference_factor);
    if (round(wins) < 1 || inference < 1)
        return err_set(e, "%s: %.3g of %zu numbers round to no winner (%.3g outside training)", l->path, wins,
                       of, wins * config->k_inference_factor);
    if (round(wins) > (double)of || inference > (double)of)
        return err_set(e, "%s: %.0f winners of %zu numbers (%.0f outside training, see k_inference_factor)",
                       l->path, round(wins), of, inference);
    if (of > INT32_MAX) return err_set(e, "%s: %zu numbers per sample", l->path, of);
    config->winners = (int)round(wins);
    config->winners_inference = (int)inference;
    l->out = l->in;
    l->param[0] =
        layer_add_buffer(l, ps, "duty_cycle", shape_1(l->in.dim[0]), 0,
                         (struct average){.period = (double)config->duty_cycle_period, .positive = true});
    return 0;
}

double k_winners_boost(const struct k_winners *config, int64_t epoch) {
    return config->boost_strength * pow(config->boost_strength_factor, (double)epoch);
}

static struct tensor *k_winners_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct k_winners *config = l->config;
    return op_k_winners(t, x, tape_param(t, l->param[0]),
                        t->training ? config->winners : config->winners_inference,
                        k_winners_boost(config, t->epoch), config->local);
}

const struct layer_type k_winners_layer = {.name = "k_winners",
                                           .help = "keeps the k largest numbers of each sample",
                                           .fields = fields,
                                           .config_size = sizeof(struct k_winners),
                                           .build = k_winners_build,
                                           .forward = k_winners_forward};
