// Fuzzing: one file of this folder is one target, the readers of one format that strangers' files come in. A target is
// compiled twice: with libFuzzer, by tests/fuzz/run, and with replay.c, for every build's tests (fuzz_replay_<target>).
//
//   corpus/<target>/   seeds: small good files (those of `model`, made by seeds.c, and inputs that once broke something)
//   <target>.dict      words that libFuzzer puts in
//
// A new target: a file like npy.c, a corpus, and its name in tests/CMakeLists.txt.
#ifndef TALLY_TESTS_FUZZ_H
#define TALLY_TESTS_FUZZ_H

#include "src/base.h"

// libFuzzer's: one input; aborts, or trips a sanitizer, where something is wrong. Returns 0.
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { FUZZ_PATH = 40, FUZZ_LONG_PATH = 300 };

// The bytes as a file in memory, whose path goes to `path`; close(2) the descriptor when it was read.
int fuzz_file_open(char path[FUZZ_PATH], const void *bytes, size_t size);

// A new folder, in memory where the system has such a place; and away with it and all that is in it.
void fuzz_folder_open(char folder[FUZZ_PATH]);
void fuzz_folder_close(const char *folder);

// The bytes as FOLDER/NAME, with the folders between made.
void fuzz_file_write(const char *folder, const char *name, const void *bytes, size_t size);

// The next part of an input that is several, each behind a byte that says what it is, "\n@@" between them. False: no more.
struct fuzz_part {
    uint8_t what;
    const uint8_t *bytes;
    size_t size;
};
bool fuzz_part_next(struct fuzz_part *part, const uint8_t **at, const uint8_t *end);

// FOLDER/NAME, a name of the target's own.
const char *fuzz_join(char path[FUZZ_LONG_PATH], const char *folder, const char *name);

// Aborts unless the file holds just these bytes; and unless two files hold the same.
void fuzz_check_file(const char *path, const void *bytes, size_t size);
void fuzz_check_same(const char *path, const char *other);

// Aborts unless the text is one line of printable characters, as every message must be.
void fuzz_check_message(const char *text);

#endif
