// k_winners: y = x where x is a winner, else 0; the winners of a sample are the k largest values of
//   x · exp(-boost · duty[channel])
// and among equals the first ones (Ahmad and Scheinkman 2019, arXiv 1903.11257). The boost helps channels that
// seldom won: duty is the share of samples (of images: of places) in which a channel won. dx = dy at the winners,
// else 0.
//
// x (B, C) or (B, C, ...), duty (C). The k winners are chosen among all C · ... numbers of a sample, or, local,
// among the C channels at each place.
//
// As in Numenta's nupic.torch: the paper's exp(boost · (target - duty)) without its target, which does not change
// the order; boosting outside training, too; and a win counts for the duty only where x > 0 (the paper counts
// all), or the first of many zeros would count.
//
// Training adds to duty's gradient how often each channel won, divided by the places, for params_update_buffers.
// Saved: where the winners are, k for each group of candidates, groups of a sample one after the other.
#include <math.h>
#include <string.h>

#include "src/ops.h"

// What one sample is made of: `groups` groups of `size` candidates; candidate j of group g is number
// g + j · stride.
struct layout {
    size_t rows, numbers; // of a sample
    size_t inner;         // numbers of a channel
    size_t groups, size, stride;
    int k;
};

struct saved {
    uint32_t *winner; // [rows][groups][k] within the sample
    struct layout layout;
};

// An integer that orders as the number does; every NaN has its place, so that a comparison always decides.
static uint64_t order_key(double value) {
    uint64_t bits;
    value += 0.0; // -0 becomes 0, its equal
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

// The k-th largest of n keys, k from 1, by Hoare's selection. Reorders the keys.
static uint64_t key_select(uint64_t *key, size_t n, size_t k) {
    size_t first = 0, last = n - 1, wanted = k - 1; // as if in falling order
    while (first < last) {
        uint64_t pivot = key[first + (last - first) / 2];
        size_t i = first, j = last;
        for (;;) {
            while (key[i] > pivot) i++;
            while (key[j] < pivot) j--;
            if (i >= j) break;
            uint64_t other = key[i];
            key[i++] = key[j], key[j--] = other;
        }
        // All before i are at least the pivot, all after j at most; between them, where there is one, is the pivot.
        if (wanted < i)
            last = i - 1;
        else if (wanted > j)
            first = j + 1;
        else
            break;
    }
    return key[wanted];
}

// Writes the k winners of a group in rising order.
static void group_win(uint32_t *winner, const uint64_t *key, uint64_t *room, size_t first,
                      const struct layout *l) {
    for (size_t j = 0; j < l->size; j++) room[j] = key[first + j * l->stride];
    uint64_t last = key_select(room, l->size, (size_t)l->k);
    int equals = l->k;
    for (size_t j = 0; j < l->size; j++) equals -= key[first + j * l->stride] > last;
    for (size_t at = first, j = 0; j < l->size; j++, at += l->stride)
        if (key[at] > last || (key[at] == last && equals-- > 0)) *winner++ = (uint32_t)at;
}

static void winners_find(struct tape *t, uint32_t *winner, const struct tensor *x, const struct tensor *duty,
                         double boost, const struct layout *l) {
    double *factor = arena_alloc(t->arena, duty->size, sizeof *factor);
    uint64_t *key = arena_alloc(t->arena, l->numbers, sizeof *key);
    uint64_t *room = arena_alloc(t->arena, l->size, sizeof *room);
    for (size_t c = 0; c < duty->size; c++) factor[c] = exp(-boost * (double)duty->value[c]);
    for (size_t row = 0; row < l->rows; row++) {
        const real *value = x->value + row * l->numbers;
        for (size_t c = 0, i = 0; c < duty->size; c++)
            for (size_t end = i + l->inner; i < end; i++) key[i] = order_key((double)value[i] * factor[c]);
        for (size_t g = 0; g < l->groups; g++, winner += l->k) group_win(winner, key, room, g, l);
    }
}

struct tensor *op_k_winners(struct tape *t, struct tensor *x, struct tensor *duty, int k, double boost,
                            bool local) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank >= 2 && shape_equal(duty->shape, shape_1(x->shape.dim[1])),
          "k_winners: %s with %zu duty cycles", shape_text(text, x->shape), duty->size);
    struct layout l = {.rows = (size_t)x->shape.dim[0], .k = k};
    l.numbers = x->size / l.rows;
    l.inner = l.numbers / duty->size;
    l.groups = l.stride = local ? l.inner : 1;
    l.size = l.numbers / l.groups;
    CHECK(k >= 1 && (size_t)k <= l.size && l.numbers <= UINT32_MAX, "k_winners: %d of %zu", k, l.size);
    struct tensor *y = tape_push(t, &k_winners_op, x->shape, x, NULL, NULL);
    struct saved *saved = y->saved = arena_alloc(t->arena, 1, sizeof *saved);
    size_t wins = l.groups * (size_t)k;
    *saved = (struct saved){arena_alloc(t->arena, l.rows * wins, sizeof *saved->winner), l};
    winners_find(t, saved->winner, x, duty, boost, &l);
    real *won = t->training ? duty->grad : NULL, share = (real)1 / (real)l.inner;
    memset(y->value, 0, y->size * sizeof *y->value);
    for (size_t row = 0; row < l.rows; row++)
        for (size_t i = 0; i < wins; i++) {
            size_t at = saved->winner[row * wins + i];
            real value = x->value[row * l.numbers + at];
            y->value[row * l.numbers + at] = value;
            if (won && value > 0) won[at / l.inner] += share;
        }
    return y;
}

static void k_winners_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct saved *saved = y->saved;
    size_t wins = saved->layout.groups * (size_t)saved->layout.k;
    for (size_t row = 0; row < saved->layout.rows; row++)
        for (size_t i = 0; i < wins; i++) {
            size_t at = row * saved->layout.numbers + saved->winner[row * wins + i];
            y->input[0]->grad[at] += y->grad[at];
        }
}

// Numbers far apart are added, so that a small step never changes who wins.
static struct tensor *k_winners_example(struct tape *t, struct tensor **x) {
    struct tensor *apart = tape_leaf(t, x[0]->shape, false), *duty = tape_leaf(t, shape_1(3), false);
    for (size_t i = 0; i < apart->size; i++) apart->value[i] = (real)(3 * (int)(i * 7 % 12) - 18);
    for (size_t i = 0; i < duty->size; i++) duty->value[i] = (real)i / 4;
    return op_k_winners(t, op_add(t, x[0], apart), duty, 5, 0.1, false);
}

const struct op k_winners_op = {.name = "k_winners",
                                .backward = k_winners_backward,
                                .example = k_winners_example,
                                .example_input = {{3, {2, 3, 4}}},
                                .example_inputs = 1};
