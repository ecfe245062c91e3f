// A tensor's numbers that are not zero, as compressed rows (CSR): row i has entries pointer[i] .. pointer[i+1]-1, in
// rising columns. A tensor of more than two dimensions is taken as (first dimension, all others together).
#ifndef TALLY_EXPORT_CSR_H
#define TALLY_EXPORT_CSR_H

#include "export/net.h"

struct csr {
    int rows, columns;
    size_t nonzero;   // of counters where there are counters, else of values
    int32_t *pointer; // [rows + 1]
    int32_t *column;  // [nonzero]
    size_t *at;       // [nonzero] row · columns + column: where the number is in the tensor
};

struct csr *csr_new(const struct net_tensor *t);
void csr_free(struct csr *c);

// [nonzero] values, in the order of the entries. Free with mem_free.
float *csr_values_new(const struct csr *c, const struct net_tensor *t);

// [nonzero] counters as int8_t, int16_t or int32_t, by number_bytes; the tensor is counted. Free with mem_free.
void *csr_counters_new(const struct csr *c, const struct net_tensor *t);

#endif
