// Lazy parameters: whatever units sleep and whenever they are settled, the numbers are those of an optimiser that steps
// all of them with a gradient of zero. For every stage, across shards, threads, odd sizes, cuts and the freeze.
#include "optim/optim.h"
#include "src/parallel.h"
#include "tests/check.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

enum { SHARDS = 3, STEPS = 40, STEPS_PER_EPOCH = 10, TEXT = 700, MANY = 2500 };

// Two lazy matrices, of which the second is one unit, a dense one between them and biases; units are not a whole number
// of spans, and the last of "wide" is short.
enum { WIDE, DENSE, BIAS, WHOLE, PARAMS };

static struct params *params_of(bool lazy) {
    struct params *ps = params_new();
    int index[PARAMS];
    index[WIDE] = params_add(ps, "wide.weight", shape_2(61, 36), 0.3, 0);
    index[DENSE] = params_add(ps, "dense.weight", shape_2(5, 7), 0.3, 0);
    index[BIAS] = params_add(ps, "dense.bias", shape_1(5), 0.3, 0);
    index[WHOLE] = params_add(ps, "whole.weight", shape_2(3, 7), 0.3, 0);
    for (int i = 0; i < PARAMS; i++) assert_int_equal(index[i], i);
    if (lazy) params_add_units(ps, WIDE, 4 * 36);
    if (lazy) params_add_units(ps, WHOLE, 21);
    params_alloc(ps, SHARDS, 3);
    return ps;
}

static struct optim *optim_of(struct params *ps, const char *weights, const char *rest) {
    char text[TEXT];
    struct err e = {""};
    snprintf(text, sizeof text, "{\"weights\": %s, \"others\": [\"adam\"], \"schedule\": \"cosine\"%s}",
             weights, rest);
    struct json *config = json_of(text);
    struct optim *o = optim_new(config, "optim", ps, 5, &e);
    if (!o) fail_msg("%s: %s", weights, e.text);
    json_free(config);
    return o;
}

// Whether the shard uses the unit in this step: about one in six, none of some units for long.
static bool used(int step, int shard, int unit) {
    struct rng r = rng_row(rng_stream(9, "used"), (uint64_t)(step * 1000 + shard));
    r.next = (uint64_t)unit;
    return rng_u32(&r) % 6 == 0 && (unit % 5 != 0 || step < 4);
}

// The same numbers into the gradients of both; the lazy one is told before.
static void gradients_add(struct params *ps, int step, int shard) {
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        size_t unit = i == WIDE ? 4 * 36 : p->size;
        for (size_t j = 0; j < p->size; j++) {
            bool sleeps = (i == WIDE || i == WHOLE) && !used(step, shard, (int)(j / unit));
            if (!sleeps && p->lazy && j % unit == 0) params_touch(ps, shard, i, (int)(j / unit));
            double u = (double)((int)(j * 7919) + step * 131 + shard * 1777 + i * 37);
            if (!sleeps) params_grad(ps, shard, i)[j] += (real)(sin(u) * sin(u / 7));
        }
    }
}

static void one_step(struct params *ps, struct optim *o, int step, int threads) {
    if (step % STEPS_PER_EPOCH == 0) optim_epoch(o, step / STEPS_PER_EPOCH, STEPS / STEPS_PER_EPOCH);
    for (int shard = 0; shard < SHARDS; shard++) params_zero_grad(ps, shard);
    for (int shard = 0; shard < SHARDS; shard++) gradients_add(ps, step, shard);
    params_reduce(ps, threads);
    optim_step(o, step + 1, (double)step / STEPS_PER_EPOCH, (double)STEPS / STEPS_PER_EPOCH, threads);
}

// 0 and -0 are the same here.
static void check_equal(const char *what, const char *name, const real *a, const real *b, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!(a[i] == b[i]))
            fail_msg("%s: %s[%zu] is %.9g, lazy %.9g", what, name, i, (double)a[i], (double)b[i]);
}

static void check_same(const char *what, const struct optim *a, const struct optim *b) {
    for (int i = 0; i < PARAMS; i++) {
        const struct param *p = &a->params->list[i], *q = &b->params->list[i];
        check_equal(what, p->name, p->value, q->value, p->size);
        for (size_t j = 0; p->counted && j < p->size; j++)
            assert_int_equal(param_counter(p, j), param_counter(q, j));
    }
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < a->count[list]; i++)
            for (int k = 0; k < a->stages[list][i].slot_count; k++)
                for (int j = 0; j < a->stages[list][i].count; j++) {
                    const struct stage *s = &a->stages[list][i], *t = &b->stages[list][i];
                    size_t size = s->slots[k].per_weight ? a->params->list[s->param[j]].size : 1;
                    check_equal(what, s->slots[k].name, s->slots[k].value[j], t->slots[k].value[j], size);
                }
}

static const struct row {
    const char *weights, *rest; // stages; other keys of the section
} rows[] = {
    {"[{\"sgd\": {\"rate\": 0.1}}]", ""},
    {"[{\"sgd\": {\"rate\": 0.1, \"momentum\": 0}}]", ""},
    {"[{\"sgd\": {\"rate\": 0.1, \"nesterov\": true, \"weight_decay\": 0.01}}]", ""},
    {"[{\"clip\": {\"norm\": 0.5}}, {\"adam\": {\"rate\": 0.01}}]", ""},
    {"[{\"adam\": {\"rate\": 0.01, \"weight_decay\": 0.1}}]", ""},
    {"[{\"adamw\": {\"rate\": 0.01}}]", ""},
    {"[{\"madam\": {\"rate\": 0.05}}]", ""},
    {"[{\"madam\": {\"rate\": 0.05, \"p_scale\": 0.5}}]", ""},
    {"[\"integer_madam\"]", ""},
    {"[{\"counter\": {\"rate\": 0.05}}]", ""},
    {"[{\"counter\": {\"rate\": 0.05, \"leak\": 0.3}}]", ""},
    {"[{\"counter\": {\"rate\": 0.05, \"leak\": 0.3, \"rounding\": \"nearest\"}}]", ""},
    {"[{\"counter\": {\"rate\": 0.1, \"leak\": 0.2, \"direction\": \"sign\", \"bits\": 8}}]", ""},
    {"[{\"counter\": {\"rate\": 0.1, \"direction\": \"momentum-sign\", \"map\": \"exp\"}}]", ""},
    {"[{\"counter\": {\"rate\": 0.1, \"direction\": \"chain\", \"leak\": 0.01}}]", ""},
    {"[{\"counter\": {\"rate\": 0.05, \"leak\": 0.3}}]",
     ", \"sparsity\": {\"target\": 0.4, \"begin\": 0, \"end\": 0.5, \"freeze\": 0.5}"},
    {"[{\"sgd\": {\"rate\": 0.1}}]",
     ", \"sparsity\": {\"target\": 0.4, \"begin\": 0, \"end\": 0.5, \"freeze\": 0.5}"},
};

// `settle`: after how many steps in between, 0: only at the end (and where an epoch begins).
static void compare(const struct row *row, int settle, int threads) {
    struct params *dense = params_of(false), *lazy = params_of(true);
    struct optim *a = optim_of(dense, row->weights, row->rest), *b = optim_of(lazy, row->weights, row->rest);
    for (int step = 0; step < STEPS; step++) {
        one_step(dense, a, step, 1);
        one_step(lazy, b, step, threads);
        if (settle && step % settle == 0) {
            optim_settle(b, threads);
            check_same(row->weights, a, b);
        }
    }
    optim_settle(b, threads);
    check_same(row->weights, a, b);
    optim_free(a), optim_free(b);
    params_free(dense), params_free(lazy);
}

static void laziness_changes_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        compare(&rows[i], 0, 1);
        compare(&rows[i], 3, 2);
    }
}

// Unsettled, a unit is behind: the table above compares something.
static void sleepers_are_behind(void **state) {
    (void)state;
    struct params *ps = params_of(true);
    struct optim *o = optim_of(ps, "[{\"counter\": {\"rate\": 0.05, \"leak\": 0.3}}]", "");
    real before = ps->list[WIDE].value[0];
    assert_true(before != 0);
    for (int step = 10; step < 20; step++) one_step(ps, o, step, 1); // unit 0 sleeps from step 4 on
    assert_true(ps->list[WIDE].value[0] == before);
    optim_settle(o, 1);
    assert_true(ps->list[WIDE].value[0] != before);
    optim_free(o);
    params_free(ps);
}

// More steps than are kept: they are made up before any is forgotten.
static void sleep_is_never_too_long(void **state) {
    (void)state;
    struct params *ps[2] = {params_of(false), params_of(true)};
    struct optim *o[2];
    for (int k = 0; k < 2; k++) {
        o[k] = optim_of(ps[k], "[{\"sgd\": {\"rate\": 0.1, \"weight_decay\": 0.001}}]", "");
        gradients_add(ps[k], 0, 0);
        for (int step = 1; step <= MANY; step++) {
            optim_step(o[k], step, 0, 1, 1);
            params_zero_grad(ps[k], 0);
        }
        optim_settle(o[k], 1);
    }
    check_same("long sleep", o[0], o[1]);
    for (int k = 0; k < 2; k++) optim_free(o[k]), params_free(ps[k]);
}

static void only_touched_units_are_zeroed_and_summed(void **state) {
    (void)state;
    struct params *ps = params_of(true);
    const struct param *p = &ps->list[WIDE];
    assert_true(p->lazy && p->units == 16 && p->unit == 144);
    for (int shard = 0; shard < SHARDS; shard++)
        for (size_t i = 0; i < p->size; i++) params_grad(ps, shard, WIDE)[i] = 1;
    params_touch(ps, 0, WIDE, 1);
    params_touch(ps, 1, WIDE, 1);
    params_touch(ps, 2, WIDE, 15);
    params_reduce(ps, 2);
    for (size_t i = 0; i < p->size; i++) {
        size_t unit = i / 144;
        assert_true(params_grad(ps, 0, WIDE)[i] == (unit == 1 || unit == 15 ? 2 : 1));
    }
    for (int unit = 0; unit < p->units; unit++) assert_int_equal(p->touched[unit], unit == 1 || unit == 15);
    params_zero_grad(ps, 0);
    for (size_t i = 0; i < p->size; i++)
        assert_true(params_grad(ps, 0, WIDE)[i] == (i / 144 == 1 || i / 144 == 15 ? 0 : 1));
    for (int unit = 0; unit < p->units; unit++) assert_int_equal(p->touched[unit], 0);
    params_free(ps);
}

static void touch_everything(void *context, int shard) {
    struct params *ps = context;
    for (int k = 0; k < ps->list[WIDE].units; k++)
        params_touch(ps, shard, WIDE, shard % 2 ? ps->list[WIDE].units - 1 - k : k);
}

// All threads wake all units at once: each makes its steps once.
static void many_wake_one(void **state) {
    (void)state;
    static const char weights[] = "[{\"counter\": {\"rate\": 0.05, \"leak\": 0.3}}]";
    struct params *dense = params_of(false), *lazy = params_of(true);
    struct optim *a = optim_of(dense, weights, ""), *b = optim_of(lazy, weights, "");
    for (int round = 0; round < 20; round++) {
        for (int step = 10; step < 15; step++) {
            one_step(dense, a, step + 5 * round, 1);
            one_step(lazy, b, step + 5 * round, 1);
        }
        parallel_for(SHARDS, SHARDS, touch_everything, lazy);
        check_equal("woken", "wide", dense->list[WIDE].value, lazy->list[WIDE].value, dense->list[WIDE].size);
    }
    optim_free(a), optim_free(b);
    params_free(dense), params_free(lazy);
}

static void refused(void **state) {
    (void)state;
    struct params *ps = params_of(true);
    struct err e = {""};
    struct json *config =
        json_of("{\"weights\": [{\"counter\": {\"direction\": \"tensor\"}}], \"others\": [\"adam\"]}");
    assert_null(optim_new(config, "optim", ps, 1, &e));
    assert_string_equal(e.text,
                        "optim.weights.0.counter: looks at whole tensors, wide.weight is stepped in parts; "
                        "use another direction or stage");
    json_free(config);
    params_free(ps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(laziness_changes_nothing),
        cmocka_unit_test(sleepers_are_behind),
        cmocka_unit_test(sleep_is_never_too_long),
        cmocka_unit_test(only_touched_units_are_zeroed_and_summed),
        cmocka_unit_test(many_wake_one),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
