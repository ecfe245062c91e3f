// The seam for tests that are linked with it.
#ifndef TALLY_TESTS_FAULTS_SEAM_H
#define TALLY_TESTS_FAULTS_SEAM_H

// From here on CALL:N:WHAT goes wrong, counted anew; see seam.c. NULL: nothing.
void seam_fault(const char *text);

#endif
