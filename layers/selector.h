// What others may know of a selector layer: its config, and the rows that are at work after training.
#ifndef TALLY_LAYERS_SELECTOR_H
#define TALLY_LAYERS_SELECTOR_H

#include "layers/model.h"

enum selector_choosing { SKETCH, RANDOM };
enum selector_sharing { SAMPLE, BATCH };

// Its parameters; BIAS is -1 where it has none, sketches are there where it is not shared.
enum { SELECTOR_WEIGHT, SELECTOR_BIAS, SELECTOR_SCORE, SELECTOR_SKETCH_IN, SELECTOR_SKETCH_OUT };

struct selector {
    int64_t out, block, rank, period;
    double density;
    int choose, per, init;
    bool bias;
    int units, k; // made of them
};

// Whether all samples have the same rows, outside training.
bool selector_shared(const struct layer *l);

// Those rows: chosen [out] is 1 or 0. Of a layer that is shared.
void selector_rows(uint8_t *chosen, const struct layer *l, const struct params *ps);

#endif
