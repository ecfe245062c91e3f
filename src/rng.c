// Philox4x32-10. Contracts and source in rng.h.
#include "src/rng.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86
#endif

enum { ROUNDS = 10, LANES = 32 };
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
    struct rng mixed = {.key = seed, .row = hash_add(HASH_START, purpose, strlen(purpose))};
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

// --- in bulk: `groups` times LANES blocks
// --------------------------------------------------------------------------------------------------

// Written so that the compiler makes vectors of it.
static void fill_plain(uint32_t *restrict out, size_t groups, uint64_t block, uint64_t row, uint64_t key) {
    uint32_t x0[LANES], x1[LANES], x2[LANES], x3[LANES];
    for (; groups > 0; groups--, block += LANES) {
        for (int i = 0; i < LANES; i++) {
            x0[i] = (uint32_t)(block + (uint64_t)i);
            x1[i] = (uint32_t)((block + (uint64_t)i) >> 32);
            x2[i] = (uint32_t)row;
            x3[i] = (uint32_t)(row >> 32);
        }
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < ROUNDS; round++, k0 += W0, k1 += W1)
            for (int i = 0; i < LANES; i++) {
                uint64_t p0 = (uint64_t)M0 * x0[i], p1 = (uint64_t)M1 * x2[i];
                x0[i] = (uint32_t)(p1 >> 32) ^ x1[i] ^ k0;
                x2[i] = (uint32_t)(p0 >> 32) ^ x3[i] ^ k1;
                x1[i] = (uint32_t)p1;
                x3[i] = (uint32_t)p0;
            }
        for (int i = 0; i < LANES; i++, out += 4) {
            out[0] = x0[i];
            out[1] = x1[i];
            out[2] = x2[i];
            out[3] = x3[i];
        }
    }
}

// By hand, since compilers multiply all 64 bits of a widened number and shuffle the halves of the products apart. Here
// every number stays in the low half of a 64-bit lane; what is in the high half, no multiplication reads. GROUP vectors
// go side by side, since one waits for its products most of the time. The order of the blocks in a vector is what
// unpack at the end puts right.
#ifdef X86
__attribute__((target("avx512f"))) static void fill_avx512(uint32_t *restrict out, size_t groups,
                                                           uint64_t block, uint64_t row, uint64_t key) {
    enum { GROUP = 4 };
    const __m512i m0 = _mm512_set1_epi64(M0), m1 = _mm512_set1_epi64(M1);
    const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    for (; groups > 0; groups--, block += LANES) {
        __m512i x0[GROUP], x1[GROUP], x2[GROUP], x3[GROUP];
        for (int i = 0; i < GROUP; i++) {
            x0[i] = _mm512_add_epi64(_mm512_set1_epi64((int64_t)block + 8 * i), order);
            x1[i] = _mm512_srli_epi64(x0[i], 32);
            x2[i] = _mm512_set1_epi64((int64_t)row);
            x3[i] = _mm512_srli_epi64(x2[i], 32);
        }
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < ROUNDS; round++, k0 += W0, k1 += W1) {
            const __m512i key0 = _mm512_set1_epi32((int32_t)k0), key1 = _mm512_set1_epi32((int32_t)k1);
            for (int i = 0; i < GROUP; i++) {
                __m512i p0 = _mm512_mul_epu32(x0[i], m0), p1 = _mm512_mul_epu32(x2[i], m1);
                x0[i] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), x1[i], key0, 0x96); // a ^ b ^ c
                x2[i] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), x3[i], key1, 0x96);
                x1[i] = p1, x3[i] = p0;
            }
        }
        for (int i = 0; i < GROUP; i++, out += 32) {
            __m512i low = _mm512_mask_blend_epi32(0xaaaa, x0[i], _mm512_slli_epi64(x1[i], 32));
            __m512i high = _mm512_mask_blend_epi32(0xaaaa, x2[i], _mm512_slli_epi64(x3[i], 32));
            _mm512_storeu_si512(out, _mm512_unpacklo_epi64(low, high));
            _mm512_storeu_si512(out + 16, _mm512_unpackhi_epi64(low, high));
        }
    }
}

__attribute__((target("avx2"))) static void fill_avx2(uint32_t *restrict out, size_t groups, uint64_t block,
                                                      uint64_t row, uint64_t key) {
    enum { GROUP = 2 };
    const __m256i m0 = _mm256_set1_epi64x(M0), m1 = _mm256_set1_epi64x(M1);
    const __m256i order = _mm256_set_epi64x(3, 1, 2, 0);
    for (groups *= LANES / (4 * GROUP); groups > 0; groups--, block += 4 * GROUP) {
        __m256i x0[GROUP], x1[GROUP], x2[GROUP], x3[GROUP];
        for (int i = 0; i < GROUP; i++) {
            x0[i] = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)block + 4 * i), order);
            x1[i] = _mm256_srli_epi64(x0[i], 32);
            x2[i] = _mm256_set1_epi64x((int64_t)row);
            x3[i] = _mm256_srli_epi64(x2[i], 32);
        }
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < ROUNDS; round++, k0 += W0, k1 += W1) {
            const __m256i key0 = _mm256_set1_epi32((int32_t)k0), key1 = _mm256_set1_epi32((int32_t)k1);
            for (int i = 0; i < GROUP; i++) {
                __m256i p0 = _mm256_mul_epu32(x0[i], m0), p1 = _mm256_mul_epu32(x2[i], m1);
                x0[i] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), x1[i]), key0);
                x2[i] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), x3[i]), key1);
                x1[i] = p1, x3[i] = p0;
            }
        }
        for (int i = 0; i < GROUP; i++, out += 16) {
            __m256i low = _mm256_blend_epi32(x0[i], _mm256_slli_epi64(x1[i], 32), 0xaa);
            __m256i high = _mm256_blend_epi32(x2[i], _mm256_slli_epi64(x3[i], 32), 0xaa);
            _mm256_storeu_si256((__m256i *)out, _mm256_unpacklo_epi64(low, high));
            _mm256_storeu_si256((__m256i *)(out + 8), _mm256_unpackhi_epi64(low, high));
        }
    }
}
#endif

enum rng_way rng_best(void) {
#ifdef X86
    return __builtin_cpu_supports("avx512f") ? RNG_AVX512
           : __builtin_cpu_supports("avx2")  ? RNG_AVX2
                                             : RNG_PLAIN;
#else
    return RNG_PLAIN;
#endif
}

static void fill(enum rng_way way, uint32_t *restrict out, size_t groups, uint64_t block,
                 const struct rng *r) {
#ifdef X86
    if (way == RNG_AVX512)
        fill_avx512(out, groups, block, r->row, r->key);
    else if (way == RNG_AVX2)
        fill_avx2(out, groups, block, r->row, r->key);
    else
#endif
        fill_plain(out, groups, block, r->row, r->key);
}

void rng_fill_by(enum rng_way way, uint32_t *out, size_t n, const struct rng *r, uint64_t first) {
    CHECK(first % 4 == 0, "rng_fill: first %llu is not a multiple of 4", (unsigned long long)first);
    CHECK(way <= rng_best(), "rng_fill: this machine can't");
    size_t groups = n / (4 * LANES), done = groups * 4 * LANES;
    fill(way, out, groups, first / 4, r);
    if (done == n) return;
    uint32_t rest[4 * LANES];
    fill(way, rest, 1, (first + done) / 4, r);
    memcpy(out + done, rest, (n - done) * sizeof *out);
}

void rng_fill(uint32_t *out, size_t n, const struct rng *r, uint64_t first) {
    rng_fill_by(rng_best(), out, n, r, first);
}

void rng_shuffle(uint32_t *order, uint32_t n, struct rng *r) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = rng_below(r, i), swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
