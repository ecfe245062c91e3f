// rms_norm: mean square 1 over the last dimension, then · weight of that dimension's size, which starts at 1.
// Options as torch.nn.RMSNorm, but eps, which is the type's precision there and the 1e-6 of most users here.
#include "layers/model.h"

struct rms_norm {
    double eps;
    bool elementwise_affine;
};

static const struct field fields[] = {
    {"eps", FIELD_REAL, offsetof(struct rms_norm, eps), 1e-6, 1e-12, 1, NULL, "added to the mean square"},
    {"elementwise_affine", FIELD_BOOL, offsetof(struct rms_norm, elementwise_affine), 1, 0, 1, NULL,
     "has a weight"},
    FIELD_END};

static int rms_norm_build(struct layer *l, struct params *ps, struct err *e) {
    (void)e;
    const struct rms_norm *config = l->config;
    struct shape last = shape_1(l->in.dim[l->in.rank - 1]);
    l->out = l->in;
    l->param[0] = config->elementwise_affine ? layer_add_param(l, ps, "weight", last, 0, 1) : -1;
    return 0;
}

static struct tensor *rms_norm_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct rms_norm *config = l->config;
    return op_rms_norm(t, x, l->param[0] >= 0 ? tape_param(t, l->param[0]) : NULL, config->eps);
}

const struct layer_type rms_norm_layer = {.name = "rms_norm",
                                          .help = "mean square 1 over the last dimension",
                                          .fields = fields,
                                          .config_size = sizeof(struct rms_norm),
                                          .build = rms_norm_build,
                                          .forward = rms_norm_forward};
