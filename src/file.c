// Whole files in, atomic files out. Contracts in file.h.
#define _POSIX_C_SOURCE 200809L
#include "src/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LENGTH = 4096, BUFFER = 1 << 14 };
static const size_t ONE_CALL = (size_t)1 << 30; // some systems refuse more than INT_MAX at once

// --- reading -------------------------------------------------------------------------------------------------------

static int descriptor_open(const char *path, int flags) {
    int descriptor;
    do descriptor = open(path, flags | O_CLOEXEC, 0666);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

// 0, or what is in errno.
static int descriptor_sync(int descriptor) {
    while (fsync(descriptor) != 0)
        if (errno != EINTR) return errno;
    return 0;
}

void file_close(int descriptor) {
    close(descriptor);
}

// `size` bytes from `at` on, with a zero byte after them.
static unsigned char *bytes_read_new(int descriptor, const char *path, uint64_t at, size_t size,
                                     struct err *e) {
    unsigned char *bytes = mem_new(size + 1, 1);
    size_t done = 0;
    bool failed = at > 0 && lseek(descriptor, (off_t)at, SEEK_SET) < 0;
    if (failed) err_set(e, "%s: %s", path, strerror(errno));
    while (done < size && !failed) {
        size_t left = size - done;
        ssize_t count = read(descriptor, bytes + done, left < ONE_CALL ? left : ONE_CALL);
        if (count > 0)
            done += (size_t)count;
        else if (count == 0)
            failed = err_set(e, "%s: ends after %zu of %zu bytes", path, done, size);
        else if (errno != EINTR)
            failed = err_set(e, "%s: %s", path, strerror(errno));
    }
    if (!failed) return bytes;
    mem_free(bytes);
    return NULL;
}

// The size of what must be a file.
static int descriptor_size(uint64_t *size, int descriptor, const char *path, struct err *e) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return err_set(e, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return err_set(e, "%s: not a file", path);
    *size = (uint64_t)info.st_size;
    return 0;
}

static unsigned char *descriptor_read_new(size_t *size, int descriptor, const char *path, size_t limit,
                                          struct err *e) {
    uint64_t all;
    if (descriptor_size(&all, descriptor, path, e) != 0) return NULL;
    if (all > limit) {
        err_set(e, "%s: %llu bytes, at most %zu are read", path, (unsigned long long)all, limit);
        return NULL;
    }
    *size = (size_t)all;
    return bytes_read_new(descriptor, path, 0, *size, e);
}

// So that a pipe without a writer is refused, not waited for.
static int reading_open(const char *path, struct err *e) {
    int descriptor = descriptor_open(path, O_RDONLY | O_NONBLOCK);
    return descriptor < 0 ? err_set(e, "%s: %s", path, strerror(errno)) : descriptor;
}

unsigned char *file_read_new(size_t *size, const char *path, size_t limit, struct err *e) {
    int descriptor = reading_open(path, e);
    if (descriptor < 0) return NULL;
    unsigned char *bytes = descriptor_read_new(size, descriptor, path, limit, e);
    close(descriptor);
    return bytes;
}

unsigned char *file_read_end_new(size_t *size, const char *path, size_t most, struct err *e) {
    int descriptor = reading_open(path, e);
    if (descriptor < 0) return NULL;
    unsigned char *bytes = NULL;
    uint64_t all;
    if (descriptor_size(&all, descriptor, path, e) == 0) {
        *size = all < most ? (size_t)all : most;
        bytes = bytes_read_new(descriptor, path, all - *size, *size, e);
    }
    close(descriptor);
    return bytes;
}

size_t file_peek(void *out, size_t room, const char *path) {
    int descriptor = descriptor_open(path, O_RDONLY | O_NONBLOCK);
    if (descriptor < 0) return 0;
    ssize_t count;
    do count = read(descriptor, out, room);
    while (count < 0 && errno == EINTR);
    close(descriptor);
    return count > 0 ? (size_t)count : 0;
}

// --- streams -------------------------------------------------------------------------------------------------------

struct file_stream {
    int descriptor, error; // what went wrong first, of errno; 0: nothing
    size_t used;           // bytes of the buffer
    unsigned char buffer[BUFFER];
};

static void stream_write(struct file_stream *f, const unsigned char *bytes, size_t size) {
    while (size > 0 && !f->error) {
        ssize_t count = write(f->descriptor, bytes, size < ONE_CALL ? size : ONE_CALL);
        if (count > 0)
            bytes += count, size -= (size_t)count;
        else if (count == 0)
            f->error = EIO;
        else if (errno != EINTR)
            f->error = errno;
    }
}

static void stream_flush(struct file_stream *f) {
    stream_write(f, f->buffer, f->used);
    f->used = 0;
}

void file_add(struct file_stream *f, const void *bytes, size_t size) {
    if (size > BUFFER - f->used) stream_flush(f);
    if (size > BUFFER) {
        stream_write(f, bytes, size);
    } else if (size > 0) {
        memcpy(f->buffer + f->used, bytes, size);
        f->used += size;
    }
}

void file_print(struct file_stream *f, const char *format, ...) {
    char line[512], *text = line;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    CHECK(length >= 0, "file_print: %s", format);
    if ((size_t)length >= sizeof line) {
        text = mem_new((size_t)length + 1, 1);
        va_start(args, format);
        vsnprintf(text, (size_t)length + 1, format, args);
        va_end(args);
    }
    file_add(f, text, (size_t)length);
    if (text != line) mem_free(text);
}

// Whatever is in the way of the bytes being there ends up in f->error.
static void stream_close(struct file_stream *f, bool sync) {
    stream_flush(f);
    if (sync && !f->error) f->error = descriptor_sync(f->descriptor);
    if (close(f->descriptor) != 0 && !f->error && errno != EINTR) f->error = errno;
}

// --- writing -------------------------------------------------------------------------------------------------------

// So that the rename itself survives a power cut. Some file systems refuse it for folders, and a folder may be closed to
// readers; then there is no more to be done.
static int folder_sync(const char *path, struct err *e) {
    char folder[PATH_LENGTH];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    const char *name = slash ? folder : ".";
    int descriptor = descriptor_open(name, O_RDONLY);
    if (descriptor < 0) return errno == EACCES ? 0 : err_set(e, "%s: %s", name, strerror(errno));
    int error = descriptor_sync(descriptor);
    close(descriptor);
    bool refused = error == EINVAL || error == EBADF || error == ENOTSUP || error == ENOSYS;
    return error && !refused ? err_set(e, "%s: %s", name, strerror(error)) : 0;
}

static int whole_write(const char *path, int (*write)(void *context, struct file_stream *f, struct err *e),
                       void *context, bool sync, struct err *e) {
    char temporary[PATH_LENGTH];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (length < 0 || length >= PATH_LENGTH) return err_set(e, "%.80s...: the path is too long", path);
    struct file_stream f;
    f.error = 0, f.used = 0;
    f.descriptor = descriptor_open(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (f.descriptor < 0) return err_set(e, "%s: %s", temporary, strerror(errno));
    int result = write(context, &f, e);
    stream_close(&f, sync && result == 0);
    if (result == 0 && !f.error && rename(temporary, path) != 0) f.error = errno;
    if (f.error) result = err_set(e, "%s: %s", path, strerror(f.error));
    if (result != 0) {
        unlink(temporary);
        return -1;
    }
    return sync ? folder_sync(path, e) : 0;
}

int file_write_atomic(const char *path, int (*write)(void *context, struct file_stream *f, struct err *e),
                      void *context, struct err *e) {
    return whole_write(path, write, context, true, e);
}

int file_write_unsynced(const char *path, int (*write)(void *context, struct file_stream *f, struct err *e),
                        void *context, struct err *e) {
    return whole_write(path, write, context, false, e);
}

struct block {
    const void *bytes;
    size_t size;
};

static int block_write(void *context, struct file_stream *f, struct err *e) {
    (void)e;
    const struct block *b = context;
    file_add(f, b->bytes, b->size);
    return 0;
}

int file_write_bytes(const char *path, const void *bytes, size_t size, struct err *e) {
    struct block b = {bytes, size};
    return file_write_atomic(path, block_write, &b, e);
}

int file_write_text(const char *path, const char *text, struct err *e) {
    return file_write_bytes(path, text, strlen(text), e);
}

int file_append_text(const char *path, const char *text, struct err *e) {
    struct file_stream f;
    f.error = 0, f.used = 0;
    f.descriptor = descriptor_open(path, O_WRONLY | O_CREAT | O_APPEND);
    if (f.descriptor < 0) return err_set(e, "%s: %s", path, strerror(errno));
    off_t before = lseek(f.descriptor, 0, SEEK_END);
    if (before < 0) f.error = errno;
    file_add(&f, text, strlen(text));
    stream_close(&f, false);
    if (!f.error) return 0;
    if (before >= 0 && truncate(path, before) != 0) before = -1; // half a line helps nobody
    return err_set(e, "%s: %s", path, strerror(f.error));
}

int file_create(const char *path, struct err *e) {
    int descriptor = descriptor_open(path, O_WRONLY | O_CREAT | O_TRUNC);
    return descriptor < 0 ? err_set(e, "%s: %s", path, strerror(errno)) : descriptor;
}

// --- temporary files -----------------------------------------------------------------------------------------------

static const char nameless[] = "temporary file";

int file_temporary(int (*write)(void *context, struct file_stream *f, struct err *e), void *context,
                   struct err *e) {
    char path[PATH_LENGTH];
    const char *given = getenv("TMPDIR"), *folder = given && *given ? given : "/tmp";
    if (file_join(path, sizeof path, folder, "tally-XXXXXX", e) != 0) return -1;
    struct file_stream f;
    f.error = 0, f.used = 0;
    f.descriptor = mkstemp(path);
    if (f.descriptor < 0) return err_set(e, "%s: %s: %s", folder, nameless, strerror(errno));
    if (unlink(path) != 0) f.error = errno;
    int result = write ? write(context, &f, e) : 0;
    stream_flush(&f);
    if (!f.error && lseek(f.descriptor, 0, SEEK_SET) < 0) f.error = errno;
    if (f.error) result = err_set(e, "%s: %s: %s", folder, nameless, strerror(f.error));
    if (result == 0) return f.descriptor;
    close(f.descriptor);
    return -1;
}

unsigned char *file_temporary_read_new(size_t *size, int descriptor, size_t limit, struct err *e) {
    if (lseek(descriptor, 0, SEEK_SET) >= 0) return descriptor_read_new(size, descriptor, nameless, limit, e);
    err_set(e, "%s: %s", nameless, strerror(errno));
    return NULL;
}

// --- names ---------------------------------------------------------------------------------------------------------

int file_rename(const char *from, const char *to, struct err *e) {
    return rename(from, to) == 0 ? 0 : err_set(e, "%s: cannot become %s: %s", from, to, strerror(errno));
}

bool file_remove(const char *path) {
    return unlink(path) == 0 || rmdir(path) == 0;
}

static bool is_missing(void) {
    return errno == ENOENT || errno == ENOTDIR;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0 || !is_missing();
}

bool file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? S_ISDIR(info.st_mode) : !is_missing();
}

bool file_is_fresh(const char *path, const char *other) {
    struct stat a, b;
    if (stat(path, &a) != 0) return false;
    if (stat(other, &b) != 0) return is_missing();
    return a.st_mtim.tv_sec > b.st_mtim.tv_sec ||
           (a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec >= b.st_mtim.tv_nsec);
}

int file_size(uint64_t *size, const char *path, struct err *e) {
    struct stat info;
    if (stat(path, &info) != 0) return err_set(e, "%s: %s", path, strerror(errno));
    *size = (uint64_t)info.st_size;
    return 0;
}

uint64_t file_bytes(const char *path) {
    uint64_t size = 0;
    struct err ignored;
    return file_size(&size, path, &ignored) == 0 ? size : 0;
}

int file_join(char *out, size_t out_size, const char *folder, const char *name, struct err *e) {
    int length = snprintf(out, out_size, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= out_size) return err_set(e, "%.80s...: the path is too long", folder);
    return 0;
}

int file_sync(const char *path, struct err *e) {
    int descriptor = descriptor_open(path, O_RDONLY);
    if (descriptor < 0) return err_set(e, "%s: %s", path, strerror(errno));
    int error = descriptor_sync(descriptor);
    close(descriptor);
    return error ? err_set(e, "%s: %s", path, strerror(error)) : 0;
}

bool file_link(const char *from, const char *to) {
    return (unlink(to) == 0 || errno == ENOENT) && link(from, to) == 0;
}
