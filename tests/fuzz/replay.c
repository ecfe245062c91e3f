// A target without a fuzzer: runs it on every file of the folders named, and says which took longest: a small file that
// keeps its reader busy is a finding too.
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/file.h"
#include "tests/fuzz/fuzz.h"

enum { PATH = 4096, LIMIT = 1 << 24 };

struct tally {
    int files;
    double seconds; // of the slowest
    char slowest[PATH];
};

static int file_replay(struct tally *t, const char *path) {
    size_t size;
    struct err e;
    unsigned char *bytes = file_read_new(&size, path, LIMIT, &e);
    if (!bytes) return fprintf(stderr, "replay: %s\n", e.text), -1;
    // Without the byte that file_read_new adds, so that reading it is seen.
    uint8_t *exact = malloc(size ? size : 1);
    CHECK(exact, "replay: no memory for %zu bytes", size);
    memcpy(exact, bytes, size);
    mem_free(bytes);
    clock_t start = clock();
    fprintf(stderr, "%s\n", path); // the last one named is the one that broke
    LLVMFuzzerTestOneInput(exact, size);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    free(exact);
    t->files++;
    if (seconds < t->seconds) return 0;
    t->seconds = seconds;
    snprintf(t->slowest, sizeof t->slowest, "%s", path);
    return 0;
}

static int folder_replay(struct tally *t, const char *folder) {
    DIR *d = opendir(folder);
    if (!d) return fprintf(stderr, "replay: %s is no folder\n", folder), -1;
    int result = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(d));) {
        char path[PATH];
        struct err e;
        if (entry->d_name[0] == '.') continue;
        if (file_join(path, sizeof path, folder, entry->d_name, &e) != 0) {
            fprintf(stderr, "replay: %s\n", e.text);
            result = -1;
        } else {
            result = file_replay(t, path);
        }
    }
    closedir(d);
    return result;
}

int main(int argc, char **argv) {
    struct tally t = {0};
    for (int i = 1; i < argc; i++)
        if (folder_replay(&t, argv[i]) != 0) return 1;
    printf("%d files, the slowest took %.3f s: %s\n", t.files, t.seconds, t.slowest);
    if (t.files == 0) fprintf(stderr, "replay: no files\n");
    return t.files == 0;
}
