// Networks that leave with every kind of layer: net_forward gives what the training engine gives outside training, and
// net_prepare changes nothing of it.
#include "tests/layer_nets.h"

enum { LIMIT = 4096, SAMPLES = 5 };

static size_t outputs_of(const struct net *n) {
    return shape_size(n->layers[n->count - 1].out);
}

static void model_answer(float *y, const struct made *m, const float *x) {
    struct tape *t = tape_new(m->params, 0);
    struct shape in = m->net->in, shape = {4, {1, in.dim[0], in.dim[1], in.dim[2]}};
    real values[LIMIT];
    for (size_t i = 0; i < shape_size(in); i++) values[i] = (real)x[i];
    tape_reset(t, false);
    t->epoch = LAYER_NETS_EPOCH;
    struct tensor *result = model_forward(m->model, t, tape_input(t, shape, values));
    for (size_t i = 0; i < result->size; i++) y[i] = (float)result->value[i];
    tape_free(t);
}

static void assert_same(const float *found, const float *wanted, size_t count, double tolerance,
                        const char *what, int text) {
    double largest = 1;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)wanted[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)found[i] - (double)wanted[i]) <= tolerance * largest))
            fail_msg("%s, model %d: output %zu is %g, wanted %g", what, text, i, (double)found[i],
                     (double)wanted[i]);
}

static void as_the_engine(void **state) {
    (void)state;
    static float pixel[LIMIT], x[LIMIT], wanted[LIMIT], found[LIMIT];
    for (int text = 0; text < LAYER_NETS; text++)
        for (int kind = 0; kind <= NUMBER_KINDS; kind++) {
            struct made m = made_new(layer_nets[text], (enum number_kind)kind);
            struct net *ready = net_copy_new(m.net);
            net_prepare(ready);
            assert_true(ready->mean == 0 && ready->std == 1);
            struct rng r = rng_stream(7, "x");
            for (int sample = 0; sample < SAMPLES; sample++) {
                for (size_t i = 0; i < shape_size(m.net->in); i++) {
                    pixel[i] = (float)rng_below(&r, 256) / 255;
                    x[i] = (float)(((double)pixel[i] - LAYER_NETS_MEAN) / LAYER_NETS_STD);
                }
                model_answer(wanted, &m, x);
                net_forward(m.net, x, found);
                assert_same(found, wanted, outputs_of(m.net), 1e-4, "as trained", text);
                net_forward(ready, pixel, found);
                assert_same(found, wanted, outputs_of(m.net), 1e-4, "ready", text);
            }
            net_free(ready);
            made_free(&m);
        }
}

static int kinds_count(const struct net *n, enum net_kind kind) {
    int count = 0;
    for (int i = 0; i < n->count; i++) count += n->layers[i].kind == kind;
    return count;
}

// Counters survive the folding of batch norms: up to their sign, and the factor's zeros.
static void norms_are_folded(void **state) {
    (void)state;
    struct made m = made_new(layer_nets[2], NUMBER_SQUARE);
    m.net->layers[1].factor.value[2] = 0;
    m.net->layers[1].factor.value[3] = -0.5f;
    struct net *ready = net_copy_new(m.net);
    net_prepare(ready);
    assert_int_equal(kinds_count(m.net, NET_BATCH_NORM), 6);
    assert_int_equal(kinds_count(ready, NET_BATCH_NORM), 0);
    assert_int_equal(kinds_count(ready, NET_AFFINE), 1); // the first conv2d is padded
    assert_int_equal(ready->count, m.net->count - 5);
    const struct net_tensor *was = &m.net->layers[0].weight, *is = &ready->layers[1].weight;
    assert_int_equal(ready->layers[1].kind, NET_CONV2D);
    assert_true(is->counted && is->scale == was->scale);
    for (int i = 0; i < net_rows(was); i++)
        for (int j = 0; j < net_columns(was); j++) {
            int at = i * net_columns(was) + j;
            assert_int_equal(is->counter[at], i == 2 ? 0 : i == 3 ? -was->counter[at] : was->counter[at]);
        }
    assert_true(ready->layers[1].factor.value[3] == 0.5f);
    struct net *less = net_copy_new(ready);
    net_requantise_biases(less);
    const struct net_layer *l = &less->layers[1];
    assert_true(l->factor.counted && l->factor.number.kind == NUMBER_POW2);
    for (size_t i = 0; i < l->factor.size; i++)
        assert_near(l->factor.value[i], ready->layers[1].factor.value[i],
                    0.02 * (double)ready->layers[1].factor.value[i]);
    net_free(less);
    net_free(ready);
    made_free(&m);
}

static void row_clear(struct net_tensor *w, int row) {
    for (int j = 0; j < net_columns(w); j++) w->value[row * net_columns(w) + j] = 0;
}

// Channel 0 of the first conv2d has no weights and goes into the bias of the next; channel 1 is read by nobody; unit 2 of
// the second has no weights and goes into the linear layer's.
static void dead_channels_vanish(void **state) {
    (void)state;
    static float x[LIMIT], wanted[LIMIT], found[LIMIT];
    struct made m = made_new(layer_nets[0], NUMBER_KINDS);
    m.net->mean = 0, m.net->std = 1;
    struct net_tensor *first = &m.net->layers[0].weight, *second = &m.net->layers[3].weight,
                      *third = &m.net->layers[6].weight;
    row_clear(first, 0);
    m.net->layers[0].bias.value[0] = 0.75f;
    int channel = second->shape.dim[2] * second->shape.dim[3];
    for (int i = 0; i < net_rows(second); i++)
        for (int j = channel; j < 2 * channel; j++) second->value[i * net_columns(second) + j] = 0;
    row_clear(second, 2);
    struct net *ready = net_copy_new(m.net);
    net_prepare(ready);
    const struct net_tensor *f = &ready->layers[0].weight, *s = &ready->layers[3].weight,
                            *t = &ready->layers[6].weight;
    for (int j = 0; j < net_columns(f); j++) assert_true(f->value[net_columns(f) + j] == 0);
    assert_true(ready->layers[0].bias.value[0] == 0 && ready->layers[0].bias.value[1] == 0);
    for (int i = 0; i < net_rows(s); i++)
        for (int j = 0; j < channel; j++) assert_true(s->value[i * net_columns(s) + j] == 0);
    int plane = net_columns(third) / net_rows(second);
    for (int i = 0; i < net_rows(t); i++) {
        for (int j = 2 * plane; j < 3 * plane; j++) assert_true(t->value[i * net_columns(t) + j] == 0);
    }
    assert_true(net_nonzero(t) < net_nonzero(third));
    struct rng r = rng_stream(3, "x");
    for (size_t i = 0; i < shape_size(m.net->in); i++) x[i] = (float)rng_uniform(&r);
    net_forward(m.net, x, wanted);
    net_forward(ready, x, found);
    assert_same(found, wanted, outputs_of(m.net), 1e-5, "without dead channels", 0);
    net_free(ready);
    made_free(&m);
}

// Rows that no sample has take no weights.
static void sleeping_rows_stay(void **state) {
    (void)state;
    struct made m =
        made_new("[\"flatten\", {\"selector\": {\"out\": 42, \"density\": 0.3, \"block\": 4, \"per\": "
                 "\"batch\"}}, {\"linear\": {\"out\": 4}}]",
                 NUMBER_SQUARE);
    const struct net_tensor *w = &m.net->layers[1].weight, *bias = &m.net->layers[1].bias;
    size_t columns = (size_t)net_columns(w), asleep = 0;
    for (int i = 0; i < net_rows(w); i++) {
        size_t nonzero = bias->value[i] != 0;
        for (size_t j = 0; j < columns; j++) nonzero += w->counter[(size_t)i * columns + j] != 0;
        asleep += nonzero == 0;
    }
    assert_in_range(asleep, 30, 32); // 3 of 11 blocks are awake, and the last block has two rows
    made_free(&m);
}

static void refused(void **state) {
    (void)state;
    struct made m = made_new("[\"dropout\", \"relu\"]", NUMBER_KINDS);
    struct err e;
    m.model->count = 1;
    assert_null(net_new("run", m.model, m.params, 0, 1, 0, &e));
    assert_string_equal(e.text, "run: no layer is left to export");
    struct layer_type unknown = *m.model->layers[0].type;
    unknown.name = "unheard_of";
    m.model->layers[0].type = &unknown;
    assert_null(net_new("run", m.model, m.params, 0, 1, 0, &e));
    assert_string_equal(e.text, "model.0.dropout: a layer 'unheard_of' can't be exported");
    m.model->count = 2;
    made_free(&m);
}

// What can't leave is refused with the reason.
static void refused_with_reason(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"[\"flatten\", {\"experts\": {\"experts\": 2, \"layers\": [{\"experts\": {\"experts\": 3, "
         "\"layers\": "
         "[\"relu\"]}}]}}]",
         "model.1.experts.layers.0.experts: experts within experts can't be exported"},
        {"[{\"experts\": {\"experts\": 2, \"layers\": [\"relu\"]}}]",
         "model.0.experts: experts can't be exported where each token has its own: the runtime chooses for "
         "whole "
         "samples"},
        {"[{\"attention\": {\"heads\": 2}}]", "model.0.attention: a layer 'attention' can't be exported: the "
                                              "runtime multiplies by weights, not by "
                                              "other results"},
        {"[{\"transformer_block\": {\"heads\": 2}}]",
         "model.0.transformer_block: a layer 'transformer_block' can't be exported: its attention multiplies "
         "results by results, the runtime only by weights"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct params *ps = params_new();
        struct err e = {""};
        struct json *list = json_of(rows[i][0]);
        struct model *m = model_new(list, "model", i < 1 ? shape_3(2, 9, 8) : shape_2(3, 4), ps, &e);
        if (!m) fail_msg("%s", e.text);
        params_alloc(ps, 1, 3);
        assert_null(net_new("run", m, ps, 0, 1, 0, &e));
        assert_string_equal(e.text, rows[i][1]);
        json_free(list);
        model_free(m);
        params_free(ps);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_engine),
        cmocka_unit_test(norms_are_folded),
        cmocka_unit_test(dead_channels_vanish),
        cmocka_unit_test(sleeping_rows_stay),
        cmocka_unit_test(refused),
        cmocka_unit_test(refused_with_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
