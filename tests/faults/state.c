// What a run leaves. Contracts in state.h.
#include "tests/faults/state.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/io/png.h"
#include "experiments/checkpoint.h"
#include "src/file.h"

enum { PATH = 1024, LIMIT = 1 << 26 };

static bool ends(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

// --- what differs from run to run ----------------------------------------------------------------------------------

static const char *const timings[] = {
    "\"samples_per_second\":", "\"seconds\":", "\"step_seconds\":",
    "\"checkpoint_bytes\":"}; // which may not be known; the file itself is compared

// Of JSON: the values of timings, which may be objects of numbers.
static void json_mask(char *text) {
    char *out = text;
    for (const char *in = text; *in;) {
        size_t k = 0, count = sizeof timings / sizeof *timings;
        while (k < count && strncmp(in, timings[k], strlen(timings[k])) != 0) k++;
        if (k == count) {
            *out++ = *in++;
            continue;
        }
        in += strlen(timings[k]);
        in += strspn(in, " \t");
        in += *in == '{' ? strcspn(in, "}") : strcspn(in, ",}\n");
    }
    *out = 0;
}

// Of results.csv: the last column.
static void csv_mask(char *text) {
    char *out = text;
    for (char *line = text; *line;) {
        size_t length = strcspn(line, "\n"), kept = length;
        while (kept > 0 && line[kept - 1] != ',') kept--;
        memmove(out, line, kept);
        out += kept;
        line += length + (line[length] == '\n');
        *out++ = '\n'; // there is room: each line lost one byte at least, or its end
    }
    *out = 0;
}

// Of report.html: numbers, and which of them is marked as the best.
static void html_mask(char *text) {
    char *out = text;
    for (const char *in = text; *in;)
        if (strncmp(in, "<strong>", 8) == 0)
            in += 8;
        else if (strncmp(in, "</strong>", 9) == 0)
            in += 9;
        else if (strncmp(in, "–", 3) == 0) // no number
            in += 3;
        else if (isdigit((unsigned char)*in) || *in == '.')
            in++;
        else
            *out++ = *in++;
    *out = 0;
}

char *state_text_new(size_t *size, const char *path, struct err *e) {
    char *text = (char *)file_read_new(size, path, LIMIT, e);
    if (!text || memchr(text, 0, *size)) return text; // it is binary
    if (ends(path, ".json") || ends(path, ".jsonl") || ends(path, ".txt")) json_mask(text);
    if (ends(path, "results.csv")) csv_mask(text);
    if (ends(path, ".html")) html_mask(text);
    if (!memchr(text, 0, *size)) return text;
    *size = strlen(text);
    return text;
}

bool state_same(const char *a, const char *b) {
    size_t size[2] = {0, 0};
    struct err ignored;
    char *text[2] = {NULL, NULL};
    if (file_exists(a) && file_exists(b)) {
        text[0] = state_text_new(&size[0], a, &ignored);
        text[1] = state_text_new(&size[1], b, &ignored);
    }
    bool same = text[0] && text[1] && size[0] == size[1] && memcmp(text[0], text[1], size[0]) == 0;
    mem_free(text[0]);
    mem_free(text[1]);
    return same;
}

// --- whole files ---------------------------------------------------------------------------------------------------

static int lines_check(const char *path, struct err *e) {
    size_t size;
    char *text = (char *)file_read_new(&size, path, LIMIT, e);
    int result = text ? 0 : -1;
    if (size && text && text[size - 1] != '\n') result = err_set(e, "%s: ends within a line", path);
    for (char *line = text; result == 0 && *line; line += strcspn(line, "\n") + 1) {
        struct json *node = json_parse_new(line, strcspn(line, "\n"), e);
        result = node ? 0 : err_at(e, path);
        json_free(node);
    }
    mem_free(text);
    return result;
}

static int html_check(const char *path, struct err *e) {
    size_t size;
    char *text = (char *)file_read_new(&size, path, LIMIT, e);
    int result = !text ? -1 : ends(text, "</html>\n") ? 0 : err_set(e, "%s: has no end", path);
    mem_free(text);
    return result;
}

// A table of what was done: every line has as many commas as the first.
static int csv_check(const char *path, struct err *e) {
    size_t size;
    char *text = (char *)file_read_new(&size, path, LIMIT, e);
    int result = !text ? -1 : size && text[size - 1] == '\n' ? 0 : err_set(e, "%s: ends within a line", path);
    int commas[2] = {-1, 0};
    for (char *c = text; result == 0 && *c; c++) {
        commas[1] += *c == ',';
        if (*c != '\n') continue;
        if (commas[0] < 0) commas[0] = commas[1];
        if (commas[1] != commas[0]) result = err_set(e, "%s: a line of other columns", path);
        commas[1] = 0;
    }
    mem_free(text);
    return result;
}

static int file_check(const char *path, struct err *e) {
    if (ends(path, ".csv")) return csv_check(path, e);
    if (ends(path, ".jsonl")) return lines_check(path, e);
    if (ends(path, ".html")) return html_check(path, e);
    if (ends(path, ".log")) return 0; // of a child, whatever it said
    if (ends(path, ".json")) {
        struct json *root = json_load_new(path, LIMIT, e);
        json_free(root);
        return root ? 0 : -1;
    }
    if (ends(path, ".png")) {
        int width, height;
        uint8_t *pixels = png_read_new(&width, &height, path, 1, e);
        mem_free(pixels);
        return pixels ? 0 : -1;
    }
    if (ends(path, ".safetensors")) {
        struct safetensors file;
        int result = checkpoint_open(&file, path, e);
        safetensors_close(&file);
        return result;
    }
    return err_set(e, "%s: neither the old nor the new one", path);
}

// --- folders -------------------------------------------------------------------------------------------------------

struct walk {
    const char *before, *wanted; // before NULL: all must be as wanted
    bool litter;
};

// The path without the ".old1" of a folder that was kept.
static bool kept_strip(char *path) {
    char *old = strstr(path, ".old");
    if (!old || !isdigit((unsigned char)old[4])) return false;
    char *end = old + 4 + strspn(old + 4, "0123456789");
    memmove(old, end, strlen(end) + 1);
    return true;
}

// Checkpoints beside the last one: where one could not be written, an older one stays in its place, and the run goes on with a
// warning.
static bool is_spare(const char *name) {
    return ends(name, ".safetensors") &&
           (strncmp(name, "checkpoint-", 11) == 0 || strcmp(name, "best.safetensors") == 0);
}

static int found_check(const struct walk *w, const char *path, const char *below, struct err *e) {
    char before[PATH], wanted[PATH], plain[PATH];
    snprintf(plain, sizeof plain, "%s", below);
    bool kept = kept_strip(plain);
    snprintf(before, sizeof before, "%s%s", w->before ? w->before : "", plain);
    snprintf(wanted, sizeof wanted, "%s%s", w->wanted, plain);
    if (state_same(path, wanted) || (w->before && state_same(path, before))) return 0;
    if (ends(path, ".tmp") || strncmp(strrchr(below, '/'), "/tally-", 7) == 0)
        return w->litter ? 0 : err_set(e, "%s: was left", path);
    if (ends(path, ".log")) return 0; // of a child that warned, or whose silence was not looked at
    if (is_spare(strrchr(below, '/') + 1)) return file_exists(path) ? file_check(path, e) : 0;
    if (!w->before && !kept)
        return err_set(e, "%s: %s", path, file_exists(wanted) ? "another result" : "should not be there");
    return file_check(path, e);
}

static bool is_folder_of_litter(const char *path, const struct walk *w) {
    return ends(path, ".tmp") && w->litter;
}

static int folder_walk(const struct walk *w, const char *root, const char *below, struct err *e) {
    char path[PATH], next[PATH];
    int count = 0, result = 0;
    snprintf(path, sizeof path, "%s%s", root, below);
    char **names = file_names_new(&count, path, e);
    if (!names) return -1;
    for (int i = 0; i < count; i++) {
        snprintf(next, sizeof next, "%.500s/%.200s", below, names[i]);
        snprintf(path, sizeof path, "%.200s%.800s", root, next);
        if (result == 0 && !file_is_folder(path))
            result = found_check(w, path, next, e);
        else if (result == 0 && !is_folder_of_litter(path, w))
            result = folder_walk(w, root, next, e);
        mem_free(names[i]);
    }
    mem_free(names);
    return result;
}

int state_whole(const char *work, const char *before, const char *wanted, bool litter, struct err *e) {
    return folder_walk(&(struct walk){before, wanted, litter}, work, "", e);
}

int state_done(const char *work, const char *wanted, bool litter, struct err *e) {
    if (folder_walk(&(struct walk){NULL, wanted, litter}, work, "", e) != 0) return -1;
    return folder_walk(&(struct walk){NULL, work, false}, wanted, "", e);
}
