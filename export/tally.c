// tally: the native sparse file, which the inference library runs. The layout is in infer/format.h.
//
// Profile fast: 8-bit counters and steps are used as they lie in the file; of rows and dense the smaller is taken. Profile
// small: everything range coded, by the model that the loader has (infer/range.h).
#include <string.h>

#include "export/csr.h"
#include "export/tally.h"
#include "infer/crc.h"
#include "infer/format.h"
#include "infer/range.h"
#include "src/file.h"

static const enum format_kind program_kind[NET_KINDS] = {
    [NET_FLATTEN] = FORMAT_FLATTEN, [NET_LINEAR] = FORMAT_LINEAR,  [NET_AFFINE] = FORMAT_AFFINE,
    [NET_RELU] = FORMAT_RELU,       [NET_GELU] = FORMAT_GELU,      [NET_TANH] = FORMAT_TANH,
    [NET_SIGMOID] = FORMAT_SIGMOID, [NET_SOFTMAX] = FORMAT_SOFTMAX};

// --- tensors
// ------------------------------------------------------------------------------------------------------

// What a number is stored as: its counter, or the bits of its float; 0 for a dead one.
static int32_t tensor_code(const struct net_tensor *t, size_t i) {
    if (t->counted) return t->counter[i];
    int32_t bits = 0;
    if (t->value[i] != 0) memcpy(&bits, &t->value[i], sizeof bits);
    return bits;
}

static size_t tensor_alive(const struct net_tensor *t) {
    size_t alive = 0;
    for (size_t i = 0; i < t->size; i++) alive += tensor_code(t, i) != 0;
    return alive;
}

// The smallest integer that every counter fits.
static enum format_values tensor_values(const struct net_tensor *t) {
    if (!t->counted) return FORMAT_F32;
    int32_t most = 0;
    for (size_t i = 0; i < t->size; i++) {
        int32_t a = t->counter[i] < 0 ? -t->counter[i] : t->counter[i];
        most = a > most ? a : most;
    }
    return most <= INT8_MAX ? FORMAT_I8 : most <= INT16_MAX ? FORMAT_I16 : FORMAT_I32;
}

static size_t values_bytes(enum format_values values) {
    return values == FORMAT_I8 ? 1 : values == FORMAT_I16 ? 2 : 4;
}

static void header_add(struct bytes *b, const struct net_tensor *t, enum format_coding coding) {
    unsigned map = t->counted ? (unsigned)t->number.kind + FORMAT_MAP_LINEAR : FORMAT_NONE;
    const unsigned char kinds[4] = {(unsigned char)tensor_values(t), (unsigned char)map,
                                    (unsigned char)coding, 0};
    double scale = t->counted ? t->scale : 1;
    bytes_add(b, kinds, 4);
    bytes_add_u32(b, (uint32_t)tensor_alive(t));
    bytes_add(b, &scale, sizeof scale);
    if (map >= FORMAT_POWER) bytes_add(b, &t->number.parameter, sizeof t->number.parameter);
}

static void code_add(struct bytes *b, int32_t code, enum format_values values) {
    bytes_add(b, &code, values_bytes(values)); // the low bytes of a little-endian number
}

static void dense_add(struct bytes *b, const struct net_tensor *t) {
    enum format_values values = tensor_values(t);
    for (size_t i = 0; i < t->size; i++) code_add(b, tensor_code(t, i), values);
}

static void rows_add(struct bytes *b, const struct net_tensor *t) {
    enum format_values values = tensor_values(t);
    struct csr *c = csr_new(t);
    struct bytes steps = {0}, codes = {0};
    for (int i = 0; i < c->rows; i++) {
        size_t before = steps.size;
        int at = 0;
        for (int32_t k = c->pointer[i]; k < c->pointer[i + 1]; k++) {
            for (; c->column[k] - at > FORMAT_STEP_MAX; at += FORMAT_STEP_MAX) {
                bytes_add(&steps, &(unsigned char){FORMAT_STEP_MAX}, 1);
                code_add(&codes, 0, values);
            }
            bytes_add(&steps, &(unsigned char){(unsigned char)(c->column[k] - at)}, 1);
            code_add(&codes, tensor_code(t, c->at[k]), values);
            at = c->column[k];
        }
        if (c->columns < FORMAT_SHORT_COLUMNS)
            bytes_add_u16(b, (unsigned)(steps.size - before));
        else
            bytes_add_u32(b, (uint32_t)(steps.size - before));
    }
    if (steps.size) bytes_add(b, steps.at, steps.size);
    if (codes.size) bytes_add(b, codes.at, codes.size);
    bytes_free(&steps);
    bytes_free(&codes);
    csr_free(c);
}

// --- the range coder's other half
// ---------------------------------------------------------------------------------

static int encode_bit(struct tally_coder *c, int bit, uint32_t p) {
    uint32_t split = tally_coder_split(c, p);
    if (bit)
        c->high = split;
    else
        c->low = split + 1;
    while ((c->low ^ c->high) >> 24 == 0) {
        bytes_add(c->context, &(unsigned char){(unsigned char)(c->low >> 24)}, 1);
        c->low <<= 8;
        c->high = c->high << 8 | 255;
    }
    return bit;
}

static void ranged_add(struct bytes *b, const struct net_tensor *weight, const struct net_tensor *bias,
                       int width) {
    struct tally_coder coder = {.bit = encode_bit, .high = UINT32_MAX, .context = b};
    struct tally_matrix_model *model = mem_new(1, sizeof *model);
    size_t rows = (size_t)net_rows(weight), columns = (size_t)net_columns(weight);
    uint32_t *alive = mem_new(columns, sizeof *alive);
    int32_t *row = mem_new(columns, sizeof *row);
    tally_matrix_open(model, rows, columns, (size_t)width, tensor_alive(weight), !weight->counted, alive);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) row[j] = tensor_code(weight, i * columns + j);
        tally_code_row(model, &coder, row);
    }
    mem_free(row);
    mem_free(alive);
    mem_free(model);
    if (bias) {
        int32_t *numbers = mem_new(bias->size, sizeof *numbers);
        for (size_t i = 0; i < bias->size; i++) numbers[i] = tensor_code(bias, i);
        tally_code_numbers(&coder, numbers, bias->size, !bias->counted);
        mem_free(numbers);
    }
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes_add(b, &(unsigned char){(unsigned char)(coder.low >> shift)}, 1);
}

// --- sections
// -----------------------------------------------------------------------------------------------------

static const struct net_tensor *bias_of(const struct net_layer *l) {
    return l->bias.shape.rank && tensor_alive(&l->bias) ? &l->bias : NULL;
}

static void program_add(struct bytes *b, const struct net *n) {
    bytes_add(b, &(unsigned char){(unsigned char)n->in.rank}, 1);
    for (int i = 0; i < n->in.rank; i++) bytes_add_u32(b, (uint32_t)n->in.dim[i]);
    bytes_add_u16(b, (unsigned)n->count);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        bytes_add(b, &(unsigned char){(unsigned char)program_kind[l->kind]}, 1);
        if (l->kind == NET_LINEAR) {
            bytes_add_u32(b, (uint32_t)net_rows(&l->weight));
            bytes_add(b, &(unsigned char){bias_of(l) != NULL}, 1);
        } else if (l->kind == NET_AFFINE) {
            const float numbers[2] = {(float)l->scale, (float)l->shift};
            bytes_add(b, numbers, sizeof numbers);
        }
    }
}

static enum format_coding coding_of(const struct net_tensor *w, const struct export_options *o) {
    if (o->dense) return FORMAT_DENSE;
    if (o->profile == PROFILE_SMALL) return FORMAT_RANGED;
    struct bytes rows = {0};
    rows_add(&rows, w);
    size_t dense = w->size * values_bytes(tensor_values(w)), sparse = rows.size;
    bytes_free(&rows);
    return sparse < dense ? FORMAT_ROWS : FORMAT_DENSE;
}

// `width`: of the image that a row of the weight is, or 0.
static void layer_add(struct bytes *b, const struct net_layer *l, int width, const struct export_options *o) {
    enum format_coding coding = coding_of(&l->weight, o);
    const struct net_tensor *bias = bias_of(l);
    header_add(b, &l->weight, coding);
    if (bias) header_add(b, bias, coding == FORMAT_RANGED ? FORMAT_RANGED : FORMAT_DENSE);
    if (coding == FORMAT_RANGED) {
        ranged_add(b, &l->weight, bias, width);
        return;
    }
    if (coding == FORMAT_ROWS)
        rows_add(b, &l->weight);
    else
        dense_add(b, &l->weight);
    if (bias) dense_add(b, bias);
}

// Header and directory of the sections, which begin at start[0 .. count-1] of `content`.
static void header_compose(struct bytes *file, const struct bytes *content, const size_t *start, int count) {
    struct bytes directory = {0};
    for (int i = 0; i < count; i++) {
        size_t end = i + 1 < count ? start[i + 1] : content->size;
        bytes_add_u16(&directory, i == 0 ? FORMAT_PROGRAM : FORMAT_LAYER);
        bytes_add_u16(&directory, 0);
        bytes_add_u32(&directory, (uint32_t)(end - start[i]));
        bytes_add_u32(&directory, tally_crc32(0, content->at + start[i], end - start[i]));
    }
    bytes_add(file, FORMAT_MAGIC, 4);
    bytes_add_u16(file, FORMAT_VERSION);
    bytes_add_u16(file, (unsigned)count);
    bytes_add_u32(file, (uint32_t)(FORMAT_HEADER + directory.size + content->size));
    bytes_add_u32(file, tally_crc32(tally_crc32(0, file->at, file->size), directory.at, directory.size));
    bytes_add(file, directory.at, directory.size);
    bytes_free(&directory);
}

static int net_check(const struct net *n, const struct export_options *o, struct err *e) {
    int linear = 0;
    if (net_check_chain(n, "tally", e) != 0) return -1;
    if (n->count > FORMAT_LAYERS_MAX)
        return err_set(e, "tally: %d layers, the format has at most %d", n->count, FORMAT_LAYERS_MAX);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        if (shape_size(l->in) > FORMAT_DIM_MAX || shape_size(l->out) > FORMAT_DIM_MAX)
            return err_set(e, "tally: %s is wider than the format's %d", l->name, FORMAT_DIM_MAX);
        if (l->kind != NET_LINEAR) continue;
        if (++linear >= FORMAT_SECTIONS_MAX)
            return err_set(e, "tally: more than %d linear layers", FORMAT_SECTIONS_MAX - 1);
        if (o->profile == PROFILE_SMALL && !o->dense && l->weight.size > FORMAT_RANGED_MAX)
            return err_set(e, "tally: %s has %zu weights, profile small takes at most %d; use profile fast",
                           l->name, l->weight.size, FORMAT_RANGED_MAX);
    }
    return 0;
}

// What the range coder may mean with a file of this size.
static int ranged_check(const struct net *n, const struct export_options *o, size_t bytes, struct err *e) {
    size_t numbers = 0, most = FORMAT_RANGED_FREE + FORMAT_RANGED_BYTE * bytes;
    for (int i = 0; i < n->count; i++) numbers += n->layers[i].weight.size + n->layers[i].bias.size;
    if (o->dense || o->profile != PROFILE_SMALL || numbers <= most) return 0;
    return err_set(e, "tally: %zu numbers in %zu bytes, profile small takes at most %zu; use profile fast",
                   numbers, bytes, most);
}

int tally_compose(struct bytes *file, const struct net *n, const struct export_options *o,
                  struct export_sizes *sizes, struct err *e) {
    if (net_check(n, o, e) != 0) return -1;
    struct bytes content = {0};
    size_t *start = mem_new((size_t)n->count + 1, sizeof *start);
    int sections = 1;
    bool first = true;
    program_add(&content, n);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        if (l->kind != NET_LINEAR) continue;
        size_t before = start[sections++] = content.size;
        layer_add(&content, l, first && n->in.rank > 1 ? n->in.dim[n->in.rank - 1] : 0, o);
        first = false;
        sizes->layer[i] = content.size - before + FORMAT_ENTRY;
    }
    int result = 0;
    if (content.size > UINT32_MAX / 2)
        result = err_set(e, "tally: %zu bytes, the format has at most 2 GB", content.size);
    else
        header_compose(file, &content, start, sections);
    bytes_add(file, content.at, content.size);
    sizes->total = file->size;
    if (result == 0) result = ranged_check(n, o, file->size, e);
    mem_free(start);
    bytes_free(&content);
    return result;
}

static int tally_write(const struct net *n, const char *out, const struct export_options *options,
                       struct export_sizes *sizes, struct err *e) {
    struct bytes file = {0};
    int result = tally_compose(&file, n, options, sizes, e);
    if (result == 0) result = file_write_bytes(out, file.at, file.size, e);
    bytes_free(&file);
    return result;
}

const struct export_format tally_format = {.name = "tally",
                                           .help = "native sparse file, for the inference library",
                                           .suffix = ".tally",
                                           .runs = true,
                                           .write = tally_write};
