// What one thread of this machine can do: the yardstick for the kernels.
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/race.h"
#include "src/blas.h"

enum { MEMORY = 128 << 20, CACHED = 256 << 10, SIDES = 3 };

static const int gemm_side[SIDES] = {256, 384, 512};

// --- OpenBLAS
// --------------------------------------------------------------------------------------------------------

struct product {
    int side;
    real *a, *b, *c;
};

static void product_run(void *context, size_t calls) {
    struct product *p = context;
    struct matrix a = {p->a, p->side, false}, b = {p->b, p->side, false};
    for (; calls > 0; calls--) blas_gemm(p->c, p->side, p->side, p->side, p->side, a, b, 0);
}

static double gemm_measure(void) {
    size_t most = (size_t)gemm_side[SIDES - 1] * (size_t)gemm_side[SIDES - 1];
    real *numbers = mem_new(3 * most, sizeof *numbers);
    for (size_t i = 0; i < 2 * most; i++) numbers[i] = (real)(i % 7);
    double best = 0;
    for (int i = 0; i < SIDES; i++) {
        struct product p = {gemm_side[i], numbers, numbers + most, numbers + 2 * most};
        struct race race;
        race_run(&race, &(struct racer){product_run, &p}, 1, 0.05);
        double rate = 2.0 * p.side * p.side * p.side / race_spread(&race, 0).low;
        best = rate > best ? rate : best;
    }
    mem_free(numbers);
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

void machine_measure(struct machine *m) {
    struct buffer memory = {mem_new(MEMORY, 1), MEMORY, 0}, cached = {memory.words, CACHED, 0};
    struct race race;
    memset(memory.words, 1, MEMORY); // pages that were never written to are all one
    m->gemm = gemm_measure();
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
    printf("%s: sgemm %.0f GFLOP/s\nmemory: reads %.1f GB/s, copies %.1f GB/s (read and written); cache: "
           "reads %.0f GB/s\n",
           blas_name(), m->gemm / 1e9, m->read / 1e9, m->copy / 1e9, m->cache / 1e9);
}

struct json *machine_json_new(const struct machine *m) {
    struct json *out = json_object_new();
    json_add_string(out, "blas", blas_name());
    json_add_number(out, "gemm_gflops", m->gemm / 1e9);
    json_add_number(out, "read_gbytes", m->read / 1e9);
    json_add_number(out, "copy_gbytes", m->copy / 1e9);
    json_add_number(out, "cache_gbytes", m->cache / 1e9);
    return out;
}
