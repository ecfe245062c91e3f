// residual: y = f(x) + x, f a list of layers (He et al. 2016, "Deep residual learning", eq. 1); with a
// shortcut, a second list of layers for where f changes the shape, y = f(x) + shortcut(x) (eq. 2).
//
//   {"residual": {"layers": [{"linear": {"out": 64}}, "relu"], "shortcut": [{"linear": {"out": 64}}]}}
#include "layers/model.h"

struct residual {
    const struct json *layers, *shortcut;
};

enum { LAYERS, SHORTCUT };

static const struct field fields[] = {
    {"layers", FIELD_NODE, offsetof(struct residual, layers), 0, 0, 0, NULL, "list of layers; must be given"},
    {"shortcut", FIELD_NODE, offsetof(struct residual, shortcut), 0, 0, 0, NULL,
     "list of layers beside them; default: x itself"},
    FIELD_END};

static int residual_build(struct layer *l, struct params *ps, struct err *e) {
    const struct residual *config = l->config;
    char path[JSON_PATH], left[SHAPE_TEXT], right[SHAPE_TEXT];
    json_path(path, l->path, "layers", 0);
    const struct json *layers = config->layers && json_count(config->layers) ? config->layers : NULL;
    const struct model *main = layer_add_inner(l, ps, layers, path, NULL, l->in, e);
    if (!main) return -1;
    struct shape beside = l->in;
    if (config->shortcut) {
        json_path(path, l->path, "shortcut", 0);
        const struct model *shortcut = layer_add_inner(l, ps, config->shortcut, path, "shortcut", l->in, e);
        if (!shortcut) return -1;
        beside = shortcut->out;
    }
    if (!shape_equal(main->out, beside))
        return err_set(e, "%s: layers give %s, %s gives %s; a sum wants equal shapes%s", l->path,
                       shape_text(left, main->out), config->shortcut ? "shortcut" : "x itself",
                       shape_text(right, beside), config->shortcut ? "" : ", see \"shortcut\"");
    l->out = main->out;
    return 0;
}

static struct tensor *residual_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    struct tensor *y = model_forward(l->inner[LAYERS], t, x);
    return op_add(t, y, l->inner_count > SHORTCUT ? model_forward(l->inner[SHORTCUT], t, x) : x);
}

static struct json *residual_write(const struct layer *l) {
    struct json *options = json_object_new();
    json_add(options, "layers", model_write_new(l->inner[LAYERS]));
    if (l->inner_count > SHORTCUT) json_add(options, "shortcut", model_write_new(l->inner[SHORTCUT]));
    return options;
}

const struct layer_type residual_layer = {.name = "residual",
                                          .help = "layers(x) + x, or + shortcut(x)",
                                          .fields = fields,
                                          .config_size = sizeof(struct residual),
                                          .build = residual_build,
                                          .forward = residual_forward,
                                          .write = residual_write};
