// Target: safetensors files, the checkpoints. What a header promises must be there to be read. What is
// read is written and read again, to the same bytes.
//
// Unless the first byte says otherwise the file's 8 bytes of length are left out: the header goes to the last '}', so that
// text may come and go in it.
#include "src/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { LIMIT = 1 << 20, LENGTH_KEPT = 128, PREFIX = 8, LOOKED_AT = 100 };

static void tensor_check(const struct safetensors *file, const struct safetensor *t) {
    const unsigned char *bytes = t->bytes;
    size_t size = safetensor_bytes(t);
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++) sum += bytes[i];
    CHECK(sum <= 255u * LIMIT, "every byte can be read");
    CHECK((uintptr_t)t->bytes % dtype_bytes(t->dtype) == 0, "%s is not aligned", t->name);
    CHECK(memchr(t->name, 0, sizeof t->name), "a name without an end");
    CHECK(safetensors_find(file, t->name) == t, "another tensor is called %s", t->name);
}

// Written, read and written again: equal bytes.
static void round_check(const struct safetensors *file) {
    char folder[FUZZ_PATH], path[FUZZ_LONG_PATH], other[FUZZ_LONG_PATH];
    struct safetensors again;
    struct safetensor *list = mem_new((size_t)file->count + 1, sizeof *list);
    struct err e = {""};
    if (file->count) memcpy(list, file->tensors, (size_t)file->count * sizeof *list);
    fuzz_folder_open(folder);
    fuzz_join(path, folder, "a.safetensors");
    CHECK(safetensors_write(path, list, file->count, file->metadata, &e) == 0, "write: %s", e.text);
    CHECK(safetensors_open(&again, path, 2 * LIMIT, &e) == 0, "read again: %s", e.text);
    CHECK(again.count == file->count, "%d tensors, were %d", again.count, file->count);
    for (int i = 0; i < file->count && i < LOOKED_AT; i++) {
        const struct safetensor *was = &file->tensors[i], *is = safetensors_find(&again, was->name);
        CHECK(is && is->dtype == was->dtype && shape_equal(is->shape, was->shape), "%s differs", was->name);
        CHECK(memcmp(is->bytes, was->bytes, safetensor_bytes(was)) == 0, "%s: other numbers", was->name);
    }
    fuzz_join(other, folder, "b.safetensors");
    CHECK(safetensors_write(other, again.tensors, again.count, again.metadata, &e) == 0, "%s", e.text);
    fuzz_check_same(path, other);
    safetensors_close(&again);
    mem_free(list);
    fuzz_folder_close(folder);
}

// Length, header, spaces to a multiple of 8, data.
static uint8_t *file_new(size_t *size, const uint8_t *rest, size_t count) {
    uint64_t header = count;
    while (header > 0 && rest[header - 1] != '}') header--;
    uint64_t padded = (header + 7) / 8 * 8;
    uint8_t *file = mem_new(PREFIX + padded + count - header, 1);
    memcpy(file, &padded, PREFIX);
    memset(file + PREFIX, ' ', padded);
    memcpy(file + PREFIX, rest, header);
    memcpy(file + PREFIX + padded, rest + header, count - header);
    *size = PREFIX + padded + count - header;
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 1) return 0;
    size_t bytes = size - 1;
    uint8_t *made = input[0] & LENGTH_KEPT ? NULL : file_new(&bytes, input + 1, size - 1);
    char path[FUZZ_PATH];
    int descriptor = fuzz_file_open(path, made ? made : input + 1, bytes);
    struct safetensors file;
    struct err e = {""};
    if (safetensors_open(&file, path, LIMIT, &e) == 0) {
        for (int i = 0; i < file.count && i < LOOKED_AT; i++) tensor_check(&file, &file.tensors[i]);
        (void)safetensors_meta(&file, "config");
        round_check(&file);
    } else {
        fuzz_check_message(e.text);
    }
    safetensors_close(&file);
    close(descriptor);
    mem_free(made);
    return 0;
}
