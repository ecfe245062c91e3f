// Target: IDX files and gzip. The first byte says how many dimensions are wanted and how the file is made of the rest: as it
// is; packed by gzip; or as gzip's inner stream (RFC 1951), which gets its head and the checksum and size behind it: a
// fuzzer does not find those.
#include "datasets/io/idx.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/fuzz/fuzz.h"

enum {
    LIMIT = 1 << 20,
    RANK = 3,
    PACKED = 4,
    STREAM = 8,
    ROOM = 64,
    HEAD = 10,
    TAIL = 8,
    UNPACKED = 1 << 18
};

static uint8_t *pack_new(size_t *packed, const uint8_t *bytes, size_t size) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)size};
    CHECK(deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib");
    size_t room = deflateBound(&z, (uLong)size) + ROOM;
    uint8_t *out = mem_new(room, 1);
    z.next_out = out;
    z.avail_out = (uInt)room;
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END, "zlib");
    *packed = room - z.avail_out;
    deflateEnd(&z);
    return out;
}

static void u32_put(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

// Head, stream to where zlib takes it, checksum and size of what comes out, and what follows the stream.
static uint8_t *mend_new(size_t *mended, const uint8_t *stream, size_t size) {
    static const uint8_t head[HEAD] = {0x1f, 0x8b, 8, [9] = 255};
    uint8_t *plain = mem_new(UNPACKED, 1), *out = mem_new(HEAD + size + TAIL, 1);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)stream, .avail_in = (uInt)size};
    z.next_out = plain;
    z.avail_out = UNPACKED;
    CHECK(inflateInit2(&z, -MAX_WBITS) == Z_OK, "zlib");
    (void)inflate(&z, Z_FINISH);
    size_t used = size - z.avail_in, count = UNPACKED - z.avail_out;
    inflateEnd(&z);
    memcpy(out, head, HEAD);
    memcpy(out + HEAD, stream, used);
    u32_put(out + HEAD + used, (uint32_t)crc32(0, plain, (uInt)count));
    u32_put(out + HEAD + used + 4, (uint32_t)count);
    memcpy(out + HEAD + used + TAIL, stream + used, size - used);
    mem_free(plain);
    *mended = HEAD + size + TAIL;
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 1) return 0;
    int rank = 1 + (input[0] & RANK);
    const uint8_t *file = input + 1;
    size_t bytes = size - 1;
    bool whole = input[0] & PACKED;
    uint8_t *packed = whole               ? pack_new(&bytes, file, bytes)
                      : input[0] & STREAM ? mend_new(&bytes, file, bytes)
                                          : NULL;
    char path[FUZZ_PATH];
    int descriptor = fuzz_file_open(path, packed ? packed : file, bytes);
    struct shape shape;
    struct err e = {""};
    uint8_t *elements = idx_read_new(&shape, path, rank, LIMIT, &e);
    if (elements) {
        size_t head = 4 + 4 * (size_t)rank;
        CHECK(shape.rank == rank && shape_size(shape) <= LIMIT, "shape");
        CHECK(!whole || (shape_size(shape) + head == size - 1 &&
                         memcmp(elements, file + head, shape_size(shape)) == 0),
              "unpacked to something else");
    } else {
        fuzz_check_message(e.text);
    }
    mem_free(elements);
    mem_free(packed);
    close(descriptor);
    return 0;
}
