// The C source export, for the tests of its parts: nets made by hand are exported, compiled by the system's compiler with its
// warnings as errors, run, and compared with net_forward to the bit.
#ifndef TALLY_TESTS_C_PROGRAMS_H
#define TALLY_TESTS_C_PROGRAMS_H

#include <sys/wait.h>

#include "export/c_source.h"
#include "src/file.h"
#include "src/rng.h"
#include "tests/check.h"

enum { PATH = 300, COMMAND = 1200, LAYERS = 64, IMAGES = 24, LIMIT = 1 << 24, OUT_MAX = 160 };

#define WARNINGS "-std=c99 -Wall -Wextra -Wconversion -Wsign-conversion -pedantic -Werror"

extern const struct export_format c_format;

// In place of the C library's: many files are made here, and a disk takes its time.
int fsync(int descriptor);
int fsync(int descriptor) {
    return descriptor < 0 ? -1 : 0;
}

static inline bool works(const char *command) {
    return system(command) == 0;
}

static inline bool has_compiler(void) {
    if (works("cc --version >/dev/null 2>&1")) return true;
    print_message("skipped: no compiler 'cc'\n");
    return false;
}

// --- nets made by hand -----------------------------------------------------------------------------------------

struct made {
    struct net *net;
    struct rng rng;
};

static inline struct made made_new(struct shape in, uint64_t seed) {
    struct made m = {mem_new(1, sizeof *m.net), rng_stream(seed, "test c source")};
    snprintf(m.net->name, sizeof m.net->name, "by */ hand");
    m.net->in = in;
    m.net->std = 1;
    m.net->layers = mem_new(LAYERS, sizeof *m.net->layers);
    return m;
}

static inline struct net_layer *plain_add(struct made *m, enum net_kind kind) {
    struct net *n = m->net;
    struct net_layer *l = &n->layers[n->count];
    int number = 1;
    for (int i = 0; i < n->count; i++) number += n->layers[i].kind == kind;
    l->kind = kind;
    snprintf(l->name, sizeof l->name, "%s%d", net_kind_name(kind), number);
    l->input[0] = n->count - 1; // the layer before, or NET_SAMPLE
    l->input[1] = NET_NONE;
    l->groups = 1;
    l->in = n->count ? n->layers[n->count - 1].out : n->in;
    l->out = kind == NET_FLATTEN ? shape_1((int)shape_size(l->in)) : l->in;
    n->count++;
    return l;
}

// What a linear layer is drawn from.
struct draw {
    int out;
    double density;
    int bits; // 0: floats
    enum number_kind kind;
    double parameter;
    int32_t low, high; // magnitudes of counters; 0: 1 and the number system's unit
    bool no_bias;
};

static inline void tensor_draw(struct made *m, struct net_tensor *t, struct shape shape,
                               const struct draw *d) {
    t->shape = shape;
    t->size = shape_size(shape);
    t->value = mem_new(t->size, sizeof *t->value);
    t->counted = d->bits > 0;
    t->scale = 1;
    if (t->counted) {
        t->number = number_make(d->kind, d->bits, d->parameter, 0);
        t->counter = mem_new(t->size, sizeof *t->counter);
        t->scale = 0.3 / number_value(&t->number, t->number.unit) * (1 + rng_uniform(&m->rng));
    }
    int32_t low = d->low ? d->low : 1, high = d->high ? d->high : t->counted ? t->number.unit : 0;
    for (size_t i = 0; i < t->size; i++) {
        bool minus = rng_below(&m->rng, 2) == 1;
        double drawn = rng_uniform(&m->rng);
        uint32_t magnitude = rng_below(&m->rng, high >= low ? (uint32_t)(high - low + 1) : 1);
        if (rng_uniform(&m->rng) >= d->density) continue;
        if (t->counted) {
            t->counter[i] = (low + (int32_t)magnitude) * (minus ? -1 : 1);
            t->value[i] = (float)(t->scale * number_value(&t->number, t->counter[i]));
        } else {
            t->value[i] = (float)(drawn - 0.5);
        }
    }
}

static inline struct net_layer *linear_add(struct made *m, struct draw d) {
    struct net_layer *l = plain_add(m, NET_LINEAR);
    int in = (int)shape_size(l->in);
    l->out = shape_1(d.out);
    tensor_draw(m, &l->weight, shape_2(d.out, in), &d);
    if (!d.no_bias) tensor_draw(m, &l->bias, shape_1(d.out), &(struct draw){.density = 1});
    return l;
}

// --- exporting and running ---------------------------------------------------------------------------------------

struct built {
    char folder[PATH], name[C_NAME]; // FOLDER/NAME.c
    struct export_sizes sizes;
    size_t layer[LAYERS];
    struct export_options options;
};

static inline struct built built_new(const char *folder, const char *name, bool integer) {
    struct built b = {.options = {.integer = integer, .self_test = true}};
    snprintf(b.folder, sizeof b.folder, "%s", folder);
    snprintf(b.name, sizeof b.name, "%s", name);
    return b;
}

static inline int built_write(struct built *b, const struct net *n, struct err *e) {
    char path[2 * PATH];
    snprintf(path, sizeof path, "%s/%s.c", b->folder, b->name);
    assert_true(n->count <= LAYERS);
    b->sizes.layer = b->layer;
    return c_format.write(n, path, &b->options, &b->sizes, e);
}

static inline char *text_read_new(const struct built *b, const char *ending) {
    char path[2 * PATH];
    size_t size;
    struct err e;
    snprintf(path, sizeof path, "%s/%s%s", b->folder, b->name, ending);
    char *text = (char *)file_read_new(&size, path, LIMIT, &e);
    if (!text) fail_msg("%s", e.text);
    return text;
}

static inline void text_put(const struct built *b, const char *ending, const char *text) {
    char path[2 * PATH];
    struct err e;
    snprintf(path, sizeof path, "%s/%s%s", b->folder, b->name, ending);
    if (file_write_text(path, text, &e) != 0) fail_msg("%s", e.text);
}

// With the undefined-behaviour sanitizer where the compiler has it; clang, where it is there, must be content too.
static inline void compile(const struct built *b) {
    char command[COMMAND];
    const char *sanitizer = " -fsanitize=undefined -fno-sanitize-recover=all";
    snprintf(command, sizeof command,
             "cd '%s' && { test -x u || { echo 'int main(void) { return 0; }' >u.c && cc%s u.c -o u "
             "2>/dev/null; }; }",
             b->folder, sanitizer);
    if (!works(command)) {
        print_message("skipped: no -fsanitize=undefined\n");
        sanitizer = "";
    }
    snprintf(command, sizeof command, "cd '%s' && cc " WARNINGS "%s '%s.c' '%s_test.c' -o program -lm",
             b->folder, sanitizer, b->name, b->name);
    if (!works(command)) fail_msg("%s", command);
    snprintf(command, sizeof command,
             "cd '%s' && { ! clang --version >/dev/null 2>&1 || clang " WARNINGS
             " -fsyntax-only '%s.c' '%s_test.c'; }",
             b->folder, b->name, b->name);
    if (!works(command)) fail_msg("%s", command);
}

// The images' outputs, as text, and their labels.
struct answers {
    double y[IMAGES][OUT_MAX]; // float and int32_t fit
    int label[IMAGES];
};

static inline void images_run(struct answers *a, const struct built *b, const uint8_t *pixel, size_t in,
                              size_t out) {
    char command[COMMAND], path[2 * PATH];
    struct err e;
    snprintf(path, sizeof path, "%s/images", b->folder);
    if (file_write_bytes(path, pixel, IMAGES * in, &e) != 0) fail_msg("%s", e.text);
    snprintf(command, sizeof command,
             "cd '%s' && ./program images >answers && ./program - <images | cmp - answers", b->folder);
    assert_true(works(command));
    snprintf(path, sizeof path, "%s/answers", b->folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int i = 0; i < IMAGES; i++) {
        assert_int_equal(fscanf(f, "%d", &a->label[i]), 1);
        for (size_t j = 0; j < out; j++) assert_int_equal(fscanf(f, "%lf", &a->y[i][j]), 1);
    }
    assert_int_equal(fscanf(f, "%*s"), EOF);
    fclose(f);
}

// Random images, and black, white and the one that drives unit 0 highest of a linear layer that sees it.
static inline uint8_t *images_new(struct made *m) {
    size_t in = shape_size(m->net->in);
    uint8_t *pixel = mem_new(IMAGES, in);
    for (size_t i = 0; i < (IMAGES - 2) * in; i++) pixel[i] = (uint8_t)rng_below(&m->rng, 256);
    memset(pixel, 0, in);
    memset(pixel + (IMAGES - 2) * in, 255, in);
    const struct net_layer *l = m->net->layers;
    while (l < m->net->layers + m->net->count && l->kind != NET_LINEAR) l++;
    bool sees = l < m->net->layers + m->net->count && (size_t)net_columns(&l->weight) == in;
    for (size_t j = 0; j < in && sees; j++) pixel[(IMAGES - 1) * in + j] = l->weight.value[j] > 0 ? 255 : 0;
    return pixel;
}

static inline size_t outputs_of(const struct net *n) {
    size_t out = shape_size(n->layers[n->count - 1].out);
    assert_in_range(out, 1, OUT_MAX);
    return out;
}

// --- what stands in NAME.c -------------------------------------------------------------------------------------------

// The text without comments.
static inline void comments_remove(char *text) {
    char *to = text;
    for (char *at = text; *at;) {
        if (at[0] == '/' && at[1] == '*') {
            at = strstr(at, "*/");
            assert_non_null(at);
            at += 2;
        } else {
            *to++ = *at++;
        }
    }
    *to = 0;
}

// Every line that opens something at file scope names it with the prefix.
static inline void lines_check(const char *text, const char *prefix) {
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (!((*line >= 'a' && *line <= 'z') || (*line >= 'A' && *line <= 'Z'))) continue;
        const char *end = strchr(line, '\n'), *found = strstr(line, prefix);
        if (!found || !end || found > end) fail_msg("no %s in: %.60s", prefix, line);
    }
}

static inline void source_check(const struct built *b, const char *prefix, const char *contains) {
    static const char *const never[] = {"malloc", "printf", "stdio", "stdlib", "__", "goto"};
    static const char *const never_integer[] = {"float", "double", " * ", " / ", "%",
                                                "math",  "*=",     "/=",  "."};
    char *text = text_read_new(b, ".c");
    comments_remove(text);
    char *code = strstr(text, ".h\"\n");
    assert_non_null(code);
    code += 4;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(code, never[i])) fail_msg("%s is in the source", never[i]);
    for (size_t i = 0; b->options.integer && i < sizeof never_integer / sizeof *never_integer; i++)
        if (strstr(code, never_integer[i])) fail_msg("%s is in the integer source", never_integer[i]);
    if (contains && !strstr(code, contains)) fail_msg("%s isn't in the source", contains);
    lines_check(code, prefix);
    mem_free(text);
}

static inline void sizes_check(const struct built *b, const struct net *n) {
    size_t sum = 0;
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        bool tables = l->bias.shape.rank || l->factor.shape.rank;
        sum += b->layer[i];
        assert_int_equal(b->layer[i] > 0, tables || (l->weight.shape.rank && net_nonzero(&l->weight)));
    }
    assert_int_equal(b->sizes.total, sum);
}

// --- the float form ----------------------------------------------------------------------------------------------

// Exports, compiles, runs: the outputs are those of net_forward to the bit. Frees the net.
static inline void float_check(void **state, struct made *m, const char *contains) {
    struct err e = {""};
    struct built b = built_new(*state, "a-net 1", false);
    size_t in = shape_size(m->net->in), out = outputs_of(m->net);
    if (built_write(&b, m->net, &e) != 0) fail_msg("%s", e.text);
    source_check(&b, "a_net_1_", contains);
    sizes_check(&b, m->net);
    compile(&b);
    char command[COMMAND];
    snprintf(command, sizeof command, "test \"$('%s/program')\" = ok", b.folder);
    assert_true(works(command));
    uint8_t *pixel = images_new(m);
    struct answers *a = mem_new(1, sizeof *a);
    images_run(a, &b, pixel, in, out);
    float *x = mem_new(in, sizeof *x), y[OUT_MAX];
    for (size_t i = 0; i < IMAGES; i++) {
        float unit = m->net->layers[0].kind == NET_EMBEDDING ? 1.0f : 255.0f;
        for (size_t j = 0; j < in; j++) x[j] = (float)pixel[i * in + j] / unit;
        net_forward(m->net, x, y);
        size_t most = 0;
        for (size_t j = 0; j < out; j++) {
            most = y[j] > y[most] ? j : most;
            if ((float)a->y[i][j] != y[j])
                fail_msg("image %zu, output %zu: %.9g, net_forward has %.9g", i, j, a->y[i][j], (double)y[j]);
        }
        assert_int_equal(a->label[i], most);
    }
    mem_free(x);
    mem_free(a);
    mem_free(pixel);
    net_free(m->net);
}

#endif
