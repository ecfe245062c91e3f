// A folder's lock: who has it is named, a process that ends in whatever way lets go of it, a lock file that was left behind
// means nothing, and never do two have it. What killed processes have left is cleared.
#define _GNU_SOURCE
#include "src/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/file.h"
#include "tests/check.h"

enum { PATH = 200 };

// In place of the C library's, for a file system without locks: F_SETLK fails with this error. And for a process that lets go
// just before it: this file is removed first.
static int no_locks;
static const char *removed;

int fcntl(int descriptor, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_SETLK && removed) unlink(removed), removed = NULL;
    if (command == F_SETLK && no_locks) return errno = no_locks, -1;
    return (int)syscall(SYS_fcntl, descriptor, command, argument);
}

static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

static void take(struct lock *l, const char *folder) {
    struct err e = {""};
    if (lock_take(l, folder, &e) != 0) fail_msg("%s", e.text);
}

static void assert_refused(const char *folder, const char *who) {
    char wanted[600];
    struct lock l;
    struct err e = {""};
    assert_int_equal(lock_take(&l, folder, &e), -1);
    assert_int_equal(l.descriptor, -1);
    snprintf(wanted, sizeof wanted, "%s: in use by %s; wait for it or choose another --out", folder, who);
    assert_string_equal(e.text, wanted);
    lock_release(&l, folder); // nothing to let go of
}

// A process that has the lock, with this in the file when it is not NULL, until it is killed or the time is over.
static pid_t holder_start(const char *folder, const char *text, int milliseconds) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct lock l;
        struct err e;
        if (lock_take(&l, folder, &e) != 0 ||
            (text && (ftruncate(l.descriptor, 0) != 0 || pwrite(l.descriptor, text, strlen(text), 0) < 0)))
            _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(2);
        usleep((useconds_t)milliseconds * 1000);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void holder_kill(pid_t child) {
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

// Another process is refused.
static void assert_refused_elsewhere(const char *folder) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct lock l;
        struct err e;
        _exit(lock_take(&l, folder, &e) == -1 ? 7 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void taken_and_let_go(void **state) {
    char folder[PATH], path[PATH], wanted[100], host[65] = "";
    struct lock l, again;
    struct err e;
    size_t size;
    path_of(folder, state, "deep/run"); // is made
    path_of(path, state, "deep/run/.lock");
    take(&l, folder);
    gethostname(host, sizeof host - 1);
    snprintf(wanted, sizeof wanted, "%ld %s\n", (long)getpid(), host);
    char *text = (char *)file_read_new(&size, path, 100, &e);
    assert_string_equal(text, wanted);
    mem_free(text); // reading it has let go of it: the descriptor was another one of this process
    lock_release(&l, folder);
    assert_false(file_exists(path));
    lock_release(&l, folder);
    take(&again, folder);
    lock_release(&again, folder);
}

static void refused_by_name(void **state) {
    char who[100], host[65] = "", text[120];
    gethostname(host, sizeof host - 1);
    pid_t child = holder_start(*state, NULL, 60000);
    snprintf(who, sizeof who, "process %ld", (long)child);
    assert_refused(*state, who);
    holder_kill(child);
    snprintf(text, sizeof text, "4711 %s\n", host);
    child = holder_start(*state, text, 60000);
    assert_refused(*state, "process 4711");
    holder_kill(child);
    child = holder_start(*state, "77 else.where\n", 60000);
    assert_refused(*state, "process 77 on else.where");
    holder_kill(child);
    static const char *const unreadable[] = {"", "\x01\xff", "-3 a"};
    for (int i = 0; i < 3; i++) {
        child = holder_start(*state, unreadable[i], 60000);
        snprintf(who, sizeof who, i < 2 ? "process %ld" : "another process", (long)child);
        assert_refused(*state, who);
        holder_kill(child);
    }
}

// Killed: its file is there, its lock is not; whatever number is in it, of a process that lives or of none.
static void left_behind(void **state) {
    static const char *const texts[] = {NULL, "1 here\n", "999999999 here\n", "", "no number"};
    char path[PATH];
    struct lock l;
    path_of(path, state, ".lock");
    for (int i = 0; i < 5; i++) {
        holder_kill(holder_start(*state, texts[i], 60000));
        assert_true(file_exists(path));
        take(&l, *state);
        lock_release(&l, *state);
        assert_false(file_exists(path));
    }
}

// A process that is ending is waited for.
static void just_ending(void **state) {
    struct lock l;
    pid_t child = holder_start(*state, NULL, 100);
    take(&l, *state);
    assert_int_equal(waitpid(child, NULL, 0), child);
    lock_release(&l, *state);
}

// A lock on a file that has no name any more is none.
static void removed_meanwhile(void **state) {
    char path[PATH];
    struct lock l;
    path_of(path, state, ".lock");
    removed = path;
    take(&l, *state);
    assert_null(removed);
    assert_true(file_exists(path));
    assert_refused_elsewhere(*state);
    lock_release(&l, *state);
}

// Processes that take it in turns, each time with a file that only one at a time can make.
static void one_at_a_time(void **state) {
    enum { PROCESSES = 3, TIMES = 40 };
    char inside[PATH];
    pid_t children[PROCESSES];
    path_of(inside, state, "inside");
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        int had = 0;
        for (int k = 0; k < TIMES; k++) {
            struct lock l;
            struct err e;
            if (lock_take(&l, *state, &e) != 0) continue;
            int descriptor = open(inside, O_CREAT | O_EXCL | O_WRONLY, 0666);
            if (descriptor < 0) _exit(1);
            close(descriptor);
            usleep(200);
            if (unlink(inside) != 0) _exit(2);
            lock_release(&l, *state);
            had++;
        }
        _exit(had > 0 ? 0 : 3);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
}

static void without_locks(void **state) {
    static const int errors[] = {ENOLCK, ENOSYS, EOPNOTSUPP};
    char wanted[PATH + 100], path[PATH];
    path_of(path, state, ".lock");
    for (int i = 0; i < 3; i++) {
        struct lock l;
        struct err e;
        no_locks = errors[i];
        int result = lock_take(&l, *state, &e);
        no_locks = 0;
        assert_int_equal(result, 1);
        assert_int_equal(l.descriptor, -1);
        snprintf(wanted, sizeof wanted, "%s: %s", path, strerror(errors[i]));
        assert_string_equal(e.text, wanted);
        assert_false(lock_is_lost(&l, *state));
        lock_release(&l, *state);
    }
}

static void no_place(void **state) {
    char path[PATH], wanted[PATH + 60];
    struct lock l;
    struct err e;
    path_of(path, state, "file");
    assert_int_equal(file_write_text(path, "x", &e), 0);
    assert_int_equal(lock_take(&l, path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: not a folder", path);
    assert_string_equal(e.text, wanted);
    path_of(path, state, "folder/.lock");
    assert_int_equal(file_make_folder(path, &e), 0);
    path_of(path, state, "folder");
    assert_int_equal(lock_take(&l, path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s/.lock: Is a directory", path);
    assert_string_equal(e.text, wanted);
}

// Lost is it when another one is in its place, not when nothing is.
static void lost(void **state) {
    char folder[PATH], away[PATH], path[PATH];
    struct lock l, other;
    path_of(folder, state, "run");
    path_of(away, state, "away");
    path_of(path, state, "run/.lock");
    take(&l, folder);
    assert_false(lock_is_lost(&l, folder));
    assert_int_equal(rename(folder, away), 0);
    assert_false(lock_is_lost(&l, folder));
    take(&other, folder);
    assert_true(lock_is_lost(&l, folder));
    assert_false(lock_is_lost(&other, folder));
    lock_release(&l, folder); // does not remove the other's
    assert_true(file_exists(path));
    lock_release(&other, folder);
    assert_false(file_exists(path));
}

static void left_overs(void **state) {
    static const char *const dead[] = {"checkpoint.safetensors.999999999.tmp", "a.999999999.tmp"};
    static const char *const alive[] = {
        "a.1.tmp", "a.tmp",    "999999999.tmp", ".999999999.tmp", "a.9999999999.tmp",
        "a.0.tmp", "a.x7.tmp", "a.999999999",   ".tmp",           "tmp"};
    char path[PATH], own[40];
    struct lock l;
    struct err e;
    snprintf(own, sizeof own, "a.%ld.tmp", (long)getpid()); // of a process that had our number
    for (int i = 0; i < 13; i++) {
        path_of(path, state, i < 2 ? dead[i] : i < 12 ? alive[i - 2] : own);
        assert_int_equal(file_write_text(path, "x", &e), 0);
    }
    take(&l, *state);
    lock_release(&l, *state);
    for (int i = 0; i < 13; i++) {
        path_of(path, state, i < 2 ? dead[i] : i < 12 ? alive[i - 2] : own);
        if (file_exists(path) != (i >= 2 && i < 12)) fail_msg("%s", path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(taken_and_let_go), IN_FOLDER(refused_by_name),   IN_FOLDER(left_behind),
        IN_FOLDER(just_ending),      IN_FOLDER(removed_meanwhile), IN_FOLDER(one_at_a_time),
        IN_FOLDER(without_locks),    IN_FOLDER(no_place),          IN_FOLDER(lost),
        IN_FOLDER(left_overs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
