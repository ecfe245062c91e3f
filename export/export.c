// The registry of export formats. Contracts in export.h.
#include "export/export.h"

#define FORMAT(name) extern const struct export_format name##_format;
#include "export/export.def"
#undef FORMAT

const struct export_format *const export_formats[] = {
#define FORMAT(name) &name##_format,
#include "export/export.def"
#undef FORMAT
    NULL};
