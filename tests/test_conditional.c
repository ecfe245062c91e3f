// Layers that compute a part of themselves: every case of golden/conditional.json (torch), in double to 1e-10 and in
// float to 1e-4; choices that don't depend on neighbours; all rows and all experts are the dense layer; build errors with
// their messages; JSON; models that overfit eight samples; and whole runs, whose bits do not depend on threads, on
// stops or on when the sleeping are settled.
#include "experiments/checkpoint.h"
#include "layers/choose.h"
#include "layers/model.h"
#include "optim/optim.h"
#include "src/blas.h"
#include "tests/golden.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { INPUTS_MAX = 4 };

// --- golden ops -------------------------------------------------------------------------------------------

static int *ints_of(struct tape *t, const struct json *list) {
    int *numbers = arena_alloc(t->arena, (size_t)json_count(list) + 1, sizeof *numbers), i = 0;
    for (const struct json *v = json_first(list); v; v = json_next(v)) numbers[i++] = (int)json_number(v);
    return numbers;
}

static struct choice *choice_of(struct tape *t, const struct json *options, int block) {
    const struct json *units = child(options, "units"), *lists = child(options, "samples");
    struct choice *c = arena_alloc(t->arena, 1, sizeof *c);
    int *samples = arena_alloc(t->arena, (size_t)json_count(units), sizeof *samples), total = 0;
    int *sample = arena_alloc(t->arena, 1000, sizeof *sample);
    *c = (struct choice){.block = block, .count = json_count(units), .unit = ints_of(t, units)};
    if (json_type(json_item(lists, 0)) != JSON_ARRAY) return c;
    for (int k = 0; k < c->count; k++) {
        const struct json *list = json_item(lists, k);
        samples[k] = json_count(list);
        for (int i = 0; i < samples[k]; i++) sample[total++] = (int)json_number(json_item(list, i));
    }
    c->samples = samples, c->sample = sample;
    return c;
}

static struct tensor *apply(struct tape *t, const char *op, const struct json *options, struct tensor **x,
                            int inputs) {
    if (strcmp(op, "linear_rows") == 0)
        return op_linear_rows(t, x[0], x[1], inputs > 2 ? x[2] : NULL,
                              choice_of(t, options, (int)json_number(child(options, "block"))));
    if (strcmp(op, "take_rows") == 0)
        return op_take_rows(t, x[0], ints_of(t, child(options, "rows")), json_count(child(options, "rows")));
    assert_string_equal(op, "mix_rows");
    return op_mix_rows(t, x, x[inputs - 1], choice_of(t, options, 1));
}

static void run_op(const struct json *one, int index) {
    char where[80];
    const char *op = json_string(child(one, "op")), *name[INPUTS_MAX];
    snprintf(where, sizeof where, "op %d, %.30s", index, op);
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x[INPUTS_MAX];
    int inputs = 0;
    for (const struct json *v = json_first(child(one, "inputs")); v; v = json_next(v)) {
        assert_true(inputs < INPUTS_MAX);
        name[inputs] = json_key(v);
        x[inputs++] = leaf_of(t, v);
    }
    struct tensor *y = apply(t, op, child(one, "options"), x, inputs), *g = leaf_of(t, child(one, "g"));
    assert_true(shape_equal(y->shape, g->shape));
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    check_numbers(where, "y", y->value, child(one, "y"));
    for (int i = 0; i < inputs; i++)
        check_numbers(where, name[i], x[i]->grad, child(child(one, "grads"), name[i]));
    tape_free(t);
}

// --- models -----------------------------------------------------------------------------------------------

struct built {
    struct json *list;
    struct params *params;
    struct model *model;
    struct err e;
};

static struct built built_open(struct json *list, struct shape in) {
    struct built b = {.list = list, .params = params_new(), .e = {""}};
    b.model = model_new(list, "model", in, b.params, &b.e);
    return b;
}

static struct built built_text(const char *text, struct shape in) {
    struct built b = built_open(json_of(text), in);
    if (!b.model) fail_msg("%s", b.e.text);
    params_alloc(b.params, 1, 1);
    return b;
}

static void built_close(struct built *b) {
    model_free(b->model);
    params_free(b->params);
    json_free(b->list);
}

static void run_layer(const struct json *one, int index) {
    char where[80];
    snprintf(where, sizeof where, "layer %d", index);
    const struct json *dims = child(child(one, "x"), "shape");
    struct shape in = {.rank = json_count(dims) - 1};
    for (int d = 0; d < in.rank; d++) in.dim[d] = (int)json_number(json_item(dims, d + 1));
    struct built b = built_open(json_copy_new(child(one, "layers")), in);
    if (!b.model) fail_msg("%s: %s", where, b.e.text);
    params_alloc(b.params, 1, 1);
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, true);
    int given = json_count(child(one, "params"));
    for (int i = 0; i < b.params->count; i++) {
        const struct param *p = &b.params->list[i];
        const struct json *packed = json_find(child(one, "params"), p->name);
        if (!packed && p->buffer) continue; // a running mean
        if (!packed) fail_msg("%s: %s is not in the case", where, p->name);
        const struct tensor *value = leaf_of(t, packed);
        assert_true(shape_equal(value->shape, p->shape));
        memcpy(p->value, value->value, p->size * sizeof(real));
        given--;
    }
    assert_int_equal(given, 0);
    struct tensor *x = leaf_of(t, child(one, "x")), *y = model_forward(b.model, t, x);
    struct tensor *g = leaf_of(t, child(one, "g")), *loss = op_sum(t, op_mul(t, y, g));
    assert_true(shape_equal(y->shape, g->shape));
    check_numbers(where, "y", y->value, child(one, "y"));
    double penalty = json_number(child(one, "penalty"));
    assert_true(!t->penalty == (penalty == 0));
    if (t->penalty) assert_near(t->penalty->value[0], penalty, TOLERANCE);
    tape_backward(t, t->penalty ? op_add(t, loss, t->penalty) : loss, 1);
    check_numbers(where, "x", x->grad, child(child(one, "grads"), "x"));
    for (int i = 0; i < b.params->count; i++) {
        const struct json *packed = json_find(child(one, "grads"), b.params->list[i].name);
        if (packed) check_numbers(where, b.params->list[i].name, params_grad(b.params, 0, i), packed);
    }
    tape_free(t);
    built_close(&b);
}

static void every_case(void **state) {
    (void)state;
    struct json *golden = golden_new("conditional");
    int index = 0;
    for (const struct json *c = json_first(child(golden, "ops")); c; c = json_next(c)) run_op(c, index++);
    assert_true(index >= 9);
    index = 0;
    for (const struct json *c = json_first(child(golden, "layers")); c; c = json_next(c))
        run_layer(c, index++);
    assert_true(index >= 6);
    json_free(golden);
}

// --- choices ----------------------------------------------------------------------------------------------

enum { BATCH = 11, IN = 12 };

static void samples_fill(struct tensor *x) {
    struct rng r = rng_stream(3, "samples");
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)(4 * rng_uniform(&r) - 2);
}

// Outside training a sample alone, and among others, gives the same.
static const char *const lonely[] = {
    "[{\"selector\": {\"out\": 24, \"block\": 2, \"density\": 0.25, \"per\": \"sample\"}}]",
    "[{\"selector\": {\"out\": 24, \"block\": 2, \"density\": 0.25, \"per\": \"batch\"}}]",
    "[{\"selector\": {\"out\": 24, \"block\": 2, \"density\": 0.25, \"choose\": \"random\"}}]",
    "[{\"selector\": {\"out\": 24, \"block\": 2, \"density\": 0.25, \"choose\": \"random\", \"per\": "
    "\"batch\"}}]",
    "[{\"experts\": {\"experts\": 5, \"k\": 2, \"capacity\": 0.1, \"layers\": [{\"linear\": {\"out\": "
    "24}}]}}]",
};

static void neighbours_do_not_matter(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT(lonely); k++) {
        struct built b = built_text(lonely[k], shape_1(IN));
        struct tape *t = tape_new(b.params, 0);
        struct tensor *x = (tape_reset(t, false), tape_leaf(t, shape_2(BATCH, IN), false));
        samples_fill(x);
        real *together = model_forward(b.model, t, x)->value;
        assert_null(t->penalty);
        int zeros = 0;
        for (int i = 0; i < BATCH; i++) {
            struct tensor *one = tape_input(t, shape_2(1, IN), x->value + i * IN);
            const struct tensor *alone = model_forward(b.model, t, one);
            for (int j = 0; j < 24; j++) {
                assert_true((alone->value[j] == 0) == (together[i * 24 + j] == 0));
                assert_near(alone->value[j], together[i * 24 + j], 1e-5);
                zeros += alone->value[j] == 0;
            }
        }
        assert_int_equal(zeros, k < 4 ? BATCH * 18 : 0);
        tape_free(t);
        built_close(&b);
    }
}

// What each sample of a training step has: [BATCH][24], 1 where it isn't 0.
static void pattern_of(uint8_t *pattern, const char *text, uint64_t row, int rows) {
    struct built b = built_text(text, shape_1(IN));
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, true);
    t->dropout = rng_row(rng_stream(1, "dropout"), row);
    struct tensor *x = tape_leaf(t, shape_2(rows, IN), false);
    samples_fill(x);
    const struct tensor *y = model_forward(b.model, t, x);
    for (size_t i = 0; i < y->size; i++) pattern[i] = y->value[i] != 0;
    for (int unit = 0; unit < 12; unit++) { // exactly what is used is touched
        bool used = false;
        for (int i = 0; i < rows; i++) used |= pattern[i * 24 + 2 * unit] != 0;
        assert_int_equal(b.params->list[0].touched[unit], used);
    }
    tape_free(t);
    built_close(&b);
}

static void who_chooses_for_whom(void **state) {
    (void)state;
    uint8_t a[BATCH * 24], b[BATCH * 24];
    for (int k = 0; k < 4; k++) {
        bool random = k >= 2, each = k % 2 == 0;
        pattern_of(a, lonely[k], 1, BATCH);
        pattern_of(b, lonely[k], 2, BATCH);
        assert_true((memcmp(a, b, sizeof a) != 0) == random); // another step, the same samples
        int same = 0;
        for (int i = 1; i < BATCH; i++) same += memcmp(a, a + i * 24, 24) == 0;
        assert_true(each ? same < BATCH / 2 : same == BATCH - 1);
        if (k != 0) continue;
        pattern_of(b, lonely[k], 1, 3); // in training, too, a sample of its own
        assert_memory_equal(a, b, 3 * 24);
    }
}

static void ties_go_to_the_first(void **state) {
    (void)state;
    static const real score[] = {1, 2, 2, 2, 0, /**/ 5, 5, 5, 5, 5, /**/ NAN, 1, NAN, 0, 0};
    static const int wanted[] = {1, 2, 0, 1, 0, 2};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, false);
    const struct choice *c = choose_each(t, score, 3, 5, 2, 4);
    int at = 0;
    for (int k = 0; k < c->count; k++)
        for (int i = 0; i < c->samples[k]; i++, at++) {
            bool found = false;
            for (int j = 0; j < 2; j++) found |= wanted[2 * c->sample[at] + j] == c->unit[k];
            assert_true(found);
        }
    assert_int_equal(at, 6);
    assert_int_equal(c->count, 3);
    c = choose_first(t, c, 1);
    for (int k = 0; k < c->count; k++) assert_int_equal(c->samples[k], 1);
    assert_true(c->sample[0] == 1 && c->sample[1] == 0 && c->sample[2] == 0);
    c = choose_one(t, score, 5, 3, 4);
    assert_true(c->count == 3 && c->unit[0] == 1 && c->unit[1] == 2 && c->unit[2] == 3 && !c->sample);
    tape_free(t);
}

// --- all of it is the dense layer -------------------------------------------------------------------------

// Forward and backward of y · y; the numbers are x, y, dx and all gradients.
static const struct tensor *run_square(struct built *b, struct tape *t, struct tensor **x) {
    tape_reset(t, true);
    *x = tape_leaf(t, shape_2(BATCH, IN), true);
    samples_fill(*x);
    struct tensor *y = model_forward(b->model, t, *x);
    tape_backward(t, op_sum(t, op_mul(t, y, y)), 1);
    return y;
}

static void all_rows_are_linear(void **state) {
    (void)state;
    static const char *const all[] = {
        "[{\"selector\": {\"out\": 23, \"block\": 4, \"density\": 1, \"per\": \"sample\"}}]",
        "[{\"selector\": {\"out\": 23, \"block\": 4, \"density\": 1, \"per\": \"batch\"}}]",
        "[{\"selector\": {\"out\": 23, \"block\": 4, \"density\": 1, \"choose\": \"random\"}}]",
    };
    for (size_t k = 0; k < COUNT(all); k++) {
        struct built b = built_text(all[k], shape_1(IN)),
                     d = built_text("[{\"linear\": {\"out\": 23}}]", shape_1(IN));
        memcpy(b.params->list[0].value, d.params->list[0].value, 23 * IN * sizeof(real));
        struct tape *t = tape_new(b.params, 0), *u = tape_new(d.params, 0);
        struct tensor *x, *v;
        const struct tensor *y = run_square(&b, t, &x), *w = run_square(&d, u, &v);
        assert_memory_equal(y->value, w->value, y->size * sizeof(real));
        assert_memory_equal(x->grad, v->grad, x->size * sizeof(real));
        assert_memory_equal(params_grad(b.params, 0, 0), params_grad(d.params, 0, 0), 23 * IN * sizeof(real));
        assert_memory_equal(params_grad(b.params, 0, 1), params_grad(d.params, 0, 1), 23 * sizeof(real));
        tape_free(t), tape_free(u);
        built_close(&b), built_close(&d);
    }
}

static void all_experts_are_the_mixture(void **state) {
    (void)state;
    struct built b = built_text("[{\"experts\": {\"experts\": 3, \"k\": 3, \"balance\": 0, \"layers\": "
                                "[{\"linear\": {\"out\": 5}}, \"tanh\"]}}]",
                                shape_1(IN));
    struct tape *t = tape_new(b.params, 0);
    struct tensor *x;
    const struct tensor *y = run_square(&b, t, &x);
    real *dx = mem_new(x->size, sizeof *dx), *grads = mem_new(b.params->size, sizeof *grads);
    memcpy(dx, x->grad, x->size * sizeof *dx);
    memcpy(grads, b.params->grads[0], b.params->size * sizeof *grads);
    real *square = mem_new(y->size, sizeof *square);
    memcpy(square, y->value, y->size * sizeof *square);
    params_zero_grad(b.params, 0);
    tape_reset(t, true);
    struct tensor *v = tape_leaf(t, shape_2(BATCH, IN), true), *sum = NULL;
    samples_fill(v);
    struct tensor *p = op_softmax(t, op_linear(t, v, tape_param(t, 0), NULL));
    for (int k = 0; k < 3; k++) { // column k of p, five times side by side
        struct tensor *pick = tape_leaf(t, shape_2(5, 3), false);
        for (int i = 0; i < 15; i++) pick->value[i] = i % 3 == k;
        struct tensor *gate = op_linear(t, p, pick, NULL);
        struct tensor *part = op_mul(t, gate, model_forward(b.model->layers[0].inner[k], t, v));
        sum = sum ? op_add(t, sum, part) : part;
    }
    tape_backward(t, op_sum(t, op_mul(t, sum, sum)), 1);
    for (size_t i = 0; i < sum->size; i++) assert_near(square[i], sum->value[i], TOLERANCE / 10);
    for (size_t i = 0; i < v->size; i++) assert_near(dx[i], v->grad[i], TOLERANCE);
    for (size_t i = 0; i < b.params->size; i++) assert_near(grads[i], b.params->grads[0][i], TOLERANCE);
    mem_free(dx), mem_free(grads), mem_free(square);
    tape_free(t);
    built_close(&b);
}

// --- building ---------------------------------------------------------------------------------------------

#define EXPERTS(options) "[{\"experts\": {" options "}}]"
#define LIST_FORM ": wanted a list of layers, such as [\"flatten\", {\"linear\": {\"out\": 10}}]"

static const struct {
    const char *text;
    struct shape in;
    const char *message;
} bad_models[] = {
    {"[\"selector\"]", {1, {16}}, "model.0.selector.out: must be given"},
    {"[{\"selector\": {\"out\": 100}}]",
     {3, {1, 4, 4}},
     "model.0.selector: wants samples of one dimension, gets (1, 4, 4); put \"flatten\" before it"},
    {"[{\"selector\": {\"out\": 8}}]", {1, {16}}, "model.0.selector.block: 16 of 8 outputs"},
    {"[{\"selector\": {\"out\": 100, \"block\": 2}}]",
     {1, {5}},
     "model.0.selector.block: 2 rows of 5 inputs are not a multiple of 4 weights"},
    {"[{\"selector\": {\"out\": 100}}]",
     {1, {16}},
     "model.0.selector.density: 0.05 of 7 blocks round to none"},
    {"[{\"selector\": {\"out\": 100, \"density\": 1.5}}]",
     {1, {16}},
     "model.0.selector.density: 1.5 is not in 0 .. 1"},
    {"[{\"selector\": {\"out\": 100, \"choose\": \"hash\"}}]",
     {1, {16}},
     "model.0.selector.choose: unknown value 'hash'; known: sketch, random"},
    {"[{\"selector\": {\"out\": 100, \"per\": \"shard\"}}]",
     {1, {16}},
     "model.0.selector.per: unknown value 'shard'; known: sample, batch"},
    {"[{\"selector\": {\"out\": 100, \"blok\": 2}}]",
     {1, {16}},
     "model.0.selector: unknown key 'blok'; did you mean 'block'?"},
    {"[\"experts\"]", {1, {16}}, "model.0.experts.experts: must be given"},
    {EXPERTS("\"experts\": 4"), {1, {16}}, "model.0.experts.layers" LIST_FORM},
    {EXPERTS("\"experts\": 4, \"layers\": []"), {1, {16}}, "model.0.experts.layers" LIST_FORM},
    {EXPERTS("\"experts\": 4, \"k\": 5, \"layers\": [\"relu\"]"),
     {1, {16}},
     "model.0.experts.k: 5 of 4 experts"},
    {EXPERTS("\"experts\": 4, \"k\": 0, \"layers\": [\"relu\"]"),
     {1, {16}},
     "model.0.experts.k: 0 is not in 1 .. 1024"},
    {EXPERTS("\"experts\": 2000, \"layers\": [\"relu\"]"),
     {1, {16}},
     "model.0.experts.experts: 2000 is not in 1 .. 1024"},
    {EXPERTS("\"experts\": 1000, \"layers\": [{\"experts\": {\"experts\": 1000, \"layers\": [\"relu\"]}}]"),
     {1, {16}},
     "model.0.experts.layers.0.experts.layers.0: more than 10000 layers in all lists together"},
    {EXPERTS("\"experts\": 4, \"capacity\": -1, \"layers\": [\"relu\"]"),
     {1, {16}},
     "model.0.experts.capacity: -1 is not in 0 .. 1e+06"},
    {EXPERTS("\"experts\": 4, \"layers\": [\"relu\"]"),
     {3, {1, 4, 4}},
     "model.0.experts: wants samples of one dimension or two, gets (1, 4, 4); put \"flatten\" before it"},
    {EXPERTS("\"experts\": 4, \"layers\": [\"relu\", \"linear\"]"),
     {1, {16}},
     "model.0.experts.layers.1.linear.out: must be given"},
    {EXPERTS("\"experts\": 4, \"layers\": [\"batch_norm\"]"),
     {1, {16}},
     "model.0.experts.layers: experts1.expert1.batch_norm1.running_mean follows all samples, an expert sees "
     "some of "
     "them"},
};

static void bad_models_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(bad_models); i++) {
        struct built b = built_open(json_of(bad_models[i].text), bad_models[i].in);
        if (b.model) fail_msg("%s: accepted", bad_models[i].text);
        assert_string_equal(b.e.text, bad_models[i].message);
        built_close(&b);
    }
}

static void write_fills_in_defaults(void **state) {
    (void)state;
    static const struct {
        const char *text, *full;
    } rows[] = {
        {"[{\"selector\": {\"out\": 1000}}]",
         "[{\"selector\":{\"out\":1000,\"density\":0.05,\"block\":16,\"choose\":\"sketch\",\"per\":"
         "\"sample\","
         "\"rank\":16,\"period\":10000,\"bias\":true,\"init\":\"kaiming\"}}]"},
        {EXPERTS("\"experts\": 2, \"layers\": [{\"linear\": {\"out\": 3}}, {\"experts\": {\"experts\": 1, "
                 "\"layers\": [\"relu\"]}}]"),
         "[{\"experts\":{\"experts\":2,\"k\":1,\"capacity\":0,\"balance\":0.01,\"layers\":[{\"linear\":{"
         "\"out\":3,"
         "\"bias\":true,\"init\":\"kaiming\"}},{\"experts\":{\"experts\":1,\"k\":1,\"capacity\":0,"
         "\"balance\":0.01,"
         "\"layers\":[{\"relu\":{}}]}}]}}]"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *text = rows[i].text;
        for (int round = 0; round < 2; round++) { // and of what was written the same
            struct built b = built_text(text, shape_1(16));
            struct json *written = model_write_new(b.model);
            char *found = json_print_new(written, false);
            assert_string_equal(found, rows[i].full);
            mem_free(found);
            json_free(written);
            built_close(&b);
            text = rows[i].full;
        }
    }
}

static void parameters_are_named(void **state) {
    (void)state;
    static const char *const names[] = {"selector1.weight",
                                        "selector1.bias",
                                        "selector1.score",
                                        "selector1.sketch_in",
                                        "selector1.sketch_out",
                                        "experts1.router",
                                        "experts1.expert1.linear1.weight",
                                        "experts1.expert1.linear1.bias",
                                        "experts1.expert2.linear1.weight",
                                        "experts1.expert2.linear1.bias"};
    struct built b =
        built_text("[{\"selector\": {\"out\": 320, \"per\": \"batch\"}}, {\"experts\": {\"experts\": "
                   "2, \"layers\": [{\"linear\": {\"out\": 3}}]}}]",
                   shape_1(16));
    assert_int_equal(b.params->count, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct param *p = &b.params->list[i];
        assert_string_equal(p->name, names[i]);
        assert_int_equal(p->lazy, i == 0 || i >= 6);
        assert_int_equal(p->buffer, i >= 2 && i <= 4);
        assert_int_equal(p->units, i == 0 ? 20 : 1);
    }
    assert_int_equal(params_trained(b.params), 320 * 16 + 320 + 2 * 320 + 2 * (3 * 320 + 3));
    built_close(&b);
}

// --- training ---------------------------------------------------------------------------------------------

enum { SAMPLES = 8, CLASSES = 4 };

static const char *const networks[] = {
    "[{\"selector\": {\"out\": 320, \"density\": 0.2}}, \"relu\", {\"linear\": {\"out\": 4}}]",
    "[{\"selector\": {\"out\": 320, \"density\": 0.2, \"per\": \"batch\"}}, \"relu\", {\"linear\": {\"out\": "
    "4}}]",
    "[{\"experts\": {\"experts\": 4, \"layers\": [{\"linear\": {\"out\": 16}}, \"relu\", {\"linear\": "
    "{\"out\": "
    "16}}]}}, {\"linear\": {\"out\": 4}}]",
    "[{\"residual\": {\"layers\": [{\"experts\": {\"experts\": 4, \"k\": 2, \"capacity\": 1, \"layers\": "
    "[{\"linear\": {\"out\": 12}}, \"relu\"]}}]}}, {\"linear\": {\"out\": 4}}]",
};

static int wrong_count(const struct tensor *logits, const uint8_t *labels) {
    int wrong = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int best = 0;
        for (int j = 1; j < CLASSES; j++)
            if (logits->value[i * CLASSES + j] > logits->value[i * CLASSES + best]) best = j;
        wrong += best != labels[i];
    }
    return wrong;
}

static void overfit(const char *layers) {
    struct err e = {""};
    struct built b = built_text(layers, shape_1(IN));
    struct json *config = json_of("{\"weights\": [{\"adam\": {\"rate\": 0.02}}], \"others\": [\"adam\"]}");
    struct optim *o = optim_new(config, "optim", b.params, 1, &e);
    if (!o) fail_msg("%s", e.text);
    struct tape *t = tape_new(b.params, 0);
    uint8_t labels[SAMPLES];
    struct rng r = rng_stream(7, "labels");
    for (int i = 0; i < SAMPLES; i++) labels[i] = (uint8_t)rng_below(&r, CLASSES);
    double loss = 1;
    for (int step = 1; step <= 300; step++) {
        params_zero_grad(b.params, 0);
        tape_reset(t, true);
        struct tensor *x = tape_leaf(t, shape_2(SAMPLES, IN), false);
        samples_fill(x);
        struct tensor *y = op_cross_entropy(t, model_forward(b.model, t, x), labels, 0);
        loss = (double)y->value[0];
        tape_backward(t, t->penalty ? op_add(t, y, t->penalty) : y, 1);
        params_reduce(b.params, 1);
        params_update_buffers(b.params, SAMPLES, (double)step * SAMPLES);
        optim_step(o, step, 0, 1, 1);
    }
    optim_settle(o, 1);
    tape_reset(t, false);
    struct tensor *x = tape_leaf(t, shape_2(SAMPLES, IN), false);
    samples_fill(x);
    int wrong = wrong_count(model_forward(b.model, t, x), labels);
    if (wrong || !(loss < 0.1)) fail_msg("%s: %d wrong, loss %g", layers, wrong, loss);
    tape_free(t);
    optim_free(o);
    json_free(config);
    built_close(&b);
}

static void networks_overfit(void **state) {
    (void)state;
    blas_start();
    for (size_t i = 0; i < COUNT(networks); i++) overfit(networks[i]);
}

// --- whole runs -------------------------------------------------------------------------------------------

static const char run_text[] =
    "{\"name\": \"conditional\", \"data\": {\"set\": {\"digits\": {\"train\": 40, \"test\": 30}}, "
    "\"validation\": 3}, "
    "\"model\": [\"flatten\", {\"selector\": {\"out\": 80, \"density\": 0.2, \"block\": 4, \"per\": "
    "\"sample\", "
    "\"choose\": \"sketch\"}}, \"relu\", {\"selector\": {\"out\": 40, \"density\": 0.3, \"block\": 4, "
    "\"per\": "
    "\"batch\"}}, {\"experts\": {\"experts\": 6, \"k\": 2, \"capacity\": 1, \"balance\": 0.1, \"layers\": "
    "[{\"linear\": {\"out\": 8}}, \"relu\", {\"dropout\": {\"p\": 0.2}}]}}, {\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [\"clip\", {\"counter\": {\"rate\": 0.03, \"leak\": 0.1}}], \"others\": "
    "[\"clip\", "
    "\"adam\"]}, "
    "\"train\": {\"epochs\": 4, \"batch\": 6, \"shards\": 3}}";

enum { BATCHES = 7 };

static const struct variant {
    const char *override[3];
} variants[] = {
    {{NULL}},
    {{"model.1.selector.choose=random", "model.3.selector.density=0.1"}},
    {{"optim.weights=[{\"adam\":{\"weight_decay\":0.1}}]", "model.1.selector.per=batch"}},
    {{"optim.sparsity={\"target\":0.3,\"begin\":0,\"end\":0.5,\"freeze\":0.5}"}},
};

static void run_begin(struct run *r, const struct variant *v, int threads) {
    struct config config = {0};
    struct err e = {""};
    const struct run_options options = {.threads = threads};
    struct json *root = json_of(run_text);
    for (size_t i = 0; i < COUNT(v->override) && v->override[i]; i++)
        if (json_override(root, v->override[i], &e) != 0) fail_msg("%s", e.text);
    if (config_open_json(&config, root, "conditional.json", &e) != 0 ||
        run_open(r, &config, &options, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(run_batches(r), BATCHES);
}

// Trains as the loop in train.c does.
static void run_advance(struct run *r, int steps, bool settle) {
    for (; steps > 0; steps--) {
        if (r->batch == 0) optim_epoch(r->optim, r->epoch, r->config.train.epochs);
        batches_epoch(&r->batches, r->epoch);
        assert_true(isfinite(run_step(r)));
        if (settle) optim_settle(r->optim, r->threads);
        if (r->batch < run_batches(r)) continue;
        r->epoch++;
        r->batch = 0;
    }
}

static void assert_same_run(struct run *a, struct run *b) {
    assert_true(run_evaluate(a, PART_TEST).loss == run_evaluate(b, PART_TEST).loss); // this settles
    assert_memory_equal(a->params->values, b->params->values, a->params->size * sizeof(real));
}

static void threads_and_settling_do_not_matter(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT(variants); k++) {
        struct run one, three;
        run_begin(&one, &variants[k], 1);
        run_begin(&three, &variants[k], 3);
        real *start = mem_new(one.params->size, sizeof *start);
        memcpy(start, one.params->values, one.params->size * sizeof *start);
        run_advance(&one, 2 * BATCHES + 3, false);
        run_advance(&three, 2 * BATCHES + 3, true);
        assert_same_run(&one, &three);
        assert_memory_not_equal(one.params->values, start, one.params->size * sizeof *start);
        size_t bytes = arena_bytes(one.tapes[0]->arena);
        run_advance(&one, 1, false);
        if (k == 2) assert_int_equal(arena_bytes(one.tapes[0]->arena), bytes); // nothing new
        mem_free(start);
        run_close(&one);
        run_close(&three);
    }
}

static void stop_and_resume(void **state) {
    for (size_t k = 0; k < COUNT(variants); k++) {
        struct run a, b;
        struct safetensors file;
        struct err e = {""};
        char path[100];
        snprintf(path, sizeof path, "%s/a.safetensors", (char *)*state);
        run_begin(&a, &variants[k], 1);
        run_begin(&b, &variants[k], 2);
        run_advance(&a, BATCHES + 3, false);
        if (checkpoint_save(&a, path, &e) != 0 || checkpoint_open(&file, path, &e) != 0)
            fail_msg("%s", e.text);
        assert_true((safetensors_find(&file, "selector1.score") != NULL) == (k == 1 || k == 2));
        assert_non_null(safetensors_find(&file, "selector2.sketch_out"));
        if (checkpoint_load(&b, &file, path, &e) != 0) fail_msg("%s", e.text);
        safetensors_close(&file);
        run_advance(&a, 2 * BATCHES, false);
        run_advance(&b, 2 * BATCHES, false);
        assert_same_run(&a, &b);
        run_close(&a);
        run_close(&b);
    }
}

// The penalty moves the router, and is not in the loss that a run reports.
static void penalty_is_not_reported(void **state) {
    (void)state;
    static const struct variant without = {{"model.4.experts.balance=0"}},
                                heavy = {{"model.4.experts.balance=1000"}};
    struct run a, b;
    run_begin(&a, &without, 1);
    run_begin(&b, &heavy, 1);
    optim_epoch(a.optim, 0, 4), optim_epoch(b.optim, 0, 4);
    batches_epoch(&a.batches, 0), batches_epoch(&b.batches, 0);
    assert_true(run_step(&a) == run_step(&b));
    bool differs = false;
    for (int i = 0; i < a.params->count; i++)
        if (strcmp(a.params->list[i].name, "experts1.router") == 0)
            differs = memcmp(params_grad(a.params, 0, i), params_grad(b.params, 0, i),
                             a.params->list[i].size * sizeof(real)) != 0;
    assert_true(differs);
    run_close(&a);
    run_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(neighbours_do_not_matter),
        cmocka_unit_test(who_chooses_for_whom),
        cmocka_unit_test(ties_go_to_the_first),
        cmocka_unit_test(all_rows_are_linear),
        cmocka_unit_test(all_experts_are_the_mixture),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(write_fills_in_defaults),
        cmocka_unit_test(parameters_are_named),
        cmocka_unit_test(networks_overfit),
        cmocka_unit_test(threads_and_settling_do_not_matter),
        IN_FOLDER(stop_and_resume),
        cmocka_unit_test(penalty_is_not_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
