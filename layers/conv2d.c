// conv2d: images (C, height, width) convolved with weight (out, C / groups, kh, kw), + bias (out).
// Initial weights as in layers/init.h, where a unit reads C / groups · kh · kw numbers and, as PyTorch counts, a
// number is read by out · kh · kw units; the bias starts at 0.
#include <limits.h>

#include "layers/init.h"
#include "layers/sliding.h"
#include "src/conv.h"

struct conv2d {
    struct sliding sliding;
    int64_t out, groups;
    bool bias;
    int init;
};

enum { WEIGHT, BIAS };

static const struct field fields[] = {
    {"out", FIELD_INT, offsetof(struct conv2d, out), 0, 1, 1 << 20, NULL, "channels; must be given"},
    SLIDING_FIELD(conv2d, kernel_size, "of the kernel: one number or [down, across]; must be given"),
    SLIDING_FIELD(conv2d, stride, "from window to window, one number or [down, across]; default 1"),
    SLIDING_FIELD(conv2d, padding, "zeros on each side, one number or [down, across]; default 0"),
    SLIDING_FIELD(conv2d, dilation, "between a window's numbers, one number or [down, across]; default 1"),
    {"groups", FIELD_INT, offsetof(struct conv2d, groups), 1, 1, 1 << 20, NULL,
     "parts of the channels that don't see each other"},
    {"bias", FIELD_BOOL, offsetof(struct conv2d, bias), 1, 0, 1, NULL, "adds a bias"},
    {"init", FIELD_CHOICE, offsetof(struct conv2d, init), INIT_KAIMING, 0, 0, INIT_WORDS, "initial weights"},
    FIELD_END};

static int conv2d_build(struct layer *l, struct params *ps, struct err *e) {
    const struct conv2d *config = l->config;
    if (config->out == 0) return err_set(e, "%s.out: must be given", l->path);
    if (sliding_build(l, 1, e) != 0) return -1;
    int out = (int)config->out, groups = (int)config->groups, channels = l->in.dim[0];
    if (channels % groups != 0)
        return err_set(e, "%s.groups: %d channels don't make %d groups", l->path, channels, groups);
    if (out % groups != 0)
        return err_set(e, "%s.groups: %d outputs don't make %d groups", l->path, out, groups);
    const int *size = config->sliding.window.size;
    double kernel = (double)size[0] * size[1], reads = channels / groups * kernel;
    if (out * reads > INT_MAX)
        return err_set(e, "%s: a weight of %.0f numbers, at most %d", l->path, out * reads, INT_MAX);
    l->out.dim[0] = out;
    double results = (double)out * l->out.dim[1] * l->out.dim[2];
    if (results > INT_MAX)
        return err_set(e, "%s: %.0f numbers per sample, at most %d", l->path, results, INT_MAX);
    struct shape shape = {4, {out, channels / groups, size[0], size[1]}};
    double bound = init_bound(config->init, reads, out * kernel);
    l->param[WEIGHT] = layer_add_param(l, ps, "weight", shape, bound, 0);
    l->param[BIAS] = config->bias ? layer_add_param(l, ps, "bias", shape_1(out), 0, 0) : -1;
    return 0;
}

static struct tensor *conv2d_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct conv2d *config = l->config;
    struct tensor *weight = tape_param(t, l->param[WEIGHT]);
    struct tensor *bias = l->param[BIAS] >= 0 ? tape_param(t, l->param[BIAS]) : NULL;
    return op_conv2d(t, x, weight, bias, &config->sliding.window, (int)config->groups);
}

// Besides the outputs the columns of a chunk, forward and backward (src/ops/conv2d.c), and what src/conv.h takes.
static double conv2d_step_numbers(const struct layer *l, double samples) {
    const struct conv2d *config = l->config;
    const struct window *w = &config->sliding.window;
    int groups = (int)config->groups, planes = l->in.dim[0] / groups;
    double depth = (double)planes * w->size[0] * w->size[1];
    double step = samples * 3 * (double)shape_size(l->out) +
                  2 * (CONV2D_CHUNK + depth * (CONV2D_COLUMNS + l->out.dim[2]));
    struct patch p = {planes, l->in.dim[1], l->in.dim[2], 0, l->out.dim[1], l->out.dim[2]};
    int out = (int)config->out / groups;
    return conv_fits(w, &p, out) ? step + conv_plan_numbers(w, &p, out) : step;
}

const struct layer_type conv2d_layer = {.name = "conv2d",
                                        .help = "images convolved with kernels, + bias",
                                        .fields = fields,
                                        .config_size = sizeof(struct conv2d),
                                        .build = conv2d_build,
                                        .forward = conv2d_forward,
                                        .write = sliding_write,
                                        .step_numbers = conv2d_step_numbers};
