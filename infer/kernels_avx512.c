/* Kernels for AVX512: vectors of 16 floats, by the compiler's vector extension. */
#include <string.h>

#include "infer/model.h"

#if defined(__x86_64__) && defined(__GNUC__)

typedef float vec __attribute__((vector_size(64)));
typedef float unaligned __attribute__((vector_size(64), aligned(4), may_alias));

#define KERNEL(name) avx512_##name
#define KERNEL_NAME "avx512"
#define TARGET __attribute__((target(TARGET_NAMES)))
#define TARGET_NAMES "avx512f,avx512vl,avx2"
#define LOAD(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))
#define TO_LANES tally_to_lanes_avx2
#define SPREAD(f) ((vec){0} + (f))
enum { VECTOR = 16, GROUP = 4, TILE = 4, DENSE = 4 };

#include "infer/kernels.inc"

const struct tally_kernels *tally_kernels_avx512(void) {
    return &avx512_kernels;
}

#else

const struct tally_kernels *tally_kernels_avx512(void) {
    return NULL;
}

#endif
