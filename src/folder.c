// Folders: made, and what is in them. Contracts in file.h.
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/file.h"

enum { PATH_LENGTH = 4096 };

int file_make_folder(const char *path, struct err *e) {
    char part[PATH_LENGTH];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) return err_set(e, "%.80s: not a folder's path", path);
    memcpy(part, path, length + 1);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p) continue;
        char end = *p;
        *p = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return err_set(e, "%s: %s", part, strerror(errno));
        *p = end;
        if (!end) break;
    }
    struct stat info;
    if (stat(path, &info) != 0) return err_set(e, "%s: %s", path, strerror(errno));
    return S_ISDIR(info.st_mode) ? 0 : err_set(e, "%s: not a folder", path);
}

static int name_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **file_names_new(int *count, const char *folder, struct err *e) {
    DIR *entries = opendir(folder);
    if (!entries) {
        err_set(e, "%s: %s", folder, strerror(errno));
        return NULL;
    }
    size_t found = 0;
    char **names = mem_grow(NULL, 0, sizeof *names);
    struct dirent *entry;
    while (errno = 0, (entry = readdir(entries))) {
        if (entry->d_name[0] == '.') continue;
        names = mem_grow(names, found, sizeof *names);
        names[found++] = mem_string_new(entry->d_name);
    }
    int error = errno; // of the last readdir
    closedir(entries);
    if (error) {
        err_set(e, "%s: %s", folder, strerror(error));
        for (size_t i = 0; i < found; i++) mem_free(names[i]);
        mem_free(names);
        return NULL;
    }
    qsort(names, found, sizeof *names, name_order);
    *count = (int)found;
    return names;
}

// Whether the name is NAME.PID.tmp of a process that is no more, or was one of our number.
static bool is_left_over(const char *name) {
    size_t length = strlen(name), digits = 0;
    if (length < 5 || strcmp(name + length - 4, ".tmp") != 0) return false;
    while (digits < length - 4 && strchr("0123456789", name[length - 5 - digits])) digits++;
    if (digits == 0 || digits > 9 || digits + 5 > length || name[length - 5 - digits] != '.') return false;
    long process = atol(name + length - 4 - digits);
    return process == (long)getpid() || (process > 0 && kill((pid_t)process, 0) != 0 && errno == ESRCH);
}

void file_sweep(const char *folder) {
    int count = 0;
    char path[PATH_LENGTH];
    struct err ignored;
    char **names = file_names_new(&count, folder, &ignored);
    for (int i = 0; i < count; i++) {
        if (is_left_over(names[i]) && file_join(path, sizeof path, folder, names[i], &ignored) == 0)
            unlink(path);
        mem_free(names[i]);
    }
    mem_free(names);
}
