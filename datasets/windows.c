// Windows over a text. Contracts in windows.h.
#include "datasets/windows.h"

#include <string.h>

enum { BYTES = 256 };

// Fowler, Noll, Vo: FNV-1a, 32 bits.
static uint32_t checksum_of(const uint8_t *text, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ text[i]) * 16777619u;
    return hash;
}

static int alphabet_make(struct dataset *d, const uint8_t *text, size_t size, bool all, int64_t classes,
                         const char *where, struct err *e) {
    bool there[BYTES] = {false};
    for (size_t i = 0; i < size; i++) {
        if (!all && text[i] >= 128)
            return err_set(e, "%s: byte %zu is 0x%02x, which is not ASCII; use \"unit\": \"bytes\"", where, i,
                           text[i]);
        there[text[i]] = true;
    }
    d->classes = 0;
    for (int byte = 0; byte < BYTES; byte++)
        if (all || there[byte]) d->alphabet[d->classes++] = (uint8_t)byte;
    if (d->classes < 2)
        return err_set(e, "%s: %s, wanted a text", where, size ? "the same byte over and over" : "empty");
    if (classes && classes < d->classes)
        return err_set(e, "%s: %d kinds of characters, more than \"classes\": %d", where, d->classes,
                       (int)classes);
    while (d->classes < classes) d->alphabet[d->classes++] = '?';
    return 0;
}

// Windows over `count` tokens, `step` apart.
static int split_make(struct split *s, const uint8_t *tokens, size_t count, int context, int64_t step,
                      const char *part, const char *where, struct err *e) {
    if (count < (size_t)context + 1)
        return err_set(e, "%s: the %s part has %zu tokens, a window of %d needs %d", where, part, count,
                       context, context + 1);
    s->count = (int)((count - 1 - (size_t)context) / (size_t)step) + 1;
    s->stride = s->label_stride = (size_t)step;
    s->pixels = mem_new(count, 1);
    s->labels = mem_new(count, 1);
    memcpy(s->pixels, tokens, count);
    memcpy(s->labels, tokens + 1, count - 1);
    return 0;
}

int windows_make(struct dataset *d, const uint8_t *text, size_t size, bool all, const struct windows *options,
                 const char *where, struct err *e) {
    int context = (int)options->context;
    d->kind = DATA_TOKENS;
    d->sample = shape_1(context);
    d->targets = context;
    d->checksum = checksum_of(text, size);
    if (alphabet_make(d, text, size, all, options->classes, where, e) != 0) return -1;
    uint8_t token[BYTES] = {0}, *tokens = mem_new(size, 1);
    for (int i = d->classes - 1; i >= 0; i--) token[d->alphabet[i]] = (uint8_t)i; // the first of several '?'
    for (size_t i = 0; i < size; i++) tokens[i] = token[text[i]];
    size_t test = (size_t)((double)size * options->test),
           validation = (size_t)((double)size * options->validation);
    size_t train = size - test - validation;
    int64_t step = options->step ? options->step : options->context / 2;
    int result = split_make(&d->train, tokens, train, context, step, "training", where, e);
    if (result == 0 && options->validation > 0)
        result =
            split_make(&d->validation, tokens + train, validation, context, context, "validation", where, e);
    if (result == 0)
        result = split_make(&d->test, tokens + train + validation, test, context, context, "test", where, e);
    mem_free(tokens);
    return result;
}
