// What the targets share. Contracts in fuzz.h.
#define _GNU_SOURCE // memfd_create, memmem, nftw
#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/file.h"

enum { FILE_LIMIT = 1 << 30, OPEN_FOLDERS = 8 };

// In place of the C library's: files come and go by the thousand.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

int fuzz_file_open(char path[FUZZ_PATH], const void *bytes, size_t size) {
    int descriptor = memfd_create("fuzz", 0);
    CHECK(descriptor >= 0, "fuzz: no file in memory");
    for (size_t done = 0; done < size;) {
        ssize_t count = write(descriptor, (const char *)bytes + done, size - done);
        CHECK(count > 0, "fuzz: %zu bytes of %zu written", done, size);
        done += (size_t)count;
    }
    snprintf(path, FUZZ_PATH, "/proc/self/fd/%d", descriptor);
    return descriptor;
}

void fuzz_folder_open(char folder[FUZZ_PATH]) {
    static const char memory[] = "/dev/shm";
    snprintf(folder, FUZZ_PATH, "%s/tally-fuzz-XXXXXX", access(memory, W_OK) == 0 ? memory : "/tmp");
    CHECK(mkdtemp(folder), "fuzz: no folder %s", folder);
}

static int entry_remove(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

void fuzz_folder_close(const char *folder) {
    CHECK(nftw(folder, entry_remove, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0, "fuzz: %s stays", folder);
}

void fuzz_file_write(const char *folder, const char *name, const void *bytes, size_t size) {
    char path[FUZZ_LONG_PATH], above[FUZZ_LONG_PATH];
    struct err e = {""};
    snprintf(above, sizeof above, "%s", fuzz_join(path, folder, name));
    *strrchr(above, '/') = 0;
    CHECK(file_make_folder(above, &e) == 0, "fuzz: %s", e.text);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "fuzz: %s is not written", path);
}

bool fuzz_part_next(struct fuzz_part *part, const uint8_t **at, const uint8_t *end) {
    static const char between[] = "\n@@";
    if (*at >= end) return false;
    part->what = *(*at)++;
    part->bytes = *at;
    const uint8_t *next = memmem(*at, (size_t)(end - *at), between, sizeof between - 1);
    part->size = (size_t)((next ? next : end) - *at);
    *at = next ? next + sizeof between - 1 : end;
    return true;
}

const char *fuzz_join(char path[FUZZ_LONG_PATH], const char *folder, const char *name) {
    struct err e = {""};
    CHECK(file_join(path, FUZZ_LONG_PATH, folder, name, &e) == 0, "fuzz: %s", e.text);
    return path;
}

void fuzz_check_file(const char *path, const void *bytes, size_t size) {
    struct err e = {""};
    size_t found;
    unsigned char *there = file_read_new(&found, path, FILE_LIMIT, &e);
    CHECK(there, "fuzz: %s", e.text);
    CHECK(found == size && memcmp(there, bytes, size) == 0, "fuzz: %s: other bytes, %zu for %zu", path, found,
          size);
    mem_free(there);
}

void fuzz_check_same(const char *path, const char *other) {
    struct err e = {""};
    size_t size;
    unsigned char *bytes = file_read_new(&size, other, FILE_LIMIT, &e);
    CHECK(bytes, "fuzz: %s", e.text);
    fuzz_check_file(path, bytes, size);
    mem_free(bytes);
}

void fuzz_check_message(const char *text) {
    CHECK(*text, "fuzz: refused without a message");
    for (const char *at = text; *at; at++)
        CHECK((unsigned char)*at >= ' ' && *at != 127, "fuzz: byte %d in a message", (unsigned char)*at);
}
