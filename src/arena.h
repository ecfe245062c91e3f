// Step memory: allocations that live until the next reset, all at once.
//
// An arena is a chain of blocks that are filled in order. A reset goes back to the first block; where there were several,
// it makes one of them. So a step that allocates the same sizes as the two steps before it makes no malloc.
#ifndef TALLY_SRC_ARENA_H
#define TALLY_SRC_ARENA_H

#include "src/base.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a);

// `count` items of `size` bytes, 64-byte aligned, NOT zeroed (in the TALLY_HOSTILE build filled with NaN
// bytes). Valid until arena_reset or arena_free.
void *arena_alloc(struct arena *a, size_t count, size_t size);

void arena_reset(struct arena *a);

// Bytes of all blocks together.
size_t arena_bytes(const struct arena *a);

#endif
