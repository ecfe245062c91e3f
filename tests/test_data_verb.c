// `tally data`: a set as folders of PNG images and back to the same bytes; what it says and refuses. And whole runs on data
// that is not like the digits: numbers answered with numbers, told and sorted by their loss; augmented images.
#include "datasets/dataset.h"
#include "datasets/io/npy.h"
#include "experiments/saved.h"
#include "src/file.h"
#include "src/rng.h"
#include "tests/check.h"
#include "tests/program.h"

enum { SAMPLES = 400, NUMBERS = 5, OUTPUTS = 2 };

static char *log_new(const char *path) {
    size_t size;
    struct err e;
    char *text = (char *)file_read_new(&size, path, 1 << 24, &e);
    if (!text) fail_msg("%s", e.text);
    return text;
}

// The program's last output begins so.
static void log_begins(const char *wanted) {
    char *text = log_new("log.txt");
    if (strncmp(text, wanted, strlen(wanted)) != 0) fail_msg("found  %s\nwanted %s", text, wanted);
    mem_free(text);
}

static void log_has(const char *wanted) {
    char *text = log_new("log.txt");
    if (!strstr(text, wanted)) fail_msg("no '%s' in\n%s", wanted, text);
    mem_free(text);
}

static void same_file(const char *a, const char *b) {
    size_t size[2];
    struct err e;
    unsigned char *bytes[2] = {file_read_new(&size[0], a, 1 << 24, &e),
                               file_read_new(&size[1], b, 1 << 24, &e)};
    assert_true(bytes[0] && bytes[1] && size[0] == size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    mem_free(bytes[0]);
    mem_free(bytes[1]);
}

// --- the verb --------------------------------------------------------------------------------------------------

static void set_open(struct dataset *d, const char *text) {
    struct json *node = json_of(text);
    struct data_source source = {.folder = {".", NULL, NULL}, .threads = 2};
    struct err e;
    if (dataset_open(d, node, "set", &source, &e) != 0) fail_msg("%s", e.text);
    json_free(node);
}

static void round_trip(void **state) {
    (void)state;
    assert_int_equal(RUN("data", "digits", "train=120", "test=30", "--png", "drawn"), 0);
    log_begins("drawn: 150 images of digits\n");
    struct dataset drawn, read;
    set_open(&drawn, "{\"digits\": {\"train\": 120, \"test\": 30}}");
    set_open(&read, "{\"png_folder\": {\"folder\": \"drawn\"}}");
    assert_true(read.classes == 10 && shape_equal(drawn.sample, read.sample));
    assert_true(read.train.count == 120 && read.test.count == 30);
    assert_memory_equal(read.train.pixels, drawn.train.pixels, 120 * 784);
    assert_memory_equal(read.test.pixels, drawn.test.pixels, 30 * 784);
    assert_memory_equal(read.train.labels, drawn.train.labels, 120);
    assert_memory_equal(read.test.labels, drawn.test.labels, 30);
    dataset_close(&drawn);
    dataset_close(&read);
    assert_int_equal(
        RUN("data", "{\"digits\": {\"train\": 120}}", "--png", "few", "--limit", "80", "--quiet"), 0);
    set_open(&read, "{\"png_folder\": {\"folder\": \"few\"}}");
    assert_true(read.train.count == 80 && read.test.count == 80);
    dataset_close(&read);
}

static void says(void **state) {
    (void)state;
    assert_int_equal(RUN("data", "digits", "train=120", "test=30"), 0);
    log_begins("digits: images of (1, 28, 28), 10 classes\n120 training, 30 test samples; mean 0.1");
    assert_int_equal(RUN("data", "tales", "length=20000"), 0);
    log_begins("tales: tokens of (64), 4");
    log_has("classes, a label for each position\n");
    log_has("\nalphabet: \\x0a .0123456789");
    assert_int_equal(RUN("data", "npy", "--data", ".", "--json"), 0);
    log_begins(
        "{\"dataset\":\"npy\",\"kind\":\"numbers\",\"sample\":[5],\"classes\":0,\"targets\":1,\"target\":[2],"
        "\"train\":320,\"validation\":0,\"test\":80,\"mean\":");
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *words[8];
        int status;
        const char *message;
    } rows[] = {
        {{"data"},
         2,
         "tally: no data set given; 'tally list datasets' knows them; see 'tally data --help'\n"},
        {{"data", "digits", "mnist"}, 2, "tally: two data sets: digits and mnist; see 'tally data --help'\n"},
        {{"data", "digit"}, 1, "tally: SET: unknown data set 'digit'; did you mean 'digits'?\n"},
        {{"data", "digits", "tain=5"}, 1, "tally: SET.digits: unknown key 'tain'; did you mean 'train'?\n"},
        {{"data", "{digits}"}, 1, "tally: SET: line 1, column 3: not valid JSON here\n"},
        {{"data", "tales", "--png", "x"},
         1,
         "tally: tales: wanted images of one or three channels, with classes\n"},
        {{"data", "npy", "--data", ".", "--png", "x"},
         1,
         "tally: npy: wanted images of one or three channels, with classes\n"},
        {{"data", "digits", "train=5", "--png", "small.json"}, 1, "tally: small.json: is there already\n"},
        {{"data", "digits", "train=5", "--png", "no/such/folder"}, 0, ""},
        {{"data", "digits", "--limit", "0"},
         2,
         "tally: --limit: '0' is not a whole number in 1 .. 1073741824"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(program_end(program_start(rows[i].words)), rows[i].status);
        log_begins(rows[i].message);
    }
    assert_false(file_exists("x"));
}

// --- runs ------------------------------------------------------------------------------------------------------

static const char numbers_config[] =
    "{\"name\": \"numbers\", \"data\": {\"set\": \"npy\", \"folder\": \".\", \"validation\": 80},\n"
    " \"model\": [{\"linear\": {\"out\": 16}}, \"tanh\", {\"linear\": {\"out\": 2}}],\n"
    " \"optim\": {\"weights\": [{\"adam\": {\"rate\": 0.03}}], \"others\": [{\"adam\": {\"rate\": 0.03}}]},\n"
    " \"train\": {\"epochs\": 40, \"batch\": 40, \"shards\": 2, \"loss\": \"mse\"}}\n";

static const char images_config[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 600, \"test\": 100}}, "
    "\"validation\": 100,\n"
    " \"augment\": {\"shift\": 2, \"flip\": true}},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 16}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [\"adam\"], \"others\": [\"adam\"]},\n"
    " \"train\": {\"epochs\": 3, \"batch\": 50, \"shards\": 3}}\n";

static double summary_number(const char *folder, const char *key) {
    struct err e;
    struct json *s = saved_summary_new(folder, &e);
    const struct json *node = json_find(s, key);
    assert_non_null(node);
    double number = json_type(node) == JSON_NUMBER ? json_number(node) : NAN;
    json_free(s);
    return number;
}

// A run without errors: null in every file, and everything that tells or sorts does so by the loss.
static void numbers_run(void **state) {
    (void)state;
    assert_int_equal(RUN("train", "numbers.json", "--out", "n1", "--threads", "1"), 0);
    log_has("epoch 1/40  loss ");
    log_has("  validation loss ");
    log_has("finished: npy test loss ");
    assert_true(isnan(summary_number("n1", "test_error")) && isnan(summary_number("n1", "validation_error")));
    assert_true(isnan(summary_number("n1", "train_error")));
    double loss = summary_number("n1", "test_loss");
    assert_true(loss < 0.5); // the variance of the answers is about 1.3
    assert_true(summary_number("n1", "validation_loss") < 0.5);
    assert_int_equal(RUN("train", "numbers.json", "--out", "n2", "--threads", "2", "--no-report"), 0);
    same_file("n1/checkpoint.safetensors", "n2/checkpoint.safetensors");
    assert_int_equal(RUN("eval", "n1", "--labels", "y.out.npy", "--logits", "z.out.npy"), 0);
    log_begins("npy test: loss ");
    struct npy y, z;
    struct err e;
    assert_int_equal(npy_read(&y, "y.out.npy", 1 << 20, &e) | npy_read(&z, "z.out.npy", 1 << 20, &e), 0);
    assert_true(shape_equal(y.shape, shape_2(80, OUTPUTS)) && shape_equal(z.shape, y.shape));
    double sum = 0;
    for (size_t i = 0; i < y.size; i++) sum += pow((double)y.floats[i] - (double)z.floats[i], 2);
    assert_near(sum / (double)y.size, loss, 1e-6 * loss);
    npy_free(&y);
    npy_free(&z);
    assert_int_equal(RUN("eval", "n1", "--json"), 0);
    log_has("\"wrong\":null,\"error\":null,\"loss\":0.");
    assert_int_equal(RUN("inspect", "n1", "n2"), 0);
    log_begins("| run | data | epochs | seeds | test error % or loss |");
    log_has("| numbers | npy | 40 | 2 | loss 0.");
    char *page = log_new("n1/report.html");
    assert_non_null(strstr(page, "test loss"));
    assert_non_null(strstr(page, "loss at 10 %"));
    mem_free(page);
    assert_int_equal(RUN("export", "n1"), 1);
    log_begins(
        "tally: n1: trained on numbers without classes; only models of images or tokens with classes can be "
        "exported\n");
}

static void numbers_sorted_by_loss(void **state) {
    (void)state;
    assert_int_equal(RUN("sweep", "numbers.json", "weights.0.adam.rate=0.0001,0.03", "train.epochs=8",
                         "--out", "swept", "--quiet"),
                     0);
    struct err e;
    struct json *sweep = json_load_new("swept/sweep.json", 1 << 20, &e);
    assert_string_equal(json_string(json_find(sweep, "sorted_by")), "validation_loss");
    double loss[2];
    for (int i = 0; i < 2; i++) {
        const struct json *run = json_item(json_find(sweep, "runs"), i);
        loss[i] = json_number(json_find(run, "validation_loss"));
        assert_int_equal(json_type(json_find(run, "validation_error")), JSON_NULL);
    }
    assert_true(loss[0] < loss[1]);
    json_free(sweep);
    char *csv = log_new("swept/sweep.csv");
    assert_int_equal(strncmp(csv, "name,status,validation_loss,density,", 36), 0);
    mem_free(csv);
    assert_int_equal(RUN("compare", "n1", "n2"), 1); // of one name and seed
    assert_int_equal(
        RUN("train", "numbers.json", "name=other", "seed=2", "--out", "n3", "--quiet", "--no-report"), 0);
    assert_int_equal(RUN("compare", "n1", "n3"), 0);
    log_begins("variant  runs        test loss  density");
    log_has("pruning: test loss with so many of all weights kept");
    log_has("one-shot pruning to 10 %: ");
}

static void augmented_run(void **state) {
    (void)state;
    assert_int_equal(RUN("train", "small.json", "--out", "a1", "--threads", "1", "--quiet", "--no-report"),
                     0);
    assert_int_equal(RUN("train", "small.json", "--out", "a2", "--threads", "2", "--quiet", "--no-report"),
                     0);
    same_file("a1/checkpoint.safetensors", "a2/checkpoint.safetensors");
    struct err e;
    struct json *config = json_load_new("a1/config.json", 1 << 20, &e);
    assert_true(json_number(json_at(config, "data.augment.shift")) == 2);
    json_free(config);
    assert_int_equal(RUN("train", "small.json", "data.augment={}", "--out", "a3", "--quiet", "--no-report"),
                     0);
    config = json_load_new("a3/config.json", 1 << 20, &e);
    assert_null(json_at(config, "data.augment"));
    json_free(config);
    assert_true(summary_number("a1", "train_loss") > summary_number("a3", "train_loss"));
    assert_int_equal(RUN("train", "small.json", "data.augment.shift=28", "--out", "a4"), 1);
    log_begins("tally: small.json: data.augment.shift: 28 pixels leave nothing of 28x28\n");
    assert_int_equal(RUN("train", "small.json", "data.augment.turn=1", "--out", "a4"), 1);
    log_begins("tally: small.json: data.augment: unknown key 'turn'");
}

// What a config asks for that does not go together.
static void configs_refused(void **state) {
    (void)state;
    static const struct {
        const char *change, *message;
    } rows[] = {
        {"train.loss=cross_entropy",
         "tally: numbers.json: train.loss: 'cross_entropy' wants classes, the data set "
         "has numbers to answer with; use \"mse\"\n"},
        {"train.metrics=[\"error\"]", "tally: numbers.json: train.metrics.0: 'error' wants classes, the data "
                                      "set has numbers to answer with\n"},
        {"data.validation=320",
         "tally: numbers.json: data.validation: 320 held out of 320 training samples leaves none\n"},
        {"model.2.linear.out=3", "tally: numbers.json: model: ends with (3), the data set wants (2)\n"},
        {"data.augment={\"flip\": true}",
         "tally: numbers.json: data.augment: wants images, the data set has numbers of (5)\n"},
        {"data.set={\"tales\": {\"length\": 10000}}", "tally: numbers.json: data.validation: 'tales' keeps a "
                                                      "validation part of its own; leave this out\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(RUN("train", "numbers.json", rows[i].change, "--out", "never"), 1);
        log_begins(rows[i].message);
    }
}

// --- the working folder ----------------------------------------------------------------------------------------

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "data-XXXXXX";
    float x[SAMPLES * NUMBERS], y[SAMPLES * OUTPUTS];
    struct rng r = rng_stream(1, "test");
    struct err e;
    unsetenv("TALLY_DATA");
    for (int i = 0; i < SAMPLES; i++) {
        float *in = x + i * NUMBERS, *out = y + i * OUTPUTS;
        for (int j = 0; j < NUMBERS; j++) in[j] = (float)(4 * rng_uniform(&r) - 2);
        out[0] = in[0] - in[1];
        out[1] = in[2] * in[2] - 0.5f * in[3];
    }
    if (!mkdtemp(folder) || chdir(folder) != 0 || file_make_folder("npy", &e) != 0) return -1;
    return npy_write("npy/x.npy", NPY_F32, shape_2(SAMPLES, NUMBERS), x, &e) |
           npy_write("npy/y.npy", NPY_F32, shape_2(SAMPLES, OUTPUTS), y, &e) |
           file_write_text("numbers.json", numbers_config, &e) |
           file_write_text("small.json", images_config, &e);
}

static int folder_remove(void **state) {
    (void)state;
    char path[4096], command[4200];
    if (!getcwd(path, sizeof path) || chdir("..") != 0) return -1;
    snprintf(command, sizeof command, "rm -r '%s'", path);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(says),
        cmocka_unit_test(refused),
        cmocka_unit_test(numbers_run),
        cmocka_unit_test(numbers_sorted_by_loss),
        cmocka_unit_test(augmented_run),
        cmocka_unit_test(configs_refused),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
