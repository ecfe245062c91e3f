// Compressed rows. Contracts in csr.h.
#include "export/csr.h"

static bool is_there(const struct net_tensor *t, size_t i) {
    return t->counted ? t->counter[i] != 0 : t->value[i] != 0;
}

struct csr *csr_new(const struct net_tensor *t) {
    struct csr *c = mem_new(1, sizeof *c);
    c->rows = net_rows(t);
    c->columns = net_columns(t);
    for (size_t i = 0; i < t->size; i++) c->nonzero += is_there(t, i);
    CHECK(c->nonzero <= INT32_MAX, "csr: %zu entries", c->nonzero);
    c->pointer = mem_new((size_t)c->rows + 1, sizeof *c->pointer);
    c->column = mem_new(c->nonzero, sizeof *c->column);
    c->at = mem_new(c->nonzero, sizeof *c->at);
    size_t entry = 0, at = 0;
    for (int i = 0; i < c->rows; i++) {
        for (int j = 0; j < c->columns; j++, at++) {
            if (!is_there(t, at)) continue;
            c->column[entry] = j;
            c->at[entry++] = at;
        }
        c->pointer[i + 1] = (int32_t)entry;
    }
    return c;
}

void csr_free(struct csr *c) {
    if (!c) return;
    mem_free(c->pointer);
    mem_free(c->column);
    mem_free(c->at);
    mem_free(c);
}

float *csr_values_new(const struct csr *c, const struct net_tensor *t) {
    float *values = mem_new(c->nonzero, sizeof *values);
    for (size_t i = 0; i < c->nonzero; i++) values[i] = t->value[c->at[i]];
    return values;
}

void *csr_counters_new(const struct csr *c, const struct net_tensor *t) {
    int bytes = number_bytes(&t->number);
    void *counters = mem_new(c->nonzero, (size_t)bytes);
    for (size_t i = 0; i < c->nonzero; i++) {
        int32_t counter = t->counter[c->at[i]];
        int64_t limit = INT64_C(1) << (8 * bytes - 1);
        CHECK(counter >= -limit && counter < limit, "csr: counter %d in %d bytes", (int)counter, bytes);
        if (bytes == 1)
            ((int8_t *)counters)[i] = (int8_t)counter;
        else if (bytes == 2)
            ((int16_t *)counters)[i] = (int16_t)counter;
        else
            ((int32_t *)counters)[i] = counter;
    }
    return counters;
}
