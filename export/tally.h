// The native sparse file in memory, for those who run what they export.
#ifndef TALLY_EXPORT_TALLY_H
#define TALLY_EXPORT_TALLY_H

#include "export/bytes.h"
#include "export/export.h"

// Appends the file's bytes to the empty `file`; bytes_free it, also after a failure.
int tally_compose(struct bytes *file, const struct net *n, const struct export_options *o,
                  struct export_sizes *sizes, struct err *e);

// For the files that write it: the version that the net needs, its PROGRAM section, whether a bias is written.
int tally_version(const struct net *n);
void tally_add_program(struct bytes *b, const struct net *n);
bool tally_has_bias(const struct net_layer *l);

#endif
