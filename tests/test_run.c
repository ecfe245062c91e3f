// Whole runs of the program on a small generated data set: the same bits for one and two threads, for a stop and a
// resume as for no stop, and after kill -9; no malloc in a step; what the run folder holds; exit statuses.
#define _GNU_SOURCE
#include <signal.h>

#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 1000, \"test\": 200}}, "
    "\"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 24}}, \"relu\", {\"dropout\": {\"p\": 0.1}}, "
    "{\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [\"clip\", {\"counter\": {\"rate\": 0.03, \"leak\": 0.03}}], \"others\": "
    "[\"adam\"],\n"
    "  \"schedule\": {\"cosine\": {\"warmup\": 0.5}}, \"sparsity\": {\"target\": 0.1, \"freeze\": 0.7}},\n"
    " \"train\": {\"epochs\": 12, \"batch\": 50, \"shards\": 2}}\n";

static unsigned char *content(size_t *size, const char *path) {
    struct err e;
    unsigned char *bytes = file_read_new(size, path, 1 << 24, &e);
    if (!bytes) fail_msg("%s", e.text);
    return bytes;
}

static void assert_same_file(const char *a, const char *b) {
    size_t size_a, size_b;
    unsigned char *bytes_a = content(&size_a, a), *bytes_b = content(&size_b, b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    mem_free(bytes_a);
    mem_free(bytes_b);
}

static int lines_of(const char *path) {
    if (!file_exists(path)) return 0;
    size_t size;
    int lines = 0;
    unsigned char *bytes = content(&size, path);
    for (size_t i = 0; i < size; i++) lines += bytes[i] == '\n';
    mem_free(bytes);
    return lines;
}

// Sends the signal once the run has written two lines of metrics, or is over.
static void stop_in_the_middle(pid_t child, const char *metrics, int signal_number) {
    siginfo_t info = {0};
    while (lines_of(metrics) < 2 && waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           !info.si_pid)
        usleep(500);
    kill(child, signal_number);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    assert_int_equal(RUN("train", "small.json", "--no-report", "--out", "one", "--threads", "1", "--quiet"),
                     0);
    assert_int_equal(RUN("train", "small.json", "--no-report", "--out", "two", "--threads", "2", "--quiet"),
                     0);
    assert_same_file("one/checkpoint.safetensors", "two/checkpoint.safetensors");
    assert_int_equal(RUN("train", "small.json", "--no-report", "seed=2", "--out", "other", "--quiet"), 0);
    size_t size_a, size_b;
    unsigned char *a = content(&size_a, "one/checkpoint.safetensors"),
                  *b = content(&size_b, "other/checkpoint.safetensors");
    assert_false(size_a == size_b && memcmp(a, b, size_a) == 0); // another seed is another run
    mem_free(a);
    mem_free(b);
}

static void stop_and_resume(void **state) {
    (void)state;
    static const struct {
        int signal_number, status;
        const char *folder;
    } ways[] = {{SIGINT, 130, "interrupted"}, {SIGTERM, 130, "ended"}, {SIGKILL, -SIGKILL, "killed"}};
    for (int i = 0; i < 3; i++) {
        char metrics[64], checkpoint[64];
        snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", ways[i].folder);
        snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint.safetensors", ways[i].folder);
        pid_t child = program_start(
            (const char *const[]){"train", "small.json", "--no-report", "--out", ways[i].folder, NULL});
        stop_in_the_middle(child, metrics, ways[i].signal_number);
        assert_int_equal(program_end(child), ways[i].status);
        assert_true(lines_of(metrics) < 12); // or it was no stop in the middle
        assert_int_equal(RUN("train", "small.json", "--no-report", "--out", ways[i].folder, "--resume"), 0);
        assert_same_file("one/checkpoint.safetensors", checkpoint);
        assert_int_equal(lines_of(metrics), 12);
    }
}

// Killed between the last checkpoint and the summary.
static void resumed_at_the_end(void **state) {
    (void)state;
    static const char *const numbers[] = {"train_loss",       "train_error", "validation_loss",
                                          "validation_error", "test_loss",   "test_error"};
    struct err e;
    struct json *whole = saved_summary_new("two", &e);
    assert_non_null(whole);
    assert_int_equal(remove("two/summary.json"), 0);
    assert_int_equal(RUN("train", "small.json", "--no-report", "--out", "two", "--resume", "--quiet"), 0);
    struct json *again = saved_summary_new("two", &e);
    assert_non_null(again);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(json_type(json_find(whole, numbers[i])), JSON_NUMBER);
        assert_int_equal(json_type(json_find(again, numbers[i])), JSON_NUMBER);
        assert_true(json_number(json_find(whole, numbers[i])) == json_number(json_find(again, numbers[i])));
    }
    json_free(again);
    json_free(whole);
    assert_same_file("one/checkpoint.safetensors", "two/checkpoint.safetensors");
}

static void run_folder(void **state) {
    (void)state;
    struct err e;
    struct json *s = saved_summary_new("one", &e);
    assert_non_null(s);
    assert_string_equal(json_string(json_find(s, "status")), "finished");
    assert_string_equal(json_string(json_find(s, "dataset")), "digits");
    static const char *const numbers[] = {"seed",    "epochs",  "test_error",         "weights", "nonzero",
                                          "density", "threads", "samples_per_second", "shards"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_int_equal(json_type(json_find(s, numbers[i])), JSON_NUMBER);
    assert_int_equal(json_number(json_find(s, "weights")), 784 * 24 + 24 * 10);
    assert_int_equal(json_number(json_find(s, "nonzero")), 1906); // round(0.1 · 19056), frozen
    assert_int_equal(json_count(json_find(s, "per_layer")), 2);
    assert_int_equal(json_type(json_find(s, "version")), JSON_STRING);
    json_free(s);
    assert_int_equal(lines_of("one/metrics.jsonl"), 12);
    assert_true(file_exists("one/config.json") && file_exists("one/weights.png") &&
                file_exists("one/histogram.json"));
    // The resolved config describes the same run.
    assert_int_equal(RUN("train", "one/config.json", "--no-report", "--out", "again", "--quiet"), 0);
    assert_same_file("one/checkpoint.safetensors", "again/checkpoint.safetensors");
}

static void eval_agrees(void **state) {
    (void)state;
    assert_int_equal(RUN("eval", "one", "--json"), 0);
    struct err e;
    struct json *eval = json_load_new("log.txt", 1 << 16, &e), *s = saved_summary_new("one", &e);
    assert_non_null(eval);
    assert_true(json_number(json_find(eval, "error")) == json_number(json_find(s, "test_error")));
    json_free(eval);
    json_free(s);
    assert_int_equal(RUN("inspect", "one"), 0);
    assert_int_equal(RUN("inspect", "one", "two", "other"), 0);
    assert_int_equal(RUN("list"), 0);
    assert_int_equal(RUN("list", "--json"), 0);
}

// Without MNIST and with a fallback: says so, and everything names what was trained on.
static void fallback(void **state) {
    (void)state;
    assert_int_equal(RUN("train", "small.json", "--no-report", "data.set=mnist",
                         "data.fallback={\"digits\": {\"train\": 300, \"test\": 50}}", "epochs=1", "--out",
                         "fell"),
                     0);
    size_t size;
    char *log = (char *)content(&size, "log.txt");
    static const char said[] =
        "note: mnist: train-images-idx3-ubyte not found in data (get it: datasets/get mnist)\n"
        "note: this run trains on 'digits' instead, as the config allows\n";
    assert_memory_equal(log, said, strlen(said));
    mem_free(log);
    static const char *const files[] = {"summary.json", "config.json", "metrics.jsonl", "histogram.json"};
    for (int i = 0; i < 4; i++) {
        char path[64];
        struct err e;
        snprintf(path, sizeof path, "fell/%s", files[i]);
        struct json *tree = json_load_new(path, 1 << 20, &e);
        if (!tree) fail_msg("%s", e.text);
        assert_string_equal(json_string(json_find(tree, "dataset")), "digits");
        json_free(tree);
    }
    assert_int_equal(RUN("eval", "fell"), 0);
    assert_int_equal(RUN("train", "small.json", "--no-report", "data.set=mnist"), 1); // no fallback: an error
}

static void exit_statuses(void **state) {
    (void)state;
    assert_int_equal(RUN("train"), 2);
    assert_int_equal(RUN("train", "small.json", "--no-report", "--treads", "2"), 2);
    assert_int_equal(RUN("train", "small.json", "--no-report", "--threads", "none"), 2);
    assert_int_equal(RUN("train", "nowhere.json"), 1);
    assert_int_equal(RUN("eval", "nowhere"), 1);
    assert_int_equal(RUN("trane"), 2);
    assert_int_equal(RUN("train", "--help"), 0);
    // Weights that leave the range of float: the run notices.
    assert_int_equal(RUN("train", "small.json", "--no-report", "optim.weights=[{\"sgd\": {\"rate\": 1000}}]",
                         "--out", "far"),
                     3);
    // Another config does not go on with this checkpoint.
    assert_int_equal(RUN("train", "small.json", "--no-report", "epochs=13", "--out", "one", "--resume"), 1);
    size_t size;
    char *log = (char *)content(&size, "log.txt");
    assert_string_equal(
        log,
        "tally: one/checkpoint.safetensors: made with another config: train.epochs is 12 there, 13 here\n");
    mem_free(log);
}

// A checkpoint that is cut anywhere, or has one byte changed in its header, is refused with a message or loads.
static void broken_checkpoints(void **state) {
    (void)state;
    size_t size;
    struct err e;
    unsigned char *bytes = content(&size, "one/checkpoint.safetensors");
    assert_int_equal(file_make_folder("broken", &e), 0);
    for (size_t cut = 0; cut < size; cut += size / 23) {
        assert_int_equal(file_write_bytes("broken/checkpoint.safetensors", bytes, cut, &e), 0);
        struct run r;
        assert_int_equal(saved_open(&r, "broken", NULL, &e), -1);
        run_close(&r);
        assert_true(strlen(e.text) > 20);
    }
    for (size_t at = 0; at < 4000; at += 37) {
        bytes[at] ^= 0x15;
        assert_int_equal(file_write_bytes("broken/checkpoint.safetensors", bytes, size, &e), 0);
        struct run r;
        saved_open(&r, "broken", NULL, &e);
        run_close(&r);
        bytes[at] ^= 0x15;
    }
    mem_free(bytes);
}

// --- no malloc in a step ----------------------------------------------------------------------------------------

#if defined(__GLIBC__) && !defined(TALLY_HOSTILE)
extern void *__libc_malloc(size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_calloc(size_t count, size_t size);
static volatile long allocations;

void *malloc(size_t size) {
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_memalign(alignment, size);
}

static void no_malloc_in_a_step(void **state) {
    (void)state;
    struct err e;
    struct config config;
    struct run r;
    const struct run_options options = {.threads = 2};
    assert_int_equal(config_open(&config, "small.json", NULL, 0, &e), 0);
    assert_int_equal(run_open(&r, &config, &options, &e), 0);
    optim_epoch(r.optim, 0, 12);
    run_step(&r); // the arenas and OpenMP's threads come into being
    long before = allocations;
    for (int i = 0; i < 15; i++) run_step(&r);
    assert_int_equal(allocations - before, 0);
    mem_free(mem_new(1, 1));
    assert_int_equal(allocations - before, 1); // the counter does count
    run_close(&r);
}
#else
static void no_malloc_in_a_step(void **state) {
    (void)state;
    print_message("skipped: sanitizers have their own malloc\n");
    skip();
}
#endif

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "run-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    return mkdtemp(folder) && chdir(folder) == 0 ? file_write_text("small.json", config_text, &e) : -1;
}

static int folder_remove(void **state) {
    (void)state;
    return system("rm -rf \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(stop_and_resume),
        cmocka_unit_test(resumed_at_the_end),
        cmocka_unit_test(fallback),
        cmocka_unit_test(run_folder),
        cmocka_unit_test(eval_agrees),
        cmocka_unit_test(exit_statuses),
        cmocka_unit_test(broken_checkpoints),
        cmocka_unit_test(no_malloc_in_a_step),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
