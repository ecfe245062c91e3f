// mix_rows: a weighted sum of what units made of their samples:
//   y (B, ...)[b] = sum over the units u chosen for b of gate (B, units)[b, u] · part_u[b]
// part_i (n, ...) holds one result for each sample that unit[i] of the choice serves, in the choice's order. A sample
// that no unit serves gets 0. The sum is in the order of the units.
//
// dpart_u[b] = gate[b, u] · dy[b];  dgate[b, u] = the sum of part_u[b] · dy[b].
// Saved: the parts and the choice.
#include <string.h>

#include "src/ops.h"
#include "src/sums.h"

struct saved {
    struct tensor **part;
    const struct choice *choice;
};

VECTOR_CLONES static void add_scaled(real *restrict y, const real *restrict x, real factor, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += factor * x[i];
}

struct tensor *op_mix_rows(struct tape *t, struct tensor *const *parts, struct tensor *gate,
                           const struct choice *choice) {
    CHECK(choice->count >= 1 && choice->sample && gate->shape.rank == 2, "mix_rows: %d parts", choice->count);
    struct tensor *asks = parts[0]; // one with a gradient, where there is one
    for (int k = 0; k < choice->count; k++) {
        struct shape wanted = parts[0]->shape;
        wanted.dim[0] = choice->samples[k];
        CHECK(shape_equal(parts[k]->shape, wanted), "mix_rows: part %d of another shape", k);
        if (!asks->grad) asks = parts[k];
    }
    struct shape shape = parts[0]->shape;
    size_t width = parts[0]->size / (size_t)shape.dim[0], units = (size_t)gate->shape.dim[1];
    shape.dim[0] = gate->shape.dim[0];
    struct tensor *y = tape_push(t, &mix_rows_op, shape, gate, asks, NULL);
    struct saved *saved = y->saved = arena_alloc(t->arena, 1, sizeof *saved);
    *saved = (struct saved){arena_alloc(t->arena, (size_t)choice->count, sizeof *saved->part), choice};
    memcpy(saved->part, parts, (size_t)choice->count * sizeof *parts);
    memset(y->value, 0, y->size * sizeof *y->value);
    const int *sample = choice->sample;
    for (int k = 0; k < choice->count; k++)
        for (int i = 0; i < choice->samples[k]; i++, sample++)
            add_scaled(y->value + (size_t)*sample * width, parts[k]->value + (size_t)i * width,
                       gate->value[(size_t)*sample * units + (size_t)choice->unit[k]], width);
    return y;
}

VECTOR_CLONES static void mix_rows_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct saved *saved = y->saved;
    const struct choice *choice = saved->choice;
    struct tensor *gate = y->input[0];
    size_t width = y->size / (size_t)y->shape.dim[0], units = (size_t)gate->shape.dim[1];
    const int *sample = choice->sample;
    for (int k = 0; k < choice->count; k++) {
        struct tensor *part = saved->part[k];
        if (part->grad && tape_keep(part) == 0) memset(part->grad, 0, part->size * sizeof(real));
        for (int i = 0; i < choice->samples[k]; i++, sample++) {
            size_t at = (size_t)*sample * units + (size_t)choice->unit[k], from = (size_t)i * width;
            const real *dy = y->grad + (size_t)*sample * width;
            if (part->grad) add_scaled(part->grad + from, dy, gate->value[at], width);
            if (gate->grad) gate->grad[at] += (real)sums_products(part->value + from, dy, width);
        }
    }
}

// Unit 0 serves samples 0 and 2, unit 2 sample 2; sample 1 has none.
static struct tensor *mix_rows_example(struct tape *t, struct tensor **x) {
    static const int unit[] = {0, 2}, samples[] = {2, 1}, sample[] = {0, 2, 2};
    static const struct choice choice = {1, 2, unit, samples, sample};
    return op_mix_rows(t, x, x[2], &choice);
}

const struct op mix_rows_op = {.name = "mix_rows",
                               .backward = mix_rows_backward,
                               .example = mix_rows_example,
                               .example_input = {{3, {2, 2, 3}}, {3, {1, 2, 3}}, {2, {3, 4}}},
                               .example_inputs = 3};
