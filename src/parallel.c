// Threads by OpenMP. Contracts in parallel.h.
#include "src/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

void parallel_for(int threads, int tasks, void (*work)(void *context, int task), void *context) {
    CHECK(threads >= 1, "parallel_for: %d threads", threads);
    if (threads > tasks) threads = tasks;
    if (threads <= 1) {
        for (int task = 0; task < tasks; task++) work(context, task);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static)
#endif
    for (int task = 0; task < tasks; task++) work(context, task);
}

int parallel_processors(void) {
#ifdef _OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}
