// Number systems against their formulas, and what the parameters make of them: counters, the cache of values,
// freezing, gradients summed over shards, initial values.
#include "src/number.h"
#include "src/params.h"
#include "tests/check.h"

// --- number systems ---------------------------------------------------------------------------------------

// Default parameter and unit where 0.
struct row {
    enum number_kind kind;
    int bits;
    double parameter;
    int32_t unit;
};

// Every kind with every number of bits comes first; then these.
static const struct row more[] = {
    {NUMBER_SQUARE, 8, 0, 1},   {NUMBER_SQUARE, 16, 0, 1},    {NUMBER_POWER, 16, 0.5, 0},
    {NUMBER_POWER, 16, 3, 0},   {NUMBER_POWER, 32, 3, 0},     {NUMBER_POWER, 32, 8, 0},
    {NUMBER_POWER, 16, 20, 16}, {NUMBER_EXP, 8, 8, 100},      {NUMBER_EXP, 16, 12, 32},
    {NUMBER_POW2, 8, 1, 12},    {NUMBER_POW2, 16, 1, 12},     {NUMBER_POW2, 16, 5, 100},
    {NUMBER_MADAM, 8, 0.01, 1}, {NUMBER_MADAM, 12, 0.004, 1}, {NUMBER_MADAM, 16, 0.01, 1},
};
enum { PAIRS = 4 * NUMBER_KINDS, ROWS = PAIRS + sizeof more / sizeof *more };

static struct row row_of(int i) {
    static const int bits[] = {8, 12, 16, 32};
    return i < PAIRS ? (struct row){(enum number_kind)(i / 4), bits[i % 4], 0, 0} : more[i - PAIRS];
}

static struct number number_of(int i) {
    struct row r = row_of(i);
    return number_make(r.kind, r.bits, r.parameter, r.unit);
}

#define fail_row(n, c, what)                                                                              \
    fail_msg("%s of %d bits, limit %d, counter %d: %s", number_name((n)->kind), (n)->bits, (n)->limit, c, \
             what)

// The header's formula for a >= 0, here of a real number.
static double formula(const struct number *n, double a) {
    double p = n->parameter; // p, b or q
    switch (n->kind) {
    case NUMBER_SQUARE:
        return a * a;
    case NUMBER_POWER:
        return pow(a, p);
    case NUMBER_EXP:
        return expm1(p * a);
    case NUMBER_POW2:
        return pow(2, (a - 1) / p);
    case NUMBER_MADAM:
        return exp(-p * (a - 1));
    case NUMBER_LINEAR:
    case NUMBER_KINDS:
        break;
    }
    return a;
}

// Its inverse by bisection between `low` and the limit.
static double inverse(const struct number *n, double low, double value) {
    double high = n->limit, sign = n->kind == NUMBER_MADAM ? -1 : 1;
    for (int i = 0; i < 80; i++) {
        double middle = (low + high) / 2;
        if (sign * formula(n, middle) < sign * value)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

enum { TRIES = 1500 };

// Counters to try, rising: all small ones, some of every size, the last two.
static int counters_of(const struct number *n, int32_t tries[TRIES]) {
    int count = 0;
    for (int64_t c = 1; c < n->limit - 1; c += 1 + (c < 200 ? 0 : c / 53)) tries[count++] = (int32_t)c;
    if (n->limit > 1) tries[count++] = n->limit - 1;
    tries[count++] = n->limit;
    return count;
}

static void known_values(void **state) {
    (void)state;
    static const struct {
        struct row row;
        int32_t c;
        double f;
    } known[] = {
        {{NUMBER_LINEAR, 8, 0, 0}, -127, -127},
        {{NUMBER_SQUARE, 16, 0, 0}, 32767, 1073676289},
        {{NUMBER_SQUARE, 8, 0, 0}, -3, -9},
        {{NUMBER_POWER, 8, 3, 0}, -4, -64},
        {{NUMBER_EXP, 8, 0, 0}, 32, 53.598150033144236}, // e^4 - 1
        {{NUMBER_EXP, 8, 8, 16}, -2, -1.718281828459045},
        {{NUMBER_POW2, 8, 1, 12}, 12, 2048},
        {{NUMBER_POW2, 8, 1, 12}, -1, -1},
        {{NUMBER_POW2, 16, 2, 24}, 2, 1.4142135623730951},
        {{NUMBER_MADAM, 16, 0, 0}, 1, 1},
        {{NUMBER_MADAM, 16, 0, 0}, -1001, -0.36787944117144233}, // k = 1000, b = 0.001
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct row r = known[i].row;
        struct number n = number_make(r.kind, r.bits, r.parameter, r.unit);
        assert_near(number_value(&n, known[i].c), known[i].f, 1e-14 * fabs(known[i].f));
    }
}

static void limits(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        int32_t most = (int32_t)((INT64_C(1) << (n.bits - 1)) - 1);
        assert_int_equal(n.kind, row_of(i).kind);
        assert_int_equal(n.bits, row_of(i).bits);
        if (n.unit < 1 || n.limit < n.unit || n.limit > most) fail_row(&n, n.unit, "unit or limit");
        if (row_of(i).unit) assert_int_equal(n.unit, row_of(i).unit);
        assert_int_equal(number_bytes(&n), n.bits == 8 ? 1 : n.bits == 32 ? 4 : 2);
        assert_true(strlen(number_help(n.kind)) > 10);
    }
}

// The order that configs and checkpoints count on.
static void names(void **state) {
    (void)state;
    char joined[200] = "";
    for (int kind = 0; kind < NUMBER_KINDS; kind++) {
        if (kind) strcat(joined, "|");
        strcat(joined, number_name((enum number_kind)kind));
    }
    assert_string_equal(joined, "linear|square|power|exp|pow2|madam");
}

static void odd_and_monotone(void **state) {
    (void)state;
    int32_t tries[TRIES];
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        int count = counters_of(&n, tries);
        assert_true(number_value(&n, 0) == 0);
        for (int k = 0; k < count; k++) {
            int32_t c = tries[k];
            double f = number_value(&n, c), before = number_value(&n, c - 1);
            if (!(f > 0 && isfinite(f))) fail_row(&n, c, "not positive");
            if (number_value(&n, -c) != -f) fail_row(&n, c, "not odd");
            if (n.kind == NUMBER_MADAM && c > 1 ? !(f < before) : !(f > before))
                fail_row(&n, c, "not monotone");
        }
    }
}

static void equals_formula(void **state) {
    (void)state;
    int32_t tries[TRIES];
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        int count = counters_of(&n, tries);
        for (int k = 0; k < count; k++) {
            double wanted = formula(&n, tries[k]);
            if (!(fabs(number_value(&n, tries[k]) - wanted) <= 1e-13 * wanted))
                fail_row(&n, tries[k], "not the formula");
        }
    }
}

static void slope_is_the_derivative(void **state) {
    (void)state;
    int32_t tries[TRIES];
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        int count = counters_of(&n, tries);
        for (int k = 0; k < count; k++) {
            double c = tries[k], h = 1e-4 * c;
            double wanted = (formula(&n, c + h) - formula(&n, c - h)) / (2 * h);
            if (!(fabs(number_slope(&n, tries[k]) - wanted) <= 1e-5 * fabs(wanted)))
                fail_row(&n, tries[k], "slope");
            assert_true(number_slope(&n, -tries[k]) == number_slope(&n, tries[k]));
        }
    }
}

// At zero: of the branch away from it.
static void slope_at_zero(void **state) {
    (void)state;
    struct number linear = number_make(NUMBER_LINEAR, 16, 0, 0),
                  square = number_make(NUMBER_SQUARE, 16, 0, 0);
    struct number cube = number_make(NUMBER_POWER, 16, 3, 0),
                  exponential = number_make(NUMBER_EXP, 16, 4, 100);
    assert_true(number_slope(&linear, 0) == 1);
    assert_true(number_slope(&square, 0) == 0);
    assert_true(number_slope(&cube, 0) == 0);
    assert_near(number_slope(&exponential, 0), 0.04, 1e-15);
}

static void nearest_inverts(void **state) {
    (void)state;
    int32_t tries[TRIES];
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        int count = counters_of(&n, tries);
        assert_int_equal(number_nearest(&n, 0), 0);
        for (int k = 0; k < count; k++) {
            int32_t c = tries[k];
            if (number_nearest(&n, number_value(&n, c)) != c) fail_row(&n, c, "not found again");
            if (number_nearest(&n, number_value(&n, -c)) != -c) fail_row(&n, -c, "not found again");
        }
    }
}

// The naive search: of the counters around f^-1(value), the one at the least distance.
static int32_t nearest_by_search(const struct number *n, double value) {
    bool gap = n->kind == NUMBER_POW2 && value < 1; // between 0 and the first level f has no inverse
    double low = n->kind == NUMBER_MADAM ? 1 : 0, x = gap ? value : inverse(n, low, value), best = low;
    for (double c = fmax(low, floor(x) - 2); c <= fmin(n->limit, floor(x) + 3); c++)
        if (fabs(c - x) < fabs(best - x)) best = c;
    return (int32_t)best;
}

static void nearest_is_nearest(void **state) {
    (void)state;
    struct rng r = rng_stream(1, "values");
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        for (int k = 0; k < 200; k++) {
            // A counter and a fraction, near zero and up to a little beyond the limit; not at a tie.
            double spread = k % 2 ? n.limit * 1.02 : fmin(n.limit, 20);
            double a = rng_uniform(&r) * spread;
            if (fabs(a - floor(a) - 0.5) < 1e-3) continue;
            double value = formula(&n, a);
            int32_t wanted = nearest_by_search(&n, value);
            if (number_nearest(&n, value) != wanted) fail_row(&n, wanted, "not the nearest");
            if (number_nearest(&n, -value) != -wanted) fail_row(&n, -wanted, "not the nearest");
        }
        assert_int_equal(number_nearest(&n, 1e300), n.kind == NUMBER_MADAM ? 1 : n.limit);
        assert_int_equal(number_nearest(&n, -1e300), n.kind == NUMBER_MADAM ? -1 : -n.limit);
        assert_int_equal(number_nearest(&n, 1e-300), n.kind == NUMBER_MADAM ? n.limit : 0);
    }
}

// Weights of an ordinary start that grow until the counter stops stay finite and, for Madam, above zero.
static void growth_stays_in_float(void **state) {
    (void)state;
    static const double largest[] = {1e-3, 0.1, 3};
    for (int i = 0; i < ROWS; i++) {
        struct number n = number_of(i);
        for (int k = 0; k < 3; k++) {
            double scale = largest[k] / number_value(&n, n.unit);
            float last = (float)(scale * number_value(&n, n.limit)),
                  first = (float)(scale * number_value(&n, 1));
            if (!isnormal(last) || !isfinite(first)) fail_row(&n, n.limit, "leaves the range of float");
        }
        double growth = number_value(&n, n.limit) / number_value(&n, n.unit);
        if (n.kind == NUMBER_MADAM) growth = 1 / growth;
        if (!(growth <= 0x1.8p40)) fail_row(&n, n.limit, "grows more than 2^40-fold");
    }
}
// --- parameters -------------------------------------------------------------------------------------------

// One parameter of 20 x 30 weights drawn in -bound .. bound.
static struct params *weights_new(double bound, uint64_t seed) {
    struct params *ps = params_new();
    params_add(ps, "linear1.weight", shape_2(20, 30), bound, 0);
    params_alloc(ps, 1, seed);
    return ps;
}

static void assert_cache_exact(const struct param *p) {
    for (size_t i = 0; i < p->size; i++)
        if (p->value[i] != (real)(p->scale * number_value(&p->number, param_counter(p, i))))
            fail_msg("%s, weight %d: the cache is not scale * f(counter)", number_name(p->number.kind),
                     (int)i);
}

static void count_keeps_the_values(void **state) {
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        struct number n = number_of(row);
        struct params *ps = weights_new(0.3, 5);
        struct param *p = &ps->list[0];
        real before[600];
        size_t largest = 0;
        memcpy(before, p->value, sizeof before);
        for (size_t i = 0; i < p->size; i++)
            if (fabs(before[i]) > fabs(before[largest])) largest = i;
        assert_false(p->counted);
        param_count(p, n);
        assert_true(p->counted);
        assert_cache_exact(p);
        assert_int_equal(abs(param_counter(p, largest)), n.unit);
        assert_near(p->value[largest], before[largest], 1e-6 * fabs(before[largest]));
        for (size_t i = 0; i < p->size; i++)
            assert_int_equal(param_counter(p, i), number_nearest(&n, (double)before[i] / p->scale));
        params_free(ps);
    }
}

static void count_of_zeros(void **state) {
    (void)state;
    struct params *ps = params_new();
    params_add(ps, "a", shape_2(2, 2), 0, 0);
    params_alloc(ps, 1, 1);
    param_count(&ps->list[0], number_make(NUMBER_SQUARE, 8, 0, 0));
    assert_true(ps->list[0].scale == 1);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(param_counter(&ps->list[0], i), 0);
        assert_true(ps->list[0].value[i] == 0);
    }
    params_free(ps);
}

static void counters_are_set(void **state) {
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        struct number n = number_of(row);
        struct params *ps = weights_new(1, 5);
        struct param *p = &ps->list[0];
        const int32_t wanted[] = {n.limit, -n.limit, 0, 1, -1};
        param_count(p, n);
        int32_t neighbour = param_counter(p, 5);
        for (size_t i = 0; i < 5; i++) param_set_counter(p, i, wanted[i]);
        for (size_t i = 0; i < 5; i++) assert_int_equal(param_counter(p, i), wanted[i]);
        assert_int_equal(param_counter(p, 5), neighbour);
        assert_cache_exact(p);
        for (size_t i = 0; i < p->size; i++) p->value[i] = 7;
        param_refresh(p);
        assert_cache_exact(p);
        params_free(ps);
    }
}

static void count_alloc_is_unset(void **state) {
    (void)state;
    struct params *ps = weights_new(1, 5);
    struct param *p = &ps->list[0];
    param_count_alloc(p, number_make(NUMBER_EXP, 12, 0, 0), 0.25);
    assert_true(p->counted && p->scale == 0.25);
    param_set_counter(p, p->size - 1, -256);
    assert_near(p->value[p->size - 1], -0.25 * expm1(4), 1e-5);
    params_free(ps);
}

static void weight_set(struct param *p, size_t i, int32_t c) {
    if (p->counted)
        param_set_counter(p, i, c);
    else
        p->value[i] = (real)c;
}

// Every third weight dies; then an update moves them all, and bury puts the dead of first .. end-1 back.
static void check_bury(struct param *p, size_t first, size_t end) {
    size_t dead_count = (p->size + 2) / 3;
    for (size_t i = 0; i < p->size; i++) weight_set(p, i, i % 3 == 0 ? 0 : i % 2 ? 1 : -1);
    assert_int_equal(param_nonzero(p), p->size - dead_count);
    param_freeze(p);
    for (size_t i = 0; i < p->size; i++) weight_set(p, i, 2);
    param_bury(p, first, end);
    for (size_t i = 0; i < p->size; i++) {
        bool dead = i % 3 == 0 && i >= first && i < end;
        assert_int_equal(p->value[i] == 0, dead);
        if (p->counted) assert_int_equal(param_counter(p, i), dead ? 0 : 2);
    }
    param_bury(p, 0, p->size);
    assert_int_equal(param_nonzero(p), p->size - dead_count);
    if (p->counted) assert_cache_exact(p);
}

static void freeze_and_bury(void **state) {
    (void)state;
    static const int bits[] = {0, 8, 12, 16, 32}; // 0: no counters
    for (int k = 0; k < 5; k++) {
        struct params *ps = params_new();
        params_add(ps, "a", shape_2(7, 11), 0, 1);
        params_alloc(ps, 1, 1);
        struct param *p = &ps->list[0];
        if (bits[k]) param_count(p, number_make(NUMBER_SQUARE, bits[k], 0, 0));
        param_bury(p, 0, p->size); // before the freeze: nothing
        assert_int_equal(param_nonzero(p), p->size);
        check_bury(p, 10, 40);
        params_free(ps);
    }
}

// A second freeze adds the weights that are zero by then.
static void freeze_again(void **state) {
    (void)state;
    struct params *ps = params_new();
    params_add(ps, "a", shape_1(3), 0, 1);
    params_alloc(ps, 1, 1);
    struct param *p = &ps->list[0];
    p->value[0] = 0;
    param_freeze(p);
    p->value[1] = 0;
    param_freeze(p);
    p->value[0] = p->value[1] = p->value[2] = 5;
    param_bury(p, 0, 3);
    assert_true(p->value[0] == 0 && p->value[1] == 0 && p->value[2] == 5);
    params_free(ps);
}

// With `extra` numbers in a parameter of their own before the others.
static struct params *layers_new(int extra, int shards, uint64_t seed) {
    struct params *ps = params_new();
    if (extra) params_add(ps, "extra", shape_1(extra), 1, 0);
    params_add(ps, "linear1.weight", shape_2(30, 40), 0.5, 0);
    params_add(ps, "linear2.weight", shape_2(150, 300), 0.25, 0);
    params_add(ps, "linear2.bias", shape_1(300), 0, -0.75);
    params_alloc(ps, shards, seed);
    return ps;
}

static void initial_values(void **state) {
    (void)state;
    struct params *a = layers_new(0, 1, 9), *same = layers_new(0, 1, 9);
    struct params *other = layers_new(7, 1, 9), *seed = layers_new(0, 1, 10);
    struct param *p = &a->list[1];
    assert_int_equal(a->size, 30 * 40 + 150 * 300 + 300);
    assert_memory_equal(a->values, same->values, a->size * sizeof(real));
    assert_memory_equal(p->value, other->list[2].value, p->size * sizeof(real));
    assert_memory_not_equal(p->value, seed->list[1].value, 100 * sizeof(real));
    assert_memory_not_equal(p->value, a->list[0].value, 100 * sizeof(real));
    double sum = 0, squares = 0, largest = 0;
    for (size_t i = 0; i < p->size; i++) {
        double w = (double)p->value[i];
        sum += w, squares += w * w, largest = fmax(largest, fabs(w));
    }
    double n = (double)p->size, variance = 0.25 * 0.25 / 3;
    assert_true(largest <= 0.25 && largest > 0.2499);
    assert_near(sum / n, 0, 5 * sqrt(variance / n));
    assert_near(squares / n, variance, 5 * variance / sqrt(n));
    for (size_t i = 0; i < 300; i++) assert_true(a->list[2].value[i] == (real)-0.75);
    assert_true(param_is_weight(&a->list[0]) && !param_is_weight(&a->list[2]));
    params_free(a), params_free(same), params_free(other), params_free(seed);
    params_free(NULL);
}

static void gradients_by_shard(void **state) {
    (void)state;
    struct params *ps = layers_new(0, 3, 1);
    assert_ptr_equal(params_grad(ps, 2, 1), ps->grads[2] + 30 * 40);
    for (int shard = 0; shard < 3; shard++)
        for (size_t i = 0; i < ps->size; i++) {
            assert_true(ps->grads[shard][i] == 0);
            ps->grads[shard][i] = 1;
        }
    params_zero_grad(ps, 1);
    for (size_t i = 0; i < ps->size; i++)
        assert_true(ps->grads[0][i] == 1 && ps->grads[1][i] == 0 && ps->grads[2][i] == 1);
    params_free(ps);
}

static void reduce_is_in_shard_order(void **state) {
    (void)state;
    for (int shards = 1; shards <= 5; shards += 2)
        for (int threads = 1; threads <= 4; threads++) {
            struct params *ps = layers_new(0, shards, 1);
            real *wanted = mem_new(ps->size, sizeof(real));
            struct rng r = rng_stream(1, "gradients");
            for (int shard = 0; shard < shards; shard++)
                for (size_t i = 0; i < ps->size; i++) {
                    // Of very different sizes, so that another order gives other bits.
                    real g = (real)ldexp(rng_uniform(&r) - 0.5, (int)rng_below(&r, 30));
                    ps->grads[shard][i] = g;
                    wanted[i] = shard ? wanted[i] + g : g;
                }
            params_reduce(ps, threads);
            assert_memory_equal(ps->grads[0], wanted, ps->size * sizeof(real));
            mem_free(wanted);
            params_free(ps);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(limits),
        cmocka_unit_test(names),
        cmocka_unit_test(odd_and_monotone),
        cmocka_unit_test(equals_formula),
        cmocka_unit_test(slope_is_the_derivative),
        cmocka_unit_test(slope_at_zero),
        cmocka_unit_test(nearest_inverts),
        cmocka_unit_test(nearest_is_nearest),
        cmocka_unit_test(growth_stays_in_float),
        cmocka_unit_test(count_keeps_the_values),
        cmocka_unit_test(count_of_zeros),
        cmocka_unit_test(counters_are_set),
        cmocka_unit_test(count_alloc_is_unset),
        cmocka_unit_test(freeze_and_bury),
        cmocka_unit_test(freeze_again),
        cmocka_unit_test(initial_values),
        cmocka_unit_test(gradients_by_shard),
        cmocka_unit_test(reduce_is_in_shard_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
