// Sparsity control against naive sorting: the density path, the cut in each granularity (who survives, exactly
// how many), the freeze. And the schedules of the rate, point by point.
#include "optim/optim.h"
#include "tests/check.h"

// --- helpers ----------------------------------------------------------------------------------------------

enum values { RANDOM, TIED, HALF_ZERO, EQUAL, RISING, FALLING, ZERO, VALUES };

// Two matrices, a four-dimensional tensor, and biases that no cut may touch.
static struct params *params_of(enum values kind, uint64_t seed) {
    struct params *ps = params_new();
    params_add(ps, "a.weight", shape_2(21, 32), 0.5, 0);
    params_add(ps, "a.bias", shape_1(40), 0.001, 0);
    params_add(ps, "b.weight", (struct shape){4, {3, 2, 5, 4}}, 0.3, 0);
    params_add(ps, "c.weight", shape_2(1, 4), 0.1, 0);
    params_alloc(ps, 1, seed);
    struct rng r = rng_stream(seed, "values");
    for (size_t i = 0; i < ps->size; i++) {
        real *w = &ps->values[i];
        if (kind == TIED) *w = (real)((int)rng_below(&r, 5) - 2);
        if (kind == HALF_ZERO && rng_below(&r, 2)) *w = 0;
        if (kind == EQUAL) *w = rng_below(&r, 2) ? 1 : -1;
        if (kind == RISING) *w = (real)(i + 1);
        if (kind == FALLING) *w = -(real)(ps->size - i);
        if (kind == ZERO) *w = 0;
    }
    return ps;
}

static struct sparsity sparsity_of(const char *options, const struct params *ps) {
    struct sparsity s;
    struct err e;
    struct json *node = json_of(options);
    if (sparsity_read(&s, node, "sparsity", ps, &e) != 0) fail_msg("%s: %s", options, e.text);
    json_free(node);
    return s;
}

static size_t weights_of(const struct params *ps) {
    size_t count = 0;
    for (int i = 0; i < ps->count; i++) count += param_is_weight(&ps->list[i]) ? ps->list[i].size : 0;
    return count;
}

static size_t alive_of(const struct params *ps) {
    size_t count = 0;
    for (int i = 0; i < ps->count; i++)
        count += param_is_weight(&ps->list[i]) ? param_nonzero(&ps->list[i]) : 0;
    return count;
}

static real *values_new(const struct params *ps) {
    return memcpy(mem_new(ps->size, sizeof(real)), ps->values, ps->size * sizeof(real));
}

static void count_all(struct params *ps, enum number_kind kind, int bits) {
    for (int i = 0; i < ps->count; i++)
        if (param_is_weight(&ps->list[i])) param_count(&ps->list[i], number_make(kind, bits, 0, 0));
}

// The dead are 0, the rest has kept its bits; a counter says the same as its value.
static void check_cut(const struct params *ps, const real *before, const uint8_t *lives) {
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        for (size_t j = 0; j < p->size; j++) {
            size_t at = p->offset + j;
            real want = lives[at] || !param_is_weight(p) ? before[at] : 0;
            if (p->value[j] != want)
                fail_msg("%s[%d] was %g, is %g", p->name, (int)j, (double)before[at], (double)p->value[j]);
            if (p->counted)
                assert_true(p->value[j] == (real)(p->scale * number_value(&p->number, param_counter(p, j))));
            if (p->counted && want == 0) assert_int_equal(param_counter(p, j), 0);
        }
    }
}

// --- naive cuts: sort, keep the first -----------------------------------------------------------------------

struct ranked {
    double size;
    size_t order;
};

static int larger_first(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

// The block that weight j of p lies in, counted over p.
static size_t block_of(const struct param *p, size_t j, size_t rows, size_t columns) {
    size_t width = p->size / (size_t)p->shape.dim[0];
    return j / width / rows * ((width + columns - 1) / columns) + j % width / columns;
}

// lives[weight] when `density` of the blocks of all weight tensors stay: those of largest mean square, of equals
// the earlier.
static size_t naive_blocks(uint8_t *lives, const struct params *ps, double density, size_t rows,
                           size_t columns) {
    struct ranked *list = mem_new(ps->size, sizeof *list);
    size_t *members = mem_new(ps->size, sizeof *members), *home = mem_new(ps->size, sizeof *home), blocks = 0;
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        size_t first = blocks;
        for (size_t j = 0; param_is_weight(p) && j < p->size; j++) {
            size_t block = first + block_of(p, j, rows, columns);
            home[p->offset + j] = block;
            list[block].size += (double)p->value[j] * (double)p->value[j];
            members[block]++;
            if (block + 1 > blocks) blocks = block + 1;
        }
    }
    for (size_t b = 0; b < blocks; b++) list[b] = (struct ranked){list[b].size / (double)members[b], b};
    qsort(list, blocks, sizeof *list, larger_first);
    size_t keep = (size_t)(density * (double)blocks + 0.5);
    uint8_t *kept = mem_new(blocks, 1);
    for (size_t b = 0; b < keep; b++) kept[list[b].order] = 1;
    for (size_t at = 0; at < ps->size; at++) lives[at] = kept[home[at]]; // biases: not looked at
    mem_free(kept);
    mem_free(home);
    mem_free(members);
    mem_free(list);
    return keep;
}

static void naive_groups(uint8_t *lives, const struct params *ps, size_t keep, size_t m) {
    struct ranked group[16];
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        for (size_t first = 0; param_is_weight(p) && first < p->size; first += m) {
            for (size_t j = 0; j < m; j++)
                group[j] = (struct ranked){fabs((double)p->value[first + j]), first + j};
            qsort(group, m, sizeof *group, larger_first);
            for (size_t j = 0; j < m; j++) lives[p->offset + group[j].order] = j < keep;
        }
    }
}

// --- cuts -------------------------------------------------------------------------------------------------

static const double densities[] = {0, 0.0004, 0.01, 0.05, 0.2501, 0.5, 0.77, 0.999, 1};
enum { DENSITIES = sizeof densities / sizeof *densities };

static void unstructured(void **state) {
    (void)state;
    for (int kind = 0; kind < VALUES; kind++)
        for (int d = 0; d < DENSITIES; d++)
            for (uint64_t seed = 1; seed <= 3; seed++) {
                struct params *ps = params_of((enum values)kind, seed);
                struct sparsity s = sparsity_of("{\"target\": 0.1}", ps);
                real *before = values_new(ps);
                uint8_t *lives = mem_new(ps->size, 1);
                size_t had = alive_of(ps), keep = naive_blocks(lives, ps, densities[d], 1, 1);
                assert_int_equal(keep, (size_t)floor(densities[d] * (double)weights_of(ps) + 0.5));
                sparsity_cut(&s, ps, densities[d]);
                assert_int_equal(alive_of(ps), had < keep ? had : keep);
                check_cut(ps, before, lives);
                mem_free(before);
                mem_free(lives);
                params_free(ps);
            }
}

static void counters(void **state) {
    (void)state;
    for (int kind = 0; kind < NUMBER_MADAM; kind++)
        for (int bits = 8; bits <= 32; bits *= 2)
            for (int d = 0; d < DENSITIES; d++) {
                struct params *ps = params_of(RANDOM, 5);
                count_all(ps, (enum number_kind)kind, bits); // 8 bits: many ties
                struct sparsity s = sparsity_of("{\"target\": 0.1}", ps);
                real *before = values_new(ps);
                uint8_t *lives = mem_new(ps->size, 1);
                size_t had = alive_of(ps), keep = naive_blocks(lives, ps, densities[d], 1, 1);
                sparsity_cut(&s, ps, densities[d]);
                assert_int_equal(alive_of(ps), had < keep ? had : keep);
                check_cut(ps, before, lives);
                mem_free(before);
                mem_free(lives);
                params_free(ps);
            }
}

static void blocks_live_or_die_whole(void **state) {
    (void)state;
    static const int sizes[][2] = {{4, 4}, {1, 8}, {8, 1}, {5, 3}, {21, 32}, {64, 64}};
    for (int kind = 0; kind < 2 * VALUES; kind++) // floats, then counters
        for (int d = 0; d < DENSITIES; d++)
            for (int b = 0; b < 6; b++) {
                struct params *ps = params_of((enum values)(kind % VALUES), 3);
                if (kind >= VALUES) count_all(ps, NUMBER_SQUARE, 16);
                char options[120];
                snprintf(options, sizeof options,
                         "{\"target\":0.1,\"granularity\":\"block\",\"block_rows\":%d,\"block_columns\":%d}",
                         sizes[b][0], sizes[b][1]);
                struct sparsity s = sparsity_of(options, ps);
                real *before = values_new(ps);
                uint8_t *lives = mem_new(ps->size, 1);
                naive_blocks(lives, ps, densities[d], (size_t)sizes[b][0], (size_t)sizes[b][1]);
                sparsity_cut(&s, ps, densities[d]);
                check_cut(ps, before, lives);
                mem_free(before);
                mem_free(lives);
                params_free(ps);
            }
}

static void at_most_n_of_m(void **state) {
    (void)state;
    static const struct {
        int n, m;
        double density;
        size_t keep;
    } table[] = {{2, 4, 0.5, 2}, {2, 4, 0.6, 3}, {2, 4, 0.75, 3}, {2, 4, 1, 4},   {2, 4, 0.1, 2},
                 {1, 4, 0.3, 2}, {1, 2, 0.5, 1}, {1, 4, 0.25, 1}, {3, 4, 0.75, 3}};
    for (int kind = 0; kind < 2 * VALUES; kind++)
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            struct params *ps = params_of((enum values)(kind % VALUES), 3);
            if (kind >= VALUES) count_all(ps, NUMBER_SQUARE, 8);
            char options[120];
            snprintf(options, sizeof options, "{\"granularity\":\"n:m\",\"n\":%d,\"m\":%d}", table[i].n,
                     table[i].m);
            struct sparsity s = sparsity_of(options, ps);
            assert_true(s.target == (double)table[i].n / table[i].m);
            real *before = values_new(ps);
            uint8_t *lives = mem_new(ps->size, 1);
            naive_groups(lives, ps, table[i].keep, (size_t)table[i].m);
            sparsity_cut(&s, ps, table[i].density);
            check_cut(ps, before, lives);
            mem_free(before);
            mem_free(lives);
            params_free(ps);
        }
}

// --- over a run -------------------------------------------------------------------------------------------

static void density_path(void **state) {
    (void)state;
    static const struct {
        const char *options;
        int epoch, epochs;
        double density;
    } table[] = {
        {"{}", 5, 10, 1},
        {"{\"target\":0.05}", 0, 40, 1}, // begin 0.1, end 0.65
        {"{\"target\":0.05}", 3, 40, 1},
        {"{\"target\":0.05}", 4, 40, 1},
        {"{\"target\":0.05}", 15, 40, 0.16875}, // t = 1/2: 1 - 0.95 · 7/8
        {"{\"target\":0.05}", 21, 100, 0.5364}, // t = 1/5: 1 - 0.95 · (1 - 0.512)
        {"{\"target\":0.05}", 54, 100, 0.0576}, // t = 4/5: 1 - 0.95 · (1 - 0.008)
        {"{\"target\":0.05}", 26, 40, 0.05},
        {"{\"target\":0.05}", 39, 40, 0.05},
        {"{\"target\":0.2,\"begin\":0,\"end\":1}", 0, 4, 1},
        {"{\"target\":0.2,\"begin\":0,\"end\":1}", 2, 4, 0.3},
        {"{\"target\":0.2,\"begin\":0.5,\"end\":0.5}", 1, 4, 1},
        {"{\"target\":0.2,\"begin\":0.5,\"end\":0.5}", 2, 4, 0.2},
        {"{\"target\":0.2,\"path\":\"none\",\"freeze\":0.7}", 6, 10, 1},
        {"{\"target\":0.2,\"path\":\"none\",\"freeze\":0.7}", 7, 10, 0.2},
        {"{\"granularity\":\"n:m\",\"begin\":0,\"end\":0.5}", 1, 4, 0.5625},
        {"{\"granularity\":\"n:m\",\"begin\":0,\"end\":0.5}", 3, 4, 0.5},
    };
    struct params *ps = params_of(RANDOM, 1);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sparsity s = sparsity_of(table[i].options, ps);
        assert_near(sparsity_density(&s, table[i].epoch, table[i].epochs), table[i].density, 1e-12);
    }
    struct sparsity s = sparsity_of("{\"target\":0.01}", ps);
    for (int epoch = 1; epoch < 100; epoch++)
        assert_true(sparsity_density(&s, epoch, 100) <= sparsity_density(&s, epoch - 1, 100));
    params_free(ps);
}

static void grow_back(struct params *ps) {
    for (int i = 0; i < ps->count; i++)
        for (size_t j = 0; j < ps->list[i].size; j++)
            if (ps->list[i].value[j] == 0) ps->list[i].value[j] = (real)1e-3;
}

// At every epoch start the path's density holds, whatever came back meanwhile; from the freeze on nothing is cut.
static void run(void **state) {
    (void)state;
    enum { EPOCHS = 20, FREEZE = 14 };
    struct params *ps = params_of(RANDOM, 2);
    struct sparsity s = sparsity_of("{\"target\":0.05,\"freeze\":0.7}", ps);
    double total = (double)weights_of(ps);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        grow_back(ps);
        sparsity_epoch(&s, ps, epoch, EPOCHS);
        assert_true(s.frozen == (epoch >= FREEZE));
        size_t want = (size_t)floor(total * sparsity_density(&s, epoch, EPOCHS) + 0.5);
        assert_int_equal(alive_of(ps), epoch <= FREEZE ? want : weights_of(ps));
        for (int i = 0; i < ps->count; i++) {
            const struct param *p = &ps->list[i];
            assert_true((p->alive != NULL) == (s.frozen && param_is_weight(p)));
            for (size_t j = 0; epoch == FREEZE && p->alive && j < p->size; j++)
                assert_true(p->alive[j] == (p->value[j] != 0));
        }
    }
    for (int i = 0; i < ps->count; i++) param_bury(&ps->list[i], 0, ps->list[i].size);
    assert_int_equal(alive_of(ps), (size_t)floor(total * 0.05 + 0.5));
    params_free(ps);
}

static void without_a_path_one_cut(void **state) {
    (void)state;
    struct params *ps = params_of(RANDOM, 2);
    count_all(ps, NUMBER_SQUARE, 16);
    struct sparsity s = sparsity_of("{\"target\":0.1,\"path\":\"none\",\"freeze\":0.45}", ps);
    real *before = values_new(ps);
    for (int epoch = 0; epoch < 5; epoch++) sparsity_epoch(&s, ps, epoch, 10);
    assert_memory_equal(before, ps->values, ps->size * sizeof(real));
    assert_false(s.frozen);
    sparsity_epoch(&s, ps, 5, 10);
    assert_true(s.frozen);
    assert_int_equal(alive_of(ps), (size_t)floor(0.1 * (double)weights_of(ps) + 0.5));
    mem_free(before);
    params_free(ps);
}

// By default nothing happens; a freeze alone keeps the zeros that are there.
static void dense(void **state) {
    (void)state;
    struct params *ps = params_of(HALF_ZERO, 2);
    real *before = values_new(ps);
    struct sparsity s;
    struct err e;
    assert_int_equal(sparsity_read(&s, NULL, "sparsity", ps, &e), 0);
    for (int epoch = 0; epoch < 10; epoch++) sparsity_epoch(&s, ps, epoch, 10);
    assert_false(s.frozen);
    assert_null(ps->list[0].alive);
    s = sparsity_of("{\"freeze\":0.5}", ps);
    for (int epoch = 0; epoch < 10; epoch++) sparsity_epoch(&s, ps, epoch, 10);
    assert_true(s.frozen);
    assert_memory_equal(before, ps->values, ps->size * sizeof(real));
    assert_int_equal(ps->list[0].alive[0], before[0] != 0);
    mem_free(before);
    params_free(ps);
}

// The whole optimiser over a run: the path with counters that leak and come back, then the frozen pattern.
static void optimiser_keeps_the_pattern(void **state) {
    (void)state;
    enum { EPOCHS = 10, STEPS = 20 };
    struct params *ps = params_of(RANDOM, 4);
    struct json *config =
        json_of("{\"weights\":[{\"counter\":{\"rate\":0.03,\"leak\":0.3}}],\"others\":[\"sgd\"],"
                "\"sparsity\":{\"target\":0.1,\"freeze\":0.7}}");
    struct err e;
    struct optim *o = optim_new(config, "optim", ps, 1, &e);
    if (!o) fail_msg("%s", e.text);
    struct rng r = rng_stream(8, "gradients");
    real *pattern = NULL;
    for (int step = 0; step < EPOCHS * STEPS; step++) {
        if (step % STEPS == 0) optim_epoch(o, step / STEPS, EPOCHS);
        if (step == 7 * STEPS) pattern = values_new(ps);
        for (size_t j = 0; j < ps->size; j++) ps->grads[0][j] = (real)(rng_uniform(&r) - 0.5);
        optim_step(o, step + 1, (double)step / STEPS, EPOCHS, 1);
        for (int i = 0; pattern && i < ps->count; i++)
            for (size_t j = 0; param_is_weight(&ps->list[i]) && j < ps->list[i].size; j++)
                if (pattern[ps->list[i].offset + j] == 0) assert_true(ps->list[i].value[j] == 0);
    }
    assert_true(o->sparsity.frozen && alive_of(ps) > 0);
    assert_true((double)alive_of(ps) <= 0.1 * (double)weights_of(ps) + 1);
    mem_free(pattern);
    json_free(config);
    optim_free(o);
    params_free(ps);
}

// --- schedules --------------------------------------------------------------------------------------------

static void schedules(void **state) {
    (void)state;
    static const struct {
        const char *schedule;
        double epoch, epochs, factor;
    } table[] = {
        {"\"constant\"", 0, 10, 1},
        {"\"constant\"", 9.9, 10, 1},
        {"{\"constant\":{\"warmup\":2}}", 0, 10, 0},
        {"{\"constant\":{\"warmup\":2}}", 0.5, 10, 0.25},
        {"{\"constant\":{\"warmup\":2}}", 2, 10, 1},
        {"{\"constant\":{\"warmup\":20}}", 5, 10, 0.25},
        {"\"step\"", 9.99, 40, 1},
        {"\"step\"", 10, 40, 0.1},
        {"\"step\"", 25, 40, 0.01},
        {"{\"step\":{\"every\":3,\"factor\":0.5,\"warmup\":1}}", 0.25, 40, 0.25},
        {"{\"step\":{\"every\":3,\"factor\":0.5,\"warmup\":1}}", 3.9, 40, 1},
        {"{\"step\":{\"every\":3,\"factor\":0.5,\"warmup\":1}}", 4, 40, 0.5},
        {"{\"step\":{\"every\":3,\"factor\":0.5,\"warmup\":1}}", 7.5, 40, 0.25},
        {"{\"step\":{\"factor\":0}}", 10, 40, 0},
        {"\"cosine\"", 0, 40, 1},
        {"\"cosine\"", 10, 40, 0.85355339059327376},
        {"\"cosine\"", 20, 40, 0.5},
        {"\"cosine\"", 40, 40, 0},
        {"{\"cosine\":{\"final\":0.1}}", 20, 40, 0.55},
        {"{\"cosine\":{\"final\":0.1}}", 50, 40, 0.1}, // past the end
        {"{\"cosine\":{\"final\":0.1,\"warmup\":4}}", 1, 44, 0.25},
        {"{\"cosine\":{\"final\":0.1,\"warmup\":4}}", 4, 44, 1},
        {"{\"cosine\":{\"final\":0.1,\"warmup\":4}}", 24, 44, 0.55},
        {"{\"cosine\":{\"final\":0.1,\"warmup\":4}}", 44, 44, 0.1},
        {"{\"cosine\":{\"warmup\":5}}", 5, 5, 0}, // nothing but warm-up
        {"\"linear\"", 0, 10, 1},
        {"\"linear\"", 2.5, 10, 0.75},
        {"\"linear\"", 10, 10, 0},
        {"{\"linear\":{\"final\":0.2,\"warmup\":2}}", 1, 12, 0.5},
        {"{\"linear\":{\"final\":0.2,\"warmup\":2}}", 2, 12, 1},
        {"{\"linear\":{\"final\":0.2,\"warmup\":2}}", 7, 12, 0.6},
        {"{\"linear\":{\"final\":0.2,\"warmup\":2}}", 20, 12, 0.2},
    };
    bool seen[SCHEDULE_KINDS] = {false};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct schedule s;
        struct err e;
        struct json *node = json_of(table[i].schedule);
        if (schedule_read(&s, node, "schedule", &e) != 0) fail_msg("%s", e.text);
        double factor = schedule_factor(&s, table[i].epoch, table[i].epochs);
        if (!(fabs(factor - table[i].factor) <= 1e-12))
            fail_msg("%s at %g of %g: %.17g", table[i].schedule, table[i].epoch, table[i].epochs, factor);
        seen[s.kind] = true;
        json_free(node);
    }
    for (int kind = 0; kind < SCHEDULE_KINDS; kind++)
        if (!seen[kind]) fail_msg("no point of the schedule '%s'", schedule_types[kind].name);
    struct schedule s;
    struct err e;
    assert_int_equal(schedule_read(&s, NULL, "schedule", &e), 0);
    assert_true(schedule_factor(&s, 3, 10) == 1);
}

// The factor reaches the stages: half the rate moves half as far.
static void factor_multiplies_the_rate(void **state) {
    (void)state;
    struct params *ps = params_new();
    params_add(ps, "a.weight", shape_2(1, 1), 0, 1);
    params_add(ps, "a.bias", shape_1(1), 0, 1);
    params_alloc(ps, 1, 1);
    struct json *config =
        json_of("{\"weights\":[{\"sgd\":{\"rate\":0.5,\"momentum\":0}}],"
                "\"others\":[{\"sgd\":{\"rate\":0.25,\"momentum\":0}}],\"schedule\":\"linear\"}");
    struct err e;
    struct optim *o = optim_new(config, "optim", ps, 1, &e);
    if (!o) fail_msg("%s", e.text);
    ps->grads[0][0] = ps->grads[0][1] = 1;
    optim_step(o, 1, 5, 10, 1);
    assert_true(ps->values[0] == 0.75f && ps->values[1] == 0.875f);
    json_free(config);
    optim_free(o);
    params_free(ps);
}

// Each layer keeps its own share, the last one twice it, and of each the largest.
static void layers_are_cut_alone(void **state) {
    (void)state;
    static const double keep[] = {0.5, 0.1, 0.013, 0.9};
    for (int kind = 0; kind < VALUES; kind++)
        for (int k = 0; k < 4; k++) {
            struct params *ps = params_of((enum values)kind, 7);
            real *before = values_new(ps);
            sparsity_cut_layers(ps, keep[k], 2);
            for (int i = 0; i < ps->count; i++) {
                const struct param *p = &ps->list[i];
                if (!param_is_weight(p)) {
                    assert_memory_equal(p->value, before + p->offset, p->size * sizeof(real));
                    continue;
                }
                size_t zeros = 0,
                       most = (size_t)floor(fmin(1, i == 3 ? 2 * keep[k] : keep[k]) * (double)p->size + 0.5);
                double smallest_kept = INFINITY, largest_cut = 0;
                for (size_t j = 0; j < p->size; j++) {
                    double was = fabs((double)before[p->offset + j]);
                    zeros += was == 0;
                    if (p->value[j] != 0)
                        smallest_kept = fmin(smallest_kept, was);
                    else
                        largest_cut = fmax(largest_cut, was);
                }
                size_t wanted = p->size - zeros < most ? p->size - zeros : most;
                assert_int_equal(param_nonzero(p), wanted);
                assert_true(smallest_kept >= largest_cut);
            }
            mem_free(before);
            params_free(ps);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unstructured),
        cmocka_unit_test(counters),
        cmocka_unit_test(blocks_live_or_die_whole),
        cmocka_unit_test(at_most_n_of_m),
        cmocka_unit_test(density_path),
        cmocka_unit_test(run),
        cmocka_unit_test(without_a_path_one_cut),
        cmocka_unit_test(dense),
        cmocka_unit_test(optimiser_keeps_the_pattern),
        cmocka_unit_test(layers_are_cut_alone),
        cmocka_unit_test(schedules),
        cmocka_unit_test(factor_multiplies_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
