// Golden numbers: tests/golden/<part>.json, made by <part>.py beside it. A packed tensor is {"shape": [...], "values":
// [...]}.
#ifndef TALLY_TESTS_GOLDEN_H
#define TALLY_TESTS_GOLDEN_H

#include "src/ops.h"
#include "tests/check.h"

enum { FILE_LIMIT = 1 << 22 };

// Relative to the largest of a tensor.
#ifdef TALLY_DOUBLE
static const double TOLERANCE = 1e-10;
#else
static const double TOLERANCE = 1e-4;
#endif

static inline const struct json *child(const struct json *node, const char *key) {
    const struct json *found = json_find(node, key);
    if (!found) fail_msg("golden: no '%s'", key);
    return found;
}

static inline struct json *golden_new(const char *part) {
    struct err e;
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s.json", TEST_SOURCE_DIR, part);
    struct json *golden = json_load_new(path, FILE_LIMIT, &e);
    if (!golden) fail_msg("%s", e.text);
    return golden;
}

static inline struct tensor *leaf_of(struct tape *t, const struct json *packed) {
    const struct json *dims = child(packed, "shape"), *values = child(packed, "values");
    struct shape shape = {.rank = json_count(dims)};
    assert_true(shape.rank <= SHAPE_RANK_MAX);
    for (int d = 0; d < shape.rank; d++) shape.dim[d] = (int)json_number(json_item(dims, d));
    struct tensor *x = tape_leaf(t, shape, true);
    assert_int_equal(json_count(values), x->size);
    size_t i = 0;
    for (const struct json *v = json_first(values); v; v = json_next(v)) x->value[i++] = (real)json_number(v);
    return x;
}

static inline void check_numbers(const char *where, const char *what, const real *found,
                                 const struct json *packed) {
    const struct json *values = child(packed, "values");
    double largest = 1e-2;
    for (const struct json *v = json_first(values); v; v = json_next(v))
        largest = fmax(largest, fabs(json_number(v)));
    int i = 0;
    for (const struct json *v = json_first(values); v; v = json_next(v), i++)
        if (!(fabs((double)found[i] - json_number(v)) <= TOLERANCE * largest))
            fail_msg("%s: %s[%d] is %.12g, golden %.12g", where, what, i, (double)found[i], json_number(v));
}

#endif
