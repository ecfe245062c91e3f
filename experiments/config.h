// The config of a run: one JSON file, its keys, defaults and limits.
#ifndef TALLY_EXPERIMENTS_CONFIG_H
#define TALLY_EXPERIMENTS_CONFIG_H

#include "datasets/augment.h"

enum { CONFIG_NAME = 104, CONFIG_WHERE = 200 };

struct config_data {
    const struct json *set;      // {"mnist": {options}}
    const struct json *fallback; // another set for machines without the first one's files, or NULL
    const char *folder;          // where files are looked for last, seen from the working directory
    int64_t validation;          // -1: the usual number, or what the set keeps
    bool normalise;
    const struct json *augment_node;
    struct augment augment;
};

// What best.safetensors is the best of.
enum checkpoint_best { BEST_NONE, BEST_LOSS, BEST_ERROR };

struct config_train {
    int64_t epochs, batch, shards, checkpoint_every, checkpoint_keep;
    double checkpoint_minutes;
    int checkpoint_best;
    const struct json *loss, *metrics; // read by loss.c; NULL: the defaults
};

struct config {
    char name[CONFIG_NAME];
    char where[CONFIG_WHERE]; // the file, for messages
    int64_t seed;
    const char *dataset; // which of data.set and data.fallback to use; NULL: the first that is there
    struct config_data data;
    struct config_train train;
    const struct json *model, *optim; // read by their own rooms
    struct json *root;                // what the strings and nodes above point into
};

extern const struct field config_fields[], config_data_fields[], config_train_fields[];

// Reads a config file and applies path=value overrides. Close with config_close, also after a failure.
int config_open(struct config *c, const char *path, const char *const *overrides, int override_count,
                struct err *e);

// The same from a tree, which the config takes over; messages start with `where`.
int config_open_json(struct config *c, struct json *root, const char *where, struct err *e);

void config_close(struct config *c);

#endif
