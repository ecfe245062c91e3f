// Batches: the parts of a data set are disjoint and whole, the order of an epoch depends on seed and epoch
// alone, inputs are normalised, and what is copied belongs together.
#include "datasets/batches.h"
#include "tests/check.h"

enum { SAMPLES = 200, TESTS = 50, PIXELS = 12, CLASSES = 7 };

// Pixel 0 of a sample is its number, the others are noise; its label follows from the number.
static uint8_t train_pixels[SAMPLES * PIXELS], train_labels[SAMPLES];
static uint8_t test_pixels[TESTS * PIXELS], test_labels[TESTS];
static struct dataset data;

static void split_make(struct split *split, int count, uint8_t *pixels, uint8_t *labels, uint32_t noise) {
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < PIXELS; j++) {
            noise = noise * 1664525 + 1013904223;
            pixels[i * PIXELS + j] = (uint8_t)(j == 0 ? (uint32_t)i : noise >> 24);
        }
        labels[i] = (uint8_t)(i % CLASSES);
    }
    *split = (struct split){.count = count, .pixels = pixels, .labels = labels};
}

static int data_make(void **state) {
    (void)state;
    data.sample = shape_3(2, 3, 2);
    data.classes = CLASSES;
    split_make(&data.train, SAMPLES, train_pixels, train_labels, 1);
    split_make(&data.test, TESTS, test_pixels, test_labels, 2);
    return 0;
}

static struct batches batches_of(int64_t validation, bool normalise, uint64_t seed) {
    struct batches b;
    struct err e = {""};
    if (batches_open(&b, &data, validation, normalise, seed, "data", &e) != 0) fail_msg("%s", e.text);
    return b;
}

// How often each training sample is in the part.
static void part_count(int seen[SAMPLES], const struct batches *b, enum part part) {
    for (uint32_t i = 0; i < b->count[part]; i++) {
        assert_true(b->order[part][i] < SAMPLES);
        seen[b->order[part][i]]++;
    }
}

static bool same_order(const struct batches *a, const struct batches *b, enum part part) {
    assert_int_equal(a->count[part], b->count[part]);
    return memcmp(a->order[part], b->order[part], a->count[part] * sizeof **a->order) == 0;
}

// --- the parts ---------------------------------------------------------------------------------------------

static void parts_are_disjoint_and_whole(void **state) {
    (void)state;
    static const int held_out[] = {0, 1, 50, SAMPLES - 1};
    for (size_t k = 0; k < sizeof held_out / sizeof *held_out; k++) {
        struct batches b = batches_of(held_out[k], true, 3);
        assert_int_equal(b.count[PART_TRAIN], SAMPLES - held_out[k]);
        assert_int_equal(b.count[PART_VALIDATION], held_out[k]);
        assert_int_equal(b.count[PART_TEST], TESTS);
        for (int epoch = 0; epoch < 3; epoch++) {
            int seen[SAMPLES] = {0};
            batches_epoch(&b, epoch);
            part_count(seen, &b, PART_TRAIN);
            part_count(seen, &b, PART_VALIDATION);
            for (int i = 0; i < SAMPLES; i++) assert_int_equal(seen[i], 1);
        }
        batches_close(&b);
    }
}

static void seed_chooses_validation(void **state) {
    (void)state;
    enum { HELD_OUT = 50 };
    struct batches a = batches_of(HELD_OUT, true, 3), again = batches_of(HELD_OUT, false, 3),
                   other = batches_of(HELD_OUT, true, 4);
    assert_true(same_order(&a, &again, PART_VALIDATION));
    int common[SAMPLES] = {0}, both = 0, low = 0;
    part_count(common, &a, PART_VALIDATION);
    part_count(common, &other, PART_VALIDATION);
    for (int i = 0; i < SAMPLES; i++) both += common[i] == 2;
    assert_in_range(both, 1, 30); // 12.5 are expected by chance
    for (int i = 0; i < HELD_OUT; i++) low += a.order[PART_VALIDATION][i] < SAMPLES / 2;
    assert_in_range(low, 10, 40); // from everywhere, not the first or last of the file
    batches_close(&a);
    batches_close(&again);
    batches_close(&other);
}

static void validation_leaves_nothing(void **state) {
    (void)state;
    static const int64_t held_out[] = {SAMPLES, SAMPLES + 1, 1 << 30};
    for (size_t k = 0; k < sizeof held_out / sizeof *held_out; k++) {
        struct batches b;
        struct err e = {""};
        char wanted[100];
        assert_int_equal(batches_open(&b, &data, held_out[k], true, 1, "data", &e), -1);
        snprintf(wanted, sizeof wanted, "data.validation: %lld held out of 200 training samples leaves none",
                 (long long)held_out[k]);
        assert_string_equal(e.text, wanted);
        batches_close(&b);
    }
}

// --- order -------------------------------------------------------------------------------------------------

static void epochs_have_orders_of_their_own(void **state) {
    (void)state;
    enum { EPOCHS = 5 };
    uint32_t first[EPOCHS][SAMPLES];
    struct batches b = batches_of(50, true, 3);
    size_t bytes = b.count[PART_TRAIN] * sizeof **b.order;
    uint32_t *opened = mem_new(b.count[PART_TRAIN], sizeof *opened);
    memcpy(opened, b.order[PART_TRAIN], bytes);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        batches_epoch(&b, epoch);
        memcpy(first[epoch], b.order[PART_TRAIN], bytes);
        for (int before = 0; before < epoch; before++)
            assert_memory_not_equal(first[before], first[epoch], bytes);
    }
    assert_memory_equal(opened, first[0], bytes); // opened at epoch 0
    static const int mixed[] = {4, 1, 1, 3, 0, 2, 4};
    for (size_t i = 0; i < sizeof mixed / sizeof *mixed; i++) {
        batches_epoch(&b, mixed[i]);
        assert_memory_equal(b.order[PART_TRAIN], first[mixed[i]], bytes);
    }
    struct batches again = batches_of(50, true, 3), other = batches_of(50, true, 4);
    batches_epoch(&again, 4);
    batches_epoch(&other, 4);
    assert_true(same_order(&b, &again, PART_TRAIN));
    assert_false(same_order(&b, &other, PART_TRAIN));
    batches_epoch(&again, INT64_C(1) << 40); // the whole number counts
    batches_epoch(&other, 0);
    assert_memory_not_equal(again.order[PART_TRAIN], first[0], bytes);
    mem_free(opened);
    batches_close(&b);
    batches_close(&again);
    batches_close(&other);
}

// The seed decides the order of the epochs, too, not only which samples are held out.
static void seed_shuffles(void **state) {
    (void)state;
    int place[2][SAMPLES], same = 0;
    for (int k = 0; k < 2; k++) {
        struct batches b = batches_of(0, true, 3 + (uint64_t)k);
        for (int i = 0; i < SAMPLES; i++)
            for (int j = 0; j < SAMPLES; j++)
                if (b.order[PART_TRAIN][i] == b.sorted[j]) place[k][i] = j;
        batches_close(&b);
    }
    for (int i = 0; i < SAMPLES; i++) same += place[0][i] == place[1][i];
    assert_true(same < 10); // 1 is expected by chance
}

// Every sample comes first about equally often: 4000 epochs of 200 samples, 20 ± 4.5 each.
static void shuffle_is_fair(void **state) {
    (void)state;
    int first[SAMPLES] = {0};
    struct batches b = batches_of(0, true, 3);
    for (int epoch = 0; epoch < 20 * SAMPLES; epoch++) {
        batches_epoch(&b, epoch);
        first[b.order[PART_TRAIN][0]]++;
    }
    double squares = 0;
    for (int i = 0; i < SAMPLES; i++) squares += (first[i] - 20) * (first[i] - 20) / 20.0;
    assert_near(squares, SAMPLES - 1, 100); // chi² of 199 degrees of freedom, ± 5 standard deviations
    batches_close(&b);
}

static void other_parts_stay_in_order(void **state) {
    (void)state;
    struct batches b = batches_of(50, true, 3), fresh = batches_of(50, true, 3);
    batches_epoch(&b, 7);
    for (uint32_t i = 0; i < TESTS; i++) assert_int_equal(b.order[PART_TEST][i], i);
    assert_true(same_order(&b, &fresh, PART_VALIDATION));
    batches_close(&b);
    batches_close(&fresh);
}

// --- numbers -----------------------------------------------------------------------------------------------

static void training_pixels_are_normalised(void **state) {
    (void)state;
    struct batches b = batches_of(0, true, 3);
    real *x = mem_new(SAMPLES * PIXELS, sizeof *x);
    uint8_t labels[SAMPLES];
    batches_get(x, labels, &b, PART_TRAIN, 0, SAMPLES);
    double mean = 0, variance = 0, pixel_mean = 0, pixel_variance = 0;
    const double n = SAMPLES * PIXELS;
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        mean += (double)x[i] / n;
        pixel_mean += train_pixels[i] / 255.0 / n;
    }
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
        pixel_variance += pow(train_pixels[i] / 255.0 - pixel_mean, 2) / n;
    }
    assert_near(mean, 0, 1e-6);
    assert_near(sqrt(variance), 1, 1e-6);
    assert_near(b.mean, pixel_mean, 1e-12);
    assert_near(b.std, sqrt(pixel_variance), 1e-12);
    for (int v = 0; v < 256; v++)
        assert_near(b.level[v], (v / 255.0 - pixel_mean) / sqrt(pixel_variance), 1e-6);
    // Held out samples are training pixels, too: the numbers do not depend on the split.
    struct batches split = batches_of(50, true, 4);
    assert_true(split.mean == b.mean && split.std == b.std);
    mem_free(x);
    batches_close(&b);
    batches_close(&split);
}

static void raw_pixels_are_shares(void **state) {
    (void)state;
    struct batches b = batches_of(0, false, 3);
    assert_true(b.mean == 0 && b.std == 1);
    for (int v = 0; v < 256; v++)
        assert_near(b.level[v], v / 255.0, sizeof(real) == sizeof(float) ? 1e-7 : 1e-15);
    assert_true(b.level[0] == 0);
    batches_close(&b);
}

// Pixels that are all the same have no deviation to divide by, whatever rounding makes of it.
static void flat_images(void **state) {
    (void)state;
    struct dataset flat = data;
    uint8_t *pixels = mem_new(SAMPLES * PIXELS, 1);
    flat.train.pixels = pixels;
    for (int v = 0; v < 256; v++) {
        memset(pixels, v, SAMPLES * PIXELS);
        struct batches b;
        struct err e = {""};
        assert_int_equal(batches_open(&b, &flat, 0, true, 1, "data", &e), 0);
        assert_near(b.mean, v / 255.0, 1e-12);
        assert_true(b.std == 1);
        assert_near(b.level[v], 0, sizeof(real) == sizeof(float) ? 1e-7 : 1e-12);
        batches_close(&b);
    }
    pixels[5] ^= 1; // one step in one pixel is a deviation
    struct batches b;
    struct err e = {""};
    assert_int_equal(batches_open(&b, &flat, 0, true, 1, "data", &e), 0);
    assert_near(b.std, 1 / 255.0 / sqrt(SAMPLES * PIXELS), 1e-7);
    batches_close(&b);
    mem_free(pixels);
}

static void samples_and_labels_belong_together(void **state) {
    (void)state;
    enum { COUNT = 7 };
    struct batches b = batches_of(50, true, 3);
    batches_epoch(&b, 2);
    for (enum part part = PART_TRAIN; part < PARTS; part++) {
        const struct split *split = part == PART_TEST ? &data.test : &data.train;
        for (size_t first = 0; first + COUNT <= b.count[part]; first += COUNT) {
            real x[COUNT * PIXELS + 1];
            uint8_t labels[COUNT + 1];
            x[COUNT * PIXELS] = 123, labels[COUNT] = 99;
            batches_get(x, labels, &b, part, first, COUNT);
            for (size_t i = 0; i < COUNT; i++) {
                size_t sample = b.order[part][first + i];
                for (size_t j = 0; j < PIXELS; j++)
                    assert_true(x[i * PIXELS + j] == b.level[split->pixels[sample * PIXELS + j]]);
                assert_int_equal(labels[i], sample % CLASSES);
            }
            assert_true(x[COUNT * PIXELS] == 123 && labels[COUNT] == 99); // nothing behind them
        }
    }
    batches_close(&b);
}

// --- texts and numbers -------------------------------------------------------------------------------------

// Windows of 4 tokens over one text, 2 apart; the labels are the text shifted by one.
static void windows_overlap(void **state) {
    (void)state;
    enum { LENGTH = 4, STEP = 2, WINDOWS = 6 };
    static uint8_t text[] = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 200};
    struct dataset d = {.kind = DATA_TOKENS, .sample = {1, {LENGTH}}, .classes = 201, .targets = LENGTH};
    d.train = (struct split){
        .count = WINDOWS, .pixels = text, .labels = text + 1, .stride = STEP, .label_stride = STEP};
    d.test = d.train;
    struct batches b;
    struct err e = {""};
    assert_int_equal(batches_open(&b, &d, 2, true, 3, "data", &e), 0);
    assert_true(b.mean == 0 && b.std == 1); // tokens are names, not amounts
    assert_int_equal(b.count[PART_VALIDATION], 2);
    for (enum part part = PART_TRAIN; part < PARTS; part++)
        for (size_t i = 0; i < b.count[part]; i++) {
            real x[LENGTH + 1] = {[LENGTH] = 123};
            uint8_t labels[LENGTH + 1] = {[LENGTH] = 99};
            batches_get(x, labels, &b, part, i, 1);
            size_t at = b.order[part][i] * STEP;
            for (size_t j = 0; j < LENGTH; j++) {
                assert_true(x[j] == (real)text[at + j]);
                assert_int_equal(labels[j], text[at + j + 1]);
            }
            assert_true(x[LENGTH] == 123 && labels[LENGTH] == 99);
        }
    batches_close(&b);
}

// A set that keeps a validation split: all of train is trained on, and no number can be given.
static void validation_of_its_own(void **state) {
    (void)state;
    static const struct dataset_type type = {.name = "kept", .keeps_validation = true};
    struct dataset d = data;
    d.type = &type;
    d.validation = d.test;
    d.validation.count = 20;
    struct batches b;
    struct err e = {""};
    assert_int_equal(batches_open(&b, &d, -1, true, 3, "data", &e), 0);
    assert_int_equal(b.count[PART_TRAIN], SAMPLES);
    assert_int_equal(b.count[PART_VALIDATION], 20);
    for (uint32_t i = 0; i < 20; i++) {
        size_t sample;
        assert_ptr_equal(batches_find(&sample, &b, PART_VALIDATION, i), &d.validation);
        assert_int_equal(sample, i);
    }
    uint8_t label;
    assert_ptr_equal(batches_sample(&label, &b, PART_VALIDATION, 7), test_pixels + 7 * PIXELS);
    batches_close(&b);
    for (int given = 0; given < 2; given++) {
        assert_int_equal(batches_open(&b, &d, given, true, 3, "data", &e), -1);
        assert_string_equal(e.text,
                            "data.validation: 'kept' keeps a validation part of its own; leave this out");
        batches_close(&b);
    }
    d.validation.count = 0; // an empty one is kept, too
    assert_int_equal(batches_open(&b, &d, -1, true, 3, "data", &e), 0);
    assert_int_equal(b.count[PART_VALIDATION], 0);
    batches_close(&b);
    d.type = NULL; // the usual number is more than there is here
    assert_int_equal(batches_open(&b, &d, -1, true, 3, "data", &e), -1);
    assert_string_equal(e.text, "data.validation: 5000 held out of 200 training samples leaves none");
    batches_close(&b);
}

static void numbers_are_normalised(void **state) {
    (void)state;
    enum { COUNT = 5, SIZE = 3 };
    float x[COUNT * SIZE], y[COUNT * 2];
    for (int i = 0; i < COUNT * SIZE; i++) x[i] = 1e4f + (float)(i * i);
    for (int i = 0; i < COUNT * 2; i++) y[i] = (float)i / 3;
    struct dataset d = {.kind = DATA_NUMBERS, .sample = {1, {SIZE}}, .target = {1, {2}}};
    d.train = d.test = (struct split){.count = COUNT, .numbers = x, .values = y};
    double mean = 0, variance = 0;
    for (int i = 0; i < COUNT * SIZE; i++) mean += (double)x[i] / (COUNT * SIZE);
    for (int i = 0; i < COUNT * SIZE; i++) variance += pow((double)x[i] - mean, 2) / (COUNT * SIZE);
    struct batches b;
    struct err e = {""};
    for (int normalise = 0; normalise < 2; normalise++) {
        assert_int_equal(batches_open(&b, &d, 1, normalise, 3, "data", &e), 0);
        assert_near(b.mean, normalise ? mean : 0, 1e-9);
        assert_near(b.std, normalise ? sqrt(variance) : 1, 1e-9);
        for (size_t i = 0; i < 4; i++) {
            real got[SIZE], wanted[2];
            batches_get(got, NULL, &b, PART_TRAIN, i, 1);
            batches_values(wanted, &b, PART_TRAIN, i, 1);
            size_t sample = b.order[PART_TRAIN][i];
            for (size_t j = 0; j < SIZE; j++)
                assert_near(got[j], ((double)x[sample * SIZE + j] - b.mean) / b.std, normalise ? 1e-6 : 0);
            assert_true(wanted[0] == (real)y[sample * 2] && wanted[1] == (real)y[sample * 2 + 1]);
        }
        batches_close(&b);
    }
    for (int i = 0; i < COUNT * SIZE; i++) x[i] = 0.1f; // no deviation to divide by
    assert_int_equal(batches_open(&b, &d, 1, true, 3, "data", &e), 0);
    assert_true(b.std == 1);
    batches_close(&b);
}

// --- augmentation ------------------------------------------------------------------------------------------

enum { HEIGHT = 6, WIDTH = 5, AREA = HEIGHT * WIDTH, IMAGES = 400 };

static void images_make(struct dataset *d, uint8_t pixels[IMAGES * 2 * AREA], uint8_t labels[IMAGES]) {
    *d = (struct dataset){.sample = {3, {2, HEIGHT, WIDTH}}, .classes = CLASSES};
    for (int i = 0; i < IMAGES * 2 * AREA; i++) pixels[i] = (uint8_t)(1 + i % 251);
    memset(labels, 0, IMAGES);
    d->train = d->test = (struct split){.count = IMAGES, .pixels = pixels, .labels = labels};
}

// The pixel that a moved and mirrored image has at this place: by definition, not by rows.
static real moved_pixel(const struct batches *b, const uint8_t *plane, int y, int x, int down, int across,
                        bool mirrored) {
    y -= down, x -= across;
    if (mirrored) x = WIDTH - 1 - x;
    return b->level[y < 0 || y >= HEIGHT || x < 0 || x >= WIDTH ? 0 : plane[y * WIDTH + x]];
}

// Whether x is the image moved by that much, both planes alike.
static bool is_moved(const struct batches *b, const real *x, const uint8_t *pixels, int down, int across,
                     bool mirrored) {
    for (int plane = 0; plane < 2; plane++)
        for (int i = 0; i < AREA; i++)
            if (x[plane * AREA + i] !=
                moved_pixel(b, pixels + plane * AREA, i / WIDTH, i % WIDTH, down, across, mirrored))
                return false;
    return true;
}

// Every sample is its image moved by at most the shift, and mirrored or not; all moves come, about equally often.
static void samples_move(void **state) {
    (void)state;
    static uint8_t pixels[IMAGES * 2 * AREA], labels[IMAGES];
    static real x[IMAGES * 2 * AREA];
    struct dataset d;
    struct err e = {""};
    images_make(&d, pixels, labels);
    for (int flip = 0; flip < 2; flip++)
        for (int shift = 0; shift <= 2; shift++) {
            const struct augment augment = {shift, flip};
            int seen[2][5][5] = {0}, kinds = 0, moves = (2 * shift + 1) * (2 * shift + 1) * (1 + flip);
            struct batches b;
            uint8_t got[IMAGES];
            assert_int_equal(batches_open(&b, &d, 0, true, 3, "data", &e), 0);
            batches_augment(&b, &augment);
            batches_epoch(&b, 1);
            batches_draw(x, got, &b, 0, IMAGES);
            for (int i = 0; i < IMAGES; i++) {
                const uint8_t *image = pixels + b.order[PART_TRAIN][i] * 2 * AREA;
                int found = 0;
                for (int m = 0; m <= flip; m++)
                    for (int v = -shift; v <= shift; v++)
                        for (int h = -shift; h <= shift; h++)
                            if (is_moved(&b, x + i * 2 * AREA, image, v, h, m))
                                found++, seen[m][v + 2][h + 2]++;
                assert_int_equal(found, 1);
            }
            for (int i = 0; i < 50; i++) {
                int count = ((int *)seen)[i];
                kinds += count > 0;
                assert_true(count == 0 ||
                            fabs(count - IMAGES / (double)moves) < 6 * sqrt(IMAGES / (double)moves));
            }
            assert_int_equal(kinds, moves);
            batches_close(&b);
        }
}

// What a sample becomes depends on seed, epoch and sample alone; other parts, and batches_get, don't move.
static void moves_depend_on_the_sample(void **state) {
    (void)state;
    static uint8_t pixels[IMAGES * 2 * AREA], labels[IMAGES];
    static real whole[IMAGES * 2 * AREA], x[IMAGES * 2 * AREA], plain[IMAGES * 2 * AREA];
    uint8_t got[IMAGES];
    struct dataset d;
    struct batches b, other;
    struct err e = {""};
    const struct augment augment = {2, true};
    images_make(&d, pixels, labels);
    assert_int_equal(batches_open(&b, &d, 0, true, 3, "data", &e), 0);
    assert_int_equal(batches_open(&other, &d, 100, true, 3, "data", &e), 0);
    batches_augment(&b, &augment);
    batches_augment(&other, &augment);
    batches_epoch(&b, 4);
    batches_draw(whole, got, &b, 0, IMAGES);
    for (size_t first = 0; first < IMAGES; first += 7) {
        size_t count = IMAGES - first < 7 ? IMAGES - first : 7;
        batches_draw(x + first * 2 * AREA, got, &b, first, count);
    }
    assert_memory_equal(x, whole, sizeof x);
    batches_epoch(&other, 4); // another order, with fewer samples
    batches_draw(x, got, &other, 0, IMAGES - 100);
    for (int i = 0; i < IMAGES - 100; i++) {
        int k = 0;
        while (b.order[PART_TRAIN][k] != other.order[PART_TRAIN][i]) k++;
        assert_memory_equal(x + i * 2 * AREA, whole + k * 2 * AREA, 2 * AREA * sizeof *x);
    }
    batches_get(plain, got, &b, PART_TRAIN, 0, IMAGES);
    for (int i = 0; i < IMAGES; i++)
        assert_true(
            is_moved(&b, plain + i * 2 * AREA, pixels + b.order[PART_TRAIN][i] * 2 * AREA, 0, 0, false));
    batches_epoch(&b, 5); // another epoch, other moves
    batches_draw(x, got, &b, 0, IMAGES);
    int same = 0;
    for (int i = 0; i < IMAGES; i++) {
        int k = 0;
        batches_epoch(&b, 4);
        uint32_t sample = b.order[PART_TRAIN][i];
        batches_epoch(&b, 5);
        while (b.order[PART_TRAIN][k] != sample) k++;
        same += memcmp(x + k * 2 * AREA, whole + i * 2 * AREA, 2 * AREA * sizeof *x) == 0;
    }
    assert_true(same < IMAGES / 10); // 1 in 50 is expected by chance
    batches_close(&b);
    batches_close(&other);
}

static void augmentation_that_does_not_suit(void **state) {
    (void)state;
    static const struct {
        struct augment augment;
        struct dataset data;
        const char *message; // NULL: it suits
    } rows[] = {
        {{4, true}, {.sample = {3, {1, 6, 5}}}, NULL},
        {{0, true}, {.sample = {2, {6, 5}}}, NULL},
        {{0, false}, {.kind = DATA_TOKENS, .sample = {1, {64}}}, NULL},
        {{5, false}, {.sample = {3, {1, 6, 5}}}, "data.augment.shift: 5 pixels leave nothing of 5x6"},
        {{1, false}, {.sample = {1, {784}}}, "data.augment: wants images, the data set has images of (784)"},
        {{0, true},
         {.kind = DATA_TOKENS, .sample = {1, {64}}},
         "data.augment: wants images, the data set has tokens of (64)"},
        {{0, true},
         {.kind = DATA_NUMBERS, .sample = {2, {6, 5}}},
         "data.augment: wants images, the data set has numbers of (6, 5)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = {""};
        int result = augment_check(&rows[i].augment, &rows[i].data, "data.augment", &e);
        assert_int_equal(result, rows[i].message ? -1 : 0);
        assert_string_equal(e.text, rows[i].message ? rows[i].message : "");
    }
}

static void names(void **state) {
    (void)state;
    assert_string_equal(part_name(PART_TRAIN), "train");
    assert_string_equal(part_name(PART_VALIDATION), "validation");
    assert_string_equal(part_name(PART_TEST), "test");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_disjoint_and_whole),
        cmocka_unit_test(seed_chooses_validation),
        cmocka_unit_test(validation_leaves_nothing),
        cmocka_unit_test(epochs_have_orders_of_their_own),
        cmocka_unit_test(seed_shuffles),
        cmocka_unit_test(shuffle_is_fair),
        cmocka_unit_test(other_parts_stay_in_order),
        cmocka_unit_test(training_pixels_are_normalised),
        cmocka_unit_test(raw_pixels_are_shares),
        cmocka_unit_test(flat_images),
        cmocka_unit_test(samples_and_labels_belong_together),
        cmocka_unit_test(windows_overlap),
        cmocka_unit_test(validation_of_its_own),
        cmocka_unit_test(numbers_are_normalised),
        cmocka_unit_test(samples_move),
        cmocka_unit_test(moves_depend_on_the_sample),
        cmocka_unit_test(augmentation_that_does_not_suit),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, data_make, NULL);
}
