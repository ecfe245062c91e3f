// What the targets share. Contracts in fuzz.h.
#define _GNU_SOURCE // memfd_create
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

void fuzz_check_message(const char *text) {
    CHECK(*text, "fuzz: refused without a message");
    for (const char *at = text; *at; at++)
        CHECK((unsigned char)*at >= ' ' && *at != 127, "fuzz: byte %d in a message", (unsigned char)*at);
}
