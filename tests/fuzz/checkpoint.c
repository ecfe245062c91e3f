// Target: checkpoints, loaded into a run. The first byte says which run and how the file is made of the rest; see below. A file
// that is taken must leave a run of finite numbers that can go on, and that is saved, loaded and saved again to the same
// bytes.
//
//   run     the byte's low bits choose one of the configs below
//   file    KEPT: the rest as it is; else the rest is a header's JSON and, behind "\n@@", data: the length is put in front
//           of it, and what is missing of the metadata is taken from the run's own
//   OWN     the run is opened as the file describes it, as `tally eval` does
#include "experiments/checkpoint.h"

#include <string.h>
#include <unistd.h>

#include "src/file.h"
#include "tests/fuzz/checkpoints.h"
#include "tests/fuzz/fuzz.h"

enum { LIMIT = 1 << 20, OWN = 64, KEPT = 128, PREFIX = 8 };

// The run's own metadata, as a checkpoint of it has them; json_free the file's header.
static struct json *own_header_new(const struct run *r, const char *folder) {
    char path[FUZZ_LONG_PATH];
    struct err e = {""};
    size_t size;
    fuzz_join(path, folder, "own.safetensors");
    CHECK(checkpoint_save(r, path, &e) == 0, "save: %s", e.text);
    unsigned char *bytes = file_read_new(&size, path, LIMIT, &e);
    CHECK(bytes, "%s", e.text);
    uint64_t length;
    memcpy(&length, bytes, PREFIX);
    struct json *header = json_parse_new((const char *)bytes + PREFIX, (size_t)length, &e);
    CHECK(header, "%s", e.text);
    mem_free(bytes);
    return header;
}

// `header` with the metadata that it does not have; NULL where that makes no sense. mem_free it.
static char *header_mended_new(const uint8_t *text, size_t size, const struct json *own) {
    struct err e = {""};
    struct json *header = json_parse_new((const char *)text, size, &e), *mended = json_object_new(), *all;
    const struct json *theirs = json_find(header, "__metadata__");
    if (!header || json_type(header) != JSON_OBJECT || (theirs && json_type(theirs) != JSON_OBJECT)) {
        json_free(header);
        json_free(mended);
        return NULL;
    }
    all = theirs ? json_copy_new(theirs) : json_object_new();
    if (!json_find(all, "format")) json_add_string(all, "format", "tally checkpoint 1"); // wants no checksum
    const struct json *member = json_first(json_find(own, "__metadata__"));
    for (; member; member = json_next(member))
        if (!json_find(all, json_key(member)) && strcmp(json_key(member), CHECKPOINT_CHECKSUM) != 0)
            json_add(all, json_key(member), json_copy_new(member));
    json_add(mended, "__metadata__", all);
    for (member = json_first(header); member; member = json_next(member))
        if (strcmp(json_key(member), "__metadata__") != 0)
            json_add(mended, json_key(member), json_copy_new(member));
    char *printed = json_print_new(mended, false);
    json_free(header);
    json_free(mended);
    return printed;
}

// Length, header, spaces to a multiple of 8, data.
static uint8_t *file_new(size_t *size, const uint8_t *input, const uint8_t *end, const struct json *own) {
    struct fuzz_part header;
    const uint8_t *data = input;
    fuzz_part_next(&header, &data, end);
    char *text = header_mended_new(header.bytes, header.size, own);
    if (!text) return NULL;
    uint64_t padded = (strlen(text) + 7) / 8 * 8;
    size_t left = (size_t)(end - data);
    uint8_t *file = mem_new(PREFIX + padded + left, 1);
    memcpy(file, &padded, PREFIX);
    memset(file + PREFIX, ' ', padded);
    memcpy(file + PREFIX, text, strlen(text));
    memcpy(file + PREFIX + padded, data, left);
    *size = PREFIX + padded + left;
    mem_free(text);
    return file;
}

// Saved, loaded into another run and saved again.
static void round_check(struct run *r, int which, const char *folder) {
    char path[FUZZ_LONG_PATH], other[FUZZ_LONG_PATH];
    struct run again;
    struct safetensors file;
    struct err e = {""};
    fuzz_join(path, folder, "a.safetensors");
    fuzz_join(other, folder, "b.safetensors");
    checkpoints_run(&again, which);
    CHECK(checkpoint_save(r, path, &e) == 0, "save: %s", e.text);
    CHECK(checkpoint_open(&file, path, &e) == 0, "%s", e.text);
    CHECK(checkpoint_load(&again, &file, path, &e) == 0, "its own: %s", e.text);
    CHECK(checkpoint_save(&again, other, &e) == 0, "save: %s", e.text);
    fuzz_check_same(path, other);
    safetensors_close(&file);
    run_close(&again);
}

static void loaded_check(struct run *r, const struct dataset *data) {
    CHECK(params_not_finite(r->params) < 0, "loaded numbers that are not finite");
    for (int i = 0; i < 2; i++) small_step(r, data);
    optim_settle(r->optim, 1);
}

// Into the run that the byte chose.
static void load_try(struct run *r, int which, const struct safetensors *file, const char *folder) {
    struct err e = {""};
    if (checkpoint_load(r, file, "checkpoint", &e) == 0) {
        round_check(r, which, folder);
        struct dataset data = r->data;
        loaded_check(r, &data);
    } else {
        fuzz_check_message(e.text);
    }
}

// Into the run that the file describes, as saved_open does for looking.
static void own_try(const struct safetensors *file) {
    struct config config = {.name = ""};
    struct dataset data;
    struct run r = {0};
    const char *set;
    struct err e = {""};
    int result = checkpoint_config(&config, file, "checkpoint", &e);
    if (result == 0) result = checkpoint_data(&set, &data, file, &e);
    if (result == 0 && shape_size(data.sample) * dataset_targets(&data) <= SMALL_NUMBERS &&
        (data.classes || shape_size(data.target) <= SMALL_NUMBERS) && small_enough(&config, &data)) {
        result = run_open_without_data(&r, &config, set, &data, &e);
        if (result == 0) result = checkpoint_load(&r, file, "checkpoint", &e);
        if (result == 0) loaded_check(&r, &data);
    }
    if (result != 0) fuzz_check_message(e.text);
    run_close(&r);
    config_close(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 1) return 0;
    char folder[FUZZ_PATH], path[FUZZ_PATH];
    int which = input[0] % CHECKPOINTS;
    struct run r;
    struct safetensors file;
    struct err e = {""};
    fuzz_folder_open(folder);
    checkpoints_run(&r, which);
    struct json *own = input[0] & KEPT ? NULL : own_header_new(&r, folder);
    size_t bytes = size - 1;
    uint8_t *made = input[0] & KEPT ? NULL : file_new(&bytes, input, input + size, own);
    int descriptor = fuzz_file_open(path, made ? made : input + 1, bytes);
    if (checkpoint_open(&file, path, &e) != 0)
        fuzz_check_message(e.text);
    else if (input[0] & OWN)
        own_try(&file);
    else
        load_try(&r, which, &file, folder);
    safetensors_close(&file);
    close(descriptor);
    mem_free(made);
    json_free(own);
    run_close(&r);
    fuzz_folder_close(folder);
    return 0;
}
