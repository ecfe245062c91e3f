// concat: puts tensors one after the other along dimension 1, the first of a sample: (B, a, ...) and
// (B, b, ...) give (B, a + b, ...). Each part's gradient is its piece of dy. Saved: the parts.
#include <string.h>

#include "src/ops.h"

struct saved {
    struct tensor **part;
    int count;
};

struct tensor *op_concat(struct tape *t, struct tensor *const *parts, int count) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(count >= 1 && parts[0]->shape.rank >= 2, "concat: %d tensors", count);
    struct shape shape = parts[0]->shape;
    struct tensor *asks = parts[0]; // one with a gradient, where there is one
    for (int k = 1; k < count; k++) {
        struct shape wanted = parts[k]->shape;
        wanted.dim[1] = shape.dim[1];
        CHECK(shape_equal(wanted, shape), "concat: %s and %s", shape_text(left, shape),
              shape_text(right, parts[k]->shape));
        shape.dim[1] += parts[k]->shape.dim[1];
        if (!asks->grad) asks = parts[k];
    }
    struct tensor *y = tape_push(t, &concat_op, shape, asks, NULL, NULL);
    struct saved *saved = y->saved = arena_alloc(t->arena, 1, sizeof *saved);
    *saved = (struct saved){arena_alloc(t->arena, (size_t)count, sizeof *saved->part), count};
    memcpy(saved->part, parts, (size_t)count * sizeof *parts);
    size_t rows = (size_t)shape.dim[0];
    real *to = y->value;
    for (size_t i = 0; i < rows; i++)
        for (int k = 0; k < count; k++) {
            size_t n = parts[k]->size / rows;
            memcpy(to, parts[k]->value + i * n, n * sizeof *to);
            to += n;
        }
    return y;
}

static void concat_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct saved *saved = y->saved;
    size_t rows = (size_t)y->shape.dim[0];
    const real *from = y->grad;
    for (size_t i = 0; i < rows; i++)
        for (int k = 0; k < saved->count; k++) {
            size_t n = saved->part[k]->size / rows;
            real *grad = saved->part[k]->grad;
            if (grad)
                for (size_t j = 0; j < n; j++) grad[i * n + j] += from[j];
            from += n;
        }
}

static struct tensor *concat_example(struct tape *t, struct tensor **x) {
    return op_concat(t, x, 3);
}

const struct op concat_op = {.name = "concat",
                             .backward = concat_backward,
                             .example = concat_example,
                             .example_input = {{3, {2, 3, 2}}, {3, {2, 1, 2}}, {3, {2, 2, 2}}},
                             .example_inputs = 3};
