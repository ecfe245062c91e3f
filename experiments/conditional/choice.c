// What a selector's choice costs next to the dense layer that it replaces: milliseconds of the processor for a batch of 128 and 784 ->
// 20,000, in turn, medians of 21 rounds on one thread. Built and called by the script `run` beside it.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "layers/choose.h"
#include "src/blas.h"

enum {
    BATCH = 128,
    IN = 784,
    OUT = 20000,
    BLOCK = 16,
    UNITS = OUT / BLOCK,
    CHOSEN = 62,
    RANK = 16,
    ROUNDS = 21
};
enum { DENSE, CHOICE, KINDS };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void) {
    blas_start();
    struct params *ps = params_new();
    int weight = params_add(ps, "weight", shape_2(OUT, IN), 0.1, 0);
    int first = params_add(ps, "sketch_in", shape_2(IN, RANK), 0.1, 0);
    int second = params_add(ps, "sketch_out", shape_2(RANK, UNITS), 0.1, 0);
    int samples = params_add(ps, "samples", shape_2(BATCH, IN), 1, 0);
    params_alloc(ps, 1, 1);
    struct tape *t = tape_new(ps, 0);
    static double ms[KINDS][ROUNDS];
    for (int round = -2; round < ROUNDS; round++) // the first two warm up
        for (int kind = 0; kind < KINDS; kind++) {
            tape_reset(t, false);
            struct tensor *x = tape_param(t, samples);
            double start = now();
            if (kind == DENSE)
                op_linear(t, x, tape_param(t, weight), NULL);
            else
                choose_each(t, choose_sketch(t, x, &ps->list[first], &ps->list[second]), BATCH, UNITS, CHOSEN,
                            BLOCK);
            if (round >= 0) ms[kind][round] = now() - start;
        }
    for (int kind = 0; kind < KINDS; kind++) qsort(ms[kind], ROUNDS, sizeof **ms, by_size);
    double dense = ms[DENSE][ROUNDS / 2], choice = ms[CHOICE][ROUNDS / 2];
    printf("dense forward %.2f ms, choice %.2f ms, %.1f %%\n", dense, choice, 100 * choice / dense);
    tape_free(t);
    params_free(ps);
}
