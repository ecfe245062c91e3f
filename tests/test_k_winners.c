// k_winners: the choice against sorting (with ties, zeros and what is no number), by hand where a boost decides;
// the duty cycle, k and boost inside and outside training and from epoch to epoch; boosting spreads the wins.
// Numbers against torch are in test_norms.c.
#include "layers/model.h"
#include "tests/check.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

struct built {
    struct json *list;
    struct params *params;
    struct model *model;
    struct tape *tape;
};

static struct built built_open(const char *text, struct shape in) {
    struct err e = {""};
    struct built b = {.list = json_of(text), .params = params_new()};
    b.model = model_new(b.list, "model", in, b.params, &e);
    if (!b.model) fail_msg("%s", e.text);
    params_alloc(b.params, 1, 1);
    b.tape = tape_new(b.params, 0);
    return b;
}

static void built_close(struct built *b) {
    tape_free(b->tape);
    model_free(b->model);
    params_free(b->params);
    json_free(b->list);
}

static struct tensor *leaf_of(struct tape *t, struct shape shape, const real *values) {
    struct tensor *x = tape_leaf(t, shape, true);
    memcpy(x->value, values, x->size * sizeof *values);
    return x;
}

// --- the op -----------------------------------------------------------------------------------------------

static const struct {
    int k;
    double boost;
    real x[6], duty[6];
    const char *won;
} rows[] = {
    {2, 0, {1, 5, 3, 4, 2, 0}, {0}, "010100"},
    {6, 0, {1, 5, 3, -4, 2, 0}, {0}, "111111"},
    {1, 0, {-3, -1, -2, -1, -5, -6}, {0}, "010000"},
    {3, 0, {7, 7, 7, 7, 7, 7}, {0}, "111000"},                      // the first ones
    {3, 0, {1, 2, 1, 2, 1, 1}, {0}, "110100"},                      // two and the first of four
    {2, 0, {-0.0f, 0, -0.0f, -1, 3, 0}, {0}, "100010"},             // -0 equals 0
    {2, 1, {4, 5, 3, 1, 1, 1}, {0, 1, 0, 0, 0, 0}, "101000"},       // 5 / e is 1.84
    {2, 1, {4, 5, 1, 1, 1, 1}, {0, 1, 0, 0, 0, 0}, "110000"},       // and passes unboosted
    {1, 2, {-4, -1, -9, -9, -9, -9}, {1, 0, 0, 0, 0, 0}, "100000"}, // -4 / e^2 is -0.54
};

static void by_hand(void **state) {
    (void)state;
    struct tape *t = tape_new(NULL, 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        tape_reset(t, true);
        struct tensor *x = leaf_of(t, shape_2(1, 6), rows[i].x), *duty = leaf_of(t, shape_1(6), rows[i].duty);
        struct tensor *y = op_k_winners(t, x, duty, rows[i].k, rows[i].boost, false);
        tape_backward(t, op_sum(t, y), 1);
        for (int j = 0; j < 6; j++) {
            bool won = rows[i].won[j] == '1';
            assert_true(y->value[j] == (won ? rows[i].x[j] : 0));
            assert_true(x->grad[j] == won);
            assert_true(duty->grad[j] == (won && rows[i].x[j] > 0));
        }
    }
    tape_free(t);
}

// Whatever is no number has its place, and exactly k win.
static void nan_wins_somehow(void **state) {
    (void)state;
    static const real x[] = {NAN, 1, -NAN, INFINITY, -INFINITY, NAN, 2, 3}, duty[8] = {0};
    struct tape *t = tape_new(NULL, 0);
    for (int k = 1; k <= 8; k++) {
        tape_reset(t, true);
        struct tensor *in = leaf_of(t, shape_2(1, 8), x);
        struct tensor *y = op_k_winners(t, in, leaf_of(t, shape_1(8), duty), k, 0, false);
        tape_backward(t, op_sum(t, y), 1);
        double winners = 0;
        for (int i = 0; i < 8; i++) winners += (double)in->grad[i];
        assert_true(winners == k);
    }
    tape_free(t);
}

// How many of the group's candidates come before candidate `at`: larger, or equal and earlier.
static int rank_of(const double *boosted, size_t first, size_t size, size_t stride, size_t at) {
    int before = 0;
    for (size_t j = first; j < first + size * stride; j += stride)
        before += boosted[j] > boosted[at] || (boosted[j] == boosted[at] && j < at);
    return before;
}

static void check_against_ranks(struct tape *t, int channels, int height, int width, bool local,
                                struct rng *r) {
    enum { ROWS = 2 };
    size_t inner = (size_t)height * (size_t)width, n = (size_t)channels * inner;
    size_t size = local ? (size_t)channels : n;
    int k = 1 + (int)rng_below(r, (uint32_t)size);
    double boost = rng_below(r, 2) ? 2 * rng_uniform(r) : 0, *boosted = mem_new(n, sizeof *boosted);
    tape_reset(t, true);
    struct tensor *x = tape_leaf(t, (struct shape){4, {ROWS, channels, height, width}}, true);
    struct tensor *duty = tape_leaf(t, shape_1(channels), true);
    double *wins = mem_new(duty->size, sizeof *wins);
    for (size_t i = 0; i < duty->size; i++) duty->value[i] = (real)rng_uniform(r);
    uint32_t levels = rng_below(r, 2) ? 5 : 1000; // with few levels: many ties
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)((int)rng_below(r, levels) - 1);
    struct tensor *y = op_k_winners(t, x, duty, k, boost, local);
    tape_backward(t, op_sum(t, y), 3);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < n; i++)
            boosted[i] = (double)x->value[row * n + i] * exp(-boost * (double)duty->value[i / inner]);
        for (size_t i = 0; i < n; i++) {
            bool wins_here =
                local ? rank_of(boosted, i % inner, size, inner, i) < k : rank_of(boosted, 0, size, 1, i) < k;
            real value = x->value[row * n + i];
            assert_true(y->value[row * n + i] == (wins_here ? value : 0));
            assert_true(x->grad[row * n + i] == (wins_here ? 3 : 0));
            wins[i / inner] += wins_here && value > 0;
        }
    }
    for (size_t c = 0; c < duty->size; c++) assert_near(duty->grad[c], wins[c] / (double)inner, 1e-5);
    mem_free(boosted);
    mem_free(wins);
}

static void the_choice_is_by_rank(void **state) {
    (void)state;
    struct tape *t = tape_new(NULL, 0);
    struct rng r = rng_stream(3, "shapes");
    for (int trial = 0; trial < 60; trial++) {
        int channels = 1 + (int)rng_below(&r, 20), height = 1 + (int)rng_below(&r, 5);
        check_against_ranks(t, channels, trial % 3 ? height : 1, trial % 3 ? 1 + (int)rng_below(&r, 6) : 1,
                            trial % 2, &r);
    }
    tape_free(t);
}

// --- the layer --------------------------------------------------------------------------------------------

static int winners_of(const struct built *b, struct shape shape, const real *values, bool training,
                      int64_t epoch, real *y) {
    tape_reset(b->tape, training);
    b->tape->epoch = epoch;
    const struct tensor *out = model_forward(b->model, b->tape, leaf_of(b->tape, shape, values));
    int count = 0;
    for (size_t i = 0; i < out->size; i++) count += out->value[i] != 0;
    if (y) memcpy(y, out->value, out->size * sizeof *y);
    return count;
}

static void how_many_win(void **state) {
    (void)state;
    static const struct {
        const char *options;
        struct shape in;
        int training, outside; // of 24 numbers
    } ways[] = {
        {"{\"k\": 4}", {1, {24}}, 4, 6},
        {"{\"k\": 3}", {1, {24}}, 3, 5},         // 4.5 rounds up
        {"{\"density\": 0.1}", {1, {24}}, 2, 4}, // 2.4, 3.6
        {"{\"density\": 0.1, \"k_inference_factor\": 1}", {3, {4, 3, 2}}, 2, 2},
        {"{\"density\": 0.5, \"local\": true}", {3, {4, 3, 2}}, 2 * 6, 3 * 6},
        {"{\"k\": 1, \"local\": true, \"k_inference_factor\": 3}", {3, {4, 3, 2}}, 6, 18},
        {"{\"density\": 1, \"k_inference_factor\": 1}", {3, {4, 3, 2}}, 24, 24},
        {"{\"density\": 1, \"k_inference_factor\": 0.5}", {1, {24}}, 24, 12},
    };
    real x[24];
    for (int i = 0; i < 24; i++) x[i] = (real)(1 + i * 7 % 24);
    for (size_t i = 0; i < COUNT(ways); i++) {
        char text[200];
        snprintf(text, sizeof text, "[{\"k_winners\": %s}]", ways[i].options);
        struct built b = built_open(text, ways[i].in);
        struct shape shape = {ways[i].in.rank + 1,
                              {1, ways[i].in.dim[0], ways[i].in.dim[1], ways[i].in.dim[2]}};
        assert_int_equal(winners_of(&b, shape, x, true, 0, NULL), ways[i].training);
        assert_int_equal(winners_of(&b, shape, x, false, 0, NULL), ways[i].outside);
        assert_int_equal(b.params->list[0].size, ways[i].in.dim[0]);
        built_close(&b);
    }
}

// 5 · e^-strength against 3: above log(5 / 3) = 0.51 the number of full duty loses.
static void the_boost_fades(void **state) {
    (void)state;
    static const real x[] = {5, 3};
    struct built b =
        built_open("[{\"k_winners\": {\"k\": 1, \"k_inference_factor\": 1, \"boost_strength\": 1, "
                   "\"boost_strength_factor\": 0.8}}]",
                   shape_1(2));
    b.params->list[0].value[0] = 1;
    for (int training = 0; training < 2; training++) // the same outside training
        for (int epoch = 0; epoch < 6; epoch++) {
            real y[2];
            winners_of(&b, shape_2(1, 2), x, training, epoch, y);
            bool boosted = pow(0.8, epoch) > 0.51; // epochs 0, 1, 2, 3
            assert_true(boosted ? y[0] == 0 && y[1] == 3 : y[0] == 5 && y[1] == 0);
        }
    built_close(&b);
}

// duty = (duty · (period - samples) + wins) / period, period at most the samples so far.
static void the_duty_cycle(void **state) {
    (void)state;
    enum { STEPS = 12, SAMPLES = 5, UNITS = 4, PERIOD = 20 };
    struct built b =
        built_open("[{\"k_winners\": {\"k\": 2, \"duty_cycle_period\": 20, \"k_inference_factor\": 1}}]",
                   shape_1(UNITS));
    struct rng r = rng_stream(5, "duty");
    double duty[UNITS] = {0};
    for (int step = 1; step <= STEPS; step++) {
        real x[SAMPLES * UNITS], y[SAMPLES * UNITS];
        for (int i = 0; i < SAMPLES * UNITS; i++)
            x[i] = (real)(rng_uniform(&r) - 0.2 + (i % UNITS == 1) * 0.3);
        params_zero_grad(b.params, 0);
        winners_of(&b, shape_2(SAMPLES, UNITS), x, false, 0, NULL); // looking changes nothing
        winners_of(&b, shape_2(SAMPLES, UNITS), x, true, 0, y);
        params_reduce(b.params, 1);
        params_update_buffers(b.params, SAMPLES, step * SAMPLES);
        double period = fmin(PERIOD, step * SAMPLES);
        for (int c = 0; c < UNITS; c++) {
            double wins = 0;
            for (int i = 0; i < SAMPLES; i++) wins += y[i * UNITS + c] > 0;
            duty[c] = (duty[c] * (period - SAMPLES) + wins) / period;
            assert_near(b.params->list[0].value[c], duty[c], 1e-5);
        }
    }
    assert_true(duty[1] > 0.5 && duty[1] < 1);
    built_close(&b);
}

// Of units of very different size the largest win always; with a strong boost all win equally often.
static void boosting_spreads_the_wins(void **state) {
    (void)state;
    enum { UNITS = 10, SAMPLES = 10 };
    for (int boosted = 0; boosted < 2; boosted++) {
        struct built b =
            built_open(boosted ? "[{\"k_winners\": {\"k\": 2, \"boost_strength\": 50, \"duty_cycle_period\": "
                                 "500}}]"
                               : "[{\"k_winners\": {\"k\": 2, \"boost_strength\": 0}}]",
                       shape_1(UNITS));
        struct rng r = rng_stream(6, "units");
        for (int step = 1; step <= 300; step++) {
            real x[SAMPLES * UNITS];
            for (int i = 0; i < SAMPLES * UNITS; i++)
                x[i] = (real)((1 + i % UNITS) * (0.9 + 0.1 * rng_uniform(&r)));
            params_zero_grad(b.params, 0);
            winners_of(&b, shape_2(SAMPLES, UNITS), x, true, 0, NULL);
            params_update_buffers(b.params, SAMPLES, step * SAMPLES);
        }
        const real *duty = b.params->list[0].value;
        for (int c = 0; c < UNITS; c++) {
            if (boosted) assert_near(duty[c], 0.2, 0.06);
            if (!boosted && c < 7) assert_true(duty[c] == 0);
        }
        built_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(nan_wins_somehow),
        cmocka_unit_test(the_choice_is_by_rank),
        cmocka_unit_test(how_many_win),
        cmocka_unit_test(the_boost_fades),
        cmocka_unit_test(the_duty_cycle),
        cmocka_unit_test(boosting_spreads_the_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
