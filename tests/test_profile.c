// The watch on training steps: what it is on, the work it counts for each op with matrix products, and that a measured run
// has the bits of one that is not.
#include "experiments/run.h"
#include "src/blas.h"
#include "src/ops.h"
#include "tests/check.h"

// A tape with a watch.
struct bench {
    struct tape *tape;
    struct profile profile;
};

static void bench_open(struct bench *b) {
    *b = (struct bench){.tape = tape_new(NULL, 0)};
    tape_reset(b->tape, true);
    b->tape->profile = &b->profile;
}

static struct tensor *leaf(struct bench *b, struct shape shape, bool with_grad) {
    struct tensor *x = tape_leaf(b->tape, shape, with_grad);
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)0.01 * (real)(i % 7);
    return x;
}

static const struct profile_cell *cell(const struct profile *p, enum profile_group group, const char *name) {
    for (int i = 0; i < p->count; i++)
        if (p->cells[i].group == group && strcmp(p->cells[i].name, name) == 0) return &p->cells[i];
    fail_msg("nothing was counted for '%s'", name);
    return NULL;
}

// Backward from y; then the counted work of y's op, with `numbers` read or written forward and backward.
static void work_check(struct bench *b, struct tensor *y, double forward, double backward,
                       double numbers_forward, double numbers_backward) {
    tape_backward(b->tape, op_sum(b->tape, y), 1);
    assert_null(b->profile.on);
    const struct profile_cell *f = cell(&b->profile, PROFILE_FORWARD, y->op->name);
    const struct profile_cell *k = cell(&b->profile, PROFILE_BACKWARD, y->op->name);
    assert_true(f->calls == 1 && k->calls == 1);
    assert_true(f->flops == forward);
    assert_true(k->flops == backward);
    assert_true(f->bytes == numbers_forward * sizeof(real));
    assert_true(k->bytes == numbers_backward * sizeof(real));
    assert_true(cell(&b->profile, PROFILE_FORWARD, "sum")->flops == 0);
    tape_free(b->tape);
}

static void linear_work(void **state) {
    (void)state;
    for (int with_grad = 0; with_grad < 2; with_grad++) {
        struct bench b;
        bench_open(&b);
        struct tensor *x = leaf(&b, shape_3(2, 3, 5), with_grad), *w = leaf(&b, shape_2(7, 5), true);
        struct tensor *y = op_linear(b.tape, x, w, leaf(&b, shape_1(7), true));
        work_check(&b, y, 2 * 6 * 5 * 7, (with_grad ? 4 : 2) * 6 * 5 * 7, 42 + 30 + 35 + 7,
                   42 + (with_grad ? 90 : 30) + 3 * (35 + 7));
    }
}

static void conv2d_work(void **state) {
    (void)state;
    static const struct window window = {.size = {3, 2}, .stride = {1, 1}, .dilation = {1, 1}};
    struct bench b;
    bench_open(&b);
    struct tensor *x = leaf(&b, (struct shape){4, {2, 4, 6, 5}}, true),
                  *w = leaf(&b, (struct shape){4, {6, 2, 3, 2}}, true);
    struct tensor *y = op_conv2d(b.tape, x, w, NULL, &window, 2);
    double out = 2 * 6 * 4 * 4, depth = 2 * 3 * 2;
    work_check(&b, y, 2 * out * depth, 4 * out * depth, out + 240 + 72, out + 3 * (240 + 72));
}

// Of 100 causal positions the first 64 are multiplied by 64, the others by all.
static void attention_work(void **state) {
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct bench b;
        bench_open(&b);
        struct tensor *y = op_attention(b.tape, leaf(&b, shape_3(2, 100, 24), true), 2, causal, 0, 0);
        double scores = 2 * 2 * (causal ? 64 * 64 + 36 * 100 : 100 * 100), out = 2 * 100 * 8;
        work_check(&b, y, 4 * scores * 4, 8 * scores * 4, out + 3 * out, out + 9 * out);
    }
}

static void linear_rows_work(void **state) {
    (void)state;
    static const int unit[] = {0, 3}, samples[] = {2, 3}, sample[] = {0, 2, 1, 2, 4};
    for (int shared = 0; shared < 2; shared++) {
        const struct choice choice = {2, 2, unit, samples, shared ? NULL : sample};
        struct bench b;
        bench_open(&b);
        struct tensor *x = leaf(&b, shape_2(5, 4), true), *w = leaf(&b, shape_2(7, 4), true);
        struct tensor *y = op_linear_rows(b.tape, x, w, NULL, &choice);
        double chosen = shared ? 5 * (2 + 1) : 2 * 2 + 3 * 1;
        work_check(&b, y, 2 * chosen * 4, 4 * chosen * 4, 35 + 20 + 28, 35 + 3 * (20 + 28));
    }
}

// Everything between the first move and the stop is somebody's, and only that.
static void time_adds_up(void **state) {
    (void)state;
    struct profile p = {0}, sum = {0};
    double before = profile_seconds();
    profile_start(&p, PROFILE_PART, "one");
    double inside = profile_seconds();
    while (profile_seconds() - inside < 1e-3) {}
    profile_start(&p, PROFILE_STAGE, "one");
    profile_start(&p, PROFILE_PART, "one");
    double still = profile_seconds();
    profile_stop(&p);
    double after = profile_seconds();
    profile_stop(&p);
    assert_int_equal(p.count, 2);
    assert_true(p.cells[0].calls == 2 && p.cells[1].calls == 1);
    double all = p.cells[0].seconds + p.cells[1].seconds;
    assert_true(p.cells[0].seconds >= 1e-3 && all >= still - inside && all <= after - before);
    profile_add(&sum, &p);
    profile_add(&sum, &p);
    assert_int_equal(sum.count, 2);
    assert_true(sum.cells[0].calls == 4 && sum.cells[0].seconds == 2 * p.cells[0].seconds);
    profile_start(NULL, PROFILE_PART, "one"); // nobody's watch
    profile_stop(NULL);
}

static const char run_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 200, \"test\": 10}}, \"validation\": "
    "0},\n"
    " \"model\": [\"flatten\", {\"dropout\": {\"p\": 0.1}}, {\"linear\": {\"out\": 12}}, \"relu\", "
    "{\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [\"clip\", \"counter\"], \"others\": [\"adam\"]}, \"train\": {\"batch\": 50, "
    "\"shards\": 3}}";

enum { STEPS = 4, SHARDS = 3 };

static void run_steps(struct run *r, struct profile *profiles) {
    struct config config = {0};
    struct err e;
    if (config_open_json(&config, json_of(run_text), "profile.json", &e) != 0 ||
        run_open(r, &config, &(struct run_options){.threads = 2}, &e) != 0)
        fail_msg("%s", e.text);
    batches_epoch(&r->batches, 0);
    run_measure(r, profiles);
    for (int i = 0; i < STEPS; i++) run_step(r);
    run_measure(r, NULL);
    config_close(&config);
}

static void measuring_changes_nothing(void **state) {
    (void)state;
    struct run plain, measured;
    struct profile profiles[SHARDS + 1] = {0};
    run_steps(&plain, NULL);
    run_steps(&measured, profiles);
    assert_int_equal(plain.params->size, measured.params->size);
    assert_memory_equal(plain.params->values, measured.params->values, plain.params->size * sizeof(real));
    for (int i = 0; i < SHARDS; i++) {
        const struct profile *p = &profiles[i];
        static const char *const parts[] = {"unset gradients", "gather", "score"};
        for (int k = 0; k < 3; k++) assert_true(cell(p, PROFILE_PART, parts[k])->calls == STEPS);
        assert_true(cell(p, PROFILE_FORWARD, "linear")->calls == 2 * STEPS);
        assert_true(cell(p, PROFILE_BACKWARD, "linear")->calls == 2 * STEPS);
        assert_true(cell(p, PROFILE_BACKWARD, "cross_entropy")->calls == STEPS);
    }
    static const char *const stages[] = {"optim.weights.0.clip", "optim.weights.1.counter",
                                         "optim.others.0.adam"};
    for (int k = 0; k < 3; k++)
        assert_true(cell(&profiles[SHARDS], PROFILE_STAGE, stages[k])->calls == STEPS);
    assert_true(cell(&profiles[SHARDS], PROFILE_PART, "shards")->calls == STEPS);
    assert_true(cell(&profiles[SHARDS], PROFILE_PART, "reduce")->calls == STEPS);
    run_step(&measured);
    assert_true(cell(&profiles[0], PROFILE_PART, "gather")->calls == STEPS);
    run_close(&plain);
    run_close(&measured);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_work),    cmocka_unit_test(conv2d_work),
        cmocka_unit_test(attention_work), cmocka_unit_test(linear_rows_work),
        cmocka_unit_test(time_adds_up),   cmocka_unit_test(measuring_changes_nothing)};
    blas_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
