// counter: the weight is s · f(c); training moves the integer c up and down. One step, per weight:
//   u = direction of the gradient g:
//       sign           sign(g)
//       momentum-sign  sign(m)                            m = momentum · m + (1 - momentum) g
//       adam           m' / (sqrt(v') + eps)              m', v' as in Adam, bias corrected
//       tensor         m' / rms'                          rms: of g over the tensor's living weights and the last steps,
//       one number chain          m' · f'(c) · s / k², k = max|w0|^(1/p) / unit, p the power of the map (1
//       where it is none):
//                      plain gradient descent on the parameter that f maps, "powerpropagation" (Schwarz et
//                      al. 2021, eq. 2) for square and power; here `rate` is its learning rate and is not
//                      multiplied by unit
//   x = c - rate · unit · u                               the target, a real number
//   x = sign(x) · max(|x| - rate · unit · leak, 0)        counts drain towards zero: what makes exact zeros
//   c = clamp(round(x), -limit, limit)                    stochastic: floor(x + uniform); or nearest
//   w = s · f(c)
// Except for chain the gradient is not multiplied by f'(c): a counter at zero still moves, so dead weights
// can come back. With momentum 0, sign, tensor and chain keep no state per weight but the counter itself.
//
// The rounding is computed on the move, x - c, so that small moves of large counters are not lost in float.
// Slots: m (unless momentum is 0 or unused), v (adam), rms (tensor; one number per tensor).
#include <stdlib.h>
#include <tgmath.h>

#include "optim/optim.h"

enum direction { SIGN, MOMENTUM_SIGN, ADAM, TENSOR, CHAIN };
enum rounding { STOCHASTIC, NEAREST };

struct counter {
    int map, direction, rounding;
    int64_t bits, unit;
    double parameter, rate, leak, momentum, beta2, eps;
};

static const struct field fields[] = {
    {"map", FIELD_CHOICE, offsetof(struct counter, map), NUMBER_SQUARE, 0, 0, "linear|square|power|exp|pow2",
     "number system: what a counter means"},
    {"parameter", FIELD_REAL, offsetof(struct counter, parameter), 0, 0, 1e6, NULL,
     "of the number system: p of power, steepness of exp, q of pow2; 0: its default"},
    {"bits", FIELD_INT, offsetof(struct counter, bits), 16, 8, 32, NULL, "of a counter: 8, 12, 16 or 32"},
    {"unit", FIELD_INT, offsetof(struct counter, unit), 0, 0, 1 << 30, NULL,
     "counts of the largest initial weight; 0: 32, 256, 1024, 2^20 by bits"},
    {"rate", FIELD_REAL, offsetof(struct counter, rate), 0.01, 0, 1e3, NULL, "step, in units"},
    {"leak", FIELD_REAL, offsetof(struct counter, leak), 0, 0, 1e3, NULL,
     "drain towards zero, as a share of a step"},
    {"direction", FIELD_CHOICE, offsetof(struct counter, direction), ADAM, 0, 0,
     "sign|momentum-sign|adam|tensor|chain", "what of the gradient moves a counter"},
    {"momentum", FIELD_REAL, offsetof(struct counter, momentum), 0.9, 0, 0.9999, NULL,
     "0: none, and no slot"},
    {"beta2", FIELD_REAL, offsetof(struct counter, beta2), 0.999, 0, 0.999999, NULL,
     "decay of the mean square (adam, tensor)"},
    {"eps", FIELD_REAL, offsetof(struct counter, eps), 1e-8, 1e-30, 1, NULL,
     "keeps the division finite (adam)"},
    {"rounding", FIELD_CHOICE, offsetof(struct counter, rounding), STOCHASTIC, 0, 0, "stochastic|nearest",
     "of the target to a counter"},
    FIELD_END};

enum { BLOCK = 512, TABLE_LIMIT = 1 << 15 };

// What build adds to the options.
struct own {
    int m, v, rms;     // slots, -1: none
    double *f, *slope; // tables over 0 .. limit, for maps that are costly to compute; NULL: compute
};

// What this step makes the means of the gradient and its square with: rest is 1 - momentum and 1 - beta2, correction
// 1 / (1 - momentum^t), root 1 / sqrt(1 - beta2^t).
struct means {
    real momentum, rest1, correction, beta2, rest2, root, eps;
};

// One block on its way through a step; everything here is in registers or the first cache.
struct block {
    size_t count;
    double root; // 1 / sqrt(1 - beta2^t), of this step
    struct means means;
    _Alignas(64) real u[BLOCK];    // direction
    _Alignas(64) int32_t c[BLOCK]; // counter
    _Alignas(64) uint32_t bits[BLOCK];
};

// --- build
// ------------------------------------------------------------------------------------------------------

static void tables_make(struct own *own, const struct number *number, bool with_slope) {
    if (number->limit >= TABLE_LIMIT) return;
    size_t size = (size_t)number->limit + 1;
    own->f =
        number->kind == NUMBER_SQUARE || number->kind == NUMBER_LINEAR ? NULL : mem_new(size, sizeof *own->f);
    own->slope = with_slope ? mem_new(size, sizeof *own->slope) : NULL;
    for (size_t c = 0; c < size; c++) {
        if (own->f) own->f[c] = number_value(number, (int32_t)c);
        if (own->slope) own->slope[c] = number_slope(number, (int32_t)c);
    }
}

static int counter_build(struct stage *s, uint64_t seed, struct err *e) {
    const struct counter *config = s->config;
    int bits = (int)config->bits;
    if (bits != 8 && bits != 12 && bits != 16 && bits != 32)
        return err_set(e, "%s.bits: %d is not 8, 12, 16 or 32", s->path, bits);
    if (config->unit > (INT64_C(1) << (bits - 1)) - 1)
        return err_set(e, "%s.unit: %d does not fit %d bits", s->path, (int)config->unit, bits);
    struct number number =
        number_make((enum number_kind)config->map, bits, config->parameter, (int32_t)config->unit);
    bool fits = number_value(&number, number.unit) > 1e-300 && number_value(&number, number.limit) < 1e300;
    if (!fits || (config->direction == CHAIN && !isfinite(number_slope(&number, 0))))
        return err_set(e, "%s.parameter: %g takes '%s' out of range at unit %d", s->path, config->parameter,
                       number_name(number.kind), (int)number.unit);
    struct own *own = s->own = mem_new(1, sizeof *own);
    for (int i = 0; i < s->count; i++) {
        struct param *p = &s->params->list[s->param[i]];
        if (p->bound == 0)
            return err_set(
                e, "%s: %s starts at one value, which gives counters no unit; use another stage for it",
                s->path, p->name);
        param_count(p, number);
    }
    s->whole_tensors = config->direction == TENSOR;
    s->rests = config->leak == 0;
    bool averages = config->momentum > 0 && config->direction != SIGN;
    own->m = averages ? stage_add_slot(s, "m", true) : -1;
    own->v = config->direction == ADAM ? stage_add_slot(s, "v", true) : -1;
    own->rms = config->direction == TENSOR ? stage_add_slot(s, "rms", false) : -1;
    tables_make(own, &number, config->direction == CHAIN);
    if (config->rounding == STOCHASTIC) stage_add_rounding(s, seed);
    return 0;
}

static void counter_free(struct stage *s) {
    struct own *own = s->own;
    if (!own) return;
    mem_free(own->f);
    mem_free(own->slope);
}

// --- direction
// --------------------------------------------------------------------------------------------------

static void counter_prepare(struct stage *s, const struct step *step) {
    const struct counter *config = s->config;
    const struct own *own = s->own;
    if (own->rms < 0) return;
    for (int i = 0; i < s->count; i++) {
        double mean = stage_grad_squares(s, i, step->threads) /
                      fmax((double)param_live(&s->params->list[s->param[i]]), 1);
        real *square = s->slots[own->rms].value[i];
        *square = (real)(config->beta2 * (double)*square + (1 - config->beta2) * mean);
    }
}

static inline real mean_updated(real *m, real g, struct means k) {
    *m = k.momentum * *m + k.rest1 * g;
    return *m * k.correction;
}

static inline real adam_divided(real u, real *v, real g, struct means k) {
    *v = k.beta2 * *v + k.rest2 * g * g;
    return u / (sqrt(*v) * k.root + k.eps);
}

VECTOR_CLONES static void direction_mean(real *restrict u, real *restrict m, const real *restrict g,
                                         size_t count, struct means k) {
    for (size_t i = 0; i < count; i++) u[i] = mean_updated(&m[i], g[i], k);
}

VECTOR_CLONES static void direction_adam(real *restrict u, real *restrict v, const real *restrict g,
                                         size_t count, struct means k) {
    for (size_t i = 0; i < count; i++) u[i] = adam_divided(u[i], &v[i], g[i], k);
}

static void direction_sign(real *u, size_t count) {
    for (size_t i = 0; i < count; i++) u[i] = (real)((u[i] > 0) - (u[i] < 0));
}

// u · f'(c) · s / k², see the head of the file.
static void direction_chain(const struct stage *s, const struct param *p, struct block *b) {
    const struct own *own = s->own;
    const struct number *n = &p->number;
    double power = n->kind == NUMBER_SQUARE ? 2 : n->kind == NUMBER_POWER ? n->parameter : 1;
    double k = pow(p->scale * number_value(n, n->unit), 1 / power) / n->unit;
    double factor = p->scale / (k * k);
    for (size_t i = 0; i < b->count; i++) {
        int32_t c = b->c[i] < 0 ? -b->c[i] : b->c[i];
        b->u[i] *= (real)(factor * (own->slope ? own->slope[c] : number_slope(n, c)));
    }
}

static void block_direction(const struct stage *s, const struct span *span, size_t at, struct block *b) {
    const struct counter *config = s->config;
    const struct own *own = s->own;
    const real *g = span->grad + at;
    if (own->m >= 0)
        direction_mean(b->u, span->slot[own->m] + at, g, b->count, b->means);
    else
        for (size_t i = 0; i < b->count; i++) b->u[i] = g[i];
    switch ((enum direction)config->direction) {
    case SIGN:
    case MOMENTUM_SIGN:
        direction_sign(b->u, b->count);
        break;
    case ADAM:
        direction_adam(b->u, span->slot[own->v] + at, g, b->count, b->means);
        break;
    case TENSOR: {
        double rms = sqrt((double)*span->slot[own->rms]) * b->root;
        real factor = (real)(rms > 0 ? 1 / rms : 0);
        for (size_t i = 0; i < b->count; i++) b->u[i] *= factor;
        break;
    }
    case CHAIN:
        direction_chain(s, span->param, b);
    }
}

// --- move
// -------------------------------------------------------------------------------------------------------

// What a step does to every counter. `far` is not a constant where it is used, since the compiler then makes branches of
// the comparisons, and no vectors.
struct move {
    real rate, leak, far;
    int32_t limit;
};

// The move is target - c + r, with r = bits / 2^32. A counter that the leak drains becomes 0; else c = clamp(c +
// floor(move)), within the limit whatever the gradient; NaN moves down (that the loss is not finite is for the run to
// notice).
static inline bool counter_drained(real *move, int32_t c, real u, uint32_t bits, struct move k) {
    *move = -k.rate * u;
    real x = (real)c + *move, chance = (real)(int32_t)(bits >> 8) * (real)0x1p-24;
    *move = *move - copysign(k.leak, x) + chance;
    return fabs(x) <= k.leak;
}

// Counters of up to 16 bits, in real numbers throughout. Adding `whole_only` rounds to a whole number; where the move is
// too large for that, the counter ends at its limit all the same.
static inline int32_t counter_moved(int32_t c, real u, uint32_t bits, struct move k) {
    const real whole_only = sizeof(real) == sizeof(float) ? (real)0x1.8p23 : (real)0x1.8p52;
    real move, limit = (real)k.limit;
    bool drained = counter_drained(&move, c, u, bits, k);
    real shifted = move + whole_only, whole = shifted - whole_only;
    whole = whole > move ? whole - 1 : whole; // floor
    real next = (real)c + whole;
    next = next > -limit ? next : -limit;
    next = next < limit ? next : limit;
    return drained ? 0 : (int32_t)next;
}

// Larger ones: the move is cut to ±far, and the sum saturates instead of wrapping.
static inline int32_t counter_moved_far(int32_t c, real u, uint32_t bits, struct move k) {
    real move;
    bool drained = counter_drained(&move, c, u, bits, k);
    move = move > -k.far ? move : -k.far;
    move = move < k.far ? move : k.far;
    int32_t whole = (int32_t)move;
    whole -= (real)whole > move; // floor
    int32_t sum = (int32_t)((uint32_t)c + (uint32_t)whole);
    int32_t wrapped = ((c ^ sum) & (whole ^ sum)) >> 31, end = (c >> 31) ^ k.limit; // all bits or none
    int32_t next = sum ^ ((sum ^ end) & wrapped);
    next = next < k.limit ? next : k.limit;
    next = next > -k.limit ? next : -k.limit;
    return drained ? 0 : next;
}

VECTOR_CLONES static void block_move(struct block *b, size_t count, struct move k) {
    if (k.limit <= INT16_MAX)
        for (size_t i = 0; i < count; i++) b->c[i] = counter_moved(b->c[i], b->u[i], b->bits[i], k);
    else
        for (size_t i = 0; i < count; i++) b->c[i] = counter_moved_far(b->c[i], b->u[i], b->bits[i], k);
}

// The common case in one loop, since the machine can move one counter while it divides for the next.
VECTOR_CLONES static void block_adam_move(struct block *restrict b, size_t count, real *restrict m,
                                          real *restrict v, const real *restrict g, struct means means,
                                          struct move k) {
    for (size_t i = 0; i < count; i++) {
        real u = mean_updated(&m[i], g[i], means);
        b->c[i] = counter_moved(b->c[i], adam_divided(u, &v[i], g[i], means), b->bits[i], k);
    }
}

VECTOR_CLONES static void block_load(struct block *b, size_t count, const struct param *p, size_t at) {
    int bytes = number_bytes(&p->number);
    const int8_t *c1 = (const int8_t *)p->counter + at;
    const int16_t *c2 = (const int16_t *)p->counter + at;
    const int32_t *c4 = (const int32_t *)p->counter + at;
    if (bytes == 1)
        for (size_t i = 0; i < count; i++) b->c[i] = c1[i];
    else if (bytes == 2)
        for (size_t i = 0; i < count; i++) b->c[i] = c2[i];
    else
        for (size_t i = 0; i < count; i++) b->c[i] = c4[i];
}

VECTOR_CLONES static void block_store(const struct block *restrict b, size_t count, const struct param *p,
                                      size_t at) {
    int bytes = number_bytes(&p->number);
    int8_t *restrict c1 = (int8_t *)p->counter + at;
    int16_t *restrict c2 = (int16_t *)p->counter + at;
    int32_t *restrict c4 = (int32_t *)p->counter + at;
    if (bytes == 1)
        for (size_t i = 0; i < count; i++) c1[i] = (int8_t)b->c[i];
    else if (bytes == 2)
        for (size_t i = 0; i < count; i++) c2[i] = (int16_t)b->c[i];
    else
        for (size_t i = 0; i < count; i++) c4[i] = b->c[i];
}

// w = s · f(c), to the bit what number_value gives.
VECTOR_CLONES static void block_value_square(real *restrict w, const struct block *b, size_t count,
                                             double scale, int32_t limit) {
    if (limit <= INT16_MAX)
        for (size_t i = 0; i < count; i++) w[i] = (real)(scale * (double)(b->c[i] * abs(b->c[i])));
    else
        for (size_t i = 0; i < count; i++) w[i] = (real)(scale * ((double)b->c[i] * fabs((double)b->c[i])));
}

VECTOR_CLONES static void block_value_linear(real *restrict w, const struct block *b, size_t count,
                                             double scale) {
    for (size_t i = 0; i < count; i++) w[i] = (real)(scale * (double)b->c[i]);
}

VECTOR_CLONES static void block_value_table(real *restrict w, const struct block *restrict b, size_t count,
                                            double scale, const double *restrict f) {
    for (size_t i = 0; i < count; i++) {
        int32_t c = b->c[i], sign = c >> 31;
        real magnitude = (real)(scale * f[(c ^ sign) - sign]);
        w[i] = c < 0 ? -magnitude : magnitude;
    }
}

static void block_value(const struct block *b, size_t count, const struct own *own, const struct param *p,
                        size_t at) {
    real *w = p->value + at;
    if (p->number.kind == NUMBER_SQUARE)
        block_value_square(w, b, count, p->scale, p->number.limit);
    else if (p->number.kind == NUMBER_LINEAR)
        block_value_linear(w, b, count, p->scale);
    else if (own->f)
        block_value_table(w, b, count, p->scale, own->f);
    else
        for (size_t i = 0; i < count; i++) w[i] = (real)(p->scale * number_value(&p->number, b->c[i]));
}

static void counter_update(const struct stage *s, struct span *span, const struct step *step) {
    const struct counter *config = s->config;
    const struct own *own = s->own;
    struct param *p = span->param;
    double rate = config->rate * step->rate * p->number.unit, leak = step->frozen ? 0 : rate * config->leak;
    if (config->direction == CHAIN) rate = config->rate * step->rate;
    double t = (double)step->number;
    struct block b;
    b.root = 1 / sqrt(1 - pow(config->beta2, t));
    b.means = (struct means){
        (real)config->momentum, (real)(1 - config->momentum), (real)(1 / (1 - pow(config->momentum, t))),
        (real)config->beta2,    (real)(1 - config->beta2),    (real)b.root,
        (real)config->eps};
    const struct move move = {(real)rate, (real)leak, 0x1p30f, p->number.limit};
    bool common = config->direction == ADAM && own->m >= 0 && p->number.limit <= INT16_MAX;
    for (size_t i = 0; i < BLOCK && config->rounding == NEAREST; i++) b.bits[i] = UINT32_C(1) << 31; // a half
    for (size_t at = span->first; at < span->end; at += BLOCK) {
        b.count = span->end - at < BLOCK ? span->end - at : BLOCK;
        block_load(&b, b.count, p, at);
        if (config->rounding == STOCHASTIC) {
            struct rng row = rng_row(s->rounding[span->index], (uint64_t)step->number);
            rng_fill(b.bits, b.count, &row, at);
        }
        if (common) {
            block_adam_move(&b, b.count, span->slot[own->m] + at, span->slot[own->v] + at, span->grad + at,
                            b.means, move);
        } else {
            block_direction(s, span, at, &b);
            block_move(&b, b.count, move);
        }
        block_store(&b, b.count, p, at);
        block_value(&b, b.count, own, p, at);
    }
}

const struct stage_type counter_stage = {
    .name = "counter",
    .help = "integer counters: the weight is a nonlinear function of its counter",
    .fields = fields,
    .config_size = sizeof(struct counter),
    .moves = true,
    .build = counter_build,
    .prepare = counter_prepare,
    .update = counter_update,
    .free = counter_free};
