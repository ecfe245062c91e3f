// Target: JSON. What is parsed is printed, parsed and printed again, and must be the same.
#include "src/json.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

static void printed_again(const struct json *root, bool indented) {
    char *text = json_print_new(root, indented), path[JSON_PATH];
    struct err e = {""};
    struct json *again = json_parse_new(text, strlen(text), &e);
    CHECK(again, "printed text: %s", e.text);
    json_difference(path, root, again);
    CHECK(json_equal(root, again), "%s differs", path);
    CHECK(*path == 0, "%s differs from itself", path);
    char *same = json_print_new(again, indented);
    CHECK(strcmp(same, text) == 0, "printed as other text");
    mem_free(same);
    json_free(again);
    mem_free(text);
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
    json_free(root);
    return 0;
}
