// PNG files: written here, read back by libpng itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "datasets/io/png.h"

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
    enum { WIDTH = 5, HEIGHT = 3 };
    char path[TEXT];
    uint8_t pixels[WIDTH * HEIGHT * 3], read[sizeof pixels];
    snprintf(path, sizeof path, "%s/a.png", (char *)*state);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(255 - 17 * i);
    for (int channels = 1; channels <= 3; channels += 2) {
        struct err e = {""};
        assert_int_equal(png_write(path, WIDTH, HEIGHT, channels, pixels, &e), 0);
        png_image image = {.version = PNG_IMAGE_VERSION};
        assert_true(png_image_begin_read_from_file(&image, path));
        assert_int_equal(image.width, WIDTH);
        assert_int_equal(image.height, HEIGHT);
        assert_int_equal(image.format, channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY);
        assert_true(png_image_finish_read(&image, NULL, read, 0, NULL));
        assert_memory_equal(read, pixels, (size_t)(WIDTH * HEIGHT * channels));
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
    snprintf(wanted, sizeof wanted, "%s: a PNG of 256x256 can't be written: Write Error", path);
    assert_string_equal(e.text, wanted);
    assert_int_equal(entries_count(*state), 0);
    mem_free(pixels);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(png_reads_back), IN_FOLDER(png_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
