// Errors, checks and heap memory. Contracts in base.h.
#include "src/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, NAME_MAX_LENGTH = 63 };

static bool is_control(char c) {
    return (unsigned char)c < ' ' || c == 127;
}

bool text_is_plain(const char *text) {
    for (; *text; text++)
        if (is_control(*text)) return false;
    return true;
}

int err_set(struct err *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    // Names from files end in messages: nothing of them may steer a terminal.
    for (char *c = e->text; *c; c++)
        if (is_control(*c)) *c = '?';
    return -1;
}

int err_at(struct err *e, const char *where) {
    struct err inner = *e;
    return err_set(e, "%.200s: %.300s", where, inner.text);
}

void check_failed(const char *file, int line, const char *format, ...) {
    fprintf(stderr, "tally: bug at %s:%d: ", file, line);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

void *mem_new(size_t count, size_t size) {
    size_t bytes;
    if (!size_mul(&bytes, count, size) || bytes > SIZE_MAX - ALIGNMENT) bytes = SIZE_MAX - 2 * ALIGNMENT;
    bytes = (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, bytes);
    if (!memory) {
        fprintf(stderr, "tally: out of memory: %zu items of %zu bytes\n", count, size);
        abort();
    }
    return memset(memory, 0, bytes);
}

void mem_free(void *memory) {
    free(memory);
}

void *mem_grow(void *list, size_t count, size_t size) {
    if (count & (count - 1)) return list;
    // Full: of 0, 1, 2, 4, 8 ... items.
    void *larger = mem_new(count ? 2 * count : 1, size);
    if (count) memcpy(larger, list, count * size);
    mem_free(list);
    return larger;
}

uint64_t hash_add(uint64_t hash, const void *bytes, size_t size) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

char *mem_string_new(const char *text) {
    size_t bytes = strlen(text) + 1;
    return memcpy(mem_new(bytes, 1), text, bytes);
}

bool size_mul(size_t *product, size_t a, size_t b) {
    if (a && b > SIZE_MAX / a) return false;
    *product = a * b;
    return true;
}

// Levenshtein distance of two names of at most NAME_MAX_LENGTH characters.
static size_t edit_distance(const char *a, const char *b) {
    size_t row[NAME_MAX_LENGTH + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[n];
}

const char *name_nearest(const char *word, const char *const *known) {
    size_t length = strlen(word);
    if (length > NAME_MAX_LENGTH) return NULL;
    const char *best = NULL;
    size_t best_distance = length < 4 ? 2 : 3;
    for (; *known; known++) {
        if (strlen(*known) > NAME_MAX_LENGTH) continue;
        size_t distance = edit_distance(word, *known);
        if (distance < best_distance) best = *known, best_distance = distance;
    }
    return best;
}
