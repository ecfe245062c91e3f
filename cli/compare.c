// tally compare: trains the variants of a compare config, or takes runs that are there, and puts them side by side.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/compare.h"
#include "experiments/report.h"
#include "experiments/saved.h"
#include "experiments/verdict.h"
#include "src/file.h"

enum { ONLY_LIMIT = 64, FOLDER_LENGTH = 3500 };

static const char help[] =
    "usage: tally compare CONFIG [options]\n"
    "       tally compare RUN RUN ... [--out DIR]\n\n"
    "CONFIG names a base config, variants of it and how many seeds; what is not trained yet is trained, as "
    "many runs at\n"
    "a time as there are processors, one thread each. A compare that was stopped goes on where it was. Then "
    "a table, and\n"
    "in the folder results.csv, results.json and report.html. With run folders: the same for runs that are "
    "there; their\n"
    "names are the variants.\n\n"
    "  --only A,B    just these variants\n"
    "  --out DIR     default runs/compare-NAME for a config; for runs, without it, only the table is made\n"
    "  --jobs N      runs at a time\n"
    "  --data DIR    look for data here first\n"
    "  --quiet       no progress\n"
    "  --json        results.json's content on stdout instead of the table\n"
    "  --help\n\n"
    "examples:\n"
    "  tally compare configs/compare/digits.json\n"
    "  tally compare configs/compare/mnist.json --only sgd,counter-square\n"
    "  tally compare runs/mnist runs/mnist-sgd --out runs/two";

struct arguments {
    const char *out, *only[ONLY_LIMIT + 1];
    struct run_options options;
    int at_once;
    bool quiet, json;
};

static bool only_read(struct arguments *a, char *list) {
    int count = 0;
    for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
        if (count == ONLY_LIMIT) return false;
        a->only[count++] = word;
    }
    return count > 0;
}

// EXIT_GOOD, or another status and `done`.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {
        {"only", required_argument, NULL, 'y'}, {"out", required_argument, NULL, 'o'},
        {"jobs", required_argument, NULL, 'n'}, {"data", required_argument, NULL, 'd'},
        {"quiet", no_argument, NULL, 'q'},      {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0}};
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 'y':
            if (!only_read(a, optarg))
                return cli_usage("compare", "--only: wanted names with commas between");
            break;
        case 'o':
            a->out = optarg;
            break;
        case 'n':
            if (!cli_number(&a->at_once, "compare", "--jobs", optarg, 1, 1024)) return EXIT_USAGE;
            break;
        case 'd':
            a->options.data_folder = optarg;
            break;
        case 'q':
            a->quiet = true;
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("compare", "unknown option or missing value: %s", argv[optind - 1]);
        }
    if (optind == argc) return cli_usage("compare", "wanted a compare config or run folders");
    *done = false;
    return EXIT_GOOD;
}

// A run that diverged has nothing to measure: it is left out, and said.
static bool folder_counts(const char *folder) {
    struct err e;
    struct json *summary = saved_summary_new(folder, &e);
    const struct json *status = json_find(summary, "status");
    bool diverged =
        status && json_type(status) == JSON_STRING && strcmp(json_string(status), "diverged") == 0;
    json_free(summary);
    if (diverged) fprintf(stderr, "note: %s diverged and is left out\n", folder);
    return !diverged;
}

// Table, files and page for these folders; out NULL: the table alone.
static int folders_compare(const char *name, const char **folders, int count, const struct arguments *a,
                           const char *out, struct err *e) {
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (folder_counts(folders[i])) folders[kept++] = folders[i];
    if (kept == 0) return err_set(e, "%s: no run to compare", name);
    struct results *results = results_new(name, folders, kept, &a->options, e);
    if (!results) return -1;
    bool drawn = true;
    int result = 0;
    if (out) result = results_save(results, out, e);
    if (out && result == 0) result = report_write(results, out, &drawn, e);
    if (result == 0 && a->json) {
        struct json *tree = results_write_new(results);
        cli_print_json(tree);
        json_free(tree);
    } else if (result == 0) {
        results_print(results);
        char verdicts[VERDICTS][VERDICT_TEXT];
        verdicts_make(verdicts, results);
        putchar('\n');
        for (int i = 0; i < VERDICTS; i++) puts(verdicts[i]);
        if (out)
            printf("%s/: report.html%s, results.csv, results.json\n", out,
                   drawn ? "" : " (without plots: no gnuplot)");
    }
    results_free(results);
    return result;
}

// 1 when stopped by a signal.
static int config_compare(const char *path, const struct arguments *a, struct err *e) {
    char program[4096], name[104], out[FOLDER_LENGTH + 128];
    compare_name(name, path);
    snprintf(out, sizeof out, "%.*s%s", FOLDER_LENGTH, a->out ? a->out : "runs/compare-", a->out ? "" : name);
    struct compare c;
    struct lock lock = {-1};
    int result = compare_open(&c, path, out, a->only, e);
    if (result == 0) result = cli_program(program, e);
    if (result == 0) result = cli_lock(&lock, out, e);
    struct jobs_options options = {.program = program,
                                   .data_folder = a->options.data_folder,
                                   .at_once = a->at_once,
                                   .quiet = a->quiet || a->json,
                                   .stop = cli_stop_watch()};
    if (result == 0) result = jobs_run(&c.jobs, &options, e);
    if (result == 0) {
        const char **folders = mem_new((size_t)c.jobs.count, sizeof *folders);
        for (int i = 0; i < c.jobs.count; i++) folders[i] = c.jobs.list[i].folder;
        result = folders_compare(name, folders, c.jobs.count, a, out, e);
        mem_free(folders);
    }
    lock_release(&lock, out);
    compare_close(&c);
    return result;
}

int verb_compare(int argc, char **argv) {
    struct arguments a = {0};
    bool done;
    int status = arguments_read(&a, &done, argc, argv);
    if (done) return status;
    struct err e;
    const char *first = argv[optind];
    size_t length = strlen(first);
    int result;
    if (length > 5 && strcmp(first + length - 5, ".json") == 0) {
        if (optind + 1 < argc) return cli_usage("compare", "wanted one compare config, or run folders");
        result = config_compare(first, &a, &e);
    } else {
        struct lock lock = {-1};
        result = a.out ? cli_lock(&lock, a.out, &e) : 0;
        if (result == 0)
            result = folders_compare("runs", (const char **)(argv + optind), argc - optind, &a, a.out, &e);
        if (a.out) lock_release(&lock, a.out);
    }
    if (result > 0) fprintf(stderr, "stopped; the same command goes on where it was\n");
    return result > 0 ? EXIT_INTERRUPTED : result == 0 ? EXIT_GOOD : cli_fail(&e);
}
