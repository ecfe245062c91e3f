// All trainable numbers. Contracts in params.h.
#include "src/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/parallel.h"
#include "src/sparse.h"

enum { PIECE = 1 << 14 };

// A portion of the blocks: of neighbours that are not lazy nor packed, of a packed parameter's living numbers, or a lazy
// unit.
struct piece {
    size_t first, end;
    uint8_t *touched; // of shard 0, the other shards' are `stride` apart; NULL when not lazy
    size_t stride;
    bool finite; // the gradient, since params_reduce
};

struct params *params_new(void) {
    return mem_new(1, sizeof(struct params));
}

void params_free(struct params *ps) {
    if (!ps) return;
    for (int i = 0; i < ps->count; i++) {
        mem_free(ps->list[i].counter);
        mem_free(ps->list[i].alive);
        mem_free(ps->list[i].touched);
        sparse_free(ps->list[i].sparse);
    }
    for (int i = 0; i < ps->shards; i++) mem_free(ps->grads[i]);
    mem_free(ps->grads);
    mem_free(ps->unset);
    mem_free(ps->pieces);
    mem_free(ps->values);
    mem_free(ps->list);
    mem_free(ps);
}

int params_add(struct params *ps, const char *name, struct shape shape, double bound, double initial) {
    CHECK(!ps->values, "params_add(%s) after params_alloc", name);
    ps->list = mem_grow(ps->list, (size_t)ps->count, sizeof *ps->list);
    struct param *p = &ps->list[ps->count];
    CHECK(strlen(name) < sizeof p->name, "params_add: the name %s is too long", name);
    strcpy(p->name, name);
    p->shape = shape;
    p->size = shape_size(shape);
    p->offset = ps->size;
    p->bound = bound;
    p->initial = initial;
    p->unit = p->size;
    p->units = 1;
    ps->size += p->size;
    return ps->count++;
}

int params_add_buffer(struct params *ps, const char *name, struct shape shape, double initial,
                      struct average average) {
    int index = params_add(ps, name, shape, 0, initial);
    ps->list[index].buffer = true;
    ps->list[index].average = average;
    return index;
}

void params_add_units(struct params *ps, int param, size_t unit) {
    struct param *p = &ps->list[param];
    CHECK(!ps->values && unit >= 1 && (unit % 4 == 0 || unit >= p->size), "%s: units of %zu numbers", p->name,
          unit);
    p->lazy = true;
    p->unit = unit < p->size ? unit : p->size;
    p->units = (int)((p->size + p->unit - 1) / p->unit);
}

void params_add_matrix(struct params *ps, int param) {
    CHECK(ps->list[param].shape.rank == 2, "%s: no matrix", ps->list[param].name);
    ps->list[param].matrix = true;
}

static void pieces_add(struct params *ps, size_t first, size_t end, size_t step, const struct param *lazy) {
    for (; first < end; first += step)
        ps->pieces[ps->piece_count++] =
            (struct piece){.first = first,
                           .end = end - first < step ? end : first + step,
                           .touched = lazy ? lazy->touched + (first - lazy->offset) / step : NULL,
                           .stride = lazy ? (size_t)lazy->units : 0};
}

static void pieces_make(struct params *ps) {
    size_t most = ps->size / PIECE + 1;
    for (int i = 0; i < ps->count; i++) most += ps->list[i].lazy ? (size_t)ps->list[i].units + 1 : 2;
    mem_free(ps->pieces);
    ps->pieces = mem_new(most, sizeof *ps->pieces);
    ps->piece_count = 0;
    size_t done = 0; // before it all is in pieces
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        if (!p->lazy && !p->sparse) continue;
        pieces_add(ps, done, p->offset, PIECE, NULL);
        done = p->offset + p->size;
        if (p->sparse)
            pieces_add(ps, p->offset, p->offset + p->sparse->live, PIECE, NULL);
        else
            pieces_add(ps, p->offset, done, p->unit, p);
    }
    pieces_add(ps, done, ps->size, PIECE, NULL);
}

void params_alloc(struct params *ps, int shards, uint64_t seed) {
    ps->shards = shards;
    ps->values = mem_new(ps->size, sizeof(real));
    ps->grads = mem_new((size_t)shards, sizeof *ps->grads);
    for (int i = 0; i < shards; i++) ps->grads[i] = mem_new(ps->size, sizeof(real));
    ps->unset = mem_new((size_t)shards * (size_t)ps->count, sizeof *ps->unset);
    for (int i = 0; i < ps->count; i++)
        if (ps->list[i].lazy) ps->list[i].touched = mem_new((size_t)shards, (size_t)ps->list[i].units);
    pieces_make(ps);
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        p->value = ps->values + p->offset;
        char purpose[PARAM_NAME + 8];
        snprintf(purpose, sizeof purpose, "init %s", p->name);
        struct rng r = rng_stream(seed, purpose);
        for (size_t j = 0; j < p->size; j++)
            p->value[j] = (real)(p->bound > 0 ? p->bound * (2 * rng_uniform(&r) - 1) : p->initial);
    }
}

real *params_grad(const struct params *ps, int shard, int param) {
    return ps->grads[shard] + ps->list[param].offset;
}

void params_touch(struct params *ps, int shard, int param, int unit) {
    const struct param *p = &ps->list[param];
    CHECK(p->lazy && unit >= 0 && unit < p->units, "%s: unit %d", p->name, unit);
    p->touched[(size_t)shard * (size_t)p->units + (size_t)unit] = 1;
    if (ps->wake) ps->wake(ps->waker, param, unit);
}

static size_t grad_size(const struct param *p) {
    return p->sparse ? p->sparse->live : p->size;
}

bool *params_unset(const struct params *ps, int shard, int param) {
    const struct param *p = &ps->list[param];
    return p->lazy || p->buffer ? NULL : &ps->unset[shard * ps->count + param];
}

// What a lazy parameter's step touched.
static void units_zero(struct params *ps, int shard, struct param *p) {
    uint8_t *touched = p->touched + (size_t)shard * (size_t)p->units;
    real *grad = ps->grads[shard] + p->offset;
    for (int unit = 0; unit < p->units; unit++) {
        size_t first = (size_t)unit * p->unit, left = p->size - first;
        if (touched[unit]) memset(grad + first, 0, (left < p->unit ? left : p->unit) * sizeof(real));
        touched[unit] = 0;
    }
}

static void grad_zero(struct params *ps, int shard, int param) {
    struct param *p = &ps->list[param];
    bool *unset = params_unset(ps, shard, param);
    if (unset) *unset = false;
    if (p->lazy)
        units_zero(ps, shard, p);
    else
        memset(ps->grads[shard] + p->offset, 0, grad_size(p) * sizeof(real));
}

void params_zero_grad(struct params *ps, int shard) {
    for (int i = 0; i < ps->count; i++) grad_zero(ps, shard, i);
}

void params_unset_grad(struct params *ps, int shard) {
    for (int i = 0; i < ps->count; i++) {
        bool *unset = params_unset(ps, shard, i);
        if (unset)
            *unset = true;
        else
            grad_zero(ps, shard, i);
    }
}

ALWAYS_INLINE bool all_finite(const real *x, size_t count) {
    int others = 0;
    for (size_t i = 0; i < count; i++) others |= !isfinite(x[i]);
    return !others;
}

// Looked at while they are in the cache.
VECTOR_CLONES static void reduce_piece(void *context, int i) {
    const struct params *ps = context;
    struct piece *piece = &ps->pieces[i];
    real *restrict sum = ps->grads[0];
    for (int shard = 1; shard < ps->shards; shard++) {
        if (piece->touched && !piece->touched[(size_t)shard * piece->stride]) continue;
        const real *restrict part = ps->grads[shard];
        for (size_t j = piece->first; j < piece->end; j++) sum[j] += part[j];
        if (piece->touched) *piece->touched = 1;
    }
    piece->finite = all_finite(sum + piece->first, piece->end - piece->first);
}

int params_reduce(struct params *ps, int threads) {
    size_t numbers = 0;
    for (int i = 0; i < ps->shards * ps->count; i++)
        if (ps->unset[i]) grad_zero(ps, i / ps->count, i % ps->count);
    for (int i = 0; i < ps->piece_count; i++) numbers += ps->pieces[i].end - ps->pieces[i].first;
    parallel_for(parallel_threads(threads, numbers), ps->piece_count, reduce_piece, ps);
    bool finite = true;
    for (int i = 0; i < ps->piece_count; i++) finite &= ps->pieces[i].finite;
    for (int i = 0; !finite && i < ps->count; i++)
        if (!all_finite(params_grad(ps, 0, i), grad_size(&ps->list[i]))) return i;
    return -1;
}

void params_update_buffers(struct params *ps, size_t samples, double seen) {
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        if (!p->buffer) continue;
        double period = fmin(p->average.period, seen), n = (double)samples;
        double share = p->average.period > 0 ? fmin(n / period, 1) : p->average.momentum;
        const real *sum = params_grad(ps, 0, i);
        for (size_t j = 0; j < p->size; j++)
            p->value[j] = (real)((1 - share) * (double)p->value[j] + share * ((double)sum[j] / n));
    }
}

size_t params_trained(const struct params *ps) {
    size_t size = 0;
    for (int i = 0; i < ps->count; i++) size += ps->list[i].buffer ? 0 : ps->list[i].size;
    return size;
}

bool param_is_weight(const struct param *p) {
    return p->shape.rank >= 2 && !p->buffer;
}

int32_t param_counter(const struct param *p, size_t i) {
    switch (number_bytes(&p->number)) {
    case 1:
        return ((const int8_t *)p->counter)[i];
    case 2:
        return ((const int16_t *)p->counter)[i];
    default:
        return ((const int32_t *)p->counter)[i];
    }
}

void param_set_counter(struct param *p, size_t i, int32_t c) {
    switch (number_bytes(&p->number)) {
    case 1:
        ((int8_t *)p->counter)[i] = (int8_t)c;
        break;
    case 2:
        ((int16_t *)p->counter)[i] = (int16_t)c;
        break;
    default:
        ((int32_t *)p->counter)[i] = c;
    }
    p->value[i] = (real)(p->scale * number_value(&p->number, c));
}

void param_count_alloc(struct param *p, struct number number, double scale) {
    CHECK(!p->counted, "%s has counters already", p->name);
    p->counted = true;
    p->number = number;
    p->scale = scale;
    p->counter = mem_new(p->size, (size_t)number_bytes(&number));
}

void param_count(struct param *p, struct number number) {
    double largest = 0;
    for (size_t i = 0; i < p->size; i++) largest = fmax(largest, fabs((double)p->value[i]));
    double scale = largest > 0 ? largest / number_value(&number, number.unit) : 1;
    param_count_alloc(p, number, scale);
    for (size_t i = 0; i < p->size; i++)
        param_set_counter(p, i, number_nearest(&number, (double)p->value[i] / scale));
}

void param_refresh(struct param *p) {
    for (size_t i = 0; i < p->size; i++) param_set_counter(p, i, param_counter(p, i));
}

void param_freeze(struct param *p) {
    if (!p->alive) p->alive = mem_new(p->size, 1);
    for (size_t i = 0; i < p->size; i++) p->alive[i] = p->value[i] != 0;
}

void param_bury(struct param *p, size_t first, size_t end) {
    if (!p->alive) return;
    const uint8_t *alive = p->alive;
    for (size_t i = first; i < end; i++) p->value[i] = alive[i] ? p->value[i] : 0;
    if (!p->counted) return;
    int bytes = number_bytes(&p->number);
    int8_t *c1 = p->counter;
    int16_t *c2 = p->counter;
    int32_t *c4 = p->counter;
    if (bytes == 1)
        for (size_t i = first; i < end; i++) c1[i] = alive[i] ? c1[i] : 0;
    else if (bytes == 2)
        for (size_t i = first; i < end; i++) c2[i] = alive[i] ? c2[i] : 0;
    else
        for (size_t i = first; i < end; i++) c4[i] = alive[i] ? c4[i] : 0;
}

size_t param_live(const struct param *p) {
    if (!p->alive) return p->size;
    size_t count = 0;
    for (size_t i = 0; i < p->size; i++) count += p->alive[i];
    return count;
}

void params_pack(struct params *ps, double density) {
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        if (!p->matrix || p->lazy || !p->alive || p->sparse) continue;
        if ((double)param_live(p) > density * (double)p->size) continue;
        p->sparse = sparse_new(p->alive, p->shape.dim[0], p->shape.dim[1]);
        sparse_pack(p->value, sizeof(real), p->sparse);
        if (p->counted) sparse_pack(p->counter, (size_t)number_bytes(&p->number), p->sparse);
    }
    pieces_make(ps);
}

void params_unpack(struct params *ps) {
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        if (!p->sparse) continue;
        sparse_unpack(p->value, sizeof(real), p->sparse);
        if (p->counted) sparse_unpack(p->counter, (size_t)number_bytes(&p->number), p->sparse);
        sparse_free(p->sparse);
        p->sparse = NULL;
    }
    pieces_make(ps);
}

size_t param_nonzero(const struct param *p) {
    size_t count = 0;
    for (size_t i = 0; i < p->size; i++) count += p->value[i] != 0;
    return count;
}

bool param_dead(const struct param *p) {
    size_t size = grad_size(p);
    for (size_t i = 0; i < size; i++)
        if (p->value[i] != 0) return false;
    return true;
}

size_t param_saturated(const struct param *p) {
    size_t count = 0;
    for (size_t i = 0; i < p->size; i++) {
        int32_t c = param_counter(p, i);
        count += c == p->number.limit || c == -p->number.limit;
    }
    return count;
}

int params_not_finite(const struct params *ps) {
    for (int i = 0; i < ps->count; i++)
        if (!all_finite(ps->list[i].value, grad_size(&ps->list[i]))) return i;
    return -1;
}
