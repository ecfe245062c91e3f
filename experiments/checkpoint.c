// Checkpoints. Contracts in checkpoint.h.
#include "experiments/checkpoint.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/meta.h"

const char CHECKPOINT_CHECKSUM[] = "content_checksum";

// A file of version 1 may come without a checksum.
static const char FORMAT[] = "tally checkpoint 2", FORMAT_1[] = "tally checkpoint 1";
static const size_t FILE_LIMIT = (size_t)1 << 34;

// --- the list of tensors, the same for saving and loading
// ---------------------------------------------------------

struct list {
    struct safetensor *item;
    int count;
};

static void list_add(struct list *l, enum dtype type, struct shape shape, void *bytes, const char *name) {
    struct safetensor *t = &l->item[l->count++];
    *t = (struct safetensor){.dtype = type, .shape = shape, .bytes = bytes};
    CHECK(strlen(name) < sizeof t->name, "checkpoint: the name %s is too long", name);
    strcpy(t->name, name);
}

static void list_params(struct list *l, const struct params *ps, bool frozen) {
    static const enum dtype counters[] = {[1] = DTYPE_I8, [2] = DTYPE_I16, [4] = DTYPE_I32};
    char name[SAFETENSORS_NAME];
    for (int i = 0; i < ps->count; i++) {
        const struct param *p = &ps->list[i];
        snprintf(name, sizeof name, "%s%s", p->name, p->counted ? ".counter" : "");
        enum dtype type = p->counted ? counters[number_bytes(&p->number)] : dtype_real();
        list_add(l, type, p->shape, p->counted ? p->counter : p->value, name);
        if (!frozen || !param_is_weight(p)) continue;
        snprintf(name, sizeof name, "%s.alive", p->name);
        list_add(l, DTYPE_U8, p->shape, p->alive, name);
    }
}

static void list_slots(struct list *l, const struct optim *o) {
    static const char *const lists[OPTIM_LISTS] = {"weights", "others"};
    char name[SAFETENSORS_NAME];
    for (int k = 0; k < OPTIM_LISTS; k++)
        for (int i = 0; i < o->count[k]; i++)
            for (int j = 0; j < o->stages[k][i].slot_count; j++) {
                const struct stage *s = &o->stages[k][i];
                const struct slot *slot = &s->slots[j];
                for (int n = 0; n < s->count; n++) {
                    const struct param *p = &o->params->list[s->param[n]];
                    snprintf(name, sizeof name, "optim.%s.%d.%s.%s", lists[k], i, slot->name, p->name);
                    list_add(l, dtype_real(), slot->per_weight ? p->shape : shape_1(1), slot->value[n], name);
                }
            }
}

static struct list list_new(const struct run *r, bool frozen) {
    size_t most = (size_t)r->params->count * (2 + OPTIM_LISTS * STAGES_LIMIT * STAGE_SLOTS);
    struct list l = {mem_new(most, sizeof *l.item), 0};
    list_params(&l, r->params, frozen);
    list_slots(&l, r->optim);
    return l;
}

// --- saving
// -----------------------------------------------------------------------------------------------------

static struct json *meta_new(const struct run *r) {
    struct json *meta = json_object_new();
    json_add_string(meta, "format", FORMAT);
    char *config = json_print_new(r->resolved, false), text[SHAPE_TEXT];
    json_add_string(meta, "config", config);
    mem_free(config);
    json_add_string(meta, "dataset", r->data.type->name);
    shape_text(text, r->data.sample);
    json_add_string(meta, "sample", text);
    json_add_string(meta, "kind", data_kind_name(r->data.kind));
    meta_add_number(meta, "classes", r->data.classes);
    meta_add_number(meta, "targets", (double)dataset_targets(&r->data));
    if (!r->data.classes) json_add_string(meta, "target", shape_text(text, r->data.target));
    meta_add_number(meta, "checksum", r->data.checksum);
    meta_add_number(meta, "mean", r->batches.mean);
    meta_add_number(meta, "std", r->batches.std);
    meta_add_number(meta, "epoch", (double)r->epoch);
    meta_add_number(meta, "batch", (double)r->batch);
    meta_add_number(meta, "step", (double)r->step);
    meta_add_score(meta, "training", r->training);
    if (isfinite(r->validation.loss)) meta_add_score(meta, "validation", r->validation);
    meta_add_number(meta, "frozen", r->optim->sparsity.frozen);
    for (int i = 0; i < r->params->count; i++) {
        const struct param *p = &r->params->list[i];
        if (!p->counted) continue;
        char key[PARAM_NAME + 16], number[96];
        snprintf(key, sizeof key, "%s.scale", p->name);
        meta_add_number(meta, key, p->scale);
        snprintf(key, sizeof key, "%s.number", p->name);
        snprintf(number, sizeof number, "%s, parameter %.17g, %d bits, unit %d", number_name(p->number.kind),
                 p->number.parameter, p->number.bits, (int)p->number.unit);
        json_add_string(meta, key, number);
    }
    return meta;
}

static int values_check(const struct safetensor *t, struct err *e) {
    const real *value = t->bytes;
    const uint8_t *alive = t->bytes;
    size_t size = shape_size(t->shape);
    for (size_t i = 0; t->dtype == dtype_real() && i < size; i++)
        if (!isfinite(value[i])) return err_set(e, "%s: number %zu is not finite", t->name, i);
    for (size_t i = 0; t->dtype == DTYPE_U8 && i < size; i++)
        if (alive[i] > 1) return err_set(e, "%s: number %zu is neither 0 nor 1", t->name, i);
    return 0;
}

int checkpoint_save(const struct run *r, const char *path, struct err *e) {
    optim_settle(r->optim, r->threads);
    struct list l = list_new(r, r->optim->sparsity.frozen);
    struct json *meta = meta_new(r);
    int result = 0;
    for (int i = 0; i < l.count && result == 0; i++)
        if ((result = values_check(&l.item[i], e)) != 0) err_at(e, path);
    int bad = params_not_finite(r->params); // a counter is finite in any case, its value need not be
    if (bad >= 0 && result == 0) result = err_set(e, "%s: %s is not finite", path, r->params->list[bad].name);
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64,
             safetensors_checksum(l.item, l.count, meta, CHECKPOINT_CHECKSUM));
    json_add_string(meta, CHECKPOINT_CHECKSUM, text);
    if (result == 0) result = safetensors_write(path, l.item, l.count, meta, e);
    json_free(meta);
    mem_free(l.item);
    return result;
}

// --- loading
// ----------------------------------------------------------------------------------------------------

int checkpoint_open(struct safetensors *file, const char *path, struct err *e) {
    if (safetensors_open(file, path, FILE_LIMIT, e) != 0) return -1;
    const char *format = safetensors_meta(file, "format");
    bool older = format && strcmp(format, FORMAT_1) == 0;
    if (!older && (!format || strcmp(format, FORMAT) != 0))
        return err_set(e, "%s: not a tally checkpoint of this version (format '%.40s', wanted '%s')", path,
                       format ? format : "", FORMAT);
    const char *written = safetensors_meta(file, CHECKPOINT_CHECKSUM);
    if (!written && older) return 0;
    char found[24];
    snprintf(found, sizeof found, "%016" PRIx64,
             safetensors_checksum(file->tensors, file->count, file->metadata, CHECKPOINT_CHECKSUM));
    if (written && strcmp(found, written) == 0) return 0;
    return err_set(e, "%s: damaged: the checksum of its content is %s, '%.40s' is written in it", path, found,
                   written ? written : "");
}

int checkpoint_config(struct config *c, const struct safetensors *file, const char *path, struct err *e) {
    memset(c, 0, sizeof *c);
    const char *text = safetensors_meta(file, "config");
    if (!text) return err_set(e, "%s: has no config", path);
    struct json *root = json_parse_new(text, strlen(text), e);
    return root ? config_open_json(c, root, path, e) : err_at(e, path);
}

int checkpoint_data(const char **set, struct dataset *data, const struct safetensors *file, struct err *e) {
    *data = (struct dataset){0};
    *set = safetensors_meta(file, "dataset");
    int64_t classes, targets, checksum;
    if (!*set || !safetensors_meta(file, "sample"))
        return err_set(e, "__metadata__: dataset or sample missing");
    if (meta_read_int(&classes, file, "classes", 0, 256, e) != 0 ||
        meta_read_later(&targets, file, "targets", 1, 1, META_SAMPLE / 256, e) != 0 ||
        meta_read_later(&checksum, file, "checksum", 0, 0, UINT32_MAX, e) != 0 ||
        meta_read_kind(&data->kind, file, e) != 0 || meta_read_shape(&data->sample, file, "sample", e) != 0)
        return -1;
    if (classes == 1) return err_set(e, "__metadata__.classes: wanted 2 or more, or 0 for none, found 1");
    data->classes = (int)classes, data->targets = (int)targets, data->checksum = (uint32_t)checksum;
    return classes ? 0 : meta_read_shape(&data->target, file, "target", e);
}

static int counters_check(const struct param *p, struct err *e) {
    for (size_t i = 0; i < p->size; i++) {
        int32_t c = param_counter(p, i);
        if (c < -p->number.limit || c > p->number.limit)
            return err_set(e, "%s: counter %zu is %d, the limit is %d", p->name, i, (int)c,
                           (int)p->number.limit);
    }
    return 0;
}

static int buffer_check(const struct param *p, struct err *e) {
    for (size_t i = 0; i < p->size && p->average.positive; i++)
        if (p->value[i] < 0)
            return err_set(e, "%s: number %zu is %g, wanted at least 0", p->name, i, (double)p->value[i]);
    return 0;
}

// Copies each tensor of the run's list from the file; both must hold the same names, types and shapes.
static int tensors_load(struct run *r, const struct safetensors *file, bool frozen, struct err *e) {
    optim_settle(r->optim, r->threads);
    for (int i = 0; i < r->params->count; i++)
        if (frozen && param_is_weight(&r->params->list[i])) param_freeze(&r->params->list[i]);
    struct list l = list_new(r, frozen);
    int result = 0;
    if (l.count != file->count) result = err_set(e, "%d tensors, this config has %d", file->count, l.count);
    for (int i = 0; i < l.count && result == 0; i++) {
        const struct safetensor *mine = &l.item[i], *theirs = safetensors_find(file, mine->name);
        if (!theirs)
            result = err_set(e, "%s: missing", mine->name);
        else if (theirs->dtype != mine->dtype || !shape_equal(theirs->shape, mine->shape))
            result = err_set(e, "%s: of another type or shape than this config's", mine->name);
        else if ((result = values_check(theirs, e)) == 0)
            memcpy((void *)mine->bytes, theirs->bytes, shape_size(mine->shape) * dtype_bytes(mine->dtype));
    }
    mem_free(l.item);
    return result;
}

int checkpoint_validation(struct score *s, const struct safetensors *file, const struct run *r,
                          struct err *e) {
    *s = (struct score){0};
    if (!safetensors_meta(file, "validation_count")) return 0; // not measured, or from before it was kept
    return meta_read_score(s, file, "validation", r->loss.metric[METRIC_ERROR], e);
}

static int position_load(struct run *r, const struct safetensors *file, struct err *e) {
    if (meta_read_int(&r->epoch, file, "epoch", 0, (double)r->config.train.epochs, e) != 0) return -1;
    if (meta_read_int(&r->batch, file, "batch", 0, 0x1p53, e) != 0) return -1;
    if (meta_read_int(&r->step, file, "step", 0, 0x1p53, e) != 0) return -1;
    if (meta_read_score(&r->training, file, "training", r->loss.metric[METRIC_ERROR], e) != 0) return -1;
    return checkpoint_validation(&r->validation, file, r, e);
}

int64_t checkpoint_step(const struct safetensors *file) {
    int64_t step;
    struct err ignored;
    return meta_read_int(&step, file, "step", 0, 0x1p53, &ignored) == 0 ? step : -1;
}

void checkpoint_forgive(struct json *theirs, const struct json *ours) {
    static const char *const keys[] = {"train.checkpoint_every", "train.checkpoint_minutes",
                                       "train.checkpoint_keep", "train.checkpoint_best"};
    struct err ignored;
    char assignment[120];
    for (int i = 0; i < 4 && json_at(theirs, "train"); i++) {
        char *value = json_print_new(json_at(ours, keys[i]), false);
        snprintf(assignment, sizeof assignment, "%s=%s", keys[i], value);
        json_override(theirs, assignment, &ignored);
        mem_free(value);
    }
}

// How frozen layers are computed may change, though not to the same bits; and older files don't say.
static void config_forgive(struct json *theirs, const struct run *r) {
    struct err ignored;
    char assignment[80];
    snprintf(assignment, sizeof assignment, "optim.sparsity.sparse_density=%.17g",
             r->optim->sparsity.sparse_density);
    if (json_at(theirs, "optim.sparsity")) json_override(theirs, assignment, &ignored);
}

static int config_check(const struct run *r, const struct safetensors *file, struct err *e) {
    static const char key[] = "__metadata__.config";
    const char *text = safetensors_meta(file, "config");
    if (!text) return err_set(e, "has no config");
    struct json *theirs = json_parse_new(text, strlen(text), e);
    if (!theirs) return err_at(e, key);
    if (json_type(theirs) != JSON_OBJECT) {
        err_set(e, "%s: wanted an object, found %s", key, json_type_name(theirs));
        json_free(theirs);
        return -1;
    }
    char path[JSON_PATH];
    config_forgive(theirs, r);
    checkpoint_forgive(theirs, r->resolved);
    json_difference(path, r->resolved, theirs);
    if (*path) {
        const struct json *there = json_at(theirs, path), *here = json_at(r->resolved, path);
        char *a = there ? json_print_new(there, false) : NULL, *b = here ? json_print_new(here, false) : NULL;
        err_set(e, "made with another config: %s is %.80s there, %.80s here", path, a ? a : "absent",
                b ? b : "absent");
        mem_free(a);
        mem_free(b);
    }
    json_free(theirs);
    return *path ? -1 : 0;
}

// Files of the same name may hold other samples.
static int data_check(const struct run *r, const struct safetensors *file, struct err *e) {
    double mean, std;
    const char *set;
    struct dataset theirs;
    if (!r->data.type) return 0;
    if (checkpoint_data(&set, &theirs, file, e) != 0) return -1;
    if (meta_read(&mean, file, "mean", -FLT_MAX, FLT_MAX, e) != 0 ||
        meta_read(&std, file, "std", 0, FLT_MAX, e) != 0)
        return -1;
    if (theirs.classes != r->data.classes)
        return err_set(e, "trained on other data: %d classes there, %d here", theirs.classes,
                       r->data.classes);
    if (theirs.checksum != r->data.checksum)
        return err_set(e, "trained on other data: its checksum is %08" PRIx32 " there, %08" PRIx32 " here",
                       theirs.checksum, r->data.checksum);
    if (mean == r->batches.mean && std == r->batches.std) return 0;
    return err_set(e,
                   "trained on other data: mean %.6g and standard deviation %.6g there, %.6g and %.6g here",
                   mean, std, r->batches.mean, r->batches.std);
}

int checkpoint_load(struct run *r, const struct safetensors *file, const char *path, struct err *e) {
    int64_t frozen;
    if (config_check(r, file, e) != 0) return err_at(e, path);
    if (meta_read_int(&frozen, file, "frozen", 0, 1, e) != 0) return err_at(e, path);
    if (position_load(r, file, e) != 0) return err_at(e, path);
    if (data_check(r, file, e) != 0) return err_at(e, path);
    if (r->data.type && r->batch > run_batches(r))
        return err_set(e, "%s: batch %lld of an epoch of %lld", path, (long long)r->batch,
                       (long long)run_batches(r));
    if (tensors_load(r, file, frozen != 0, e) != 0) return err_at(e, path);
    for (int i = 0; i < r->params->count; i++) {
        struct param *p = &r->params->list[i];
        if (p->buffer && buffer_check(p, e) != 0) return err_at(e, path);
        if (!p->counted) continue;
        char key[PARAM_NAME + 16];
        snprintf(key, sizeof key, "%s.scale", p->name);
        if (meta_read(&p->scale, file, key, 1e-300, 1e300, e) != 0) return err_at(e, path);
        if (counters_check(p, e) != 0) return err_at(e, path);
        param_refresh(p);
    }
    int infinite = params_not_finite(r->params); // the numbers in the file were looked at: of counters only
    if (infinite >= 0)
        return err_set(e, "%s: %s: values that are not finite, with a scale of %g", path,
                       r->params->list[infinite].name, r->params->list[infinite].scale);
    r->optim->sparsity.frozen = frozen != 0;
    return 0;
}
