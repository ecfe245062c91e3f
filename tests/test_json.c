// JSON and field tables: bad input as tables of text and exact message; what is good comes back as it was.
#include "src/file.h"
#include "tests/check.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

// --- the parser -------------------------------------------------------------------------------------------

#define TEXT(literal) literal, sizeof(literal) - 1

static const struct {
    const char *text;
    size_t length;
    const char *message;
} bad_texts[] = {
    // Nothing, or not a value.
    {TEXT(""), "line 1, column 1: not valid JSON here"},
    {TEXT("   "), "line 1, column 3: not valid JSON here"},
    {TEXT("nul"), "line 1, column 1: not valid JSON here"},
    {TEXT("True"), "line 1, column 1: not valid JSON here"},
    {TEXT("'a'"), "line 1, column 1: not valid JSON here"},
    {TEXT("// a comment\n1"), "line 1, column 1: not valid JSON here"},
    {TEXT("}"), "line 1, column 1: not valid JSON here"},
    // Lists and objects.
    {TEXT("[1, 2"), "line 1, column 5: not valid JSON here"},
    {TEXT("[1 2]"), "line 1, column 4: not valid JSON here"},
    {TEXT("[1,]"), "line 1, column 4: not valid JSON here"},
    {TEXT("[,1]"), "line 1, column 2: not valid JSON here"},
    {TEXT("{\"a\"}"), "line 1, column 5: not valid JSON here"},
    {TEXT("{\"a\" 1}"), "line 1, column 6: not valid JSON here"},
    {TEXT("{\"a\": }"), "line 1, column 7: not valid JSON here"},
    {TEXT("{\"a\": 1,}"), "line 1, column 9: not valid JSON here"},
    {TEXT("{\"a\": 1 \"b\": 2}"), "line 1, column 9: not valid JSON here"},
    {TEXT("{\"a\": 1; \"b\": 2}"), "line 1, column 8: not valid JSON here"},
    {TEXT("{\n  \"epochs\": 40,\n  \"batch\": x\n}"), "line 3, column 12: not valid JSON here"},
    {TEXT("[1,\n2,\n\n  [3, 4, ?]]"), "line 4, column 10: not valid JSON here"},
    // Numbers.
    {TEXT("+1"), "line 1, column 1: not valid JSON here"},
    {TEXT(".5"), "line 1, column 1: not valid JSON here"},
    {TEXT("--1"), "line 1, column 1: not valid JSON here"},
    {TEXT("NaN"), "line 1, column 1: not valid JSON here"},
    {TEXT("[1, Infinity]"), "line 1, column 5: not valid JSON here"},
    {TEXT("[0x10]"), "line 1, column 3: not valid JSON here"},
    {TEXT("1e999"), "the config: the number does not fit"},
    {TEXT("{\"optim\": {\"weights\": [{\"rate\": -1e999}]}}"),
     "optim.weights.0.rate: the number does not fit"},
    // Strings.
    {TEXT("\"\\ud800\""), "line 1, column 2: not valid JSON here"},
    {TEXT("\"\\q\""), "line 1, column 2: not valid JSON here"},
    {TEXT("[\"a\\u0000b\"]"), "line 1, column 4: a zero byte in a string"},
    {TEXT("{\"a\\\\\": \"\\\\\\u0000\"}"), "line 1, column 12: a zero byte in a string"},
    // Zero bytes and text after the end.
    {TEXT("[1,\n\0 2]"), "line 2, column 1: a zero byte"},
    {TEXT("{\"a\": \"\0\"}"), "line 1, column 8: a zero byte"},
    {TEXT("{}\0"), "line 1, column 3: a zero byte"},
    {TEXT("{} {}"), "line 1, column 4: text after the end of the JSON"},
    {TEXT("{}\n\n  x"), "line 3, column 3: text after the end of the JSON"},
    {TEXT("1,2"), "line 1, column 2: text after the end of the JSON"},
    {TEXT("1.5.5"), "line 1, column 4: text after the end of the JSON"},
    {TEXT("truex"), "line 1, column 5: text after the end of the JSON"},
    // Keys given twice.
    {TEXT("{\"a\": 1, \"b\": 2, \"a\": 1}"), "a: given twice"},
    {TEXT("{\"model\": [1, {\"linear\": {\"out\": 1, \"init\": 2, \"out\": 3}}]}"),
     "model.1.linear.out: given twice"},
    {TEXT("[[{\"a\": {}, \"a\": []}]]"), "0.0.a: given twice"},
    {TEXT("{\"a\": 1, \"\\u0061\": 2}"), "a: given twice"},
};

static void bad_texts_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(bad_texts); i++) {
        struct err e = {""};
        struct json *root = json_parse_new(bad_texts[i].text, bad_texts[i].length, &e);
        if (root) fail_msg("%s: taken for valid", bad_texts[i].text);
        assert_string_equal(e.text, bad_texts[i].message);
    }
}

// A list of lists of lists ...
static char *nested_new(size_t depth) {
    char *text = mem_new(2 * depth + 1, 1);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return text;
}

static void nesting_has_a_limit(void **state) {
    (void)state;
    static const size_t bad[] = {66, 500, 100000};
    char *text = nested_new(65); // the root is at depth 0
    json_free(json_of(text));
    mem_free(text);
    for (int i = 0; i < 3; i++) {
        struct err e = {""};
        text = nested_new(bad[i]);
        assert_null(json_parse_new(text, 2 * bad[i], &e));
        if (bad[i] < 1000)
            assert_non_null(strstr(e.text, ".0: nested deeper than 64"));
        else // the library has its own limit, to save the stack
            assert_string_equal(e.text + strlen(e.text) - strlen(": not valid JSON here"),
                                ": not valid JSON here");
        mem_free(text);
    }
}

// Every beginning of a valid text, in memory that ends where the text does.
static void cut_texts_are_refused(void **state) {
    (void)state;
    static const char whole[] =
        "{\"1\": 1, \"b\": [true, false, null, -1.5e3, \"\\u00e9\\n\\\"\"], \"c\": {}}";
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        struct err e = {""};
        char *text = malloc(length + 1);
        memcpy(text, whole, length);
        text[length] = 0;
        if (json_parse_new(text, length, &e)) fail_msg("%s: taken for valid", text);
        assert_memory_equal(e.text, "line 1, column ", 15);
        free(text);
    }
    json_free(json_of(whole));
}

static void values_are_read(void **state) {
    (void)state;
    struct json *root =
        json_of(" {\"n\": null, \"t\": true, \"f\": false, \"i\": -12, \"r\": 2.5e-3,\n"
                "\"s\": \"\\u00e9 \\\"\\\\ \\n\", \"l\": [1, [2]], \"o\": {\"x\": 1}} \r\n\t");
    static const struct {
        const char *key;
        enum json_type type;
        const char *type_name;
        int count;
    } rows[] = {
        {"n", JSON_NULL, "null", 0},          {"t", JSON_BOOL, "true or false", 0},
        {"f", JSON_BOOL, "true or false", 0}, {"i", JSON_NUMBER, "a number", 0},
        {"r", JSON_NUMBER, "a number", 0},    {"s", JSON_STRING, "a string", 0},
        {"l", JSON_ARRAY, "a list", 2},       {"o", JSON_OBJECT, "an object", 1},
    };
    assert_int_equal(json_count(root), COUNT(rows));
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct json *node = json_find(root, rows[i].key);
        assert_ptr_equal(node, json_item(root, (int)i));
        assert_string_equal(json_key(node), rows[i].key);
        assert_int_equal(json_type(node), rows[i].type);
        assert_string_equal(json_type_name(node), rows[i].type_name);
        assert_int_equal(json_count(node), rows[i].count);
    }
    assert_true(json_number(json_find(root, "t")) == 1 && json_number(json_find(root, "f")) == 0);
    assert_true(json_number(json_find(root, "i")) == -12 && json_number(json_find(root, "r")) == 2.5e-3);
    assert_string_equal(json_string(json_find(root, "s")), "\xc3\xa9 \"\\ \n");
    assert_string_equal(json_key(json_item(json_find(root, "l"), 1)), "");
    json_free(root);
    json_free(NULL);
}

static void keys_are_case_sensitive(void **state) {
    (void)state;
    struct err e;
    struct json *root = json_of("{\"Rate\": 1, \"rate\": 2}");
    assert_true(json_number(json_find(root, "Rate")) == 1);
    assert_true(json_number(json_find(root, "rate")) == 2);
    assert_true(json_number(json_at(root, "rate")) == 2);
    assert_null(json_find(root, "RATE"));
    assert_null(json_at(root, "rATE"));
    assert_null(json_find(NULL, "rate"));
    assert_int_equal(json_override(root, "rate=3", &e), 0);
    assert_int_equal(json_override(root, "RATE=4", &e), 0);
    char *text = json_print_new(root, false);
    assert_string_equal(text, "{\"Rate\":1,\"rate\":3,\"RATE\":4}");
    mem_free(text);
    json_free(root);
}

static void paths(void **state) {
    (void)state;
    struct json *root = json_of("{\"a\": [10, {\"b\": 11}], \"c\": {\"0\": 12}, \"\": 13}");
    static const struct {
        const char *path;
        double wanted; // 0: there is no such node
    } rows[] = {
        {"a.0", 10}, {"a.1.b", 11}, {"c.0", 12}, {"a.2", 0},   {"a.-1", 0}, {"a.1x", 0},
        {"a.x", 0},  {"a.1.c", 0},  {"b", 0},    {"a.0.x", 0}, {"c..0", 0}, {"a.99999999999999999999", 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct json *node = json_at(root, rows[i].path);
        if ((node != NULL) != (rows[i].wanted != 0)) fail_msg("json_at(%s)", rows[i].path);
        if (node) assert_true(json_number(node) == rows[i].wanted);
    }
    assert_ptr_equal(json_at(root, ""), root);
    json_free(root);
    char path[JSON_PATH], key[300];
    json_path(path, "", "model", 7);
    assert_string_equal(path, "model");
    json_path(path, "model", NULL, 7);
    assert_string_equal(path, "model.7");
    json_path(path, "model.7", "linear", 0);
    assert_string_equal(path, "model.7.linear");
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = 0;
    json_path(path, key, key, 0);
    assert_true(strlen(path) < sizeof path);
}

static void files_are_loaded(void **state) {
    struct err e;
    char path[100], wanted[200];
    snprintf(path, sizeof path, "%s/config.json", (char *)*state);
    assert_int_equal(file_write_text(path, "{\"seed\": 7}\n", &e), 0);
    struct json *root = json_load_new(path, 12, &e);
    assert_non_null(root);
    assert_true(json_number(json_find(root, "seed")) == 7);
    json_free(root);
    assert_null(json_load_new(path, 11, &e));
    snprintf(wanted, sizeof wanted, "%s: 12 bytes, at most 11 are read", path);
    assert_string_equal(e.text, wanted);
    assert_int_equal(file_write_text(path, "{\n\"seed\": }", &e), 0);
    assert_null(json_load_new(path, 1000, &e));
    snprintf(wanted, sizeof wanted, "%s: line 2, column 9: not valid JSON here", path);
    assert_string_equal(e.text, wanted);
}

// --- overrides --------------------------------------------------------------------------------------------

static const char config[] = "{\"train\": {\"epochs\": 40}, \"x\": null, "
                             "\"model\": [\"flatten\", {\"linear\": {\"out\": 10}}], "
                             "\"optim\": {\"weights\": [{\"adam\": {\"rate\": 1}}, \"counter\"], "
                             "\"others\": [{\"adam\": {\"rate\": 2}}]}}";

static void overrides(void **state) {
    (void)state;
    static const struct {
        const char *assignment, *path, *wanted; // the node at path, printed
    } rows[] = {
        {"train.epochs=1", "train.epochs", "1"},
        {"train.epochs= 2 ", "train.epochs", "2"},
        {"train.epochs=1e-3", "train.epochs", "0.001"},
        {"train.epochs=", "train.epochs", "\"\""},
        {"train.epochs=many", "train.epochs", "\"many\""},
        {"train.epochs=\"1\"", "train.epochs", "\"1\""},
        {"train.epochs=true", "train.epochs", "true"},
        {"train.epochs=null", "train.epochs", "null"},
        {"train.epochs=1e999", "train.epochs", "\"1e999\""}, // for the field table to refuse
        {"train.epochs=a=b", "train.epochs", "\"a=b\""},
        {"train.batch=100", "train", "{\"epochs\":40,\"batch\":100}"}, // a new key
        {"seed=5", "seed", "5"},
        {"train={\"a\": [1]}", "train", "{\"a\":[1]}"},
        {"train=[1,", "train", "\"[1,\""},
        {"model.0=relu", "model", "[\"relu\",{\"linear\":{\"out\":10}}]"},
        {"model.1.linear.out=20", "model", "[\"flatten\",{\"linear\":{\"out\":20}}]"},
        {"model.1.linear.bias=false", "model", "[\"flatten\",{\"linear\":{\"out\":10,\"bias\":false}}]"},
        {"model=[]", "model", "[]"},
        {"x=1", "x", "1"},
        // Objects on the way are made; the field tables will refuse those that nobody knows.
        {"tain.epochs=1", "tain", "{\"epochs\":1}"},
        {"train.a.b.c=1", "train", "{\"epochs\":40,\"a\":{\"b\":{\"c\":1}}}"},
        {"optim.weights.1.counter.leak=1", "optim.weights.1", "{\"counter\":{\"leak\":1}}"},
        // The end of a path will do where no other path ends so.
        {"epochs=5", "train.epochs", "5"},
        {"linear.out=5", "model.1.linear.out", "5"},
        {"others.0.adam.rate=5", "optim.others.0.adam.rate", "5"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = {""};
        struct json *root = json_of(config);
        if (json_override(root, rows[i].assignment, &e) != 0) fail_msg("%s: %s", rows[i].assignment, e.text);
        char *text = json_print_new(json_at(root, rows[i].path), false);
        assert_string_equal(text, rows[i].wanted);
        mem_free(text);
        json_free(root);
    }
}

static void bad_overrides(void **state) {
    (void)state;
    static const struct {
        const char *assignment, *message;
    } rows[] = {
        {"train.epochs", "'train.epochs': wanted path.key=value, for example train.epochs=1"},
        {"=1", "'=1': wanted path.key=value, for example train.epochs=1"},
        {"", "'': wanted path.key=value, for example train.epochs=1"},
        {"model.7.linear=1", "model.7.linear=1: there is no 'model.7' in the config"},
        {"model.2=relu", "model.2: the list has 2 items"},
        {"model.-1=relu", "model.-1: the list has 2 items"},
        {"model.linear=relu", "model.linear: the list has 2 items"},
        {"train.epochs.x=1", "train.epochs.x: 'x' is inside a number"},
        {"model.0.out=1", "model.0.out: 'out' is inside a string"},
        {"x.y=1", "x.y: 'y' is inside null"},
        {"train.epochs.x.y=1", "train.epochs.x.y=1: there is no 'train.epochs.x' in the config"},
        {"model.0.out.x=1", "model.0.out.x=1: there is no 'model.0.out' in the config"},
        {"rate=3", "rate: 2 keys end so, such as optim.weights.0.adam.rate; give the whole path"},
        {"0.adam.rate=3",
         "0.adam.rate: 2 keys end so, such as optim.weights.0.adam.rate; give the whole path"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = {""};
        struct json *root = json_of(config), *untouched = json_of(config);
        assert_int_equal(json_override(root, rows[i].assignment, &e), -1);
        assert_string_equal(e.text, rows[i].message);
        assert_true(json_equal(root, untouched));
        json_free(root);
        json_free(untouched);
    }
    char longest[400];
    memset(longest, 'a', sizeof longest - 3);
    strcpy(longest + sizeof longest - 3, "=1");
    struct err e;
    struct json *root = json_of(config);
    assert_int_equal(json_override(root, longest, &e), -1);
    assert_non_null(strstr(e.text, "aaa...': the path is too long"));
    json_free(root);
}

// --- building, printing, comparing ------------------------------------------------------------------------

static void print_reads_back(void **state) {
    (void)state;
    static const double numbers[] = {0,
                                     1,
                                     -1,
                                     0.1,
                                     1.0 / 3,
                                     1e-300,
                                     1.7976931348623157e308,
                                     1e15,
                                     4503599627370497.5,
                                     9007199254740991,
                                     -2147483649.0};
    struct json *root = json_object_new(), *list = json_array_new();
    for (size_t i = 0; i < COUNT(numbers); i++) json_add_number(list, NULL, numbers[i]);
    json_add(root, "numbers", list);
    json_add_string(root, "text", "quote \" backslash \\ line\n tab\t \x01 \xc3\xa9");
    json_add_bool(root, "yes", true);
    json_add_bool(root, "no", false);
    json_add_number(root, "infinite", HUGE_VAL);
    json_add_number(root, "not a number", NAN);
    json_add(root, "empty", json_object_new());
    for (int indented = 0; indented <= 1; indented++) {
        char *text = json_print_new(root, indented);
        struct json *again = json_of(text);
        assert_int_equal(strchr(text, '\n') != NULL, indented);
        assert_true(json_equal(root, again));
        for (size_t i = 0; i < COUNT(numbers); i++) // to the bit
            assert_true(json_number(json_item(json_find(again, "numbers"), (int)i)) == numbers[i]);
        assert_string_equal(json_string(json_find(again, "text")), json_string(json_find(root, "text")));
        assert_int_equal(json_type(json_find(again, "infinite")), JSON_NULL);
        assert_int_equal(json_type(json_find(again, "not a number")), JSON_NULL);
        json_free(again);
        mem_free(text);
    }
    json_free(root);
}

static void copies_are_apart(void **state) {
    (void)state;
    struct err e;
    struct json *root = json_of(config), *copy = json_copy_new(root);
    assert_true(json_equal(root, copy));
    assert_int_equal(json_override(copy, "train.epochs=41", &e), 0);
    assert_false(json_equal(root, copy));
    assert_true(json_number(json_at(root, "train.epochs")) == 40);
    json_free(root);
    json_free(copy);
}

static void differences(void **state) {
    (void)state;
    static const struct {
        const char *a, *b, *path;
    } rows[] = {
        {"{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}", ""}, // the order of keys does not count
        {"{\"a\": [1, 2]}", "{\"a\": [2, 1]}", "a.0"},        // that of items does
        {"{\"a\": 1}", "{\"a\": 2}", "a"},
        {"{\"a\": 1}", "{\"A\": 1}", "a"},
        {"{\"a\": 1}", "{\"a\": \"1\"}", "a"},
        {"{\"a\": 1}", "{\"a\": true}", "a"},
        {"{\"a\": true}", "{\"a\": false}", "a"},
        {"{\"a\": 9007199254740991}", "{\"a\": 9007199254740990}", "a"},
        {"{\"a\": \"x\"}", "{\"a\": \"X\"}", "a"},
        {"{\"a\": null}", "{}", "a"},
        {"{}", "{\"a\": 1}", "a"},
        {"{\"a\": 1}", "{\"a\": 1, \"b\": 1}", "b"},
        {"{\"a\": {}}", "{\"a\": {\"b\": 1}}", "a.b"},
        {"{\"a\": {}}", "{\"a\": []}", "a"},
        {"{\"a\": [1, 2]}", "{\"a\": [1]}", "a.1"},
        {"{\"a\": [1]}", "{\"a\": [1, 2]}", "a.1"},
        {"{\"x\": 1, \"m\": [\"r\", {\"linear\": {\"out\": 3, \"bias\": true}}]}",
         "{\"m\": [\"r\", {\"linear\": {\"bias\": true, \"out\": 4}}], \"x\": 1}", "m.1.linear.out"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char path[JSON_PATH];
        struct json *a = json_of(rows[i].a), *b = json_of(rows[i].b);
        json_difference(path, a, b);
        assert_string_equal(path, rows[i].path);
        assert_int_equal(json_equal(a, b), *path == 0);
        json_difference(path, b, a);
        assert_int_equal(*path == 0, *rows[i].path == 0);
        json_free(a);
        json_free(b);
    }
}

// --- field tables -----------------------------------------------------------------------------------------

struct sample {
    int64_t count, seed;
    double rate;
    bool on;
    const char *name, *note;
    int mode;
    const struct json *extra;
};

static const struct field fields[] = {
    {"count", FIELD_INT, offsetof(struct sample, count), 3, 1, 100, NULL, "how many"},
    {"seed", FIELD_INT, offsetof(struct sample, seed), -1, -0x1p53, 0x1p53, NULL, "of the stream"},
    {"rate", FIELD_REAL, offsetof(struct sample, rate), 0.5, 0, 1, NULL, "how fast"},
    {"on", FIELD_BOOL, offsetof(struct sample, on), 1, 0, 1, NULL, "or off"},
    {"name", FIELD_STRING, offsetof(struct sample, name), 0, 0, 0, "mnist", "what"},
    {"note", FIELD_STRING, offsetof(struct sample, note), 0, 0, 0, NULL, "no default"},
    {"mode", FIELD_CHOICE, offsetof(struct sample, mode), 1, 0, 0, "sign|adam|chain", "which"},
    {"extra", FIELD_NODE, offsetof(struct sample, extra), 0, 0, 0, NULL, "more"},
    FIELD_END};

// Reads `text` at the path "optim.x"; NULL: no node at all.
static int sample_read(struct sample *s, struct json **root, const char *text, struct err *e) {
    *root = text ? json_of(text) : NULL;
    memset(s, 0x5a, sizeof *s);
    return fields_read(s, fields, *root, "optim.x", e);
}

static void defaults_fill_in(void **state) {
    (void)state;
    static const char *const texts[] = {NULL, "{}"};
    for (int i = 0; i < 2; i++) {
        struct err e = {""};
        struct sample s;
        struct json *root;
        assert_int_equal(sample_read(&s, &root, texts[i], &e), 0);
        assert_int_equal(s.count, 3);
        assert_true(s.seed == -1 && s.rate == 0.5 && s.on);
        assert_string_equal(s.name, "mnist");
        assert_null(s.note);
        assert_int_equal(s.mode, 1);
        assert_null(s.extra);
        json_free(root);
    }
}

static void every_type_is_read(void **state) {
    (void)state;
    struct err e = {""};
    struct sample s;
    struct json *root;
    assert_int_equal(sample_read(&s, &root,
                                 "{\"extra\": [1], \"mode\": \"chain\", \"note\": \"n\", \"name\": \"\", "
                                 "\"on\": false, \"rate\": 1, \"seed\": -9007199254740992, \"count\": 1e2}",
                                 &e),
                     0);
    assert_int_equal(s.count, 100);
    assert_true(s.seed == -INT64_C(9007199254740992) && s.rate == 1 && !s.on);
    assert_string_equal(s.name, "");
    assert_string_equal(s.note, "n");
    assert_int_equal(s.mode, 2);
    assert_ptr_equal(s.extra, json_find(root, "extra"));
    json_free(root);
}

#define KNOWN "known: count, seed, rate, on, name, note, mode, extra"

static const struct {
    const char *text, *message;
} bad_fields[] = {
    {"{\"count\": 3.7}", "optim.x.count: wanted a whole number, found 3.7"},
    {"{\"count\": 0}", "optim.x.count: 0 is not in 1 .. 100"},
    {"{\"count\": 101}", "optim.x.count: 101 is not in 1 .. 100"},
    {"{\"count\": -1}", "optim.x.count: -1 is not in 1 .. 100"},
    {"{\"count\": 5e9}", "optim.x.count: 5000000000 is not in 1 .. 100"},
    {"{\"count\": 4294967298}", "optim.x.count: 4294967298 is not in 1 .. 100"}, // 2 in 32 bits
    {"{\"count\": 1e300}", "optim.x.count: 1.0000000000000001e+300 is not in 1 .. 100"},
    {"{\"count\": \"3\"}", "optim.x.count: wanted a whole number, found a string"},
    {"{\"count\": true}", "optim.x.count: wanted a whole number, found true or false"},
    {"{\"count\": null}", "optim.x.count: wanted a whole number, found null"},
    {"{\"count\": [3]}", "optim.x.count: wanted a whole number, found a list"},
    {"{\"count\": {}}", "optim.x.count: wanted a whole number, found an object"},
    {"{\"seed\": 9007199254740994}",
     "optim.x.seed: 9007199254740994 is not in -9007199254740992 .. 9007199254740992"},
    {"{\"rate\": 1.5}", "optim.x.rate: 1.5 is not in 0 .. 1"},
    {"{\"rate\": -1e-9}", "optim.x.rate: -1e-09 is not in 0 .. 1"},
    {"{\"rate\": \"fast\"}", "optim.x.rate: wanted a number, found a string"},
    {"{\"rate\": false}", "optim.x.rate: wanted a number, found true or false"},
    {"{\"rate\": null}", "optim.x.rate: wanted a number, found null"},
    {"{\"on\": 1}", "optim.x.on: wanted true or false, found a number"},
    {"{\"on\": \"true\"}", "optim.x.on: wanted true or false, found a string"},
    {"{\"name\": 7}", "optim.x.name: wanted a string, found a number"},
    {"{\"name\": null}", "optim.x.name: wanted a string, found null"},
    {"{\"mode\": 1}", "optim.x.mode: wanted a string, found a number"},
    {"{\"mode\": \"addam\"}", "optim.x.mode: unknown value 'addam'; did you mean 'adam'?"},
    {"{\"mode\": \"Sign\"}", "optim.x.mode: unknown value 'Sign'; did you mean 'sign'?"},
    {"{\"mode\": \"sign|adam\"}", "optim.x.mode: unknown value 'sign|adam'; known: sign, adam, chain"},
    {"{\"mode\": \"\"}", "optim.x.mode: unknown value ''; known: sign, adam, chain"},
    {"{\"cuont\": 3}", "optim.x: unknown key 'cuont'; did you mean 'count'?"},
    {"{\"Count\": 3}", "optim.x: unknown key 'Count'; did you mean 'count'?"},
    {"{\"count\": 3, \"momentum\": 0.9}", "optim.x: unknown key 'momentum'; " KNOWN},
    {"{\"\": 3}", "optim.x: unknown key ''; " KNOWN},
    {"[]", "optim.x: wanted an object, found a list"},
    {"\"count\"", "optim.x: wanted an object, found a string"},
    {"null", "optim.x: wanted an object, found null"},
};

static void bad_fields_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(bad_fields); i++) {
        struct err e = {""};
        struct sample s;
        struct json *root;
        assert_int_equal(sample_read(&s, &root, bad_fields[i].text, &e), -1);
        assert_string_equal(e.text, bad_fields[i].message);
        json_free(root);
    }
}

// At the root of a config there is no path to name.
static void bad_fields_at_the_root(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"[]", "wanted an object, found a list"},
        {"{\"rat\": 1}", "unknown key 'rat'; did you mean 'rate'?"},
        {"{\"rate\": 2}", "rate: 2 is not in 0 .. 1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = {""};
        struct sample s;
        struct json *root = json_of(rows[i].text);
        assert_int_equal(fields_read(&s, fields, root, "", &e), -1);
        assert_string_equal(e.text, rows[i].message);
        json_free(root);
    }
}

static void whole_numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t wanted;
        const char *message; // NULL: wanted is read
    } rows[] = {
        {"-0", 0, NULL},
        {"9007199254740993", INT64_C(9007199254740992), NULL}, // a double is what JSON has
        {"-9223372036854775808", INT64_MIN, NULL},
        {"9223372036854775807", 0, // 2^63 as a double
         "p: 9.2233720368547758e+18 is not in -9223372036854775808 .. 9223372036854775807"},
        {"-1e19", 0, "p: -1e+19 is not in -9223372036854775808 .. 9223372036854775807"},
        {"0.5", 0, "p: wanted a whole number, found 0.5"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = {""};
        int64_t out = 77;
        struct json *node = json_of(rows[i].text);
        int result = json_read_int(&out, node, INT64_MIN, INT64_MAX, "p", &e);
        assert_string_equal(e.text, rows[i].message ? rows[i].message : "");
        assert_int_equal(result, rows[i].message ? -1 : 0);
        assert_true(out == (rows[i].message ? 77 : rows[i].wanted));
        json_free(node);
    }
}

static void write_reads_back(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{\"count\": 77, \"seed\": 9007199254740991, \"rate\": 0.1, \"on\": false, \"name\": \"a "
        "\\\"b\\\"\", "
        "\"note\": \"n\", \"mode\": \"sign\", \"extra\": {\"x\": [1, null]}}",
        "{\"rate\": 0.30000000000000004, \"mode\": \"chain\"}",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct err e = {""};
        struct sample s, again;
        struct json *root;
        assert_int_equal(sample_read(&s, &root, texts[i], &e), 0);
        struct json *written = fields_write_new(&s, fields);
        char *text = json_print_new(written, true);
        struct json *back;
        assert_int_equal(sample_read(&again, &back, text, &e), 0);
        assert_true(again.count == s.count && again.seed == s.seed && again.rate == s.rate);
        assert_true(again.on == s.on && again.mode == s.mode);
        assert_string_equal(again.name, s.name);
        assert_int_equal(again.note != NULL, s.note != NULL);
        if (s.note) assert_string_equal(again.note, s.note);
        assert_int_equal(again.extra != NULL, s.extra != NULL);
        if (s.extra) assert_true(json_equal(again.extra, s.extra));
        struct json *twice = fields_write_new(&again, fields);
        assert_true(json_equal(twice, written));
        mem_free(text);
        json_free(root), json_free(written), json_free(back), json_free(twice);
    }
}

static void write_names_every_key(void **state) {
    (void)state;
    struct err e = {""};
    struct sample s;
    struct json *root;
    assert_int_equal(sample_read(&s, &root, NULL, &e), 0);
    struct json *written = fields_write_new(&s, fields);
    char *text = json_print_new(written, false);
    assert_string_equal(
        text, "{\"count\":3,\"seed\":-1,\"rate\":0.5,\"on\":true,\"name\":\"mnist\",\"mode\":\"adam\"}");
    mem_free(text);
    json_free(written);
}

static void things_by_name(void **state) {
    (void)state;
    static const struct {
        const char *text, *name;
        bool options;
        const char *message;
    } rows[] = {
        {"\"relu\"", "relu", false, NULL},
        {"{\"linear\": {\"out\": 3}}", "linear", true, NULL},
        {"{\"linear\": null}", "linear", true, NULL}, // the field table will say what it wants
        {"{}", NULL, false,
         "model.0: wanted a name or {\"name\": {options}}, found an object of several keys or none"},
        {"{\"a\": {}, \"b\": {}}", NULL, false,
         "model.0: wanted a name or {\"name\": {options}}, found an object of several keys or none"},
        {"7", NULL, false, "model.0: wanted a name or {\"name\": {options}}, found a number"},
        {"[\"relu\"]", NULL, false, "model.0: wanted a name or {\"name\": {options}}, found a list"},
        {"null", NULL, false, "model.0: wanted a name or {\"name\": {options}}, found null"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = {""};
        const char *name = NULL;
        const struct json *options = NULL;
        struct json *node = json_of(rows[i].text);
        assert_int_equal(json_read_named(&name, &options, node, "model.0", &e), rows[i].message ? -1 : 0);
        assert_string_equal(e.text, rows[i].message ? rows[i].message : "");
        if (rows[i].name) assert_string_equal(name, rows[i].name);
        assert_int_equal(options != NULL, rows[i].options);
        json_free(node);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(cut_texts_are_refused),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(keys_are_case_sensitive),
        cmocka_unit_test(paths),
        IN_FOLDER(files_are_loaded),
        cmocka_unit_test(overrides),
        cmocka_unit_test(bad_overrides),
        cmocka_unit_test(print_reads_back),
        cmocka_unit_test(copies_are_apart),
        cmocka_unit_test(differences),
        cmocka_unit_test(defaults_fill_in),
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(bad_fields_are_refused),
        cmocka_unit_test(bad_fields_at_the_root),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(write_reads_back),
        cmocka_unit_test(write_names_every_key),
        cmocka_unit_test(things_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
