// Results of a comparison: estimates, the exact CSV, JSON and table of a small made-up one; runs that are put together
// and those that are refused.
#include <unistd.h>

#include "experiments/results.h"
#include "experiments/train.h"
#include "src/file.h"
#include "tests/check.h"

enum { PATH = 200, MEMBERS = sizeof(struct measures) / sizeof(double) };

// In place of the C library's: a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

static char *content_new(const char *path) {
    size_t size;
    struct err e = {""};
    char *text = (char *)file_read_new(&size, path, 1 << 20, &e);
    if (!text) fail_msg("%s", e.text);
    return text;
}

// Two variants: the second has one run, and a name that needs quotes.
struct made_up {
    struct results results;
    struct variant variants[2];
    struct result_run runs[3];
};

static void make_up(struct made_up *u) {
    static const double errors[MEASURES_CUTS] = {1.5, 3, 6, 12.5, 25, 50, 90};
    memset(u, 0, sizeof *u);
    u->results = (struct results){"both", "digits", u->variants, 2};
    u->variants[0] = (struct variant){"square", u->runs, 2};
    u->variants[1] = (struct variant){"a \"b\", größer", u->runs + 2, 1};
    for (int i = 0; i < 3; i++) {
        struct measures *m = &u->runs[i].measures;
        for (int k = 0; k < MEMBERS; k++) ((double *)m)[k] = k + 10 * i;
        u->runs[i].seed = i == 1 ? 9007199254740991 : i;
        snprintf(u->runs[i].folder, RESULTS_FOLDER, "runs/%d", i);
        m->test_error = 1.5 + i;
        m->density = 1.0 / 3;
        m->entropy_bytes = 12345.25;
        for (int k = 0; k < MEASURES_CUTS; k++) m->pruned_error[k] = errors[k];
        m->steps_to_goal[2] = i == 0 ? 1200 : NAN;
    }
}

static const struct column *column_at(size_t offset) {
    const struct column *c = results_columns;
    while (c->key && c->offset != offset) c++;
    if (!c->key) fail_msg("no column at %zu", offset);
    return c;
}

// Every member has one column, in the struct's order, and its own key and title.
static void columns(void **state) {
    (void)state;
    int count = 0;
    for (const struct column *c = results_columns; c->key; c++, count++) {
        assert_int_equal(c->offset, (size_t)count * sizeof(double));
        for (const struct column *d = results_columns; d < c; d++)
            assert_true(strcmp(c->key, d->key) != 0 && strcmp(c->title, d->title) != 0);
        assert_int_equal(c->timing, c->offset == offsetof(struct measures, step_seconds));
    }
    assert_int_equal(count, MEMBERS);
    for (int i = 0; i < MEASURES_CUTS; i++) {
        char key[40];
        snprintf(key, sizeof key, "pruned_error_%g", measures_cut[i]);
        assert_string_equal(
            column_at(offsetof(struct measures, pruned_error) + (size_t)i * sizeof(double))->key, key);
    }
    for (int i = 0; i < MEASURES_GOALS; i++) {
        char key[40];
        snprintf(key, sizeof key, "steps_to_%g", measures_goal[i]);
        assert_string_equal(
            column_at(offsetof(struct measures, steps_to_goal) + (size_t)i * sizeof(double))->key, key);
    }
}

static void estimates(void **state) {
    (void)state;
    struct result_run runs[4] = {0};
    struct variant v = {"x", runs, 4};
    const struct column *c = column_at(offsetof(struct measures, gini));
    runs[0].measures.gini = 1, runs[1].measures.gini = 2, runs[2].measures.gini = NAN,
    runs[3].measures.gini = 6;
    struct estimate s = results_estimate(&v, c);
    assert_int_equal(s.n, 3);
    assert_near(s.mean, 3, 1e-15);
    assert_near(s.error, sqrt((4 + 1 + 9) / 2.0 / 3), 1e-15);
    v.count = 1;
    s = results_estimate(&v, c);
    assert_true(s.n == 1 && s.mean == 1 && s.error == 0);
    runs[0].measures.gini = NAN;
    s = results_estimate(&v, c);
    assert_true(s.n == 0 && isnan(s.mean) && isnan(s.error));
}

static void csv(void **state) {
    struct made_up u;
    char folder[PATH], path[PATH + 20];
    struct err e = {""};
    make_up(&u);
    snprintf(folder, PATH, "%s/new", (char *)*state);
    snprintf(path, sizeof path, "%s/results.csv", folder);
    assert_int_equal(results_save(&u.results, folder, &e), 0);
    char *text = content_new(path);
    assert_string_equal(
        text,
        "variant,seed,test_error,validation_error,weights,nonzero,density,density_0p1,density_1,"
        "norm_top_1,norm_top_5,gini,hoyer,kurtosis,pruned_error_0.5,pruned_error_0.2,pruned_error_0.1,"
        "pruned_error_0.05,pruned_error_0.02,pruned_error_0.01,pruned_error_0.005,"
        "steps_to_5,steps_to_3,steps_to_2,entropy_bytes,state_bytes,test_loss,validation_loss,"
        "pruned_loss_0.5,pruned_loss_0.2,pruned_loss_0.1,pruned_loss_0.05,pruned_loss_0.02,pruned_loss_0.01,"
        "pruned_loss_0.005,step_seconds\n"
        "square,0,1.5,1,2,3,0.333333333,5,6,7,8,9,10,11,1.5,3,6,12.5,25,50,90,19,20,1200,12345.25,23,"
        "24,25,26,27,28,29,30,31,32,33\n"
        "square,9007199254740991,2.5,11,12,13,0.333333333,15,16,17,18,19,20,21,1.5,3,6,12.5,25,50,90,"
        "29,30,,12345.25,33,34,35,36,37,38,39,40,41,42,43\n"
        "\"a \"\"b\"\", größer\",2,3.5,21,22,23,0.333333333,25,26,27,28,29,30,31,1.5,3,6,12.5,25,50,90,"
        "39,40,,12345.25,43,44,45,46,47,48,49,50,51,52,53\n");
    mem_free(text);
    assert_int_equal(results_save(&u.results, path, &e), -1); // a file, not a folder
    char message[PATH * 2];
    snprintf(message, sizeof message, "%s: not a folder", path);
    assert_string_equal(e.text, message);
}

// Where no run has an error its loss stands for it; one run that has errors is enough for them.
static void losses(void **state) {
    (void)state;
    struct made_up u;
    make_up(&u);
    assert_true(results_have_errors(&u.results));
    assert_string_equal(results_column(&u.results, "pruned_error_0.1")->key, "pruned_error_0.1");
    for (int i = 0; i < 3; i++) u.runs[i].measures.test_error = NAN;
    assert_false(results_have_errors(&u.results));
    assert_string_equal(results_column(&u.results, "test_error")->key, "test_loss");
    assert_string_equal(results_column(&u.results, "validation_error")->key, "validation_loss");
    assert_string_equal(results_column(&u.results, "density")->key, "density");
    const struct column *first = results_column(&u.results, "pruned_error_0.5");
    for (int i = 0; i < MEASURES_CUTS; i++) {
        char key[40];
        snprintf(key, sizeof key, "pruned_loss_%g", measures_cut[i]);
        assert_string_equal(first[i].key, key);
        assert_int_equal(first[i].offset,
                         offsetof(struct measures, pruned_loss) + (size_t)i * sizeof(double));
    }
    u.runs[2].measures.test_error = 3;
    assert_true(results_have_errors(&u.results));
}

static void json(void **state) {
    struct made_up u;
    char path[PATH];
    struct err e = {""};
    make_up(&u);
    assert_int_equal(results_save(&u.results, *state, &e), 0);
    snprintf(path, PATH, "%s/results.json", (char *)*state);
    struct json *root = json_load_new(path, 1 << 20, &e);
    if (!root) fail_msg("%s", e.text);
    assert_string_equal(json_string(json_find(root, "name")), "both");
    assert_string_equal(json_string(json_find(root, "dataset")), "digits");
    const struct json *variants = json_find(root, "variants");
    assert_int_equal(json_count(variants), 2);
    assert_string_equal(json_string(json_at(variants, "1.name")), "a \"b\", größer");
    assert_int_equal(json_count(json_at(variants, "0.runs")), 2);
    assert_true(json_number(json_at(variants, "0.runs.1.seed")) == 9007199254740991.0);
    assert_string_equal(json_string(json_at(variants, "0.runs.1.folder")), "runs/1");
    struct measures m;
    assert_int_equal(measures_read(&m, json_at(variants, "0.runs.1.measures"), "", &e), 0);
    assert_true(m.test_error == 2.5 && isnan(m.steps_to_goal[2]) && m.density == 1.0 / 3);
    const struct json *estimate = json_at(variants, "0.estimates.test_error");
    assert_near(json_number(json_find(estimate, "mean")), 2, 0);
    assert_near(json_number(json_find(estimate, "error")), 0.5, 1e-15);
    assert_near(json_number(json_find(estimate, "n")), 2, 0);
    estimate = json_at(variants, "1.estimates.steps_to_2");
    assert_int_equal(json_type(json_find(estimate, "mean")), JSON_NULL);
    assert_int_equal(json_type(json_find(estimate, "error")), JSON_NULL);
    assert_near(json_number(json_find(estimate, "n")), 0, 0);
    assert_int_equal(json_count(json_at(variants, "0.estimates")), MEMBERS);
    json_free(root);
}

// What results_print writes; mem_free it.
static char *printed_new(const struct results *r, const char *folder) {
    char path[PATH];
    snprintf(path, PATH, "%s/out.txt", folder);
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    FILE *f = fopen(path, "w");
    assert_true(f && dup2(fileno(f), STDOUT_FILENO) >= 0);
    results_print(r);
    fflush(stdout);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    close(before);
    fclose(f);
    return content_new(path);
}

static void table(void **state) {
    struct made_up u;
    make_up(&u);
    char *text = printed_new(&u.results, *state);
    assert_string_equal(
        text,
        "variant        runs  test error %  density  at 10 %  at 2 %    Gini  norm of top 1 %   bytes    "
        "steps to 2 %  pruning\n"
        "square            2   2.00 ± 0.50   0.3333     6.00   25.00  14.000           12.000  12,345  "
        "1,200 (1 of 2)  ▁▂▃▅▆▇█\n"
        "a \"b\", größer     1   3.50 ± 0.00   0.3333     6.00   25.00  29.000           27.000  12,345  "
        "             -  ▁▂▃▅▆▇█\n\n"
        "at 10 %, at 2 %, pruning: test error % with so many of all weights kept, and no training after; the "
        "curve\nis for 50, 20, 10, 5, 2, 1 and 0.5 %, its height the logarithm of the error, from 1.50 to "
        "90.00 %\n");
    mem_free(text);
    // A number of 300 digits is cut to its cell.
    u.runs[0].measures.test_error = u.runs[0].measures.steps_to_goal[2] = 1e308;
    text = printed_new(&u.results, *state);
    assert_non_null(strstr(text, "  12,345  "));
    assert_non_null(
        strstr(text, "         3.50 ± 0.00   0.3333     6.00   25.00  29.000           27.000  12,345  "));
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        assert_true(strcspn(line, "\n") < 1000);
    mem_free(text);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < MEMBERS; k++) ((double *)&u.runs[i].measures)[k] = NAN;
    u.results.count = 1;
    text = printed_new(&u.results, *state);
    assert_string_equal(text, "variant  runs  test error %  density  at 10 %  at 2 %  Gini  norm of top 1 %  "
                              "bytes  steps to 2 %  pruning\n"
                              "square      2             -        -        -       -     -                -  "
                              "    -             -  -------\n");
    mem_free(text);
}

// --- real runs --------------------------------------------------------------------------------------------------

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 30, \"test\": 20}}, \"validation\": "
    "6}, \"model\": [\"flatten\", {\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [\"sgd\"], \"others\": [\"sgd\"]}, "
    "\"train\": {\"epochs\": 1, \"batch\": 8, \"shards\": 2}}";

enum { RUNS = 4 };

// Runs a-1, a-2, b-1 and "stop", made in the test's folder; paths in folders[].
struct made {
    char folder[RUNS][PATH];
};

static void run_make(char path[PATH], const char *parent, const char *folder, const char *name,
                     const char *seed, bool stop) {
    struct config config;
    struct run r;
    struct err e = {""};
    const struct run_options options = {.threads = 1};
    const volatile sig_atomic_t stopped = stop;
    enum train_status status;
    struct json *root = json_of(config_text), *summary = NULL;
    snprintf(path, PATH, "%s/%s", parent, folder);
    const struct train_options training = {.folder = path, .quiet = true, .stop = &stopped};
    memset(&config, 0, sizeof config);
    if (json_override(root, name, &e) != 0 || json_override(root, seed, &e) != 0 ||
        config_open_json(&config, root, "small.json", &e) != 0 || run_open(&r, &config, &options, &e) != 0 ||
        file_make_folder(path, &e) != 0 || train(&r, &training, &status, &summary, &e) != 0)
        fail_msg("%s", e.text);
    json_free(summary);
    run_close(&r);
}

static void runs_make(struct made *made, const char *parent) {
    run_make(made->folder[0], parent, "a-1", "name=a", "seed=1", false);
    run_make(made->folder[1], parent, "a-2", "name=a", "seed=2", false);
    run_make(made->folder[2], parent, "b-1", "name=b", "seed=1", false);
    run_make(made->folder[3], parent, "stop", "name=b", "seed=2", true);
}

static void summary_change(const char *folder, const char *assignment) {
    char path[PATH + 20];
    struct err e = {""};
    snprintf(path, sizeof path, "%s/summary.json", folder);
    struct json *s = json_load_new(path, 1 << 20, &e);
    if (!s || json_override(s, assignment, &e) != 0) fail_msg("%s", e.text);
    char *text = json_print_new(s, true);
    assert_int_equal(file_write_text(path, text, &e), 0);
    mem_free(text);
    json_free(s);
}

// results_new fails with "FOLDER: MESSAGE", where FOLDER is the last of the folders.
static void refused(const char *const *folders, int count, const char *message) {
    struct err e = {""};
    char wanted[1024];
    snprintf(wanted, sizeof wanted, "%s: %s", folders[count - 1], message);
    assert_null(results_new("x", folders, count, NULL, &e));
    assert_string_equal(e.text, wanted);
}

static void put_together(void **state) {
    struct made made;
    struct err e = {""};
    runs_make(&made, *state);
    const struct run_options options = {.threads = 1};
    const char *folders[] = {made.folder[2], made.folder[1], made.folder[0]};
    struct results *r = results_new("test", folders, 3, &options, &e);
    if (!r) fail_msg("%s", e.text);
    assert_string_equal(r->name, "test");
    assert_string_equal(r->dataset, "digits");
    assert_int_equal(r->count, 2);
    assert_string_equal(r->variants[0].name, "b");
    assert_string_equal(r->variants[1].name, "a");
    assert_int_equal(r->variants[0].count, 1);
    assert_int_equal(r->variants[1].count, 2);
    assert_int_equal(r->variants[1].runs[0].seed, 2);
    assert_int_equal(r->variants[1].runs[1].seed, 1);
    assert_string_equal(r->variants[1].runs[1].folder, made.folder[0]);
    assert_near(r->variants[1].runs[1].measures.weights, 7840, 0);
    char *text = printed_new(r, *state);
    assert_non_null(strstr(text, "\nb           1  "));
    assert_non_null(strstr(text, "at 10 %, at 2 %, pruning: test error % with so many of all weights kept"));
    mem_free(text);
    results_free(r);
    results_free(NULL);
    // The same bits twice: b's name does not matter to its weights, only its seed.
    char path[2][PATH + 20];
    for (int i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], "%s/measures.json", made.folder[i ? 2 : 0]);
    struct json *a = json_load_new(path[0], 1 << 16, &e), *b = json_load_new(path[1], 1 << 16, &e);
    assert_true(a && b && json_override(a, "step_seconds=1", &e) == 0 &&
                json_override(b, "step_seconds=1", &e) == 0);
    assert_true(json_equal(a, b));
    json_free(a);
    json_free(b);
    // A dead run has finished too.
    summary_change(made.folder[0], "status=dead");
    r = results_new("test", folders, 3, &options, &e);
    assert_non_null(r);
    results_free(r);
}

static void refusals(void **state) {
    struct made made;
    char message[PATH + 80];
    runs_make(&made, *state);
    const char *const pair[] = {made.folder[0], made.folder[2]};
    refused((const char *const[]){"nowhere"}, 1, "no finished run here");
    refused((const char *const[]){made.folder[0], *state}, 2, "no finished run here");
    refused((const char *const[]){made.folder[0], made.folder[3]}, 2,
            "no finished run here, it is 'interrupted'");
    snprintf(message, sizeof message, "'a' with seed 1 is given twice, first as %s", made.folder[0]);
    refused((const char *const[]){made.folder[0], made.folder[1], made.folder[0]}, 3, message);
    static const struct {
        const char *change, *message;
    } cases[] = {
        {"dataset=mnist", "trained on 'mnist', the others on 'digits'"},
        {"dataset=", "summary.json: dataset is not a name"},
        {"dataset=7", "summary.json: dataset is not a name"},
        {"dataset=digits", NULL},
        {"seed=1.5", "summary.json: seed: wanted a whole number, found 1.5"},
        {"seed=-1", "summary.json: seed: -1 is not in 0 .. 9223372036854775807"},
        {"seed=null", "summary.json: seed: wanted a whole number, found null"},
        {"seed=1", NULL},
        {"status=diverged", "no finished run here, it is 'diverged'"},
        {"status=[]", "summary.json: status is not a name"},
        {"status=finished", NULL},
        {"name={}", "summary.json: name is not a name"},
        {"name=\"\\u001b[2J\"", "summary.json: name is not a name"}, // it would clear the screen
        {"name=\"a\\u007f\"", "summary.json: name is not a name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        summary_change(made.folder[2], cases[i].change);
        if (cases[i].message) refused(pair, 2, cases[i].message);
    }
    char path[PATH + 20];
    struct err e = {""};
    snprintf(path, sizeof path, "%s/summary.json", made.folder[2]);
    assert_int_equal(file_write_text(path, "{", &e), 0);
    assert_null(results_new("x", pair, 2, NULL, &e));
    char wanted[PATH + 80];
    snprintf(wanted, sizeof wanted, "%s: line 1, column 1: not valid JSON here", path);
    assert_string_equal(e.text, wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns), cmocka_unit_test(losses), cmocka_unit_test(estimates), IN_FOLDER(csv),
        IN_FOLDER(json),           IN_FOLDER(table),         IN_FOLDER(put_together),     IN_FOLDER(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
