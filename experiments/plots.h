// The report's plots: their numbers, from a comparison and its run folders. Drawn in gnuplot.c.
#ifndef TALLY_EXPERIMENTS_PLOTS_H
#define TALLY_EXPERIMENTS_PLOTS_H

#include "experiments/results.h"

enum plot_kind {
    PLOT_TRADE,    // test error (of runs without errors: the loss, here and below) against density
    PLOT_PRUNING,  // test error after pruning, by share kept
    PLOT_LEARNING, // validation error by epoch
    PLOT_DENSITY,  // density by epoch; a single variant's layers
    PLOT_WEIGHTS,  // histogram of log10 abs(w)
    PLOT_COUNTERS, // histogram of abs(counter)
    PLOT_KINDS
};

enum plot_style { PLOT_POINTS, PLOT_LINES, PLOT_STEPS };

struct point {
    double x, y, error;
};

struct series {
    char name[192]; // plain text, from outside
    struct point *points;
    int count, place; // place: which of the colours, the same for a variant in all plots
};

struct plot {
    const char *id, *title, *caption, *x_title, *y_title;
    enum plot_style style;
    bool log_x, log_y;
    struct series *list;
    int count;
};

// Gathers the numbers; a run without the file that they are read from has no line. Free with plot_free, also after a
// failure.
int plot_make(struct plot *p, enum plot_kind kind, const struct results *r, struct err *e);
void plot_free(struct plot *p);

// Whether there is a point to draw.
bool plot_filled(const struct plot *p);

// FOLDER/metrics.jsonl as an array, NULL with *failed false when there is none. json_free it.
struct json *plot_metrics_new(const char *folder, bool *failed, struct err *e);

#endif
