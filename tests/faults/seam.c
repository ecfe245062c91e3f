// The seam: calls into the system that fail on demand. `tally_faulty` is the program from its own object files, linked with
// --wrap for each name of calls.def, so that its calls come here, and only its own: not those of libraries and children.
//
//     TALLY_FAULT=CALL:N:WHAT[:DEPTH]   the N-th CALL of a process fails; "N+" that one and all after it
//     TALLY_FAULT_COUNTS=FILE           each process adds, when it ends, lines "DEPTH CALL COUNT"
//
// WHAT is a number of errno; "half": half of the bytes; "end": no bytes, as at the end of a file; "kill": SIGKILL before
// the call. DEPTH is 0 in the process that was started so, the default, 1 in its children.
//
// A test that is linked so itself calls seam_fault.
//
// Source of --wrap: manual of GNU ld, options.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/faults/seam.h"

enum call {
#define CALL(name) CALL_##name,
#include "tests/faults/calls.def"
#undef CALL
    CALLS
};

static const char *const names[CALLS] = {
#define CALL(name) #name,
#include "tests/faults/calls.def"
#undef CALL
};

enum fault { NONE, FAIL, HALF, END };

static struct {
    int depth, call, error;
    long at;
    bool on; // and all after it
    enum fault fault;
    bool kill;
    long count[CALLS];
} seam = {.call = -1};

static void wanted_read(const char *text) {
    char name[32] = "", what[16] = "", from[16] = "";
    int depth = 0, read = sscanf(text, "%31[^:]:%15[^:]:%15[^:]:%d", name, from, what, &depth);
    if (read < 3 || (read == 4 && depth != seam.depth) || (read == 3 && seam.depth != 0)) return;
    for (int i = 0; i < CALLS; i++)
        if (strcmp(names[i], name) == 0) seam.call = i;
    seam.at = atol(from);
    seam.on = strchr(from, '+') != NULL;
    seam.error = atoi(what);
    seam.kill = strcmp(what, "kill") == 0;
    seam.fault = strcmp(what, "half") == 0 ? HALF : strcmp(what, "end") == 0 ? END : FAIL;
}

void seam_fault(const char *text) {
    memset(seam.count, 0, sizeof seam.count);
    seam.call = -1;
    if (text) wanted_read(text);
}

__attribute__((constructor)) static void seam_open(void) {
    const char *depth = getenv("TALLY_FAULT_DEPTH"), *wanted = getenv("TALLY_FAULT");
    char next[16];
    seam.depth = depth ? atoi(depth) : 0;
    if (wanted) wanted_read(wanted);
    snprintf(next, sizeof next, "%d", seam.depth + 1);
    setenv("TALLY_FAULT_DEPTH", next, 1);
}

int __real_open(const char *path, int flags, ...);
int __real_close(int descriptor);

__attribute__((destructor)) static void seam_close(void) {
    const char *path = getenv("TALLY_FAULT_COUNTS");
    int file = path ? __real_open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    for (int i = 0; file >= 0 && i < CALLS; i++)
        if (seam.count[i]) dprintf(file, "%d %s %ld\n", seam.depth, names[i], seam.count[i]);
    if (file >= 0) __real_close(file);
}

// Counts the call; what is to become of it.
static enum fault strike(enum call call) {
    long number = __atomic_add_fetch(&seam.count[call], 1, __ATOMIC_RELAXED);
    if ((int)call != seam.call || (seam.on ? number < seam.at : number != seam.at)) return NONE;
    if (seam.kill) raise(SIGKILL);
    if (seam.fault == FAIL) errno = seam.error;
    return seam.fault;
}

// RESULT __wrap_NAME(PARAMETERS): fails with `failed` or is NAME(ARGUMENTS).
#define WRAP(result, name, failed, parameters, arguments)              \
    result __real_##name parameters;                                   \
    result __wrap_##name parameters;                                   \
    result __wrap_##name parameters {                                  \
        return strike(CALL_##name) ? failed : __real_##name arguments; \
    }

WRAP(int, access, -1, (const char *path, int mode), (path, mode))
WRAP(int, dup2, -1, (int from, int to), (from, to))
WRAP(int, execv, -1, (const char *path, char *const *words), (path, words))
WRAP(pid_t, fork, -1, (void), ())
WRAP(int, fstat, -1, (int descriptor, struct stat *info), (descriptor, info))
WRAP(int, fsync, -1, (int descriptor), (descriptor))
WRAP(int, ftruncate, -1, (int descriptor, off_t size), (descriptor, size))
WRAP(int, link, -1, (const char *from, const char *to), (from, to))
WRAP(off_t, lseek, -1, (int descriptor, off_t at, int from), (descriptor, at, from))
WRAP(int, mkdir, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, mkstemp, -1, (char *path), (path))
WRAP(DIR *, opendir, NULL, (const char *path), (path))
WRAP(int, posix_spawnp, errno,
     (pid_t * child, const char *program, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const *words, char *const *environment),
     (child, program, actions, attributes, words, environment))
WRAP(ssize_t, pread, -1, (int descriptor, void *bytes, size_t size, off_t at), (descriptor, bytes, size, at))
WRAP(ssize_t, pwrite, -1, (int descriptor, const void *bytes, size_t size, off_t at),
     (descriptor, bytes, size, at))
WRAP(struct dirent *, readdir, NULL, (DIR * entries), (entries))
WRAP(ssize_t, readlink, -1, (const char *path, char *out, size_t size), (path, out, size))
WRAP(int, rename, -1, (const char *from, const char *to), (from, to))
WRAP(int, rmdir, -1, (const char *path), (path))
WRAP(int, stat, -1, (const char *path, struct stat *info), (path, info))
WRAP(int, truncate, -1, (const char *path, off_t size), (path, size))
WRAP(int, unlink, -1, (const char *path), (path))
WRAP(pid_t, waitpid, -1, (pid_t child, int *status, int options), (child, status, options))

int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    unsigned mode = flags & O_CREAT ? va_arg(args, unsigned) : 0;
    va_end(args);
    return strike(CALL_open) ? -1 : __real_open(path, flags, mode);
}

int __real_fcntl(int descriptor, int command, ...);
int __wrap_fcntl(int descriptor, int command, ...);
int __wrap_fcntl(int descriptor, int command, ...) {
    va_list args;
    va_start(args, command);
    void *lock = command == F_GETFD ? NULL : va_arg(args, void *);
    va_end(args);
    return strike(CALL_fcntl) ? -1 : __real_fcntl(descriptor, command, lock);
}

// The descriptor is closed all the same, as Linux does.
int __wrap_close(int descriptor);
int __wrap_close(int descriptor) {
    enum fault fault = strike(CALL_close);
    int result = __real_close(descriptor);
    if (fault) errno = seam.error;
    return fault ? -1 : result;
}

ssize_t __real_read(int descriptor, void *bytes, size_t size);
ssize_t __wrap_read(int descriptor, void *bytes, size_t size);
ssize_t __wrap_read(int descriptor, void *bytes, size_t size) {
    enum fault fault = strike(CALL_read);
    if (fault == FAIL) return -1;
    if (fault == END) return 0;
    return __real_read(descriptor, bytes, fault == HALF ? (size + 1) / 2 : size);
}

ssize_t __real_write(int descriptor, const void *bytes, size_t size);
ssize_t __wrap_write(int descriptor, const void *bytes, size_t size);
ssize_t __wrap_write(int descriptor, const void *bytes, size_t size) {
    enum fault fault = strike(CALL_write);
    if (fault == FAIL || fault == END) return fault == FAIL ? -1 : 0;
    return __real_write(descriptor, bytes, fault == HALF ? (size + 1) / 2 : size);
}
