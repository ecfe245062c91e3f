// Options of windows. Contracts in sliding.h.
#include "layers/sliding.h"

#include <limits.h>
#include <string.h>

enum { PAIR_LIMIT = 1024 };

// One of the four options: its key, what was given, where it goes.
struct option {
    const char *key;
    const struct json *node;
    int *pair;
};

enum { KERNEL_SIZE, STRIDE, PADDING, DILATION, OPTIONS };

static void options_of(struct option option[OPTIONS], struct sliding *s) {
    option[KERNEL_SIZE] = (struct option){"kernel_size", s->kernel_size, s->window.size};
    option[STRIDE] = (struct option){"stride", s->stride, s->window.stride};
    option[PADDING] = (struct option){"padding", s->padding, s->window.padding};
    option[DILATION] = (struct option){"dilation", s->dilation, s->window.dilation};
}

static int pair_read(const struct option *o, int min, const char *path, struct err *e) {
    char key_path[JSON_PATH], item_path[JSON_PATH];
    json_path(key_path, path, o->key, 0);
    int64_t value;
    if (json_type(o->node) == JSON_NUMBER) {
        if (json_read_int(&value, o->node, min, PAIR_LIMIT, key_path, e) != 0) return -1;
        o->pair[0] = o->pair[1] = (int)value;
        return 0;
    }
    if (json_type(o->node) != JSON_ARRAY || json_count(o->node) != 2)
        return err_set(e, "%s: wanted a whole number or [down, across], found %s", key_path,
                       json_type(o->node) == JSON_ARRAY ? "a list of another length"
                                                        : json_type_name(o->node));
    for (int k = 0; k < 2; k++) {
        json_path(item_path, key_path, NULL, k);
        if (json_read_int(&value, json_item(o->node, k), min, PAIR_LIMIT, item_path, e) != 0) return -1;
        o->pair[k] = (int)value;
    }
    return 0;
}

int sliding_build(struct layer *l, int stride, struct err *e) {
    struct sliding *s = l->config;
    struct window *w = &s->window;
    struct option option[OPTIONS];
    char text[SHAPE_TEXT];
    options_of(option, s);
    if (!s->kernel_size) return err_set(e, "%s.kernel_size: must be given", l->path);
    *w = (struct window){.stride = {stride, stride}, .dilation = {1, 1}};
    for (int i = 0; i < OPTIONS; i++)
        if (option[i].node && pair_read(&option[i], i == PADDING ? 0 : 1, l->path, e) != 0) return -1;
    if (l->in.rank != 3)
        return err_set(e, "%s: wants images (channels, height, width), gets %s", l->path,
                       shape_text(text, l->in));
    l->out = l->in;
    for (int k = 0; k < 2; k++) {
        if (w->stride[k] == 0) w->stride[k] = w->size[k];
        l->out.dim[1 + k] = window_count(w, k, l->in.dim[1 + k]);
    }
    if (l->out.dim[1] < 1 || l->out.dim[2] < 1)
        return err_set(e, "%s: a window of %d by %d does not fit images %s with padding %d by %d", l->path,
                       (int)window_reach(w, 0), (int)window_reach(w, 1), shape_text(text, l->in),
                       w->padding[0], w->padding[1]);
    if ((double)l->in.dim[0] * l->in.dim[1] * l->in.dim[2] > INT_MAX)
        return err_set(e, "%s: images %s have more than %d numbers", l->path, shape_text(text, l->in),
                       INT_MAX);
    return 0;
}

int sliding_check_padding(const struct layer *l, struct err *e) {
    const struct sliding *s = l->config;
    const struct window *w = &s->window;
    for (int k = 0; k < 2; k++)
        if (2 * w->padding[k] > w->size[k])
            return err_set(e, "%s.padding: %d is more than half of kernel_size, %d", l->path, w->padding[k],
                           w->size[k]);
    return 0;
}

static bool key_known(const struct field *fields, const char *key) {
    for (; fields->name; fields++)
        if (strcmp(fields->name, key) == 0) return true;
    return false;
}

struct json *sliding_write(const struct layer *l) {
    struct json *options = fields_write_new(l->config, l->type->fields);
    struct option option[OPTIONS];
    options_of(option, l->config);
    for (int i = 0; i < OPTIONS; i++) {
        if (option[i].node || !key_known(l->type->fields, option[i].key)) continue;
        const int *pair = option[i].pair;
        if (pair[0] == pair[1]) {
            json_add_number(options, option[i].key, pair[0]);
            continue;
        }
        struct json *list = json_array_new();
        for (int k = 0; k < 2; k++) json_add_number(list, NULL, pair[k]);
        json_add(options, option[i].key, list);
    }
    return options;
}
