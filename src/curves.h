// exp, the normal distribution and softmax of a row, in the precision of `real`. In float they are straight code that a
// compiler turns into vector instructions, with the same bits for every instruction set, and about as exact as float
// is; in double they are the C library's.
//
// For the loops of ops; inlined, so that they are compiled for each of VECTOR_CLONES.
#ifndef TALLY_SRC_CURVES_H
#define TALLY_SRC_CURVES_H

#include <math.h>
#include <string.h>

#include "src/sums.h"

#ifdef TALLY_DOUBLE

static inline real curve_exp(real x) {
    return exp(x);
}

// The share of the normal distribution below x; *density: its density there.
static inline real curve_normal(real *density, real x) {
    *density = exp(-x * x / 2) * 0.3989422804014327; // 1 / sqrt(2 pi)
    return 0.5 * erfc(-x * 0.7071067811865476);      // sqrt(1 / 2)
}

#else

// exp(x) = 2^n · exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; exp(r) by Taylor's series. Below -87.3, where float loses
// digits, it is 0; above 88.3 it stays at exp(88.3).
static inline float curve_exp(float x) {
    const float round = 0x1.8p23f; // added, it leaves a whole number in the last bits
    float at = x > 88.3f ? 88.3f : x;
    at = at < -87.3f ? -87.3f : at;
    float shifted = at * 1.44269504f + round, n = shifted - round;
    float r = (at - n * 0.693359375f) + n * 2.12194440e-4f; // ln 2 in two parts; the first product is exact
    float power = 1.0f / 5040;
    power = power * r + 1.0f / 720;
    power = power * r + 1.0f / 120;
    power = power * r + 1.0f / 24;
    power = power * r + 1.0f / 6;
    power = power * r + 1.0f / 2;
    power = power * r * r + r + 1;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.3f ? 0 : power * scale;
}

// The share of the normal distribution below x; *density: its density there. With y = |x| and t = 1 / (1 + 0.32 y) the
// share beyond y is exp(-y² / 2) (c1 t + ... + c9 t^9), the form of Hastings (Abramowitz and Stegun 1964, 7.1.26); the
// coefficients are tests/golden/normal.py's.
static inline float curve_normal(float *density, float x) {
    float y = x < 0 ? -x : x, t = 1 / (1 + 0.32f * y);
    float power = curve_exp(x * x * -0.5f), beyond = -0.0183289747f;
    beyond = beyond * t + 0.119004391f;
    beyond = beyond * t - 0.286777555f;
    beyond = beyond * t + 0.281765381f;
    beyond = beyond * t - 0.0968685352f;
    beyond = beyond * t + 0.141426645f;
    beyond = beyond * t + 0.1031416f;
    beyond = beyond * t + 0.129047495f;
    beyond = beyond * t + 0.127589567f;
    beyond = beyond * t * power;
    *density = power * 0.398942280f; // 1 / sqrt(2 pi)
    return x < 0 ? beyond : 1 - beyond;
}

#endif

// y = exp(scale · (x - max x)) / the sum of that; scale > 0. y may be x.
static inline void curve_softmax(real *y, const real *x, size_t n, real scale) {
    real lane[SUMS_LANES], largest = x[0];
    size_t i = 0;
    for (size_t k = 0; k < SUMS_LANES; k++) lane[k] = largest;
    for (; i + SUMS_LANES <= n; i += SUMS_LANES)
        for (size_t k = 0; k < SUMS_LANES; k++) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (size_t k = 0; k < SUMS_LANES; k++) largest = lane[k] > largest ? lane[k] : largest;
    for (i = 0; i < n; i++) y[i] = curve_exp(scale * (x[i] - largest));
    real share = (real)(1 / sums_of(y, n));
    for (i = 0; i < n; i++) y[i] *= share;
}

#endif
