// tally infer: runs an exported model on a picture, an array or a data set.
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "datasets/samples.h"
#include "experiments/log.h"
#include "src/parallel.h"

enum { MEMORY_LIMIT = 1 << 30, BATCH_MAX = 1 << 16, TOP = 3, TELL_SECONDS = 2 };

static const char help[] =
    "usage: tally infer MODEL --input INPUT [options]\n\n"
    "Runs a model that 'tally export' wrote (.tally). INPUT is\n\n"
    "  FILE.png      a picture of the model's size, light on dark as in MNIST: prints its class and the\n"
    "                three most likely ones\n"
    "  FILE.npy      an array (samples, ...) of '|u1', taken as value / 255 (tokens as they are), or '<f4':\n"
    "                prints \"index class probability\" for each sample\n"
    "  DATASET       a name such as mnist or digits, or {\"digits\": {options}}: error on its test images\n\n"
    "  --output FILE  write what the model puts out, float32 (samples, outputs), as .npy\n"
    "  --batch N      samples at a time (default 64)\n"
    "  --kernel K     auto (default: for each layer the faster), sparse or dense; all give the same bits\n"
    "  --invert       turn light and dark round first, for dark-on-light drawings\n"
    "  --data DIR     look for data here first\n"
    "  --json         one JSON object for each line\n"
    "  --help\n\n"
    "Speed is that of the model alone, on one thread.\n\n"
    "examples:\n"
    "  tally export runs/mnist --format tally -o mnist.tally\n"
    "  tally infer mnist.tally --input mnist\n"
    "  tally infer mnist.tally --input digit.png --invert\n"
    "  tally infer mnist.tally --input inputs.npy --output outputs.npy --batch 1 --kernel sparse";

struct arguments {
    const char *model, *input, *output, *data_folder;
    int batch, kernel;
    bool invert, json;
};

// --- the model -------------------------------------------------------------------------------------------

struct runner {
    const char *path;
    unsigned char *bytes; // of the file, in which the model lives
    struct tally_model *model;
    struct shape sample;
    size_t inputs, outputs, batch, scratch_bytes;
    float *x, *y; // [batch][inputs], [batch][outputs]
    void *scratch;
    float level[256]; // what a pixel becomes
    bool softmax;     // the outputs are probabilities
};

static void runner_close(struct runner *r) {
    tally_model_free(r->model);
    mem_free(r->bytes);
    mem_free(r->x);
    mem_free(r->y);
    mem_free(r->scratch);
}

static int buffers_make(struct runner *r, struct err *e) {
    size_t numbers = r->inputs + r->outputs, bytes;
    r->scratch_bytes = tally_scratch_bytes(r->model, r->batch);
    if (!size_mul(&bytes, r->batch, numbers * sizeof *r->x) || bytes > MEMORY_LIMIT ||
        r->scratch_bytes > MEMORY_LIMIT - bytes)
        return err_set(e, "%.300s: batches of %zu samples want more than %d MB; lower --batch", r->path,
                       r->batch, MEMORY_LIMIT >> 20);
    r->x = mem_new(r->batch, r->inputs * sizeof *r->x);
    r->y = mem_new(r->batch, r->outputs * sizeof *r->y);
    r->scratch = mem_new(r->scratch_bytes + 1, 1);
    return 0;
}

// Close with runner_close, also after a failure.
static int runner_open(struct runner *r, const struct arguments *a, struct err *e) {
    size_t size, dim[4];
    *r = (struct runner){.path = a->model, .batch = (size_t)a->batch};
    r->bytes = engine_bytes_new(&size, a->model, e);
    if (!r->bytes) return -1;
    if (engine_load(&r->model, r->bytes, size, a->model, (enum tally_kernel)a->kernel, e) != 0) return -1;
    r->sample.rank = (int)tally_model_shape(r->model, dim);
    for (int i = 0; i < r->sample.rank; i++) r->sample.dim[i] = (int)dim[i];
    r->inputs = tally_model_inputs(r->model);
    r->outputs = tally_model_outputs(r->model);
    r->softmax = strcmp(tally_model_layer(r->model, tally_model_layers(r->model) - 1).kind, "softmax") == 0;
    bool tokens = strcmp(tally_model_layer(r->model, 0).kind, "embedding") == 0;
    for (int v = 0; v < 256; v++) r->level[v] = (float)(a->invert ? 255 - v : v) / (tokens ? 1 : 255.0f);
    return buffers_make(r, e);
}

// --- results ---------------------------------------------------------------------------------------------

static size_t best_of(const float *y, size_t outputs) {
    size_t best = 0;
    for (size_t j = 1; j < outputs; j++) best = y[j] > y[best] ? j : best;
    return best;
}

// The classes of the largest outputs, largest first, of equal ones the first; returns how many, TOP unless there are fewer.
static size_t top_find(size_t top[TOP], const float *y, size_t outputs) {
    size_t count = 0;
    for (size_t k = 0; k < outputs; k++) {
        size_t at = count;
        while (at > 0 && y[k] > y[top[at - 1]]) at--;
        if (at == TOP) continue;
        if (count < TOP) count++;
        for (size_t i = count - 1; i > at; i--) top[i] = top[i - 1];
        top[at] = k;
    }
    return count;
}

// The output itself where the model ends with a softmax, else what a softmax makes of it.
static double probability_of(const struct runner *r, const float *y, size_t k, size_t best) {
    if (r->softmax) return y[k];
    double sum = 0;
    for (size_t j = 0; j < r->outputs; j++) sum += exp((double)y[j] - (double)y[best]);
    return exp((double)y[k] - (double)y[best]) / sum;
}

static void picture_print(const struct runner *r, const struct arguments *a, const float *y) {
    size_t top[TOP] = {0}, count = top_find(top, y, r->outputs);
    struct json *out = json_object_new(), *list = json_array_new();
    json_add_string(out, "input", a->input);
    json_add_number(out, "class", (double)top[0]);
    json_add(out, "top", list);
    if (!a->json) printf("%s: %zu\n  class  probability\n", a->input, top[0]);
    for (size_t i = 0; i < count; i++) {
        double probability = probability_of(r, y, top[i], top[0]);
        struct json *item = json_object_new();
        json_add_number(item, "class", (double)top[i]);
        json_add_number(item, "probability", probability);
        json_add(list, NULL, item);
        if (!a->json) printf("  %5zu  %11.4f\n", top[i], probability);
    }
    if (a->json) cli_print_json(out);
    json_free(out);
}

static void line_print(const struct arguments *a, size_t index, size_t class, double probability) {
    if (!a->json) {
        printf("%zu %zu %.4f\n", index, class, probability);
        return;
    }
    struct json *out = json_object_new();
    json_add_number(out, "index", (double)index);
    json_add_number(out, "class", (double)class);
    json_add_number(out, "probability", probability);
    cli_print_json(out);
    json_free(out);
}

struct totals {
    size_t wrong;
    double seconds; // of the model
};

static void json_print(const struct runner *r, const struct samples *s, const struct arguments *a,
                       const struct totals *t) {
    struct json *out = json_object_new();
    json_add_string(out, "model", a->model);
    json_add_string(out, s->labels ? "dataset" : "input", s->labels ? s->data.type->name : a->input);
    if (s->labels) json_add_string(out, "split", "test");
    json_add_number(out, "samples", (double)s->count);
    if (s->labels) json_add_number(out, "wrong", (double)t->wrong);
    if (s->labels) json_add_number(out, "error", 100.0 * (double)t->wrong / (double)s->count);
    if (a->output) json_add_string(out, "output", a->output);
    json_add_number(out, "weights", (double)tally_model_weights(r->model));
    json_add_number(out, "nonzero", (double)tally_model_nonzero(r->model));
    json_add_string(out, "kernel", engine_kernels[a->kernel]);
    json_add_string(out, "instructions", tally_model_instructions(r->model));
    json_add_number(out, "batch", a->batch);
    json_add_number(out, "seconds", t->seconds);
    json_add_number(out, "samples_per_second", (double)s->count / t->seconds);
    cli_print_json(out);
    json_free(out);
}

static void summary_print(const struct runner *r, const struct samples *s, const struct arguments *a,
                          const struct totals *t) {
    if (a->json) return json_print(r, s, a, t);
    char count[3][32];
    log_count(count[0], (double)s->count);
    if (s->labels)
        printf("%s test: error %.2f %% (%s of %s samples)", s->data.type->name,
               100.0 * (double)t->wrong / (double)s->count, log_count(count[1], (double)t->wrong), count[0]);
    else
        printf("%s: %s samples", a->input, count[0]);
    printf(", %s samples/s (batch %d, kernel %s, %s)\n", log_count(count[2], (double)s->count / t->seconds),
           a->batch, engine_kernels[a->kernel], tally_model_instructions(r->model));
    if (a->output) printf("%s: (%zu, %zu)\n", a->output, s->count, r->outputs);
}

// --- running ---------------------------------------------------------------------------------------------

// Classes of samples first .. first+count-1, whose outputs are y: counted, and printed where lines are wanted.
static void batch_take(struct totals *t, const struct runner *r, const struct samples *s,
                       const struct arguments *a, const float *y, size_t first, size_t count) {
    for (size_t i = 0; i < count; i++, y += r->outputs) {
        size_t best = best_of(y, r->outputs);
        if (s->labels) t->wrong += best != s->labels[first + i];
        if (s->kind == SAMPLES_PNG) picture_print(r, a, y);
        if (s->kind == SAMPLES_NPY && !a->output)
            line_print(a, first + i, best, probability_of(r, y, best, best));
    }
}

// `all` gets the outputs of every sample, or is NULL.
static int samples_run(struct totals *t, float *all, struct runner *r, const struct samples *s,
                       const struct arguments *a, struct err *e) {
    struct log log;
    struct tally_error error;
    char text[2][32];
    log_open(&log, false);
    log.last = log.start;
    for (size_t first = 0; first < s->count; first += r->batch) {
        size_t count = s->count - first < r->batch ? s->count - first : r->batch;
        for (size_t i = 0; s->bytes && i < count * r->inputs; i++)
            r->x[i] = r->level[s->bytes[first * r->inputs + i]];
        const float *x = s->bytes ? r->x : s->floats + first * r->inputs;
        float *y = all ? all + first * r->outputs : r->y;
        double begin = log_seconds();
        if (tally_run(r->model, x, count, y, r->scratch, r->scratch_bytes, &error) != TALLY_OK)
            return err_set(e, "%.300s: %s", r->path, error.text);
        double now = log_seconds();
        t->seconds += now - begin;
        batch_take(t, r, s, a, y, first, count);
        if (now - log.last < TELL_SECONDS) continue;
        log.last = now;
        log_line(&log, "%s of %s samples", log_count(text[0], (double)(first + count)),
                 log_count(text[1], (double)s->count));
    }
    return 0;
}

// What the model can do with; the other checks are samples_open's.
static int samples_check(const struct runner *r, const struct samples *s, const struct arguments *a,
                         struct err *e) {
    if (s->floats && a->invert)
        return err_set(e, "--invert: the samples of %.300s are '<f4' and taken as they are", a->input);
    if (s->labels && (size_t)s->data.classes != r->outputs)
        return err_set(e, "%s: %d classes, the model has %zu outputs", s->data.type->name, s->data.classes,
                       r->outputs);
    return 0;
}

static int input_infer(struct runner *r, const struct arguments *a, struct err *e) {
    struct samples s;
    struct totals t = {0};
    float *all = NULL;
    size_t numbers;
    struct data_source source = {.folder = {a->data_folder, getenv("TALLY_DATA"), "data"},
                                 .threads = parallel_processors()};
    int result = samples_open(&s, a->input, r->sample, &source, e);
    if (result == 0) result = samples_check(r, &s, a, e);
    if (result == 0 && a->output) {
        if (size_mul(&numbers, s.count, r->outputs) && numbers <= MEMORY_LIMIT / sizeof *all)
            all = mem_new(numbers, sizeof *all);
        else
            result = err_set(e, "--output: %zu samples of %zu outputs are more than %d MB", s.count,
                             r->outputs, MEMORY_LIMIT >> 20);
    }
    if (result == 0) result = samples_run(&t, all, r, &s, a, e);
    if (result == 0 && a->output)
        result = npy_write(a->output, NPY_F32, shape_2((int)s.count, (int)r->outputs), all, e);
    if (result == 0 && (s.kind == SAMPLES_DATASET || (s.kind == SAMPLES_NPY && a->output)))
        summary_print(r, &s, a, &t);
    mem_free(all);
    samples_close(&s);
    return result;
}

// --- the command line ------------------------------------------------------------------------------------

static int kernel_read(int *kernel, const char *word) {
    for (*kernel = 0; engine_kernels[*kernel]; ++*kernel)
        if (strcmp(engine_kernels[*kernel], word) == 0) return EXIT_GOOD;
    struct err e;
    json_unknown("--kernel", "kernel", word, engine_kernels, &e);
    return cli_usage("infer", "%s", e.text);
}

// EXIT_GOOD, or another status; `done` when there is nothing more to do.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {{"input", required_argument, NULL, 'i'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"batch", required_argument, NULL, 'b'},
                                            {"kernel", required_argument, NULL, 'k'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"invert", no_argument, NULL, 'v'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "hi:o:", options, NULL)) != -1;) switch (letter) {
        case 'i':
            a->input = optarg;
            break;
        case 'o':
            a->output = optarg;
            break;
        case 'b':
            if (!cli_number(&a->batch, "infer", "--batch", optarg, 1, BATCH_MAX)) return EXIT_USAGE;
            break;
        case 'k':
            if (kernel_read(&a->kernel, optarg) != EXIT_GOOD) return EXIT_USAGE;
            break;
        case 'd':
            a->data_folder = optarg;
            break;
        case 'v':
            a->invert = true;
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("infer", "unknown option or missing value: %s", argv[optind - 1]);
        }
    if (optind + 1 != argc) return cli_usage("infer", "wanted one model");
    if (!a->input) return cli_usage("infer", "--input is missing: a .png, a .npy or a data set");
    a->model = argv[optind];
    *done = false;
    return EXIT_GOOD;
}

int verb_infer(int argc, char **argv) {
    struct arguments a = {.batch = 64, .kernel = TALLY_AUTO};
    bool done;
    int status = arguments_read(&a, &done, argc, argv);
    if (done) return status;
    struct err e;
    struct runner runner;
    int result = runner_open(&runner, &a, &e);
    if (result == 0) result = input_infer(&runner, &a, &e);
    runner_close(&runner);
    return result == 0 ? EXIT_GOOD : cli_fail(&e);
}
