// Saved runs. Contracts in saved.h.
#include "experiments/saved.h"

#include <stdio.h>
#include <string.h>

#include "experiments/checkpoint.h"
#include "experiments/train.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096, SUMMARY_LIMIT = 1 << 24 };

// The run as the checkpoint describes it, opened and loaded.
static int opened_load(struct run *r, const struct safetensors *file, const char *path,
                       const struct run_options *options, struct err *e) {
    struct config config;
    struct dataset data;
    const char *set;
    if (checkpoint_config(&config, file, path, e) != 0) {
        config_close(&config);
        return -1;
    }
    if (checkpoint_data(&set, &data, file, e) != 0) {
        config_close(&config);
        return err_at(e, path);
    }
    int result;
    if (options) {
        struct run_options same_set = *options;
        same_set.only_set = set;
        result = run_open(r, &config, &same_set, e);
    } else {
        result = run_open_without_data(r, &config, set, &data, e);
    }
    return result == 0 ? checkpoint_load(r, file, path, e) : -1;
}

int saved_open(struct run *r, const char *folder, const struct run_options *options, struct err *e) {
    memset(r, 0, sizeof *r);
    char path[PATH_LENGTH];
    size_t length = strlen(folder);
    if (length > 12 && strcmp(folder + length - 12, ".safetensors") == 0)
        snprintf(path, sizeof path, "%s", folder);
    else if (file_join(path, sizeof path, folder, TRAIN_CHECKPOINT, e) != 0)
        return -1;
    struct safetensors file;
    int result = checkpoint_open(&file, path, e);
    if (result == 0) result = opened_load(r, &file, path, options, e);
    safetensors_close(&file);
    return result;
}

struct json *saved_summary_new(const char *folder, struct err *e) {
    char path[PATH_LENGTH];
    if (file_join(path, sizeof path, folder, TRAIN_SUMMARY, e) != 0) return NULL;
    return json_load_new(path, SUMMARY_LIMIT, e);
}

bool saved_exists(const char *folder) {
    char path[PATH_LENGTH];
    struct err ignored;
    return file_join(path, sizeof path, folder, TRAIN_CONFIG, &ignored) == 0 && file_exists(path);
}
