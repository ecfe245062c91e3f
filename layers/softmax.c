// softmax: exp(x) / sum of exp(x), over the last dimension. No options, no parameters. The loss has a softmax
// of its own: a model that is trained does not end with this one.
#include "layers/model.h"

static struct tensor *softmax_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    (void)l;
    return op_softmax(t, x);
}

const struct layer_type softmax_layer = {.name = "softmax",
                                         .help = "exp(x) / sum of exp(x), over the last dimension",
                                         .fields = layer_no_fields,
                                         .build = layer_build_elementwise,
                                         .forward = softmax_forward};
