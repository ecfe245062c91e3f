// C source for machines without files: NAME.c and NAME.h, C99, const tables and straight code, no malloc, no stdio,
// nothing mutable. The float form computes what net_forward does; the integer form (c_shifts.h) only shifts and adds.
// What the files hold is in c_source.h.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "export/c_source.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096 };

static const char suffix[] = ".c";

// --- names -------------------------------------------------------------------------------------------------------------

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// The file's name without folder and suffix, and the identifiers' prefix that it makes: - . + and space become _.
static int names_take(struct c_source *s, const char *out, struct err *e) {
    const char *slash = strrchr(out, '/'), *name = slash ? slash + 1 : out;
    size_t length = strlen(name), ending = sizeof suffix - 1;
    if (length > ending && strcmp(name + length - ending, suffix) == 0) length -= ending;
    if (length == 0) return err_set(e, "%s: no file name, wanted one that starts identifiers", out);
    if (length >= C_NAME)
        return err_set(e, "%s: a file name of %zu characters, at most %d can start identifiers", out, length,
                       C_NAME - 1);
    if (!is_letter(name[0]))
        return err_set(e, "%s: the file's name starts identifiers, so its first character must be a letter",
                       out);
    for (size_t i = 0; i < length; i++) {
        bool fits = is_letter(name[i]) || is_digit(name[i]);
        if (!fits && !strchr("_-.+ ", name[i]))
            return err_set(
                e, "%s: the file's name starts identifiers, wanted letters, digits and _ - . + only", out);
        s->prefix[i] = fits ? name[i] : '_';
        s->macro[i] = (char)toupper((unsigned char)s->prefix[i]);
    }
    memcpy(s->stem, name, length);
    return 0;
}

static int values_check(const struct net_tensor *t, const char *layer, const char *what, struct err *e) {
    for (size_t i = 0; i < t->size; i++)
        if (!isfinite(t->value[i]))
            return err_set(e, "%s.%s: a value is %g, wanted finite ones", layer, what, (double)t->value[i]);
    return 0;
}

static int net_check(const struct net *n, struct err *e) {
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        if (values_check(&l->weight, l->name, "weight", e) != 0) return -1;
        if (values_check(&l->bias, l->name, "bias", e) != 0) return -1;
        if (values_check(&l->factor, l->name, "factor", e) != 0) return -1;
    }
    return 0;
}

// Layers as identifiers have them: residual1.linear1 becomes residual1_linear1.
static void layers_name(struct net *n) {
    for (int i = 0; i < n->count; i++)
        for (char *c = n->layers[i].name; *c; c++)
            if (*c == '.') *c = '_';
}

// --- files -------------------------------------------------------------------------------------------------------------

// STEM + ending, in the folder of `out`.
static int text_write(const struct c_source *s, const char *out, const char *ending,
                      void (*print)(struct bytes *text, const struct c_source *s), struct err *e) {
    char path[PATH_LENGTH];
    const char *slash = strrchr(out, '/');
    int folder = slash ? (int)(slash + 1 - out) : 0;
    int length = snprintf(path, sizeof path, "%.*s%s%s", folder, out, s->stem, ending);
    if (length < 0 || length >= PATH_LENGTH) return err_set(e, "%.80s...: the path is too long", out);
    struct bytes text = {0};
    print(&text, s);
    int result = file_write_bytes(path, text.at, text.size, e);
    bytes_free(&text);
    return result;
}

static int source_write(const struct c_source *s, const char *out, bool self_test, struct err *e) {
    if (text_write(s, out, ".h", c_header, e) != 0) return -1;
    if (text_write(s, out, suffix, c_body, e) != 0) return -1;
    return self_test ? text_write(s, out, "_test.c", c_self_test, e) : 0;
}

static void source_free(struct c_source *s) {
    net_free(s->net);
    shifts_free(s->shifts);
    mem_free(s->stages);
    mem_free(s->values);
    bytes_free(&s->tables);
    bytes_free(&s->functions);
    bytes_free(&s->notes);
}

// The sizes are those of the const tables, which lie in flash; code and text are not counted.
static int c_write(const struct net *n, const char *out, const struct export_options *options,
                   struct export_sizes *sizes, struct err *e) {
    struct c_source s = {.original = n, .layer_bytes = sizes->layer};
    CHECK(n->mean == 0 && n->std == 1, "c: %s is not ready to run", n->name);
    CHECK(n->count >= 1, "c: %s has no layers", n->name);
    int result = names_take(&s, out, e);
    if (result == 0) result = net_check(n, e);
    if (result == 0) {
        s.net = c_compact_new(n);
        for (int i = 0; i < n->count; i++) sizes->layer[i] = 0;
    }
    if (result == 0 && options->integer) {
        s.shifts = shifts_new(s.net, e);
        result = s.shifts ? 0 : -1;
    }
    if (result == 0) {
        layers_name(s.net);
        c_stages_plan(&s);
        (options->integer ? c_integer_stages : c_float_stages)(&s);
        c_run_print(&s);
        sizes->total = s.table_bytes;
        result = source_write(&s, out, options->self_test, e);
    }
    source_free(&s);
    return result;
}

const struct export_format c_format = {
    .name = "c",
    .help = "C99 source for machines without files: const tables and straight code; --integer: shifts and "
            "additions only",
    .suffix = suffix,
    .runs = true,
    .write = c_write,
};
