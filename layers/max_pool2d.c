// max_pool2d: the largest number under each window of an image, channel by channel. No parameters.
#include "layers/sliding.h"

struct max_pool2d {
    struct sliding sliding;
};

static const struct field fields[] = {
    SLIDING_FIELD(max_pool2d, kernel_size, "of the window: one number or [down, across]; must be given"),
    SLIDING_FIELD(max_pool2d, stride,
                  "from window to window, one number or [down, across]; default kernel_size"),
    SLIDING_FIELD(max_pool2d, padding,
                  "on each side, never the largest, one number or [down, across]; default 0"),
    FIELD_END};

static int max_pool2d_build(struct layer *l, struct params *ps, struct err *e) {
    (void)ps;
    return sliding_build(l, 0, e) == 0 ? sliding_check_padding(l, e) : -1;
}

static struct tensor *max_pool2d_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct max_pool2d *config = l->config;
    return op_max_pool2d(t, x, &config->sliding.window);
}

const struct layer_type max_pool2d_layer = {.name = "max_pool2d",
                                            .help = "the largest number under each window",
                                            .fields = fields,
                                            .config_size = sizeof(struct max_pool2d),
                                            .build = max_pool2d_build,
                                            .forward = max_pool2d_forward,
                                            .write = sliding_write};
