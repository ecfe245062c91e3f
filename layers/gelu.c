// gelu: x * Phi(x), exact, element by element. No options, no parameters.
#include "layers/model.h"

static struct tensor *gelu_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    (void)l;
    return op_gelu(t, x);
}

const struct layer_type gelu_layer = {.name = "gelu",
                                      .help = "x * Phi(x), exact, element by element",
                                      .fields = layer_no_fields,
                                      .build = layer_build_elementwise,
                                      .forward = gelu_forward};
