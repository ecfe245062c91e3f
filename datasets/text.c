// A text file, of which a model learns to guess the next character: by default tiny Shakespeare, 1.1 million characters of
// 65 kinds.
//
// Source: A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015, and its program char-rnn, whose
// data/tinyshakespeare/input.txt this is. Departures: none; any other file will do. As "chars" a text must be ASCII: each
// character that occurs is a class. As "bytes" any file is a text over 256 classes, UTF-8 too.
#include <string.h>

#include "datasets/source.h"
#include "datasets/windows.h"
#include "src/file.h"

enum { FILE_LIMIT = 1 << 30 };

struct config {
    const char *file;
    int unit;
    struct windows windows;
};

enum { CHARS, BYTES };

static const struct field fields[] = {
    {"file", FIELD_STRING, offsetof(struct config, file), 0, 0, 0, "tinyshakespeare/input.txt",
     "the text, seen from the folders where data is looked for"},
    {"unit", FIELD_CHOICE, offsetof(struct config, unit), CHARS, 0, 0, "chars|bytes",
     "what a token is: a character of an ASCII text, of those that occur; or any byte"},
    WINDOWS_FIELDS(config, windows),
    FIELD_END};

static const char get_command[] = "datasets/get tinyshakespeare";

static int text_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    const char *const names[] = {c->file, NULL};
    char path[SOURCE_PATH];
    bool usual = strcmp(c->file, fields[0].text) == 0;
    if (source_find(path, source, names, file_exists, "text", c->file, usual ? get_command : NULL, e) != 0)
        return -1;
    // The text, its tokens, and those of the parts with what follows them.
    if (source_room(source, 4 * (double)file_bytes(path), "text", e) != 0) return -1;
    size_t size;
    unsigned char *text = file_read_new(&size, path, FILE_LIMIT, e);
    if (!text) return -1;
    int result = windows_make(d, text, size, c->unit == BYTES, &c->windows, path, e);
    mem_free(text);
    return result;
}

const struct dataset_type text_dataset = {
    .name = "text",
    .help = "a text file as windows of characters or bytes, each to be followed by the next",
    .get = get_command,
    .fields = fields,
    .config_size = sizeof(struct config),
    .keeps_validation = true,
    .open = text_open,
};
