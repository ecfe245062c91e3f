// tally bench: how fast an exported model runs (bench_model.c), below which density single layers are faster than
// OpenBLAS (bench_layers.c), where the time of training goes (bench_train.c), and what the machine can do
// (bench_machine.c). The command line of all.
#include "cli/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "src/blas.h"

enum {
    BATCH_MAX = 1 << 16,
    SIDE_MAX = 1 << 14,
    THREADS_MAX = 1024,
    WEIGHTS_MAX = 1 << 26,
    LIST_LENGTH = 256
};

static const char help[] =
    "usage: tally bench MODEL [options]\n"
    "       tally bench CONFIG.json [key=value ...] [options]\n"
    "       tally bench --layers [options]\n"
    "       tally bench --machine [--threads N] [--json]\n\n"
    "Speed of a model that 'tally export' wrote, with its sparse and its dense kernels and with the faster "
    "of both\n"
    "for each layer (auto), on one thread; and what the machine can do: OpenBLAS's best sgemm, memory, "
    "cache.\n"
    "With --layers: random single layers of 8-bit counters next to OpenBLAS's dense product, to see below "
    "which\n"
    "density sparse is faster. With --machine: only what the machine can do.\n"
    "With a config: trains for a while as it says, and tells where the time of a step goes: by op, forward "
    "and\n"
    "backward, by stage of the optimiser, and the rest, on the wall's clock.\n\n"
    "  --batch LIST    samples in a call (default 1,64,256; layers: 1,16,64,256)\n"
    "  --seconds S     for each batch size (default 1; layers: for each shape and batch, 2); config: in all, "
    "3\n"
    "  --input SET     images of a data set such as mnist; else random ones, 19 % of the pixels not zero\n"
    "  --data DIR      look for data here first\n"
    "  --shape LIST    layers: IN x OUT (default 784x300,1024x1024,4096x4096)\n"
    "  --density LIST  layers: non-zero / all (default 0.5,0.3,0.2,0.1,0.05,0.02,0.01)\n"
    "  --threads N     config: trains on so many; machine: also products on so many at a time (default 1)\n"
    "  --json          one JSON object on stdout\n"
    "  --help\n\n"
    "Times are processor time of the thread; the sides run in turn, in short runs, and the median is given, "
    "with\n"
    "the fastest and the slowest run. GFLOP/s and GB/s count each weight in use once for each sample, or "
    "each "
    "64\n"
    "samples, also where a zero input spares it. Inputs of layers have no zeros.\n\n"
    "examples:\n"
    "  tally bench mnist.tally\n"
    "  tally bench mnist.tally --batch 1 --input mnist --json\n"
    "  tally bench --layers --shape 1024x1024 --density 0.2,0.1,0.05 --batch 1,64\n"
    "  tally bench configs/mnist.json --threads 2 optim.weights.0.counter.bits=8\n"
    "  tally bench --machine --threads 2";

// --- lists
// -----------------------------------------------------------------------------------------------------------

// Calls `read` with each part of "a,b,c" and its index; false, with a usage message, where it or the list is wrong.
static bool list_read(int *count, struct bench_arguments *a, const char *option, const char *text, int most,
                      bool (*read)(struct bench_arguments *a, int index, const char *word)) {
    char copy[LIST_LENGTH];
    if (strlen(text) >= sizeof copy)
        return cli_usage("bench", "%s: longer than %d characters", option, LIST_LENGTH - 1), false;
    strcpy(copy, text);
    *count = 0;
    for (char *word = copy, *comma; word; word = comma ? comma + 1 : NULL) {
        comma = strchr(word, ',');
        if (comma) *comma = 0;
        if (*count == most) return cli_usage("bench", "%s: more than %d of them", option, most), false;
        if (!read(a, *count, word)) return false;
        ++*count;
    }
    return true;
}

static bool batch_read(struct bench_arguments *a, int index, const char *word) {
    return cli_number(&a->batch[index], "bench", "--batch", word, 1, BATCH_MAX);
}

static bool density_read(struct bench_arguments *a, int index, const char *word) {
    char *end;
    double density = strtod(word, &end);
    a->density[index] = density;
    if (*word && !*end && density > 0 && density <= 1) return true;
    return cli_usage("bench", "--density: '%s' is not a share in 0 .. 1", word), false;
}

static bool shape_read(struct bench_arguments *a, int index, const char *word) {
    char *x, *end = NULL;
    long in = strtol(word, &x, 10), out = *x == 'x' ? strtol(x + 1, &end, 10) : 0;
    if (!end || *end || in < 1 || out < 1 || in > SIDE_MAX || out > SIDE_MAX || in * out > WEIGHTS_MAX)
        return cli_usage("bench", "--shape: '%s' is not INxOUT, each 1 .. %d, at most %d together", word,
                         SIDE_MAX, WEIGHTS_MAX),
               false;
    a->shape[index] = (struct bench_shape){(int)in, (int)out};
    return true;
}

static bool seconds_read(struct bench_arguments *a, const char *word) {
    char *end;
    a->seconds = strtod(word, &end);
    if (*word && !*end && a->seconds > 0 && a->seconds <= 600) return true;
    return cli_usage("bench", "--seconds: '%s' is not a number in 0 .. 600", word), false;
}

// --- the command line
// --------------------------------------------------------------------------------------------

enum mode { MODEL, CONFIG, LAYERS, MACHINE };

static void defaults_fill(struct bench_arguments *a, enum mode mode) {
    static const double seconds[] = {[MODEL] = 1, [CONFIG] = 3, [LAYERS] = 2, [MACHINE] = 1};
    const char *batches = mode == LAYERS ? "1,16,64,256" : "1,64,256";
    if (!a->batches) list_read(&a->batches, a, "--batch", batches, BENCH_LIST, batch_read);
    if (!a->shapes)
        list_read(&a->shapes, a, "--shape", "784x300,1024x1024,4096x4096", BENCH_LIST, shape_read);
    if (!a->densities)
        list_read(&a->densities, a, "--density", "0.5,0.3,0.2,0.1,0.05,0.02,0.01", BENCH_DENSITIES,
                  density_read);
    if (a->seconds == 0) a->seconds = seconds[mode];
    if (a->threads == 0) a->threads = 1;
}

// What goes with a model, with a config, with --layers and with --machine.
static int arguments_check(struct bench_arguments *a, enum mode *mode, int argc, char **argv) {
    bool named = *mode == MODEL && optind < argc;
    size_t length = named ? strlen(argv[optind]) : 0;
    if (length > 5 && strcmp(argv[optind] + length - 5, ".json") == 0) *mode = CONFIG;
    if (*mode > CONFIG && optind != argc)
        return cli_usage("bench", "%s: takes no model, found %s", *mode == LAYERS ? "--layers" : "--machine",
                         argv[optind]);
    if (*mode != MODEL && a->input) return cli_usage("bench", "--input: only with a model");
    if (*mode != LAYERS && (a->shapes || a->densities))
        return cli_usage("bench", "--shape and --density: only with --layers");
    if (a->batches && (*mode == CONFIG || *mode == MACHINE))
        return cli_usage("bench", "--batch: only with a model or --layers");
    if (*mode == MACHINE && a->seconds > 0) return cli_usage("bench", "--seconds: not with --machine");
    if (a->threads && (*mode == MODEL || *mode == LAYERS))
        return cli_usage("bench", "--threads: only with a config or --machine");
    if (*mode == MODEL && optind + 1 != argc)
        return cli_usage("bench", "wanted one model, a config, --layers or --machine");
    a->model = named ? argv[optind] : NULL;
    a->overrides = (const char *const *)argv + optind + 1;
    a->override_count = *mode == CONFIG ? argc - optind - 1 : 0;
    defaults_fill(a, *mode);
    return EXIT_GOOD;
}

static bool mode_set(enum mode *mode, enum mode wanted) {
    if (*mode != MODEL && *mode != wanted)
        return cli_usage("bench", "--layers and --machine: one of them"), false;
    *mode = wanted;
    return true;
}

// EXIT_GOOD, or another status; `done` when there is nothing more to do.
static int arguments_read(struct bench_arguments *a, enum mode *mode, bool *done, int argc, char **argv) {
    static const struct option options[] = {
        {"batch", required_argument, NULL, 'b'},   {"seconds", required_argument, NULL, 's'},
        {"input", required_argument, NULL, 'i'},   {"data", required_argument, NULL, 'd'},
        {"layers", no_argument, NULL, 'l'},        {"shape", required_argument, NULL, 'S'},
        {"density", required_argument, NULL, 'D'}, {"machine", no_argument, NULL, 'm'},
        {"threads", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    bool good = true;
    *mode = MODEL;
    *done = true;
    opterr = 0;
    for (int letter; good && (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 'b':
            good = list_read(&a->batches, a, "--batch", optarg, BENCH_LIST, batch_read);
            break;
        case 's':
            good = seconds_read(a, optarg);
            break;
        case 'i':
            a->input = optarg;
            break;
        case 'd':
            a->data_folder = optarg;
            break;
        case 'l':
        case 'm':
            good = mode_set(mode, letter == 'l' ? LAYERS : MACHINE);
            break;
        case 'S':
            good = list_read(&a->shapes, a, "--shape", optarg, BENCH_LIST, shape_read);
            break;
        case 'D':
            good = list_read(&a->densities, a, "--density", optarg, BENCH_DENSITIES, density_read);
            break;
        case 't':
            good = cli_number(&a->threads, "bench", "--threads", optarg, 1, THREADS_MAX);
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("bench", "unknown option or missing value: %s", argv[optind - 1]);
        }
    int status = good ? arguments_check(a, mode, argc, argv) : EXIT_USAGE;
    *done = status != EXIT_GOOD;
    return status;
}

int verb_bench(int argc, char **argv) {
    static int (*const benches[])(const struct bench_arguments *, struct err *) = {
        [MODEL] = bench_model, [CONFIG] = bench_train, [LAYERS] = bench_layers, [MACHINE] = bench_machine};
    struct bench_arguments a = {0};
    enum mode mode;
    bool done;
    int status = arguments_read(&a, &mode, &done, argc, argv);
    if (done) return status;
    struct err e;
    blas_start();
    return benches[mode](&a, &e) == 0 ? EXIT_GOOD : cli_fail(&e);
}
