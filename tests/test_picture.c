// Histograms of weights, and weights as pictures, read back by libpng itself.
#include <png.h>

#include "experiments/picture.h"
#include "tests/check.h"

enum { TEXT = 300, CHANNELS = 3 };

// Parameters with one bias and one weight tensor "w" of this shape, all zero; *w is its values.
static struct params *params_of(struct shape shape, real **w) {
    struct params *ps = params_new();
    params_add(ps, "first.bias", shape_1(3), 0, 5);
    int index = params_add(ps, "w", shape, 0, 0);
    params_alloc(ps, 1, 1);
    *w = ps->list[index].value;
    return ps;
}

// --- histograms --------------------------------------------------------------------------------------------

static void bins_have_edges(void **state) {
    (void)state;
    assert_near(histogram_low(0), -8, 0);
    assert_near(histogram_low(1), -7.75, 0);
    assert_near(histogram_low(HISTOGRAM_BINS), 4, 0);
}

static void weights_are_counted(void **state) {
    (void)state;
    static const struct {
        real value;
        int bin; // -1: zeros
    } rows[] = {
        {0, -1},         {-0.0f, -1},    {1, 32},        {-1, 32},                // the sign is not asked
        {0.999f, 31},    {1.778f, 32},                                            // just below 10^0.25
        {1.779f, 33},    {10, 36},       {100, 40},      {9999, 47}, {10000, 47}, // above the range
        {3e38f, 47},     {1.001e-8f, 0}, {1e-12f, 0},                             // below the range
        {1e-45f, 0},     {1.79e-8f, 1},  {INFINITY, 47}, // a run that left the range is looked at, too
        {-INFINITY, 47}, {NAN, 47}};
    enum { ROWS = sizeof rows / sizeof *rows };
    real *w;
    struct params *ps = params_of(shape_2(1, ROWS), &w);
    size_t wanted[HISTOGRAM_BINS] = {0}, zeros = 0;
    for (int i = 0; i < ROWS; i++) {
        w[i] = rows[i].value;
        if (rows[i].bin < 0)
            zeros++;
        else
            wanted[rows[i].bin]++;
        struct histogram h = histogram_make(&ps->list[1]);
        assert_int_equal(h.zeros, zeros + (size_t)(ROWS - 1 - i));
        for (int bin = 0; bin < HISTOGRAM_BINS; bin++)
            if (h.count[bin] != wanted[bin])
                fail_msg("%g: bin %d has %zu, wanted %zu", (double)w[i], bin, h.count[bin], wanted[bin]);
    }
    params_free(ps);
}

static void histogram_as_json(void **state) {
    (void)state;
    struct params *ps = params_new();
    params_add(ps, "a.weight", shape_2(2, 3), 0, 1);
    params_add(ps, "a.bias", shape_1(2), 0, 0);
    params_add(ps, "b.weight", shape_2(1, 2), 0, 0);
    params_alloc(ps, 1, 1);
    ps->list[2].value[1] = -10;
    struct json *root = histogram_write_new(ps);
    const struct json *bins = json_find(root, "bins");
    assert_int_equal(json_count(bins), HISTOGRAM_BINS + 1);
    for (int i = 0; i <= HISTOGRAM_BINS; i++)
        assert_near(json_number(json_item(bins, i)), histogram_low(i), 0);
    assert_int_equal(json_type(json_find(root, "what")), JSON_STRING);
    assert_int_equal(json_count(json_find(root, "layers")), 2); // biases are no weights
    static const struct {
        const char *name;
        int zeros, bin, count;
    } layers[] = {{"a.weight", 0, 32, 6}, {"b.weight", 1, 36, 1}};
    for (int i = 0; i < 2; i++) {
        const struct json *layer = json_find(json_find(root, "layers"), layers[i].name);
        assert_non_null(layer);
        assert_int_equal(json_number(json_find(layer, "zeros")), layers[i].zeros);
        const struct json *counts = json_find(layer, "counts");
        assert_int_equal(json_count(counts), HISTOGRAM_BINS);
        for (int bin = 0; bin < HISTOGRAM_BINS; bin++)
            assert_int_equal(json_number(json_item(counts, bin)), bin == layers[i].bin ? layers[i].count : 0);
    }
    json_free(root);
    params_free(ps);
}

// --- pictures ----------------------------------------------------------------------------------------------

// The picture that the folder's weights become, read back; free with mem_free.
static uint8_t *picture_of(int *width, int *height, void **state, const struct params *ps,
                           struct shape sample) {
    char path[TEXT];
    struct err e = {""};
    snprintf(path, sizeof path, "%s/w.png", (char *)*state);
    if (picture_write(ps, sample, path, &e) != 0) fail_msg("%s", e.text);
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, path));
    assert_int_equal(image.format, PNG_FORMAT_RGB);
    *width = (int)image.width, *height = (int)image.height;
    uint8_t *rgb = mem_new(PNG_IMAGE_SIZE(image), 1);
    assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    return rgb;
}

#define assert_pixel(rgb, width, x, y, r, g, b) pixel_check(rgb, width, x, y, r, g, b, __FILE__, __LINE__)

static void pixel_check(const uint8_t *rgb, int width, int x, int y, int r, int g, int b, const char *file,
                        int line) {
    const uint8_t *p = rgb + ((size_t)y * (size_t)width + (size_t)x) * CHANNELS;
    if (p[0] == r && p[1] == g && p[2] == b) return;
    print_error("pixel (%d, %d) is %d %d %d, wanted %d %d %d\n", x, y, p[0], p[1], p[2], r, g, b);
    _fail(file, line);
}

// Five outputs of 2x3 pixels: tiles three across, two down, a gap of one pixel around each.
static void a_tile_for_each_output(void **state) {
    real *w;
    struct params *ps = params_of(shape_2(5, 6), &w);
    w[0] = 8;            // output 0, top left: the largest
    w[5] = -8;           // output 0, bottom right
    w[6 + 2] = 1;        // output 1, top right: an eighth, so half the brightness
    w[4 * 6 + 3] = -1;   // output 4, bottom left: second row of tiles, second tile
    w[2 * 6 + 1] = 3.9f; // output 2
    int width, height;
    uint8_t *rgb = picture_of(&width, &height, state, ps, shape_3(1, 2, 3));
    assert_int_equal(width, 3 * (3 + 1) + 1);
    assert_int_equal(height, 2 * (2 + 1) + 1);
    assert_pixel(rgb, width, 0, 0, 60, 60, 60); // the gap
    assert_pixel(rgb, width, 4, 1, 60, 60, 60);
    assert_pixel(rgb, width, 1, 3, 60, 60, 60);
    assert_pixel(rgb, width, 12, 6, 60, 60, 60);
    assert_pixel(rgb, width, 9, 4, 60, 60, 60); // there is no sixth output
    assert_pixel(rgb, width, 1, 1, 255, 170, 60);
    assert_pixel(rgb, width, 3, 2, 90, 170, 255);
    assert_pixel(rgb, width, 2, 1, 18, 18, 18); // zero
    assert_pixel(rgb, width, 7, 1, 137, 94, 39);
    assert_pixel(rgb, width, 5, 5, 54, 94, 137);
    assert_pixel(rgb, width, 10, 1, 205, 138, 51); // cbrt(3.9 / 8) = 0.787
    mem_free(rgb);
    params_free(ps);
}

// Kernels of 2 by 3 of two outputs and two inputs: three tiles across, a weight is four pixels wide.
static void a_tile_for_each_kernel(void **state) {
    real *w;
    struct params *ps = params_of((struct shape){4, {2, 2, 2, 3}}, &w);
    w[0] = 8, w[6 + 5] = -8,
    w[3 * 6 + 1] = 1; // kernels (0, 0), (0, 1) and (1, 1), which begins the second row
    int width, height;
    uint8_t *rgb = picture_of(&width, &height, state, ps, shape_3(1, 2, 3));
    assert_int_equal(width, 3 * (3 * 4 + 1) + 1);
    assert_int_equal(height, 2 * (2 * 4 + 1) + 1);
    assert_pixel(rgb, width, 0, 0, 60, 60, 60);
    assert_pixel(rgb, width, 1, 1, 255, 170, 60);
    assert_pixel(rgb, width, 4, 4, 255, 170, 60);
    assert_pixel(rgb, width, 5, 4, 18, 18, 18);
    assert_pixel(rgb, width, 4, 5, 18, 18, 18);
    assert_pixel(rgb, width, 25, 8, 90, 170, 255);
    assert_pixel(rgb, width, 26, 8, 60, 60, 60);
    assert_pixel(rgb, width, 5, 10, 137, 94, 39);
    assert_pixel(rgb, width, 15, 11, 60, 60, 60); // there is no fifth kernel
    mem_free(rgb);
    params_free(ps);
}

// The inputs are not the sample's pixels: the matrix as it is.
static void a_plain_matrix(void **state) {
    real *w;
    struct params *ps = params_of(shape_2(3, 4), &w);
    w[0] = -2, w[1 * 4 + 3] = 2, w[2 * 4] = 0.25f;
    static const struct shape samples[] = {{3, {1, 28, 28}}, {3, {4, 1, 1}}, {3, {2, 2, 2}}, {1, {4}}};
    for (int i = 0; i < 4; i++) {
        int width, height;
        uint8_t *rgb = picture_of(&width, &height, state, ps, samples[i]);
        assert_int_equal(width, 4);
        assert_int_equal(height, 3);
        assert_pixel(rgb, width, 0, 0, 90, 170, 255);
        assert_pixel(rgb, width, 1, 0, 18, 18, 18);
        assert_pixel(rgb, width, 3, 1, 255, 170, 60);
        assert_pixel(rgb, width, 0, 2, 137, 94, 39);
        mem_free(rgb);
    }
    params_free(ps);
}

static void only_the_first_weights(void **state) {
    struct params *ps = params_new();
    params_add(ps, "first.weight", shape_2(2, 3), 0, 1);
    params_add(ps, "second.weight", shape_2(4, 5), 0, -1);
    params_alloc(ps, 1, 1);
    int width, height;
    uint8_t *rgb = picture_of(&width, &height, state, ps, shape_3(1, 28, 28));
    assert_int_equal(width, 3);
    assert_int_equal(height, 2);
    assert_pixel(rgb, width, 2, 1, 255, 170, 60);
    mem_free(rgb);
    params_free(ps);
}

static void large_layers_are_cut(void **state) {
    real *w;
    int width, height;
    struct params *ps = params_of(shape_2(401, 4), &w);
    for (int i = 0; i < 401 * 4; i++) w[i] = 1;
    uint8_t *rgb = picture_of(&width, &height, state, ps, shape_3(1, 2, 2)); // 400 tiles, 25 across
    assert_int_equal(width, 25 * 3 + 1);
    assert_int_equal(height, 16 * 3 + 1);
    assert_pixel(rgb, width, 74, 47, 255, 170, 60);
    mem_free(rgb);
    rgb = picture_of(&width, &height, state, ps, shape_3(1, 28, 28)); // but every row of a matrix
    assert_int_equal(height, 401);
    mem_free(rgb);
    params_free(ps);
    ps = params_of(shape_2(2, 4200), &w);
    w[4095] = 1, w[4200] = -1, w[4199] = 0.5f;
    rgb = picture_of(&width, &height, state, ps, shape_3(1, 28, 28));
    assert_int_equal(width, 4096);
    assert_int_equal(height, 2);
    assert_pixel(rgb, width, 4095, 0, 255, 170, 60);
    assert_pixel(rgb, width, 0, 1, 90, 170, 255);
    mem_free(rgb);
    params_free(ps);
    ps = params_of(shape_2(4200, 2), &w);
    w[4095 * 2 + 1] = 1, w[4096 * 2] = 2;
    rgb = picture_of(&width, &height, state, ps, shape_3(1, 28, 28));
    assert_int_equal(width, 2);
    assert_int_equal(height, 4096);
    assert_pixel(rgb, width, 1, 4095, 206, 139, 51); // cbrt(1 / 2) = 0.794
    mem_free(rgb);
    params_free(ps);
}

static void odd_weights(void **state) {
    real *w;
    int width, height;
    struct params *ps = params_of(shape_2(1, 4), &w);
    uint8_t *rgb = picture_of(&width, &height, state, ps, shape_3(1, 28, 28)); // all zero
    for (int x = 0; x < 4; x++) assert_pixel(rgb, width, x, 0, 18, 18, 18);
    mem_free(rgb);
    w[0] = INFINITY, w[1] = -INFINITY, w[2] = NAN, w[3] = 2; // a run that left the range
    rgb = picture_of(&width, &height, state, ps, shape_3(1, 28, 28));
    assert_pixel(rgb, width, 0, 0, 255, 170, 60);
    assert_pixel(rgb, width, 1, 0, 90, 170, 255);
    assert_pixel(rgb, width, 2, 0, 90, 170, 255);
    assert_pixel(rgb, width, 3, 0, 255, 170, 60);
    mem_free(rgb);
    params_free(ps);
}

static void nothing_to_draw(void **state) {
    char path[TEXT], wanted[TEXT + 60];
    struct err e = {""};
    struct params *ps = params_new();
    params_add(ps, "a.bias", shape_1(4), 0, 1);
    params_alloc(ps, 1, 1);
    snprintf(path, sizeof path, "%s/w.png", (char *)*state);
    assert_int_equal(picture_write(ps, shape_3(1, 2, 2), path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: the model has no weights to draw", path);
    assert_string_equal(e.text, wanted);
    params_free(ps);
    real *w;
    ps = params_of(shape_2(1, 4), &w);
    snprintf(path, sizeof path, "%s/nowhere/w.png", (char *)*state);
    assert_int_equal(picture_write(ps, shape_3(1, 2, 2), path, &e), -1);
    assert_memory_equal(e.text, path, strlen(path));
    assert_non_null(strstr(e.text, ": No such file or directory"));
    params_free(ps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_have_edges),
        cmocka_unit_test(weights_are_counted),
        cmocka_unit_test(histogram_as_json),
        IN_FOLDER(a_tile_for_each_output),
        IN_FOLDER(a_tile_for_each_kernel),
        IN_FOLDER(a_plain_matrix),
        IN_FOLDER(only_the_first_weights),
        IN_FOLDER(large_layers_are_cut),
        IN_FOLDER(odd_weights),
        IN_FOLDER(nothing_to_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
