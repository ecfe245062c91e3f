// The C source export of networks that are more than chains of linear layers: every kind of layer, windows of every shape,
// joins and the places of results, by random nets that are compiled, run and compared with net_forward to the bit.
#include "tests/c_programs.h"
#include "tests/ready_nets.h"

static void models(void **state) {
    if (!has_compiler()) skip();
    static const struct {
        enum number_kind kind;
        int bits;
        double density;
    } draws[READY_TEXTS] = {{NUMBER_SQUARE, 8, 0.15},  {NUMBER_KINDS, 0, 0.3}, {NUMBER_SQUARE, 16, 0.8},
                            {NUMBER_LINEAR, 16, 0.05}, {NUMBER_EXP, 8, 0.4},   {NUMBER_POW2, 8, 0.6},
                            {NUMBER_SQUARE, 8, 0.2},   {NUMBER_SQUARE, 8, 0.9}};
    for (int i = 0; i < READY_TEXTS; i++) {
        struct made m = {
            ready_net_new(ready_texts[i], draws[i].kind, draws[i].bits, draws[i].density, (uint64_t)i),
            rng_stream((uint64_t)i, "images")};
        float_check(state, &m, NULL);
    }
    // With biases and factors as counters of 8 bits.
    struct made m = {ready_net_new(ready_texts[2], NUMBER_SQUARE, 8, 0.5, 20), rng_stream(20, "images")};
    net_requantise_biases(m.net);
    float_check(state, &m, "const int8_t a_net_1_conv2d1_bias[4]");
}

// --- convolutions made by hand -----------------------------------------------------------------------------------------

static struct net_layer *conv2d_add(struct made *m, struct draw d, struct window w, int groups) {
    struct net_layer *l = plain_add(m, NET_CONV2D);
    l->window = w;
    l->groups = groups;
    l->out = shape_3(d.out, window_count(&w, 0, l->in.dim[1]), window_count(&w, 1, l->in.dim[2]));
    assert_true(l->out.dim[1] > 0 && l->out.dim[2] > 0);
    struct shape shape = {4, {d.out, l->in.dim[0] / groups, w.size[0], w.size[1]}};
    tensor_draw(m, &l->weight, shape, &d);
    if (!d.no_bias) tensor_draw(m, &l->bias, shape_1(d.out), &(struct draw){.density = 1});
    return l;
}

static struct net_layer *pool_add(struct made *m, enum net_kind kind, struct window w) {
    struct net_layer *l = plain_add(m, kind);
    l->window = w;
    l->out = shape_3(l->in.dim[0], window_count(&w, 0, l->in.dim[1]), window_count(&w, 1, l->in.dim[2]));
    return l;
}

static void factor_add(struct made *m, struct net_layer *l) {
    net_tensor_alloc(&l->factor, shape_1(net_rows(&l->weight)), false);
    for (size_t i = 0; i < l->factor.size; i++) l->factor.value[i] = (float)(rng_uniform(&m->rng) + 0.1);
    net_refresh(l);
}

// Samples of rows: whole numbers become rows of a table, and every row meets the same layers.
static void rows(void **state) {
    if (!has_compiler()) skip();
    enum { LENGTH = 7, DIM = 6 };
    for (int i = 0; i < 3; i++) {
        struct made m = made_new(shape_1(LENGTH), (uint64_t)(30 + i));
        struct draw d = {.density = i ? 0.9 : 0.2, .bits = i < 2 ? 8 : 0, .kind = NUMBER_SQUARE};
        struct net_layer *l = plain_add(&m, NET_EMBEDDING);
        l->out = shape_2(LENGTH, DIM);
        tensor_draw(&m, &l->weight, shape_2(i ? 200 : 900, DIM), &d);
        tensor_draw(&m, &plain_add(&m, NET_POSITIONAL_EMBEDDING)->weight, shape_2(LENGTH, DIM), &d);
        l = plain_add(&m, NET_LAYER_NORM);
        l->eps = 1e-5;
        tensor_draw(&m, &l->factor, shape_1(DIM), &(struct draw){.density = 1});
        tensor_draw(&m, &l->bias, shape_1(DIM), &(struct draw){.density = 1});
        l = plain_add(&m, NET_LINEAR);
        l->out = shape_2(LENGTH, 9);
        tensor_draw(&m, &l->weight, shape_2(9, DIM), &d);
        plain_add(&m, NET_GELU);
        plain_add(&m, NET_RMS_NORM)->eps = 1e-6;
        if (i == 1) net_add_softmax(m.net);
        float_check(state, &m, i ? "k = row * 6;" : "k += a_net_1_embedding1_count[i];");
    }
}

static int side_draw(struct rng *r, int most) {
    return (int)rng_below(r, (uint32_t)most + 1);
}

// Two convolutions of any window, each with a factor or none, in a random coding.
static void windows(void **state) {
    if (!has_compiler()) skip();
    enum { NETS = 4 };
    for (uint64_t seed = 0; seed < NETS; seed++) {
        struct made m = made_new(shape_3(4, 13, 12), 100 + seed);
        for (int i = 0; i < 2; i++) {
            struct window w;
            for (int axis = 0; axis < 2; axis++) {
                w.size[axis] = 1 + side_draw(&m.rng, 2);
                w.stride[axis] = 1 + side_draw(&m.rng, 1);
                w.dilation[axis] = 1 + side_draw(&m.rng, 1);
                w.padding[axis] = seed % 2 ? side_draw(&m.rng, 4) : 0;
            }
            struct draw d = {.out = 2 + 2 * side_draw(&m.rng, 2), .bits = (int)(seed % 3) * 8};
            d.density = rng_uniform(&m.rng);
            d.kind = seed % 2 ? NUMBER_SQUARE : NUMBER_LINEAR;
            d.no_bias = seed == 3;
            if (seed == 2) d.high = 3;
            struct net_layer *l = conv2d_add(&m, d, w, 1 + side_draw(&m.rng, 1));
            if (d.bits) factor_add(&m, l);
            if (seed % 3 == 0) plain_add(&m, NET_RELU);
        }
        pool_add(&m, seed % 2 ? NET_AVG_POOL2D : NET_MAX_POOL2D,
                 (struct window){{2, 2}, {2, 1}, {1, 0}, {1, 1}});
        plain_add(&m, NET_FLATTEN);
        linear_add(&m, (struct draw){.out = 5, .density = 0.3});
        float_check(state, &m, seed % 2 ? "_down[i]" : NULL);
    }
}

// Factors by output with each coding of weights.
static void factors(void **state) {
    if (!has_compiler()) skip();
    static const struct window three = {{3, 3}, {1, 1}, {0, 0}, {1, 1}};
    static const struct {
        int bits;
        int32_t high;
        const char *contains;
    } table[] = {
        {8, 9, "(float)(a_net_1_conv2d2_value[a_net_1_conv2d2_weight[k]] * (double)a_net_1_conv2d2_factor"},
        {16, 9999, "const int16_t a_net_1_conv2d2_weight"}};
    for (int i = 0; i < 2; i++) {
        struct made m = made_new(shape_3(1, 8, 8), (uint64_t)(200 + i));
        conv2d_add(&m, (struct draw){.out = 20, .density = 0.9}, three, 1);
        factor_add(&m, conv2d_add(&m,
                                  (struct draw){.out = 20,
                                                .density = 0.3,
                                                .bits = table[i].bits,
                                                .high = table[i].high,
                                                .kind = NUMBER_SQUARE},
                                  three, 1));
        factor_add(&m, conv2d_add(&m, (struct draw){.out = 2, .density = 0.2, .bits = 8}, three, 1));
        float_check(state, &m, table[i].contains);
    }
    // No weights at all.
    struct made m = made_new(shape_3(2, 6, 6), 210);
    conv2d_add(&m, (struct draw){.out = 3}, three, 1);
    pool_add(&m, NET_GLOBAL_AVG_POOL2D, (struct window){{4, 4}, {1, 1}, {0, 0}, {1, 1}})->out = shape_1(3);
    float_check(state, &m, "(void)x;");
}

// --- memory ------------------------------------------------------------------------------------------------------------

static void scratch_check(void **state, struct made *m, size_t floats, const char *contains) {
    struct err e = {""};
    struct built b = built_new(*state, "n", false);
    char wanted[64];
    if (built_write(&b, m->net, &e) != 0) fail_msg("%s", e.text);
    char *header = text_read_new(&b, ".h"), *source = text_read_new(&b, ".c");
    snprintf(wanted, sizeof wanted, "_SCRATCH_FLOATS %zu\n", floats);
    if (!strstr(header, wanted)) fail_msg("no %s in\n%s", wanted, header);
    if (!strstr(source, contains)) fail_msg("no %s in\n%s", contains, source);
    mem_free(header);
    mem_free(source);
    net_free(m->net);
}

// What is live together at most: the sample's planes are pooled one by one, channels that nothing reads are not there,
// and a block's input stays until it is added.
static void scratch_is_small(void **state) {
    static const struct window three = {{3, 3}, {1, 1}, {0, 0}, {1, 1}},
                               two = {{2, 2}, {2, 2}, {0, 0}, {1, 1}},
                               same = {{3, 3}, {1, 1}, {1, 1}, {1, 1}};
    struct made m = made_new(shape_3(1, 10, 10), 300);
    conv2d_add(&m, (struct draw){.out = 5, .density = 1}, three, 1);
    plain_add(&m, NET_RELU);
    pool_add(&m, NET_MAX_POOL2D, two);
    struct net_layer *l = conv2d_add(&m, (struct draw){.out = 7, .density = 1}, three, 1);
    plain_add(&m, NET_FLATTEN);
    linear_add(&m, (struct draw){.out = 3, .density = 1});
    for (int i = 0; i < 7; i++) // two of the first five channels
        for (int j = 0; j < 18; j++) l->weight.value[i * 45 + 9 + j] = 0;
    scratch_check(state, &m, 64 + 3 * 16,
                  "    n_conv2d1(x, scratch + 64, scratch);\n"
                  "    n_conv2d2(scratch + 64, scratch);\n"
                  "    n_linear1(scratch, y);\n");
    // x -> a; a -> b -> c; a + c: three live together.
    m = made_new(shape_3(1, 6, 6), 301);
    conv2d_add(&m, (struct draw){.out = 2, .density = 1}, same, 1);
    conv2d_add(&m, (struct draw){.out = 4, .density = 1}, same, 1);
    conv2d_add(&m, (struct draw){.out = 2, .density = 1}, same, 1);
    l = plain_add(&m, NET_ADD);
    l->input[1] = 0;
    plain_add(&m, NET_FLATTEN);
    linear_add(&m, (struct draw){.out = 3, .density = 1});
    scratch_check(state, &m, 8 * 36, "    n_add1(scratch + 216, scratch + 144, scratch + 216);\n");
}

// --- integers ------------------------------------------------------------------------------------------------------

static const struct draw powers = {
    .density = 0.3, .bits = 8, .kind = NUMBER_POW2, .parameter = 1, .high = 12};

static struct draw powers_of(int out, double density) {
    struct draw d = powers;
    d.out = out, d.density = density;
    return d;
}

// The integers are those of shifts_run, and not far from net_forward's floats.
static void integers_check(void **state, struct made *m, const char *contains) {
    struct err e = {""};
    struct built b = built_new(*state, "int", true);
    size_t in = shape_size(m->net->in), out = outputs_of(m->net);
    if (built_write(&b, m->net, &e) != 0) fail_msg("%s", e.text);
    source_check(&b, "int_", contains);
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
    net_free(compact);
    float *x = mem_new(in, sizeof *x), wanted[OUT_MAX];
    for (size_t i = 0; i < IMAGES; i++) {
        int32_t y[OUT_MAX];
        shifts_run(s, pixel + i * in, y);
        for (size_t j = 0; j < in; j++) x[j] = (float)pixel[i * in + j] / 255.0f;
        net_forward(m->net, x, wanted);
        for (size_t j = 0; j < out; j++) {
            assert_int_equal((int32_t)a->y[i][j], y[j]);
            double exact = (double)wanted[j];
            assert_near(y[j] * s->sigma, exact, s->error * (1 + 1e-6) + 1e-4 * (1 + fabs(exact)));
        }
    }
    mem_free(x);
    shifts_free(s);
    mem_free(a);
    mem_free(pixel);
    net_free(m->net);
}

static void integers(void **state) {
    if (!has_compiler()) skip();
    static const struct window three = {{3, 3}, {1, 1}, {0, 0}, {1, 1}},
                               two = {{2, 2}, {2, 2}, {0, 0}, {1, 1}}, odd = {{3, 2}, {2, 1}, {1, 2}, {1, 2}},
                               padded = {{3, 3}, {2, 2}, {1, 1}, {1, 1}};
    struct made m = made_new(shape_3(1, 12, 12), 400);
    conv2d_add(&m, powers_of(6, 0.4), three, 1);
    plain_add(&m, NET_RELU);
    pool_add(&m, NET_MAX_POOL2D, two);
    conv2d_add(&m, powers_of(8, 0.7), three, 1);
    pool_add(&m, NET_MAX_POOL2D, padded);
    plain_add(&m, NET_RELU);
    plain_add(&m, NET_FLATTEN);
    linear_add(&m, powers_of(10, 0.3));
    plain_add(&m, NET_RELU);
    linear_add(&m, powers_of(4, 0.3));
    integers_check(state, &m, "int_max_pool2d1(plane, y);");
    m = made_new(shape_3(2, 9, 9), 401);
    conv2d_add(&m, powers_of(4, 0.4), odd, 2);
    conv2d_add(&m, powers_of(6, 0.2), odd, 2);
    plain_add(&m, NET_FLATTEN);
    linear_add(&m, powers_of(4, 0.05));
    integers_check(state, &m, "v < 0 ? -v : v");
}

static void refused(void **state, struct made *m, const char *message) {
    struct err e = {""};
    struct built b = built_new(*state, "n", true);
    assert_int_equal(built_write(&b, m->net, &e), -1);
    assert_string_equal(e.text, message);
    net_free(m->net);
}

#define WANTED_ONLY                                                                                        \
    "can't be done by shifts and additions here, wanted linear, conv2d, relu, flatten and, once behind a " \
    "conv2d, "                                                                                             \
    "max_pool2d only"

static void integers_are_refused(void **state) {
    static const struct window two = {{2, 2}, {2, 2}, {0, 0}, {1, 1}};
    struct made m = made_new(shape_3(1, 8, 8), 500);
    pool_add(&m, NET_MAX_POOL2D, two);
    refused(state, &m, "max_pool2d1: max_pool2d " WANTED_ONLY);
    m = made_new(shape_3(1, 8, 8), 501);
    conv2d_add(&m, powers_of(2, 1), two, 1);
    pool_add(&m, NET_MAX_POOL2D, two);
    pool_add(&m, NET_MAX_POOL2D, two);
    refused(state, &m, "max_pool2d2: max_pool2d " WANTED_ONLY);
    m = made_new(shape_3(1, 8, 8), 502);
    conv2d_add(&m, powers_of(2, 1), two, 1);
    pool_add(&m, NET_AVG_POOL2D, two);
    refused(state, &m, "avg_pool2d1: avg_pool2d " WANTED_ONLY);
    m = made_new(shape_3(1, 8, 8), 503);
    factor_add(&m, conv2d_add(&m, powers_of(2, 1), two, 1));
    refused(state, &m,
            "conv2d1: factors of its outputs can't be shifts: train without a batch_norm behind it");
    m = made_new(shape_3(1, 8, 8), 504);
    conv2d_add(&m, (struct draw){.out = 2, .density = 1}, two, 1);
    refused(state, &m,
            "conv2d1.weight: float values can't be shifts, wanted powers of two: train with "
            "counter.map=pow2");
    m = made_new(shape_3(1, 40, 40), 506);
    conv2d_add(&m, powers_of(2, 1), (struct window){{2, 2}, {17, 1}, {0, 0}, {1, 1}}, 1);
    refused(state, &m, "conv2d1: a stride or dilation of 17, by shifts and additions at most 16");
    m = made_new(shape_3(1, 8, 8), 505);
    conv2d_add(&m, powers_of(1, 1), (struct window){{1, 1}, {1, 1}, {0, 0}, {1, 1}}, 1);
    plain_add(&m, NET_ADD)->input[1] = NET_SAMPLE;
    refused(state, &m, "add1: add " WANTED_ONLY);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(models),
                                       IN_FOLDER(rows),
                                       IN_FOLDER(windows),
                                       IN_FOLDER(factors),
                                       IN_FOLDER(integers),
                                       IN_FOLDER(scratch_is_small),
                                       IN_FOLDER(integers_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
