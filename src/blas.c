// OpenBLAS behind one door. Contracts in blas.h.
#include "src/blas.h"

#include <cblas.h>

void blas_gemm(real *c, int stride, int m, int n, int k, struct matrix a, struct matrix b, real beta) {
    CBLAS_TRANSPOSE ta = a.transposed ? CblasTrans : CblasNoTrans;
    CBLAS_TRANSPOSE tb = b.transposed ? CblasTrans : CblasNoTrans;
#ifdef TALLY_DOUBLE
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, a.value, a.stride, b.value, b.stride, beta, c, stride);
#else
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, a.value, a.stride, b.value, b.stride, beta, c, stride);
#endif
}

void blas_start(void) {
    openblas_set_num_threads(1);
}

const char *blas_name(void) {
    return openblas_get_config();
}
