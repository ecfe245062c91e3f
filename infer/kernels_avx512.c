/* Kernels for AVX512: vectors of 16 floats, by the compiler's vector extension. */
#include <string.h>

#include "infer/model.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

typedef float vec __attribute__((vector_size(64)));
typedef float unaligned __attribute__((vector_size(64), aligned(4), may_alias));

#define KERNEL(name) avx512_##name
#define KERNEL_NAME "avx512"
#define TARGET __attribute__((target(TARGET_NAMES)))
#define TARGET_NAMES "avx512f,avx512vl,avx2"
#define LOAD(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))
#define TO_LANES tally_to_lanes_avx2
#define FROM_LANES tally_from_lanes_avx2
#define NONZERO nonzero
#define SPREAD(f) ((vec){0} + (f))
enum { VECTOR = 16, GROUP = 4, TILE = 4, DENSE = 4, CONV = 4 };

TARGET static inline uint64_t nonzero(const float *x) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 16)
        bits |= (uint64_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(x + i), _mm512_setzero_ps(), _CMP_NEQ_UQ) << i;
    return bits;
}

#include "infer/kernels.inc"

const struct tally_kernels *tally_kernels_avx512(void) {
    return &avx512_kernels;
}

#else

const struct tally_kernels *tally_kernels_avx512(void) {
    return NULL;
}

#endif
