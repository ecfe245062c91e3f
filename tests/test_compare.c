// Comparing: compare configs that are wrong, each with its exact message; a whole compare of a small config through the
// program, stopped by kill -9 in the middle and started again; run folders that don't belong together.
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>

#include "experiments/compare.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

static const char base[] =
    "{\"data\": {\"set\": {\"digits\": {\"train\": 600, \"test\": 100}}, \"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 16}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03}}], \"others\": [\"adam\"]},\n"
    " \"train\": {\"epochs\": 6, \"batch\": 50}}\n";

static const char good[] =
    "{\"base\": \"base.json\", \"seeds\": 2, \"set\": {\"train.epochs\": 5}, \"variants\": {\n"
    " \"counter\": {}, \"leaky\": {\"optim.weights.0.counter.leak\": 0.05},\n"
    " \"sgd\": {\"optim.weights\": [{\"sgd\": {\"rate\": 0.05}}]}}}\n";

static const struct {
    const char *text, *only, *message;
} rows[] = {
    {"[", NULL, "bad.json: line 1, column 1: not valid JSON here"},
    {"{\"bse\": 1}", NULL, "bad.json: unknown key 'bse'; did you mean 'base'?"},
    {"{\"variants\": {\"a\": {}}}", NULL,
     "bad.json: base: must be given, a config such as \"../mnist.json\""},
    {"{\"base\": \"base.json\"}", NULL, "bad.json: variants: wanted an object of 1 to 100 variants"},
    {"{\"base\": \"base.json\", \"variants\": {}}", NULL,
     "bad.json: variants: wanted an object of 1 to 100 variants"},
    {"{\"base\": \"nowhere.json\", \"variants\": {\"a\": {}}}", NULL,
     "bad.json: nowhere.json: No such file or directory"},
    {"{\"base\": \"base.json\", \"seeds\": 0, \"variants\": {\"a\": {}}}", NULL,
     "bad.json: seeds: 0 is not in 1 .. 1000"},
    {"{\"base\": \"base.json\", \"variants\": {\"a\": 3}}", NULL,
     "bad.json: variants.a: wanted {\"path\": value}, found a number"},
    {"{\"base\": \"base.json\", \"variants\": {\"a\": {\"train.epochs\": 0}}}", NULL,
     "bad.json: variants.a: train.epochs: 0 is not in 1 .. 1000000"},
    {"{\"base\": \"base.json\", \"variants\": {\"a/b\": {}}}", NULL,
     "bad.json: variants.a/b: name: 'a/b' can't be a folder's name"},
    {"{\"base\": \"base.json\", \"variants\": {\"a\\u001bc\": {}}}", NULL, // it would clear the screen
     "bad.json: variants.a?c: name: 'a?c' can't be a folder's name"},
    {"{\"base\": \"base.json\", \"variants\": {\"sgd\": {}, \"adam\": {}}}", "sdg",
     "bad.json: variants: unknown variant 'sdg'; known: sgd, adam"},
};

static void bad_configs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = {""};
        struct compare c;
        const char *const only[] = {rows[i].only, NULL};
        assert_int_equal(file_write_text("bad.json", rows[i].text, &e), 0);
        assert_int_equal(compare_open(&c, "bad.json", "out", only, &e), -1);
        compare_close(&c);
        assert_string_equal(e.text, rows[i].message);
    }
}

static void jobs_of_a_config(void **state) {
    (void)state;
    struct err e;
    struct compare c;
    const char *const only[] = {"leaky", NULL};
    assert_int_equal(compare_open(&c, "good.json", "out", only, &e), 0);
    assert_string_equal(c.name, "good");
    assert_int_equal(c.jobs.count, 2);
    assert_string_equal(c.jobs.list[1].folder, "out/leaky-2");
    const struct json *config = c.jobs.list[1].config;
    assert_near(json_number(json_at(config, "optim.weights.0.counter.leak")), 0.05, 0);
    assert_near(json_number(json_at(config, "optim.weights.0.counter.rate")), 0.03, 0);
    assert_near(json_number(json_at(config, "seed")), 2, 0);
    assert_string_equal(json_string(json_at(config, "name")), "leaky");
    assert_near(json_number(json_at(config, "train.epochs")), 5, 0);
    compare_close(&c);
}

// The CSV without its last columns, which hold times.
static char *csv_without_times(const char *path) {
    size_t size, kept = 0;
    struct err e;
    char *text = (char *)file_read_new(&size, path, 1 << 20, &e);
    if (!text) fail_msg("%s", e.text);
    const char *header = strstr(text, ",step_seconds");
    assert_non_null(header);
    int columns = 0;
    for (const char *c = text; c < header; c++) columns += *c == ',';
    for (size_t i = 0, column = 0; i < size; i++) {
        if (text[i] == ',') column++;
        if (text[i] == '\n') column = 0;
        if (text[i] == '\n' || column <= (size_t)columns) text[kept++] = text[i];
    }
    text[kept] = 0;
    return text;
}

static void killed_and_started_again(void **state) {
    (void)state;
    assert_int_equal(RUN("compare", "good.json", "--out", "whole", "--quiet"), 0);
    pid_t child =
        program_start((const char *const[]){"compare", "good.json", "--out", "killed", "--quiet", NULL});
    siginfo_t info = {0};
    while (!file_exists("killed/leaky-1/config.json") &&
           waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid)
        usleep(300);
    kill(child, SIGKILL);
    assert_int_equal(program_end(child), -SIGKILL);
    assert_false(file_exists("killed/results.csv"));
    assert_int_equal(RUN("compare", "good.json", "--out", "killed", "--quiet"), 0);
    char *whole = csv_without_times("whole/results.csv"), *killed = csv_without_times("killed/results.csv");
    assert_string_equal(whole, killed);
    mem_free(whole);
    mem_free(killed);
    assert_true(file_exists("whole/report.html") && file_exists("whole/results.json"));
}

static void foreign_folders(void **state) {
    (void)state;
    static const struct {
        const char *folder, *message;
    } wrong[] = {
        {"nowhere", "tally: nowhere/summary.json: No such file or directory\n"},
        {"empty", "tally: empty/summary.json: No such file or directory\n"},
    };
    struct err e;
    assert_int_equal(file_make_folder("empty", &e), 0);
    assert_int_equal(RUN("compare", "whole/sgd-1", "whole/leaky-1", "--out", "two"), 0);
    assert_true(file_exists("two/results.csv"));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t size;
        assert_int_equal(RUN("compare", "whole/sgd-1", wrong[i].folder), 1);
        char *log = (char *)file_read_new(&size, "log.txt", 1 << 16, &e);
        print_message("%s", log);
        assert_true(strstr(log, wrong[i].folder) != NULL);
        mem_free(log);
    }
    assert_int_equal(RUN("compare"), 2);
    assert_int_equal(RUN("compare", "good.json", "--only", "none"), 1);
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "compare-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    return mkdtemp(folder) && chdir(folder) == 0 && file_write_text("base.json", base, &e) == 0
               ? file_write_text("good.json", good, &e)
               : -1;
}

static int folder_remove(void **state) {
    (void)state;
    return system("rm -rf \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configs),
        cmocka_unit_test(jobs_of_a_config),
        cmocka_unit_test(killed_and_started_again),
        cmocka_unit_test(foreign_folders),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
