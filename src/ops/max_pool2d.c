// max_pool2d: y (B, C, down, across) = the largest number under each window of x (B, C, height, width), plane
// by plane; what lies outside the image does not count. Of equals the first wins, a NaN wins over all.
// dx = dy where the winner stood.
#include <math.h>
#include <string.h>

#include "src/ops.h"

struct saved {
    int32_t *winner; // places in their planes: as many as y has numbers, of one row where nothing is recorded
    bool twos;       // windows of 2 by 2, side by side
};

// v, which stands at `at`, against the largest so far. Choices without a jump: what the compiler can do for several
// windows at once.
static inline void meet(real *best, int32_t *winner, real v, int32_t at) {
    bool wins = (v > *best) | (v != v);
    *winner = wins ? at : *winner;
    *best = wins ? v : *best;
}

// A row of n windows meets one element of each, from[k · step], which stands at `at` + k · step. Inlined with a
// constant step where it is a usual one.
static inline void row_meet(real *restrict best, int32_t *restrict winner, const real *restrict from,
                            int32_t at, int n, int step) {
    for (int k = 0; k < n; k++) {
        real most = best[k];
        int32_t place = winner[k];
        meet(&most, &place, from[k * step], at + k * step);
        best[k] = most;
        winner[k] = place;
    }
}

// FEW windows of 2 by 2 side by side, in GNU C's vectors: rows are short, so that a compiler makes none.
enum { FEW = 4 };
typedef real few __attribute__((vector_size(FEW * sizeof(real))));
typedef real unaligned __attribute__((vector_size(FEW * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef int32_t places __attribute__((vector_size(FEW * sizeof(int32_t))));
typedef __typeof__((few){0} > (few){0}) choices; // all bits of a number, or none

ALWAYS_INLINE void few_meet(few *best, places *winner, const few *v, places at) {
    choices wins = (*v > *best) | (*v != *v);
    places wins_place = __builtin_convertvector(wins, places);
    *winner = (at & wins_place) | (*winner & ~wins_place);
    *best = (few)(((choices)*v & wins) | ((choices)*best & ~wins));
}

// Of eight neighbours the even and the odd ones.
ALWAYS_INLINE void few_part(few *even, few *odd, const real *from) {
    few a = *(const unaligned *)from, b = *(const unaligned *)(from + FEW);
    *even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    *odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
}

ALWAYS_INLINE void few_pool_2(real *best, int32_t *winner, const real *from, int32_t at, int width) {
    few most, right, below, last;
    few_part(&most, &right, from);
    few_part(&below, &last, from + width);
    places first = at + (places){0, 2, 4, 6}, place = first;
    few_meet(&most, &place, &right, first + 1);
    few_meet(&most, &place, &below, first + width);
    few_meet(&most, &place, &last, first + width + 1);
    memcpy(best, &most, sizeof most);
    memcpy(winner, &place, sizeof place);
}

// The gradient of these windows' numbers, set.
ALWAYS_INLINE void few_spread_2(real *dx, const real *dy, const int32_t *winner, int32_t at, int width) {
    places place;
    memcpy(&place, winner, sizeof place);
    place -= at + (places){0, 2, 4, 6};
    for (int row = 0; row < 2; row++, dx += width, place -= width) {
        few grad = *(const unaligned *)dy;
        few even = (few)((choices)grad & __builtin_convertvector(place == 0, choices));
        few odd = (few)((choices)grad & __builtin_convertvector(place == 1, choices));
        *(unaligned *)dx = __builtin_shufflevector(even, odd, 0, 4, 1, 5);
        *(unaligned *)(dx + FEW) = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
    }
}

// A plane of windows of 2 by 2 side by side, the most usual kind: a window at once, not element by element. A function of
// its own, since the compiler must know that its arguments are apart.
VECTOR_CLONES static void plane_pool_2(real *restrict best, int32_t *restrict winner,
                                       const real *restrict plane, const struct patch *p, bool keep) {
    int width = p->width, n = p->across;
    for (int o = 0; o < p->rows; o++, best += n, winner += keep ? n : 0) {
        int32_t at = 2 * o * width;
        const real *from = plane + at;
        int k = 0;
        for (; k + FEW <= n; k += FEW) few_pool_2(best + k, winner + k, from + 2 * k, at + 2 * k, width);
        for (; k < n; k++) {
            real most = from[2 * k];
            int32_t place = at + 2 * k;
            meet(&most, &place, from[2 * k + 1], at + 2 * k + 1);
            meet(&most, &place, from[width + 2 * k], at + 2 * k + width);
            meet(&most, &place, from[width + 2 * k + 1], at + 2 * k + width + 1);
            best[k] = most;
            winner[k] = place;
        }
    }
}

// dx of a plane that such windows cover whole: set.
VECTOR_CLONES static void plane_spread_2(real *restrict dx, const real *restrict dy,
                                         const int32_t *restrict winner, const struct patch *p) {
    int width = p->width, n = p->across;
    for (int o = 0; o < p->rows; o++, dx += 2 * width, dy += n, winner += n) {
        int32_t at = 2 * o * width;
        int k = 0;
        for (; k + FEW <= n; k += FEW) few_spread_2(dx + 2 * k, dy + k, winner + k, at + 2 * k, width);
        for (; k < n; k++) {
            int32_t place = winner[k] - at;
            dx[2 * k] = dx[2 * k + 1] = dx[width + 2 * k] = dx[width + 2 * k + 1] = 0;
            dx[place] = dy[k];
        }
    }
}

// Row o of windows; range[j]: those of the row whose element j lies inside.
static inline void row_pool(real *restrict best, int32_t *restrict winner, const real *plane,
                            const struct window *w, const struct window_range *range, const struct patch *p,
                            int o) {
    int top = o * w->stride[0] - w->padding[0], step = w->stride[1];
    for (int k = 0; k < p->across; k++) best[k] = -(real)INFINITY;
    for (int k = 0; k < p->across; k++) { // a window of -infinities has a winner, too
        int x = k * step - w->padding[1];
        winner[k] = (top < 0 ? 0 : top) * p->width + (x < 0 ? 0 : x);
    }
    for (int y = top < 0 ? 0 : top; y < top + w->size[0] && y < p->height; y++)
        for (int j = 0; j < w->size[1]; j++) {
            struct window_range s = range[j];
            int32_t at = y * p->width + s.at;
            if (step == 2)
                row_meet(best + s.first, winner + s.first, plane + at, at, s.end - s.first, 2);
            else
                row_meet(best + s.first, winner + s.first, plane + at, at, s.end - s.first, step);
        }
}

// `keep`: each row of windows has winners of its own, else they share one row.
VECTOR_CLONES static void planes_pool(struct tensor *y, const struct tensor *x, const struct window *w,
                                      const struct window_range *range, const struct saved *saved,
                                      bool keep) {
    const struct patch p = {1, x->shape.dim[2], x->shape.dim[3], 0, y->shape.dim[2], y->shape.dim[3]};
    real *best = y->value;
    const real *plane = x->value;
    size_t planes = (size_t)x->shape.dim[0] * (size_t)x->shape.dim[1],
           windows = (size_t)p.rows * (size_t)p.across;
    for (size_t i = 0; i < planes; i++, plane += (size_t)p.height * (size_t)p.width, best += windows) {
        int32_t *place = keep ? saved->winner + i * windows : saved->winner;
        if (saved->twos) plane_pool_2(best, place, plane, &p, keep);
        for (int o = 0; !saved->twos && o < p.rows; o++)
            row_pool(best + o * p.across, place + (keep ? o * p.across : 0), plane, w, range, &p, o);
    }
}

struct tensor *op_max_pool2d(struct tape *t, struct tensor *x, const struct window *w) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank == 4 && w->dilation[0] == 1 && w->dilation[1] == 1, "max_pool2d: x %s",
          shape_text(text, x->shape));
    struct shape shape = x->shape;
    struct saved *saved = arena_alloc(t->arena, 1, sizeof *saved);
    saved->twos = true;
    for (int k = 0; k < 2; k++) {
        shape.dim[2 + k] = window_count(w, k, x->shape.dim[2 + k]);
        CHECK(shape.dim[2 + k] > 0 && 2 * w->padding[k] <= w->size[k], "max_pool2d: %d by %d windows on x %s",
              w->size[0], w->size[1], shape_text(text, x->shape));
        saved->twos = saved->twos && w->size[k] == 2 && w->stride[k] == 2 && w->padding[k] == 0;
    }
    struct tensor *y = tape_push(t, &max_pool2d_op, shape, x, NULL, NULL);
    bool keep = y->grad != NULL;
    y->saved = saved;
    saved->winner = arena_alloc(t->arena, keep ? y->size : (size_t)shape.dim[3], sizeof(int32_t));
    struct window_range *range = arena_alloc(t->arena, (size_t)w->size[1], sizeof *range);
    for (int j = 0; j < w->size[1]; j++) range[j] = window_range(w, 1, j, x->shape.dim[3], shape.dim[3]);
    planes_pool(y, x, w, range, saved, keep);
    return y;
}

static void max_pool2d_backward(struct tape *t, struct tensor *y) {
    (void)t;
    struct tensor *x = y->input[0];
    const struct saved *saved = y->saved;
    const struct patch p = {1, x->shape.dim[2], x->shape.dim[3], 0, y->shape.dim[2], y->shape.dim[3]};
    const int32_t *winner = saved->winner;
    const real *dy = y->grad;
    size_t windows = (size_t)p.rows * (size_t)p.across, plane = (size_t)p.height * (size_t)p.width;
    bool unset = tape_keep(x) == 0, whole = saved->twos && 4 * windows == plane;
    if (unset && !whole) memset(x->grad, 0, x->size * sizeof *x->grad);
    for (real *dx = x->grad; dx < x->grad + x->size; dx += plane, dy += windows, winner += windows) {
        if (unset && whole) plane_spread_2(dx, dy, winner, &p);
        for (size_t k = 0; !(unset && whole) && k < windows; k++) dx[winner[k]] += dy[k];
    }
}

static struct tensor *max_pool2d_example(struct tape *t, struct tensor **x) {
    static const struct window w = {.size = {3, 2}, .stride = {2, 1}, .padding = {1, 1}, .dilation = {1, 1}};
    struct tensor *apart = tape_leaf(t, x[0]->shape, false); // no winner hangs on a small step
    for (size_t i = 0; i < apart->size; i++) apart->value[i] = (real)(3 * (i * 7 % 31));
    return op_max_pool2d(t, op_add(t, x[0], apart), &w);
}

const struct op max_pool2d_op = {.name = "max_pool2d",
                                 .backward = max_pool2d_backward,
                                 .sets = 1 << 0,
                                 .example = max_pool2d_example,
                                 .example_input = {{4, {2, 3, 6, 5}}},
                                 .example_inputs = 1};
