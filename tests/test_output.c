// What the program prints and can't get rid of: a full disk behind stdout is exit status 1 and a message, for every verb
// whose result is there; a closed stdout, too, and no file gets what was meant for it.
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

enum { COMMAND = 1000 };

static const char config[] =
    "{\"data\": {\"set\": {\"digits\": {\"train\": 60, \"test\": 20}}, \"validation\": 20},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 8}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.05}}], \"others\": [\"adam\"]},\n"
    " \"train\": {\"epochs\": 2, \"batch\": 20, \"shards\": 2}}\n";

static const char *const rows[] = {
    "--version",
    "--help",
    "train --help",
    "train small.json --out out --no-report",
    "train small.json --out out --no-report --json",
    "eval run",
    "eval run --json",
    "inspect run",
    "inspect run run",
    "list",
    "list formats",
    "compare run other",
    "compare run other --json",
    "report run --out page",
    "sweep small.json seed=1,2 --out sweep",
    "sweep small.json seed=1,2 --out sweep --json",
    "export run -o out.tally",
    "export run -o out.tally --json",
    "infer run/small.tally --input '{\"digits\": {\"train\": 20, \"test\": 20}}'",
    "infer run/small.tally --input '{\"digits\": {\"train\": 20, \"test\": 20}}' --json",
    "infer run/small.tally --input x.npy",
    "bench --machine",
    "data digits train=10 test=10",
    "data digits train=10 test=10 --json",
    "data digits train=10 test=10 --png pictures",
};

// The exit status of the program with these words, its stdout led to `place` ("&-" closes it), stderr to err.txt.
static int into(const char *words, const char *place) {
    char command[COMMAND];
    snprintf(command, sizeof command, "'%s' %s 2>err.txt >%s", TEST_PROGRAM, words, place);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The last line on stderr; why, the system says only when it is asked last.
static void said_last(const char *words, const char *why) {
    size_t size;
    struct err e;
    char *text = (char *)file_read_new(&size, "err.txt", 1 << 20, &e), wanted[200];
    if (!text) fail_msg("%s", e.text);
    if (size) text[--size] = 0; // the end of the line
    char *last = strrchr(text, '\n') ? strrchr(text, '\n') + 1 : text;
    snprintf(wanted, sizeof wanted, "tally: standard output: %s", why);
    if (strcmp(last, wanted) != 0 && strcmp(last, "tally: standard output: not all could be written") != 0)
        fail_msg("%s: wanted '%s', found '%s'", words, wanted, last);
    mem_free(text);
}

static void full(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = into(rows[i], "/dev/full");
        if (status != 1) fail_msg("%s: exit status %d", rows[i], status);
        said_last(rows[i], "No space left on device");
    }
}

// Where nothing is printed nothing is lost; and a status that says more stays.
static void nothing_lost(void **state) {
    (void)state;
    assert_int_equal(into("train small.json --out out --no-report --quiet", "/dev/full"), 0);
    assert_int_equal(into("train small.json --out out --no-report --quiet", "&-"), 0);
    assert_int_equal(into("data", "/dev/full"), 2);
    static const char far[] =
        "train small.json --out far --no-report --json epochs=3 "
        "optim.weights='[{\"sgd\": {\"rate\": 1000}}]' "
        "model='[\"flatten\", {\"linear\": {\"out\": 16}}, {\"linear\": {\"out\": 16}}, "
        "{\"linear\": {\"out\": 10}}]'";
    assert_int_equal(into(far, "/dev/full"), 3);
    said_last("far", "No space left on device");
}

static void closed(void **state) {
    (void)state;
    struct err e;
    size_t size[2];
    assert_int_equal(into("train small.json --out open --no-report", "out.txt"), 0);
    assert_int_equal(into("train small.json --out closed --no-report", "&- <&-"), 1);
    said_last("closed", "Bad file descriptor");
    unsigned char *bytes[2] = {file_read_new(&size[0], "open/checkpoint.safetensors", 1 << 24, &e),
                               file_read_new(&size[1], "closed/checkpoint.safetensors", 1 << 24, &e)};
    assert_true(bytes[0] && bytes[1] && size[0] == size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    mem_free(bytes[0]);
    mem_free(bytes[1]);
    // Into which the table of this export would go, had its file the number of stdout.
    assert_int_equal(into("export run -o a.tally", "out.txt"), 0);
    assert_int_equal(into("export run -o b.tally", "&-"), 1);
    assert_true(file_bytes("a.tally") > 0 && file_bytes("a.tally") == file_bytes("b.tally"));
}

static int folder_make(void **state) {
    (void)state;
    struct err e;
    if (system("rm -rf output_test && mkdir output_test") != 0 || chdir("output_test") != 0) return -1;
    if (setenv("GOMP_SPINCOUNT", "1000", 1) != 0) return -1;
    if (file_write_text("small.json", config, &e) != 0) return -1;
    if (into("train small.json --out run", "out.txt") != 0) return -1;
    if (into("train small.json seed=2 --out other", "out.txt") != 0) return -1;
    if (into("export run", "out.txt") != 0) return -1;
    return into("eval run --inputs x.npy", "out.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full),
        cmocka_unit_test(nothing_lost),
        cmocka_unit_test(closed),
    };
    return cmocka_run_group_tests(tests, folder_make, NULL);
}
