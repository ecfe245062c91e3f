// Target: JSON, and configs. What is parsed is printed and parsed again, and must be the same; as a config it is taken or
// refused with a message.
#include "src/json.h"

#include <string.h>

#include "experiments/config.h"
#include "tests/fuzz/fuzz.h"

static void printed_again(const struct json *root, bool indented) {
    char *text = json_print_new(root, indented), path[JSON_PATH];
    struct err e = {""};
    struct json *again = json_parse_new(text, strlen(text), &e);
    CHECK(again, "printed text: %s", e.text);
    json_difference(path, root, again);
    CHECK(json_equal(root, again), "%s differs", path);
    CHECK(*path == 0, "%s differs from itself", path);
    json_free(again);
    mem_free(text);
}

static void config_try(struct json *root) {
    struct config config = {.name = "fuzz"};
    struct err e = {""};
    if (config_open_json(&config, root, "fuzz.json", &e) != 0)
        fuzz_check_message(e.text);
    else
        CHECK(config.train.epochs >= 1 && config.train.batch >= config.train.shards && *config.name,
              "config");
    config_close(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    // Exactly as many bytes as there are: the parser may not look for an end.
    struct err e = {""};
    struct json *root = json_parse_new((const char *)input, size, &e);
    if (!root) {
        fuzz_check_message(e.text);
        return 0;
    }
    printed_again(root, true);
    printed_again(root, false);
    config_try(root);
    return 0;
}
