// linear: y (..., out) = x (..., in) · weightᵀ + bias; weight (out, in), bias (out) or NULL.
// dx = dy · weight;  dweight = dyᵀ · x;  dbias = the sum of dy's rows; a row is all but the last dimension.
//
// Of a sparse weight only the living numbers take part, and only they get a gradient. Saved: x, turned (src/sparse.h).
#include <limits.h>
#include <string.h>

#include "src/blas.h"
#include "src/ops.h"
#include "src/sparse.h"

static int rows_of(const struct tensor *x, const struct tensor *weight) {
    size_t rows = x->size / (size_t)weight->shape.dim[1];
    CHECK(rows <= INT_MAX, "linear: %zu rows", rows);
    return (int)rows;
}

static real *turned(struct tape *t, const struct sparse_side *side, const real *x, size_t rows) {
    real *room = arena_alloc(t->arena, sparse_room(side, rows), sizeof *room);
    if (x) sparse_turn(room, side, x, rows);
    return room;
}

// y holds the bias, or zeros.
static void sparse_forward(struct tape *t, struct tensor *y, size_t rows) {
    const struct tensor *weight = y->input[1];
    const struct sparse *s = weight->sparse;
    real *x = y->saved = turned(t, &s->columns, y->input[0]->value, rows),
         *part = turned(t, &s->rows, NULL, rows);
    sparse_multiply(part, s, weight->value, x, rows);
    sparse_turn_back(y->value, &s->rows, part, rows);
}

static void sparse_backward(struct tape *t, struct tensor *y, size_t rows) {
    struct tensor *x = y->input[0], *weight = y->input[1];
    const struct sparse *s = weight->sparse;
    real *dy = turned(t, &s->rows, y->grad, rows);
    if (weight->grad && tape_keep(weight) == 0) memset(weight->grad, 0, s->live * sizeof(real));
    if (weight->grad) sparse_outer(weight->grad, s, dy, y->saved, rows);
    if (!x->grad) return;
    if (tape_keep(x) == 0) memset(x->grad, 0, x->size * sizeof(real));
    real *dx = turned(t, &s->columns, NULL, rows);
    sparse_multiply_back(dx, s, weight->value, dy, rows);
    sparse_turn_back(x->grad, &s->columns, dx, rows);
}

struct tensor *op_linear(struct tape *t, struct tensor *x, struct tensor *weight, struct tensor *bias) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    int last = x->shape.rank - 1, in = weight->shape.dim[1], out = weight->shape.dim[0];
    CHECK(last >= 1 && weight->shape.rank == 2 && x->shape.dim[last] == in, "linear: x %s by weight %s",
          shape_text(left, x->shape), shape_text(right, weight->shape));
    struct shape shape = x->shape;
    shape.dim[last] = out;
    CHECK(!bias || (bias->shape.rank == 1 && bias->shape.dim[0] == out), "linear: bias %s for %d outputs",
          bias ? shape_text(left, bias->shape) : "", out);
    int rows = rows_of(x, weight);
    struct tensor *y = tape_push(t, &linear_op, shape, x, weight, bias);
    if (bias)
        for (int i = 0; i < rows; i++)
            memcpy(y->value + (size_t)i * (size_t)out, bias->value, (size_t)out * sizeof(real));
    if (weight->sparse) {
        if (!bias) memset(y->value, 0, y->size * sizeof(real));
        sparse_forward(t, y, (size_t)rows);
        return y;
    }
    blas_gemm(y->value, out, rows, out, in, (struct matrix){x->value, in, false},
              (struct matrix){weight->value, in, true}, bias ? 1 : 0);
    return y;
}

VECTOR_CLONES static void bias_backward(real *restrict dbias, const real *restrict dy, size_t rows,
                                        size_t out) {
    for (size_t i = 0; i < rows; i++, dy += out)
        for (size_t j = 0; j < out; j++) dbias[j] += dy[j];
}

static void linear_backward(struct tape *t, struct tensor *y) {
    struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    int rows = rows_of(x, weight), in = weight->shape.dim[1], out = weight->shape.dim[0];
    if (weight->sparse) sparse_backward(t, y, (size_t)rows);
    if (x->grad && !weight->sparse)
        blas_gemm(x->grad, in, rows, in, out, (struct matrix){y->grad, out, false},
                  (struct matrix){weight->value, in, false}, tape_keep(x));
    if (weight->grad && !weight->sparse)
        blas_gemm(weight->grad, in, out, in, rows, (struct matrix){y->grad, out, true},
                  (struct matrix){x->value, in, false}, tape_keep(weight));
    if (bias && bias->grad) bias_backward(bias->grad, y->grad, (size_t)rows, (size_t)out);
}

static double linear_flops(const struct tensor *y, bool backward) {
    const struct tensor *x = y->input[0], *weight = y->input[1];
    int products = backward ? (x->grad != NULL) + (weight->grad != NULL) : 1;
    return 2.0 * products * rows_of(x, weight) * (double)weight->size;
}

static struct tensor *linear_example(struct tape *t, struct tensor **x) {
    return op_linear(t, x[0], x[1], x[2]);
}

const struct op linear_op = {.name = "linear",
                             .backward = linear_backward,
                             .flops = linear_flops,
                             .sparse = true,
                             .sets = 1 << 0 | 1 << 1,
                             .example = linear_example,
                             .example_input = {{3, {3, 2, 4}}, {2, {5, 4}}, {1, {5}}},
                             .example_inputs = 3};
