// What training makes small, and what is told of a model beside it.
//
//   cross_entropy   mean over the labels of -log softmax(y)[label]; labels are smoothed in training only
//   mse             mean of (y - wanted)^2; of a class, `wanted` is 1 at the label and 0 elsewhere
//
//   error           percent of the labels whose output is not the largest
//   perplexity      exp(mean cross-entropy)
//
// Every position of a text is a label: losses and metrics are means over positions.
#ifndef TALLY_EXPERIMENTS_LOSS_H
#define TALLY_EXPERIMENTS_LOSS_H

#include "datasets/dataset.h"
#include "src/ops.h"

enum metric { METRIC_ERROR, METRIC_PERPLEXITY, METRICS };

struct loss {
    const struct loss_type *type;
    double label_smoothing;
    bool metric[METRICS]; // what is asked for
};

// What a batch should give: labels [rows], or values as many as the model puts out.
struct truth {
    size_t rows; // samples, or positions
    const uint8_t *labels;
    real *values; // NULL where there are labels
};

// Sums over rows.
struct score {
    double loss;
    uint64_t wrong, judged, count; // judged: whose answer was compared with a label; all rows or none
};

struct loss_type {
    const char *name, *help;
    const struct field *fields; // of struct loss
    bool wants_classes;
    // y (B, out...) of the model to a scalar.
    struct tensor *(*forward)(const struct loss *l, struct tape *t, struct tensor *y,
                              const struct truth *truth);
};

extern const struct loss_type loss_types[]; // ended by a NULL name
extern const char *const metric_names[METRICS], *const metric_helps[METRICS];

// Reads the loss and the list of metrics (NULL: the defaults), which must suit the data. Errors name `path`.loss and
// `path`.metrics.
int loss_read(struct loss *l, const struct json *loss, const struct json *metrics, const struct dataset *data,
              const char *path, struct err *e);

// Adds "loss" and "metrics" to the object, where they are not the defaults for this data: checkpoints from before there
// were losses to choose from say nothing of them.
void loss_write(struct json *object, const struct loss *l, const struct dataset *data);

struct tensor *loss_forward(const struct loss *l, struct tape *t, struct tensor *y,
                            const struct truth *truth);

// Adds the batch whose model output is y and whose mean loss is `loss`.
void score_add(struct score *s, const struct loss *l, const struct tensor *y, const struct truth *truth,
               const struct tensor *loss);

double score_loss(struct score s);                             // per row; NAN of no rows, as the others
double score_error(struct score s);                            // percent; NAN where it is not asked for
double score_perplexity(const struct loss *l, struct score s); // NAN where it is not asked for

// "error 1.53 %" or, where it is not asked for, "loss 1.7000", and " (perplexity 5.47)" behind it; `word`: "error " or what
// else should stand there.
enum { SCORE_TEXT = 80 };
const char *score_text(char text[SCORE_TEXT], const struct loss *l, struct score s, const char *word);

#endif
