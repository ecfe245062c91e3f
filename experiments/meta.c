// Metadata of a checkpoint. Contracts in meta.h.
#include "experiments/meta.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void meta_add_number(struct json *meta, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    json_add_string(meta, key, text);
}

void meta_add_score(struct json *meta, const char *part, struct score s) {
    char key[40];
    snprintf(key, sizeof key, "%s_loss", part);
    meta_add_number(meta, key, s.loss);
    snprintf(key, sizeof key, "%s_wrong", part);
    meta_add_number(meta, key, (double)s.wrong);
    snprintf(key, sizeof key, "%s_count", part);
    meta_add_number(meta, key, (double)s.count);
}

static bool number_read(double *value, const char *text, double min, double max) {
    int used = 0;
    return text && sscanf(text, "%lf%n", value, &used) == 1 && !text[used] && *value >= min && *value <= max;
}

int meta_read(double *value, const struct safetensors *file, const char *key, double min, double max,
              struct err *e) {
    const char *text = safetensors_meta(file, key);
    if (number_read(value, text, min, max)) return 0;
    return err_set(e, "__metadata__.%s: wanted a number in %g .. %g, found '%.40s'", key, min, max,
                   text ? text : "nothing");
}

int meta_read_int(int64_t *value, const struct safetensors *file, const char *key, double min, double max,
                  struct err *e) {
    const char *text = safetensors_meta(file, key);
    double number;
    if (!number_read(&number, text, min, max) || number != floor(number))
        return err_set(e, "__metadata__.%s: wanted a whole number in %g .. %g, found '%.40s'", key, min, max,
                       text ? text : "nothing");
    *value = (int64_t)number;
    return 0;
}

// The same where the key may be missing: files from before there was such a thing.
int meta_read_later(int64_t *value, const struct safetensors *file, const char *key, int64_t without,
                    double min, double max, struct err *e) {
    *value = without;
    return safetensors_meta(file, key) ? meta_read_int(value, file, key, min, max, e) : 0;
}

// A shape as shape_text writes it, of 1 to 3 dimensions (a batch adds one) and at most META_SAMPLE numbers.
static bool shape_read(struct shape *s, const char *text) {
    size_t size = 1;
    int used = 0;
    *s = (struct shape){0};
    if (!text || *text++ != '(') return false;
    do {
        if (s->rank == SHAPE_RANK_MAX - 1 || sscanf(text, "%9d%n", &s->dim[s->rank], &used) != 1)
            return false;
        int dim = s->dim[s->rank++];
        if (dim < 1 || !size_mul(&size, size, (size_t)dim) || size > META_SAMPLE) return false;
        text += used;
    } while (*text == ',' && *text++);
    return strcmp(text, ")") == 0;
}

int meta_read_shape(struct shape *s, const struct safetensors *file, const char *key, struct err *e) {
    const char *text = safetensors_meta(file, key);
    if (shape_read(s, text)) return 0;
    return err_set(e, "__metadata__.%s: '%.40s' is not a %s's shape", key, text ? text : "", key);
}

int meta_read_kind(enum data_kind *kind, const struct safetensors *file, struct err *e) {
    const char *text = safetensors_meta(file, "kind");
    for (*kind = DATA_IMAGES; text && *kind <= DATA_NUMBERS; (*kind)++)
        if (strcmp(text, data_kind_name(*kind)) == 0) return 0;
    if (text) return err_set(e, "__metadata__.kind: '%.40s' is not a kind of data", text);
    *kind = DATA_IMAGES; // files from before there were others
    return 0;
}

int meta_read_score(struct score *s, const struct safetensors *file, const char *part, bool judged,
                    struct err *e) {
    char key[40];
    int64_t wrong, count;
    snprintf(key, sizeof key, "%s_loss", part);
    if (meta_read(&s->loss, file, key, -0x1p100, 0x1p100, e) != 0) return -1;
    snprintf(key, sizeof key, "%s_wrong", part);
    if (meta_read_int(&wrong, file, key, 0, 0x1p53, e) != 0) return -1;
    snprintf(key, sizeof key, "%s_count", part);
    if (meta_read_int(&count, file, key, 0, 0x1p53, e) != 0) return -1;
    s->wrong = (uint64_t)wrong, s->count = (uint64_t)count;
    s->judged = judged ? s->count : 0;
    return 0;
}
