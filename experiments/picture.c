// Weights as pictures and histograms. Contracts in picture.h.
#include "experiments/picture.h"

#include <math.h>
#include <string.h>

#include "datasets/io/png.h"

enum { TILES_LIMIT = 400, SIDE_LIMIT = 4096, KERNEL_ZOOM = 4, CHANNELS = 3 };
static const double HISTOGRAM_FIRST = -8, HISTOGRAM_STEP = 0.25;

double histogram_low(int bin) {
    return HISTOGRAM_FIRST + bin * HISTOGRAM_STEP;
}

struct histogram histogram_make(const struct param *p) {
    struct histogram h = {0};
    for (size_t i = 0; i < p->size; i++) {
        double size = fabs((double)p->value[i]);
        if (size == 0) {
            h.zeros++;
            continue;
        }
        double bin = floor((log10(size) - HISTOGRAM_FIRST) / HISTOGRAM_STEP);
        h.count[bin < 0 ? 0 : bin < HISTOGRAM_BINS ? (int)bin : HISTOGRAM_BINS - 1]++; // NaN is the last
    }
    return h;
}

struct json *histogram_write_new(const struct params *ps) {
    struct json *root = json_object_new(), *bins = json_array_new(), *layers = json_object_new();
    for (int i = 0; i <= HISTOGRAM_BINS; i++) json_add_number(bins, NULL, histogram_low(i));
    for (int i = 0; i < ps->count; i++) {
        if (!param_is_weight(&ps->list[i])) continue;
        struct histogram h = histogram_make(&ps->list[i]);
        struct json *layer = json_object_new(), *counts = json_array_new();
        for (int b = 0; b < HISTOGRAM_BINS; b++) json_add_number(counts, NULL, (double)h.count[b]);
        json_add_number(layer, "zeros", (double)h.zeros);
        json_add(layer, "counts", counts);
        json_add(layers, ps->list[i].name, layer);
    }
    json_add_string(root, "what",
                    "weights by log10 abs(w); bins are edges, one more than counts; zeros apart");
    json_add(root, "bins", bins);
    json_add(root, "layers", layers);
    return root;
}

// The colour of w, largest being the largest finite magnitude; what is not finite is as bright.
static void pixel_paint(uint8_t rgb[CHANNELS], double w, double largest) {
    static const double positive[CHANNELS] = {255, 170, 60}, negative[CHANNELS] = {90, 170, 255}, zero = 18;
    double share = !isfinite(w) ? 1 : largest > 0 ? cbrt(fabs(w) / largest) : 0;
    for (int c = 0; c < CHANNELS; c++)
        rgb[c] = (uint8_t)(zero + ((w > 0 ? positive[c] : negative[c]) - zero) * share + 0.5);
}

// Tiles of weights, `across` in a row, a gap around each; a weight is a square of `zoom` pixels.
struct layout {
    int tiles, inputs, tile_height, tile_width, across, gap, zoom;
};

static struct layout layout_make(const struct param *p, struct shape sample) {
    bool kernels = p->shape.rank == 4;
    int outputs = p->shape.dim[0] * (kernels ? p->shape.dim[1] : 1),
        inputs = (int)(p->size / (size_t)outputs);
    bool image = sample.rank == 3 && sample.dim[0] == 1 && inputs == sample.dim[1] * sample.dim[2];
    struct layout l = {outputs, inputs, 1, inputs, 1, 0, 1};
    if (!image && !kernels) return l;
    l.tile_height = kernels ? p->shape.dim[2] : sample.dim[1];
    l.tile_width = kernels ? p->shape.dim[3] : sample.dim[2];
    if (l.tiles > TILES_LIMIT) l.tiles = TILES_LIMIT;
    l.across = (int)ceil(sqrt(l.tiles * 1.5));
    l.gap = 1;
    l.zoom = kernels ? KERNEL_ZOOM : 1;
    return l;
}

int picture_write(const struct params *ps, struct shape sample, const char *path, struct err *e) {
    const struct param *p = NULL;
    for (int i = ps->count - 1; i >= 0; i--)
        if (param_is_weight(&ps->list[i])) p = &ps->list[i];
    if (!p) return err_set(e, "%s: the model has no weights to draw", path);
    struct layout l = layout_make(p, sample);
    int step_across = l.tile_width * l.zoom + l.gap, step_down = l.tile_height * l.zoom + l.gap;
    int width = l.across * step_across + l.gap,
        height = (l.tiles + l.across - 1) / l.across * step_down + l.gap;
    if (width > SIDE_LIMIT) width = SIDE_LIMIT;
    if (height > SIDE_LIMIT) height = SIDE_LIMIT;
    double largest = 0;
    for (size_t i = 0; i < p->size; i++)
        if (isfinite(p->value[i])) largest = fmax(largest, fabs((double)p->value[i]));
    uint8_t *rgb = mem_new((size_t)width * (size_t)height, CHANNELS);
    memset(rgb, 60, (size_t)width * (size_t)height * CHANNELS);
    for (int tile = 0; tile < l.tiles; tile++)
        for (int i = 0; i < l.inputs; i++) {
            int left = l.gap + tile % l.across * step_across + i % l.tile_width * l.zoom;
            int top = l.gap + tile / l.across * step_down + i / l.tile_width * l.zoom;
            double w = (double)p->value[(size_t)tile * (size_t)l.inputs + (size_t)i];
            for (int y = top; y < top + l.zoom && y < height; y++)
                for (int x = left; x < left + l.zoom && x < width; x++)
                    pixel_paint(rgb + ((size_t)y * (size_t)width + (size_t)x) * CHANNELS, w, largest);
        }
    int result = png_write(path, width, height, CHANNELS, rgb, e);
    mem_free(rgb);
    return result;
}
