// Losses and metrics. Contracts in loss.h.
#include "experiments/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct field cross_entropy_fields[] = {
    {"label_smoothing", FIELD_REAL, offsetof(struct loss, label_smoothing), 0, 0, 0.999, NULL,
     "share of a label that is spread over all classes, in training only"},
    FIELD_END};

static const struct field mse_fields[] = {FIELD_END};

// --- the losses
// ---------------------------------------------------------------------------------------------------

static struct tensor *cross_entropy_forward(const struct loss *l, struct tape *t, struct tensor *y,
                                            const struct truth *truth) {
    int classes = y->shape.dim[y->shape.rank - 1];
    if (y->shape.rank > 2) y = op_reshape(t, y, shape_2((int)truth->rows, classes));
    return op_cross_entropy(t, y, truth->labels, t->training ? l->label_smoothing : 0);
}

static struct tensor *mse_forward(const struct loss *l, struct tape *t, struct tensor *y,
                                  const struct truth *truth) {
    (void)l;
    if (truth->values) return op_mse(t, y, tape_input(t, y->shape, truth->values));
    struct tensor *wanted = tape_leaf(t, y->shape, false);
    size_t classes = y->size / truth->rows;
    memset(wanted->value, 0, wanted->size * sizeof *wanted->value);
    for (size_t i = 0; i < truth->rows; i++) wanted->value[i * classes + truth->labels[i]] = 1;
    return op_mse(t, y, wanted);
}

const struct loss_type loss_types[] = {
    {"cross_entropy", "-log of the probability that the model gives the label; wants classes",
     cross_entropy_fields, true, cross_entropy_forward},
    {"mse",
     "mean square of what is missing to the wanted numbers; of classes, to 1 at the label and 0 elsewhere",
     mse_fields, false, mse_forward},
    {NULL, NULL, NULL, false, NULL}};

const char *const metric_names[METRICS] = {"error", "perplexity"};
const char *const metric_helps[METRICS] = {"percent of the labels whose output is not the largest",
                                           "exp of the mean cross-entropy"};

// --- reading and writing
// ---------------------------------------------------------------------------------------------------

static int type_read(struct loss *l, const struct json *node, const char *path, struct err *e) {
    const char *name = loss_types[0].name, *known[8] = {NULL};
    const struct json *options = NULL;
    char options_path[JSON_PATH];
    if (node && json_read_named(&name, &options, node, path, e) != 0) return -1;
    for (int i = 0; loss_types[i].name; i++) {
        known[i] = loss_types[i].name;
        if (strcmp(name, known[i]) == 0) l->type = &loss_types[i];
    }
    if (!l->type) return json_unknown(path, "loss", name, known, e);
    json_path(options_path, path, name, 0);
    return fields_read(l, l->type->fields, options, options_path, e);
}

static int metric_read(struct loss *l, const struct json *item, const struct dataset *data, const char *path,
                       struct err *e) {
    const char *known[METRICS + 1] = {NULL};
    if (json_type(item) != JSON_STRING)
        return err_set(e, "%s: wanted a metric's name, found %s", path, json_type_name(item));
    int metric = METRICS;
    for (int i = 0; i < METRICS; i++) {
        known[i] = metric_names[i];
        if (strcmp(json_string(item), known[i]) == 0) metric = i;
    }
    if (metric == METRICS) return json_unknown(path, "metric", json_string(item), known, e);
    if (l->metric[metric]) return err_set(e, "%s: '%s' is given twice", path, metric_names[metric]);
    l->metric[metric] = true;
    if (metric == METRIC_ERROR && !data->classes)
        return err_set(e, "%s: 'error' wants classes, the data set has numbers to answer with", path);
    if (metric == METRIC_PERPLEXITY && !l->type->wants_classes)
        return err_set(e, "%s: 'perplexity' wants the loss 'cross_entropy', not '%s'", path, l->type->name);
    return 0;
}

int loss_read(struct loss *l, const struct json *loss, const struct json *metrics, const struct dataset *data,
              const char *path, struct err *e) {
    *l = (struct loss){0};
    char own_path[JSON_PATH], item_path[JSON_PATH];
    json_path(own_path, path, "loss", 0);
    if (type_read(l, loss, own_path, e) != 0) return -1;
    if (l->type->wants_classes && !data->classes)
        return err_set(e, "%s: '%s' wants classes, the data set has numbers to answer with; use \"mse\"",
                       own_path, l->type->name);
    if (!metrics) return l->metric[METRIC_ERROR] = data->classes > 0, 0;
    json_path(own_path, path, "metrics", 0);
    if (json_type(metrics) != JSON_ARRAY)
        return err_set(e, "%s: wanted a list of metrics, such as [\"error\"], found %s", own_path,
                       json_type_name(metrics));
    for (int i = 0; i < json_count(metrics); i++) {
        json_path(item_path, own_path, NULL, i);
        if (metric_read(l, json_item(metrics, i), data, item_path, e) != 0) return -1;
    }
    return 0;
}

void loss_write(struct json *object, const struct loss *l, const struct dataset *data) {
    if (l->type != &loss_types[0] || l->label_smoothing > 0) {
        struct json *loss = json_object_new();
        json_add(loss, l->type->name, fields_write_new(l, l->type->fields));
        json_add(object, "loss", loss);
    }
    if (l->metric[METRIC_ERROR] == (data->classes > 0) && !l->metric[METRIC_PERPLEXITY]) return;
    struct json *metrics = json_array_new();
    for (int i = 0; i < METRICS; i++)
        if (l->metric[i]) json_add_string(metrics, NULL, metric_names[i]);
    json_add(object, "metrics", metrics);
}

// --- working
// ---------------------------------------------------------------------------------------------------

struct tensor *loss_forward(const struct loss *l, struct tape *t, struct tensor *y,
                            const struct truth *truth) {
    return l->type->forward(l, t, y, truth);
}

void score_add(struct score *s, const struct loss *l, const struct tensor *y, const struct truth *truth,
               const struct tensor *loss) {
    s->loss += (double)loss->value[0] * (double)truth->rows;
    s->count += truth->rows;
    if (!l->metric[METRIC_ERROR]) return;
    size_t classes = y->size / truth->rows;
    for (size_t i = 0; i < truth->rows; i++) {
        const real *row = y->value + i * classes;
        size_t best = 0;
        for (size_t j = 1; j < classes; j++) best = row[j] > row[best] ? j : best;
        s->wrong += best != truth->labels[i];
    }
    s->judged += truth->rows;
}

double score_loss(struct score s) {
    return s.count ? s.loss / (double)s.count : NAN;
}

double score_error(struct score s) {
    return s.judged ? 100.0 * (double)s.wrong / (double)s.judged : NAN;
}

double score_perplexity(const struct loss *l, struct score s) {
    return l->metric[METRIC_PERPLEXITY] ? exp(score_loss(s)) : NAN;
}

const char *score_text(char text[SCORE_TEXT], const struct loss *l, struct score s, const char *word) {
    int used = l->metric[METRIC_ERROR] ? snprintf(text, SCORE_TEXT, "%s%.2f %%", word, score_error(s))
                                       : snprintf(text, SCORE_TEXT, "loss %.4f", score_loss(s));
    if (l->metric[METRIC_PERPLEXITY] && used < SCORE_TEXT)
        snprintf(text + used, (size_t)(SCORE_TEXT - used), " (perplexity %.4g)", score_perplexity(l, s));
    return text;
}
