// Which layers share a function of the generated C, and where each result lies.
//
// A stage is a layer and what only it is read by: activations, and behind a convolution a pooling, so that of the planes that
// are pooled only one is ever there. A value is a vector in the caller's scratch, or y. It lives from the stage that makes it
// to the last one that reads it, and values that never live together may share a place. What acts on each element alone
// works in place where nothing else reads its input.
#include <stdlib.h>

#include "export/c_source.h"

// --- stages ------------------------------------------------------------------------------------------------------------

bool c_is_pool(enum net_kind kind) {
    return kind == NET_MAX_POOL2D || kind == NET_AVG_POOL2D || kind == NET_GLOBAL_AVG_POOL2D;
}

static bool is_map(enum net_kind kind) {
    return net_is_activation(kind) || kind == NET_FLATTEN;
}

// Whether the function can write where it reads. A join can write where its first input is.
static bool works_in_place(enum net_kind kind) {
    return is_map(kind) || kind == NET_SOFTMAX || kind == NET_BATCH_NORM || kind == NET_LAYER_NORM ||
           kind == NET_RMS_NORM || kind == NET_ADD || kind == NET_K_WINNERS ||
           kind == NET_POSITIONAL_EMBEDDING || kind == NET_MIX;
}

// The last layer that reads the result of each, through those that are only another shape; n->count for the net's result.
static int *last_readers_new(const struct net *n) {
    int *last = mem_new((size_t)n->count, sizeof *last);
    last[n->count - 1] = n->count;
    const int *from;
    for (int k = n->count - 1; k >= 0; k--)
        for (int i = 0; (from = net_read(&n->layers[k], i)); i++) {
            int reader = n->layers[k].kind == NET_FLATTEN ? last[k] : k;
            if (*from != NET_SAMPLE && reader > last[*from]) last[*from] = reader;
        }
    return last;
}

// Whether layer i + 1 can be part of the stage that ends with layer i.
static bool continues(const struct net *n, const struct c_stage *stage, int i) {
    enum net_kind first = n->layers[stage->first].kind, next;
    int reader;
    if (first == NET_SOFTMAX || first == NET_K_WINNERS || first == NET_EMBEDDING ||
        first == NET_POSITIONAL_EMBEDDING || first == NET_SELECT)
        return false;
    if (net_readers(n, i, &reader) != 1 || reader != i + 1) return false;
    if (n->layers[reader].gated != (n->layers[i].gated && n->layers[i].kind != NET_MIX)) return false;
    next = n->layers[reader].kind;
    return is_map(next) || (first == NET_CONV2D && stage->pool == C_NONE && c_is_pool(next));
}

static struct c_stage stage_make(const struct net *n, int first) {
    struct c_stage stage = {.first = first, .end = first + 1, .pool = C_NONE, .spare = C_NONE};
    for (; continues(n, &stage, stage.end - 1); stage.end++)
        if (c_is_pool(n->layers[stage.end].kind)) stage.pool = stage.end;
    return stage;
}

// --- values ------------------------------------------------------------------------------------------------------------

static int value_add(struct c_source *s, size_t size, int first, int last) {
    s->values[s->value_count] = (struct c_value){.size = size, .first = first, .last = last};
    return s->value_count++;
}

// Another name of a value: only another shape, or a relu of pixels, which are not below 0.
static bool is_alias(const struct c_source *s, int layer, int from, int last) {
    enum net_kind kind = s->net->layers[layer].kind;
    if (kind == NET_FLATTEN) return from != C_SAMPLE || last < s->net->count;
    return s->shifts && kind == NET_RELU && from == C_SAMPLE;
}

static void stage_add(struct c_source *s, struct c_stage stage, int last) {
    const struct net *n = s->net;
    const struct net_layer *l = &n->layers[stage.first];
    struct c_value *before = stage.from[0] == C_SAMPLE ? NULL : &s->values[stage.from[0]];
    if (before && before->last == stage.first && works_in_place(l->kind)) {
        stage.to = stage.from[0];
        before->last = last;
    } else {
        stage.to = value_add(s, shape_size(n->layers[stage.end - 1].out), stage.first, last);
    }
    if (stage.pool != C_NONE)
        stage.spare = value_add(s, shape_size(l->out) / (size_t)l->out.dim[0], stage.first, stage.first);
    s->stages[s->count++] = stage;
}

void c_stages_plan(struct c_source *s) {
    const struct net *n = s->net;
    int *last = last_readers_new(n), *value = mem_new((size_t)n->count, sizeof *value);
    s->stages = mem_new((size_t)n->count, sizeof *s->stages);
    s->values = mem_new(2 * (size_t)n->count, sizeof *s->values);
    for (int i = 0; i < n->count;) {
        struct c_stage stage = stage_make(n, i);
        for (int k = 0; k <= NET_INPUTS; k++) {
            const struct net_layer *l = &n->layers[i];
            int input = k < NET_INPUTS ? l->input[k] : l->gated ? l->gate : NET_NONE;
            *(k < NET_INPUTS ? &stage.from[k] : &stage.gate) = input == NET_NONE     ? C_NONE
                                                               : input == NET_SAMPLE ? C_SAMPLE
                                                                                     : value[input];
        }
        if (is_alias(s, i, stage.from[0], last[i])) {
            value[i++] = stage.from[0];
            continue;
        }
        stage_add(s, stage, last[stage.end - 1]);
        for (; i < stage.end; i++) value[i] = s->stages[s->count - 1].to;
    }
    mem_free(last);
    mem_free(value);
}

// --- places ------------------------------------------------------------------------------------------------------------

static bool live_together(const struct c_value *a, const struct c_value *b) {
    return a->first <= b->last && b->first <= a->last;
}

// The lowest place for a value beside the `count` that have theirs.
static size_t place_find(const struct c_value *v, struct c_value *const *placed, int count) {
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < count; i++) {
            const struct c_value *other = placed[i];
            if (!live_together(v, other) || at >= other->at + other->size || other->at >= at + v->size)
                continue;
            at = other->at + other->size;
            moved = true;
        }
    }
    return at;
}

static size_t places_try(struct c_value *const *order, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        order[i]->at = place_find(order[i], order, i);
        size = order[i]->at + order[i]->size > size ? order[i]->at + order[i]->size : size;
    }
    return size;
}

static int by_size(const void *a, const void *b) {
    const struct c_value *x = *(struct c_value *const *)a, *y = *(struct c_value *const *)b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return x->first != y->first ? x->first - y->first : (x > y) - (x < y);
}

// The larger ones first is best but for a few nets, in which the order of making is.
void c_places_plan(struct c_source *s) {
    struct c_value **made = mem_new((size_t)s->value_count, sizeof *made);
    struct c_value **sorted = mem_new((size_t)s->value_count, sizeof *sorted);
    int count = 0;
    for (int i = 0; i < s->value_count; i++)
        if (s->values[i].last < s->net->count) made[count] = sorted[count] = &s->values[i], count++;
    if (count) qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    size_t as_made = places_try(made, count);
    s->scratch = places_try(sorted, count);
    if (as_made < s->scratch) s->scratch = places_try(made, count);
    mem_free(made);
    mem_free(sorted);
}
