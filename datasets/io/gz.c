// gzip by way of zlib. Contracts in gz.h.
#define ZLIB_CONST
#include "datasets/io/gz.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

enum { GZIP_ONLY = 16 + MAX_WBITS, FIRST_ROOM = 1 << 16 };

bool gz_begins(const uint8_t *bytes, size_t size) {
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static int stream_open(z_stream *z, const uint8_t *packed, size_t size, struct err *e) {
    *z = (z_stream){.next_in = packed, .avail_in = (uInt)size};
    if (size > UINT_MAX) return err_set(e, "%zu bytes of gzip data, at most %u are read", size, UINT_MAX);
    CHECK(inflateInit2(z, GZIP_ONLY) == Z_OK, "gz: zlib does not start: %s",
          z->msg ? z->msg : "out of memory");
    return 0;
}

// Adds to out until there are `room` bytes in all or the data ends, which sets *ended.
static int stream_read(z_stream *z, uint8_t *out, size_t room, size_t *count, bool *ended, struct err *e) {
    z->next_out = out + *count;
    z->avail_out = (uInt)(room - *count);
    int code = inflate(z, Z_NO_FLUSH);
    CHECK(code != Z_MEM_ERROR, "gz: zlib is out of memory");
    *count = room - z->avail_out;
    *ended = code == Z_STREAM_END;
    if (*ended && z->avail_in > 0) return err_set(e, "%u bytes after the end of the gzip data", z->avail_in);
    if (*ended || (code == Z_OK && *count == room)) return 0;
    if (code == Z_OK || code == Z_BUF_ERROR) return err_set(e, "the gzip data ends too early");
    return err_set(e, "damaged gzip data: %s", z->msg ? z->msg : "no reason given");
}

int gz_peek(uint8_t *head, size_t room, size_t *count, const uint8_t *packed, size_t size, struct err *e) {
    CHECK(room >= 1 && room < UINT_MAX, "gz: a peek of %zu bytes", room);
    z_stream z;
    bool ended;
    *count = 0;
    if (stream_open(&z, packed, size, e) != 0) return -1;
    int result = stream_read(&z, head, room, count, &ended, e);
    inflateEnd(&z);
    return result;
}

uint8_t *gz_unpack_new(const uint8_t *packed, size_t size, size_t wanted, struct err *e) {
    // Room for one byte more than wanted shows that too much comes; zlib counts it in an unsigned int.
    if (wanted >= UINT_MAX)
        return err_set(e, "%zu bytes of unpacked gzip data, at most %u are read", wanted, UINT_MAX - 1), NULL;
    z_stream z;
    if (stream_open(&z, packed, size, e) != 0) return NULL;
    uint8_t *bytes = NULL;
    size_t count = 0, room = 0;
    bool ended = false, failed = false;
    while (!ended && !failed && count <= wanted) {
        room = room ? 2 * room : FIRST_ROOM;
        if (room > wanted + 1) room = wanted + 1;
        uint8_t *larger = mem_new(room, 1);
        if (count > 0) memcpy(larger, bytes, count);
        mem_free(bytes);
        bytes = larger;
        failed = stream_read(&z, bytes, room, &count, &ended, e) != 0;
    }
    inflateEnd(&z);
    if (!failed && count > wanted)
        failed = err_set(e, "unpacks to more than the %zu bytes wanted", wanted);
    else if (!failed && count < wanted)
        failed = err_set(e, "unpacks to %zu bytes, wanted %zu", count, wanted);
    if (!failed) return bytes;
    mem_free(bytes);
    return NULL;
}
