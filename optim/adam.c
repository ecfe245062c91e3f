// adam (Kingma and Ba 2014, algorithm 1) and adamw (Loshchilov and Hutter 2017, algorithm 2), in PyTorch's
// form:
//   adam:  g = g + weight_decay · w           adamw:  w = w - rate · weight_decay · w
//   m = beta1 · m + (1 - beta1) g;  v = beta2 · v + (1 - beta2) g²
//   w = w - rate · m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
// Slots: m, v.
#include <math.h>

#include "optim/optim.h"

struct adam {
    double rate, beta1, beta2, eps, weight_decay;
};

// Versions of clang-format differ on braces in macros.
// clang-format off
#define FIELDS(decay)                                                                                             \
    {{"rate", FIELD_REAL, offsetof(struct adam, rate), 0.001, 0, 1e3, NULL, "learning rate"},                     \
     {"beta1", FIELD_REAL, offsetof(struct adam, beta1), 0.9, 0, 0.9999, NULL, "decay of the mean gradient"},     \
     {"beta2", FIELD_REAL, offsetof(struct adam, beta2), 0.999, 0, 0.999999, NULL, "decay of the mean square"},   \
     {"eps", FIELD_REAL, offsetof(struct adam, eps), 1e-8, 1e-30, 1, NULL, "keeps the division finite"},          \
     {"weight_decay", FIELD_REAL, offsetof(struct adam, weight_decay), decay, 0, 1, NULL, "shrinks the weights"}, \
     FIELD_END}
// clang-format on

static const struct field adam_fields[] = FIELDS(0);
static const struct field adamw_fields[] = FIELDS(0.01);

enum { M, V };

static int adam_build(struct stage *s, uint64_t seed, struct err *e) {
    (void)seed, (void)e;
    s->rests = ((const struct adam *)s->config)->weight_decay == 0;
    stage_add_slot(s, "m", true);
    stage_add_slot(s, "v", true);
    return 0;
}

VECTOR_CLONES static void adam_loop(real *restrict w, real *restrict m, real *restrict v,
                                    const real *restrict grad, size_t count, const struct adam *c, real rate,
                                    real root, real penalty, real shrink) {
    real beta1 = (real)c->beta1, beta2 = (real)c->beta2, eps = (real)c->eps;
    real rest1 = (real)(1 - c->beta1), rest2 = (real)(1 - c->beta2);
    for (size_t i = 0; i < count; i++) {
        real g = grad[i] + penalty * w[i];
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
#ifdef TALLY_DOUBLE
        w[i] = w[i] * shrink - rate * m[i] / (sqrt(v[i]) * root + eps);
#else
        w[i] = w[i] * shrink - rate * m[i] / (sqrtf(v[i]) * root + eps);
#endif
    }
}

static void update(const struct stage *s, struct span *span, const struct step *step, bool decoupled) {
    const struct adam *c = s->config;
    double t = (double)step->number, rate = c->rate * step->rate;
    size_t at = span->first;
    adam_loop(span->param->value + at, span->slot[M] + at, span->slot[V] + at, span->grad + at,
              span->end - at, c, (real)(rate / (1 - pow(c->beta1, t))),
              (real)(1 / sqrt(1 - pow(c->beta2, t))), (real)(decoupled ? 0 : c->weight_decay),
              (real)(decoupled ? 1 - rate * c->weight_decay : 1));
}

static void adam_update(const struct stage *s, struct span *span, const struct step *step) {
    update(s, span, step, false);
}

static void adamw_update(const struct stage *s, struct span *span, const struct step *step) {
    update(s, span, step, true);
}

const struct stage_type adam_stage = {.name = "adam",
                                      .help = "Adam; weight_decay is an L2 penalty in the gradient",
                                      .fields = adam_fields,
                                      .config_size = sizeof(struct adam),
                                      .moves = true,
                                      .build = adam_build,
                                      .update = adam_update};

const struct stage_type adamw_stage = {.name = "adamw",
                                       .help = "Adam with decoupled weight decay",
                                       .fields = adamw_fields,
                                       .config_size = sizeof(struct adam),
                                       .moves = true,
                                       .build = adam_build,
                                       .update = adamw_update};
