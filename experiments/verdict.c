// Who wins. Contracts in verdict.h.
#include "experiments/verdict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct question {
    const char *title, *key; // key: of the column that decides
    double low, high;        // densities of the variants that take part
};

static const struct question questions[VERDICTS] = {
    {"1.5 % density", "test_error", 0.0135, 0.0165},
    {"5 % density", "test_error", 0.045, 0.055},
    {"one-shot pruning to 10 %", "pruned_error_0.1", 0.1001, 1},
    {"one-shot pruning to 2 %", "pruned_error_0.02", 0.0201, 1},
};

static void verdict_make(char text[VERDICT_TEXT], const struct question *q, const struct results *r) {
    const struct column *decides = results_column(r, q->key), *density = results_column(r, "density");
    const struct variant *best = NULL, *next = NULL;
    struct estimate first = {0}, second = {0};
    for (int i = 0; i < r->count; i++) {
        double d = results_estimate(&r->variants[i], density).mean;
        struct estimate e = results_estimate(&r->variants[i], decides);
        if (e.n == 0 || !(d >= q->low && d <= q->high)) continue;
        if (!best || e.mean < first.mean) {
            next = best, second = first;
            best = &r->variants[i], first = e;
        } else if (!next || e.mean < second.mean) {
            next = &r->variants[i], second = e;
        }
    }
    if (!best || !next) {
        snprintf(text, VERDICT_TEXT, "%s: %s", q->title,
                 best ? "only one variant is there" : "no variant is there");
        return;
    }
    char distance[64];
    double error = sqrt(first.error * first.error + second.error * second.error);
    if (error > 0)
        snprintf(distance, sizeof distance, "%.1f standard errors", (second.mean - first.mean) / error);
    else
        snprintf(distance, sizeof distance, "by a distance that one run each can't measure,");
    const char *unit = results_have_errors(r) ? " %" : "";
    int digits = decides->digits;
    snprintf(text, VERDICT_TEXT, "%s: %s wins with %.*f ± %.*f%s, %s before %s (%.*f ± %.*f%s)", q->title,
             best->name, digits, first.mean, digits, first.error, unit, distance, next->name, digits,
             second.mean, digits, second.error, unit);
}

void verdicts_make(char text[VERDICTS][VERDICT_TEXT], const struct results *r) {
    for (int i = 0; i < VERDICTS; i++) verdict_make(text[i], &questions[i], r);
}
