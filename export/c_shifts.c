// Networks by shifts and additions. Formulas and contracts in c_shifts.h.
#include "export/c_shifts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_SHIFT_MAX = 30, LEAST_MAX = 4096, FINEST = 6, STEP_MAX = 16 };

static const double ERROR_SLACK = 1.1;

// What is known of a vector: for each unit (a number, or a channel's plane) lo <= 0 <= hi, and how far sigma · element may be
// from the real number, in units of sigma.
struct range {
    int size; // units, all of the same number of elements
    double sigma;
    int64_t *lo, *hi;
    double *error;
};

// A try at a layer.
struct trial {
    int out_shift, least;
    double error;  // of the worst row, as a real number
    size_t rights; // weights that shift right
};

static struct range range_make(int size, double sigma) {
    struct range r = {.size = size, .sigma = sigma};
    r.lo = mem_new((size_t)size, sizeof *r.lo);
    r.hi = mem_new((size_t)size, sizeof *r.hi);
    r.error = mem_new((size_t)size, sizeof *r.error);
    return r;
}

static void range_free(struct range *r) {
    mem_free(r->lo);
    mem_free(r->hi);
    mem_free(r->error);
}

// --- terms -------------------------------------------------------------------------------------------------------------

// A weight in units of its scale as a sum of ±2^exponent.
struct term {
    int exponent;
    bool minus;
};

// The terms of 2^level, level >= 0, with what they come to; returns how many.
static int level_terms(struct term terms[SHIFT_TERMS], double *value, double level) {
    int k = (int)floor(level), count = 1;
    double wanted = exp2(level);
    terms[0] = (struct term){k, false};
    *value = ldexp(1, k);
    for (int i = 1; i <= FINEST && *value != wanted; i++)
        for (int minus = 0; minus <= 1; minus++) {
            double sum = ldexp(1, k + minus) + ldexp(minus ? -1 : 1, k - i);
            if (fabs(sum - wanted) >= fabs(*value - wanted)) continue;
            *value = sum;
            terms[0].exponent = k + minus;
            terms[1] = (struct term){k - i, minus};
            count = 2;
        }
    return count;
}

// The same for a counter; its sign is in the terms, not in the value.
static int counter_terms(struct term terms[SHIFT_TERMS], double *value, const struct net_tensor *w,
                         int32_t counter) {
    *value = 0;
    if (counter == 0) return 0;
    int count = level_terms(terms, value, (abs(counter) - 1) / w->number.parameter);
    for (int i = 0; i < count && counter < 0; i++) terms[i].minus = !terms[i].minus;
    return count;
}

// The code of a term, or -1 when it shifts too far left for an x of up to `most`.
static int code_of(struct term t, int least, int64_t most) {
    if (most == 0) return SHIFT_ZERO;
    int s = t.exponent - least;
    if (s >= SHIFT_RIGHT - 1) return -1;
    int code = s >= 0 ? s : SHIFT_RIGHT - 1 - s;
    if (code >= SHIFT_ZERO || shift_by(most, code) == 0) return SHIFT_ZERO;
    return t.minus ? code | SHIFT_MINUS : code;
}

// --- bounds ------------------------------------------------------------------------------------------------------------

static int64_t most_of(const struct range *x, int j) {
    return x->hi[j] > -x->lo[j] ? x->hi[j] : -x->lo[j];
}

// The unit that column j of a row sees.
static int unit_of(const struct range *x, const struct net_layer *l, int row, int j) {
    int columns = net_columns(&l->weight), group = row / (net_rows(&l->weight) / l->groups);
    return (int)((int64_t)(group * columns + j) * x->size / ((int64_t)columns * l->groups));
}

static double bias_of(const struct net_layer *l, int row, double sigma) {
    return l->bias.shape.rank ? rint((double)l->bias.value[row] / sigma) : 0;
}

// The bounds of one row's partial sums and its error in units of `sigma`, the sum's. False when they leave the limit.
static bool row_bounds(const struct net_layer *l, int row, const struct range *x, int least, double sigma,
                       int64_t *lo, int64_t *hi, double *error, size_t *rights) {
    double bias = bias_of(l, row, sigma);
    if (!(fabs(bias) <= (double)SHIFT_LIMIT)) return false;
    *lo = *hi = (int64_t)bias;
    *error = bias != 0 ? 0.5 : 0;
    const struct net_tensor *w = &l->weight;
    int columns = net_columns(w);
    for (int j = 0; j < columns; j++) {
        int u = unit_of(x, l, row, j);
        int32_t counter = w->counter[(size_t)row * (size_t)columns + (size_t)j];
        struct term terms[SHIFT_TERMS];
        double value, exact = counter ? exp2((abs(counter) - 1) / w->number.parameter) : 0;
        int count = counter_terms(terms, &value, w, counter);
        *error += ldexp(exact * x->error[u] + fabs(exact - value) * (double)most_of(x, u), -least);
        for (int i = 0; i < count; i++) {
            int code = code_of(terms[i], least, most_of(x, u));
            if (code < 0) return false;
            bool right = (code & SHIFT_MASK) >= SHIFT_RIGHT;
            *error += right && most_of(x, u) ? 0.5 : 0;
            if ((code & SHIFT_MASK) == SHIFT_ZERO) continue;
            *rights += right;
            int64_t low = shift_by(x->lo[u], code), high = shift_by(x->hi[u], code);
            *lo += code & SHIFT_MINUS ? -high : low;
            *hi += code & SHIFT_MINUS ? -low : high;
            if (*lo < -SHIFT_LIMIT || *hi > SHIFT_LIMIT) return false;
        }
    }
    return true;
}

// Whether the layer's sums fit with this exponent; then also the error, and the sums' ranges where `out` isn't NULL.
static bool layer_fits(const struct net_layer *l, const struct range *x, int least, struct trial *t,
                       struct range *out) {
    double sigma = ldexp(x->sigma * l->weight.scale, least);
    t->least = least;
    t->error = 0;
    t->rights = 0;
    for (int i = 0; i < net_rows(&l->weight); i++) {
        int64_t lo, hi;
        double error;
        if (!row_bounds(l, i, x, least, sigma, &lo, &hi, &error, &t->rights)) return false;
        t->error = fmax(t->error, error * sigma);
        if (!out) continue;
        out->lo[i] = lo < 0 ? lo : 0;
        out->hi[i] = hi > 0 ? hi : 0;
        out->error[i] = error;
    }
    return true;
}

// The smallest exponent that fits is not far above where the largest sum, in real arithmetic, would reach 2^31.
static int least_guess(const struct net_layer *l, const struct range *x) {
    double most = 0, unit = x->sigma * l->weight.scale;
    int columns = net_columns(&l->weight);
    for (int i = 0; i < net_rows(&l->weight); i++) {
        double sum = l->bias.shape.rank ? fabs((double)l->bias.value[i]) / unit : 0;
        for (int j = 0; j < columns; j++) {
            int32_t c = l->weight.counter[(size_t)i * (size_t)columns + (size_t)j];
            double most_in = (double)most_of(x, unit_of(x, l, i, j));
            if (c != 0) sum += exp2((abs(c) - 1) / l->weight.number.parameter) * most_in;
        }
        most = fmax(most, sum);
    }
    return most > 0 ? ilogb(most) - 33 : 0;
}

static bool layer_try(const struct net_layer *l, const struct range *x, struct trial *t) {
    int guess = least_guess(l, x);
    if (abs(guess) > LEAST_MAX) return false;
    for (int least = guess; least < guess + LEAST_MAX; least++)
        if (layer_fits(l, x, least, t, NULL)) return true;
    return false;
}

// x after an out_shift.
static struct range range_shifted(const struct range *x, int by) {
    struct range r = range_make(x->size, ldexp(x->sigma, by));
    for (int j = 0; j < x->size; j++) {
        r.lo[j] = shift_right(x->lo[j], by);
        r.hi[j] = shift_right(x->hi[j], by);
        r.error[j] = ldexp(x->error[j], -by) + (by > 0 && most_of(x, j) ? 0.5 : 0);
    }
    return r;
}

// --- planning ----------------------------------------------------------------------------------------------------------

// The best out_shift of the layer before, 0 .. most, with what follows from it.
static bool trial_choose(struct trial *best, const struct net_layer *l, const struct range *x, int most) {
    struct trial tried[OUT_SHIFT_MAX + 1];
    int count = 0;
    double error = INFINITY;
    for (int by = 0; by <= most; by++) {
        struct range in = range_shifted(x, by);
        struct trial t = {.out_shift = by};
        if (layer_try(l, &in, &t)) {
            error = fmin(error, t.error);
            tried[count++] = t;
        }
        range_free(&in);
    }
    *best = (struct trial){.rights = SIZE_MAX};
    for (int i = 0; i < count; i++)
        if (tried[i].error <= error * ERROR_SLACK && tried[i].rights < best->rights) *best = tried[i];
    return count > 0;
}

static void layer_codes(struct shift_layer *s, const struct net_layer *l, const struct range *x) {
    s->code = mem_new((size_t)s->rows * (size_t)s->columns, SHIFT_TERMS);
    s->bias = mem_new((size_t)s->rows, sizeof *s->bias);
    s->place = mem_new((size_t)s->rows * (size_t)s->columns * SHIFT_TERMS, sizeof *s->place);
    s->first = mem_new((size_t)s->rows + 1, sizeof *s->first);
    memset(s->code, SHIFT_ZERO, (size_t)s->rows * (size_t)s->columns * SHIFT_TERMS);
    size_t at = 0;
    for (int i = 0; i < s->rows; i++) {
        s->bias[i] = (int32_t)bias_of(l, i, s->sigma);
        for (int j = 0; j < s->columns; j++, at++) {
            int64_t most = most_of(x, unit_of(x, l, i, j));
            struct term terms[SHIFT_TERMS];
            double value;
            int count = counter_terms(terms, &value, &l->weight, l->weight.counter[at]), stored = 0;
            for (int k = 0; k < count; k++) {
                int code = code_of(terms[k], s->least, most);
                if (code == SHIFT_ZERO) continue;
                s->place[s->terms++] = (uint32_t)(j * SHIFT_TERMS + stored);
                s->code[at * SHIFT_TERMS + (size_t)stored++] = (uint8_t)code;
            }
            s->weights += stored > 0;
            s->dropped += (size_t)(count - stored);
        }
        s->first[i + 1] = s->terms;
    }
}

// Appends the layer at `index`, `x` its input; *x becomes the range of its output before an out_shift.
static int layer_plan(struct shifts *s, const struct net *n, int index, struct range *x, struct err *e) {
    const struct net_layer *l = &n->layers[index];
    struct shift_layer *before = s->count ? &s->layers[s->count - 1] : NULL, *now = &s->layers[s->count];
    struct trial t;
    if (!trial_choose(&t, l, x, before ? OUT_SHIFT_MAX : 0))
        return err_set(e, "%s: scale and bias are too far apart for 32-bit sums", l->name);
    struct range in = range_shifted(x, t.out_shift);
    if (before) before->out_shift = t.out_shift;
    *now = (struct shift_layer){.layer = index,
                                .rows = net_rows(&l->weight),
                                .columns = net_columns(&l->weight),
                                .conv2d = l->kind == NET_CONV2D,
                                .in = l->in,
                                .out = l->out,
                                .window = l->window,
                                .groups = l->groups,
                                .least = t.least,
                                .sigma = ldexp(in.sigma * l->weight.scale, t.least),
                                .error = t.error};
    for (int j = 0; j < in.size; j++) now->signed_in |= in.lo[j] < 0;
    layer_codes(now, l, &in);
    range_free(x);
    *x = range_make(now->rows, now->sigma);
    CHECK(layer_fits(l, &in, t.least, &t, x), "shifts: %s fitted before", l->name);
    range_free(&in);
    s->count++;
    return 0;
}

static void relu_plan(struct shifts *s, struct range *x) {
    if (s->count) s->layers[s->count - 1].relu = true;
    for (int j = 0; j < x->size; j++) x->lo[j] = 0;
}

static int weight_check(const struct net_layer *l, struct err *e) {
    static const char wanted[] = "train with counter.map=pow2";
    const struct net_tensor *w = &l->weight;
    if (!w->counted)
        return err_set(e, "%s.weight: float values can't be shifts, wanted powers of two: %s", l->name,
                       wanted);
    if (w->number.kind != NUMBER_POW2)
        return err_set(e, "%s.weight: counters of map %s can't be shifts, wanted powers of two: %s", l->name,
                       number_name(w->number.kind), wanted);
    if (l->factor.shape.rank)
        return err_set(e, "%s: factors of its outputs can't be shifts: train without a batch_norm behind it",
                       l->name);
    return 0;
}

// Places in an image are found by additions too, as many as a step is long.
static int window_check(const struct net_layer *l, struct err *e) {
    for (int axis = 0; axis < 2; axis++) {
        int most = l->window.stride[axis] > l->window.dilation[axis] ? l->window.stride[axis]
                                                                     : l->window.dilation[axis];
        if (most > STEP_MAX)
            return err_set(e, "%s: a stride or dilation of %d, by shifts and additions at most %d", l->name,
                           most, STEP_MAX);
    }
    return 0;
}

// *planes: there are planes of a conv2d that a pooling may shrink, as it may once.
static int layer_take(struct shifts *s, const struct net *n, int i, struct range *x, bool *planes,
                      struct err *e) {
    const struct net_layer *l = &n->layers[i];
    bool conv2d = l->kind == NET_CONV2D;
    if ((l->kind == NET_LINEAR && l->in.rank == 1) || conv2d) {
        *planes = conv2d;
        if (conv2d && window_check(l, e) != 0) return -1;
        return weight_check(l, e) == 0 ? layer_plan(s, n, i, x, e) : -1;
    }
    if (l->kind == NET_RELU) {
        relu_plan(s, x);
        return 0;
    }
    if (l->kind == NET_MAX_POOL2D && *planes) {
        struct shift_layer *before = &s->layers[s->count - 1];
        before->pooled = true;
        before->pool = l->window;
        before->after = l->out;
        *planes = false;
        return window_check(l, e);
    }
    if (l->kind == NET_FLATTEN) return 0;
    return err_set(
        e,
        "%s: %s can't be done by shifts and additions here, wanted linear, conv2d, relu, flatten and, "
        "once behind a conv2d, max_pool2d only",
        l->name, net_kind_name(l->kind));
}

struct shifts *shifts_new(const struct net *n, struct err *e) {
    struct shifts *s = mem_new(1, sizeof *s);
    s->layers = mem_new((size_t)n->count + 1, sizeof *s->layers);
    struct range x = range_make(1, 1 / 255.0); // all pixels are alike
    x.hi[0] = 255;
    int result = 0;
    bool planes = false;
    for (int i = 0; i < n->count && result == 0; i++) result = layer_take(s, n, i, &x, &planes, e);
    range_free(&x);
    if (result == 0 && s->count == 0)
        result = err_set(e, "%s: no linear or conv2d layer, wanted at least one", n->name);
    if (result != 0) {
        shifts_free(s);
        return NULL;
    }
    s->sigma = s->layers[s->count - 1].sigma;
    s->error = s->layers[s->count - 1].error;
    return s;
}

void shifts_free(struct shifts *s) {
    if (!s) return;
    for (int i = 0; i < s->count; i++) {
        mem_free(s->layers[i].bias);
        mem_free(s->layers[i].code);
        mem_free(s->layers[i].place);
        mem_free(s->layers[i].first);
    }
    mem_free(s->layers);
    mem_free(s);
}
