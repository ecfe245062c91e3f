// take_rows: y (count, ...)[i] = x (B, ...)[row[i]], a row of x as often as it is named. dx[row[i]] += dy[i].
// Saved: the caller's list of rows.
#include <string.h>

#include "src/ops.h"

struct tensor *op_take_rows(struct tape *t, struct tensor *x, const int *row, int count) {
    CHECK(x->shape.rank >= 1 && count >= 1, "take_rows: %d rows", count);
    struct shape shape = x->shape;
    size_t width = x->size / (size_t)shape.dim[0];
    shape.dim[0] = count;
    struct tensor *y = tape_push(t, &take_rows_op, shape, x, NULL, NULL);
    y->saved = (void *)row;
    for (int i = 0; i < count; i++) {
        CHECK(row[i] >= 0 && row[i] < x->shape.dim[0], "take_rows: row %d of %d", row[i], x->shape.dim[0]);
        memcpy(y->value + (size_t)i * width, x->value + (size_t)row[i] * width, width * sizeof(real));
    }
    return y;
}

VECTOR_CLONES static void take_rows_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const int *row = y->saved;
    size_t count = (size_t)y->shape.dim[0], width = y->size / count;
    for (size_t i = 0; i < count; i++) {
        real *restrict dx = y->input[0]->grad + (size_t)row[i] * width;
        const real *restrict dy = y->grad + i * width;
        for (size_t j = 0; j < width; j++) dx[j] += dy[j];
    }
}

static struct tensor *take_rows_example(struct tape *t, struct tensor **x) {
    static const int row[] = {3, 0, 3};
    return op_take_rows(t, x[0], row, 3);
}

const struct op take_rows_op = {.name = "take_rows",
                                .backward = take_rows_backward,
                                .example = take_rows_example,
                                .example_input = {{3, {4, 2, 3}}},
                                .example_inputs = 1};
