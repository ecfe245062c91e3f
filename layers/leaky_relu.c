// leaky_relu: x where x > 0, else negative_slope · x, element by element. No parameters.
#include "layers/model.h"

struct leaky_relu {
    double negative_slope;
};

static const struct field fields[] = {{"negative_slope", FIELD_REAL,
                                       offsetof(struct leaky_relu, negative_slope), 0.01, 0, 1, NULL,
                                       "slope below 0"},
                                      FIELD_END};

static struct tensor *leaky_relu_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct leaky_relu *config = l->config;
    return op_leaky_relu(t, x, config->negative_slope);
}

const struct layer_type leaky_relu_layer = {.name = "leaky_relu",
                                            .help = "x where x > 0, else negative_slope * x",
                                            .fields = fields,
                                            .config_size = sizeof(struct leaky_relu),
                                            .build = layer_build_elementwise,
                                            .forward = leaky_relu_forward};
