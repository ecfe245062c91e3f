// Const tables of the generated C. Contracts in c_source.h.
#include <stdio.h>
#include <string.h>

#include "export/c_source.h"
#include "infer/crc.h"
#include "infer/format.h"

enum { LINE = 96 };

static const struct {
    const char *name;
    size_t bytes;
} types[C_TYPES] = {{"uint8_t", 1}, {"int8_t", 1}, {"uint16_t", 2}, {"int16_t", 2},
                    {"int32_t", 4}, {"float", 4},  {"double", 8}};

const char *c_type_name(enum c_type type) {
    return types[type].name;
}

size_t c_type_bytes(enum c_type type) {
    return types[type].bytes;
}

enum c_type c_type_for(int32_t most) {
    return most <= UINT8_MAX ? C_UINT8 : most <= UINT16_MAX ? C_UINT16 : C_INT32;
}

// --- numbers -----------------------------------------------------------------------------------------------------------

// The value in %g, with a dot where a locale has a comma or several bytes. Whether it looks like a whole number.
static bool number_print(char text[C_NUMBER], double value, int digits) {
    char printed[C_NUMBER];
    snprintf(printed, sizeof printed, "%.*g", digits, value);
    size_t used = 0;
    bool whole = true;
    for (const char *at = printed; *at; at++) {
        bool plain = strchr("0123456789+-e", *at) != NULL;
        if (plain)
            text[used++] = *at;
        else if (used && text[used - 1] != '.')
            text[used++] = '.';
        whole &= plain && *at != 'e';
    }
    text[used] = 0;
    return whole;
}

const char *c_float_text(char text[C_NUMBER], float value) {
    return strcat(text, number_print(text, (double)value, 9) ? ".0f" : "f");
}

const char *c_double_text(char text[C_NUMBER], double value) {
    return strcat(text, number_print(text, value, 17) ? ".0" : "");
}

const char *c_short_text(char text[C_NUMBER], double value) {
    number_print(text, value, 4);
    return text;
}

// --- tables ------------------------------------------------------------------------------------------------------------

static void table_count(struct c_source *s, int layer, uint64_t bits, size_t bytes) {
    unsigned char byte[8];
    for (int i = 0; i < 8; i++) byte[i] = (unsigned char)(bits >> (8 * i));
    s->crc = tally_crc32(s->crc, byte, bytes);
    s->table_bytes += bytes;
    s->layer_bytes[layer] += bytes;
}

static void table_begin(struct c_source *s, int layer, const char *what, enum c_type type, size_t n) {
    CHECK(n >= 1, "c: table %s of no numbers", what);
    bytes_print(&s->tables, "static const %s %s_%s_%s[%zu] = {", types[type].name, s->prefix,
                s->net->layers[layer].name, what, n);
}

// One number and what goes before it; *used is the length of the line so far.
static void table_number(struct c_source *s, size_t i, const char *text, size_t *used) {
    size_t length = strlen(text);
    bool turn = i == 0 || *used + 2 + length > LINE;
    if (turn) *used = 4;
    bytes_print(&s->tables, "%s%s%s", i == 0 ? "" : ",", turn ? "\n    " : " ", text);
    *used += length + 2;
}

void c_table(struct c_source *s, int layer, const char *what, enum c_type type, const int32_t *values,
             size_t n) {
    table_begin(s, layer, what, type, n);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char text[C_NUMBER];
        snprintf(text, sizeof text, "%ld", (long)values[i]);
        table_number(s, i, text, &used);
        table_count(s, layer, (uint32_t)values[i], types[type].bytes);
    }
    bytes_print(&s->tables, "};\n");
}

void c_table_floats(struct c_source *s, int layer, const char *what, const float *values, size_t n) {
    table_begin(s, layer, what, C_FLOAT, n);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char text[C_NUMBER];
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        table_number(s, i, c_float_text(text, values[i]), &used);
        table_count(s, layer, bits, types[C_FLOAT].bytes);
    }
    bytes_print(&s->tables, "};\n");
}

void c_table_doubles(struct c_source *s, int layer, const char *what, const double *values, size_t n) {
    table_begin(s, layer, what, C_DOUBLE, n);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char text[C_NUMBER];
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        table_number(s, i, c_double_text(text, values[i]), &used);
        table_count(s, layer, bits, types[C_DOUBLE].bytes);
    }
    bytes_print(&s->tables, "};\n");
}

// --- rows --------------------------------------------------------------------------------------------------------------

// Or only counts it, while there is no room yet.
static void entry_add(struct c_rows *r, int step, size_t at) {
    if (r->at) {
        r->step[r->entries] = step;
        r->at[r->entries] = at;
        r->bridges += at == C_BRIDGE;
    }
    r->entries++;
}

static void row_add(struct c_rows *r, const uint8_t *alive, int row, int columns) {
    size_t first = r->entries, at = (size_t)row * (size_t)columns;
    int last = 0;
    for (int j = 0; j < columns; j++, at++) {
        if (!alive[at]) continue;
        for (; j - last > FORMAT_STEP_MAX; last += FORMAT_STEP_MAX) entry_add(r, FORMAT_STEP_MAX, C_BRIDGE);
        for (int n = alive[at]; n > 0; n--, last = j) entry_add(r, j - last, at);
    }
    r->count[row] = (int32_t)(r->entries - first);
    if (r->count[row] > r->most) r->most = r->count[row];
}

struct c_rows *c_rows_new(const uint8_t *alive, int rows, int columns) {
    struct c_rows *r = mem_new(1, sizeof *r);
    r->count = mem_new((size_t)rows, sizeof *r->count);
    for (int i = 0; i < rows; i++) row_add(r, alive, i, columns);
    r->step = mem_new(r->entries, sizeof *r->step);
    r->at = mem_new(r->entries, sizeof *r->at);
    r->entries = 0;
    for (int i = 0; i < rows; i++) row_add(r, alive, i, columns);
    return r;
}

void c_rows_free(struct c_rows *r) {
    if (!r) return;
    mem_free(r->count);
    mem_free(r->step);
    mem_free(r->at);
    mem_free(r);
}

void c_rows_tables(struct c_source *s, int layer, const struct c_rows *r) {
    if (r->entries == 0) return;
    size_t rows = (size_t)net_rows(&s->net->layers[layer].weight);
    c_table(s, layer, "count", c_type_for(r->most), r->count, rows);
    c_table(s, layer, "step", C_UINT8, r->step, r->entries);
}

bool c_is_dense(size_t alive, size_t size) {
    return 2 * alive > size;
}
