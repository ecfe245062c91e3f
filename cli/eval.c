// tally eval: the error of a saved run; and its data and outputs as .npy files, for comparing with an exported model.
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "datasets/io/npy.h"
#include "experiments/saved.h"
#include "experiments/train.h"

static const char help[] =
    "usage: tally eval RUN [options]\n\n"
    "Error and loss of a trained run (its folder, or a checkpoint file) on the data set it was trained "
    "on.\n\n"
    "  --split S      test (default), validation or train\n"
    "  --keep SHARE   first prune, once and without retraining: each layer keeps its largest SHARE of\n"
    "                 weights, the last layer twice that share\n"
    "  --logits FILE  write what the model puts out, float32 (samples, classes), as .npy\n"
    "  --inputs FILE  write the samples' pixels, uint8 (samples, channels, height, width); tokens, uint8\n"
    "                 (samples, length); or numbers as they are in the set, float32\n"
    "  --labels FILE  write their labels, uint8 (samples), of a text (samples, length), or the wanted\n"
    "                 numbers, float32; all three in the same order\n"
    "  --data DIR     look for data here first\n"
    "  --threads N\n"
    "  --max-memory BYTES\n"
    "                 such as 2G: refuse to take more; default: what the machine has\n"
    "  --json         one JSON object on stdout\n"
    "  --help\n\n"
    "examples:\n"
    "  tally eval runs/mnist\n"
    "  tally eval runs/mnist --split validation --json\n"
    "  tally eval runs/mnist-sgd --keep 0.1\n"
    "  tally eval runs/mnist --logits logits.npy --inputs inputs.npy --labels labels.npy";

// The files to write; NULL: not wanted.
struct outputs {
    const char *logits, *inputs, *labels;
};

_Static_assert(sizeof(real) == sizeof(float), "logits are written as they are computed");

// An array with a row of this shape for each sample of the part.
static int rows_write(const char *path, const struct run *r, enum part part, enum npy_type type,
                      struct shape row, bool inputs, struct err *e) {
    const struct dataset *d = &r->data;
    size_t count = r->batches.count[part], bytes = shape_size(row) * (type == NPY_U8 ? 1 : sizeof(float)),
           sample;
    uint8_t *rows = mem_new(count, bytes);
    for (size_t i = 0; i < count; i++) {
        const struct split *s = batches_find(&sample, &r->batches, part, i);
        const uint8_t *byte = inputs ? dataset_pixels(d, s, sample) : dataset_labels(d, s, sample);
        const float *number = inputs ? dataset_numbers(d, s, sample) : dataset_values(d, s, sample);
        const void *at = type == NPY_U8 ? (const void *)byte : number;
        memcpy(rows + i * bytes, at, bytes);
    }
    struct shape shape = {row.rank + 1, {(int)count}};
    for (int i = 0; i < row.rank; i++) shape.dim[i + 1] = row.dim[i];
    int result = npy_write(path, type, shape, rows, e);
    mem_free(rows);
    return result;
}

static int samples_write(const struct run *r, enum part part, const struct outputs *out, struct err *e) {
    const struct dataset *d = &r->data;
    enum npy_type type = d->kind == DATA_NUMBERS ? NPY_F32 : NPY_U8;
    if (out->inputs && rows_write(out->inputs, r, part, type, d->sample, true, e) != 0) return -1;
    if (!out->labels) return 0;
    struct shape label = d->targets > 1 ? shape_1(d->targets) : (struct shape){0};
    return rows_write(out->labels, r, part, d->classes ? NPY_U8 : NPY_F32, d->classes ? label : d->target,
                      false, e);
}

// Scores the part and writes what is wanted of it.
static int part_evaluate(struct score *score, struct run *r, enum part part, const struct outputs *out,
                         struct err *e) {
    if (samples_write(r, part, out, e) != 0) return -1;
    if (!out->logits) return *score = run_evaluate(r, part), 0;
    struct shape shape = {r->model->out.rank + 1, {(int)r->batches.count[part]}};
    for (int i = 0; i < r->model->out.rank; i++) shape.dim[i + 1] = r->model->out.dim[i];
    real *logits = mem_new(r->batches.count[part], shape_size(r->model->out) * sizeof *logits);
    *score = run_logits(r, part, logits);
    int result = npy_write(out->logits, NPY_F32, shape, logits, e);
    mem_free(logits);
    return result;
}

static double share(size_t part, size_t all) {
    return all ? (double)part / (double)all : 0;
}

static void score_print(const struct run *r, enum part part, struct score score, bool as_json) {
    size_t weights, nonzero;
    train_density(&weights, &nonzero, r->params);
    if (as_json) {
        struct json *out = json_object_new();
        json_add_string(out, "dataset", r->data.type->name);
        json_add_string(out, "split", part_name(part));
        json_add_number(out, "samples", r->batches.count[part]);
        json_add_number(out, "wrong", score.judged ? (double)score.wrong : NAN);
        json_add_number(out, "error", score_error(score));
        json_add_number(out, "loss", score_loss(score));
        if (r->loss.metric[METRIC_PERPLEXITY])
            json_add_number(out, "perplexity", score_perplexity(&r->loss, score));
        json_add_number(out, "density", share(nonzero, weights));
        cli_print_json(out);
        json_free(out);
        return;
    }
    char count[2][32];
    const char *rows = r->data.targets > 1 ? "positions" : "samples";
    log_count(count[1], (double)score.count);
    printf("%s %s: ", r->data.type->name, part_name(part));
    if (score.judged)
        printf("error %.2f %% (%s of %s %s), loss %.4f", score_error(score),
               log_count(count[0], (double)score.wrong), count[1], rows, score_loss(score));
    else
        printf("loss %.4f (%s %s)", score_loss(score), count[1], rows);
    if (r->loss.metric[METRIC_PERPLEXITY]) printf(", perplexity %.4g", score_perplexity(&r->loss, score));
    printf(", density %.4g\n", share(nonzero, weights));
}

struct arguments {
    const char *folder;
    struct run_options run;
    int part;
    double keep;
    struct outputs out;
    bool json;
};

// EXIT_GOOD, or another status; `done` when there is nothing more to do.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {{"split", required_argument, NULL, 's'},
                                            {"keep", required_argument, NULL, 'k'},
                                            {"logits", required_argument, NULL, 'l'},
                                            {"inputs", required_argument, NULL, 'i'},
                                            {"labels", required_argument, NULL, 'a'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"max-memory", required_argument, NULL, 'm'},
                                            {NULL, 0, NULL, 0}};
    const char *split = "test";
    char *end;
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 's':
            split = optarg;
            break;
        case 'k':
            a->keep = strtod(optarg, &end);
            if (!*optarg || *end || !(a->keep > 0 && a->keep <= 1))
                return cli_usage("eval", "--keep: '%s' is not a share in 0 .. 1", optarg);
            break;
        case 'l':
            a->out.logits = optarg;
            break;
        case 'i':
            a->out.inputs = optarg;
            break;
        case 'a':
            a->out.labels = optarg;
            break;
        case 'd':
            a->run.data_folder = optarg;
            break;
        case 't':
            if (!cli_number(&a->run.threads, "eval", "--threads", optarg, 1, 1024)) return EXIT_USAGE;
            break;
        case 'm':
            if (!cli_memory(&a->run.max_memory, "eval", optarg)) return EXIT_USAGE;
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("eval", "unknown option or missing value: %s", argv[optind - 1]);
        }
    if (optind + 1 != argc) return cli_usage("eval", "wanted one run folder");
    a->folder = argv[optind];
    while (a->part < PARTS && strcmp(part_name((enum part)a->part), split) != 0) a->part++;
    if (a->part == PARTS) return cli_usage("eval", "--split: '%s' is not test, validation or train", split);
    *done = false;
    return EXIT_GOOD;
}

int verb_eval(int argc, char **argv) {
    struct arguments a = {.keep = 1};
    bool done;
    int status = arguments_read(&a, &done, argc, argv);
    if (done) return status;
    enum part part = (enum part)a.part;
    struct err e;
    struct run run;
    struct score score;
    int result = saved_open(&run, a.folder, &a.run, &e);
    if (result == 0 && run.batches.count[part] == 0)
        result = err_set(&e, "%s: the run has no %s samples", a.folder, part_name(part));
    if (result == 0 && a.keep < 1) sparsity_cut_layers(run.params, a.keep, 2);
    if (result == 0) result = part_evaluate(&score, &run, part, &a.out, &e);
    if (result == 0) score_print(&run, part, score, a.json);
    run_close(&run);
    return result == 0 ? EXIT_GOOD : cli_fail(&e);
}
