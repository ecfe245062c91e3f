// Formats that others read, for networks of every kind of layer: what an ONNX graph computes, by a runner of its own, and what
// the manifest and the matrices hold.
#include "export/export.h"
#include "tests/nets.h"
#include "tests/onnx.h"
#include "tests/ready_nets.h"

enum { PATH = 300, LAYERS = 64, LIMIT = 1 << 24 };

// In place of the C library's: many files are made here, and a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

static void format_write(const char *name, const struct net *n, const char *out, bool dense) {
    struct err e = {""};
    size_t layer[LAYERS];
    struct export_sizes sizes = {0, layer};
    int i = 0;
    while (strcmp(export_formats[i]->name, name) != 0) i++;
    if (export_formats[i]->write(n, out, &(struct export_options){.dense = dense}, &sizes, &e) != 0)
        fail_msg("%s", e.text);
}

static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

// --- onnx ----------------------------------------------------------------------------------------------------------

static void graphs(void **state) {
    static const struct {
        enum number_kind kind;
        int bits;
        double density;
    } draws[] = {{NUMBER_SQUARE, 8, 0.15}, {NUMBER_KINDS, 0, 0.3}, {NUMBER_POW2, 16, 0.8}};
    char path[PATH];
    struct rng r = rng_stream(1, "graphs");
    path_of(path, state, "a.onnx");
    for (int text = 0; text < READY_TEXTS; text++)
        for (int i = 0; i < 3; i++)
            for (int dense = 0; dense < 2; dense++) {
                struct net *n = ready_net_new(ready_texts[text], draws[i].kind, draws[i].bits,
                                              draws[i].density, (uint64_t)text);
                if (dense) net_requantise_biases(n);
                format_write("onnx", n, path, dense);
                onnx_check(path, n, 1e-3, 1, &r);
                net_free(n);
            }
}

// Whole numbers, some outside the table, become rows.
static void rows(void **state) {
    enum { LENGTH = 6, DIM = 5, COUNT = 40 };
    char path[PATH];
    struct rng r = rng_stream(2, "rows");
    path_of(path, state, "a.onnx");
    for (int i = 0; i < 2; i++) {
        struct net *n = nets_new(shape_1(LENGTH));
        const struct nets_weights w = {i ? NUMBER_KINDS : NUMBER_SQUARE, 90, 0.4, BIAS_NONE},
                                  all = {NUMBER_KINDS, 1, 1, BIAS_NONE};
        struct net_layer *l = nets_add(n, NET_EMBEDDING);
        l->out = shape_2(LENGTH, DIM);
        nets_fill(&l->weight, shape_2(COUNT, DIM), &w, &r);
        nets_fill(&nets_add(n, NET_POSITIONAL_EMBEDDING)->weight, shape_2(LENGTH, DIM), &w, &r);
        l = nets_add(n, NET_LAYER_NORM);
        l->eps = 1e-5;
        nets_fill(&l->factor, shape_1(DIM), &all, &r);
        nets_fill(&l->bias, shape_1(DIM), &all, &r);
        l = nets_add(n, NET_LINEAR);
        l->out = shape_2(LENGTH, 9);
        nets_fill(&l->weight, shape_2(9, DIM), &w, &r);
        if (i) nets_fill(&l->bias, shape_1(9), &all, &r);
        nets_add(n, NET_RMS_NORM)->eps = 1e-6;
        nets_add(n, NET_SOFTMAX);
        format_write("onnx", n, path, false);
        onnx_check(path, n, 1e-5, COUNT + 3, &r);
        net_free(n);
    }
}

// The winners among equals, of which -0 and 0 are two, are the first ones.
static void ties(void **state) {
    char path[PATH];
    path_of(path, state, "a.onnx");
    struct net *n = nets_new(shape_1(8));
    nets_add(n, NET_K_WINNERS)->k = 4;
    format_write("onnx", n, path, false);
    struct onnx *o = onnx_open_new(path);
    const float x[] = {1, 2, 1, -0.0f, 0, 2, 1, -3}, wanted[] = {1, 2, 1, 0, 0, 2, 0, 0};
    const float *y = onnx_run(o, x, 1);
    for (int i = 0; i < 8; i++) assert_true(y[i] == wanted[i]);
    onnx_free(o);
    net_free(n);
}

static void types_check(const struct onnx *o, const char *wanted) {
    char found[2048] = "";
    for (int i = 0; i < o->node_count; i++) {
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "%s%s", i ? " " : "", o->nodes[i].type);
    }
    assert_string_equal(found, wanted);
}

// Which nodes there are, what they read, and that a weight keeps its four dimensions, sparse too.
static void structure(void **state) {
    char path[PATH];
    path_of(path, state, "a.onnx");
    struct net *n = ready_net_new(ready_texts[0], NUMBER_SQUARE, 8, 0.2, 7);
    format_write("onnx", n, path, false);
    struct onnx *o = onnx_open_new(path);
    assert_int_equal(o->opset, 13);
    types_check(
        o,
        "Cast Abs Mul Mul Conv Relu MaxPool Cast Abs Mul Mul Conv MaxPool Tanh Flatten Cast Abs Mul Mul Gemm "
        "Relu Cast Abs Mul Mul Gemm Softmax");
    const struct onnx_value *w = onnx_find(o, "conv2d2.weight.counters");
    assert_non_null(w);
    assert_true(w->sparse && w->type == 3 && w->rank == 4);
    assert_true(w->dim[0] == 8 && w->dim[1] == 6 && w->dim[2] == 2 && w->dim[3] == 3);
    const struct onnx_node *conv = &o->nodes[11];
    assert_string_equal(conv->in[0], "max_pool2d1");
    assert_string_equal(conv->in[1], "conv2d2.weight");
    assert_string_equal(conv->in[2], "conv2d2.bias");
    assert_string_equal(conv->out[0], "conv2d2");
    onnx_free(o);
    net_free(n);
    // A factor multiplies behind the map; a join reads two results.
    n = ready_net_new(ready_texts[2], NUMBER_SQUARE, 8, 0.5, 8);
    format_write("onnx", n, path, true);
    o = onnx_open_new(path);
    w = onnx_find(o, "conv2d1.weight.factor");
    assert_non_null(w);
    assert_true(w->rank == 4 && w->dim[0] == 4 && w->dim[1] == 1 && w->dim[2] == 1 && w->dim[3] == 1);
    for (int i = 0; i < o->node_count; i++) {
        const struct onnx_node *node = &o->nodes[i];
        if (strcmp(node->out[0], "conv2d1.weight") == 0) {
            assert_string_equal(node->in[0], "conv2d1.weight.unscaled");
            assert_string_equal(node->in[1], "conv2d1.weight.factor");
        }
        if (strcmp(node->out[0], "residual1") == 0) {
            assert_string_equal(node->type, "Add");
            assert_string_equal(node->in[0], "residual1.conv2d2");
            assert_string_equal(node->in[1], "relu1");
        }
        assert_false(onnx_find(o, "input")); // nothing has run
    }
    onnx_free(o);
    net_free(n);
}

// --- matrices ------------------------------------------------------------------------------------------------------

static const struct json *layer_of(const struct json *manifest, const char *name) {
    const struct json *layers = json_find(manifest, "layers");
    for (int i = 0; i < json_count(layers); i++)
        if (strcmp(json_string(json_find(json_item(layers, i), "name")), name) == 0)
            return json_item(layers, i);
    fail_msg("no layer %s", name);
    return NULL;
}

static void numbers_check(const struct json *layer, const char *key, const int *wanted, int count) {
    const struct json *list = json_find(layer, key);
    assert_non_null(list);
    assert_int_equal(json_count(list), count);
    for (int i = 0; i < count; i++) assert_int_equal(json_number(json_item(list, i)), wanted[i]);
}

// What is needed to run the network is in the manifest, and vectors of norms are there.
static void manifests(void **state) {
    static const char *const formats[] = {"npz", "mtx"}, *const endings[] = {"npy", "mtx"};
    char path[PATH], file[2 * PATH];
    struct err e;
    struct net *n = ready_net_new(ready_texts[1], NUMBER_SQUARE, 8, 0.5, 9);
    struct net *norms = ready_net_new(ready_texts[3], NUMBER_SQUARE, 8, 0.5, 10);
    for (int i = 0; i < 2; i++) {
        path_of(path, state, formats[i]);
        format_write(formats[i], n, path, false);
        snprintf(file, sizeof file, "%s/manifest.json", path);
        struct json *manifest = json_load_new(file, LIMIT, &e);
        if (!manifest) fail_msg("%s", e.text);
        const struct json *conv = layer_of(manifest, "conv2d1"), *pool = layer_of(manifest, "avg_pool2d2");
        numbers_check(conv, "weight", (const int[]){6, 1, 3, 2}, 4);
        numbers_check(conv, "kernel_size", (const int[]){3, 2}, 2);
        numbers_check(conv, "stride", (const int[]){2, 1}, 2);
        numbers_check(conv, "padding", (const int[]){1, 2}, 2);
        numbers_check(conv, "dilation", (const int[]){1, 2}, 2);
        assert_int_equal(json_number(json_find(conv, "groups")), 2);
        assert_string_equal(json_string(json_item(json_find(pool, "inputs"), 0)), "avg_pool2d1");
        json_free(manifest);
        format_write(formats[i], norms, path, false);
        snprintf(file, sizeof file, "%s/layer_norm1.factor.%s", path, endings[i]);
        assert_true(file_exists(file));
        snprintf(file, sizeof file, "%s/layer_norm1.bias.%s", path, endings[i]);
        assert_false(file_exists(file)); // it has none
    }
    net_free(n);
    net_free(norms);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(graphs), IN_FOLDER(rows), IN_FOLDER(ties),
                                       IN_FOLDER(structure), IN_FOLDER(manifests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
