// The config of a run. Contracts in config.h.
#include "experiments/config.h"

#include <stdio.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 20 };

// Before the sections are read they are nodes.
struct sections {
    const char *name;
    int64_t seed;
    const char *dataset;
    const struct json *data, *model, *optim, *train;
};

const struct field config_fields[] = {
    {"name", FIELD_STRING, offsetof(struct sections, name), 0, 0, 0, NULL,
     "of the run and its folder; default: the config file's name"},
    {"seed", FIELD_INT, offsetof(struct sections, seed), 1, 0, 9007199254740991.0, NULL,
     "all random numbers of the run come from it"},
    {"dataset", FIELD_STRING, offsetof(struct sections, dataset), 0, 0, 0, NULL,
     "use just this one of data.set and data.fallback; a run's own config.json names what it was trained on"},
    {"data", FIELD_NODE, offsetof(struct sections, data), 0, 0, 0, NULL, "what to learn from"},
    {"model", FIELD_NODE, offsetof(struct sections, model), 0, 0, 0, NULL, "the list of layers"},
    {"optim", FIELD_NODE, offsetof(struct sections, optim), 0, 0, 0, NULL,
     "stages for weights and others, schedule, sparsity"},
    {"train", FIELD_NODE, offsetof(struct sections, train), 0, 0, 0, NULL, "how long and in what portions"},
    FIELD_END};

const struct field config_data_fields[] = {
    {"set", FIELD_NODE, offsetof(struct config_data, set), 0, 0, 0, NULL,
     "a data set: a name or {\"name\": {options}}"},
    {"fallback", FIELD_NODE, offsetof(struct config_data, fallback), 0, 0, 0, NULL,
     "another set, for machines that do not have the files of the first"},
    {"folder", FIELD_STRING, offsetof(struct config_data, folder), 0, 0, 0, "data",
     "where files are looked for last, seen from the working directory"},
    {"validation", FIELD_INT, offsetof(struct config_data, validation), -1, -1, 1 << 30, NULL,
     "training samples held out, chosen by the seed; -1: 5000, or the part that the set keeps for it"},
    {"normalise", FIELD_BOOL, offsetof(struct config_data, normalise), 1, 0, 1, NULL,
     "pixels and numbers to mean 0 and standard deviation 1 over the training part; tokens stay as they are"},
    {"augment", FIELD_NODE, offsetof(struct config_data, augment_node), 0, 0, 0, NULL,
     "training images moved and mirrored at random"},
    FIELD_END};

const struct field config_train_fields[] = {
    {"epochs", FIELD_INT, offsetof(struct config_train, epochs), 10, 1, 1000000, NULL,
     "passes over the training part"},
    {"batch", FIELD_INT, offsetof(struct config_train, batch), 100, 1, 1 << 20, NULL, "samples per step"},
    {"shards", FIELD_INT, offsetof(struct config_train, shards), 0, 0, 1024, NULL,
     "parts of a batch, which threads share; 0: one per 64 samples"},
    {"checkpoint_every", FIELD_INT, offsetof(struct config_train, checkpoint_every), 1, 1, 1000000, NULL,
     "epochs from checkpoint to checkpoint"},
    {"checkpoint_minutes", FIELD_REAL, offsetof(struct config_train, checkpoint_minutes), 0, 0, 1e6, NULL,
     "minutes until the next one at the latest, within an epoch too; 0: only when epochs end"},
    {"checkpoint_keep", FIELD_INT, offsetof(struct config_train, checkpoint_keep), 1, 1, 1000, NULL,
     "newest checkpoints that are kept; 2 or more: also as checkpoint-STEP.safetensors"},
    {"checkpoint_best", FIELD_CHOICE, offsetof(struct config_train, checkpoint_best), BEST_NONE, 0, 0,
     "none|loss|error", "also keep, as best.safetensors, the epoch with the lowest validation loss or error"},
    {"loss", FIELD_NODE, offsetof(struct config_train, loss), 0, 0, 0, NULL,
     "what becomes small: \"cross_entropy\" (default), {\"cross_entropy\": {options}}, \"mse\""},
    {"metrics", FIELD_NODE, offsetof(struct config_train, metrics), 0, 0, 0, NULL,
     "what is told beside the loss, a list; default: [\"error\"] where there are classes"},
    FIELD_END};

static int sections_read(struct config *c, struct err *e) {
    struct sections s;
    if (fields_read(&s, config_fields, c->root, "", e) != 0) return -1;
    if (s.name) snprintf(c->name, sizeof c->name, "%.*s", CONFIG_NAME - 1, s.name);
    c->seed = s.seed;
    c->dataset = s.dataset;
    c->model = s.model;
    c->optim = s.optim;
    if (!*c->name || strchr(c->name, '/') || c->name[0] == '.' || strlen(c->name) > 100 ||
        !text_is_plain(c->name))
        return err_set(e, "name: '%.60s' can't be a folder's name", c->name);
    if (fields_read(&c->data, config_data_fields, s.data, "data", e) != 0) return -1;
    if (fields_read(&c->data.augment, augment_fields, c->data.augment_node, "data.augment", e) != 0)
        return -1;
    if (!c->data.set) return err_set(e, "data.set: must be given, for example \"mnist\" or \"digits\"");
    if (fields_read(&c->train, config_train_fields, s.train, "train", e) != 0) return -1;
    if (c->train.shards == 0) c->train.shards = (c->train.batch + 32) / 64;
    if (c->train.shards == 0) c->train.shards = 1;
    if (c->train.shards > c->train.batch)
        return err_set(e, "train.shards: %d parts of a batch of %d", (int)c->train.shards,
                       (int)c->train.batch);
    if (!c->model) return err_set(e, "model: must be given, a list of layers");
    if (!c->optim) return err_set(e, "optim: must be given");
    return 0;
}

int config_open_json(struct config *c, struct json *root, const char *where, struct err *e) {
    c->root = root;
    snprintf(c->where, sizeof c->where, "%.190s", where);
    return sections_read(c, e) == 0 ? 0 : err_at(e, where);
}

int config_open(struct config *c, const char *path, const char *const *overrides, int override_count,
                struct err *e) {
    memset(c, 0, sizeof *c);
    const char *slash = strrchr(path, '/');
    snprintf(c->name, sizeof c->name, "%.*s", CONFIG_NAME - 1, slash ? slash + 1 : path);
    size_t length = strlen(c->name);
    if (length > 5 && strcmp(c->name + length - 5, ".json") == 0) c->name[length - 5] = 0;
    struct json *root = json_load_new(path, FILE_LIMIT, e);
    if (!root) return -1;
    c->root = root;
    for (int i = 0; i < override_count; i++)
        if (json_override(root, overrides[i], e) != 0) return err_at(e, path);
    return config_open_json(c, root, path, e);
}

void config_close(struct config *c) {
    json_free(c->root);
    c->root = NULL;
}
