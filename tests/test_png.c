// PNG files: what is written here, read back by libpng itself; and files of every kind that libpng writes, whole and
// broken, read here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include "datasets/io/png.h"
#include "src/file.h"

enum { TEXT = 300 };

static int folder_setup(void **state) {
    char *folder = mem_string_new("test_png_XXXXXX");
    *state = folder;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_teardown(void **state) {
    char command[TEXT];
    snprintf(command, sizeof command, "rm -r '%s'", (char *)*state);
    mem_free(*state);
    return system(command);
}

static int entries_count(const char *folder) {
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    int count = -2; // "." and ".."
    while (readdir(entries)) count++;
    closedir(entries);
    return count;
}

static void png_reads_back(void **state) {
    char path[TEXT];
    uint8_t pixels[5 * 3 * 3], read[sizeof pixels];
    snprintf(path, sizeof path, "%s/a.png", (char *)*state);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(255 - 17 * i);
    for (int channels = 1; channels <= 3; channels += 2) {
        struct err e = {""};
        assert_int_equal(png_write(path, 5, 3, channels, pixels, &e), 0);
        png_image image = {.version = PNG_IMAGE_VERSION};
        assert_true(png_image_begin_read_from_file(&image, path));
        assert_int_equal(image.width, 5);
        assert_int_equal(image.height, 3);
        assert_int_equal(image.format, channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY);
        assert_true(png_image_finish_read(&image, NULL, read, 0, NULL));
        assert_memory_equal(read, pixels, (size_t)(5 * 3 * channels));
    }
    assert_int_equal(entries_count(*state), 1);
}

static void png_fails(void **state) {
    enum { WIDE = 2000000, SIDE = 256 };
    char path[TEXT], wanted[2 * TEXT];
    struct err e = {""};
    uint8_t *pixels = mem_new(WIDE, 1);
    snprintf(path, sizeof path, "%s/no such folder/a.png", (char *)*state);
    assert_int_equal(png_write(path, 1, 1, 1, pixels, &e), -1);
    assert_non_null(strstr(e.text, "No such file or directory"));
    assert_memory_equal(e.text, path, strlen(path));
    snprintf(path, sizeof path, "%s/a.png", (char *)*state);
    assert_int_equal(png_write(path, WIDE, 1, 1, pixels, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: a PNG of 2000000x1 can't be written: Invalid IHDR data", path);
    assert_string_equal(e.text, wanted);
    // As on a full disk.
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){100, old.rlim_max};
    uint32_t noise = 1; // does not compress, so that libpng meets the limit before the file is closed
    for (int i = 0; i < SIDE * SIDE; i++) {
        noise = noise * 1664525 + 1013904223;
        pixels[i] = (uint8_t)(noise >> 24);
    }
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    int result = png_write(path, SIDE, SIDE, 1, pixels, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(result, -1);
    snprintf(wanted, sizeof wanted, "%s: File too large", path);
    assert_string_equal(e.text, wanted);
    assert_int_equal(entries_count(*state), 0);
    mem_free(pixels);
}

// --- reading ---------------------------------------------------------------------------------------------

enum { WIDTH = 11, HEIGHT = 9, COLOURS = 4 };

static const uint8_t palette[COLOURS][4] = {
    {0, 0, 0, 255}, {255, 0, 7, 200}, {3, 250, 99, 0}, {90, 91, 92, 128}};

// A kind of PNG: its colour type, bits, and what comes with it.
struct kind {
    int type, bits;
    bool interlaced, transparent, gamma; // transparent: a tRNS chunk
};

static const struct kind kinds[] = {
    {PNG_COLOR_TYPE_GRAY, 1, false, false, false},       {PNG_COLOR_TYPE_GRAY, 2, false, false, false},
    {PNG_COLOR_TYPE_GRAY, 4, true, false, false},        {PNG_COLOR_TYPE_GRAY, 8, false, false, false},
    {PNG_COLOR_TYPE_GRAY, 8, true, false, true},         {PNG_COLOR_TYPE_GRAY, 16, false, false, false},
    {PNG_COLOR_TYPE_GRAY, 2, false, true, false},        {PNG_COLOR_TYPE_GRAY, 8, false, true, false},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, false, false}, {PNG_COLOR_TYPE_GRAY_ALPHA, 16, true, false, true},
    {PNG_COLOR_TYPE_RGB, 8, false, false, false},        {PNG_COLOR_TYPE_RGB, 8, true, false, true},
    {PNG_COLOR_TYPE_RGB, 16, false, false, false},       {PNG_COLOR_TYPE_RGB_ALPHA, 8, false, false, true},
    {PNG_COLOR_TYPE_RGB_ALPHA, 16, true, false, false},  {PNG_COLOR_TYPE_PALETTE, 2, false, false, false},
    {PNG_COLOR_TYPE_PALETTE, 2, true, true, false},      {PNG_COLOR_TYPE_PALETTE, 4, false, false, false},
    {PNG_COLOR_TYPE_PALETTE, 8, false, true, true},
};

// Number c of pixel (x, y) as the file stores it. The first row is one colour, which tRNS makes transparent.
static unsigned stored(const struct kind *k, int x, int y, int c) {
    unsigned noise = (unsigned)(y ? 1 + x + WIDTH * y : 0) * 2654435761u + (unsigned)c * 40503u;
    noise ^= noise >> 15;
    return noise & (k->type == PNG_COLOR_TYPE_PALETTE ? COLOURS - 1 : (1u << k->bits) - 1);
}

static int numbers_of(const struct kind *k) {
    return k->type == PNG_COLOR_TYPE_GRAY || k->type == PNG_COLOR_TYPE_PALETTE ? 1
           : k->type == PNG_COLOR_TYPE_GRAY_ALPHA                              ? 2
           : k->type == PNG_COLOR_TYPE_RGB                                     ? 3
                                                                               : 4;
}

static void extras_set(png_structp png, png_infop info, const struct kind *k) {
    png_color colours[COLOURS];
    uint8_t alphas[COLOURS];
    for (int i = 0; i < COLOURS; i++) {
        colours[i] = (png_color){palette[i][0], palette[i][1], palette[i][2]};
        alphas[i] = palette[i][3];
    }
    if (k->type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, colours, COLOURS);
    png_color_16 grey = {.gray = (png_uint_16)stored(k, 0, 0, 0)};
    if (k->transparent && k->type == PNG_COLOR_TYPE_PALETTE) png_set_tRNS(png, info, alphas, COLOURS, NULL);
    if (k->transparent && k->type == PNG_COLOR_TYPE_GRAY) png_set_tRNS(png, info, NULL, 0, &grey);
    if (k->gamma) png_set_gAMA(png, info, 1.0);
}

static void kind_write(const char *path, const struct kind *k) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, f);
    png_set_IHDR(png, info, WIDTH, HEIGHT, k->bits, k->type,
                 k->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    extras_set(png, info, k);
    png_write_info(png, info);
    png_set_packing(png);
    int numbers = numbers_of(k), passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < HEIGHT; y++) {
            uint8_t row[WIDTH * 8], *at = row;
            for (int i = 0; i < WIDTH * numbers; i++) {
                unsigned value = stored(k, i / numbers, y, i % numbers);
                if (k->bits == 16) *at++ = (uint8_t)(value >> 8);
                *at++ = (uint8_t)value;
            }
            png_write_row(png, row);
        }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(f), 0);
}

// What it must become, computed from the stored numbers: red, green, blue in 0 .. 255, and alpha in 0 .. 1.
static void colour_of(double colour[3], double *alpha, const struct kind *k, int x, int y) {
    int numbers = numbers_of(k);
    double full = (double)((1u << k->bits) - 1);
    *alpha = 1;
    for (int c = 0; c < 3; c++) {
        unsigned value = stored(k, x, y, numbers >= 3 ? c : 0);
        colour[c] = k->type == PNG_COLOR_TYPE_PALETTE ? palette[value][c] : floor(value * 255 / full + 0.5);
        if (k->type == PNG_COLOR_TYPE_PALETTE && k->transparent) *alpha = palette[value][3] / 255.0;
        if (k->type == PNG_COLOR_TYPE_GRAY && k->transparent && value == stored(k, 0, 0, 0)) *alpha = 0;
    }
    if (numbers % 2 == 0) *alpha = floor(stored(k, x, y, numbers - 1) * 255 / full + 0.5) / 255;
}

static void png_reads_all_kinds(void **state) {
    char path[TEXT];
    snprintf(path, sizeof path, "%s/a.png", (char *)*state);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        kind_write(path, &kinds[i]);
        struct err e = {""};
        int width, height;
        uint8_t *grey = png_read_new(&width, &height, path, 1, &e);
        uint8_t *rgb = grey ? png_read_new(&width, &height, path, 3, &e) : NULL;
        if (!rgb) fail_msg("kind %zu: %s", i, e.text);
        assert_int_equal(width, WIDTH);
        assert_int_equal(height, HEIGHT);
        for (int at = 0; at < WIDTH * HEIGHT; at++) {
            double colour[3], alpha, light;
            colour_of(colour, &alpha, &kinds[i], at % WIDTH, at / WIDTH);
            light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
            // Where the product ends in exactly one half, the reader may round either way.
            for (int c = 0; c < 3; c++) assert_true(fabs(rgb[3 * at + c] - colour[c] * alpha) < 0.5 + 1e-6);
            assert_true(fabs(grey[at] - light * alpha) < 0.5 + 1e-6);
        }
        mem_free(grey);
        mem_free(rgb);
    }
}

// --- what is refused -------------------------------------------------------------------------------------

static void crc_renew(uint8_t *chunk, size_t length) {
    uint32_t crc = (uint32_t)crc32(0, chunk + 4, (uInt)length + 4);
    for (int i = 0; i < 4; i++) chunk[8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
}

// The file is the good one with `count` bytes at `at` overwritten, then cut to `size` (0: not cut). A PNG has its
// header at 8 .. 32: length, "IHDR", width at 16, height at 20, bits at 24, CRC at 29; then comes gAMA at 33 .. 48.
struct bad {
    size_t at, count, size;
    const char *bytes;
    bool renew; // make the header's CRC right again
    const char *message;
};

static const struct bad bads[] = {
    {0, 8, 0, "P5 28 28", false, "not a PNG file"},
    {0, 0, 7, "", false, "not a PNG file"},
    {0, 0, 8, "", false, "a broken PNG: it does not start with a whole header"},
    {0, 0, 23, "", false, "a broken PNG: it does not start with a whole header"},
    {12, 4, 0, "IDAT", false, "a broken PNG: it does not start with a whole header"},
    {0, 0, 30, "", false, "a broken PNG: it ends too early"},
    {0, 0, 60, "", false, "a broken PNG: it ends too early"},
    {16, 4, 0, "\0\0\0\0", false, "a PNG of 0x9, wanted sides of 1 to 16384"},
    {20, 4, 0, "\0\0\0\0", true, "a PNG of 11x0, wanted sides of 1 to 16384"},
    {16, 4, 0, "\0\0\x40\x01", true, "a PNG of 16385x9, wanted sides of 1 to 16384"},
    {20, 4, 0, "\xff\xff\xff\xff", true, "a PNG of 11x4294967295, wanted sides of 1 to 16384"},
    {16, 8, 0, "\0\0\x40\0\0\0\x40\0", true, "a PNG of 16384x16384, wanted at most 16777216 pixels"},
    {20, 4, 0, "\0\0\0\x10", true, "a broken PNG: Not enough image data"},
    {24, 1, 0, "\x03", true, "a broken PNG: Invalid IHDR data"},
    {24, 1, 0, "\x04", false, "a broken PNG: IHDR: CRC error"},
    {43, 1, 0, "\x7f", false, "a broken PNG: gAMA: CRC error"},
};

static void refused(const char *path, const char *message) {
    struct err e = {""};
    int width, height;
    char wanted[2 * TEXT];
    assert_null(png_read_new(&width, &height, path, 1, &e));
    snprintf(wanted, sizeof wanted, "%s: %s", path, message);
    assert_string_equal(e.text, wanted);
}

// Without the sync of file_write_bytes.
static void quickly_write(const char *path, const uint8_t *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void png_refuses(void **state) {
    char path[TEXT];
    struct err e = {""};
    size_t size;
    snprintf(path, sizeof path, "%s/a.png", (char *)*state);
    refused(path, "No such file or directory");
    assert_int_equal(file_write_text(path, "a text, whatever its name says\n", &e), 0);
    refused(path, "not a PNG file");
    assert_int_equal(file_write_text(path, "", &e), 0);
    refused(path, "not a PNG file");
    kind_write(path, &(struct kind){PNG_COLOR_TYPE_GRAY, 8, false, false, true});
    uint8_t *good = file_read_new(&size, path, 1 << 16, &e), *bytes = mem_new(size, 1);
    assert_non_null(good);
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        memcpy(bytes, good, size);
        memcpy(bytes + bads[i].at, bads[i].bytes, bads[i].count);
        if (bads[i].renew) crc_renew(bytes + 8, 13);
        assert_int_equal(file_write_bytes(path, bytes, bads[i].size ? bads[i].size : size, &e), 0);
        refused(path, bads[i].message);
    }
    memcpy(bytes, good, size);
    bytes[size - 13] ^= 1; // IEND takes 12 bytes, before it stands the CRC of IDAT
    assert_int_equal(file_write_bytes(path, bytes, size, &e), 0);
    refused(path, "a broken PNG: IDAT: CRC error");
    // Every byte of a PNG is under a checksum or a rule, and none may be missing.
    int width, height;
    for (size_t at = 0; at < size; at++) {
        memcpy(bytes, good, size);
        bytes[at] ^= 0x25;
        quickly_write(path, bytes, size);
        assert_null(png_read_new(&width, &height, path, 3, &e));
        quickly_write(path, good, at);
        assert_null(png_read_new(&width, &height, path, 1, &e));
    }
    mem_free(good);
    mem_free(bytes);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(png_reads_back), IN_FOLDER(png_fails),
                                       IN_FOLDER(png_reads_all_kinds), IN_FOLDER(png_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
