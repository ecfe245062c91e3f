// PNG by way of libpng. Contract in png.h.
#include "datasets/io/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "src/file.h"

// --- writing ---------------------------------------------------------------------------------------------

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

static void bytes_write(png_structp png, png_bytep bytes, png_size_t size) {
    file_add(png_get_io_ptr(png), bytes, size);
}

static void nothing_flush(png_structp png) {
    (void)png;
}

static void rows_write(png_structp png, png_infop info, const struct image *image, struct file_stream *f) {
    png_set_write_fn(png, f, bytes_write, nothing_flush);
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    size_t row = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++) png_write_row(png, image->pixels + (size_t)y * row);
    png_write_end(png, info);
}

// Apart from rows_write, so that no local variable changes between setjmp and the jump.
static int stream_write(void *context, struct file_stream *f, struct err *e) {
    struct image *image = context;
    image->error = e;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, image, error_jump, warning_ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    CHECK(info, "png: libpng %s does not start: another version, or out of memory", PNG_LIBPNG_VER_STRING);
    if (setjmp(png_jmpbuf(png)) != 0) {
        png_destroy_write_struct(&png, &info);
        return -1;
    }
    rows_write(png, info, image, f);
    png_destroy_write_struct(&png, &info);
    return 0;
}

static int image_write(const struct image *image, bool sync) {
    CHECK(image->width >= 1 && image->height >= 1 && (image->channels == 1 || image->channels == 3),
          "png: %dx%d with %d channels", image->width, image->height, image->channels);
    return (sync ? file_write_atomic : file_write_unsynced)(image->path, stream_write, (void *)image,
                                                            image->error);
}

int png_write(const char *path, int width, int height, int channels, const uint8_t *pixels, struct err *e) {
    return image_write(&(struct image){path, width, height, channels, pixels, e}, true);
}

int png_write_unsynced(const char *path, int width, int height, int channels, const uint8_t *pixels,
                       struct err *e) {
    return image_write(&(struct image){path, width, height, channels, pixels, e}, false);
}

// --- reading ---------------------------------------------------------------------------------------------

enum {
    SIGNATURE = 8,
    WIDTH_AT = 16,
    HEAD = 24,
    COLOUR_TYPE_AT = 25,
    CHANNELS_MAX = 4
}; // HEAD: up to the height

struct source {
    const char *path;
    const uint8_t *bytes; // of the file
    size_t size, at;
    int width, height;
    int channels;    // of the pixels as libpng gives them: grey or colour, perhaps with alpha, 8 bits each
    uint8_t *pixels; // mem_free it
    struct err *error;
};

static uint32_t u32_big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

// The size, before libpng sees the file: the signature, then the first chunk, length, "IHDR", width, height.
static int head_read(struct source *s) {
    if (s->size < SIGNATURE || png_sig_cmp(s->bytes, 0, SIGNATURE) != 0)
        return err_set(s->error, "%s: not a PNG file", s->path);
    if (s->size < HEAD || memcmp(s->bytes + 12, "IHDR", 4) != 0)
        return err_set(s->error, "%s: a broken PNG: it does not start with a whole header", s->path);
    uint32_t width = u32_big_endian(s->bytes + WIDTH_AT), height = u32_big_endian(s->bytes + WIDTH_AT + 4);
    if (width < 1 || height < 1 || width > PNG_SIDE_MAX || height > PNG_SIDE_MAX)
        return err_set(s->error, "%s: a PNG of %ux%u, wanted sides of 1 to %d", s->path, width, height,
                       PNG_SIDE_MAX);
    size_t pixels;
    if (!size_mul(&pixels, width, height) || pixels > PNG_PIXELS_MAX)
        return err_set(s->error, "%s: a PNG of %ux%u, wanted at most %d pixels", s->path, width, height,
                       PNG_PIXELS_MAX);
    s->width = (int)width;
    s->height = (int)height;
    return 0;
}

// As error_jump; it jumps to source_decode.
static void read_error_jump(png_structp png, png_const_charp message) {
    const struct source *s = png_get_error_ptr(png);
    err_set(s->error, "%.200s: a broken PNG: %.100s", s->path, message);
    png_longjmp(png, 1);
}

static void bytes_read(png_structp png, png_bytep out, size_t count) {
    struct source *s = png_get_io_ptr(png);
    if (count > s->size - s->at) png_error(png, "it ends too early");
    memcpy(out, s->bytes + s->at, count);
    s->at += count;
}

static void rows_read(png_structp png, png_infop info, struct source *s) {
    png_set_read_fn(png, s, bytes_read);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    // Only what makes pixels is read: text may unpack to gigabytes.
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    // libpng takes memory for what a chunk says of its length, and unpacks texts: a file of 100 bytes could cost gigabytes.
    png_set_chunk_malloc_max(png, s->size);
    png_set_chunk_cache_max(png, 1); // 1 is none: texts are skipped
    png_read_info(png, info);
    png_set_expand(png);
    png_set_scale_16(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    s->channels = png_get_channels(png, info);
    size_t row = (size_t)s->width * (size_t)s->channels;
    CHECK(s->channels <= CHANNELS_MAX && png_get_rowbytes(png, info) == row &&
              png_get_image_height(png, info) == (png_uint_32)s->height,
          "png: rows of %zu bytes, wanted %zu", png_get_rowbytes(png, info), row);
    s->pixels = mem_new((size_t)s->height, row);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < s->height; y++) png_read_row(png, s->pixels + (size_t)y * row, NULL);
    png_read_end(png, info);
}

// Apart from rows_read for setjmp's sake, as stream_write.
static int source_decode(struct source *s) {
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, s, read_error_jump, warning_ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    CHECK(info, "png: libpng %s does not start: another version, or out of memory", PNG_LIBPNG_VER_STRING);
    if (setjmp(png_jmpbuf(png)) != 0) {
        png_destroy_read_struct(&png, &info, NULL);
        return -1;
    }
    rows_read(png, info, s);
    png_destroy_read_struct(&png, &info, NULL);
    return 0;
}

// One pixel of `from` channels to 1 or 3.
static void pixel_convert(uint8_t *out, int channels, const uint8_t *in, int from) {
    unsigned alpha = from % 2 == 0 ? in[from - 1] : 255;
    unsigned red = in[0], green = from >= 3 ? in[1] : red, blue = from >= 3 ? in[2] : red;
    if (channels == 3) {
        out[0] = (uint8_t)((red * alpha + 127) / 255);
        out[1] = (uint8_t)((green * alpha + 127) / 255);
        out[2] = (uint8_t)((blue * alpha + 127) / 255);
    } else {
        unsigned grey = 299 * red + 587 * green + 114 * blue;
        out[0] = (uint8_t)((grey * alpha + 127500) / 255000);
    }
}

uint8_t *png_read_new(int *width, int *height, const char *path, int channels, struct err *e) {
    CHECK(channels == 1 || channels == 3, "png: %d channels", channels);
    struct source s = {.path = path, .error = e};
    uint8_t *bytes = file_read_new(&s.size, path, PNG_FILE_MAX, e), *result = NULL;
    if (!bytes) return NULL;
    s.bytes = bytes;
    if (head_read(&s) == 0 && source_decode(&s) == 0) {
        size_t count = (size_t)s.width * (size_t)s.height, from = (size_t)s.channels, to = (size_t)channels;
        result = mem_new(count, to);
        for (size_t i = 0; i < count; i++)
            pixel_convert(result + i * to, channels, s.pixels + i * from, s.channels);
        *width = s.width;
        *height = s.height;
    }
    mem_free(s.pixels);
    mem_free(bytes);
    return result;
}

int png_channels(const char *path, struct err *e) {
    struct source s = {.path = path, .error = e};
    uint8_t *bytes = file_read_new(&s.size, path, PNG_FILE_MAX, e);
    int channels = 0;
    if (!bytes) return 0;
    s.bytes = bytes;
    if (head_read(&s) == 0 && s.size > COLOUR_TYPE_AT)
        channels = bytes[COLOUR_TYPE_AT] & PNG_COLOR_MASK_COLOR ? 3 : 1;
    else if (s.size >= HEAD && s.size <= COLOUR_TYPE_AT)
        err_set(e, "%s: a broken PNG: it ends too early", path);
    mem_free(bytes);
    return channels;
}
