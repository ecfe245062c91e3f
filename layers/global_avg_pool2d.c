// global_avg_pool2d: (B, C, height, width) to (B, C), the mean of each channel. No options, no parameters.
#include <limits.h>

#include "layers/model.h"

static int global_avg_pool2d_build(struct layer *l, struct params *ps, struct err *e) {
    (void)ps;
    char text[SHAPE_TEXT];
    if (l->in.rank != 3)
        return err_set(e, "%s: wants images (channels, height, width), gets %s", l->path,
                       shape_text(text, l->in));
    if (shape_size(l->in) > INT_MAX)
        return err_set(e, "%s: images %s have more than %d numbers", l->path, shape_text(text, l->in),
                       INT_MAX);
    l->out = shape_1(l->in.dim[0]);
    return 0;
}

static struct tensor *global_avg_pool2d_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    int height = l->in.dim[1], width = l->in.dim[2];
    struct window w = {.size = {height, width}, .stride = {1, 1}, .dilation = {1, 1}};
    return op_reshape(t, op_avg_pool2d(t, x, &w, true), shape_2(x->shape.dim[0], l->in.dim[0]));
}

const struct layer_type global_avg_pool2d_layer = {.name = "global_avg_pool2d",
                                                   .help = "the mean of each channel",
                                                   .fields = layer_no_fields,
                                                   .build = global_avg_pool2d_build,
                                                   .forward = global_avg_pool2d_forward};
