// JSON trees, and field tables: the one description of a struct that is its parser, defaults, limits and
// help. The only file that uses cJSON; its traps (case-blind look-up, 3.7 cut to 3, duplicate keys kept) end
// here.
//
// A path names a node from the root with dots, "optim.weights.0.counter.leak": the same form in error
// messages and on the command line.
#ifndef TALLY_SRC_JSON_H
#define TALLY_SRC_JSON_H

#include "src/base.h"

struct json; // a node: object, array, string, number, true/false or null

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

enum { JSON_PATH = 160 };

// The tree of the text. Errors give line and column; a key given twice, a number that is not finite and text
// after the end are errors. Free the root with json_free.
struct json *json_parse_new(const char *text, size_t length, struct err *e);

// The same for a file of at most `limit` bytes; errors start with its path.
struct json *json_load_new(const char *path, size_t limit, struct err *e);

void json_free(struct json *root);

enum json_type json_type(const struct json *node);
const char *json_type_name(const struct json *node);          // "a number", "an object" ...
int json_count(const struct json *node);                      // members of an object or array, else 0
const struct json *json_item(const struct json *node, int i); // i-th member; i < json_count
const struct json *json_first(const struct json *node);       // and from member to member, for long ones;
const struct json *json_next(const struct json *member);      // NULL at the end
const struct json *json_find(const struct json *node, const char *key); // NULL when absent
const char *json_key(const struct json *member);                        // "" for an array's member
const char *json_string(const struct json *node);                       // of a JSON_STRING
double json_number(const struct json *node); // of a JSON_NUMBER, or 0/1 of a JSON_BOOL

// A whole number in [min, max] from outside; `path` for the message.
int json_read_int(int64_t *out, const struct json *node, int64_t min, int64_t max, const char *path,
                  struct err *e);

// Sets path=value in the tree, as the command line does; the value is JSON where it parses as such, else a
// string. A missing last key is added (the field table will refuse it if nobody knows it).
int json_override(struct json *root, const char *assignment, struct err *e);

// Building. json_add takes ownership of the child; a NULL key appends to an array.
struct json *json_object_new(void);
struct json *json_array_new(void);
struct json *json_copy_new(const struct json *node);
void json_add(struct json *parent, const char *key, struct json *child);
void json_add_number(struct json *parent, const char *key, double value); // null when not finite
void json_add_string(struct json *parent, const char *key, const char *value);
void json_add_bool(struct json *parent, const char *key, bool value);

// The tree as text, indented or on one line; numbers read back to the bit. Free with mem_free.
char *json_print_new(const struct json *node, bool indented);

bool json_equal(const struct json *a, const struct json *b);

// The path of the first place where two trees differ, "" when they are equal; for "epochs: 40 there, 20
// here".
void json_difference(char path[JSON_PATH], const struct json *a, const struct json *b);

// The node at a path, or NULL.
const struct json *json_at(const struct json *root, const char *path);

// --- field tables
// ---------------------------------------------------------------------------------------------

enum field_type {
    FIELD_INT,    // int64_t, whole, in [min, max]
    FIELD_REAL,   // double, finite, in [min, max]
    FIELD_BOOL,   // bool
    FIELD_STRING, // const char *, borrowed from the tree or from the table; `text` is the default
    FIELD_CHOICE, // int: index into `text`, "sign|adam|chain"; initial = default index
    FIELD_NODE    // const struct json *, borrowed, read by the owner; NULL when absent or null
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset; // offsetof(struct, member)
    double initial, min, max;
    const char *text;
    const char *help;
};

// Versions of clang-format differ on braces in macros.
// clang-format off
#define FIELD_END {NULL, FIELD_NODE, 0, 0, 0, 0, NULL, NULL}
// clang-format on

// Fills the struct from an object node (NULL: all defaults). Errors name PATH.KEY; unknown keys say what was
// meant.
int fields_read(void *into, const struct field *fields, const struct json *node, const char *path,
                struct err *e);

// The struct as an object with every key, defaults too (FIELD_NODE members are copied; strings and nodes that
// are NULL are left out).
struct json *fields_write_new(const void *from, const struct field *fields);

// "PATH.KEY" or "PATH.3" into out (cut when too long); an empty path gives the key alone.
void json_path(char out[JSON_PATH], const char *path, const char *key, int index);

// An item of a list of things by name, as layers and stages are written: "relu" or {"linear": {"out": 300}}.
// Gives the name and the options node (NULL when there are none).
int json_read_named(const char **name, const struct json **options, const struct json *node, const char *path,
                    struct err *e);

// "PATH: unknown KIND 'x'; did you mean 'y'?" or "... known: a, b, c". Returns -1.
int json_unknown(const char *path, const char *kind, const char *word, const char *const *known,
                 struct err *e);

#endif
