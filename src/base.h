// Errors, checks and heap memory: what every other file stands on.
//
// Two kinds of failure. The world is wrong (a file, a config, a size from outside): the function returns -1
// or NULL and fills `struct err`. We are wrong (a bug in Tally): CHECK aborts with a message. Out of memory
// aborts.
#ifndef TALLY_SRC_BASE_H
#define TALLY_SRC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The number type of values and gradients: float in the program, double in the gradient and golden tests.
#ifdef TALLY_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#if defined(__GNUC__)
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
#else
#define PRINTF_LIKE(at, first)
#endif

// Several builds of one hot loop, of which the machine's best is chosen when the program starts. Only for
// loops whose result does not depend on the instruction set (no fused multiply-add: see -ffp-contract=off).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(TALLY_NO_CLONES)
#define VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTOR_CLONES
#endif

// A helper of such a loop is put inside it in any case: called, it would be the build for the least machine.
#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

// Memory that will be read soon.
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

// One line that says where, what was found and what was wanted.
struct err {
    char text[512];
};

// Writes the message, control characters as '?'; always returns -1, so that `return err_set(e, ...)` reads well.
int err_set(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

// Puts "WHERE: " before the message that is already there; always returns -1.
int err_at(struct err *e, const char *where);

// Our own bugs: always on, prints file, line and message, aborts.
#define CHECK(condition, ...) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, __VA_ARGS__))
_Noreturn void check_failed(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4);

// Zeroed, 64-byte aligned memory for count items of `size` bytes; aborts when there is none. Free with
// mem_free.
void *mem_new(size_t count, size_t size);
void mem_free(void *memory);

// The list of `count` items with room for one more: itself, or a larger copy, zeroed behind the items; the list may be NULL
// where there are none. Items that are added one by one take linear time.
void *mem_grow(void *list, size_t count, size_t size);

// A copy of the string; free with mem_free.
char *mem_string_new(const char *text);

// The FNV-1a hash (Fowler, Noll, Vo; 64 bits) of the bytes, going on from that of those before them or from HASH_START.
#define HASH_START 0xcbf29ce484222325u
uint64_t hash_add(uint64_t hash, const void *bytes, size_t size);

// Whether the text, from a file, may be shown: no control characters, which could steer a terminal.
bool text_is_plain(const char *text);

// *product = a * b; false when it does not fit. The one helper for sizes that come from outside.
bool size_mul(size_t *product, size_t a, size_t b);

// The element of `known` (NULL-terminated) nearest to `word` by edit distance, or NULL when none is near:
// for "did you mean".
const char *name_nearest(const char *word, const char *const *known);

#endif
