// What layers share whose windows slide over images (channels, height, width): convolution and pooling.
//
// kernel_size, stride, padding and dilation are each one number or [down, across]. Names and meaning are
// PyTorch's.
#ifndef TALLY_LAYERS_SLIDING_H
#define TALLY_LAYERS_SLIDING_H

#include "layers/model.h"

// The first member of such a layer's config. A layer's table has the keys that it knows.
struct sliding {
    const struct json *kernel_size, *stride, *padding, *dilation; // as given
    struct window window;                                         // as read
};

// The four rows of a table, for a struct whose member `sliding` this is.
#define SLIDING_FIELD(type, key, help) \
    { #key, FIELD_NODE, offsetof(struct type, sliding.key), 0, 0, 0, NULL, help }

// Reads the window and checks it and l->in; then l->out is (channels, down, across). Where stride is not given,
// it is `stride`, or kernel_size when that is 0.
int sliding_build(struct layer *l, int stride, struct err *e);

// For pooling: a window must have half of its numbers, or more, inside the image.
int sliding_check_padding(const struct layer *l, struct err *e);

// The options with every default filled in.
struct json *sliding_write(const struct layer *l);

#endif
