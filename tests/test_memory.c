// Memory limits: what a run needs is known before it is taken, by figures that hold for every shipped config; too much is
// refused, with the figures, whatever it is that is too large.
#include <math.h>

#include "experiments/memory.h"
#include "src/arena.h"
#include "src/file.h"
#include "src/memory.h"
#include "tests/check.h"
#include "tests/program.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static void sizes_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double bytes; // 0: refused
    } rows[] = {{"1", 1},     {"80000", 80000}, {"64K", 64e3}, {"512M", 512e6}, {"2G", 2e9}, {"1.5GB", 1.5e9},
                {"3T", 3e12}, {"", 0},          {"0", 0},      {"-1", 0},       {"2g", 0},   {"2 G", 0},
                {"2GBs", 0},  {"G", 0},         {"1e400", 0},  {"inf", 0},      {"nan", 0},  {"2B", 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        double bytes = 0;
        assert_int_equal(memory_parse(&bytes, rows[i].text), rows[i].bytes > 0);
        if (rows[i].bytes > 0) assert_true(bytes == rows[i].bytes);
    }
    char text[MEMORY_TEXT];
    assert_string_equal(memory_text(text, 800), "0.8 KB");
    assert_string_equal(memory_text(text, 12e3), "12 KB");
    assert_string_equal(memory_text(text, 999.6e6), "1.0 GB");
    assert_string_equal(memory_text(text, 3.14e15), "3140 TB");
    assert_true(memory_machine() > 1e8);
}

static void config_read(struct config *config, const char *path, const char *const *changes) {
    struct err e;
    int count = 0;
    char full[512];
    snprintf(full, sizeof full, "%s/%s", TEST_SOURCE_DIR, path);
    while (changes[count]) count++;
    if (config_open(config, full, changes, count, &e) != 0) fail_msg("%s", e.text);
}

// Steps and an evaluation, as long as tapes grow.
static double tapes_grown(struct run *r) {
    double most = 0;
    optim_epoch(r->optim, 0, r->config.train.epochs);
    batches_epoch(&r->batches, 0);
    for (int i = 0; i < 4; i++) {
        if (i < 3)
            run_step(r);
        else
            run_evaluate(r, PART_VALIDATION);
        double bytes = 0;
        for (int k = 0; k < r->config.train.shards; k++) bytes += (double)arena_bytes(r->tapes[k]->arena);
        most = bytes > most ? bytes : most;
    }
    return most;
}

// What is counted is right to the byte; what is estimated is no less than it comes to, and not much more.
static void needs_of_configs(void **state) {
    (void)state;
    static const char *const small[] = {"validation=300", NULL};
    static const char *const rows[] = {
        "configs/digits-small.json",   "configs/lenet5.json",      "configs/lenet5-numenta.json",
        "configs/shakespeare.json",    "configs/experts.json",     "tests/readers/layers.json",
        "tests/readers/choosing.json", "configs/mnist-madam.json", "configs/mnist-counter-8bit.json"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config config = {0};
        struct run r;
        struct memory need;
        struct err e;
        bool text = strstr(rows[i], "shakespeare") != NULL;
        config_read(&config, rows[i], text ? small + 1 : small);
        if (run_open(&r, &config, &(struct run_options){.threads = 1}, &e) != 0) fail_msg("%s", e.text);
        assert_int_equal(memory_need(&need, &r, &e), 0);
        assert_true(r.memory == memory_sum(&need));
        double bytes = 0, numbers[OPTIM_LISTS] = {0};
        for (int k = 0; k < r.params->count; k++) {
            const struct param *p = &r.params->list[k];
            if (p->buffer) continue;
            numbers[param_is_weight(p) ? OPTIM_WEIGHTS : OPTIM_OTHERS] += (double)p->size;
            bytes -= p->counted ? 0 : (double)p->size * sizeof(real);
        }
        for (int list = 0; list < OPTIM_LISTS; list++)
            bytes += numbers[list] * optim_state_bytes(r.optim, list);
        if (fabs(need.optimiser - bytes) > 0.01 * bytes + 64)
            fail_msg("%s: optimiser %.0f bytes, expected %.0f", rows[i], bytes, need.optimiser);
        double grown = tapes_grown(&r);
#ifdef TALLY_HOSTILE
        grown = fmin(grown, need.step); // its arenas are made of scraps
#endif
        if (need.step < grown || need.step > 4 * grown + 2e6 * (double)r.config.train.shards)
            fail_msg("%s: a step takes %.0f bytes, expected %.0f", rows[i], grown, need.step);
        run_close(&r);
    }
}

static void too_much_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *change, *most, *message;
    } rows[] = {
        {"model=[\"flatten\", {\"linear\": {\"out\": 1000000}}, {\"linear\": {\"out\": 10}}]", "1G",
         "small.json: needs about "},
        {"train.batch=1000000", "100M", ", a step "},
        {"data.set={\"digits\": {\"train\": 1000000}}", "100M",
         "digits: its samples take 793 MB of memory, 100 MB are allowed"},
        {"data.set={\"tales\": {\"length\": 200000000}}", "100M",
         "tales: its samples take 800 MB of memory, 100 MB are allowed"},
        {"seed=1", "1M", "tally: small.json: needs about "},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e;
        size_t size;
        assert_int_equal(RUN("train", "small.json", rows[i].change, "--max-memory", rows[i].most, "--quiet"),
                         1);
        char *said = (char *)file_read_new(&size, "log.txt", 1 << 16, &e);
        assert_non_null(said);
        if (!strstr(said, rows[i].message)) fail_msg("wanted \"%s\" in:\n%s", rows[i].message, said);
        assert_int_equal(strchr(said, '\n') - said + 1, size); // one line
        mem_free(said);
        assert_false(file_exists("runs/small"));
    }
    assert_int_equal(RUN("train", "small.json", "--max-memory", "2 apples"), 2);
    assert_int_equal(RUN("train", "small.json", "--max-memory", "1G", "--quiet", "--no-report"), 0);
    assert_int_equal(RUN("eval", "runs/small", "--max-memory", "1G"), 0);
    assert_int_equal(RUN("eval", "runs/small", "--max-memory", "300K"), 1);
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "memory-XXXXXX";
    static const char text[] =
        "{\"data\": {\"set\": {\"digits\": {\"train\": 300, \"test\": 40}}, \"validation\": 40}, "
        "\"model\": [\"flatten\", {\"linear\": {\"out\": 8}}, {\"linear\": {\"out\": 10}}], "
        "\"optim\": {\"weights\": [\"adam\"], \"others\": [\"adam\"]}, \"train\": {\"epochs\": 1}}";
    struct err e;
    unsetenv("TALLY_DATA");
    return mkdtemp(folder) && chdir(folder) == 0 ? file_write_text("small.json", text, &e) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(needs_of_configs),
        cmocka_unit_test(too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, folder_make, NULL);
}
