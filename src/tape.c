// Tensors and the tape. Contracts in tape.h.
#include "src/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/ops.h"
#include "src/sparse.h"

struct tape *tape_new(struct params *params, int shard) {
    struct tape *t = mem_new(1, sizeof *t);
    t->arena = arena_new();
    t->params = params;
    t->shard = shard;
    return t;
}

void tape_free(struct tape *t) {
    if (!t) return;
    arena_free(t->arena);
    mem_free(t);
}

void tape_reset(struct tape *t, bool training) {
    arena_reset(t->arena);
    t->newest = t->penalty = NULL;
    t->training = t->recording = training;
}

static struct tensor *tensor_add(struct tape *t, struct shape shape) {
    struct tensor *x = arena_alloc(t->arena, 1, sizeof *x);
    *x = (struct tensor){.shape = shape, .size = shape_size(shape), .older = t->newest};
    t->newest = x;
    return x;
}

static void grad_add(struct tape *t, struct tensor *x) {
    x->grad = arena_alloc(t->arena, x->size, sizeof(real));
    x->blank = true;
    x->unset = &x->blank;
}

static void grad_zero(struct tensor *x) {
    memset(x->grad, 0, x->size * sizeof(real));
    if (x->unset) *x->unset = false;
}

static void values_alloc(struct tape *t, struct tensor *x, bool with_grad) {
    x->value = arena_alloc(t->arena, x->size, sizeof(real));
    if (with_grad) grad_add(t, x);
}

struct tensor *tape_input(struct tape *t, struct shape shape, real *value) {
    struct tensor *x = tensor_add(t, shape);
    x->value = value;
    return x;
}

struct tensor *tape_leaf(struct tape *t, struct shape shape, bool with_grad) {
    struct tensor *x = tensor_add(t, shape);
    values_alloc(t, x, with_grad);
    if (with_grad) grad_zero(x);
    return x;
}

struct tensor *tape_param(struct tape *t, int param) {
    const struct param *p = &t->params->list[param];
    if (t->recording && p->lazy && p->units == 1) params_touch(t->params, t->shard, param, 0);
    struct tensor *x = tape_input(t, p->shape, p->value);
    if (t->recording) {
        x->grad = params_grad(t->params, t->shard, param);
        x->unset = params_unset(t->params, t->shard, param);
    }
    x->sparse = p->sparse;
    if (x->sparse) x->size = x->sparse->live;
    return x;
}

struct tensor *tape_push(struct tape *t, const struct op *op, struct shape shape, struct tensor *a,
                         struct tensor *b, struct tensor *c) {
    CHECK(!(a && a->sparse) && !(b && b->sparse && !op->sparse) && !(c && c->sparse),
          "%s: a sparse input, of a parameter that is no layer_add_matrix's", op->name);
    bool with_grad = t->recording && ((a && a->grad) || (b && b->grad) || (c && c->grad));
    struct tensor *y = tensor_add(t, shape);
    y->op = op;
    y->input[0] = a, y->input[1] = b, y->input[2] = c;
    if (t->profile) profile_op(t->profile, PROFILE_FORWARD, y);
    values_alloc(t, y, with_grad);
    return y;
}

struct tensor *tape_share(struct tape *t, const struct op *op, struct shape shape, struct tensor *x) {
    CHECK(!x->sparse, "%s: a sparse input", op->name);
    struct tensor *y = tape_input(t, shape, x->value);
    y->op = op;
    y->input[0] = x;
    if (t->profile) profile_op(t->profile, PROFILE_FORWARD, y);
    if (t->recording && x->grad) grad_add(t, y);
    return y;
}

static const struct param *param_of(const struct tape *t, const struct tensor *x) {
    for (int i = 0; t->params && i < t->params->count; i++)
        if (x && !x->op && t->params->list[i].value == x->value) return &t->params->list[i];
    return NULL;
}

static bool finite(const struct tensor *x) {
    for (size_t i = 0; i < x->size; i++)
        if (!isfinite(x->value[i])) return false;
    return true;
}

bool tape_fault(char text[TAPE_FAULT], const struct tape *t) {
    const struct tensor *first = NULL;
    for (const struct tensor *x = t->newest; x; x = x->older)
        if (!finite(x)) first = x;
    if (!first) return false;
    const struct param *p = param_of(t, first);
    if (p) {
        snprintf(text, TAPE_FAULT, "%s", p->name);
    } else if (!first->op) {
        snprintf(text, TAPE_FAULT, "the samples");
    } else {
        for (int i = OP_INPUTS - 1; i >= 0; i--)
            if (param_of(t, first->input[i])) p = param_of(t, first->input[i]);
        snprintf(text, TAPE_FAULT, "the output of %s%s%s%s", first->op->name, p ? " (" : "", p ? p->name : "",
                 p ? ")" : "");
    }
    return true;
}

void tape_add_penalty(struct tape *t, struct tensor *penalty) {
    t->penalty = t->penalty ? op_add(t, t->penalty, penalty) : penalty;
}

void tape_backward(struct tape *t, struct tensor *loss, real seed) {
    CHECK(loss->size == 1, "backward from a tensor of %zu values", loss->size);
    if (!loss->grad) return;
    loss->grad[0] = (tape_keep(loss) != 0 ? loss->grad[0] : 0) + seed;
    for (struct tensor *y = t->newest; y; y = y->older) {
        if (!y->op || !y->grad || *y->unset) continue;
        if (t->profile) profile_op(t->profile, PROFILE_BACKWARD, y);
        for (int k = 0; k < OP_INPUTS; k++) {
            struct tensor *x = y->input[k];
            if (x && x->grad && x->unset && *x->unset && !(y->op->sets & 1u << k)) grad_zero(x);
        }
        y->op->backward(t, y);
    }
    profile_stop(t->profile);
}

real tape_keep(struct tensor *x) {
    bool unset = x->unset && *x->unset;
    if (unset) *x->unset = false;
    return unset ? 0 : 1;
}

real tape_pass(struct tensor *x, const struct tensor *y) {
    CHECK(x->size == y->size && x != y, "tape_pass: %zu numbers for %zu", y->size, x->size);
    if (x->unset == &x->blank && x->blank) x->grad = y->grad; // a parameter's has its own place
    return tape_keep(x);
}

VECTOR_CLONES static void numbers_add(real *restrict x, const real *restrict y, size_t size) {
    for (size_t i = 0; i < size; i++) x[i] += y[i];
}

void tape_add_grad(struct tensor *x, const struct tensor *y, bool last) {
    real keep = last ? tape_pass(x, y) : tape_keep(x);
    if (x->grad == y->grad) return;
    if (keep == 0)
        memcpy(x->grad, y->grad, x->size * sizeof *x->grad);
    else
        numbers_add(x->grad, y->grad, x->size);
}
