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
#include "src/winners.h"

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

static void winners_find(struct tape *t, uint32_t *winner, const struct tensor *x, const struct tensor *duty,
                         double boost, const struct layout *l) {
    double *factor = arena_alloc(t->arena, duty->size, sizeof *factor);
    uint64_t *key = arena_alloc(t->arena, l->numbers, sizeof *key);
    uint64_t *room = arena_alloc(t->arena, l->size, sizeof *room);
    for (size_t c = 0; c < duty->size; c++) factor[c] = exp(-boost * (double)duty->value[c]);
    for (size_t row = 0; row < l->rows; row++) {
        const real *value = x->value + row * l->numbers;
        for (size_t c = 0, i = 0; c < duty->size; c++)
            for (size_t end = i + l->inner; i < end; i++) key[i] = winners_key((double)value[i] * factor[c]);
        for (size_t g = 0; g < l->groups; g++, winner += l->k) {
            winners_pick(winner, l->k, key + g, l->size, l->stride, room);
            for (int i = 0; i < l->k; i++) winner[i] = (uint32_t)(g + winner[i] * l->stride);
        }
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
