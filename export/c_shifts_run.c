// Networks by shifts and additions, run in 64 bits as the generated code does in 32. Contracts in c_shifts.h.
#include <string.h>

#include "export/c_shifts.h"

int64_t shift_right(int64_t v, int by) {
    if (by == 0) return v;
    return v < 0 ? -shift_right(-v, by) : ((v >> (by - 1)) + 1) >> 1;
}

int64_t shift_by(int64_t x, int code) {
    int s = code & SHIFT_MASK;
    if (x < 0) return -shift_by(-x, code);
    return s < SHIFT_RIGHT ? x << s : shift_right(x, s - SHIFT_RIGHT + 1);
}

// Where element (i, j) of window (o, p) lies in a plane of `image`, or -1: outside.
static long plane_at(const struct window *w, struct shape image, int o, int p, int i, int j) {
    int y = o * w->stride[0] - w->padding[0] + i * w->dilation[0];
    int x = p * w->stride[1] - w->padding[1] + j * w->dilation[1];
    if (y < 0 || y >= image.dim[1] || x < 0 || x >= image.dim[2]) return -1;
    return (long)y * image.dim[2] + x;
}

static size_t plane_of(struct shape s) {
    return shape_size(s) / (size_t)s.dim[0];
}

// The number that a row's column sees from window (o, p), NULL: outside.
static const int32_t *seen(const struct shift_layer *l, int row, int column, int o, int p, const int32_t *x) {
    if (!l->conv2d) return x + column;
    int kernel = l->window.size[0] * l->window.size[1], place = column % kernel, width = l->window.size[1];
    int channel = row / (l->rows / l->groups) * (l->columns / kernel) + column / kernel;
    long at = plane_at(&l->window, l->in, o, p, place / width, place % width);
    return at < 0 ? NULL : x + (size_t)channel * plane_of(l->in) + at;
}

static int32_t sum_run(const struct shift_layer *l, int row, int o, int p, const int32_t *x) {
    const uint8_t *code = l->code + (size_t)row * (size_t)l->columns * SHIFT_TERMS;
    int64_t sum = l->bias[row];
    for (size_t k = l->first[row]; k < l->first[row + 1]; k++) {
        uint32_t at = l->place[k];
        const int32_t *from = seen(l, row, (int)(at / SHIFT_TERMS), o, p, x);
        if (!from) continue;
        int64_t term = shift_by(*from, code[at]);
        sum += code[at] & SHIFT_MINUS ? -term : term;
        CHECK(sum >= -SHIFT_LIMIT && sum <= SHIFT_LIMIT, "shifts: row %d: a sum of %lld", row,
              (long long)sum);
    }
    if (l->relu && sum < 0) sum = 0;
    return (int32_t)shift_right(sum, l->out_shift);
}

static void pool_run(int32_t *y, const struct shift_layer *l, const int32_t *plane) {
    for (int o = 0; o < l->after.dim[1]; o++)
        for (int p = 0; p < l->after.dim[2]; p++, y++) {
            *y = INT32_MIN;
            for (int i = 0; i < l->pool.size[0]; i++)
                for (int j = 0; j < l->pool.size[1]; j++) {
                    long at = plane_at(&l->pool, l->out, o, p, i, j);
                    if (at >= 0 && plane[at] > *y) *y = plane[at];
                }
        }
}

// Frees x.
static int32_t *layer_run_new(const struct shift_layer *l, int32_t *x) {
    size_t plane = plane_of(l->out), after = l->pooled ? plane_of(l->after) : plane;
    int width = l->conv2d ? l->out.dim[2] : 1;
    int32_t *y = mem_new((size_t)l->rows * after, sizeof *y), *sums = mem_new(plane, sizeof *sums);
    for (int row = 0; row < l->rows; row++) {
        for (int i = 0; i < (int)plane; i++) sums[i] = sum_run(l, row, i / width, i % width, x);
        if (l->pooled)
            pool_run(y + (size_t)row * after, l, sums);
        else
            memcpy(y + (size_t)row * after, sums, plane * sizeof *y);
    }
    mem_free(sums);
    mem_free(x);
    return y;
}

void shifts_run(const struct shifts *s, const uint8_t *x, int32_t *y) {
    const struct shift_layer *last = &s->layers[s->count - 1];
    size_t in = shape_size(s->layers[0].in);
    int32_t *now = mem_new(in, sizeof *now);
    for (size_t j = 0; j < in; j++) now[j] = x[j];
    for (int i = 0; i < s->count; i++) now = layer_run_new(&s->layers[i], now);
    memcpy(y, now, shape_size(last->pooled ? last->after : last->out) * sizeof *y);
    mem_free(now);
}
