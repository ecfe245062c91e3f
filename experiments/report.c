// The report. Contracts in report.h.
#include "experiments/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/gnuplot.h"
#include "experiments/saved.h"
#include "experiments/verdict.h"
#include "src/file.h"

enum { PATH_LENGTH = 4200, PICTURE_LIMIT = 1 << 26, PNG_HEAD = 24, VALUE = 64 };

// The columns of the first table, most important first; the others are in the second.
static const char *const first_columns[] = {"test_error", "density",    "pruned_error_0.1", "gini",
                                            "norm_top_1", "steps_to_3", "entropy_bytes",    "state_bytes"};
enum { FIRST_COLUMNS = sizeof first_columns / sizeof *first_columns };

// --- tables
// ---------------------------------------------------------------------------------------------------------

static bool column_is_first(const struct results *r, const struct column *c) {
    for (int i = 0; i < FIRST_COLUMNS; i++)
        if (results_column(r, first_columns[i]) == c) return true;
    return false;
}

// Columns of which less is better; of the others none is.
static bool column_is_cost(const struct column *c) {
    static const char *const costs[] = {"test_error",   "validation_error", "test_loss",   "validation_loss",
                                        "pruned_error", "pruned_loss",      "density",     "nonzero",
                                        "steps_to",     "entropy_bytes",    "state_bytes", "step_seconds"};
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        if (strncmp(c->key, costs[i], strlen(costs[i])) == 0) return true;
    return false;
}

// As it is shown, so that values that look equal are equally good.
static void mean_print(char out[VALUE], const struct variant *v, const struct column *c) {
    snprintf(out, VALUE, "%.*f", c->digits, results_estimate(v, c).mean);
}

static bool is_best(const struct results *r, const struct variant *v, const struct column *c) {
    char best[VALUE], own[VALUE];
    double lowest = INFINITY;
    int others = 0;
    if (!column_is_cost(c)) return false;
    for (int i = 0; i < r->count; i++) {
        struct estimate x = results_estimate(&r->variants[i], c);
        if (x.n == 0 || !isfinite(x.mean)) continue;
        mean_print(own, &r->variants[i], c);
        if (x.mean < lowest) snprintf(best, sizeof best, "%s", own), lowest = x.mean;
    }
    if (!isfinite(lowest)) return false;
    for (int i = 0; i < r->count; i++) {
        mean_print(own, &r->variants[i], c);
        others += strcmp(own, best) != 0;
    }
    mean_print(own, v, c);
    return others > 0 && strcmp(own, best) == 0; // where all are equal none is marked
}

static void cell_add(struct page *p, const struct results *r, const struct variant *v,
                     const struct column *c) {
    struct estimate x = results_estimate(v, c);
    char mean[VALUE];
    if (x.n == 0 || !isfinite(x.mean)) {
        page_add(p, "<td>–</td>");
        return;
    }
    mean_print(mean, v, c);
    bool best = is_best(r, v, c);
    page_add(p, "<td>%s%s%s", best ? "<strong>" : "", mean, best ? "</strong>" : "");
    if (x.n > 1 && isfinite(x.error)) page_add(p, " <small>± %.*f</small>", c->digits, x.error);
    if (x.n < v->count) page_add(p, " <small>(%d of %d)</small>", x.n, v->count);
    page_add(p, "</td>");
}

static void table_add(struct page *p, const struct results *r, const struct column *const *columns, int count,
                      const char *label) {
    page_add(p,
             "<div class=\"table\" tabindex=\"0\" role=\"region\" aria-label=\"%s\">\n<table>\n<thead><tr>",
             label);
    page_add(p, "<th scope=\"col\">variant</th><th scope=\"col\">runs</th>");
    for (int i = 0; i < count; i++) {
        page_add(p, "<th scope=\"col\">");
        page_text(p, columns[i]->title);
        page_add(p, "</th>");
    }
    page_add(p, "</tr></thead>\n<tbody>\n");
    for (int i = 0; i < r->count; i++) {
        const struct variant *v = &r->variants[i];
        page_add(p, "<tr><th scope=\"row\">");
        page_text(p, v->name);
        page_add(p, "</th><td>%d</td>", v->count);
        for (int j = 0; j < count; j++) cell_add(p, r, v, columns[j]);
        page_add(p, "</tr>\n");
    }
    page_add(p, "</tbody>\n</table>\n</div>\n");
}

// Who wins, for several variants.
static void verdicts_add(struct page *p, const struct results *r) {
    if (r->count < 2) return;
    char text[VERDICTS][VERDICT_TEXT];
    verdicts_make(text, r);
    page_add(p, "<ul>\n");
    for (int i = 0; i < VERDICTS; i++) {
        page_add(p, "<li>");
        page_text(p, text[i]);
        page_add(p, "</li>\n");
    }
    page_add(p, "</ul>\n");
}

static void tables_add(struct page *p, const struct results *r) {
    int count = 0, all = 0;
    for (const struct column *c = results_columns; c->key; c++) all++;
    const struct column **columns = mem_new((size_t)all + FIRST_COLUMNS, sizeof *columns);
    for (int i = 0; i < FIRST_COLUMNS; i++) columns[count++] = results_column(r, first_columns[i]);
    page_add(p, "<section>\n<h2>Results</h2>\n");
    table_add(p, r, columns, count, "Results");
    page_add(p,
             "<p class=\"soft\">Mean over seeds, ± its standard error.%s A dash: not measured, or never "
             "reached.</p>\n",
             r->count > 1 ? " Bold: the lowest of a column in which less is better." : "");
    verdicts_add(p, r);
    count = 0;
    for (const struct column *c = results_columns; c->key; c++)
        if (!column_is_first(r, c)) columns[count++] = c;
    page_add(p, "<details>\n<summary>All other measures</summary>\n");
    table_add(p, r, columns, count, "All other measures");
    page_add(p, "</details>\n</section>\n");
    mem_free(columns);
}

// --- layers
// ---------------------------------------------------------------------------------------------------------

static void json_cell_add(struct page *p, const struct json *layer, const char *key, int digits) {
    const struct json *value = json_find(layer, key);
    if (value && json_type(value) == JSON_NUMBER && digits >= 0)
        page_add(p, "<td>%.*f</td>", digits, json_number(value));
    else if (value && json_type(value) == JSON_STRING && digits < 0) {
        page_add(p, "<td class=\"word\">");
        page_text(p, json_string(value));
        page_add(p, "</td>");
    } else
        page_add(p, "<td%s>–</td>", digits < 0 ? " class=\"word\"" : "");
}

static int layer_rows_add(struct page *p, const struct variant *v, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, v->runs[0].folder, "summary.json", e) != 0) return -1;
    if (!file_exists(path)) return 0;
    struct json *summary = saved_summary_new(v->runs[0].folder, e);
    if (!summary) return -1;
    const struct json *layers = json_type(summary) == JSON_OBJECT ? json_find(summary, "per_layer") : NULL;
    for (int i = 0; layers && i < json_count(layers); i++) {
        const struct json *layer = json_item(layers, i);
        if (json_type(layer) != JSON_OBJECT) continue;
        page_add(p, "<tr><th scope=\"row\">");
        page_text(p, v->name);
        page_add(p, "</th>");
        json_cell_add(p, layer, "name", -1);
        json_cell_add(p, layer, "weights", 0);
        json_cell_add(p, layer, "nonzero", 0);
        json_cell_add(p, layer, "density", 4);
        json_cell_add(p, layer, "map", -1);
        json_cell_add(p, layer, "bits", 0);
        json_cell_add(p, layer, "largest_counter", 0);
        page_add(p, "</tr>\n");
    }
    json_free(summary);
    return 0;
}

static int layers_add(struct page *p, const struct results *r, struct err *e) {
    struct page rows = {0};
    int result = 0;
    for (int i = 0; i < r->count && result == 0; i++)
        if (r->variants[i].count) result = layer_rows_add(&rows, &r->variants[i], e);
    if (result == 0 && rows.length) {
        page_add(p,
                 "<section>\n<h2>Layer by layer</h2>\n<p class=\"soft\">The first run of each variant.</p>\n"
                 "<details%s>\n<summary>Density and counters of each layer</summary>\n",
                 r->count == 1 ? " open=\"open\"" : "");
        page_add(
            p,
            "<div class=\"table\" tabindex=\"0\" role=\"region\" aria-label=\"Layers\">\n<table>\n<thead><tr>"
            "<th scope=\"col\">variant</th><th scope=\"col\" class=\"word\">layer</th>"
            "<th scope=\"col\">weights</th><th scope=\"col\">non-zero</th><th scope=\"col\">density</th>"
            "<th scope=\"col\" class=\"word\">number system</th><th scope=\"col\">bits</th>"
            "<th scope=\"col\">largest counter</th></tr></thead>\n<tbody>\n");
        page_put(p, rows.text, rows.length);
        page_add(p, "</tbody>\n</table>\n</div>\n</details>\n</section>\n");
    }
    page_free(&rows);
    return result;
}

// --- figures
// --------------------------------------------------------------------------------------------------------

static int figures_add(struct page *page, const struct results *r, bool *drawn, struct err *e) {
    struct page figures = {0}, missing = {0};
    int result = 0;
    *drawn = true;
    for (int kind = 0; kind < PLOT_KINDS && result == 0; kind++) {
        struct plot p;
        bool good = false;
        struct page svg = {0};
        result = plot_make(&p, (enum plot_kind)kind, r, e);
        bool filled = result == 0 && plot_filled(&p);
        if (filled) result = gnuplot_draw(&svg, &p, &good, e);
        if (good) {
            page_add(&figures, "<figure>\n<h3>%s</h3>\n", p.title);
            page_put(&figures, svg.text, svg.length);
            gnuplot_legend(&figures, &p);
            page_add(&figures, "<figcaption>%s</figcaption>\n</figure>\n", p.caption);
        } else if (filled) {
            page_add(&missing, "%s%s", missing.length ? ", " : "", p.title);
            *drawn = false;
        }
        page_free(&svg);
        plot_free(&p);
    }
    if (result == 0 && figures.length + missing.length) page_add(page, "<section>\n<h2>Plots</h2>\n");
    if (result == 0 && missing.length)
        page_add(page,
                 "<p class=\"note\">Plots missing: install gnuplot (Debian: gnuplot-nox) and make the report "
                 "again. Not drawn: %s.</p>\n",
                 missing.text);
    if (result == 0 && figures.length) page_add(page, "<div class=\"figures\">\n%s</div>\n", figures.text);
    if (result == 0 && figures.length + missing.length) page_add(page, "</section>\n");
    page_free(&figures);
    page_free(&missing);
    return result;
}

static int picture_add(struct page *p, const struct variant *v, struct err *e) {
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, v->runs[0].folder, "weights.png", e) != 0) return -1;
    if (!file_exists(path)) return 0;
    size_t size;
    unsigned char *png = file_read_new(&size, path, PICTURE_LIMIT, e);
    if (!png) return -1;
    bool good = size > PNG_HEAD && memcmp(png, signature, sizeof signature) == 0;
    if (good) {
        unsigned side[2];
        for (int i = 0; i < 2; i++) {
            const unsigned char *b = png + 16 + 4 * i;
            side[i] = (unsigned)b[0] << 24 | (unsigned)b[1] << 16 | (unsigned)b[2] << 8 | b[3];
        }
        page_add(p, "<figure>\n<img width=\"%u\" height=\"%u\" alt=\"First-layer weights of ", side[0],
                 side[1]);
        page_text(p, v->name);
        page_add(p, "\" src=\"data:image/png;base64,");
        page_base64(p, png, size);
        page_add(p, "\" />\n<figcaption>");
        page_text(p, v->name);
        page_add(p, ", seed %lld</figcaption>\n</figure>\n", (long long)v->runs[0].seed);
    }
    mem_free(png);
    return good ? 0 : err_set(e, "%s: not a PNG file", path);
}

static int pictures_add(struct page *page, const struct results *r, struct err *e) {
    struct page list = {0};
    int result = 0;
    for (int i = 0; i < r->count && result == 0; i++)
        if (r->variants[i].count) result = picture_add(&list, &r->variants[i], e);
    if (result == 0 && list.length) {
        page_add(
            page,
            "<section>\n<h2>First-layer weights</h2>\n<p class=\"soft\">One tile per hidden unit where the "
            "inputs are pixels, else the matrix itself. Orange is positive, blue negative, dark is exactly "
            "zero; brightness is the cube root of the size.</p>\n<div class=\"figures pictures\">\n");
        page_put(page, list.text, list.length);
        page_add(page, "</div>\n</section>\n");
    }
    page_free(&list);
    return result;
}

// --- the page
// ---------------------------------------------------------------------------------------------------------

int report_write(const struct results *r, const char *folder, bool *drawn, struct err *e) {
    struct page page = {0};
    char path[PATH_LENGTH];
    int runs = 0;
    *drawn = false;
    if (file_join(path, sizeof path, folder, "report.html", e) != 0) return -1;
    for (int i = 0; i < r->count; i++) runs += r->variants[i].count;
    page_begin(&page, r->name);
    page_add(&page, "<header>\n<h1>");
    page_text(&page, r->name);
    page_add(&page, "</h1>\n<p class=\"soft\">Trained on ");
    page_text(&page, r->dataset);
    page_add(&page, ": %d variant%s, %d run%s.</p>\n</header>\n", r->count, r->count == 1 ? "" : "s", runs,
             runs == 1 ? "" : "s");
    tables_add(&page, r);
    int result = figures_add(&page, r, drawn, e);
    if (result == 0) result = layers_add(&page, r, e);
    if (result == 0) result = pictures_add(&page, r, e);
    page_end(&page);
    if (result == 0) result = file_write_bytes(path, page.text, page.length, e);
    page_free(&page);
    return result;
}
