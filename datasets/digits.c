// The generated data set: 28x28 grey images of the ten digits, white on black, drawn as strokes of a pen.
//
// Each image: pick a variant (strokes.h), move its knots, scale, slant and turn it, warp it by an elastic
// field, put it near the middle and draw it with a pen whose width changes along the way; then contrast and
// noise. The field is a quadratic B-spline of random vectors on a 5x5 grid, after Simard, Steinkraus, Platt
// 2003 ("Best practices for convolutional neural networks"); departure: it moves the strokes and not the
// pixels, so the pen stays round.
//
// About as hard as MNIST for the same networks. With the default options, after 20 epochs of Adam: softmax
// regression 89.9 % right, 784-300-100-10 98.7 %.
//
// The bytes depend on the options only: not on the machine, the compiler or the threads. Hence only + - * /
// and sqrt in double, which IEEE 754 defines to the last bit, and random numbers by position (image, use),
// never by order.
#include <float.h>
#include <math.h>

#include "datasets/source.h"
#include "datasets/strokes.h"
#include "src/parallel.h"
#include "src/rng.h"

_Static_assert(FLT_EVAL_METHOD == 0,
               "the bytes of the digits need double arithmetic without excess precision");

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10, CHUNK = 256, COUNT_LIMIT = 1000000 };

struct config {
    int64_t train, test, seed;
    double distortion, noise;
};

static const struct field fields[] = {
    {"train", FIELD_INT, offsetof(struct config, train), 60000, 1, COUNT_LIMIT, NULL, "images to train on"},
    {"test", FIELD_INT, offsetof(struct config, test), 10000, 1, COUNT_LIMIT, NULL, "images to test on"},
    {"seed", FIELD_INT, offsetof(struct config, seed), 0, 0, 9007199254740991.0, NULL,
     "another seed, other images"},
    {"distortion", FIELD_REAL, offsetof(struct config, distortion), 1, 0, 2, NULL,
     "how far shapes are bent, slanted, turned and moved; 0: each variant always the same"},
    {"noise", FIELD_REAL, offsetof(struct config, noise), 0.1, 0, 1, NULL,
     "standard deviation of the noise on each pixel, where 1 is black to white"},
    FIELD_END};

// Where each use finds its random numbers among those of the image.
enum {
    GRID = 5,
    AT_VARIANT = 0,
    AT_SCALE,
    AT_ASPECT,
    AT_TURN,
    AT_SLANT,
    AT_SHIFT,
    AT_WIDTH = AT_SHIFT + 2,
    AT_TAPER,
    AT_CONTRAST,
    AT_KNOTS,
    AT_FIELD = AT_KNOTS + 2 * STROKES_KNOTS,
    AT_NOISE = AT_FIELD + 2 * GRID * GRID, // two bytes for each pixel
    RANDOMS = 512                          // all of the above, in the whole blocks that rng_fill is fast at
};
_Static_assert(AT_NOISE + PIXELS / 2 <= RANDOMS, "more random numbers are used than drawn");

// Nearly normal, mean 0, variance 1, within 3.45: the sum of the number's four bytes.
static double bell(uint32_t random) {
    uint32_t sum = (random & 255) + (random >> 8 & 255) + (random >> 16 & 255) + (random >> 24);
    return ((double)sum - 510) / 147.8;
}

static double clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

// From units of strokes.h to pixels around the origin.
static void digit_form(struct vertex *v, int n, const uint32_t *random, double distortion) {
    double size = (20.0 / 140) * (1 + 0.09 * distortion * bell(random[AT_SCALE]));
    double aspect = 1 + 0.12 * distortion * bell(random[AT_ASPECT]);
    double slant = distortion * (0.12 + 0.21 * bell(random[AT_SLANT]));
    double half = 0.05 * distortion * bell(random[AT_TURN]); // tangent of half the angle
    double cosine = (1 - half * half) / (1 + half * half), sine = 2 * half / (1 + half * half);
    for (int i = 0; i < n; i++) {
        double x = size * (aspect * v[i].x - slant * v[i].y), y = size * v[i].y;
        v[i].x = cosine * x - sine * y;
        v[i].y = sine * x + cosine * y;
    }
}

// The cell of the grid that holds `at` and the weights of the three grid lines that act there.
static int grid_cell(double weight[3], double at) {
    double u = clamp((at + SIDE / 2) * (GRID - 2) / SIDE, 0, GRID - 2 - 0x1p-20);
    int cell = (int)u;
    double f = u - cell;
    weight[0] = (1 - f) * (1 - f) / 2;
    weight[1] = 0.5 + f - f * f;
    weight[2] = f * f / 2;
    return cell;
}

static void digit_warp(struct vertex *v, int n, const uint32_t *random, double distortion) {
    double field[2 * GRID * GRID];
    for (int i = 0; i < 2 * GRID * GRID; i++) field[i] = 2.1 * distortion * bell(random[AT_FIELD + i]);
    for (int i = 0; i < n; i++) {
        double across[3], down[3], x = 0, y = 0;
        int column = grid_cell(across, v[i].x), row = grid_cell(down, v[i].y);
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++) {
                const double *vector = &field[2 * ((row + j) * GRID + column + k)];
                x += down[j] * across[k] * vector[0];
                y += down[j] * across[k] * vector[1];
            }
        v[i].x += x;
        v[i].y += y;
    }
}

// Centres the box of the digit but for a small shift, with a margin for the pen; shrinks what is too large.
static void digit_place(struct vertex *v, int n, const uint32_t *random, double distortion) {
    const double room = SIDE - 6;
    double left = v[0].x, right = v[0].x, top = v[0].y, bottom = v[0].y;
    for (int i = 1; i < n; i++) {
        if (v[i].x < left) left = v[i].x;
        if (v[i].x > right) right = v[i].x;
        if (v[i].y < top) top = v[i].y;
        if (v[i].y > bottom) bottom = v[i].y;
    }
    double width = right - left, height = bottom - top, longest = width > height ? width : height;
    double scale = longest > room ? room / longest : 1;
    double slack_x = (room - scale * width) / 2, slack_y = (room - scale * height) / 2;
    double shift_x = clamp(0.9 * distortion * bell(random[AT_SHIFT]), -slack_x, slack_x);
    double shift_y = clamp(0.9 * distortion * bell(random[AT_SHIFT + 1]), -slack_y, slack_y);
    for (int i = 0; i < n; i++) {
        v[i].x = SIDE / 2.0 + shift_x + scale * (v[i].x - (left + right) / 2);
        v[i].y = SIDE / 2.0 + shift_y + scale * (v[i].y - (top + bottom) / 2);
    }
}

// Raises ink[] to the share of each pixel that a round pen of this radius covers between a and b, judged by
// the distance of the pixel's centre.
static void line_draw(double *ink, struct vertex a, struct vertex b, double radius) {
    const double soft = 1.2; // pixels from full ink to none
    double reach = radius + soft / 2, dx = b.x - a.x, dy = b.y - a.y;
    double square = dx * dx + dy * dy, inverse = square > 0 ? 1 / square : 0;
    int left = (int)clamp((a.x < b.x ? a.x : b.x) - reach, 0, SIDE - 1);
    int right = (int)clamp((a.x > b.x ? a.x : b.x) + reach, 0, SIDE - 1);
    int top = (int)clamp((a.y < b.y ? a.y : b.y) - reach, 0, SIDE - 1);
    int bottom = (int)clamp((a.y > b.y ? a.y : b.y) + reach, 0, SIDE - 1);
    for (int row = top; row <= bottom; row++)
        for (int column = left; column <= right; column++) {
            double x = column + 0.5 - a.x, y = row + 0.5 - a.y;
            double along = clamp((x * dx + y * dy) * inverse, 0, 1);
            x -= along * dx;
            y -= along * dy;
            double distance = x * x + y * y;
            if (distance >= reach * reach) continue;
            double share = clamp((reach - sqrt(distance)) / soft, 0, 1);
            double *at = &ink[row * SIDE + column];
            if (share > *at) *at = share;
        }
}

static void digit_draw(double *ink, const struct vertex *v, int n, const uint32_t *random) {
    double radius = clamp(1.35 + 0.35 * bell(random[AT_WIDTH]), 0.75, 2.4);
    double taper = clamp(0.15 * bell(random[AT_TAPER]), -0.4, 0.4);
    for (int i = 1; i < n; i++)
        if (v[i].pen) line_draw(ink, v[i - 1], v[i], radius * (1 + taper * (2.0 * i / n - 1)));
}

// Contrast and noise.
static void image_finish(uint8_t *pixels, const double *ink, const uint32_t *random, double noise) {
    double white = clamp(260 + 40 * bell(random[AT_CONTRAST]), 150, 255);
    double grain = noise * 255 / 104.5; // 104.5: the standard deviation of the sum of two bytes
    for (int i = 0; i < PIXELS; i++) {
        uint32_t pair = random[AT_NOISE + i / 2] >> i % 2 * 16;
        int bytes = (int)(pair & 255) + (int)(pair >> 8 & 255) - 255;
        pixels[i] = (uint8_t)(int)(clamp(white * ink[i] + grain * bytes, 0, 255) + 0.5);
    }
}

static void image_make(uint8_t *pixels, int digit, const struct rng *stream, const struct config *c) {
    uint32_t random[RANDOMS];
    rng_fill(random, RANDOMS, stream, 0);
    double move[2 * STROKES_KNOTS], ink[PIXELS] = {0};
    for (int i = 0; i < 2 * STROKES_KNOTS; i++) move[i] = 3.0 * c->distortion * bell(random[AT_KNOTS + i]);
    struct vertex v[STROKES_POINTS];
    int n = strokes_trace(v, strokes_pick(digit, random[AT_VARIANT]), move);
    digit_form(v, n, random, c->distortion);
    digit_warp(v, n, random, c->distortion);
    digit_place(v, n, random, c->distortion);
    digit_draw(ink, v, n, random);
    image_finish(pixels, ink, random, c->noise);
}

struct work {
    const struct config *config;
    struct split *split;
    struct rng stream;
};

static void chunk_make(void *context, int task) {
    const struct work *w = context;
    int first = task * CHUNK, last = first + CHUNK < w->split->count ? first + CHUNK : w->split->count;
    for (int i = first; i < last; i++) {
        struct rng row = rng_row(w->stream, (uint64_t)i);
        image_make(w->split->pixels + (size_t)i * PIXELS, w->split->labels[i], &row, w->config);
    }
}

static void split_make(struct split *s, int64_t count, const char *purpose, const struct config *c,
                       int threads) {
    s->count = (int)count;
    s->pixels = mem_new((size_t)count, PIXELS);
    s->labels = mem_new((size_t)count, 1);
    uint32_t *order = mem_new((size_t)count, sizeof *order);
    // The order of the labels comes from a row that no image has.
    struct rng stream = rng_stream((uint64_t)c->seed, purpose), order_row = rng_row(stream, UINT64_MAX);
    rng_shuffle(order, (uint32_t)count, &order_row);
    for (int i = 0; i < s->count; i++) s->labels[i] = (uint8_t)(order[i] % CLASSES);
    mem_free(order);
    struct work w = {c, s, stream};
    parallel_for(threads, (s->count + CHUNK - 1) / CHUNK, chunk_make, &w);
}

static int digits_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    if (source_room(source, (double)(c->train + c->test) * (PIXELS + 1), "digits", e) != 0) return -1;
    d->sample = shape_3(1, SIDE, SIDE);
    d->classes = CLASSES;
    split_make(&d->train, c->train, "digits train", c, source->threads);
    split_make(&d->test, c->test, "digits test", c, source->threads);
    return 0;
}

const struct dataset_type digits_dataset = {
    .name = "digits",
    .help = "28x28 grey images of handwritten digits, generated: needs no files",
    .fields = fields,
    .config_size = sizeof(struct config),
    .open = digits_open,
};
