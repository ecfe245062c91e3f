// Plots by gnuplot. Contracts in gnuplot.h.
#include "experiments/gnuplot.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/file.h"

enum { COLOURS = 10, SHAPES = 4, WIDTH = 480, HEIGHT = 330, NOT_FOUND = 127 };
static const size_t SVG_LIMIT = (size_t)1 << 26;

extern char **environ;

// Each has a contrast of at least 3:1 on the page's light and on its dark ground; shapes change with the colour, so
// that the lines can be told apart without it.
static const char *const colour[COLOURS] = {"#2f7fd6", "#d9570c", "#179a5f", "#c2388f", "#8f7400",
                                            "#8663d6", "#008ea6", "#d63c3c", "#7a808a", "#a3653b"};
static const char *const dash[SHAPES] = {"solid", "(12,4)", "(3,3)", "(12,4,3,4)"};
static const char *const dash_svg[SHAPES] = {"none", "8 3", "2 2", "8 3 2 3"};
static const int mark[SHAPES] = {7, 5, 9, 13}; // gnuplot's filled circle, square, triangle, diamond
static const char *const mark_svg[SHAPES] = {"M14 2a4 4 0 1 0 .01 0z", "M10.5 2.5h7v7h-7z",
                                             "M14 1.5l4.5 8h-9z", "M14 1l5 5-5 5-5-5z"};

// --- the script
// -----------------------------------------------------------------------------------------------------

// Range and tics of a logarithmic axis: 1, 2, 5, 10 ... where they fit, else powers of ten; more on a short axis.
static void log_axis(struct file_stream *f, char axis, double low, double high) {
    double from = low / 1.25, to = high * 1.25;
    static const double step[] = {1, 2, 5, 1.5, 3, 4, 7};
    int steps = to / from > 3000 ? 1 : to / from > 8 ? 3 : 7;
    file_print(f, "set logscale %c\nset %crange [%.9g:%.9g]\nset %ctics (", axis, axis, from, to, axis);
    const char *comma = "";
    for (double power = pow(10, floor(log10(from))); power <= to; power *= 10)
        for (int i = 0; i < steps; i++) {
            double tic = power * step[i];
            if (tic < from || tic > to) continue;
            file_print(f, "%s%.6g", comma, tic);
            comma = ", ";
        }
    file_print(f, ")\n");
}

static void axes_write(struct file_stream *f, const struct plot *p) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < p->count; i++)
        for (int j = 0; j < p->list[i].count; j++) {
            const struct point *at = &p->list[i].points[j];
            double bar = p->log_y ? 0 : at->error, lows[2] = {at->x, at->y - bar},
                   highs[2] = {at->x, at->y + bar};
            for (int a = 0; a < 2; a++) low[a] = fmin(low[a], lows[a]), high[a] = fmax(high[a], highs[a]);
        }
    for (int a = 0; a < 2; a++) {
        char axis = "xy"[a];
        double margin = (high[a] - low[a]) * 0.06;
        if (margin == 0) margin = fmax(fabs(high[a]) * 0.1, 0.1);
        if (a == 0 && p->style == PLOT_LINES && high[a] - low[a] < 8)
            file_print(f, "set xtics 1\n"); // epochs
        if (a ? p->log_y : p->log_x)
            log_axis(f, axis, low[a], high[a]);
        else if (p->style == PLOT_STEPS && a == 1)
            file_print(f, "set yrange [0:%.9g]\n", high[a] + margin);
        else
            file_print(f, "set %crange [%.9g:%.9g]\n", axis, low[a] - margin, high[a] + margin);
    }
}

static int script_write(void *context, struct file_stream *f, struct err *e) {
    (void)e;
    const struct plot *p = context;
    file_print(f,
               "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,13' butt\n"
               "set key off\nset border 3 lw 0.8\nset tics nomirror out scale 0.5\nset format '%%g'\n"
               "set grid lt 1 lw 0.25 lc rgb '#808080'\nset xlabel '%s'\nset ylabel '%s'\n",
               WIDTH, HEIGHT, p->x_title, p->y_title);
    axes_write(f, p);
    for (int i = 0; i < p->count; i++) {
        file_print(f, "$d%d << END\n", i);
        for (int j = 0; j < p->list[i].count; j++)
            file_print(f, "%.9g %.9g %.9g\n", p->list[i].points[j].x, p->list[i].points[j].y,
                       p->list[i].points[j].error);
        file_print(f, "END\n");
    }
    const char *before = "plot ";
    for (int i = 0; i < p->count; i++) {
        const struct series *s = &p->list[i];
        if (s->count == 0) continue;
        const char *c = colour[s->place % COLOURS], *d = dash[s->place % SHAPES];
        if (p->style == PLOT_POINTS)
            file_print(f, "%s$d%d using 1:2:3 with yerrorbars lw 1.6 pt %d ps 0.9 lc rgb '%s'", before, i,
                       mark[s->place % SHAPES], c);
        else if (p->style == PLOT_STEPS)
            file_print(f, "%s$d%d using 1:2 with histeps lw 1.8 dt %s lc rgb '%s'", before, i, d, c);
        else
            file_print(f, "%s$d%d using 1:2 with lines%s lw 1.8 dt %s lc rgb '%s'", before, i,
                       s->count < 2 ? "points" : "", d, c);
        before = ", ";
    }
    file_print(f, "\n");
    return 0;
}

// --- the program
// ----------------------------------------------------------------------------------------------------

// Runs gnuplot, without the user's settings, from one file to another. 0; 1 when it is not there.
static int gnuplot_run(int in, int out, struct err *e) {
    char *arguments[] = {"gnuplot", "-d", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 1, 0);
    int failed = posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed == ENOENT || failed == EACCES || failed == ENOTDIR) return 1;
    if (failed) return err_set(e, "gnuplot: %s", strerror(failed));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return err_set(e, "gnuplot: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND) return 1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(e, "gnuplot: ended with status %d",
                       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}

// --- its SVG
// --------------------------------------------------------------------------------------------------------

struct change {
    const char *from, *to; // '@' is the plot's prefix
};

// Ids become unique in the page, black becomes the text's colour, the font the page's.
static const struct change changes[] = {{" id='", " id='@"},
                                        {" id=\"", " id=\"@"},
                                        {"xlink:href='#", "href='#@"},
                                        {"xlink:href=\"#", "href=\"#@"},
                                        {"url(#", "url(#@"},
                                        {" color=\"black\"", ""},
                                        {" color=\"white\"", ""},
                                        {" font-family=\"sans-serif\"", ""},
                                        {"\"black\"", "\"currentColor\""},
                                        {"'black'", "'currentColor'"},
                                        {"rgb(  0,   0,   0)", "currentColor"}};

static void svg_clean(struct page *page, const char *svg, const char *end, const char *prefix) {
    const size_t count = sizeof changes / sizeof *changes;
    while (svg < end) {
        size_t i = 0;
        while (i < count && strncmp(svg, changes[i].from, strlen(changes[i].from)) != 0) i++;
        const char *title = strncmp(svg, "<title>", 7) == 0 ? strstr(svg, "</title>") : NULL;
        if (title && title < end) { // "gnuplot_plot_1", which a pointing device would show
            svg = title + 8;
        } else if (i == count) {
            page_put(page, svg++, 1);
        } else {
            for (const char *t = changes[i].to; *t; t++)
                if (*t == '@')
                    page_add(page, "%s-", prefix);
                else
                    page_put(page, t, 1);
            svg += strlen(changes[i].from);
        }
    }
}

static int svg_add(struct page *page, const struct plot *p, int out, struct err *e) {
    size_t size;
    char *svg = (char *)file_temporary_read_new(&size, out, SVG_LIMIT, e);
    if (!svg) return -1;
    const char *start = strstr(svg, "<g id=\"gnuplot_canvas\">"),
               *end = start ? strstr(start, "</svg>") : NULL;
    if (end) {
        page_add(page, "<svg class=\"plot\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH,
                 HEIGHT, p->title);
        svg_clean(page, start, end, p->id);
        page_add(page, "</svg>\n");
    }
    mem_free(svg);
    return end ? 0 : err_set(e, "gnuplot: drew no SVG for the %s plot", p->id);
}

int gnuplot_draw(struct page *page, const struct plot *p, bool *drawn, struct err *e) {
    *drawn = false;
    int in = file_temporary(script_write, (void *)p, e), out = in < 0 ? -1 : file_temporary(NULL, NULL, e);
    int result = out < 0 ? -1 : gnuplot_run(in, out, e);
    if (result == 0) {
        result = svg_add(page, p, out, e);
        *drawn = result == 0;
    }
    if (in >= 0) file_close(in);
    if (out >= 0) file_close(out);
    return result < 0 ? -1 : 0;
}

void gnuplot_legend(struct page *page, const struct plot *p) {
    page_add(page, "<ul class=\"key\">\n");
    for (int i = 0; i < p->count; i++) {
        const struct series *s = &p->list[i];
        if (s->count == 0) continue;
        const char *c = colour[s->place % COLOURS];
        page_add(page, "<li><svg width=\"28\" height=\"12\" viewBox=\"0 0 28 12\" aria-hidden=\"true\">");
        if (p->style == PLOT_POINTS)
            page_add(page, "<path fill=\"%s\" d=\"%s\"/>", c, mark_svg[s->place % SHAPES]);
        else
            page_add(page,
                     "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2.5\" stroke-dasharray=\"%s\" d=\"M0 "
                     "6h28\"/>",
                     c, dash_svg[s->place % SHAPES]);
        page_add(page, "</svg><span>");
        page_text(page, s->name);
        page_add(page, "</span></li>\n");
    }
    page_add(page, "</ul>\n");
}
