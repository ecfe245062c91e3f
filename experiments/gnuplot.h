// Drawing a plot with gnuplot, as SVG inside an HTML page. The only file that starts gnuplot.
//
// Only numbers and our own titles go to gnuplot: the names of runs and layers stand in an HTML legend, so nothing from
// outside needs to be quoted for it, and the legend stays readable where the plot is small.
#ifndef TALLY_EXPERIMENTS_GNUPLOT_H
#define TALLY_EXPERIMENTS_GNUPLOT_H

#include "experiments/page.h"
#include "experiments/plots.h"

// Adds the SVG, which inherits the text's colour and fills the width; its ids begin with the plot's. *drawn is false,
// and nothing is added, when there is no gnuplot on this machine.
int gnuplot_draw(struct page *page, const struct plot *p, bool *drawn, struct err *e);

// Adds the list of names, each with its line or mark.
void gnuplot_legend(struct page *page, const struct plot *p);

#endif
