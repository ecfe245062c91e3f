// relu: max(x, 0), element by element. No options, no parameters.
#include "layers/model.h"

static struct tensor *relu_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    (void)l;
    return op_relu(t, x);
}

const struct layer_type relu_layer = {.name = "relu",
                                      .help = "max(x, 0), element by element",
                                      .fields = layer_no_fields,
                                      .build = layer_build_elementwise,
                                      .forward = relu_forward};
