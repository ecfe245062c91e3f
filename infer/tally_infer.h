/* Tally's inference library: runs the sparse networks that `tally export` writes. C99 and libc alone; no globals, so any
 * number of threads may run one model at a time; nothing is printed, nothing aborts, errors are returned.
 *
 *     struct tally_model *model;
 *     struct tally_error error;
 *     if (tally_model_load(&model, bytes, size, NULL, &error) != TALLY_OK) return complain(error.text);
 *     void *scratch = malloc(tally_scratch_bytes(model, batch));
 *     tally_run(model, x, batch, y, scratch, tally_scratch_bytes(model, batch), &error);
 *
 * A file is believed only after every number in it was checked, so it may come from a stranger. */
#ifndef TALLY_INFER_H
#define TALLY_INFER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a function returns: TALLY_OK, or a negative reason. */
enum tally_status {
    TALLY_OK = 0,
    TALLY_BAD_FILE = -1,  /* the bytes are no model, or a broken one */
    TALLY_NO_MEMORY = -2, /* over the limit, or the allocator has none */
    TALLY_BAD_CALL = -3   /* an argument is out of range: a scratch too small ... */
};

/* One line that says what is wrong, printable ASCII. */
struct tally_error {
    char text[160];
};

/* How linear layers are computed; the other weights are always computed sparse. All give the same bits: a sum is always
 * taken in the order of its inputs, one multiplication and one addition at a time, whatever the kernel, the batch and the
 * instruction set. */
enum tally_kernel {
    /* Each layer times both, once, while loading, and keeps the faster, for one sample and for many. Where the memory
     * limit has no room for trying, or a second went by with it, dense is taken from a third of weights on. */
    TALLY_AUTO,
    TALLY_SPARSE, /* only the weights that are not zero */
    TALLY_DENSE   /* all of them */
};

/* Options of loading; all zero is the default. */
struct tally_options {
    size_t memory_limit;      /* bytes the model may allocate; 0: 256 MiB */
    enum tally_kernel kernel; /* TALLY_AUTO */
    int portable;             /* not 0: plain C even where the processor has AVX2 or AVX-512 */
    /* The caller's allocator, or NULL for malloc and free. Memory must be aligned as malloc's is. */
    void *(*allocate)(void *context, size_t bytes);
    void (*release)(void *context, void *memory);
    void *context;
};

struct tally_model;

/* Checks the `size` bytes of a file and makes them a model. The bytes are borrowed: they must stay, unchanged, as long
 * as the model does (they may be mapped read-only; no alignment is wanted). `options` and `error` may be NULL. On failure
 * *model is NULL and nothing stays allocated. */
int tally_model_load(struct tally_model **model, const void *bytes, size_t size,
                     const struct tally_options *options, struct tally_error *error);

/* Also with NULL. */
void tally_model_free(struct tally_model *model);

/* Numbers per sample, in and out. */
size_t tally_model_inputs(const struct tally_model *model);
size_t tally_model_outputs(const struct tally_model *model);

/* The shape of one input sample: its rank, 1 to 4, and dim[0 .. rank-1], last dimension fastest. An image is (channels,
 * height, width); its pixels go in as value / 255. */
int tally_model_shape(const struct tally_model *model, size_t dim[4]);

/* Bytes that the model has allocated, beside the file's. */
size_t tally_model_bytes(const struct tally_model *model);

/* Of the layers with weights together: how many they have, and how many are not zero. */
size_t tally_model_weights(const struct tally_model *model);
size_t tally_model_nonzero(const struct tally_model *model);

/* The instruction set in use: "avx512", "avx2" or "c". */
const char *tally_model_instructions(const struct tally_model *model);

/* One layer of the model's program, for tools. Strings are the library's own. Bytes and products of what is chosen by sample
 * are those of an average sample. */
struct tally_layer {
    const char *kind;             /* "linear", "conv2d", "relu" ... */
    size_t in, out;               /* numbers per sample */
    size_t weights, nonzero;      /* 0 where it has none */
    const char *kernel_one;       /* "sparse" or "dense", for single samples; "" where it has no weights */
    const char *kernel_many;      /* the same for batches */
    size_t bytes_one, bytes_many; /* of weights read: for a sample without zeros, for 64 together */
    size_t
        products; /* for one sample: multiplications by weights that are not zero, numbers that pooling looks at */
};

size_t tally_model_layers(const struct tally_model *model);

/* index < tally_model_layers. */
struct tally_layer tally_model_layer(const struct tally_model *model, size_t index);

/* Bytes of scratch that tally_run wants for this batch; it stops growing at a batch of 64. */
size_t tally_scratch_bytes(const struct tally_model *model, size_t batch);

/* Runs `batch` samples x [batch][inputs] to y [batch][outputs]. `scratch` needs tally_scratch_bytes(model, batch) and no
 * alignment; what is in it does not matter before or after. Allocates nothing. x, y and scratch may not overlap. */
int tally_run(const struct tally_model *model, const float *x, size_t batch, float *y, void *scratch,
              size_t scratch_bytes, struct tally_error *error);

#ifdef __cplusplus
}
#endif

#endif
