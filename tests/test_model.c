// Models from JSON: every way to describe one wrongly, with the exact message; names, shapes, every layer of
// the registry.
#include "layers/model.h"
#include "tests/check.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

// A model and what it stands on, made from text.
struct built {
    struct json *list;
    struct params *params;
    struct model *model;
    struct err e;
};

static struct built built_open(const char *text, struct shape in) {
    struct built b = {.list = json_of(text), .params = params_new(), .e = {""}};
    b.model = model_new(b.list, "model", in, b.params, &b.e);
    return b;
}

static void built_close(struct built *b) {
    model_free(b->model);
    params_free(b->params);
    json_free(b->list);
}

// --- errors -----------------------------------------------------------------------------------------------

#define KNOWN_FORM "model: wanted a list of layers, such as [\"flatten\", {\"linear\": {\"out\": 10}}]"
#define NAME_FORM ": wanted a name or {\"name\": {options}}, found "

static const struct {
    const char *text, *message;
} bad_models[] = {
    {"[]", KNOWN_FORM},
    {"{}", KNOWN_FORM},
    {"\"linear\"", KNOWN_FORM},
    {"null", KNOWN_FORM},
    {"[7]", "model.0" NAME_FORM "a number"},
    {"[[\"relu\"]]", "model.0" NAME_FORM "a list"},
    {"[{}]", "model.0" NAME_FORM "an object of several keys or none"},
    {"[\"relu\", {\"linear\": {\"out\": 3}, \"relu\": {}}]",
     "model.1" NAME_FORM "an object of several keys or none"},
    {"[{\"liner\": {\"out\": 3}}]", "model.0: unknown layer 'liner'; did you mean 'linear'?"},
    {"[\"relu\", \"Relu\"]", "model.1: unknown layer 'Relu'; did you mean 'relu'?"},
    {"[\"linear\"]", "model.0.linear.out: must be given"},
    {"[{\"linear\": {}}]", "model.0.linear.out: must be given"},
    {"[{\"linear\": {\"bias\": false}}]", "model.0.linear.out: must be given"},
    {"[{\"linear\": 3}]", "model.0.linear: wanted an object, found a number"},
    {"[{\"linear\": null}]", "model.0.linear: wanted an object, found null"},
    {"[{\"linear\": {\"out\": 0}}]", "model.0.linear.out: 0 is not in 1 .. 1048576"},
    {"[{\"linear\": {\"out\": -3}}]", "model.0.linear.out: -3 is not in 1 .. 1048576"},
    {"[{\"linear\": {\"out\": 3.7}}]", "model.0.linear.out: wanted a whole number, found 3.7"},
    {"[{\"linear\": {\"out\": 1e9}}]", "model.0.linear.out: 1000000000 is not in 1 .. 1048576"},
    {"[{\"linear\": {\"out\": \"3\"}}]", "model.0.linear.out: wanted a whole number, found a string"},
    {"[{\"linear\": {\"out\": 3, \"bais\": true}}]",
     "model.0.linear: unknown key 'bais'; did you mean 'bias'?"},
    {"[{\"linear\": {\"out\": 3, \"activation\": \"relu\"}}]",
     "model.0.linear: unknown key 'activation'; known: out, bias, init"},
    {"[{\"linear\": {\"out\": 3, \"bias\": 1}}]",
     "model.0.linear.bias: wanted true or false, found a number"},
    {"[{\"linear\": {\"out\": 3, \"init\": \"kaimin\"}}]",
     "model.0.linear.init: unknown value 'kaimin'; did you mean 'kaiming'?"},
    {"[{\"linear\": {\"out\": 3, \"init\": \"zero\"}}]",
     "model.0.linear.init: unknown value 'zero'; known: kaiming, xavier, lecun, pytorch"},
    {"[{\"dropout\": {\"p\": 1.5}}]", "model.0.dropout.p: 1.5 is not in 0 .. 0.99"},
    {"[{\"dropout\": {\"p\": 1}}]", "model.0.dropout.p: 1 is not in 0 .. 0.99"},
    {"[{\"dropout\": {\"p\": -0.1}}]", "model.0.dropout.p: -0.1 is not in 0 .. 0.99"},
    {"[{\"relu\": {\"slope\": 0.1}}]", "model.0.relu: unknown key 'slope'; there are none"},
    {"[{\"linear\": {\"out\": 1048576}}, \"relu\", {\"linear\": {\"out\": 1048576}}]",
     "model.2: the model has 1099530502144 parameters here, at most 1073741824"},
};

// What fits no flat sample of 16, too.
static const struct {
    const char *text;
    struct shape in;
    const char *message;
} bad_shapes[] = {
    {"[{\"linear\": {\"out\": 3}}]",
     {3, {1, 4, 4}},
     "model.0.linear: wants samples of one or two dimensions, gets (1, 4, 4); put \"flatten\" before it"},
    {"[\"relu\", {\"linear\": {\"out\": 3}}]",
     {3, {4, 4, 4}},
     "model.1.linear: wants samples of one or two dimensions, gets (4, 4, 4); put \"flatten\" before it"},
    {"[\"flatten\"]", {4, {65536, 32768, 1, 1}}, "model.0.flatten: 2147483648 numbers per sample"},
};

static void check_refused(const char *text, struct shape in, const char *message) {
    struct built b = built_open(text, in);
    if (b.model) fail_msg("%s: taken for valid", text);
    assert_string_equal(b.e.text, message);
    built_close(&b);
}

static void bad_models_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(bad_models); i++)
        check_refused(bad_models[i].text, shape_1(16), bad_models[i].message);
    for (size_t i = 0; i < COUNT(bad_shapes); i++)
        check_refused(bad_shapes[i].text, bad_shapes[i].in, bad_shapes[i].message);
}

static void bad_lists_are_refused(void **state) {
    (void)state;
    struct err e = {""};
    struct params *ps = params_new();
    assert_null(model_new(NULL, "model", shape_1(16), ps, &e));
    assert_string_equal(e.text, KNOWN_FORM);
    struct json *list = json_array_new();
    for (int i = 0; i < 1001; i++) json_add_string(list, NULL, "relu");
    assert_null(model_new(list, "model", shape_1(16), ps, &e));
    assert_string_equal(e.text, "model: 1001 layers, at most 1000");
    json_free(list);
    params_free(ps);
    model_free(NULL);
}

// --- names, shapes, initial values, the forward pass ------------------------------------------------------

static void parameters_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct shape shape;
    } rows[] = {
        {"linear1.weight", {2, {4, 16}}}, {"linear1.bias", {1, {4}}}, {"linear2.weight", {2, {3, 4}}},
        {"linear3.weight", {2, {2, 3}}},  {"linear3.bias", {1, {2}}},
    };
    static const char *const layer_names[] = {"linear1", "relu1", "linear2", "relu2", "linear3"};
    struct built b =
        built_open("[{\"linear\": {\"out\": 4}}, \"relu\", {\"linear\": {\"out\": 3, \"bias\": false}},"
                   " {\"relu\": {}}, {\"linear\": {\"out\": 2}}]",
                   shape_1(16));
    assert_non_null(b.model);
    assert_int_equal(b.model->count, COUNT(layer_names));
    for (int i = 0; i < b.model->count; i++) assert_string_equal(b.model->layers[i].name, layer_names[i]);
    assert_int_equal(b.params->count, COUNT(rows));
    for (int i = 0; i < b.params->count; i++) {
        assert_string_equal(b.params->list[i].name, rows[i].name);
        assert_true(shape_equal(b.params->list[i].shape, rows[i].shape));
    }
    assert_string_equal(b.model->layers[2].path, "model.2.linear");
    built_close(&b);
}

static void shapes_go_through(void **state) {
    (void)state;
    static const struct shape wanted[] = {{3, {2, 3, 4}}, {3, {2, 3, 4}}, {1, {24}}, {1, {5}}, {1, {5}}};
    enum { BATCH = 3 };
    struct built b =
        built_open("[\"relu\", \"flatten\", {\"linear\": {\"out\": 5}}, \"tanh\"]", shape_3(2, 3, 4));
    assert_non_null(b.model);
    assert_true(shape_equal(b.model->in, wanted[0]));
    assert_true(shape_equal(b.model->out, wanted[4]));
    for (int i = 0; i < 4; i++) {
        assert_true(shape_equal(b.model->layers[i].in, wanted[i]));
        assert_true(shape_equal(b.model->layers[i].out, wanted[i + 1]));
    }
    params_alloc(b.params, 1, 1);
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, false);
    struct tensor *x = tape_leaf(t, (struct shape){4, {BATCH, 2, 3, 4}}, false);
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)1;
    struct tensor *y = model_forward(b.model, t, x);
    assert_true(shape_equal(y->shape, shape_2(BATCH, 5)));
    tape_free(t);
    built_close(&b);
}

static void linear_starts_in_its_bounds(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double bound;
    } rows[] = {
        {"[{\"linear\": {\"out\": 50}}]", 0.244948974278318}, // sqrt(6 / 100)
        {"[{\"linear\": {\"out\": 50, \"init\": \"kaiming\"}}]", 0.244948974278318},
        {"[{\"linear\": {\"out\": 50, \"init\": \"xavier\"}}]", 0.2},              // sqrt(6 / 150)
        {"[{\"linear\": {\"out\": 50, \"init\": \"lecun\"}}]", 0.173205080756888}, // sqrt(3 / 100)
        {"[{\"linear\": {\"out\": 50, \"init\": \"pytorch\"}}]", 0.1},             // sqrt(1 / 100)
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct built b = built_open(rows[i].text, shape_1(100));
        assert_non_null(b.model);
        params_alloc(b.params, 1, 1);
        double largest = 0;
        for (int j = 0; j < 5000; j++) largest = fmax(largest, fabs((double)b.params->values[j]));
        assert_near(b.params->list[0].bound, rows[i].bound, 1e-12);
        assert_near(largest, rows[i].bound, 0.002 * rows[i].bound);
        for (int j = 5000; j < 5050; j++) assert_true(b.params->values[j] == 0); // the bias
        built_close(&b);
    }
}

// Two layers with weights set by hand: each takes its own parameters, in the order of the list.
static void forward_by_hand(void **state) {
    (void)state;
    static real x[] = {1, 2, 3, -1, 0, 1};
    static const real weights[] = {1, 0, 2, /**/ 0, -1, 1, /* bias */ 10, -2, /* second layer */ 1, -3};
    struct built b = built_open(
        "[{\"linear\": {\"out\": 2}}, \"relu\", {\"linear\": {\"out\": 1, \"bias\": false}}]", shape_1(3));
    assert_non_null(b.model);
    params_alloc(b.params, 1, 1);
    assert_int_equal(b.params->size, COUNT(weights));
    memcpy(b.params->values, weights, sizeof weights);
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, false);
    struct tensor *y = model_forward(b.model, t, tape_input(t, shape_2(2, 3), x));
    assert_true(y->value[0] == 17); // relu (17, -1) = (17, 0)
    assert_true(y->value[1] == 11); // relu (11, -1) = (11, 0)
    tape_free(t);
    built_close(&b);
}

// --- writing ----------------------------------------------------------------------------------------------

static void write_fills_in_defaults(void **state) {
    (void)state;
    struct built b =
        built_open("[\"dropout\", {\"linear\": {\"init\": \"lecun\", \"out\": 4}}, \"relu\"]", shape_1(16));
    assert_non_null(b.model);
    struct json *written = model_write_new(b.model);
    char *text = json_print_new(written, false);
    assert_string_equal(text, "[{\"dropout\":{\"p\":0.5}},{\"linear\":{\"out\":4,\"bias\":true,"
                              "\"init\":\"lecun\"}},{\"relu\":{}}]");
    mem_free(text);
    json_free(written);
    built_close(&b);
}

// --- the registry -----------------------------------------------------------------------------------------

// Builds the layer alone, runs it on two samples, and writes and builds it again. False when it can't be
// built so.
static bool layer_runs(const struct layer_type *type, const char *options, struct shape in, char why[512]) {
    char text[200];
    snprintf(text, sizeof text, "[{\"%s\": %s}]", type->name, options);
    struct built b = built_open(text, in);
    snprintf(why, 512, "%s", b.e.text);
    if (!b.model) return built_close(&b), false;
    struct json *written = model_write_new(b.model);
    char *rewritten = json_print_new(written, false);
    struct built again = built_open(rewritten, in);
    assert_non_null(again.model);
    struct json *twice = model_write_new(again.model);
    assert_true(json_equal(written, twice));
    params_alloc(b.params, 1, 1);
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, true);
    struct shape batch = {in.rank + 1, {2}}, out = {b.model->out.rank + 1, {2}};
    memcpy(batch.dim + 1, in.dim, sizeof *in.dim * (size_t)in.rank);
    memcpy(out.dim + 1, b.model->out.dim, sizeof *out.dim * (size_t)b.model->out.rank);
    struct tensor *x = tape_leaf(t, batch, true);
    int tokens = b.params->tokens;
    for (size_t i = 0; i < x->size; i++) x->value[i] = tokens ? (real)((int)i % tokens) : (real)i / 8 - 1;
    struct tensor *y = model_forward(b.model, t, x);
    if (!shape_equal(y->shape, out)) fail_msg("%s: gives another shape than it says", text);
    for (size_t i = 0; i < y->size; i++) assert_true(isfinite(y->value[i]));
    tape_backward(t, op_sum(t, y), 1);
    for (size_t i = 0; i < b.params->size; i++) assert_true(isfinite(b.params->grads[0][i]));
    tape_free(t);
    json_free(written), json_free(twice), mem_free(rewritten);
    built_close(&b), built_close(&again);
    return true;
}

static void every_layer_runs(void **state) {
    (void)state;
    static const char *const options[] = {"{}",
                                          "{\"out\": 3}",
                                          "{\"kernel_size\": 2}",
                                          "{\"out\": 3, \"kernel_size\": 2}",
                                          "{\"density\": 0.25}",
                                          "{\"out\": 16, \"density\": 1}",
                                          "{\"layers\": [\"relu\"]}",
                                          "{\"experts\": 3, \"k\": 2, \"layers\": [\"relu\"]}",
                                          "{\"branches\": [[], [\"relu\"]]}",
                                          "{\"num_embeddings\": 5, \"embedding_dim\": 3}"};
    for (int i = 0; layer_types[i]; i++) {
        const struct layer_type *type = layer_types[i];
        int ways = 0;
        char why[512];
        for (size_t k = 0; k < COUNT(options); k++) {
            ways += layer_runs(type, options[k], shape_3(1, 4, 4), why);
            ways += layer_runs(type, options[k], shape_2(4, 4), why);
            ways += layer_runs(type, options[k], shape_1(16), why);
        }
        if (!ways) fail_msg("%s: %s", type->name, why);
    }
}

static void every_layer_has_help(void **state) {
    (void)state;
    for (int i = 0; layer_types[i]; i++) {
        const struct layer_type *type = layer_types[i];
        assert_true(type->help && strlen(type->help) > 5);
        assert_true(strlen(type->name) + strlen("1000") < sizeof((struct layer *)0)->name);
        for (const struct field *f = type->fields; f->name; f++)
            if (!f->help || strlen(f->help) < 3) fail_msg("%s.%s has no help", type->name, f->name);
        for (int j = 0; j < i; j++) assert_string_not_equal(type->name, layer_types[j]->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_models_are_refused),      cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(parameters_are_named),        cmocka_unit_test(shapes_go_through),
        cmocka_unit_test(linear_starts_in_its_bounds), cmocka_unit_test(forward_by_hand),
        cmocka_unit_test(write_fills_in_defaults),     cmocka_unit_test(every_layer_runs),
        cmocka_unit_test(every_layer_has_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
