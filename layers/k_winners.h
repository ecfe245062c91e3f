// What others may know of a k_winners layer: its config, and the boost of an epoch.
#ifndef TALLY_LAYERS_K_WINNERS_H
#define TALLY_LAYERS_K_WINNERS_H

#include "layers/model.h"

struct k_winners {
    double density;
    int64_t k;
    double k_inference_factor, boost_strength, boost_strength_factor;
    int64_t duty_cycle_period;
    bool local;
    int winners, winners_inference; // how many win in training and outside it
};

double k_winners_boost(const struct k_winners *config, int64_t epoch);

#endif
