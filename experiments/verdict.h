// Who wins: the questions a comparison answers, each with the best variant, the next best and the distance between them
// in standard errors.
#ifndef TALLY_EXPERIMENTS_VERDICT_H
#define TALLY_EXPERIMENTS_VERDICT_H

#include "experiments/results.h"

enum { VERDICTS = 4, VERDICT_TEXT = 400 };

// The questions: test error at 1.5 % and at 5 % density (variants within a tenth of it), and test error after one-shot
// pruning to 10 % and to 2 % of the weights (variants that were denser before). One line of text each, such as
// "1.5 % density: counter-square wins with 1.70 ± 0.04 %, 2.0 standard errors before counter-exp (1.78 ± 0.03 %)";
// questions that fewer than two variants answer say so. Distances are (mean - mean) / sqrt(error² + error²), "not
// measurable" with one run each.
void verdicts_make(char text[VERDICTS][VERDICT_TEXT], const struct results *r);

#endif
