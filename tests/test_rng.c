// Random numbers: Philox against the known answers of its authors, the bulk generator against the single one,
// and the statistics of what is drawn. Seeds are fixed, so a bound that holds once holds always.
#include "src/rng.h"
#include "tests/check.h"

// --- Philox4x32-10 -----------------------------------------------------------------------------------------

// From the file kat_vectors of the Random123 distribution (Salmon et al. 2011).
static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t out[4];
        rng_block(out, rows[i].counter, rows[i].key);
        assert_memory_equal(out, rows[i].out, sizeof out);
    }
}

// Number n of a row, straight from the definition: word n % 4 of block n / 4.
static uint32_t number_at(const struct rng *r, uint64_t n) {
    uint64_t block = n / 4;
    uint32_t out[4];
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)r->row,
                                 (uint32_t)(r->row >> 32)};
    const uint32_t key[2] = {(uint32_t)r->key, (uint32_t)(r->key >> 32)};
    rng_block(out, counter, key);
    return out[n % 4];
}

static const uint64_t firsts[] = {0,
                                  4,
                                  252,
                                  1024,
                                  (UINT64_C(1) << 34) - 256, // the block number passes 2^32
                                  (UINT64_C(1) << 34) - 8,
                                  UINT64_C(1) << 50};
enum { FIRSTS = sizeof firsts / sizeof *firsts };

static void fill_is_the_sequence(void **state) {
    (void)state;
    static const size_t sizes[] = {0,   1,   2,   3,   4,   5,   7,   8,    31,   63,   64,
                                   127, 255, 256, 257, 511, 512, 515, 1000, 1024, 1029, 3333};
    enum { MOST = 3333, GUARD = 0x5a5a5a5a };
    const struct rng stream = rng_row(rng_stream(7, "rounding"), UINT64_C(0x123456789abcdef));
    static uint32_t out[MOST + 1];
    for (int way = 0; way <= (int)rng_best() + 1; way++) // and at last rng_fill itself
        for (int f = 0; f < FIRSTS; f++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                struct rng filler = stream, single = stream;
                filler.next = 99; // neither read nor moved
                single.next = firsts[f];
                out[sizes[s]] = GUARD;
                if (way > (int)rng_best())
                    rng_fill(out, sizes[s], &filler, firsts[f]);
                else
                    rng_fill_by((enum rng_way)way, out, sizes[s], &filler, firsts[f]);
                assert_int_equal(out[sizes[s]], GUARD);
                assert_int_equal(filler.next, 99);
                for (size_t i = 0; i < sizes[s]; i++) {
                    assert_int_equal(out[i], number_at(&stream, firsts[f] + i));
                    assert_int_equal(out[i], rng_u32(&single));
                }
            }
}

// --- streams -----------------------------------------------------------------------------------------------

// No two of these streams start with the same two numbers.
static void streams_differ(void **state) {
    (void)state;
    static const uint64_t seeds[] = {0, 1, 2, UINT64_C(1) << 32, UINT64_MAX};
    static const char *const purposes[] = {"", "init", "init a", "init b", "shuffle", "rounding", "dropout"};
    static const uint64_t rows[] = {0, 1, 2, UINT64_C(1) << 32, UINT64_MAX};
    enum { SEEDS = 5, PURPOSES = 7, ROWS = 5, ALL = SEEDS * PURPOSES * ROWS };
    uint64_t start[ALL];
    int count = 0;
    for (int s = 0; s < SEEDS; s++)
        for (int p = 0; p < PURPOSES; p++)
            for (int r = 0; r < ROWS; r++) {
                struct rng row = rng_row(rng_stream(seeds[s], purposes[p]), rows[r]);
                start[count] = (uint64_t)rng_u32(&row) << 32;
                start[count++] |= rng_u32(&row);
            }
    for (int i = 0; i < ALL; i++)
        for (int j = 0; j < i; j++)
            if (start[i] == start[j]) fail_msg("streams %d and %d", i, j);
}

static void streams_repeat(void **state) {
    (void)state;
    struct rng a = rng_stream(3, "shuffle"), b = rng_stream(3, "shuffle");
    assert_int_equal(a.row, 0);
    assert_int_equal(a.next, 0);
    for (int i = 0; i < 10; i++) assert_int_equal(rng_u32(&a), rng_u32(&b));
    assert_int_equal(a.next, 10);
    struct rng row = rng_row(a, 5); // wherever `a` stands
    assert_int_equal(row.row, 5);
    assert_int_equal(row.next, 0);
    assert_int_equal(row.key, b.key);
}

// --- distributions -----------------------------------------------------------------------------------------

static void uniform_statistics(void **state) {
    (void)state;
    enum { DRAWS = 100000 };
    struct rng r = rng_stream(1, "uniform");
    double sum = 0, squares = 0, products = 0, previous = 0;
    for (int i = 0; i < DRAWS; i++) {
        double u = rng_uniform(&r);
        assert_true(u >= 0 && u < 1);
        double x = u - 0.5;
        sum += x, squares += x * x, products += x * previous;
        previous = x;
    }
    assert_int_equal(r.next, 2 * DRAWS);
    // Five standard deviations of the mean, of the variance 1/12 and of the covariance of neighbours.
    assert_near(sum / DRAWS, 0, 5 * sqrt(1.0 / 12 / DRAWS));
    assert_near(squares / DRAWS, 1.0 / 12, 5 * sqrt(1.0 / 180 / DRAWS));
    assert_near(products / DRAWS, 0, 5.0 / 12 / sqrt(DRAWS));
}

// The two numbers are the high and the low part of 53 bits.
static void uniform_is_53_bits(void **state) {
    (void)state;
    struct rng r = rng_stream(1, "uniform");
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t high = number_at(&r, 2 * i), low = number_at(&r, 2 * i + 1);
        double whole = rng_uniform(&r) * 0x1p53;
        assert_true(whole == floor(whole));
        assert_int_equal((uint64_t)whole, high << 21 | low >> 11);
    }
}

// Chi-square of the counts against equal shares, in standard deviations above its mean.
static double unevenness(const uint32_t *counts, uint32_t cells, double draws) {
    double chi = 0, share = draws / cells;
    for (uint32_t i = 0; i < cells; i++) chi += (counts[i] - share) * (counts[i] - share) / share;
    return (chi - (cells - 1)) / sqrt(2.0 * (cells - 1));
}

static void below_is_even(void **state) {
    (void)state;
    enum { DRAWS = 30000, MOST = 64 };
    struct rng r = rng_stream(1, "below");
    for (uint32_t n = 1; n <= MOST; n = n < 8 ? n + 1 : 2 * n) {
        uint32_t counts[MOST] = {0};
        for (int i = 0; i < DRAWS; i++) {
            uint32_t x = rng_below(&r, n);
            assert_true(x < n);
            counts[x]++;
        }
        if (n > 1) assert_true(fabs(unevenness(counts, n, DRAWS)) < 5);
    }
}

// Where 2^32 is not a multiple of n by far: a plain remainder would give the lower third every second time.
static void below_is_even_for_large_n(void **state) {
    (void)state;
    enum { DRAWS = 30000 };
    const uint32_t third = UINT32_C(1) << 30, n = 3 * third;
    struct rng r = rng_stream(1, "below");
    uint32_t counts[3] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint32_t x = rng_below(&r, n);
        assert_true(x < n);
        counts[x / third]++;
    }
    assert_true(fabs(unevenness(counts, 3, DRAWS)) < 5);
    for (int i = 0; i < 100; i++) assert_true(rng_below(&r, UINT32_MAX) < UINT32_MAX);
}

// --- shuffle -----------------------------------------------------------------------------------------------

static void shuffle_is_a_permutation(void **state) {
    (void)state;
    enum { MOST = 1000 };
    static uint32_t order[MOST + 1], again[MOST + 1];
    for (uint32_t n = 0; n <= MOST; n = n < 5 ? n + 1 : n * 2 + n % 3) {
        bool seen[MOST] = {false};
        struct rng r = rng_stream(n, "shuffle"), same = r;
        order[n] = 77;
        rng_shuffle(order, n, &r);
        rng_shuffle(again, n, &same);
        assert_int_equal(order[n], 77);
        assert_memory_equal(order, again, n * sizeof *order);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(order[i] < n && !seen[order[i]]);
            seen[order[i]] = true;
        }
        rng_shuffle(again, n, &r); // further on in the stream: another order
        if (n >= 20) assert_memory_not_equal(order, again, n * sizeof *order);
    }
}

static void shuffle_is_even(void **state) {
    (void)state;
    enum { DRAWS = 12000 };
    uint32_t counts[4 * 4 * 4 * 4] = {0}, packed[24];
    for (uint64_t row = 0; row < DRAWS; row++) {
        struct rng r = rng_row(rng_stream(1, "shuffle"), row);
        uint32_t order[4];
        rng_shuffle(order, 4, &r);
        counts[order[0] * 64 + order[1] * 16 + order[2] * 4 + order[3]]++;
    }
    uint32_t found = 0;
    for (int i = 0; i < 256; i++)
        if (counts[i]) {
            assert_true(found < 24);
            packed[found++] = counts[i];
        }
    assert_int_equal(found, 24);
    assert_true(fabs(unevenness(packed, 24, DRAWS)) < 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(fill_is_the_sequence),
        cmocka_unit_test(streams_differ),
        cmocka_unit_test(streams_repeat),
        cmocka_unit_test(uniform_statistics),
        cmocka_unit_test(uniform_is_53_bits),
        cmocka_unit_test(below_is_even),
        cmocka_unit_test(below_is_even_for_large_n),
        cmocka_unit_test(shuffle_is_a_permutation),
        cmocka_unit_test(shuffle_is_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
