// Threads. The only file that uses OpenMP; without it everything runs on one thread.
#ifndef TALLY_SRC_PARALLEL_H
#define TALLY_SRC_PARALLEL_H

#include "src/base.h"

// Runs work(context, task) for task = 0 .. tasks-1 on up to `threads` threads, and returns when all are done.
// A task must write only what no other task touches; then the result is the same for any number of threads.
void parallel_for(int threads, int tasks, void (*work)(void *context, int task), void *context);

// For main, before anything else: threads that wait for each other go to sleep soon. GCC's OpenMP lets them spin for some
// milliseconds, and where another process has taken a processor, the one that spins keeps the one it waits for from
// running. It reads the environment before main, so the program starts itself anew, once, with GOMP_SPINCOUNT set; not
// where the caller has set it or OMP_WAIT_POLICY. Does nothing where that can't be done.
void parallel_start(char **argv);

// How many of the threads so many numbers are worth: waking one costs as much as some thousand of them.
int parallel_threads(int threads, size_t numbers);

// How many processors this process may use.
int parallel_processors(void);

#endif
