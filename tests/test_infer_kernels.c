// The kernels of the inference library: every one gives, for every instruction set, batch and coding of the file, the bits
// that the plain loop of net_forward gives, and none reads or writes beyond its arrays (which are of exact sizes here, so
// that AddressSanitizer sees it).
#include "export/tally.h"
#include "infer/model.h"
#include "tests/check.h"
#include "tests/layer_nets.h"
#include "tests/nets.h"

enum { SETS = 3, CODINGS = 3, BATCH = 70, SCRATCH_OFF = 3 };

static const struct export_options codings[CODINGS] = {
    {.dense = true}, {.profile = PROFILE_FAST}, {.profile = PROFILE_SMALL}};

// --- helpers -----------------------------------------------------------------------------------------------

// The sets that this machine can run; NULL for the others.
static void sets_find(const struct tally_kernels *sets[SETS]) {
    sets[0] = tally_kernels_c();
    sets[1] = sets[2] = NULL;
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2")) sets[1] = tally_kernels_avx2();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        sets[2] = tally_kernels_avx512();
#endif
}

// Memory without the spare bytes of mem_new, filled with NaN, so that what nobody wrote is seen.
static float *floats_new(size_t count) {
    float *floats = malloc(count * sizeof *floats);
    assert_non_null(floats);
    for (size_t i = 0; i < count; i++) floats[i] = NAN;
    return floats;
}

// About half of the numbers are zero, none of 64 .. 149: kernels take 64 inputs without zeros another way.
static float *samples_new(size_t count, uint64_t seed) {
    float *x = floats_new(count);
    struct rng r = rng_stream(seed, "samples");
    for (size_t i = 0; i < count; i++)
        x[i] = (i >= 64 && i < 150) || rng_below(&r, 2) ? (float)(rng_uniform(&r) * 2 - 0.7) : 0;
    return x;
}

static void assert_same_bits(const float *found, const float *wanted, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        if (memcmp(&found[i], &wanted[i], sizeof *found) != 0)
            fail_msg("%s: number %zu is %.9g, wanted %.9g", what, i, (double)found[i], (double)wanted[i]);
}

static void file_compose(struct bytes *file, const struct net *n, const struct export_options *o) {
    struct err e = {""};
    struct export_sizes sizes = {.layer = mem_new((size_t)n->count, sizeof *sizes.layer)};
    if (tally_compose(file, n, o, &sizes, &e) != 0) fail_msg("%s", e.text);
    mem_free(sizes.layer);
}

static struct tally_model *loaded_new(const struct bytes *file, enum tally_kernel kernel) {
    struct tally_model *m;
    struct tally_error e = {""};
    const struct tally_options options = {.kernel = kernel, .portable = 1};
    if (tally_model_load(&m, file->at, file->size, &options, &e) != TALLY_OK) fail_msg("%s", e.text);
    return m;
}

// --- whole models ------------------------------------------------------------------------------------------

static void run_check(const struct tally_model *m, const float *x, const float *wanted, size_t batch,
                      const char *what) {
    size_t in = tally_model_inputs(m), out = tally_model_outputs(m), bytes = tally_scratch_bytes(m, batch);
    float *samples = floats_new(batch * in), *y = floats_new(batch * out);
    char *scratch = malloc(bytes + SCRATCH_OFF), text[80];
    assert_non_null(scratch);
    memset(scratch, 0xff, bytes + SCRATCH_OFF);
    memcpy(samples, x, batch * in * sizeof *x);
    struct tally_error e = {""};
    assert_int_equal(tally_run(m, samples, batch, y, scratch + SCRATCH_OFF, bytes, &e), TALLY_OK);
    snprintf(text, sizeof text, "%s, %s, batch %zu", what, m->kernels->name, batch);
    assert_same_bits(y, wanted, batch * out, text);
    free(scratch);
    free(y);
    free(samples);
}

// Every coding, kernel and set at these batches, or some of them.
static void net_check(const struct net *n, const size_t *batches, size_t batch_count) {
    const struct tally_kernels *sets[SETS];
    size_t in = shape_size(n->in), out = shape_size(n->layers[n->count - 1].out);
    float *x = samples_new(BATCH * in, in), *wanted = floats_new(BATCH * out);
    sets_find(sets);
    for (size_t s = 0; s < BATCH; s++) net_forward(n, x + s * in, wanted + s * out);
    for (int coding = 0; coding < CODINGS; coding++) {
        struct bytes file = {0};
        file_compose(&file, n, &codings[coding]);
        for (int dense = 0; dense < 2; dense++) {
            struct tally_model *m = loaded_new(&file, dense ? TALLY_DENSE : TALLY_SPARSE);
            for (int set = 0; set < SETS; set++) {
                if (!sets[set]) continue;
                m->kernels = sets[set];
                for (size_t k = 0; k < batch_count; k += coding == 1 ? 1 : 4)
                    run_check(m, x, wanted, batches[k], dense ? "dense" : "sparse");
            }
            tally_model_free(m);
        }
        bytes_free(&file);
    }
    free(wanted);
    free(x);
}

static void every_shape(void **state) {
    (void)state;
    static const int shapes[][2] = {{1, 1},   {1, 33},  {7, 1},   {3, 5},   {64, 32},
                                    {65, 31}, {66, 97}, {257, 4}, {700, 6}, {33, 130}};
    static const double densities[] = {0, 0.004, 0.05, 0.4, 1};
    static const size_t batches[] = {1, 2, 4, 5, 16, 17, 32, 33, 63, 64, 65, BATCH};
    static const struct nets_weights weights[] = {{NUMBER_SQUARE, 127, 0, BIAS_COUNTERS},
                                                  {NUMBER_EXP, 1000, 0, BIAS_NONE},
                                                  {NUMBER_KINDS, 0, 0, BIAS_FLOATS}};
    int seed = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t d = 0; d < sizeof densities / sizeof *densities; d++, seed++) {
            struct nets_weights w = weights[seed % 3];
            struct net *n = nets_new(shape_1(shapes[i][0]));
            w.density = densities[d];
            nets_linear(n, shapes[i][1], &w, (uint64_t)seed);
            net_check(n, batches, sizeof batches / sizeof *batches);
            net_free(n);
        }
}

static void every_batch(void **state) {
    (void)state;
    size_t batches[BATCH];
    for (size_t i = 0; i < BATCH; i++) batches[i] = i + 1;
    const struct nets_weights w = {NUMBER_POW2, 100, 0.3, BIAS_FLOATS};
    struct net *n = nets_new(shape_3(1, 3, 7));
    nets_add(n, NET_FLATTEN);
    nets_linear(n, 19, &w, 1);
    nets_add(n, NET_RELU);
    nets_linear(n, 3, &w, 2);
    net_check(n, batches, BATCH);
    net_free(n);
}

// Rows that need counts of four bytes and hundreds of bridges.
static void wide_rows(void **state) {
    (void)state;
    static const size_t batches[] = {1, 5};
    for (int extra = -1; extra <= 0; extra++) {
        const struct nets_weights w = {NUMBER_SQUARE, 127, 0.0004, BIAS_COUNTERS};
        struct net *n = nets_new(shape_1(FORMAT_SHORT_COLUMNS + extra));
        struct net_layer *l = nets_linear(n, 3, &w, 5);
        // The last column of the first row, alone in it.
        memset(l->weight.counter, 0, (size_t)net_columns(&l->weight) * sizeof *l->weight.counter);
        l->weight.counter[net_columns(&l->weight) - 1] = -127;
        nets_refresh(&l->weight, 127);
        net_check(n, batches, 2);
        net_free(n);
    }
}

// Also in front of the first linear layer, and at numbers far from 0.
static void every_activation(void **state) {
    (void)state;
    static const enum net_kind kinds[] = {NET_RELU, NET_GELU, NET_TANH, NET_SIGMOID, NET_AFFINE, NET_SOFTMAX};
    static const size_t batches[] = {1, 3, 16, 40, BATCH};
    const struct nets_weights w = {NUMBER_KINDS, 0, 0.4, BIAS_FLOATS};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct net *n = nets_new(shape_1(21));
        struct net_layer *first = nets_add(n, NET_AFFINE);
        first->scale = 12;
        first->shift = -1.5;
        for (int i = 0; i < 3; i++) {
            struct net_layer *l = nets_add(n, kinds[k]);
            l->scale = -2.25;
            l->shift = 0.125;
            nets_linear(n, 18 - i, &w, (uint64_t)(10 * k) + (uint64_t)i);
        }
        nets_add(n, kinds[k])->scale = 3;
        net_check(n, batches, sizeof batches / sizeof *batches);
        net_free(n);
    }
}

// Every kind of layer, as trained and ready to run, with counters and floats.
static void every_layer(void **state) {
    (void)state;
    static const size_t batches[] = {1, 5, 17, 40, BATCH, 3};
    static const enum number_kind kinds[] = {NUMBER_SQUARE, NUMBER_KINDS, NUMBER_EXP};
    for (int i = 0; i < LAYER_NETS; i++)
        for (int k = 0; k < 3; k++) {
            struct made m = made_new(layer_nets[i], kinds[k]);
            net_check(m.net, batches, sizeof batches / sizeof *batches);
            net_prepare(m.net);
            if (k == 2) net_requantise_biases(m.net);
            net_check(m.net, batches, sizeof batches / sizeof *batches);
            made_free(&m);
        }
}

static void every_kind(void **state) {
    (void)state;
    size_t batches[BATCH];
    for (size_t i = 0; i < BATCH; i++) batches[i] = i + 1;
    for (int i = 0; i < NETS_SECOND; i++) {
        struct net *n = nets_second_new(i);
        net_check(n, batches, BATCH);
        net_free(n);
    }
}

// What `auto` chose, whatever it is, and the choice of the set.
static void chosen_kernels(void **state) {
    (void)state;
    const struct tally_kernels *sets[SETS];
    sets_find(sets);
    const struct tally_kernels *best = sets[2] ? sets[2] : sets[1] ? sets[1] : sets[0];
    assert_ptr_equal(tally_kernels_choose(0), best);
    assert_ptr_equal(tally_kernels_choose(1), sets[0]);
    for (int d = 0; d < 2; d++) {
        const struct nets_weights w = {NUMBER_SQUARE, 127, d ? 1 : 0.01, BIAS_NONE};
        struct net *n = nets_new(shape_1(300));
        struct bytes file = {0};
        nets_linear(n, 100, &w, 1);
        file_compose(&file, n, &codings[1]);
        struct tally_model *m = loaded_new(&file, TALLY_AUTO);
        float *x = samples_new(BATCH * 300, 1), *wanted = floats_new(BATCH * 100);
        for (size_t s = 0; s < BATCH; s++) net_forward(n, x + s * 300, wanted + s * 100);
        run_check(m, x, wanted, 1, "auto");
        run_check(m, x, wanted, BATCH, "auto");
        tally_model_free(m);
        bytes_free(&file);
        net_free(n);
        free(wanted);
        free(x);
    }
}

// Where the limit has no room for measuring, density decides, and room for the panels: 128 x 300 floats.
static void kernels_without_room(void **state) {
    (void)state;
    static const struct {
        double density;
        size_t limit;
        const char *kernel;
    } rows[] = {
        {0.01, 100000, "sparse"}, {0.1, 250000, "sparse"}, {1, 600000, "dense"}, {1, 450000, "sparse"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct nets_weights w = {NUMBER_SQUARE, 127, rows[i].density, BIAS_NONE};
        const struct tally_options options = {.memory_limit = rows[i].limit};
        struct net *n = nets_new(shape_1(300));
        struct bytes file = {0};
        struct tally_error e;
        struct tally_model *m;
        nets_linear(n, 100, &w, 1);
        file_compose(&file, n, &codings[1]);
        if (tally_model_load(&m, file.at, file.size, &options, &e) != TALLY_OK) fail_msg("%s", e.text);
        assert_string_equal(tally_model_layer(m, 0).kernel_one, rows[i].kernel);
        assert_string_equal(tally_model_layer(m, 0).kernel_many, rows[i].kernel);
        tally_model_free(m);
        bytes_free(&file);
        net_free(n);
    }
}

// --- single kernels ----------------------------------------------------------------------------------------

// All four on one layer; x, y of their contracts' sizes.
static void layer_check(const struct tally_kernels *set, const struct tally_linear *sparse,
                        const struct tally_linear *dense, const struct net *n) {
    size_t in = sparse->in, out = sparse->out, whole = (out + TALLY_PANEL - 1) / TALLY_PANEL * TALLY_PANEL;
    float *x = samples_new(in, 7), *wanted = floats_new(out), *y = floats_new(out);
    net_forward(n, x, wanted);
    set->sparse_one(y, sparse, x);
    assert_same_bits(y, wanted, out, set->name);
    free(y);
    y = floats_new(whole);
    set->dense_one(y, dense, x);
    assert_same_bits(y, wanted, out, set->name);
    free(y);
    for (size_t lanes = 16; lanes <= TALLY_LANES; lanes *= 2) {
        float *many = floats_new(in * lanes), *last = floats_new(out);
        for (size_t i = 0; i < in * lanes; i++) many[i] = i % lanes == lanes - 1 ? x[i / lanes] : 0;
        for (int k = 0; k < 2; k++) {
            y = floats_new((k ? whole : out) * lanes);
            (k ? set->dense_many : set->sparse_many)(y, k ? dense : sparse, many, lanes);
            for (size_t i = 0; i < out; i++) last[i] = y[i * lanes + lanes - 1];
            assert_same_bits(last, wanted, out, set->name);
            free(y);
        }
        free(last);
        free(many);
    }
    free(wanted);
    free(x);
}

static void exact_arrays(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 5, 8, 15, 31, 32, 33, 63, 65};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    const struct tally_kernels *sets[SETS];
    sets_find(sets);
    for (int i = 0; i < SIZES * SIZES; i++) {
        const struct nets_weights w = {i % 2 ? NUMBER_KINDS : NUMBER_SQUARE, 90, i % 3 ? 0.9 : 0.1,
                                       BIAS_FLOATS};
        struct net *n = nets_new(shape_1(sizes[i % SIZES]));
        struct bytes file = {0};
        nets_linear(n, sizes[i / SIZES], &w, (uint64_t)i);
        file_compose(&file, n, &codings[1]);
        struct tally_model *sparse = loaded_new(&file, TALLY_SPARSE), *dense = loaded_new(&file, TALLY_DENSE);
        for (int set = 0; set < SETS; set++)
            if (sets[set]) layer_check(sets[set], sparse->steps[0].linear, dense->steps[0].linear, n);
        tally_model_free(dense);
        tally_model_free(sparse);
        bytes_free(&file);
        net_free(n);
    }
}

static void samples_to_lanes(void **state) {
    (void)state;
    static const size_t features[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 63, 64, 65, 130};
    const struct tally_kernels *sets[SETS];
    sets_find(sets);
    for (int set = 0; set < SETS; set++)
        for (size_t f = 0; sets[set] && f < sizeof features / sizeof *features; f++)
            for (size_t lanes = 16; lanes <= TALLY_LANES; lanes *= 2)
                for (size_t count = 1; count <= lanes; count++) {
                    size_t wide = features[f];
                    float *x = samples_new(count * wide, count), *y = floats_new(wide * lanes);
                    sets[set]->to_lanes(y, x, wide, count, lanes);
                    for (size_t i = 0; i < wide * lanes; i++) {
                        size_t s = i % lanes, j = i / lanes;
                        if (!(y[i] == (s < count ? x[s * wide + j] : 0)))
                            fail_msg("%s: feature %zu of sample %zu of %zu", sets[set]->name, j, s, count);
                    }
                    free(y);
                    free(x);
                }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape),    cmocka_unit_test(every_batch),
        cmocka_unit_test(wide_rows),      cmocka_unit_test(every_activation),
        cmocka_unit_test(every_layer),    cmocka_unit_test(every_kind),
        cmocka_unit_test(chosen_kernels), cmocka_unit_test(kernels_without_room),
        cmocka_unit_test(exact_arrays),   cmocka_unit_test(samples_to_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
