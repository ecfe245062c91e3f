// tally report: a page with tables and plots of finished runs.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/report.h"
#include "src/file.h"

static const char help[] =
    "usage: tally report RUN [RUN ...] [options]\n\n"
    "Writes report.html (one file with tables, plots and pictures, to be opened in a browser), results.csv\n"
    "and results.json of finished runs. Runs of one name are seeds of one variant. The first time a run is\n"
    "measured its data set is needed; the measures are kept in its folder.\n\n"
    "  --out DIR     write there; needed for several runs (one: its own folder)\n"
    "  --data DIR    look for data here first\n"
    "  --threads N\n"
    "  --help\n\n"
    "examples:\n"
    "  tally report runs/mnist\n"
    "  tally report runs/mnist-sgd-* runs/mnist-adam-* --out runs/sgd-or-adam";

// The last part of the folder's path, without the slashes after it.
static void folder_name(char out[RESULTS_NAME], const char *folder) {
    size_t end = strlen(folder);
    while (end > 1 && folder[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && folder[start - 1] != '/') start--;
    snprintf(out, RESULTS_NAME, "%.*s", (int)(end - start < RESULTS_NAME ? end - start : RESULTS_NAME - 1),
             folder + start);
}

static int report(const char *const *folders, int count, const char *out, const struct run_options *options) {
    struct err e;
    char name[RESULTS_NAME];
    bool drawn = false;
    folder_name(name, out);
    struct results *r = results_new(name, folders, count, options, &e);
    if (!r || file_make_folder(out, &e) != 0 || results_save(r, out, &e) != 0 ||
        report_write(r, out, &drawn, &e) != 0) {
        results_free(r);
        return cli_fail(&e);
    }
    results_free(r);
    if (!drawn) fprintf(stderr, "tally: the report has no plots: install gnuplot (Debian: gnuplot-nox)\n");
    printf("%s/report.html\n", out);
    return EXIT_GOOD;
}

int verb_report(int argc, char **argv) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct run_options opened = {0};
    const char *out = NULL;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 'o':
            out = optarg;
            break;
        case 'd':
            opened.data_folder = optarg;
            break;
        case 't':
            if (!cli_number(&opened.threads, "report", "--threads", optarg, 1, 1024)) return EXIT_USAGE;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("report", "unknown option or missing value: %s", argv[optind - 1]);
        }
    int count = argc - optind;
    if (count == 0) return cli_usage("report", "wanted a run folder");
    if (count > 1 && !out) return cli_usage("report", "several runs need --out DIR");
    return report((const char *const *)argv + optind, count, out ? out : argv[optind], &opened);
}
