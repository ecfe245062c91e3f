/* Kernels for AVX2: vectors of 8 floats, by the compiler's vector extension. */
#include <string.h>

#include "infer/model.h"

#if defined(__x86_64__) && defined(__GNUC__)

typedef float vec __attribute__((vector_size(32)));
typedef float unaligned __attribute__((vector_size(32), aligned(4), may_alias));

#define KERNEL(name) avx2_##name
#define KERNEL_NAME "avx2"
#define TARGET __attribute__((target(TARGET_NAMES)))
#define TARGET_NAMES "avx2"
#define LOAD(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))
#define TO_LANES tally_to_lanes_avx2
#define SPREAD(f) ((vec){0} + (f))
enum { VECTOR = 8, GROUP = 8, TILE = 4, DENSE = 2 };

#include "infer/kernels.inc"

const struct tally_kernels *tally_kernels_avx2(void) {
    return &avx2_kernels;
}

#else

const struct tally_kernels *tally_kernels_avx2(void) {
    return NULL;
}

#endif
