// The optimiser: for the weights (rank >= 2) and for the others (biases ...) a list of stages, run in order;
// a schedule of the rate; and the control of sparsity. A stage edits gradients (clip) or moves the numbers
// (counter, sgd ...).
//
// All state is in the parameters and in the stages' slots: a checkpoint is both.
//
// Lazy parameters (src/params.h) come to the same bits as if every unit made every step, with a gradient of zero where
// it was not touched: a unit makes the steps that it missed one after the other, when it is touched again or at
// optim_settle.
//
// Between optim_ready and optim_settle frozen matrices of low density are packed (src/params.h): the stages run on their
// living numbers alone, gradients and slots packed alike. The rounding of counters then draws for a number's place among
// the living ones.
#ifndef TALLY_OPTIM_OPTIM_H
#define TALLY_OPTIM_OPTIM_H

#include "optim/lazy.h"
#include "optim/schedule.h"
#include "optim/sparsity.h"
#include "src/json.h"
#include "src/params.h"
#include "src/profile.h"

enum { STAGE_SLOTS = 3, STAGES_LIMIT = 8 };

// State of a stage: numbers per weight, or one per parameter.
struct slot {
    const char *name; // "momentum"
    bool per_weight;
    real **value; // [the stage's parameters][size, or 1]
};

// What a stage sees of the run.
struct step {
    int64_t number; // of this step, from 1
    double rate;    // the schedule's factor, to be multiplied with the stage's own rate
    bool frozen;    // the sparsity pattern is final: no leak
    int threads;
};

// A piece of one parameter, for the stage's inner loop. first is a multiple of 4.
struct span {
    struct param *param;
    int index; // of the parameter within the stage
    size_t first, end;
    real *grad;              // [size], of the whole parameter
    real *slot[STAGE_SLOTS]; // likewise; for a slot per parameter, its one number
};

struct stage {
    const struct stage_type *type;
    char path[JSON_PATH];
    void *config;
    struct params *params;
    int *param; // [count] indices of its parameters
    int count;
    struct slot slots[STAGE_SLOTS];
    int slot_count;
    struct span *spans;
    int span_count;
    int *first_span; // [count] each parameter's
    int *unit_spans; // [count] how many each of its units has
    int *work;       // [work_count] the spans that this step visits, in order
    int work_count;
    double *partial;      // [span_count], for sums over tensors
    bool whole_tensors;   // set by build: looks at whole tensors, and so can't make steps up for lazy ones
    bool rests;           // set by build: where all slots are 0, a gradient of 0 moves nothing
    void *own;            // what build made besides, freed by mem_free
    struct rng *rounding; // [count] a random stream per parameter, for stages that round
};

struct stage_type {
    const char *name, *help;
    const struct field *fields;
    size_t config_size;
    bool moves; // moves the numbers; each list has exactly one such stage
    // Checks the options together, asks for slots, gives parameters their counters.
    int (*build)(struct stage *s, uint64_t seed, struct err *e);
    // Once a step before the spans, for what concerns whole tensors. May be NULL.
    void (*prepare)(struct stage *s, const struct step *step);
    // Frees what hangs on `own` besides itself. May be NULL.
    void (*free)(struct stage *s);
    // The inner loop; spans run on several threads. A number at 0 whose slots are 0 must stay there when its gradient
    // is 0.
    void (*update)(const struct stage *s, struct span *span, const struct step *step);
};

extern const struct field optim_fields[]; // of the `optim` section

extern const struct stage_type *const stage_types[]; // NULL-terminated, in the order of optim.def

enum { OPTIM_WEIGHTS, OPTIM_OTHERS, OPTIM_LISTS };

struct optim {
    struct stage stages[OPTIM_LISTS][STAGES_LIMIT];
    int count[OPTIM_LISTS];
    struct schedule schedule;
    struct sparsity sparsity;
    struct lazy lazy;
    bool packed; // since optim_ready
    struct params *params;
    uint64_t seed;
    struct profile *profile; // NULL: nothing is measured
};

// Builds the optimiser described by {"weights": [...], "others": [...], "schedule": ..., "sparsity": {...}}
// at `path` for parameters that have their initial values; counters are made here. NULL on failure. Free with
// optim_free.
struct optim *optim_new(const struct json *node, const char *path, struct params *ps, uint64_t seed,
                        struct err *e);
void optim_free(struct optim *o);

// The description again, with every default filled in.
struct json *optim_write_new(const struct optim *o);

// At the start of an epoch (0-based, of `epochs`), and with epoch == epochs when the run is over: the density path and
// the freeze.
void optim_epoch(struct optim *o, int64_t epoch, int64_t epochs);

// One step, number from 1, from the gradients in params->grads[0]. `epoch` is the position in the run as a
// fraction of epochs, for the schedule.
void optim_step(struct optim *o, int64_t number, double epoch, double epochs, int threads);

// Before a step, or an evaluation: packs what the sparsity options ask for. Costs nothing when it is done.
void optim_ready(struct optim *o);

// Brings every number up to date and to its place. Before anything reads or writes lazy or frozen parameters and their
// slots other than by a step or an evaluation: checkpoints, pictures. Costs nothing when there is nothing to do.
void optim_settle(struct optim *o, int threads);

// The rates of a step at this position: "counter 0.03, others adam 0.001".
void optim_rates(char *text, size_t size, const struct optim *o, double epoch, double epochs);

// Bytes of state beside its float that the section at `path` asks for, for each number of the two lists.
int optim_bytes(double bytes[OPTIM_LISTS], const struct json *node, const char *path, struct err *e);

// Bytes a weight (list OPTIM_WEIGHTS) or other costs in training state: the number itself (its counter where
// it has one, else its float) and the slots; without gradients and without the float cache of counters.
double optim_state_bytes(const struct optim *o, int list);

// For the parts of the optimiser: cuts the stage's parameters into spans again, packed ones by their living numbers.
void stage_cut(struct stage *s);

// For stages: a slot for every parameter of the stage, zeroed; returns its index.
int stage_add_slot(struct stage *s, const char *name, bool per_weight);

// For stages: sum of grad² over one parameter's spans, the dead left out, the same bits for any number of threads. Call from
// prepare.
double stage_grad_squares(struct stage *s, int index, int threads);

// For stages: random streams for rounding, one for each parameter by its name.
void stage_add_rounding(struct stage *s, uint64_t seed);

#endif
