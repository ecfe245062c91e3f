// Convolution straight from the image. Contracts in conv.h.
//
// A tile is a dozen vectors, which a processor with 16 vector registers holds with what they are made of: forward OUTS
// outputs by SEGMENTS segments, backward BACK_OUTS outputs by BACK_NUMBERS numbers of their kernels. Where outputs or
// numbers don't fill the last tile, it has the last one again.
//
// Measured with batches of 64 on one core (Zen 5, OpenBLAS's Haswell kernels), GFLOP/s here, by columns and products, and
// of oneDNN 2.6 (AVX-512) on images that lie as they do here and as it likes them best:
//   channels, image, outputs, kernel      forward                  dweight
//     1   28 x 28     20    5 x 5         94   63   58   93        86   45   24   80
//    20   12 x 12     50    5 x 5         98   72   95   81        92   71   89   73
//     3   32 x 32     32    3 x 3         90   61   73  193        74   43   22  147
//    64   16 x 16     64    3 x 3        100   78  117  180        92   74   72  170
//   128   16 x 16    128    3 x 3        105   89                  97   88
//   256   14 x 14    256    3 x 3         90   92                  87   97
// The gradient of the input was tried too: 80 against 85 of columns and products on the second line.
#include "src/conv.h"

#include <limits.h>
#include <string.h>

#include "src/blas.h"

enum { LANES = 8, OUTS = 4, SEGMENTS = 3, BACK_OUTS = 4, BACK_NUMBERS = 3, BACK_SEGMENTS = 128 };

// --- the plan
// -----------------------------------------------------------------------------------------------------

// Without offsets and room.
static struct conv measure(const struct window *w, const struct patch *p, int out) {
    int parts = (p->across + LANES - 1) / LANES;
    struct conv c = {.out = out,
                     .depth = p->planes * w->size[0] * w->size[1],
                     .segments = p->rows * parts,
                     .padded = w->padding[0] || w->padding[1],
                     .apart = p->across % LANES == 0,
                     .window = *w,
                     .patch = *p};
    size_t height = (size_t)p->height + 2 * (size_t)w->padding[0],
           width = (size_t)p->width + 2 * (size_t)w->padding[1];
    c.samples = (BACK_SEGMENTS + c.segments - 1) / c.segments;
    c.padded_size = (size_t)p->planes * height * width;
    c.results_size = (size_t)out * (size_t)c.segments * LANES;
    return c;
}

static size_t room_of(const struct conv *c) {
    return (size_t)c->samples * ((c->padded ? c->padded_size : 0) + (c->apart ? 0 : c->results_size));
}

double conv_plan_numbers(const struct window *w, const struct patch *p, int out) {
    struct conv c = measure(w, p, out);
    return (double)room_of(&c) + (double)c.depth + (2 + 4.0 * c.samples) * c.segments;
}

struct conv *conv_plan(struct arena *a, const struct window *w, const struct patch *p, int out) {
    struct conv *c = arena_alloc(a, 1, sizeof *c);
    *c = measure(w, p, out);
    c->number = arena_alloc(a, (size_t)c->depth, sizeof *c->number);
    c->image = arena_alloc(a, (size_t)c->segments, sizeof *c->image);
    c->result = arena_alloc(a, (size_t)c->segments, sizeof *c->result);
    size_t all = (size_t)c->samples * (size_t)c->segments;
    c->all_images = arena_alloc(a, all, sizeof *c->all_images);
    c->all_results = arena_alloc(a, all, sizeof *c->all_results);
    c->room = arena_alloc(a, room_of(c), sizeof *c->room);
    int kernel = w->size[0] * w->size[1], parts = c->segments / p->rows;
    int width = p->width + 2 * w->padding[1], plane = (p->height + 2 * w->padding[0]) * width;
    for (int k = 0; k < c->depth; k++) {
        int i = k % kernel / w->size[1], j = k % w->size[1];
        c->number[k] = k / kernel * plane + i * w->dilation[0] * width + j * w->dilation[1];
    }
    for (int s = 0; s < c->segments; s++) {
        int row = s / parts, first = s % parts * LANES;
        if (first > p->across - LANES) first = p->across - LANES;
        c->image[s] = row * w->stride[0] * width + first;
        c->result[s] = row * p->across + first;
    }
    return c;
}

// The image with its border of zeros.
static void image_pad(real *to, const struct conv *c, const real *x) {
    const struct patch *p = &c->patch;
    size_t top = (size_t)c->window.padding[0], side = (size_t)c->window.padding[1];
    size_t from = (size_t)p->width, width = from + 2 * side;
    memset(to, 0, c->padded_size * sizeof *to);
    for (int plane = 0; plane < p->planes; plane++, to += 2 * top * width)
        for (int row = 0; row < p->height; row++, to += width, x += from)
            memcpy(to + top * width + side, x, from * sizeof *to);
}

// GNU C's vectors, which gcc and clang have.
typedef real vec __attribute__((vector_size(LANES * sizeof(real))));
typedef real unaligned __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
#define LOAD(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))

// Where VECTOR_CLONES makes none, OpenBLAS has wider vectors than this file; tests want it all the same.
#if defined(__x86_64__) && defined(__clang__) && !defined(__AVX2__) && !defined(TALLY_NO_CLONES)
enum { NARROW = true };
#else
enum { NARROW = false };
#endif

bool conv_fits(const struct window *w, const struct patch *p, int out) {
    // From a limit on a product's better use of the caches makes up for its matrix; that of a 1 by 1 kernel is the image.
    double kernel = (double)w->size[0] * w->size[1], limit = blas_lanes() > LANES ? 1 << 14 : 1 << 17;
    double height = p->height + 2.0 * w->padding[0], width = p->width + 2.0 * w->padding[1];
    return !NARROW && w->stride[1] == 1 && p->across >= LANES && kernel > 1 &&
           kernel * p->planes * out <= limit && height * width * p->planes <= INT_MAX;
}

// --- forward
// ------------------------------------------------------------------------------------------------------

static int least(int a, int b) {
    return a < b ? a : b;
}

// `count`, a constant, of segments from `first` on.
ALWAYS_INLINE void tile_forward(real *y, const struct conv *c, const real *weight, const real *bias,
                                const real *x, const int out[OUTS], int first, int count) {
    const real *w[OUTS], *from[SEGMENTS];
    vec sum[OUTS][SEGMENTS];
    for (int o = 0; o < OUTS; o++) {
        w[o] = weight + (size_t)out[o] * (size_t)c->depth;
        for (int s = 0; s < count; s++) sum[o][s] = (vec){0} + (bias ? bias[out[o]] : 0);
    }
    for (int s = 0; s < count; s++) from[s] = x + c->image[first + s];
    for (int k = 0; k < c->depth; k++) {
        int at = c->number[k];
        vec seen[SEGMENTS];
        for (int s = 0; s < count; s++) seen[s] = LOAD(from[s] + at);
        for (int o = 0; o < OUTS; o++) {
            real one = w[o][k];
            for (int s = 0; s < count; s++) sum[o][s] += one * seen[s];
        }
    }
    size_t windows = (size_t)c->patch.rows * (size_t)c->patch.across;
    for (int o = 0; o < OUTS; o++)
        for (int s = 0; s < count; s++) STORE(y + (size_t)out[o] * windows + c->result[first + s], sum[o][s]);
}

VECTOR_CLONES static void image_forward(real *y, const struct conv *c, const real *weight, const real *bias,
                                        const real *x) {
    for (int first = 0; first < c->segments; first += SEGMENTS)
        for (int done = 0; done < c->out; done += OUTS) {
            _Static_assert(SEGMENTS == 3, "what is left over is 2 or 1");
            int out[OUTS];
            for (int o = 0; o < OUTS; o++) out[o] = least(done + o, c->out - 1);
            if (first + SEGMENTS <= c->segments)
                tile_forward(y, c, weight, bias, x, out, first, SEGMENTS);
            else if (first + 2 == c->segments)
                tile_forward(y, c, weight, bias, x, out, first, 2);
            else
                tile_forward(y, c, weight, bias, x, out, first, 1);
        }
}

void conv_forward(real *y, const struct conv *c, const real *weight, const real *bias, const real *x) {
    if (c->padded) image_pad(c->room, c, x);
    image_forward(y, c, weight, bias, c->padded ? c->room : x);
}

// --- backward
// -----------------------------------------------------------------------------------------------------

// dy in segments, with zeros where a segment repeats windows.
static void results_part(real *to, const struct conv *c, const real *dy) {
    int across = c->patch.across, parts = c->segments / c->patch.rows, repeated = parts * LANES - across;
    for (int o = 0; o < c->out; o++, dy += (size_t)c->patch.rows * (size_t)across)
        for (int s = 0; s < c->segments; s++, to += LANES) {
            memcpy(to, dy + c->result[s], LANES * sizeof *to);
            if (s % parts == parts - 1) memset(to, 0, (size_t)repeated * sizeof *to);
        }
}

// Images for the kernels: padded, and results in segments.
struct images {
    const real *x, *dy;
    size_t x_step, dy_step, row; // row: from the results of one output to the next
    int count;
    int segments; // of all of them: their offsets are in the plan's lists
};

// The outputs and numbers from `outs` and `numbers` on are still to be added to.
ALWAYS_INLINE void tile_backward(real *dweight, const struct conv *c, const struct images *m, int outs,
                                 int numbers) {
    vec sum[BACK_OUTS][BACK_NUMBERS] = {{{0}}};
    const real *dy[BACK_OUTS], *x[BACK_NUMBERS];
    for (int o = 0; o < BACK_OUTS; o++) dy[o] = m->dy + (size_t)least(outs + o, c->out - 1) * m->row;
    for (int k = 0; k < BACK_NUMBERS; k++) x[k] = m->x + c->number[least(numbers + k, c->depth - 1)];
    for (int s = 0; s < m->segments; s++) {
        size_t from = c->all_images[s], at = c->all_results[s];
        vec grad[BACK_OUTS];
        for (int o = 0; o < BACK_OUTS; o++) grad[o] = LOAD(dy[o] + at);
        for (int k = 0; k < BACK_NUMBERS; k++) {
            vec seen = LOAD(x[k] + from);
            for (int o = 0; o < BACK_OUTS; o++) sum[o][k] += grad[o] * seen;
        }
    }
    for (int o = 0; o < BACK_OUTS && outs + o < c->out; o++)
        for (int k = 0; k < BACK_NUMBERS && numbers + k < c->depth; k++) {
            vec v = sum[o][k];
            dweight[(size_t)(outs + o) * (size_t)c->depth + (size_t)(numbers + k)] +=
                ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
        }
}

VECTOR_CLONES static void images_backward(real *dweight, const struct conv *c, const struct images *m) {
    for (int o = 0; o < c->out; o += BACK_OUTS)
        for (int k = 0; k < c->depth; k += BACK_NUMBERS) tile_backward(dweight, c, m, o, k);
}

// At most c->samples images.
static void some_backward(real *dweight, const struct conv *c, struct images m) {
    real *padded = c->room, *parted = padded + (c->padded ? (size_t)m.count * c->padded_size : 0);
    for (size_t i = 0; c->padded && i < (size_t)m.count; i++)
        image_pad(padded + i * c->padded_size, c, m.x + i * m.x_step);
    for (size_t i = 0; !c->apart && i < (size_t)m.count; i++)
        results_part(parted + i * c->results_size, c, m.dy + i * m.dy_step);
    if (c->padded) m.x = padded, m.x_step = c->padded_size;
    if (!c->apart) m.dy = parted, m.dy_step = c->results_size;
    m.row = c->apart ? (size_t)c->patch.rows * (size_t)c->patch.across : (size_t)c->segments * LANES;
    m.segments = m.count * c->segments;
    for (int i = 0, n = 0; i < m.count; i++)
        for (int s = 0; s < c->segments; s++, n++) {
            c->all_images[n] = (size_t)i * m.x_step + (size_t)c->image[s];
            c->all_results[n] = (size_t)i * m.dy_step + (size_t)s * LANES;
        }
    images_backward(dweight, c, &m);
}

void conv_weight_grad(real *dweight, const struct conv *c, const real *dy, size_t dy_step, const real *x,
                      size_t x_step, int images) {
    for (int i = 0; i < images; i += c->samples) {
        struct images m = {.x = x, .dy = dy, .x_step = x_step, .dy_step = dy_step};
        m.count = least(images - i, c->samples);
        some_backward(dweight, c, m);
        x += (size_t)m.count * x_step;
        dy += (size_t)m.count * dy_step;
    }
}
