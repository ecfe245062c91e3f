// PNG images. The only file that uses libpng.
#ifndef TALLY_DATASETS_IO_PNG_H
#define TALLY_DATASETS_IO_PNG_H

#include "src/base.h"

// Writes pixels [height][width][channels], 0 .. 255, as a PNG with 8 bits a channel: 1 channel is grey (0 =
// black), 3 are red, green, blue. The file at `path` is there whole or stays as it was. Fails when the path
// can't be written or a side is longer than libpng allows (1,000,000 unless built otherwise).
int png_write(const char *path, int width, int height, int channels, const uint8_t *pixels, struct err *e);

#endif
