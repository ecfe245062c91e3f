// Networks that leave with fewer bits. Contracts of net_requantise and net_requantise_biases in net.h.
#include <math.h>

#include "export/net.h"

// Float numbers become linear counters, the largest at the limit.
static void tensor_count(struct net_tensor *t, int bits) {
    int32_t limit = (1 << (bits - 1)) - 1;
    double most = 0;
    for (size_t i = 0; i < t->size; i++) most = fmax(most, fabs((double)t->value[i]));
    t->counted = true;
    t->counter = mem_new(t->size, sizeof *t->counter);
    t->number = number_make(NUMBER_LINEAR, bits <= 8 ? 8 : 16, 0, 1);
    t->scale = most > 0 ? most / limit : 1;
    for (size_t i = 0; i < t->size; i++) t->counter[i] = (int32_t)rint((double)t->value[i] / t->scale);
}

// What scale and parameter must be so that counter `limit` means what `most` means now.
static void number_stretch(struct net_tensor *t, double most, double limit) {
    double ratio = most / limit;
    switch (t->number.kind) {
    case NUMBER_LINEAR:
        t->scale *= ratio;
        break;
    case NUMBER_SQUARE:
        t->scale *= ratio * ratio;
        break;
    case NUMBER_POWER:
        t->scale *= pow(ratio, t->number.parameter);
        break;
    case NUMBER_EXP:
        t->number.parameter *= ratio;
        break;
    case NUMBER_POW2: // levels count from 1
        if (limit > 1)
            t->number.parameter *= (limit - 1) / (most - 1);
        else
            t->scale *= exp2((most - 1) / t->number.parameter);
        break;
    case NUMBER_MADAM:
        t->number.parameter *= limit > 1 ? (most - 1) / (limit - 1) : 1;
        break;
    case NUMBER_KINDS:
        break;
    }
}

static void tensor_requantise(struct net_tensor *t, int bits) {
    if (!t->counted) {
        size_t nonzero = net_nonzero(t);
        tensor_count(t, bits);
        for (size_t i = 0; i < t->size && nonzero; i++) // a survivor stays one
            if (t->counter[i] == 0 && t->value[i] != 0) t->counter[i] = t->value[i] < 0 ? -1 : 1;
        return;
    }
    int32_t limit = (1 << (bits - 1)) - 1, most = 0;
    for (size_t i = 0; i < t->size; i++) most = t->counter[i] > most ? t->counter[i] : most;
    for (size_t i = 0; i < t->size; i++) most = -t->counter[i] > most ? -t->counter[i] : most;
    if (most > limit) {
        bool from_one = t->number.kind == NUMBER_POW2 || t->number.kind == NUMBER_MADAM;
        double zero = from_one ? 1 : 0, ratio = (limit - zero) / (most - zero);
        for (size_t i = 0; i < t->size; i++) {
            int32_t c = t->counter[i];
            if (c == 0) continue;
            int32_t a = (int32_t)rint(zero + ((c < 0 ? -c : c) - zero) * ratio);
            if (a < 1) a = 1;
            t->counter[i] = c < 0 ? -a : a;
        }
        number_stretch(t, most, limit);
    }
    t->number.bits = bits <= 8 ? 8 : 16;
    t->number.limit = limit;
}

void net_requantise(struct net *n, int bits) {
    CHECK(bits >= 2 && bits <= 16, "net: %d bits", bits);
    for (int i = 0; i < n->count; i++) {
        struct net_layer *l = &n->layers[i];
        if (!l->weight.shape.rank) continue;
        tensor_requantise(&l->weight, bits);
        net_refresh(l);
    }
}

// Numbers above 0 become pow2 counters 1 .. 127, equal steps of their logarithm.
static void tensor_count_ratios(struct net_tensor *t) {
    enum { LIMIT = 127, FINEST = 4096 };
    double least = (double)t->value[0], most = least;
    for (size_t i = 1; i < t->size; i++) {
        least = fmin(least, (double)t->value[i]);
        most = fmax(most, (double)t->value[i]);
    }
    double octaves = log2(most / least);
    t->counted = true;
    t->counter = mem_new(t->size, sizeof *t->counter);
    t->number = number_make(NUMBER_POW2, 8, octaves > 0 ? fmin((LIMIT - 1) / octaves, FINEST) : 1, 0);
    t->scale = least;
    for (size_t i = 0; i < t->size; i++)
        t->counter[i] = 1 + (int32_t)rint(log2((double)t->value[i] / least) * t->number.parameter);
}

// Scale and parameter in float where they have a place there: files hold them in half the bytes.
static void tensor_shorten(struct net_tensor *t) {
    double scale = net_as_float(t->scale), parameter = net_as_float(t->number.parameter);
    if (!t->counted || !(scale > 0) || !isfinite(scale) || !isfinite(parameter)) return;
    t->scale = scale;
    t->number.parameter = parameter;
}

void net_requantise_biases(struct net *n) {
    for (int i = 0; i < n->count; i++) {
        struct net_layer *l = &n->layers[i];
        if (l->bias.shape.rank && !l->bias.counted) tensor_count(&l->bias, 8);
        if (l->weight.shape.rank && l->factor.shape.rank && !l->factor.counted)
            tensor_count_ratios(&l->factor);
        tensor_shorten(&l->weight);
        tensor_shorten(&l->bias);
        tensor_shorten(&l->factor);
        net_refresh(l);
    }
}
