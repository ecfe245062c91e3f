// Saved runs. Contracts in saved.h.
#include "experiments/saved.h"

#include <stdio.h>
#include <string.h>

#include "experiments/checkpoint.h"
#include "experiments/keep.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096, SUMMARY_LIMIT = 1 << 24 };

// A small file can't ask for a large model: each number of it must be there.
static int model_fits(const struct config *c, const struct dataset *data, const struct safetensors *file,
                      struct err *e) {
    struct params *ps = params_new();
    struct model *m = model_new(c->model, "model", data->sample, ps, e);
    size_t there = 0;
    for (int i = 0; i < file->count; i++)
        there += safetensor_bytes(&file->tensors[i]) / dtype_bytes(file->tensors[i].dtype);
    int result = m ? 0 : -1;
    if (m && ps->size > there)
        result = err_set(e, "its model has %zu numbers, the file %zu", ps->size, there);
    model_free(m);
    params_free(ps);
    return result;
}

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
    if (checkpoint_data(&set, &data, file, e) != 0 || model_fits(&config, &data, file, e) != 0) {
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

// Of the folder's other checkpoints the one of the most steps. -1: there is none.
static int64_t other_newest(struct safetensors *file, char *path, size_t size, const char *folder) {
    char there[PATH_LENGTH];
    struct err ignored;
    int count = 0;
    int64_t newest = -1;
    char **names = file_names_new(&count, folder, &ignored);
    for (int i = 0; i < count; i++) {
        struct safetensors other = {0};
        bool is_one = (keep_step_of(names[i]) >= 0 || strcmp(names[i], TRAIN_BEST) == 0) &&
                      file_join(there, sizeof there, folder, names[i], &ignored) == 0 &&
                      checkpoint_open(&other, there, &ignored) == 0;
        if (is_one && checkpoint_step(&other) > newest) {
            newest = checkpoint_step(&other);
            safetensors_close(file);
            *file = other;
            snprintf(path, size, "%s", there);
        } else {
            safetensors_close(&other);
        }
        mem_free(names[i]);
    }
    mem_free(names);
    return newest;
}

int saved_newest(struct safetensors *file, char *path, size_t size, struct err *why, const char *folder,
                 struct err *e) {
    memset(file, 0, sizeof *file);
    why->text[0] = 0;
    if (file_join(path, size, folder, TRAIN_CHECKPOINT, e) != 0) return -1;
    if (checkpoint_open(file, path, e) == 0) return 0;
    safetensors_close(file);
    *why = *e;
    bool there = file_exists(path);
    if (other_newest(file, path, size, folder) >= 0) return 0;
    if (!there) return err_set(e, "%s: nothing to resume", path);
    return err_set(e, "%.400s; there is no other checkpoint", why->text);
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
