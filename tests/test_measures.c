// Measures of a trained run: against numbers worked out by hand and against naive code; pruning leaves the run as it
// was; files that are broken or missing are told; the cache.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "experiments/measures.h"
#include "experiments/train.h"
#include "src/file.h"
#include "tests/check.h"

enum { PATH = 200, WEIGHTS = 7840, BIASES = 10 };

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 30, \"test\": 60}}, \"validation\": "
    "6}, \"model\": [\"flatten\", {\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [\"sgd\"], \"others\": [\"sgd\"]}, "
    "\"train\": {\"epochs\": 2, \"batch\": 8, \"shards\": 2}}";

#define COUNTED "optim.weights=[{\"counter\": {\"map\": \"square\", \"bits\": 16}}]"

static const char summary_text[] =
    "{\"test_error\": 12.5, \"validation_error\": null, \"samples_per_second\": 400}";
static const char metrics_text[] = "{\"epoch\": 1, \"validation_error\": 4}\n";

// In place of the C library's: a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

static void open_run(struct run *r, const char *change) {
    struct config config;
    struct err e = {""};
    const struct run_options options = {.threads = 1};
    struct json *root = json_of(config_text);
    memset(&config, 0, sizeof config);
    if (change && json_override(root, change, &e) != 0) fail_msg("%s", e.text);
    if (config_open_json(&config, root, "small.json", &e) != 0 || run_open(r, &config, &options, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(r->params->list[0].size, WEIGHTS);
    assert_int_equal(r->params->size, WEIGHTS + BIASES);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[PATH];
    struct err e = {""};
    snprintf(path, PATH, "%s/%s", folder, name);
    if (file_write_text(path, text, &e) != 0) fail_msg("%s", e.text);
}

static struct measures measure(struct run *r, const char *folder) {
    struct measures m;
    struct err e = {""};
    write_text(folder, "summary.json", summary_text);
    write_text(folder, "metrics.jsonl", metrics_text);
    if (measures_make(&m, r, folder, &e) != 0) fail_msg("%s", e.text);
    return m;
}

// --- by hand ----------------------------------------------------------------------------------------------------

static void two_weights(void **state) {
    struct run r;
    open_run(&r, NULL);
    real *w = r.params->list[0].value;
    for (int i = 0; i < WEIGHTS; i++) w[i] = 0;
    w[7] = -3, w[5000] = 4;
    struct measures m = measure(&r, *state);
    double n = WEIGHTS, mean = 1 / n, square = 25 / n, cube = (64.0 - 27.0) / n, fourth = (256.0 + 81.0) / n;
    double m2 = square - mean * mean;
    double m4 = fourth - 4 * mean * cube + 6 * mean * mean * square - 3 * mean * mean * mean * mean;
    assert_near(m.test_error, 12.5, 0);
    assert_true(isnan(m.validation_error));
    assert_near(m.weights, WEIGHTS, 0);
    assert_near(m.nonzero, 2, 0);
    assert_near(m.density, 2 / n, 0);
    assert_near(m.density_0p1, 2 / n, 0);
    assert_near(m.density_1, 2 / n, 0);
    assert_near(m.norm_top_1, 1, 0);
    assert_near(m.norm_top_5, 1, 0);
    assert_near(m.gini, 1 - 2 * (3 * 1.5 + 4 * 0.5) / (7 * n), 1e-12); // k = N-1, N
    assert_near(m.hoyer, (sqrt(n) - 7.0 / 5) / (sqrt(n) - 1), 1e-12);
    assert_near(m.kurtosis, m4 / (m2 * m2), 1e-6);
    assert_near(m.steps_to_goal[0], 3, 0); // 24 samples by 8
    assert_true(isnan(m.steps_to_goal[1]) && isnan(m.steps_to_goal[2]));
    double p = 2 / n, position = -p * log2(p) - (1 - p) * log2(1 - p);
    assert_near(m.entropy_bytes, n * position / 8 + 2 * 4 + BIASES, 1e-9);
    assert_near(m.state_bytes, optim_state_bytes(r.optim, OPTIM_WEIGHTS), 0);
    assert_near(m.step_seconds, 0.02, 1e-15);
    for (int i = 0; i < MEASURES_CUTS; i++) // 0.5 % of 7840 is more than two: nothing to prune
        assert_near(m.pruned_error[i], score_error(run_evaluate(&r, PART_TEST)), 0);
    run_close(&r);
}

static void equal_and_zero(void **state) {
    struct run r;
    open_run(&r, NULL);
    real *w = r.params->list[0].value;
    for (int i = 0; i < WEIGHTS; i++) w[i] = (real)0.5;
    struct measures m = measure(&r, *state);
    assert_near(m.gini, 0, 1e-12);
    assert_near(m.hoyer, 0, 1e-12);
    assert_true(isnan(m.kurtosis));
    assert_near(m.norm_top_1, 79.0 / WEIGHTS, 1e-12); // ceil(78.4)
    assert_near(m.norm_top_5, 392.0 / WEIGHTS, 1e-12);
    assert_near(m.entropy_bytes, 4 * WEIGHTS + BIASES, 0);
    // Exactly at a limit is not above it.
    for (int i = 0; i < WEIGHTS; i++)
        w[i] = i == 0 ? 128 : i < 3 ? (real)1.5 : i < 10 ? (real)0.25 : (real)0.1;
    m = measure(&r, *state);
    assert_near(m.density_1, 3.0 / WEIGHTS, 0);
    assert_near(m.density_0p1, 10.0 / WEIGHTS, 0);
    for (int i = 0; i < WEIGHTS; i++) w[i] = 0;
    m = measure(&r, *state);
    assert_true(isnan(m.gini) && isnan(m.hoyer) && isnan(m.kurtosis) && isnan(m.norm_top_1));
    assert_near(m.density + m.density_0p1 + m.density_1, 0, 0);
    assert_near(m.entropy_bytes, BIASES, 0);
    w[1] = (real)NAN;
    struct err e = {""};
    char said[PATH];
    snprintf(said, PATH, "%s: a weight is not finite", (char *)*state);
    assert_int_equal(measures_make(&m, &r, *state, &e), -1);
    assert_string_equal(e.text, said);
    run_close(&r);
}

static void entropy_of_counters(void **state) {
    struct run r;
    open_run(&r, COUNTED);
    struct param *p = &r.params->list[0];
    assert_true(p->counted);
    for (size_t i = 0; i < p->size; i++) {
        static const int32_t cycle[] = {1, -2, 1, 300};
        param_set_counter(p, i, i % 8 == 0 ? cycle[i / 8 % 4] : 0);
    }
    struct measures m = measure(&r, *state);
    double position = -0.125 * log2(0.125) - 0.875 * log2(0.875);
    assert_near(m.entropy_bytes, WEIGHTS * position / 8 + 980 * 1.5 / 8 + BIASES, 1e-9);
    assert_near(m.nonzero, 980, 0);
    run_close(&r);
}

// --- against naive code -----------------------------------------------------------------------------------------

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (y > x) - (y < x);
}

static void naive_shape(void **state) {
    struct run r;
    open_run(&r, NULL);
    real *w = r.params->list[0].value;
    struct rng g = rng_stream(1, "weights");
    static double c[WEIGHTS];
    double sum = 0, l1 = 0, squares = 0, differences = 0, m2 = 0, m4 = 0, top[2] = {0};
    for (int i = 0; i < WEIGHTS; i++) {
        w[i] = (real)pow(2 * rng_uniform(&g) - 0.9, 5);
        c[i] = fabs((double)w[i]);
        sum += (double)w[i], l1 += c[i], squares += c[i] * c[i];
    }
    // Half the mean absolute difference over the mean.
    for (int i = 0; i < WEIGHTS; i++)
        for (int j = 0; j < i; j++) differences += 2 * fabs(c[i] - c[j]);
    for (int i = 0; i < WEIGHTS; i++) {
        double d = (double)w[i] - sum / WEIGHTS;
        m2 += d * d / WEIGHTS, m4 += d * d * d * d / WEIGHTS;
    }
    qsort(c, WEIGHTS, sizeof *c, falling);
    for (int i = 0; i < WEIGHTS; i++) {
        if (i < 0.01 * WEIGHTS) top[0] += c[i] * c[i];
        if (i < 0.05 * WEIGHTS) top[1] += c[i] * c[i];
    }
    struct measures m = measure(&r, *state);
    assert_near(m.gini, differences / (2.0 * WEIGHTS * l1), 1e-9);
    assert_near(m.hoyer, (sqrt(WEIGHTS) - l1 / sqrt(squares)) / (sqrt(WEIGHTS) - 1), 1e-9);
    assert_near(m.kurtosis, m4 / (m2 * m2), 1e-9 * m.kurtosis);
    assert_near(m.norm_top_1, top[0] / squares, 1e-9);
    assert_near(m.norm_top_5, top[1] / squares, 1e-9);
    run_close(&r);
}

// The same errors as with the optimiser's cut, on weights with many ties; and no bit of the run has changed.
static void pruning_check(void **state, const char *change) {
    struct run r;
    open_run(&r, change);
    struct param *p = &r.params->list[0];
    struct rng g = rng_stream(2, "weights");
    for (int i = 0; i < 6; i++) {
        if (r.batch == run_batches(&r)) r.batch = 0, r.epoch++;
        batches_epoch(&r.batches, r.epoch);
        run_step(&r);
    }
    for (size_t i = 0; i < p->size; i++) {
        int level = (int)(9 * rng_uniform(&g)) - 4;
        if (p->counted)
            param_set_counter(p, i, i % 3 ? 60 * level : 0);
        else
            p->value[i] = i % 3 ? (real)level / 8 : (real)-0.0;
    }
    size_t bytes = r.params->size * sizeof(real), counter_bytes = p->counted ? p->size * 2 : 0;
    real *values = mem_new(1, bytes);
    void *counters = mem_new(1, counter_bytes + 1);
    memcpy(values, r.params->values, bytes);
    if (p->counted) memcpy(counters, p->counter, counter_bytes);
    struct measures m = measure(&r, *state);
    assert_memory_equal(r.params->values, values, bytes);
    if (p->counted) assert_memory_equal(p->counter, counters, counter_bytes);
    int different = 0;
    for (int i = 0; i < MEASURES_CUTS; i++) {
        const struct sparsity s = {.granularity = GRANULARITY_UNSTRUCTURED};
        sparsity_cut(&s, r.params, measures_cut[i]); // the cuts fall, so one goes on from the other
        assert_near(m.pruned_error[i], score_error(run_evaluate(&r, PART_TEST)), 0);
        different += i > 0 && m.pruned_error[i] != m.pruned_error[i - 1];
    }
    assert_true(different > 2); // the errors do depend on the cut
    mem_free(values);
    mem_free(counters);
    run_close(&r);
}

static void pruning_floats(void **state) {
    pruning_check(state, NULL);
}

static void pruning_counters(void **state) {
    pruning_check(state, COUNTED);
}

// --- files ------------------------------------------------------------------------------------------------------

static void goals(void **state) {
    struct run r;
    open_run(&r, NULL);
    static const struct {
        const char *text;
        double steps[MEASURES_GOALS]; // 0: never
    } cases[] = {
        {"", {0, 0, 0}},
        {"{\"epoch\": 1, \"validation_error\": null}\n{\"epoch\": 2, \"validation_error\": 5}", {6, 0, 0}},
        {"{\"epoch\": 1, \"validation_error\": 5.01}\n{\"epoch\": 2, \"validation_error\": 2.5}\n"
         "{\"epoch\": 3, \"validation_error\": 7, \"x\": []}\n{\"epoch\": 4, \"validation_error\": 0}\n",
         {6, 6, 12}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct measures m;
        struct err e = {""};
        write_text(*state, "summary.json", summary_text);
        write_text(*state, "metrics.jsonl", cases[i].text);
        assert_int_equal(measures_make(&m, &r, *state, &e), 0);
        for (int k = 0; k < MEASURES_GOALS; k++) {
            if (cases[i].steps[k] == 0)
                assert_true(isnan(m.steps_to_goal[k]));
            else
                assert_near(m.steps_to_goal[k], cases[i].steps[k], 0);
        }
    }
    run_close(&r);
}

static void bad_files(void **state) {
    static const struct {
        const char *summary, *metrics, *message;
    } cases[] = {
        {NULL, metrics_text, "summary.json: No such file or directory"},
        {summary_text, NULL, "metrics.jsonl: No such file or directory"},
        {"{\"test_error\": 1", metrics_text, "summary.json: line 1, column 16: not valid JSON here"},
        {"[]", metrics_text, "summary.json: test_error is missing"},
        {"{\"test_error\": \"1\"}", metrics_text,
         "summary.json: test_error: wanted a number or null, found a string"},
        {"{\"test_error\": 1, \"validation_error\": 1}", metrics_text,
         "summary.json: samples_per_second is missing"},
        {summary_text, "{\"epoch\": 1, \"validation_error\": 4}\n{\"epo",
         "metrics.jsonl: line 2, column 3: not valid JSON here"},
        {summary_text, "{\"epoch\": 1, \"validation_error\": 4}\n\n",
         "metrics.jsonl: line 2, column 1: not valid JSON here"},
        {summary_text, "7\n", "metrics.jsonl: line 1: epoch is missing"},
        {summary_text, "{\"epoch\": 1}\n", "metrics.jsonl: line 1: validation_error is missing"},
        {summary_text, "{\"epoch\": 1, \"validation_error\": []}\n",
         "metrics.jsonl: line 1: validation_error: wanted a number or null, found a list"},
        {summary_text, "{\"epoch\": 0.5, \"validation_error\": 1}\n",
         "metrics.jsonl: line 1: epoch: wanted a whole number, found 0.5"},
        {summary_text, "{\"epoch\": -1, \"validation_error\": 1}\n",
         "metrics.jsonl: line 1: epoch: -1 is not in 1 .. 2147483647"},
        {summary_text, "{\"epoch\": 1, \"epoch\": 1}\n", "metrics.jsonl: line 1: epoch: given twice"},
    };
    struct run r;
    open_run(&r, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[PATH], message[512];
        struct err e = {""};
        struct measures m;
        for (int k = 0; k < 2; k++) {
            const char *name = k ? "metrics.jsonl" : "summary.json",
                       *text = k ? cases[i].metrics : cases[i].summary;
            snprintf(path, PATH, "%s/%s", (char *)*state, name);
            unlink(path);
            if (text) write_text(*state, name, text);
        }
        snprintf(message, sizeof message, "%s/%s", (char *)*state, cases[i].message);
        assert_int_equal(measures_make(&m, &r, *state, &e), -1);
        assert_string_equal(e.text, message);
    }
    run_close(&r);
}

static void as_json(void **state) {
    (void)state;
    struct measures m, back;
    struct err e = {""};
    double *member = (double *)&m;
    enum { MEMBERS = sizeof m / sizeof(double) };
    for (int i = 0; i < MEMBERS; i++) member[i] = i % 5 == 3 ? NAN : 1.0 / (i + 3);
    struct json *node = measures_write_new(&m);
    assert_int_equal(json_count(node), MEMBERS); // every member has its key
    assert_int_equal(json_type(json_find(node, "nonzero")), JSON_NULL);
    assert_near(json_number(json_find(node, "pruned_error_0.5")), m.pruned_error[0], 0);
    assert_near(json_number(json_find(node, "pruned_error_0.01")), m.pruned_error[5], 0);
    assert_near(json_number(json_find(node, "steps_to_5")), m.steps_to_goal[0], 0);
    char *text = json_print_new(node, true);
    struct json *read = json_of(text);
    assert_int_equal(measures_read(&back, read, "measures", &e), 0);
    for (int i = 0; i < MEMBERS; i++)
        assert_true(isnan(member[i]) ? isnan(((double *)&back)[i]) : ((double *)&back)[i] == member[i]);
    json_add_number(read, "ginny", 1);
    assert_int_equal(measures_read(&back, read, "measures", &e), -1);
    assert_string_equal(e.text, "measures: unknown measure 'ginny'");
    json_free(read);
    assert_int_equal(json_override(node, "gini=true", &e), 0);
    assert_int_equal(measures_read(&back, node, "measures", &e), -1);
    assert_string_equal(e.text, "measures: gini: wanted a number or null, found true or false");
    json_free(node);
    node = json_of("{\"test_error\": 1}");
    assert_int_equal(measures_read(&back, node, "measures", &e), -1);
    assert_string_equal(e.text, "measures: validation_error is missing");
    json_free(node);
    node = json_of("[1]");
    assert_int_equal(measures_read(&back, node, "measures", &e), -1);
    assert_string_equal(e.text, "measures: wanted an object, found a list");
    json_free(node);
    mem_free(text);
}

// --- a run folder -----------------------------------------------------------------------------------------------

// Sets when the file was last written, in seconds after 2001.
static void set_time(const char *folder, const char *name, long seconds, long nanoseconds) {
    char path[PATH];
    const struct timespec at[2] = {{978307200 + seconds, nanoseconds}, {978307200 + seconds, nanoseconds}};
    snprintf(path, PATH, "%s/%s", folder, name);
    assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
}

static double test_error_of(const char *folder) {
    struct measures m;
    struct err e = {""};
    const struct run_options options = {.threads = 1};
    if (measures_of_folder(&m, folder, &options, &e) != 0) fail_msg("%s", e.text);
    return m.test_error;
}

static void cache(void **state) {
    struct run r;
    open_run(&r, NULL);
    const struct train_options options = {.folder = *state, .quiet = true};
    enum train_status status;
    struct json *summary;
    struct err e = {""};
    if (train(&r, &options, &status, &summary, &e) != 0) fail_msg("%s", e.text);
    double error = json_number(json_find(summary, "test_error"));
    json_free(summary);
    run_close(&r);
    assert_near(test_error_of(*state), error, 0); // made
    char path[PATH];
    snprintf(path, PATH, "%s/measures.json", (char *)*state);
    size_t size;
    char *good = (char *)file_read_new(&size, path, 1 << 16, &e);
    assert_non_null(good);
    struct json *node = json_of(good);
    struct measures m;
    assert_int_equal(measures_read(&m, node, path, &e), 0);
    assert_near(m.weights, WEIGHTS, 0);
    assert_near(m.pruned_error[0] >= 0, 1, 0);
    assert_int_equal(json_override(node, "test_error=77", &e), 0);
    char *marked = json_print_new(node, false);
    json_free(node);
    // Times of checkpoint, summary and cache; whether the cache holds.
    static const struct {
        long checkpoint, summary, seconds, nanoseconds;
        bool holds;
    } cases[] = {{10, 10, 20, 0, true}, {10, 10, 10, 5, true},  {10, 10, 10, 4, false},
                 {10, 10, 9, 9, false}, {10, 30, 20, 0, false}, {30, 10, 20, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(*state, "measures.json", marked);
        set_time(*state, "checkpoint.safetensors", cases[i].checkpoint, 5);
        set_time(*state, "summary.json", cases[i].summary, 5);
        set_time(*state, "measures.json", cases[i].seconds, cases[i].nanoseconds);
        assert_near(test_error_of(*state), cases[i].holds ? 77 : error, 0);
    }
    static const char *const broken[] = {"", "{", "[]", "{\"test_error\": 77}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        write_text(*state, "measures.json", broken[i]);
        assert_near(test_error_of(*state), error, 0);
        char *again = (char *)file_read_new(&size, path, 1 << 16, &e);
        assert_non_null(again);
        assert_string_equal(again, good);
        mem_free(again);
    }
    mem_free(good);
    mem_free(marked);
    assert_int_equal(measures_of_folder(&m, "nowhere", NULL, &e), -1);
    assert_string_equal(e.text, "nowhere/checkpoint.safetensors: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(two_weights), IN_FOLDER(equal_and_zero), IN_FOLDER(entropy_of_counters),
        IN_FOLDER(naive_shape), IN_FOLDER(pruning_floats), IN_FOLDER(pruning_counters),
        IN_FOLDER(goals),       IN_FOLDER(bad_files),      cmocka_unit_test(as_json),
        IN_FOLDER(cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
