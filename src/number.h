// Number systems: what an integer counter means. A weight is w = scale · f(c), with c in -limit .. limit.
//
//   linear   f(c) = c                                the control: ordinary fixed point
//   square   f(c) = c·|c|                            the idea's first form
//   power    f(c) = sign(c)·|c|^p
//   exp      f(c) = sign(c)·(e^(b·|c|) - 1)          dense near zero, then exponential; b = base / unit
//   pow2     f(c) = sign(c)·2^((|c|-1)/q), f(0) = 0  q = 1: a weight is a shift; q = unit / octaves
//   madam    f(c) = sign(c)·e^(-b·(|c|-1)), f(0) = 0 Madam's integers (Bernstein et al. 2020): |c|-1 is the
//   level k,
//                                                    c never reaches 0 by itself, so the sign never changes
#ifndef TALLY_SRC_NUMBER_H
#define TALLY_SRC_NUMBER_H

#include "src/base.h"

enum number_kind {
    NUMBER_LINEAR,
    NUMBER_SQUARE,
    NUMBER_POWER,
    NUMBER_EXP,
    NUMBER_POW2,
    NUMBER_MADAM,
    NUMBER_KINDS
};

struct number {
    enum number_kind kind;
    int bits;         // 8, 12, 16 or 32: how a counter is stored (12 bits in 16)
    double parameter; // p, b or q of the formula; unused by linear and square
    int32_t limit;    // the largest counter: 2^(bits-1)-1, less where f would leave the range of float
    int32_t unit;     // where the largest initial weight sits
};

// A number system; parameter 0 takes the default: p 2, base 4, q such that unit spans 12 octaves (pow2), b
// 0.001 (madam). unit 0 takes 32, 256, 1024, 2^20 for 8, 12, 16, 32 bits (madam: 1, its largest level;
// pow2 with q given: 12 q). bits must be 8, 12, 16 or 32 and unit in 1 .. 2^(bits-1)-1.
struct number number_make(enum number_kind kind, int bits, double parameter, int32_t unit);

const char *number_name(enum number_kind kind);
const char *number_help(enum number_kind kind);

// f(c), and its slope df/dc (of the branch away from zero; 0 at 0 for square and higher powers).
double number_value(const struct number *n, int32_t c);
double number_slope(const struct number *n, int32_t c);

// The counter nearest to f^-1(value), within the limit.
int32_t number_nearest(const struct number *n, double value);

// Bytes of one stored counter: 1, 2 or 4.
int number_bytes(const struct number *n);

#endif
