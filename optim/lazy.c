// Making up for missed steps. A unit that slept makes them one after the other, in pieces that stay in the first cache,
// with the gradient of zero that it has while it sleeps. That gives the bits of an optimiser which is not lazy, whatever
// the schedule, the rounding and the moments do, and whenever it happens. Where nothing can move it is skipped.
#include "optim/lazy.h"

#include "optim/optim.h"
#include "src/parallel.h"

// STEPS_MAX: missed steps are made up after so many in any case. CHUNK: numbers that make them up together.
enum { STEPS_MAX = 1024, CHUNK = 1024, BUSY = -1 };

// The stage that moves the parameter, and its index there.
static const struct stage *mover_of(int *index, const struct optim *o, int param) {
    int list = param_is_weight(&o->params->list[param]) ? OPTIM_WEIGHTS : OPTIM_OTHERS;
    const struct stage *s = &o->stages[list][o->count[list] - 1];
    for (*index = 0; s->param[*index] != param;) ++*index;
    return s;
}

// The spans of a unit: first .. the result - 1.
static int unit_spans(int *first, const struct stage *s, int index, int unit) {
    *first = s->first_span[index] + unit * s->unit_spans[index];
    if (unit + 1 < s->params->list[s->param[index]].units) return *first + s->unit_spans[index];
    return index + 1 < s->count ? s->first_span[index + 1] : s->span_count;
}

static bool all_zero(const real *x, size_t first, size_t end) {
    for (size_t i = first; i < end; i++)
        if (x[i] != 0) return false;
    return true;
}

// Whether no step with a gradient of zero moves anything here.
static bool at_rest(const struct stage *s, const struct span *span) {
    for (int k = 0; k < s->slot_count; k++)
        if (s->slots[k].per_weight && !all_zero(span->slot[k], span->first, span->end)) return false;
    if (s->rests) return true;
    const struct param *p = span->param;
    for (size_t i = span->first; i < span->end; i++)
        if (p->counted ? param_counter(p, i) != 0 : p->value[i] != 0) return false;
    return true;
}

static void make_up(const struct optim *o, int param, int unit, int from, int to) {
    int index, i;
    const struct stage *s = mover_of(&index, o, param);
    for (int end = unit_spans(&i, s, index, unit); i < end; i++) {
        const struct span *span = &s->spans[i];
        struct span chunk = *span;
        for (chunk.first = span->first; chunk.first < span->end; chunk.first += CHUNK) {
            chunk.end = span->end - chunk.first < CHUNK ? span->end : chunk.first + CHUNK;
            if (at_rest(s, &chunk)) continue;
            for (int k = from; k < to; k++) {
                s->type->update(s, &chunk, &o->lazy.step[k]);
                param_bury(chunk.param, chunk.first, chunk.end);
            }
        }
    }
}

// One thread makes the steps up; another that comes for the same unit waits.
static void unit_wake(void *waker, int param, int unit) {
    struct optim *o = waker;
    atomic_int *made = &o->lazy.made[param][unit];
    int steps = o->lazy.steps, seen = atomic_load_explicit(made, memory_order_acquire);
    while (seen != steps) {
        if (seen != BUSY && atomic_compare_exchange_strong(made, &seen, BUSY)) {
            make_up(o, param, unit, seen, steps);
            atomic_store_explicit(made, steps, memory_order_release);
            return;
        }
        seen = atomic_load_explicit(made, memory_order_acquire);
    }
}

// The spans of the stage that this step visits: all but those of units that sleep.
static void work_list(struct stage *s) {
    s->work_count = 0;
    for (int i = 0; i < s->count; i++) {
        const struct param *p = &s->params->list[s->param[i]];
        for (int unit = 0; unit < p->units; unit++) {
            if (p->lazy && !p->touched[unit]) continue;
            int span, end = unit_spans(&span, s, i, unit);
            while (span < end) s->work[s->work_count++] = span++;
        }
    }
}

void lazy_step(struct optim *o, const struct step *step) {
    struct lazy *l = &o->lazy;
    if (!l->made) return;
    if (l->steps == STEPS_MAX) lazy_settle(o, step->threads);
    l->step[l->steps++] = *step;
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o->count[list]; i++) work_list(&o->stages[list][i]);
    for (int i = 0; i < o->params->count; i++)
        for (int unit = 0; l->made[i] && unit < o->params->list[i].units; unit++)
            if (o->params->list[i].touched[unit]) l->made[i][unit] = l->steps;
}

struct settle {
    struct optim *optim;
    int param;
};

static void settle_unit(void *context, int unit) {
    const struct settle *s = context;
    unit_wake(s->optim, s->param, unit);
}

void lazy_settle(struct optim *o, int threads) {
    struct lazy *l = &o->lazy;
    if (l->steps == 0) return;
    for (int i = 0; i < o->params->count; i++) {
        if (!l->made[i]) continue;
        struct settle s = {o, i};
        parallel_for(threads, o->params->list[i].units, settle_unit, &s);
        for (int unit = 0; unit < o->params->list[i].units; unit++) l->made[i][unit] = 0;
    }
    l->steps = 0;
}

void lazy_open(struct optim *o) {
    struct lazy *l = &o->lazy;
    struct params *ps = o->params;
    for (int i = 0; i < ps->count; i++) {
        if (!ps->list[i].lazy || ps->list[i].buffer) continue;
        if (!l->made) l->made = mem_new((size_t)ps->count, sizeof *l->made);
        l->made[i] = mem_new((size_t)ps->list[i].units, sizeof **l->made); // zeroed: none made
    }
    if (!l->made) return;
    l->step = mem_new(STEPS_MAX, sizeof *l->step);
    ps->wake = unit_wake;
    ps->waker = o;
}

void lazy_close(struct optim *o) {
    struct lazy *l = &o->lazy;
    if (!l->made) return;
    o->params->wake = NULL;
    for (int i = 0; i < o->params->count; i++) mem_free(l->made[i]);
    mem_free(l->made);
    mem_free(l->step);
}
