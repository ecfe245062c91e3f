/* Loading: header, directory, program; a LAYER section each goes to layer.c. The format is in format.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/crc.h"
#include "infer/model.h"

enum { MEMORY_DEFAULT = 256 << 20 };

/* --- errors and memory --------------------------------------------------------------------------------------------- */

int tally_fail(const struct tally_model *m, int status, const char *format, ...) {
    if (!m->error) return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(m->error->text, sizeof m->error->text, format, arguments);
    va_end(arguments);
    return status;
}

struct tally_block {
    struct tally_block *next;
    size_t bytes;
};

void *tally_take(struct tally_model *m, size_t count, size_t size) {
    size_t bytes;
    if (!tally_multiply(&bytes, count, size) || !tally_add(&bytes, bytes, sizeof(struct tally_block)) ||
        bytes > m->options.memory_limit - m->used) {
        tally_fail(m, TALLY_NO_MEMORY, "the model wants more than its limit of %lu bytes",
                   (unsigned long)m->options.memory_limit);
        return NULL;
    }
    struct tally_block *block = m->options.allocate(m->options.context, bytes);
    if (!block) {
        tally_fail(m, TALLY_NO_MEMORY, "no memory for %lu bytes", (unsigned long)bytes);
        return NULL;
    }
    memset(block, 0, bytes);
    block->bytes = bytes;
    block->next = m->blocks;
    m->blocks = block;
    m->used += bytes;
    return block + 1;
}

void tally_give_back(struct tally_model *m, const void *memory) {
    if (!memory) return;
    struct tally_block **at = &m->blocks;
    while (*at + 1 != memory) at = &(*at)->next;
    struct tally_block *block = *at;
    *at = block->next;
    m->used -= block->bytes;
    m->options.release(m->options.context, block);
}

static void *default_allocate(void *context, size_t bytes) {
    (void)context;
    return malloc(bytes);
}

static void default_release(void *context, void *memory) {
    (void)context;
    free(memory);
}

void tally_model_free(struct tally_model *m) {
    if (!m) return;
    while (m->blocks) tally_give_back(m, m->blocks + 1);
    m->options.release(m->options.context, m);
}

/* --- the program --------------------------------------------------------------------------------------------------- */

static int shape_read(struct tally_model *m, struct tally_cursor *c) {
    m->rank = tally_read_u8(c);
    if (c->failed || m->rank < 1 || m->rank > 4)
        return tally_fail(m, TALLY_BAD_FILE, "program: %lu dimensions, wanted 1 to 4",
                          (unsigned long)m->rank);
    m->inputs = 1;
    for (size_t i = 0; i < m->rank; i++) {
        m->dim[i] = tally_read_u32(c);
        if (c->failed) return tally_fail(m, TALLY_BAD_FILE, "program: ends within the input's shape");
        if (m->dim[i] < 1 || m->dim[i] > FORMAT_DIM_MAX)
            return tally_fail(m, TALLY_BAD_FILE, "program: dimension %lu of the input is %lu, wanted 1 to %d",
                              (unsigned long)i, (unsigned long)m->dim[i], FORMAT_DIM_MAX);
        if (!tally_multiply(&m->inputs, m->inputs, m->dim[i]) || m->inputs > FORMAT_DIM_MAX)
            return tally_fail(m, TALLY_BAD_FILE, "program: the input has more than %d numbers",
                              FORMAT_DIM_MAX);
    }
    return TALLY_OK;
}

static int is_finite(float x) {
    return x - x == 0;
}

/* One layer of the program; `flat` is set where the sample has one dimension. */
static int step_read(struct tally_model *m, struct tally_step *s, struct tally_cursor *c, size_t number,
                     int *flat, int *with_bias) {
    unsigned kind = tally_read_u8(c);
    if (!c->failed && (kind < FORMAT_FLATTEN || kind >= FORMAT_KIND_END))
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu is of unknown kind %u, wanted 1 to %d",
                          (unsigned long)number, kind, FORMAT_KIND_END - 1);
    s->kind = (enum format_kind)kind;
    s->out = s->in;
    if (kind == FORMAT_FLATTEN) *flat = 1;
    if (kind == FORMAT_AFFINE) {
        s->scale = tally_read_f32(c);
        s->shift = tally_read_f32(c);
        if (!is_finite(s->scale) || !is_finite(s->shift))
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: scale and shift must be finite",
                              (unsigned long)number);
    }
    if ((kind == FORMAT_LINEAR || kind == FORMAT_SOFTMAX) && !*flat)
        return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu wants samples of one dimension",
                          (unsigned long)number);
    if (kind == FORMAT_LINEAR) {
        s->out = tally_read_u32(c);
        *with_bias = tally_read_u8(c);
        if (!c->failed && (s->out < 1 || s->out > FORMAT_DIM_MAX))
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu has %lu outputs, wanted 1 to %d",
                              (unsigned long)number, (unsigned long)s->out, FORMAT_DIM_MAX);
        if (*with_bias > 1)
            return tally_fail(m, TALLY_BAD_FILE, "program: layer %lu: bias is %d, wanted 0 or 1",
                              (unsigned long)number, *with_bias);
    }
    if (c->failed)
        return tally_fail(m, TALLY_BAD_FILE, "program: ends within layer %lu", (unsigned long)number);
    return TALLY_OK;
}

static void widest_raise(struct tally_model *m, size_t size) {
    size_t whole = (size + TALLY_PANEL - 1) / TALLY_PANEL * TALLY_PANEL;
    if (whole > m->widest) m->widest = whole;
}

/* The program's layers; each linear one takes the next section, sections[0] being the program. */
static int program_read(struct tally_model *m, const struct tally_cursor *sections, size_t section_count) {
    struct tally_cursor c = sections[0];
    if (shape_read(m, &c) != TALLY_OK) return TALLY_BAD_FILE;
    m->step_count = tally_read_u16(&c);
    if (c.failed || m->step_count < 1 || m->step_count > FORMAT_LAYERS_MAX ||
        m->step_count > tally_cursor_left(&c))
        return tally_fail(m, TALLY_BAD_FILE, "program: %lu layers in %lu bytes, wanted 1 to %d",
                          (unsigned long)m->step_count, (unsigned long)tally_cursor_left(&c),
                          FORMAT_LAYERS_MAX);
    m->steps = tally_take(m, m->step_count, sizeof *m->steps);
    if (!m->steps) return TALLY_NO_MEMORY;
    size_t size = m->inputs, next = 1;
    int flat = m->rank == 1, first_linear = 1;
    widest_raise(m, size);
    for (size_t i = 0; i < m->step_count; i++) {
        struct tally_step *s = &m->steps[i];
        int with_bias = 0;
        s->in = size;
        int status = step_read(m, s, &c, i, &flat, &with_bias);
        if (status != TALLY_OK) return status;
        size = s->out;
        widest_raise(m, size);
        if (s->kind != FORMAT_LINEAR) continue;
        char where[32];
        snprintf(where, sizeof where, "layer %lu", (unsigned long)i);
        if (next == section_count) return tally_fail(m, TALLY_BAD_FILE, "%s: has no section", where);
        s->linear = tally_take(m, 1, sizeof *s->linear);
        if (!s->linear) return TALLY_NO_MEMORY;
        s->linear->in = s->in;
        s->linear->out = s->out;
        size_t width = first_linear && m->rank > 1 ? m->dim[m->rank - 1] : 0;
        first_linear = 0;
        struct tally_cursor section = sections[next++];
        status = tally_layer_read(m, s->linear, &section, with_bias, width, where);
        if (status == TALLY_OK) status = tally_layer_build(m, s->linear);
        if (status != TALLY_OK) return status;
    }
    if (tally_cursor_left(&c))
        return tally_fail(m, TALLY_BAD_FILE, "program: %lu bytes behind its last layer",
                          (unsigned long)tally_cursor_left(&c));
    if (next != section_count)
        return tally_fail(m, TALLY_BAD_FILE, "%lu sections, but the program wants %lu",
                          (unsigned long)section_count, (unsigned long)next);
    m->outputs = size;
    size_t floats;
    if (!tally_multiply(&floats, m->widest, 2 * TALLY_LANES) || floats > SIZE_MAX / 2 / sizeof(float))
        return tally_fail(m, TALLY_NO_MEMORY, "samples of %lu numbers are too large for this machine",
                          (unsigned long)m->widest);
    return TALLY_OK;
}

/* --- header and directory ------------------------------------------------------------------------------------------ */

static int header_read(struct tally_model *m, struct tally_cursor *c, size_t size, size_t *section_count) {
    const unsigned char *start = c->at;
    if (size < 4 || memcmp(start, FORMAT_MAGIC, 4) != 0)
        return tally_fail(m, TALLY_BAD_FILE, "not a Tally model: it does not begin with \"%s\"",
                          FORMAT_MAGIC);
    if (size < FORMAT_HEADER)
        return tally_fail(m, TALLY_BAD_FILE, "%lu bytes, a header alone has %d", (unsigned long)size,
                          FORMAT_HEADER);
    tally_read_bytes(c, 4, 1);
    unsigned version = tally_read_u16(c);
    if (version != FORMAT_VERSION)
        return tally_fail(m, TALLY_BAD_FILE, "format version %u, this library reads %d", version,
                          FORMAT_VERSION);
    *section_count = tally_read_u16(c);
    uint32_t bytes = tally_read_u32(c), checksum = tally_read_u32(c);
    if (bytes != size)
        return tally_fail(m, TALLY_BAD_FILE, "the header says %lu bytes, there are %lu", (unsigned long)bytes,
                          (unsigned long)size);
    if (*section_count < 1 || *section_count > FORMAT_SECTIONS_MAX ||
        *section_count > tally_cursor_left(c) / FORMAT_ENTRY)
        return tally_fail(m, TALLY_BAD_FILE, "header: %lu sections in %lu bytes, wanted 1 to %d",
                          (unsigned long)*section_count, (unsigned long)size, FORMAT_SECTIONS_MAX);
    uint32_t found =
        tally_crc32(tally_crc32(0, start, 12), start + FORMAT_HEADER, *section_count * FORMAT_ENTRY);
    if (found != checksum)
        return tally_fail(m, TALLY_BAD_FILE, "header: its checksum is %08lx, wanted %08lx",
                          (unsigned long)checksum, (unsigned long)found);
    return TALLY_OK;
}

/* A cursor for each section, which must fill the file. */
static int directory_read(struct tally_model *m, struct tally_cursor *sections, struct tally_cursor *c,
                          size_t count) {
    struct tally_cursor content = *c;
    tally_read_bytes(&content, count, FORMAT_ENTRY);
    for (size_t i = 0; i < count; i++) {
        unsigned kind = tally_read_u16(c), zero = tally_read_u16(c),
                 wanted = i ? FORMAT_LAYER : FORMAT_PROGRAM;
        uint32_t bytes = tally_read_u32(c), checksum = tally_read_u32(c);
        if (kind != wanted || zero != 0)
            return tally_fail(m, TALLY_BAD_FILE, "section %lu: kind %u and %u behind it, wanted %u and 0",
                              (unsigned long)i, kind, zero, wanted);
        const unsigned char *at = tally_read_bytes(&content, bytes, 1);
        if (!at)
            return tally_fail(m, TALLY_BAD_FILE, "section %lu: %lu bytes, %lu are left", (unsigned long)i,
                              (unsigned long)bytes, (unsigned long)tally_cursor_left(&content));
        uint32_t found = tally_crc32(0, at, bytes);
        if (found != checksum)
            return tally_fail(m, TALLY_BAD_FILE, "section %lu: its checksum is %08lx, wanted %08lx",
                              (unsigned long)i, (unsigned long)checksum, (unsigned long)found);
        sections[i] = tally_cursor_open(at, bytes);
    }
    if (tally_cursor_left(&content))
        return tally_fail(m, TALLY_BAD_FILE, "%lu bytes behind the last section",
                          (unsigned long)tally_cursor_left(&content));
    return TALLY_OK;
}

static int file_read(struct tally_model *m, const void *bytes, size_t size) {
    struct tally_cursor c = tally_cursor_open(bytes, size);
    size_t count = 0;
    int status = header_read(m, &c, size, &count);
    if (status != TALLY_OK) return status;
    m->ranged_left = m->options.memory_limit / 16;
    if (m->ranged_left > FORMAT_RANGED_FREE) m->ranged_left = FORMAT_RANGED_FREE;
    m->ranged_left += size < SIZE_MAX / FORMAT_RANGED_BYTE / 2 ? size * FORMAT_RANGED_BYTE : SIZE_MAX / 2;
    struct tally_cursor *sections = tally_take(m, count, sizeof *sections);
    if (!sections) return TALLY_NO_MEMORY;
    status = directory_read(m, sections, &c, count);
    if (status == TALLY_OK) status = program_read(m, sections, count);
    tally_give_back(m, sections);
    return status;
}

int tally_model_load(struct tally_model **model, const void *bytes, size_t size,
                     const struct tally_options *options, struct tally_error *error) {
    struct tally_model start;
    memset(&start, 0, sizeof start);
    if (model) *model = NULL;
    if (options) start.options = *options;
    start.error = error;
    if (error) error->text[0] = 0;
    if (!model || !bytes || !start.options.allocate != !start.options.release ||
        start.options.kernel > TALLY_DENSE)
        return tally_fail(&start, TALLY_BAD_CALL,
                          "load: no model, no bytes, an unknown kernel, or half an allocator");
    if (!start.options.allocate) {
        start.options.allocate = default_allocate;
        start.options.release = default_release;
    }
    if (start.options.memory_limit == 0) start.options.memory_limit = MEMORY_DEFAULT;
    start.kernels = tally_kernels_choose(start.options.portable);
    start.used = sizeof start;
    struct tally_model *m = NULL;
    if (start.used <= start.options.memory_limit)
        m = start.options.allocate(start.options.context, sizeof *m);
    if (!m)
        return tally_fail(&start, TALLY_NO_MEMORY,
                          "no memory for the model, or none allowed (limit %lu bytes)",
                          (unsigned long)start.options.memory_limit);
    *m = start;
    int status = file_read(m, bytes, size);
    m->error = NULL;
    if (status != TALLY_OK)
        tally_model_free(m);
    else
        *model = m;
    return status;
}
