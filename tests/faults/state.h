// What a folder holds after a run of the program, beside what it held before and what the unbroken run made of it.
#ifndef TALLY_TESTS_FAULTS_STATE_H
#define TALLY_TESTS_FAULTS_STATE_H

#include "src/base.h"

// The text of a file, or of what was printed, without what is different from run to run of equal bits: times, speeds.
char *state_text_new(size_t *size, const char *path, struct err *e);

// Whether the two files say the same.
bool state_same(const char *a, const char *b);

// Every file in `work` is as in `before`, as in `wanted`, or whole: a checkpoint that loads, JSON that parses, an image that
// decodes. Temporary files may lie around only with `litter`.
int state_whole(const char *work, const char *before, const char *wanted, bool litter, struct err *e);

// Every file of `wanted` is in `work` and says the same; nothing else is there but kept earlier runs, and with `litter`
// temporary files.
int state_done(const char *work, const char *wanted, bool litter, struct err *e);

#endif
