// Random numbers from a counter-based generator: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers:
// as easy as 1, 2, 3", section 3.3). The n-th number of a stream is a pure function of (key, row, n), so
// threads, ranks and resumed runs draw the same numbers without sharing any state.
//
// One stream per purpose (init, shuffle, rounding, dropout ...), split from the run's seed; `row` is the
// position in the run (a step, an epoch, a sample), n the position in the row.
#ifndef TALLY_SRC_RNG_H
#define TALLY_SRC_RNG_H

#include "src/base.h"

struct rng {
    uint64_t key, row, next; // next: how many 32-bit numbers of this row were drawn
};

// The stream of this purpose and seed, at row 0.
struct rng rng_stream(uint64_t seed, const char *purpose);

// The same stream at the start of another row.
struct rng rng_row(struct rng stream, uint64_t row);

// One Philox block: out[4] from counter[4] and key[2].
void rng_block(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

uint32_t rng_u32(struct rng *r);

// Uniform in [0, 1), 53 bits (two numbers).
double rng_uniform(struct rng *r);

// Uniform in 0 .. n-1 without bias; n >= 1.
uint32_t rng_below(struct rng *r, uint32_t n);

// out[i] = number first+i of the stream's row, i < n: the same numbers rng_u32 gives, in bulk. `first` must
// be a multiple of 4. r->next is neither read nor moved.
void rng_fill(uint32_t *out, size_t n, const struct rng *r, uint64_t first);

// What rng_fill is made with: the best that this machine has. The tests go every way up to it.
enum rng_way { RNG_PLAIN, RNG_AVX2, RNG_AVX512 };
enum rng_way rng_best(void);
void rng_fill_by(enum rng_way way, uint32_t *out, size_t n, const struct rng *r, uint64_t first);

// A random permutation of 0 .. n-1 (Fisher-Yates).
void rng_shuffle(uint32_t *order, uint32_t n, struct rng *r);

#endif
