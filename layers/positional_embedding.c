// positional_embedding: adds to position p of a sample (T, d) a row of d numbers, the same in every sample.
//
//   learned      a weight (T, d), at first uniform with standard deviation std (as in GPT, Radford et al. 2018)
//   sinusoidal   constants, sin(p · 10000^(-2 i / d)) at 2 i and cos(the same) at 2 i + 1 (Vaswani et al. 2017, sec. 3.5)
#include "layers/positional_embedding.h"

#include <math.h>

enum { LEARNED, SINUSOIDAL };

struct positional_embedding {
    int kind;
    double std;
};

static const struct field fields[] = {{"kind", FIELD_CHOICE, offsetof(struct positional_embedding, kind),
                                       LEARNED, 0, 0, "learned|sinusoidal", "where the numbers come from"},
                                      {"std", FIELD_REAL, offsetof(struct positional_embedding, std), 0.02,
                                       1e-6, 100, NULL, "standard deviation of the initial weights"},
                                      FIELD_END};

static int positional_embedding_build(struct layer *l, struct params *ps, struct err *e) {
    const struct positional_embedding *config = l->config;
    char text[SHAPE_TEXT];
    if (l->in.rank != 2)
        return err_set(e, "%s: wants samples (positions, numbers), gets %s", l->path,
                       shape_text(text, l->in));
    l->out = l->in;
    bool learned = config->kind == LEARNED;
    l->param[0] = learned ? layer_add_param(l, ps, "weight", l->in, sqrt(3) * config->std, 0) : -1;
    return 0;
}

// Each pair of columns is a point that turns by the same angle from position to position.
void positional_embedding_waves(real *w, int length, int d) {
    for (int j = 0; j < d; j += 2) {
        double angle = pow(10000, -(double)j / d), turn[2] = {sin(angle), cos(angle)}, at[2] = {0, 1};
        for (int p = 0; p < length; p++) {
            real *row = w + (size_t)p * (size_t)d + j;
            row[0] = (real)at[0];
            if (j + 1 < d) row[1] = (real)at[1];
            double next = at[0] * turn[1] + at[1] * turn[0];
            at[1] = at[1] * turn[1] - at[0] * turn[0];
            at[0] = next;
        }
    }
}

static struct tensor *positional_embedding_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    if (l->param[0] >= 0) return op_positional_embedding(t, x, tape_param(t, l->param[0]));
    struct tensor *waves = tape_leaf(t, l->in, false);
    positional_embedding_waves(waves->value, l->in.dim[0], l->in.dim[1]);
    return op_positional_embedding(t, x, waves);
}

const struct layer_type positional_embedding_layer = {.name = "positional_embedding",
                                                      .help =
                                                          "adds numbers that tell a sample's positions apart",
                                                      .fields = fields,
                                                      .config_size = sizeof(struct positional_embedding),
                                                      .build = positional_embedding_build,
                                                      .forward = positional_embedding_forward};
