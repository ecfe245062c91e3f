// Checkpoints: a run that is saved and loaded goes on to the same bits, for every kind of number and
// optimiser, before and after the freeze; a file that does not fit is refused with a message; saved runs are
// opened with and without their data.
#include <fcntl.h>
#include <unistd.h>

#include "experiments/checkpoint.h"
#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"
#include "tests/check.h"

enum { PATH = 200, OVERRIDES = 4, TENSORS = 40, ROOM = 1 << 16, EPOCHS = 4, BATCHES = 4 };

static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 24, \"test\": 10}}, \"validation\": "
    "4}, "
    "\"model\": [\"flatten\", {\"linear\": {\"out\": 3}}, \"relu\", {\"dropout\": {\"p\": 0.1}}, "
    "{\"linear\": {\"out\": 10}}], "
    "\"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03, \"leak\": 0.03, \"bits\": 12}}], "
    "\"others\": [\"adam\"]}, "
    "\"train\": {\"epochs\": 4, \"batch\": 5, \"shards\": 2}}";

#define FREEZE "optim.sparsity={\"target\": 0.5, \"path\": \"none\", \"freeze\": 0.5}"

#define PACKED \
    "optim.sparsity={\"target\": 0.5, \"path\": \"none\", \"freeze\": 0.5, \"sparse_density\": 0.7}"

// In place of the C library's: many files are made here, and a disk takes its time.
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

// A run of the config above with these changes, NULL-terminated.
static void open_run(struct run *r, const char *const *changes) {
    struct config config;
    struct err e = {""};
    const struct run_options options = {.threads = 1};
    memset(&config, 0, sizeof config);
    struct json *root = json_of(config_text);
    for (; changes && *changes; changes++)
        if (json_override(root, *changes, &e) != 0) fail_msg("%s", e.text);
    if (config_open_json(&config, root, "small.json", &e) != 0 || run_open(r, &config, &options, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(run_batches(r), BATCHES);
}

// Trains as the loop in train.c does.
static void advance(struct run *r, int steps) {
    for (; steps > 0; steps--) {
        if (r->batch == 0) optim_epoch(r->optim, r->epoch, r->config.train.epochs);
        batches_epoch(&r->batches, r->epoch);
        run_step(r);
        if (r->batch < run_batches(r)) continue;
        r->epoch++;
        r->batch = 0;
        r->training = (struct score){0};
    }
}

static void save(const struct run *r, const char *path) {
    struct err e = {""};
    unlink(path); // a file system may wait for the disk when a file is replaced
    if (checkpoint_save(r, path, &e) != 0) fail_msg("%s", e.text);
}

static void load(struct run *r, const char *path) {
    struct safetensors file;
    struct err e = {""};
    if (checkpoint_open(&file, path, &e) != 0 || checkpoint_load(r, &file, path, &e) != 0)
        fail_msg("%s", e.text);
    safetensors_close(&file);
}

// What two runs differ in, or NULL.
static const char *difference(const struct run *a, const struct run *b) {
    if (a->epoch != b->epoch || a->batch != b->batch || a->step != b->step) return "position";
    if (a->training.loss != b->training.loss || a->training.wrong != b->training.wrong ||
        a->training.count != b->training.count)
        return "training";
    if (a->optim->sparsity.frozen != b->optim->sparsity.frozen) return "frozen";
    for (int i = 0; i < a->params->count; i++) {
        const struct param *p = &a->params->list[i], *q = &b->params->list[i];
        if (p->counted != q->counted || (p->counted && p->scale != q->scale)) return "scale";
        if (p->counted && memcmp(p->counter, q->counter, p->size * (size_t)number_bytes(&p->number)) != 0)
            return "counters";
        if (memcmp(p->value, q->value, p->size * sizeof(real)) != 0) return "values";
        if (!p->alive != !q->alive || (p->alive && memcmp(p->alive, q->alive, p->size) != 0)) return "alive";
    }
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < a->optim->count[list]; i++)
            for (int k = 0; k < a->optim->stages[list][i].slot_count; k++) {
                const struct stage *s = &a->optim->stages[list][i], *t = &b->optim->stages[list][i];
                for (int j = 0; j < s->count; j++)
                    if (memcmp(s->slots[k].value[j], t->slots[k].value[j],
                               (s->slots[k].per_weight ? s->params->list[s->param[j]].size : 1) *
                                   sizeof(real)) != 0)
                        return "slots";
            }
    return NULL;
}

static void assert_same(const struct run *a, const struct run *b, const char *what) {
    const char *found = difference(a, b);
    if (found) fail_msg("%s: %s differ", what, found);
}

static void assert_same_file(const char *a, const char *b) {
    struct err e = {""};
    size_t size_a, size_b;
    unsigned char *bytes_a = file_read_new(&size_a, a, 1 << 20, &e),
                  *bytes_b = file_read_new(&size_b, b, 1 << 20, &e);
    if (!bytes_a || !bytes_b) fail_msg("%s", e.text);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    mem_free(bytes_a);
    mem_free(bytes_b);
}

// --- saving and loading ------------------------------------------------------------------------------------

// Saves a run after `steps`, loads it into a fresh one, and lets both go on.
static void goes_on(void **state, const char *const *changes, int steps) {
    char path[PATH], again[PATH];
    struct run a, b;
    path_of(path, state, "a.safetensors");
    path_of(again, state, "b.safetensors");
    open_run(&a, changes);
    open_run(&b, changes);
    assert_same(&a, &b, "from the start");
    advance(&a, steps);
    assert_non_null(difference(&a, &b));
    save(&a, path);
    load(&b, path);
    assert_same(&a, &b, changes[0]);
    save(&b, again);
    assert_same_file(path, again);
    advance(&a, 5);
    advance(&b, 5);
    assert_same(&a, &b, changes[0]);
    run_close(&a);
    run_close(&b);
}

static void every_number_system(void **state) {
    static const char *const maps[] = {"linear", "square", "power", "exp", "pow2"};
    static const char *const bits[] = {"8", "12", "16", "32"};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++) {
            char change[120];
            snprintf(change, sizeof change,
                     "optim.weights=[{\"counter\": {\"map\": \"%s\", \"bits\": %s, \"rate\": 0.03}}]",
                     maps[i], bits[j]);
            const char *const changes[] = {change, NULL};
            goes_on(state, changes, 6);
        }
}

static void every_optimiser(void **state) {
    static const char *const changes[][2] = {
        {"optim.weights=[\"sgd\"]"},
        {"optim.weights=[{\"sgd\": {\"momentum\": 0}}]"},
        {"optim.weights=[\"adam\"]"},
        {"optim.weights=[\"clip\", \"adamw\"]"},
        {"optim.weights=[\"madam\"]"},
        {"optim.weights=[\"integer_madam\"]"},
        {"optim.weights=[{\"integer_madam\": {\"bits\": 14, \"base_rate\": 0.003}}]"},
        {"optim.weights=[{\"counter\": {\"direction\": \"sign\"}}]"},
        {"optim.weights=[{\"counter\": {\"direction\": \"momentum-sign\", \"rounding\": \"nearest\"}}]"},
        {"optim.weights=[{\"counter\": {\"direction\": \"tensor\", \"bits\": 8}}]"},
        {"optim.weights=[\"clip\", {\"counter\": {\"direction\": \"chain\"}}]"},
        {"optim.others=[\"clip\", {\"sgd\": {\"nesterov\": true}}]"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) goes_on(state, changes[i], 6);
}

// At the start, within an epoch, between two, before, at and after the freeze, at the end.
static void every_position(void **state) {
    static const int steps[] = {1, 4, 7, 8, 9, 11, EPOCHS * BATCHES - 5};
    static const char *const counters[] = {FREEZE, NULL};
    static const char *const floats[] = {FREEZE, "optim.weights=[\"adam\"]", "optim.schedule=\"cosine\"",
                                         NULL};
    static const char *const packed[] = {PACKED, "optim.others=[\"clip\", \"sgd\"]", NULL};
    static const char *const packed_floats[] = {PACKED, "optim.weights=[\"clip\", \"adam\"]", NULL};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        goes_on(state, counters, steps[i]);
        goes_on(state, floats, steps[i]);
        goes_on(state, packed, steps[i]);
        goes_on(state, packed_floats, steps[i]);
    }
}

// A run that is packed before it is loaded becomes what the file says.
static void into_a_packed_run(void **state) {
    static const char *const changes[] = {PACKED, NULL};
    char path[PATH];
    struct run a, b;
    path_of(path, state, "a.safetensors");
    open_run(&a, changes);
    open_run(&b, changes);
    advance(&a, 9);
    save(&a, path);
    advance(&b, 11);
    assert_true(b.optim->packed && b.params->list[0].sparse);
    load(&b, path);
    assert_same(&a, &b, "loaded");
    advance(&a, 4);
    advance(&b, 4);
    assert_same(&a, &b, "after it");
    run_close(&a);
    run_close(&b);
}

// Packed or not, a file is the same kind of file: either goes on from the other's.
static void either_way(void **state) {
    static const char *const packed[] = {PACKED, NULL}, *const dense[] = {FREEZE, NULL},
                             *const off[] = {PACKED, "optim.sparsity.sparse_density=0", NULL};
    static const char *const *const changes[] = {packed, dense, off};
    char path[PATH], again[PATH];
    path_of(path, state, "a.safetensors");
    path_of(again, state, "b.safetensors");
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++) {
            struct run a, b;
            struct safetensors file, other;
            struct err e;
            open_run(&a, changes[from]);
            open_run(&b, changes[to]);
            advance(&a, 11);
            assert_int_equal(a.optim->packed,
                             from == 0 || from == 1); // the default looks, but packs nothing here
            assert_true((a.params->list[0].sparse != NULL) == (from == 0));
            save(&a, path);
            load(&b, path);
            assert_same(&a, &b, "loaded");
            save(&b, again);
            assert_int_equal(checkpoint_open(&file, path, &e) + checkpoint_open(&other, again, &e), 0);
            assert_int_equal(file.count, other.count);
            for (int i = 0; i < file.count; i++) {
                const struct safetensor *x = &file.tensors[i], *y = &other.tensors[i];
                assert_string_equal(x->name, y->name);
                assert_memory_equal(x->bytes, y->bytes, shape_size(x->shape) * dtype_bytes(x->dtype));
            }
            safetensors_close(&file);
            safetensors_close(&other);
            advance(&b, 3);
            assert_int_equal(b.step, 14);
            run_close(&a);
            run_close(&b);
        }
}

static void the_end(void **state) {
    static const char *const changes[] = {FREEZE, NULL};
    char path[PATH];
    struct run a, b;
    path_of(path, state, "a.safetensors");
    open_run(&a, changes);
    open_run(&b, changes);
    advance(&a, EPOCHS * BATCHES);
    assert_int_equal(a.epoch, EPOCHS);
    save(&a, path);
    load(&b, path);
    assert_same(&a, &b, "at the end");
    size_t weights = 0, nonzero = 0;
    train_density(&weights, &nonzero, b.params);
    assert_true(nonzero > 0 && nonzero <= weights / 2);
    run_close(&a);
    run_close(&b);
}

// --- what is in the file -----------------------------------------------------------------------------------

static void content(void **state) {
    static const struct {
        const char *name;
        enum dtype dtype;
        struct shape shape;
    } wanted[] = {
        {"linear1.weight.counter", DTYPE_I16, {2, {3, 784}}},
        {"linear1.weight.alive", DTYPE_U8, {2, {3, 784}}},
        {"linear1.bias", DTYPE_F32, {1, {3}}},
        {"linear2.weight.counter", DTYPE_I16, {2, {10, 3}}},
        {"linear2.weight.alive", DTYPE_U8, {2, {10, 3}}},
        {"linear2.bias", DTYPE_F32, {1, {10}}},
        {"optim.weights.0.m.linear1.weight", DTYPE_F32, {2, {3, 784}}},
        {"optim.weights.0.rms.linear1.weight", DTYPE_F32, {1, {1}}},
        {"optim.weights.0.m.linear2.weight", DTYPE_F32, {2, {10, 3}}},
        {"optim.weights.0.rms.linear2.weight", DTYPE_F32, {1, {1}}},
        {"optim.others.1.momentum.linear1.bias", DTYPE_F32, {1, {3}}},
        {"optim.others.1.momentum.linear2.bias", DTYPE_F32, {1, {10}}},
    };
    static const char *const strings[][2] = {
        {"format", "tally checkpoint 2"},
        {"dataset", "digits"},
        {"sample", "(1, 28, 28)"},
        {"classes", "10"},
        {"epoch", "2"},
        {"batch", "1"},
        {"step", "9"},
        {"training_count", "5"},
        {"frozen", "1"},
        {"linear2.weight.number", "pow2, parameter 2, 16 bits, unit 24"}};
    static const char *const changes[] = {
        FREEZE,
        "optim.weights=[{\"counter\": {\"map\": \"pow2\", \"parameter\": 2, \"direction\": \"tensor\"}}]",
        "optim.others=[\"clip\", \"sgd\"]", NULL};
    enum { COUNT = sizeof wanted / sizeof *wanted };
    char path[PATH];
    struct run r;
    struct safetensors file;
    struct err e;
    path_of(path, state, "a.safetensors");
    open_run(&r, changes);
    advance(&r, 2 * BATCHES + 1);
    save(&r, path);
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    assert_int_equal(file.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        const struct safetensor *t = safetensors_find(&file, wanted[i].name);
        if (!t) fail_msg("%s is missing", wanted[i].name);
        assert_int_equal(t->dtype, wanted[i].dtype);
        assert_true(shape_equal(t->shape, wanted[i].shape));
    }
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        assert_string_equal(safetensors_meta(&file, strings[i][0]), strings[i][1]);
    assert_true(strtod(safetensors_meta(&file, "linear1.weight.scale"), NULL) == r.params->list[0].scale);
    assert_true(strtod(safetensors_meta(&file, "mean"), NULL) == r.batches.mean);
    assert_true(strtod(safetensors_meta(&file, "std"), NULL) == r.batches.std);
    assert_true(strtod(safetensors_meta(&file, "training_loss"), NULL) == r.training.loss);
    struct json *config = json_of(safetensors_meta(&file, "config"));
    assert_true(json_equal(config, r.resolved));
    json_free(config);
    struct config described;
    assert_int_equal(checkpoint_config(&described, &file, path, &e), 0);
    assert_string_equal(described.name, "small");
    assert_int_equal(described.train.epochs, EPOCHS);
    config_close(&described);
    const char *set;
    struct dataset data;
    assert_int_equal(checkpoint_data(&set, &data, &file, &e), 0);
    assert_string_equal(set, "digits");
    assert_true(data.kind == DATA_IMAGES && shape_equal(data.sample, shape_3(1, 28, 28)));
    assert_true(data.classes == 10 && data.targets == 1 && data.checksum == 0);
    safetensors_close(&file);
    run_close(&r);
}

static void counters_have_their_width(void **state) {
    static const struct {
        const char *change;
        enum dtype dtype;
    } widths[] = {{"optim.weights.0.counter.bits=8", DTYPE_I8},
                  {"optim.weights.0.counter.bits=12", DTYPE_I16},
                  {"optim.weights.0.counter.bits=16", DTYPE_I16},
                  {"optim.weights.0.counter.bits=32", DTYPE_I32}};
    for (int i = 0; i < 4; i++) {
        const char *const changes[] = {widths[i].change, NULL};
        char path[PATH];
        struct run r;
        struct safetensors file;
        struct err e;
        path_of(path, state, "a.safetensors");
        open_run(&r, changes);
        save(&r, path);
        assert_int_equal(checkpoint_open(&file, path, &e), 0);
        const struct safetensor *t = safetensors_find(&file, "linear1.weight.counter");
        assert_non_null(t);
        assert_int_equal(t->dtype, widths[i].dtype);
        safetensors_close(&file);
        run_close(&r);
    }
}

// --- another config ----------------------------------------------------------------------------------------

static void another_config(void **state) {
    static const struct {
        const char *change, *message;
    } rows[] = {
        {"seed=2", "seed is 1 there, 2 here"},
        {"train.epochs=5", "train.epochs is 4 there, 5 here"},
        {"train.shards=1", "train.shards is 2 there, 1 here"},
        {"data.normalise=false", "data.normalise is true there, false here"},
        {"data.set.digits.seed=7", "data.set.digits.seed is 0 there, 7 here"},
        {"optim.weights.0.counter.rate=0.05", "optim.weights.0.counter.rate is 0.03 there, 0.05 here"},
        {"optim.weights.0.counter.map=exp", "optim.weights.0.counter.map is \"square\" there, \"exp\" here"},
        {"optim.others=[\"clip\", \"adam\"]", "optim.others.0.clip is absent there, {\"norm\":1} here"},
        {"optim.sparsity={\"target\": 0.1}", "optim.sparsity.target is 1 there, 0.1 here"},
        {"model.1.linear.out=7", "model.1.linear.out is 3 there, 7 here"},
        {"model.3.dropout.p=0.2", "model.3.dropout.p is 0.1 there, 0.2 here"},
    };
    char path[PATH], wanted[PATH + 200];
    struct run r;
    struct safetensors file;
    struct err e;
    path_of(path, state, "a.safetensors");
    open_run(&r, NULL);
    save(&r, path);
    run_close(&r);
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const changes[] = {rows[i].change, NULL};
        open_run(&r, changes);
        assert_int_equal(checkpoint_load(&r, &file, path, &e), -1);
        snprintf(wanted, sizeof wanted, "%s: made with another config: %s", path, rows[i].message);
        assert_string_equal(e.text, wanted);
        assert_int_equal(r.step, 0); // and the run is as it was
        run_close(&r);
    }
    safetensors_close(&file);
}

// --- bad files ---------------------------------------------------------------------------------------------

enum base { PLAIN, FROZEN, MADAM, BASES };

static const char *const base_changes[BASES][3] = {
    {NULL}, {FREEZE, NULL}, {"optim.weights=[\"integer_madam\"]", NULL}};

// What is changed in a good file: a string of the metadata (value NULL: left out), or a tensor.
enum edit { META, REMOVE, RENAME, TWICE, DTYPE, SHAPE, PUT };

struct row {
    enum base base;
    enum edit edit;
    const char *what;    // key, or tensor
    const char *value;   // of META
    int index;           // of PUT
    double number;       // likewise
    const char *message; // without the path before it
};

static const struct row rows[] = {
    // the metadata
    {PLAIN, META, "format", NULL, 0, 0,
     "not a tally checkpoint of this version (format '', wanted 'tally checkpoint 2')"},
    {PLAIN, META, "format", "tally checkpoint 3", 0, 0,
     "not a tally checkpoint of this version (format 'tally checkpoint 3', wanted 'tally checkpoint 2')"},
    {PLAIN, META, "validation_loss", "nan", 0, 0,
     "__metadata__.validation_loss: wanted a number in -1.26765e+30 .. 1.26765e+30, found 'nan'"},
    {PLAIN, META, "validation_count", "-1", 0, 0,
     "__metadata__.validation_count: wanted a whole number in 0 .. 9.0072e+15, found '-1'"},
    {PLAIN, META, "config", NULL, 0, 0, "has no config"},
    {PLAIN, META, "config", "", 0, 0, "__metadata__.config: line 1, column 1: not valid JSON here"},
    {PLAIN, META, "config", "{\"seed\": 1", 0, 0,
     "__metadata__.config: line 1, column 10: not valid JSON here"},
    {PLAIN, META, "config", "[]", 0, 0, "__metadata__.config: wanted an object, found a list"},
    {PLAIN, META, "config", "7", 0, 0, "__metadata__.config: wanted an object, found a number"},
    {PLAIN, META, "config", "{}", 0, 0, "made with another config: name is absent there, \"small\" here"},
    {PLAIN, META, "epoch", NULL, 0, 0,
     "__metadata__.epoch: wanted a whole number in 0 .. 4, found 'nothing'"},
    {PLAIN, META, "epoch", "", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found ''"},
    {PLAIN, META, "epoch", "5", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found '5'"},
    {PLAIN, META, "epoch", "-1", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found '-1'"},
    {PLAIN, META, "epoch", "1.5", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found '1.5'"},
    {PLAIN, META, "epoch", "nan", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found 'nan'"},
    {PLAIN, META, "epoch", "1 ", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found '1 '"},
    {PLAIN, META, "epoch", "one", 0, 0, "__metadata__.epoch: wanted a whole number in 0 .. 4, found 'one'"},
    {PLAIN, META, "batch", "5", 0, 0, "batch 5 of an epoch of 4"},
    {PLAIN, META, "batch", "4294967296", 0, 0, "batch 4294967296 of an epoch of 4"},
    {PLAIN, META, "batch", "9007199254740994", 0, 0,
     "__metadata__.batch: wanted a whole number in 0 .. 9.0072e+15, found '9007199254740994'"},
    {PLAIN, META, "batch", "0.25", 0, 0,
     "__metadata__.batch: wanted a whole number in 0 .. 9.0072e+15, found '0.25'"},
    {PLAIN, META, "step", "-1", 0, 0,
     "__metadata__.step: wanted a whole number in 0 .. 9.0072e+15, found '-1'"},
    {PLAIN, META, "step", "inf", 0, 0,
     "__metadata__.step: wanted a whole number in 0 .. 9.0072e+15, found 'inf'"},
    {PLAIN, META, "training_loss", "nan", 0, 0,
     "__metadata__.training_loss: wanted a number in -1.26765e+30 .. 1.26765e+30, found 'nan'"},
    {PLAIN, META, "training_wrong", "1e400", 0, 0,
     "__metadata__.training_wrong: wanted a whole number in 0 .. 9.0072e+15, found '1e400'"},
    {PLAIN, META, "training_count", "-5", 0, 0,
     "__metadata__.training_count: wanted a whole number in 0 .. 9.0072e+15, found '-5'"},
    {PLAIN, META, "frozen", NULL, 0, 0,
     "__metadata__.frozen: wanted a whole number in 0 .. 1, found 'nothing'"},
    {PLAIN, META, "frozen", "2", 0, 0, "__metadata__.frozen: wanted a whole number in 0 .. 1, found '2'"},
    {PLAIN, META, "frozen", "0.5", 0, 0, "__metadata__.frozen: wanted a whole number in 0 .. 1, found '0.5'"},
    {PLAIN, META, "linear1.weight.scale", NULL, 0, 0,
     "__metadata__.linear1.weight.scale: wanted a number in 1e-300 .. 1e+300, found 'nothing'"},
    {PLAIN, META, "linear1.weight.scale", "0", 0, 0,
     "__metadata__.linear1.weight.scale: wanted a number in 1e-300 .. 1e+300, found '0'"},
    {PLAIN, META, "linear2.weight.scale", "-0.1", 0, 0,
     "__metadata__.linear2.weight.scale: wanted a number in 1e-300 .. 1e+300, found '-0.1'"},
    {PLAIN, META, "linear2.weight.scale", "1e300", 0, 0,
     "linear2.weight: values that are not finite, with a scale of 1e+300"},
    {PLAIN, META, "linear2.weight.scale", "inf", 0, 0,
     "__metadata__.linear2.weight.scale: wanted a number in 1e-300 .. 1e+300, found 'inf'"},
    // the list of tensors
    {PLAIN, REMOVE, "linear1.bias", NULL, 0, 0, "11 tensors, this config has 12"},
    {PLAIN, TWICE, "linear1.bias", NULL, 0, 0, "13 tensors, this config has 12"},
    {PLAIN, RENAME, "linear1.bias", NULL, 0, 0, "linear1.bias: missing"},
    {PLAIN, RENAME, "linear2.weight.counter", NULL, 0, 0, "linear2.weight.counter: missing"},
    {PLAIN, RENAME, "optim.weights.0.v.linear1.weight", NULL, 0, 0,
     "optim.weights.0.v.linear1.weight: missing"},
    {PLAIN, META, "frozen", "1", 0, 0, "12 tensors, this config has 14"},
    {FROZEN, META, "frozen", "0", 0, 0, "14 tensors, this config has 12"},
    {FROZEN, REMOVE, "linear1.weight.alive", NULL, 0, 0, "13 tensors, this config has 14"},
    {FROZEN, RENAME, "linear2.weight.alive", NULL, 0, 0, "linear2.weight.alive: missing"},
    // types and shapes
    {PLAIN, DTYPE, "linear1.bias", NULL, 0, 0, "linear1.bias: of another type or shape than this config's"},
    {PLAIN, DTYPE, "linear1.weight.counter", NULL, 0, 0,
     "linear1.weight.counter: of another type or shape than this config's"},
    {FROZEN, DTYPE, "linear1.weight.alive", NULL, 0, 0,
     "linear1.weight.alive: of another type or shape than this config's"},
    {PLAIN, SHAPE, "linear2.bias", NULL, 0, 0, "linear2.bias: of another type or shape than this config's"},
    {PLAIN, SHAPE, "linear2.weight.counter", NULL, 0, 0,
     "linear2.weight.counter: of another type or shape than this config's"},
    {PLAIN, SHAPE, "optim.others.0.m.linear1.bias", NULL, 0, 0,
     "optim.others.0.m.linear1.bias: of another type or shape than this config's"},
    // numbers
    {PLAIN, PUT, "linear1.bias", NULL, 2, NAN, "linear1.bias: number 2 is not finite"},
    {PLAIN, PUT, "linear2.bias", NULL, 9, -INFINITY, "linear2.bias: number 9 is not finite"},
    {PLAIN, PUT, "optim.weights.0.v.linear2.weight", NULL, 29, INFINITY,
     "optim.weights.0.v.linear2.weight: number 29 is not finite"},
    {PLAIN, PUT, "linear1.weight.counter", NULL, 7, 2048,
     "linear1.weight: counter 7 is 2048, the limit is 2047"},
    {PLAIN, PUT, "linear2.weight.counter", NULL, 29, -2048,
     "linear2.weight: counter 29 is -2048, the limit is 2047"},
    {MADAM, PUT, "linear1.weight.counter", NULL, 0, 4097,
     "linear1.weight: counter 0 is 4097, the limit is 4096"},
    {MADAM, PUT, "linear1.weight.counter", NULL, 1, -32768,
     "linear1.weight: counter 1 is -32768, the limit is 4096"},
    {FROZEN, PUT, "linear2.weight.alive", NULL, 4, 2, "linear2.weight.alive: number 4 is neither 0 nor 1"},
    // at the limits
    {PLAIN, META, "format", "tally checkpoint 1", 0, 0, ""},
    {PLAIN, META, "validation_count", NULL, 0, 0, ""},
    {PLAIN, META, "epoch", "4", 0, 0, ""},
    {PLAIN, META, "batch", "4", 0, 0, ""},
    {PLAIN, META, "step", "9007199254740992", 0, 0, ""},
    {PLAIN, PUT, "linear1.weight.counter", NULL, 7, 2047, ""},
    {PLAIN, PUT, "linear1.weight.counter", NULL, 7, -2047, ""},
    {MADAM, PUT, "linear1.weight.counter", NULL, 7, -4096, ""},
};

static struct safetensor *tensor_find(struct safetensor *tensors, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
    fail_msg("there is no %s", name);
    return NULL;
}

// But for the checksum.
static struct json *meta_edited_new(const struct json *metadata, const struct row *row) {
    struct json *meta = json_object_new();
    for (int i = 0; i < json_count(metadata); i++) {
        const struct json *member = json_item(metadata, i);
        bool same = row->edit == META && strcmp(json_key(member), row->what) == 0;
        if ((!same || row->value) && strcmp(json_key(member), CHECKPOINT_CHECKSUM) != 0)
            json_add_string(meta, json_key(member), same ? row->value : json_string(member));
    }
    return meta;
}

// The right one, as what is tested is what else is wrong; or the row's own.
static void checksum_add(struct json *meta, const struct safetensor *tensors, int count,
                         const struct row *row) {
    char text[24];
    bool own = row->edit == META && strcmp(row->what, CHECKPOINT_CHECKSUM) == 0;
    snprintf(text, sizeof text, "%016llx",
             (unsigned long long)safetensors_checksum(tensors, count, meta, CHECKPOINT_CHECKSUM));
    if (!own || row->value) json_add_string(meta, CHECKPOINT_CHECKSUM, own ? row->value : text);
}

// Writes the good file with the row's change.
static void edited_write(const char *path, const struct safetensors *good, const struct row *row) {
    static _Alignas(8) unsigned char bytes[ROOM];
    struct safetensor tensors[TENSORS];
    int count = good->count;
    assert_true(count < TENSORS);
    memcpy(tensors, good->tensors, (size_t)count * sizeof *tensors);
    struct safetensor *t = row->edit == META ? NULL : tensor_find(tensors, count, row->what);
    size_t size = t ? shape_size(t->shape) * dtype_bytes(t->dtype) : 0;
    assert_true(size * 2 <= ROOM);
    memset(bytes, 0, sizeof bytes);
    if (t) memcpy(bytes, t->bytes, size);
    switch (row->edit) {
    case META:
        break;
    case REMOVE:
        *t = tensors[--count];
        break;
    case TWICE:
        tensors[count] = *t;
        t = &tensors[count++]; // and another name
        // fall through
    case RENAME:
        strcpy(t->name, "other");
        break;
    case DTYPE: // of the same size, where there is one
        t->dtype = t->dtype == DTYPE_F32 ? DTYPE_I32 : t->dtype == DTYPE_U8 ? DTYPE_I8 : DTYPE_I32;
        t->bytes = bytes;
        break;
    case SHAPE: // with as many numbers
        t->shape = shape_2(1, (int)shape_size(t->shape));
        break;
    case PUT:
        t->bytes = bytes;
        if (t->dtype == DTYPE_F32)
            ((float *)(void *)bytes)[row->index] = (float)row->number;
        else if (t->dtype == DTYPE_I16)
            ((int16_t *)(void *)bytes)[row->index] = (int16_t)row->number;
        else
            bytes[row->index] = (unsigned char)row->number;
    }
    struct err e = {""};
    struct json *meta = meta_edited_new(good->metadata, row);
    checksum_add(meta, tensors, count, row);
    unlink(path);
    if (safetensors_write(path, tensors, count, meta, &e) != 0) fail_msg("%s", e.text);
    json_free(meta);
}

static void message_strip(struct err *e, const char *path) {
    size_t length = strlen(path);
    assert_memory_equal(e->text, path, length);
    assert_memory_equal(e->text + length, ": ", 2);
    memmove(e->text, e->text + length + 2, strlen(e->text + length + 2) + 1);
}

static void bad_files(void **state) {
    char good_path[BASES][PATH], path[PATH];
    struct run runs[BASES];
    struct safetensors good[BASES], file;
    struct err e;
    int failed = 0;
    path_of(path, state, "bad.safetensors");
    for (int base = 0; base < BASES; base++) {
        static const char *const names[BASES] = {"plain", "frozen", "madam"};
        path_of(good_path[base], state, names[base]);
        open_run(&runs[base], base_changes[base]);
        advance(&runs[base], base == FROZEN ? 10 : 6);
        save(&runs[base], good_path[base]);
        assert_int_equal(checkpoint_open(&good[base], good_path[base], &e), 0);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        edited_write(path, &good[row->base], row);
        e.text[0] = 0;
        if (checkpoint_open(&file, path, &e) != 0 || checkpoint_load(&runs[row->base], &file, path, &e) != 0)
            message_strip(&e, path);
        safetensors_close(&file);
        if (strcmp(e.text, row->message) == 0) continue;
        print_error("row %zu, %s:\n  found  %s\n  wanted %s\n", i, row->what, e.text, row->message);
        failed++;
    }
    assert_int_equal(failed, 0);
    for (int base = 0; base < BASES; base++) {
        load(&runs[base], good_path[base]); // still good, whatever was tried before
        safetensors_close(&good[base]);
        run_close(&runs[base]);
    }
}

// Whatever byte is changed, and wherever the file is cut: it is refused, and the run is as it was.
static void damage(void **state) {
    char path[PATH], start[PATH + 60];
    struct run r;
    struct safetensors file;
    struct err e;
    size_t size, seen = 0;
    path_of(path, state, "a.safetensors");
    open_run(&r, NULL);
    advance(&r, 5);
    save(&r, path);
    run_close(&r);
    unsigned char *bytes = file_read_new(&size, path, 1 << 20, &e);
    assert_non_null(bytes);
    size_t header = 8 + (size_t)bytes[0] + 256 * (size_t)bytes[1];
    snprintf(start, sizeof start, "%s: damaged: the checksum of its content is ", path);
    int descriptor = open(path, O_WRONLY);
    for (size_t at = 0; at < size; at += at < header ? 1 : 53) {
        unsigned char changed = bytes[at] ^ (unsigned char)(1 << at % 8);
        assert_int_equal(pwrite(descriptor, &changed, 1, (off_t)at), 1);
        if (checkpoint_open(&file, path, &e) == 0) fail_msg("byte %zu was changed", at);
        seen += strncmp(e.text, start, strlen(start)) == 0;
        safetensors_close(&file);
        assert_int_equal(pwrite(descriptor, &bytes[at], 1, (off_t)at), 1);
    }
    assert_true(seen > (size - header) / 53); // what the container's own rules do not see
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    safetensors_close(&file);
    for (size_t cut = size - 1; cut > 0; cut = cut * 7 / 8) {
        assert_int_equal(ftruncate(descriptor, (off_t)cut), 0);
        assert_int_equal(checkpoint_open(&file, path, &e), -1);
        safetensors_close(&file);
    }
    close(descriptor);
    mem_free(bytes);
}

// Files of version 1 come without a checksum; where there is one, it counts.
static void checksums(void **state) {
    static const struct {
        const char *format, *checksum, *message;
    } table[] = {
        {"tally checkpoint 2", "right", ""},
        {"tally checkpoint 2", NULL, "'' is written in it"},
        {"tally checkpoint 2", "0123456789abcdef", "'0123456789abcdef' is written in it"},
        {"tally checkpoint 1", NULL, ""},
        {"tally checkpoint 1", "0123456789abcdef", "'0123456789abcdef' is written in it"},
        {"tally checkpoint 1", "right", ""},
    };
    char good_path[PATH], path[PATH], right[24], wanted[PATH + 140];
    struct run r;
    struct safetensors good, file;
    struct err e;
    path_of(good_path, state, "good");
    path_of(path, state, "a.safetensors");
    open_run(&r, NULL);
    save(&r, good_path);
    assert_int_equal(checkpoint_open(&good, good_path, &e), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct json *meta =
            meta_edited_new(good.metadata, &(struct row){0, META, "format", table[i].format, 0, 0, ""});
        snprintf(
            right, sizeof right, "%016llx",
            (unsigned long long)safetensors_checksum(good.tensors, good.count, meta, CHECKPOINT_CHECKSUM));
        if (table[i].checksum)
            json_add_string(meta, CHECKPOINT_CHECKSUM,
                            strcmp(table[i].checksum, "right") == 0 ? right : table[i].checksum);
        assert_int_equal(safetensors_write(path, good.tensors, good.count, meta, &e), 0);
        e.text[0] = wanted[0] = 0;
        if (*table[i].message)
            snprintf(wanted, sizeof wanted, "%s: damaged: the checksum of its content is %s, %s", path, right,
                     table[i].message);
        if (checkpoint_open(&file, path, &e) == 0) assert_int_equal(checkpoint_load(&r, &file, path, &e), 0);
        assert_string_equal(e.text, wanted);
        safetensors_close(&file);
        json_free(meta);
    }
    safetensors_close(&good);
    run_close(&r);
}

// What could not be loaded is not written; the file before it stays.
static void only_finite_numbers(void **state) {
    char path[PATH], wanted[PATH + 60];
    struct run r;
    struct safetensors file;
    struct err e;
    path_of(path, state, "a.safetensors");
    open_run(&r, NULL);
    advance(&r, 2);
    save(&r, path);
    advance(&r, 1);
    real *value = NULL;
    for (int i = 0; i < r.params->count; i++)
        if (strcmp(r.params->list[i].name, "linear2.bias") == 0) value = r.params->list[i].value;
    assert_non_null(value);
    value[4] = NAN;
    assert_int_equal(checkpoint_save(&r, path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: linear2.bias: number 4 is not finite", path);
    assert_string_equal(e.text, wanted);
    value[4] = 0;
    r.params->list[0].value[7] = INFINITY; // of a counter
    assert_int_equal(checkpoint_save(&r, path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: linear1.weight is not finite", path);
    assert_string_equal(e.text, wanted);
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    assert_int_equal(checkpoint_step(&file), 2);
    safetensors_close(&file);
    run_close(&r);
}

// When checkpoints are written may change; and a file from before there was such a choice says nothing of it.
static void other_moments(void **state) {
    static const char *const moments[] = {"train.checkpoint_every=3", "train.checkpoint_minutes=0.5",
                                          "train.checkpoint_keep=2", "train.checkpoint_best=loss"};
    static const char key[] = ",\"checkpoint_minutes\":0,\"checkpoint_keep\":1,\"checkpoint_best\":\"none\"";
    char path[PATH];
    struct run a, b;
    struct safetensors file;
    struct err e;
    path_of(path, state, "a.safetensors");
    open_run(&a, NULL);
    advance(&a, 3);
    save(&a, path);
    for (int i = 0; i < 4; i++) {
        const char *const changes[] = {moments[i], NULL};
        open_run(&b, changes);
        load(&b, path);
        assert_same(&a, &b, moments[i]);
        run_close(&b);
    }
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    char *config = mem_string_new(safetensors_meta(&file, "config")), *at = strstr(config, key);
    assert_non_null(at);
    memmove(at, at + strlen(key), strlen(at + strlen(key)) + 1);
    edited_write(path, &file, &(struct row){0, META, "config", config, 0, 0, ""});
    open_run(&b, NULL);
    load(&b, path);
    assert_same(&a, &b, "an older file");
    safetensors_close(&file);
    mem_free(config);
    run_close(&a);
    run_close(&b);
}

// A file from before optim.sparsity.sparse_density.
static void without_sparse_density(void **state) {
    static const char *const changes[] = {PACKED, NULL};
    static const char key[] = ",\"sparse_density\":0.7";
    char path[PATH];
    struct run a, b;
    struct safetensors file;
    struct err e;
    path_of(path, state, "a.safetensors");
    open_run(&a, changes);
    open_run(&b, changes);
    advance(&a, 11);
    save(&a, path);
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    char *config = mem_string_new(safetensors_meta(&file, "config")), *at = strstr(config, key);
    assert_non_null(at);
    memmove(at, at + strlen(key), strlen(at + strlen(key)) + 1);
    edited_write(path, &file, &(struct row){0, META, "config", config, 0, 0, ""});
    load(&b, path);
    assert_same(&a, &b, "an older file");
    safetensors_close(&file);
    mem_free(config);
    run_close(&a);
    run_close(&b);
}

// A running variance below 0 would make every output NaN.
static void buffers_have_their_limits(void **state) {
    static const char *const changes[] = {"model=[\"flatten\", \"batch_norm\", {\"linear\": {\"out\": 10}}]",
                                          NULL};
    char path[PATH], wanted[PATH + 80];
    struct run r;
    struct safetensors file;
    struct err e = {""};
    path_of(path, state, "batch_norm.safetensors");
    open_run(&r, changes);
    advance(&r, 2);
    for (int i = 0; i < r.params->count; i++)
        if (strcmp(r.params->list[i].name, "batch_norm1.running_var") == 0) r.params->list[i].value[3] = -0.5;
    save(&r, path);
    assert_int_equal(checkpoint_open(&file, path, &e), 0);
    assert_int_equal(checkpoint_load(&r, &file, path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: batch_norm1.running_var: number 3 is -0.5, wanted at least 0", path);
    assert_string_equal(e.text, wanted);
    safetensors_close(&file);
    run_close(&r);
}

// --- saved runs --------------------------------------------------------------------------------------------

static void saved_runs(void **state) {
    static const char *const changes[] = {FREEZE, NULL};
    const struct run_options options = {.threads = 1};
    char path[PATH];
    struct run r, opened, looked;
    struct err e = {""};
    path_of(path, state, TRAIN_CHECKPOINT);
    open_run(&r, changes);
    advance(&r, 10);
    save(&r, path);
    if (saved_open(&opened, *state, &options, &e) != 0) fail_msg("%s", e.text);
    assert_same(&r, &opened, "with data");
    struct score a = run_evaluate(&r, PART_TEST), b = run_evaluate(&opened, PART_TEST);
    assert_true(a.count == 10 && a.count == b.count && a.wrong == b.wrong && a.loss == b.loss);
    if (saved_open(&looked, path, NULL, &e) != 0) fail_msg("%s", e.text); // the file itself
    assert_same(&r, &looked, "without data");
    assert_null(looked.data.type);
    assert_int_equal(looked.batches.count[PART_TRAIN], 0);
    assert_true(json_equal(looked.resolved, r.resolved));
    advance(&r, 5);
    advance(&opened, 5);
    assert_same(&r, &opened, "trained on");
    run_close(&r);
    run_close(&opened);
    run_close(&looked);
}

static void saved_runs_that_are_not(void **state) {
    static const struct row data_rows[] = {
        {PLAIN, META, "config", NULL, 0, 0, "has no config"},
        {PLAIN, META, "config", "{", 0, 0, "line 1, column 1: not valid JSON here"},
        {PLAIN, META, "config", "[]", 0, 0, "wanted an object, found a list"},
        {PLAIN, META, "config", "{}", 0, 0, "name: '' can't be a folder's name"},
        {PLAIN, META, "dataset", NULL, 0, 0, "__metadata__: dataset or sample missing"},
        {PLAIN, META, "sample", NULL, 0, 0, "__metadata__: dataset or sample missing"},
        {PLAIN, META, "sample", "()", 0, 0, "__metadata__.sample: '()' is not a sample's shape"},
        {PLAIN, META, "sample", "(1, 1, 28, 28)", 0, 0,
         "__metadata__.sample: '(1, 1, 28, 28)' is not a sample's shape"},
        {PLAIN, META, "kind", "image", 0, 0, "__metadata__.kind: 'image' is not a kind of data"},
        {PLAIN, META, "targets", "0", 0, 0,
         "__metadata__.targets: wanted a whole number in 1 .. 1.04858e+06, found '0'"},
        {PLAIN, META, "targets", "2", 0, 0,
         "model: ends with (10), the data set wants (2, 10): classes for each position"},
        {PLAIN, META, "classes", "0", 0, 0, "__metadata__.target: '' is not a target's shape"},
        {PLAIN, META, "sample", "(1, 28, 28) ", 0, 0,
         "__metadata__.sample: '(1, 28, 28) ' is not a sample's shape"},
        {PLAIN, META, "sample", "(1, 28, 28", 0, 0,
         "__metadata__.sample: '(1, 28, 28' is not a sample's shape"},
        {PLAIN, META, "sample", "(0, 28, 28)", 0, 0,
         "__metadata__.sample: '(0, 28, 28)' is not a sample's shape"},
        {PLAIN, META, "sample", "(4096, 4096, 4096)", 0, 0,
         "__metadata__.sample: '(4096, 4096, 4096)' is not a sample's shape"},
        {PLAIN, META, "sample", "(1, 999999999, 999999999)", 0, 0,
         "__metadata__.sample: '(1, 999999999, 999999999)' is not a sample's shape"},
        {PLAIN, META, "sample", "(1, 4096, 4096)", 0, 0, "its model has 50331691 numbers, the file 7185"},
        {PLAIN, META, "sample", "(1, 28, 27)", 0, 0,
         "linear1.weight.counter: of another type or shape than this config's"},
        {PLAIN, META, "classes", "1", 0, 0, "__metadata__.classes: wanted 2 or more, or 0 for none, found 1"},
        {PLAIN, META, "classes", "257", 0, 0,
         "__metadata__.classes: wanted a whole number in 0 .. 256, found '257'"},
        {PLAIN, META, "classes", "9.5", 0, 0,
         "__metadata__.classes: wanted a whole number in 0 .. 256, found '9.5'"},
        {PLAIN, META, "classes", "11", 0, 0, "model: ends with (10), the data set has 11 classes"},
    };
    char good_path[PATH], path[PATH];
    struct run r;
    struct safetensors good;
    struct err e;
    int failed = 0;
    path_of(good_path, state, "good");
    path_of(path, state, "bad.safetensors");
    open_run(&r, NULL);
    save(&r, good_path);
    run_close(&r);
    assert_int_equal(checkpoint_open(&good, good_path, &e), 0);
    for (size_t i = 0; i < sizeof data_rows / sizeof *data_rows; i++) {
        edited_write(path, &good, &data_rows[i]);
        assert_int_equal(saved_open(&r, path, NULL, &e), -1);
        run_close(&r);
        message_strip(&e, path);
        if (strcmp(e.text, data_rows[i].message) == 0) continue;
        print_error("row %zu, %s:\n  found  %s\n  wanted %s\n", i, data_rows[i].what, e.text,
                    data_rows[i].message);
        failed++;
    }
    assert_int_equal(failed, 0);
    safetensors_close(&good);
    assert_int_equal(saved_open(&r, "nowhere", NULL, &e), -1);
    run_close(&r);
    assert_string_equal(e.text, "nowhere/checkpoint.safetensors: No such file or directory");
}

static void summaries(void **state) {
    char path[PATH], wanted[PATH + 60];
    struct err e = {""};
    assert_false(saved_exists(*state));
    assert_null(saved_summary_new(*state, &e));
    path_of(path, state, TRAIN_SUMMARY);
    snprintf(wanted, sizeof wanted, "%s: No such file or directory", path);
    assert_string_equal(e.text, wanted);
    assert_int_equal(file_write_text(path, "{\"status\": \"finished\"}", &e), 0);
    struct json *summary = saved_summary_new(*state, &e);
    assert_non_null(summary);
    assert_string_equal(json_string(json_find(summary, "status")), "finished");
    json_free(summary);
    assert_false(saved_exists(*state)); // it is the config that tells
    path_of(path, state, TRAIN_CONFIG);
    assert_int_equal(file_write_text(path, "{}", &e), 0);
    assert_true(saved_exists(*state));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(every_number_system),
        IN_FOLDER(every_optimiser),
        IN_FOLDER(every_position),
        IN_FOLDER(into_a_packed_run),
        IN_FOLDER(either_way),
        IN_FOLDER(without_sparse_density),
        IN_FOLDER(the_end),
        IN_FOLDER(content),
        IN_FOLDER(counters_have_their_width),
        IN_FOLDER(another_config),
        IN_FOLDER(bad_files),
        IN_FOLDER(damage),
        IN_FOLDER(checksums),
        IN_FOLDER(only_finite_numbers),
        IN_FOLDER(other_moments),
        IN_FOLDER(buffers_have_their_limits),
        IN_FOLDER(saved_runs),
        IN_FOLDER(saved_runs_that_are_not),
        IN_FOLDER(summaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
