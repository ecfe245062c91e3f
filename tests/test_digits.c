// The generated digits: the same bytes everywhere and for any number of threads, balanced labels, images that
// show what their label says; and the strokes they are drawn from.
#include <zlib.h>

#include "datasets/dataset.h"
#include "datasets/strokes.h"
#include "tests/check.h"

enum { PIXELS = 28 * 28, CLASSES = 10 };

static int digits_open(struct dataset *d, const char *config, int threads, struct err *e) {
    struct data_source source = {.threads = threads};
    struct json *node = json_of(config);
    int result = dataset_open(d, node, "data", &source, e);
    assert_false(source.missing);
    json_free(node);
    return result;
}

static struct dataset digits_of(const char *config, int threads) {
    struct dataset d;
    struct err e = {""};
    if (digits_open(&d, config, threads, &e) != 0) fail_msg("%s: %s", config, e.text);
    assert_true(shape_equal(d.sample, shape_3(1, 28, 28)));
    assert_int_equal(d.classes, CLASSES);
    return d;
}

static unsigned long split_crc(unsigned long crc, const struct split *s) {
    crc = crc32(crc, s->pixels, (uInt)s->count * PIXELS);
    return crc32(crc, s->labels, (uInt)s->count);
}

static unsigned long digits_crc(const char *config, int threads) {
    struct dataset d = digits_of(config, threads);
    unsigned long crc = split_crc(split_crc(crc32(0, NULL, 0), &d.train), &d.test);
    dataset_close(&d);
    return crc;
}

// Another number here is another data set: results of runs before and after can't be compared any more.
static void bytes_are_pinned(void **state) {
    (void)state;
    assert_int_equal(digits_crc("{\"digits\": {\"train\": 120, \"test\": 80}}", 1), 0xa19fc2b5);
}

static void threads_change_nothing(void **state) {
    (void)state;
    const char *config = "{\"digits\": {\"train\": 700, \"test\": 300}}";
    assert_int_equal(digits_crc(config, 1), digits_crc(config, 2));
}

static void options_change_bytes(void **state) {
    (void)state;
    const char *const configs[] = {"{\"digits\": {\"train\": 20, \"test\": 1}}",
                                   "{\"digits\": {\"train\": 20, \"test\": 1, \"seed\": 1}}",
                                   "{\"digits\": {\"train\": 20, \"test\": 1, \"seed\": 9007199254740991}}",
                                   "{\"digits\": {\"train\": 20, \"test\": 1, \"noise\": 0}}",
                                   "{\"digits\": {\"train\": 20, \"test\": 1, \"distortion\": 0.5}}"};
    enum { CONFIGS = sizeof configs / sizeof *configs };
    unsigned long crc[CONFIGS];
    for (int i = 0; i < CONFIGS; i++) {
        crc[i] = digits_crc(configs[i], 1);
        for (int j = 0; j < i; j++) assert_int_not_equal(crc[i], crc[j]);
    }
}

static void split_check_balance(const struct split *s, int count) {
    int of_class[CLASSES] = {0}, in_turn = 0;
    assert_int_equal(s->count, count);
    for (int i = 0; i < count; i++) {
        assert_in_range(s->labels[i], 0, CLASSES - 1);
        of_class[s->labels[i]]++;
        in_turn += s->labels[i] == i % CLASSES;
    }
    for (int c = 0; c < CLASSES; c++)
        assert_in_range(of_class[c], count / CLASSES, (count + CLASSES - 1) / CLASSES);
    if (count > CLASSES) assert_in_range(in_turn, 0, count / 2);
}

static void classes_are_balanced(void **state) {
    (void)state;
    const int counts[][2] = {{1, 10}, {7, 25}, {203, 100}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        char config[64];
        snprintf(config, sizeof config, "{\"digits\": {\"train\": %d, \"test\": %d}}", counts[i][0],
                 counts[i][1]);
        struct dataset d = digits_of(config, 1);
        split_check_balance(&d.train, counts[i][0]);
        split_check_balance(&d.test, counts[i][1]);
        dataset_close(&d);
    }
}

static void samples_do_not_repeat(void **state) {
    (void)state;
    struct dataset d = digits_of("{\"digits\": {\"train\": 200, \"test\": 200, \"noise\": 0}}", 1);
    for (int i = 0; i < 200; i++) {
        const uint8_t *image = d.train.pixels + i * PIXELS;
        for (int j = 0; j < 200; j++) assert_memory_not_equal(image, d.test.pixels + j * PIXELS, PIXELS);
        for (int j = 0; j < i; j++) assert_memory_not_equal(image, d.train.pixels + j * PIXELS, PIXELS);
    }
    dataset_close(&d);
}

// White ink on black, as much of it as a digit needs, near the middle; also at the ends of the options'
// ranges.
static void images_are_in_bounds(void **state) {
    (void)state;
    const char *const distortions[] = {"0", "1", "2"};
    for (int k = 0; k < 3; k++) {
        char config[96];
        snprintf(config, sizeof config,
                 "{\"digits\": {\"train\": 200, \"test\": 1, \"noise\": 0, \"distortion\": %s}}",
                 distortions[k]);
        struct dataset d = digits_of(config, 1);
        for (int i = 0; i < d.train.count; i++) {
            const uint8_t *image = d.train.pixels + i * PIXELS;
            int ink = 0, white = 0, rows = 0, columns = 0;
            for (int p = 0; p < PIXELS; p++) {
                ink += image[p];
                rows += image[p] * (p / 28);
                columns += image[p] * (p % 28);
                if (image[p] > white) white = image[p];
            }
            assert_in_range(white, 140, 255);
            assert_in_range(ink, 20 * 140, PIXELS / 2 * 255);
            assert_in_range(rows / ink, 7, 20);
            assert_in_range(columns / ink, 7, 20);
            assert_int_equal(image[0] + image[27] + image[27 * 28] + image[PIXELS - 1], 0);
        }
        dataset_close(&d);
    }
}

// The mean of each class in the training set knows most test images: labels and images belong together.
static void images_show_their_label(void **state) {
    (void)state;
    enum { TRAIN = 1000, TEST = 200 };
    struct dataset d = digits_of("{\"digits\": {\"train\": 1000, \"test\": 200}}", 1);
    static int sum[CLASSES][PIXELS];
    for (int i = 0; i < TRAIN; i++)
        for (int p = 0; p < PIXELS; p++) sum[d.train.labels[i]][p] += d.train.pixels[i * PIXELS + p];
    int right = 0;
    for (int i = 0; i < TEST; i++) {
        int64_t nearest = INT64_MAX;
        int guess = 0;
        for (int c = 0; c < CLASSES; c++) {
            int64_t distance = 0;
            for (int p = 0; p < PIXELS; p++) {
                int difference = sum[c][p] / (TRAIN / CLASSES) - d.test.pixels[i * PIXELS + p];
                distance += difference * difference;
            }
            if (distance < nearest) nearest = distance, guess = c;
        }
        right += guess == d.test.labels[i];
    }
    assert_in_range(right, TEST * 6 / 10, TEST * 95 / 100);
    dataset_close(&d);
}

static const struct {
    const char *config, *message;
} bad_configs[] = {
    {"{\"digits\": {\"train\": 0}}", "data.digits.train: 0 is not in 1 .. 1000000"},
    {"{\"digits\": {\"train\": 1000001}}", "data.digits.train: 1000001 is not in 1 .. 1000000"},
    {"{\"digits\": {\"test\": 0}}", "data.digits.test: 0 is not in 1 .. 1000000"},
    {"{\"digits\": {\"test\": 1e9}}", "data.digits.test: 1000000000 is not in 1 .. 1000000"},
    {"{\"digits\": {\"test\": 2.5}}", "data.digits.test: wanted a whole number, found 2.5"},
    {"{\"digits\": {\"seed\": -1}}", "data.digits.seed: -1 is not in 0 .. 9007199254740991"},
    {"{\"digits\": {\"seed\": 1e16}}", "data.digits.seed: 10000000000000000 is not in 0 .. 9007199254740991"},
    {"{\"digits\": {\"seed\": \"1\"}}", "data.digits.seed: wanted a whole number, found a string"},
    {"{\"digits\": {\"distortion\": -0.1}}", "data.digits.distortion: -0.1 is not in 0 .. 2"},
    {"{\"digits\": {\"distortion\": 2.1}}", "data.digits.distortion: 2.1 is not in 0 .. 2"},
    {"{\"digits\": {\"noise\": 1.5}}", "data.digits.noise: 1.5 is not in 0 .. 1"},
    {"{\"digits\": {\"noise\": true}}", "data.digits.noise: wanted a number, found true or false"},
    {"{\"digits\": {\"nose\": 0.1}}", "data.digits: unknown key 'nose'; did you mean 'noise'?"},
    {"{\"digits\": 5}", "data.digits: wanted an object, found a number"},
};

static void options_are_checked(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_configs / sizeof *bad_configs; i++) {
        struct dataset d;
        struct err e = {""};
        assert_int_equal(digits_open(&d, bad_configs[i].config, 1, &e), -1);
        assert_string_equal(e.text, bad_configs[i].message);
        assert_null(d.train.pixels);
        dataset_close(&d);
    }
}

static void options_have_defaults(void **state) {
    (void)state;
    struct err e = {""};
    struct json *node = json_of("\"digits\"");
    struct json *resolved = dataset_resolve_new(node, "data", &e);
    assert_non_null(resolved);
    char *text = json_print_new(resolved, false);
    assert_string_equal(
        text, "{\"digits\":{\"train\":60000,\"test\":10000,\"seed\":0,\"distortion\":1,\"noise\":0.1}}");
    mem_free(text);
    json_free(resolved);
    json_free(node);
}

// --- strokes
// ---------------------------------------------------------------------------------------------------

static void trace_joins_knots(void **state) {
    (void)state;
    const double still[2 * STROKES_KNOTS] = {0}, moved[2 * STROKES_KNOTS] = {1, 2, 5, 10};
    struct vertex v[STROKES_POINTS];
    const struct strokes line = {1, 1, "0,-68 0,68"}, tick = {1, 1, "-20,-40 ^0,-60 0,60 / -30,60 30,60"};
    assert_int_equal(strokes_trace(v, &line, still), 1 + STROKES_SPAN);
    for (int i = 0; i <= STROKES_SPAN; i++) {
        assert_near(v[i].x, 0, 0);
        assert_near(v[i].y, -68 + 136.0 * i / STROKES_SPAN, 0);
        assert_int_equal(v[i].pen, i > 0);
    }
    assert_int_equal(strokes_trace(v, &line, moved), 1 + STROKES_SPAN);
    assert_near(v[0].x, 1, 0);
    assert_near(v[0].y, -66, 0);
    assert_near(v[STROKES_SPAN].x, 5, 0);
    assert_near(v[STROKES_SPAN].y, 78, 0);
    // A corner leaves both of its sides straight; the second stroke starts with the pen up.
    assert_int_equal(strokes_trace(v, &tick, still), 2 + 3 * STROKES_SPAN);
    for (int i = 0; i <= STROKES_SPAN; i++) {
        assert_near(v[i].x + 20, v[i].y * -1 - 40, 1e-12);
        assert_near(v[STROKES_SPAN + i].x, 0, 1e-12);
    }
    assert_false(v[1 + 2 * STROKES_SPAN].pen);
    assert_near(v[1 + 2 * STROKES_SPAN].x, -30, 0);
}

// Half way between the middle knots the formula gives (9 * (32 + 32) - (0 + 0)) / 16 = 36.
static void trace_is_smooth(void **state) {
    (void)state;
    const double still[2 * STROKES_KNOTS] = {0};
    struct vertex v[STROKES_POINTS];
    const struct strokes arc = {0, 1, "-40,0 -20,32 20,32 40,0"};
    assert_int_equal(strokes_trace(v, &arc, still), 1 + 3 * STROKES_SPAN);
    assert_near(v[STROKES_SPAN].x, -20, 0);
    assert_near(v[STROKES_SPAN].y, 32, 0);
    assert_near(v[STROKES_SPAN + STROKES_SPAN / 2].x, 0, 1e-12);
    assert_near(v[STROKES_SPAN + STROKES_SPAN / 2].y, 36, 1e-12);
}

static void variants_are_sound(void **state) {
    (void)state;
    const double still[2 * STROKES_KNOTS] = {0};
    for (int digit = 0; digit < CLASSES; digit++) {
        const struct strokes *before = NULL;
        int variants = 0;
        for (uint32_t i = 0; i < 64; i++) {
            const struct strokes *s = strokes_pick(digit, i << 26 | 0x3ffffff);
            assert_int_equal(s->digit, digit);
            variants += s != before;
            before = s;
            struct vertex v[STROKES_POINTS];
            int n = strokes_trace(v, s, still);
            assert_in_range(n, 1 + STROKES_SPAN, STROKES_POINTS);
            assert_false(v[0].pen);
            for (int k = 0; k < n; k++) {
                assert_near(v[k].x, 0, 50);
                assert_near(v[k].y, 0, 75);
                assert_true(v[k].pen || k + 1 < n);
            }
        }
        assert_in_range(variants, 2, 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_pinned),        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(options_change_bytes),    cmocka_unit_test(classes_are_balanced),
        cmocka_unit_test(samples_do_not_repeat),   cmocka_unit_test(images_are_in_bounds),
        cmocka_unit_test(images_show_their_label), cmocka_unit_test(options_are_checked),
        cmocka_unit_test(options_have_defaults),   cmocka_unit_test(trace_joins_knots),
        cmocka_unit_test(trace_is_smooth),         cmocka_unit_test(variants_are_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
