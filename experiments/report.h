// The report: one self-contained HTML page with table and plots, for a comparison or for one run.
#ifndef TALLY_EXPERIMENTS_REPORT_H
#define TALLY_EXPERIMENTS_REPORT_H

#include "experiments/results.h"

// Writes FOLDER/report.html: no network, no script that is needed to read it, dark and light by the reader's setting,
// readable at 390 pixels. Plots are drawn by gnuplot as SVG; without gnuplot on the machine the page says which plots
// are missing and how to get them, and *drawn is false. Runs' metrics.jsonl, histogram and first-layer pictures come
// from their folders.
int report_write(const struct results *r, const char *folder, bool *drawn, struct err *e);

#endif
