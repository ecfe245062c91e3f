// Images in memory: from the order of files, pixel by pixel, to that of samples, plane by plane; and to another size.
#ifndef TALLY_DATASETS_IMAGE_H
#define TALLY_DATASETS_IMAGE_H

#include "src/base.h"

// planes [channels][area] from pixels [area][channels], and back.
void image_planes(uint8_t *planes, const uint8_t *pixels, size_t area, size_t channels);
void image_pixels(uint8_t *pixels, const uint8_t *planes, size_t area, size_t channels);

// Planes [channels][from height][from width] to [channels][to height][to width]. Down and across by themselves: a side that
// becomes shorter takes the mean of the area that a new pixel covers; one that becomes longer is interpolated between the
// centres of the old pixels, and goes on as they are beyond the first and the last.
void image_resize(uint8_t *to, int to_height, int to_width, const uint8_t *from, int height, int width,
                  int channels);

#endif
