// What goes wrong with numbers: losses, gradients and weights that are not finite stop a run with step, tensor and rate, and
// leave weights and checkpoint as they were; dead layers and counters at their limit are said while it happens.
#include <math.h>

#include "experiments/health.h"
#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 300, \"test\": 40}}, \"validation\": "
    "40}, "
    "\"model\": [\"flatten\", {\"linear\": {\"out\": 8}}, \"relu\", {\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [{\"sgd\": {\"rate\": 0.1}}], \"others\": [\"adam\"]}, "
    "\"train\": {\"epochs\": 3, \"batch\": 50, \"shards\": 2}}";

static void open_run(struct run *r, const char *const *changes) {
    struct config config = {0};
    struct err e = {""};
    struct json *root = json_of(config_text);
    for (; *changes; changes++)
        if (json_override(root, *changes, &e) != 0) fail_msg("%s", e.text);
    const struct run_options options = {.threads = 2};
    if (config_open_json(&config, root, "small.json", &e) != 0 || run_open(r, &config, &options, &e) != 0)
        fail_msg("%s", e.text);
    optim_epoch(r->optim, 0, r->config.train.epochs);
    batches_epoch(&r->batches, 0);
}

static const char *const none[] = {NULL};

// Wherever the number is, and in whichever shard; a buffer's statistic too; not what was not touched.
static void gradients_are_looked_at(void **state) {
    (void)state;
    enum { BIG = 40000 };
    static const real bad[] = {(real)NAN, (real)INFINITY, (real)-INFINITY};
    static const struct {
        int shards, shard, param;
        size_t place;
    } rows[] = {{1, 0, 0, 0}, {1, 0, 1, BIG - 1}, {2, 0, 1, 17000}, {2, 1, 1, 20000},
                {2, 1, 2, 0}, {3, 2, 3, 1},       {1, 0, 4, 11},    {2, 1, 4, 4}};
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int threads = 1; threads <= 2; threads++) {
            struct params *ps = params_new();
            params_add(ps, "a", shape_2(2, 3), 1, 0);
            params_add(ps, "b", shape_2(BIG / 10, 10), 1, 0);
            params_add(ps, "c", shape_1(5), 0, 0);
            params_add_buffer(ps, "d", shape_1(2), 1, (struct average){.momentum = 0.1});
            params_add_units(ps, params_add(ps, "e", shape_2(3, 4), 1, 0), 4);
            params_alloc(ps, rows[i].shards, 1);
            for (int shard = 0; shard < rows[i].shards; shard++) params_zero_grad(ps, shard);
            assert_int_equal(params_reduce(ps, threads), -1);
            if (rows[i].param == 4) params_touch(ps, rows[i].shard, 4, (int)rows[i].place / 4);
            params_grad(ps, rows[i].shard, rows[i].param)[rows[i].place] = bad[i % COUNT(bad)];
            assert_int_equal(params_reduce(ps, threads), rows[i].param);
            params_free(ps);
        }
}

static void values_of(real *copy, const struct params *ps) {
    memcpy(copy, ps->values, ps->size * sizeof *copy);
}

// The loss: named is the first tensor of the step that is not finite.
static void step_with_a_bad_loss(void **state) {
    (void)state;
    static const struct {
        const char *param, *fault;
        real value;
    } rows[] = {
        {"linear1.weight", "linear1.weight", (real)NAN},
        {"linear2.bias", "linear2.bias", (real)INFINITY},
        {"linear1.weight", "the output of linear (linear1.weight)", (real)3e38},
        {"linear2.weight", "the output of linear (linear2.weight)", (real)3e38},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct run r;
        open_run(&r, none);
        run_step(&r);
        assert_string_equal(r.fault, "");
        for (int k = 0; k < r.params->count; k++) {
            struct param *p = &r.params->list[k];
            for (size_t j = 0; strcmp(p->name, rows[i].param) == 0 && j < p->size; j++)
                p->value[j] = rows[i].value;
        }
        real *before = mem_new(r.params->size, sizeof *before);
        values_of(before, r.params);
        assert_false(isfinite(run_step(&r)));
        assert_string_equal(r.fault, rows[i].fault);
        assert_memory_equal(before, r.params->values, r.params->size * sizeof *before);
        assert_int_equal(r.step, 1);
        assert_int_equal(r.batch, 1);
        mem_free(before);
        run_close(&r);
    }
}

// A finite loss whose gradient is beyond float: the hidden numbers are tiny and their weights as large as can be, five
// outputs up and five down, so that softmax is sure of one side; a label of the other side gives them nearly twice that.
static void step_with_a_bad_gradient(void **state) {
    (void)state;
    static const char *const changes[] = {
        "model=[\"flatten\", {\"linear\": {\"out\": 1}}, {\"linear\": {\"out\": 10}}]",
        "train={\"epochs\": 3, \"batch\": 1, \"shards\": 1}", NULL};
    struct run r;
    char text[HEALTH_TEXT];
    open_run(&r, changes);
    const struct param *first = &r.params->list[0], *second = &r.params->list[2];
    assert_string_equal(second->name, "linear2.weight");
    for (size_t i = 0; i < first->size; i++) first->value[i] = (real)1e-40;
    for (size_t i = 0; i < second->size; i++) second->value[i] = (real)(i % 2 ? 3.4e38 : -3.4e38);
    real *before = mem_new(r.params->size, sizeof *before);
    double loss = 0;
    int64_t step = 0;
    struct stage *sgd = &r.optim->stages[OPTIM_WEIGHTS][0];
    int count = sgd->work_count;
    sgd->work_count = 0; // only the biases move, by little
    do {
        values_of(before, r.params);
        step = r.step;
        loss = run_step(&r);
    } while (!*r.fault && r.step < 20);
    assert_true(isfinite(loss));
    assert_string_equal(r.fault, "the gradient of linear1.weight");
    assert_memory_equal(before, r.params->values, r.params->size * sizeof *before);
    assert_int_equal(r.step, step);
    assert_false(health_finite(text, &r, loss));
    assert_non_null(strstr(text, ": the gradient of linear1.weight is not finite (loss "));
    assert_non_null(strstr(text, ", rate sgd 0.1, others adam 0.001)"));
    mem_free(before);
    sgd->work_count = count;
    run_close(&r);
}

static void weight_after_the_last_step(void **state) {
    (void)state;
    struct run r;
    char text[HEALTH_TEXT];
    open_run(&r, none);
    double loss = run_step(&r);
    assert_true(health_finite(text, &r, loss));
    r.params->list[2].value[5] = (real)NAN;
    assert_false(health_finite(text, &r, loss));
    assert_non_null(strstr(text, "epoch 1, step 1: linear2.weight is not finite (loss "));
    run_close(&r);
}

static char *said_by_the_program(void) {
    struct err e;
    size_t size;
    char *said = (char *)file_read_new(&size, "log.txt", 1 << 20, &e);
    assert_non_null(said);
    return said;
}

static void assert_said(const char *what) {
    char *said = said_by_the_program();
    if (!strstr(said, what)) fail_msg("wanted \"%s\" in:\n%s", what, said);
    mem_free(said);
}

static void run_that_diverges(void **state) {
    (void)state;
    struct err e;
    assert_int_equal(
        RUN("train", "small.json", "optim.weights.0.sgd.rate=1000", "--no-report", "--out", "far"), 3);
    assert_said("diverged at epoch ");
    assert_said(" is not finite (loss ");
    assert_said(", rate sgd 1e+03, others adam 0.001): stopped; the last checkpoint stays\n");
    assert_int_equal(RUN("train", "small.json", "optim.weights.0.sgd.rate=1000", "train.checkpoint_every=100",
                         "--no-report", "--out", "none"),
                     3);
    assert_said(": stopped; there is no checkpoint\n");
    assert_said("none/: summary.json, metrics.jsonl\n");
    struct json *summary = saved_summary_new("far", &e);
    assert_non_null(summary);
    assert_string_equal(json_string(json_find(summary, "status")), "diverged");
    assert_true(strncmp(json_string(json_find(summary, "fault")), "epoch ", 6) == 0);
    json_free(summary);
}

// At once: long before the run is over, with the step.
static void layer_that_dies(void **state) {
    (void)state;
    static const char stages[] = "optim.weights=[{\"counter\": {\"rate\": 0.03, \"leak\": 30}}]";
    assert_int_equal(RUN("train", "small.json", stages, "--no-report", "--out", "dead"), 0);
    assert_said("warning: every weight of linear1.weight is zero since epoch 1, step ");
    char *said = said_by_the_program(), *warning = strstr(said, "warning: every weight of linear1"),
         *epoch = strstr(said, "epoch 1/3");
    assert_true(warning && epoch && warning < epoch);
    assert_null(strstr(warning + 1, "warning: every weight of linear1")); // once
    mem_free(said);
    assert_int_equal(RUN("train", "small.json", "--no-report", "--out", "alive"), 0);
    said = said_by_the_program();
    assert_null(strstr(said, "warning"));
    mem_free(said);
}

static void counters_at_their_limit(void **state) {
    (void)state;
    static const char stages[] = "optim.weights=[{\"counter\": {\"rate\": 5, \"bits\": 8}}]";
    struct err e;
    assert_int_equal(RUN("train", "small.json", stages, "--no-report", "--out", "limit"), 0);
    assert_said(
        "% of the counters of linear1.weight are at their limit, 127; try more bits or a smaller unit");
    struct json *summary = saved_summary_new("limit", &e);
    assert_non_null(summary);
    const struct json *layer = json_item(json_find(summary, "per_layer"), 0);
    assert_true(json_number(json_find(layer, "saturated")) > 0);
    json_free(summary);
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "health-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    return mkdtemp(folder) && chdir(folder) == 0 ? file_write_text("small.json", config_text, &e) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_looked_at),  cmocka_unit_test(step_with_a_bad_loss),
        cmocka_unit_test(step_with_a_bad_gradient), cmocka_unit_test(weight_after_the_last_step),
        cmocka_unit_test(run_that_diverges),        cmocka_unit_test(layer_that_dies),
        cmocka_unit_test(counters_at_their_limit),
    };
    return cmocka_run_group_tests(tests, folder_make, NULL);
}
