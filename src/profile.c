// The watch. Contracts in profile.h.
#include "src/profile.h"

#include <string.h>
#include <time.h>

#include "src/ops.h"

double profile_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static struct profile_cell *cell_of(struct profile *p, enum profile_group group, const char *name) {
    for (int i = 0; i < p->count; i++)
        if (p->cells[i].group == group && strcmp(p->cells[i].name, name) == 0) return &p->cells[i];
    CHECK(p->count < PROFILE_CELLS, "profile: more than %d things to measure", PROFILE_CELLS);
    p->cells[p->count] = (struct profile_cell){.group = group, .name = name};
    return &p->cells[p->count++];
}

static double op_bytes(const struct tensor *y, bool backward) {
    double numbers = (double)y->size;
    for (int i = 0; i < OP_INPUTS; i++) {
        const struct tensor *x = y->input[i];
        if (x) numbers += (double)x->size * (backward && x->grad ? 3 : 1);
    }
    return numbers * sizeof(real);
}

// An op's work is counted when it is over: only then its result is whole.
static void watch_move(struct profile *p, struct profile_cell *to, const struct tensor *y) {
    double now = profile_seconds();
    if (p->on) p->on->seconds += now - p->since;
    if (p->on && p->op && p->op->op->flops) {
        bool backward = p->on->group == PROFILE_BACKWARD;
        p->on->flops += p->op->op->flops(p->op, backward);
        p->on->bytes += op_bytes(p->op, backward);
    }
    if (to) to->calls++;
    p->on = to;
    p->op = y;
    p->since = now;
}

void profile_op(struct profile *p, enum profile_group group, const struct tensor *y) {
    watch_move(p, cell_of(p, group, y->op->name), y);
}

void profile_start(struct profile *p, enum profile_group group, const char *name) {
    if (p) watch_move(p, cell_of(p, group, name), NULL);
}

void profile_stop(struct profile *p) {
    if (p) watch_move(p, NULL, NULL);
}

void profile_add(struct profile *sum, const struct profile *part) {
    for (int i = 0; i < part->count; i++) {
        const struct profile_cell *from = &part->cells[i];
        struct profile_cell *to = cell_of(sum, from->group, from->name);
        to->seconds += from->seconds;
        to->calls += from->calls;
        to->flops += from->flops;
        to->bytes += from->bytes;
    }
}
