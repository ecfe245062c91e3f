// What was built, and how: recorded with every run.
#ifndef TALLY_EXPERIMENTS_VERSION_H
#define TALLY_EXPERIMENTS_VERSION_H

const char *version_text(void);   // "0.1.0"
const char *version_commit(void); // of the sources when CMake was last run, "" when unknown
const char *version_build(void);  // compiler and flags

#endif
