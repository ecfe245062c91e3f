// Target: IDX files. The first byte says how many dimensions are wanted and whether the rest, the file, is packed by gzip
// first: a fuzzer does not find its checksum.
#include "datasets/io/idx.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/fuzz/fuzz.h"

enum { LIMIT = 1 << 20, RANK = 3, PACKED = 4, ROOM = 64 };

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

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 1) return 0;
    int rank = 1 + (input[0] & RANK);
    const uint8_t *file = input + 1;
    size_t bytes = size - 1;
    uint8_t *packed = input[0] & PACKED ? pack_new(&bytes, file, bytes) : NULL;
    char path[FUZZ_PATH];
    int descriptor = fuzz_file_open(path, packed ? packed : file, bytes);
    struct shape shape;
    struct err e = {""};
    uint8_t *elements = idx_read_new(&shape, path, rank, LIMIT, &e);
    if (elements) {
        size_t head = 4 + 4 * (size_t)rank;
        CHECK(shape.rank == rank && shape_size(shape) <= LIMIT, "shape");
        CHECK(!packed || (shape_size(shape) + head == size - 1 &&
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
