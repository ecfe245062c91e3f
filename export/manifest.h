// What the formats of matrices say beside them: the layers in order, how samples were normalised, what a counter means.
#ifndef TALLY_EXPORT_MANIFEST_H
#define TALLY_EXPORT_MANIFEST_H

#include "export/net.h"

// {"name", "in": [1, 28, 28], "mean", "std", "layers": [{"kind": "linear", "name": "linear1", "in", "out"}, ...]}; the
// first layer wants (pixel / 255 - mean) / std. An affine layer has its "scale" and "shift". json_free it.
struct json *manifest_new(const struct net *n);

// Writes it as OUT/manifest.json; *size is its bytes.
int manifest_write(const char *folder, const struct net *n, size_t *size, struct err *e);

// "w = scale * c * |c|".
const char *manifest_formula(enum number_kind kind);

// Whether the number system has a parameter.
bool manifest_has_parameter(enum number_kind kind);

#endif
