// The report: from made-up results and made-up run folders.
#include "tests/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include "datasets/io/png.h"
#include "experiments/report.h"
#include "src/file.h"

static const char EVIL[] = "<script>`id`\"'\\&</td>";

static void put(const char *folder, const char *name, const char *text) {
    char path[512];
    struct err e;
    assert_int_equal(file_join(path, sizeof path, folder, name, &e), 0);
    if (file_write_text(path, text, &e) != 0) fail_msg("%s", e.text);
}

// A run folder as `train` leaves it, without a checkpoint.
static void run_make(const char *folder, const char *layer) {
    char text[4096], path[512];
    struct err e;
    assert_int_equal(file_make_folder(folder, &e), 0);
    size_t length = 0;
    for (int i = 1; i <= 4; i++)
        length += (size_t)snprintf(text + length, sizeof text - length,
                                   "{\"epoch\":%d,\"validation_error\":%g,\"density\":%g,"
                                   "\"density_per_layer\":{\"%s\":%g}}\n",
                                   i, 8.0 / i, 1.0 / i, layer, 1.0 / i);
    put(folder, "metrics.jsonl", text);
    length = (size_t)snprintf(text, sizeof text, "{\"bins\":[");
    for (int i = 0; i <= HISTOGRAM_BINS; i++)
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%g", i ? "," : "", histogram_low(i));
    length += (size_t)snprintf(text + length, sizeof text - length,
                               "],\"layers\":{\"%s\":{\"zeros\":300,\"counts\":[", layer);
    for (int i = 0; i < HISTOGRAM_BINS; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%d", i ? "," : "",
                                   i > 20 && i < 30 ? 10 : 0);
    snprintf(text + length, sizeof text - length, "]}}}");
    put(folder, "histogram.json", text);
    snprintf(text, sizeof text,
             "{\"name\":\"x\",\"dataset\":\"digits\",\"per_layer\":[{\"name\":\"%s\",\"weights\":390,"
             "\"nonzero\":90,\"density\":0.2308}]}",
             layer);
    put(folder, "summary.json", text);
    uint8_t rgb[2 * 3 * 3] = {255, 0, 0, 9};
    assert_int_equal(file_join(path, sizeof path, folder, "weights.png", &e), 0);
    if (png_write(path, 3, 2, 3, rgb, &e) != 0) fail_msg("%s", e.text);
}

struct made {
    struct results results;
    struct variant variants[2];
    struct result_run runs[4];
};

// Two variants of two runs in FOLDER/run0 .. run3; the second variant's name is hostile.
static void results_make(struct made *m, const char *folder) {
    memset(m, 0, sizeof *m);
    for (int i = 0; i < 4; i++) {
        struct result_run *run = &m->runs[i];
        snprintf(run->folder, sizeof run->folder, "%s/run%d", folder, i);
        run_make(run->folder, "<b>`id`");
        run->seed = i % 2 + 1;
        run->measures = (struct measures){.test_error = 2 + 0.5 * i,
                                          .validation_error = NAN,
                                          .weights = 390,
                                          .nonzero = 90,
                                          .density = i < 2 ? 0.1 : 1,
                                          .gini = NAN,
                                          .entropy_bytes = 100,
                                          .state_bytes = 2};
        for (int j = 0; j < MEASURES_CUTS; j++) run->measures.pruned_error[j] = 5 + 10 * j;
        for (int j = 0; j < MEASURES_GOALS; j++) run->measures.steps_to_goal[j] = NAN;
    }
    snprintf(m->variants[0].name, RESULTS_NAME, "plain");
    snprintf(m->variants[1].name, RESULTS_NAME, "%s", EVIL);
    m->variants[0].runs = m->runs, m->variants[0].count = 2;
    m->variants[1].runs = m->runs + 2, m->variants[1].count = 2;
    snprintf(m->results.name, RESULTS_NAME, "%s", EVIL);
    snprintf(m->results.dataset, RESULTS_NAME, "digits");
    m->results.variants = m->variants;
    m->results.count = 2;
}

// The page; free with mem_free.
static char *report_of(const struct results *r, const char *folder, bool *drawn) {
    struct err e = {""};
    char path[512];
    size_t size;
    if (report_write(r, folder, drawn, &e) != 0) fail_msg("%s", e.text);
    assert_int_equal(file_join(path, sizeof path, folder, "report.html", &e), 0);
    char *text = (char *)file_read_new(&size, path, 1 << 26, &e);
    assert_non_null(text);
    return text;
}

// Every tag is closed by its own name, in order; true also says that no attribute is left open.
static bool is_balanced(const char *s) {
    char open[64][32];
    int depth = 0;
    while ((s = strchr(s, '<'))) {
        if (s[1] == '!') {
            s++;
            continue;
        }
        bool closing = s[1] == '/';
        const char *name = s + 1 + closing;
        size_t length = strcspn(name, " \t\n/>");
        const char *end = name + length;
        for (char quote = 0; *end && (quote || *end != '>'); end++) {
            if (!quote && *end == '<') return false;
            if (quote ? *end == quote : *end == '"' || *end == '\'') quote = quote ? 0 : *end;
        }
        if (!*end || length == 0 || length > 31) return false;
        if (closing) {
            if (depth == 0 || strlen(open[depth - 1]) != length ||
                strncmp(open[depth - 1], name, length) != 0)
                return false;
            depth--;
        } else if (end[-1] != '/') {
            if (depth == 64) return false;
            snprintf(open[depth++], sizeof open[0], "%.*s", (int)length, name);
        }
        s = end;
    }
    return depth == 0;
}

static bool have_gnuplot(void) {
    return system("gnuplot --version >/dev/null 2>&1") == 0;
}

static void test_balance_check_can_fail(void **state) {
    (void)state;
    assert_true(is_balanced("<!DOCTYPE html><a x=\"<>\"><b/></a>"));
    assert_false(is_balanced("<a><b></a></b>"));
    assert_false(is_balanced("<a>"));
    assert_false(is_balanced("<a b=\"c></a>"));
}

static void test_page(void **state) {
    static struct made m;
    bool drawn;
    results_make(&m, *state);
    char *page = report_of(&m.results, *state, &drawn);
    assert_int_equal(drawn, have_gnuplot());
    assert_true(is_balanced(page));
    assert_non_null(strstr(page, "<html lang=\"en\">"));
    assert_non_null(strstr(page, "name=\"viewport\""));
    assert_non_null(strstr(page, "prefers-color-scheme"));
    assert_non_null(strstr(page, "<td>–</td>")); // NAN
    assert_null(strstr(page, "nan"));
    assert_non_null(strstr(page, "<strong>2.25</strong> <small>± 0.25</small>"));
    assert_non_null(strstr(page, "alt=\"First-layer weights of plain\""));
    mem_free(page);
}

static void test_names_are_escaped(void **state) {
    static struct made m;
    bool drawn;
    results_make(&m, *state);
    char *page = report_of(&m.results, *state, &drawn);
    assert_null(strstr(page, "<script"));
    assert_null(strchr(page, '`'));
    assert_null(strchr(page, '\\'));
    assert_null(strstr(page, "<b>"));
    assert_non_null(strstr(page, "&#60;script&#62;&#96;id&#96;&#34;&#39;&#92;&#38;&#60;/td&#62;"));
    mem_free(page);
}

static void test_nothing_is_fetched(void **state) {
    static struct made m;
    bool drawn;
    results_make(&m, *state);
    char *page = report_of(&m.results, *state, &drawn);
    assert_null(strstr(page, "http"));
    assert_null(strstr(page, "@import"));
    assert_null(strstr(page, "//")); // also of base64: the made-up picture has none
    for (const char *s = page; (s = strstr(s, "src=")); s++) assert_memory_equal(s, "src=\"data:", 10);
    for (const char *s = page; (s = strstr(s, "url(")); s++) assert_memory_equal(s, "url(#", 5);
    for (const char *s = page; (s = strstr(s, "href=")); s++) assert_int_equal(s[6], '#');
    mem_free(page);
}

static void test_ids_are_unique(void **state) {
    static struct made m;
    bool drawn;
    results_make(&m, *state);
    char *page = report_of(&m.results, *state, &drawn);
    for (const char *s = page; (s = strstr(s, " id=")); s++) {
        char id[80];
        size_t length = strcspn(s + 5, "\"'") + 6; // with both quotes
        assert_in_range(length, 3, sizeof id - 8);
        snprintf(id, sizeof id, "%.*s", (int)length + 4, s);
        if (strstr(s + 1, id)) fail_msg("twice:%s", id);
    }
    mem_free(page);
}

static void test_equal_input_equal_bytes(void **state) {
    static struct made m;
    bool drawn;
    results_make(&m, *state);
    char *one = report_of(&m.results, *state, &drawn), *two = report_of(&m.results, *state, &drawn);
    assert_string_equal(one, two);
    mem_free(one);
    mem_free(two);
}

static void test_single_run_has_layers(void **state) {
    static struct made m;
    bool drawn;
    results_make(&m, *state);
    m.results.count = m.variants[0].count = 1;
    char *page = report_of(&m.results, *state, &drawn);
    assert_true(is_balanced(page));
    assert_non_null(strstr(page, "<td>90</td><td>0.2308</td>"));
    if (drawn) assert_non_null(strstr(page, "&#60;b&#62;&#96;id&#96;, 76.92 % zeros"));
    assert_null(strstr(page, "<strong>"));
    mem_free(page);
}

// Files may hold any number. What no axis can show is left out: tics would never come to its end.
static void test_numbers_off_the_axes(void **state) {
    static const double strange[] = {1.7e308, 1.1e308, 5e-324, -1e308, 1e-300};
    static struct made m;
    bool drawn;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        results_make(&m, *state);
        for (int k = 0; k < 2; k++) {
            m.runs[k].measures.density = strange[i];
            m.runs[k].measures.test_error = strange[i] * (k ? 1 : 0.5);
            m.runs[k].measures.pruned_error[0] = strange[i];
        }
        char *page = report_of(&m.results, *state, &drawn);
        assert_true(is_balanced(page));
        mem_free(page);
    }
}

static void test_no_gnuplot(void **state) {
    static struct made m;
    bool drawn = true;
    char *path = mem_string_new(getenv("PATH") ? getenv("PATH") : "");
    results_make(&m, *state);
    setenv("PATH", "", 1);
    char *page = report_of(&m.results, *state, &drawn);
    setenv("PATH", path, 1);
    assert_false(drawn);
    assert_non_null(strstr(page, "Plots missing: install gnuplot"));
    assert_true(is_balanced(page));
    assert_null(strstr(page, "class=\"plot\""));
    mem_free(page);
    mem_free(path);
}

// A folder with nothing in it gives a page with the tables; a broken file is an error that names it.
static void test_folders(void **state) {
    static const struct {
        const char *name, *text, *message;
    } bad[] = {{"metrics.jsonl", "{\"epoch\":1}\n{", "run0/metrics.jsonl: "},
               {"histogram.json", "{\"bins\":[1]}", "run0/histogram.json: not a histogram of 48 bins"},
               {"histogram.json", "[]", "run0/histogram.json: not a histogram of 48 bins"},
               {"weights.png", "GIF", "run0/weights.png: not a PNG file"}};
    static struct made m;
    bool drawn;
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        results_make(&m, *state);
        put(m.runs[0].folder, bad[i].name, bad[i].text);
        assert_int_equal(report_write(&m.results, *state, &drawn, &e), -1);
        if (!strstr(e.text, bad[i].message)) fail_msg("%s", e.text);
    }
    results_make(&m, *state);
    for (int i = 0; i < 4; i++) snprintf(m.runs[i].folder, RESULTS_FOLDER, "%s/none", (char *)*state);
    char *page = report_of(&m.results, *state, &drawn);
    assert_true(is_balanced(page));
    assert_null(strstr(page, "<img"));
    mem_free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_balance_check_can_fail),
                                       IN_FOLDER(test_page),
                                       IN_FOLDER(test_names_are_escaped),
                                       IN_FOLDER(test_nothing_is_fetched),
                                       IN_FOLDER(test_ids_are_unique),
                                       IN_FOLDER(test_equal_input_equal_bytes),
                                       IN_FOLDER(test_single_run_has_layers),
                                       IN_FOLDER(test_numbers_off_the_axes),
                                       IN_FOLDER(test_no_gnuplot),
                                       IN_FOLDER(test_folders)};
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
