/* Kernels in plain C, and the choice of the best set for the processor. */
#include <string.h>

#include "infer/model.h"

typedef float vec;

#define KERNEL(name) c_##name
#define KERNEL_NAME "c"
#define TARGET
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define SPREAD(f) (f)
enum { VECTOR = 1, GROUP = 16, TILE = 4, DENSE = 4, CONV = 8 };

#include "infer/kernels.inc"

const struct tally_kernels *tally_kernels_c(void) {
    return &c_kernels;
}

const struct tally_kernels *tally_kernels_choose(int portable) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (!portable && tally_kernels_avx512() && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl"))
        return tally_kernels_avx512();
    if (!portable && tally_kernels_avx2() && __builtin_cpu_supports("avx2")) return tally_kernels_avx2();
#endif
    (void)portable;
    return tally_kernels_c();
}
