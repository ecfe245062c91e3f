/* Where results lie in the scratch. A result stays until its last reader is done; blocks of memory are taken at the lowest
 * place where they fit among those that are in use. What works element by element does so in place where nothing reads the
 * old numbers later; a flatten is its input under another shape. All in numbers per sample. */
#include <string.h>

#include "infer/model.h"

enum { ALIGNMENT = 16 };

struct block {
    size_t at, end;
    size_t last; /* the step that reads it last */
};

struct plan {
    struct block *blocks; /* of the results so far */
    uint32_t *owner;      /* [results] the block that a result lies in */
    uint32_t *used;       /* blocks in use, by rising place */
    size_t count, used_count, room;
};

/* Room for a result: kernels write whole panels, and read a little beyond. */
static size_t padded_size(size_t numbers) {
    return (numbers + TALLY_PANEL + TALLY_SLACK + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t place_find(struct plan *p, size_t size, size_t *position) {
    size_t at = 0, i = 0;
    for (; i < p->used_count; i++) {
        const struct block *b = &p->blocks[p->used[i]];
        if (b->at - at >= size) break;
        at = b->end;
    }
    *position = i;
    if (at + size > p->room) p->room = at + size;
    return at;
}

/* A new block for the result. */
static size_t block_open(struct plan *p, size_t result, size_t numbers, size_t last) {
    size_t position, size = padded_size(numbers), at = place_find(p, size, &position);
    struct block b = {at, at + size, last};
    memmove(p->used + position + 1, p->used + position, (p->used_count - position) * sizeof *p->used);
    p->used[position] = (uint32_t)p->count;
    p->used_count++;
    p->owner[result] = (uint32_t)p->count;
    p->blocks[p->count++] = b;
    return at;
}

/* Blocks that nothing reads after step i are free. */
static void blocks_close(struct plan *p, size_t i) {
    size_t kept = 0;
    for (size_t k = 0; k < p->used_count; k++)
        if (p->blocks[p->used[k]].last > i) p->used[kept++] = p->used[k];
    p->used_count = kept;
}

static int keeps_places(enum format_kind kind) {
    switch (kind) {
    case FORMAT_LINEAR:
    case FORMAT_CONV2D:
    case FORMAT_MAX_POOL2D:
    case FORMAT_AVG_POOL2D:
    case FORMAT_GLOBAL_AVG_POOL2D:
    case FORMAT_CONCAT:
    case FORMAT_EMBEDDING:
    case FORMAT_SELECT:
        return 0;
    default:
        return 1;
    }
}

/* Memory that a conv2d wants while it runs: padded images, and a plane of sums. */
static size_t work_size(const struct tally_step *s) {
    if (s->kind != FORMAT_CONV2D) return 0;
    size_t height = s->from.dim[1] + 2 * (size_t)s->padding[0],
           width = s->from.dim[2] + 2 * (size_t)s->padding[1];
    size_t images = s->padding[0] || s->padding[1] ? s->from.dim[0] * height * width + TALLY_SLACK : 0;
    return images + padded_size(height * width);
}

/* last[r]: the step that reads result r last. */
static void step_plan(struct tally_model *m, struct plan *p, size_t i, const size_t *last) {
    struct tally_step *s = &m->steps[i];
    uint32_t input = s->input[s->kind == FORMAT_MIX && s->inputs == 2]; /* the sum so far is often long */
    struct block *from = &p->blocks[p->owner[input]];
    size_t work = work_size(s), position;
    /* In place where this is the last reader; of an add, of both inputs or neither. */
    s->in_place = keeps_places(s->kind) && (from->last == i || s->kind == FORMAT_FLATTEN);
    if (s->in_place) {
        p->owner[i + 1] = p->owner[input];
        if (last[i + 1] > from->last) from->last = last[i + 1];
        s->at = from->at;
    } else {
        s->at = block_open(p, i + 1, s->out, last[i + 1]);
    }
    if (work) s->work = place_find(p, work, &position);
    blocks_close(p, i);
}

int tally_plan_make(struct tally_model *m) {
    size_t results = m->step_count + 1;
    struct plan p;
    memset(&p, 0, sizeof p);
    size_t *last = tally_take(m, results, sizeof *last);
    p.blocks = last ? tally_take(m, results, sizeof *p.blocks) : NULL;
    p.owner = p.blocks ? tally_take(m, results, sizeof *p.owner) : NULL;
    p.used = p.owner ? tally_take(m, results, sizeof *p.used) : NULL;
    if (!p.used) return TALLY_NO_MEMORY;
    /* A result that nothing reads is done with where it is made. */
    for (size_t i = 0; i < m->step_count; i++) {
        const struct tally_step *s = &m->steps[i];
        last[i + 1] = i;
        for (uint32_t k = 0; k < s->inputs; k++) last[s->input[k]] = i;
        if (s->gated) last[s->gate] = i;
    }
    last[m->step_count] = m->step_count;
    block_open(&p, 0, m->inputs, last[0]);
    for (size_t i = 0; i < m->step_count; i++) step_plan(m, &p, i, last);
    m->room = p.room;
    m->result = m->steps[m->step_count - 1].at;
    tally_give_back(m, p.used);
    tally_give_back(m, p.owner);
    tally_give_back(m, p.blocks);
    tally_give_back(m, last);
    size_t floats;
    if (!tally_multiply(&floats, m->room, TALLY_LANES) || floats > SIZE_MAX / 2 / sizeof(float))
        return tally_fail(m, TALLY_NO_MEMORY, "samples of %lu numbers are too large for this machine",
                          (unsigned long)m->room);
    return TALLY_OK;
}
