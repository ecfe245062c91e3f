// Target: configs, from the text to a trained step. An input's first part is the file; its first byte says which samples the
// model gets. The other parts are words of the command line, path.key=value.
//
// What is refused is refused with a message. What is taken is written with every default, read again and must be the same;
// and where it is small, its model makes two steps.
#include "experiments/config.h"

#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/small.h"

enum { WORDS = 6, WORD = 300, EPOCHS = 4 };

// The overrides as strings.
static int words_read(char words[WORDS][WORD], const char *list[WORDS], const uint8_t *at,
                      const uint8_t *end) {
    struct fuzz_part part;
    int count = 0;
    for (; count < WORDS && fuzz_part_next(&part, &at, end); count++) {
        size_t size = part.size < WORD - 1 ? part.size : WORD - 1;
        memcpy(words[count], part.bytes, size);
        words[count][size] = 0;
        list[count] = words[count];
    }
    return count;
}

static int opened(struct run *r, struct config *c, const struct dataset *data, struct err *e) {
    int result = run_open_without_data(r, c, "digits", data, e);
    config_close(c);
    return result;
}

// The config that a run writes must make the same run.
static void resolved_check(const struct run *r, const struct dataset *data) {
    struct config config = {.name = "again"};
    struct run again = {0};
    struct err e = {""};
    char path[JSON_PATH];
    CHECK(config_open_json(&config, json_copy_new(r->resolved), "again.json", &e) == 0, "its own config: %s",
          e.text);
    CHECK(opened(&again, &config, data, &e) == 0, "its own config: %s", e.text);
    json_difference(path, r->resolved, again.resolved);
    CHECK(json_equal(r->resolved, again.resolved), "%s differs in the run of its own config", path);
    CHECK(again.params->size == r->params->size &&
              memcmp(again.params->values, r->params->values, r->params->size * sizeof(real)) == 0,
          "other initial values");
    run_close(&again);
}

static void config_try(struct config *c, const struct dataset *data) {
    struct run r = {0};
    struct err e = {""};
    CHECK(c->train.epochs >= 1 && c->train.batch >= c->train.shards && *c->name, "config");
    if (!small_enough(c, data)) {
        config_close(c);
        return;
    }
    if (opened(&r, c, data, &e) == 0) {
        CHECK(params_not_finite(r.params) < 0, "initial values that are not finite");
        resolved_check(&r, data);
        int64_t epochs = r.config.train.epochs;
        for (int64_t epoch = 0; epoch < epochs && epoch < EPOCHS; epoch++) {
            optim_epoch(r.optim, epoch, epochs < EPOCHS ? epochs : EPOCHS);
            r.epoch = epoch;
            small_step(&r, data);
        }
        optim_settle(r.optim, 1);
    } else {
        fuzz_check_message(e.text);
    }
    run_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    const uint8_t *at = input, *end = input + size;
    struct fuzz_part part;
    if (!fuzz_part_next(&part, &at, end)) return 0;
    char path[FUZZ_PATH], words[WORDS][WORD];
    const char *list[WORDS];
    int descriptor = fuzz_file_open(path, part.bytes, part.size), count = words_read(words, list, at, end);
    struct dataset data = small_set(part.what);
    struct config config;
    struct err e = {""};
    if (config_open(&config, path, list, count, &e) == 0) {
        config_try(&config, &data);
    } else {
        fuzz_check_message(e.text);
        config_close(&config);
    }
    close(descriptor);
    return 0;
}
