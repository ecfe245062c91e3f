// Target: exports, written and read back. The first byte chooses the samples, the second how dense the weights are and how
// many bits counters get; the other parts are a model, a list of layers, and an optimiser.
//
// Where a model is small and can leave, every format writes it, and again: the same bytes. What our own code reads is read:
// the native file, in each of its codings, whose answers must be those of the plain way to the bit; safetensors; and the
// arrays of npz.
#include "export/export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/io/npy.h"
#include "export/csr.h"
#include "export/tally.h"
#include "infer/tally_infer.h"
#include "src/file.h"
#include "src/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/small.h"

enum { LIMIT = 1 << 24, SAMPLES = 5, CODINGS = 3, LOCAL = 30, WORK = 1 << 19, LAYERS = 64, FORMS = 3 };

// --- a trained model ---------------------------------------------------------------------------------------------

static int run_make(struct run *r, struct dataset *data, struct json *model, struct json *optim,
                    struct err *e) {
    struct json *root = json_object_new(), *section = json_object_new(), *train = json_object_new();
    struct config config = {.name = "fuzz"};
    json_add_string(section, "set", "digits");
    json_add(root, "data", section);
    json_add(root, "model", model);
    json_add(root, "optim", optim);
    json_add_number(train, "epochs", 2);
    json_add_number(train, "batch", 2);
    json_add(root, "train", train);
    memset(r, 0, sizeof *r);
    int result = config_open_json(&config, root, "fuzz.json", e);
    if (result == 0 && !small_enough(&config, data)) result = err_set(e, "large");
    if (result == 0) result = run_open_without_data(r, &config, "digits", data, e);
    config_close(&config);
    return result;
}

// Some weights become zero, biases and buffers something else.
static void weights_draw(struct run *r, unsigned how) {
    static const double densities[] = {1, 0.5, 0.1, 0.02};
    struct rng g = rng_stream(how, "export");
    for (int i = 0; i < r->params->count; i++) {
        struct param *p = &r->params->list[i];
        for (size_t k = 0; k < p->size; k++) {
            bool dies = param_is_weight(p) && rng_uniform(&g) >= densities[how & 3];
            if (!param_is_weight(p))
                p->value[k] = (real)(rng_uniform(&g) + 0.01);
            else if (dies && p->counted)
                param_set_counter(p, k, 0);
            else if (dies)
                p->value[k] = 0;
        }
        if (p->counted && !param_is_weight(p)) param_refresh(p);
    }
}

// --- the native file ---------------------------------------------------------------------------------------------

static bool same(float a, float b) {
    return a == b || (isnan(a) && isnan(b));
}

static void sample_draw(float *x, size_t in, const struct dataset *data, int seed) {
    struct rng g = rng_stream((uint64_t)seed, "sample");
    for (size_t i = 0; i < in; i++)
        x[i] = data->kind == DATA_TOKENS ? (float)rng_below(&g, (uint32_t)data->classes)
                                         : (float)rng_below(&g, 256) / 255;
}

static void answers_check(const struct tally_model *m, const struct net *n, const struct dataset *data,
                          const char *coding) {
    size_t in = shape_size(n->in), out = shape_size(n->layers[n->count - 1].out);
    size_t bytes = tally_scratch_bytes(m, SAMPLES);
    CHECK(tally_model_inputs(m) == in && tally_model_outputs(m) == out, "%s: %zu to %zu numbers", coding,
          tally_model_inputs(m), tally_model_outputs(m));
    float *x = mem_new(SAMPLES * in, sizeof *x), *y = mem_new(SAMPLES * out, sizeof *y),
          *wanted = mem_new(out, sizeof *wanted);
    void *scratch = mem_new(bytes, 1);
    struct tally_error error;
    for (int i = 0; i < SAMPLES; i++) sample_draw(x + (size_t)i * in, in, data, i);
    CHECK(tally_run(m, x, SAMPLES, y, scratch, bytes, &error) == TALLY_OK, "%s: %s", coding, error.text);
    for (size_t i = 0; i < SAMPLES; i++) {
        net_forward(n, x + i * in, wanted);
        for (size_t k = 0; k < out; k++)
            CHECK(same(y[i * out + k], wanted[k]), "%s: number %zu of sample %zu is %.9g, wanted %.9g",
                  coding, k, i, (double)y[i * out + k], (double)wanted[k]);
    }
    mem_free(x);
    mem_free(y);
    mem_free(wanted);
    mem_free(scratch);
}

static void native_check(const struct net *n, const struct dataset *data) {
    static const struct export_options codings[CODINGS] = {
        {.dense = true}, {.profile = PROFILE_FAST}, {.profile = PROFILE_SMALL}};
    static const char *const names[CODINGS] = {"dense", "fast", "small"};
    struct export_sizes sizes = {.layer = mem_new((size_t)n->count, sizeof *sizes.layer)};
    for (int c = 0; c < CODINGS; c++) {
        struct bytes file = {0}, again = {0};
        struct err e = {""};
        struct tally_error error;
        struct tally_model *m = NULL;
        if (tally_compose(&file, n, &codings[c], &sizes, &e) == 0) {
            CHECK(tally_compose(&again, n, &codings[c], &sizes, &e) == 0 && again.size == file.size &&
                      memcmp(again.at, file.at, file.size) == 0,
                  "%s: other bytes the second time", names[c]);
            const struct tally_options options = {.kernel = c ? TALLY_SPARSE : TALLY_DENSE,
                                                  .memory_limit = SIZE_MAX / 4};
            CHECK(tally_model_load(&m, file.at, file.size, &options, &error) == TALLY_OK,
                  "%s: does not load: %s", names[c], error.text);
            answers_check(m, n, data, names[c]);
            tally_model_free(m);
        } else {
            fuzz_check_message(e.text);
        }
        bytes_free(&file);
        bytes_free(&again);
    }
    mem_free(sizes.layer);
}

// --- what others read, and we -------------------------------------------------------------------------------------

static const struct safetensor *tensor_of(const struct safetensors *file, const struct net_layer *l,
                                          const char *what) {
    char name[SAFETENSORS_NAME];
    snprintf(name, sizeof name, "%s.%s", l->name, what);
    const struct safetensor *t = safetensors_find(file, name);
    CHECK(t, "%s is missing", name);
    return t;
}

static void safetensors_check(const char *path, const struct net *n) {
    struct safetensors file;
    struct err e = {""};
    CHECK(safetensors_open(&file, path, LIMIT, &e) == 0, "%s", e.text);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        const struct net_tensor *w = &l->weight;
        if (!w->shape.rank) continue;
        struct csr *c = csr_new(w);
        void *numbers = w->counted ? csr_counters_new(c, w) : (void *)csr_values_new(c, w);
        size_t width = w->counted ? (size_t)number_bytes(&w->number) : sizeof(float);
        const struct safetensor *rows = tensor_of(&file, l, "weight.crow_indices"),
                                *columns = tensor_of(&file, l, "weight.col_indices"),
                                *values =
                                    tensor_of(&file, l, w->counted ? "weight.counters" : "weight.values");
        CHECK(memcmp(rows->bytes, c->pointer, ((size_t)c->rows + 1) * sizeof *c->pointer) == 0 &&
                  (size_t)columns->shape.dim[0] == c->nonzero && (size_t)values->shape.dim[0] == c->nonzero &&
                  memcmp(columns->bytes, c->column, c->nonzero * sizeof *c->column) == 0 &&
                  memcmp(values->bytes, numbers, c->nonzero * width) == 0,
              "%s: other rows", l->name);
        mem_free(numbers);
        csr_free(c);
    }
    safetensors_close(&file);
}

static size_t little_endian(const uint8_t *at, int bytes) {
    size_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (size_t)at[i] << 8 * i;
    return value;
}

// Each array of a zip of stored members; those that are text or without dimensions are not ours to read.
static int arrays_check(const char *path) {
    struct err e = {""};
    size_t size;
    uint8_t *zip = file_read_new(&size, path, LIMIT, &e);
    CHECK(zip, "%s", e.text);
    int read = 0;
    for (size_t at = 0; size - at >= LOCAL && memcmp(zip + at, "PK\3\4", 4) == 0;) {
        size_t bytes = little_endian(zip + at + 18, 4), name = little_endian(zip + at + 26, 2),
               first = at + LOCAL + name + little_endian(zip + at + 28, 2);
        CHECK(first <= size && bytes <= size - first, "%s: a member of %zu bytes", path, bytes);
        char in_memory[FUZZ_PATH];
        struct npy a;
        int descriptor = fuzz_file_open(in_memory, zip + first, bytes);
        if (npy_read_types(&a, in_memory, (1u << NPY_TYPES) - 1, LIMIT, &e) == 0) read++;
        npy_free(&a);
        close(descriptor);
        at = first + bytes;
    }
    mem_free(zip);
    return read;
}

static void npz_check(const char *folder, const struct net *n) {
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        char path[FUZZ_LONG_PATH], name[PARAM_NAME + 24];
        struct npy bias;
        struct err e = {""};
        if (l->weight.shape.rank) {
            snprintf(name, sizeof name, "%s.weight.npz", l->name);
            // indptr and shape always, indices and data where there are numbers.
            int wanted = net_nonzero(&l->weight) ? 4 : 2, read = arrays_check(fuzz_join(path, folder, name));
            CHECK(read == wanted, "%s: %d arrays could be read, wanted %d", name, read, wanted);
        }
        if (!l->bias.shape.rank) continue;
        snprintf(name, sizeof name, "%s.bias.npy", l->name);
        CHECK(npy_read(&bias, fuzz_join(path, folder, name), LIMIT, &e) == 0, "%s", e.text);
        CHECK(bias.size == l->bias.size && memcmp(bias.floats, l->bias.value, bias.size * sizeof(float)) == 0,
              "%s differs", name);
        npy_free(&bias);
    }
}

static void folders_same(const char *a, const char *b) {
    struct err e = {""};
    int count;
    char **names = file_names_new(&count, a, &e), path[FUZZ_LONG_PATH], other[FUZZ_LONG_PATH];
    CHECK(names, "%s", e.text);
    for (int i = 0; i < count; i++) {
        fuzz_check_same(fuzz_join(path, a, names[i]), fuzz_join(other, b, names[i]));
        mem_free(names[i]);
    }
    mem_free(names);
}

// Written twice, and read where we can.
static void format_check(const struct export_format *f, const struct net *n,
                         const struct export_options *options) {
    struct export_sizes sizes = {.layer = mem_new((size_t)n->count, sizeof *sizes.layer)};
    char folder[FUZZ_PATH], out[2][FUZZ_LONG_PATH], name[2][40];
    struct err e = {""};
    fuzz_folder_open(folder);
    for (int i = 0; i < 2; i++) {
        // The name is in the C source's: the same name in two folders.
        snprintf(name[i], sizeof name[i], "%d", i);
        CHECK(file_make_folder(fuzz_join(out[i], folder, name[i]), &e) == 0, "%s", e.text);
        snprintf(name[i], sizeof name[i], "%d/out%s", i, f->suffix ? f->suffix : "");
        fuzz_join(out[i], folder, name[i]);
    }
    if (f->write(n, out[0], options, &sizes, &e) != 0) {
        fuzz_check_message(e.text);
    } else {
        CHECK(f->write(n, out[1], options, &sizes, &e) == 0, "%s: the second time: %s", f->name, e.text);
        if (file_is_folder(out[0]))
            folders_same(out[0], out[1]);
        else
            fuzz_check_same(out[0], out[1]);
        if (strcmp(f->name, "safetensors") == 0) safetensors_check(out[0], n);
        if (strcmp(f->name, "npz") == 0) npz_check(out[0], n);
    }
    mem_free(sizes.layer);
    fuzz_folder_close(folder);
}

static void net_export(struct net *trained, const struct dataset *data, unsigned how) {
    static const struct export_options forms[FORMS] = {
        {0}, {.dense = true, .self_test = true}, {.integer = true}};
    int bits = how & 4 ? 2 + (int)(how >> 4) % 15 : 0;
    if (bits) net_requantise(trained, bits);
    struct net *ready = net_copy_new(trained);
    net_prepare(ready);
    if (bits) net_requantise_biases(ready);
    if (how & 8) net_add_softmax(ready);
    native_check(ready, data);
    for (int i = 0; export_formats[i]; i++) {
        const struct export_format *f = export_formats[i];
        format_check(f, f->runs ? ready : trained, &forms[how % FORMS]);
    }
    net_free(ready);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 2) return 0;
    const uint8_t *at = input + 2, *end = input + size;
    struct fuzz_part part;
    struct err e = {""};
    struct json *tree[2] = {NULL};
    unsigned how = input[1];
    struct dataset data = small_set(input[0]);
    for (int i = 0; i < 2 && fuzz_part_next(&part, &at, end); i++)
        tree[i] = json_parse_new((const char *)part.bytes, part.size, &e);
    if (!tree[0] || !tree[1] || !data.classes) {
        json_free(tree[0]);
        json_free(tree[1]);
        return 0;
    }
    struct run r;
    if (run_make(&r, &data, tree[0], tree[1], &e) == 0) {
        weights_draw(&r, how);
        struct net *n = net_new("fuzz", r.model, r.params, how & 1 ? 0.25 : 0, how & 1 ? 0.5 : 1, 2, &e);
        if (n)
            net_export(n, &data, how);
        else
            fuzz_check_message(e.text);
        net_free(n);
    } else {
        fuzz_check_message(e.text);
    }
    run_close(&r);
    return 0;
}
