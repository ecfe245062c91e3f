// Files: read whole and within a limit, written whole or not at all, folders made.
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/file.h"
#include "tests/check.h"

enum { PATH = 300 };

// FOLDER/NAME of the test's own folder.
static void path_of(char path[PATH], void **state, const char *name) {
    snprintf(path, PATH, "%s/%s", (char *)*state, name);
}

// How many files and folders are in it.
static int entries_count(const char *folder) {
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    int count = -2; // "." and ".."
    while (readdir(entries)) count++;
    closedir(entries);
    return count;
}

static void assert_content(const char *path, const void *bytes, size_t size) {
    struct err e = {""};
    size_t found_size = 99;
    unsigned char *found = file_read_new(&found_size, path, size, &e);
    if (!found) fail_msg("%s", e.text);
    assert_int_equal(found_size, size);
    if (size) assert_memory_equal(found, bytes, size);
    assert_int_equal(found[size], 0);
    mem_free(found);
}

static void write_text(const char *path, const char *text) {
    struct err e = {""};
    if (file_write_text(path, text, &e) != 0) fail_msg("%s", e.text);
}

// --- writing ----------------------------------------------------------------------------------------------

static void bytes_come_back(void **state) {
    static const size_t sizes[] = {0, 1, 2, 4095, 4096, 4097, 300000};
    unsigned char *bytes = mem_new(300000, 1);
    char path[PATH];
    struct err e = {""};
    path_of(path, state, "a");
    for (size_t i = 0; i < 300000; i++) bytes[i] = (unsigned char)(i * 37 % 251); // zero bytes, too
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(file_write_bytes(path, bytes, sizes[i], &e), 0);
        assert_content(path, bytes, sizes[i]);
        assert_int_equal(entries_count(*state), 1);
    }
    write_text(path, "shorter\n");
    assert_content(path, "shorter\n", 8);
    assert_int_equal(entries_count(*state), 1);
    mem_free(bytes);
}

// Who has the old file open goes on reading the old file.
static void readers_see_old_or_new(void **state) {
    char path[PATH], text[20] = "";
    path_of(path, state, "a");
    write_text(path, "old");
    FILE *reader = fopen(path, "rb");
    assert_non_null(reader);
    write_text(path, "new and longer");
    assert_int_equal(fread(text, 1, sizeof text, reader), 3);
    assert_string_equal(text, "old");
    fclose(reader);
    assert_content(path, "new and longer", 14);
}

struct visit {
    const char *folder;
    int entries;
    bool succeed;
};

// Writes more than the stream's buffer holds, looks around, and fails where asked.
static int visit_write(void *context, struct file_stream *f, struct err *e) {
    struct visit *v = context;
    for (int i = 0; i < 20000; i++) file_add(f, "x", 1);
    v->entries = entries_count(v->folder);
    return v->succeed ? 0 : err_set(e, "out of ideas after %d bytes", 20000);
}

static void failed_write_keeps_the_old(void **state) {
    char path[PATH];
    struct err e = {""};
    struct visit v = {.folder = *state};
    path_of(path, state, "a");
    assert_int_equal(file_write_atomic(path, visit_write, &v, &e), -1);
    assert_string_equal(e.text, "out of ideas after 20000 bytes");
    assert_int_equal(v.entries, 1);             // the temporary is beside the path ...
    assert_int_equal(entries_count(*state), 0); // ... and gone
    assert_false(file_exists(path));
    write_text(path, "old");
    assert_int_equal(file_write_atomic(path, visit_write, &v, &e), -1);
    assert_int_equal(v.entries, 2);
    assert_content(path, "old", 3);
    assert_int_equal(entries_count(*state), 1);
    v.succeed = true;
    assert_int_equal(file_write_atomic(path, visit_write, &v, &e), 0);
    assert_int_equal(entries_count(*state), 1);
    unsigned char *xs = mem_new(20000, 1);
    memset(xs, 'x', 20000);
    assert_content(path, xs, 20000);
    mem_free(xs);
}

// As on a full disk: met within the write, or at the end when the last bytes leave the buffer.
static void full_disk_keeps_the_old(void **state) {
    static const size_t sizes[] = {300000, 2000};
    char path[PATH], wanted[2 * PATH];
    struct rlimit old, tight;
    unsigned char *bytes = mem_new(300000, 1);
    path_of(path, state, "a");
    snprintf(wanted, sizeof wanted, "%s: File too large", path);
    write_text(path, "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){1000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        struct err e = {""};
        setrlimit(RLIMIT_FSIZE, &tight);
        int result = file_write_bytes(path, bytes, sizes[i], &e);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(result, -1);
        assert_string_equal(e.text, wanted);
        assert_content(path, "old", 3);
        assert_int_equal(entries_count(*state), 1);
    }
    mem_free(bytes);
}

static void check_unwritable(const char *path, const char *at, const char *reason) {
    struct err e = {""};
    char wanted[2 * PATH];
    snprintf(wanted, sizeof wanted, "%s: %s", at, reason);
    assert_int_equal(file_write_text(path, "new", &e), -1);
    assert_string_equal(e.text, wanted);
}

static void unwritable_places(void **state) {
    char path[PATH], file[PATH], temporary[PATH + 50];
    path_of(path, state, "no such folder/a");
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    check_unwritable(path, temporary, "No such file or directory");
    path_of(file, state, "file");
    write_text(file, "old");
    path_of(path, state, "file/a");
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    check_unwritable(path, temporary, "Not a directory");
    check_unwritable(*state, *state, "Is a directory");
    assert_int_equal(entries_count(*state), 1);
    if (geteuid() != 0) { // root may write anywhere
        assert_int_equal(chmod(*state, 0500), 0);
        snprintf(temporary, sizeof temporary, "%s.%ld.tmp", file, (long)getpid());
        check_unwritable(file, temporary, "Permission denied");
        assert_int_equal(chmod(*state, 0700), 0);
    }
    assert_content(file, "old", 3);
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", (char *)*state, (long)getpid());
    assert_false(file_exists(temporary));
}

static void path_too_long(void **state) {
    (void)state;
    struct err e = {""};
    char path[5000], wanted[200];
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = 0;
    snprintf(wanted, sizeof wanted, "%.80s...: the path is too long", path);
    assert_int_equal(file_write_text(path, "x", &e), -1);
    assert_string_equal(e.text, wanted);
    snprintf(wanted, sizeof wanted, "%.80s: not a folder's path", path);
    assert_int_equal(file_make_folder(path, &e), -1);
    assert_string_equal(e.text, wanted);
}

static int three_write(void *context, struct file_stream *f, struct err *e) {
    file_print(f, "%*d|%s|%5.2f", 3000, 7, (const char *)context, 1.5); // longer than what is printed at once
    (void)e;
    return 0;
}

static void temporary_files(void **state) {
    struct err e = {""};
    size_t size = 0;
    assert_int_equal(setenv("TMPDIR", *state, 1), 0);
    int descriptor = file_temporary(three_write, "between", &e);
    if (descriptor < 0) fail_msg("%s", e.text);
    assert_int_equal(entries_count(*state), 0); // it has no name
    assert_int_equal(lseek(descriptor, 0, SEEK_CUR), 0);
    char *text = (char *)file_temporary_read_new(&size, descriptor, 4000, &e);
    if (!text) fail_msg("%s", e.text);
    assert_int_equal(size, 3000 + 1 + 7 + 1 + 5);
    assert_string_equal(text + 2999, "7|between| 1.50");
    mem_free(text);
    assert_null(file_temporary_read_new(&size, descriptor, 3000, &e));
    assert_string_equal(e.text, "temporary file: 3014 bytes, at most 3000 are read");
    file_close(descriptor);
    assert_int_equal(setenv("TMPDIR", "no/such", 1), 0);
    assert_int_equal(file_temporary(NULL, NULL, &e), -1);
    assert_string_equal(e.text, "no/such: temporary file: No such file or directory");
    unsetenv("TMPDIR");
}

// --- reading ----------------------------------------------------------------------------------------------

static void reading_has_limits(void **state) {
    char path[PATH], wanted[2 * PATH];
    struct err e = {""};
    size_t size = 0;
    path_of(path, state, "a");
    write_text(path, "hello world");
    assert_content(path, "hello world", 11); // 11 is the limit there
    assert_null(file_read_new(&size, path, 10, &e));
    snprintf(wanted, sizeof wanted, "%s: 11 bytes, at most 10 are read", path);
    assert_string_equal(e.text, wanted);
    assert_null(file_read_new(&size, path, 0, &e));
    write_text(path, "");
    assert_content(path, "", 0);
}

static void the_end_of_a_file(void **state) {
    char path[PATH], wanted[2 * PATH];
    struct err e = {""};
    size_t size = 0;
    path_of(path, state, "a");
    write_text(path, "hello world");
    static const struct {
        size_t most;
        const char *text;
    } rows[] = {{5, "world"}, {11, "hello world"}, {100, "hello world"}, {0, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = (char *)file_read_end_new(&size, path, rows[i].most, &e);
        if (!text) fail_msg("%s", e.text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(size, strlen(rows[i].text));
        mem_free(text);
    }
    char start[6] = "";
    assert_int_equal(file_peek(start, 5, path), 5);
    assert_string_equal(start, "hello");
    assert_int_equal(file_peek(start, 5, *state) + file_peek(start, 5, "no/such"), 0);
    assert_null(file_read_end_new(&size, *state, 5, &e));
    snprintf(wanted, sizeof wanted, "%s: not a file", (char *)*state);
    assert_string_equal(e.text, wanted);
}

static void what_is_no_file(void **state) {
    static const struct {
        const char *name, *reason;
    } rows[] = {
        {"nothing", "No such file or directory"},
        {"file/below", "Not a directory"},
        {"folder", "not a file"},
        {"no/such", "No such file or directory"},
        {"pipe", "not a file"}, // and nobody waits for a writer
    };
    char path[PATH], wanted[2 * PATH];
    struct err e = {""};
    size_t size = 0;
    path_of(path, state, "file");
    write_text(path, "x");
    path_of(path, state, "folder");
    assert_int_equal(file_make_folder(path, &e), 0);
    path_of(path, state, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        path_of(path, state, rows[i].name);
        snprintf(wanted, sizeof wanted, "%s: %s", path, rows[i].reason);
        assert_null(file_read_new(&size, path, 1000, &e));
        assert_string_equal(e.text, wanted);
    }
}

// --- adding, names, clearing --------------------------------------------------------------------------------

static void lines_are_added(void **state) {
    char path[PATH], wanted[2 * PATH];
    struct rlimit old, tight;
    struct err e = {""};
    path_of(path, state, "a");
    assert_int_equal(file_append_text(path, "one\n", &e), 0); // is made
    assert_int_equal(file_append_text(path, "two\n", &e), 0);
    assert_content(path, "one\ntwo\n", 8);
    // All of it or nothing, as on a full disk.
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){10, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    int result = file_append_text(path, "three\n", &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(result, -1);
    snprintf(wanted, sizeof wanted, "%s: File too large", path);
    assert_string_equal(e.text, wanted);
    assert_content(path, "one\ntwo\n", 8);
    assert_int_equal(file_sync(path, &e), 0);
    path_of(path, state, "no such folder/a");
    snprintf(wanted, sizeof wanted, "%s: No such file or directory", path);
    assert_int_equal(file_append_text(path, "x", &e), -1);
    assert_string_equal(e.text, wanted);
    assert_int_equal(file_sync(path, &e), -1);
    assert_string_equal(e.text, wanted);
}

static void second_names(void **state) {
    char a[PATH], b[PATH], folder[PATH];
    struct err e;
    path_of(a, state, "a");
    path_of(b, state, "b");
    path_of(folder, state, "folder");
    write_text(a, "new");
    assert_true(file_link(a, b));
    assert_content(b, "new", 3);
    write_text(a, "newer"); // another file by now
    assert_content(b, "new", 3);
    assert_true(file_link(a, b));
    assert_content(b, "newer", 5);
    assert_true(file_remove(b));
    assert_false(file_remove(b));
    assert_content(a, "newer", 5);
    assert_int_equal(file_make_folder(folder, &e), 0);
    assert_false(file_link(a, folder));
    assert_false(file_link(b, folder)); // there is no b
    assert_true(file_remove(folder));
}

// --- folders and paths ------------------------------------------------------------------------------------

static void folders_are_made(void **state) {
    static const char *const names[] = {"a", "b/c/d", "b/c/e", "b/c/d", "b/c/d/", "b//f", "a/../g", "."};
    char path[PATH];
    struct err e = {""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat info;
        path_of(path, state, names[i]);
        if (file_make_folder(path, &e) != 0) fail_msg("%s", e.text);
        assert_int_equal(stat(path, &info), 0);
        assert_true(S_ISDIR(info.st_mode));
    }
    assert_int_equal(entries_count(*state), 3);
    assert_int_equal(file_make_folder("/", &e), 0);
}

static void folders_are_refused(void **state) {
    char path[PATH], wanted[2 * PATH];
    struct err e = {""};
    path_of(path, state, "file");
    write_text(path, "old");
    assert_int_equal(file_make_folder(path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: not a folder", path);
    assert_string_equal(e.text, wanted);
    path_of(path, state, "file/below/it");
    assert_int_equal(file_make_folder(path, &e), -1);
    snprintf(wanted, sizeof wanted, "%s/file/below: Not a directory", (char *)*state);
    assert_string_equal(e.text, wanted);
    assert_int_equal(file_make_folder("", &e), -1);
    assert_string_equal(e.text, ": not a folder's path");
    path_of(path, state, "file");
    assert_content(path, "old", 3);
}

static void exists(void **state) {
    char path[PATH];
    path_of(path, state, "a");
    assert_true(file_exists(*state));
    assert_false(file_exists(path));
    write_text(path, "");
    assert_true(file_exists(path));
}

// What can't be told counts as there: nobody writes over it.
static void may_exist(void **state) {
    char path[PATH + 50];
    snprintf(path, sizeof path, "%s/%0300d", (char *)*state, 0); // too long a name for any file
    assert_true(file_exists(path) && file_is_folder(path));
    path_of(path, state, "a");
    write_text(path, "");
    assert_false(file_is_folder(path));
    snprintf(path, sizeof path, "%s/a/b", (char *)*state);
    assert_false(file_exists(path) || file_is_folder(path));
}

static void renamed_and_removed(void **state) {
    char a[PATH], b[PATH], wanted[3 * PATH];
    struct err e = {""};
    uint64_t size = 9;
    path_of(a, state, "a");
    path_of(b, state, "b");
    write_text(a, "xyz");
    assert_int_equal(file_size(&size, a, &e), 0);
    assert_int_equal(size, 3);
    assert_true(file_is_fresh(a, b) && !file_is_fresh(b, a));
    assert_int_equal(file_rename(a, b, &e), 0);
    assert_content(b, "xyz", 3);
    assert_int_equal(file_rename(a, b, &e), -1);
    snprintf(wanted, sizeof wanted, "%s: cannot become %s: No such file or directory", a, b);
    assert_string_equal(e.text, wanted);
    assert_int_equal(file_size(&size, a, &e), -1);
    assert_int_equal(file_bytes(a), 0);
    assert_false(file_remove(a) || file_remove(*state)); // there is none; it is not empty
    assert_true(file_remove(b) && !file_exists(b));
    assert_int_equal(file_make_folder(a, &e), 0);
    assert_true(file_remove(a) && !file_exists(a));
}

static void join(void **state) {
    (void)state;
    struct err e = {""};
    char out[8] = "";
    assert_int_equal(file_join(out, sizeof out, "runs", "ab", &e), 0); // 7 characters and the end
    assert_string_equal(out, "runs/ab");
    assert_int_equal(file_join(out, sizeof out, "runs", "abc", &e), -1);
    assert_string_equal(e.text, "runs...: the path is too long");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(bytes_come_back),
        IN_FOLDER(readers_see_old_or_new),
        IN_FOLDER(failed_write_keeps_the_old),
        IN_FOLDER(full_disk_keeps_the_old),
        IN_FOLDER(unwritable_places),
        cmocka_unit_test(path_too_long),
        IN_FOLDER(temporary_files),
        IN_FOLDER(reading_has_limits),
        IN_FOLDER(the_end_of_a_file),
        IN_FOLDER(what_is_no_file),
        IN_FOLDER(lines_are_added),
        IN_FOLDER(second_names),
        IN_FOLDER(folders_are_made),
        IN_FOLDER(folders_are_refused),
        IN_FOLDER(exists),
        IN_FOLDER(may_exist),
        IN_FOLDER(renamed_and_removed),
        cmocka_unit_test(join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
