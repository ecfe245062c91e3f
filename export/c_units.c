// Leaving out hidden units that nothing reads. Contract in c_source.h.
//
// net_prepare has zeroed them and moved constants into biases, but the shapes are as trained; here rows of a layer and
// columns of the one that reads it go. At 1.5 % density that is more than half of the units.
#include "export/c_source.h"

// Drops the rows and columns that are not kept; NULL keeps all.
static void tensor_keep(struct net_tensor *t, const bool *row, const bool *column) {
    int rows = net_rows(t), columns = net_columns(t), kept = 0;
    size_t at = 0, to = 0;
    for (int i = 0; i < rows; i++) {
        kept += !row || row[i];
        for (int j = 0; j < columns; j++, at++) {
            if ((row && !row[i]) || (column && !column[j])) continue;
            t->value[to] = t->value[at];
            if (t->counted) t->counter[to] = t->counter[at];
            to++;
        }
    }
    t->shape.dim[0] = kept;
    if (t->shape.rank == 2) t->shape.dim[1] = (int)(to / (size_t)kept);
    t->size = to;
}

// Which units of the layer before the matrix `w` are read; *count of them, at least 1.
static bool *units_read_new(int *count, const struct net_tensor *w) {
    int columns = net_columns(w);
    bool *read = mem_new((size_t)columns, sizeof *read);
    for (size_t i = 0; i < w->size; i++)
        if (w->value[i] != 0) read[i % (size_t)columns] = true;
    *count = 0;
    for (int j = 0; j < columns; j++) *count += read[j];
    if (*count == 0) read[0] = true, *count = 1;
    return read;
}

// The linear layer that reads the units of `from`, with only what acts element by element between; -1: none.
static int reader_of(const struct net *n, int from) {
    for (int i = from + 1; i < n->count && n->layers[i].kind != NET_SOFTMAX; i++)
        if (n->layers[i].kind == NET_LINEAR) return i;
    return -1;
}

struct net *c_compact_new(const struct net *n) {
    struct net *copy = net_copy_new(n);
    for (int i = 0; i < copy->count; i++) {
        int to = copy->layers[i].kind == NET_LINEAR ? reader_of(copy, i) : -1;
        if (to < 0) continue;
        int count;
        bool *read = units_read_new(&count, &copy->layers[to].weight);
        tensor_keep(&copy->layers[i].weight, read, NULL);
        if (copy->layers[i].bias.shape.rank) tensor_keep(&copy->layers[i].bias, read, NULL);
        tensor_keep(&copy->layers[to].weight, NULL, read);
        for (int j = i; j < to; j++) {
            copy->layers[j].out = shape_1(count);
            copy->layers[j + 1].in = shape_1(count);
        }
        mem_free(read);
    }
    return copy;
}
