// Bad configs: each row is a config that is wrong in one way, and the exact line a user reads. What is wrong with the
// files of a data set is in test_mnist.c, with JSON itself in test_json.c.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "experiments/run.h"
#include "src/file.h"
#include "tests/check.h"

// A config is put together from a whole one, of which a row changes a part.
#define DATA "\"data\": {\"set\": {\"digits\": {\"train\": 100, \"test\": 20}}, \"validation\": 10}"
#define MODEL "\"model\": [\"flatten\", {\"linear\": {\"out\": 10}}]"
#define OPTIM "\"optim\": {\"weights\": [\"counter\"], \"others\": [\"adam\"]}"
#define WITH_DATA(data) "{" data ", " MODEL ", " OPTIM "}"
#define WITH_MODEL(model) "{" DATA ", \"model\": " model ", " OPTIM "}"
#define WITH_OPTIM(optim) "{" DATA ", " MODEL ", \"optim\": " optim "}"
#define WITH_WEIGHTS(stages) WITH_OPTIM("{\"weights\": " stages ", \"others\": [\"adam\"]}")
#define WITH_SPARSITY(options) \
    WITH_OPTIM("{\"weights\": [\"counter\"], \"others\": [\"adam\"], \"sparsity\": " options "}")
#define WITH_TRAIN(train) "{" DATA ", " MODEL ", " OPTIM ", \"train\": " train "}"
#define GOOD "{" DATA ", " MODEL ", " OPTIM "}"

struct row {
    const char *config, *override, *message;
};

static const struct row rows[] = {
#include "tests/errors.inc"
};

// The message of opening the row's config as `bad.json` in the current folder; "" when it opens.
static void message_of(struct err *e, const struct row *row) {
    struct config config = {0};
    struct run run = {0};
    const struct run_options options = {.threads = 1};
    const char *const overrides[] = {row->override};
    e->text[0] = 0;
    assert_int_equal(file_write_text("bad.json", row->config, e), 0);
    if (config_open(&config, "bad.json", overrides, row->override ? 1 : 0, e) == 0)
        run_open(&run, &config, &options, e);
    run_close(&run);
    config_close(&config);
}

static void every_row(void **state) {
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e;
        message_of(&e, &rows[i]);
        if (strcmp(e.text, rows[i].message) == 0) continue;
        print_error("row %zu: %s %s\n  found  %s\n  wanted %s\n", i, rows[i].config,
                    rows[i].override ? rows[i].override : "", e.text, rows[i].message);
        failed++;
    }
    assert_int_equal(failed, 0);
    assert_true(sizeof rows / sizeof *rows >= 40);
}

static void missing_config(void **state) {
    (void)state;
    struct config config;
    struct err e;
    assert_int_equal(config_open(&config, "nowhere.json", NULL, 0, &e), -1);
    config_close(&config);
    assert_string_equal(e.text, "nowhere.json: No such file or directory");
}

static void good_config(void **state) {
    (void)state;
    struct err e;
    const struct row row = {GOOD, NULL, ""};
    message_of(&e, &row);
    assert_string_equal(e.text, "");
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "errors-XXXXXX";
    unsetenv("TALLY_DATA");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int folder_remove(void **state) {
    (void)state;
    char folder[4096];
    unlink("bad.json");
    return getcwd(folder, sizeof folder) && chdir("..") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_config),
        cmocka_unit_test(missing_config),
        cmocka_unit_test(every_row),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
