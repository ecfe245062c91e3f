// Finding files. Contracts in source.h.
#include "datasets/source.h"

#include <stdio.h>
#include <string.h>

#include "src/memory.h"

static bool is_there(char path[SOURCE_PATH], const char *folder, const char *name,
                     bool (*there)(const char *path)) {
    int length = snprintf(path, SOURCE_PATH, "%s%s%s", folder, *folder && *name ? "/" : "", name);
    return length < SOURCE_PATH && there(path);
}

int source_find(char path[SOURCE_PATH], struct data_source *source, const char *const *names,
                bool (*there)(const char *path), const char *set, const char *what, const char *get,
                struct err *e) {
    char searched[384] = "";
    bool alone = names[0][0] == '/';
    if (alone && is_there(path, "", names[0], there)) return 0;
    for (int i = 0; i < DATA_FOLDERS && !alone; i++) {
        const char *folder = source->folder[i];
        if (!folder) continue;
        for (int j = 0; names[j]; j++)
            if (is_there(path, folder, names[j], there)) return 0;
        size_t used = strlen(searched);
        snprintf(searched + used, sizeof searched - used, "%s%.120s", used ? ", " : "", folder);
    }
    source->missing = true;
    const char *open = get ? " (get it: " : "", *close = get ? ")" : "";
    if (alone) return err_set(e, "%s: %.300s not found%s%s%s", set, what, open, get ? get : "", close);
    return err_set(e, "%s: %.200s not found in %s%s%s%s", set, what,
                   *searched ? searched : "any folder: none is given", open, get ? get : "", close);
}

int source_room(const struct data_source *source, double bytes, const char *set, struct err *e) {
    char text[2][MEMORY_TEXT];
    if (source->max_memory == 0 || bytes <= source->max_memory) return 0;
    return err_set(e, "%s: its samples take %s of memory, %s are allowed", set, memory_text(text[0], bytes),
                   memory_text(text[1], source->max_memory));
}

size_t source_limit(const struct data_source *source, size_t limit) {
    return source->max_memory > 0 && source->max_memory < (double)limit ? (size_t)source->max_memory : limit;
}
