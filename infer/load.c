/* Loading: memory, header and directory. The sections go to program.c, layer.c and stream.c; the format is in format.h. */
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
    if (version < 1 || version > FORMAT_VERSION)
        return tally_fail(m, TALLY_BAD_FILE, "format version %u, this library reads 1 to %d", version,
                          FORMAT_VERSION);
    m->version = version;
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
                          size_t count, int *stream) {
    struct tally_cursor content = *c;
    tally_read_bytes(&content, count, FORMAT_ENTRY);
    for (size_t i = 0; i < count; i++) {
        unsigned kind = tally_read_u16(c), zero = tally_read_u16(c),
                 wanted = i ? FORMAT_LAYER : FORMAT_PROGRAM;
        *stream = m->version > 1 && count == 2 && i == 1 && kind == FORMAT_STREAM;
        if (*stream) wanted = FORMAT_STREAM;
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
    int stream = 0;
    status = directory_read(m, sections, &c, count, &stream);
    if (status == TALLY_OK) status = tally_program_read(m, sections[0]);
    if (status == TALLY_OK) status = tally_plan_make(m);
    if (status == TALLY_OK) status = tally_tensors_read(m, sections, count, stream);
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
