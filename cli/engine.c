// Opening a model. Contracts in engine.h.
#include "cli/engine.h"

#include "experiments/saved.h"
#include "src/file.h"

enum { FILE_LIMIT = 1 << 30, MEMORY_LIMIT = 1 << 30 };

const char *const engine_kernels[] = {
    [TALLY_AUTO] = "auto", [TALLY_SPARSE] = "sparse", [TALLY_DENSE] = "dense", NULL};

unsigned char *engine_bytes_new(size_t *size, const char *path, struct err *e) {
    if (!saved_exists(path)) return file_read_new(size, path, FILE_LIMIT, e);
    err_set(e, "%.200s: a run, not a model; make one with 'tally export %.200s --format tally -o FILE'", path,
            path);
    return NULL;
}

int engine_load(struct tally_model **model, const unsigned char *bytes, size_t size, const char *path,
                enum tally_kernel kernel, struct err *e) {
    const struct tally_options options = {.kernel = kernel, .memory_limit = MEMORY_LIMIT};
    struct tally_error error;
    if (tally_model_load(model, bytes, size, &options, &error) == TALLY_OK) return 0;
    return err_set(e, "%.300s: %s", path, error.text);
}
