// tally bench, end to end: every row is there, the JSON is whole and agrees with itself, and what is wrong is said. How fast
// anything is, is not tested.
#include "export/export.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/nets.h"
#include "tests/program.h"

enum { LIMIT = 1 << 24, SIDE = 28, PIXELS = SIDE * SIDE, HIDDEN = 40, CLASSES = 10 };

static const char set[] = "{\"digits\": {\"train\": 1, \"test\": 50}}";

// --- helpers -----------------------------------------------------------------------------------------------------

static struct json *log_json(void) {
    struct err e;
    struct json *tree = json_load_new("log.txt", LIMIT, &e);
    if (!tree) fail_msg("%s", e.text);
    return tree;
}

static char *log_text(void) {
    struct err e;
    size_t size;
    char *text = (char *)file_read_new(&size, "log.txt", LIMIT, &e);
    if (!text) fail_msg("%s", e.text);
    return text;
}

static const struct json *node_of(const struct json *tree, const char *key) {
    const struct json *node = json_find(tree, key);
    if (!node) fail_msg("no '%s'", key);
    return node;
}

static double number_of(const struct json *tree, const char *key) {
    const struct json *node = node_of(tree, key);
    if (json_type(node) != JSON_NUMBER) fail_msg("'%s' is no number", key);
    return json_number(node);
}

static const char *word_of(const struct json *tree, const char *key) {
    const struct json *node = node_of(tree, key);
    if (json_type(node) != JSON_STRING) fail_msg("'%s' is no string", key);
    return json_string(node);
}

// Every number anywhere in the tree is above 0; one that is not finite would be null. Returns how many there are.
static int numbers_check(const struct json *node) {
    int count = 0;
    if (json_type(node) == JSON_NULL) fail_msg("'%s' is null", json_key(node));
    if (json_type(node) == JSON_NUMBER && !(json_number(node) > 0))
        fail_msg("'%s' is %g", json_key(node), json_number(node));
    if (json_type(node) == JSON_NUMBER) count++;
    for (int i = 0; i < json_count(node); i++) count += numbers_check(json_item(node, i));
    return count;
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}

static void assert_nearly(double found, double wanted) {
    assert_near(found, wanted, 1e-9 * fabs(wanted));
}

// --- a model -----------------------------------------------------------------------------------------------------

static void kernel_check(const struct json *item, const char *name, int batch, double nonzero) {
    double us = number_of(item, "us_per_call"), weights = HIDDEN * PIXELS + CLASSES * HIDDEN;
    assert_string_equal(word_of(item, "kernel"), name);
    assert_true(number_of(item, "us_fastest") <= us && us <= number_of(item, "us_slowest"));
    assert_nearly(number_of(item, "us_per_sample"), us / batch);
    assert_nearly(number_of(item, "samples_per_second"), 1e6 * batch / us);
    double operations = number_of(item, "gflops") * us * 1e3, bytes = number_of(item, "gbytes") * us * 1e3;
    number_of(item, "dense_ratio");
    if (strcmp(name, "sparse") == 0) {
        assert_nearly(operations, 2 * nonzero * batch);
        // Row and value; where each column begins.
        if (batch == 1) assert_nearly(bytes, 8 * nonzero + 4 * (PIXELS + 1) + 4 * (HIDDEN + 1));
        // 64 share what the file holds: step, counter; two bytes a row.
        if (batch == 64) assert_nearly(bytes, 2 * nonzero + 2 * (HIDDEN + CLASSES));
    } else if (strcmp(name, "dense") == 0) {
        const double stored = 4.0 * 32 * (2 * PIXELS + HIDDEN); // panels of 32 outputs
        assert_nearly(operations, 2 * weights * batch);
        assert_nearly(bytes, stored * (batch == 3 ? 3 : batch == 66 ? 3 : 1));
        assert_true(number_of(item, "dense_ratio") == 1);
    } else {
        assert_true(operations >= 2 * nonzero * batch * (1 - 1e-9) &&
                    operations <= 2 * weights * batch * (1 + 1e-9));
    }
}

static void model_json(void **state) {
    (void)state;
    static const int batches[] = {1, 64, 3, 66};
    static const char *const kernels[] = {"sparse", "dense", "auto"};
    assert_int_equal(RUN("bench", "m.tally", "--batch", "1,64,3,66", "--seconds", "0.02", "--json"), 0);
    struct json *tree = log_json();
    assert_int_equal(numbers_check(tree), 4 + 4 + 4 * (1 + 3 * 8));
    assert_string_equal(word_of(tree, "model"), "m.tally");
    assert_string_equal(word_of(tree, "input"), "random");
    assert_near(number_of(tree, "input_nonzero"), 0.19, 0.01);
    assert_true(number_of(tree, "weights") == HIDDEN * PIXELS + CLASSES * HIDDEN);
    double nonzero = number_of(tree, "nonzero");
    assert_near(number_of(tree, "density"), 0.05, 0.01);
    assert_nearly(number_of(tree, "density"), nonzero / number_of(tree, "weights"));
    word_of(tree, "instructions");
    const struct json *machine = node_of(tree, "machine"), *list = node_of(tree, "batches");
    assert_non_null(strstr(word_of(machine, "blas"), "OpenBLAS"));
    number_of(machine, "gemm_gflops");
    number_of(machine, "read_gbytes");
    number_of(machine, "copy_gbytes");
    number_of(machine, "cache_gbytes");
    assert_int_equal(json_count(list), 4);
    for (int i = 0; i < 4; i++) {
        const struct json *row = json_item(list, i), *items = node_of(row, "kernels");
        assert_true(number_of(row, "batch") == batches[i]);
        assert_int_equal(json_count(items), 3);
        for (int k = 0; k < 3; k++) kernel_check(json_item(items, k), kernels[k], batches[i], nonzero);
    }
    json_free(tree);
}

static void model_table(void **state) {
    (void)state;
    assert_int_equal(RUN("bench", "m.tally", "--batch", "1,7", "--seconds", "0.01", "--input", set), 0);
    char *text = log_text();
    assert_memory_equal(text, "m.tally: ", 9);
    assert_non_null(strstr(text, " digits images, "));
    for (int batch = 1; batch <= 7; batch += 6)
        for (int k = 0; k < 3; k++) {
            static const char *const kernels[] = {"sparse", "dense", "auto"};
            char row[32];
            snprintf(row, sizeof row, "\n  %5d  %-6s ", batch, kernels[k]);
            assert_int_equal(count_of(text, row), 1);
        }
    assert_int_equal(count_of(text, ": sgemm "), 1);
    assert_int_equal(count_of(text, "nan") + count_of(text, "inf "), 0);
    mem_free(text);
}

// --- single layers -----------------------------------------------------------------------------------------------

static void layers_json(void **state) {
    (void)state;
    static const int shapes[][2] = {{40, 24}, {8, 70}}, batches[] = {1, 5};
    static const double densities[] = {1, 0.1};
    assert_int_equal(RUN("bench", "--layers", "--shape", "40x24,8x70", "--density", "1,0.1", "--batch", "1,5",
                         "--seconds", "0.02", "--json"),
                     0);
    struct json *tree = log_json();
    const struct json *list = node_of(tree, "layers");
    int even = 0;
    number_of(node_of(tree, "machine"), "gemm_gflops");
    assert_int_equal(json_count(list), 4);
    for (int i = 0; i < 4; i++) {
        const struct json *row = json_item(list, i), *dense = node_of(row, "dense"),
                          *sparse = node_of(row, "sparse");
        assert_true(number_of(row, "in") == shapes[i / 2][0] && number_of(row, "out") == shapes[i / 2][1]);
        assert_true(number_of(row, "batch") == batches[i % 2]);
        const char *as = word_of(dense, "as");
        assert_true(strcmp(as, "gemm") == 0 || (strcmp(as, "gemv") == 0 && batches[i % 2] == 1));
        number_of(dense, "us");
        assert_int_equal(json_count(sparse), 2);
        for (int k = 0; k < 2; k++) {
            const struct json *item = json_item(sparse, k);
            assert_true(number_of(item, "density") == densities[k]);
            assert_true(number_of(item, "us_fastest") <= number_of(item, "us"));
            assert_true(number_of(item, "us") <= number_of(item, "us_slowest"));
            number_of(item, "ratio");
        }
        // It is there where the ratio crosses 1, and only there.
        bool first = number_of(json_item(sparse, 0), "ratio") > 1;
        bool crosses = first != (number_of(json_item(sparse, 1), "ratio") > 1);
        assert_int_equal(json_find(row, "even_density") != NULL, crosses);
        if (crosses)
            assert_true(number_of(row, "even_density") >= 0.1 && number_of(row, "even_density") <= 1);
        even += crosses;
    }
    assert_int_equal(numbers_check(tree), 4 + 4 * (3 + 3 + 2 * 5) + even);
    json_free(tree);
}

static void layers_table(void **state) {
    (void)state;
    assert_int_equal(RUN("bench", "--layers", "--shape", "40x24,8x70", "--density", "0.5,0.1", "--batch",
                         "1,17", "--seconds", "0.01"),
                     0);
    char *text = log_text();
    assert_int_equal(count_of(text, "\nBatch 1\n\n| in x out | dense, us | as | 0.5 | 0.1 | even at |\n"
                                    "|---|---|---|---|---|---|\n| 40x24 | "),
                     1);
    assert_int_equal(count_of(text, "\nBatch 17\n"), 1);
    assert_int_equal(count_of(text, "\n| 8x70 | "), 2);
    assert_int_equal(count_of(text, ": sgemm "), 1);
    mem_free(text);
}

// --- a config ----------------------------------------------------------------------------------------------------

static const char config_text[] =
    "{\"data\": {\"set\": {\"digits\": {\"train\": 210, \"test\": 10}}, \"validation\": 0},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 20}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [\"clip\", \"counter\"], \"others\": [\"adam\"]}, \"train\": {\"batch\": 50, "
    "\"shards\": 2}}\n";

static const struct json *row_of(const struct json *rows, const char *group, const char *name) {
    for (int i = 0; i < json_count(rows); i++) {
        const struct json *row = json_item(rows, i);
        if (strcmp(word_of(row, "group"), group) == 0 && strcmp(word_of(row, "name"), name) == 0) return row;
    }
    fail_msg("no row '%s' of '%s'", name, group);
    return NULL;
}

// Times add up, and are sorted within a group.
static void rows_check(const struct json *tree, const struct json *rows) {
    double ms = 0, share = 0, mflop = 0;
    for (int i = 0; i < json_count(rows); i++) {
        const struct json *row = json_item(rows, i), *before = i ? json_item(rows, i - 1) : NULL;
        ms += number_of(row, "ms");
        share += number_of(row, "share");
        assert_true(number_of(row, "ms") >= 0 && number_of(row, "calls") > 0);
        if (before && strcmp(word_of(row, "group"), word_of(before, "group")) == 0)
            assert_true(number_of(row, "ms") <= number_of(before, "ms"));
        bool products = strcmp(word_of(row, "name"), "linear") == 0;
        assert_int_equal(json_find(row, "mflop") != NULL, products);
        if (!products) continue;
        mflop += number_of(row, "mflop");
        assert_nearly(number_of(row, "gflops") * number_of(row, "ms"), number_of(row, "mflop"));
        assert_true(number_of(row, "of_gemm") > 0);
    }
    assert_nearly(ms, number_of(tree, "ms_per_step_measured"));
    assert_nearly(share, 1);
    assert_nearly(mflop, number_of(tree, "mflop"));
}

static void config_json(void **state) {
    (void)state;
    static const char *const others[] = {"gather", "unset gradients", "score", "reduce", "rest"};
    assert_int_equal(
        RUN("bench", "small.json", "train.shards=2", "--seconds", "0.05", "--threads", "2", "--json"), 0);
    struct json *tree = log_json();
    const struct json *rows = node_of(tree, "rows");
    assert_string_equal(word_of(tree, "config"), "small.json");
    assert_string_equal(word_of(tree, "dataset"), "digits");
    assert_true(number_of(tree, "batch") == 50 && number_of(tree, "shards") == 2);
    assert_true(number_of(tree, "threads") == 2 && number_of(tree, "steps") >= 1);
    number_of(node_of(tree, "machine"), "gemms_gflops");
    assert_nearly(number_of(tree, "samples_per_second") * number_of(tree, "ms_per_step"), 50 * 1e3);
    assert_nearly(number_of(tree, "gflops") * number_of(tree, "ms_per_step"), number_of(tree, "mflop"));
    rows_check(tree, rows);
    const struct json *forward = row_of(rows, "forward", "linear"),
                      *backward = row_of(rows, "backward", "linear");
    assert_true(number_of(forward, "calls") == 4 && number_of(backward, "calls") == 4);
    assert_nearly(number_of(forward, "mflop"), 2e-6 * 50 * (PIXELS * 20 + 20 * 10));
    assert_nearly(number_of(backward, "mflop"), 2e-6 * 50 * (PIXELS * 20 + 2 * 20 * 10));
    double numbers = 50 * (PIXELS + 20 + 20 + 10) + 2 * (PIXELS * 20 + 20 + 20 * 10 + 10);
    assert_nearly(number_of(forward, "flop_per_byte"), 1e6 * number_of(forward, "mflop") / (4 * numbers));
    row_of(rows, "forward", "cross_entropy");
    row_of(rows, "backward", "relu");
    row_of(rows, "optimiser", "weights.0.clip");
    row_of(rows, "optimiser", "weights.1.counter");
    row_of(rows, "optimiser", "others.0.adam");
    for (int i = 0; i < 5; i++) row_of(rows, "other", others[i]);
    json_free(tree);
}

static void config_table(void **state) {
    (void)state;
    static const char *const lines[] = {"small.json: digits, batch 50 in 2 shards, 1 thread\n",
                                        ": sgemm ",
                                        "\nforward\n",
                                        "\nbackward\n",
                                        "\noptimiser\n",
                                        "\nother\n",
                                        "\na step: "};
    assert_int_equal(RUN("bench", "small.json", "--seconds", "0.02"), 0);
    char *text = log_text();
    for (int i = 0; i < 7; i++) assert_int_equal(count_of(text, lines[i]), 1);
    assert_int_equal(count_of(text, "\n  linear "), 2);
    assert_int_equal(count_of(text, "nan") + count_of(text, "inf "), 0);
    mem_free(text);
}

// --- the machine -------------------------------------------------------------------------------------------------

static void machine(void **state) {
    (void)state;
    assert_int_equal(RUN("bench", "--machine", "--threads", "2", "--json"), 0);
    struct json *tree = log_json();
    assert_int_equal(numbers_check(tree), 6);
    assert_non_null(strstr(word_of(tree, "blas"), "OpenBLAS"));
    assert_true(number_of(tree, "threads") == 2);
    number_of(tree, "gemm_gflops");
    number_of(tree, "gemms_gflops");
    json_free(tree);
    assert_int_equal(RUN("bench", "--machine"), 0);
    char *text = log_text();
    assert_int_equal(count_of(text, ": sgemm ") + count_of(text, "\nmemory: reads "), 2);
    assert_int_equal(count_of(text, "threads at a time"), 0);
    mem_free(text);
}

// --- what goes wrong ---------------------------------------------------------------------------------------------

static const struct {
    const char *words[8];
    int status;
    const char *message;
} bads[] = {
    {{"bench"}, 2, "wanted one model, a config, --layers or --machine; see 'tally bench --help'"},
    {{"bench", "m.tally", "n.tally"},
     2,
     "wanted one model, a config, --layers or --machine; see 'tally bench --help'"},
    {{"bench", "gone.tally"}, 1, "gone.tally: No such file or directory"},
    {{"bench", "text.tally"}, 1, "text.tally: not a Tally model: it does not begin with \"TLYN\""},
    {{"bench", "run"}, 1, "run: a run, not a model; make one with 'tally export run --format tally -o FILE'"},
    {{"bench", "gone.json"}, 1, "gone.json: No such file or directory"},
    {{"bench", "small.json", "batch=300"}, 1, "small.json: 210 training samples, fewer than a batch of 300"},
    {{"bench", "small.json", "btach=3"},
     1,
     "small.json: unknown key 'btach'; known: name, seed, dataset, data, model, optim, train"},
    {{"bench", "small.json", "--batch", "3"},
     2,
     "--batch: only with a model or --layers; see 'tally bench --help'"},
    {{"bench", "small.json", "--input", "mnist"}, 2, "--input: only with a model; see 'tally bench --help'"},
    {{"bench", "m.tally", "--batch", "1,0"},
     2,
     "--batch: '0' is not a whole number in 1 .. 65536; see 'tally bench --help'"},
    {{"bench", "m.tally", "--batch", "1,,2"},
     2,
     "--batch: '' is not a whole number in 1 .. 65536; see 'tally bench --help'"},
    {{"bench", "m.tally", "--batch", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"},
     2,
     "--batch: more than 16 of them; see 'tally bench --help'"},
    {{"bench", "m.tally", "--seconds", "0"},
     2,
     "--seconds: '0' is not a number in 0 .. 600; see 'tally bench --help'"},
    {{"bench", "m.tally", "--seconds", "nan"},
     2,
     "--seconds: 'nan' is not a number in 0 .. 600; see 'tally bench --help'"},
    {{"bench", "m.tally", "--input", "mnits"}, 1, "--input: unknown data set 'mnits'; did you mean 'mnist'?"},
    {{"bench", "m.tally", "--shape", "8x8"},
     2,
     "--shape and --density: only with --layers; see 'tally bench --help'"},
    {{"bench", "m.tally", "--batches", "1"},
     2,
     "unknown option or missing value: --batches; see 'tally bench --help'"},
    {{"bench", "--layers", "m.tally"},
     2,
     "--layers: takes no model, found m.tally; see 'tally bench --help'"},
    {{"bench", "--layers", "--input", "mnist"}, 2, "--input: only with a model; see 'tally bench --help'"},
    {{"bench", "--machine", "m.tally"},
     2,
     "--machine: takes no model, found m.tally; see 'tally bench --help'"},
    {{"bench", "--machine", "--layers"}, 2, "--layers and --machine: one of them; see 'tally bench --help'"},
    {{"bench", "--machine", "--seconds", "1"}, 2, "--seconds: not with --machine; see 'tally bench --help'"},
    {{"bench", "m.tally", "--threads", "2"},
     2,
     "--threads: only with a config or --machine; see 'tally bench --help'"},
    {{"bench", "--layers", "--shape", "784"},
     2,
     "--shape: '784' is not INxOUT, each 1 .. 16384, at most 67108864 together; see 'tally bench --help'"},
    {{"bench", "--layers", "--shape", "8x16385"},
     2,
     "--shape: '8x16385' is not INxOUT, each 1 .. 16384, at most 67108864 together; see 'tally bench "
     "--help'"},
    {{"bench", "--layers", "--density", "0.5,1.5"},
     2,
     "--density: '1.5' is not a share in 0 .. 1; see 'tally bench --help'"},
    {{"bench", "--layers", "--density", "nan"},
     2,
     "--density: 'nan' is not a share in 0 .. 1; see 'tally bench --help'"},
};

static void bad_input(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(file_write_text("text.tally", "a text\n", &e), 0);
    assert_int_equal(file_make_folder("run", &e), 0);
    assert_int_equal(file_write_text("run/config.json", "{}\n", &e), 0);
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        int status = program_end(program_start(bads[i].words));
        char *text = log_text(), wanted[300];
        snprintf(wanted, sizeof wanted, "tally: %s\n", bads[i].message);
        assert_string_equal(text, wanted);
        assert_int_equal(status, bads[i].status);
        mem_free(text);
    }
    assert_int_equal(RUN("bench", "--help"), 0);
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "bench-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    if (!mkdtemp(folder) || chdir(folder) != 0) return -1;
    if (file_write_text("small.json", config_text, &e) != 0) return -1;
    const struct nets_weights w = {NUMBER_SQUARE, 127, 0.05, BIAS_FLOATS};
    struct net *n = nets_new(shape_3(1, SIDE, SIDE));
    nets_add(n, NET_FLATTEN);
    nets_linear(n, HIDDEN, &w, 1);
    nets_add(n, NET_RELU);
    nets_linear(n, CLASSES, &w, 2);
    size_t bytes[NETS_LAYERS];
    const struct export_options options = {0};
    int result = export_formats[0]->write(n, "m.tally", &options, &(struct export_sizes){0, bytes}, &e);
    net_free(n);
    return result;
}

static int folder_remove(void **state) {
    (void)state;
    return system("rm -r \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(model_json),  cmocka_unit_test(model_table),
                                       cmocka_unit_test(layers_json), cmocka_unit_test(layers_table),
                                       cmocka_unit_test(config_json), cmocka_unit_test(config_table),
                                       cmocka_unit_test(machine),     cmocka_unit_test(bad_input)};
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
