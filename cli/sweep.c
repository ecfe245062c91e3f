// tally sweep: one config, several values of some keys, a run for each combination.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/sweep.h"

enum { ASSIGNMENTS_LIMIT = SWEEP_KEYS, FOLDER_LENGTH = 3800 };

static const char help[] =
    "usage: tally sweep CONFIG key=values ... [options]\n\n"
    "Trains CONFIG once for each combination of the values, several runs at a time, and prints a table "
    "sorted by\n"
    "validation error. The test set is not looked at. What was trained before is not trained again; a sweep "
    "that\n"
    "was stopped goes on where it was.\n\n"
    "  key=a,b,c        these values; a single one holds for every run\n"
    "  key=a..b:log:n   n points from a to b, each the same factor from the last\n"
    "  key=a..b:lin:n   n points from a to b, each the same step from the last\n\n"
    "  --trials N    N random draws in place of the grid: from the lists, and anywhere in the ranges (:n may "
    "be\n"
    "                left out; a key of whole numbers wants a list); equal draws are trained once\n"
    "  --seed S      of the draws (default 1); the seed of the training is the config's\n"
    "  --jobs N      runs at a time, each on one thread (default: the processors)\n"
    "  --data DIR    look for data here first\n"
    "  --out DIR     holds a folder for each run, sweep.csv and sweep.json (default runs/sweep-NAME)\n"
    "  --json        the table as one JSON object on stdout\n"
    "  --quiet       say nothing but errors\n"
    "  --help\n\n"
    "examples:\n"
    "  tally sweep configs/mnist.json counter.rate=0.01,0.03,0.1 leak=0.01..0.1:log:3 train.epochs=5\n"
    "  tally sweep configs/mnist.json counter.map=square,exp,pow2 seed=1,2,3\n"
    "  tally sweep configs/mnist.json counter.rate=1e-3..1e-1:log dropout.p=0..0.5:lin --trials 20";

struct arguments {
    const char *config, *out, *data_folder;
    const char *assignments[ASSIGNMENTS_LIMIT];
    int count, trials, seed, jobs;
    bool quiet, json;
};

// Configs and assignments, in any order.
static int words_read(struct arguments *a, int argc, char **argv) {
    for (; optind < argc; optind++) {
        if (strchr(argv[optind], '=')) {
            if (a->count == ASSIGNMENTS_LIMIT)
                return cli_usage("sweep", "more than %d assignments", ASSIGNMENTS_LIMIT);
            a->assignments[a->count++] = argv[optind];
        } else if (a->config) {
            return cli_usage("sweep", "two configs: %s and %s", a->config, argv[optind]);
        } else {
            a->config = argv[optind];
        }
    }
    return a->config ? EXIT_GOOD : cli_usage("sweep", "no config given");
}

// EXIT_GOOD, or another status; `done` when there is nothing more to do.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {{"trials", required_argument, NULL, 'n'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"jobs", required_argument, NULL, 'p'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"out", required_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 'n':
            if (!cli_number(&a->trials, "sweep", "--trials", optarg, 1, SWEEP_RUNS)) return EXIT_USAGE;
            break;
        case 's':
            if (!cli_number(&a->seed, "sweep", "--seed", optarg, 0, 1 << 30)) return EXIT_USAGE;
            break;
        case 'p':
            if (!cli_number(&a->jobs, "sweep", "--jobs", optarg, 1, 1024)) return EXIT_USAGE;
            break;
        case 'd':
            a->data_folder = optarg;
            break;
        case 'o':
            a->out = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'q':
            a->quiet = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("sweep", "unknown option or missing value: %s", argv[optind - 1]);
        }
    int status = words_read(a, argc, argv);
    *done = status != EXIT_GOOD;
    return status;
}

// runs/sweep-NAME, of the config file's name.
static int out_make(char out[FOLDER_LENGTH], const struct arguments *a, struct err *e) {
    const char *slash = strrchr(a->config, '/'), *name = slash ? slash + 1 : a->config;
    size_t cut = strlen(name);
    if (cut > 5 && strcmp(name + cut - 5, ".json") == 0) cut -= 5;
    int length = a->out ? snprintf(out, FOLDER_LENGTH, "%s", a->out)
                        : snprintf(out, FOLDER_LENGTH, "runs/sweep-%.*s", (int)cut, name);
    return length < FOLDER_LENGTH ? 0 : err_set(e, "--out: the path is too long");
}

// After all were trained: one that can't be read back must not pass for one that was not trained.
static int all_done(const struct json *results, struct err *e) {
    const struct json *runs = json_find(results, "runs");
    for (const struct json *run = json_first(runs); run; run = json_next(run))
        if (strcmp(json_string(json_find(run, "status")), "not done") == 0)
            return err_set(e, "%.300s: was trained, but can't be read",
                           json_string(json_find(run, "folder")));
    return 0;
}

// 1 when stopped by a signal. The table is made of what is done, also after a stop or a failure.
static int sweep_train(const struct sweep *s, const struct jobs *jobs, const struct arguments *a,
                       const char *out, struct err *e) {
    char program[4096];
    struct err other;
    struct lock lock;
    if (cli_program(program, e) != 0 || cli_lock(&lock, out, e) != 0) return -1;
    struct jobs_options options = {.program = program,
                                   .data_folder = a->data_folder,
                                   .at_once = a->jobs,
                                   .quiet = a->quiet || a->json,
                                   .stop = cli_stop_watch()};
    int result = jobs_run(jobs, &options, e);
    struct json *results = sweep_results_new(s, jobs);
    if (result == 0) result = all_done(results, e);
    if (sweep_save(results, out, result < 0 ? &other : e) != 0) result = -1;
    if (a->json)
        cli_print_json(results);
    else if (!a->quiet)
        sweep_print(results), printf("%s/: sweep.csv, sweep.json, a folder for each run\n", out);
    fflush(stdout);
    json_free(results);
    lock_release(&lock, out);
    return result;
}

int verb_sweep(int argc, char **argv) {
    struct arguments a = {.seed = 1};
    bool done;
    int status = arguments_read(&a, &done, argc, argv);
    if (done) return status;
    struct err e;
    struct sweep sweep = {0};
    struct jobs jobs = {0};
    char out[FOLDER_LENGTH];
    int result = out_make(out, &a, &e);
    for (int i = 0; i < a.count && result == 0; i++)
        result = sweep_add(&sweep, a.assignments[i], a.trials > 0, &e);
    if (result == 0)
        result = a.trials ? sweep_draw(&sweep, a.trials, (uint64_t)a.seed, &e) : sweep_grid(&sweep, &e);
    if (result == 0) result = sweep_jobs(&jobs, &sweep, a.config, out, &e);
    if (result == 0) result = sweep_train(&sweep, &jobs, &a, out, &e);
    sweep_free(&sweep);
    jobs_free(&jobs);
    if (result > 0) fprintf(stderr, "stopped; the same command goes on where it was\n");
    return result < 0 ? cli_fail(&e) : result > 0 ? EXIT_INTERRUPTED : EXIT_GOOD;
}
