// Ten steps of every optimiser, in double, against golden/optim.json: torch.optim, and numpy written from the
// formulas (golden/optim.py). Floats agree to 1e-12 at every step, counters are equal.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "optim/optim.h"

static const double TOLERANCE = 1e-12;
enum { FILE_LIMIT = 1 << 22 };

static const struct json *child(const struct json *node, const char *key) {
    const struct json *found = json_find(node, key);
    if (!found) fail_msg("golden/optim.json: no '%s'", key);
    return found;
}

static void text_of(char *out, size_t size, const struct json *node) {
    size_t length = strlen(json_string(node));
    assert_true(length < size);
    memcpy(out, json_string(node), length + 1);
}

// The golden file's parameters with their initial values; another `seed` shows that it does not matter.
static struct params *problem_new(const struct json *golden, uint64_t seed) {
    struct params *ps = params_new();
    const struct json *list = child(golden, "params");
    for (int i = 0; i < json_count(list); i++) {
        const struct json *dims = child(json_item(list, i), "shape");
        struct shape shape = {.rank = json_count(dims)};
        for (int d = 0; d < shape.rank; d++) shape.dim[d] = (int)json_number(json_item(dims, d));
        char name[PARAM_NAME];
        text_of(name, sizeof name, child(json_item(list, i), "name"));
        params_add(ps, name, shape, 0.5, 0);
    }
    params_alloc(ps, 1, seed);
    for (int i = 0; i < ps->count; i++) {
        const struct json *start = child(json_item(list, i), "start");
        assert_int_equal(json_count(start), ps->list[i].size);
        for (int j = 0; j < json_count(start); j++) ps->list[i].value[j] = json_number(json_item(start, j));
    }
    return ps;
}

static void gradients_set(struct params *ps, const struct json *row) {
    assert_int_equal(json_count(row), ps->count);
    for (int i = 0; i < ps->count; i++) {
        const struct json *numbers = json_item(row, i);
        assert_int_equal(json_count(numbers), ps->list[i].size);
        for (int j = 0; j < json_count(numbers); j++)
            params_grad(ps, 0, i)[j] = json_number(json_item(numbers, j));
    }
}

static void check_number(const char *where, int step, const char *what, int at, double got, double want) {
    if (!(fabs(got - want) <= TOLERANCE * fabs(want)))
        fail_msg("%s, step %d, %s[%d]: %.17g, golden %.17g", where, step, what, at, got, want);
}

static void check_values(const char *where, int step, const struct param *p, const struct json *want) {
    assert_int_equal(json_count(want), p->size);
    for (int j = 0; j < json_count(want); j++)
        check_number(where, step, p->name, j, (double)p->value[j], json_number(json_item(want, j)));
}

static void check_counters(const char *where, int step, const struct param *p, const struct json *want) {
    assert_int_equal(json_count(want), p->size);
    for (int j = 0; j < json_count(want); j++)
        if (param_counter(p, (size_t)j) != (int)json_number(json_item(want, j)))
            fail_msg("%s, step %d, counter of %s[%d]: %d, golden %d", where, step, p->name, j,
                     (int)param_counter(p, (size_t)j), (int)json_number(json_item(want, j)));
}

// What building made of a parameter: the scale and, unless they are random, the counters. Then the start
// counters.
static void counters_start(const char *where, struct param *p, const struct json *expected) {
    const struct json *start = json_find(expected, "start"), *init = json_find(expected, "init");
    assert_int_equal(start != NULL, p->counted);
    if (!start) return;
    check_number(where, 0, "scale", 0, p->scale, json_number(child(expected, "scale")));
    if (init) check_counters(where, 0, p, init);
    for (int j = 0; j < json_count(start); j++)
        param_set_counter(p, (size_t)j, (int32_t)json_number(json_item(start, j)));
}

static void check_param(const char *where, int step, int steps, const struct param *p,
                        const struct json *expected) {
    const struct json *counters = json_find(expected, "counters"), *values = json_find(expected, "values");
    assert_true(counters || values);
    if (values) check_values(where, step, p, json_item(values, step - 1));
    if (counters) check_counters(where, step, p, json_item(counters, step - 1));
    if (counters && step == steps) check_values(where, step, p, child(expected, "last"));
}

static void run_case(const struct json *golden, const struct json *one, int threads) {
    char where[80];
    text_of(where, sizeof where, child(one, "name"));
    const struct json *gradients = child(golden, "gradients"), *expected = child(one, "params");
    struct params *ps = problem_new(golden, (uint64_t)threads);
    struct err e;
    struct optim *o = optim_new(child(one, "config"), "optim", ps, 7, &e);
    if (!o) fail_msg("%s: %s", where, e.text);
    int steps = json_count(gradients), compared = json_count(expected);
    assert_true(steps == 10 && compared >= 2 && compared <= ps->count);
    for (int i = 0; i < compared; i++) counters_start(where, &ps->list[i], json_item(expected, i));
    for (int step = 1; step <= steps; step++) {
        gradients_set(ps, json_item(gradients, step - 1));
        optim_step(o, step, step - 1, steps, threads); // a step is an epoch
        for (int i = 0; i < compared; i++)
            check_param(where, step, steps, &ps->list[i], json_item(expected, i));
    }
    optim_free(o);
    params_free(ps);
}

static struct json *golden_new(void) {
    struct err e;
    struct json *golden = json_load_new(TEST_SOURCE_DIR "/tests/golden/optim.json", FILE_LIMIT, &e);
    if (!golden) fail_msg("%s", e.text);
    return golden;
}

static void every_case(void **state) {
    (void)state;
    struct json *golden = golden_new();
    const struct json *list = child(golden, "cases");
    for (int i = 0; i < json_count(list); i++)
        for (int threads = 1; threads <= 2; threads++) run_case(golden, json_item(list, i), threads);
    json_free(golden);
}

// A stage without golden numbers must not slip in.
static void every_stage_has_a_case(void **state) {
    (void)state;
    struct json *golden = golden_new();
    const struct json *list = child(golden, "cases");
    for (int t = 0; stage_types[t]; t++) {
        bool found = false;
        for (int i = 0; i < json_count(list); i++) {
            const struct json *stages = child(child(json_item(list, i), "config"), "weights"), *options;
            for (int k = 0; k < json_count(stages); k++) {
                const char *name;
                struct err e;
                assert_int_equal(json_read_named(&name, &options, json_item(stages, k), "", &e), 0);
                found |= strcmp(name, stage_types[t]->name) == 0;
            }
        }
        if (!found) fail_msg("golden/optim.py has no case of the stage '%s'", stage_types[t]->name);
    }
    json_free(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(every_stage_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
