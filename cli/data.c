// tally data: what a data set is; or the set as folders of PNG images.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "datasets/batches.h"
#include "datasets/image.h"
#include "datasets/io/png.h"
#include "experiments/log.h"
#include "src/file.h"
#include "src/parallel.h"

enum { OVERRIDES_LIMIT = 32, PATH_LENGTH = 4096, ASSIGNMENT = 1024 };

static const char help[] = "usage: tally data SET [key=value ...] [options]\n\n"
                           "Tells what a data set is: samples, classes, mean and standard deviation of the "
                           "training part. SET is a name\n"
                           "or {\"name\": {options}}; key=value sets an option of the set. With --png it is "
                           "written as images in folders,\n"
                           "a folder for each class, which the set png_folder reads.\n\n"
                           "  --png DIR    write DIR/train/CLASS/00001.png ... and DIR/test/CLASS/...; DIR "
                           "must not be there, and is\n"
                           "               whole when it is\n"
                           "  --limit N    write at most N images of each part\n"
                           "  --data DIR   look for data here first (then $TALLY_DATA, then data)\n"
                           "  --quiet      say nothing but errors\n"
                           "  --json       one JSON object on stdout\n"
                           "  --help\n\n"
                           "examples:\n"
                           "  tally data mnist\n"
                           "  tally data digits train=1000 test=200 --png digits\n"
                           "  tally data png_folder folder=digits --data . --json";

struct arguments {
    const char *set, *png, *data_folder;
    const char *overrides[OVERRIDES_LIMIT];
    int override_count, limit;
    bool quiet, json;
};

// EXIT_GOOD, or another status and `done`.
static int arguments_read(struct arguments *a, bool *done, int argc, char **argv) {
    static const struct option options[] = {{"png", required_argument, NULL, 'p'},
                                            {"limit", required_argument, NULL, 'l'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    *done = true;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 'p':
            a->png = optarg;
            break;
        case 'l':
            if (!cli_number(&a->limit, "data", "--limit", optarg, 1, 1 << 30)) return EXIT_USAGE;
            break;
        case 'd':
            a->data_folder = optarg;
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
            return cli_usage("data", "unknown option or missing value: %s", argv[optind - 1]);
        }
    for (; optind < argc; optind++) {
        if (!a->set)
            a->set = argv[optind];
        else if (!strchr(argv[optind], '='))
            return cli_usage("data", "two data sets: %s and %s", a->set, argv[optind]);
        else if (a->override_count == OVERRIDES_LIMIT)
            return cli_usage("data", "more than %d assignments", OVERRIDES_LIMIT);
        else
            a->overrides[a->override_count++] = argv[optind];
    }
    if (!a->set) return cli_usage("data", "no data set given; 'tally list datasets' knows them");
    *done = false;
    return EXIT_GOOD;
}

// --- opening
// ----------------------------------------------------------------------------------------------------

// The set with its options, opened; close it also after a failure.
static int set_open(struct dataset *d, const struct arguments *a, struct err *e) {
    const char *name;
    const struct json *named, *options;
    struct json *root = dataset_named_new(&named, a->set, e), *full = NULL;
    int result = root ? json_read_named(&name, &options, named, "SET", e) : err_at(e, "SET");
    if (result == 0) {
        full = json_object_new();
        json_add(full, name, options ? json_copy_new(options) : json_object_new());
    }
    for (int i = 0; i < a->override_count && result == 0; i++) {
        char assignment[ASSIGNMENT];
        int length = snprintf(assignment, sizeof assignment, "%s.%s", name, a->overrides[i]);
        result = length < ASSIGNMENT ? json_override(full, assignment, e)
                                     : err_set(e, "%.60s...: too long", a->overrides[i]);
    }
    struct data_source source = {.folder = {a->data_folder, getenv("TALLY_DATA"), "data"},
                                 .threads = parallel_processors()};
    if (result == 0) result = dataset_open(d, full, "SET", &source, e);
    json_free(full);
    json_free(root);
    return result;
}

// --- telling
// ----------------------------------------------------------------------------------------------------

static struct json *shape_json(struct shape s) {
    struct json *list = json_array_new();
    for (int i = 0; i < s.rank; i++) json_add_number(list, NULL, s.dim[i]);
    return list;
}

static void set_json(const struct dataset *d, const struct batches *b) {
    struct json *out = json_object_new();
    json_add_string(out, "dataset", d->type->name);
    json_add_string(out, "kind", data_kind_name(d->kind));
    json_add(out, "sample", shape_json(d->sample));
    json_add_number(out, "classes", d->classes);
    json_add_number(out, "targets", (double)dataset_targets(d));
    if (!d->classes) json_add(out, "target", shape_json(d->target));
    json_add_number(out, "train", d->train.count);
    json_add_number(out, "validation", d->validation.count);
    json_add_number(out, "test", d->test.count);
    json_add_number(out, "mean", b->mean);
    json_add_number(out, "std", b->std);
    cli_print_json(out);
    json_free(out);
}

static void set_print(const struct dataset *d, const struct batches *b) {
    char text[SHAPE_TEXT], count[3][32];
    printf("%s: %s of %s, ", d->type->name, data_kind_name(d->kind), shape_text(text, d->sample));
    if (d->classes)
        printf("%d classes%s\n", d->classes, d->targets > 1 ? ", a label for each position" : "");
    else
        printf("%s numbers to answer with\n", shape_text(text, d->target));
    printf("%s training, %s%s%s test samples", log_count(count[0], d->train.count),
           d->validation.count ? log_count(count[1], d->validation.count) : "",
           d->validation.count ? " validation, " : "", log_count(count[2], d->test.count));
    if (d->kind != DATA_TOKENS) printf("; mean %.6g, standard deviation %.6g", b->mean, b->std);
    putchar('\n');
    if (d->kind != DATA_TOKENS || d->classes == 256) return;
    printf("alphabet: ");
    for (int i = 0; i < d->classes; i++)
        printf(d->alphabet[i] < ' ' || d->alphabet[i] > '~' ? "\\x%02x" : "%c", d->alphabet[i]);
    putchar('\n');
}

static int set_tell(const struct dataset *d, const struct arguments *a, struct err *e) {
    struct batches b;
    int64_t validation = d->type->keeps_validation ? -1 : 0;
    int result = batches_open(&b, d, validation, true, 0, "SET", e);
    if (result == 0 && a->json) set_json(d, &b);
    if (result == 0 && !a->json && !a->quiet) set_print(d, &b);
    batches_close(&b);
    return result;
}

// --- writing
// ----------------------------------------------------------------------------------------------------

static const char *const parts[] = {"train", "validation", "test"};

// Its number, with zeros before it, so that the order of names is that of classes.
static void class_path(char path[PATH_LENGTH], const char *folder, const char *part, const struct dataset *d,
                       int label) {
    int digits = d->classes > 100 ? 3 : d->classes > 10 ? 2 : 1;
    int length = snprintf(path, PATH_LENGTH, "%s/%s/%0*d", folder, part, digits, label);
    CHECK(length < PATH_LENGTH, "data: %.60s... is too long", path);
}

// What was written so far.
static void folder_remove(const char *folder, const struct dataset *d) {
    char path[PATH_LENGTH], file[PATH_LENGTH + 300];
    struct err ignored;
    for (int k = 0; k < 3; k++) {
        for (int label = 0; label < d->classes; label++) {
            class_path(path, folder, parts[k], d, label);
            int count = 0;
            char **names = file_names_new(&count, path, &ignored);
            for (int i = 0; i < count; i++) {
                snprintf(file, sizeof file, "%s/%s", path, names[i]);
                file_remove(file);
                mem_free(names[i]);
            }
            mem_free(names);
            file_remove(path);
        }
        if (file_join(path, sizeof path, folder, parts[k], &ignored) == 0) file_remove(path);
    }
    file_remove(folder);
}

struct writing {
    const struct dataset *d;
    const char *folder;
    const volatile sig_atomic_t *stop;
    struct log log;
    size_t done, all;
    double told;
};

static int image_write(const struct writing *w, const struct split *s, const char *part, size_t i,
                       struct err *e) {
    const struct dataset *d = w->d;
    char folder[PATH_LENGTH], path[PATH_LENGTH + 32];
    struct shape sample = d->sample;
    int channels = sample.rank == 3 ? sample.dim[0] : 1, height = sample.dim[sample.rank - 2],
        width = sample.dim[sample.rank - 1];
    int label = *dataset_labels(d, s, i);
    class_path(folder, w->folder, part, d, label);
    if (file_make_folder(folder, e) != 0) return -1;
    int digits = s->count > 99999 ? 10 : 5; // so that names sort as numbers do
    snprintf(path, sizeof path, "%s/%0*zu.png", folder, digits, i + 1);
    uint8_t *pixels = mem_new(shape_size(sample), 1);
    image_pixels(pixels, dataset_pixels(d, s, i), (size_t)height * (size_t)width, (size_t)channels);
    int result = png_write_unsynced(path, width, height, channels, pixels, e);
    mem_free(pixels);
    return result;
}

static size_t least(int count, int limit) {
    return (size_t)(limit && limit < count ? limit : count);
}

// 1 when stopped by a signal.
static int splits_write(struct writing *w, int limit, struct err *e) {
    const struct split *const splits[] = {&w->d->train, &w->d->validation, &w->d->test};
    char text[2][32];
    for (int k = 0; k < 3; k++) w->all += least(splits[k]->count, limit);
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < least(splits[k]->count, limit); i++, w->done++) {
            if (*w->stop) return 1;
            if (image_write(w, splits[k], parts[k], i, e) != 0) return -1;
            double now = log_seconds();
            if (now - w->told < 2) continue;
            w->told = now;
            log_line(&w->log, "%s of %s images", log_count(text[0], (double)w->done),
                     log_count(text[1], (double)w->all));
        }
    return 0;
}

// 1 when stopped by a signal. Under another name until it is whole.
static int set_write(const struct dataset *d, const struct arguments *a, struct err *e) {
    char folder[PATH_LENGTH], text[32];
    if (d->kind != DATA_IMAGES || d->sample.rank < 2 || !d->classes ||
        (d->sample.rank == 3 && d->sample.dim[0] != 1 && d->sample.dim[0] != 3))
        return err_set(e, "%s: wanted images of one or three channels, with classes", d->type->name);
    if (file_exists(a->png)) return err_set(e, "%.300s: is there already", a->png);
    if (snprintf(folder, sizeof folder, "%s.%ld.tmp", a->png, (long)getpid()) >= PATH_LENGTH / 2)
        return err_set(e, "--png: the path is too long");
    struct writing w = {.d = d, .folder = folder, .stop = cli_stop_watch()};
    log_open(&w.log, a->quiet || a->json);
    w.told = w.log.start;
    int result = splits_write(&w, a->limit, e);
    if (result == 0) result = file_rename(folder, a->png, e);
    if (result != 0) folder_remove(folder, d);
    if (result == 0 && !a->quiet && !a->json)
        printf("%s: %s images of %s\n", a->png, log_count(text, (double)w.done), d->type->name);
    return result;
}

int verb_data(int argc, char **argv) {
    struct arguments a = {0};
    bool done;
    int status = arguments_read(&a, &done, argc, argv);
    if (done) return status;
    struct err e;
    struct dataset d = {0};
    int result = set_open(&d, &a, &e);
    if (result == 0 && a.png) result = set_write(&d, &a, &e);
    if (result == 0 && (!a.png || a.json)) result = set_tell(&d, &a, &e);
    dataset_close(&d);
    return result < 0 ? cli_fail(&e) : result > 0 ? EXIT_INTERRUPTED : EXIT_GOOD;
}
