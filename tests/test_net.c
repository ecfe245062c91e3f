// Networks that leave: as trained, with fewer bits, and ready to run: the same answers, fewer weights.
#include "export/net.h"
#include "layers/model.h"
#include "src/rng.h"
#include "tests/check.h"

enum { IN = 12, HIDDEN = 9, OUT = 4 };

struct made {
    struct params *params;
    struct model *model;
    struct net *net;
};

static const char model_text[] =
    "[\"flatten\", {\"dropout\": {\"p\": 0.5}}, {\"linear\": {\"out\": 9}}, \"relu\", "
    "{\"linear\": {\"out\": 7}}, \"sigmoid\", {\"linear\": {\"out\": 4, \"bias\": false}}]";

// A model whose weights are counted in the number system (NUMBER_KINDS: floats), about a third of them zero.
static struct made make(const char *text, enum number_kind kind, int bits, double mean, double std) {
    struct made m = {.params = params_new()};
    struct err e;
    struct json *list = json_of(text);
    m.model = model_new(list, "model", shape_3(1, 3, 4), m.params, &e);
    if (!m.model) fail_msg("%s", e.text);
    json_free(list);
    params_alloc(m.params, 1, 3);
    struct rng r = rng_stream(5, "net");
    for (int i = 0; i < m.params->count; i++) {
        struct param *p = &m.params->list[i];
        if (param_is_weight(p) && kind != NUMBER_KINDS)
            param_count(p, number_make(kind, bits, kind == NUMBER_POW2 ? 2 : 0, 0));
        for (size_t j = 0; j < p->size; j++) {
            if (!param_is_weight(p))
                p->value[j] = (real)(rng_uniform(&r) - 0.5);
            else if (rng_below(&r, 3) == 0 && p->counted)
                param_set_counter(p, j, 0);
            else if (rng_below(&r, 3) == 0 && !p->counted)
                p->value[j] = 0;
        }
    }
    m.net = net_new("net", m.model, m.params, mean, std, 0, &e);
    if (!m.net) fail_msg("%s", e.text);
    return m;
}

static void made_free(struct made *m) {
    net_free(m->net);
    model_free(m->model);
    params_free(m->params);
}

// What the model itself makes of a sample that is normalised already.
static void model_answer(float *y, const struct made *m, const float *x) {
    struct tape *t = tape_new(m->params, 0);
    real values[IN];
    for (int i = 0; i < IN; i++) values[i] = (real)x[i];
    tape_reset(t, false);
    struct shape shape = {4, {1, 1, 3, 4}};
    struct tensor *result = model_forward(m->model, t, tape_input(t, shape, values));
    for (int i = 0; i < OUT; i++) y[i] = (float)result->value[i];
    tape_free(t);
}

static void assert_same_answers(const struct net *a, const struct net *b, double mean, double std,
                                double tolerance) {
    struct rng r = rng_stream(11, "samples");
    for (int sample = 0; sample < 20; sample++) {
        float pixel[IN], normal[IN], from_a[OUT], from_b[OUT];
        for (int i = 0; i < IN; i++) {
            pixel[i] = (float)rng_below(&r, 256) / 255;
            normal[i] = (float)(((double)pixel[i] - mean) / std);
        }
        net_forward(a, normal, from_a);
        net_forward(b, pixel, from_b);
        for (int i = 0; i < OUT; i++) assert_near(from_a[i], from_b[i], tolerance);
    }
}

static void takes_the_model(void **state) {
    (void)state;
    for (int kind = 0; kind <= NUMBER_KINDS; kind++) {
        struct made m = make(model_text, (enum number_kind)kind, 16, 0.2, 0.3);
        assert_int_equal(m.net->count, 6); // dropout is gone
        assert_int_equal(m.net->layers[0].kind, NET_FLATTEN);
        assert_string_equal(m.net->layers[3].name, "linear2");
        assert_int_equal(m.net->layers[5].bias.shape.rank, 0);
        const struct net_tensor *w = &m.net->layers[1].weight;
        assert_int_equal(w->counted, kind != NUMBER_KINDS);
        assert_int_equal(net_rows(w), HIDDEN);
        assert_int_equal(net_columns(w), IN);
        const struct param *p = &m.params->list[m.model->layers[2].param[0]];
        assert_int_equal(net_nonzero(w), param_nonzero(p));
        for (size_t i = 0; i < w->size; i++) {
            assert_true(w->value[i] == (float)p->value[i]);
            if (p->counted) assert_int_equal(w->counter[i], param_counter(p, i));
        }
        struct rng r = rng_stream(7, "x");
        float x[IN], wanted[OUT], found[OUT];
        for (int i = 0; i < IN; i++) x[i] = (float)rng_uniform(&r) - 0.5f;
        model_answer(wanted, &m, x);
        net_forward(m.net, x, found);
        for (int i = 0; i < OUT; i++) assert_near(found[i], wanted[i], 1e-5);
        made_free(&m);
    }
}

static void prepared_answers_alike(void **state) {
    (void)state;
    for (int kind = 0; kind <= NUMBER_KINDS; kind++) {
        struct made m = make(model_text, (enum number_kind)kind, 16, 0.2, 0.3);
        struct net *ready = net_copy_new(m.net);
        net_prepare(ready);
        assert_true(ready->mean == 0 && ready->std == 1);
        assert_int_equal(ready->count, m.net->count);
        assert_same_answers(m.net, ready, 0.2, 0.3, 1e-5);
        // Twice is once.
        struct net *again = net_copy_new(ready);
        net_prepare(again);
        for (int i = 0; i < ready->count; i++)
            if (ready->layers[i].weight.shape.rank)
                assert_memory_equal(ready->layers[i].weight.value, again->layers[i].weight.value,
                                    ready->layers[i].weight.size * sizeof(float));
        net_free(again);
        net_free(ready);
        made_free(&m);
    }
}

// A layer before the first linear one: the normalisation becomes a layer of its own.
static void affine_in_front(void **state) {
    (void)state;
    struct made m = make("[\"tanh\", \"flatten\", {\"linear\": {\"out\": 4}}]", NUMBER_SQUARE, 16, 0.25, 0.5);
    struct net *ready = net_copy_new(m.net);
    net_prepare(ready);
    assert_int_equal(ready->count, 4);
    assert_int_equal(ready->layers[0].kind, NET_AFFINE);
    assert_true(ready->layers[0].scale == 2 && ready->layers[0].shift == -0.5);
    assert_same_answers(m.net, ready, 0.25, 0.5, 1e-6);
    net_free(ready);
    made_free(&m);
}

// Unit 0 of the first layer is read by nobody; unit 1 has no inputs; both vanish, and so does what fed them alone.
static void dead_units_vanish(void **state) {
    (void)state;
    struct made m = make(model_text, NUMBER_SQUARE, 16, 0, 1);
    struct net_tensor *first = &m.net->layers[1].weight, *second = &m.net->layers[3].weight;
    for (int i = 0; i < net_rows(second); i++) {
        second->value[i * HIDDEN] = 0;
        second->counter[i * HIDDEN] = 0;
    }
    for (int j = 0; j < IN; j++) {
        first->value[IN + j] = 0;
        first->counter[IN + j] = 0;
    }
    m.net->layers[1].bias.value[1] = 0.75f;
    struct net *ready = net_copy_new(m.net);
    net_prepare(ready);
    const struct net_tensor *f = &ready->layers[1].weight, *s = &ready->layers[3].weight;
    for (int j = 0; j < IN; j++) assert_true(f->value[j] == 0 && f->counter[j] == 0);
    for (int i = 0; i < net_rows(s); i++)
        assert_true(s->value[i * HIDDEN + 1] == 0 && s->counter[i * HIDDEN + 1] == 0);
    assert_true(ready->layers[1].bias.value[0] == 0 && ready->layers[1].bias.value[1] == 0);
    assert_true(net_nonzero(f) < net_nonzero(first) && net_nonzero(s) < net_nonzero(second));
    assert_same_answers(m.net, ready, 0, 1, 1e-5);
    net_free(ready);
    made_free(&m);
}

// With a whole layer dead, the answer is a constant, and no weight is left.
static void dead_layer(void **state) {
    (void)state;
    struct made m = make(model_text, NUMBER_SQUARE, 16, 0.1, 2);
    struct net_tensor *w = &m.net->layers[3].weight;
    memset(w->value, 0, w->size * sizeof *w->value);
    memset(w->counter, 0, w->size * sizeof *w->counter);
    struct net *ready = net_copy_new(m.net);
    net_prepare(ready);
    for (int i = 0; i < ready->count; i++)
        if (ready->layers[i].weight.shape.rank) assert_int_equal(net_nonzero(&ready->layers[i].weight), 0);
    assert_same_answers(m.net, ready, 0.1, 2, 1e-5);
    net_free(ready);
    made_free(&m);
}

// Requantised weights stay near: their largest keeps its value, survivors survive, zeros stay, signs stay.
static void fewer_bits(void **state) {
    (void)state;
    for (int kind = 0; kind <= NUMBER_KINDS; kind++)
        for (int bits = 2; bits <= 16; bits++) {
            struct made m = make(model_text, (enum number_kind)kind, 16, 0, 1);
            struct net *less = net_copy_new(m.net);
            net_requantise(less, bits);
            const struct net_tensor *was = &m.net->layers[1].weight, *is = &less->layers[1].weight;
            assert_true(is->counted);
            int32_t limit = (1 << (bits - 1)) - 1;
            double largest = 0;
            for (size_t i = 0; i < was->size; i++) largest = fmax(largest, fabs((double)was->value[i]));
            double off = 0;
            for (size_t i = 0; i < was->size; i++) {
                assert_in_range(is->counter[i] + limit, 0, 2 * (int64_t)limit);
                assert_int_equal(is->counter[i] == 0, was->value[i] == 0);
                assert_true((double)is->value[i] * (double)was->value[i] >= 0);
                assert_true(is->value[i] == (float)(is->scale * number_value(&is->number, is->counter[i])));
                if (fabs((double)was->value[i]) == largest) // of madam the levels fall
                    assert_near(is->value[i], was->value[i], largest * (kind == NUMBER_MADAM ? 0.5 : 1e-5));
                off = fmax(off, fabs((double)is->value[i] - (double)was->value[i]) / largest);
            }
            if (bits == 16 && kind != NUMBER_MADAM && kind != NUMBER_KINDS)
                assert_true(off == 0); // it fitted already
            if (bits >= 8 && kind < NUMBER_POW2) assert_true(off < 0.05);
            net_free(less);
            made_free(&m);
        }
}

static void eight_bit_biases(void **state) {
    (void)state;
    struct made m = make(model_text, NUMBER_SQUARE, 16, 0.2, 0.3);
    struct net *ready = net_copy_new(m.net);
    net_prepare(ready);
    struct net *less = net_copy_new(ready);
    net_requantise_biases(less);
    const struct net_tensor *was = &ready->layers[1].bias, *is = &less->layers[1].bias;
    assert_true(is->counted && is->number.kind == NUMBER_LINEAR && is->number.bits == 8);
    for (size_t i = 0; i < was->size; i++) assert_near(is->value[i], was->value[i], is->scale * 0.501);
    net_free(less);
    net_free(ready);
    made_free(&m);
}

static void softmax_appended(void **state) {
    (void)state;
    struct made m = make(model_text, NUMBER_SQUARE, 16, 0, 1);
    float x[IN] = {0.5f, 0, 1}, logits[OUT], y[OUT];
    net_forward(m.net, x, logits);
    net_add_softmax(m.net);
    net_forward(m.net, x, y);
    double sum = 0;
    for (int i = 0; i < OUT; i++) sum += exp((double)logits[i]);
    for (int i = 0; i < OUT; i++) assert_near(y[i], exp((double)logits[i]) / sum, 1e-6);
    made_free(&m);
}

static void not_finite(void **state) {
    (void)state;
    struct made m = make(model_text, NUMBER_KINDS, 0, 0, 1);
    struct err e;
    m.params->values[3] = (real)NAN;
    assert_null(net_new("bad", m.model, m.params, 0, 1, 0, &e));
    assert_string_equal(e.text, "bad: a weight is not finite");
    made_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_model),  cmocka_unit_test(prepared_answers_alike),
        cmocka_unit_test(affine_in_front),  cmocka_unit_test(dead_units_vanish),
        cmocka_unit_test(dead_layer),       cmocka_unit_test(fewer_bits),
        cmocka_unit_test(eight_bit_biases), cmocka_unit_test(softmax_appended),
        cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
