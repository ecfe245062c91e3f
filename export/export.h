// Formats that trained networks leave in. Each file of this room ends with a `struct export_format`; export.def lists them.
#ifndef TALLY_EXPORT_EXPORT_H
#define TALLY_EXPORT_EXPORT_H

#include "export/net.h"

enum export_profile { PROFILE_FAST, PROFILE_SMALL };

struct export_options {
    enum export_profile profile; // tally: mapped and used as it lies, or range coded
    bool dense;                  // store zeros too (onnx, tally)
    bool integer;                // c: shifts and adds only
    bool self_test;              // c: adds a test vector and a main
};

// What was written, for the table.
struct export_sizes {
    size_t total;
    size_t *layer; // [net->count], bytes that belong to a layer; the rest is header
};

struct export_format {
    const char *name, *help;
    const char *suffix; // of the file; NULL: OUT is a folder with a file for each tensor
    bool runs;          // wants a net that is ready to run; else as trained
    // Writes the net to the path, atomically per file. An error where the format can't express the net, with the reason.
    int (*write)(const struct net *n, const char *out, const struct export_options *options,
                 struct export_sizes *sizes, struct err *e);
};

extern const struct export_format *const export_formats[]; // NULL-terminated, in the order of export.def

#endif
