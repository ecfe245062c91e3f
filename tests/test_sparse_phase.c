// The sparse phase of training: after the freeze linear layers run on their living weights alone. Against the dense phase
// of the same run: the same weights live, losses and weights stay close; the same bits for any number of threads; for
// every stage, granularity and model that has linear layers, beside parameters that stay dense.
#include "experiments/run.h"
#include "src/sparse.h"
#include "tests/check.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { CHANGES = 4, EPOCHS = 4, FREEZE = 2, TEXT = 400 };

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 120, \"test\": 40}}, \"validation\": "
    "20}, "
    "\"model\": [\"flatten\", {\"linear\": {\"out\": 30}}, \"relu\", {\"dropout\": {\"p\": 0.1}}, "
    "{\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03, \"leak\": 0.03, \"rounding\": \"nearest\"}}], "
    "\"others\": [\"adam\"], \"sparsity\": {\"target\": 0.1, \"begin\": 0, \"end\": 0.5, \"freeze\": 0.5}}, "
    "\"train\": {\"epochs\": 4, \"batch\": 50, \"shards\": 3}}";

static void open_run(struct run *r, const char *const *changes, double density, int threads) {
    struct config config;
    struct err e = {""};
    const struct run_options options = {.threads = threads};
    char last[80];
    memset(&config, 0, sizeof config);
    struct json *root = json_of(config_text);
    snprintf(last, sizeof last, "optim.sparsity.sparse_density=%g", density);
    for (int i = 0; i < CHANGES && changes[i]; i++)
        if (json_override(root, changes[i], &e) != 0) fail_msg("%s", e.text);
    if (json_override(root, last, &e) != 0) fail_msg("%s", e.text);
    if (config_open_json(&config, root, "small.json", &e) != 0 || run_open(r, &config, &options, &e) != 0)
        fail_msg("%s: %s", changes[0], e.text);
}

// One epoch as train.c makes it; the mean loss of its steps.
static double epoch(struct run *r) {
    double sum = 0;
    optim_epoch(r->optim, r->epoch, r->config.train.epochs);
    batches_epoch(&r->batches, r->epoch);
    for (r->batch = 0; r->batch < run_batches(r);) sum += run_step(r);
    r->epoch++;
    double mean = sum / (double)r->batch;
    r->batch = 0;
    return mean;
}

static const char *const rows[][CHANGES] = {
    {"train.shards=1"},
    {"train.batch=7"}, // shards of two and three
    {"optim.weights=[{\"counter\": {\"rate\": 0.03, \"bits\": 8, \"rounding\": \"nearest\"}}]"},
    {"optim.weights=[{\"counter\": {\"direction\": \"tensor\", \"rounding\": \"nearest\", \"bits\": 32}}]"},
    {"optim.weights=[\"clip\", {\"counter\": {\"direction\": \"chain\", \"rounding\": \"nearest\"}}]"},
    {"optim.weights=[{\"clip\": {\"norm\": 0.1}}, {\"sgd\": {\"rate\": 0.1}}]"},
    {"optim.weights=[{\"adam\": {\"rate\": 0.001}}]"},
    {"optim.weights=[{\"adamw\": {\"rate\": 0.001}}]"},
    {"optim.weights=[\"madam\"]"},
    {"optim.sparsity.granularity=block"},
    {"optim.sparsity={\"granularity\": \"n:m\", \"n\": 1, \"m\": 2, \"begin\": 0, \"end\": 0.5, \"freeze\": "
     "0.5}"},
    {"optim.sparsity={\"target\": 0.2, \"path\": \"none\", \"freeze\": 0.5}"},
    {"model=[{\"conv2d\": {\"out\": 4, \"kernel_size\": 5, \"stride\": 4}}, \"relu\", \"flatten\", "
     "{\"linear\": {\"out\": 10}}]"},
    {"model=[\"flatten\", {\"linear\": {\"out\": 16, \"bias\": false}}, \"batch_norm\", \"relu\", "
     "{\"residual\": {\"layers\": "
     "[{\"linear\": {\"out\": 16}}, \"relu\"]}}, {\"linear\": {\"out\": 10}}]"},
    {"model=[\"flatten\", {\"selector\": {\"out\": 32, \"density\": 0.5, \"block\": 4, \"per\": "
     "\"batch\"}}, \"relu\", {\"linear\": {\"out\": 10}}]"},
    {"model=[\"flatten\", {\"experts\": {\"experts\": 3, \"k\": 2, \"layers\": [{\"linear\": {\"out\": 12}}, "
     "\"relu\"]}}, "
     "{\"linear\": {\"out\": 10}}]"},
};

static void check_close(const char *what, const struct run *dense, const struct run *sparse) {
    double difference = 0, size = 0;
    for (int i = 0; i < dense->params->count; i++) {
        const struct param *p = &dense->params->list[i], *q = &sparse->params->list[i];
        assert_true(!p->alive == !q->alive);
        if (p->alive) assert_memory_equal(p->alive, q->alive, p->size);
        for (size_t j = 0; j < p->size; j++) {
            if (p->alive && !p->alive[j] && (p->value[j] != 0 || q->value[j] != 0))
                fail_msg("%s: %s[%zu] came back", what, p->name, j);
            difference += fabs((double)p->value[j] - (double)q->value[j]);
            size += fabs((double)p->value[j]);
        }
    }
    if (!(difference < 0.02 * size)) fail_msg("%s: weights differ by %g of %g", what, difference, size);
}

// Rounding differs in the last bits, which training makes larger: so close, not equal.
static void as_the_dense_phase(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT(rows); n++) {
        const char *what = rows[n][0];
        struct run dense, sparse;
        open_run(&dense, rows[n], 0, 1);
        open_run(&sparse, rows[n], 1, 1);
        int packed = 0;
        for (int k = 0; k < EPOCHS; k++) {
            double a = epoch(&dense), b = epoch(&sparse);
            assert_true(k < FREEZE ? a == b : fabs(a - b) < 0.01 * fabs(a) + 1e-4);
            for (int i = 0; i < sparse.params->count; i++) {
                const struct param *p = &sparse.params->list[i];
                assert_null(dense.params->list[i].sparse);
                if (p->sparse) assert_true(k >= FREEZE && p->matrix && p->sparse->live == param_live(p));
                packed += p->sparse != NULL;
            }
            struct score x = run_evaluate(&dense, PART_VALIDATION),
                         y = run_evaluate(&sparse, PART_VALIDATION);
            assert_near(y.loss, x.loss, 0.01 * fabs(x.loss) + 1e-4);
            check_close(what, &dense, &sparse);
        }
        if (packed < EPOCHS - FREEZE) fail_msg("%s: nothing was sparse", what);
        run_close(&dense);
        run_close(&sparse);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    static const char *const stochastic[CHANGES] = {"optim.weights.0.counter.rounding=stochastic"};
    const char *const *changes[] = {stochastic, rows[1], rows[4], rows[13], rows[15]};
    for (size_t n = 0; n < COUNT(changes); n++) {
        struct run one, three;
        open_run(&one, changes[n], 1, 1);
        open_run(&three, changes[n], 1, 3);
        for (int k = 0; k < EPOCHS; k++) {
            assert_true(epoch(&one) == epoch(&three));
            assert_memory_equal(one.params->values, three.params->values,
                                one.params->size * sizeof(real)); // packed
            struct score a = run_evaluate(&one, PART_TEST), b = run_evaluate(&three, PART_TEST);
            assert_true(a.loss == b.loss && a.wrong == b.wrong);
            assert_memory_equal(one.params->values, three.params->values, one.params->size * sizeof(real));
        }
        run_close(&one);
        run_close(&three);
    }
}

// Evaluating within the phase, at any time, changes no bit of the training.
static void evaluation_changes_nothing(void **state) {
    (void)state;
    static const char *const stochastic[CHANGES] = {"optim.weights.0.counter.rounding=stochastic"};
    struct run often, never;
    open_run(&often, stochastic, 1, 1);
    open_run(&never, stochastic, 1, 1);
    for (int k = 0; k < EPOCHS; k++) {
        optim_epoch(often.optim, often.epoch, EPOCHS);
        batches_epoch(&often.batches, often.epoch);
        for (often.batch = 0; often.batch < run_batches(&often);) {
            run_step(&often);
            run_evaluate(&often, PART_VALIDATION);
        }
        often.epoch++;
        epoch(&never);
        optim_settle(never.optim, 1);
        assert_memory_equal(often.params->values, never.params->values, never.params->size * sizeof(real));
    }
    run_close(&often);
    run_close(&never);
}

// Layers above the limit stay dense; with a limit of 0, all.
static void the_limit(void **state) {
    (void)state;
    static const char *const none[CHANGES] = {NULL};
    for (int k = 0; k < 3; k++) {
        struct run r;
        open_run(&r, none, k * 0.1, 1);
        for (int i = 0; i < EPOCHS - 1; i++) epoch(&r);
        int low = 0, high = 0;
        for (int i = 0; i < r.params->count; i++) {
            const struct param *p = &r.params->list[i];
            if (!p->alive) continue;
            double density = (double)param_live(p) / (double)p->size;
            assert_true((p->sparse != NULL) == (k > 0 && density <= k * 0.1));
            low += density <= 0.1, high += density > 0.2;
        }
        assert_true(low == 1 && high == 1); // of the two layers
        run_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_dense_phase),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(evaluation_changes_nothing),
        cmocka_unit_test(the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
