// The parts of the C source export, which c.c puts together.
//
// What is written: NAME.h, NAME.c and, for a self-test, NAME_test.c. A linear layer is a set of const tables and one
// function that also applies what follows it element by element; x, the caller's scratch and y are all the memory it needs.
#ifndef TALLY_EXPORT_C_SOURCE_H
#define TALLY_EXPORT_C_SOURCE_H

#include "export/bytes.h"
#include "export/c_shifts.h"
#include "export/export.h"

enum { C_NAME = 64, C_NUMBER = 40 };

// One function of NAME.c.
enum c_kind {
    C_LINEAR, // layer `first`, linear, and what follows it element by element
    C_MAPS,   // only what acts element by element; none at all: a copy
    C_SOFTMAX
};

struct c_stage {
    enum c_kind kind;
    int first, end; // layers first .. end-1 of the net
};

struct c_source {
    const struct net *original;
    struct net *net;       // without hidden units that nothing reads
    struct shifts *shifts; // the integer form; NULL: floats
    char stem[C_NAME];     // of the files
    char prefix[C_NAME];   // of identifiers; macros have it in upper case
    char macro[C_NAME];
    struct c_stage *stages;
    int count;
    size_t scratch; // numbers

    struct bytes tables, functions; // text
    struct bytes notes;             // a line about each linear layer, for the head comment
    uint32_t crc;                   // of the tables' numbers, little-endian
    size_t table_bytes;
    size_t *layer_bytes; // [net->count]
    bool math;           // functions call <math.h>
};

// --- c_units.c ---------------------------------------------------------------------------------------------------

// A copy of the net without hidden units that nothing reads, one per layer kept at least. net_free it.
struct net *c_compact_new(const struct net *n);

// --- c_tables.c --------------------------------------------------------------------------------------------------

enum c_type { C_UINT8, C_INT8, C_UINT16, C_INT16, C_INT32, C_FLOAT, C_TYPES };

const char *c_type_name(enum c_type type);
size_t c_type_bytes(enum c_type type);

// The narrowest unsigned type (or int32_t) for 0 .. most.
enum c_type c_type_for(int32_t most);

// A number that reads back to the bit, whatever the locale. The float has its suffix.
const char *c_float_text(char text[C_NUMBER], float value);
const char *c_double_text(char text[C_NUMBER], double value);

// Four digits, for comments.
const char *c_short_text(char text[C_NUMBER], double value);

// `static const TYPE PREFIX_LAYER_WHAT[n]`, counted and checksummed. n >= 1.
void c_table(struct c_source *s, int layer, const char *what, enum c_type type, const int32_t *values,
             size_t n);
void c_table_floats(struct c_source *s, int layer, const char *what, const float *values, size_t n);

// The places of a matrix's survivors, by FORMAT_ROWS of infer/format.h: a row has count entries, each `step` columns
// after the one before (the first: after column 0). A gap of more than 255 columns is bridged by entries of step 255.
struct c_rows {
    int32_t *count; // [rows]
    int32_t *step;  // [entries]
    size_t *at;     // [entries] row · columns + column, or C_BRIDGE
    size_t entries, bridges;
    int32_t most; // entries of a row
};

#define C_BRIDGE SIZE_MAX

// `alive` [rows][columns]: how many entries a place has, one after the other (step 0); 0 where there is no weight.
struct c_rows *c_rows_new(const uint8_t *alive, int rows, int columns);
void c_rows_free(struct c_rows *r);

// The tables `count` and `step`; no step where there are no entries.
void c_rows_tables(struct c_source *s, int layer, const struct c_rows *r);

// Whether a matrix is better stored whole.
bool c_is_dense(size_t alive, size_t size);

// The head of a layer's function, up to the inside of the loop over its `entries` weights, where weight[k] is that of
// x[column], and the end of that loop. `from` and `to` are the types of x and y, `sum` the lines that define the sum.
void c_loop_begin(struct c_source *s, int layer, const char *from, const char *to, const char *sum,
                  size_t entries, bool dense);
void c_loop_end(struct c_source *s, size_t entries);

// --- c_program.c -------------------------------------------------------------------------------------------------

// Cuts the net into stages.
void c_stages_plan(struct c_source *s);

// The functions that a caller sees, `run` and `argmax`. Sets s->scratch.
void c_run_print(struct c_source *s);

// --- c_float.c, c_integer.c ----------------------------------------------------------------------------------------

// Tables and functions of all stages.
void c_float_stages(struct c_source *s);
void c_integer_stages(struct c_source *s);

// --- c_files.c, c_test.c -------------------------------------------------------------------------------------------

// A line about a linear layer for the head comment, after its tables. `weights` are those that are not zero.
void c_note(struct c_source *s, int layer, size_t weights, bool dense, const char *coding);

// The texts of NAME.h, NAME.c and NAME_test.c, once the stages are printed.
void c_header(struct bytes *out, const struct c_source *s);
void c_body(struct bytes *out, const struct c_source *s);
void c_self_test(struct bytes *out, const struct c_source *s);

#endif
