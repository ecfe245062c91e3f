// The density path and the freeze. Contracts in sparsity.h.
//
// Weights are ranked by size over all weight tensors together; blocks by their mean square. Ties go to the
// earlier index, so that exactly the asked number lives.
#include "optim/sparsity.h"

#include <math.h>
#include <string.h>

const struct field sparsity_fields[] = {
    {"target", FIELD_REAL, offsetof(struct sparsity, target), 1, 0, 1, NULL,
     "density to reach: non-zero / all, over all weights; 1 leaves them alone"},
    {"path", FIELD_CHOICE, offsetof(struct sparsity, path), PATH_CUBIC, 0, 0, "cubic|none",
     "cubic: from 1 to the target between begin and end; none: one cut at the freeze"},
    {"begin", FIELD_REAL, offsetof(struct sparsity, begin), 0.1, 0, 1, NULL,
     "where the path starts, of the run"},
    {"end", FIELD_REAL, offsetof(struct sparsity, end), 0.65, 0, 1, NULL, "where it reaches the target"},
    {"freeze", FIELD_REAL, offsetof(struct sparsity, freeze), 1, 0, 1, NULL,
     "from the first epoch at or after this point no leak, and zeros stay zero; 1: never"},
    {"granularity", FIELD_CHOICE, offsetof(struct sparsity, granularity), GRANULARITY_UNSTRUCTURED, 0, 0,
     "unstructured|block|n:m", "what lives or dies together"},
    {"block_rows", FIELD_INT, offsetof(struct sparsity, block_rows), 4, 1, 4096, NULL, "rows of a block"},
    {"block_columns", FIELD_INT, offsetof(struct sparsity, block_columns), 4, 1, 4096, NULL,
     "columns of a block"},
    {"n", FIELD_INT, offsetof(struct sparsity, n), 2, 1, 4096, NULL, "n:m: weights that may live ..."},
    {"m", FIELD_INT, offsetof(struct sparsity, m), 4, 1, 4096, NULL, "... among m neighbours in a row"},
    {"sparse_density", FIELD_REAL, offsetof(struct sparsity, sparse_density), 0.2, 0, 1, NULL,
     "after the freeze, linear layers of at most this density train on sparse kernels; 0: none"},
    FIELD_END};

// A weight tensor seen as the matrix that it multiplies with, a row for each output, cut into blocks.
struct grid {
    int rows, columns, block_rows, block_columns, down, across; // down, across: how many blocks
};

static struct grid grid_of(const struct sparsity *s, const struct param *p) {
    int rows = p->shape.dim[0], columns = (int)(p->size / (size_t)rows);
    bool blocks = s->granularity == GRANULARITY_BLOCK;
    int r = blocks ? (int)s->block_rows : 1, c = blocks ? (int)s->block_columns : 1;
    return (struct grid){rows, columns, r, c, (rows + r - 1) / r, (columns + c - 1) / c};
}

static bool sparsity_active(const struct sparsity *s) {
    return s->target < 1 || s->granularity == GRANULARITY_N_M;
}

int sparsity_read(struct sparsity *s, const struct json *node, const char *path, const struct params *ps,
                  struct err *e) {
    memset(s, 0, sizeof *s);
    if (fields_read(s, sparsity_fields, node, path, e) != 0) return -1;
    if (s->granularity == GRANULARITY_N_M) {
        if (s->n > s->m) return err_set(e, "%s.n: %d is more than m, %d", path, (int)s->n, (int)s->m);
        if (s->target != 1 && s->target != (double)s->n / (double)s->m)
            return err_set(e, "%s.target: %g, but n:m sets the density itself, to n / m", path, s->target);
        s->target = (double)s->n / (double)s->m;
    }
    if (!sparsity_active(s)) return 0;
    if (s->begin > s->end) return err_set(e, "%s.end: %g is before begin, %g", path, s->end, s->begin);
    if (s->path == PATH_CUBIC && s->end > s->freeze)
        return err_set(e, "%s.freeze: %g is before end, %g", path, s->freeze, s->end);
    if (s->path == PATH_NONE && s->freeze >= 1)
        return err_set(e, "%s.freeze: without a path the cut is made at the freeze, which must be below 1",
                       path);
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        if (!param_is_weight(p)) continue;
        if (p->counted && p->number.kind == NUMBER_MADAM)
            return err_set(e, "%s.target: %s counts in the number system 'madam', which has no zero", path,
                           p->name);
        int columns = grid_of(s, p).columns;
        if (s->granularity == GRANULARITY_N_M && columns % s->m != 0)
            return err_set(e, "%s.m: rows of %s have %d weights, not a multiple of %d", path, p->name,
                           columns, (int)s->m);
    }
    return 0;
}

double sparsity_density(const struct sparsity *s, int64_t epoch, int64_t epochs) {
    double position = (double)epoch / (double)epochs;
    if (!sparsity_active(s)) return 1;
    if (s->path == PATH_NONE) return position >= s->freeze ? s->target : 1;
    if (position < s->begin) return 1;
    double t = s->end > s->begin ? fmin((position - s->begin) / (s->end - s->begin), 1) : 1;
    return 1 - (1 - s->target) * (1 - pow(1 - t, 3));
}

// The k-th largest (k from 1) of n values, which are reordered: quickselect with Hoare's partition, median of
// three.
static real select_largest(real *v, size_t n, size_t k) {
    size_t low = 0, high = n - 1, wanted = k - 1;
    while (low < high) {
        real a = v[low], b = v[low + (high - low) / 2], c = v[high];
        real pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        size_t i = low, j = high;
        for (;; i++, j--) {
            while (v[i] > pivot) i++;
            while (v[j] < pivot) j--;
            if (i >= j) break;
            real swap = v[i];
            v[i] = v[j];
            v[j] = swap;
        }
        if (wanted <= j)
            high = j;
        else
            low = j + 1;
    }
    return v[wanted];
}

static void weight_kill(struct param *p, size_t i) {
    if (p->counted)
        param_set_counter(p, i, 0);
    else
        p->value[i] = 0;
}

// The block's mean square root, or with `kill` zeroes it.
static real block_visit(struct param *p, const struct grid *g, int down, int across, bool kill) {
    double sum = 0;
    int count = 0;
    for (int r = down * g->block_rows; r < (down + 1) * g->block_rows && r < g->rows; r++)
        for (int c = across * g->block_columns; c < (across + 1) * g->block_columns && c < g->columns; c++) {
            size_t at = (size_t)r * (size_t)g->columns + (size_t)c;
            sum += (double)p->value[at] * (double)p->value[at];
            count++;
            if (kill && p->value[at] != 0) weight_kill(p, at);
        }
    return (real)sqrt(sum / count);
}

static void cut_ranked(const struct sparsity *s, struct params *ps, double density) {
    size_t total = 0, at = 0;
    for (int i = 0; i < ps->count; i++) {
        struct grid g = grid_of(s, &ps->list[i]);
        if (param_is_weight(&ps->list[i])) total += (size_t)g.down * (size_t)g.across;
    }
    size_t keep = (size_t)floor(density * (double)total + 0.5);
    if (total == 0 || keep >= total) return;
    real *score = mem_new(total, sizeof *score), *copy = mem_new(total, sizeof *copy);
    for (int i = 0; i < ps->count; i++) {
        struct grid g = grid_of(s, &ps->list[i]);
        for (int d = 0; param_is_weight(&ps->list[i]) && d < g.down; d++)
            for (int a = 0; a < g.across; a++) score[at++] = block_visit(&ps->list[i], &g, d, a, false);
    }
    memcpy(copy, score, total * sizeof *copy);
    real threshold = keep ? select_largest(copy, total, keep) : (real)INFINITY;
    size_t ties = keep; // how many of those that equal the threshold live
    for (size_t i = 0; i < total; i++) ties -= score[i] > threshold;
    at = 0;
    for (int i = 0; i < ps->count; i++) {
        struct grid g = grid_of(s, &ps->list[i]);
        for (int d = 0; param_is_weight(&ps->list[i]) && d < g.down; d++)
            for (int a = 0; a < g.across; a++, at++) {
                if (score[at] > threshold) continue;
                if (score[at] == threshold && ties > 0)
                    ties--;
                else
                    block_visit(&ps->list[i], &g, d, a, true);
            }
    }
    mem_free(score);
    mem_free(copy);
}

// Zeroes the smallest of a group of m neighbours until `keep` are left; of equals the later dies.
static void group_cut(struct param *p, size_t first, int m, int keep) {
    int alive = 0;
    for (int i = 0; i < m; i++) alive += p->value[first + (size_t)i] != 0;
    for (; alive > keep; alive--) {
        size_t smallest = SIZE_MAX;
        for (size_t i = first; i < first + (size_t)m; i++)
            if (p->value[i] != 0 &&
                (smallest == SIZE_MAX || fabs((double)p->value[i]) <= fabs((double)p->value[smallest])))
                smallest = i;
        weight_kill(p, smallest);
    }
}

void sparsity_cut(const struct sparsity *s, struct params *ps, double density) {
    if (s->granularity != GRANULARITY_N_M) {
        cut_ranked(s, ps, density);
        return;
    }
    int keep = (int)ceil(density * (double)s->m - 1e-9);
    if (keep < s->n) keep = (int)s->n;
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        for (size_t first = 0; param_is_weight(p) && first < p->size; first += (size_t)s->m)
            group_cut(p, first, (int)s->m, keep);
    }
}

void sparsity_cut_layers(struct params *ps, double keep, double last) {
    int last_weight = -1;
    for (int i = 0; i < ps->count; i++) last_weight = param_is_weight(&ps->list[i]) ? i : last_weight;
    for (int i = 0; i < ps->count; i++) {
        struct param *p = &ps->list[i];
        if (!param_is_weight(p)) continue;
        double share = fmin(1, i == last_weight ? keep * last : keep);
        size_t kept = (size_t)floor(share * (double)p->size + 0.5), ties = kept;
        real *size = mem_new(p->size, sizeof *size);
        for (size_t j = 0; j < p->size; j++) size[j] = (real)fabs((double)p->value[j]);
        real threshold = kept ? select_largest(size, p->size, kept) : (real)INFINITY;
        for (size_t j = 0; j < p->size; j++) ties -= fabs((double)p->value[j]) > (double)threshold;
        for (size_t j = 0; j < p->size; j++) {
            double mine = fabs((double)p->value[j]);
            if (mine > (double)threshold) continue;
            if (mine == (double)threshold && ties > 0)
                ties--;
            else
                weight_kill(p, j);
        }
        mem_free(size);
    }
}

void sparsity_epoch(struct sparsity *s, struct params *ps, int64_t epoch, int64_t epochs) {
    if (s->frozen) return;
    double density = sparsity_density(s, epoch, epochs);
    bool freeze = s->freeze < 1 && (double)epoch / (double)epochs >= s->freeze;
    if (density < 1) sparsity_cut(s, ps, density);
    if (!freeze) return;
    s->frozen = true;
    for (int i = 0; i < ps->count; i++)
        if (param_is_weight(&ps->list[i])) param_freeze(&ps->list[i]);
}
