// PNG by way of libpng. Contract in png.h.
#include "datasets/io/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>

#include "src/file.h"

struct image {
    const char *path;
    int width, height, channels;
    const uint8_t *pixels;
    struct err *error;
};

// libpng wants an error handler that does not return; it jumps to stream_write.
static void error_jump(png_structp png, png_const_charp message) {
    const struct image *image = png_get_error_ptr(png);
    err_set(image->error, "%.200s: a PNG of %dx%d can't be written: %.100s", image->path, image->width,
            image->height, message);
    png_longjmp(png, 1);
}

static void warning_ignore(png_structp png, png_const_charp message) {
    (void)png, (void)message;
}

static void rows_write(png_structp png, png_infop info, const struct image *image, FILE *f) {
    png_init_io(png, f);
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    size_t row = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++) png_write_row(png, image->pixels + (size_t)y * row);
    png_write_end(png, info);
}

// Apart from rows_write, so that no local variable changes between setjmp and the jump.
static int stream_write(void *context, void *stream, struct err *e) {
    struct image *image = context;
    image->error = e;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, image, error_jump, warning_ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    CHECK(info, "png: libpng %s does not start: another version, or out of memory", PNG_LIBPNG_VER_STRING);
    if (setjmp(png_jmpbuf(png)) != 0) {
        png_destroy_write_struct(&png, &info);
        return -1;
    }
    rows_write(png, info, image, stream);
    png_destroy_write_struct(&png, &info);
    return 0;
}

int png_write(const char *path, int width, int height, int channels, const uint8_t *pixels, struct err *e) {
    CHECK(width >= 1 && height >= 1 && (channels == 1 || channels == 3), "png: %dx%d with %d channels", width,
          height, channels);
    struct image image = {path, width, height, channels, pixels, e};
    return file_write_atomic(path, stream_write, &image, e);
}
