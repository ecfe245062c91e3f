// batch_norm: mean 0 and variance 1 in each channel, then · weight + bias, which start at 1 and 0. Channels are
// the first dimension of a sample, so flat samples, (C, L) and images are all served; options as
// torch.nn.BatchNorm2d.
//
// While training the statistics are those of the shard ("ghost batch norm", see src/ops/batch_norm.c), so
// train.shards is part of what is computed. The buffers running_mean and running_var follow the mean over the
// shards, weighted by samples, and serve outside training.
#include "layers/model.h"

struct batch_norm {
    double eps, momentum;
    bool affine;
};

enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR };

static const struct field fields[] = {
    {"eps", FIELD_REAL, offsetof(struct batch_norm, eps), 1e-5, 1e-12, 1, NULL, "added to the variance"},
    {"momentum", FIELD_REAL, offsetof(struct batch_norm, momentum), 0.1, 0, 1, NULL,
     "share of each step in the running statistics"},
    {"affine", FIELD_BOOL, offsetof(struct batch_norm, affine), 1, 0, 1, NULL, "has a weight and a bias"},
    FIELD_END};

static int batch_norm_build(struct layer *l, struct params *ps, struct err *e) {
    (void)e;
    const struct batch_norm *config = l->config;
    struct shape channels = shape_1(l->in.dim[0]);
    struct average average = {.momentum = config->momentum};
    l->out = l->in;
    l->param[WEIGHT] = config->affine ? layer_add_param(l, ps, "weight", channels, 0, 1) : -1;
    l->param[BIAS] = config->affine ? layer_add_param(l, ps, "bias", channels, 0, 0) : -1;
    l->param[RUNNING_MEAN] = layer_add_buffer(l, ps, "running_mean", channels, 0, average);
    average.positive = true;
    l->param[RUNNING_VAR] = layer_add_buffer(l, ps, "running_var", channels, 1, average);
    if (shape_size(l->in) == (size_t)l->in.dim[0]) ps->shard_rows = 2; // one number has no variance
    return 0;
}

static struct tensor *batch_norm_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct batch_norm *config = l->config;
    struct tensor *weight = config->affine ? tape_param(t, l->param[WEIGHT]) : NULL;
    struct tensor *bias = config->affine ? tape_param(t, l->param[BIAS]) : NULL;
    return op_batch_norm(t, x, weight, bias, tape_param(t, l->param[RUNNING_MEAN]),
                         tape_param(t, l->param[RUNNING_VAR]), config->eps);
}

const struct layer_type batch_norm_layer = {.name = "batch_norm",
                                            .help = "mean 0 and variance 1 in each channel of a shard",
                                            .fields = fields,
                                            .config_size = sizeof(struct batch_norm),
                                            .build = batch_norm_build,
                                            .forward = batch_norm_forward};
