// tally export, as a user has it: the table's numbers, the files, equal answers, refusals.
#include "datasets/io/npy.h"
#include "experiments/saved.h"
#include "export/export.h"
#include "infer/tally_infer.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 1000, \"test\": 200}}, "
    "\"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 24}}, \"gelu\", {\"dropout\": {\"p\": 0.1}}, "
    "{\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03, \"leak\": 0.03}}], \"others\": [\"adam\"],\n"
    "  \"sparsity\": {\"target\": 0.1, \"freeze\": 0.7}},\n"
    " \"train\": {\"epochs\": 4, \"batch\": 50}}\n";

// The last run's output as a tree.
static struct json *answer(void) {
    struct err e;
    struct json *tree = json_load_new("log.txt", 1 << 20, &e);
    if (!tree) fail_msg("%s", e.text);
    return tree;
}

static double number_of(const struct json *tree, const char *key) {
    const struct json *node = json_find(tree, key);
    assert_non_null(node);
    return json_number(node);
}

static void assert_log(const char *wanted) {
    struct err e;
    size_t size;
    char *text = (char *)file_read_new(&size, "log.txt", 1 << 20, &e);
    assert_non_null(text);
    assert_string_equal(text, wanted);
    mem_free(text);
}

// Every native form holds the same network: the same answers to the bit, and the size it says.
static void native_forms(void **state) {
    (void)state;
    static const char *const forms[][4] = {{"--json", "--json", "--json", "fast.tally"},
                                           {"--profile", "small", "--json", "small.tally"},
                                           {"--dense", "--json", "--json", "dense.tally"}};
    struct err e;
    double bytes[3];
    float answers[3][50 * 10];
    for (int i = 0; i < 3; i++) {
        const char *out = forms[i][3];
        assert_int_equal(RUN("export", "run", forms[i][0], forms[i][1], forms[i][2], "-o", out), 0);
        struct json *said = answer();
        bytes[i] = number_of(said, "bytes");
        assert_int_equal(bytes[i], file_bytes(out));
        assert_int_equal(number_of(said, "dense_bytes"), 4 * (784 * 24 + 24 + 24 * 10 + 10));
        assert_true(number_of(said, "error_before") == number_of(said, "error_after"));
        assert_int_equal(number_of(said, "predictions_differ"), 0);
        assert_true(number_of(said, "largest_difference") < 1e-4);
        assert_true(number_of(said, "nonzero") <= 1906); // round(0.1 · 19056), less those of dead units
        double layers = 0;
        const struct json *per_layer = json_find(said, "per_layer");
        for (int l = 0; l < 2; l++) layers += number_of(json_item(per_layer, l), "bytes");
        assert_true(layers < bytes[i] && layers > bytes[i] - 100);
        json_free(said);

        size_t size;
        unsigned char *file = file_read_new(&size, out, 1 << 20, &e);
        struct tally_model *model;
        assert_int_equal(tally_model_load(&model, file, size, NULL, NULL), TALLY_OK);
        size_t scratch_bytes = tally_scratch_bytes(model, 50);
        void *scratch = mem_new(scratch_bytes, 1);
        float *x = mem_new((size_t)50 * 784, sizeof *x);
        for (int j = 0; j < 50 * 784; j++) x[j] = (float)(j * 37 % 256) / 255;
        assert_int_equal(tally_run(model, x, 50, answers[i], scratch, scratch_bytes, NULL), TALLY_OK);
        assert_memory_equal(answers[0], answers[i], sizeof answers[0]);
        tally_model_free(model);
        mem_free(scratch);
        mem_free(file);
        mem_free(x);
    }
    assert_true(bytes[1] < bytes[0] && bytes[0] < bytes[2]);
}

static void same_bytes_twice(void **state) {
    (void)state;
    struct err e;
    size_t size[2];
    unsigned char *file[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(RUN("export", "run", "--profile", "small", "--bits", "5", "-o", "twice.tally"), 0);
        file[i] = file_read_new(&size[i], "twice.tally", 1 << 20, &e);
        assert_non_null(file[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(file[0], file[1], size[0]);
    mem_free(file[0]);
    mem_free(file[1]);
}

static void fewer_bits(void **state) {
    (void)state;
    double last = 1e9;
    static const char *const bits[] = {"8", "5", "3"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            RUN("export", "run", "--profile", "small", "--bits", bits[i], "--json", "-o", "b.tally"), 0);
        struct json *said = answer();
        assert_true(number_of(said, "bytes") < last);
        last = number_of(said, "bytes");
        assert_true(number_of(said, "largest_difference") > 1e-4); // it costs something, and that is said
        json_free(said);
    }
}

// Every format of the registry writes this run where it is told to; without -o into the run's folder.
static void every_format(void **state) {
    (void)state;
    for (int i = 0; export_formats[i]; i++) {
        const char *name = export_formats[i]->name;
        assert_int_equal(RUN("export", "run", "--format", name, "-o", name), 0);
        assert_int_equal(RUN("export", "run", "--format", name, "--json"), 0);
        struct json *said = answer();
        assert_true(file_exists(json_string(json_find(said, "out"))) || strcmp(name, "c") == 0);
        assert_true(number_of(said, "bytes") > 1000);
        json_free(said);
    }
    assert_true(file_exists("run/small.tally"));
}

static void softmax_sums_to_one(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(RUN("export", "run", "--softmax", "-o", "soft.tally"), 0);
    size_t size;
    unsigned char *file = file_read_new(&size, "soft.tally", 1 << 20, &e);
    struct tally_model *model;
    assert_int_equal(tally_model_load(&model, file, size, NULL, NULL), TALLY_OK);
    float x[784] = {0}, y[10], sum = 0;
    size_t bytes = tally_scratch_bytes(model, 1);
    void *scratch = mem_new(bytes, 1);
    assert_int_equal(tally_run(model, x, 1, y, scratch, bytes, NULL), TALLY_OK);
    for (int i = 0; i < 10; i++) sum += y[i];
    assert_near(sum, 1, 1e-5);
    tally_model_free(model);
    mem_free(scratch);
    mem_free(file);
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *words[6];
        int status;
        const char *message;
    } table[] = {
        {{NULL}, 2, "tally: wanted one run folder; see 'tally export --help'\n"},
        {{"run", "run"}, 2, "tally: wanted one run folder; see 'tally export --help'\n"},
        {{"nowhere"}, 1, "tally: nowhere/checkpoint.safetensors: No such file or directory\n"},
        {{"run", "--format", "onx"},
         2,
         "tally: --format: unknown format 'onx'; did you mean 'onnx'?; see 'tally export --help'\n"},
        {{"run", "--bits", "1"},
         2,
         "tally: --bits: '1' is not a whole number in 2 .. 16; see 'tally export --help'\n"},
        {{"run", "--profile", "tiny"},
         2,
         "tally: --profile: 'tiny' is not fast or small; see 'tally export --help'\n"},
        {{"run", "--format", "npz", "--profile", "small"},
         2,
         "tally: --profile: format npz has no profiles; see 'tally export --help'\n"},
        {{"run", "--format", "mtx", "--dense"},
         2,
         "tally: --dense: format mtx can't be told to; see 'tally export --help'\n"},
        {{"run", "--integer"},
         2,
         "tally: --integer and --self-test: only format c has them; see 'tally export --help'\n"},
        {{"run", "--format", "mtx", "--softmax"},
         2,
         "tally: --softmax: format mtx holds weights only; see 'tally export --help'\n"},
        {{"run", "--colour"},
         2,
         "tally: unknown option or missing value: --colour; see 'tally export --help'\n"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *words[8] = {"export"};
        memcpy(words + 1, table[i].words, sizeof table[i].words);
        assert_int_equal(program_end(program_start(words)), table[i].status);
        assert_log(table[i].message);
    }
    assert_int_equal(RUN("export", "run", "-o", "no/such/folder/m.tally"), 1);
    assert_int_equal(RUN("export", "--help"), 0);
}

// A model of tokens, which go in as they are: the same outputs from the run, and from its file by tally infer.
static void tokens_leave(void **state) {
    (void)state;
    static const char text[] =
        "{\"name\": \"words\", \"data\": {\"set\": {\"tales\": {\"length\": 4800, \"context\": 8, "
        "\"classes\": "
        "48}}},\n \"model\": [{\"embedding\": {\"num_embeddings\": 48, \"embedding_dim\": 6}}, "
        "{\"positional_embedding\": {\"kind\": \"sinusoidal\"}}, \"positional_embedding\", \"layer_norm\", "
        "{\"linear\": {\"out\": 48}}],\n \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03}}], "
        "\"others\": "
        "[\"adam\"]},\n \"train\": {\"epochs\": 2, \"batch\": 50}}\n";
    struct err e;
    struct npy before, after;
    assert_int_equal(file_write_text("words.json", text, &e), 0);
    assert_int_equal(RUN("train", "words.json", "--no-report", "--quiet", "--out", "words"), 0);
    assert_int_equal(RUN("eval", "words", "--inputs", "words.npy", "--logits", "before.npy"), 0);
    assert_int_equal(RUN("export", "words", "--json", "-o", "words.tally"), 0);
    struct json *said = answer();
    assert_int_equal(number_of(said, "predictions_differ"), 0);
    assert_true(number_of(said, "error_before") == number_of(said, "error_after"));
    json_free(said);
    assert_int_equal(RUN("infer", "words.tally", "--input", "words.npy", "--output", "after.npy"), 0);
    assert_int_equal(npy_read(&before, "before.npy", 1 << 24, &e), 0);
    assert_int_equal(npy_read(&after, "after.npy", 1 << 24, &e), 0);
    assert_int_equal(shape_size(before.shape), shape_size(after.shape));
    assert_true(shape_size(before.shape) > 1000);
    for (size_t i = 0; i < shape_size(before.shape); i++)
        assert_true(fabsf(before.floats[i] - after.floats[i]) < 1e-4f);
    npy_free(&before);
    npy_free(&after);
}

static int run_make(void **state) {
    (void)state;
    static char folder[] = "export-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    if (!mkdtemp(folder) || chdir(folder) != 0 || file_write_text("small.json", config_text, &e) != 0)
        return -1;
    return RUN("train", "small.json", "--no-report", "--quiet", "--out", "run");
}

static int run_remove(void **state) {
    (void)state;
    return system("rm -rf \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_forms), cmocka_unit_test(same_bytes_twice),    cmocka_unit_test(fewer_bits),
        cmocka_unit_test(every_format), cmocka_unit_test(softmax_sums_to_one), cmocka_unit_test(refusals),
        cmocka_unit_test(tokens_leave),
    };
    return cmocka_run_group_tests(tests, run_make, run_remove);
}
