// OpenBLAS behind one door. Contracts in blas.h.
#include "src/blas.h"

#include <cblas.h>
#include <strings.h>

void blas_gemm(real *c, int stride, int m, int n, int k, struct matrix a, struct matrix b, real beta) {
    CBLAS_TRANSPOSE ta = a.transposed ? CblasTrans : CblasNoTrans;
    CBLAS_TRANSPOSE tb = b.transposed ? CblasTrans : CblasNoTrans;
#ifdef TALLY_DOUBLE
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, a.value, a.stride, b.value, b.stride, beta, c, stride);
#else
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, a.value, a.stride, b.value, b.stride, beta, c, stride);
#endif
}

void blas_gemv(real *y, int m, int k, struct matrix a, const real *x) {
    CBLAS_TRANSPOSE t = a.transposed ? CblasTrans : CblasNoTrans;
    int rows = a.transposed ? k : m, columns = a.transposed ? m : k; // as they lie in memory
#ifdef TALLY_DOUBLE
    cblas_dgemv(CblasRowMajor, t, rows, columns, 1, a.value, a.stride, x, 1, 0, y, 1);
#else
    cblas_sgemv(CblasRowMajor, t, rows, columns, 1, a.value, a.stride, x, 1, 0, y, 1);
#endif
}

void blas_start(void) {
    openblas_set_num_threads(1);
}

int blas_lanes(void) {
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strcasecmp(openblas_get_corename(), wide[i]) == 0) return 16;
    return 8;
}

const char *blas_name(void) {
    return openblas_get_config();
}
