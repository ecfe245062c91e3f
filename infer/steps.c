/* Steps that are no sums of products, for one sample or for lanes of them side by side: the same operations in the same
 * order for each. Numbers are x[feature][lanes]. */
#include <math.h>
#include <string.h>

#include "infer/model.h"

/* --- element by element -------------------------------------------------------------------------------------------- */

static void activation(const struct tally_step *s, float *y, const float *x, size_t count) {
    switch (s->kind) {
    case FORMAT_AFFINE:
        for (size_t i = 0; i < count; i++) y[i] = (float)((double)s->scale * (double)x[i] + (double)s->shift);
        break;
    case FORMAT_RELU:
        for (size_t i = 0; i < count; i++) y[i] = x[i] > 0 ? x[i] : 0;
        break;
    case FORMAT_LEAKY_RELU:
        for (size_t i = 0; i < count; i++) y[i] = x[i] > 0 ? x[i] : (float)((double)s->scale * (double)x[i]);
        break;
    case FORMAT_GELU: /* x times the normal distribution function, by way of erfc(-x sqrt(1 / 2)) / 2 */
        for (size_t i = 0; i < count; i++)
            y[i] = (float)(x[i] * 0.5 * erfc(-(double)x[i] * 0.7071067811865476));
        break;
    case FORMAT_TANH:
        for (size_t i = 0; i < count; i++) y[i] = (float)tanh((double)x[i]);
        break;
    case FORMAT_SIGMOID:
        for (size_t i = 0; i < count; i++) y[i] = (float)(1 / (1 + exp(-(double)x[i])));
        break;
    case FORMAT_SILU:
        for (size_t i = 0; i < count; i++) y[i] = (float)((double)x[i] / (1 + exp(-(double)x[i])));
        break;
    default: /* flatten */
        if (y != x) memcpy(y, x, count * sizeof *y);
        break;
    }
}

static void batch_norm(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    size_t channels = s->from.dim[0], count = s->in / channels * lanes;
    for (size_t c = 0; c < channels; c++, x += count, y += count) {
        double factor = (double)s->factor[c], shift = (double)s->bias[c];
        for (size_t i = 0; i < count; i++) y[i] = (float)(factor * (double)x[i] + shift);
    }
}

static void positions_add(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    for (size_t i = 0; i < s->in; i++)
        for (size_t l = 0; l < lanes; l++) y[i * lanes + l] = x[i * lanes + l] + s->table[i];
}

/* --- by rows ------------------------------------------------------------------------------------------------------- */

/* Of one lane: numbers x[0], x[lanes] ... */
static void softmax_row(float *y, const float *x, size_t length, size_t lanes) {
    float most = x[0];
    double sum = 0;
    for (size_t i = 1; i < length; i++) most = x[i * lanes] > most ? x[i * lanes] : most;
    for (size_t i = 0; i < length; i++) sum += exp((double)(x[i * lanes] - most));
    for (size_t i = 0; i < length; i++) y[i * lanes] = (float)(exp((double)(x[i * lanes] - most)) / sum);
}

static void norm_row(const struct tally_step *s, float *y, const float *x, size_t length, size_t lanes) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < length && s->kind == FORMAT_LAYER_NORM; i++) mean += (double)x[i * lanes];
    mean /= (double)length;
    for (size_t i = 0; i < length; i++) {
        double away = (double)x[i * lanes] - mean;
        squares += away * away;
    }
    double inverse = 1 / sqrt(squares / (double)length + (double)s->scale);
    for (size_t i = 0; i < length; i++) {
        double value = ((double)x[i * lanes] - mean) * inverse;
        if (s->factor) value *= (double)s->factor[i];
        if (s->bias) value += (double)s->bias[i];
        y[i * lanes] = (float)value;
    }
}

static void rows_apply(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    size_t length = s->from.dim[s->from.rank - 1];
    for (size_t first = 0; first < s->in; first += length)
        for (size_t l = 0; l < lanes; l++) {
            size_t at = first * lanes + l;
            if (s->kind == FORMAT_SOFTMAX)
                softmax_row(y + at, x + at, length, lanes);
            else
                norm_row(s, y + at, x + at, length, lanes);
        }
}

/* --- windows ------------------------------------------------------------------------------------------------------- */

/* Of window o along a side, the elements first .. end-1 are inside, and the first of them lies at `at`. */
struct inside {
    size_t first, end, at;
};

static struct inside inside_of(const struct tally_step *s, int axis, size_t o) {
    size_t from = o * s->stride[axis], padding = s->padding[axis], side = s->from.dim[1 + axis];
    struct inside r;
    r.first = from < padding ? padding - from : 0;
    r.at = from + r.first - padding;
    r.end = side - r.at < s->size[axis] - r.first ? r.first + side - r.at : s->size[axis];
    return r;
}

static float share_of(const struct tally_step *s, size_t inside) {
    size_t count = s->form & FORMAT_COUNT_PAD ? (size_t)s->size[0] * s->size[1] : inside;
    return (float)(1.0 / (double)count);
}

/* One sample; the loops of window_apply have more to set up than to do. */
static float window_one(const struct tally_step *s, const float *x, size_t rows, size_t columns) {
    size_t width = s->from.dim[2];
    float most = -INFINITY, sum = 0;
    if (s->kind == FORMAT_MAX_POOL2D) {
        for (size_t i = 0; i < rows; i++, x += width)
            for (size_t j = 0; j < columns; j++) most = x[j] > most ? x[j] : most;
        return most;
    }
    for (size_t i = 0; i < rows; i++, x += width)
        for (size_t j = 0; j < columns; j++) sum += x[j];
    return sum * share_of(s, rows * columns);
}

static void window_apply(const struct tally_step *s, float *y, const float *plane, struct inside down,
                         struct inside across, size_t lanes) {
    size_t width = s->from.dim[2], rows = down.end - down.first, columns = across.end - across.first;
    const float *x = plane + (down.at * width + across.at) * lanes;
    int most = s->kind == FORMAT_MAX_POOL2D;
    if (lanes == 1) {
        *y = window_one(s, x, rows, columns);
        return;
    }
    for (size_t l = 0; l < lanes; l++) y[l] = most ? -INFINITY : 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            const float *at = x + (i * width + j) * lanes;
            if (most)
                for (size_t l = 0; l < lanes; l++) y[l] = at[l] > y[l] ? at[l] : y[l];
            else
                for (size_t l = 0; l < lanes; l++) y[l] += at[l];
        }
    if (most) return;
    float share = share_of(s, rows * columns);
    for (size_t l = 0; l < lanes; l++) y[l] *= share;
}

static void pool(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    size_t plane = s->from.dim[1] * s->from.dim[2] * lanes;
    for (size_t c = 0; c < s->from.dim[0]; c++, x += plane)
        for (size_t o = 0; o < s->shape.dim[1]; o++)
            for (size_t p = 0; p < s->shape.dim[2]; p++, y += lanes)
                window_apply(s, y, x, inside_of(s, 0, o), inside_of(s, 1, p), lanes);
}

static void global_pool(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    enum { STRIP = 16 };
    size_t plane = s->from.dim[1] * s->from.dim[2];
    for (size_t c = 0; c < s->from.dim[0]; c++, x += plane * lanes, y += lanes)
        for (size_t first = 0; first < lanes; first += STRIP) {
            size_t count = lanes - first < STRIP ? lanes - first : STRIP;
            double sum[STRIP] = {0};
            for (size_t i = 0; i < plane; i++)
                for (size_t l = 0; l < count; l++) sum[l] += (double)x[i * lanes + first + l];
            for (size_t l = 0; l < count; l++) y[first + l] = (float)(sum[l] / (double)plane);
        }
}

/* --- embedding ----------------------------------------------------------------------------------------------------- */

static void embedding(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    memset(y, 0, s->out * lanes * sizeof *y);
    for (size_t i = 0; i < s->in; i++, y += s->columns * lanes)
        for (size_t l = 0; l < lanes; l++) {
            float index = x[i * lanes + l];
            size_t row = index >= (float)s->rows ? s->rows - 1 : index >= 1 ? (size_t)index : 0;
            for (uint32_t k = s->lookup->start[row]; k < s->lookup->start[row + 1]; k++)
                y[s->lookup->entries[k].row * lanes + l] = s->lookup->entries[k].value;
        }
}

/* --- all ----------------------------------------------------------------------------------------------------------- */

void tally_step_apply(const struct tally_step *s, float *y, const float *x, const float *b, size_t lanes) {
    size_t in = s->in * lanes, out = s->out * lanes;
    switch (s->kind) {
    case FORMAT_BATCH_NORM:
        batch_norm(s, y, x, lanes);
        break;
    case FORMAT_POSITIONAL_EMBEDDING:
        positions_add(s, y, x, lanes);
        break;
    case FORMAT_SOFTMAX:
    case FORMAT_LAYER_NORM:
    case FORMAT_RMS_NORM:
        rows_apply(s, y, x, lanes);
        break;
    case FORMAT_K_WINNERS:
        tally_winners_apply(s, y, x, lanes);
        break;
    case FORMAT_MAX_POOL2D:
    case FORMAT_AVG_POOL2D:
        pool(s, y, x, lanes);
        break;
    case FORMAT_GLOBAL_AVG_POOL2D:
        global_pool(s, y, x, lanes);
        break;
    case FORMAT_ADD:
        for (size_t i = 0; i < out; i++) y[i] = x[i] + b[i];
        break;
    case FORMAT_CONCAT:
        memcpy(y, x, in * sizeof *y);
        memcpy(y + in, b, (out - in) * sizeof *y);
        break;
    case FORMAT_EMBEDDING:
        embedding(s, y, x, lanes);
        break;
    default:
        activation(s, y, x, in);
    }
}
