// madam: multiplicative updates in floats (Bernstein et al. 2020, "Learning compositional functions via
// multiplicative weight updates", algorithm 1). Per tensor w_max = p_scale · sqrt(mean(w0²)); then
//   v = beta · v + (1 - beta) g²;  n = clip(g / sqrt(v / (1 - beta^t)), ±bound), 0/0 -> 0
//   w = clip(w · exp(-rate · n · sign(w)), ±w_max)
// A weight never changes its sign, and one that is 0 stays 0. Slots: v, w_max (one per tensor).
#include <math.h>

#include "optim/optim.h"
#include "src/curves.h"

struct madam {
    double rate, p_scale, beta, bound;
};

static const struct field fields[] = {
    {"rate", FIELD_REAL, offsetof(struct madam, rate), 0.01, 0, 10, NULL,
     "learning rate: relative change per step"},
    {"p_scale", FIELD_REAL, offsetof(struct madam, p_scale), 3, 1e-6, 1e6, NULL,
     "largest weight, in root mean squares of the initial tensor"},
    {"beta", FIELD_REAL, offsetof(struct madam, beta), 0.999, 0, 0.999999, NULL, "decay of the mean square"},
    {"bound", FIELD_REAL, offsetof(struct madam, bound), 10, 1e-6, 1e6, NULL, "largest normalised gradient"},
    FIELD_END};

enum { V, W_MAX };

static int madam_build(struct stage *s, uint64_t seed, struct err *e) {
    (void)seed;
    const struct madam *config = s->config;
    stage_add_slot(s, "v", true);
    stage_add_slot(s, "w_max", false);
    for (int i = 0; i < s->count; i++) {
        const struct param *p = &s->params->list[s->param[i]];
        double squares = 0;
        for (size_t j = 0; j < p->size; j++) squares += (double)p->value[j] * (double)p->value[j];
        if (squares == 0)
            return err_set(e, "%s: %s starts at zero and would never move; use another stage for it", s->path,
                           p->name);
        s->slots[W_MAX].value[i][0] = (real)(config->p_scale * sqrt(squares / (double)p->size));
    }
    return 0;
}

VECTOR_CLONES static void madam_loop(real *restrict w, real *restrict v, const real *restrict grad,
                                     size_t count, const struct madam *c, real rate, real root, real w_max) {
    real beta = (real)c->beta, rest = (real)(1 - c->beta), bound = (real)c->bound;
    for (size_t i = 0; i < count; i++) {
        v[i] = beta * v[i] + rest * grad[i] * grad[i];
#ifdef TALLY_DOUBLE
        real deviation = sqrt(v[i]) * root;
#else
        real deviation = sqrtf(v[i]) * root;
#endif
        real n = v[i] > 0 ? grad[i] / deviation : 0;
        n = n > bound ? bound : n;
        n = n < -bound ? -bound : n;
        real moved = w[i] * curve_exp(w[i] < 0 ? rate * n : -rate * n);
        moved = moved > w_max ? w_max : moved;
        w[i] = moved < -w_max ? -w_max : moved;
    }
}

static void madam_update(const struct stage *s, struct span *span, const struct step *step) {
    const struct madam *c = s->config;
    size_t at = span->first;
    double root = 1 / sqrt(1 - pow(c->beta, (double)step->number));
    madam_loop(span->param->value + at, span->slot[V] + at, span->grad + at, span->end - at, c,
               (real)(c->rate * step->rate), (real)root, *span->slot[W_MAX]);
}

const struct stage_type madam_stage = {.name = "madam",
                                       .help = "multiplicative updates in floats",
                                       .fields = fields,
                                       .config_size = sizeof(struct madam),
                                       .moves = true,
                                       .build = madam_build,
                                       .update = madam_update};
