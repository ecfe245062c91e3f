// mtx: Matrix Market, a text file for each tensor, in a folder.
//
//   linear1.weight.mtx   counters as they are: "coordinate integer general"; comments give the number system, its
//                        parameter, the scale and the formula. Without counters: "coordinate real general", values
//   linear1.bias.mtx     values: "array real general"; and .factor.mtx, of norms and k_winners
//   manifest.json        the layers, and how samples were normalised
//
// Rows are outputs, columns inputs, both from 1. A weight of more than two dimensions is (first dimension, all others); the
// manifest has its shape. Values have nine digits, which give each float back to the bit.
//
// Source: Boisvert, Pozo, Remington: The Matrix Market Exchange Formats: Initial Design, NISTIR 5935, 1996. Departures:
// none.
#include <stdio.h>

#include "export/bytes.h"
#include "export/csr.h"
#include "export/export.h"
#include "export/manifest.h"
#include "src/file.h"

enum { PATH_LENGTH = 4096 };

static void number_describe(struct bytes *b, const struct net_tensor *t) {
    bytes_print(b, "%% counters c of number system %s, %d bits\n", number_name(t->number.kind),
                t->number.bits);
    bytes_print(b, "%% %s\n", manifest_formula(t->number.kind));
    bytes_print(b, "%% scale %.17g\n", t->scale);
    if (manifest_has_parameter(t->number.kind)) bytes_print(b, "%% parameter %.17g\n", t->number.parameter);
}

static void weight_print(struct bytes *b, const struct net_tensor *t) {
    struct csr *c = csr_new(t);
    bytes_print(b, "%%%%MatrixMarket matrix coordinate %s general\n", t->counted ? "integer" : "real");
    if (t->counted) number_describe(b, t);
    bytes_print(b, "%d %d %zu\n", c->rows, c->columns, c->nonzero);
    for (int i = 0; i < c->rows; i++)
        for (int32_t k = c->pointer[i]; k < c->pointer[i + 1]; k++) {
            bytes_print(b, "%d %d ", i + 1, (int)c->column[k] + 1);
            if (t->counted)
                bytes_print(b, "%d\n", (int)t->counter[c->at[k]]);
            else
                bytes_print(b, "%.9g\n", (double)t->value[c->at[k]]);
        }
    csr_free(c);
}

static void vector_print(struct bytes *b, const struct net_tensor *t) {
    bytes_print(b, "%%%%MatrixMarket matrix array real general\n%zu 1\n", t->size);
    for (size_t i = 0; i < t->size; i++) bytes_print(b, "%.9g\n", (double)t->value[i]);
}

// One file of the folder; its bytes are added to *size.
static int tensor_write(const char *folder, const char *layer, const char *what, const struct net_tensor *t,
                        void (*print)(struct bytes *b, const struct net_tensor *t), size_t *size,
                        struct err *e) {
    if (t->shape.rank == 0) return 0;
    char name[PARAM_NAME + 16], path[PATH_LENGTH];
    snprintf(name, sizeof name, "%s.%s.mtx", layer, what);
    if (file_join(path, sizeof path, folder, name, e) != 0) return -1;
    struct bytes b = {0};
    print(&b, t);
    int result = file_write_bytes(path, b.at, b.size, e);
    *size += b.size;
    bytes_free(&b);
    return result;
}

static int mtx_write(const struct net *n, const char *out, const struct export_options *options,
                     struct export_sizes *sizes, struct err *e) {
    (void)options;
    if (file_make_folder(out, e) != 0 || manifest_write(out, n, &sizes->total, e) != 0) return -1;
    for (int i = 0; i < n->count; i++) {
        const struct net_layer *l = &n->layers[i];
        size_t *size = &sizes->layer[i];
        *size = 0;
        if (tensor_write(out, l->name, "weight", &l->weight, weight_print, size, e) != 0 ||
            tensor_write(out, l->name, "bias", &l->bias, vector_print, size, e) != 0 ||
            tensor_write(out, l->name, "factor", &l->factor, vector_print, size, e) != 0)
            return -1;
        sizes->total += *size;
    }
    return 0;
}

const struct export_format mtx_format = {
    .name = "mtx",
    .help = "Matrix Market, counters or values as text, a file for each tensor",
    .write = mtx_write,
};
