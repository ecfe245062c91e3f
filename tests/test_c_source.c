// The C source export of chains of linear layers, in floats and in integers: nets made by hand are compiled and run, and
// compared with net_forward to the bit; the integer form with arithmetic of its own here. test_c_layers has the other kinds
// of layers, tests/readers/c_source trained nets and ARM.
#include <locale.h>

#include "tests/c_programs.h"

static void float_maps(void **state) {
    if (!has_compiler()) skip();
    for (int kind = 0; kind < NUMBER_KINDS; kind++)
        for (int bits = 8; bits <= 16; bits += 8) {
            struct made m = made_new(shape_3(1, 9, 9), (uint64_t)(2 * kind + bits / 16));
            plain_add(&m, NET_FLATTEN);
            bool counts = bits == 16 && (kind == NUMBER_LINEAR || kind == NUMBER_SQUARE);
            bool short_of_values = bits == 8 || kind == NUMBER_MADAM || kind == NUMBER_POW2;
            linear_add(
                &m, (struct draw){.out = 40, .density = 0.25, .bits = bits, .kind = (enum number_kind)kind});
            plain_add(&m, NET_RELU);
            linear_add(
                &m, (struct draw){.out = 20, .density = 0.9, .bits = bits, .kind = (enum number_kind)kind});
            float_check(state, &m,
                        counts            ? "const int16_t a_net_1_linear1_weight"
                        : short_of_values ? NULL
                                          : "const float a_net_1_linear1_weight");
        }
}

static void float_codings(void **state) {
    if (!has_compiler()) skip();
    // Few distinct values: indices; rows without entries; units that nothing reads.
    struct made m = made_new(shape_1(30), 50);
    linear_add(&m, (struct draw){.out = 50, .density = 0.04, .bits = 8, .kind = NUMBER_SQUARE, .high = 3});
    plain_add(&m, NET_RELU);
    linear_add(&m, (struct draw){.out = 8, .density = 0.04});
    float_check(state, &m, "a_net_1_linear1_value[a_net_1_linear1_weight[k]]");
    // Gaps of more than 255 columns, in each coding.
    for (int bits = 0; bits <= 16; bits += 8) {
        m = made_new(shape_2(3, 500), (uint64_t)(60 + bits));
        plain_add(&m, NET_FLATTEN);
        linear_add(
            &m,
            (struct draw){
                .out = 60, .density = 0.006, .bits = bits, .high = bits == 8 ? 7 : 0, .kind = NUMBER_SQUARE});
        float_check(state, &m, "255, 255");
    }
    // Exactly 255, 256 and 510 columns apart.
    m = made_new(shape_1(1200), 70);
    struct net_layer *l = linear_add(&m, (struct draw){.out = 2, .density = 0});
    l->weight.value[255] = 1, l->weight.value[511] = 2, l->weight.value[1021] = 3;
    l->weight.value[1200] = 4, l->weight.value[2399] = 5;
    float_check(state, &m, "step[11] = {\n    255, 255, 1, 255, 255, 0, 255, 255, 255, 255, 179};");
}

static void float_biases(void **state) {
    if (!has_compiler()) skip();
    struct made m = made_new(shape_1(20), 80);
    linear_add(&m, (struct draw){.out = 10, .density = 0.3, .no_bias = true});
    linear_add(&m, (struct draw){.out = 10, .density = 0.3});
    net_requantise_biases(m.net);
    float_check(state, &m, "const int8_t a_net_1_linear2_bias[10]");
    // No weights at all, with and without a bias.
    for (int i = 0; i < 2; i++) {
        m = made_new(shape_1(20), 90);
        linear_add(&m, (struct draw){.out = 4, .no_bias = i == 1});
        plain_add(&m, NET_SIGMOID);
        float_check(state, &m, "(void)x;");
    }
}

static void float_activations(void **state) {
    if (!has_compiler()) skip();
    struct made m = made_new(shape_3(2, 4, 5), 100);
    struct net_layer *l = plain_add(&m, NET_AFFINE);
    l->scale = 1 / 0.3081;
    l->shift = -0.4242;
    plain_add(&m, NET_FLATTEN);
    plain_add(&m, NET_TANH);
    linear_add(&m, (struct draw){.out = 60, .density = 0.2});
    plain_add(&m, NET_GELU);
    linear_add(&m, (struct draw){.out = 20, .density = 0.8});
    plain_add(&m, NET_SIGMOID);
    plain_add(&m, NET_RELU);
    linear_add(&m, (struct draw){.out = 33, .density = 0.4, .bits = 12, .kind = NUMBER_POWER});
    plain_add(&m, NET_TANH);
    linear_add(&m, (struct draw){.out = 7, .density = 0.4});
    net_add_softmax(m.net);
    plain_add(&m, NET_AFFINE)->scale = 3;
    float_check(state, &m, "#include <math.h>");
    // Nothing but what acts element by element, or nothing at all.
    m = made_new(shape_1(9), 101);
    plain_add(&m, NET_GELU);
    float_check(state, &m, "a_net_1_gelu1(x, y);");
    m = made_new(shape_2(3, 3), 102);
    plain_add(&m, NET_FLATTEN);
    float_check(state, &m, "a_net_1_flatten1(x, y);");
    m = made_new(shape_1(9), 103);
    plain_add(&m, NET_FLATTEN);
    net_add_softmax(m.net);
    plain_add(&m, NET_RELU);
    float_check(state, &m, "a_net_1_softmax(x, y);");
}

// The scratch that the header asks for is what two neighbours need, without the units that nothing reads.
static void scratch_is_small(void **state) {
    struct err e = {""};
    struct built b = built_new(*state, "n", false);
    struct made m = made_new(shape_1(10), 110);
    int widths[] = {30, 5, 40, 7, 6};
    for (int i = 0; i < 5; i++) {
        linear_add(&m, (struct draw){.out = widths[i], .density = 1});
        plain_add(&m, NET_RELU);
    }
    struct net_tensor *w = &m.net->layers[2].weight;
    for (int i = 0; i < 5; i++)
        for (int j = 20; j < 30; j++) w->value[i * 30 + j] = 0; // 10 of the first 30 units
    assert_int_equal(built_write(&b, m.net, &e), 0);
    char *header = text_read_new(&b, ".h"), *source = text_read_new(&b, ".c");
    assert_non_null(
        strstr(header, "#define N_INPUTS 10\n#define N_OUTPUTS 6\n#define N_SCRATCH_FLOATS 47\n"));
    assert_non_null(strstr(source, "    n_linear1(x, scratch);\n"
                                   "    n_linear2(scratch, scratch + 40);\n"
                                   "    n_linear3(scratch + 40, scratch);\n"
                                   "    n_linear4(scratch, scratch + 40);\n"
                                   "    n_linear5(scratch + 40, y);\n"));
    assert_int_equal(b.layer[0], (20 * 10 + 20) * 4); // dense floats
    mem_free(header);
    mem_free(source);
    net_free(m.net);
}

// --- the integer form ------------------------------------------------------------------------------------------

// The net in double, from its counters.
static void exact_run(const struct net *n, const uint8_t *pixel, double *y) {
    enum { WIDEST = 2048 };
    double now[WIDEST], next[WIDEST];
    size_t size = shape_size(n->in);
    for (size_t j = 0; j < size; j++) now[j] = pixel[j] / 255.0;
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        size_t in = size;
        size = shape_size(l->out);
        for (size_t row = 0; row < size; row++) {
            next[row] = l->kind == NET_RELU && now[row] < 0 ? 0 : now[row];
            if (l->kind != NET_LINEAR) continue;
            next[row] = l->bias.shape.rank ? (double)l->bias.value[row] : 0;
            for (size_t j = 0; j < in; j++)
                next[row] += l->weight.scale *
                             number_value(&l->weight.number, l->weight.counter[row * in + j]) * now[j];
        }
        memcpy(now, next, size * sizeof *now);
    }
    memcpy(y, now, size * sizeof *y);
}

// y is within its error of the exact outputs, and so is the largest where the others are far enough away.
static void exact_check(const struct net *n, const struct shifts *s, const uint8_t *pixel, const double *y,
                        int label) {
    size_t out = outputs_of(n);
    double exact[OUT_MAX], error = s->error * (1 + 1e-6) + 1e-9;
    exact_run(n, pixel, exact);
    for (size_t j = 0; j < out; j++) {
        assert_near(y[j] * s->sigma, exact[j], error + fabs(exact[j]) * 1e-9);
        assert_true(exact[(size_t)label] >= exact[j] - 2 * error - 1e-6);
    }
}

static void integer_check(void **state, struct made *m, const char *contains, const char *in_header) {
    struct err e = {""};
    struct built b = built_new(*state, "int", true);
    size_t in = shape_size(m->net->in), out = outputs_of(m->net);
    if (built_write(&b, m->net, &e) != 0) fail_msg("%s", e.text);
    source_check(&b, "int_", contains);
    char *header = text_read_new(&b, ".h");
    if (in_header && !strstr(header, in_header)) fail_msg("%s isn't in\n%s", in_header, header);
    mem_free(header);
    compile(&b);
    char command[COMMAND];
    snprintf(command, sizeof command, "test \"$('%s/program')\" = ok", b.folder);
    assert_true(works(command));
    uint8_t *pixel = images_new(m);
    struct answers *a = mem_new(1, sizeof *a);
    images_run(a, &b, pixel, in, out);
    struct net *compact = c_compact_new(m->net);
    struct shifts *s = shifts_new(compact, &e);
    assert_non_null(s);
    for (size_t i = 0; i < IMAGES; i++) {
        int32_t y[OUT_MAX];
        shifts_run(s, pixel + i * in, y);
        for (size_t j = 0; j < out; j++) assert_int_equal((int32_t)a->y[i][j], y[j]);
        exact_check(m->net, s, pixel + i * in, a->y[i], a->label[i]);
    }
    shifts_free(s);
    net_free(compact);
    mem_free(a);
    mem_free(pixel);
    net_free(m->net);
}

static const struct draw powers = {
    .density = 0.2, .bits = 8, .kind = NUMBER_POW2, .parameter = 1, .high = 14};

static struct draw powers_of(int out, double density, int32_t low, int32_t high, bool no_bias) {
    struct draw d = powers;
    d.out = out, d.density = density, d.low = low, d.high = high, d.no_bias = no_bias;
    return d;
}

static void integer_forms(void **state) {
    if (!has_compiler()) skip();
    struct made m = made_new(shape_3(1, 10, 10), 200);
    plain_add(&m, NET_RELU); // leaves pixels as they are
    plain_add(&m, NET_FLATTEN);
    linear_add(&m, powers_of(40, 0.2, 8, 16, false));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(30, 0.8, 1, 22, false));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(10, 0.3, 5, 12, true));
    integer_check(state, &m, "if (sum < 0) sum = 0;", "dense shifts");
    // Without a relu between: negative inputs. Gaps of more than 255, empty rows.
    m = made_new(shape_1(1000), 201);
    linear_add(&m, powers_of(40, 0.004, 8, 16, false));
    linear_add(&m, powers_of(30, 0.2, 1, 22, false));
    linear_add(&m, powers_of(10, 0.2, 1, 22, false));
    plain_add(&m, NET_RELU);
    integer_check(state, &m, "v < 0 ? -v : v", NULL);
    // Four levels to an octave: most weights are two powers of two. And a number of levels that is no whole one.
    for (int i = 0; i < 2; i++) {
        m = made_new(shape_1(300), 204);
        struct draw fine = powers_of(40, 0.1, 20, 64, false);
        fine.parameter = i ? 2.5 : 4;
        linear_add(&m, fine);
        plain_add(&m, NET_RELU);
        fine.out = 10, fine.density = 0.7;
        linear_add(&m, fine);
        integer_check(state, &m, NULL, "powers of two, one or two for a weight");
    }
    // Weights that differ by 40 octaves: the smallest can't be seen in 32 bits.
    m = made_new(shape_1(50), 202);
    linear_add(&m, powers_of(20, 0.5, 1, 40, false));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(5, 0.5, 1, 40, false));
    integer_check(state, &m, NULL, "of them are left out: too small to change a sum");
    // No weights in a layer; units that are never above 0.
    m = made_new(shape_1(50), 203);
    struct net_layer *l = linear_add(&m, powers_of(20, 0.5, 1, 12, false));
    for (int i = 0; i < 1000; i++)
        if (i % 100 < 50 && l->weight.counter[i] > 0) {
            l->weight.counter[i] *= -1;
            l->weight.value[i] *= -1;
        }
    for (int i = 0; i < 20; i += 2) l->bias.value[i] = -0.25f;
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(5, 0.5, 1, 12, false));
    linear_add(&m, powers_of(4, 0, 1, 12, false));
    integer_check(state, &m, "(void)x;", NULL);
}

// Many plans, by the simulation alone: it checks that no sum leaves 32 bits, and the error bound is checked here.
static void integer_plans(void **state) {
    (void)state;
    enum { PLANS = 150 };
    for (uint64_t seed = 0; seed < PLANS; seed++) {
        struct made m = made_new(shape_1(20 + (int)seed % 30), 300 + seed);
        struct err e = {""};
        int layers = 1 + (int)rng_below(&m.rng, 5);
        for (int i = 0; i < layers; i++) {
            int32_t low = 1 + (int32_t)rng_below(&m.rng, 20), high = low + (int32_t)rng_below(&m.rng, 20);
            struct draw d =
                powers_of(2 + (int)rng_below(&m.rng, 30), rng_uniform(&m.rng), low, high, seed % 3 == 0);
            d.parameter = seed % 2 ? 1 : 4;
            linear_add(&m, d);
            if (rng_below(&m.rng, 4)) plain_add(&m, NET_RELU);
        }
        struct shifts *s = shifts_new(m.net, &e);
        if (!s) fail_msg("%s", e.text);
        uint8_t *pixel = images_new(&m);
        size_t in = shape_size(m.net->in), out = outputs_of(m.net);
        for (size_t i = 0; i < IMAGES; i++) {
            int32_t y[OUT_MAX];
            double numbers[OUT_MAX];
            int label = 0;
            shifts_run(s, pixel + i * in, y);
            for (size_t j = 0; j < out; j++) {
                numbers[j] = y[j];
                label = y[j] > y[label] ? (int)j : label;
            }
            exact_check(m.net, s, pixel + i * in, numbers, label);
        }
        mem_free(pixel);
        shifts_free(s);
        net_free(m.net);
    }
}

// A net of few octaves loses next to nothing.
static void integer_is_precise(void **state) {
    (void)state;
    struct err e = {""};
    struct made m = made_new(shape_1(100), 500);
    linear_add(&m, powers_of(50, 0.1, 8, 18, false));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(30, 0.1, 8, 18, false));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(10, 0.1, 8, 18, false));
    struct shifts *s = shifts_new(m.net, &e);
    assert_non_null(s);
    assert_true(s->error < 1e-3);
    shifts_free(s);
    net_free(m.net);
}

// --- files ---------------------------------------------------------------------------------------------------------

static struct net *small_new(uint64_t seed) {
    struct made m = made_new(shape_1(12), seed);
    linear_add(&m, powers_of(8, 0.6, 4, 9, false));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(3, 0.6, 4, 9, false));
    return m.net;
}

// The same net gives the same bytes, in any locale; another one does not.
static void bytes_are_the_same(void **state) {
    static const char *const endings[] = {".h", ".c", "_test.c"};
    struct err e = {""};
    for (int integer = 0; integer < 2; integer++) {
        struct built one = built_new(*state, "n", integer), two = built_new(*state, "n", integer);
        struct net *n = small_new(600), *other = small_new(601);
        snprintf(two.folder, sizeof two.folder, "%s/two", (char *)*state);
        if (file_make_folder(two.folder, &e) != 0) fail_msg("%s", e.text);
        assert_int_equal(built_write(&one, n, &e), 0);
        if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) print_message("skipped: no German locale\n");
        assert_int_equal(built_write(&two, n, &e), 0);
        setlocale(LC_NUMERIC, "C");
        for (int i = 0; i < 3; i++) {
            char *a = text_read_new(&one, endings[i]), *b = text_read_new(&two, endings[i]);
            assert_string_equal(a, b);
            mem_free(a);
            mem_free(b);
        }
        assert_int_equal(built_write(&two, other, &e), 0);
        char *a = text_read_new(&one, ".h"), *b = text_read_new(&two, ".h");
        assert_string_not_equal(strstr(a, "CRC-32"), strstr(b, "CRC-32")); // the hash differs
        mem_free(a);
        mem_free(b);
        net_free(n);
        net_free(other);
    }
}

// The self-test fails when an output does, and images that are cut short are refused.
static void self_test_fails(void **state) {
    if (!has_compiler()) skip();
    struct err e = {""};
    for (int integer = 0; integer < 2; integer++) {
        struct built b = built_new(*state, "n", integer);
        struct net *n = small_new(700);
        assert_int_equal(built_write(&b, n, &e), 0);
        char *text = text_read_new(&b, "_test.c"), *at = strstr(text, "wanted[3] = {\n    ");
        assert_non_null(at);
        at = strchr(at, ',') + 2;
        at += *at == '-';
        *at = *at == '9' ? '8' : (char)(*at + 1);
        text_put(&b, "_test.c", text);
        compile(&b);
        char command[COMMAND];
        snprintf(command, sizeof command,
                 "cd '%s' && ! ./program >log && grep -q '^output 1 is .*, wanted ' log", b.folder);
        assert_true(works(command));
        snprintf(command, sizeof command, "cd '%s' && printf %%13s >cut && ! ./program cut >log 2>errors",
                 b.folder);
        assert_true(works(command));
        snprintf(command, sizeof command,
                 "cd '%s' && grep -q 'ends inside an image' errors && ! ./program gone 2>errors", b.folder);
        assert_true(works(command));
        mem_free(text);
        net_free(n);
    }
}

static void header_is_cpp(void **state) {
    if (!works("c++ --version >/dev/null 2>&1")) {
        print_message("skipped: no compiler 'c++'\n");
        skip();
    }
    struct err e = {""};
    for (int integer = 0; integer < 2; integer++) {
        struct built b = built_new(*state, "n", integer);
        struct net *n = small_new(800);
        assert_int_equal(built_write(&b, n, &e), 0);
        text_put(&b, ".cpp",
                 integer ? "#include \"n.h\"\nint main() { uint8_t x[N_INPUTS] = {};\n"
                           "int32_t y[N_OUTPUTS], scratch[N_SCRATCH_INTS];\n"
                           "n_run(x, y, scratch); return n_argmax(y) < 0; }\n"
                         : "#include \"n.h\"\nint main() { float x[N_INPUTS] = {};\n"
                           "float y[N_OUTPUTS], scratch[N_SCRATCH_FLOATS];\n"
                           "n_run(x, y, scratch); return n_argmax(y) < 0; }\n");
        char command[COMMAND];
        snprintf(command, sizeof command,
                 "cd '%s' && cc -c n.c -o n.o && c++ -Wall -Wextra -Werror n.cpp n.o -o cpp -lm && ./cpp",
                 b.folder);
        assert_true(works(command));
        net_free(n);
    }
}

// --- refusals --------------------------------------------------------------------------------------------------------

static const struct {
    const char *out, *message;
} bad_names[] = {
    {"", ": no file name, wanted one that starts identifiers"},
    {"a/", "a/: no file name, wanted one that starts identifiers"},
    {"a/3net.c", "a/3net.c: the file's name starts identifiers, so its first character must be a letter"},
    {"_net", "_net: the file's name starts identifiers, so its first character must be a letter"},
    {".c", ".c: the file's name starts identifiers, so its first character must be a letter"},
    {"n\xc3\xa4t.c",
     "n\xc3\xa4t.c: the file's name starts identifiers, wanted letters, digits and _ - . + only"},
    {"a\"b", "a\"b: the file's name starts identifiers, wanted letters, digits and _ - . + only"},
    {"n234567890123456789012345678901234567890123456789012345678901234.c",
     "n234567890123456789012345678901234567890123456789012345678901234.c: a file name of 64 characters, at "
     "most 63 "
     "can start identifiers"},
};

static void names_are_refused(void **state) {
    (void)state;
    struct net *n = small_new(900);
    size_t layer[LAYERS];
    struct export_sizes sizes = {.layer = layer};
    struct export_options options = {0};
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
        struct err e = {""};
        assert_int_equal(c_format.write(n, bad_names[i].out, &options, &sizes, &e), -1);
        assert_string_equal(e.text, bad_names[i].message);
    }
    struct err e = {""};
    assert_int_equal(c_format.write(n, "no such folder/n.c", &options, &sizes, &e), -1);
    assert_non_null(strstr(e.text, "No such file or directory"));
    net_free(n);
}

static void refused(void **state, struct made *m, bool integer, const char *message) {
    struct err e = {""};
    struct built b = built_new(*state, "n", integer);
    assert_int_equal(built_write(&b, m->net, &e), -1);
    assert_string_equal(e.text, message);
    net_free(m->net);
}

static void nets_are_refused(void **state) {
    struct made m = made_new(shape_1(5), 1000);
    linear_add(&m, (struct draw){.out = 3, .density = 1});
    refused(state, &m, true,
            "linear1.weight: float values can't be shifts, wanted powers of two: train with "
            "counter.map=pow2");
    m = made_new(shape_1(5), 1001);
    linear_add(&m, powers_of(4, 1, 1, 5, false));
    linear_add(&m, (struct draw){.out = 3, .density = 1, .bits = 8, .kind = NUMBER_SQUARE});
    refused(state, &m, true,
            "linear2.weight: counters of map square can't be shifts, wanted powers of two: train with "
            "counter.map=pow2");
    m = made_new(shape_1(5), 1003);
    linear_add(&m, powers_of(4, 1, 1, 5, false));
    plain_add(&m, NET_TANH);
    refused(state, &m, true,
            "tanh1: tanh can't be done by shifts and additions here, wanted linear, conv2d, relu, flatten "
            "and, once "
            "behind a conv2d, max_pool2d only");
    m = made_new(shape_1(5), 1004);
    plain_add(&m, NET_RELU);
    refused(state, &m, true, "by */ hand: no linear or conv2d layer, wanted at least one");
    m = made_new(shape_1(5), 1005);
    linear_add(&m, powers_of(4, 1, 1, 5, false))->weight.scale = 0;
    refused(state, &m, true, "linear1: scale and bias are too far apart for 32-bit sums");
    m = made_new(shape_1(5), 1006);
    linear_add(&m, (struct draw){.out = 3, .density = 1})->bias.value[1] = INFINITY;
    refused(state, &m, false, "linear1.bias: a value is inf, wanted finite ones");
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(float_maps),           IN_FOLDER(float_codings),
                                       IN_FOLDER(float_biases),         IN_FOLDER(float_activations),
                                       IN_FOLDER(scratch_is_small),     IN_FOLDER(integer_forms),
                                       cmocka_unit_test(integer_plans), cmocka_unit_test(integer_is_precise),
                                       IN_FOLDER(bytes_are_the_same),   IN_FOLDER(self_test_fails),
                                       IN_FOLDER(header_is_cpp),        cmocka_unit_test(names_are_refused),
                                       IN_FOLDER(nets_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
