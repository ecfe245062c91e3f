// transformer_block: on samples (T, d), in the form with the normalisation first (Xiong et al. 2020, fig. 1b; GPT-2):
//   x = x + attention(norm(x));  x = x + linear(activation(linear(norm(x)))), the inner size mlp_ratio · d
// with dropout behind each of the two. Both are lists of the layers with these names; options are theirs.
#include <math.h>

#include "layers/attention.h"
#include "layers/init.h"

struct transformer_block {
    int64_t heads;
    double mlp_ratio;
    int activation;
    double dropout;
    bool causal;
    int64_t window, topk;
    int norm;
    bool bias;
    int init;
};

enum { ATTENTION, MLP, MLP_LIMIT = 1 << 20 };

static const struct field fields[] = {
    {"heads", FIELD_INT, offsetof(struct transformer_block, heads), 1, 1, 1 << 16, NULL,
     "of the attention; must divide the numbers of a position"},
    {"mlp_ratio", FIELD_REAL, offsetof(struct transformer_block, mlp_ratio), 4, 1e-3, 1000, NULL,
     "inner numbers of the second part, as a multiple of a position's"},
    {"activation", FIELD_CHOICE, offsetof(struct transformer_block, activation), 0, 0, 0, "gelu|relu|silu",
     "of the second part"},
    {"dropout", FIELD_REAL, offsetof(struct transformer_block, dropout), 0, 0, 0.99, NULL,
     "probability to drop, behind each part"},
    {"causal", FIELD_BOOL, offsetof(struct transformer_block, causal), 0, 0, 1, NULL,
     "a position sees itself and those before it only"},
    {"window", FIELD_INT, offsetof(struct transformer_block, window), 0, 0, 1 << 30, NULL,
     "causal: it sees at most the last so many; 0: all"},
    {"topk", FIELD_INT, offsetof(struct transformer_block, topk), 0, 0, 1 << 30, NULL,
     "of what it sees only the so many with the largest scores; 0: all"},
    {"norm", FIELD_CHOICE, offsetof(struct transformer_block, norm), 0, 0, 0, "layer_norm|rms_norm",
     "before each part"},
    {"bias", FIELD_BOOL, offsetof(struct transformer_block, bias), 1, 0, 1, NULL,
     "projections and linear layers add biases"},
    {"init", FIELD_CHOICE, offsetof(struct transformer_block, init), INIT_XAVIER, 0, 0, INIT_WORDS,
     "initial weights"},
    FIELD_END};

// Appends {"name": {}} to the list and returns its options, to be filled.
static struct json *layer_append(struct json *list, const char *name) {
    struct json *item = json_object_new(), *options = json_object_new();
    json_add(item, name, options);
    json_add(list, NULL, item);
    return options;
}

static void options_copy(struct json *to, const struct json *from, const char *const *keys) {
    for (; *keys; keys++) json_add(to, *keys, json_copy_new(json_find(from, *keys)));
}

static void linear_append(struct json *list, const struct json *options, int out) {
    static const char *const keys[] = {"bias", "init", NULL};
    struct json *linear = layer_append(list, "linear");
    json_add_number(linear, "out", out);
    options_copy(linear, options, keys);
}

// A part as a list of layers, from the block's options with every default filled in.
static struct json *part_new(const struct layer *l, const struct json *options, int part, int inner) {
    static const char *const keys[] = {"heads", "causal", "window", "topk", "bias", "init", NULL};
    struct json *list = json_array_new();
    double dropout = json_number(json_find(options, "dropout"));
    layer_append(list, json_string(json_find(options, "norm")));
    if (part == ATTENTION) {
        options_copy(layer_append(list, "attention"), options, keys);
    } else {
        linear_append(list, options, inner);
        layer_append(list, json_string(json_find(options, "activation")));
        linear_append(list, options, l->in.dim[1]);
    }
    if (dropout > 0) json_add_number(layer_append(list, "dropout"), "p", dropout);
    return list;
}

static int transformer_block_build(struct layer *l, struct params *ps, struct err *e) {
    const struct transformer_block *config = l->config;
    if (attention_check(l, config->heads, config->causal, config->window, e) != 0) return -1;
    double inner = round(config->mlp_ratio * l->in.dim[1]);
    if (inner < 1 || inner > MLP_LIMIT)
        return err_set(e, "%s.mlp_ratio: %g times %d is not in 1 .. %d", l->path, config->mlp_ratio,
                       l->in.dim[1], MLP_LIMIT);
    struct json *options = fields_write_new(config, fields);
    int result = 0;
    for (int part = ATTENTION; part <= MLP && result == 0; part++) {
        struct json *list = part_new(l, options, part, (int)inner);
        const struct model *m = layer_add_inner(l, ps, list, l->path, part == MLP ? "mlp" : NULL, l->in, e);
        result = m ? 0 : -1;
        json_free(list);
    }
    json_free(options);
    l->out = l->in;
    return result;
}

static struct tensor *transformer_block_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    x = op_add(t, model_forward(l->inner[ATTENTION], t, x), x);
    return op_add(t, model_forward(l->inner[MLP], t, x), x);
}

const struct layer_type transformer_block_layer = {.name = "transformer_block",
                                                   .help = "attention and two linear layers, each added to x",
                                                   .fields = fields,
                                                   .config_size = sizeof(struct transformer_block),
                                                   .build = transformer_block_build,
                                                   .forward = transformer_block_forward};
