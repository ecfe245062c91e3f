// linear: y = x · weightᵀ + bias, weight (out, in), bias (out); x (in), or (T, in), position by position.
// Initial weights as in layers/init.h; the bias starts at 0.
#include "layers/init.h"
#include "layers/model.h"

struct linear {
    int64_t out;
    bool bias;
    int init;
};

enum { WEIGHT, BIAS };

static const struct field fields[] = {
    {"out", FIELD_INT, offsetof(struct linear, out), 0, 1, 1 << 20, NULL,
     "outputs per sample; must be given"},
    {"bias", FIELD_BOOL, offsetof(struct linear, bias), 1, 0, 1, NULL, "adds a bias"},
    {"init", FIELD_CHOICE, offsetof(struct linear, init), INIT_KAIMING, 0, 0, INIT_WORDS, "initial weights"},
    FIELD_END};

static int linear_build(struct layer *l, struct params *ps, struct err *e) {
    const struct linear *config = l->config;
    char text[SHAPE_TEXT];
    if (config->out == 0) return err_set(e, "%s.out: must be given", l->path);
    if (l->in.rank != 1 && l->in.rank != 2)
        return err_set(e, "%s: wants samples of one or two dimensions, gets %s; put \"flatten\" before it",
                       l->path, shape_text(text, l->in));
    int last = l->in.rank - 1, in = l->in.dim[last], out = (int)config->out;
    l->out = l->in;
    l->out.dim[last] = out;
    l->param[WEIGHT] = layer_add_matrix(l, ps, "weight", out, in, config->init);
    l->param[BIAS] = config->bias ? layer_add_param(l, ps, "bias", shape_1(out), 0, 0) : -1;
    return 0;
}

static struct tensor *linear_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    struct tensor *bias = l->param[BIAS] >= 0 ? tape_param(t, l->param[BIAS]) : NULL;
    return op_linear(t, x, tape_param(t, l->param[WEIGHT]), bias);
}

const struct layer_type linear_layer = {.name = "linear",
                                        .help = "x * weight transposed + bias",
                                        .fields = fields,
                                        .config_size = sizeof(struct linear),
                                        .build = linear_build,
                                        .forward = linear_forward};
