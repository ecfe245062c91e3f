// The functions of src/file.h when a call into the system goes wrong: what was there before stays or the new is whole, nothing
// lies around, the message says what and why, and what is harmless does no harm.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/file.h"
#include "tests/check.h"
#include "tests/faults/seam.h"

enum { PATH = 200, SIZE = 40000 };

static const char *const here = "file_faults";

static void path_of(char path[PATH], const char *name) {
    snprintf(path, PATH, "%s/%s", here, name);
}

static void text_write(const char *name, const char *text) {
    char path[PATH];
    struct err e;
    path_of(path, name);
    seam_fault(NULL);
    if (file_write_text(path, text, &e) != 0) fail_msg("%s", e.text);
}

static bool holds(const char *name, const char *text) {
    char path[PATH];
    struct err e;
    size_t size;
    path_of(path, name);
    seam_fault(NULL);
    char *found = (char *)file_read_new(&size, path, 1 << 20, &e);
    bool same = found && size == strlen(text) && strcmp(found, text) == 0;
    mem_free(found);
    return same;
}

static int entries(void) {
    DIR *folder = opendir(here);
    int count = -2; // "." and ".."
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

// --- what is done, as a table: 0 or -1, the result in `text`  -------------------------------------------------------

static char long_text[SIZE + 1];

static int write_do(const char *path, struct err *e) {
    return file_write_text(path, long_text, e);
}

static int append_do(const char *path, struct err *e) {
    return file_append_text(path, "line\n", e);
}

static int read_do(const char *path, struct err *e) {
    size_t size;
    char *text = (char *)file_read_new(&size, path, 100, e);
    bool good = text && strcmp(text, "old\n") == 0;
    mem_free(text);
    return text ? good ? 0 : 1 : -1;
}

static int read_end_do(const char *path, struct err *e) {
    size_t size;
    char *text = (char *)file_read_end_new(&size, path, 3, e);
    bool good = text && strcmp(text, "ld\n") == 0;
    mem_free(text);
    return text ? good ? 0 : 1 : -1;
}

static int peek_do(const char *path, struct err *e) {
    char start[4] = "";
    size_t count = file_peek(start, 3, path);
    return count == 3 && strcmp(start, "old") == 0 ? 0 : count ? 1 : err_set(e, "nothing");
}

static int names_do(const char *path, struct err *e) {
    (void)path;
    int count = 99;
    char **names = file_names_new(&count, here, e);
    bool good = names && count == 2 && strcmp(names[0], "a") == 0 && strcmp(names[1], "b") == 0;
    for (int i = 0; names && i < count; i++) mem_free(names[i]);
    mem_free(names);
    return names ? good ? 0 : 1 : -1;
}

static int folder_do(const char *path, struct err *e) {
    (void)path;
    return file_make_folder("file_faults", e);
}

static int temporary_do(const char *path, struct err *e) {
    (void)path;
    size_t size;
    int descriptor = file_temporary(NULL, NULL, e);
    if (descriptor < 0) return -1;
    unsigned char *bytes = file_temporary_read_new(&size, descriptor, 10, e);
    file_close(descriptor);
    mem_free(bytes);
    return bytes ? 0 : -1;
}

static int rename_do(const char *path, struct err *e) {
    return file_rename(path, "file_faults/c", e) == 0 ? file_rename("file_faults/c", path, e) : -1;
}

static int size_do(const char *path, struct err *e) {
    uint64_t size = 0;
    if (file_size(&size, path, e) != 0) return -1;
    return size == 4 ? 0 : 1;
}

// What can't be told.
static int exists_do(const char *path, struct err *e) {
    (void)e;
    return file_exists(path) && file_is_folder(here) ? 0 : 1;
}

static int sync_do(const char *path, struct err *e) {
    return file_sync(path, e);
}

static const char old[] = "old\n", added[] = "old\nline\n";

static const struct {
    int (*act)(const char *path, struct err *e);
    const char *fault;
    const char *message;  // NULL: it succeeds all the same
    const char *contents; // of the file afterwards
} rows[] = {
    {write_do, "open:1:13", "file_faults/a.PID.tmp: Permission denied", old},
    {write_do, "open:1:4", NULL, long_text},
    {write_do, "write:1:28", "file_faults/a: No space left on device", old},
    {write_do, "write:1:4", NULL, long_text},
    {write_do, "write:1:half", NULL, long_text},
    {write_do, "write:1+:half", NULL, long_text},
    {write_do, "write:1:end", "file_faults/a: Input/output error", old},
    {write_do, "fsync:1:5", "file_faults/a: Input/output error", old},
    {write_do, "fsync:1:4", NULL, long_text},
    {write_do, "close:1:28", "file_faults/a: No space left on device", old},
    {write_do, "close:1:4", NULL, long_text},
    {write_do, "rename:1:13", "file_faults/a: Permission denied", old},
    // The folder's own: some file systems refuse it, some folders can't be read; else it is told.
    {write_do, "open:2:13", NULL, long_text},
    {write_do, "open:2:24", "file_faults: Too many open files", long_text},
    {write_do, "fsync:2:22", NULL, long_text},
    {write_do, "fsync:2:4", NULL, long_text},
    {write_do, "fsync:2:5", "file_faults: Input/output error", long_text},
    {append_do, "open:1:13", "file_faults/a: Permission denied", old},
    {append_do, "open:1:4", NULL, added},
    {append_do, "lseek:1:29", "file_faults/a: Illegal seek", old},
    {append_do, "write:1:28", "file_faults/a: No space left on device", old},
    {append_do, "write:1:half", NULL, added},
    {append_do, "write:2:28", NULL, added}, // there is no second one
    {append_do, "close:1:5", "file_faults/a: Input/output error", old},
    {append_do, "close:1:4", NULL, added},
    {read_do, "open:1:24", "file_faults/a: Too many open files", old},
    {read_do, "open:1:4", NULL, old},
    {read_do, "fstat:1:5", "file_faults/a: Input/output error", old},
    {read_do, "read:1:5", "file_faults/a: Input/output error", old},
    {read_do, "read:1:4", NULL, old},
    {read_do, "read:1+:half", NULL, old},
    {read_do, "read:1:end", "file_faults/a: ends after 0 of 4 bytes", old},
    {read_do, "close:1:5", NULL, old},
    {read_end_do, "lseek:1:29", "file_faults/a: Illegal seek", old},
    {read_end_do, "fstat:1:5", "file_faults/a: Input/output error", old},
    {read_end_do, "read:1:half", NULL, old},
    {read_end_do, "read:1:end", "file_faults/a: ends after 0 of 3 bytes", old},
    {peek_do, "open:1:5", "nothing", old},
    {peek_do, "read:1:5", "nothing", old},
    {peek_do, "read:1:4", NULL, old},
    {names_do, "opendir:1:24", "file_faults: Too many open files", old},
    {names_do, "readdir:1:5", "file_faults: Input/output error", old},
    {names_do, "readdir:3:5", "file_faults: Input/output error", old},
    {names_do, "readdir:5:5", "file_faults: Input/output error", old}, // at the end
    {folder_do, "mkdir:1:28", "file_faults: No space left on device", old},
    {folder_do, "stat:1:5", "file_faults: Input/output error", old},
    {temporary_do, "mkstemp:1:30", "file_faults: temporary file: Read-only file system", old},
    {temporary_do, "lseek:1:29", "file_faults: temporary file: Illegal seek", old},
    {temporary_do, "lseek:2:29", "temporary file: Illegal seek", old},
    {rename_do, "rename:1:13", "file_faults/a: cannot become file_faults/c: Permission denied", old},
    {size_do, "stat:1:5", "file_faults/a: Input/output error", old},
    {exists_do, "access:1:5", NULL, old},
    {exists_do, "stat:1:5", NULL, old},
    {sync_do, "fsync:1:5", "file_faults/a: Input/output error", old},
    {sync_do, "fsync:1:4", NULL, old},
};

// The message with this process's number for PID.
static void message_of(char out[2 * PATH], const char *message) {
    const char *at = strstr(message, "PID");
    if (at)
        snprintf(out, 2 * PATH, "%.*s%ld%s", (int)(at - message), message, (long)getpid(), at + 3);
    else
        snprintf(out, 2 * PATH, "%s", message);
}

static void one_after_the_other(void **state) {
    (void)state;
    char path[PATH], wanted[2 * PATH];
    path_of(path, "a");
    memset(long_text, 'x', SIZE);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = {""};
        text_write("a", old);
        text_write("b", "");
        seam_fault(rows[i].fault);
        int result = rows[i].act(path, &e);
        seam_fault(NULL);
        if (result != (rows[i].message ? -1 : 0))
            fail_msg("row %zu, %s: result %d", i, rows[i].fault, result);
        if (rows[i].message) {
            message_of(wanted, rows[i].message);
            if (strcmp(e.text, wanted) != 0)
                fail_msg("row %zu, %s: wanted %s, found %s", i, rows[i].fault, wanted, e.text);
        }
        if (!holds("a", rows[i].contents)) fail_msg("row %zu, %s: other contents", i, rows[i].fault);
        if (entries() != 2) fail_msg("row %zu, %s: %d files", i, rows[i].fault, entries());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_after_the_other)};
    if (system("rm -rf file_faults && mkdir file_faults") != 0 || setenv("TMPDIR", here, 1) != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
