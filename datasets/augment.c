// Augmentation. Contracts in augment.h.
#include "datasets/augment.h"

const struct field augment_fields[] = {
    {"shift", FIELD_INT, offsetof(struct augment, shift), 0, 0, 64, NULL,
     "images are moved by up to so many pixels, down and across; black comes in"},
    {"flip", FIELD_BOOL, offsetof(struct augment, flip), 0, 0, 1, NULL,
     "half of the images are mirrored, left to right"},
    FIELD_END};

bool augment_acts(const struct augment *a) {
    return a->shift > 0 || a->flip;
}

int augment_check(const struct augment *a, const struct dataset *d, const char *path, struct err *e) {
    char text[SHAPE_TEXT];
    if (!augment_acts(a)) return 0;
    if (d->kind != DATA_IMAGES || d->sample.rank < 2)
        return err_set(e, "%s: wants images, the data set has %s of %s", path, data_kind_name(d->kind),
                       shape_text(text, d->sample));
    const int *side = d->sample.dim + d->sample.rank - 2;
    int shorter = side[0] < side[1] ? side[0] : side[1];
    if (a->shift >= shorter)
        return err_set(e, "%s.shift: %d pixels leave nothing of %dx%d", path, (int)a->shift, side[1],
                       side[0]);
    return 0;
}

// A row of `width` pixels moved by `across` and, where asked for, mirrored before that.
static void row_copy(real *x, const uint8_t *pixels, int width, int across, bool mirrored,
                     const real level[256]) {
    int first = across > 0 ? across : 0, last = across < 0 ? width + across : width;
    for (int i = 0; i < first; i++) x[i] = level[0];
    for (int i = last; i < width; i++) x[i] = level[0];
    if (mirrored)
        for (int i = first; i < last; i++) x[i] = level[pixels[width - 1 - (i - across)]];
    else
        for (int i = first; i < last; i++) x[i] = level[pixels[i - across]];
}

void augment_copy(real *x, const struct augment *a, const uint8_t *pixels, struct shape sample,
                  const real level[256], struct rng r) {
    int height = sample.dim[sample.rank - 2], width = sample.dim[sample.rank - 1], shift = (int)a->shift;
    size_t plane = (size_t)height * (size_t)width, planes = shape_size(sample) / plane;
    int down = shift ? (int)rng_below(&r, (uint32_t)(2 * shift + 1)) - shift : 0;
    int across = shift ? (int)rng_below(&r, (uint32_t)(2 * shift + 1)) - shift : 0;
    bool mirrored = a->flip && (rng_u32(&r) & 1);
    for (size_t p = 0; p < planes; p++, x += plane, pixels += plane)
        for (int y = 0; y < height; y++) {
            real *row = x + (size_t)y * (size_t)width;
            bool black = y - down < 0 || y - down >= height;
            for (int i = 0; black && i < width; i++) row[i] = level[0];
            if (!black) row_copy(row, pixels + (ptrdiff_t)(y - down) * width, width, across, mirrored, level);
        }
}
