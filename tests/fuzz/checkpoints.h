// The runs of the target `checkpoint`, and of its seeds: small models of every kind of state that a checkpoint holds.
#ifndef TALLY_TESTS_FUZZ_CHECKPOINTS_H
#define TALLY_TESTS_FUZZ_CHECKPOINTS_H

#include <string.h>

#include "tests/fuzz/small.h"

enum { CHECKPOINTS = 6, CHECKPOINTS_SAMPLES = 50 };

#define CHECKPOINT_CONFIG(model, weights, others, more)                                               \
    "{\"name\":\"a\",\"data\":{\"set\":\"digits\",\"validation\":0},\"model\":[" model "],\"optim\":" \
    "{\"weights\":[" weights "],\"others\":[" others "]" more                                         \
    "},\"train\":{\"epochs\":3,\"batch\":8,\"shards\":2}}"

static const struct {
    const char *config;
    int set; // of small_set
} checkpoints[CHECKPOINTS] = {
    {CHECKPOINT_CONFIG("{\"linear\":{\"out\":2}}", "{\"counter\":{\"bits\":8}}", "\"adam\"", ""), 2},
    {CHECKPOINT_CONFIG(
         "{\"linear\":{\"out\":3}},\"relu\",{\"linear\":{\"out\":2}}", "\"clip\",\"adam\"", "\"sgd\"",
         ",\"sparsity\":{\"target\":0.5,\"path\":\"none\",\"freeze\":0.3,\"sparse_density\":0.9}"),
     2},
    {CHECKPOINT_CONFIG(
         "{\"conv2d\":{\"out\":2,\"kernel_size\":3}},\"batch_norm\",\"flatten\",{\"k_winners\":{\"k\":4}},"
         "{\"linear\":{\"out\":10}}",
         "{\"sgd\":{\"momentum\":0.9}}", "{\"sgd\":{\"momentum\":0.9}}", ""),
     0},
    {CHECKPOINT_CONFIG(
         "{\"embedding\":{\"num_embeddings\":20,\"embedding_dim\":4}},{\"transformer_block\":{\"heads\":2}},"
         "{\"linear\":{\"out\":20}}",
         "{\"counter\":{\"bits\":16,\"map\":\"exp\"}}", "\"adamw\"", ""),
     1},
    {CHECKPOINT_CONFIG("{\"experts\":{\"experts\":2,\"layers\":[{\"linear\":{\"out\":2}}]}}",
                       "\"integer_madam\"", "\"adam\"", ""),
     2},
    {CHECKPOINT_CONFIG(
         "{\"selector\":{\"out\":8,\"density\":0.5,\"block\":4,\"rank\":2}},{\"linear\":{\"out\":2}}",
         "\"madam\"", "\"sgd\"", ",\"sparsity\":{\"target\":0.5,\"path\":\"none\",\"freeze\":0.3}"),
     2}};

// One of them, with a description of its data but without samples. run_close it.
static inline void checkpoints_run(struct run *r, int which) {
    struct config config = {.name = "a"};
    struct err e = {""};
    struct dataset data = small_set(checkpoints[which].set);
    const char *text = checkpoints[which].config;
    struct json *root = json_parse_new(text, strlen(text), &e);
    CHECK(root, "%s: %s", text, e.text);
    // A regression's loss is not the default.
    if (!data.classes) CHECK(json_override(root, "train.loss=\"mse\"", &e) == 0, "%s", e.text);
    CHECK(config_open_json(&config, root, "a.json", &e) == 0, "%s", e.text);
    CHECK(run_open_without_data(r, &config, "digits", &data, &e) == 0, "%s", e.text);
    data.type = dataset_type_find("digits");
    r->data = data;
    r->batches.count[PART_TRAIN] = CHECKPOINTS_SAMPLES;
    r->batches.std = 1;
}

#endif
