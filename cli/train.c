// tally train: a config in, a run folder out.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/checkpoint.h"
#include "experiments/report.h"
#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"
#include "src/memory.h"

enum { OVERRIDES_LIMIT = 64, FOLDER_LENGTH = 4000 };

static const char help[] =
    "usage: tally train CONFIG [path.key=value ...] [options]\n\n"
    "Trains the network that CONFIG describes and writes a run folder: config.json (every default filled "
    "in),\n"
    "metrics.jsonl (a line per epoch), checkpoint.safetensors, summary.json, weights.png, histogram.json,\n"
    "report.html. When checkpoints are written and which stay: train.checkpoint_..., see 'tally list "
    "config'.\n"
    "path.key=value sets any key of the config; a path that is unique may be cut short.\n\n"
    "  --data DIR    look for data here first (then $TALLY_DATA, then data.folder of the config)\n"
    "  --out DIR     the run folder (default runs/NAME); an earlier run there is kept as DIR.old1 ...\n"
    "  --threads N   default: the processors, at most train.shards; the result does not depend on it\n"
    "  --max-memory BYTES\n"
    "                such as 2G: refuse a run that needs more; default: what the machine has\n"
    "  --resume      go on from the folder's newest checkpoint that is whole, to the same bits as without "
    "the stop\n"
    "  --quiet       say nothing but errors\n"
    "  --json        metrics lines and the summary as JSON on stdout, no progress\n"
    "  --no-report   leave out report.html, which takes a second or two\n"
    "  --help\n\n"
    "examples:\n"
    "  tally train configs/mnist.json\n"
    "  tally train configs/mnist.json train.epochs=5 optim.weights.0.counter.leak=0.05\n"
    "  tally train configs/mnist-counter-only.json bits=8 seed=2 --out runs/eight\n"
    "  tally train configs/mnist.json --resume\n\n"
    "Ctrl-C or SIGTERM writes a checkpoint and ends; --resume goes on from it. A checkpoint that can't be "
    "written is a\n"
    "warning, the run goes on; at its end it is an error. No two runs write into one folder at a time.\n"
    "Exit status: 0 finished, 1 error, 2 wrong usage, 3 diverged, 130 interrupted.";

struct arguments {
    const char *config, *out;
    const char *overrides[OVERRIDES_LIMIT];
    int override_count;
    struct run_options options;
    bool resume, quiet, json, no_report;
};

// EXIT_GOOD, or another status and `done`.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {
        {"data", required_argument, NULL, 'd'},    {"out", required_argument, NULL, 'o'},
        {"threads", required_argument, NULL, 't'}, {"max-memory", required_argument, NULL, 'm'},
        {"resume", no_argument, NULL, 'r'},        {"quiet", no_argument, NULL, 'q'},
        {"json", no_argument, NULL, 'j'},          {"no-report", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 'd':
            a->options.data_folder = optarg;
            break;
        case 'o':
            a->out = optarg;
            break;
        case 't':
            if (!cli_number(&a->options.threads, "train", "--threads", optarg, 1, 1024)) return EXIT_USAGE;
            break;
        case 'm':
            if (!cli_memory(&a->options.max_memory, "train", optarg)) return EXIT_USAGE;
            break;
        case 'r':
            a->resume = true;
            break;
        case 'q':
            a->quiet = true;
            break;
        case 'j':
            a->json = true;
            break;
        case 'n':
            a->no_report = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("train", "unknown option or missing value: %s", argv[optind - 1]);
        }
    for (; optind < argc; optind++) {
        // An '=' after a '/' belongs to a path.
        if (argv[optind][strcspn(argv[optind], "/=")] == '=') {
            if (a->override_count == OVERRIDES_LIMIT)
                return cli_usage("train", "more than %d assignments", OVERRIDES_LIMIT);
            a->overrides[a->override_count++] = argv[optind];
        } else if (a->config) {
            return cli_usage("train", "two configs: %s and %s", a->config, argv[optind]);
        } else {
            a->config = argv[optind];
        }
    }
    if (!a->config) return cli_usage("train", "no config given");
    *done = false;
    return EXIT_GOOD;
}

// Makes the folder; an earlier run in it is moved aside, nothing is lost.
static int folder_prepare(struct lock *lock, const char *folder, bool quiet, struct err *e) {
    if (cli_lock(lock, folder, e) != 0) return -1;
    if (!saved_exists(folder)) return 0;
    char aside[FOLDER_LENGTH + 16];
    int number = 1;
    do snprintf(aside, sizeof aside, "%.*s.old%d", FOLDER_LENGTH, folder, number++);
    while (file_exists(aside));
    if (file_rename(folder, aside, e) != 0)
        return err_set(e, "%.200s: holds a run, which can't be moved to %.200s; choose another --out", folder,
                       aside);
    lock_release(lock, aside);
    if (!quiet) fprintf(stderr, "the earlier run in %s is kept as %s\n", folder, aside);
    return cli_lock(lock, folder, e);
}

static void run_describe(const struct run *r, const char *folder) {
    char text[SHAPE_TEXT], count[4][32];
    fprintf(stderr, "data   %s: %s training, %s validation, %s test samples of %s\n", r->data.type->name,
            log_count(count[0], r->batches.count[PART_TRAIN]),
            log_count(count[1], r->batches.count[PART_VALIDATION]),
            log_count(count[2], r->batches.count[PART_TEST]), shape_text(text, r->data.sample));
    fprintf(stderr, "model  %s parameters:", log_count(count[0], (double)params_trained(r->params)));
    for (int i = 0; i < r->model->count; i++) {
        const struct layer *l = &r->model->layers[i];
        bool reshapes = !shape_equal(l->in, l->out);
        fprintf(stderr, "%s %s%s%s", i ? "," : "", l->type->name, reshapes ? " " : "",
                reshapes ? shape_text(text, l->out) : "");
    }
    fprintf(stderr, "\noptim ");
    for (int list = 0; list < OPTIM_LISTS; list++) {
        fprintf(stderr, "%s", list == OPTIM_WEIGHTS ? " weights:" : "; others:");
        for (int i = 0; i < r->optim->count[list]; i++)
            fprintf(stderr, " %s", r->optim->stages[list][i].type->name);
    }
    fprintf(stderr, "; %.3g bytes of state per weight\n", optim_state_bytes(r->optim, OPTIM_WEIGHTS));
    char memory[MEMORY_TEXT];
    fprintf(stderr, "run    %s, seed %lld, %d thread%s, about %s of memory\n", folder,
            (long long)r->config.seed, r->threads, r->threads == 1 ? "" : "s",
            memory_text(memory, r->memory));
}

static void fallback_say(const struct run *r) {
    if (!r->fell_back || !*r->data_note) return;
    fprintf(stderr, "note: %s\nnote: this run trains on '%s' instead, as the config allows\n", r->data_note,
            r->data.type->name);
}

static void summary_print(const struct json *s, const char *folder, bool reported) {
    char count[2][32];
    const struct json *test = json_find(s, "test_error"), *layers = json_find(s, "per_layer");
    const struct json *loss = json_find(s, "test_loss"), *perplexity = json_find(s, "test_perplexity");
    printf("%s: ", json_string(json_find(s, "status")));
    if (json_type(test) == JSON_NUMBER)
        printf("%s test error %.2f %%, ", json_string(json_find(s, "dataset")), json_number(test));
    else if (json_type(loss) == JSON_NUMBER)
        printf("%s test loss %.4f, ", json_string(json_find(s, "dataset")), json_number(loss));
    if (perplexity && json_type(perplexity) == JSON_NUMBER)
        printf("perplexity %.4g, ", json_number(perplexity));
    printf("density %.4g (%s of %s weights), %.0f samples/s\n", json_number(json_find(s, "density")),
           log_count(count[0], json_number(json_find(s, "nonzero"))),
           log_count(count[1], json_number(json_find(s, "weights"))),
           json_number(json_find(s, "samples_per_second")));
    for (int i = 0; i < json_count(layers); i++) {
        const struct json *l = json_item(layers, i);
        printf("  %-20s %9s weights %9s non-zero  density %.4f\n", json_string(json_find(l, "name")),
               log_count(count[0], json_number(json_find(l, "weights"))),
               log_count(count[1], json_number(json_find(l, "nonzero"))),
               json_number(json_find(l, "density")));
    }
    // A run that diverged has no pictures, and perhaps no checkpoint.
    const char *const files[] = {TRAIN_CHECKPOINT, "weights.png"};
    printf("%s/: summary.json, metrics.jsonl", folder);
    for (int i = 0; i < 2; i++) {
        char path[FOLDER_LENGTH + 64];
        struct err ignored;
        if (file_join(path, sizeof path, folder, files[i], &ignored) == 0 && file_exists(path))
            printf(", %s", files[i]);
    }
    printf("%s\n", reported ? ", report.html" : "");
}

// The checkpoint to go on from: its data set decides which of the config's sets is opened.
static int resume_load(struct run *r, struct config *config, struct arguments *a, struct lock *lock,
                       const char *folder, struct err *e) {
    char path[FOLDER_LENGTH + 64];
    struct safetensors file = {0};
    struct dataset data;
    struct err why;
    int result = file_is_folder(folder) ? cli_lock(lock, folder, e) : 0;
    if (result == 0) result = saved_newest(&file, path, sizeof path, &why, folder, e);
    if (result == 0 && *why.text) fprintf(stderr, "warning: %s; going on from %s instead\n", why.text, path);
    if (result == 0 && (result = checkpoint_data(&a->options.only_set, &data, &file, e)) != 0)
        err_at(e, path);
    if (result == 0) result = run_open(r, config, &a->options, e);
    if (result == 0) result = checkpoint_load(r, &file, path, e);
    if (result == 0 && !a->quiet && !a->json)
        fprintf(stderr, "resume %s: epoch %d of %d, step %d\n", path, (int)r->epoch + 1,
                (int)r->config.train.epochs, (int)r->step);
    safetensors_close(&file);
    return result;
}

// report.html of this run. Its measures are taken here, where the data is open.
static int report(struct run *r, const char *folder, struct err *e) {
    struct measures measures;
    bool drawn = true;
    if (measures_make(&measures, r, folder, e) != 0 || measures_save(&measures, folder, e) != 0) return -1;
    struct results *results = results_new(r->config.name, &folder, 1, NULL, e);
    int result = results ? report_write(results, folder, &drawn, e) : -1;
    results_free(results);
    if (result == 0 && !drawn)
        fprintf(stderr, "note: report.html has no plots: install gnuplot (Debian: gnuplot-nox)\n");
    return result;
}

static int trained(struct run *r, struct arguments *a, struct lock *lock, const char *folder,
                   enum train_status *status, struct err *e) {
    if (!a->resume && folder_prepare(lock, folder, a->quiet || a->json, e) != 0) return -1;
    if (!a->quiet && !a->json) run_describe(r, folder);
    struct train_options options = {
        .folder = folder, .stop = cli_stop_watch(), .quiet = a->quiet, .json = a->json, .lock = lock};
    struct json *summary;
    if (train(r, &options, status, &summary, e) != 0) return -1;
    bool whole = *status == TRAIN_FINISHED || *status == TRAIN_DEAD;
    if (whole && !a->no_report && report(r, folder, e) != 0) {
        json_free(summary);
        return -1;
    }
    if (a->json)
        cli_print_json(summary);
    else if (!a->quiet)
        summary_print(summary, folder, whole && !a->no_report);
    json_free(summary);
    return 0;
}

int verb_train(int argc, char **argv) {
    static const int exits[] = {EXIT_GOOD, EXIT_INTERRUPTED, EXIT_DIVERGED, EXIT_GOOD};
    struct arguments a = {0};
    bool done;
    int exit_status = arguments_read(&a, &done, argc, argv);
    if (done) return exit_status;
    struct err e;
    struct config config = {0};
    struct run run = {0};
    struct lock lock = {-1};
    enum train_status status = TRAIN_FINISHED;
    char folder[FOLDER_LENGTH];
    int result = config_open(&config, a.config, a.overrides, a.override_count, &e);
    if (result == 0) {
        int length =
            snprintf(folder, sizeof folder, "%s%s", a.out ? a.out : "runs/", a.out ? "" : config.name);
        if (length < 0 || length >= FOLDER_LENGTH) result = err_set(&e, "--out: the path is too long");
    }
    if (result == 0)
        result = a.resume ? resume_load(&run, &config, &a, &lock, folder, &e)
                          : run_open(&run, &config, &a.options, &e);
    if (result == 0) fallback_say(&run);
    if (result == 0) result = trained(&run, &a, &lock, folder, &status, &e);
    lock_release(&lock, folder);
    run_close(&run);
    config_close(&config);
    return result == 0 ? exits[status] : cli_fail(&e);
}
