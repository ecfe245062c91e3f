// flatten: (B, a, b, c) to (B, a·b·c). No options, no parameters.
#include <limits.h>

#include "layers/model.h"

static int flatten_build(struct layer *l, struct params *ps, struct err *e) {
    (void)ps;
    size_t size = shape_size(l->in);
    if (size > INT_MAX) return err_set(e, "%s: %zu numbers per sample", l->path, size);
    l->out = shape_1((int)size);
    return 0;
}

static struct tensor *flatten_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    return op_reshape(t, x, shape_2(x->shape.dim[0], l->out.dim[0]));
}

const struct layer_type flatten_layer = {.name = "flatten",
                                         .help = "one dimension per sample",
                                         .fields = layer_no_fields,
                                         .build = flatten_build,
                                         .forward = flatten_forward};
