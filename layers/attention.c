// attention: self-attention of several heads on samples (T, d) (Vaswani et al. 2017, sec. 3.2.2), as
// torch.nn.MultiheadAttention with its projections:
//   y = attention(x · qkvᵀ + bias) · projᵀ + bias;  qkv.weight (3 d, d), proj.weight (d, d); src/ops/attention.c
// Initial weights as in layers/init.h; biases start at 0.
#include "layers/attention.h"

#include <limits.h>

#include "layers/init.h"

struct attention {
    int64_t heads;
    bool causal;
    int64_t window, topk;
    bool bias;
    int init;
};

enum { QKV, QKV_BIAS, PROJ, PROJ_BIAS };

static const struct field fields[] = {
    {"heads", FIELD_INT, offsetof(struct attention, heads), 1, 1, 1 << 16, NULL,
     "must divide the numbers of a position"},
    {"causal", FIELD_BOOL, offsetof(struct attention, causal), 0, 0, 1, NULL,
     "a position sees itself and those before it only"},
    {"window", FIELD_INT, offsetof(struct attention, window), 0, 0, 1 << 30, NULL,
     "causal: it sees at most the last so many; 0: all"},
    {"topk", FIELD_INT, offsetof(struct attention, topk), 0, 0, 1 << 30, NULL,
     "of what it sees only the so many with the largest scores; 0: all"},
    {"bias", FIELD_BOOL, offsetof(struct attention, bias), 1, 0, 1, NULL, "the projections add biases"},
    {"init", FIELD_CHOICE, offsetof(struct attention, init), INIT_XAVIER, 0, 0, INIT_WORDS,
     "initial weights"},
    FIELD_END};

static void project(struct layer *l, struct params *ps, int out, const char *weight, const char *bias,
                    int *param) {
    const struct attention *config = l->config;
    int d = l->in.dim[1];
    param[0] = layer_add_matrix(l, ps, weight, out, d, config->init);
    param[1] = config->bias ? layer_add_param(l, ps, bias, shape_1(out), 0, 0) : -1;
}

int attention_check(const struct layer *l, int64_t heads, bool causal, int64_t window, struct err *e) {
    char text[SHAPE_TEXT];
    if (l->in.rank != 2)
        return err_set(e, "%s: wants samples (positions, numbers), gets %s", l->path,
                       shape_text(text, l->in));
    int d = l->in.dim[1];
    if (d % heads != 0)
        return err_set(e, "%s.heads: %d do not divide the %d numbers of a position", l->path, (int)heads, d);
    if (window && !causal) return err_set(e, "%s.window: %d, but not causal", l->path, (int)window);
    if (d > INT_MAX / 3) return err_set(e, "%s: %d numbers for each position", l->path, d);
    return 0;
}

static int attention_build(struct layer *l, struct params *ps, struct err *e) {
    const struct attention *config = l->config;
    if (attention_check(l, config->heads, config->causal, config->window, e) != 0) return -1;
    int d = l->in.dim[1];
    l->out = l->in;
    project(l, ps, 3 * d, "qkv.weight", "qkv.bias", l->param + QKV);
    project(l, ps, d, "proj.weight", "proj.bias", l->param + PROJ);
    return 0;
}

static struct tensor *attention_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct attention *config = l->config;
    const int *param = l->param;
    struct tensor *qkv_bias = config->bias ? tape_param(t, param[QKV_BIAS]) : NULL;
    struct tensor *proj_bias = config->bias ? tape_param(t, param[PROJ_BIAS]) : NULL;
    struct tensor *y = op_linear(t, x, tape_param(t, param[QKV]), qkv_bias);
    y = op_attention(t, y, (int)config->heads, config->causal, (int)config->window, (int)config->topk);
    return op_linear(t, y, tape_param(t, param[PROJ]), proj_bias);
}

// The projections, and for each head and position a number for each position that it may see.
static double attention_step_numbers(const struct layer *l, double samples) {
    const struct attention *config = l->config;
    double length = l->in.dim[0], d = l->in.dim[1], sees = length;
    if (config->window > 0 && config->window < length / 2) sees = 2 * (double)config->window;
    return samples * length * (12 * d + (double)config->heads * sees);
}

const struct layer_type attention_layer = {.name = "attention",
                                           .help = "self-attention of several heads over positions",
                                           .fields = fields,
                                           .config_size = sizeof(struct attention),
                                           .build = attention_build,
                                           .forward = attention_forward,
                                           .step_numbers = attention_step_numbers};
