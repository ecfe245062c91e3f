// Step memory as a chain of blocks. Contracts in arena.h.
#include "src/arena.h"

#include <string.h>

#ifdef TALLY_HOSTILE
enum { FIRST_BLOCK = 64 }; // forces many blocks, so that no code can count on neighbours
#else
enum { FIRST_BLOCK = 1 << 20 };
#endif
enum { ALIGNMENT = 64 };

struct block {
    struct block *next;
    size_t size, used;
    unsigned char *bytes;
};

struct arena {
    struct block *first, *current;
};

static struct block *block_new(size_t size) {
    struct block *b = mem_new(1, sizeof *b);
    b->size = size;
    b->bytes = mem_new(size, 1);
    return b;
}

struct arena *arena_new(void) {
    struct arena *a = mem_new(1, sizeof *a);
    a->first = a->current = block_new(FIRST_BLOCK);
    return a;
}

void *arena_alloc(struct arena *a, size_t count, size_t size) {
    size_t bytes;
    CHECK(size_mul(&bytes, count, size) && bytes < SIZE_MAX / 4, "arena: %zu items of %zu bytes", count,
          size);
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    while (a->current->size - a->current->used < bytes) {
        if (!a->current->next) {
            size_t grown =
                arena_bytes(a) / 2 > FIRST_BLOCK && FIRST_BLOCK > 64 ? arena_bytes(a) / 2 : FIRST_BLOCK;
            a->current->next = block_new(bytes > grown ? bytes : grown);
        }
        a->current = a->current->next;
        a->current->used = 0;
    }
    void *memory = a->current->bytes + a->current->used;
    a->current->used += bytes;
#ifdef TALLY_HOSTILE
    memset(memory, 0xff, bytes);
#endif
    return memory;
}

static void blocks_free(struct block *b) {
    for (struct block *next; b; b = next) {
        next = b->next;
        mem_free(b->bytes);
        mem_free(b);
    }
}

void arena_free(struct arena *a) {
    if (!a) return;
    blocks_free(a->first);
    mem_free(a);
}

// What grew to several blocks becomes one that holds it all, and a little more: steps differ a little where samples are
// routed.
void arena_reset(struct arena *a) {
    if (a->current != a->first && FIRST_BLOCK > 64) {
        size_t used = a->current->used;
        for (const struct block *b = a->first; b != a->current; b = b->next) used += b->used;
        blocks_free(a->first);
        a->first = block_new(used + used / 16);
    }
    a->current = a->first;
    a->current->used = 0;
}

size_t arena_bytes(const struct arena *a) {
    size_t total = 0;
    for (const struct block *b = a->first; b; b = b->next) total += b->size;
    return total;
}
