// Target: safetensors files, the checkpoints. What a header promises must be there to be read.
#include "src/safetensors.h"

#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { LIMIT = 1 << 20 };

static void tensor_check(const struct safetensors *file, const struct safetensor *t) {
    const unsigned char *bytes = t->bytes;
    size_t size = shape_size(t->shape) * dtype_bytes(t->dtype);
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++) sum += bytes[i];
    CHECK(sum <= 255u * LIMIT, "every byte can be read");
    CHECK((uintptr_t)t->bytes % dtype_bytes(t->dtype) == 0, "%s is not aligned", t->name);
    CHECK(memchr(t->name, 0, sizeof t->name), "a name without an end");
    CHECK(safetensors_find(file, t->name) == t, "another tensor is called %s", t->name);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    char path[FUZZ_PATH];
    int descriptor = fuzz_file_open(path, input, size);
    struct safetensors file;
    struct err e = {""};
    if (safetensors_open(&file, path, LIMIT, &e) == 0) {
        for (int i = 0; i < file.count; i++) tensor_check(&file, &file.tensors[i]);
        (void)safetensors_meta(&file, "config");
    } else {
        fuzz_check_message(e.text);
    }
    safetensors_close(&file);
    close(descriptor);
    return 0;
}
