// tally export: a trained run leaves in a format; with a table of what it takes, and its error before and after.
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/export_check.h"
#include "experiments/log.h"
#include "experiments/saved.h"
#include "export/export.h"
#include "src/file.h"

static const char help[] =
    "usage: tally export RUN [options]\n\n"
    "Writes the model of a trained run (its folder, or a checkpoint file) in a format that others read, and "
    "says what each\n"
    "layer takes and what the error was before and is after. The data set must be there: it says how pixels "
    "become numbers.\n\n"
    "  --format F     tally (default), c, onnx, safetensors, npz or mtx; 'tally list formats' tells more\n"
    "  -o, --out OUT  file or, for npz and mtx, folder; default RUN/NAME with the format's ending\n"
    "  --profile P    tally: fast (default, used as it lies) or small (range coded)\n"
    "  --bits N       counters of N bits, 2 .. 16, and biases of 8; says what that costs\n"
    "  --softmax      append a softmax: outputs are probabilities\n"
    "  --dense        tally, onnx: store zeros too\n"
    "  --integer      c: shifts and adds only, for pow2 counters\n"
    "  --self-test    c: add a test vector and a main\n"
    "  --data DIR     look for data here first\n"
    "  --json         one JSON object on stdout\n"
    "  --help\n\n"
    "tally, c and onnx run: pixels go in as value / 255, and units that can't matter are left out. The "
    "others hold the\n"
    "weights as they were trained.\n\n"
    "examples:\n"
    "  tally export runs/mnist\n"
    "  tally export runs/mnist --profile small --bits 5 -o mnist.tally\n"
    "  tally export runs/mnist --format c --self-test -o digits\n"
    "  tally export runs/mnist --format mtx -o matrices";

enum { PATH_LENGTH = 4096, BITS_MAX = 16 };

struct arguments {
    const char *folder, *out, *data_folder;
    const struct export_format *format;
    struct export_options options;
    int bits; // 0: as they are
    bool softmax, json;
};

// --- saying
// ------------------------------------------------------------------------------------------------------

struct exported {
    const struct net *net;
    const struct export_sizes *sizes;
    const struct export_check *check;
    size_t weights, nonzero, dense_bytes; // as float32 with every bias
};

static void counters_text(char text[64], const struct net_tensor *t) {
    if (!t->counted) {
        snprintf(text, 64, "float32");
        return;
    }
    int32_t low = 0, high = 0;
    for (size_t i = 0; i < t->size; i++) {
        low = t->counter[i] < low ? t->counter[i] : low;
        high = t->counter[i] > high ? t->counter[i] : high;
    }
    snprintf(text, 64, "%s %d .. %d", number_name(t->number.kind), (int)low, (int)high);
}

static void totals_make(struct exported *x) {
    x->weights = x->nonzero = x->dense_bytes = 0;
    for (int i = 0; i < x->net->count; i++) {
        const struct net_layer *l = &x->net->layers[i];
        if (!l->weight.shape.rank) continue;
        x->weights += l->weight.size;
        x->nonzero += net_nonzero(&l->weight);
        x->dense_bytes += (l->weight.size + l->bias.size) * sizeof(float);
    }
}

static void table_print(const struct exported *x) {
    char count[3][32], counters[64];
    int width = 18;
    for (int i = 0; i < x->net->count; i++) {
        int length = (int)strlen(x->net->layers[i].name);
        if (x->net->layers[i].weight.shape.rank && length > width) width = length;
    }
    printf("  %-*s %10s %9s %8s %9s  %s\n", width, "layer", "weights", "non-zero", "density", "bytes",
           "counters");
    for (int i = 0; i < x->net->count; i++) {
        const struct net_layer *l = &x->net->layers[i];
        if (!l->weight.shape.rank) continue;
        size_t nonzero = net_nonzero(&l->weight);
        counters_text(counters, &l->weight);
        printf("  %-*s %10s %9s %8.4f %9s  %s\n", width, l->name, log_count(count[0], (double)l->weight.size),
               log_count(count[1], (double)nonzero), (double)nonzero / (double)l->weight.size,
               log_count(count[2], (double)x->sizes->layer[i]), counters);
    }
    printf("  %-*s %10s %9s %8.4f %9s  ", width, "all", log_count(count[0], (double)x->weights),
           log_count(count[1], (double)x->nonzero), (double)x->nonzero / (double)x->weights,
           log_count(count[2], (double)x->sizes->total));
    printf("%.3g times smaller than dense float32 (%s bytes)\n",
           (double)x->dense_bytes / (double)x->sizes->total, log_count(count[0], (double)x->dense_bytes));
}

static double percent(size_t wrong, size_t samples) {
    return samples ? 100.0 * (double)wrong / (double)samples : NAN;
}

static void check_print(const struct export_check *c, const char *dataset, const struct arguments *a) {
    char count[2][32];
    printf("%s test: error %.2f %% before, %.2f %% after; %s of %s predictions differ, outputs by at most "
           "%.2g%s\n",
           dataset, percent(c->wrong_before, c->answers), percent(c->wrong_after, c->answers),
           log_count(count[0], (double)c->differ), log_count(count[1], (double)c->answers), c->largest,
           a->options.integer ? " (integers)"
           : a->bits          ? " (fewer bits)"
                              : "");
    if (!a->bits && !a->options.integer && (c->differ || c->largest > 1e-3))
        printf("warning: more than rounding would explain; please report this model\n");
}

static void json_print(const struct exported *x, const struct arguments *a, const char *out,
                       const char *dataset) {
    struct json *tree = json_object_new(), *layers = json_array_new();
    json_add_string(tree, "format", a->format->name);
    json_add_string(tree, "out", out);
    json_add_number(tree, "bytes", (double)x->sizes->total);
    json_add_number(tree, "dense_bytes", (double)x->dense_bytes);
    json_add_number(tree, "weights", (double)x->weights);
    json_add_number(tree, "nonzero", (double)x->nonzero);
    json_add_number(tree, "density", (double)x->nonzero / (double)x->weights);
    json_add_string(tree, "dataset", dataset);
    json_add_number(tree, "samples", (double)x->check->answers);
    json_add_number(tree, "error_before", percent(x->check->wrong_before, x->check->answers));
    json_add_number(tree, "error_after", percent(x->check->wrong_after, x->check->answers));
    json_add_number(tree, "predictions_differ", (double)x->check->differ);
    json_add_number(tree, "largest_difference", x->check->largest);
    json_add(tree, "per_layer", layers);
    for (int i = 0; i < x->net->count; i++) {
        const struct net_layer *l = &x->net->layers[i];
        if (!l->weight.shape.rank) continue;
        struct json *layer = json_object_new();
        json_add_string(layer, "name", l->name);
        json_add_number(layer, "weights", (double)l->weight.size);
        json_add_number(layer, "nonzero", (double)net_nonzero(&l->weight));
        json_add_number(layer, "bytes", (double)x->sizes->layer[i]);
        json_add(layers, NULL, layer);
    }
    cli_print_json(tree);
    json_free(tree);
}

// --- exporting
// ---------------------------------------------------------------------------------------------------

// Where it goes: -o, else RUN/NAME and the format's ending.
static int out_path(char path[PATH_LENGTH], const struct arguments *a, const struct run *r, struct err *e) {
    char name[2 * CONFIG_NAME];
    if (a->out) {
        if (strlen(a->out) >= PATH_LENGTH) return err_set(e, "%.80s...: the path is too long", a->out);
        strcpy(path, a->out);
        return 0;
    }
    snprintf(name, sizeof name, "%s%s%s", r->config.name, a->format->suffix ? a->format->suffix : "-",
             a->format->suffix ? "" : a->format->name);
    return file_join(path, PATH_LENGTH, a->folder, name, e);
}

static int net_export(const struct net *trained, const struct net *ready, struct run *r,
                      const struct arguments *a, struct err *e) {
    char out[PATH_LENGTH];
    struct export_check check = {0};
    struct net *net = net_copy_new(a->format->runs ? ready : trained);
    if (a->softmax) net_add_softmax(net);
    struct export_sizes sizes = {0, mem_new((size_t)net->count, sizeof *sizes.layer)};
    struct exported x = {net, &sizes, &check, 0, 0, 0};
    int result = export_check(&check, ready, r, &a->options, e);
    if (result == 0) result = out_path(out, a, r, e);
    if (result == 0) result = a->format->write(net, out, &a->options, &sizes, e);
    if (result == 0) {
        totals_make(&x);
        if (a->json) {
            json_print(&x, a, out, r->data.type->name);
        } else {
            printf("%s, seed %lld, as %s: %s\n", r->config.name, (long long)r->config.seed, a->format->name,
                   out);
            table_print(&x);
            check_print(&check, r->data.type->name, a);
        }
    }
    mem_free(sizes.layer);
    net_free(net);
    return result;
}

static int run_export(const struct arguments *a, struct err *e) {
    const struct run_options options = {.data_folder = a->data_folder};
    struct run r;
    struct net *trained = NULL, *ready = NULL;
    int result = saved_open(&r, a->folder, &options, e);
    if (result == 0 && (r.data.kind == DATA_NUMBERS || !r.data.classes))
        result =
            err_set(e, "%s: trained on %s%s; only models of images or tokens with classes can be exported",
                    a->folder, data_kind_name(r.data.kind), r.data.classes ? "" : " without classes");
    if (result == 0) {
        trained = net_new(r.config.name, r.model, r.params, r.batches.mean, r.batches.std, r.epoch, e);
        if (!trained) result = -1;
    }
    if (result == 0) {
        if (a->bits) net_requantise(trained, a->bits);
        ready = net_copy_new(trained);
        net_prepare(ready);
        if (a->bits) net_requantise_biases(ready);
        result = net_export(trained, ready, &r, a, e);
    }
    net_free(trained);
    net_free(ready);
    run_close(&r);
    return result;
}

// --- the command line
// --------------------------------------------------------------------------------------------

static const struct export_format *format_find(const char *name, struct err *e) {
    const char *known[32] = {NULL};
    for (int i = 0; export_formats[i]; i++) {
        if (strcmp(export_formats[i]->name, name) == 0) return export_formats[i];
        known[i] = export_formats[i]->name;
    }
    json_unknown("--format", "format", name, known, e);
    return NULL;
}

// Options that the format does not have are refused, so that none is silently ignored.
static int options_check(const struct arguments *a) {
    const char *name = a->format->name;
    bool tally = strcmp(name, "tally") == 0, c = strcmp(name, "c") == 0, onnx = strcmp(name, "onnx") == 0;
    if (a->options.profile != PROFILE_FAST && !tally)
        return cli_usage("export", "--profile: format %s has no profiles", name);
    if (a->options.dense && !tally && !onnx)
        return cli_usage("export", "--dense: format %s can't be told to", name);
    if ((a->options.integer || a->options.self_test) && !c)
        return cli_usage("export", "--integer and --self-test: only format c has them");
    if (a->softmax && !a->format->runs)
        return cli_usage("export", "--softmax: format %s holds weights only", name);
    return EXIT_GOOD;
}

// EXIT_GOOD, or another status and `done`.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {
        {"format", required_argument, NULL, 'f'},  {"out", required_argument, NULL, 'o'},
        {"profile", required_argument, NULL, 'p'}, {"bits", required_argument, NULL, 'b'},
        {"softmax", no_argument, NULL, 's'},       {"dense", no_argument, NULL, 'D'},
        {"integer", no_argument, NULL, 'i'},       {"self-test", no_argument, NULL, 't'},
        {"data", required_argument, NULL, 'd'},    {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    struct err e;
    const char *format = "tally";
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "ho:", options, NULL)) != -1;) switch (letter) {
        case 'f':
            format = optarg;
            break;
        case 'o':
            a->out = optarg;
            break;
        case 'p':
            if (strcmp(optarg, "fast") != 0 && strcmp(optarg, "small") != 0)
                return cli_usage("export", "--profile: '%s' is not fast or small", optarg);
            a->options.profile = *optarg == 's' ? PROFILE_SMALL : PROFILE_FAST;
            break;
        case 'b':
            if (!cli_number(&a->bits, "export", "--bits", optarg, 2, BITS_MAX)) return EXIT_USAGE;
            break;
        case 's':
            a->softmax = true;
            break;
        case 'D':
            a->options.dense = true;
            break;
        case 'i':
            a->options.integer = true;
            break;
        case 't':
            a->options.self_test = true;
            break;
        case 'd':
            a->data_folder = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("export", "unknown option or missing value: %s", argv[optind - 1]);
        }
    if (optind + 1 != argc) return cli_usage("export", "wanted one run folder");
    a->folder = argv[optind];
    a->format = format_find(format, &e);
    if (!a->format) return cli_usage("export", "%s", e.text);
    int status = options_check(a);
    if (status == EXIT_GOOD) *done = false;
    return status;
}

int verb_export(int argc, char **argv) {
    struct arguments a = {0};
    struct err e;
    bool done;
    int status = arguments_read(&a, &done, argc, argv);
    if (done) return status;
    return run_export(&a, &e) == 0 ? EXIT_GOOD : cli_fail(&e);
}
