// Makes the seeds of the targets `model`, a file for each coding, kind of values and number system, and `checkpoint`, files
// of each of its runs: fuzz_seeds CORPUS. To be run again when a format changes. The seeds of the other targets come from
// seeds.py.
#include "experiments/checkpoint.h"
#include "export/tally.h"
#include "src/file.h"
#include "tests/fuzz/checkpoints.h"
#include "tests/nets.h"

#include <string.h>

enum { PATH = 4096, KINDS = NUMBER_KINDS + 1, CODINGS = 3, WIDE = 66000 };

static const struct export_options codings[CODINGS] = {
    {.dense = true}, {.profile = PROFILE_FAST}, {.profile = PROFILE_SMALL}};
static const char *const coding_names[CODINGS] = {"dense", "fast", "small"};

static int seed_write(const char *folder, const char *name, const struct net *n,
                      const struct export_options *o, unsigned char how) {
    struct bytes file = {0}, seed = {0};
    struct export_sizes sizes = {.layer = mem_new((size_t)n->count, sizeof *sizes.layer)};
    struct err e;
    char path[PATH];
    int result = tally_compose(&file, n, o, &sizes, &e);
    bytes_add(&seed, &how, 1);
    bytes_add(&seed, file.at, file.size);
    if (result == 0) result = file_join(path, sizeof path, folder, name, &e);
    if (result == 0) result = file_write_bytes(path, seed.at, seed.size, &e);
    if (result != 0) fprintf(stderr, "seeds: %s\n", e.text);
    mem_free(sizes.layer);
    bytes_free(&seed);
    bytes_free(&file);
    return result;
}

// An image of 2 x 5 x 6, two linear layers, softmax. Kernels by turns, but measured in the first alone.
static int pair_write(const char *folder, enum number_kind kind, int coding, int index) {
    static const int32_t limits[3] = {100, 3000, 70000};
    struct nets_weights w = {kind, limits[index % 3], 0.1, BIAS_FLOATS};
    struct net *n = nets_new(shape_3(2, 5, 6));
    nets_add(n, NET_FLATTEN);
    nets_linear(n, 9, &w, 1);
    nets_add(n, index % 2 ? NET_RELU : NET_TANH);
    w.bias = index % 2 ? BIAS_COUNTERS : BIAS_NONE;
    w.density = 0.3;
    nets_linear(n, 3, &w, 2);
    nets_add(n, NET_SOFTMAX);
    char name[64];
    snprintf(name, sizeof name, "%s-%s", coding_names[coding],
             kind == NUMBER_KINDS ? "floats" : number_name(kind));
    int result = seed_write(folder, name, n, &codings[coding], (unsigned char)(index % 8 | (index ? 8 : 0)));
    net_free(n);
    return result;
}

// Every activation, an affine, bridges; and rows whose counts have four bytes.
static int others_write(const char *folder) {
    struct nets_weights w = {NUMBER_SQUARE, 100, 0.004, BIAS_COUNTERS};
    struct net *n = nets_new(shape_1(900));
    struct net_layer *affine = nets_add(n, NET_AFFINE);
    affine->scale = 0.5;
    affine->shift = -0.25;
    nets_linear(n, 4, &w, 3);
    nets_add(n, NET_GELU);
    nets_add(n, NET_SIGMOID);
    int result = seed_write(folder, "bridges", n, &codings[1], 1);
    net_free(n);
    n = nets_new(shape_1(WIDE));
    w.density = 0.0002;
    nets_linear(n, 2, &w, 4);
    if (result == 0) result = seed_write(folder, "wide", n, &codings[1], 1);
    net_free(n);
    n = nets_new(shape_2(3, 4));
    nets_add(n, NET_RELU);
    if (result == 0) result = seed_write(folder, "no-weights", n, &codings[1], 1);
    net_free(n);
    return result;
}

// What version 2 has.
static int kinds_write(const char *folder) {
    int result = 0;
    for (int i = 0; i < NETS_SECOND * CODINGS && result == 0; i++) {
        struct net *n = nets_second_new(i / CODINGS);
        char name[64];
        snprintf(name, sizeof name, "%s-%s", coding_names[i % CODINGS], nets_second_names[i / CODINGS]);
        result = seed_write(folder, name, n, &codings[i % CODINGS], (unsigned char)(i / CODINGS & 1));
        net_free(n);
    }
    return result;
}

static int models_write(const char *folder) {
    int index = 0;
    for (int coding = 0; coding < CODINGS; coding++)
        for (int kind = 0; kind < KINDS; kind++, index++)
            if (pair_write(folder, (enum number_kind)kind, coding, index) != 0) return -1;
    return others_write(folder) != 0 || kinds_write(folder) != 0 ? -1 : 0;
}

// The checkpoint as the target takes it: whole, or without length and metadata but the position.
static int checkpoint_seed(const char *folder, int which, const char *when, const unsigned char *file,
                           size_t size) {
    enum { PREFIX = 8, OWN = 64, WHOLE = 128 };
    char name[64], path[PATH];
    struct bytes seed = {0};
    struct err e = {""};
    uint64_t length;
    memcpy(&length, file, PREFIX);
    // The smallest byte that says so.
    unsigned char how = (unsigned char)which;
    while (how % CHECKPOINTS != which || !(how & WHOLE) || (which % 2) != !!(how & OWN)) how++;
    bytes_add(&seed, &how, 1);
    bytes_add(&seed, file, size);
    snprintf(name, sizeof name, "%d-%s-whole", which, when);
    int result = file_join(path, sizeof path, folder, name, &e);
    if (result == 0 && strcmp(when, "end") == 0) result = file_write_bytes(path, seed.at, seed.size, &e);
    bytes_free(&seed);
    struct json *header = json_parse_new((const char *)file + PREFIX, length, &e), *cut = json_object_new(),
                *meta = json_object_new();
    static const char *const kept[] = {"epoch", "step", "frozen"};
    const struct json *all = json_find(header, "__metadata__"), *member = json_first(header);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        json_add(meta, kept[i], json_copy_new(json_find(all, kept[i])));
    json_add(cut, "__metadata__", meta);
    for (; member; member = json_next(member))
        if (json_find(member, "dtype")) json_add(cut, json_key(member), json_copy_new(member));
    char *text = json_print_new(cut, false);
    how = (unsigned char)which;
    bytes_add(&seed, &how, 1);
    bytes_add(&seed, text, strlen(text));
    bytes_add(&seed, "\n@@", 3);
    bytes_add(&seed, file + PREFIX + length, size - PREFIX - length);
    snprintf(name, sizeof name, "%d-%s", which, when);
    if (result == 0) result = file_join(path, sizeof path, folder, name, &e);
    if (result == 0) result = file_write_bytes(path, seed.at, seed.size, &e);
    if (result != 0) fprintf(stderr, "seeds: %s\n", e.text);
    bytes_free(&seed);
    mem_free(text);
    json_free(cut);
    json_free(header);
    return result;
}

// Of each run: before its first step, and near its end, where some are frozen.
static int checkpoints_write(const char *folder) {
    char path[PATH];
    struct err e = {""};
    if (file_join(path, sizeof path, folder, "checkpoint.tmp", &e) != 0) return -1;
    for (int i = 0; i < 2 * CHECKPOINTS; i++) {
        struct run r;
        size_t size;
        checkpoints_run(&r, i / 2);
        struct dataset data = r.data;
        for (r.epoch = 0; i % 2 && r.epoch < r.config.train.epochs; r.epoch++) {
            optim_epoch(r.optim, r.epoch, r.config.train.epochs);
            small_step(&r, &data);
        }
        unsigned char *file = NULL;
        int result = checkpoint_save(&r, path, &e);
        if (result == 0) result = (file = file_read_new(&size, path, 1 << 20, &e)) ? 0 : -1;
        if (result == 0) result = checkpoint_seed(folder, i / 2, i % 2 ? "end" : "start", file, size);
        mem_free(file);
        run_close(&r);
        if (result != 0) return fprintf(stderr, "seeds: %s\n", e.text), -1;
    }
    return remove(path);
}

int main(int argc, char **argv) {
    char models[PATH], checkpoint_folder[PATH];
    struct err e = {""};
    if (argc != 2) return fprintf(stderr, "usage: fuzz_seeds CORPUS\n"), 2;
    if (file_join(models, sizeof models, argv[1], "model", &e) != 0 ||
        file_join(checkpoint_folder, sizeof checkpoint_folder, argv[1], "checkpoint", &e) != 0 ||
        file_make_folder(models, &e) != 0 || file_make_folder(checkpoint_folder, &e) != 0)
        return fprintf(stderr, "seeds: %s\n", e.text), 1;
    return models_write(models) != 0 || checkpoints_write(checkpoint_folder) != 0;
}
