// How much memory there is.
#ifndef TALLY_SRC_MEMORY_H
#define TALLY_SRC_MEMORY_H

#include "src/base.h"

enum { MEMORY_TEXT = 24 };

// Bytes this process may use: the machine's, or less where its control group (Linux) is held to less. INFINITY where nobody
// tells.
double memory_machine(void);

// "1.5 GB", "640 KB" (powers of 1000) into text.
const char *memory_text(char text[MEMORY_TEXT], double bytes);

// "2G", "1.5GB", "512M", "80000K" or bytes; false when it is none of these, or not above 0.
bool memory_parse(double *bytes, const char *text);

#endif
