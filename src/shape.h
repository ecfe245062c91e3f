// Shapes: up to four dimensions, each at least 1, row-major ("C order").
#ifndef TALLY_SRC_SHAPE_H
#define TALLY_SRC_SHAPE_H

#include "src/base.h"

enum { SHAPE_RANK_MAX = 4, SHAPE_TEXT = 64 };

struct shape {
    int rank; // 0: a scalar
    int dim[SHAPE_RANK_MAX];
};

// Short forms for one to three dimensions.
struct shape shape_1(int a);
struct shape shape_2(int a, int b);
struct shape shape_3(int a, int b, int c);

// The product of the dimensions; 1 for a scalar.
size_t shape_size(struct shape s);

bool shape_equal(struct shape a, struct shape b);

// "(64, 784)" into text; returns text.
const char *shape_text(char text[SHAPE_TEXT], struct shape s);

#endif
