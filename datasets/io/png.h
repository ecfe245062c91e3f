// PNG images. The only file that uses libpng.
#ifndef TALLY_DATASETS_IO_PNG_H
#define TALLY_DATASETS_IO_PNG_H

#include "src/base.h"

// Writes pixels [height][width][channels], 0 .. 255, as a PNG with 8 bits a channel: 1 channel is grey (0 =
// black), 3 are red, green, blue. The file at `path` is there whole or stays as it was. Fails when the path
// can't be written or a side is longer than libpng allows (1,000,000 unless built otherwise).
int png_write(const char *path, int width, int height, int channels, const uint8_t *pixels, struct err *e);
int png_write_unsynced(const char *path, int width, int height, int channels, const uint8_t *pixels,
                       struct err *e); // file_write_unsynced

enum { PNG_FILE_MAX = 1 << 26, PNG_SIDE_MAX = 1 << 14, PNG_PIXELS_MAX = 1 << 24 };

// The pixels [height][width][channels] of a PNG of any kind, 1 channel (grey) or 3 (red, green, blue), 0 .. 255. The
// file's numbers are taken as they are stored, whatever gamma or colour profile comes with them; 16 bits are rounded to 8,
// fewer are stretched, what is transparent lies on black, and colour becomes grey by 0.299 red + 0.587 green + 0.114 blue
// (ITU-R BT.601). NULL when the file can't be read, is no PNG or a broken one (a wrong checksum anywhere counts), or is
// over one of the limits above, which are checked before memory is taken. Errors start with the path. Free with mem_free.
uint8_t *png_read_new(int *width, int *height, const char *path, int channels, struct err *e);

// Whether the PNG is grey (1) or has colours or a palette (3); 0 when it can't be read or is no PNG.
int png_channels(const char *path, struct err *e);

#endif
