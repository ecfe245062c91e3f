// dropout: while training, zeroes each element with probability p and divides the others by 1 - p (Srivastava
// et al. 2014); afterwards the identity. No parameters.
#include "layers/model.h"

struct dropout {
    double p;
};

static const struct field fields[] = {
    {"p", FIELD_REAL, offsetof(struct dropout, p), 0.5, 0, 0.99, NULL, "probability to drop"}, FIELD_END};

static struct tensor *dropout_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct dropout *config = l->config;
    return op_dropout(t, x, config->p);
}

const struct layer_type dropout_layer = {.name = "dropout",
                                         .help = "zeroes elements at random while training",
                                         .fields = fields,
                                         .config_size = sizeof(struct dropout),
                                         .build = layer_build_elementwise,
                                         .forward = dropout_forward};
