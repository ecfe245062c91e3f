// Choices. Contracts in choose.h.
#include "layers/choose.h"

#include <string.h>

#include "src/winners.h"

// y (columns) = x (rows) · matrix (rows, columns), summed in the order of the rows.
VECTOR_CLONES static void row_product(real *restrict y, const real *restrict x, const real *restrict matrix,
                                      size_t rows, size_t columns) {
    memset(y, 0, columns * sizeof *y);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) y[j] += x[i] * matrix[i * columns + j];
}

real *choose_sketch(struct tape *t, const struct tensor *x, const struct param *first,
                    const struct param *second) {
    size_t in = (size_t)first->shape.dim[0], rank = (size_t)first->shape.dim[1];
    size_t units = (size_t)second->shape.dim[1], batch = x->size / in;
    real *score = arena_alloc(t->arena, batch * units, sizeof *score);
    real *small = arena_alloc(t->arena, rank, sizeof *small);
    for (size_t i = 0; i < batch; i++) {
        row_product(small, x->value + i * in, first->value, in, rank);
        row_product(score + i * units, small, second->value, rank, units);
    }
    return score;
}

real *choose_random(struct tape *t, size_t count) {
    size_t padded = (count + 3) / 4 * 4;
    uint32_t *bits = arena_alloc(t->arena, padded, sizeof *bits);
    rng_fill(bits, padded, &t->dropout, t->dropout.next);
    t->dropout.next += padded;
    real *score = arena_alloc(t->arena, count, sizeof *score);
    for (size_t i = 0; i < count; i++) score[i] = (real)(bits[i] >> 8) * (real)0x1p-24;
    return score;
}

static void best_of(struct tape *t, uint32_t *winner, const real *score, int units, int k) {
    uint64_t *key = arena_alloc(t->arena, 2 * (size_t)units, sizeof *key);
    for (int j = 0; j < units; j++) key[j] = winners_key((double)score[j]);
    winners_pick(winner, k, key, (size_t)units, 1, key + units);
}

const struct choice *choose_all(struct tape *t, int units, int block) {
    int *unit = arena_alloc(t->arena, (size_t)units, sizeof *unit);
    for (int u = 0; u < units; u++) unit[u] = u;
    struct choice *c = arena_alloc(t->arena, 1, sizeof *c);
    *c = (struct choice){.block = block, .count = units, .unit = unit};
    return c;
}

const struct choice *choose_one(struct tape *t, const real *score, int units, int k, int block) {
    uint32_t *winner = arena_alloc(t->arena, (size_t)k, sizeof *winner);
    int *unit = arena_alloc(t->arena, (size_t)k, sizeof *unit);
    best_of(t, winner, score, units, k);
    for (int i = 0; i < k; i++) unit[i] = (int)winner[i];
    struct choice *c = arena_alloc(t->arena, 1, sizeof *c);
    *c = (struct choice){.block = block, .count = k, .unit = unit};
    return c;
}

const struct choice *choose_each(struct tape *t, const real *score, int batch, int units, int k, int block) {
    size_t total = (size_t)batch * (size_t)k;
    uint32_t *winner = arena_alloc(t->arena, total, sizeof *winner);
    int *next = arena_alloc(t->arena, (size_t)units, sizeof *next); // how many, then where the next one goes
    int *unit = arena_alloc(t->arena, (size_t)units, sizeof *unit);
    int *samples = arena_alloc(t->arena, (size_t)units, sizeof *samples);
    int *sample = arena_alloc(t->arena, total, sizeof *sample);
    for (int i = 0; i < batch; i++)
        best_of(t, winner + (size_t)i * (size_t)k, score + (size_t)i * (size_t)units, units, k);
    memset(next, 0, (size_t)units * sizeof *next);
    for (size_t i = 0; i < total; i++) next[winner[i]]++;
    int count = 0, at = 0;
    for (int u = 0; u < units; u++) {
        int many = next[u];
        next[u] = at;
        at += many;
        if (many) unit[count] = u, samples[count++] = many;
    }
    for (size_t i = 0; i < total; i++) sample[next[winner[i]]++] = (int)(i / (size_t)k);
    struct choice *c = arena_alloc(t->arena, 1, sizeof *c);
    *c = (struct choice){block, count, unit, samples, sample};
    return c;
}

const struct choice *choose_first(struct tape *t, const struct choice *c, double most) {
    size_t total = 0, at = 0;
    for (int k = 0; k < c->count; k++) total += (size_t)c->samples[k];
    int *samples = arena_alloc(t->arena, (size_t)c->count, sizeof *samples);
    int *sample = arena_alloc(t->arena, total, sizeof *sample);
    const int *from = c->sample;
    for (int k = 0; k < c->count; from += c->samples[k++]) {
        samples[k] = c->samples[k] > most ? (int)most : c->samples[k];
        memcpy(sample + at, from, (size_t)samples[k] * sizeof *sample);
        at += (size_t)samples[k];
    }
    struct choice *less = arena_alloc(t->arena, 1, sizeof *less);
    *less = (struct choice){c->block, c->count, c->unit, samples, sample};
    return less;
}
