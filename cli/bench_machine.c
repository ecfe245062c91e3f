// What this machine can do: the yardstick for the kernels and for training.
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/race.h"
#include "experiments/log.h"
#include "src/blas.h"
#include "src/parallel.h"

enum { MEMORY = 128 << 20, CACHED = 256 << 10, SIDES = 3, RUNS = 9 };

// A run of products shorter than this would time the start of threads.
static const double run_seconds = 0.008;

static const int gemm_side[SIDES] = {256, 384, 512};

// --- OpenBLAS
// --------------------------------------------------------------------------------------------------------

struct product {
    int side;
    real *a, *b, *c;
};

static void product_make(struct product *p, int side) {
    size_t size = (size_t)side * (size_t)side;
    real *numbers = mem_new(3 * size, sizeof *numbers);
    for (size_t i = 0; i < 2 * size; i++) numbers[i] = (real)(i % 7);
    *p = (struct product){side, numbers, numbers + size, numbers + 2 * size};
}

// As many products on each thread.
struct products {
    struct product *of_thread;
    int threads, calls;
};

static void products_run(void *context, int thread) {
    const struct products *all = context;
    const struct product *p = &all->of_thread[thread];
    struct matrix a = {p->a, p->side, false}, b = {p->b, p->side, false};
    for (int i = 0; i < all->calls; i++) blas_gemm(p->c, p->side, p->side, p->side, p->side, a, b, 0);
}

static double products_seconds(struct products *all) {
    double start = log_seconds();
    parallel_for(all->threads, all->threads, products_run, all);
    return log_seconds() - start;
}

// Operations per second of the best run, all threads together.
static double products_rate(struct products *all) {
    double operations = 2.0 * all->of_thread->side * all->of_thread->side * all->of_thread->side, best = 0;
    all->calls = 1;
    while (products_seconds(all) < run_seconds) all->calls *= 2;
    for (int i = 0; i < RUNS; i++) {
        double rate = operations * all->calls * all->threads / products_seconds(all);
        best = rate > best ? rate : best;
    }
    return best;
}

static double gemm_measure(int threads) {
    struct products all = {mem_new((size_t)threads, sizeof *all.of_thread), threads, 0};
    double best = 0;
    for (int i = 0; i < SIDES; i++) {
        for (int k = 0; k < threads; k++) product_make(&all.of_thread[k], gemm_side[i]);
        double rate = products_rate(&all);
        best = rate > best ? rate : best;
        for (int k = 0; k < threads; k++) mem_free(all.of_thread[k].a);
    }
    mem_free(all.of_thread);
    return best;
}

// --- memory
// ----------------------------------------------------------------------------------------------------------

struct buffer {
    uint64_t *words;
    size_t bytes;
    uint64_t sum; // so that reading is not optimised away
};

VECTOR_CLONES
static uint64_t words_sum(const uint64_t *words, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += words[i];
    return sum;
}

static void read_run(void *context, size_t calls) {
    struct buffer *b = context;
    for (; calls > 0; calls--) {
        b->words[0] = calls;
        b->sum += words_sum(b->words, b->bytes / sizeof *b->words);
    }
}

// One half to the other.
static void copy_run(void *context, size_t calls) {
    struct buffer *b = context;
    char *bytes = (char *)b->words;
    for (; calls > 0; calls--) memcpy(bytes + b->bytes / 2, bytes, b->bytes / 2);
}

void machine_measure(struct machine *m, int threads) {
    struct buffer memory = {mem_new(MEMORY, 1), MEMORY, 0}, cached = {memory.words, CACHED, 0};
    struct race race;
    memset(memory.words, 1, MEMORY); // pages that were never written to are all one
    m->threads = threads;
    m->gemm = gemm_measure(1);
    m->gemms = threads > 1 ? gemm_measure(threads) : m->gemm;
    const struct racer racers[] = {{read_run, &memory}, {copy_run, &memory}, {read_run, &cached}};
    race_run(&race, racers, 3, 0.3);
    m->read = MEMORY / race_spread(&race, 0).low;
    m->copy = MEMORY / race_spread(&race, 1).low;
    m->cache = CACHED / race_spread(&race, 2).low;
    mem_free(memory.words);
}

// --- saying
// ----------------------------------------------------------------------------------------------------------

void machine_print(const struct machine *m) {
    printf("%s: sgemm %.0f GFLOP/s", blas_name(), m->gemm / 1e9);
    if (m->threads > 1) printf(", %.0f on %d threads at a time", m->gemms / 1e9, m->threads);
    printf("\nmemory: reads %.1f GB/s, copies %.1f GB/s (read and written); cache: reads %.0f GB/s\n",
           m->read / 1e9, m->copy / 1e9, m->cache / 1e9);
}

struct json *machine_json_new(const struct machine *m) {
    struct json *out = json_object_new();
    json_add_string(out, "blas", blas_name());
    json_add_number(out, "gemm_gflops", m->gemm / 1e9);
    if (m->threads > 1) {
        json_add_number(out, "threads", m->threads);
        json_add_number(out, "gemms_gflops", m->gemms / 1e9);
    }
    json_add_number(out, "read_gbytes", m->read / 1e9);
    json_add_number(out, "copy_gbytes", m->copy / 1e9);
    json_add_number(out, "cache_gbytes", m->cache / 1e9);
    return out;
}

int bench_machine(const struct bench_arguments *a, struct err *e) {
    (void)e;
    struct machine m;
    machine_measure(&m, a->threads);
    if (a->json) {
        struct json *out = machine_json_new(&m);
        cli_print_json(out);
        json_free(out);
    } else
        machine_print(&m);
    return 0;
}
