// The tape and what runs on it: gemm against plain loops, extreme inputs, gradients that add up, memory that
// is reused, and a small network that learns.
#include "layers/model.h"
#include "src/blas.h"
#include "tests/check.h"

// --- counting malloc --------------------------------------------------------------------------------------

// With glibc our own malloc stands before the library's, for the whole process. Sanitizers bring theirs.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(SANITIZED)
#define COUNTS_MALLOC

static long mallocs;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    mallocs++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    mallocs++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    mallocs++;
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    mallocs++;
    return __libc_memalign(alignment, size);
}
#endif

// --- helpers ----------------------------------------------------------------------------------------------

// In -1 .. 1.
static real draw(struct rng *r) {
    return (real)(2 * rng_uniform(r) - 1);
}

static struct tensor *leaf_drawn(struct tape *t, struct shape shape, struct rng *r) {
    struct tensor *x = tape_leaf(t, shape, true);
    for (size_t i = 0; i < x->size; i++) x->value[i] = draw(r);
    return x;
}

static struct tensor *leaf_of(struct tape *t, struct shape shape, const real *values) {
    struct tensor *x = tape_leaf(t, shape, true);
    memcpy(x->value, values, x->size * sizeof(real));
    return x;
}

// --- linear -----------------------------------------------------------------------------------------------

static void check_linear(int rows, int in, int out, bool with_bias, struct rng *r) {
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x = leaf_drawn(t, shape_2(rows, in), r), *w = leaf_drawn(t, shape_2(out, in), r);
    struct tensor *b = with_bias ? leaf_drawn(t, shape_1(out), r) : NULL;
    struct tensor *y = op_linear(t, x, w, b), *factor = tape_leaf(t, y->shape, false);
    for (size_t i = 0; i < factor->size; i++) factor->value[i] = draw(r);
    tape_backward(t, op_sum(t, op_mul(t, y, factor)), 1);
    assert_true(shape_equal(y->shape, shape_2(rows, out)));
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < out; j++) {
            double sum = b ? (double)b->value[j] : 0;
            for (int k = 0; k < in; k++) sum += (double)x->value[i * in + k] * (double)w->value[j * in + k];
            assert_near(y->value[i * out + j], sum, 1e-6 * (in + 1));
        }
    const real *dy = factor->value;
    for (int k = 0; k < in; k++) {
        for (int i = 0; i < rows; i++) {
            double sum = 0;
            for (int j = 0; j < out; j++) sum += (double)dy[i * out + j] * (double)w->value[j * in + k];
            assert_near(x->grad[i * in + k], sum, 1e-6 * out);
        }
        for (int j = 0; j < out; j++) {
            double sum = 0;
            for (int i = 0; i < rows; i++) sum += (double)dy[i * out + j] * (double)x->value[i * in + k];
            assert_near(w->grad[j * in + k], sum, 1e-6 * rows);
        }
    }
    for (int j = 0; b && j < out; j++) {
        double sum = 0;
        for (int i = 0; i < rows; i++) sum += (double)dy[i * out + j];
        assert_near(b->grad[j], sum, 1e-6 * rows);
    }
    tape_free(t);
}

static void linear_is_the_triple_loop(void **state) {
    (void)state;
    struct rng r = rng_stream(1, "shapes");
    for (int trial = 0; trial < 12; trial++) {
        int rows = trial ? 1 + (int)rng_below(&r, 40) : 1, in = trial ? 1 + (int)rng_below(&r, 90) : 1;
        int out = trial ? 1 + (int)rng_below(&r, 70) : 1;
        check_linear(rows, in, out, trial % 3 != 1, &r);
    }
}

// --- losses -----------------------------------------------------------------------------------------------

static void cross_entropy_of_extremes(void **state) {
    (void)state;
    static const real logits[] = {1e4f,       -1e4f, 0,     /**/ 1e4f,  -1e4f, 0,
                                  /**/ -1e4f, -1e4f, -1e4f, /**/ 3e38f, 0,     0};
    static const uint8_t labels[] = {0, 1, 2, 0};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x = leaf_of(t, shape_2(4, 3), logits), *loss = op_cross_entropy(t, x, labels, 0);
    // By row: sure and right 0, sure and wrong 2e4, undecided log 3, sure and right 0.
    assert_near(loss->value[0], (2e4 + log(3)) / 4, 1e-3);
    tape_backward(t, loss, 1);
    static const double wanted[] = {0, 0, 0, 1, -1, 0, 1.0 / 3, 1.0 / 3, -2.0 / 3, 0, 0, 0};
    for (size_t i = 0; i < x->size; i++) assert_near(x->grad[i], wanted[i] / 4, 1e-6);
    tape_free(t);
}

// A loss that is not finite is a result, for the caller to see.
static void cross_entropy_of_nan(void **state) {
    (void)state;
    static const real logits[] = {0, NAN, 0};
    static const uint8_t labels[] = {0};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    assert_true(isnan(op_cross_entropy(t, leaf_of(t, shape_2(1, 3), logits), labels, 0)->value[0]));
    tape_free(t);
}

// --- gradients --------------------------------------------------------------------------------------------

static void gradients_accumulate(void **state) {
    (void)state;
    static const real values[] = {0.5f, -1.25f, 3, 0};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x = leaf_of(t, shape_1(4), values);
    struct tensor *y = op_add(t, op_mul(t, x, x), x), *loss = op_sum(t, y);
    for (int i = 0; i < 4; i++) assert_true(y->value[i] == values[i] * values[i] + values[i]);
    tape_backward(t, loss, 2); // the seed
    for (int i = 0; i < 4; i++) assert_true(x->grad[i] == 2 * (2 * values[i] + 1));
    tape_free(t);
}

// Two shards, each with a tape of its own, add to their own gradients; a parameter used twice adds twice.
static void gradients_go_to_the_shard(void **state) {
    (void)state;
    struct params *ps = params_new();
    int a = params_add(ps, "a", shape_1(2), 0, 1), b = params_add(ps, "b", shape_1(2), 0, 3);
    params_alloc(ps, 2, 1);
    for (int shard = 0; shard < 2; shard++) {
        struct tape *t = tape_new(ps, shard);
        for (int step = 0; step < 3; step++) { // not zeroed in between
            tape_reset(t, true);
            struct tensor *product = op_mul(t, tape_param(t, a), tape_param(t, b));
            tape_backward(t, op_sum(t, op_add(t, product, tape_param(t, b))), (real)(shard + 1));
        }
        tape_free(t);
    }
    for (int shard = 0; shard < 2; shard++)
        for (int i = 0; i < 2; i++) {
            assert_true(params_grad(ps, shard, a)[i] == 3 * 3 * (shard + 1));
            assert_true(params_grad(ps, shard, b)[i] == 3 * 2 * (shard + 1));
        }
    params_free(ps);
}

// What a step sets is what it would have added to zeros, whatever was there before; what it does not reach is zero.
static void gradients_unset(void **state) {
    (void)state;
    enum { SHARDS = 2 };
    struct params *ps = params_new();
    for (int i = 0; i < 4; i++) params_add(ps, &"abcd"[i], i < 2 ? shape_2(3, 3) : shape_1(3), 1, 0);
    params_alloc(ps, SHARDS, 1);
    real *wanted = mem_new(ps->size, sizeof *wanted);
    for (int unset = 0; unset <= 1; unset++) {
        for (int shard = 0; shard < SHARDS; shard++) {
            for (size_t i = 0; unset && i < ps->size; i++) ps->grads[shard][i] = (real)NAN;
            (unset ? params_unset_grad : params_zero_grad)(ps, shard);
            if (shard == 1) continue; // has no samples
            struct tape *t = tape_new(ps, shard);
            tape_reset(t, true);
            struct tensor *a = tape_param(t, 0), *c = tape_param(t, 2);
            struct tensor *y = op_linear(t, a, tape_param(t, 1), c), *twice = op_add(t, y, y);
            struct tensor *z = op_reshape(t, op_gelu(t, op_relu(t, op_add(t, twice, a))), shape_1(9));
            tape_backward(t, op_sum(t, op_add(t, z, op_reshape(t, a, shape_1(9)))), (real)0.7);
            tape_free(t);
        }
        params_reduce(ps, 1);
        if (unset) assert_memory_equal(wanted, ps->grads[0], ps->size * sizeof *wanted);
        memcpy(wanted, ps->grads[0], ps->size * sizeof *wanted);
    }
    for (size_t i = 0; i < 9; i++) assert_true(wanted[i] != 0 && isfinite(wanted[i]));
    for (size_t i = 21; i < ps->size; i++) assert_true(wanted[i] == 0);
    mem_free(wanted);
    params_free(ps);
}

static void no_gradient_outside_training(void **state) {
    (void)state;
    struct params *ps = params_new();
    params_add(ps, "a", shape_2(3, 4), 1, 0);
    params_alloc(ps, 1, 1);
    struct tape *t = tape_new(ps, 0);
    for (int training = 0; training <= 1; training++) {
        tape_reset(t, training);
        assert_int_equal(t->recording, training);
        struct tensor *x = tape_leaf(t, shape_2(2, 4), false);
        for (size_t i = 0; i < x->size; i++) x->value[i] = 1;
        struct tensor *w = tape_param(t, 0), *y = op_linear(t, x, w, NULL);
        struct tensor *dropped = op_dropout(t, y, 0.5), *flat = op_reshape(t, dropped, shape_1(6));
        struct tensor *loss = op_sum(t, flat);
        assert_int_equal(dropped == y, !training);
        assert_null(x->grad);
        const struct tensor *others[] = {w, y, dropped, flat, loss};
        for (int i = 0; i < 5; i++) assert_int_equal(others[i]->grad != NULL, training);
        tape_backward(t, loss, 1);
        bool moved = false;
        for (size_t i = 0; i < ps->size; i++) moved = moved || ps->grads[0][i] != 0;
        assert_int_equal(moved, training);
    }
    tape_free(t);
    params_free(ps);
}

static void reshape_shares_values(void **state) {
    (void)state;
    static const real values[] = {1, 2, 3, 4, 5, 6};
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, true);
    struct tensor *x = leaf_of(t, shape_2(2, 3), values), *y = op_reshape(t, x, shape_3(3, 1, 2));
    assert_ptr_equal(y->value, x->value);
    assert_ptr_not_equal(y->grad, x->grad);
    assert_true(shape_equal(y->shape, shape_3(3, 1, 2)) && shape_equal(x->shape, shape_2(2, 3)));
    tape_backward(t, op_sum(t, op_mul(t, y, y)), 1);
    for (int i = 0; i < 6; i++) assert_true(x->grad[i] == 2 * values[i]);
    tape_free(t);
}

// --- dropout ----------------------------------------------------------------------------------------------

static struct tensor *dropout_of_ones(struct tape *t, double p, uint64_t row) {
    tape_reset(t, true);
    t->dropout = rng_row(rng_stream(1, "dropout"), row);
    struct tensor *x = tape_leaf(t, shape_2(99, 1001), true);
    for (size_t i = 0; i < x->size; i++) x->value[i] = 1;
    return op_dropout(t, x, p);
}

static void dropout_drops_its_share(void **state) {
    (void)state;
    static const double shares[] = {0.01, 0.3, 0.5, 0.9};
    struct tape *t = tape_new(NULL, 0);
    for (int k = 0; k < 4; k++) {
        double p = shares[k], dropped = 0, sum = 0;
        struct tensor *y = dropout_of_ones(t, p, 0);
        for (size_t i = 0; i < y->size; i++) {
            assert_true(y->value[i] == 0 || y->value[i] == (real)(1 / (1 - p)));
            dropped += y->value[i] == 0;
            sum += (double)y->value[i];
        }
        double n = (double)y->size, deviation = sqrt(p * (1 - p) / n);
        assert_near(dropped / n, p, 5 * deviation);
        assert_near(sum / n, 1, 5 * deviation / (1 - p) + 1e-6);
        tape_backward(t, op_sum(t, y), 1); // x is all ones, so the gradient is the result
        assert_memory_equal(y->input[0]->grad, y->value, y->size * sizeof(real));
    }
    struct tensor *x = tape_leaf(t, shape_1(5), true);
    assert_ptr_equal(op_dropout(t, x, 0), x);
    tape_free(t);
}

// The same position gives the same mask; another step, or the next dropout of the step, another.
static void dropout_is_a_stream(void **state) {
    (void)state;
    struct tape *t = tape_new(NULL, 0), *again = tape_new(NULL, 0);
    struct tensor *y = dropout_of_ones(t, 0.5, 3), *second = op_dropout(t, y->input[0], 0.5);
    size_t bytes = y->size * sizeof(real);
    assert_memory_not_equal(y->value, second->value, bytes);
    assert_memory_equal(y->value, dropout_of_ones(again, 0.5, 3)->value, bytes);
    assert_memory_not_equal(y->value, dropout_of_ones(again, 0.5, 4)->value, bytes);
    tape_free(t);
    tape_free(again);
}

// --- a network --------------------------------------------------------------------------------------------

enum { SAMPLES = 8, INPUTS = 12, CLASSES = 4 };

struct network {
    struct json *list;
    struct params *params;
    struct model *model;
    struct tape *tape;
    real inputs[SAMPLES * INPUTS];
    uint8_t labels[SAMPLES];
};

static struct network *network_new(const char *layers) {
    struct err e = {""};
    struct network *n = mem_new(1, sizeof *n);
    n->list = json_of(layers);
    n->params = params_new();
    n->model = model_new(n->list, "model", shape_1(INPUTS), n->params, &e);
    assert_string_equal(e.text, "");
    params_alloc(n->params, 1, 1);
    n->tape = tape_new(n->params, 0);
    struct rng r = rng_stream(1, "samples");
    for (int i = 0; i < SAMPLES * INPUTS; i++) n->inputs[i] = draw(&r);
    for (int i = 0; i < SAMPLES; i++) n->labels[i] = (uint8_t)rng_below(&r, CLASSES);
    blas_start();
    return n;
}

static void network_free(struct network *n) {
    tape_free(n->tape);
    model_free(n->model);
    params_free(n->params);
    json_free(n->list);
    mem_free(n);
}

// Forward and backward from zeroed gradients; returns the loss.
static struct tensor *network_run(struct network *n, uint64_t step) {
    params_zero_grad(n->params, 0);
    tape_reset(n->tape, true);
    n->tape->dropout = rng_row(rng_stream(1, "dropout"), step);
    struct tensor *x = tape_input(n->tape, shape_2(SAMPLES, INPUTS), n->inputs);
    struct tensor *loss = op_cross_entropy(n->tape, model_forward(n->model, n->tape, x), n->labels, 0);
    tape_backward(n->tape, loss, 1);
    params_reduce(n->params, 1);
    return loss;
}

static void network_descend(struct network *n, double rate) {
    for (size_t i = 0; i < n->params->size; i++) n->params->values[i] -= (real)rate * n->params->grads[0][i];
}

#define THREE_LAYERS                                                                                     \
    "[{\"linear\": {\"out\": 33}}, \"gelu\", {\"dropout\": {\"p\": 0.2}}, {\"linear\": {\"out\": 20}}, " \
    "\"relu\", {\"linear\": {\"out\": 4}}]"

static void same_step_same_bits(void **state) {
    (void)state;
    struct network *a = network_new(THREE_LAYERS), *b = network_new(THREE_LAYERS);
    size_t bytes = a->params->size * sizeof(real);
    real *first = mem_new(1, bytes);
    real loss = network_run(a, 5)->value[0];
    memcpy(first, a->params->grads[0], bytes);
    assert_true(network_run(a, 6)->value[0] != loss); // another mask
    assert_true(network_run(a, 5)->value[0] == loss);
    assert_memory_equal(a->params->grads[0], first, bytes);
    assert_true(network_run(b, 5)->value[0] == loss);
    assert_memory_equal(b->params->grads[0], first, bytes);
    mem_free(first);
    network_free(a);
    network_free(b);
}

static void step_makes_no_malloc(void **state) {
    (void)state;
    struct network *n = network_new(THREE_LAYERS);
    const struct tensor *loss = network_run(n, 0);
    size_t bytes = arena_bytes(n->tape->arena);
#ifdef COUNTS_MALLOC
    mem_free(mem_new(1, 1));
    assert_true(mallocs > 0); // they are counted at all
    mallocs = 0;
#endif
    bool moved = false;
    for (uint64_t step = 1; step <= 5; step++) {
        moved = moved || network_run(n, step) != loss;
        network_descend(n, 0.1);
    }
#ifdef COUNTS_MALLOC
    long counted = mallocs;
    assert_int_equal(counted, 0);
#endif
    assert_int_equal(arena_bytes(n->tape->arena), bytes);
    assert_false(moved); // the last tensor, too, is where it was
    network_free(n);
}

static void eight_samples_are_learned(void **state) {
    (void)state;
    struct network *n = network_new("[{\"linear\": {\"out\": 16}}, \"relu\", {\"linear\": {\"out\": 4}}]");
    assert_true(network_run(n, 0)->value[0] > 0.5f);
    for (uint64_t step = 0; step < 300; step++) {
        network_run(n, step);
        network_descend(n, 0.5);
    }
    assert_true(network_run(n, 0)->value[0] < 0.01f);
    network_free(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_is_the_triple_loop),    cmocka_unit_test(cross_entropy_of_extremes),
        cmocka_unit_test(cross_entropy_of_nan),         cmocka_unit_test(gradients_accumulate),
        cmocka_unit_test(gradients_go_to_the_shard),    cmocka_unit_test(gradients_unset),
        cmocka_unit_test(no_gradient_outside_training), cmocka_unit_test(reshape_shares_values),
        cmocka_unit_test(dropout_drops_its_share),      cmocka_unit_test(dropout_is_a_stream),
        cmocka_unit_test(same_step_same_bits),          cmocka_unit_test(step_makes_no_malloc),
        cmocka_unit_test(eight_samples_are_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
