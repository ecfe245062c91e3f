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

void arena_free(struct arena *a) {
    if (!a) return;
    for (struct block *b = a->first, *next; b; b = next) {
        next = b->next;
        mem_free(b->bytes);
        mem_free(b);
    }
    mem_free(a);
}

void *arena_alloc(struct arena *a, size_t count, size_t size) {
    size_t bytes;
    CHECK(size_mul(&bytes, count, size) && bytes < SIZE_MAX / 4, "arena: %zu items of %zu bytes", count,
          size);
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    while (a->current->size - a->current->used < bytes) {
        if (!a->current->next) {
            size_t grown = FIRST_BLOCK > 64 ? 2 * a->current->size : FIRST_BLOCK;
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

void arena_reset(struct arena *a) {
    a->current = a->first;
    a->current->used = 0;
}

size_t arena_bytes(const struct arena *a) {
    size_t total = 0;
    for (const struct block *b = a->first; b; b = b->next) total += b->size;
    return total;
}
