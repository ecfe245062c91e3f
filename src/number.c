// Number systems. Formulas and contracts in number.h.
#include "src/number.h"

#include <math.h>

// Beyond this many times f(unit) (Madam: below this share of it) a float product could leave its range;
// counters stop there.
static const double GROWTH_LIMIT = 0x1p40;

// What the unit spans by default.
static const double POW2_OCTAVES = 12;

static const struct {
    const char *name, *help;
    double parameter;
} kinds[NUMBER_KINDS] = {
    {"linear", "f(c) = c: ordinary fixed point, the control", 0},
    {"square", "f(c) = c*|c|: dense around zero, which is a level", 0},
    {"power", "f(c) = sign(c)*|c|^p (parameter p, default 2)", 2},
    {"exp", "f(c) = sign(c)*(e^(b*|c|) - 1), b = parameter / unit (default 4)", 4},
    {"pow2", "f(c) = sign(c)*2^((|c|-1)/q) (parameter q, default unit / 12): a weight is a shift when q = 1",
     0},
    {"madam", "f(c) = sign(c)*e^(-b*(|c|-1)) (parameter b): Madam's integers, no zero, no change of sign",
     0.001},
};

struct number number_make(enum number_kind kind, int bits, double parameter, int32_t unit) {
    CHECK(bits == 8 || bits == 12 || bits == 16 || bits == 32, "number: %d bits", bits);
    int32_t limit = (int32_t)((UINT32_C(1) << (bits - 1)) - 1);
    if (unit == 0 && kind == NUMBER_MADAM) unit = 1;
    if (unit == 0 && kind == NUMBER_POW2 && parameter > 0)
        unit = (int32_t)fmax(1, fmin(POW2_OCTAVES * parameter, limit / 2));
    if (unit == 0) unit = bits == 8 ? 32 : bits == 12 ? 256 : bits == 16 ? 1024 : 1 << 20;
    CHECK(unit >= 1 && unit <= limit, "number: unit %d of %d bits", (int)unit, bits);
    if (parameter == 0) parameter = kinds[kind].parameter;
    if (kind == NUMBER_EXP) parameter /= unit;
    if (kind == NUMBER_POW2 && parameter == 0) parameter = unit < POW2_OCTAVES ? 1 : unit / POW2_OCTAVES;
    struct number n = {kind, bits, parameter, limit, unit};
    double most = limit;
    if (kind == NUMBER_EXP || kind == NUMBER_MADAM)
        most = log(GROWTH_LIMIT) / parameter + unit;
    else if (kind == NUMBER_POW2)
        most = log2(GROWTH_LIMIT) * parameter + unit;
    else if (kind == NUMBER_POWER)
        most = unit * pow(GROWTH_LIMIT, 1 / parameter);
    if (most < limit) n.limit = (int32_t)most;
    return n;
}

const char *number_name(enum number_kind kind) {
    return kinds[kind].name;
}

const char *number_help(enum number_kind kind) {
    return kinds[kind].help;
}

double number_value(const struct number *n, int32_t c) {
    if (c == 0) return 0;
    double a = fabs((double)c), f = a;
    switch (n->kind) {
    case NUMBER_SQUARE:
        f = a * a;
        break;
    case NUMBER_POWER:
        f = pow(a, n->parameter);
        break;
    case NUMBER_EXP:
        f = expm1(n->parameter * a);
        break;
    case NUMBER_POW2:
        f = exp2((a - 1) / n->parameter);
        break;
    case NUMBER_MADAM:
        f = exp(-n->parameter * (a - 1));
        break;
    case NUMBER_LINEAR:
    case NUMBER_KINDS:
        break;
    }
    return c < 0 ? -f : f;
}

double number_slope(const struct number *n, int32_t c) {
    double a = fabs((double)c);
    switch (n->kind) {
    case NUMBER_SQUARE:
        return 2 * a;
    case NUMBER_POWER:
        return n->parameter * pow(a, n->parameter - 1);
    case NUMBER_EXP:
        return n->parameter * exp(n->parameter * a);
    case NUMBER_POW2: // the step to the first level counts as one octave step
        return log(2) / n->parameter * exp2(((a > 1 ? a : 1) - 1) / n->parameter);
    case NUMBER_MADAM:
        return -n->parameter * exp(-n->parameter * (a - 1));
    case NUMBER_LINEAR:
    case NUMBER_KINDS:
        break;
    }
    return 1;
}

// f^-1 of a positive value, as a real number.
static double magnitude(const struct number *n, double value) {
    switch (n->kind) {
    case NUMBER_SQUARE:
        return sqrt(value);
    case NUMBER_POWER:
        return pow(value, 1 / n->parameter);
    case NUMBER_EXP:
        return log1p(value) / n->parameter;
    case NUMBER_POW2: // below the gap: nearer to 0 or to the first level
        return value < 0.5 ? 0 : value < 1 ? 1 : 1 + n->parameter * log2(value);
    case NUMBER_MADAM:
        return 1 - log(value) / n->parameter;
    case NUMBER_LINEAR:
    case NUMBER_KINDS:
        break;
    }
    return value;
}

int32_t number_nearest(const struct number *n, double value) {
    if (value == 0) return 0;
    double a = magnitude(n, fabs(value));
    if (n->kind == NUMBER_MADAM && a < 1) a = 1;
    int32_t c = a >= n->limit ? n->limit : (int32_t)floor(a + 0.5);
    return value < 0 ? -c : c;
}

int number_bytes(const struct number *n) {
    return n->bits == 8 ? 1 : n->bits == 32 ? 4 : 2;
}
