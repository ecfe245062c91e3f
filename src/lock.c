// A folder's lock. Contracts in lock.h.
#define _POSIX_C_SOURCE 200809L
#include "src/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/file.h"

enum { PATH_LENGTH = 4096, HOST = 65, TEXT = 100, TRIES = 25, WAIT_NANOSECONDS = 20000000 };

static const char NAME[] = ".lock";

static void host_name(char host[HOST]) {
    if (gethostname(host, HOST) != 0) strcpy(host, "?");
    host[HOST - 1] = 0;
}

// Who has it, as the file says; where it says nothing yet, as the system does.
static int taken_say(int descriptor, const char *folder, struct err *e) {
    char text[TEXT] = "", here[HOST], there[HOST] = "";
    long process = 0;
    ssize_t size = pread(descriptor, text, TEXT - 1, 0);
    text[size > 0 ? size : 0] = 0;
    if (sscanf(text, "%9ld %64s", &process, there) < 1) {
        struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(descriptor, F_GETLK, &asked) == 0 && asked.l_type != F_UNLCK) process = (long)asked.l_pid;
    }
    if (process <= 0)
        return err_set(e, "%.300s: in use by another process; wait for it or choose another --out", folder);
    host_name(here);
    bool far = *there && strcmp(here, there) != 0;
    return err_set(e, "%.300s: in use by process %ld%s%s; wait for it or choose another --out", folder,
                   process, far ? " on " : "", far ? there : "");
}

// Whether the path names the file, or what is said where it names none.
static bool is_there(int descriptor, const char *path, bool without) {
    struct stat mine, there;
    if (fstat(descriptor, &mine) != 0 || stat(path, &there) != 0) return without;
    return mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

// 0: this process has it now. Else *error is the reason, 0 when the file was removed meanwhile.
static int try_once(int *descriptor, int *error, const char *path) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    *error = 0;
    do *descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    while (*descriptor < 0 && errno == EINTR);
    if (*descriptor < 0 || fcntl(*descriptor, F_SETLK, &whole) != 0) return *error = errno, -1;
    return is_there(*descriptor, path, false) ? 0 : -1; // who had it before may have removed it meanwhile
}

int lock_take(struct lock *l, const char *folder, struct err *e) {
    char path[PATH_LENGTH], text[TEXT], host[HOST];
    int error;
    l->descriptor = -1;
    if (file_make_folder(folder, e) != 0 || file_join(path, sizeof path, folder, NAME, e) != 0) return -1;
    for (int tries = 1; try_once(&l->descriptor, &error, path) != 0; tries++) {
        if (l->descriptor < 0) return err_set(e, "%s: %s", path, strerror(error));
        bool taken = error == EACCES || error == EAGAIN, last = tries == TRIES;
        if (taken && last)
            taken_say(l->descriptor, folder, e);
        else
            err_set(e, "%s: %s", path, error ? strerror(error) : "another file each time");
        close(l->descriptor);
        l->descriptor = -1;
        if (taken && last) return -1;
        if ((error && !taken) || last) return 1;
        nanosleep(&(struct timespec){.tv_nsec = WAIT_NANOSECONDS}, NULL);
    }
    host_name(host);
    int length = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), host);
    bool said = ftruncate(l->descriptor, 0) == 0 && pwrite(l->descriptor, text, (size_t)length, 0) == length;
    (void)said; // where the disk is full the lock holds without it
    file_sweep(folder);
    return 0;
}

bool lock_is_lost(const struct lock *l, const char *folder) {
    char path[PATH_LENGTH];
    struct err ignored;
    return l->descriptor >= 0 && file_join(path, sizeof path, folder, NAME, &ignored) == 0 &&
           !is_there(l->descriptor, path, true);
}

void lock_release(struct lock *l, const char *folder) {
    char path[PATH_LENGTH];
    struct err ignored;
    if (l->descriptor < 0) return;
    if (file_join(path, sizeof path, folder, NAME, &ignored) == 0 && is_there(l->descriptor, path, false))
        unlink(path);
    close(l->descriptor);
    l->descriptor = -1;
}
