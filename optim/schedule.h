// Schedules: the factor in front of every stage's rate, over the run.
#ifndef TALLY_OPTIM_SCHEDULE_H
#define TALLY_OPTIM_SCHEDULE_H

#include "src/json.h"

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_KINDS };

struct schedule {
    int kind;
    double warmup; // epochs in which the factor rises from 0
    double every;  // step: epochs between cuts
    double factor; // step: of each cut
    double final;  // cosine, linear: the factor at the end
};

struct schedule_type {
    const char *name, *help;
    const struct field *fields;
};

extern const struct schedule_type schedule_types[SCHEDULE_KINDS + 1]; // ended by a NULL name

// Reads "cosine" or {"cosine": {options}}; a NULL node is constant.
int schedule_read(struct schedule *s, const struct json *node, const char *path, struct err *e);
struct json *schedule_write_new(const struct schedule *s);

// The factor at `epoch` (a fraction counts) of `epochs`.
double schedule_factor(const struct schedule *s, double epoch, double epochs);

#endif
