// sigmoid: 1 / (1 + exp(-x)), element by element. No options, no parameters.
#include "layers/model.h"

static struct tensor *sigmoid_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    (void)l;
    return op_sigmoid(t, x);
}

const struct layer_type sigmoid_layer = {.name = "sigmoid",
                                         .help = "1 / (1 + exp(-x)), element by element",
                                         .fields = layer_no_fields,
                                         .build = layer_build_elementwise,
                                         .forward = sigmoid_forward};
