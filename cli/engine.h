// Opening a model that `tally export` wrote, for the verbs that run one.
#ifndef TALLY_CLI_ENGINE_H
#define TALLY_CLI_ENGINE_H

#include "infer/tally_infer.h"
#include "src/base.h"

// The file's bytes, in which its model lives; a run folder is refused with the way to a model. Free with mem_free.
unsigned char *engine_bytes_new(size_t *size, const char *path, struct err *e);

// The model in those bytes; errors name the path. tally_model_free it.
int engine_load(struct tally_model **model, const unsigned char *bytes, size_t size, const char *path,
                enum tally_kernel kernel, struct err *e);

// "auto", "sparse", "dense": by enum tally_kernel, NULL-terminated.
extern const char *const engine_kernels[];

#endif
