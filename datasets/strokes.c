// The ten digits as strokes, drawn by hand for this file. Contracts and notation in strokes.h.
#include "datasets/strokes.h"

#include <stdlib.h>

static const struct strokes variants[] = {
    {0, 4, "10,-66 -30,-40 -36,30 4,67 36,28 28,-44 -2,-66"},
    {0, 2, "24,-56 -8,-66 -38,-10 -24,54 16,60 38,6 22,-50 -14,-58"},
    {0, 2, "-4,-66 -28,-26 -24,40 2,68 25,34 22,-40 -6,-64"},
    {0, 2, "12,-48 -32,-34 -40,22 -4,50 38,24 34,-28 -2,-50"},
    {1, 3, "0,-68 0,68"},
    {1, 3, "-24,-36 ^4,-68 4,68"},
    {1, 2, "-24,-40 ^2,-68 2,68 / -28,68 32,68"},
    {1, 1, "-34,-16 -10,-42 ^8,-68 8,0 6,68"},
    {2, 3, "-34,-36 -22,-60 6,-67 31,-48 26,-16 -2,24 ^-38,64 0,62 40,64"},
    {2, 3, "-34,-42 -10,-66 22,-58 26,-22 -2,28 -28,60 -40,52 -22,42 8,60 44,58"},
    {2, 2, "-36,-52 -4,-67 30,-52 32,-20 2,20 ^-36,60 2,54 40,66"},
    {3, 3, "-32,-52 -2,-68 28,-46 20,-18 ^-8,-6 24,6 36,34 8,66 -36,52"},
    {3, 2, "-32,-64 ^34,-64 ^-4,-14 28,2 36,36 6,67 -36,52"},
    {3, 2, "-30,-54 2,-68 28,-44 12,-14 -10,-8 14,4 36,30 12,64 -34,54"},
    {3, 1, "-28,-60 14,-66 30,-40 ^-14,-4 30,6 30,48 -8,67 -38,46"},
    {4, 3, "-20,-66 -30,-26 ^-40,10 0,12 40,8 / 20,-44 16,10 14,70"},
    {4, 3, "18,-68 -14,-20 ^-42,20 0,20 42,18 / 18,-68 16,0 16,68"},
    {4, 3, "-32,-62 -34,-20 -14,4 20,-6 / 30,-64 22,0 12,70"},
    {4, 1, "-30,-60 ^-34,0 0,2 30,0 / 28,-60 26,0 26,68"},
    {5, 3, "-22,-64 ^-28,-10 4,-20 34,8 28,50 -4,68 -36,52 / -22,-64 8,-66 36,-66"},
    {5, 3, "34,-64 ^-20,-62 ^-28,-8 6,-18 34,14 22,58 -10,68 -36,54"},
    {5, 1, "32,-62 -6,-62 -26,-36 -2,-12 28,14 22,54 -8,68 -36,54"},
    {5, 1, "-18,-56 ^-26,-6 10,-14 34,16 18,58 -18,66 / -14,-60 14,-58 40,-66"},
    {6, 3, "22,-66 -14,-38 -34,10 -24,54 6,67 32,42 20,12 -8,10 -30,36"},
    {6, 3, "6,-70 -18,-12 -28,36 -6,65 26,50 24,18 -4,12 -26,36"},
    {6, 2, "30,-54 8,-67 -22,-40 -34,14 -18,58 14,65 33,38 16,12 -12,18 -28,44"},
    {7, 3, "-36,-62 0,-62 ^36,-64 10,0 -6,70"},
    {7, 3, "-36,-62 0,-60 ^36,-64 12,0 -4,70 / -20,2 30,-4"},
    {7, 2, "-36,-42 ^-34,-62 0,-62 ^36,-62 8,2 -4,70"},
    {7, 1, "-38,-54 -12,-66 10,-58 ^36,-64 20,-14 2,22 0,70"},
    {8, 3, "26,-54 0,-68 -26,-48 -6,-12 26,18 26,52 -2,68 -30,50 -22,16 10,-12 30,-40 24,-56"},
    {8, 2, "0,-67 -26,-52 -24,-22 0,-6 26,-24 24,-54 0,-67 / 0,-6 -31,16 -30,52 0,68 32,50 30,16 0,-6"},
    {8, 2, "30,-60 -6,-66 -24,-42 2,-10 28,24 18,60 -10,66 -26,42 -6,2 22,-36 34,-64"},
    {9, 3, "30,-46 6,-66 -26,-52 -28,-18 -2,-4 24,-22 ^32,-52 26,10 20,68"},
    {9, 3, "30,-50 2,-66 -28,-42 -20,-10 10,-8 30,-38 ^32,-56 30,8 10,60 -28,62"},
    {9, 2, "24,-60 -8,-64 -28,-34 -12,-8 16,-20 ^28,-62 16,0 2,70"},
};

enum { VARIANTS = sizeof variants / sizeof *variants };

const struct strokes *strokes_pick(int digit, uint32_t random) {
    uint32_t total = 0;
    for (int i = 0; i < VARIANTS; i++)
        if (variants[i].digit == digit) total += variants[i].weight;
    CHECK(total > 0, "strokes_pick: no digit %d", digit);
    uint32_t chosen = (uint32_t)((uint64_t)random * total >> 32);
    int i = 0;
    while (variants[i].digit != digit || chosen >= variants[i].weight) {
        if (variants[i].digit == digit) chosen -= variants[i].weight;
        i++;
    }
    return &variants[i];
}

struct knot {
    double x, y;
    bool start, corner;
};

// Returns the number of knots.
static int path_read(struct knot knots[STROKES_KNOTS], const char *path) {
    int count = 0;
    for (const char *at = path; *at;) {
        CHECK(count < STROKES_KNOTS, "strokes: more than %d knots in %s", STROKES_KNOTS, path);
        struct knot *k = &knots[count++];
        k->start = at == path || *at == '/';
        if (*at == '/') at += 2;
        k->corner = *at == '^';
        if (k->corner) at++;
        char *end;
        k->x = (double)strtol(at, &end, 10);
        k->y = (double)strtol(end + 1, &end, 10);
        at = *end ? end + 1 : end;
    }
    return count;
}

// One coordinate of the spline between b and c at t in [0, 1]; a and d are the knots around them.
static double spline(double a, double b, double c, double d, double t) {
    double linear = c - a, square = 2 * a - 5 * b + 4 * c - d, cube = 3 * b - 3 * c + d - a;
    return b + t * (linear + t * (square + t * cube)) / 2;
}

// The knot beyond `at`, coming from its other neighbour; at an end or a corner the mirror image of that
// neighbour.
static struct knot beyond(const struct knot *knots, int count, int at, int from) {
    int next = 2 * at - from;
    bool end = next > at ? next == count || knots[next].start : knots[at].start;
    if (!end && !knots[at].corner) return knots[next];
    return (struct knot){.x = 2 * knots[at].x - knots[from].x, .y = 2 * knots[at].y - knots[from].y};
}

int strokes_trace(struct vertex out[STROKES_POINTS], const struct strokes *s,
                  const double move[2 * STROKES_KNOTS]) {
    struct knot knots[STROKES_KNOTS];
    int count = path_read(knots, s->path), n = 0;
    for (int i = 0; i < count; i++) {
        knots[i].x += move[2 * i];
        knots[i].y += move[2 * i + 1];
    }
    for (int i = 0; i < count; i++) {
        if (knots[i].start) {
            out[n++] = (struct vertex){.x = knots[i].x, .y = knots[i].y};
            continue;
        }
        struct knot b = knots[i - 1], c = knots[i];
        struct knot a = beyond(knots, count, i - 1, i), d = beyond(knots, count, i, i - 1);
        for (int step = 1; step <= STROKES_SPAN; step++) {
            double t = (double)step / STROKES_SPAN;
            out[n++] = (struct vertex){spline(a.x, b.x, c.x, d.x, t), spline(a.y, b.y, c.y, d.y, t), true};
        }
    }
    return n;
}
