// sgd: stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013), in PyTorch's form:
//   g = g + weight_decay · w;  m = momentum · m + g;  g = nesterov ? g + momentum · m : m;  w = w - rate · g
// Slots: momentum, unless it is 0.
#include "optim/optim.h"

struct sgd {
    double rate, momentum, weight_decay;
    bool nesterov;
};

static const struct field fields[] = {
    {"rate", FIELD_REAL, offsetof(struct sgd, rate), 0.1, 0, 1e3, NULL, "learning rate"},
    {"momentum", FIELD_REAL, offsetof(struct sgd, momentum), 0.9, 0, 0.9999, NULL, "0: none, and no slot"},
    {"weight_decay", FIELD_REAL, offsetof(struct sgd, weight_decay), 0, 0, 1, NULL,
     "L2 penalty in the gradient"},
    {"nesterov", FIELD_BOOL, offsetof(struct sgd, nesterov), 0, 0, 1, NULL, "Nesterov's form of momentum"},
    FIELD_END};

enum { MOMENTUM };

static int sgd_build(struct stage *s, uint64_t seed, struct err *e) {
    (void)seed;
    const struct sgd *config = s->config;
    if (config->nesterov && config->momentum == 0)
        return err_set(e, "%s.nesterov: needs momentum above 0", s->path);
    s->rests = config->weight_decay == 0;
    if (config->momentum > 0) stage_add_slot(s, "momentum", true);
    return 0;
}

VECTOR_CLONES static void plain_loop(real *restrict w, const real *restrict grad, size_t count, real rate,
                                     real decay) {
    for (size_t i = 0; i < count; i++) w[i] -= rate * (grad[i] + decay * w[i]);
}

VECTOR_CLONES static void momentum_loop(real *restrict w, real *restrict m, const real *restrict grad,
                                        size_t count, real rate, real decay, real momentum, bool nesterov) {
    for (size_t i = 0; i < count; i++) {
        real g = grad[i] + decay * w[i];
        m[i] = momentum * m[i] + g;
        w[i] -= rate * (nesterov ? g + momentum * m[i] : m[i]);
    }
}

static void sgd_update(const struct stage *s, struct span *span, const struct step *step) {
    const struct sgd *config = s->config;
    real rate = (real)(config->rate * step->rate), decay = (real)config->weight_decay;
    size_t at = span->first, count = span->end - at;
    real *w = span->param->value + at;
    if (config->momentum > 0)
        momentum_loop(w, span->slot[MOMENTUM] + at, span->grad + at, count, rate, decay,
                      (real)config->momentum, config->nesterov);
    else
        plain_loop(w, span->grad + at, count, rate, decay);
}

const struct stage_type sgd_stage = {.name = "sgd",
                                     .help = "gradient descent with momentum",
                                     .fields = fields,
                                     .config_size = sizeof(struct sgd),
                                     .moves = true,
                                     .build = sgd_build,
                                     .update = sgd_update};
