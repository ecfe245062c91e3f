// avg_pool2d: the mean of the numbers under each window of an image, channel by channel. No parameters.
#include "layers/sliding.h"

struct avg_pool2d {
    struct sliding sliding;
    bool count_include_pad;
};

static const struct field fields[] = {
    SLIDING_FIELD(avg_pool2d, kernel_size, "of the window: one number or [down, across]; must be given"),
    SLIDING_FIELD(avg_pool2d, stride,
                  "from window to window, one number or [down, across]; default kernel_size"),
    SLIDING_FIELD(avg_pool2d, padding, "zeros on each side, one number or [down, across]; default 0"),
    {"count_include_pad", FIELD_BOOL, offsetof(struct avg_pool2d, count_include_pad), 1, 0, 1, NULL,
     "the padding counts as numbers of the mean"},
    FIELD_END};

static int avg_pool2d_build(struct layer *l, struct params *ps, struct err *e) {
    (void)ps;
    return sliding_build(l, 0, e) == 0 ? sliding_check_padding(l, e) : -1;
}

static struct tensor *avg_pool2d_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    const struct avg_pool2d *config = l->config;
    return op_avg_pool2d(t, x, &config->sliding.window, config->count_include_pad);
}

const struct layer_type avg_pool2d_layer = {.name = "avg_pool2d",
                                            .help = "the mean of the numbers under each window",
                                            .fields = fields,
                                            .config_size = sizeof(struct avg_pool2d),
                                            .build = avg_pool2d_build,
                                            .forward = avg_pool2d_forward,
                                            .write = sliding_write};
