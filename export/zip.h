// A zip file whose members are stored, not packed; equal members give equal bytes (every date is 1980-01-01).
//
//   per member   "PK\3\4" header, name, bytes          the directory at the end says all of it again, with offsets
//
// Source: PKWARE, APPNOTE.TXT 6.3, sections 4.3.7 (member), 4.3.12 (directory) and 4.3.16 (its end).
// Departure: no zip64, so 4 GiB is the end.
#ifndef TALLY_EXPORT_ZIP_H
#define TALLY_EXPORT_ZIP_H

#include "export/bytes.h"

struct zip {
    struct bytes members, directory;
    unsigned count;
};

// All zero is an empty zip. Names are ASCII.
void zip_add(struct zip *z, const char *name, const void *bytes, size_t size);

// Writes the file atomically; *size is its bytes. Fails also when it would be too large for a zip.
int zip_write(const char *path, struct zip *z, size_t *size, struct err *e);

void zip_free(struct zip *z);

#endif
