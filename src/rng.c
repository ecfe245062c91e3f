// Philox4x32-10. Contracts and source in rng.h.
#include "src/rng.h"

enum { ROUNDS = 10, LANES = 64 };
static const uint32_t M0 = 0xD2511F53u, M1 = 0xCD9E8D57u; // multipliers
static const uint32_t W0 = 0x9E3779B9u, W1 = 0xBB67AE85u; // Weyl sequence of the key

void rng_block(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)M0 * x0, p1 = (uint64_t)M1 * x2;
        uint32_t y0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0, y2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x0 = y0, x1 = (uint32_t)p1, x2 = y2, x3 = (uint32_t)p0;
        k0 += W0, k1 += W1;
    }
    out[0] = x0, out[1] = x1, out[2] = x2, out[3] = x3;
}

static void block_of(uint32_t out[4], const struct rng *r, uint64_t block) {
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)r->row,
                                 (uint32_t)(r->row >> 32)};
    const uint32_t key[2] = {(uint32_t)r->key, (uint32_t)(r->key >> 32)};
    rng_block(out, counter, key);
}

struct rng rng_stream(uint64_t seed, const char *purpose) {
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a of the purpose
    for (; *purpose; purpose++) hash = (hash ^ (unsigned char)*purpose) * 0x100000001b3u;
    struct rng mixed = {.key = seed, .row = hash};
    uint32_t out[4];
    block_of(out, &mixed, 0);
    return (struct rng){.key = (uint64_t)out[1] << 32 | out[0]};
}

struct rng rng_row(struct rng stream, uint64_t row) {
    return (struct rng){.key = stream.key, .row = row};
}

uint32_t rng_u32(struct rng *r) {
    uint32_t out[4];
    block_of(out, r, r->next / 4);
    return out[r->next++ % 4];
}

double rng_uniform(struct rng *r) {
    uint64_t high = rng_u32(r), low = rng_u32(r);
    return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

uint32_t rng_below(struct rng *r, uint32_t n) {
    CHECK(n > 0, "rng_below(0)");
    uint32_t reject = (0u - n) % n; // the first 2^32 mod n numbers would favour the small results
    uint32_t x;
    do x = rng_u32(r);
    while (x < reject);
    return x % n;
}

// LANES blocks at once, written so that the compiler makes vectors of them.
VECTOR_CLONES static void fill_lanes(uint32_t *restrict out, uint64_t block, uint64_t row, uint64_t key) {
    uint32_t x0[LANES], x1[LANES], x2[LANES], x3[LANES], k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int i = 0; i < LANES; i++) {
        x0[i] = (uint32_t)(block + (uint64_t)i);
        x1[i] = (uint32_t)((block + (uint64_t)i) >> 32);
        x2[i] = (uint32_t)row;
        x3[i] = (uint32_t)(row >> 32);
    }
    for (int round = 0; round < ROUNDS; round++, k0 += W0, k1 += W1)
        for (int i = 0; i < LANES; i++) {
            uint64_t p0 = (uint64_t)M0 * x0[i], p1 = (uint64_t)M1 * x2[i];
            x0[i] = (uint32_t)(p1 >> 32) ^ x1[i] ^ k0;
            x2[i] = (uint32_t)(p0 >> 32) ^ x3[i] ^ k1;
            x1[i] = (uint32_t)p1;
            x3[i] = (uint32_t)p0;
        }
    for (int i = 0; i < LANES; i++) {
        out[4 * i] = x0[i];
        out[4 * i + 1] = x1[i];
        out[4 * i + 2] = x2[i];
        out[4 * i + 3] = x3[i];
    }
}

void rng_fill(uint32_t *out, size_t n, const struct rng *r, uint64_t first) {
    CHECK(first % 4 == 0, "rng_fill: first %llu is not a multiple of 4", (unsigned long long)first);
    size_t done = 0;
    for (; n - done >= 4 * LANES; done += 4 * LANES)
        fill_lanes(out + done, (first + done) / 4, r->row, r->key);
    struct rng rest = {.key = r->key, .row = r->row, .next = first + done};
    for (; done < n; done++) out[done] = rng_u32(&rest);
}

void rng_shuffle(uint32_t *order, uint32_t n, struct rng *r) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = rng_below(r, i), swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
