/* The program: its layers, and the shape of each one's result. The format is in format.h. */
#include <string.h>

#include "infer/model.h"

enum { WINDOW_MAX = 4096 };

static unsigned long ul(size_t x) {
    return (unsigned long)x;
}

static int is_finite(float x) {
    return x - x == 0;
}

/* The product of the dimensions; 0 where it is over the format's limit. */
static size_t shape_size(const struct tally_shape *s) {
    size_t size = 1;
    for (size_t i = 0; i < s->rank; i++)
        if (s->dim[i] < 1 || s->dim[i] > FORMAT_DIM_MAX || !tally_multiply(&size, size, s->dim[i]) ||
            size > FORMAT_DIM_MAX)
            return 0;
    return size;
}

static size_t number_read(const struct tally_model *m, struct tally_cursor *c) {
    return m->version == 1 ? tally_read_u32(c) : tally_read_number(c);
}

static int sample_read(struct tally_model *m, struct tally_cursor *c) {
    struct tally_shape *s = &m->shape;
    s->rank = tally_read_u8(c);
    if (c->failed || s->rank < 1 || s->rank > 4)
        return tally_fail(m, TALLY_BAD_FILE, "program: %lu dimensions, wanted 1 to 4", ul(s->rank));
    for (size_t i = 0; i < s->rank; i++) {
        s->dim[i] = number_read(m, c);
        if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "program: ends within the input's shape");
        if (s->dim[i] < 1 || s->dim[i] > FORMAT_DIM_MAX)
            return tally_fail(m, TALLY_BAD_FILE, "program: dimension %lu of the input is %lu, wanted 1 to %d",
                              ul(i), ul(s->dim[i]), FORMAT_DIM_MAX);
    }
    m->inputs = shape_size(s);
    if (!m->inputs)
        return tally_fail(m, TALLY_BAD_FILE, "program: the input has more than %d numbers", FORMAT_DIM_MAX);
    return TALLY_OK;
}

/* --- options ------------------------------------------------------------------------------------------------------- */

/* The bits that a layer of version 2 may have in its form; -1: it has no form. */
static int forms_of(enum format_kind kind) {
    switch (kind) {
    case FORMAT_LINEAR:
    case FORMAT_LAYER_NORM:
    case FORMAT_SELECT:
        return FORMAT_HAS_BIAS | FORMAT_HAS_FACTOR;
    case FORMAT_CONV2D:
        return FORMAT_HAS_BIAS | FORMAT_HAS_FACTOR | FORMAT_HAS_STRIDE | FORMAT_HAS_PADDING |
               FORMAT_HAS_DILATION | FORMAT_HAS_GROUPS;
    case FORMAT_MAX_POOL2D:
        return FORMAT_HAS_STRIDE | FORMAT_HAS_PADDING;
    case FORMAT_AVG_POOL2D:
        return FORMAT_HAS_STRIDE | FORMAT_HAS_PADDING | FORMAT_COUNT_PAD;
    case FORMAT_K_WINNERS:
        return FORMAT_HAS_FACTOR | FORMAT_LOCAL;
    case FORMAT_RMS_NORM:
        return FORMAT_HAS_FACTOR;
    default:
        return -1;
    }
}

static int form_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number) {
    int forms = forms_of(s->kind);
    s->form = s->kind == FORMAT_BATCH_NORM ? FORMAT_HAS_BIAS | FORMAT_HAS_FACTOR : 0;
    if (forms < 0) return TALLY_OK;
    s->form = tally_read_u8(c);
    if (s->form & ~(unsigned)forms)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu can't have form %u, but bits of %d",
                          ul(number), s->form, forms);
    return TALLY_OK;
}

static int pair_read(struct tally_model *m, uint32_t pair[2], struct tally_cursor *c, uint32_t least,
                     const char *what, size_t number) {
    for (int k = 0; k < 2; k++) {
        pair[k] = tally_read_number(c);
        if (!c->failed && (pair[k] < least || pair[k] > WINDOW_MAX))
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: %s %lu, wanted %lu to %d", ul(number),
                              what, ul(pair[k]), ul(least), WINDOW_MAX);
    }
    return TALLY_OK;
}

/* The window, and the height and width of the result. */
static int window_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number) {
    const unsigned form = s->form;
    for (int k = 0; k < 2; k++) s->stride[k] = s->dilation[k] = 1;
    if (pair_read(m, s->size, c, 1, "a window of", number) != TALLY_OK ||
        (form & FORMAT_HAS_STRIDE && pair_read(m, s->stride, c, 1, "stride", number) != TALLY_OK) ||
        (form & FORMAT_HAS_PADDING && pair_read(m, s->padding, c, 0, "padding", number) != TALLY_OK) ||
        (form & FORMAT_HAS_DILATION && pair_read(m, s->dilation, c, 1, "dilation", number) != TALLY_OK))
        return TALLY_BAD_FILE;
    if (c->failed) return TALLY_OK;
    if (s->from.rank != 3)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu wants images, gets %lu dimensions",
                          ul(number), ul(s->from.rank));
    for (int k = 0; k < 2; k++) {
        size_t padded = s->from.dim[1 + k] + 2 * (size_t)s->padding[k];
        size_t reach = (size_t)s->dilation[k] * (s->size[k] - 1) + 1;
        if (padded < reach)
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: a window of %lu in %lu numbers",
                              ul(number), ul(reach), ul(padded));
        s->shape.dim[1 + k] = (padded - reach) / s->stride[k] + 1;
        if (s->kind != FORMAT_CONV2D && 2 * s->padding[k] > s->size[k])
            return tally_fail(m, TALLY_BAD_FILE,
                              "program: layer %lu: padding %lu is more than half of a window of %lu",
                              ul(number), ul(s->padding[k]), ul(s->size[k]));
    }
    return TALLY_OK;
}

static int outputs_read(struct tally_model *m, size_t *out, struct tally_cursor *c, size_t number) {
    *out = number_read(m, c);
    if (!c->failed && (*out < 1 || *out > FORMAT_DIM_MAX))
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu has %lu outputs, wanted 1 to %d", ul(number),
                          ul(*out), FORMAT_DIM_MAX);
    return TALLY_OK;
}

static int linear_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number) {
    size_t last = s->from.rank - 1;
    if (m->version == 1 && s->from.rank != 1)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu wants samples of one dimension", ul(number));
    if (outputs_read(m, &s->rows, c, number) != TALLY_OK) return TALLY_BAD_FILE;
    if (m->version == 1) {
        s->form = tally_read_u8(c);
        if (s->form > 1)
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: bias is %u, wanted 0 or 1", ul(number),
                              s->form);
    }
    s->columns = s->from.dim[last];
    s->width = s->from.width;
    s->plane = s->from.plane;
    s->shape.dim[last] = s->rows;
    s->shape.width = s->shape.plane = 0;
    return TALLY_OK;
}

static int conv2d_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number) {
    if (outputs_read(m, &s->rows, c, number) != TALLY_OK) return TALLY_BAD_FILE;
    if (window_read(m, s, c, number) != TALLY_OK) return TALLY_BAD_FILE;
    s->groups = s->form & FORMAT_HAS_GROUPS ? tally_read_number(c) : 1;
    if (c->failed) return TALLY_OK;
    size_t channels = s->from.dim[0], padded = channels;
    if (s->groups < 1 || channels % s->groups || s->rows % s->groups)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: %lu groups of %lu channels and %lu outputs",
                          ul(number), ul(s->groups), ul(channels), ul(s->rows));
    s->shape.dim[0] = s->rows;
    s->columns = channels / s->groups;
    s->width = s->size[1];
    s->plane = (size_t)s->size[0] * s->size[1];
    for (int k = 0; k < 2; k++)
        if (!tally_multiply(&padded, padded, s->from.dim[1 + k] + 2 * (size_t)s->padding[k]) ||
            !tally_multiply(&s->columns, s->columns, s->size[k]) || padded > FORMAT_DIM_MAX ||
            s->columns > FORMAT_DIM_MAX)
            return tally_fail(m, TALLY_BAD_FILE,
                              "program: layer %lu: padded images or kernels of more than %d numbers",
                              ul(number), FORMAT_DIM_MAX);
    return TALLY_OK;
}

static int k_winners_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c,
                          size_t number) {
    size_t of = s->form & FORMAT_LOCAL ? s->from.dim[0] : s->in;
    s->k = tally_read_number(c);
    if (!c->failed && (s->k < 1 || s->k > of))
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: %lu winners of %lu numbers", ul(number),
                          ul(s->k), ul(of));
    return TALLY_OK;
}

static int embedding_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c,
                          size_t number) {
    if (s->from.rank != 1)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu wants samples of one dimension", ul(number));
    if (outputs_read(m, &s->rows, c, number) != TALLY_OK ||
        outputs_read(m, &s->columns, c, number) != TALLY_OK)
        return TALLY_BAD_FILE;
    s->shape.rank = 2;
    s->shape.width = s->shape.plane = 0;
    s->shape.dim[1] = s->columns;
    return TALLY_OK;
}

static int floats_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number) {
    s->scale = tally_read_f32(c);
    if (s->kind == FORMAT_AFFINE) s->shift = tally_read_f32(c);
    if (is_finite(s->scale) && is_finite(s->shift)) return TALLY_OK;
    return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: scale and shift must be finite", ul(number));
}

static int join_check(struct tally_model *m, struct tally_step *s, const struct tally_shape *other,
                      size_t number) {
    int same = s->from.rank == other->rank;
    for (size_t i = s->kind == FORMAT_CONCAT; i < s->from.rank && same; i++)
        same = s->from.dim[i] == other->dim[i];
    if (!same)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu joins results that do not go together",
                          ul(number));
    if (s->kind == FORMAT_CONCAT) s->shape.dim[0] += other->dim[0];
    return TALLY_OK;
}

static int select_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c,
                       const struct tally_shape *score, size_t number) {
    if (outputs_read(m, &s->rows, c, number) != TALLY_OK) return TALLY_BAD_FILE;
    s->k = tally_read_number(c);
    s->block = tally_read_number(c);
    if (c->failed) return TALLY_OK;
    if (s->block < 1 || s->block > s->rows)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: blocks of %lu of %lu rows", ul(number),
                          ul(s->block), ul(s->rows));
    size_t blocks = (s->rows + s->block - 1) / s->block;
    if (s->k < 1 || s->k > blocks || s->from.rank != 1 || score->rank != 1 || score->dim[0] != blocks)
        return tally_fail(
            m, TALLY_BAD_FILE,
            "program: layer %lu: %lu of %lu blocks, by samples and scores that do not go with that",
            ul(number), ul(s->k), ul(blocks));
    s->columns = s->from.dim[0];
    s->shape.dim[0] = s->rows;
    s->shape.width = s->shape.plane = 0;
    m->chooses = 1;
    return TALLY_OK;
}

/* What the kind has behind its form, and its effect on the shape. */
static int options_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c,
                        const struct tally_shape *other, size_t number) {
    switch (s->kind) {
    case FORMAT_LINEAR:
        return linear_read(m, s, c, number);
    case FORMAT_CONV2D:
        return conv2d_read(m, s, c, number);
    case FORMAT_MAX_POOL2D:
    case FORMAT_AVG_POOL2D:
        return window_read(m, s, c, number);
    case FORMAT_AFFINE:
    case FORMAT_LEAKY_RELU:
    case FORMAT_LAYER_NORM:
    case FORMAT_RMS_NORM:
        return floats_read(m, s, c, number);
    case FORMAT_K_WINNERS:
        return k_winners_read(m, s, c, number);
    case FORMAT_EMBEDDING:
        return embedding_read(m, s, c, number);
    case FORMAT_ADD:
    case FORMAT_CONCAT:
        return join_check(m, s, other, number);
    case FORMAT_SELECT:
        return select_read(m, s, c, other, number);
    case FORMAT_MIX:
        return s->inputs == 2 ? join_check(m, s, other, number) : TALLY_OK;
    case FORMAT_POSITIONAL_EMBEDDING:
        s->columns = s->from.dim[s->from.rank - 1];
        s->rows = s->in / s->columns;
        return TALLY_OK;
    case FORMAT_FLATTEN:
        if (s->from.rank > 1) s->shape.width = s->from.dim[s->from.rank - 1];
        if (s->from.rank == 3) s->shape.plane = s->shape.width * s->from.dim[1];
        s->shape.rank = 1;
        s->shape.dim[0] = s->in;
        return TALLY_OK;
    case FORMAT_GLOBAL_AVG_POOL2D:
        s->shape.rank = 1;
        if (s->from.rank == 3) return TALLY_OK;
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu wants images, gets %lu dimensions",
                          ul(number), ul(s->from.rank));
    case FORMAT_SOFTMAX:
        if (m->version > 1 || s->from.rank == 1) return TALLY_OK;
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu wants samples of one dimension", ul(number));
    default:
        return TALLY_OK;
    }
}

/* --- layers -------------------------------------------------------------------------------------------------------- */

static const struct tally_shape *result_shape(const struct tally_model *m, size_t result) {
    return result ? &m->steps[result - 1].shape : &m->shape;
}

/* The result that lies so far back. */
static int result_find(struct tally_model *m, uint32_t *result, const struct tally_cursor *c,
                       uint32_t distance, size_t number) {
    if (!c->failed && (distance < 1 || distance > number + 1))
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu reads %lu results back", ul(number),
                          ul(distance));
    *result = (uint32_t)(number + 1 - distance);
    return TALLY_OK;
}

static int inputs_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number,
                       int given) {
    int mix = s->kind == FORMAT_MIX,
        joins = mix || s->kind == FORMAT_ADD || s->kind == FORMAT_CONCAT || s->kind == FORMAT_SELECT;
    s->inputs = joins ? 2 : 1;
    s->input[0] = s->input[1] = (uint32_t)number;
    if (joins && !given)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu must say what it joins", ul(number));
    for (uint32_t k = 0; k < s->inputs && given; k++) {
        uint32_t distance = tally_read_number(c);
        if (mix && k == 1 && distance == 0)
            s->inputs = 1;
        else if (result_find(m, &s->input[k], c, distance, number) != TALLY_OK)
            return TALLY_BAD_FILE;
    }
    return TALLY_OK;
}

/* Whether a result is there for every sample. */
static int is_always_there(const struct tally_model *m, size_t result) {
    const struct tally_step *s = result ? &m->steps[result - 1] : NULL;
    return !s || !s->gated || s->kind == FORMAT_MIX;
}

static int gate_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number,
                     int gated) {
    s->gated = gated;
    if (gated) {
        if (result_find(m, &s->gate, c, tally_read_number(c), number) != TALLY_OK) return TALLY_BAD_FILE;
        s->unit = tally_read_number(c);
        if (!c->failed && (!is_always_there(m, s->gate) || s->unit >= shape_size(result_shape(m, s->gate))))
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: its gate is not there", ul(number));
        m->chooses = 1;
    } else if (s->kind == FORMAT_MIX) {
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu mixes without a gate", ul(number));
    }
    for (uint32_t k = 0; k < s->inputs && !c->failed; k++) {
        if (is_always_there(m, s->input[k])) continue;
        const struct tally_step *from = &m->steps[s->input[k] - 1];
        if (!gated || from->gate != s->gate || from->unit != s->unit || (s->kind == FORMAT_MIX && k == 1))
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu reads what is behind another gate",
                              ul(number));
    }
    return TALLY_OK;
}

static int step_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number) {
    unsigned end = m->version == 1 ? FORMAT_KIND_END_1 : FORMAT_KIND_END, kind = tally_read_u8(c);
    int given = m->version > 1 && kind & FORMAT_INPUTS, gated = m->version > 1 && kind & FORMAT_GATED;
    if (given) kind -= FORMAT_INPUTS;
    if (gated) kind -= FORMAT_GATED;
    if (!c->failed && (kind < FORMAT_FLATTEN || kind >= end))
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu is of unknown kind %u, wanted 1 to %u",
                          ul(number), kind, end - 1);
    s->kind = (enum format_kind)kind;
    if (inputs_read(m, s, c, number, given) != TALLY_OK || gate_read(m, s, c, number, gated) != TALLY_OK)
        return TALLY_BAD_FILE;
    if (!c->failed) {
        s->from = s->shape = *result_shape(m, s->input[0]);
        s->in = shape_size(&s->from);
        if (m->version > 1 && form_read(m, s, c, number) != TALLY_OK) return TALLY_BAD_FILE;
        if (options_read(m, s, c, result_shape(m, s->input[1]), number) != TALLY_OK) return TALLY_BAD_FILE;
    }
    if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "program: ends within layer %lu", ul(number));
    s->out = shape_size(&s->shape);
    if (!s->out)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu has more than %d outputs", ul(number),
                          FORMAT_DIM_MAX);
    return TALLY_OK;
}

int tally_program_read(struct tally_model *m, struct tally_cursor c) {
    if (sample_read(m, &c) != TALLY_OK) return TALLY_BAD_FILE;
    m->step_count = m->version == 1 ? tally_read_u16(&c) : tally_read_number(&c);
    if (c.failed || m->step_count < 1 || m->step_count > FORMAT_LAYERS_MAX ||
        m->step_count > tally_cursor_left(&c))
        return tally_fail(m, TALLY_BAD_FILE, "program: %lu layers in %lu bytes, wanted 1 to %d",
                          ul(m->step_count), ul(tally_cursor_left(&c)), FORMAT_LAYERS_MAX);
    m->steps = tally_take(m, m->step_count, sizeof *m->steps);
    if (!m->steps) return TALLY_NO_MEMORY;
    for (size_t i = 0; i < m->step_count; i++)
        if (step_read(m, &m->steps[i], &c, i) != TALLY_OK) return TALLY_BAD_FILE;
    if (!is_always_there(m, m->step_count))
        return tally_fail(m, TALLY_BAD_FILE, "program: its last layer is behind a gate");
    if (tally_cursor_left(&c))
        return tally_fail(m, TALLY_BAD_FILE, "program: %lu bytes behind its last layer",
                          ul(tally_cursor_left(&c)));
    m->outputs = m->steps[m->step_count - 1].out;
    return TALLY_OK;
}
