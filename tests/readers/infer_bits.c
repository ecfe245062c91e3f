/* Prints what a model makes of made-up images, each output as the bits of its float: for comparing machines.
 * usage: infer_bits MODEL */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/tally_infer.h"

enum { BATCH = 70, FILE_MAX = 1 << 24 };

static int complain(const char *what) {
    fprintf(stderr, "infer_bits: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    unsigned char *bytes = malloc(FILE_MAX);
    struct tally_model *model;
    struct tally_error error;
    if (!f || !bytes) return complain("usage: infer_bits MODEL");
    size_t size = fread(bytes, 1, FILE_MAX, f);
    fclose(f);
    if (tally_model_load(&model, bytes, size, NULL, &error) != TALLY_OK) return complain(error.text);
    size_t in = tally_model_inputs(model), out = tally_model_outputs(model);
    size_t scratch_bytes = tally_scratch_bytes(model, BATCH);
    float *x = calloc(BATCH * in, sizeof *x), *y = calloc(BATCH * out, sizeof *y);
    void *scratch = malloc(scratch_bytes);
    if (!x || !y || !scratch) return complain("no memory");
    unsigned random = 1;
    for (size_t i = 0; i < BATCH * in; i++) {
        random = random * 1664525u + 1013904223u; /* Numerical Recipes, "quick and dirty" */
        x[i] = random >> 30 ? 0 : (float)(random >> 16 & 255) / 255;
    }
    if (tally_run(model, x, BATCH, y, scratch, scratch_bytes, &error) != TALLY_OK)
        return complain(error.text);
    for (size_t i = 0; i < BATCH * out; i++) {
        uint32_t bits;
        memcpy(&bits, &y[i], sizeof bits);
        printf("%08lx\n", (unsigned long)bits);
    }
    tally_model_free(model);
    free(scratch);
    free(x);
    free(y);
    free(bytes);
    return 0;
}
