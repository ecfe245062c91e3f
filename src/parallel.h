// Threads. The only file that uses OpenMP; without it everything runs on one thread.
#ifndef TALLY_SRC_PARALLEL_H
#define TALLY_SRC_PARALLEL_H

#include "src/base.h"

// Runs work(context, task) for task = 0 .. tasks-1 on up to `threads` threads, and returns when all are done.
// A task must write only what no other task touches; then the result is the same for any number of threads.
void parallel_for(int threads, int tasks, void (*work)(void *context, int task), void *context);

// How many processors this process may use.
int parallel_processors(void);

#endif
