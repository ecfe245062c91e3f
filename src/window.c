// Windows that slide over images. Contracts in window.h.
#include "src/window.h"

#include <string.h>

enum { LANES = 8 };

int64_t window_reach(const struct window *w, int axis) {
    return (int64_t)w->dilation[axis] * (w->size[axis] - 1) + 1;
}

int window_count(const struct window *w, int axis, int length) {
    int64_t room = length + 2 * (int64_t)w->padding[axis] - window_reach(w, axis);
    return room < 0 ? 0 : (int)(room / w->stride[axis]) + 1;
}

// a / b, both at least 0; a division costs as much as copying a row, and the usual b is 1.
static inline int divide(int a, int b) {
    return b == 1 ? a : a / b;
}

struct window_range window_range(const struct window *w, int axis, int k, int length, int count) {
    int stride = w->stride[axis], offset = k * w->dilation[axis] - w->padding[axis];
    int first = offset < 0 ? divide(-offset + stride - 1, stride) : 0;
    int end = offset < length ? divide(length - 1 - offset, stride) + 1 : 0;
    if (end > count) end = count;
    if (first >= end) return (struct window_range){0, 0, 0};
    return (struct window_range){first, end, first * stride + offset};
}

// Rows are short, and a call of memcpy for each costs more than the copy: so by fixed pieces, of which the last may
// copy again what the one before it has.
static inline void row_copy(real *restrict to, const real *restrict from, size_t n) {
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) memcpy(to + k, from + k, LANES * sizeof *to);
    if (k == n) return;
    if (n > LANES) {
        memcpy(to + n - LANES, from + n - LANES, LANES * sizeof *to);
    } else if (n >= LANES / 2) {
        memcpy(to, from, LANES / 2 * sizeof *to);
        memcpy(to + n - LANES / 2, from + n - LANES / 2, LANES / 2 * sizeof *to);
    } else {
        for (; k < n; k++) to[k] = from[k];
    }
}

static inline void row_add(real *restrict to, const real *restrict from, size_t n) {
    for (; n >= LANES; n -= LANES, to += LANES, from += LANES)
        for (int k = 0; k < LANES; k++) to[k] += from[k];
    if (n >= LANES / 2) {
        for (int k = 0; k < LANES / 2; k++) to[k] += from[k];
        n -= LANES / 2, to += LANES / 2, from += LANES / 2;
    }
    for (size_t k = 0; k < n; k++) to[k] += from[k];
}

// `rows` rows of n numbers, which lie `pitch` and `jump` apart: copied, or added. The usual n are constants to the
// compiler. Functions of their own, since it must also know that their arguments are apart.
#define ROWS(row, length) \
    for (size_t o = 0; o < rows; o++) row(to + o * pitch, from + o * jump, length)

VECTOR_CLONES static void rows_copy(real *restrict to, size_t pitch, const real *restrict from, size_t jump,
                                    size_t rows, size_t n) {
    if (n == 8)
        ROWS(row_copy, 8);
    else if (n == 16)
        ROWS(row_copy, 16);
    else if (n == 24)
        ROWS(row_copy, 24);
    else if (n == 32)
        ROWS(row_copy, 32);
    else
        ROWS(row_copy, n);
}

VECTOR_CLONES static void rows_add(real *restrict to, size_t pitch, const real *restrict from, size_t jump,
                                   size_t rows, size_t n) {
    if (n == 8)
        ROWS(row_add, 8);
    else if (n == 16)
        ROWS(row_add, 16);
    else if (n == 24)
        ROWS(row_add, 24);
    else if (n == 32)
        ROWS(row_add, 32);
    else
        ROWS(row_add, n);
}

// Of the patch's rows of windows, counted from its first, those that have their element i inside the image.
static inline struct window_range rows_of(const struct window *w, const struct patch *p, int i) {
    struct window_range v = window_range(w, 0, i, p->height, p->first + p->rows);
    if (v.first < p->first) v.at += (p->first - v.first) * w->stride[0], v.first = p->first;
    if (v.first >= v.end) return (struct window_range){0, 0, 0};
    return (struct window_range){v.first - p->first, v.end - p->first, v.at};
}

// One row of the matrix: h and v are the windows whose element lies inside.
static inline void row_gather(real *to, const struct window *w, const struct patch *p, struct window_range v,
                              struct window_range h, const real *plane) {
    size_t across = (size_t)p->across;
    int step = w->stride[1], n = h.end - h.first;
    if (n == 0) v.end = v.first;
    if (v.first > 0) memset(to, 0, (size_t)v.first * across * sizeof *to);
    if (v.end < p->rows)
        memset(to + (size_t)v.end * across, 0, (size_t)(p->rows - v.end) * across * sizeof *to);
    for (int o = v.first; o < v.end && n < p->across; o++) {
        for (int k = 0; k < h.first; k++) to[(size_t)o * across + (size_t)k] = 0;
        for (int k = h.end; k < p->across; k++) to[(size_t)o * across + (size_t)k] = 0;
    }
    size_t jump = (size_t)w->stride[0] * (size_t)p->width, rows = (size_t)(v.end - v.first);
    const real *from = plane + (size_t)v.at * (size_t)p->width + h.at;
    real *first = to + (size_t)v.first * across + h.first;
    if (step == 1) rows_copy(first, across, from, jump, rows, (size_t)n);
    for (size_t o = 0; o < rows && step != 1; o++)
        for (int k = 0; k < n; k++) first[o * across + (size_t)k] = from[o * jump + (size_t)(k * step)];
}

VECTOR_CLONES void window_gather(real *columns, size_t stride, const struct window *w, const struct patch *p,
                                 const real *image) {
    size_t plane = (size_t)p->height * (size_t)p->width;
    for (int c = 0; c < p->planes; c++, image += plane)
        for (int i = 0; i < w->size[0]; i++) {
            struct window_range v = rows_of(w, p, i);
            for (int j = 0; j < w->size[1]; j++, columns += stride)
                row_gather(columns, w, p, v, window_range(w, 1, j, p->width, p->across), image);
        }
}

static inline void row_scatter(real *plane, const struct window *w, const struct patch *p,
                               struct window_range v, struct window_range h, const real *from) {
    int step = w->stride[1], n = h.end - h.first;
    size_t across = (size_t)p->across;
    if (n == 0 || v.first == v.end) return;
    size_t jump = (size_t)w->stride[0] * (size_t)p->width, rows = (size_t)(v.end - v.first);
    real *to = plane + (size_t)v.at * (size_t)p->width + h.at;
    const real *first = from + (size_t)v.first * across + h.first;
    if (step == 1) rows_add(to, jump, first, across, rows, (size_t)n);
    for (size_t o = 0; o < rows && step != 1; o++)
        for (int k = 0; k < n; k++) to[o * jump + (size_t)(k * step)] += first[o * across + (size_t)k];
}

// By columns of the window: then a row of the image is added to at the same place again and again, which the processor
// forwards from its last stores; a place one number further would have to wait for them.
VECTOR_CLONES void window_scatter(real *image, const struct window *w, const struct patch *p,
                                  const real *columns, size_t stride) {
    size_t plane = (size_t)p->height * (size_t)p->width, size = (size_t)w->size[0] * (size_t)w->size[1];
    for (int c = 0; c < p->planes; c++, image += plane, columns += size * stride)
        for (int j = 0; j < w->size[1]; j++) {
            struct window_range h = window_range(w, 1, j, p->width, p->across);
            const real *from = columns + (size_t)j * stride;
            for (int i = 0; i < w->size[0]; i++, from += (size_t)w->size[1] * stride)
                row_scatter(image, w, p, rows_of(w, p, i), h, from);
        }
}
