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

// The answers of one sample, one for each of its labels.
static void answers_compare(struct export_check *c, const struct dataset *data, const float *before,
                            const float *after, const uint8_t *label) {
    size_t classes = (size_t)data->classes, targets = dataset_targets(data);
    for (size_t t = 0; t < targets; t++, before += classes, after += classes) {
        size_t was = largest_of(before, classes), is = largest_of(after, classes);
        c->wrong_before += was != label[t];
        c->wrong_after += is != label[t];
        c->differ += was != is;
        for (size_t i = 0; i < classes; i++)
            c->largest = fmax(c->largest, fabs((double)before[i] - (double)after[i]));
    }
    c->answers += targets;
}

// What the exported model gets: pixels as value / 255, tokens as they are.
static void sample_copy(float *x, const struct run *r, size_t i, size_t in) {
    size_t sample;
    const struct split *s = batches_find(&sample, &r->batches, PART_TEST, i);
    const uint8_t *byte = dataset_pixels(&r->data, s, sample);
    for (size_t j = 0; j < in; j++)
        x[j] = r->data.kind == DATA_TOKENS ? (float)byte[j] : (float)byte[j] / 255;
}

static const uint8_t *labels_of(const struct run *r, size_t i) {
    size_t sample;
    const struct split *s = batches_find(&sample, &r->batches, PART_TEST, i);
    return dataset_labels(&r->data, s, sample);
}

static int samples_check(struct export_check *c, const struct tally_model *model, const struct run *r,
                         const float *logits, struct err *e) {
    size_t samples = r->batches.count[PART_TEST];
    size_t in = tally_model_inputs(model), out = tally_model_outputs(model),
           bytes = tally_scratch_bytes(model, BATCH);
    float *x = mem_new(BATCH * in, sizeof *x), *y = mem_new(BATCH * out, sizeof *y);
    void *scratch = mem_new(bytes, 1);
    int result = 0;
    for (size_t first = 0; first < samples && result == 0; first += BATCH) {
        size_t count = samples - first < BATCH ? samples - first : BATCH;
        for (size_t i = 0; i < count; i++) sample_copy(x + i * in, r, first + i, in);
        struct tally_error error;
        if (tally_run(model, x, count, y, scratch, bytes, &error) != TALLY_OK)
            result = err_set(e, "%s", error.text);
        for (size_t i = 0; i < count && result == 0; i++)
            answers_compare(c, &r->data, logits + (first + i) * out, y + i * out, labels_of(r, first + i));
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
    for (size_t i = 0; i < r->batches.count[PART_TEST]; i++) {
        uint8_t label;
        shifts_run(s, batches_sample(&label, &r->batches, PART_TEST, i), y);
        for (size_t j = 0; j < out; j++) answer[j] = (float)(s->sigma * y[j]);
        answers_compare(c, &r->data, logits + i * out, answer, &label);
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
    real *logits = mem_new(r->batches.count[PART_TEST], shape_size(r->model->out) * sizeof *logits);
    run_logits(r, PART_TEST, logits);
    int result = options->integer ? integer_check(c, ready, r, logits, e)
                                  : native_check(c, ready, r, logits, options, e);
    mem_free(logits);
    return result;
}
