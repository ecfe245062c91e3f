// Texts as windows: every token where it belongs, parts that share nothing, files and options that are refused; the tales
// read well and depend on the options only.
#include <unistd.h>

#include "datasets/batches.h"
#include "datasets/source.h"
#include "src/file.h"
#include "tests/check.h"

enum { PATH = 300 };

static int text_open(struct dataset *d, const char *options, const char *folder, bool *missing,
                     struct err *e) {
    struct json *node = json_of(options);
    struct data_source source = {.folder = {NULL, folder, NULL}, .threads = 1};
    int result = dataset_open(d, node, "data.set", &source, e);
    if (missing) *missing = source.missing;
    json_free(node);
    return result;
}

static void text_write(const char *folder, const char *name, const char *text, size_t size) {
    char path[PATH];
    struct err e = {""};
    snprintf(path, PATH, "%s/%s", folder, name);
    if (file_write_bytes(path, text, size, &e) != 0) fail_msg("%s", e.text);
}

// Labels are the tokens moved by one; windows of the split begin `step` apart within text[first .. first+length).
static void split_check(const struct dataset *d, const struct split *s, const char *text, size_t first,
                        size_t length, size_t step) {
    size_t context = (size_t)d->sample.dim[0];
    assert_int_equal(s->count, (length - 1 - context) / step + 1);
    for (int i = 0; i < s->count; i++) {
        const uint8_t *tokens = dataset_pixels(d, s, (size_t)i), *labels = dataset_labels(d, s, (size_t)i);
        for (size_t j = 0; j < context; j++) {
            size_t at = (size_t)i * step + j;
            assert_true(at + 1 < length);
            assert_int_equal(d->alphabet[tokens[j]], text[first + at]);
            assert_int_equal(d->alphabet[labels[j]], text[first + at + 1]);
        }
    }
}

static void windows(void **state) {
    enum { SIZE = 1000 };
    char text[SIZE];
    for (int i = 0; i < SIZE; i++) text[i] = "the quick brown fox\n"[(i * i + i / 7) % 20];
    text_write(*state, "t.txt", text, SIZE);
    static const struct {
        const char *options;
        size_t validation, test, step;
    } rows[] = {
        {"{\"text\": {\"file\": \"t.txt\", \"context\": 10}}", 50, 50, 5},
        {"{\"text\": {\"file\": \"t.txt\", \"context\": 7, \"step\": 1, \"validation\": 0.2}}", 200, 50, 1},
        {"{\"text\": {\"file\": \"t.txt\", \"context\": 2, \"test\": 0.1, \"validation\": 0}}", 0, 100, 1},
        {"{\"text\": {\"file\": \"t.txt\", \"context\": 49, \"step\": 2000}}", 50, 50, 2000},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct dataset d;
        struct err e = {""};
        if (text_open(&d, rows[k].options, *state, NULL, &e) != 0) fail_msg("%s", e.text);
        assert_true(d.kind == DATA_TOKENS && d.sample.rank == 1 && d.targets == d.sample.dim[0]);
        assert_int_equal(d.classes, 17); // newline, space and the letters of the sentence
        size_t context = (size_t)d.targets, train = SIZE - rows[k].validation - rows[k].test;
        split_check(&d, &d.train, text, 0, train, rows[k].step);
        if (rows[k].validation)
            split_check(&d, &d.validation, text, train, rows[k].validation, context);
        else
            assert_int_equal(d.validation.count, 0);
        split_check(&d, &d.test, text, train + rows[k].validation, rows[k].test, context);
        struct shape out = dataset_output(&d);
        assert_true(out.rank == 2 && out.dim[0] == d.targets && out.dim[1] == 17);
        dataset_close(&d);
    }
}

// The alphabet is in rising order, and of bytes all 256.
static void alphabets(void **state) {
    static const char text[] = "zebra\xc3\xa9\0zebra";
    struct dataset chars, bytes, other;
    struct err e = {""};
    text_write(*state, "t.txt", text, 5);
    static const char split[] = "\"context\": 2, \"step\": 1, \"validation\": 0, \"test\": 0.4";
    char options[PATH];
    // Five characters leave two for the test, which a window of two is too long for.
    snprintf(options, PATH, "{\"text\": {\"file\": \"t.txt\", %s}}", split);
    assert_int_equal(text_open(&chars, options, *state, NULL, &e), -1);
    dataset_close(&chars);
    text_write(*state, "t.txt", "zebrazebra", 10);
    assert_int_equal(text_open(&chars, options, *state, NULL, &e), 0);
    assert_int_equal(chars.classes, 5);
    assert_memory_equal(chars.alphabet, "aberz", 5);
    text_write(*state, "t.txt", text, sizeof text);
    snprintf(options, PATH, "{\"text\": {\"file\": \"t.txt\", \"unit\": \"bytes\", %s}}", split);
    assert_int_equal(text_open(&bytes, options, *state, NULL, &e), 0);
    assert_int_equal(bytes.classes, 256);
    for (int i = 0; i < 256; i++) assert_int_equal(bytes.alphabet[i], i);
    assert_int_equal(bytes.train.pixels[5], 0xc3);
    text_write(*state, "t.txt", "zebra\xc3\xaa\0zebra", sizeof text); // another text has another checksum
    assert_int_equal(text_open(&other, options, *state, NULL, &e), 0);
    assert_int_not_equal(other.checksum, bytes.checksum);
    dataset_close(&chars);
    // More classes than the alphabet has, which has a question mark of its own.
    text_write(*state, "t.txt", "a?a?a?a?a?", 10);
    snprintf(options, PATH, "{\"text\": {\"file\": \"t.txt\", \"classes\": 4, %s}}", split);
    assert_int_equal(text_open(&chars, options, *state, NULL, &e), 0);
    assert_int_equal(chars.classes, 4);
    assert_memory_equal(chars.alphabet, "?a??", 4);
    assert_int_equal(chars.train.pixels[1], 0);
    dataset_close(&chars);
    dataset_close(&bytes);
    dataset_close(&other);
}

static void refused(void **state) {
    static const struct {
        const char *content;
        size_t size;
        const char *options, *message; // FOLDER stands for the folder
    } rows[] = {
        {"", 0, "", "FOLDER/t.txt: empty, wanted a text"},
        {"aaaaaaaaaaaa", 12, "", "FOLDER/t.txt: the same byte over and over, wanted a text"},
        {"abcdefghijkl", 12, "", "FOLDER/t.txt: the training part has 12 tokens, a window of 64 needs 65"},
        {"abcdefghijkl", 12, ", \"context\": 11",
         "FOLDER/t.txt: the validation part has 0 tokens, a window of 11 needs 12"},
        {"abcdefghijkl", 12, ", \"context\": 5, \"validation\": 0.5",
         "FOLDER/t.txt: the test part has 0 tokens, a window of 5 needs 6"},
        {"na\xc3\xafve", 6, "", "FOLDER/t.txt: byte 2 is 0xc3, which is not ASCII; use \"unit\": \"bytes\""},
        {"abcdefghijkl", 12, ", \"classes\": 11",
         "FOLDER/t.txt: 12 kinds of characters, more than \"classes\": 11"},
        {"abc", 3, ", \"context\": 1", "data.set.text.context: 1 is not in 2 .. 65536"},
        {"abc", 3, ", \"unit\": \"words\"", "data.set.text.unit: unknown value 'words'; known: chars, bytes"},
        {"abc", 3, ", \"test\": 0", "data.set.text.test: 0 is not in 0.001 .. 0.4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char options[PATH], wanted[PATH];
        struct dataset d;
        struct err e = {""};
        text_write(*state, "t.txt", rows[i].content, rows[i].size);
        snprintf(options, PATH, "{\"text\": {\"file\": \"t.txt\"%s}}", rows[i].options);
        assert_int_equal(text_open(&d, options, *state, NULL, &e), -1);
        const char *message = rows[i].message;
        bool in_folder = strncmp(message, "FOLDER", 6) == 0;
        snprintf(wanted, PATH, "%s%s", in_folder ? (char *)*state : "", in_folder ? message + 6 : message);
        assert_string_equal(e.text, wanted);
        dataset_close(&d);
    }
}

// Only a file that is nowhere is a reason for a fallback.
static void missing_files(void **state) {
    struct dataset d;
    struct err e = {""};
    bool missing;
    char wanted[PATH], path[PATH], options[2 * PATH];
    assert_int_equal(text_open(&d, "{\"text\": {}}", *state, &missing, &e), -1);
    snprintf(wanted, PATH,
             "text: tinyshakespeare/input.txt not found in %s (get it: datasets/get tinyshakespeare)",
             (char *)*state);
    assert_string_equal(e.text, wanted);
    assert_true(missing);
    assert_int_equal(text_open(&d, "{\"text\": {\"file\": \"/nowhere/t.txt\"}}", *state, &missing, &e), -1);
    assert_string_equal(e.text, "text: /nowhere/t.txt not found");
    assert_true(missing);
    text_write(*state, "t.txt", "", 0);
    assert_int_equal(text_open(&d, "{\"text\": {\"file\": \"t.txt\"}}", *state, &missing, &e), -1);
    assert_false(missing);
    assert_non_null(getcwd(path, PATH));
    snprintf(options, sizeof options, "{\"text\": {\"file\": \"%.200s/%.100s/t.txt\"}}", path,
             (char *)*state);
    assert_int_equal(text_open(&d, options, NULL, &missing, &e), -1); // found, and empty
    assert_non_null(strstr(e.text, "t.txt: empty, wanted a text"));
}

static void shakespeare(void **state) {
    (void)state;
    const char *folder = getenv("TALLY_DATA");
    struct dataset d;
    struct err e = {""};
    bool missing = true;
    if (folder && text_open(&d, "{\"text\": {}}", folder, &missing, &e) != 0 && !missing)
        fail_msg("%s", e.text);
    if (missing) {
        print_message("skipped: no data\n");
        skip();
    }
    assert_int_equal(d.classes, 65);
    assert_int_equal(d.train.count, (1115394 - 2 * 55769 - 1 - 64) / 32 + 1);
    assert_int_equal(d.test.count, (55769 - 1 - 64) / 64 + 1);
    const uint8_t *first = dataset_pixels(&d, &d.train, 0);
    for (int i = 0; i < 14; i++) assert_int_equal(d.alphabet[first[i]], "First Citizen:"[i]);
    dataset_close(&d);
}

// --- tales -----------------------------------------------------------------------------------------------------

// The training part as text; mem_free it.
static char *tales_new(const char *options, size_t *size) {
    struct dataset d;
    struct err e = {""};
    if (text_open(&d, options, NULL, NULL, &e) != 0) fail_msg("%s", e.text);
    *size = (size_t)d.train.count * d.train.stride; // with a step of one: all but the last window
    char *text = mem_new(*size + 1, 1);
    for (size_t i = 0; i < *size; i++) text[i] = (char)d.alphabet[d.train.pixels[i]];
    dataset_close(&d);
    return text;
}

static void tales_follow_from_options(void **state) {
    (void)state;
    size_t size[4];
    char *text[4] = {tales_new("{\"tales\": {\"length\": 20000, \"step\": 1}}", &size[0]),
                     tales_new("{\"tales\": {\"length\": 20000, \"step\": 1}}", &size[1]),
                     tales_new("{\"tales\": {\"length\": 20000, \"step\": 1, \"seed\": 1}}", &size[2]),
                     tales_new("{\"tales\": {\"length\": 5000, \"step\": 1}}", &size[3])};
    assert_string_equal(text[0], text[1]);
    assert_string_not_equal(text[0], text[2]);
    assert_memory_equal(text[0], text[3], size[3]); // a longer text begins as a shorter one
    static const char beginning[] =
        "Hugo has 6 tickets and Clara has 5. Clara loses 3 tickets. Now Hugo has 6 tickets and Clara has 2. "
        "Who has more? Hugo.\nDavid has 8 ";
    assert_memory_equal(text[0], beginning, strlen(beginning)); // the bytes are for ever
    for (int i = 0; i < 4; i++) mem_free(text[i]);
}

// Reads "NAME has N" at `at`; returns what is behind.
static const char *has_read(const char *at, char name[16], int *number) {
    int used = 0;
    if (sscanf(at, "%15s has %d%n", name, number, &used) != 2) fail_msg("no 'NAME has N' in: %.80s", at);
    return at + used;
}

// One tale: the sums are right, and the answer is.
static void tale_check(const char *tale) {
    char name[2][16], last[2][16], who[16], verb[16], answer[40];
    int have[2], now[2], amount, used;
    const char *at = has_read(tale, name[0], &have[0]);
    at = strstr(at, " and ") + 5;
    at = strchr(has_read(at, name[1], &have[1]), '.') + 2;
    assert_string_not_equal(name[0], name[1]);
    while (strncmp(at, "Now ", 4) != 0) {
        assert_int_equal(sscanf(at, "%15s %15s %d%n", who, verb, &amount, &used), 3);
        int a = strcmp(who, name[1]) == 0;
        assert_string_equal(who, name[a]);
        have[a] += strcmp(verb, "finds") == 0 ? amount : -amount;
        if (strcmp(verb, "gives") == 0) have[!a] += amount;
        assert_true(have[a] >= 0 && amount >= 1);
        at = strchr(at, '.') + 2;
    }
    at = has_read(at + 4, last[0], &now[0]);
    has_read(strstr(at, " and ") + 5, last[1], &now[1]);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(last[i], name[i]);
        assert_int_equal(now[i], have[i]);
    }
    const char *more = strstr(at, "Who has more? ");
    assert_non_null(more);
    snprintf(answer, sizeof answer, "%s.\n", now[0] == now[1] ? "Both have the same" : name[now[1] > now[0]]);
    assert_int_equal(strncmp(more + 14, answer, strlen(answer)), 0);
}

static void tales_add_up(void **state) {
    (void)state;
    size_t size;
    char *text = tales_new("{\"tales\": {\"length\": 200000, \"step\": 1}}", &size);
    int tales = 0;
    for (const char *at = text, *end; (end = strchr(at, '\n')); at = end + 1, tales++) tale_check(at);
    assert_true(tales > 1000);
    assert_null(strstr(text, " 1 coins"));
    assert_null(strstr(text, " 2 coin."));
    mem_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(windows),
        IN_FOLDER(alphabets),
        IN_FOLDER(refused),
        IN_FOLDER(missing_files),
        cmocka_unit_test(shakespeare),
        cmocka_unit_test(tales_follow_from_options),
        cmocka_unit_test(tales_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
