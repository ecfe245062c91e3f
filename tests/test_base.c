// What everything stands on: errors, checks, heap memory, names, the arena, shapes.
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/arena.h"
#include "src/shape.h"
#include "tests/check.h"

// --- errors -----------------------------------------------------------------------------------------------

static void err_set_writes(void **state) {
    (void)state;
    struct err e;
    memset(e.text, 'x', sizeof e.text);
    assert_int_equal(err_set(&e, "%s: %d is not in %d .. %d", "optim.rate", 7, 0, 1), -1);
    assert_string_equal(e.text, "optim.rate: 7 is not in 0 .. 1");
    assert_int_equal(err_at(&e, "configs/mnist.json"), -1);
    assert_string_equal(e.text, "configs/mnist.json: optim.rate: 7 is not in 0 .. 1");
}

// However long: cut, and ended by a zero byte.
static void lists_grow(void **state) {
    (void)state;
    int *list = NULL, moves = 0;
    for (int i = 0; i < 1000; i++) {
        int *before = list;
        list = mem_grow(list, (size_t)i, sizeof *list);
        moves += list != before;
        assert_int_equal(list[i], 0);
        list[i] = i + 1;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(list[i], i + 1);
    assert_true(moves <= 11);
    mem_free(list);
}

static void plain_texts(void **state) {
    (void)state;
    assert_true(text_is_plain("") && text_is_plain("größer 99 %"));
    assert_false(text_is_plain("a\033c") || text_is_plain("\n") || text_is_plain("a\x7f"));
}

static void err_set_cuts(void **state) {
    (void)state;
    struct guarded {
        struct err e;
        char guard[8];
    } g = {.guard = "guarded"};
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(err_set(&g.e, "%s", text), -1);
    assert_int_equal(strlen(g.e.text), sizeof g.e.text - 1);
    assert_int_equal(err_at(&g.e, text), -1);
    assert_int_equal(strlen(g.e.text), 200 + strlen(": ") + 300); // the shares that err_at gives to both
    assert_int_equal(g.e.text[200], ':');
    assert_string_equal(g.guard, "guarded");
}

static void check_aborts(void **state) {
    (void)state;
    int ends[2], status;
    CHECK(true, "never seen");
    assert_int_equal(pipe(ends), 0);
    int line = __LINE__ + 4;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        CHECK(line < 0, "matmul: %d rows", 3);
        _exit(0);
    }
    close(ends[1]);
    char found[1024] = "", wanted[1024];
    size_t used = 0;
    for (ssize_t got; (got = read(ends[0], found + used, sizeof found - 1 - used)) > 0;) used += (size_t)got;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    snprintf(wanted, sizeof wanted, "tally: bug at %s:%d: matmul: 3 rows\n", __FILE__, line);
    assert_string_equal(found, wanted);
}

// --- memory and sizes -------------------------------------------------------------------------------------

static void size_mul_sees_overflow(void **state) {
    (void)state;
    static const size_t half = SIZE_MAX / 2;
    static const struct {
        size_t a, b, product;
        bool fits;
    } rows[] = {
        {0, 0, 0, true},
        {0, SIZE_MAX, 0, true},
        {SIZE_MAX, 0, 0, true},
        {1, SIZE_MAX, SIZE_MAX, true},
        {SIZE_MAX, 1, SIZE_MAX, true},
        {6, 7, 42, true},
        {half, 2, half * 2, true},
        {half + 1, 2, 0, false},
        {2, half + 1, 0, false},
        {SIZE_MAX, SIZE_MAX, 0, false},
        {(size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4), 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t product = 12345;
        assert_int_equal(size_mul(&product, rows[i].a, rows[i].b), rows[i].fits);
        if (rows[i].fits) assert_int_equal(product, rows[i].product);
    }
}

static void mem_new_is_zeroed(void **state) {
    (void)state;
    for (size_t size = 0; size < 400; size += 37) {
        unsigned char *memory = mem_new(size, 3);
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t i = 0; i < 3 * size; i++) assert_int_equal(memory[i], 0);
        memset(memory, 0xff, 3 * size); // for the next round, which may get the same memory
        mem_free(memory);
    }
    mem_free(NULL);
}

static void mem_string_is_a_copy(void **state) {
    (void)state;
    char text[] = "linear1.weight";
    char *copy = mem_string_new(text), *empty = mem_string_new("");
    text[0] = 'L';
    assert_string_equal(copy, "linear1.weight");
    assert_string_equal(empty, "");
    mem_free(copy);
    mem_free(empty);
}

// --- names ------------------------------------------------------------------------------------------------

static void name_nearest_suggests(void **state) {
    (void)state;
    static const char long_name[] = "a-name-of-more-than-sixty-three-characters-is-never-suggested-to-anyone";
    static const char *const known[] = {"linear", "relu", "gelu", "tanh", "dropout", "p", long_name, NULL};
    static const struct {
        const char *word, *wanted;
    } rows[] = {
        {"linear", "linear"},
        {"liner", "linear"},    // a letter lost
        {"linnear", "linear"},  // one too many
        {"linaer", "linear"},   // two swapped
        {"Linear", "linear"},   // wrong case
        {"lineaire", "linear"}, // two too many
        {"lineaires", NULL},    // three too many
        {"elu", "relu"},        // as near to gelu: the first wins
        {"gely", "gelu"},
        {"drop", NULL},
        {"dropot", "dropout"},
        {"t", "p"}, // short words: one letter may differ
        {"tan", "tanh"},
        {"tab", NULL}, // two differ
        {"", "p"},
        {"convolution", NULL},
        {long_name, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *found = name_nearest(rows[i].word, known);
        assert_string_equal(found ? found : "(none)", rows[i].wanted ? rows[i].wanted : "(none)");
    }
    static const char *const nothing[] = {NULL};
    assert_null(name_nearest("linear", nothing));
}

// --- arena ------------------------------------------------------------------------------------------------

enum { ALLOCATIONS = 300 };

// Sizes of all kinds: nothing, a few bytes, more than a block.
static size_t allocation_size(int i) {
    if (i % 50 == 49) return (size_t)3 << 19;
    return (size_t)(i % 7 == 0 ? 0 : i * 37 % 5000);
}

static void allocate_all(struct arena *a, unsigned char *memory[ALLOCATIONS]) {
    for (int i = 0; i < ALLOCATIONS; i++) memory[i] = arena_alloc(a, allocation_size(i), 1);
}

static void arena_memory_is_apart(void **state) {
    (void)state;
    unsigned char *memory[ALLOCATIONS];
    struct arena *a = arena_new();
    allocate_all(a, memory);
    for (int i = 0; i < ALLOCATIONS; i++) {
        assert_int_equal((uintptr_t)memory[i] % 64, 0);
        memset(memory[i], i, allocation_size(i));
    }
    for (int i = 0; i < ALLOCATIONS; i++)
        for (size_t j = 0; j < allocation_size(i); j++)
            if (memory[i][j] != (unsigned char)i) fail_msg("allocation %d, byte %d", i, (int)j);
    arena_free(a);
    arena_free(NULL);
}

static void arena_reset_reuses(void **state) {
    (void)state;
    unsigned char *first[ALLOCATIONS], *again[ALLOCATIONS];
    struct arena *a = arena_new();
    size_t asked = 0;
    for (int i = 0; i < ALLOCATIONS; i++) asked += allocation_size(i);
    allocate_all(a, first);
    assert_true(arena_bytes(a) >= asked);
    arena_reset(a); // now one block, where it was several
    allocate_all(a, first);
    size_t bytes = arena_bytes(a);
    assert_true(bytes >= asked);
    for (int round = 0; round < 5; round++) {
        arena_reset(a);
        allocate_all(a, again);
        assert_memory_equal(again, first, sizeof first);
        assert_int_equal(arena_bytes(a), bytes);
    }
    arena_free(a);
}

// A step of other sizes in between may cost memory once, not again and again.
static void arena_growth_ends(void **state) {
    (void)state;
    struct arena *a = arena_new();
    size_t bytes = 0;
    for (int round = 0; round < 20; round++) {
        arena_reset(a);
        for (int i = 0; i < 20; i++) arena_alloc(a, (size_t)(round % 2 ? i : 20 - i) << 12, sizeof(float));
        if (round == 3) bytes = arena_bytes(a);
    }
    assert_int_equal(arena_bytes(a), bytes);
    arena_free(a);
}

static void arena_big(void **state) {
    (void)state;
    enum { BIG = 1 << 24 };
    struct arena *a = arena_new();
    unsigned char *small = arena_alloc(a, 1, 10), *big = arena_alloc(a, BIG / 4, 4);
    unsigned char *after = arena_alloc(a, 1, 10);
    memset(small, 1, 10);
    memset(big, 2, BIG);
    memset(after, 3, 10);
    assert_int_equal(small[9], 1);
    assert_int_equal(big[0], 2);
    assert_int_equal(big[BIG - 1], 2);
    assert_true(arena_bytes(a) >= BIG);
    arena_free(a);
}

// --- shapes -----------------------------------------------------------------------------------------------

static void shapes(void **state) {
    (void)state;
    char text[SHAPE_TEXT];
    struct shape scalar = {0}, four = {4, {INT_MAX, 1, 2, INT_MAX}};
    assert_int_equal(shape_size(scalar), 1);
    assert_int_equal(shape_size(shape_1(7)), 7);
    assert_int_equal(shape_size(shape_2(64, 784)), 50176);
    assert_int_equal(shape_size(shape_3(1, 28, 28)), 784);
    assert_int_equal(shape_size(four), (size_t)INT_MAX * INT_MAX * 2);
    assert_string_equal(shape_text(text, scalar), "()");
    assert_string_equal(shape_text(text, shape_1(7)), "(7)");
    assert_string_equal(shape_text(text, shape_2(64, 784)), "(64, 784)");
    assert_string_equal(shape_text(text, shape_3(1, 28, 28)), "(1, 28, 28)");
    assert_string_equal(shape_text(text, four), "(2147483647, 1, 2, 2147483647)");
    assert_ptr_equal(shape_text(text, four), text);
    assert_true(shape_equal(shape_2(3, 4), shape_2(3, 4)));
    assert_false(shape_equal(shape_2(3, 4), shape_2(4, 3)));
    assert_false(shape_equal(shape_2(3, 1), shape_1(3)));
    assert_false(shape_equal(shape_1(3), shape_2(3, 1)));
    assert_true(shape_equal(scalar, (struct shape){0, {5}})); // what is beyond the rank does not count
    assert_true(shape_equal((struct shape){1, {3, 9}}, (struct shape){1, {3, 8}}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_writes),
        cmocka_unit_test(err_set_cuts),
        cmocka_unit_test(plain_texts),
        cmocka_unit_test(lists_grow),
        cmocka_unit_test(check_aborts),
        cmocka_unit_test(size_mul_sees_overflow),
        cmocka_unit_test(mem_new_is_zeroed),
        cmocka_unit_test(mem_string_is_a_copy),
        cmocka_unit_test(name_nearest_suggests),
        cmocka_unit_test(arena_memory_is_apart),
        cmocka_unit_test(arena_reset_reuses),
        cmocka_unit_test(arena_growth_ends),
        cmocka_unit_test(arena_big),
        cmocka_unit_test(shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
