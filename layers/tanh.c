// tanh: tanh(x), element by element. No options, no parameters.
#include "layers/model.h"

static struct tensor *tanh_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    (void)l;
    return op_tanh(t, x);
}

const struct layer_type tanh_layer = {.name = "tanh",
                                      .help = "tanh(x), element by element",
                                      .fields = layer_no_fields,
                                      .build = layer_build_elementwise,
                                      .forward = tanh_forward};
