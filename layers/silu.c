// silu: x / (1 + exp(-x)), element by element. No options, no parameters.
#include "layers/model.h"

static struct tensor *silu_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    (void)l;
    return op_silu(t, x);
}

const struct layer_type silu_layer = {.name = "silu",
                                      .help = "x / (1 + exp(-x)), element by element",
                                      .fields = layer_no_fields,
                                      .build = layer_build_elementwise,
                                      .forward = silu_forward};
