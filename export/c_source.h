// The parts of the C source export, which c.c puts together.
//
// What is written: NAME.h, NAME.c and, for a self-test, NAME_test.c. A layer is a set of const tables and one function that
// also applies what follows it element by element; x, the caller's scratch and y are all the memory it needs.
#ifndef TALLY_EXPORT_C_SOURCE_H
#define TALLY_EXPORT_C_SOURCE_H

#include "export/bytes.h"
#include "export/c_shifts.h"
#include "export/export.h"

enum { C_NAME = 64, C_NUMBER = 40 };

// Values: indices into c_source.values, or
enum { C_SAMPLE = -1, C_NONE = -2 };

// One function of NAME.c: layers first .. end-1 of the net. Behind the first there are only layers that act on each element
// alone (none at all and a flatten first: a copy), and of a conv2d one pooling.
struct c_stage {
    int first, end;
    int pool;             // the pooling layer, or C_NONE
    int from[NET_INPUTS]; // values, C_NONE behind the last
    int gate;             // likewise
    int to;               // value; that of from[0] where it works in place
    int spare;            // with a pooling: the value that has one plane before it; else C_NONE
};

// A vector of numbers.
struct c_value {
    size_t size, at; // at: in scratch, where it isn't y
    int first, last; // layers that write and read it; last is net->count for y
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
    struct c_value *values;
    int value_count;
    size_t scratch; // numbers

    struct bytes tables, functions; // text
    struct bytes notes;             // a line about each layer with weights, for the head comment
    uint32_t crc;                   // of the tables' numbers, little-endian
    size_t table_bytes;
    size_t *layer_bytes;  // [net->count]
    bool math, limits;    // functions need <math.h>, <float.h>
    bool winners, groups; // the functions that find winners, and that k_winners layers share, are there
};

// --- c_units.c ---------------------------------------------------------------------------------------------------

// A copy of the net without hidden units and channels that nothing reads, one per layer kept at least. net_free it.
struct net *c_compact_new(const struct net *n);

// --- c_tables.c --------------------------------------------------------------------------------------------------

enum c_type { C_UINT8, C_INT8, C_UINT16, C_INT16, C_INT32, C_FLOAT, C_DOUBLE, C_TYPES };

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
void c_table_doubles(struct c_source *s, int layer, const char *what, const double *values, size_t n);

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

// --- c_loops.c ---------------------------------------------------------------------------------------------------

// The function of a linear layer or a conv2d, but for what comes behind a sum.
struct c_loop {
    const struct c_stage *stage;
    const char *from, *to; // types of x and y
    const char *sum;       // lines that define the sum of output `row`
    const char *weight;    // lines that make w of weight k
    const char *term;      // lines that add w times v to the sum
    size_t entries;        // weights in the tables
    bool dense;
    bool finish; // there is something to do to a sum
};

// Up to the lines that finish a sum, which are the caller's, and from there to the end.
void c_loop_begin(struct c_source *s, const struct c_loop *loop);
void c_loop_end(struct c_source *s, const struct c_loop *loop);

// Opens the loop over the entries of row `row`: of weight k, at `column`.
void c_entries_begin(struct c_source *s, int layer, bool dense);

// The function of a pooling of one plane, of numbers of this type, up to the lines that finish a `sum`, and the end.
void c_pool_begin(struct c_source *s, int layer, const char *type);
void c_pool_end(struct c_source *s, int layer);

// --- c_plan.c ----------------------------------------------------------------------------------------------------

bool c_is_pool(enum net_kind kind);

// Cuts the net into stages, and finds a place in scratch for each value; sets s->scratch.
void c_stages_plan(struct c_source *s);
void c_places_plan(struct c_source *s);

// --- c_program.c -------------------------------------------------------------------------------------------------

// The functions that a caller sees, `run` and `argmax`.
void c_run_print(struct c_source *s);

// --- c_float.c, c_codings.c, c_layers.c, c_integer.c ----------------------------------------------------------------

// How a weight is stored: see c_codings.c.
enum c_coding { C_FLOATS, C_INDEXED, C_COUNTED };

enum { C_EXPRESSION = 2 * (C_NAME + PARAM_NAME + C_NUMBER), C_LINES = 3 * C_EXPRESSION };

// The table of a layer's weights, all (rows NULL) or those of its rows, one at least. `lines` make w of weight k of output
// `row`.
enum c_coding c_weights(struct c_source *s, int layer, const struct c_rows *rows, char lines[C_LINES]);

// The table of a layer's numbers per output (bias, factor), and the C of number `row`; "0.0f" where there are none.
void c_vector(char text[C_EXPRESSION], struct c_source *s, int layer, const char *what,
              const struct net_tensor *t, const char *row);

// The functions that find k winners, before the first that calls them.
void c_winners_print(struct c_source *s);

// What layers first .. end-1 do to `sum`, each line behind `indent`.
void c_maps_print(struct c_source *s, int first, int end, const char *indent);

// Tables and functions of all stages; those of one whose first layer has no weights.
void c_float_stages(struct c_source *s);
void c_integer_stages(struct c_source *s);
void c_layer_print(struct c_source *s, const struct c_stage *stage);

// --- c_files.c, c_test.c -------------------------------------------------------------------------------------------

// A line about a layer with weights for the head comment, after its tables. `weights` are those that are not zero.
void c_note(struct c_source *s, int layer, size_t weights, bool dense, const char *coding);

// Whether a sample is whole numbers, as they are, and not pixels.
bool c_takes_numbers(const struct c_source *s);

// The texts of NAME.h, NAME.c and NAME_test.c, once the stages are printed.
void c_header(struct bytes *out, const struct c_source *s);
void c_body(struct bytes *out, const struct c_source *s);
void c_self_test(struct bytes *out, const struct c_source *s);

#endif
