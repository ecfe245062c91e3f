// tally infer and the arrays of tally eval, end to end: a small run is trained and exported; its error, outputs and
// classes must be the trained run's, for every kernel and batch, as a data set, an array and a picture.
#include "datasets/dataset.h"
#include "datasets/io/npy.h"
#include "datasets/io/png.h"
#include "export/export.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

enum { SAMPLES = 600, CLASSES = 10, SIDE = 28, PIXELS = SIDE * SIDE, LIMIT = 1 << 24 };

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 1000, \"test\": 600}}, "
    "\"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 24}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03, \"leak\": 0.03}}], \"others\": [\"adam\"],\n"
    "  \"sparsity\": {\"target\": 0.1, \"freeze\": 0.7}},\n"
    " \"train\": {\"epochs\": 6, \"batch\": 50, \"shards\": 2}}\n";

// The same test images; how many there are to train on does not change them.
static const char set[] = "{\"digits\": {\"train\": 1, \"test\": 600}}";

// --- helpers ---------------------------------------------------------------------------------------------

// The program's output as one JSON tree; json_free it.
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

static double number_of(const struct json *tree, const char *key) {
    const struct json *node = json_find(tree, key);
    if (!node || json_type(node) != JSON_NUMBER) fail_msg("no number '%s'", key);
    return json_number(node);
}

static struct npy array_read(const char *path, enum npy_type type, struct shape shape) {
    struct npy a;
    struct err e = {""};
    if (npy_read(&a, path, LIMIT, &e) != 0) fail_msg("%s", e.text);
    assert_int_equal(a.type, type);
    assert_true(shape_equal(a.shape, shape));
    return a;
}

static struct shape images(int count) {
    return (struct shape){4, {count, 1, SIDE, SIDE}};
}

static int class_of(const float *y) {
    int best = 0;
    for (int j = 1; j < CLASSES; j++) best = y[j] > y[best] ? j : best;
    return best;
}

static double softmax_of(const float *y, int k) {
    double sum = 0;
    for (int j = 0; j < CLASSES; j++) sum += exp((double)y[j] - y[k]);
    return 1 / sum;
}

// --- eval's arrays ---------------------------------------------------------------------------------------

static void data_open(struct dataset *data, const char *text) {
    struct err e;
    struct json *node = json_of(text);
    struct data_source source = {.threads = 1};
    assert_int_equal(dataset_open(data, node, "set", &source, &e), 0);
    json_free(node);
}

static void test_part(void **state) {
    (void)state;
    struct npy logits = array_read("logits.npy", NPY_F32, shape_2(SAMPLES, CLASSES));
    struct npy inputs = array_read("inputs.npy", NPY_U8, images(SAMPLES));
    struct npy labels = array_read("labels.npy", NPY_U8, shape_1(SAMPLES));
    struct dataset data;
    data_open(&data, set);
    assert_memory_equal(inputs.bytes, data.test.pixels, SAMPLES * PIXELS);
    assert_memory_equal(labels.bytes, data.test.labels, SAMPLES);
    int wrong = 0;
    for (int i = 0; i < SAMPLES; i++) wrong += class_of(logits.floats + i * CLASSES) != labels.bytes[i];
    assert_int_equal(RUN("eval", "run", "--json"), 0);
    struct json *eval = log_json();
    assert_int_equal(number_of(eval, "wrong"), wrong);
    assert_true(wrong > 0 && wrong < SAMPLES / 2); // it learned, and there is something to compare
    json_free(eval);
    dataset_close(&data);
    npy_free(&logits);
    npy_free(&inputs);
    npy_free(&labels);
}

// Held out of the training images in an order of its own: each must be one of them, with its label.
static void validation_part(void **state) {
    (void)state;
    enum { COUNT = 100, TRAIN = 1000 };
    assert_int_equal(RUN("eval", "run", "--split", "validation", "--logits", "l.npy", "--inputs", "i.npy",
                         "--labels", "a.npy", "--json"),
                     0);
    struct npy logits = array_read("l.npy", NPY_F32, shape_2(COUNT, CLASSES));
    struct npy inputs = array_read("i.npy", NPY_U8, images(COUNT));
    struct npy labels = array_read("a.npy", NPY_U8, shape_1(COUNT));
    struct dataset data;
    data_open(&data, "{\"digits\": {\"train\": 1000, \"test\": 1}}");
    int wrong = 0;
    for (int i = 0; i < COUNT; i++) {
        int found = 0;
        while (found < TRAIN &&
               memcmp(data.train.pixels + found * PIXELS, inputs.bytes + i * PIXELS, PIXELS) != 0)
            found++;
        assert_true(found < TRAIN);
        assert_int_equal(data.train.labels[found], labels.bytes[i]);
        wrong += class_of(logits.floats + i * CLASSES) != labels.bytes[i];
    }
    struct json *eval = log_json();
    assert_int_equal(number_of(eval, "wrong"), wrong);
    json_free(eval);
    dataset_close(&data);
    npy_free(&logits);
    npy_free(&inputs);
    npy_free(&labels);
}

// --- the exported model ----------------------------------------------------------------------------------

// o.npy holds the run's logits nearly, and the same bits as `first`, which it becomes when it is empty.
static void outputs_compare(struct npy *first, const struct npy *logits) {
    struct npy y = array_read("o.npy", NPY_F32, shape_2(SAMPLES, CLASSES));
    for (int i = 0; i < SAMPLES; i++) {
        const float *a = y.floats + i * CLASSES, *b = logits->floats + i * CLASSES;
        for (int j = 0; j < CLASSES; j++) assert_near(a[j], b[j], 1e-4);
        assert_int_equal(class_of(a), class_of(b));
    }
    if (first->floats) {
        assert_memory_equal(first->floats, y.floats, SAMPLES * CLASSES * sizeof(float));
        npy_free(&y);
    } else {
        *first = y;
    }
}

static void kernels_and_batches(void **state) {
    (void)state;
    static const char *const kernels[] = {"sparse", "dense", "auto"}, *const batches[] = {"1", "7", "64",
                                                                                          "1000"};
    struct npy logits = array_read("logits.npy", NPY_F32, shape_2(SAMPLES, CLASSES)), first = {0};
    assert_int_equal(RUN("eval", "run", "--json"), 0);
    struct json *eval = log_json();
    for (int k = 0; k < 3; k++)
        for (int b = 0; b < 4; b++) {
            assert_int_equal(RUN("infer", "m.tally", "--input", set, "--kernel", kernels[k], "--batch",
                                 batches[b], "--output", "o.npy", "--json"),
                             0);
            struct json *infer = log_json();
            assert_int_equal(number_of(infer, "samples"), SAMPLES);
            assert_true(number_of(infer, "wrong") == number_of(eval, "wrong"));
            assert_true(number_of(infer, "error") == number_of(eval, "error"));
            assert_true(number_of(infer, "samples_per_second") > 0);
            assert_string_equal(json_string(json_find(infer, "kernel")), kernels[k]);
            assert_string_equal(json_string(json_find(infer, "dataset")), "digits");
            json_free(infer);
            outputs_compare(&first, &logits);
        }
    // The same images as arrays: of bytes, flat, and of the floats that pixels become.
    struct npy inputs = array_read("inputs.npy", NPY_U8, images(SAMPLES));
    float *floats = mem_new(SAMPLES * PIXELS, sizeof *floats);
    for (int i = 0; i < SAMPLES * PIXELS; i++) floats[i] = (float)inputs.bytes[i] / 255;
    struct err e;
    assert_int_equal(npy_write("flat.npy", NPY_U8, shape_2(SAMPLES, PIXELS), inputs.bytes, &e), 0);
    assert_int_equal(npy_write("floats.npy", NPY_F32, shape_3(SAMPLES, SIDE, SIDE), floats, &e), 0);
    static const char *const arrays[] = {"inputs.npy", "flat.npy", "floats.npy"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(RUN("infer", "m.tally", "--input", arrays[i], "--output", "o.npy", "--batch", "9"),
                         0);
        outputs_compare(&first, &logits);
    }
    mem_free(floats);
    json_free(eval);
    npy_free(&inputs);
    npy_free(&logits);
    npy_free(&first);
}

static void lines_of_an_array(void **state) {
    (void)state;
    struct npy logits = array_read("logits.npy", NPY_F32, shape_2(SAMPLES, CLASSES));
    assert_int_equal(RUN("infer", "m.tally", "--input", "inputs.npy"), 0);
    char *text = log_text(), *at = text, *end;
    for (int i = 0; i < SAMPLES; i++) {
        const float *y = logits.floats + i * CLASSES;
        assert_int_equal(strtol(at, &end, 10), i);
        assert_int_equal(strtol(end, &end, 10), class_of(y));
        assert_near(strtod(end, &end), softmax_of(y, class_of(y)), 2e-4);
        assert_int_equal(*end, '\n');
        at = end + 1;
    }
    assert_int_equal(*at, 0);
    mem_free(text);
    assert_int_equal(RUN("infer", "m.tally", "--input", "inputs.npy", "--json"), 0);
    text = log_text();
    for (at = text; *at; at = end + 1) {
        end = strchr(at, '\n');
        assert_non_null(end);
        *end = 0;
        struct json *line = json_of(at);
        const float *y = logits.floats + (int)number_of(line, "index") * CLASSES;
        assert_int_equal(number_of(line, "class"), class_of(y));
        json_free(line);
    }
    mem_free(text);
    npy_free(&logits);
}

// What infer says of a picture must be what it said of the same digit in a batch.
static void picture_compare(const char *model, const char *invert, const float *y) {
    assert_int_equal(RUN("infer", model, "--input", "digit.png", "--json", invert), 0);
    struct json *said = log_json();
    assert_int_equal(number_of(said, "class"), class_of(y));
    const struct json *top = json_find(said, "top");
    assert_int_equal(json_count(top), 3);
    for (int i = 0; i < 3; i++) {
        const struct json *item = json_item(top, i);
        int k = (int)number_of(item, "class"), larger = 0;
        for (int j = 0; j < CLASSES; j++) larger += y[j] > y[k];
        assert_int_equal(larger, i);
        assert_near(number_of(item, "probability"), softmax_of(y, k), 1e-4);
    }
    json_free(said);
}

static void pictures(void **state) {
    (void)state;
    struct npy logits = array_read("logits.npy", NPY_F32, shape_2(SAMPLES, CLASSES));
    struct npy inputs = array_read("inputs.npy", NPY_U8, images(SAMPLES));
    struct err e;
    for (int i = 0; i < 4; i++) {
        const uint8_t *pixels = inputs.bytes + i * PIXELS;
        const float *y = logits.floats + i * CLASSES;
        uint8_t other[3 * PIXELS];
        assert_int_equal(png_write("digit.png", SIDE, SIDE, 1, pixels, &e), 0);
        picture_compare("m.tally", NULL, y);
        picture_compare("s.tally", NULL, y); // ends with a softmax
        for (int at = 0; at < 3 * PIXELS; at++) other[at] = pixels[at / 3];
        assert_int_equal(png_write("digit.png", SIDE, SIDE, 3, other, &e), 0);
        picture_compare("m.tally", NULL, y);
        for (int at = 0; at < PIXELS; at++) other[at] = (uint8_t)(255 - pixels[at]);
        assert_int_equal(png_write("digit.png", SIDE, SIDE, 1, other, &e), 0);
        picture_compare("m.tally", "--invert", y);
        assert_int_equal(RUN("infer", "m.tally", "--input", "digit.png", "--invert"), 0);
        char *text = log_text(), wanted[64];
        snprintf(wanted, sizeof wanted, "digit.png: %d\n  class  probability\n  %5d  ", class_of(y),
                 class_of(y));
        assert_memory_equal(text, wanted, strlen(wanted));
        mem_free(text);
    }
    npy_free(&logits);
    npy_free(&inputs);
}

// Outputs 12 numbers that are its inputs: planes of red, green, blue.
static void colour(void **state) {
    (void)state;
    enum { WIDTH = 3, HEIGHT = 2, NUMBERS = 3 * WIDTH * HEIGHT };
    float identity[NUMBERS * NUMBERS] = {0};
    uint8_t pixels[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) {
        identity[i * NUMBERS + i] = 1;
        pixels[i] = (uint8_t)(200 - 9 * i);
    }
    struct net_layer layers[2] = {{.kind = NET_FLATTEN,
                                   .name = "flatten1",
                                   .input = {NET_SAMPLE, NET_NONE},
                                   .in = shape_3(3, HEIGHT, WIDTH),
                                   .out = shape_1(NUMBERS)},
                                  {.kind = NET_LINEAR,
                                   .name = "linear1",
                                   .input = {0, NET_NONE},
                                   .in = shape_1(NUMBERS),
                                   .out = shape_1(NUMBERS)}};
    layers[1].weight = (struct net_tensor){
        .shape = shape_2(NUMBERS, NUMBERS), .size = NUMBERS * NUMBERS, .scale = 1, .value = identity};
    struct net net = {
        .name = "colour", .in = shape_3(3, HEIGHT, WIDTH), .std = 1, .layers = layers, .count = 2};
    size_t bytes[2];
    struct err e = {""};
    const struct export_options options = {0};
    if (export_formats[0]->write(&net, "rgb.tally", &options, &(struct export_sizes){0, bytes}, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(png_write("rgb.png", WIDTH, HEIGHT, 3, pixels, &e), 0);
    assert_int_equal(RUN("infer", "rgb.tally", "--input", "rgb.png", "--output", "rgb.npy"), 0);
    struct npy y = array_read("rgb.npy", NPY_F32, shape_2(1, NUMBERS));
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < WIDTH * HEIGHT; i++)
            assert_near(y.floats[c * WIDTH * HEIGHT + i], (float)pixels[3 * i + c] / 255, 0);
    npy_free(&y);
    assert_int_equal(RUN("infer", "rgb.tally", "--input", set), 1);
    char *text = log_text();
    assert_string_equal(text, "tally: digits: samples of (1, 28, 28), the model wants (3, 2, 3)\n");
    mem_free(text);
}

// --- what goes wrong -------------------------------------------------------------------------------------

static const struct {
    const char *words[8];
    int status;
    const char *message;
} bads[] = {
    {{"infer"}, 2, "wanted one model; see 'tally infer --help'"},
    {{"infer", "m.tally"}, 2, "--input is missing: a .png, a .npy or a data set; see 'tally infer --help'"},
    {{"infer", "m.tally", "s.tally", "--input", "mnist"}, 2, "wanted one model; see 'tally infer --help'"},
    {{"infer", "m.tally", "--input", "a.png", "--batch", "0"},
     2,
     "--batch: '0' is not a whole number in 1 .. 65536; see 'tally infer --help'"},
    {{"infer", "m.tally", "--input", "a.png", "--kernel", "spars"},
     2,
     "--kernel: unknown kernel 'spars'; did you mean 'sparse'?; see 'tally infer --help'"},
    {{"infer", "m.tally", "--label", "x"},
     2,
     "unknown option or missing value: --label; see 'tally infer --help'"},
    {{"infer", "gone.tally", "--input", "mnist"}, 1, "gone.tally: No such file or directory"},
    {{"infer", "run", "--input", "mnist"},
     1,
     "run: a run, not a model; make one with 'tally export run --format tally -o FILE'"},
    {{"infer", "text.png", "--input", "mnist"},
     1,
     "text.png: not a Tally model: it does not begin with \"TLYN\""},
    {{"infer", "m.tally", "--input", "gone.png"}, 1, "gone.png: No such file or directory"},
    {{"infer", "m.tally", "--input", "text.png"}, 1, "text.png: not a PNG file"},
    {{"infer", "m.tally", "--input", "narrow.png"}, 1, "narrow.png: 20x28 pixels, the model wants 28x28"},
    {{"infer", "m.tally", "--input", "text.npy"}, 1, "text.npy: not a .npy file"},
    {{"infer", "m.tally", "--input", "narrow.npy"},
     1,
     "narrow.npy: an array (2, 28, 20), wanted (samples, 1, 28, 28) or (samples, 784)"},
    {{"infer", "m.tally", "--input", "single.npy"},
     1,
     "single.npy: an array (784), wanted (samples, 1, 28, 28) or (samples, 784)"},
    {{"infer", "m.tally", "--input", "floats.npy", "--invert"},
     1,
     "--invert: the samples of floats.npy are '<f4' and taken as they are"},
    {{"infer", "m.tally", "--input", "photo.jpg"},
     1,
     "--input: 'photo.jpg' is no .png, no .npy and no data set"},
    {{"infer", "m.tally", "--input", "digit"},
     1,
     "--input: unknown data set 'digit'; did you mean 'digits'?"},
    {{"infer", "m.tally", "--input", "{\"digits\": {\"tset\": 1}}"},
     1,
     "--input.digits: unknown key 'tset'; did you mean 'test'?"},
    {{"infer", "m.tally", "--input", "{\"digits\""}, 1, "--input: line 1, column 9: not valid JSON here"},
    {{"infer", "m.tally", "--input", "mnist", "--data", "run"},
     1,
     "mnist: train-images-idx3-ubyte not found in run, data (get it: datasets/get mnist)"},
    {{"eval", "run", "--logits", "no/l.npy"}, 1, "no/l.npy"},
};

static void bad_input(void **state) {
    (void)state;
    static const uint8_t grey[SIDE * SIDE];
    struct err e;
    assert_int_equal(file_write_text("text.png", "a text\n", &e), 0);
    assert_int_equal(file_write_text("text.npy", "a text that is no array\n", &e), 0);
    assert_int_equal(png_write("narrow.png", 20, SIDE, 1, grey, &e), 0);
    assert_int_equal(npy_write("narrow.npy", NPY_U8, shape_3(2, SIDE, 20), (uint8_t[2 * SIDE * 20]){0}, &e),
                     0);
    assert_int_equal(npy_write("single.npy", NPY_U8, shape_1(PIXELS), grey, &e), 0);
    assert_int_equal(npy_write("floats.npy", NPY_F32, shape_2(1, PIXELS), (float[PIXELS]){0}, &e), 0);
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        int status = program_end(program_start(bads[i].words));
        char *text = log_text(), wanted[300];
        snprintf(wanted, sizeof wanted, "tally: %s\n", bads[i].message);
        if (strcmp(bads[i].words[0], "infer") == 0)
            assert_string_equal(text, wanted);
        else
            assert_memory_equal(text, wanted, strlen(wanted) - 1);
        assert_int_equal(status, bads[i].status);
        mem_free(text);
    }
    assert_int_equal(RUN("infer", "--help"), 0);
}

// A model that is cut anywhere, or has any byte changed, is refused; the checksums see to that.
static void broken_models(void **state) {
    (void)state;
    struct err e;
    size_t size;
    unsigned char *bytes = file_read_new(&size, "m.tally", LIMIT, &e);
    assert_non_null(bytes);
    for (size_t i = 0; i < 12; i++) {
        size_t at = i * (size / 12);
        assert_int_equal(file_write_bytes("broken.tally", bytes, at, &e), 0);
        assert_int_equal(RUN("infer", "broken.tally", "--input", "inputs.npy"), 1);
        bytes[at] ^= 0x40;
        assert_int_equal(file_write_bytes("broken.tally", bytes, size, &e), 0);
        assert_int_equal(RUN("infer", "broken.tally", "--input", "inputs.npy"), 1);
        bytes[at] ^= 0x40;
    }
    mem_free(bytes);
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "infer-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    bool good =
        mkdtemp(folder) && chdir(folder) == 0 && file_write_text("small.json", config_text, &e) == 0 &&
        RUN("train", "small.json", "--no-report", "--quiet", "--out", "run") == 0 &&
        RUN("export", "run", "--format", "tally", "-o", "m.tally") == 0 &&
        RUN("export", "run", "--format", "tally", "--softmax", "-o", "s.tally") == 0 &&
        RUN("eval", "run", "--logits", "logits.npy", "--inputs", "inputs.npy", "--labels", "labels.npy") == 0;
    return good ? 0 : -1;
}

static int folder_remove(void **state) {
    (void)state;
    return system("rm -rf \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_part),
        cmocka_unit_test(validation_part),
        cmocka_unit_test(kernels_and_batches),
        cmocka_unit_test(lines_of_an_array),
        cmocka_unit_test(pictures),
        cmocka_unit_test(colour),
        cmocka_unit_test(bad_input),
        cmocka_unit_test(broken_models),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
