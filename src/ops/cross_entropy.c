// cross_entropy: y = mean over the rows of - sum over j of q[row, j] * log p[row, j], p = softmax(logits (B, C))
// row by row, computed from logits - max so that nothing overflows; q = (1 - smoothing) * onehot(label) +
// smoothing / C (label smoothing, Szegedy et al. 2016, section 7; 0: -log p[row, label]).
// dlogits = dy * (p - q) / B. Saved: p, the labels and the smoothing.
#include <math.h>

#include "src/ops.h"

struct saved {
    real *p; // (B, C)
    const uint8_t *labels;
    double smoothing;
};

// p = softmax of one row; returns its loss, from the logits (p itself may have underflowed).
static double row_forward(real *p, const real *logit, int classes, int label, double smoothing) {
    double largest = (double)logit[0], sum = 0;
    for (int j = 1; j < classes; j++) largest = fmax(largest, (double)logit[j]);
    for (int j = 0; j < classes; j++) sum += exp((double)logit[j] - largest);
    for (int j = 0; j < classes; j++) p[j] = (real)(exp((double)logit[j] - largest) / sum);
    double wanted = (double)logit[label], total = 0;
    for (int j = 0; smoothing > 0 && j < classes; j++) total += (double)logit[j];
    if (smoothing > 0) wanted = (1 - smoothing) * wanted + smoothing * total / classes;
    return log(sum) + largest - wanted;
}

struct tensor *op_cross_entropy(struct tape *t, struct tensor *logits, const uint8_t *labels,
                                double smoothing) {
    char text[SHAPE_TEXT];
    CHECK(logits->shape.rank == 2, "cross_entropy: logits %s", shape_text(text, logits->shape));
    CHECK(smoothing >= 0 && smoothing <= 1, "cross_entropy: smoothing is %g", smoothing);
    int rows = logits->shape.dim[0], classes = logits->shape.dim[1];
    struct tensor *y = tape_push(t, &cross_entropy_op, (struct shape){0}, logits, NULL, NULL);
    struct saved *saved = y->saved = arena_alloc(t->arena, 1, sizeof *saved);
    *saved = (struct saved){arena_alloc(t->arena, logits->size, sizeof(real)), labels, smoothing};
    double total = 0;
    for (int i = 0; i < rows; i++) {
        CHECK(labels[i] < classes, "cross_entropy: label %d of %d classes", labels[i], classes);
        size_t row = (size_t)i * (size_t)classes;
        total += row_forward(saved->p + row, logits->value + row, classes, labels[i], smoothing);
    }
    y->value[0] = (real)(total / rows);
    return y;
}

static void cross_entropy_backward(struct tape *t, struct tensor *y) {
    (void)t;
    const struct saved *saved = y->saved;
    struct tensor *logits = y->input[0];
    int rows = logits->shape.dim[0], classes = logits->shape.dim[1];
    real share = y->grad[0] / (real)rows, rest = (real)(saved->smoothing / classes);
    real label = (real)(1 - saved->smoothing), keep = tape_keep(logits);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < classes; j++) {
            size_t at = (size_t)i * (size_t)classes + (size_t)j;
            real wanted = rest + (saved->labels[i] == j ? label : 0);
            real before = keep != 0 ? logits->grad[at] : 0;
            logits->grad[at] = before + share * (saved->p[at] - wanted);
        }
}

static struct tensor *cross_entropy_example(struct tape *t, struct tensor **x) {
    static const uint8_t labels[3] = {2, 0, 3};
    return op_cross_entropy(t, x[0], labels, 0.1);
}

const struct op cross_entropy_op = {.name = "cross_entropy",
                                    .backward = cross_entropy_backward,
                                    .sets = 1 << 0,
                                    .example = cross_entropy_example,
                                    .example_input = {{2, {3, 4}}},
                                    .example_inputs = 1};
