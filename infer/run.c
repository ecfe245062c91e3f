/* Running a model, and looking at it. Contracts in tally_infer.h.
 *
 * A batch is cut into groups of up to 64 samples, each of which goes through all layers before the next starts, so that
 * activations stay in the cache and the scratch stays small. */
#include <math.h>
#include <string.h>

#include "infer/model.h"

/* Up to this many samples the kernel for one is run for each: 16 lanes cost as much. */
enum { ONE_BY_ONE = 4, ALIGNMENT = 64 };

/* --- looking ------------------------------------------------------------------------------------------------------- */

size_t tally_model_inputs(const struct tally_model *m) {
    return m->inputs;
}

size_t tally_model_outputs(const struct tally_model *m) {
    return m->outputs;
}

int tally_model_shape(const struct tally_model *m, size_t dim[4]) {
    for (size_t i = 0; i < m->rank; i++) dim[i] = m->dim[i];
    return (int)m->rank;
}

size_t tally_model_bytes(const struct tally_model *m) {
    return m->used;
}

size_t tally_model_weights(const struct tally_model *m) {
    size_t weights = 0;
    for (size_t i = 0; i < m->step_count; i++)
        if (m->steps[i].linear) weights += m->steps[i].in * m->steps[i].out;
    return weights;
}

size_t tally_model_nonzero(const struct tally_model *m) {
    size_t nonzero = 0;
    for (size_t i = 0; i < m->step_count; i++)
        if (m->steps[i].linear) nonzero += m->steps[i].linear->nonzero;
    return nonzero;
}

const char *tally_model_instructions(const struct tally_model *m) {
    return m->kernels->name;
}

size_t tally_model_layers(const struct tally_model *m) {
    return m->step_count;
}

/* Of weights, as the kernel has them. */
static size_t weight_bytes(const struct tally_linear *l, int dense, int many) {
    const struct tally_rows *rows = &l->rows;
    if (dense) return (l->out + TALLY_PANEL - 1) / TALLY_PANEL * TALLY_PANEL * l->in * sizeof *l->panels;
    if (!many) return (l->in + 1) * sizeof *l->columns.start + l->nonzero * sizeof *l->columns.entries;
    return l->out * (rows->wide ? 4 : 2) + rows->entries * (rows->codes ? 2 : 1 + sizeof *rows->values);
}

struct tally_layer tally_model_layer(const struct tally_model *m, size_t index) {
    static const char *const names[FORMAT_KIND_END] = {"",     "flatten", "linear",  "affine", "relu",
                                                       "gelu", "tanh",    "sigmoid", "softmax"};
    const struct tally_step *s = &m->steps[index];
    struct tally_layer l = {names[s->kind], s->in, s->out, 0, 0, "", "", 0, 0};
    if (s->linear) {
        l.weights = s->in * s->out;
        l.nonzero = s->linear->nonzero;
        l.kernel_one = s->linear->dense_one ? "dense" : "sparse";
        l.kernel_many = s->linear->dense_many ? "dense" : "sparse";
        l.bytes_one = weight_bytes(s->linear, s->linear->dense_one, 0);
        l.bytes_many = weight_bytes(s->linear, s->linear->dense_many, 1);
    }
    return l;
}

/* --- layers without weights ---------------------------------------------------------------------------------------- */

static void relu(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = x[i] > 0 ? x[i] : 0;
}

static void softmax(float *x, size_t features, size_t lanes) {
    for (size_t l = 0; l < lanes; l++) {
        float most = x[l];
        double sum = 0;
        for (size_t i = 1; i < features; i++) most = x[i * lanes + l] > most ? x[i * lanes + l] : most;
        for (size_t i = 0; i < features; i++) sum += exp((double)(x[i * lanes + l] - most));
        for (size_t i = 0; i < features; i++)
            x[i * lanes + l] = (float)(exp((double)(x[i * lanes + l] - most)) / sum);
    }
}

/* In place on x [features][lanes]. */
static void step_apply(const struct tally_step *s, float *x, size_t lanes) {
    size_t count = s->out * lanes;
    switch (s->kind) {
    case FORMAT_AFFINE:
        for (size_t i = 0; i < count; i++) x[i] = (float)((double)s->scale * (double)x[i] + (double)s->shift);
        break;
    case FORMAT_RELU:
        relu(x, count);
        break;
    case FORMAT_GELU: /* x times the normal distribution function, by way of erfc(-x sqrt(1 / 2)) / 2 */
        for (size_t i = 0; i < count; i++)
            x[i] = (float)(x[i] * 0.5 * erfc(-(double)x[i] * 0.7071067811865476));
        break;
    case FORMAT_TANH:
        for (size_t i = 0; i < count; i++) x[i] = (float)tanh((double)x[i]);
        break;
    case FORMAT_SIGMOID:
        for (size_t i = 0; i < count; i++) x[i] = (float)(1 / (1 + exp(-(double)x[i])));
        break;
    case FORMAT_SOFTMAX:
        softmax(x, s->out, lanes);
        break;
    default:
        break;
    }
}

/* --- running ------------------------------------------------------------------------------------------------------- */

/* How many lanes the next group of `left` samples takes; 1: one sample. */
static size_t lanes_for(size_t left) {
    if (left <= ONE_BY_ONE) return 1;
    return left <= 16 ? 16 : left <= 32 ? 32 : TALLY_LANES;
}

size_t tally_scratch_bytes(const struct tally_model *m, size_t batch) {
    return 2 * m->widest * lanes_for(batch) * sizeof(float) + ALIGNMENT;
}

/* All layers, from one of the two buffers to the other; returns the one with the result. */
static float *layers_run(const struct tally_model *m, float *now, float *other, size_t lanes) {
    for (size_t i = 0; i < m->step_count; i++) {
        const struct tally_step *s = &m->steps[i];
        const struct tally_linear *l = s->linear;
        if (!l) {
            step_apply(s, now, lanes);
            continue;
        }
        if (lanes == 1)
            (l->dense_one ? m->kernels->dense_one : m->kernels->sparse_one)(other, l, now);
        else
            (l->dense_many ? m->kernels->dense_many : m->kernels->sparse_many)(other, l, now, lanes);
        float *swap = now;
        now = other;
        other = swap;
    }
    return now;
}

int tally_run(const struct tally_model *m, const float *x, size_t batch, float *y, void *scratch,
              size_t scratch_bytes, struct tally_error *error) {
    struct tally_model where = {.error = error};
    if (error) error->text[0] = 0;
    if (!x || !y || !scratch || scratch_bytes < tally_scratch_bytes(m, batch))
        return tally_fail(&where, TALLY_BAD_CALL, "run: wants x, y and %lu bytes of scratch, has %lu",
                          (unsigned long)tally_scratch_bytes(m, batch), (unsigned long)scratch_bytes);
    float *one = (float *)(((uintptr_t)scratch + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    while (batch) {
        size_t lanes = lanes_for(batch), count = batch < lanes ? batch : lanes;
        float *other = one + m->widest * lanes, *result;
        if (lanes == 1) {
            memcpy(one, x, m->inputs * sizeof *one);
            result = layers_run(m, one, other, 1);
            memcpy(y, result, m->outputs * sizeof *y);
        } else {
            m->kernels->to_lanes(one, x, m->inputs, count, lanes);
            result = layers_run(m, one, other, lanes);
            m->kernels->from_lanes(y, result, m->outputs, count, lanes);
        }
        x += count * m->inputs;
        y += count * m->outputs;
        batch -= count;
    }
    return TALLY_OK;
}
