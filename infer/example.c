/* Reads a model and a picture of a digit and says which it is: the whole of the library's use in one small program.
 *
 *     infer_example MODEL.tally DIGIT.png
 *
 * The picture must have the model's size, light on dark as in MNIST. By hand, where library and libpng are installed:
 *
 *     cc -std=c99 -o infer_example example.c $(pkg-config --cflags --libs tally-infer libpng) */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <tally_infer.h>

/* Every function here that can fail says why on stderr. */
static int complain(const char *where, const char *message) {
    fprintf(stderr, "%s: %s\n", where, message);
    return -1;
}

/* The whole file; free it. NULL on failure. */
static unsigned char *file_read(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    unsigned char *bytes = NULL;
    long length;
    if (!f) {
        perror(path);
        return NULL;
    }
    if (fseek(f, 0, SEEK_END) == 0 && (length = ftell(f)) > 0 && fseek(f, 0, SEEK_SET) == 0) {
        *size = (size_t)length;
        bytes = malloc(*size);
        if (bytes && fread(bytes, 1, *size, f) != *size) {
            free(bytes);
            bytes = NULL;
        }
    }
    if (!bytes) complain(path, "could not be read");
    fclose(f);
    return bytes;
}

/* The grey pixels of a PNG of this size, as value / 255. */
static int pixels_read(float *pixels, const char *path, size_t height, size_t width) {
    png_image image = {0};
    png_color black = {0, 0, 0};
    size_t count = height * width, i;
    png_byte *grey;
    int good;
    image.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_file(&image, path)) return complain(path, image.message);
    if (image.width != width || image.height != height) {
        fprintf(stderr, "%s: %lux%lu pixels, the model wants %lux%lu\n", path, (unsigned long)image.width,
                (unsigned long)image.height, (unsigned long)width, (unsigned long)height);
        png_image_free(&image);
        return -1;
    }
    image.format = PNG_FORMAT_GRAY;
    grey = malloc(count);
    good = grey && png_image_finish_read(&image, &black, grey, 0, NULL);
    for (i = 0; good && i < count; i++) pixels[i] = (float)grey[i] / 255.0f;
    if (!good) complain(path, grey ? image.message : "out of memory");
    png_image_free(&image);
    free(grey);
    return good ? 0 : -1;
}

static int digit_classify(const struct tally_model *model, const char *path) {
    size_t dim[4], outputs = tally_model_outputs(model), scratch_bytes = tally_scratch_bytes(model, 1);
    size_t best = 0, i;
    float *x, *y;
    void *scratch;
    struct tally_error error;
    int result = -1;
    if (tally_model_shape(model, dim) != 3 || dim[0] != 1)
        return complain(path, "the model does not read grey pictures");
    x = calloc(tally_model_inputs(model), sizeof *x);
    y = calloc(outputs, sizeof *y);
    scratch = malloc(scratch_bytes);
    if (!x || !y || !scratch)
        complain(path, "out of memory");
    else if (pixels_read(x, path, dim[1], dim[2]) == 0)
        result = tally_run(model, x, 1, y, scratch, scratch_bytes, &error) == TALLY_OK
                     ? 0
                     : complain(path, error.text);
    if (result == 0) {
        for (i = 1; i < outputs; i++)
            if (y[i] > y[best]) best = i;
        printf("%lu\n", (unsigned long)best);
    }
    free(x);
    free(y);
    free(scratch);
    return result;
}

int main(int argc, char **argv) {
    struct tally_model *model = NULL;
    struct tally_error error;
    unsigned char *bytes;
    size_t size;
    int result = -1;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.tally DIGIT.png\n", argc > 0 ? argv[0] : "infer_example");
        return EXIT_FAILURE;
    }
    bytes = file_read(argv[1], &size);
    if (!bytes) return EXIT_FAILURE;
    if (tally_model_load(&model, bytes, size, NULL, &error) != TALLY_OK)
        complain(argv[1], error.text);
    else
        result = digit_classify(model, argv[2]);
    tally_model_free(model);
    free(bytes); /* only now: the model lives in them */
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
