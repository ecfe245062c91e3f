// Target: .npy files. What is read is written and read again, and must be the same.
#include "datasets/io/npy.h"

#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { LIMIT = 1 << 20 };

static size_t bytes_of(const struct npy *a) {
    return a->size * (a->type == NPY_F32 ? 4 : 1);
}

// Written, read and written again.
static void round_check(const struct npy *a) {
    char folder[FUZZ_PATH], path[FUZZ_LONG_PATH], other[FUZZ_LONG_PATH];
    const void *elements = a->floats ? (const void *)a->floats : a->bytes;
    struct npy again;
    struct err e = {""};
    fuzz_folder_open(folder);
    fuzz_join(path, folder, "a.npy");
    CHECK(npy_write(path, a->type, a->shape, elements, &e) == 0, "write: %s", e.text);
    CHECK(npy_read(&again, path, 2 * LIMIT, &e) == 0, "read again: %s", e.text);
    CHECK(again.type == a->type && shape_equal(again.shape, a->shape) && again.size == a->size, "differs");
    const void *same = again.floats ? (const void *)again.floats : again.bytes;
    CHECK(memcmp(same, elements, bytes_of(a)) == 0, "other elements");
    CHECK(npy_write(fuzz_join(other, folder, "b.npy"), again.type, again.shape, same, &e) == 0, "%s", e.text);
    fuzz_check_same(path, other);
    npy_free(&again);
    fuzz_folder_close(folder);
}

// Every type, and each element as a number.
static void any_check(const char *path) {
    struct npy a;
    struct err e = {""};
    if (npy_read_types(&a, path, (1u << NPY_TYPES) - 1, LIMIT, &e) == 0) {
        int64_t sum = 0;
        for (size_t i = 0; i < a.size; i++)
            sum ^= npy_is_float(a.type) ? npy_number(&a, i) > 0 : npy_integer(&a, i);
        CHECK(sum != INT64_MIN || a.type == NPY_I64, "sum");
    } else {
        fuzz_check_message(e.text);
    }
    npy_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    char path[FUZZ_PATH];
    int descriptor = fuzz_file_open(path, input, size);
    struct npy a;
    struct err e = {""};
    if (npy_read(&a, path, LIMIT, &e) == 0) {
        CHECK(a.size == shape_size(a.shape) && bytes_of(&a) < size, "%zu elements", a.size);
        CHECK((a.type == NPY_F32) == (a.floats != NULL) && !a.floats == !!a.bytes, "pointers");
        round_check(&a);
    } else {
        fuzz_check_message(e.text);
    }
    npy_free(&a);
    any_check(path);
    close(descriptor);
    return 0;
}
