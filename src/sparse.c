// Sparse matrices that train. Contracts in sparse.h.
//
// The loops over lanes have a constant number of them, 64, 32 or 16, and no loop over entries right around them: so the
// compiler makes vectors of them for each instruction set. Sums are in a fixed order: of a row's products in fours, of
// a dot product lane by lane.
#include "src/sparse.h"

#include <string.h>

// TILE: features that are turned together. SUM: lanes that a dot product is kept in; WAIT: dot products that wait in this
// form, to be summed up together.
enum { LANES = 64, TILE = 16, SUM = 16, WAIT = 32 };

// --- the list
// -----------------------------------------------------------------------------------------------------

// A side of which count[i] numbers live in row (or column) i; count[i] becomes the index in `at`.
static void side_open(struct sparse_side *side, int size, uint32_t *count, size_t live, bool in_order) {
    side->size = size;
    for (int i = 0; i < size; i++) side->count += count[i] > 0;
    side->at = mem_new((size_t)side->count, sizeof *side->at);
    side->first = mem_new((size_t)side->count + 1, sizeof *side->first);
    side->other = mem_new(live, sizeof *side->other);
    side->entry = in_order ? NULL : mem_new(live, sizeof *side->entry);
    for (int i = 0, k = 0; i < size; i++) {
        if (!count[i]) continue;
        side->at[k] = i;
        side->first[k + 1] = side->first[k] + count[i];
        count[i] = (uint32_t)k++;
    }
}

static void side_close(struct sparse_side *side) {
    mem_free(side->at);
    mem_free(side->first);
    mem_free(side->other);
    mem_free(side->entry);
}

struct sparse *sparse_new(const uint8_t *alive, int rows, int columns) {
    struct sparse *s = mem_new(1, sizeof *s);
    uint32_t *in_row = mem_new((size_t)rows, sizeof *in_row);
    uint32_t *in_column = mem_new((size_t)columns, sizeof *in_column);
    const uint8_t *line = alive;
    for (int r = 0; r < rows; r++, line += columns)
        for (int c = 0; c < columns; c++) in_row[r] += line[c] != 0, in_column[c] += line[c] != 0;
    for (int r = 0; r < rows; r++) s->live += in_row[r];
    CHECK(s->live <= INT32_MAX, "sparse: %zu living numbers", s->live);
    side_open(&s->rows, rows, in_row, s->live, true);
    side_open(&s->columns, columns, in_column, s->live, false);
    uint32_t *next = mem_new((size_t)s->columns.count, sizeof *next), k = 0;
    memcpy(next, s->columns.first, (size_t)s->columns.count * sizeof *next);
    for (int i = 0; i < s->rows.count; i++) {
        line = alive + (size_t)s->rows.at[i] * (size_t)columns;
        for (int c = 0; c < columns; c++) {
            if (!line[c]) continue;
            uint32_t at = next[in_column[c]]++;
            s->columns.other[at] = (uint32_t)i;
            s->columns.entry[at] = k;
            s->rows.other[k++] = in_column[c];
        }
    }
    mem_free(next);
    mem_free(in_row);
    mem_free(in_column);
    return s;
}

void sparse_free(struct sparse *s) {
    if (!s) return;
    side_close(&s->rows);
    side_close(&s->columns);
    mem_free(s);
}

// Where the entry of the i-th living row is in the matrix.
static size_t place(const struct sparse *s, int i, uint32_t entry) {
    return (size_t)s->rows.at[i] * (size_t)s->columns.size + (size_t)s->columns.at[s->rows.other[entry]];
}

void sparse_pack(void *numbers, size_t bytes, const struct sparse *s) {
    char *at = numbers;
    for (int i = 0; i < s->rows.count; i++)
        for (uint32_t k = s->rows.first[i]; k < s->rows.first[i + 1]; k++)
            memmove(at + k * bytes, at + place(s, i, k) * bytes, bytes); // k is never behind its place
}

void sparse_unpack(void *numbers, size_t bytes, const struct sparse *s) {
    char *at = numbers, *packed = mem_new(s->live, bytes);
    memcpy(packed, at, s->live * bytes);
    memset(at, 0, (size_t)s->rows.size * (size_t)s->columns.size * bytes);
    for (int i = 0; i < s->rows.count; i++)
        for (uint32_t k = s->rows.first[i]; k < s->rows.first[i + 1]; k++)
            memcpy(at + place(s, i, k) * bytes, packed + k * bytes, bytes);
    mem_free(packed);
}

// --- turning
// ------------------------------------------------------------------------------------------------------

// Lanes of a portion when so many samples are left.
static size_t width_of(size_t left) {
    return left > LANES / 2 ? LANES : left > LANES / 4 ? LANES / 2 : LANES / 4;
}

size_t sparse_room(const struct sparse_side *side, size_t samples) {
    size_t rest = samples % LANES, lanes = samples - rest + (rest ? width_of(rest) : 0);
    return (size_t)side->count * lanes;
}

// A tile of features at a time, so that the lines that it writes stay in the first cache; four samples at a time, which
// the compiler makes a vector.
VECTOR_CLONES static void portion_turn(real *restrict to, const struct sparse_side *side,
                                       const real *restrict x, size_t samples, size_t width) {
    size_t size = (size_t)side->size;
    for (int i = 0; i < side->count; i += TILE, to += TILE * width) {
        const int *restrict at = side->at + i;
        int features = side->count - i < TILE ? side->count - i : TILE;
        size_t l = 0;
        for (; l + 4 <= samples; l += 4) {
            const real *restrict from = x + l * size;
            for (int j = 0; j < features; j++) {
                const real *restrict one = from + at[j];
                const real four[4] = {one[0], one[size], one[2 * size], one[3 * size]};
                memcpy(to + (size_t)j * width + l, four, sizeof four);
            }
        }
        for (int j = 0; j < features; j++) {
            for (size_t k = l; k < samples; k++) to[(size_t)j * width + k] = x[k * size + (size_t)at[j]];
            for (size_t k = samples; k < width; k++) to[(size_t)j * width + k] = 0;
        }
    }
}

// All of TILE neighbours.
ALWAYS_INLINE void tile_turn_back(real *restrict x, const real *restrict from, size_t samples, size_t width,
                                  size_t size) {
    for (size_t l = 0; l < samples; l++, x += size, from++)
        for (size_t j = 0; j < TILE; j++) x[j] += from[j * width];
}

VECTOR_CLONES static void portion_turn_back(real *restrict x, const struct sparse_side *side,
                                            const real *restrict from, size_t samples, size_t width) {
    size_t size = (size_t)side->size;
    for (int i = 0; i < side->count; i += TILE, from += TILE * width) {
        const int *restrict at = side->at + i;
        int features = side->count - i < TILE ? side->count - i : TILE;
        if (features == TILE && at[TILE - 1] == at[0] + TILE - 1) {
            if (width == LANES)
                tile_turn_back(x + at[0], from, samples, LANES, size);
            else
                tile_turn_back(x + at[0], from, samples, width, size);
            continue;
        }
        for (size_t l = 0; l < samples; l++)
            for (int j = 0; j < features; j++) x[l * size + (size_t)at[j]] += from[(size_t)j * width + l];
    }
}

void sparse_turn(real *turned, const struct sparse_side *side, const real *x, size_t samples) {
    for (size_t done = 0; done < samples; done += LANES) {
        size_t left = samples - done, lanes = left < LANES ? left : LANES;
        portion_turn(turned + done * (size_t)side->count, side, x + done * (size_t)side->size, lanes,
                     width_of(left));
    }
}

void sparse_turn_back(real *x, const struct sparse_side *side, const real *turned, size_t samples) {
    for (size_t done = 0; done < samples; done += LANES) {
        size_t left = samples - done, lanes = left < LANES ? left : LANES;
        portion_turn_back(x + done * (size_t)side->size, side, turned + done * (size_t)side->count, lanes,
                          width_of(left));
    }
}

// --- multiplying
// ----------------------------------------------------------------------------------------------

// y += the sum of w[k] · x[k], k < 4, all lanes.
ALWAYS_INLINE void four_add(real *restrict y, const real w[4], const real *const x[4], size_t width) {
    real w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    const real *restrict x0 = x[0], *restrict x1 = x[1], *restrict x2 = x[2], *restrict x3 = x[3];
    for (size_t l = 0; l < width; l++) y[l] += (w0 * x0[l] + w1 * x1[l]) + (w2 * x2[l] + w3 * x3[l]);
}

ALWAYS_INLINE void side_multiply(real *restrict y, const struct sparse_side *side, const real *value,
                                 const real *x, size_t width) {
    const uint32_t *other = side->other, *entry = side->entry;
    for (int i = 0; i < side->count; i++, y += width) {
        for (size_t l = 0; l < width; l++) y[l] = 0;
        for (uint32_t k = side->first[i], end = side->first[i + 1]; k < end; k += 4) {
            real w[4];
            const real *from[4];
            for (uint32_t j = 0; j < 4; j++) {
                uint32_t at = k + j < end ? k + j : k; // the last four may be fewer: then with weights of 0
                w[j] = k + j < end ? value[entry ? entry[at] : at] : 0;
                from[j] = x + other[at] * width;
            }
            four_add(y, w, from, width);
        }
    }
}

VECTOR_CLONES static void portion_multiply(real *y, const struct sparse_side *side, const real *value,
                                           const real *x, size_t width) {
    if (width == LANES)
        side_multiply(y, side, value, x, LANES);
    else if (width == LANES / 2)
        side_multiply(y, side, value, x, LANES / 2);
    else
        side_multiply(y, side, value, x, LANES / 4);
}

static void multiply(real *to, const struct sparse_side *side, const struct sparse_side *other,
                     const real *value, const real *from, size_t samples) {
    for (size_t done = 0; done < samples; done += LANES)
        portion_multiply(to + done * (size_t)side->count, side, value, from + done * (size_t)other->count,
                         width_of(samples - done));
}

void sparse_multiply(real *y, const struct sparse *s, const real *value, const real *x, size_t samples) {
    multiply(y, &s->rows, &s->columns, value, x, samples);
}

void sparse_multiply_back(real *x, const struct sparse *s, const real *value, const real *y, size_t samples) {
    multiply(x, &s->columns, &s->rows, value, y, samples);
}

// --- the gradient of the weights
// ----------------------------------------------------------------------------------

// grad[k] += the sum of the lanes of sums[k], k < count; sums is [WAIT][SUM].
ALWAYS_INLINE void sums_add(real *restrict grad, const real *restrict sums, uint32_t count) {
    real half[WAIT * SUM / 2], quarter[WAIT * SUM / 4];
    for (int k = 0; k < WAIT; k++)
        for (int l = 0; l < SUM / 2; l++)
            half[k * SUM / 2 + l] = sums[k * SUM + l] + sums[k * SUM + l + SUM / 2];
    for (int k = 0; k < WAIT; k++)
        for (int l = 0; l < SUM / 4; l++)
            quarter[k * SUM / 4 + l] = half[k * SUM / 2 + l] + half[k * SUM / 2 + l + SUM / 4];
    for (uint32_t k = 0; k < count; k++)
        grad[k] += (quarter[4 * k] + quarter[4 * k + 2]) + (quarter[4 * k + 1] + quarter[4 * k + 3]);
}

// sum[l] = the sum of y · x over the lanes l, l + SUM, l + 2 SUM ...
ALWAYS_INLINE void products_sum(real *restrict sum, const real *restrict y, const real *restrict x,
                                size_t width) {
    if (width == LANES)
        for (size_t l = 0; l < SUM; l++)
            sum[l] = (y[l] * x[l] + y[l + SUM] * x[l + SUM]) +
                     (y[l + 2 * SUM] * x[l + 2 * SUM] + y[l + 3 * SUM] * x[l + 3 * SUM]);
    else if (width == LANES / 2)
        for (size_t l = 0; l < SUM; l++) sum[l] = y[l] * x[l] + y[l + SUM] * x[l + SUM];
    else
        for (size_t l = 0; l < SUM; l++) sum[l] = y[l] * x[l];
}

ALWAYS_INLINE void rows_outer(real *restrict grad, const struct sparse_side *rows, const real *restrict y,
                              const real *restrict x, size_t width) {
    real sums[WAIT * SUM] = {0};
    uint32_t done = 0;
    for (int i = 0; i < rows->count; i++, y += width)
        for (uint32_t k = rows->first[i]; k < rows->first[i + 1]; k++) {
            const real *restrict at = x + rows->other[k] * width;
            real *restrict sum = sums + (k - done) * SUM;
            products_sum(sum, y, at, width);
            if (k - done < WAIT - 1) continue;
            sums_add(grad + done, sums, WAIT);
            done = k + 1;
        }
    sums_add(grad + done, sums, rows->first[rows->count] - done);
}

VECTOR_CLONES static void portion_outer(real *grad, const struct sparse_side *rows, const real *y,
                                        const real *x, size_t width) {
    if (width == LANES)
        rows_outer(grad, rows, y, x, LANES);
    else if (width == LANES / 2)
        rows_outer(grad, rows, y, x, LANES / 2);
    else
        rows_outer(grad, rows, y, x, LANES / 4);
}

void sparse_outer(real *grad, const struct sparse *s, const real *y, const real *x, size_t samples) {
    for (size_t done = 0; done < samples; done += LANES)
        portion_outer(grad, &s->rows, y + done * (size_t)s->rows.count, x + done * (size_t)s->columns.count,
                      width_of(samples - done));
}
