// What a run tells while it goes: a progress bar on a terminal, plain lines elsewhere.
#ifndef TALLY_EXPERIMENTS_LOG_H
#define TALLY_EXPERIMENTS_LOG_H

#include "src/base.h"

struct log {
    bool quiet;
    bool terminal;      // a bar that is redrawn; else a line per epoch only
    bool colour;        // terminal and NO_COLOR is not set
    double start, last; // seconds: of the run, of the last redraw
};

// Seconds of a clock that only goes forward.
double log_seconds(void);

void log_open(struct log *l, bool quiet);

// A line on stderr, above the bar. Nothing when quiet.
void log_line(struct log *l, const char *format, ...) PRINTF_LIKE(2, 3);

// "warning: ..." on stderr, above the bar, also when quiet.
void log_warning(struct log *l, const char *format, ...) PRINTF_LIKE(2, 3);

struct progress {
    double done, total; // steps
    double elapsed;     // seconds for `done - first` steps of this process
    double first;       // where this process began
    double samples_per_second;
    int epoch, epochs;
    double loss, error, density; // so far in this epoch; error in percent, NAN: none
};

// Redraws the bar, at most ten times a second. Nothing unless on a terminal.
void log_progress(struct log *l, const struct progress *p);

// "1:02:03" or "02:03" into text.
const char *log_duration(char text[24], double seconds);

// "55,000" into text.
const char *log_count(char text[32], double number);

#endif
