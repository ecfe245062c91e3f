// Building and running the lists of stages. Contracts in optim.h.
#include "optim/optim.h"

#include <stdio.h>
#include <string.h>

#include "src/parallel.h"
#include "src/sparse.h"

#define STAGE(name) extern const struct stage_type name##_stage;
#include "optim/optim.def"
#undef STAGE

const struct stage_type *const stage_types[] = {
#define STAGE(name) &name##_stage,
#include "optim/optim.def"
#undef STAGE
    NULL};

enum { TYPES = sizeof stage_types / sizeof *stage_types, SPAN = 1 << 13 };

static const char *const list_names[OPTIM_LISTS] = {"weights", "others"};

// --- stages
// -----------------------------------------------------------------------------------------------------

static const struct stage_type *type_find(const char *name, const char *path, struct err *e) {
    const char *known[TYPES] = {NULL};
    for (int i = 0; stage_types[i]; i++) {
        if (strcmp(stage_types[i]->name, name) == 0) return stage_types[i];
        known[i] = stage_types[i]->name;
    }
    json_unknown(path, "stage", name, known, e);
    return NULL;
}

int stage_add_slot(struct stage *s, const char *name, bool per_weight) {
    CHECK(s->slot_count < STAGE_SLOTS, "%s: more than %d slots", s->type->name, STAGE_SLOTS);
    struct slot *slot = &s->slots[s->slot_count];
    *slot = (struct slot){name, per_weight, mem_new((size_t)s->count, sizeof *slot->value)};
    for (int i = 0; i < s->count; i++)
        slot->value[i] = mem_new(per_weight ? s->params->list[s->param[i]].size : 1, sizeof(real));
    return s->slot_count++;
}

void stage_add_rounding(struct stage *s, uint64_t seed) {
    s->rounding = mem_new((size_t)s->count, sizeof *s->rounding);
    for (int i = 0; i < s->count; i++) {
        char purpose[PARAM_NAME + 16];
        snprintf(purpose, sizeof purpose, "rounding %s", s->params->list[s->param[i]].name);
        s->rounding[i] = rng_stream(seed, purpose);
    }
}

static void spans_free(struct stage *s) {
    mem_free(s->spans);
    mem_free(s->first_span);
    mem_free(s->unit_spans);
    mem_free(s->work);
    mem_free(s->partial);
    s->span_count = s->work_count = 0;
}

// None across the border of two units.
void stage_cut(struct stage *s) {
    spans_free(s);
    size_t most = 0;
    s->first_span = mem_new((size_t)s->count, sizeof *s->first_span);
    s->unit_spans = mem_new((size_t)s->count, sizeof *s->unit_spans);
    for (int i = 0; i < s->count; i++) {
        const struct param *p = &s->params->list[s->param[i]];
        s->unit_spans[i] = (int)((p->unit + SPAN - 1) / SPAN);
        most += (size_t)p->units * (size_t)s->unit_spans[i];
    }
    s->spans = mem_new(most, sizeof *s->spans);
    s->work = mem_new(most, sizeof *s->work);
    s->partial = mem_new(most, sizeof *s->partial);
    for (int i = 0; i < s->count; i++) {
        struct param *p = &s->params->list[s->param[i]];
        size_t size = p->sparse ? p->sparse->live : p->size;
        s->first_span[i] = s->span_count;
        for (size_t first = 0, unit_end = p->unit; first < size;) {
            struct span *span = &s->spans[s->span_count++];
            if (unit_end > size) unit_end = size;
            *span = (struct span){.param = p, .index = i, .first = first};
            span->end = unit_end - first < SPAN ? unit_end : first + SPAN;
            span->grad = params_grad(s->params, 0, s->param[i]);
            for (int k = 0; k < s->slot_count; k++) span->slot[k] = s->slots[k].value[i];
            first = span->end;
            if (first == unit_end) unit_end += p->unit;
        }
    }
    for (; s->work_count < s->span_count; s->work_count++) s->work[s->work_count] = s->work_count;
}

// A stage of known type.
static int stage_build(struct stage *s, const struct json *options, const char *path, int list,
                       struct params *ps, uint64_t seed, struct err *e) {
    json_path(s->path, path, s->type->name, 0);
    s->config = mem_new(1, s->type->config_size);
    if (fields_read(s->config, s->type->fields, options, s->path, e) != 0) return -1;
    s->params = ps;
    s->param = mem_new((size_t)ps->count, sizeof *s->param);
    for (int i = 0; i < ps->count; i++)
        if (!ps->list[i].buffer && param_is_weight(&ps->list[i]) == (list == OPTIM_WEIGHTS))
            s->param[s->count++] = i;
    if (s->type->build && s->type->build(s, seed, e) != 0) return -1;
    for (int i = 0; s->whole_tensors && i < s->count; i++)
        if (ps->list[s->param[i]].lazy)
            return err_set(
                e, "%s: looks at whole tensors, %s is stepped in parts; use another direction or stage",
                s->path, ps->list[s->param[i]].name);
    stage_cut(s);
    return 0;
}

static void stage_free(struct stage *s) {
    for (int k = 0; k < s->slot_count; k++) {
        for (int i = 0; i < s->count; i++) mem_free(s->slots[k].value[i]);
        mem_free(s->slots[k].value);
    }
    if (s->type && s->type->free) s->type->free(s);
    mem_free(s->config);
    mem_free(s->param);
    spans_free(s);
    mem_free(s->own);
    mem_free(s->rounding);
}

static void squares_span(void *context, int i) {
    struct stage *s = context;
    const struct span *span = &s->spans[s->work[i]];
    const uint8_t *alive = span->param->sparse ? NULL : span->param->alive;
    double sum = 0;
    for (size_t j = span->first; j < span->end; j++)
        if (!alive || alive[j]) sum += (double)span->grad[j] * (double)span->grad[j];
    s->partial[i] = sum;
}

double stage_grad_squares(struct stage *s, int index, int threads) {
    if (index == 0)
        parallel_for(threads, s->work_count, squares_span, s); // all parameters at the first question
    double sum = 0;
    for (int i = 0; i < s->work_count; i++)
        if (s->spans[s->work[i]].index == index) sum += s->partial[i];
    return sum;
}

// --- the optimiser
// ----------------------------------------------------------------------------------------------

// The section before its parts are read.
struct description {
    const struct json *list[OPTIM_LISTS], *schedule, *sparsity;
};

const struct field optim_fields[] = {{"weights", FIELD_NODE,
                                      offsetof(struct description, list[OPTIM_WEIGHTS]), 0, 0, 0, NULL,
                                      "stages for the parameters of rank 2 and more, in order"},
                                     {"others", FIELD_NODE, offsetof(struct description, list[OPTIM_OTHERS]),
                                      0, 0, 0, NULL, "stages for the rest: biases and the like"},
                                     {"schedule", FIELD_NODE, offsetof(struct description, schedule), 0, 0, 0,
                                      NULL, "of the factor in front of every rate; default constant"},
                                     {"sparsity", FIELD_NODE, offsetof(struct description, sparsity), 0, 0, 0,
                                      NULL, "density path, freeze and granularity; default: left alone"},
                                     FIELD_END};

static int list_build(struct optim *o, int list, const struct json *node, const char *path, struct err *e) {
    if (!node || json_type(node) != JSON_ARRAY || json_count(node) == 0 || json_count(node) > STAGES_LIMIT)
        return err_set(e, "%s: wanted a list of 1 to %d stages, such as [{\"adam\": {\"rate\": 0.001}}]",
                       path, STAGES_LIMIT);
    const char *mover = NULL;
    for (int i = 0; i < json_count(node); i++) {
        char item_path[JSON_PATH];
        json_path(item_path, path, NULL, i);
        const char *name;
        const struct json *options;
        if (json_read_named(&name, &options, json_item(node, i), item_path, e) != 0) return -1;
        const struct stage_type *type = type_find(name, item_path, e);
        if (!type) return -1;
        if (type->moves && mover) // before it is built: parameters can be counted only once
            return err_set(e, "%s: '%s' and '%s' both move the numbers; a list has one such stage", path,
                           mover, type->name);
        if (mover)
            return err_set(e, "%s: '%s' comes after '%s', which has used the gradient", item_path, type->name,
                           mover);
        if (type->moves) mover = type->name;
        struct stage *s = &o->stages[list][o->count[list]++];
        s->type = type;
        if (stage_build(s, options, item_path, list, o->params, o->seed, e) != 0) return -1;
    }
    if (!mover)
        return err_set(e, "%s: no stage moves the numbers; add one such as \"counter\" or \"adam\"", path);
    return 0;
}

struct optim *optim_new(const struct json *node, const char *path, struct params *ps, uint64_t seed,
                        struct err *e) {
    struct description d;
    if (!node) {
        err_set(e, "%s: must be given", path);
        return NULL;
    }
    if (fields_read(&d, optim_fields, node, path, e) != 0) return NULL;
    struct optim *o = mem_new(1, sizeof *o);
    o->params = ps;
    o->seed = seed;
    char inner[JSON_PATH];
    int result = 0;
    for (int list = 0; list < OPTIM_LISTS && result == 0; list++) {
        json_path(inner, path, list_names[list], 0);
        result = list_build(o, list, d.list[list], inner, e);
    }
    json_path(inner, path, "schedule", 0);
    if (result == 0) result = schedule_read(&o->schedule, d.schedule, inner, e);
    json_path(inner, path, "sparsity", 0);
    if (result == 0) result = sparsity_read(&o->sparsity, d.sparsity, inner, ps, e);
    if (result == 0) {
        lazy_open(o);
        return o;
    }
    optim_free(o);
    return NULL;
}

int optim_bytes(double bytes[OPTIM_LISTS], const struct json *node, const char *path, struct err *e) {
    // By example: the section without what looks at shapes, built for a few numbers of each kind.
    enum { SIDE = 64 };
    struct params *ps = params_new();
    params_add(ps, "weight", shape_2(SIDE, SIDE), 1, 0);
    params_add(ps, "other", shape_1(SIDE * SIDE), 1, 0);
    params_alloc(ps, 1, 0);
    struct optim o = {.params = ps};
    struct description d;
    int result = node ? fields_read(&d, optim_fields, node, path, e) : err_set(e, "%s: must be given", path);
    for (int list = 0; list < OPTIM_LISTS && result == 0; list++) {
        char inner[JSON_PATH];
        json_path(inner, path, list_names[list], 0);
        result = list_build(&o, list, d.list[list], inner, e);
        const struct param *p = &ps->list[list == OPTIM_OTHERS];
        if (result == 0) bytes[list] = optim_state_bytes(&o, list) - (p->counted ? 0 : sizeof(real));
    }
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o.count[list]; i++) stage_free(&o.stages[list][i]);
    params_free(ps);
    return result;
}

void optim_free(struct optim *o) {
    if (!o) return;
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o->count[list]; i++) stage_free(&o->stages[list][i]);
    lazy_close(o);
    mem_free(o);
}

struct json *optim_write_new(const struct optim *o) {
    struct json *node = json_object_new();
    for (int list = 0; list < OPTIM_LISTS; list++) {
        struct json *stages = json_array_new();
        for (int i = 0; i < o->count[list]; i++) {
            const struct stage *s = &o->stages[list][i];
            struct json *item = json_object_new();
            json_add(item, s->type->name, fields_write_new(s->config, s->type->fields));
            json_add(stages, NULL, item);
        }
        json_add(node, list_names[list], stages);
    }
    json_add(node, "schedule", schedule_write_new(&o->schedule));
    json_add(node, "sparsity", fields_write_new(&o->sparsity, sparsity_fields));
    return node;
}

void optim_epoch(struct optim *o, int64_t epoch, int64_t epochs) {
    optim_settle(o, 1);
    sparsity_epoch(&o->sparsity, o->params, epoch, epochs);
}

struct update {
    const struct stage *stage;
    const struct step *step;
};

static void update_span(void *context, int i) {
    const struct update *u = context;
    struct span *span = &u->stage->spans[u->stage->work[i]];
    u->stage->type->update(u->stage, span, u->step);
    if (u->stage->type->moves && !span->param->sparse) param_bury(span->param, span->first, span->end);
}

void optim_step(struct optim *o, int64_t number, double epoch, double epochs, int threads) {
    struct step step = {number, schedule_factor(&o->schedule, epoch, epochs), o->sparsity.frozen, threads};
    profile_start(o->profile, PROFILE_PART, "missed steps");
    lazy_step(o, &step);
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o->count[list]; i++) {
            struct stage *s = &o->stages[list][i];
            profile_start(o->profile, PROFILE_STAGE, s->path);
            if (s->type->prepare) s->type->prepare(s, &step);
            struct update u = {s, &step};
            size_t numbers = 0;
            for (int k = 0; k < s->work_count; k++) {
                const struct span *span = &s->spans[s->work[k]];
                numbers += span->end - span->first;
            }
            parallel_for(parallel_threads(threads, numbers), s->work_count, update_span, &u);
        }
    profile_stop(o->profile);
}

void optim_rates(char *text, size_t size, const struct optim *o, double epoch, double epochs) {
    double factor = schedule_factor(&o->schedule, epoch, epochs);
    size_t used = 0;
    *text = 0;
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o->count[list]; i++) {
            const struct stage *s = &o->stages[list][i];
            for (const struct field *f = s->type->fields; s->type->moves && f->name; f++) {
                if (strcmp(f->name, "rate") != 0 || used >= size) continue;
                double rate;
                memcpy(&rate, (const char *)s->config + f->offset, sizeof rate);
                used += (size_t)snprintf(text + used, size - used, "%s%s%s %.3g", used ? ", " : "",
                                         list == OPTIM_OTHERS ? "others " : "", s->type->name, rate * factor);
            }
        }
}

double optim_state_bytes(const struct optim *o, int list) {
    double numbers = 0, bytes = 0;
    for (int i = 0; i < o->params->count; i++) {
        const struct param *p = &o->params->list[i];
        if (p->buffer || param_is_weight(p) != (list == OPTIM_WEIGHTS)) continue;
        numbers += (double)p->size;
        bytes += (double)p->size * (p->counted ? number_bytes(&p->number) : (int)sizeof(real));
    }
    for (int i = 0; i < o->count[list]; i++) {
        const struct stage *s = &o->stages[list][i];
        for (int k = 0; k < s->slot_count; k++)
            for (int j = 0; j < s->count; j++)
                bytes +=
                    sizeof(real) * (double)(s->slots[k].per_weight ? s->params->list[s->param[j]].size : 1);
    }
    return numbers > 0 ? bytes / numbers : 0;
}
