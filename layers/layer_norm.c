// layer_norm: mean 0 and variance 1 over the last dimension, then · weight + bias of that dimension's size,
// which start at 1 and 0. Options as torch.nn.LayerNorm.
#include "layers/model.h"

struct layer_norm {
    double eps;
    bool elementwise_affine, bias;
};

enum { WEIGHT, BIAS };

static const struct field fields[] = {
    {"eps", FIELD_REAL, offsetof(struct layer_norm, eps), 1e-5, 1e-12, 1, NULL, "added to the variance"},
    {"elementwise_affine", FIELD_BOOL, offsetof(struct layer_norm, elementwise_affine), 1, 0, 1, NULL,
     "has a weight, and a bias where wanted"},
    {"bias", FIELD_BOOL, offsetof(struct layer_norm, bias), 1, 0, 1, NULL, "with the weight a bias"},
    FIELD_END};

static int layer_norm_build(struct layer *l, struct params *ps, struct err *e) {
    (void)e;
    const struct layer_norm *config = l->config;
    struct shape last = shape_1(l->in.dim[l->in.rank - 1]);
    l->out = l->in;
    l->param[WEIGHT] = config->elementwise_affine ? layer_add_param(l, ps, "weight", last, 0, 1) : -1;
    bool bias = config->elementwise_affine && config->bias;
    l->param[BIAS] = bias ? layer_add_param(l, ps, "bias", last, 0, 0) : -1;
    return 0;
}

static struct tensor *layer_norm_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct layer_norm *config = l->config;
    struct tensor *weight = l->param[WEIGHT] >= 0 ? tape_param(t, l->param[WEIGHT]) : NULL;
    struct tensor *bias = l->param[BIAS] >= 0 ? tape_param(t, l->param[BIAS]) : NULL;
    return op_layer_norm(t, x, weight, bias, config->eps);
}

const struct layer_type layer_norm_layer = {.name = "layer_norm",
                                            .help = "mean 0 and variance 1 over the last dimension",
                                            .fields = fields,
                                            .config_size = sizeof(struct layer_norm),
                                            .build = layer_norm_build,
                                            .forward = layer_norm_forward};
