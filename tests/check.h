// What the tests share: cmocka with the headers it wants before it, and helpers that need no explanation.
#ifndef TALLY_TESTS_CHECK_H
#define TALLY_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/json.h"

#define assert_near(found, wanted, tolerance) \
    check_near((double)(found), (double)(wanted), (double)(tolerance), __FILE__, __LINE__)

// Fails also when one of them is NaN.
static inline void check_near(double found, double wanted, double tolerance, const char *file, int line) {
    if (fabs(found - wanted) <= tolerance) return;
    print_error("%.9g is not within %g of %.9g\n", found, tolerance, wanted);
    _fail(file, line);
}

// The tree of a text that must be valid.
static inline struct json *json_of(const char *text) {
    struct err e = {""};
    struct json *root = json_parse_new(text, strlen(text), &e);
    if (!root) fail_msg("%s: %s", text, e.text);
    return root;
}

// A fixture: *state is the name of a new, empty folder in the working directory.
static inline int folder_setup(void **state) {
    char *folder = mem_string_new("test_XXXXXX");
    *state = folder;
    return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_teardown(void **state) {
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", (char *)*state);
    mem_free(*state);
    return system(command);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

#endif
