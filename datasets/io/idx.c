// IDX files. Format and contract in idx.h.
#include "datasets/io/idx.h"

#include <string.h>

#include "datasets/io/gz.h"
#include "src/file.h"

enum {
    MAGIC_SIZE = 4,
    DIM_SIZE = 4,
    HEAD_MAX = MAGIC_SIZE + DIM_SIZE * SHAPE_RANK_MAX,
    UNSIGNED_BYTES = 0x08
};

static size_t head_size(int rank) {
    return MAGIC_SIZE + DIM_SIZE * (size_t)rank;
}

static uint32_t u32_big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

// The first `count` bytes of a file -> the shape, and the size that header and elements must have together.
static int head_read(struct shape *shape, size_t *whole, const uint8_t *head, size_t count, int rank,
                     size_t limit, struct err *e) {
    if (count < MAGIC_SIZE) return err_set(e, "%zu bytes, too short for an IDX file", count);
    if (head[0] != 0 || head[1] != 0)
        return err_set(e, "starts with %02x %02x, wanted 00 00 (an IDX file)", head[0], head[1]);
    if (head[2] != UNSIGNED_BYTES)
        return err_set(e, "element type %02x, wanted %02x (unsigned bytes)", head[2], UNSIGNED_BYTES);
    if (head[3] != rank) return err_set(e, "number of dimensions %d, wanted %d", head[3], rank);
    if (count < head_size(rank))
        return err_set(e, "the header is cut after %zu bytes, wanted %zu", count, head_size(rank));
    struct shape found = {.rank = rank};
    size_t size = 1;
    bool fits = true;
    for (int i = 0; i < rank; i++) {
        uint32_t dim = u32_big_endian(head + head_size(i));
        if (dim < 1 || dim > IDX_DIM_MAX)
            return err_set(e, "dimension %d is %u, wanted 1 to %d", i, dim, IDX_DIM_MAX);
        found.dim[i] = (int)dim;
        fits = fits && size_mul(&size, size, dim);
    }
    char text[SHAPE_TEXT];
    if (!fits || limit < head_size(rank) || size > limit - head_size(rank))
        return err_set(e, "%s elements are more than the %zu bytes allowed", shape_text(text, found), limit);
    *shape = found;
    *whole = head_size(rank) + size;
    return 0;
}

static int packed_head_read(struct shape *shape, size_t *whole, const uint8_t *file, size_t size, int rank,
                            size_t limit, struct err *e) {
    uint8_t head[HEAD_MAX];
    size_t count;
    if (gz_peek(head, head_size(rank), &count, file, size, e) != 0) return -1;
    return head_read(shape, whole, head, count, rank, limit, e);
}

// Header and elements of a packed or plain file. Takes over `file`.
static uint8_t *whole_new(struct shape *shape, size_t *whole, uint8_t *file, size_t size, int rank,
                          size_t limit, struct err *e) {
    uint8_t *result = NULL;
    if (gz_begins(file, size)) {
        if (packed_head_read(shape, whole, file, size, rank, limit, e) == 0)
            result = gz_unpack_new(file, size, *whole, e);
    } else if (head_read(shape, whole, file, size, rank, limit, e) == 0) {
        if (size == *whole) return file;
        char text[SHAPE_TEXT];
        err_set(e, "%zu bytes, wanted %zu for %s", size, *whole, shape_text(text, *shape));
    }
    mem_free(file);
    return result;
}

uint8_t *idx_read_new(struct shape *shape, const char *path, int rank, size_t limit, struct err *e) {
    CHECK(rank >= 1 && rank <= SHAPE_RANK_MAX, "idx: rank %d", rank);
    size_t size, whole;
    struct shape found;
    uint8_t *bytes = file_read_new(&size, path, limit, e);
    if (!bytes) return NULL;
    bytes = whole_new(&found, &whole, bytes, size, rank, limit, e);
    if (!bytes) return err_at(e, path), NULL;
    memmove(bytes, bytes + head_size(rank), whole - head_size(rank));
    *shape = found;
    return bytes;
}
