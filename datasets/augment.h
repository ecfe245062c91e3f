// Training images, each time a little different: moved and mirrored at random.
//
//   shift   the image moves by -shift .. shift pixels down and across; what comes in is black. Where others pad an image by
//           `padding` black pixels and cut a piece of its old size out of it, that is shift = padding
//   flip    half of the images are mirrored, left to right
//
// Black is the byte 0, before it is normalised. The numbers of a sample depend on the seed, the epoch and which sample it is,
// not on batches, threads or where a run was resumed.
#ifndef TALLY_DATASETS_AUGMENT_H
#define TALLY_DATASETS_AUGMENT_H

#include "datasets/dataset.h"
#include "src/rng.h"

struct augment {
    int64_t shift;
    bool flip;
};

extern const struct field augment_fields[];

// Whether anything is asked for.
bool augment_acts(const struct augment *a);

// Whether it suits the set: images, and of a size that the shift leaves something of. Errors name `path`.
int augment_check(const struct augment *a, const struct dataset *d, const char *path, struct err *e);

// x = level[pixel] of the sample, whose last two dimensions are height and width, moved and mirrored as `r` says.
void augment_copy(real *x, const struct augment *a, const uint8_t *pixels, struct shape sample,
                  const real level[256], struct rng r);

#endif
