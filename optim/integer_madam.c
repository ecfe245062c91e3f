// integer_madam: multiplicative updates on integer exponents (Bernstein et al. 2020, section 4.2 and
// appendix):
//   w = sign · w_max · exp(-base_rate · k), k = 0 .. levels-1;  w_max = p_scale · sqrt(mean(w0²)) per tensor
//   k starts uniform in 0 .. levels-2, the sign is the initial weight's and never changes
//   v = beta · v + (1 - beta) g²;  n = clip(g / sqrt(v / (1 - beta^t)), ±bound), 0/0 -> 0
//   k = clip(k + round(factor · n) · sign, 0, levels-1), to the nearest integer, halves to even
// The counter is c = sign · (k + 1) of the number system `madam`. Slots: v.
#include <math.h>
#include <stdio.h>

#include "optim/optim.h"

struct integer_madam {
    int64_t bits;
    double base_rate, factor, p_scale, beta, bound;
};

static const struct field fields[] = {
    {"bits", FIELD_INT, offsetof(struct integer_madam, bits), 12, 2, 14, NULL,
     "levels = 2^bits, the sign apart"},
    {"base_rate", FIELD_REAL, offsetof(struct integer_madam, base_rate), 0, 0, 1, NULL,
     "relative distance of two levels; 0: 0.001 at 12 bits and more, 0.004 at 10 and 11, 0.01 below"},
    {"factor", FIELD_REAL, offsetof(struct integer_madam, factor), 10, 0, 1e4, NULL,
     "levels to move per unit of normalised gradient"},
    {"p_scale", FIELD_REAL, offsetof(struct integer_madam, p_scale), 3, 1e-6, 1e6, NULL,
     "largest weight, in root mean squares of the initial tensor"},
    {"beta", FIELD_REAL, offsetof(struct integer_madam, beta), 0.999, 0, 0.999999, NULL,
     "decay of the mean square"},
    {"bound", FIELD_REAL, offsetof(struct integer_madam, bound), 10, 1e-6, 1e6, NULL,
     "largest normalised gradient"},
    FIELD_END};

enum { V, BLOCK = 256 };

// What build makes: f(1) .. f(limit) of the number system.
struct own {
    double *f;
};

// The exponent of the smallest weight: e^-64 leaves room for w_max within float.
static const double SPAN_LIMIT = 64;

static double base_rate(const struct integer_madam *config) {
    if (config->base_rate > 0) return config->base_rate;
    return config->bits >= 12 ? 0.001 : config->bits >= 10 ? 0.004 : 0.01;
}

static void param_start(struct param *p, const struct integer_madam *config, uint64_t seed) {
    double squares = 0;
    for (size_t i = 0; i < p->size; i++) squares += (double)p->value[i] * (double)p->value[i];
    struct number number = number_make(NUMBER_MADAM, 16, base_rate(config), 1);
    number.limit = 1 << config->bits;
    param_count_alloc(p, number, config->p_scale * sqrt(squares / (double)p->size));
    char purpose[PARAM_NAME + 16];
    snprintf(purpose, sizeof purpose, "levels %s", p->name);
    struct rng r = rng_stream(seed, purpose);
    for (size_t i = 0; i < p->size; i++) {
        int32_t c = 1 + (int32_t)rng_below(&r, (uint32_t)number.limit - 1);
        param_set_counter(p, i, p->value[i] < 0 ? -c : c);
    }
}

static int integer_madam_build(struct stage *s, uint64_t seed, struct err *e) {
    const struct integer_madam *config = s->config;
    if (base_rate(config) * (double)(1 << config->bits) > SPAN_LIMIT)
        return err_set(e, "%s.base_rate: %g over %d levels goes below the smallest float", s->path,
                       base_rate(config), 1 << config->bits);
    for (int i = 0; i < s->count; i++) {
        struct param *p = &s->params->list[s->param[i]];
        if (p->bound == 0)
            return err_set(e, "%s: %s starts at one value and has no signs; use another stage for it",
                           s->path, p->name);
        param_start(p, config, seed);
    }
    s->rests = true;
    stage_add_slot(s, "v", true);
    struct own *own = s->own = mem_new(1, sizeof *own);
    own->f = mem_new(((size_t)1 << config->bits) + 1, sizeof *own->f);
    const struct number number = number_make(NUMBER_MADAM, 16, base_rate(config), 1);
    for (int32_t c = 1; c <= 1 << config->bits; c++) own->f[c] = number_value(&number, c);
    return 0;
}

static void integer_madam_free(struct stage *s) {
    struct own *own = s->own;
    if (own) mem_free(own->f);
}

// How many levels each moves, `count` up to BLOCK of them.
VECTOR_CLONES static void moves_make(double *restrict move, real *restrict v, const real *restrict grad,
                                     size_t count, const struct integer_madam *config, double factor,
                                     double root) {
    real beta = (real)config->beta, rest = (real)(1 - config->beta);
    double bound = config->bound;
    for (size_t i = 0; i < count; i++) {
        v[i] = beta * v[i] + rest * grad[i] * grad[i];
        double n = v[i] > 0 ? (double)grad[i] / (sqrt((double)v[i]) * root) : 0;
        n = n < bound ? n : bound; // not a number: bound
        n = n < -bound ? -bound : n;
        move[i] = rint(factor * n);
    }
}

static void integer_madam_update(const struct stage *s, struct span *span, const struct step *step) {
    const struct integer_madam *config = s->config;
    struct param *p = span->param;
    const double *f = ((const struct own *)s->own)->f;
    double root = 1 / sqrt(1 - pow(config->beta, (double)step->number)), move[BLOCK];
    for (size_t at = span->first; at < span->end; at += BLOCK) {
        size_t count = span->end - at < BLOCK ? span->end - at : BLOCK;
        int16_t *counter = (int16_t *)p->counter + at;
        moves_make(move, span->slot[V] + at, span->grad + at, count, config, config->factor * step->rate,
                   root);
        for (size_t i = 0; i < count; i++) {
            if (move[i] == 0) continue;
            int32_t sign = counter[i] < 0 ? -1 : 1, level = counter[i] * sign + (int32_t)move[i] * sign;
            level = level < 1 ? 1 : level > p->number.limit ? p->number.limit : level;
            counter[i] = (int16_t)(sign * level);
            p->value[at + i] = (real)(p->scale * sign * f[level]);
        }
    }
}

const struct stage_type integer_madam_stage = {.name = "integer_madam",
                                               .help = "multiplicative updates on integer exponents",
                                               .fields = fields,
                                               .config_size = sizeof(struct integer_madam),
                                               .moves = true,
                                               .build = integer_madam_build,
                                               .update = integer_madam_update,
                                               .free = integer_madam_free};
