// linear_rows: linear, of which each sample gets a choice of units, each `block` neighbouring rows of the weight:
//   y (B, out)[b, r] = x (B, in)[b] · weight[r] + bias[r] where r is in a unit chosen for sample b, else 0.
// dx, dweight and dbias as in linear, over the chosen (b, r) alone. Rows that nobody chose are neither read nor
// written; neither are their gradients.
//
// Where all samples have one choice, each run of neighbouring units is one product; a choice of all rows is linear, to
// the bit. Otherwise each unit gathers its samples.
#include <string.h>

#include "src/blas.h"
#include "src/ops.h"

// Some rows and the samples that they are for.
struct part {
    int first, rows;
    const int *sample; // [samples]; NULL: every one
    int samples;
};

// The part that begins with unit *at of the choice; *at goes to the next.
static struct part part_next(int *at, size_t *listed, const struct choice *c, int batch, int out) {
    int unit = c->unit[*at], first = unit * c->block, end = first + c->block;
    struct part part = {.first = first, .samples = batch};
    if (c->sample) {
        part.sample = c->sample + *listed;
        part.samples = c->samples[*at];
        *listed += (size_t)part.samples;
        ++*at;
    } else {
        while (++*at < c->count && c->unit[*at] == ++unit) end += c->block;
    }
    part.rows = (end < out ? end : out) - first;
    return part;
}

static void gather(real *to, const real *from, size_t stride, size_t width, const struct part *p) {
    for (int i = 0; i < p->samples; i++)
        memcpy(to + (size_t)i * width, from + (size_t)p->sample[i] * stride, width * sizeof(real));
}

static void part_forward(struct tensor *y, const struct part *p, real *room_in, real *room_out) {
    const struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    int in = x->shape.dim[1], out = y->shape.dim[1], stride = p->sample ? p->rows : out;
    real *to = p->sample ? room_out : y->value + p->first;
    if (p->sample) gather(room_in, x->value, (size_t)in, (size_t)in, p);
    for (int i = 0; bias && i < p->samples; i++)
        memcpy(to + (size_t)i * (size_t)stride, bias->value + p->first, (size_t)p->rows * sizeof(real));
    blas_gemm(to, stride, p->samples, p->rows, in, (struct matrix){p->sample ? room_in : x->value, in, false},
              (struct matrix){weight->value + (size_t)p->first * (size_t)in, in, true}, bias ? 1 : 0);
    for (int i = 0; p->sample && i < p->samples; i++)
        memcpy(y->value + (size_t)p->sample[i] * (size_t)out + p->first, to + (size_t)i * (size_t)p->rows,
               (size_t)p->rows * sizeof(real));
}

struct tensor *op_linear_rows(struct tape *t, struct tensor *x, struct tensor *weight, struct tensor *bias,
                              const struct choice *choice) {
    char left[SHAPE_TEXT], right[SHAPE_TEXT];
    CHECK(x->shape.rank == 2 && weight->shape.rank == 2 && x->shape.dim[1] == weight->shape.dim[1],
          "linear_rows: x %s by weight %s", shape_text(left, x->shape), shape_text(right, weight->shape));
    int batch = x->shape.dim[0], in = x->shape.dim[1], out = weight->shape.dim[0];
    CHECK(!bias || shape_equal(bias->shape, shape_1(out)), "linear_rows: %zu biases for %d outputs",
          bias->size, out);
    struct tensor *y = tape_push(t, &linear_rows_op, shape_2(batch, out), x, weight, bias);
    y->saved = (void *)choice;
    memset(y->value, 0, y->size * sizeof *y->value);
    real *room_in = NULL, *room_out = NULL;
    if (choice->sample) {
        room_in = arena_alloc(t->arena, (size_t)batch * (size_t)in, sizeof *room_in);
        room_out = arena_alloc(t->arena, (size_t)batch * (size_t)choice->block, sizeof *room_out);
    }
    size_t listed = 0;
    for (int at = 0; at < choice->count;) {
        struct part part = part_next(&at, &listed, choice, batch, out);
        part_forward(y, &part, room_in, room_out);
    }
    return y;
}

// room: of (B, in) twice and (B, block), when samples are gathered.
static void part_backward(struct tensor *y, const struct part *p, real *room_x, real *room_dx,
                          real *room_dy) {
    struct tensor *x = y->input[0], *weight = y->input[1], *bias = y->input[2];
    int in = x->shape.dim[1], out = y->shape.dim[1], stride = p->sample ? p->rows : out;
    size_t row = (size_t)p->first * (size_t)in, width = (size_t)in;
    const real *dy = y->grad + p->first;
    if (p->sample) {
        gather(room_dy, dy, (size_t)out, (size_t)p->rows, p);
        dy = room_dy;
    }
    if (x->grad) {
        blas_gemm(p->sample ? room_dx : x->grad, in, p->samples, in, p->rows,
                  (struct matrix){dy, stride, false}, (struct matrix){weight->value + row, in, false},
                  p->sample ? 0 : 1);
        for (int i = 0; p->sample && i < p->samples; i++) {
            real *restrict dx = x->grad + (size_t)p->sample[i] * width;
            const real *restrict part = room_dx + (size_t)i * width;
            for (size_t j = 0; j < width; j++) dx[j] += part[j];
        }
    }
    if (weight->grad) {
        if (p->sample) gather(room_x, x->value, width, width, p);
        blas_gemm(weight->grad + row, in, p->rows, in, p->samples, (struct matrix){dy, stride, true},
                  (struct matrix){p->sample ? room_x : x->value, in, false}, 1);
    }
    if (bias && bias->grad)
        for (int i = 0; i < p->samples; i++)
            for (int j = 0; j < p->rows; j++)
                bias->grad[p->first + j] += dy[(size_t)i * (size_t)stride + (size_t)j];
}

static void linear_rows_backward(struct tape *t, struct tensor *y) {
    const struct choice *choice = y->saved;
    int batch = y->shape.dim[0], out = y->shape.dim[1];
    real *room_x = NULL, *room_dx = NULL, *room_dy = NULL;
    if (choice->sample) {
        room_x = arena_alloc(t->arena, y->input[0]->size, sizeof *room_x);
        room_dx = arena_alloc(t->arena, y->input[0]->size, sizeof *room_dx);
        room_dy = arena_alloc(t->arena, (size_t)batch * (size_t)choice->block, sizeof *room_dy);
    }
    size_t listed = 0;
    for (int at = 0; at < choice->count;) {
        struct part part = part_next(&at, &listed, choice, batch, out);
        part_backward(y, &part, room_x, room_dx, room_dy);
    }
}

static double linear_rows_flops(const struct tensor *y, bool backward) {
    const struct tensor *x = y->input[0], *weight = y->input[1];
    int products = backward ? (x->grad != NULL) + (weight->grad != NULL) : 1;
    double chosen = 0;
    size_t listed = 0;
    for (int at = 0; at < ((const struct choice *)y->saved)->count;) {
        struct part part = part_next(&at, &listed, y->saved, x->shape.dim[0], y->shape.dim[1]);
        chosen += (double)part.rows * part.samples;
    }
    return 2 * products * chosen * x->shape.dim[1];
}

// Samples 0 and 2 have unit 0, samples 1, 2 and 4 unit 2, sample 3 unit 3 with its one row; unit 1 sleeps.
static struct tensor *linear_rows_example(struct tape *t, struct tensor **x) {
    static const int unit[] = {0, 2, 3}, samples[] = {2, 3, 1}, sample[] = {0, 2, 1, 2, 4, 3};
    static const struct choice choice = {2, 3, unit, samples, sample};
    return op_linear_rows(t, x[0], x[1], x[2], &choice);
}

const struct op linear_rows_op = {.name = "linear_rows",
                                  .backward = linear_rows_backward,
                                  .flops = linear_rows_flops,
                                  .example = linear_rows_example,
                                  .example_input = {{2, {5, 3}}, {2, {7, 3}}, {1, {7}}},
                                  .example_inputs = 3};
