// Whole files in, atomic files out. Contracts in file.h.
#define _POSIX_C_SOURCE 200809L
#include "src/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LENGTH = 4096 };

unsigned char *file_read_new(size_t *size, const char *path, size_t limit, struct err *e) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        err_set(e, "%s: %s", path, strerror(errno));
        return NULL;
    }
    unsigned char *bytes = NULL;
    struct stat info;
    if (fstat(fileno(f), &info) != 0 || !S_ISREG(info.st_mode)) {
        err_set(e, "%s: not a file", path);
    } else if ((uint64_t)info.st_size > limit) {
        err_set(e, "%s: %lld bytes, at most %zu are read", path, (long long)info.st_size, limit);
    } else {
        *size = (size_t)info.st_size;
        bytes = mem_new(*size + 1, 1);
        if (fread(bytes, 1, *size, f) != *size) {
            err_set(e, "%s: could not be read whole (%zu bytes)", path, *size);
            mem_free(bytes);
            bytes = NULL;
        }
    }
    fclose(f);
    return bytes;
}

// So that the rename itself survives a power cut.
static void folder_sync(const char *path) {
    char folder[PATH_LENGTH];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    int descriptor = open(slash ? folder : ".", O_RDONLY);
    if (descriptor < 0) return;
    (void)fsync(descriptor); // some file systems refuse it for folders; the data itself is synced already
    close(descriptor);
}

static int whole_write(const char *path, int (*write)(void *context, void *stream, struct err *e),
                       void *context, bool sync, struct err *e) {
    char temporary[PATH_LENGTH];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (length < 0 || length >= PATH_LENGTH) return err_set(e, "%.80s...: the path is too long", path);
    FILE *f = fopen(temporary, "wb");
    if (!f) return err_set(e, "%s: %s", temporary, strerror(errno));
    bool failed = write(context, f, e) != 0;
    if (!failed && (fflush(f) != 0 || (sync && fsync(fileno(f)) != 0))) {
        err_set(e, "%s: %s", path, strerror(errno));
        failed = true;
    }
    if (fclose(f) != 0 && !failed) {
        err_set(e, "%s: %s", path, strerror(errno));
        failed = true;
    }
    if (!failed && rename(temporary, path) != 0) {
        err_set(e, "%s: %s", path, strerror(errno));
        failed = true;
    }
    if (failed) {
        unlink(temporary);
        return -1;
    }
    if (sync) folder_sync(path);
    return 0;
}

int file_write_atomic(const char *path, int (*write)(void *context, void *stream, struct err *e),
                      void *context, struct err *e) {
    return whole_write(path, write, context, true, e);
}

int file_write_unsynced(const char *path, int (*write)(void *context, void *stream, struct err *e),
                        void *context, struct err *e) {
    return whole_write(path, write, context, false, e);
}

struct block {
    const char *path;
    const void *bytes;
    size_t size;
};

static int block_write(void *context, void *stream, struct err *e) {
    const struct block *b = context;
    if (fwrite(b->bytes, 1, b->size, stream) != b->size)
        return err_set(e, "%s: %s", b->path, strerror(errno));
    return 0;
}

int file_write_bytes(const char *path, const void *bytes, size_t size, struct err *e) {
    struct block b = {path, bytes, size};
    return file_write_atomic(path, block_write, &b, e);
}

int file_write_text(const char *path, const char *text, struct err *e) {
    return file_write_bytes(path, text, strlen(text), e);
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
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
    int room = 64;
    char **names = mem_new((size_t)room, sizeof *names);
    *count = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.') continue;
        if (*count == room) {
            char **more = mem_new((size_t)room * 2, sizeof *more);
            memcpy(more, names, (size_t)room * sizeof *names);
            mem_free(names);
            names = more;
            room *= 2;
        }
        names[(*count)++] = mem_string_new(entry->d_name);
    }
    closedir(entries);
    qsort(names, (size_t)*count, sizeof *names, name_order);
    return names;
}

uint64_t file_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

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
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return err_set(e, "%s: not a folder", path);
    return 0;
}

int file_join(char *out, size_t out_size, const char *folder, const char *name, struct err *e) {
    int length = snprintf(out, out_size, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= out_size) return err_set(e, "%.80s...: the path is too long", folder);
    return 0;
}

int file_append_text(const char *path, const char *text, struct err *e) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor < 0) return err_set(e, "%s: %s", path, strerror(errno));
    off_t before = lseek(descriptor, 0, SEEK_END);
    int error = before < 0 ? errno : 0;
    for (size_t left = strlen(text); left > 0 && !error;) {
        ssize_t written = write(descriptor, text, left);
        if (written < 0 && errno != EINTR) error = errno;
        if (written > 0) text += written, left -= (size_t)written;
    }
    if (error && before >= 0 && ftruncate(descriptor, before) != 0) before = -1; // half a line helps nobody
    if (close(descriptor) != 0 && !error) error = errno;
    return error ? err_set(e, "%s: %s", path, strerror(error)) : 0;
}

bool file_remove(const char *path) {
    return unlink(path) == 0 || rmdir(path) == 0;
}

int file_sync(const char *path, struct err *e) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return err_set(e, "%s: %s", path, strerror(errno));
    int error = fsync(descriptor) != 0 ? errno : 0;
    close(descriptor);
    return error ? err_set(e, "%s: %s", path, strerror(error)) : 0;
}

bool file_link(const char *from, const char *to) {
    return (unlink(to) == 0 || errno == ENOENT) && link(from, to) == 0;
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
