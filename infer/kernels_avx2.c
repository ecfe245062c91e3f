/* Kernels for AVX2: vectors of 8 floats, by the compiler's vector extension. */
#include <string.h>

#include "infer/model.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

typedef float vec __attribute__((vector_size(32)));
typedef float unaligned __attribute__((vector_size(32), aligned(4), may_alias));

#define KERNEL(name) avx2_##name
#define KERNEL_NAME "avx2"
#define TARGET __attribute__((target(TARGET_NAMES)))
#define TARGET_NAMES "avx2"
#define LOAD(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))
#define TO_LANES tally_to_lanes_avx2
#define FROM_LANES tally_from_lanes_avx2
#define NONZERO nonzero
#define SPREAD(f) ((vec){0} + (f))
enum { VECTOR = 8, GROUP = 8, TILE = 4, DENSE = 2, CONV = 4 };

TARGET static inline uint64_t nonzero(const float *x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 8) {
        __m256 other = _mm256_cmp_ps(_mm256_loadu_ps(x + i), _mm256_setzero_ps(), _CMP_NEQ_UQ);
        bits |= (uint64_t)(unsigned)_mm256_movemask_ps(other) << i;
    }
    return bits;
}

#include "infer/kernels.inc"

const struct tally_kernels *tally_kernels_avx2(void) {
    return &avx2_kernels;
}

#else

const struct tally_kernels *tally_kernels_avx2(void) {
    return NULL;
}

#endif
