// What others may know of a positional_embedding layer without a weight: the constants that it adds.
#ifndef TALLY_LAYERS_POSITIONAL_EMBEDDING_H
#define TALLY_LAYERS_POSITIONAL_EMBEDDING_H

#include "layers/model.h"

// Fills w (length, d).
void positional_embedding_waves(real *w, int length, int d);

#endif
