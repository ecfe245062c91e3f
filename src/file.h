// Files from outside, read whole and within a limit; files of ours, written so that they are there whole or
// not. Every file that Tally touches is touched here (and in src/lock), by the system's own calls: what fails, or is done
// in part only, is seen and told.
#ifndef TALLY_SRC_FILE_H
#define TALLY_SRC_FILE_H

#include "src/base.h"

// The whole file, with a zero byte after it; *size without that byte. NULL when it can't be read or is larger
// than `limit` bytes. Free with mem_free.
unsigned char *file_read_new(size_t *size, const char *path, size_t limit, struct err *e);

// At most the last `most` bytes of the file, for one that others may be writing; else as file_read_new.
unsigned char *file_read_end_new(size_t *size, const char *path, size_t most, struct err *e);

// The first bytes of a file, `room` at most; how many, 0 when it can't be read. For the system's own, which have no size.
size_t file_peek(void *out, size_t room, const char *path);

// A file that is being written. What goes wrong is kept, told by whoever gave the stream, and nothing is written after it.
struct file_stream;
void file_add(struct file_stream *f, const void *bytes, size_t size);
void file_print(struct file_stream *f, const char *format, ...) PRINTF_LIKE(2, 3);

// Writes through `write` into a temporary file beside `path`, syncs it and renames it over `path`: a reader
// sees the old file or the new one. `write` returns 0, or -1 with `e` filled for what is not the stream's fault.
int file_write_atomic(const char *path, int (*write)(void *context, struct file_stream *f, struct err *e),
                      void *context, struct err *e);

// The same without the sync, which takes its time: for many files in a folder that gets its name when all are there.
int file_write_unsynced(const char *path, int (*write)(void *context, struct file_stream *f, struct err *e),
                        void *context, struct err *e);

// The common case: one block of bytes, or one string.
int file_write_bytes(const char *path, const void *bytes, size_t size, struct err *e);
int file_write_text(const char *path, const char *text, struct err *e);

// Adds the text to the file, which is made when it is not there: all of it or nothing.
int file_append_text(const char *path, const char *text, struct err *e);

// A file without a name, filled by `write` (NULL: empty), for another program to read or to write from its start: its
// descriptor, to be closed by file_close; -1 on failure.
int file_temporary(int (*write)(void *context, struct file_stream *f, struct err *e), void *context,
                   struct err *e);

// What another program has written into it; as file_read_new.
unsigned char *file_temporary_read_new(size_t *size, int descriptor, size_t limit, struct err *e);

// An empty file for another program's output: its descriptor, to be closed by file_close; -1 on failure.
int file_create(const char *path, struct err *e);
void file_close(int descriptor);

int file_rename(const char *from, const char *to, struct err *e);

// Removes a file, or an empty folder. Whether it is gone.
bool file_remove(const char *path);

// Also true when it can't be told, so that nothing is written over; who opens it then hears why.
bool file_exists(const char *path);

// As file_exists.
bool file_is_folder(const char *path);

// Whether the file is there and not older than the other, where that is there; not when it can't be told.
bool file_is_fresh(const char *path, const char *other);

// The names in the folder but those that begin with a dot, in the order of their bytes; NULL on failure. mem_free each and
// the list.
char **file_names_new(int *count, const char *folder, struct err *e);

// The file's size, or 0 when there is none or it can't be told.
uint64_t file_bytes(const char *path);

// The same where it must be there.
int file_size(uint64_t *size, const char *path, struct err *e);

// Makes the folder and those above it; an existing folder is fine.
int file_make_folder(const char *path, struct err *e);

// DIR/NAME into out; an error when it does not fit.
int file_join(char *out, size_t out_size, const char *folder, const char *name, struct err *e);

// Waits until what was written to the file is on the disk.
int file_sync(const char *path, struct err *e);

// Gives the file a second name, in place of a file that has it; false where the file system can't.
bool file_link(const char *from, const char *to);

// Removes the temporary files that processes which were killed have left in the folder.
void file_sweep(const char *folder);

#endif
