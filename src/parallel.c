// Threads by OpenMP. Contracts in parallel.h.
#include "src/parallel.h"

#include <stdlib.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { PORTION = 1 << 13 };

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

// Measured on two processors with six other processes, 784-300-100-10 with Adam, two threads, samples a second: 300,000
// turns, about the default, 5,500; 20,000: 12,000; 5,000: 21,000; 1,000: 28,900; one thread 30,500.
static const char spin_turns[] = "1000";

void parallel_start(char **argv) {
#if defined(_OPENMP) && defined(__linux__)
    if (!argv[0] || getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    if (setenv("GOMP_SPINCOUNT", spin_turns, 1) == 0) execv("/proc/self/exe", argv);
#else
    (void)argv;
    (void)spin_turns;
#endif
}

int parallel_threads(int threads, size_t numbers) {
    size_t most = numbers / PORTION + 1;
    return (size_t)threads < most ? threads : (int)most;
}

int parallel_processors(void) {
#ifdef _OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}
