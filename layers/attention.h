// What attention and transformer_block check alike.
#ifndef TALLY_LAYERS_ATTENTION_H
#define TALLY_LAYERS_ATTENTION_H

#include "layers/model.h"

// Samples must be (positions, numbers), the heads divide the numbers, and a window be causal. Errors name l->path.
int attention_check(const struct layer *l, int64_t heads, bool causal, int64_t window, struct err *e);

#endif
