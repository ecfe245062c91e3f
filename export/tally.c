// tally: the native sparse file, which the inference library runs. The layout is in infer/format.h.
//
// Profile fast: 8-bit counters and steps are used as they lie in the file; of rows and dense the smaller is taken. Profile
// small: everything range coded, by the model that the loader has (infer/range.h).
#include <string.h>

#include "export/tally.h"
#include "export/tally_tensors.h"
#include "infer/crc.h"
#include "src/file.h"

// --- sections
// -----------------------------------------------------------------------------------------------------

// Of a layer's tensors those that are written, in the file's order.
static int tensors_of(const struct net_tensor *tensor[3], const struct net_layer *l) {
    int count = 0;
    if (l->factor.shape.rank) tensor[count++] = &l->factor;
    if (l->weight.shape.rank) tensor[count++] = &l->weight;
    if (tally_has_bias(l)) tensor[count++] = &l->bias;
    return count;
}

// The images that a linear layer reads flattened; rank 0: none.
static struct shape images_of(const struct net *n, const struct net_layer *l) {
    const struct shape none = {0};
    for (int i = l->input[0];; i = n->layers[i].input[0]) {
        struct shape shape = i == NET_SAMPLE ? n->in : n->layers[i].out;
        if (shape.rank > 1) return i == l->input[0] ? none : shape;
        bool same =
            i != NET_SAMPLE && (net_is_activation(n->layers[i].kind) || n->layers[i].kind == NET_FLATTEN ||
                                n->layers[i].kind == NET_BATCH_NORM || n->layers[i].kind == NET_SOFTMAX ||
                                n->layers[i].kind == NET_K_WINNERS || n->layers[i].kind == NET_ADD ||
                                n->layers[i].kind == NET_LAYER_NORM || n->layers[i].kind == NET_RMS_NORM ||
                                n->layers[i].kind == NET_CONCAT || n->layers[i].kind == NET_MIX);
        if (!same) return none;
    }
}

// What the range coder may know of a layer's weight.
static struct tally_matrix known_of(const struct net *n, const struct net_layer *l) {
    struct tally_matrix m = {0};
    if (l->kind == NET_CONV2D) {
        m.width = (size_t)l->window.size[1];
        m.plane = m.width * (size_t)l->window.size[0];
    } else if (l->kind == NET_LINEAR) {
        struct shape images = images_of(n, l);
        if (images.rank) m.width = (size_t)images.dim[images.rank - 1];
        if (images.rank == 3) m.plane = m.width * (size_t)images.dim[1];
    }
    return m;
}

static enum format_coding coding_of(const struct net_tensor *w, const struct export_options *o) {
    if (o->dense) return FORMAT_DENSE;
    if (o->profile == PROFILE_SMALL) return FORMAT_RANGED;
    struct bytes rows = {0};
    tally_add_rows(&rows, w);
    size_t dense = w->size * tally_values_bytes(tally_values(w)), sparse = rows.size;
    bytes_free(&rows);
    return sparse < dense ? FORMAT_ROWS : FORMAT_DENSE;
}

static void layer_add(struct bytes *b, const struct net *n, const struct net_layer *l,
                      const struct export_options *o) {
    const struct net_tensor *tensor[3];
    int count = tensors_of(tensor, l);
    enum format_coding coding = l->weight.shape.rank ? coding_of(&l->weight, o) : FORMAT_DENSE,
                       others = coding == FORMAT_RANGED ? FORMAT_RANGED : FORMAT_DENSE;
    for (int k = 0; k < count; k++) tally_add_header(b, tensor[k], tensor[k] == &l->weight ? coding : others);
    struct tally_coder coder = tally_encoder_open(b);
    const struct tally_matrix known = known_of(n, l);
    for (int k = 0; k < count; k++) {
        bool weight = tensor[k] == &l->weight;
        if (coding == FORMAT_RANGED)
            weight ? tally_encode_matrix(&coder, tensor[k], &known, NULL)
                   : tally_encode_vector(&coder, tensor[k], NULL);
        else if (coding == FORMAT_ROWS && weight)
            tally_add_rows(b, tensor[k]);
        else
            tally_add_dense(b, tensor[k]);
    }
    if (coding == FORMAT_RANGED) tally_encoder_close(&coder);
}

// The rows of a weight that have any: what the next one's columns may read.
struct alive {
    unsigned char *rows;
    size_t count;
};

static void layer_encode(struct tally_coder *c, const struct net *n, const struct net_layer *l,
                         struct alive *before) {
    const struct net_tensor *tensor[3];
    struct alive now = {NULL, 0};
    int count = tensors_of(tensor, l);
    for (int k = 0; k < count; k++) {
        if (tensor[k] != &l->weight) {
            tally_encode_vector(c, tensor[k], now.rows);
            continue;
        }
        struct tally_matrix known = known_of(n, l);
        now = (struct alive){mem_new((size_t)net_rows(&l->weight), 1), (size_t)net_rows(&l->weight)};
        known.extended = 1;
        tally_matrix_link(&known, (size_t)net_columns(&l->weight), before->rows, before->count);
        tally_encode_matrix(c, tensor[k], &known, now.rows);
    }
    if (!now.rows) return;
    mem_free(before->rows);
    *before = now;
}

// All layers as one stream.
static void stream_add(struct bytes *b, const struct net *n, struct export_sizes *sizes) {
    const struct net_tensor *tensor[3];
    for (int i = 0; i < n->count; i++) {
        size_t before = b->size;
        int count = tensors_of(tensor, &n->layers[i]);
        for (int k = 0; k < count; k++) tally_add_short_header(b, tensor[k]);
        sizes->layer[i] = b->size - before;
    }
    struct tally_coder coder = tally_encoder_open(b);
    struct alive alive = {NULL, 0};
    for (int i = 0; i < n->count; i++) {
        size_t before = b->size;
        layer_encode(&coder, n, &n->layers[i], &alive);
        sizes->layer[i] += b->size - before;
    }
    mem_free(alive.rows);
    tally_encoder_close(&coder);
}

// Header and directory of the sections, which begin at start[0 .. count-1] of `content`.
static void header_compose(struct bytes *file, const struct bytes *content, const size_t *start, int count,
                           int version, enum format_section kind) {
    struct bytes directory = {0};
    for (int i = 0; i < count; i++) {
        size_t end = i + 1 < count ? start[i + 1] : content->size;
        bytes_add_u16(&directory, i == 0 ? FORMAT_PROGRAM : (unsigned)kind);
        bytes_add_u16(&directory, 0);
        bytes_add_u32(&directory, (uint32_t)(end - start[i]));
        bytes_add_u32(&directory, tally_crc32(0, content->at + start[i], end - start[i]));
    }
    bytes_add(file, FORMAT_MAGIC, 4);
    bytes_add_u16(file, (unsigned)version);
    bytes_add_u16(file, (unsigned)count);
    bytes_add_u32(file, (uint32_t)(FORMAT_HEADER + directory.size + content->size));
    bytes_add_u32(file, tally_crc32(tally_crc32(0, file->at, file->size), directory.at, directory.size));
    bytes_add(file, directory.at, directory.size);
    bytes_free(&directory);
}

static bool is_ranged(const struct export_options *o) {
    return o->profile == PROFILE_SMALL && !o->dense;
}

static int net_check(const struct net *n, const struct export_options *o, struct err *e) {
    const struct net_tensor *tensor[3];
    int sections = 1;
    if (n->count > FORMAT_LAYERS_MAX)
        return err_set(e, "tally: %d layers, the format has at most %d", n->count, FORMAT_LAYERS_MAX);
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        if (shape_size(l->in) > FORMAT_DIM_MAX || shape_size(l->out) > FORMAT_DIM_MAX)
            return err_set(e, "tally: %s is wider than the format's %d", l->name, FORMAT_DIM_MAX);
        if (is_ranged(o) && l->weight.size > FORMAT_RANGED_MAX)
            return err_set(e, "tally: %s has %zu weights, profile small takes at most %d; use profile fast",
                           l->name, l->weight.size, FORMAT_RANGED_MAX);
        if (tensors_of(tensor, l) && ++sections > FORMAT_SECTIONS_MAX)
            return err_set(e, "tally: more than %d layers with weights", FORMAT_SECTIONS_MAX - 1);
    }
    return 0;
}

// What the range coder may mean with a file of this size.
static int ranged_check(const struct net *n, const struct export_options *o, size_t bytes, struct err *e) {
    size_t numbers = 0, most = FORMAT_RANGED_FREE + FORMAT_RANGED_BYTE * bytes;
    for (int i = 0; i < n->count; i++)
        numbers += n->layers[i].weight.size + n->layers[i].bias.size + n->layers[i].factor.size;
    if (!is_ranged(o) || numbers <= most) return 0;
    return err_set(e, "tally: %zu numbers in %zu bytes, profile small takes at most %zu; use profile fast",
                   numbers, bytes, most);
}

// The sections of the layers behind the program; returns how many there are with it.
static int layers_add(struct bytes *content, size_t *start, const struct net *n,
                      const struct export_options *o, struct export_sizes *sizes) {
    const struct net_tensor *tensor[3];
    int sections = 1;
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        sizes->layer[i] = 0;
        if (tensors_of(tensor, l) == 0) continue;
        size_t before = start[sections++] = content->size;
        layer_add(content, n, l, o);
        sizes->layer[i] = content->size - before + FORMAT_ENTRY;
    }
    return sections;
}

int tally_compose(struct bytes *file, const struct net *n, const struct export_options *o,
                  struct export_sizes *sizes, struct err *e) {
    if (net_check(n, o, e) != 0) return -1;
    struct bytes content = {0};
    size_t *start = mem_new((size_t)n->count + 1, sizeof *start);
    int version = tally_version(n), sections = 2, result = 0;
    bool stream = version > 1 && is_ranged(o);
    tally_add_program(&content, n);
    start[1] = content.size;
    if (stream)
        stream_add(&content, n, sizes);
    else
        sections = layers_add(&content, start, n, o, sizes);
    if (content.size > UINT32_MAX / 2)
        result = err_set(e, "tally: %zu bytes, the format has at most 2 GB", content.size);
    else
        header_compose(file, &content, start, sections, version, stream ? FORMAT_STREAM : FORMAT_LAYER);
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
