// Progress. Contracts in log.h.
#include "experiments/log.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/profile.h"

enum { BAR = 20 };

double log_seconds(void) {
    return profile_seconds();
}

void log_open(struct log *l, bool quiet) {
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    bool terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    *l = (struct log){.quiet = quiet, .terminal = terminal, .start = log_seconds()};
    l->colour = terminal && !(no_colour && *no_colour);
}

static void line(const struct log *l, const char *start, const char *format, va_list args) {
    if (l->terminal) fputs("\r\033[K", stderr);
    fputs(start, stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void log_line(struct log *l, const char *format, ...) {
    if (l->quiet) return;
    va_list args;
    va_start(args, format);
    line(l, "", format, args);
    va_end(args);
}

void log_warning(struct log *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    line(l, "warning: ", format, args);
    va_end(args);
}

void log_progress(struct log *l, const struct progress *p) {
    double now = log_seconds();
    if (l->quiet || !l->terminal || now - l->last < 0.1) return;
    l->last = now;
    char bar[BAR * 3 + 1], left[24], error[40] = "";
    int filled = (int)(p->done / p->total * BAR), used = 0;
    for (int i = 0; i < BAR; i++) used += snprintf(bar + used, 4, "%s", i < filled ? "█" : "░");
    double steps = p->done - p->first;
    double eta = steps > 0 ? (p->total - p->done) * p->elapsed / steps : 0;
    if (!isnan(p->error)) snprintf(error, sizeof error, "  error %.2f %%", p->error);
    fprintf(stderr, "\r\033[K%s%s%s %d/%d  loss %.4f%s  density %.4f  %.0f samples/s  ETA %s",
            l->colour ? "\033[32m" : "", bar, l->colour ? "\033[0m" : "", p->epoch, p->epochs, p->loss, error,
            p->density, p->samples_per_second, log_duration(left, eta));
    fflush(stderr);
}

const char *log_duration(char text[24], double seconds) {
    long s = seconds < 0 || seconds > 1e8 ? 0 : (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, 24, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, 24, "%02ld:%02ld", s / 60, s % 60);
    return text;
}

const char *log_count(char text[32], double number) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%.0f", number), used = 0;
    for (int i = 0; i < length; i++) {
        text[used++] = digits[i];
        if (digits[i] != '-' && i + 1 < length && (length - i - 1) % 3 == 0) text[used++] = ',';
    }
    text[used] = 0;
    return text;
}
