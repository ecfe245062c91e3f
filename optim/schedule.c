// Schedules. Contracts in schedule.h. With t = (epoch - warmup) / (epochs - warmup):
//   constant  1
//   step      factor^floor((epoch - warmup) / every)
//   cosine    final + (1 - final) (1 + cos(pi t)) / 2      (Loshchilov and Hutter 2016, eq. 5, without restarts)
//   linear    1 + (final - 1) t
// and before that a linear rise from 0 during `warmup` epochs.
#include "optim/schedule.h"

#include <math.h>
#include <string.h>

// Versions of clang-format differ on braces in macros.
// clang-format off
#define WARMUP {"warmup", FIELD_REAL, offsetof(struct schedule, warmup), 0, 0, 1e6, NULL, \
                "epochs in which the rate rises from 0"}
#define FINAL {"final", FIELD_REAL, offsetof(struct schedule, final), 0, 0, 1, NULL, \
               "the factor at the end of the run"}
// clang-format on

static const struct field constant_fields[] = {WARMUP, FIELD_END};
static const struct field step_fields[] = {
    WARMUP,
    {"every", FIELD_REAL, offsetof(struct schedule, every), 10, 0.001, 1e6, NULL, "epochs from cut to cut"},
    {"factor", FIELD_REAL, offsetof(struct schedule, factor), 0.1, 0, 1, NULL, "of each cut"},
    FIELD_END};
static const struct field falling_fields[] = {WARMUP, FINAL, FIELD_END};

const struct schedule_type schedule_types[SCHEDULE_KINDS + 1] = {
    {"constant", "the rate stays", constant_fields},
    {"step", "the rate is multiplied by a factor every few epochs", step_fields},
    {"cosine", "half a cosine from 1 down to the final factor", falling_fields},
    {"linear", "a straight line from 1 down to the final factor", falling_fields},
    {NULL, NULL, NULL}};

int schedule_read(struct schedule *s, const struct json *node, const char *path, struct err *e) {
    const char *name = "constant";
    const struct json *options = NULL;
    if (node && json_read_named(&name, &options, node, path, e) != 0) return -1;
    const char *known[SCHEDULE_KINDS + 1] = {NULL};
    int kind = 0;
    for (int i = 0; i < SCHEDULE_KINDS; i++) known[i] = schedule_types[i].name;
    while (kind < SCHEDULE_KINDS && strcmp(known[kind], name) != 0) kind++;
    if (kind == SCHEDULE_KINDS) return json_unknown(path, "schedule", name, known, e);
    char option_path[JSON_PATH];
    json_path(option_path, path, name, 0);
    memset(s, 0, sizeof *s);
    s->kind = kind;
    return fields_read(s, schedule_types[kind].fields, options, option_path, e);
}

struct json *schedule_write_new(const struct schedule *s) {
    struct json *node = json_object_new();
    json_add(node, schedule_types[s->kind].name, fields_write_new(s, schedule_types[s->kind].fields));
    return node;
}

double schedule_factor(const struct schedule *s, double epoch, double epochs) {
    if (epoch < s->warmup) return epoch / s->warmup;
    double past = epoch - s->warmup, length = epochs - s->warmup;
    double t = length > 0 ? fmin(past / length, 1) : 1;
    switch (s->kind) {
    case SCHEDULE_STEP:
        return pow(s->factor, floor(past / s->every));
    case SCHEDULE_COSINE:
        return s->final + (1 - s->final) * (1 + cos(3.141592653589793 * t)) / 2;
    case SCHEDULE_LINEAR:
        return 1 + (s->final - 1) * t;
    default:
        return 1;
    }
}
