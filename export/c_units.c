// Leaving out hidden units and channels that nothing reads. Contract in c_source.h.
//
// net_prepare has zeroed them and moved constants into biases, but the shapes are as trained; here rows of a layer and
// columns of the one that reads it go. At 1.5 % density that is more than half of the units.
#include "export/c_source.h"

// Drops the rows, and the columns that belong to an input, that are not kept; NULL keeps all. An input has `each` columns.
static void tensor_keep(struct net_tensor *t, const bool *row, const bool *input, int each) {
    if (t->shape.rank == 0) return;
    int rows = net_rows(t), columns = net_columns(t), kept = 0;
    size_t at = 0, to = 0;
    for (int i = 0; i < rows; i++) {
        kept += !row || row[i];
        for (int j = 0; j < columns; j++, at++) {
            if ((row && !row[i]) || (input && !input[j / each])) continue;
            t->value[to] = t->value[at];
            if (t->counted) t->counter[to] = t->counter[at];
            to++;
        }
    }
    t->shape.dim[0] = kept;
    if (t->shape.rank > 1)
        t->shape.dim[1] = (int)((size_t)t->shape.dim[1] * to / ((size_t)kept * (size_t)columns));
    t->size = to;
}

// Which of `inputs` are read by the weight `w`; *count of them, at least 1.
static bool *inputs_read_new(int *count, const struct net_tensor *w, int inputs) {
    int columns = net_columns(w), each = columns / inputs;
    bool *read = mem_new((size_t)inputs, sizeof *read);
    for (size_t i = 0; i < w->size; i++)
        if (w->value[i] != 0) read[(int)(i % (size_t)columns) / each] = true;
    *count = 0;
    for (int j = 0; j < inputs; j++) *count += read[j];
    if (*count == 0) read[0] = true, *count = 1;
    return read;
}

// Whether the layer's outputs are units, each with its own row, and its inputs have their own columns.
static bool has_units(const struct net_layer *l) {
    return (l->kind == NET_LINEAR && l->in.rank == 1) || (l->kind == NET_CONV2D && l->groups == 1);
}

// The layer that reads the units of `from`, with only what keeps them apart between; -1: none.
static int reader_of(const struct net *n, int from) {
    for (int i = from, next; net_readers(n, i, &next) == 1; i = next) {
        const struct net_layer *l = &n->layers[next];
        if (has_units(l)) return next;
        if (!net_is_activation(l->kind) && !c_is_pool(l->kind) && l->kind != NET_FLATTEN) return -1;
    }
    return -1;
}

static void units_drop(struct net *n, int from, int to) {
    struct net_layer *l = &n->layers[from], *reader = &n->layers[to];
    int units = net_rows(&l->weight), count, each = net_columns(&reader->weight) / units;
    bool *read = inputs_read_new(&count, &reader->weight, units);
    tensor_keep(&l->weight, read, NULL, 1);
    tensor_keep(&l->bias, read, NULL, 1);
    tensor_keep(&l->factor, read, NULL, 1);
    tensor_keep(&reader->weight, NULL, read, each);
    for (int i = from, next; i != to; i = next) {
        net_readers(n, i, &next);
        n->layers[i].out.dim[0] = n->layers[i].out.dim[0] / units * count;
        n->layers[next].in = n->layers[i].out;
    }
    mem_free(read);
}

struct net *c_compact_new(const struct net *n) {
    struct net *copy = net_copy_new(n);
    for (int i = 0; i < copy->count; i++) {
        int to = has_units(&copy->layers[i]) ? reader_of(copy, i) : -1;
        if (to >= 0) units_drop(copy, i, to);
    }
    return copy;
}
