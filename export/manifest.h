// What the formats of matrices say beside them: the layers in order, how samples were normalised, what a counter means.
#ifndef TALLY_EXPORT_MANIFEST_H
#define TALLY_EXPORT_MANIFEST_H

#include "export/net.h"

// {"name", "in": [1, 28, 28], "mean", "std", "layers": [{"kind": "linear", "name": "linear1", "inputs": ["flatten1"], "in",
// "out", "weight": [100, 784]}, ...]}; the first layer wants (pixel / 255 - mean) / std. Inputs are names of layers, "input" is the
// sample. "weight" is the shape of a weight, which other files hold as (first dimension, all others). A layer's options are
// there by their names in PyTorch. json_free it.
struct json *manifest_new(const struct net *n);

// Writes it as OUT/manifest.json; *size is its bytes.
int manifest_write(const char *folder, const struct net *n, size_t *size, struct err *e);

// "w = scale * c * |c|".
const char *manifest_formula(enum number_kind kind);

// Whether the number system has a parameter.
bool manifest_has_parameter(enum number_kind kind);

#endif
