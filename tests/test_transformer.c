// Embeddings, linear layers by position, gelu, attention and transformer blocks: every case of golden/transformer.json
// (torch), in double to 1e-10 and in float to 1e-4; attention against plain loops over many lengths, windows and top-k,
// ties, and without a backward pass; src/curves.h against the C library; build errors with their messages; names and JSON;
// models that overfit eight samples; whole runs whose bits do not depend on threads and stops.
#include "experiments/checkpoint.h"
#include "layers/model.h"
#include "optim/optim.h"
#include "src/blas.h"
#include "src/curves.h"
#include "tests/golden.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

// --- models -----------------------------------------------------------------------------------------------

struct built {
    struct json *list;
    struct params *params;
    struct model *model;
    struct err e;
};

static struct built built_list(struct json *list, struct shape in) {
    struct built b = {.list = list, .params = params_new(), .e = {""}};
    b.model = model_new(b.list, "model", in, b.params, &b.e);
    return b;
}

static struct built built_open(const char *text, struct shape in) {
    return built_list(json_of(text), in);
}

static void built_close(struct built *b) {
    model_free(b->model);
    params_free(b->params);
    json_free(b->list);
}

// --- golden numbers ---------------------------------------------------------------------------------------

static int option(const struct json *one, const char *key) {
    return (int)json_number(child(child(one, "options"), key));
}

// An input of an op, or NULL.
static struct tensor *input_of(struct tape *t, const struct json *one, const char *name) {
    const struct json *packed = json_find(child(one, "inputs"), name);
    return packed ? leaf_of(t, packed) : NULL;
}

static void op_case(const struct json *one, const char *where) {
    const char *op = json_string(child(one, "op")), *const names[] = {"x", "weight", "bias"};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *in[3], *y = NULL;
    for (int k = 0; k < 3; k++) in[k] = input_of(t, one, names[k]);
    if (strcmp(op, "embedding") == 0) y = op_embedding(t, in[0], in[1]);
    if (strcmp(op, "positional_embedding") == 0) y = op_positional_embedding(t, in[0], in[1]);
    if (strcmp(op, "linear") == 0) y = op_linear(t, in[0], in[1], in[2]);
    if (strcmp(op, "gelu") == 0) y = op_gelu(t, in[0]);
    if (strcmp(op, "attention") == 0)
        y = op_attention(t, in[0], option(one, "heads"), option(one, "causal"), option(one, "window"),
                         option(one, "topk"));
    if (!y) fail_msg("%s: op '%s'", where, op);
    struct tensor *g = leaf_of(t, child(one, "g"));
    assert_true(shape_equal(y->shape, g->shape));
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    check_numbers(where, "y", y->value, child(one, "y"));
    for (int k = 0; k < 3; k++) {
        const struct json *grad = json_find(child(one, "grads"), names[k]);
        if (grad) check_numbers(where, names[k], in[k]->grad, grad);
    }
    tape_free(t);
}

static void layers_case(const struct json *one, const char *where) {
    const struct json *inputs = child(one, "inputs"), *grads = child(one, "grads");
    struct tape *shapes = tape_new(NULL, 0);
    struct shape in = leaf_of(shapes, child(inputs, "x"))->shape;
    tape_free(shapes);
    struct built b = built_list(json_copy_new(child(one, "layers")), shape_2(in.dim[1], in.dim[2]));
    if (!b.model) fail_msg("%s: %s", where, b.e.text);
    assert_int_equal(json_count(inputs), b.params->count + 1);
    params_alloc(b.params, 1, 1);
    for (int i = 0; i < b.params->count; i++) {
        const struct param *p = &b.params->list[i];
        const struct json *values = child(child(inputs, p->name), "values");
        assert_int_equal(json_count(values), p->size);
        size_t at = 0;
        for (const struct json *v = json_first(values); v; v = json_next(v))
            p->value[at++] = (real)json_number(v);
    }
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, true);
    params_zero_grad(b.params, 0);
    struct tensor *x = leaf_of(t, child(inputs, "x")), *y = model_forward(b.model, t, x);
    struct tensor *g = leaf_of(t, child(one, "g"));
    assert_true(shape_equal(y->shape, g->shape));
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    check_numbers(where, "y", y->value, child(one, "y"));
    check_numbers(where, "x", x->grad, child(grads, "x"));
    for (int i = 0; i < b.params->count; i++) {
        const char *name = b.params->list[i].name;
        check_numbers(where, name, params_grad(b.params, 0, i), child(grads, name));
    }
    tape_free(t);
    built_close(&b);
}

static void every_case(void **state) {
    (void)state;
    blas_start();
    struct json *golden = golden_new("transformer");
    int index = 0;
    for (const struct json *c = json_first(child(golden, "cases")); c; c = json_next(c)) {
        char where[40];
        snprintf(where, sizeof where, "case %d", index++);
        json_find(c, "op") ? op_case(c, where) : layers_case(c, where);
    }
    assert_int_equal(index, 29);
    json_free(golden);
}

// --- attention against plain loops ------------------------------------------------------------------------

struct options {
    int batch, length, d, heads, causal, window, topk;
};

// How many of the scores of i's row are larger than that of j, or equal and before it.
static int rank_of(const double *score, const bool *seen, int length, int j) {
    int rank = 0;
    for (int k = 0; k < length; k++)
        rank += seen[k] && (score[k] > score[j] || (score[k] == score[j] && k < j));
    return rank;
}

// p (length) of query i; q, k of one head, rows `stride` apart.
static void plain_row(double *p, const struct options *o, const real *q, const real *k, size_t stride,
                      int i) {
    int n = o->d / o->heads;
    double score[200], largest = -INFINITY, sum = 0;
    bool seen[200], kept[200];
    for (int j = 0; j < o->length; j++) {
        score[j] = 0;
        for (int c = 0; c < n; c++)
            score[j] += (double)q[(size_t)i * stride + (size_t)c] * (double)k[(size_t)j * stride + (size_t)c];
        seen[j] = (!o->causal || j <= i) && (!o->window || j > i - o->window);
    }
    for (int j = 0; j < o->length; j++) {
        kept[j] = seen[j] && (!o->topk || rank_of(score, seen, o->length, j) < o->topk);
        if (kept[j] && score[j] > largest) largest = score[j];
    }
    for (int j = 0; j < o->length; j++) {
        p[j] = kept[j] ? exp((score[j] - largest) / sqrt(n)) : 0;
        sum += p[j];
    }
    for (int j = 0; j < o->length; j++) p[j] /= sum;
}

// Adds to y and to dqkv what one head of one sample gives.
static void plain_head(double *y, double *dqkv, const struct options *o, const real *qkv, const real *dy) {
    size_t stride = 3 * (size_t)o->d, d = (size_t)o->d;
    int n = o->d / o->heads;
    const real *k = qkv + d, *v = qkv + 2 * d;
    for (int i = 0; i < o->length; i++) {
        double p[200], dp[200], inner = 0;
        plain_row(p, o, qkv, k, stride, i);
        for (int j = 0; j < o->length; j++) {
            dp[j] = 0;
            for (int c = 0; c < n; c++) {
                size_t from = (size_t)j * stride + (size_t)c, to = (size_t)i * d + (size_t)c;
                y[to] += p[j] * (double)v[from];
                dp[j] += (double)dy[to] * (double)v[from];
                dqkv[2 * d + from] += p[j] * (double)dy[to];
            }
            inner += p[j] * dp[j];
        }
        for (int j = 0; j < o->length; j++)
            for (int c = 0; c < n; c++) {
                double ds = p[j] * (dp[j] - inner) / sqrt(n);
                size_t a = (size_t)i * stride + (size_t)c, b = (size_t)j * stride + (size_t)c;
                dqkv[a] += ds * (double)k[b];
                dqkv[d + b] += ds * (double)qkv[a];
            }
    }
}

static void assert_close(const char *what, const struct options *o, const real *found, const double *wanted,
                         size_t count) {
    double largest = 1e-2;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(wanted[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)found[i] - wanted[i]) <= TOLERANCE * largest))
            fail_msg("length %d, %d heads, causal %d, window %d, topk %d: %s[%zu] is %.12g, wanted %.12g",
                     o->length, o->heads, o->causal, o->window, o->topk, what, i, (double)found[i],
                     wanted[i]);
}

static void plain_check(struct tape *t, const struct options *o, struct rng *r) {
    tape_reset(t, true);
    struct tensor *x = tape_leaf(t, shape_3(o->batch, o->length, 3 * o->d), true);
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)(4 * rng_uniform(r) - 2);
    struct tensor *y = op_attention(t, x, o->heads, o->causal, o->window, o->topk);
    struct tensor *g = tape_leaf(t, y->shape, false);
    for (size_t i = 0; i < g->size; i++) g->value[i] = (real)(2 * rng_uniform(r) - 1);
    double *plain = arena_alloc(t->arena, y->size, sizeof *plain);
    double *grad = arena_alloc(t->arena, x->size, sizeof *grad);
    memset(plain, 0, y->size * sizeof *plain);
    memset(grad, 0, x->size * sizeof *grad);
    for (int b = 0; b < o->batch; b++)
        for (int h = 0; h < o->heads; h++) {
            size_t at = (size_t)b * (size_t)o->length * (size_t)o->d + (size_t)(h * (o->d / o->heads));
            size_t from = 3 * (at - (size_t)(h * (o->d / o->heads))) + (size_t)(h * (o->d / o->heads));
            plain_head(plain + at, grad + from, o, x->value + from, g->value + at);
        }
    tape_backward(t, op_sum(t, op_mul(t, y, g)), 1);
    assert_close("y", o, y->value, plain, y->size);
    assert_close("dqkv", o, x->grad, grad, x->size);
    // Without a backward pass: the same bits.
    t->recording = false;
    struct tensor *again =
        op_attention(t, tape_input(t, x->shape, x->value), o->heads, o->causal, o->window, o->topk);
    assert_null(again->grad);
    assert_memory_equal(again->value, y->value, y->size * sizeof(real));
}

static void attention_is_as_plain_loops(void **state) {
    (void)state;
    blas_start();
    static const int lengths[] = {1, 2, 7, 63, 64, 65, 129}, windows[] = {0, 1, 2, 63, 64, 65, 1000};
    static const int topks[] = {0, 1, 3, 1000};
    struct tape *t = tape_new(NULL, 0);
    struct rng r = rng_stream(3, "attention");
    for (size_t l = 0; l < COUNT(lengths); l++)
        for (size_t w = 0; w < COUNT(windows); w++)
            for (size_t k = 0; k < COUNT(topks); k++)
                for (int causal = windows[w] > 0; causal < 2; causal++) {
                    struct options o = {lengths[l] < 60 ? 2 : 1,
                                        lengths[l],
                                        6,
                                        1 + (int)(w + k) % 3,
                                        causal,
                                        windows[w],
                                        topks[k]};
                    plain_check(t, &o, &r);
                }
    tape_free(t);
}

// Equal scores: the first of those that are seen win.
static void topk_decides_ties(void **state) {
    (void)state;
    enum { LENGTH = 70 };
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, false);
    struct tensor *x = tape_leaf(t, shape_3(1, LENGTH, 3), false);
    for (int i = 0; i < LENGTH; i++)
        for (int k = 0; k < 3; k++) x->value[i * 3 + k] = k < 2 ? (real) - (k == 1) : (real)i;
    const struct tensor *y = op_attention(t, x, 1, true, 5, 2);
    for (int i = 0; i < LENGTH; i++) {
        double first = i < 5 ? 0 : i - 4, wanted = i == 0 ? 0 : (first + first + 1) / 2;
        assert_near(y->value[i], wanted, 1e-5);
    }
    tape_free(t);
}

// Memory grows with the length, not with its square.
static void a_window_saves_memory(void **state) {
    (void)state;
    enum { LENGTH = 4096, WINDOW = 64 };
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x = tape_leaf(t, shape_3(1, LENGTH, 3), true);
    memset(x->value, 0, x->size * sizeof(real));
    tape_backward(t, op_sum(t, op_attention(t, x, 1, true, WINDOW, 0)), 1);
    assert_true(arena_bytes(t->arena) <
                (size_t)LENGTH * LENGTH / 8 * sizeof(real)); // causal alone: half of it
    tape_free(t);
}

// --- curves -----------------------------------------------------------------------------------------------

#ifdef TALLY_DOUBLE
static const double CURVE = 1e-14, TAIL = 1e-13;
#else
static const double CURVE = 3e-7, TAIL = 1e-5;
#endif

static void curves_are_as_the_library(void **state) {
    (void)state;
    for (double at = -87; at < 88; at += 0.003) {
        real x = (real)at;
        assert_near(curve_exp(x) / (real)exp((double)x), 1, 3e-7);
    }
    for (double at = -12; at < 12; at += 0.001) {
        real x = (real)at, density, below = curve_normal(&density, x);
        double wanted = 0.5 * erfc(-(double)x * sqrt(0.5));
        double slope = exp(-(double)x * (double)x / 2) / sqrt(2 * acos(-1));
        double tolerance = x > -4 ? 3 * CURVE : TAIL; // exp's argument is as exact as its size lets it be
        assert_near((double)below / wanted, 1, tolerance);
        assert_near((double)density / slope, 1, x * x < 16 ? 3 * CURVE : TAIL);
    }
    real density;
    assert_true(curve_exp(0) == 1 && curve_exp(-1e30f) == 0 && curve_exp(-INFINITY) == 0);
    assert_true(isnan(curve_exp(NAN)) && isnan(curve_normal(&density, NAN)));
    assert_true(curve_normal(&density, 50) == 1 && density == 0);
    assert_true(curve_normal(&density, -50) == 0);
    assert_true(curve_exp(88) > 1e38 && curve_exp(1000) > 2e38);
}

// --- building ---------------------------------------------------------------------------------------------

static const struct {
    const char *text;
    struct shape in;
    const char *message;
} bad_models[] = {
    {"[\"embedding\"]", {1, {8}}, "model.0.embedding.num_embeddings: must be given"},
    {"[{\"embedding\": {\"num_embeddings\": 5}}]",
     {1, {8}},
     "model.0.embedding.embedding_dim: must be given"},
    {"[{\"embedding\": {\"num_embeddings\": 0, \"embedding_dim\": 4}}]",
     {1, {8}},
     "model.0.embedding.num_embeddings: 0 is not in 1 .. 16777216"},
    {"[{\"embedding\": {\"num_embeddings\": 5, \"embedding_dim\": 4, \"std\": 0}}]",
     {1, {8}},
     "model.0.embedding.std: 0 is not in 1e-06 .. 100"},
    {"[{\"embedding\": {\"num_embeddings\": 5, \"embedding_dim\": 4}}]",
     {3, {1, 4, 4}},
     "model.0.embedding: wants samples of tokens, (length), gets (1, 4, 4)"},
    {"[\"relu\", {\"embedding\": {\"num_embeddings\": 5, \"embedding_dim\": 4}}]",
     {1, {8}},
     "model.1.embedding: must be the first layer, it takes tokens"},
    {"[\"relu\", {\"residual\": {\"layers\": [{\"embedding\": {\"num_embeddings\": 5, \"embedding_dim\": "
     "4}}]}}]",
     {1, {8}},
     "model.1.residual.layers.0.embedding: must be the first layer, it takes tokens"},
    {"[{\"concat\": {\"branches\": [[], [\"relu\", {\"embedding\": {\"num_embeddings\": 5, "
     "\"embedding_dim\": 4}}]]}}]",
     {1, {8}},
     "model.0.concat.branches.1.1.embedding: must be the first layer, it takes tokens"},
    {"[\"positional_embedding\"]",
     {1, {8}},
     "model.0.positional_embedding: wants samples (positions, numbers), gets (8)"},
    {"[{\"positional_embedding\": {\"kind\": \"sinusodial\"}}]",
     {2, {8, 4}},
     "model.0.positional_embedding.kind: unknown value 'sinusodial'; did you mean 'sinusoidal'?"},
    {"[\"attention\"]", {1, {8}}, "model.0.attention: wants samples (positions, numbers), gets (8)"},
    {"[\"attention\"]",
     {3, {1, 8, 4}},
     "model.0.attention: wants samples (positions, numbers), gets (1, 8, 4)"},
    {"[{\"attention\": {\"heads\": 3}}]",
     {2, {8, 4}},
     "model.0.attention.heads: 3 do not divide the 4 numbers of a position"},
    {"[{\"attention\": {\"heads\": 0}}]", {2, {8, 4}}, "model.0.attention.heads: 0 is not in 1 .. 65536"},
    {"[{\"attention\": {\"window\": 3}}]", {2, {8, 4}}, "model.0.attention.window: 3, but not causal"},
    {"[{\"attention\": {\"causal\": true, \"window\": -1}}]",
     {2, {8, 4}},
     "model.0.attention.window: -1 is not in 0 .. 1073741824"},
    {"[{\"attention\": {\"topk\": 1.5}}]",
     {2, {8, 4}},
     "model.0.attention.topk: wanted a whole number, found 1.5"},
    {"[{\"attention\": {\"head\": 2}}]",
     {2, {8, 4}},
     "model.0.attention: unknown key 'head'; did you mean 'heads'?"},
    {"[\"transformer_block\"]",
     {1, {8}},
     "model.0.transformer_block: wants samples (positions, numbers), gets (8)"},
    {"[{\"transformer_block\": {\"heads\": 3}}]",
     {2, {8, 4}},
     "model.0.transformer_block.heads: 3 do not divide the 4 numbers of a position"},
    {"[{\"transformer_block\": {\"window\": 3}}]",
     {2, {8, 4}},
     "model.0.transformer_block.window: 3, but not causal"},
    {"[{\"transformer_block\": {\"mlp_ratio\": 0.01}}]",
     {2, {8, 4}},
     "model.0.transformer_block.mlp_ratio: 0.01 times 4 is not in 1 .. 1048576"},
    {"[{\"transformer_block\": {\"mlp_ratio\": 1000}}]",
     {2, {2, 2000}},
     "model.0.transformer_block.mlp_ratio: 1000 times 2000 is not in 1 .. 1048576"},
    {"[{\"transformer_block\": {\"activation\": \"tanh\"}}]",
     {2, {8, 4}},
     "model.0.transformer_block.activation: unknown value 'tanh'; known: gelu, relu, silu"},
    {"[{\"transformer_block\": {\"norm\": \"batch_norm\"}}]",
     {2, {8, 4}},
     "model.0.transformer_block.norm: unknown value 'batch_norm'; known: layer_norm, rms_norm"},
    {"[{\"transformer_block\": {\"dropout\": 1}}]",
     {2, {8, 4}},
     "model.0.transformer_block.dropout: 1 is not in 0 .. 0.99"},
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

// An embedding may come first in lists of layers that come first.
static void embeddings_come_first(void **state) {
    (void)state;
    struct built b = built_open(
        "[{\"concat\": {\"branches\": [[{\"embedding\": {\"num_embeddings\": 9, \"embedding_dim\": 4}}], "
        "[{\"residual\": {\"layers\": [{\"embedding\": {\"num_embeddings\": 7, \"embedding_dim\": 4}}], "
        "\"shortcut\": [{\"embedding\": {\"num_embeddings\": 8, \"embedding_dim\": 4}}]}}]]}}]",
        shape_1(3));
    if (!b.model) fail_msg("%s", b.e.text);
    assert_int_equal(b.params->tokens, 7);
    assert_true(shape_equal(b.model->out, shape_2(6, 4)));
    built_close(&b);
}

static const char block_text[] =
    "[{\"embedding\": {\"num_embeddings\": 5, \"embedding_dim\": 4}}, \"positional_embedding\", "
    "{\"positional_embedding\": {\"kind\": \"sinusoidal\"}}, {\"transformer_block\": {\"heads\": 2, "
    "\"causal\": true, \"dropout\": 0.1}}, {\"transformer_block\": {\"norm\": \"rms_norm\", \"bias\": false, "
    "\"mlp_ratio\": 0.5}}, {\"linear\": {\"out\": 3}}]";

static void parameters_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct shape shape;
    } rows[] = {
        {"embedding1.weight", {2, {5, 4}}},
        {"positional_embedding1.weight", {2, {6, 4}}},
        {"transformer_block1.layer_norm1.weight", {1, {4}}},
        {"transformer_block1.layer_norm1.bias", {1, {4}}},
        {"transformer_block1.attention1.qkv.weight", {2, {12, 4}}},
        {"transformer_block1.attention1.qkv.bias", {1, {12}}},
        {"transformer_block1.attention1.proj.weight", {2, {4, 4}}},
        {"transformer_block1.attention1.proj.bias", {1, {4}}},
        {"transformer_block1.mlp.layer_norm1.weight", {1, {4}}},
        {"transformer_block1.mlp.layer_norm1.bias", {1, {4}}},
        {"transformer_block1.mlp.linear1.weight", {2, {16, 4}}},
        {"transformer_block1.mlp.linear1.bias", {1, {16}}},
        {"transformer_block1.mlp.linear2.weight", {2, {4, 16}}},
        {"transformer_block1.mlp.linear2.bias", {1, {4}}},
        {"transformer_block2.rms_norm1.weight", {1, {4}}},
        {"transformer_block2.attention1.qkv.weight", {2, {12, 4}}},
        {"transformer_block2.attention1.proj.weight", {2, {4, 4}}},
        {"transformer_block2.mlp.rms_norm1.weight", {1, {4}}},
        {"transformer_block2.mlp.linear1.weight", {2, {2, 4}}},
        {"transformer_block2.mlp.linear2.weight", {2, {4, 2}}},
        {"linear1.weight", {2, {3, 4}}},
        {"linear1.bias", {1, {3}}},
    };
    struct built b = built_open(block_text, shape_1(6));
    if (!b.model) fail_msg("%s", b.e.text);
    assert_int_equal(b.params->count, COUNT(rows));
    for (int i = 0; i < b.params->count; i++) {
        assert_string_equal(b.params->list[i].name, rows[i].name);
        assert_true(shape_equal(b.params->list[i].shape, rows[i].shape));
    }
    assert_true(shape_equal(b.model->out, shape_2(6, 3)));
    assert_near(b.params->list[0].bound, 0.02 * sqrt(3), 1e-12);
    built_close(&b);
}

// Defaults are filled in; what is written builds the same.
static void write_fills_in_defaults(void **state) {
    (void)state;
    static const char wanted[] =
        "[{\"embedding\":{\"num_embeddings\":5,\"embedding_dim\":4,\"std\":0.02}},"
        "{\"positional_embedding\":{\"kind\":\"learned\",\"std\":0.02}},"
        "{\"positional_embedding\":{\"kind\":\"sinusoidal\",\"std\":0.02}},"
        "{\"transformer_block\":{\"heads\":2,\"mlp_ratio\":4,\"activation\":\"gelu\",\"dropout\":0.1,"
        "\"causal\":true,\"window\":0,\"topk\":0,\"norm\":\"layer_norm\",\"bias\":true,\"init\":\"xavier\"}},"
        "{\"transformer_block\":{\"heads\":1,\"mlp_ratio\":0.5,\"activation\":\"gelu\",\"dropout\":0,"
        "\"causal\":false,\"window\":0,\"topk\":0,\"norm\":\"rms_norm\",\"bias\":false,\"init\":\"xavier\"}},"
        "{\"linear\":{\"out\":3,\"bias\":true,\"init\":\"kaiming\"}}]";
    struct built b = built_open(block_text, shape_1(6));
    struct json *written = model_write_new(b.model);
    char *text = json_print_new(written, false);
    assert_string_equal(text, wanted);
    struct built again = built_open(text, shape_1(6));
    if (!again.model) fail_msg("%s", again.e.text);
    struct json *twice = model_write_new(again.model);
    assert_true(json_equal(written, twice));
    mem_free(text);
    json_free(written), json_free(twice);
    built_close(&b), built_close(&again);
}

static void positions_are_waves(void **state) {
    (void)state;
    enum { LENGTH = 100, D = 7 };
    struct built b =
        built_open("[{\"positional_embedding\": {\"kind\": \"sinusoidal\"}}]", shape_2(LENGTH, D));
    assert_int_equal(b.params->count, 0);
    struct tape *t = tape_new(b.params, 0);
    tape_reset(t, true);
    struct tensor *x = tape_leaf(t, shape_3(2, LENGTH, D), false);
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)i;
    const struct tensor *y = model_forward(b.model, t, x);
    for (int p = 0; p < 2 * LENGTH; p++)
        for (int j = 0; j < D; j++) {
            double angle = p % LENGTH * pow(10000, -(double)(j - j % 2) / D);
            double wave = j % 2 ? cos(angle) : sin(angle);
            assert_near(y->value[p * D + j] - x->value[p * D + j], wave, 1e-4);
        }
    tape_free(t);
    built_close(&b);
}

// --- training ---------------------------------------------------------------------------------------------

enum { SAMPLES = 8, LENGTH = 6, TOKENS = 5, CLASSES = 4 };

#define EMBEDDED "[{\"embedding\": {\"num_embeddings\": 5, \"embedding_dim\": 12, \"std\": 0.3}}, "
#define LOGITS ", {\"linear\": {\"out\": 4}}]"

static const char *const networks[] = {
    EMBEDDED "\"positional_embedding\", {\"attention\": {\"heads\": 3}}, \"relu\"" LOGITS,
    EMBEDDED "\"positional_embedding\", {\"transformer_block\": {\"heads\": 2, \"causal\": true}}, "
             "{\"transformer_block\": {\"heads\": 2, \"causal\": true}}, \"layer_norm\"" LOGITS,
    EMBEDDED "{\"positional_embedding\": {\"kind\": \"sinusoidal\"}}, {\"transformer_block\": {\"heads\": 4, "
             "\"norm\": \"rms_norm\", \"activation\": \"silu\", \"topk\": 3}}" LOGITS,
    EMBEDDED
    "\"positional_embedding\", {\"transformer_block\": {\"causal\": true, \"window\": 4, \"topk\": 2, "
    "\"activation\": \"relu\", \"bias\": false}}, {\"transformer_block\": {\"causal\": true, "
    "\"window\": 4}}" LOGITS,
    EMBEDDED "{\"linear\": {\"out\": 12}}, \"silu\", {\"residual\": {\"layers\": [{\"linear\": {\"out\": "
             "12}}, \"gelu\"]}}, \"flatten\", {\"linear\": {\"out\": 24}}]",
};

static int wrong_count(const struct tensor *logits, const uint8_t *labels) {
    int wrong = 0;
    for (int i = 0; i < SAMPLES * LENGTH; i++) {
        int best = 0;
        for (int j = 1; j < CLASSES; j++)
            if (logits->value[i * CLASSES + j] > logits->value[i * CLASSES + best]) best = j;
        wrong += best != labels[i];
    }
    return wrong;
}

// Trains on eight random texts, each beginning with its own first two tokens, and arbitrary labels at every position
// but the first two, until all are right.
static void overfit(const char *layers) {
    struct err e = {""};
    struct built b = built_open(layers, shape_1(LENGTH));
    if (!b.model) fail_msg("%s", b.e.text);
    params_alloc(b.params, 1, 1);
    struct json *config = json_of("{\"weights\": [{\"adam\": {\"rate\": 0.01}}], \"others\": [{\"adam\": "
                                  "{\"rate\": 0.01}}]}");
    struct optim *o = optim_new(config, "optim", b.params, 1, &e);
    if (!o) fail_msg("%s", e.text);
    struct tape *t = tape_new(b.params, 0);
    struct rng r = rng_stream(7, "samples");
    real x[SAMPLES * LENGTH];
    uint8_t labels[SAMPLES * LENGTH];
    for (int i = 0; i < SAMPLES * LENGTH; i++) {
        int sample = i / LENGTH, position = i % LENGTH;
        x[i] = (real)rng_below(&r, TOKENS);
        labels[i] = (uint8_t)rng_below(&r, CLASSES);
        if (position < 2) x[i] = (real)(position == 0 ? sample % TOKENS : sample / TOKENS), labels[i] = 0;
    }
    double loss = 0;
    int wrong = 1;
    for (int step = 1; step <= 400; step++) {
        params_zero_grad(b.params, 0);
        tape_reset(t, true);
        struct tensor *y = model_forward(b.model, t, tape_input(t, shape_2(SAMPLES, LENGTH), x));
        struct tensor *logits = op_reshape(t, y, shape_2(SAMPLES * LENGTH, CLASSES));
        struct tensor *mean = op_cross_entropy(t, logits, labels, 0);
        loss = (double)mean->value[0], wrong = wrong_count(logits, labels);
        tape_backward(t, mean, 1);
        params_reduce(b.params, 1);
        optim_step(o, step, 0, 1, 1);
    }
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

#define RUN_MODEL                                                                                  \
    "[{\"embedding\": {\"num_embeddings\": 65, \"embedding_dim\": 8}}, \"positional_embedding\", " \
    "{\"transformer_block\": {\"heads\": 2, \"causal\": true, \"dropout\": 0.1, \"window\": 5}}, " \
    "{\"transformer_block\": {\"causal\": true, \"topk\": 3, \"norm\": \"rms_norm\"}}, "           \
    "{\"linear\": {\"out\": 65}}]"

#define RUN_TEXT(set, model)                                                                      \
    "{\"name\": \"transformer\", \"data\": {\"set\": " set "}, \"model\": " model                 \
    ", \"optim\": {\"weights\": "                                                                 \
    "[\"clip\", {\"counter\": {\"rate\": 0.02}}], \"others\": [\"clip\", \"adam\"]}, \"train\": " \
    "{\"epochs\": 3, "                                                                            \
    "\"batch\": 32, \"shards\": 3}}"

#define TALES "{\"tales\": {\"length\": 3000, \"context\": 12, \"classes\": 65}}"

static int run_try(struct run *r, const char *text, int threads, struct err *e) {
    struct config config = {0};
    const struct run_options options = {.threads = threads};
    if (config_open_json(&config, json_of(text), "transformer.json", e) != 0) return -1;
    return run_open(r, &config, &options, e);
}

static void run_begin(struct run *r, int threads) {
    struct err e = {""};
    if (run_try(r, RUN_TEXT(TALES, RUN_MODEL), threads, &e) != 0) fail_msg("%s", e.text);
}

// Trains as the loop in train.c does.
static void run_advance(struct run *r, int64_t steps) {
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
    double before = score_loss(run_evaluate(&one, PART_VALIDATION));
    run_advance(&one, run_batches(&one));
    run_advance(&three, run_batches(&three));
    assert_same_run(&one, &three);
    assert_true(score_loss(run_evaluate(&one, PART_VALIDATION)) < before);
    size_t bytes = arena_bytes(one.tapes[0]->arena);
    run_advance(&one, run_batches(&one));
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
    run_advance(&a, run_batches(&a) + 3);
    if (checkpoint_save(&a, path, &e) != 0 || checkpoint_open(&file, path, &e) != 0) fail_msg("%s", e.text);
    assert_non_null(safetensors_find(&file, "embedding1.weight.counter"));
    assert_non_null(safetensors_find(&file, "transformer_block1.attention1.qkv.weight.counter"));
    assert_non_null(safetensors_find(&file, "transformer_block2.mlp.rms_norm1.weight"));
    if (checkpoint_load(&b, &file, path, &e) != 0) fail_msg("%s", e.text);
    safetensors_close(&file);
    assert_same_run(&a, &b);
    run_advance(&a, run_batches(&a));
    run_advance(&b, run_batches(&a));
    assert_same_run(&a, &b);
    run_close(&a);
    run_close(&b);
}

// What only the data can tell.
static void data_must_fit(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {RUN_TEXT("{\"tales\": {\"length\": 3000, \"context\": 12, \"classes\": 70}}",
                  "[{\"embedding\": {\"num_embeddings\": 69, \"embedding_dim\": 8}}, {\"linear\": {\"out\": "
                  "70}}]"),
         "transformer.json: model: an embedding has rows for 69 tokens, the data set has 70"},
        {RUN_TEXT("{\"digits\": {\"train\": 6000, \"test\": 30}}",
                  "[{\"embedding\": {\"num_embeddings\": 69, \"embedding_dim\": 8}}]"),
         "transformer.json: model.0.embedding: wants samples of tokens, (length), gets (1, 28, 28)"},
        {RUN_TEXT(TALES, "[{\"embedding\": {\"num_embeddings\": 65, \"embedding_dim\": 8}}, \"flatten\", "
                         "{\"linear\": {\"out\": 65}}]"),
         "transformer.json: model: ends with (65), the data set wants (12, 65): classes for each position"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct run r;
        struct err e = {""};
        assert_int_equal(run_try(&r, rows[i].text, 1, &e), -1);
        assert_string_equal(e.text, rows[i].message);
        run_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(attention_is_as_plain_loops),
        cmocka_unit_test(topk_decides_ties),
        cmocka_unit_test(a_window_saves_memory),
        cmocka_unit_test(curves_are_as_the_library),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(embeddings_come_first),
        cmocka_unit_test(parameters_are_named),
        cmocka_unit_test(write_fills_in_defaults),
        cmocka_unit_test(positions_are_waves),
        cmocka_unit_test(networks_overfit),
        cmocka_unit_test(threads_do_not_matter),
        IN_FOLDER(stop_and_resume),
        cmocka_unit_test(data_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
