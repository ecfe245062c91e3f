// Normalisation, activations, concat and residual layers, label smoothing: every op against golden/norms.json
// (torch), in double to 1e-10 and in float to 1e-4; buffers by hand; build errors with their messages; names and
// JSON; models that overfit eight samples; and whole runs whose buffers are the same bits for any number of threads
// and after a stop.
#include "experiments/checkpoint.h"
#include "layers/model.h"
#include "optim/optim.h"
#include "src/blas.h"
#include "tests/check.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { FILE_LIMIT = 1 << 22, PARTS_MAX = 5 };

// Relative to the larger of the number and the largest of its tensor.
#ifdef TALLY_DOUBLE
static const double TOLERANCE = 1e-10;
#else
static const double TOLERANCE = 1e-4;
#endif

// --- golden numbers ---------------------------------------------------------------------------------------

static const struct json *child(const struct json *node, const char *key) {
    const struct json *found = json_find(node, key);
    if (!found) fail_msg("golden/norms.json: no '%s'", key);
    return found;
}

static double number(const struct json *node, const char *key) {
    return json_number(child(node, key));
}

static struct json *golden_new(void) {
    struct err e;
    struct json *golden = json_load_new(TEST_SOURCE_DIR "/tests/golden/norms.json", FILE_LIMIT, &e);
    if (!golden) fail_msg("%s", e.text);
    return golden;
}

// The packed tensor NAME of the group, or NULL.
static struct tensor *leaf_of(struct tape *t, const struct json *group, const char *name) {
    const struct json *packed = json_find(group, name);
    if (!packed) return NULL;
    const struct json *dims = child(packed, "shape"), *values = child(packed, "values");
    struct shape shape = {.rank = json_count(dims)};
    assert_true(shape.rank <= SHAPE_RANK_MAX);
    for (int d = 0; d < shape.rank; d++) shape.dim[d] = (int)json_number(json_item(dims, d));
    struct tensor *x = tape_leaf(t, shape, true);
    assert_int_equal(json_count(values), x->size);
    size_t i = 0;
    for (const struct json *v = json_first(values); v; v = json_next(v)) x->value[i++] = (real)json_number(v);
    return x;
}

static void check_numbers(const char *where, const char *what, const real *found, const struct json *packed) {
    const struct json *values = child(packed, "values");
    double largest = 1e-2;
    for (const struct json *v = json_first(values); v; v = json_next(v))
        largest = fmax(largest, fabs(json_number(v)));
    int i = 0;
    for (const struct json *v = json_first(values); v; v = json_next(v), i++) {
        double wanted = json_number(v);
        if (!(fabs((double)found[i] - wanted) <= TOLERANCE * largest))
            fail_msg("%s: %s[%d] is %.12g, golden %.12g", where, what, i, (double)found[i], wanted);
    }
}

// The inputs of a case, in the order of the file.
struct inputs {
    struct tensor *all[PARTS_MAX];
    const char *name[PARTS_MAX];
    int count;
    struct tensor *x, *weight, *bias;          // those of them
    struct tensor *running_mean, *running_var; // buffers
    struct tensor *duty;
};

static struct inputs inputs_of(struct tape *t, const struct json *one) {
    struct inputs in = {0};
    const struct json *group = child(one, "inputs"), *buffers = child(one, "buffers");
    for (const struct json *member = json_first(group); member; member = json_next(member)) {
        assert_true(in.count < PARTS_MAX);
        in.name[in.count] = json_key(member);
        struct tensor *x = in.all[in.count++] = leaf_of(t, group, json_key(member));
        if (strcmp(json_key(member), "x") == 0) in.x = x;
        if (strcmp(json_key(member), "weight") == 0) in.weight = x;
        if (strcmp(json_key(member), "bias") == 0) in.bias = x;
    }
    in.running_mean = leaf_of(t, buffers, "running_mean");
    in.running_var = leaf_of(t, buffers, "running_var");
    in.duty = leaf_of(t, buffers, "duty");
    return in;
}

static struct tensor *loss_of(struct tape *t, struct tensor *logits, const struct json *options) {
    const struct json *list = child(options, "labels");
    uint8_t *labels = arena_alloc(t->arena, (size_t)json_count(list), 1);
    for (int i = 0; i < json_count(list); i++) labels[i] = (uint8_t)json_number(json_item(list, i));
    return op_cross_entropy(t, logits, labels, number(options, "smoothing"));
}

static struct tensor *apply(struct tape *t, const char *op, const struct json *options, struct inputs *in) {
    if (strcmp(op, "layer_norm") == 0)
        return op_layer_norm(t, in->x, in->weight, in->bias, number(options, "eps"));
    if (strcmp(op, "rms_norm") == 0) return op_rms_norm(t, in->x, in->weight, number(options, "eps"));
    if (strcmp(op, "batch_norm") == 0) {
        t->training = number(options, "training") != 0;
        return op_batch_norm(t, in->x, in->weight, in->bias, in->running_mean, in->running_var,
                             number(options, "eps"));
    }
    if (strcmp(op, "softmax") == 0) return op_softmax(t, in->x);
    if (strcmp(op, "silu") == 0) return op_silu(t, in->x);
    if (strcmp(op, "leaky_relu") == 0) return op_leaky_relu(t, in->x, number(options, "negative_slope"));
    if (strcmp(op, "concat") == 0) return op_concat(t, in->all, in->count);
    if (strcmp(op, "cross_entropy") == 0) return loss_of(t, in->x, options);
    if (strcmp(op, "k_winners") == 0)
        return op_k_winners(t, in->x, in->duty, (int)number(options, "k"), number(options, "boost"),
                            number(options, "local") != 0);
    fail_msg("golden/norms.json: op '%s'", op);
    return NULL;
}

// What the op added to the gradients of its buffers.
static void check_buffers(const char *where, const struct json *one, const struct tape *t,
                          struct inputs *in) {
    const struct json *after = child(one, "after"), *options = child(one, "options");
    if (in->duty) check_numbers(where, "duty", in->duty->grad, child(after, "duty"));
    if (!in->running_mean) return;
    struct tensor *running[] = {in->running_mean, in->running_var};
    real share = (real)number(options, "momentum"), rows = (real)in->x->shape.dim[0];
    for (int k = 0; k < 2; k++) {
        for (size_t c = 0; t->training && c < running[k]->size; c++)
            running[k]->value[c] = (1 - share) * running[k]->value[c] + share * running[k]->grad[c] / rows;
        for (size_t c = 0; !t->training && c < running[k]->size; c++) assert_true(running[k]->grad[c] == 0);
        const char *name = k ? "running_var" : "running_mean";
        check_numbers(where, name, running[k]->value, child(after, name));
    }
}

static void run_case(const struct json *one, int index) {
    char where[80];
    const char *op = json_string(child(one, "op"));
    snprintf(where, sizeof where, "case %d, %.30s", index, op);
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct inputs in = inputs_of(t, one);
    struct tensor *y = apply(t, op, child(one, "options"), &in), *g = leaf_of(t, one, "g");
    assert_true(shape_equal(y->shape, g->shape));
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    check_numbers(where, "y", y->value, child(one, "y"));
    for (int i = 0; i < in.count; i++)
        check_numbers(where, in.name[i], in.all[i]->grad, child(child(one, "grads"), in.name[i]));
    check_buffers(where, one, t, &in);
    tape_free(t);
}

static void every_case(void **state) {
    (void)state;
    struct json *golden = golden_new();
    int index = 0;
    for (const struct json *c = json_first(child(golden, "cases")); c; c = json_next(c)) run_case(c, index++);
    json_free(golden);
}

static void every_op_has_three_cases(void **state) {
    (void)state;
    static const char *const names[] = {"layer_norm", "rms_norm", "batch_norm",    "softmax",  "silu",
                                        "leaky_relu", "concat",   "cross_entropy", "k_winners"};
    struct json *golden = golden_new();
    for (size_t i = 0; i < COUNT(names); i++) {
        int cases = 0;
        for (const struct json *c = json_first(child(golden, "cases")); c; c = json_next(c))
            cases += strcmp(json_string(child(c, "op")), names[i]) == 0;
        if (cases < 3) fail_msg("%s: %d cases", names[i], cases);
    }
    json_free(golden);
}

// Without a backward pass the values are the same.
static void values_without_gradients(void **state) {
    (void)state;
    enum { ROWS = 5, N = 19 };
    struct tape *t = tape_new(NULL, 0);
    real y[2][4][ROWS * N];
    for (int recording = 0; recording < 2; recording++) {
        struct rng r = rng_stream(1, "values");
        tape_reset(t, true);
        t->recording = recording;
        struct tensor *x = tape_leaf(t, shape_2(ROWS, N), recording),
                      *w = tape_leaf(t, shape_1(N), recording);
        for (size_t i = 0; i < x->size; i++) x->value[i] = (real)(4 * rng_uniform(&r) - 1);
        for (size_t i = 0; i < w->size; i++) w->value[i] = (real)(1 + rng_uniform(&r));
        memcpy(y[recording][0], op_layer_norm(t, x, w, w, 1e-5)->value, sizeof y[0][0]);
        memcpy(y[recording][1], op_rms_norm(t, x, w, 1e-5)->value, sizeof y[0][0]);
        memcpy(y[recording][2], op_batch_norm(t, x, w, w, w, w, 1e-5)->value, sizeof y[0][0]);
        memcpy(y[recording][3], op_silu(t, x)->value, sizeof y[0][0]);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    tape_free(t);
}

static void softmax_of_extremes(void **state) {
    (void)state;
    static real x[] = {1e30f, 0, -1e30f, /**/ -1e30f, -1e30f, -1e30f, /**/ 0, NAN, 0};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, false);
    const real *y = op_softmax(t, tape_input(t, shape_2(3, 3), x))->value;
    for (int i = 0; i < 3; i++) assert_true(y[i] == (i == 0));
    for (int i = 3; i < 6; i++) assert_near(y[i], 1.0 / 3, 1e-7);
    for (int i = 6; i < 9; i++) assert_true(isnan(y[i]));
    tape_free(t);
}

// --- buffers ----------------------------------------------------------------------------------------------

static void buffers_follow(void **state) {
    (void)state;
    struct params *ps = params_new();
    int w = params_add(ps, "a.weight", shape_2(2, 3), 1, 0);
    int slow = params_add_buffer(ps, "a.slow", shape_1(2), 4, (struct average){.momentum = 0.25});
    int b = params_add(ps, "a.bias", shape_1(2), 0, 0);
    int long_run = params_add_buffer(ps, "a.long", shape_2(1, 2), 0, (struct average){.period = 100});
    params_alloc(ps, 2, 1);
    assert_int_equal(ps->size, 6 + 2 + 2 + 2);
    assert_int_equal(params_trained(ps), 6 + 2);
    assert_true(ps->list[slow].buffer && ps->list[long_run].buffer && !ps->list[w].buffer);
    assert_false(param_is_weight(&ps->list[long_run]));
    assert_true(ps->list[slow].value[0] == 4 && ps->list[slow].value[1] == 4);
    static const double seen[] = {10, 90, 1000}, wanted_long[] = {3, 2.4, 2.1};
    double value = 4;
    for (int step = 0; step < 3; step++) {
        double samples[] = {10, 80, 50}, mean[] = {3, 2.325, 1.8};
        for (int shard = 0; shard < 2; shard++) params_zero_grad(ps, shard);
        for (int shard = 0; shard < 2; shard++) { // shards of unequal size: sums over their samples
            double n = shard ? 0.7 * samples[step] : 0.3 * samples[step];
            params_grad(ps, shard, slow)[1] += (real)(n * (shard ? 6 : -4));
            params_grad(ps, shard, long_run)[0] += (real)(n * mean[step]);
        }
        params_reduce(ps, 1);
        params_update_buffers(ps, (size_t)samples[step], seen[step]);
        value = 0.75 * value + 0.25 * 3; // 0.3 · -4 + 0.7 · 6
        assert_near(ps->list[slow].value[1], value, 1e-5);
        assert_near(ps->list[long_run].value[0], wanted_long[step], 1e-5);
    }
    for (size_t i = 0; i < 6; i++) assert_true(ps->list[w].value[i] != 0);
    assert_true(ps->list[b].value[0] == 0 && ps->list[b].value[1] == 0);
    params_free(ps);
}

// A step larger than the period takes all of its mean.
static void buffers_of_large_steps(void **state) {
    (void)state;
    struct params *ps = params_new();
    int index = params_add_buffer(ps, "a.duty", shape_1(1), 1, (struct average){.period = 10});
    params_alloc(ps, 1, 1);
    params_grad(ps, 0, index)[0] = 15;
    params_update_buffers(ps, 30, 60);
    assert_near(ps->list[index].value[0], 0.5, 1e-6);
    params_free(ps);
}

static void optimisers_do_not_see_buffers(void **state) {
    (void)state;
    static const char *const stages[] = {"[\"clip\", \"adam\"]", "[{\"sgd\": {\"weight_decay\": 0.1}}]"};
    for (size_t k = 0; k < COUNT(stages); k++) {
        struct optim *o[2];
        struct params *ps[2];
        char text[200];
        snprintf(text, sizeof text, "{\"weights\": [\"counter\"], \"others\": %s}", stages[k]);
        struct json *config = json_of(text);
        for (int with = 0; with < 2; with++) {
            struct err e = {""};
            ps[with] = params_new();
            params_add(ps[with], "a.weight", shape_2(2, 3), 1, 0);
            params_add(ps[with], "a.bias", shape_1(3), 0, 1);
            if (with) params_add_buffer(ps[with], "a.mean", shape_1(3), 5, (struct average){.momentum = 0.1});
            if (with) params_add_buffer(ps[with], "a.map", shape_2(2, 2), 5, (struct average){.momentum = 0});
            params_alloc(ps[with], 1, 1);
            o[with] = optim_new(config, "optim", ps[with], 1, &e);
            if (!o[with]) fail_msg("%s", e.text);
            for (size_t i = 0; i < ps[with]->size; i++) ps[with]->grads[0][i] = (real)(i < 9 ? 1 + i : 1e6);
            for (int step = 1; step <= 3; step++) optim_step(o[with], step, 0, 1, 1);
            optim_epoch(o[with], 0, 1);
        }
        assert_memory_equal(ps[0]->values, ps[1]->values, 9 * sizeof(real));
        for (size_t i = 9; i < 16; i++) assert_true(ps[1]->values[i] == 5);
        for (int list = 0; list < OPTIM_LISTS; list++)
            assert_true(optim_state_bytes(o[0], list) == optim_state_bytes(o[1], list));
        for (int with = 0; with < 2; with++) optim_free(o[with]), params_free(ps[with]);
        json_free(config);
    }
}

// --- models -----------------------------------------------------------------------------------------------

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

#define LIST_FORM ": wanted a list of layers, such as [\"flatten\", {\"linear\": {\"out\": 10}}]"
#define BRANCHES_FORM "model.0.concat.branches: wanted 2 to 64 lists of layers, such as [[], [\"relu\"]]"

static const struct {
    const char *text;
    struct shape in;
    const char *message;
} bad_models[] = {
    {"[{\"layer_norm\": {\"eps\": 0}}]", {1, {16}}, "model.0.layer_norm.eps: 0 is not in 1e-12 .. 1"},
    {"[{\"layer_norm\": {\"normalized_shape\": 16}}]",
     {1, {16}},
     "model.0.layer_norm: unknown key 'normalized_shape'; known: eps, elementwise_affine, bias"},
    {"[{\"rms_norm\": {\"bias\": true}}]",
     {1, {16}},
     "model.0.rms_norm: unknown key 'bias'; known: eps, elementwise_affine"},
    {"[{\"rms_norm\": {\"eps\": \"small\"}}]",
     {1, {16}},
     "model.0.rms_norm.eps: wanted a number, found a string"},
    {"[{\"batch_norm\": {\"momentum\": 1.5}}]",
     {1, {16}},
     "model.0.batch_norm.momentum: 1.5 is not in 0 .. 1"},
    {"[{\"batch_norm\": {\"afine\": true}}]",
     {1, {16}},
     "model.0.batch_norm: unknown key 'afine'; did you mean 'affine'?"},
    {"[{\"batchnorm\": {}}]", {1, {16}}, "model.0: unknown layer 'batchnorm'; did you mean 'batch_norm'?"},
    {"[{\"softmax\": {\"dim\": 1}}]", {1, {16}}, "model.0.softmax: unknown key 'dim'; there are none"},
    {"[{\"silu\": {\"beta\": 1}}]", {1, {16}}, "model.0.silu: unknown key 'beta'; there are none"},
    {"[{\"leaky_relu\": {\"negative_slope\": 2}}]",
     {1, {16}},
     "model.0.leaky_relu.negative_slope: 2 is not in 0 .. 1"},
    {"[\"residual\"]", {1, {16}}, "model.0.residual.layers" LIST_FORM},
    {"[{\"residual\": {\"layers\": []}}]", {1, {16}}, "model.0.residual.layers" LIST_FORM},
    {"[{\"residual\": {\"layers\": \"relu\"}}]", {1, {16}}, "model.0.residual.layers" LIST_FORM},
    {"[{\"residual\": {\"layers\": [\"relu\"], \"shortcut\": 3}}]",
     {1, {16}},
     "model.0.residual.shortcut" LIST_FORM},
    {"[{\"residual\": {\"layers\": [\"relu\", \"rleu\"]}}]",
     {1, {16}},
     "model.0.residual.layers.1: unknown layer 'rleu'; did you mean 'relu'?"},
    {"[{\"residual\": {\"layers\": [{\"linear\": {\"out\": 8}}]}}]",
     {1, {16}},
     "model.0.residual: layers give (8), x itself gives (16); a sum wants equal shapes, see \"shortcut\""},
    {"[{\"residual\": {\"layers\": [\"flatten\"]}}]",
     {3, {2, 3, 4}},
     "model.0.residual: layers give (24), x itself gives (2, 3, 4); a sum wants equal shapes, see "
     "\"shortcut\""},
    {"[\"relu\", {\"residual\": {\"layers\": [{\"linear\": {\"out\": 8}}], \"shortcut\": [{\"linear\": "
     "{\"out\": 9}}]}}]",
     {1, {16}},
     "model.1.residual: layers give (8), shortcut gives (9); a sum wants equal shapes"},
    {"[\"concat\"]", {1, {16}}, BRANCHES_FORM},
    {"[{\"concat\": {\"branches\": [[\"relu\"]]}}]", {1, {16}}, BRANCHES_FORM},
    {"[{\"concat\": {\"branches\": {\"a\": [], \"b\": []}}}]", {1, {16}}, BRANCHES_FORM},
    {"[{\"concat\": {\"branches\": [[], \"relu\"]}}]", {1, {16}}, "model.0.concat.branches.1" LIST_FORM},
    {"[{\"concat\": {\"branches\": [[], [{\"linear\": {}}]]}}]",
     {1, {16}},
     "model.0.concat.branches.1.0.linear.out: must be given"},
    {"[{\"concat\": {\"branches\": [[], [\"flatten\"]]}}]",
     {3, {2, 3, 4}},
     "model.0.concat.branches.1: gives (24), the branches before it give (2, 3, 4); only the first dimension "
     "may differ"},
    {"[{\"concat\": {\"branches\": [[], []]}}, {\"concat\": {\"branches\": [[], []]}}]",
     {3, {1 << 29, 1, 1}},
     "model.1.concat.branches.1: 2147483648 numbers along the first dimension"},
    {"[\"k_winners\"]", {1, {16}}, "model.0.k_winners: wants one of density and k, above 0"},
    {"[{\"k_winners\": {\"density\": 0.5, \"k\": 3}}]",
     {1, {16}},
     "model.0.k_winners: wants one of density and k, above 0"},
    {"[{\"k_winners\": {\"density\": 1.5}}]", {1, {16}}, "model.0.k_winners.density: 1.5 is not in 0 .. 1"},
    {"[{\"k_winners\": {\"density\": 0.02}}]",
     {1, {16}},
     "model.0.k_winners: 0.32 of 16 numbers round to no winner (0.48 outside training)"},
    {"[{\"k_winners\": {\"k\": 17}}]",
     {1, {16}},
     "model.0.k_winners: 17 winners of 16 numbers (26 outside training, see k_inference_factor)"},
    {"[{\"k_winners\": {\"k\": 12}}]",
     {1, {16}},
     "model.0.k_winners: 12 winners of 16 numbers (18 outside training, see k_inference_factor)"},
    {"[{\"k_winners\": {\"k\": 3, \"local\": true}}]",
     {3, {2, 3, 4}},
     "model.0.k_winners: 3 winners of 2 numbers (5 outside training, see k_inference_factor)"},
    {"[{\"k_winners\": {\"percent_on\": 0.1}}]",
     {1, {16}},
     "model.0.k_winners: unknown key 'percent_on'; known: density, k, k_inference_factor, boost_strength, "
     "boost_strength_factor, duty_cycle_period, local"},
};

static void bad_models_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(bad_models); i++) {
        struct built b = built_open(bad_models[i].text, bad_models[i].in);
        if (b.model) fail_msg("%s: taken for valid", bad_models[i].text);
        assert_string_equal(b.e.text, bad_models[i].message);
        built_close(&b);
    }
}

// Lists in lists without end: a message, not an overflow.
static void deep_lists_are_refused(void **state) {
    (void)state;
    char text[2000] = "\"relu\"", outer[2000];
    struct built b;
    int depth = 0;
    for (bool good = true; good; depth++) {
        assert_true(depth < 20);
        snprintf(outer, sizeof outer, "{\"residual\": {\"layers\": [%.1900s]}}", text);
        strcpy(text, outer);
        snprintf(outer, sizeof outer, "[%.1900s]", text);
        b = built_open(outer, shape_1(3));
        good = b.model != NULL;
        if (!good) assert_non_null(strstr(b.e.text, ": too deep in lists of layers for a name"));
        built_close(&b);
    }
    assert_true(depth > 5);
}

static void parameters_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int rank, size;
        bool buffer;
        double initial;
    } rows[] = {
        {"batch_norm1.weight", 1, 3, false, 1},
        {"batch_norm1.bias", 1, 3, false, 0},
        {"batch_norm1.running_mean", 1, 3, true, 0},
        {"batch_norm1.running_var", 1, 3, true, 1},
        {"rms_norm1.weight", 1, 4, false, 1},
        {"k_winners1.duty_cycle", 1, 3, true, 0},
        {"residual1.linear1.weight", 2, 50 * 12, false, 9},
        {"residual1.layer_norm1.weight", 1, 50, false, 1},
        {"residual1.layer_norm1.bias", 1, 50, false, 0},
        {"residual1.linear2.weight", 2, 5 * 50, false, 9},
        {"residual1.shortcut.linear1.weight", 2, 5 * 12, false, 9},
        {"concat1.branch1.batch_norm1.running_mean", 1, 5, true, 0},
        {"concat1.branch1.batch_norm1.running_var", 1, 5, true, 1},
        {"concat1.branch3.residual1.linear1.weight", 2, 25, false, 9},
        {"linear1.weight", 2, 2 * 15, false, 9},
    };
    struct built b = built_open(
        "[\"batch_norm\", \"rms_norm\", {\"k_winners\": {\"k\": 7}}, \"flatten\", {\"residual\": "
        "{\"layers\": "
        "[{\"linear\": {\"out\": 50, \"bias\": false}}, \"layer_norm\", {\"linear\": {\"out\": 5, \"bias\": "
        "false}}], \"shortcut\": [{\"linear\": {\"out\": 5, \"bias\": false}}]}}, {\"concat\": "
        "{\"branches\": "
        "[[{\"batch_norm\": {\"affine\": false}}], [], [{\"residual\": {\"layers\": [{\"linear\": {\"out\": "
        "5, \"bias\": false}}]}}]]}}, {\"layer_norm\": {\"elementwise_affine\": false}}, {\"linear\": "
        "{\"out\": 2, \"bias\": false}}]",
        (struct shape){2, {3, 4}});
    if (!b.model) fail_msg("%s", b.e.text);
    assert_int_equal(b.params->count, COUNT(rows));
    params_alloc(b.params, 1, 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct param *p = &b.params->list[i];
        assert_string_equal(p->name, rows[i].name);
        assert_int_equal(p->shape.rank, rows[i].rank);
        assert_int_equal(p->size, rows[i].size);
        assert_int_equal(p->buffer, rows[i].buffer);
        for (size_t j = 0; rows[i].initial != 9 && j < p->size; j++)
            assert_true((double)p->value[j] == rows[i].initial);
    }
    assert_true(shape_equal(b.model->layers[4].out, shape_1(5)));
    assert_true(shape_equal(b.model->layers[5].out, shape_1(15)));
    assert_string_equal(b.model->layers[5].inner[2]->layers[0].inner[0]->layers[0].path,
                        "model.5.concat.branches.2.0.residual.layers.0.linear");
    built_close(&b);
}

// Defaults are filled in, also inside lists.
static void write_fills_in_defaults(void **state) {
    (void)state;
    static const char wanted[] =
        "[{\"residual\":{\"layers\":[{\"layer_norm\":{\"eps\":1e-05,\"elementwise_affine\":true,\"bias\":"
        "true}"
        "},{\"relu\":{}}],\"shortcut\":[{\"batch_norm\":{\"eps\":1e-05,\"momentum\":0.1,\"affine\":true}}]}},"
        "{\"concat\":{\"branches\":[[],[{\"leaky_relu\":{\"negative_slope\":0.01}},{\"residual\":{\"layers\":"
        "["
        "{\"silu\":{}}]}}]]}},{\"k_winners\":{\"density\":0,\"k\":3,\"k_inference_factor\":1.5,"
        "\"boost_strength\":1,\"boost_strength_factor\":0.9,\"duty_cycle_period\":1000,\"local\":false}},"
        "{\"rms_norm\":{\"eps\":1e-06,\"elementwise_affine\":true}},{\"softmax\":{}}]";
    struct built b = built_open(
        "[{\"residual\": {\"shortcut\": [\"batch_norm\"], \"layers\": [\"layer_norm\", \"relu\"]}}, "
        "{\"concat\": {\"branches\": [[], [\"leaky_relu\", {\"residual\": {\"layers\": [\"silu\"]}}]]}}, "
        "{\"k_winners\": {\"k\": 3}}, \"rms_norm\", \"softmax\"]",
        shape_1(4));
    if (!b.model) fail_msg("%s", b.e.text);
    struct json *written = model_write_new(b.model);
    char *text = json_print_new(written, false);
    assert_string_equal(text, wanted);
    struct built again = built_open(text, shape_1(4));
    if (!again.model) fail_msg("%s", again.e.text);
    struct json *twice = model_write_new(again.model);
    assert_true(json_equal(written, twice));
    mem_free(text);
    json_free(written), json_free(twice);
    built_close(&b), built_close(&again);
}

// relu(x) + x, and x beside -x's relu.
static void residual_and_concat_by_hand(void **state) {
    (void)state;
    static real x[] = {1, -2, 3, /**/ -4, 5, 0};
    static const real sums[] = {2, -2, 6, /**/ -4, 10, 0};
    static const real beside[] = {1, -2, 3, 1, 0, 3, /**/ -4, 5, 0, 0, 5, 0};
    struct built b = built_open("[{\"residual\": {\"layers\": [\"relu\"]}}]", shape_1(3));
    struct built c = built_open("[{\"concat\": {\"branches\": [[], [\"relu\"]]}}]", shape_1(3));
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, false);
    struct tensor *in = tape_input(t, shape_2(2, 3), x);
    assert_memory_equal(model_forward(b.model, t, in)->value, sums, sizeof sums);
    assert_memory_equal(model_forward(c.model, t, in)->value, beside, sizeof beside);
    tape_free(t);
    built_close(&b), built_close(&c);
}

// Parts that nobody asks for, such as the data, first and in the middle.
static void concat_skips_parts_without_gradient(void **state) {
    (void)state;
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *part[4], *weight = tape_leaf(t, shape_2(2, 10), false);
    for (int k = 0; k < 4; k++) {
        part[k] = tape_leaf(t, shape_2(2, k + 1), k % 2 == 1);
        for (size_t i = 0; i < part[k]->size; i++) part[k]->value[i] = 0;
    }
    for (size_t i = 0; i < weight->size; i++) weight->value[i] = (real)i;
    tape_backward(t, op_sum(t, op_mul(t, op_concat(t, part, 4), weight)), 1);
    for (int row = 0; row < 2; row++) {
        for (int i = 0; i < 2; i++) assert_true(part[1]->grad[row * 2 + i] == (real)(row * 10 + 1 + i));
        for (int i = 0; i < 4; i++) assert_true(part[3]->grad[row * 4 + i] == (real)(row * 10 + 6 + i));
    }
    assert_null(part[0]->grad);
    tape_free(t);
}

// Two shards of 3 and 1 samples. Each is normalised by its own statistics, the single one by the running ones.
static void batch_norm_sees_shards(void **state) {
    (void)state;
    static real x[] = {1, 10, /**/ 2, 10, /**/ 6, 40, /**/ 5, -8};
    struct built b = built_open("[{\"batch_norm\": {\"momentum\": 0.5, \"eps\": 1e-12}}]", shape_1(2));
    assert_int_equal(b.params->shard_rows, 2);
    params_alloc(b.params, 2, 1);
    real *mean = b.params->list[2].value, *var = b.params->list[3].value;
    mean[0] = 1, mean[1] = -4, var[0] = 4, var[1] = 16;
    for (int shard = 0; shard < 2; shard++) {
        struct tape *t = tape_new(b.params, shard);
        params_zero_grad(b.params, shard);
        tape_reset(t, true);
        struct tensor *in = tape_leaf(t, shape_2(shard ? 1 : 3, 2), true);
        memcpy(in->value, x + shard * 6, in->size * sizeof *x);
        struct tensor *y = model_forward(b.model, t, in);
        if (shard) assert_near(y->value[0], 2, 1e-6); // (5 - 1) / 2
        if (shard) assert_near(y->value[1], -1, 1e-6);
        if (!shard) assert_near(y->value[0], -2 / sqrt(14.0 / 3), 1e-6); // mean 3, squares 4 + 1 + 9
        if (!shard) assert_near(y->value[5], 20 / sqrt(200), 1e-6);
        tape_backward(t, op_sum(t, op_mul(t, y, y)), 1);
        if (shard) assert_near(in->grad[0], 2 * 2 * 0.5, 1e-6); // the running statistics are constants
        tape_free(t);
    }
    params_reduce(b.params, 1);
    params_update_buffers(b.params, 4, 4);
    assert_near(mean[0], 0.5 * 1 + 0.5 * (0.75 * 3 + 0.25 * 1), 1e-6);
    assert_near(mean[1], 0.5 * -4 + 0.5 * (0.75 * 20 + 0.25 * -4), 1e-5);
    assert_near(var[0], 0.5 * 4 + 0.5 * (0.75 * 7 + 0.25 * 4), 1e-5); // unbiased: 14 / 2
    assert_near(var[1], 0.5 * 16 + 0.5 * (0.75 * 300 + 0.25 * 16), 1e-4);
    built_close(&b);
}

// --- training ---------------------------------------------------------------------------------------------

enum { SAMPLES = 8, CLASSES = 4, NUMBERS = 18 };

static const struct {
    const char *layers;
    double smoothing;
    bool same_outside; // right outside training, too
} networks[] = {
    {"[\"flatten\", {\"linear\": {\"out\": 16}}, \"batch_norm\", \"relu\", {\"linear\": {\"out\": 4}}]", 0,
     true},
    {"[\"batch_norm\", \"leaky_relu\", \"flatten\", {\"linear\": {\"out\": 4}}]", 0, true},
    {"[\"layer_norm\", \"flatten\", {\"linear\": {\"out\": 12}}, \"silu\", {\"linear\": {\"out\": 4}}]", 0,
     true},
    {"[\"rms_norm\", \"flatten\", {\"linear\": {\"out\": 12}}, \"leaky_relu\", {\"linear\": {\"out\": 4}}]",
     0.1, true},
    {"[\"flatten\", {\"residual\": {\"layers\": [{\"linear\": {\"out\": 12}}, \"relu\"], \"shortcut\": "
     "[{\"linear\": {\"out\": 12}}]}}, {\"residual\": {\"layers\": [\"silu\", {\"linear\": {\"out\": "
     "12}}]}}, "
     "{\"linear\": {\"out\": 4}}]",
     0, true},
    {"[{\"concat\": {\"branches\": [[], [\"softmax\"]]}}, \"flatten\", {\"linear\": {\"out\": 4}}]", 0, true},
    {"[\"flatten\", {\"linear\": {\"out\": 20}}, {\"k_winners\": {\"k\": 8}}, {\"linear\": {\"out\": 4}}]", 0,
     false},
    {"[{\"k_winners\": {\"density\": 0.4, \"local\": false}}, \"flatten\", {\"linear\": {\"out\": 4}}]", 0,
     false},
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

// Trains on eight random samples of (2, 3, 3) and arbitrary labels until all are right.
static void overfit(const char *layers, double smoothing, bool same_outside) {
    struct err e = {""};
    struct built b = built_open(layers, shape_3(2, 3, 3));
    if (!b.model) fail_msg("%s", b.e.text);
    params_alloc(b.params, 1, 1);
    struct json *config = json_of("{\"weights\": [{\"adam\": {\"rate\": 0.02}}], \"others\": [\"adam\"]}");
    struct optim *o = optim_new(config, "optim", b.params, 1, &e);
    if (!o) fail_msg("%s", e.text);
    struct tape *t = tape_new(b.params, 0);
    struct rng r = rng_stream(7, "samples");
    real x[SAMPLES * NUMBERS];
    uint8_t labels[SAMPLES];
    for (int i = 0; i < SAMPLES * NUMBERS; i++) x[i] = (real)(2 * rng_uniform(&r) - 1);
    for (int i = 0; i < SAMPLES; i++) labels[i] = (uint8_t)rng_below(&r, CLASSES);
    struct shape in = {4, {SAMPLES, 2, 3, 3}};
    double loss = 0;
    int wrong = SAMPLES;
    for (int step = 1; step <= 300; step++) {
        params_zero_grad(b.params, 0);
        tape_reset(t, true);
        struct tensor *logits = model_forward(b.model, t, tape_input(t, in, x));
        struct tensor *y = op_cross_entropy(t, logits, labels, smoothing);
        loss = (double)y->value[0], wrong = wrong_count(logits, labels);
        tape_backward(t, y, 1);
        params_reduce(b.params, 1);
        params_update_buffers(b.params, SAMPLES, (double)step * SAMPLES);
        optim_step(o, step, 0, 1, 1);
    }
    double least =
        smoothing > 0 ? -log(1 - 0.75 * smoothing) : 0; // what any smoothed loss keeps, at the least
    if (wrong || !(loss < 0.1 + 5 * least)) fail_msg("%s: %d wrong, loss %g", layers, wrong, loss);
    if (smoothing > 0) assert_true(loss > least);
    tape_reset(t, false);
    wrong = wrong_count(model_forward(b.model, t, tape_input(t, in, x)), labels);
    if (same_outside && wrong) fail_msg("%s: %d wrong outside training", layers, wrong);
    tape_free(t);
    optim_free(o);
    json_free(config);
    built_close(&b);
}

static void networks_overfit(void **state) {
    (void)state;
    blas_start();
    for (size_t i = 0; i < COUNT(networks); i++)
        overfit(networks[i].layers, networks[i].smoothing, networks[i].same_outside);
}

// --- whole runs -------------------------------------------------------------------------------------------

// 37 training samples in batches of 6: the last one has a single sample, for one shard of three.
static const char run_text[] =
    "{\"name\": \"norms\", \"data\": {\"set\": {\"digits\": {\"train\": 40, \"test\": 30}}, \"validation\": "
    "3}, "
    "\"model\": [\"batch_norm\", \"flatten\", {\"linear\": {\"out\": 12}}, \"batch_norm\", {\"k_winners\": "
    "{\"density\": 0.5}}, {\"residual\": {\"layers\": [{\"linear\": {\"out\": 12}}, \"batch_norm\", "
    "\"silu\"]}}, {\"concat\": {\"branches\": [[], [\"layer_norm\"]]}}, {\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [\"clip\", {\"counter\": {\"rate\": 0.03}}], \"others\": [\"clip\", "
    "\"adam\"]}, "
    "\"train\": {\"epochs\": 4, \"batch\": 6, \"shards\": 3}}";

enum { BATCHES = 7 };

static void run_begin(struct run *r, int threads) {
    struct config config = {0};
    struct err e = {""};
    const struct run_options options = {.threads = threads};
    if (config_open_json(&config, json_of(run_text), "norms.json", &e) != 0 ||
        run_open(r, &config, &options, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(run_batches(r), BATCHES);
}

// Trains as the loop in train.c does.
static void run_advance(struct run *r, int steps) {
    for (; steps > 0; steps--) {
        if (r->batch == 0) optim_epoch(r->optim, r->epoch, r->config.train.epochs);
        batches_epoch(&r->batches, r->epoch);
        assert_true(isfinite(run_step(r)));
        if (r->batch < run_batches(r)) continue;
        r->epoch++;
        r->batch = 0;
    }
}

static void assert_same_run(struct run *a, struct run *b) {
    assert_int_equal(a->params->size, b->params->size);
    assert_memory_equal(a->params->values, b->params->values, a->params->size * sizeof(real));
    assert_true(run_evaluate(a, PART_TEST).loss == run_evaluate(b, PART_TEST).loss);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    struct run one, three;
    run_begin(&one, 1);
    run_begin(&three, 3);
    run_advance(&one, 2 * BATCHES);
    run_advance(&three, 2 * BATCHES);
    int buffers = 0;
    for (int i = 0; i < one.params->count; i++) {
        const struct param *p = &one.params->list[i];
        if (!p->buffer) continue;
        bool moved = false;
        buffers++;
        for (size_t j = 0; j < p->size; j++) moved |= (double)p->value[j] != p->initial;
        if (!moved) fail_msg("%s: has not moved", p->name);
    }
    assert_int_equal(buffers, 7);
    assert_same_run(&one, &three);
    for (int i = 0; i < 2; i++) assert_int_equal(three.tapes[i]->epoch, 2 - i); // 30 samples: shard 0 alone
    size_t bytes = arena_bytes(one.tapes[0]->arena);
    run_advance(&one, BATCHES);
    assert_int_equal(arena_bytes(one.tapes[0]->arena), bytes); // nothing new after the first steps
    run_close(&one);
    run_close(&three);
}

static void stop_and_resume(void **state) {
    struct run a, b;
    struct safetensors file;
    struct err e = {""};
    char path[100];
    snprintf(path, sizeof path, "%s/a.safetensors", (char *)*state);
    run_begin(&a, 1);
    run_begin(&b, 1);
    run_advance(&a, BATCHES + 3);
    if (checkpoint_save(&a, path, &e) != 0 || checkpoint_open(&file, path, &e) != 0) fail_msg("%s", e.text);
    assert_non_null(safetensors_find(&file, "batch_norm1.running_mean"));
    assert_non_null(safetensors_find(&file, "residual1.batch_norm1.running_var"));
    assert_non_null(safetensors_find(&file, "k_winners1.duty_cycle"));
    assert_non_null(safetensors_find(&file, "optim.others.1.m.batch_norm1.weight"));
    assert_null(safetensors_find(&file, "optim.others.1.m.batch_norm1.running_mean"));
    if (checkpoint_load(&b, &file, path, &e) != 0) fail_msg("%s", e.text);
    safetensors_close(&file);
    assert_same_run(&a, &b);
    run_advance(&a, 2 * BATCHES);
    run_advance(&b, 2 * BATCHES);
    assert_same_run(&a, &b);
    run_close(&a);
    run_close(&b);
}

static void shards_of_one_sample_are_refused(void **state) {
    (void)state;
    struct config config = {0};
    struct run r;
    struct err e = {""};
    struct json *root = json_of(run_text);
    const struct run_options options = {.threads = 1};
    if (json_override(root, "train.shards=4", &e) != 0) fail_msg("%s", e.text);
    if (config_open_json(&config, root, "norms.json", &e) != 0) fail_msg("%s", e.text);
    assert_int_equal(run_open(&r, &config, &options, &e), -1);
    assert_string_equal(
        e.text, "norms.json: train.shards: 4 parts of a batch of 6; the model needs 2 samples in each");
    run_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(every_op_has_three_cases),
        cmocka_unit_test(values_without_gradients),
        cmocka_unit_test(softmax_of_extremes),
        cmocka_unit_test(buffers_follow),
        cmocka_unit_test(buffers_of_large_steps),
        cmocka_unit_test(optimisers_do_not_see_buffers),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(deep_lists_are_refused),
        cmocka_unit_test(parameters_are_named),
        cmocka_unit_test(write_fills_in_defaults),
        cmocka_unit_test(residual_and_concat_by_hand),
        cmocka_unit_test(concat_skips_parts_without_gradient),
        cmocka_unit_test(batch_norm_sees_shards),
        cmocka_unit_test(networks_overfit),
        cmocka_unit_test(threads_do_not_matter),
        IN_FOLDER(stop_and_resume),
        cmocka_unit_test(shards_of_one_sample_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
