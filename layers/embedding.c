// embedding: a row of embedding_dim numbers for each token number, (T) to (T, embedding_dim). As torch.nn.Embedding.
// Samples must be tokens, so it comes first: in the model, or in lists of layers that come first.
// Initial weights are uniform with standard deviation std.
#include <math.h>

#include "layers/model.h"

struct embedding {
    int64_t num_embeddings, embedding_dim;
    double std;
};

static const struct field fields[] = {{"num_embeddings", FIELD_INT,
                                       offsetof(struct embedding, num_embeddings), 0, 1, 1 << 24, NULL,
                                       "how many tokens there are; must be given"},
                                      {"embedding_dim", FIELD_INT, offsetof(struct embedding, embedding_dim),
                                       0, 1, 1 << 20, NULL, "numbers for each; must be given"},
                                      {"std", FIELD_REAL, offsetof(struct embedding, std), 0.02, 1e-6, 100,
                                       NULL, "standard deviation of the initial weights"},
                                      FIELD_END};

static int embedding_build(struct layer *l, struct params *ps, struct err *e) {
    const struct embedding *config = l->config;
    char text[SHAPE_TEXT];
    if (config->num_embeddings == 0) return err_set(e, "%s.num_embeddings: must be given", l->path);
    if (config->embedding_dim == 0) return err_set(e, "%s.embedding_dim: must be given", l->path);
    if (!l->first) return err_set(e, "%s: must be the first layer, it takes tokens", l->path);
    if (l->in.rank != 1)
        return err_set(e, "%s: wants samples of tokens, (length), gets %s", l->path, shape_text(text, l->in));
    int count = (int)config->num_embeddings, d = (int)config->embedding_dim;
    l->out = shape_2(l->in.dim[0], d);
    l->param[0] = layer_add_param(l, ps, "weight", shape_2(count, d), sqrt(3) * config->std, 0);
    if (!ps->tokens || count < ps->tokens) ps->tokens = count;
    return 0;
}

static struct tensor *embedding_forward(const struct layer *l, struct tape *t, struct tensor *x) {
    return op_embedding(t, x, tape_param(t, l->param[0]));
}

const struct layer_type embedding_layer = {.name = "embedding",
                                           .help = "a row of numbers for each token",
                                           .fields = fields,
                                           .config_size = sizeof(struct embedding),
                                           .build = embedding_build,
                                           .forward = embedding_forward};
