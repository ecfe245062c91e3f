// A comparison: variants of a base config, each with several seeds, trained and put side by side.
//
// Its config is one JSON file:
//   {"base": "../mnist.json",                        relative to this file
//    "seeds": 3,                                     seeds 1 .. 3
//    "set": {"train.epochs": 20},                    for all variants: path of a key and its value
//    "variants": {"sgd": {"optim.weights": [{"sgd": {"rate": 0.05}}]}, ...}}
#ifndef TALLY_EXPERIMENTS_COMPARE_H
#define TALLY_EXPERIMENTS_COMPARE_H

#include "experiments/jobs.h"

struct compare {
    char name[104];   // of the file, or its key "name"
    struct jobs jobs; // variant by variant, seed by seed
};

extern const struct field compare_fields[];

// Reads the compare config; run folders are OUT/VARIANT-SEED. `only` names variants to take (NULL-terminated; NULL:
// all). Close with compare_close, also after a failure.
int compare_open(struct compare *c, const char *path, const char *out, const char *const *only,
                 struct err *e);
void compare_close(struct compare *c);

// The name that compare_open will give, without reading more: for the default folder.
void compare_name(char name[104], const char *path);

#endif
