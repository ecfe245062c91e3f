// npz: SciPy's compressed rows, a file for each tensor, in a folder.
//
//   linear1.weight.npz            values: data <f4, indices <i4, indptr <i4, shape <i8, format "csr"
//   linear1.weight.counters.npz   counters, where there are some: data |i1, <i2 or <i4, the rest as above; beside it
//                                 scale <f8, map and, for maps that have one, parameter <f8
//   linear1.bias.npy              values <f4; and .factor.npy, of norms and k_winners
//   manifest.json                 the layers, and how samples were normalised
//
// A weight of more than two dimensions is (first dimension, all others); the manifest has its shape.
//
// scipy.sparse.load_npz reads the .npz, numpy.load the .npy and what is beside data. Equal nets give equal bytes.
//
// Source: SciPy manual, scipy.sparse.save_npz, and its member names as SciPy 1.10 writes them. Departure: members are
// stored, not packed.
#include <stdio.h>
#include <string.h>

#include "datasets/io/npy.h"
#include "export/csr.h"
#include "export/export.h"
#include "export/manifest.h"
#include "export/zip.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096 };

static void array_add(struct zip *z, const char *name, const char *descr, struct shape shape,
                      const void *bytes, size_t size) {
    char header[NPY_HEADER];
    struct bytes file = {0};
    bytes_add(&file, header, npy_header(header, descr, shape));
    bytes_add(&file, bytes, size);
    zip_add(z, name, file.at, file.size);
    bytes_free(&file);
}

static void text_add(struct zip *z, const char *name, const char *text) {
    char descr[24];
    snprintf(descr, sizeof descr, "|S%zu", strlen(text));
    array_add(z, name, descr, (struct shape){0}, text, strlen(text));
}

// `data` [nonzero] of `width` bytes each.
static void matrix_add(struct zip *z, const struct csr *c, const char *descr, const void *data,
                       size_t width) {
    int nonzero = (int)c->nonzero;
    int64_t shape[] = {c->rows, c->columns};
    array_add(z, "indices.npy", "<i4", shape_1(nonzero), c->column, c->nonzero * sizeof *c->column);
    array_add(z, "indptr.npy", "<i4", shape_1(c->rows + 1), c->pointer,
              ((size_t)c->rows + 1) * sizeof *c->pointer);
    text_add(z, "format.npy", "csr");
    array_add(z, "shape.npy", "<i8", shape_1(2), shape, sizeof shape);
    array_add(z, "data.npy", descr, shape_1(nonzero), data, c->nonzero * width);
}

static void values_add(struct zip *z, const struct csr *c, const struct net_tensor *t) {
    float *values = csr_values_new(c, t);
    matrix_add(z, c, "<f4", values, sizeof *values);
    mem_free(values);
}

static void counters_add(struct zip *z, const struct csr *c, const struct net_tensor *t) {
    static const char *const descr[] = {[1] = "|i1", [2] = "<i2", [4] = "<i4"};
    int width = number_bytes(&t->number);
    void *counters = csr_counters_new(c, t);
    matrix_add(z, c, descr[width], counters, (size_t)width);
    array_add(z, "scale.npy", "<f8", (struct shape){0}, &t->scale, sizeof t->scale);
    text_add(z, "map.npy", number_name(t->number.kind));
    if (manifest_has_parameter(t->number.kind))
        array_add(z, "parameter.npy", "<f8", (struct shape){0}, &t->number.parameter,
                  sizeof t->number.parameter);
    mem_free(counters);
}

// One .npz of the folder; its bytes are added to *size.
static int matrix_write(const char *folder, const char *layer, const struct csr *c,
                        const struct net_tensor *t, bool counters, size_t *size, struct err *e) {
    char name[PARAM_NAME + 24], path[PATH_LENGTH];
    snprintf(name, sizeof name, "%s.weight%s.npz", layer, counters ? ".counters" : "");
    if (file_join(path, sizeof path, folder, name, e) != 0) return -1;
    struct zip z = {0};
    if (counters)
        counters_add(&z, c, t);
    else
        values_add(&z, c, t);
    size_t bytes = 0;
    int result = zip_write(path, &z, &bytes, e);
    zip_free(&z);
    *size += bytes;
    return result;
}

static int vector_write(const char *folder, const char *layer, const char *what, const struct net_tensor *t,
                        size_t *size, struct err *e) {
    char name[PARAM_NAME + 24], path[PATH_LENGTH];
    if (t->shape.rank == 0) return 0;
    snprintf(name, sizeof name, "%s.%s.npy", layer, what);
    if (file_join(path, sizeof path, folder, name, e) != 0) return -1;
    if (npy_write(path, NPY_F32, t->shape, t->value, e) != 0) return -1;
    uint64_t bytes = 0;
    if (file_size(&bytes, path, e) != 0) return -1;
    *size += (size_t)bytes;
    return 0;
}

static int layer_write(const char *folder, const struct net_layer *l, size_t *size, struct err *e) {
    const struct net_tensor *w = &l->weight;
    if (w->shape.rank) {
        struct csr *c = csr_new(w);
        int result = matrix_write(folder, l->name, c, w, false, size, e);
        if (result == 0 && w->counted) result = matrix_write(folder, l->name, c, w, true, size, e);
        csr_free(c);
        if (result != 0) return -1;
    }
    if (vector_write(folder, l->name, "bias", &l->bias, size, e) != 0) return -1;
    return vector_write(folder, l->name, "factor", &l->factor, size, e);
}

static int npz_write(const struct net *n, const char *out, const struct export_options *options,
                     struct export_sizes *sizes, struct err *e) {
    (void)options;
    if (file_make_folder(out, e) != 0 || manifest_write(out, n, &sizes->total, e) != 0) return -1;
    for (int i = 0; i < n->count; i++) {
        sizes->layer[i] = 0;
        if (layer_write(out, &n->layers[i], &sizes->layer[i], e) != 0) return -1;
        sizes->total += sizes->layer[i];
    }
    return 0;
}

const struct export_format npz_format = {
    .name = "npz",
    .help = "SciPy sparse matrices (CSR), values and counters, a file for each tensor",
    .write = npz_write,
};
