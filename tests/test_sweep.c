// Sweeps: what KEY=VALUES means and how it may be wrong, the order of the grid, random draws, and the whole verb on tiny
// runs, sorted by validation error.
#include <sys/wait.h>
#include <unistd.h>

#include "experiments/sweep.h"
#include "src/file.h"
#include "tests/check.h"

static void good_values(void **state) {
    (void)state;
    static const struct {
        const char *assignment, *values; // one per word
    } cases[] = {
        {"rate=0.01", "0.01"},
        {"rate=0.01,0.03,1e-1", "0.01 0.03 1e-1"},
        {"map=square,exp", "square exp"},
        {"leak=0..1:lin:3", "0 0.5 1"},
        {"leak=-1..1:lin:2", "-1 1"},
        {"epochs=10..30:lin:3", "10 20 30"},
        {"rate=1e-3..1e-1:log:5", "0.001 0.00316228 0.01 0.0316228 0.1"},
        {"data.folder=../data", "../data"},
        {"optim.weights=[\"clip\",\"sgd\"],[{\"adam\":{\"rate\":1}}]",
         "[\"clip\",\"sgd\"] [{\"adam\":{\"rate\":1}}]"},
        {"data.set=\"a,]\",b", "\"a,]\" b"},
        {"x=a=b", "a=b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sweep s = {0};
        struct err e = {""};
        if (sweep_add(&s, cases[i].assignment, false, &e) != 0) fail_msg("%s", e.text);
        char text[256] = "";
        for (int k = 0; k < s.axes[0].count; k++)
            snprintf(text + strlen(text), 200, "%s%s", k ? " " : "", s.axes[0].values[k]);
        assert_string_equal(text, cases[i].values);
        sweep_free(&s);
    }
}

static void bad_values(void **state) {
    (void)state;
    static const struct {
        const char *assignment, *message;
    } cases[] = {
        {"rate", "'rate': wanted key=values, for example rate=0.01,0.03"},
        {"=1", "'=1': wanted key=values, for example rate=0.01,0.03"},
        {"rate=", "rate=: an empty value"},
        {"rate=1,,2", "rate=1,,2: an empty value"},
        {"rate=1,2,", "rate=1,2,: an empty value"},
        {"rate=1,2,1", "rate=1,2,1: 1 is given twice"},
        {"rate=0..1", "rate=0..1: a range is written a..b:log:n or a..b:lin:n"},
        {"rate=0..1:sin:3", "rate=0..1:sin:3: a range is written a..b:log:n or a..b:lin:n"},
        {"rate=0..1:linear:3", "rate=0..1:linear:3: a range is written a..b:log:n or a..b:lin:n"},
        {"rate=0..1:lin", "rate=0..1:lin: how many points? a..b:lin:n, or --trials N"},
        {"rate=1..2:log", "rate=1..2:log: how many points? a..b:log:n, or --trials N"},
        {"rate=0..1:lin:", "rate=0..1:lin:: '' points, wanted 2 .. 1000"},
        {"rate=0..1:lin:1", "rate=0..1:lin:1: '1' points, wanted 2 .. 1000"},
        {"rate=0..1:lin:2.5", "rate=0..1:lin:2.5: '2.5' points, wanted 2 .. 1000"},
        {"rate=0..1:lin:1001", "rate=0..1:lin:1001: '1001' points, wanted 2 .. 1000"},
        {"rate=0..1:log:3", "rate=0..1:log:3: log wants a range above 0"},
        {"rate=1..0.5:lin:3", "rate=1..0.5:lin:3: 1 is not below 0.5"},
        {"rate=a..1:lin:3", "rate=a..1:lin:3: 'a' is not a number"},
        {"rate=0..:lin:3", "rate=0..:lin:3: '' is not a number"},
        {"rate=0..inf:lin:3", "rate=0..inf:lin:3: 'inf' is not a number"},
        {"rate=1..1.0000001:lin:3", "rate=1..1.0000001:lin:3: 1 is given twice"},
        {"leak=1,2", "leak: given twice"},
        {"name=a,b", "name: is made of the values"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sweep s = {0};
        struct err e = {""};
        assert_int_equal(sweep_add(&s, "leak=0.1", false, &e), 0);
        assert_int_equal(sweep_add(&s, cases[i].assignment, false, &e), -1);
        assert_string_equal(e.text, cases[i].message);
        sweep_free(&s);
    }
}

static void add(struct sweep *s, const char *assignment, bool random) {
    struct err e;
    if (sweep_add(s, assignment, random, &e) != 0) fail_msg("%s", e.text);
}

static void grid(void **state) {
    (void)state;
    struct sweep s = {0};
    struct err e;
    assert_int_equal(sweep_grid(&s, &e), -1);
    assert_string_equal(e.text, "nothing to sweep: give a key several values, for example rate=0.01,0.03");
    add(&s, "optim.weights.0.sgd.rate=1,2", false);
    add(&s, "train.epochs=5", false);
    add(&s, "leak=0.1,0.2,0.3", false);
    assert_int_equal(sweep_grid(&s, &e), 0);
    assert_int_equal(s.trial_count, 6);
    static const char *const names[] = {"rate=1,leak=0.1", "rate=1,leak=0.2", "rate=1,leak=0.3",
                                        "rate=2,leak=0.1", "rate=2,leak=0.2", "rate=2,leak=0.3"};
    for (int i = 0; i < 6; i++) {
        assert_string_equal(s.trials[i].name, names[i]);
        assert_string_equal(s.trials[i].values[1], "5");
    }
    sweep_free(&s);
    add(&s, "a=0..1:lin:11", false);
    add(&s, "b=0..1:lin:11", false);
    add(&s, "c=0..1:lin:11", false);
    assert_int_equal(sweep_grid(&s, &e), -1);
    assert_string_equal(e.text,
                        "1331 combinations, at most 1000; give fewer values, or draw some with --trials N");
    sweep_free(&s);
}

// Keys that end alike keep their whole path; what no file may be named is replaced, and stays distinct.
static void names(void **state) {
    (void)state;
    struct sweep s = {0};
    struct err e;
    add(&s, "a.rate=1,2", false);
    add(&s, "b.rate=[\"x/y\"],[\"x y\"]", false);
    assert_int_equal(sweep_grid(&s, &e), 0);
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(s.trials[i].name, i < 2 ? "a.rate=1,b.rate=--x-y---" : "a.rate=2,b.rate=--x-y---",
                            24);
        for (int j = 0; j < i; j++) assert_string_not_equal(s.trials[i].name, s.trials[j].name);
    }
    sweep_free(&s);
}

static void draws(void **state) {
    (void)state;
    struct sweep s[3] = {{.count = 0}};
    struct err e;
    for (int i = 0; i < 3; i++) {
        add(&s[i], "rate=1e-4..1:log", true);
        add(&s[i], "leak=0.5..0.75:lin:3", true);
        add(&s[i], "map=square,exp", true);
        assert_int_equal(sweep_draw(&s[i], 200, i == 2 ? 8 : 7, &e), 0);
    }
    assert_int_equal(s[0].trial_count, 200);
    int below = 0, squares = 0, same = 0;
    for (int i = 0; i < 200; i++) {
        const struct sweep_trial *t = &s[0].trials[i];
        double rate = atof(t->values[0]), leak = atof(t->values[1]);
        assert_true(rate >= 1e-4 && rate <= 1 && leak >= 0.5 && leak <= 0.75);
        below += rate < 1e-2;
        squares += strcmp(t->values[2], "square") == 0;
        assert_string_equal(t->name, s[1].trials[i].name);
        same += strcmp(t->name, s[2].trials[i].name) == 0;
    }
    assert_true(below > 70 && below < 130 && squares > 70 && squares < 130); // half of them, within 4 sigma
    assert_int_equal(same, 0);                                               // another seed, other draws
    for (int i = 0; i < 3; i++) sweep_free(&s[i]);
    add(&s[0], "map=square,exp", true);
    assert_int_equal(sweep_draw(&s[0], 50, 1, &e), 0);
    assert_int_equal(s[0].trial_count, 2); // equal draws once
    sweep_free(&s[0]);
}

// --- the verb ---------------------------------------------------------------------------------------------------

static const char config_text[] =
    "{\"data\": {\"set\": {\"digits\": {\"train\": 300, \"test\": 50}}, \"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 20}}, \"relu\", {\"linear\": {\"out\": 20}}, \"relu\", "
    "{\"linear\": {\"out\": 20}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"sgd\": {\"rate\": 0.01}}], \"others\": [\"adam\"]},\n"
    " \"train\": {\"epochs\": 4, \"batch\": 50, \"shards\": 1}}\n";

static int run(const char *folder, const char *words) {
    char command[4096];
    snprintf(command, sizeof command, "cd %s && '%s' sweep %s >out.txt 2>err.txt", folder, TEST_PROGRAM,
             words);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *content(const char *folder, const char *name) {
    char path[256];
    size_t size;
    struct err e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unsigned char *text = file_read_new(&size, path, 1 << 20, &e);
    if (!text) fail_msg("%s", e.text);
    return (char *)text;
}

static void assert_says(const char *folder, const char *wanted) {
    char *text = content(folder, "err.txt");
    assert_string_equal(text, wanted);
    mem_free(text);
}

static void config_make(const char *folder) {
    char path[256];
    struct err e;
    snprintf(path, sizeof path, "%s/tiny.json", folder);
    assert_int_equal(file_write_text(path, config_text, &e), 0);
}

static void whole_sweep(void **state) {
    const char *folder = *state;
    config_make(folder);
    assert_int_equal(run(folder, "tiny.json sgd.rate=0.0001,1000,0.05 --json"), 0);
    char *text = content(folder, "out.txt"), *saved = content(folder, "runs/sweep-tiny/sweep.json");
    struct json *results = json_of(text), *file = json_of(saved);
    assert_true(json_equal(results, file));
    assert_null(strstr(text, "test"));
    const struct json *runs = json_find(results, "runs");
    assert_int_equal(json_count(runs), 3);
    static const char *const order[] = {"rate=0.05", "rate=0.0001", "rate=1000"};
    double last = -1;
    for (int i = 0; i < 3; i++) {
        const struct json *r = json_item(runs, i), *error = json_find(r, "validation_error");
        assert_string_equal(json_string(json_find(r, "name")), order[i]);
        assert_string_equal(json_string(json_find(r, "status")), i < 2 ? "finished" : "diverged");
        if (i == 2) continue;
        assert_true(json_number(error) > last);
        last = json_number(error);
    }
    json_free(results);
    json_free(file);
    mem_free(text);
    mem_free(saved);
    text = content(folder, "runs/sweep-tiny/sweep.csv");
    static const char head[] = "name,status,validation_error,density,\"sgd.rate\"\n\"rate=0.05\",finished,";
    assert_memory_equal(text, head, strlen(head));
    assert_non_null(strstr(text, "\n\"rate=1000\",diverged,,"));
    mem_free(text);
}

static void bad_sweeps(void **state) {
    const char *folder = *state;
    config_make(folder);
    static const struct {
        const char *words, *message;
        int status;
    } cases[] = {
        {"tiny.json rate=1",
         "tally: nothing to sweep: give a key several values, for example rate=0.01,0.03\n", 1},
        {"tiny.json sgd.rate=1,2 data.validation=0",
         "tally: tiny.json: a sweep is sorted by validation error; set data.validation above 0\n", 1},
        {"tiny.json epochs=1,1.5", "tally: tiny.json: train.epochs: wanted a whole number, found 1.5\n", 1},
        {"nowhere.json rate=1,2", "tally: nowhere.json: No such file or directory\n", 1},
        {"rate=1,2", "tally: no config given; see 'tally sweep --help'\n", 2},
        {"tiny.json other.json", "tally: two configs: tiny.json and other.json; see 'tally sweep --help'\n",
         2},
        {"tiny.json --trials 0",
         "tally: --trials: '0' is not a whole number in 1 .. 1000; see 'tally sweep --help'\n", 2},
        {"tiny.json --tries 3", "tally: unknown option or missing value: --tries; see 'tally sweep --help'\n",
         2},
        {"--help", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run(folder, cases[i].words), cases[i].status);
        assert_says(folder, cases[i].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_values), cmocka_unit_test(bad_values), cmocka_unit_test(grid),
        cmocka_unit_test(names),       cmocka_unit_test(draws),      IN_FOLDER(whole_sweep),
        IN_FOLDER(bad_sweeps),
    };
    unsetenv("TALLY_DATA");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
