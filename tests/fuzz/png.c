// Target: PNG images. The first byte says how many channels are wanted; the chunks' checksums of the rest, the file, are
// mended, unless it says otherwise.
#include "datasets/io/png.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/fuzz/fuzz.h"

enum {
    COLOUR = 1,
    CHECKSUMS_KEPT = 128,
    SIGNATURE = 8,
    AROUND = 12,
    ROUND_PIXELS = 1 << 14
}; // a chunk: length, name, data, checksum

static uint32_t u32_at(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void checksums_mend(uint8_t *file, size_t size) {
    for (size_t at = SIGNATURE; at < size && size - at >= AROUND;) {
        size_t length = u32_at(file + at);
        if (length > size - at - AROUND) return;
        uint32_t sum = (uint32_t)crc32(0, file + at + 4, (uInt)(length + 4));
        for (size_t i = 0; i < 4; i++) file[at + 8 + length + i] = (uint8_t)(sum >> (24 - 8 * i));
        at += AROUND + length;
    }
}

// Written and read again.
static void round_check(const uint8_t *pixels, int width, int height, int channels) {
    char folder[FUZZ_PATH], path[FUZZ_LONG_PATH];
    int wide, high;
    size_t size = (size_t)width * (size_t)height * (size_t)channels;
    struct err e = {""};
    fuzz_folder_open(folder);
    fuzz_join(path, folder, "a.png");
    CHECK(png_write(path, width, height, channels, pixels, &e) == 0, "write: %s", e.text);
    CHECK(png_channels(path, &e) == channels, "channels: %s", e.text);
    uint8_t *again = png_read_new(&wide, &high, path, channels, &e);
    CHECK(again, "read again: %s", e.text);
    CHECK(wide == width && high == height && memcmp(again, pixels, size) == 0, "differs");
    mem_free(again);
    fuzz_folder_close(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 1) return 0;
    int channels = input[0] & COLOUR ? 3 : 1, width, height;
    uint8_t *file = mem_new(size, 1);
    memcpy(file, input + 1, size - 1);
    if (!(input[0] & CHECKSUMS_KEPT)) checksums_mend(file, size - 1);
    char path[FUZZ_PATH];
    int descriptor = fuzz_file_open(path, file, size - 1);
    struct err e = {""};
    uint8_t *pixels = png_read_new(&width, &height, path, channels, &e);
    if (pixels) {
        CHECK(width >= 1 && width <= PNG_SIDE_MAX && height >= 1 && height <= PNG_SIDE_MAX &&
                  (int64_t)width * height <= PNG_PIXELS_MAX,
              "%dx%d", width, height);
        unsigned sum = 0;
        for (int64_t i = 0; i < (int64_t)width * height * channels; i++) sum += pixels[i];
        CHECK(sum <= 255u * (unsigned)PNG_PIXELS_MAX, "every pixel can be read");
        if ((int64_t)width * height <= ROUND_PIXELS) round_check(pixels, width, height, channels);
    } else {
        fuzz_check_message(e.text);
    }
    mem_free(pixels);
    mem_free(file);
    close(descriptor);
    return 0;
}
