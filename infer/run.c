/* Running a model, and looking at it. Contracts in tally_infer.h.
 *
 * A batch is cut into groups of up to 64 samples, each of which goes through all layers before the next starts, so that
 * activations stay in the cache and the scratch stays small. */
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
    for (size_t i = 0; i < m->shape.rank; i++) dim[i] = m->shape.dim[i];
    return (int)m->shape.rank;
}

size_t tally_model_bytes(const struct tally_model *m) {
    return m->used;
}

size_t tally_model_weights(const struct tally_model *m) {
    size_t weights = 0;
    for (size_t i = 0; i < m->step_count; i++) weights += m->steps[i].rows * m->steps[i].columns;
    return weights;
}

size_t tally_model_nonzero(const struct tally_model *m) {
    size_t nonzero = 0;
    for (size_t i = 0; i < m->step_count; i++) nonzero += m->steps[i].nonzero;
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

/* Of one sample. */
static size_t products_of(const struct tally_step *s) {
    size_t windows = s->shape.dim[1] * s->shape.dim[2];
    switch (s->kind) {
    case FORMAT_LINEAR:
        return s->nonzero * (s->in / s->columns);
    case FORMAT_SELECT:
        return s->nonzero;
    case FORMAT_CONV2D:
        return s->nonzero * windows;
    case FORMAT_MAX_POOL2D:
    case FORMAT_AVG_POOL2D:
        return s->out * s->size[0] * s->size[1];
    default:
        return 0;
    }
}

/* Which share of the step a sample has on average: of a select's blocks, and of the winners behind a gate. */
static double share_of(const struct tally_model *m, const struct tally_step *s) {
    double share = 1;
    if (s->kind == FORMAT_SELECT) share = (double)s->k * s->block / (double)s->rows;
    const struct tally_step *gate = s->gated && s->gate ? &m->steps[s->gate - 1] : NULL;
    if (gate && gate->kind == FORMAT_K_WINNERS && s->kind != FORMAT_MIX)
        share *= (double)gate->k / (double)gate->in;
    return share < 1 ? share : 1;
}

struct tally_layer tally_model_layer(const struct tally_model *m, size_t index) {
    static const char *const names[FORMAT_KIND_END] = {"",
                                                       "flatten",
                                                       "linear",
                                                       "affine",
                                                       "relu",
                                                       "gelu",
                                                       "tanh",
                                                       "sigmoid",
                                                       "softmax",
                                                       "leaky_relu",
                                                       "silu",
                                                       "conv2d",
                                                       "max_pool2d",
                                                       "avg_pool2d",
                                                       "global_avg_pool2d",
                                                       "batch_norm",
                                                       "k_winners",
                                                       "layer_norm",
                                                       "rms_norm",
                                                       "add",
                                                       "concat",
                                                       "embedding",
                                                       "positional_embedding",
                                                       "select",
                                                       "mix"};
    const struct tally_step *s = &m->steps[index];
    struct tally_layer l = {names[s->kind], s->in, s->out, s->rows * s->columns, s->nonzero, "", "", 0, 0, 0};
    l.products = products_of(s);
    if (s->linear) {
        l.kernel_one = s->linear->dense_one ? "dense" : "sparse";
        l.kernel_many = s->linear->dense_many ? "dense" : "sparse";
        l.bytes_one = weight_bytes(s->linear, s->linear->dense_one, 0);
        l.bytes_many = weight_bytes(s->linear, s->linear->dense_many, 1);
    } else if (s->rows) {
        l.kernel_one = l.kernel_many = "sparse";
        l.bytes_one = l.bytes_many = s->nonzero * sizeof(struct tally_tap);
    }
    double share = share_of(m, s);
    l.products = (size_t)((double)l.products * share);
    l.bytes_one = (size_t)((double)l.bytes_one * share);
    if (!m->chooses) return l;
    l.kernel_many = l.kernel_one; /* sample by sample */
    l.bytes_many = TALLY_LANES * l.bytes_one;
    return l;
}

/* --- running ------------------------------------------------------------------------------------------------------- */

/* How many lanes the next group of `left` samples takes; 1: one sample. What is chosen by sample runs sample by sample, so
 * that nothing is computed but what was chosen. */
static size_t lanes_for(const struct tally_model *m, size_t left) {
    if (left <= ONE_BY_ONE || m->chooses) return 1;
    return left <= 16 ? 16 : left <= 32 ? 32 : TALLY_LANES;
}

size_t tally_scratch_bytes(const struct tally_model *m, size_t batch) {
    return m->room * lanes_for(m, batch) * sizeof(float) + ALIGNMENT;
}

static void linear_run(const struct tally_kernels *k, const struct tally_step *s, float *y, const float *x,
                       size_t lanes) {
    const struct tally_linear *l = s->linear;
    size_t rows = s->in / s->columns;
    for (size_t i = 0; i < rows; i++, x += s->columns * lanes, y += s->rows * lanes)
        if (lanes == 1)
            (l->dense_one ? k->dense_one : k->sparse_one)(y, l, x);
        else
            (l->dense_many ? k->dense_many : k->sparse_many)(y, l, x, lanes);
}

/* x with its padding, zeros: the sums stay the same to the bit. */
static void images_pad(const struct tally_step *s, float *y, const float *x, size_t lanes) {
    const struct tally_conv *l = s->conv;
    size_t width = s->from.dim[2] * lanes, row = l->row * lanes, above = s->padding[0] * row,
           before = s->padding[1] * lanes;
    memset(y, 0, s->from.dim[0] * l->plane * lanes * sizeof *y);
    for (size_t c = 0; c < s->from.dim[0]; c++, y += l->plane * lanes)
        for (size_t i = 0; i < s->from.dim[1]; i++, x += width)
            memcpy(y + above + i * row + before, x, width * sizeof *y);
}

/* `work` has room for padded images, if there is padding, and a plane. */
static void conv_run(const struct tally_kernels *k, const struct tally_step *s, float *y, const float *x,
                     float *work, size_t lanes) {
    if (s->padding[0] || s->padding[1]) {
        images_pad(s, work, x, lanes);
        x = work;
        work += (s->from.dim[0] * s->conv->plane + TALLY_SLACK) * lanes;
    }
    if (lanes == 1)
        k->conv_one(y, s->conv, x, work);
    else
        k->conv_many(y, s->conv, x, lanes);
}

/* Where a result lies. */
static float *result_of(const struct tally_model *m, float *scratch, uint32_t result, size_t lanes) {
    return scratch + (result ? m->steps[result - 1].at : 0) * lanes;
}

/* All layers; the sample lies at the begin of the scratch. */
static void layers_run(const struct tally_model *m, float *scratch, size_t lanes) {
    for (size_t i = 0; i < m->step_count; i++) {
        const struct tally_step *s = &m->steps[i];
        const float *input[2] = {NULL, NULL};
        for (uint32_t k = 0; k < s->inputs; k++) input[k] = result_of(m, scratch, s->input[k], lanes);
        float *y = scratch + s->at * lanes, gate = s->gated ? result_of(m, scratch, s->gate, 1)[s->unit] : 1;
        if (s->kind == FORMAT_MIX)
            tally_mix_apply(s, y, input[0], input[1], gate);
        else if (gate == 0)
            continue;
        else if (s->kind == FORMAT_SELECT)
            tally_select_apply(s, y, input[0], input[1]);
        else if (s->linear)
            linear_run(m->kernels, s, y, input[0], lanes);
        else if (s->conv)
            conv_run(m->kernels, s, y, input[0], scratch + s->work * lanes, lanes);
        else
            tally_step_apply(s, y, input[0], input[1], lanes);
    }
}

int tally_run(const struct tally_model *m, const float *x, size_t batch, float *y, void *scratch,
              size_t scratch_bytes, struct tally_error *error) {
    struct tally_model where = {.error = error};
    if (error) error->text[0] = 0;
    if (!x || !y || !scratch || scratch_bytes < tally_scratch_bytes(m, batch))
        return tally_fail(&where, TALLY_BAD_CALL, "run: wants x, y and %lu bytes of scratch, has %lu",
                          (unsigned long)tally_scratch_bytes(m, batch), (unsigned long)scratch_bytes);
    float *room = (float *)(((uintptr_t)scratch + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    while (batch) {
        size_t lanes = lanes_for(m, batch), count = batch < lanes ? batch : lanes;
        float *result = room + m->result * lanes;
        if (lanes == 1) {
            memcpy(room, x, m->inputs * sizeof *room);
            layers_run(m, room, 1);
            memcpy(y, result, m->outputs * sizeof *y);
        } else {
            m->kernels->to_lanes(room, x, m->inputs, count, lanes);
            layers_run(m, room, lanes);
            m->kernels->from_lanes(y, result, m->outputs, count, lanes);
        }
        x += count * m->inputs;
        y += count * m->outputs;
        batch -= count;
    }
    return TALLY_OK;
}
