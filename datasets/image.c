// Images. Contracts in image.h.
#include "datasets/image.h"

#include <math.h>
#include <string.h>

void image_planes(uint8_t *planes, const uint8_t *pixels, size_t area, size_t channels) {
    for (size_t i = 0; i < area; i++)
        for (size_t c = 0; c < channels; c++) planes[c * area + i] = pixels[i * channels + c];
}

void image_pixels(uint8_t *pixels, const uint8_t *planes, size_t area, size_t channels) {
    for (size_t i = 0; i < area; i++)
        for (size_t c = 0; c < channels; c++) pixels[i * channels + c] = planes[c * area + i];
}

// A new pixel along one side is the sum of weight[k] · old pixel [first + k], k < count.
struct tap {
    int first, count;
    float *weight; // into the block of all
};

// The taps of a side, and their block of weights, which comes first; mem_free both.
static struct tap *taps_new(float **block, int to, int from) {
    double scale = (double)from / to;
    int most = scale > 1 ? (int)ceil(scale) + 1 : 2;
    struct tap *taps = mem_new((size_t)to, sizeof *taps);
    *block = mem_new((size_t)to, (size_t)most * sizeof **block);
    for (int i = 0; i < to; i++) {
        struct tap *t = &taps[i];
        t->weight = *block + (size_t)i * (size_t)most;
        if (scale > 1) {
            double begin = i * scale, end = (i + 1) * scale;
            t->first = (int)begin;
            for (int j = t->first; j < from && j < end && t->count < most; j++) {
                double share = fmin(end, j + 1) - fmax(begin, j);
                t->weight[t->count++] = (float)(share / scale);
            }
        } else {
            double centre = fmin(fmax((i + 0.5) * scale - 0.5, 0), from - 1);
            t->first = (int)centre;
            t->count = t->first + 1 < from ? 2 : 1;
            t->weight[0] = t->count == 2 ? (float)(1 - (centre - t->first)) : 1;
            t->weight[1] = t->count == 2 ? (float)(centre - t->first) : 0;
        }
    }
    return taps;
}

void image_resize(uint8_t *to, int to_height, int to_width, const uint8_t *from, int height, int width,
                  int channels) {
    float *block[2], *rows = mem_new((size_t)height, (size_t)to_width * sizeof *rows);
    struct tap *down = taps_new(&block[0], to_height, height), *across = taps_new(&block[1], to_width, width);
    for (int c = 0; c < channels; c++) {
        for (int y = 0; y < height; y++)
            for (int x = 0; x < to_width; x++) {
                const struct tap *t = &across[x];
                const uint8_t *pixel =
                    from + ((size_t)c * (size_t)height + (size_t)y) * (size_t)width + t->first;
                float sum = 0;
                for (int k = 0; k < t->count; k++) sum += t->weight[k] * pixel[k];
                rows[(size_t)y * (size_t)to_width + (size_t)x] = sum;
            }
        for (int y = 0; y < to_height; y++)
            for (int x = 0; x < to_width; x++) {
                const struct tap *t = &down[y];
                float sum = 0;
                for (int k = 0; k < t->count; k++)
                    sum += t->weight[k] * rows[(size_t)(t->first + k) * (size_t)to_width + (size_t)x];
                to[((size_t)c * (size_t)to_height + (size_t)y) * (size_t)to_width + (size_t)x] =
                    (uint8_t)(fminf(fmaxf(sum, 0), 255) + 0.5f);
            }
    }
    mem_free(rows);
    for (int i = 0; i < 2; i++) mem_free(block[i]);
    mem_free(down);
    mem_free(across);
}
