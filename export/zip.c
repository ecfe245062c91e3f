// Zip files. Format and contracts in zip.h.
#include "export/zip.h"

#include <string.h>

#include "infer/crc.h"
#include "src/file.h"

enum { VERSION = 20, DATE = 0x0021, MEMBERS_MAX = 65535 };

// What a member's header and its entry in the directory have in common.
static void facts_add(struct bytes *b, const char *name, uint32_t crc, size_t size) {
    bytes_add_u16(b, VERSION);
    bytes_add_u16(b, 0); // flags
    bytes_add_u16(b, 0); // stored
    bytes_add_u16(b, 0); // time
    bytes_add_u16(b, DATE);
    bytes_add_u32(b, crc);
    bytes_add_u32(b, (uint32_t)size);
    bytes_add_u32(b, (uint32_t)size);
    bytes_add_u16(b, (unsigned)strlen(name));
    bytes_add_u16(b, 0); // no extra field
}

void zip_add(struct zip *z, const char *name, const void *bytes, size_t size) {
    CHECK(z->count < MEMBERS_MAX && strlen(name) < 65536, "zip: member %u", z->count);
    uint32_t crc = tally_crc32(0, bytes, size), offset = (uint32_t)z->members.size;
    z->count++;
    bytes_add(&z->members, "PK\3\4", 4);
    facts_add(&z->members, name, crc, size);
    bytes_add(&z->members, name, strlen(name));
    bytes_add(&z->members, bytes, size);

    struct bytes *d = &z->directory;
    bytes_add(d, "PK\1\2", 4);
    bytes_add_u16(d, VERSION); // made by
    facts_add(d, name, crc, size);
    bytes_add_u16(d, 0); // no comment
    bytes_add_u16(d, 0); // disk
    bytes_add_u16(d, 0); // attributes, inner
    bytes_add_u32(d, 0); // and outer
    bytes_add_u32(d, offset);
    bytes_add(d, name, strlen(name));
}

int zip_write(const char *path, struct zip *z, size_t *size, struct err *e) {
    size_t directory = z->directory.size, offset = z->members.size;
    if (offset > UINT32_MAX - directory)
        return err_set(e, "%s: %zu bytes, at most %u fit a zip", path, offset + directory, UINT32_MAX);
    struct bytes *b = &z->members;
    bytes_add(b, z->directory.at, directory);
    bytes_add(b, "PK\5\6", 4);
    bytes_add_u16(b, 0); // this disk
    bytes_add_u16(b, 0); // the directory's
    bytes_add_u16(b, z->count);
    bytes_add_u16(b, z->count);
    bytes_add_u32(b, (uint32_t)directory);
    bytes_add_u32(b, (uint32_t)offset);
    bytes_add_u16(b, 0); // no comment
    *size = b->size;
    return file_write_bytes(path, b->at, b->size, e);
}

void zip_free(struct zip *z) {
    bytes_free(&z->members);
    bytes_free(&z->directory);
    z->count = 0;
}
