// concat: runs several lists of layers on the same x and puts their results one after the other along the
// first dimension of a sample: channels of images, features of flat samples. An empty list is x itself.
//
//   {"concat": {"branches": [[], [{"linear": {"out": 16}}, "relu"]]}}
//
// DenseNet's blocks (Huang et al. 2017) and Inception's (Szegedy et al. 2015) are of this form.
#include <limits.h>
#include <stdio.h>

#include "layers/model.h"

enum { BRANCHES_LIMIT = 64 };

struct concat {
    const struct json *branches;
};

static const struct field fields[] = {{"branches", FIELD_NODE, offsetof(struct concat, branches), 0, 0, 0,
                                       NULL, "list of lists of layers; must be given"},
                                      FIELD_END};

// The shape with the branch's result behind what is there already.
static int shape_append(struct layer *l, const char *path, struct shape out, struct err *e) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    struct shape wanted = l->out;
    wanted.dim[0] = out.dim[0];
    if (!shape_equal(wanted, out))
        return err_set(e, "%s: gives %s, the branches before it give %s; only the first dimension may differ",
                       path, shape_text(left, out), shape_text(right, l->out));
    if (out.dim[0] > INT_MAX - l->out.dim[0])
        return err_set(e, "%s: %lld numbers along the first dimension", path,
                       (long long)out.dim[0] + l->out.dim[0]);
    l->out.dim[0] += out.dim[0];
    return 0;
}

static int concat_build(struct layer *l, struct params *ps, struct err *e) {
    const struct concat *config = l->config;
    int count = config->branches ? json_count(config->branches) : 0;
    if (count < 2 || count > BRANCHES_LIMIT || json_type(config->branches) != JSON_ARRAY)
        return err_set(e, "%s.branches: wanted 2 to %d lists of layers, such as [[], [\"relu\"]]", l->path,
                       BRANCHES_LIMIT);
    char list_path[JSON_PATH], path[JSON_PATH], part[24];
    json_path(list_path, l->path, "branches", 0);
    for (int i = 0; i < count; i++) {
        json_path(path, list_path, NULL, i);
        snprintf(part, sizeof part, "branch%d", i + 1);
        const struct model *m = layer_add_inner(l, ps, json_item(config->branches, i), path, part, l->in, e);
        if (!m) return -1;
        if (i == 0)
            l->out = m->out;
        else if (shape_append(l, path, m->out, e) != 0)
            return -1;
    }
    return 0;
}

static struct tensor *concat_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    struct tensor *part[BRANCHES_LIMIT];
    for (int i = 0; i < l->inner_count; i++) part[i] = model_forward(l->inner[i], t, x);
    return op_concat(t, part, l->inner_count);
}

static struct json *concat_write(const struct layer *l) {
    struct json *options = json_object_new(), *branches = json_array_new();
    for (int i = 0; i < l->inner_count; i++) json_add(branches, NULL, model_write_new(l->inner[i]));
    json_add(options, "branches", branches);
    return options;
}

const struct layer_type concat_layer = {.name = "concat",
                                        .help = "several lists of layers on the same x, side by side",
                                        .fields = fields,
                                        .config_size = sizeof(struct concat),
                                        .build = concat_build,
                                        .forward = concat_forward,
                                        .write = concat_write};
