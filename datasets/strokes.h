// How people write the ten digits: each as one or more strokes of a pen, in a few variants (the 1 with and
// without flag and foot, the 7 with and without bar, the 4 open and closed ...). The raw material of the data
// set "digits".
//
// A stroke is a list of knots joined by a Catmull-Rom spline (Catmull and Rom 1974), smooth through every
// knot but the corners. x points right and y down, the origin is the middle of the digit, a digit is about
// 136 units high.
#ifndef TALLY_DATASETS_STROKES_H
#define TALLY_DATASETS_STROKES_H

#include "src/base.h"

enum { STROKES_KNOTS = 18, STROKES_SPAN = 4, STROKES_POINTS = STROKES_KNOTS * STROKES_SPAN };

struct strokes {
    int digit;
    uint32_t weight;  // how common this variant is among those of the digit
    const char *path; // knots "x,y"; '^' before a corner, '/' between two strokes; at most STROKES_KNOTS
};

// A point of a polyline.
struct vertex {
    double x, y;
    bool pen; // a line leads here from the vertex before
};

// A variant of the digit; `random`, uniform in 0 .. 2^32-1, chooses.
const struct strokes *strokes_pick(int digit, uint32_t random);

// The strokes as polylines, STROKES_SPAN lines between two knots; knot i is first moved by (move[2i],
// move[2i+1]). Returns the number of vertices.
int strokes_trace(struct vertex out[STROKES_POINTS], const struct strokes *s,
                  const double move[2 * STROKES_KNOTS]);

#endif
