// The exported model's answers beside the run's. Contracts in export_check.h.
#include "cli/export_check.h"

#include <math.h>

#include "export/c_source.h"
#include "export/tally.h"
#include "infer/tally_infer.h"

enum { BATCH = 256 };

static size_t largest_of(const float *y, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) best = y[i] > y[best] ? i : best;
    return best;
}

static void answers_compare(struct export_check *c, const float *before, const float *after, size_t count,
                            uint8_t label) {
    size_t was = largest_of(before, count), is = largest_of(after, count);
    c->wrong_before += was != label;
    c->wrong_after += is != label;
    c->differ += was != is;
    for (size_t i = 0; i < count; i++)
        c->largest = fmax(c->largest, fabs((double)before[i] - (double)after[i]));
}

static int samples_check(struct export_check *c, const struct tally_model *model, const struct run *r,
                         const float *logits, struct err *e) {
    const struct batches *b = &r->batches;
    size_t in = tally_model_inputs(model), out = tally_model_outputs(model),
           bytes = tally_scratch_bytes(model, BATCH);
    float *x = mem_new(BATCH * in, sizeof *x), *y = mem_new(BATCH * out, sizeof *y);
    void *scratch = mem_new(bytes, 1);
    uint8_t label[BATCH];
    int result = 0;
    c->samples = b->count[PART_TEST];
    for (size_t first = 0; first < c->samples && result == 0; first += BATCH) {
        size_t count = c->samples - first < BATCH ? c->samples - first : BATCH;
        for (size_t i = 0; i < count; i++) {
            const uint8_t *pixels = batches_sample(&label[i], b, PART_TEST, first + i);
            for (size_t j = 0; j < in; j++) x[i * in + j] = (float)pixels[j] / 255;
        }
        struct tally_error error;
        if (tally_run(model, x, count, y, scratch, bytes, &error) != TALLY_OK)
            result = err_set(e, "%s", error.text);
        for (size_t i = 0; i < count && result == 0; i++)
            answers_compare(c, logits + (first + i) * out, y + i * out, out, label[i]);
    }
    mem_free(x);
    mem_free(y);
    mem_free(scratch);
    return result;
}

// The integer form of C source, by its own simulation.
static int integer_check(struct export_check *c, const struct net *ready, const struct run *r,
                         const float *logits, struct err *e) {
    struct net *compact = c_compact_new(ready); // as it is written
    struct shifts *s = shifts_new(compact, e);
    net_free(compact);
    if (!s) return -1;
    size_t out = (size_t)r->data.classes;
    int32_t *y = mem_new(out, sizeof *y);
    float *answer = mem_new(out, sizeof *answer);
    c->samples = r->batches.count[PART_TEST];
    for (size_t i = 0; i < c->samples; i++) {
        uint8_t label;
        shifts_run(s, batches_sample(&label, &r->batches, PART_TEST, i), y);
        for (size_t j = 0; j < out; j++) answer[j] = (float)(s->sigma * y[j]);
        answers_compare(c, logits + i * out, answer, out, label);
    }
    mem_free(y);
    mem_free(answer);
    shifts_free(s);
    return 0;
}

// The net as the native format writes it, read back and run by the inference library.
static int native_check(struct export_check *c, const struct net *ready, const struct run *r,
                        const float *logits, const struct export_options *options, struct err *e) {
    struct bytes file = {0};
    size_t *layers = mem_new((size_t)ready->count, sizeof *layers);
    struct export_sizes sizes = {0, layers};
    struct tally_model *model = NULL;
    struct tally_error error;
    int result = tally_compose(&file, ready, options, &sizes, e);
    const struct tally_options load = {.kernel = TALLY_SPARSE, .memory_limit = SIZE_MAX / 4};
    if (result == 0 && tally_model_load(&model, file.at, file.size, &load, &error) != TALLY_OK)
        result = err_set(e, "the exported model does not load: %s", error.text);
    if (result == 0) result = samples_check(c, model, r, logits, e);
    tally_model_free(model);
    mem_free(layers);
    bytes_free(&file);
    return result;
}

int export_check(struct export_check *c, const struct net *ready, struct run *r,
                 const struct export_options *options, struct err *e) {
    real *logits = mem_new(r->batches.count[PART_TEST], (size_t)r->data.classes * sizeof *logits);
    run_logits(r, PART_TEST, logits);
    int result = options->integer ? integer_check(c, ready, r, logits, e)
                                  : native_check(c, ready, r, logits, options, e);
    mem_free(logits);
    return result;
}
