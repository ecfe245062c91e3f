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

enum { FUZZ_PATH = 40 };

// The bytes as a file in memory, whose path goes to `path`; close(2) the descriptor when it was read.
int fuzz_file_open(char path[FUZZ_PATH], const void *bytes, size_t size);

// Aborts unless the text is one line of printable characters, as every message must be.
void fuzz_check_message(const char *text);

#endif
