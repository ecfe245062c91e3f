// The results of a comparison: variants, each with its runs, and the statistics that tables and plots show.
#ifndef TALLY_EXPERIMENTS_RESULTS_H
#define TALLY_EXPERIMENTS_RESULTS_H

#include "experiments/measures.h"

enum { RESULTS_NAME = CONFIG_NAME, RESULTS_FOLDER = 4000 };

struct result_run {
    int64_t seed;
    char folder[RESULTS_FOLDER];
    struct measures measures;
};

struct variant {
    char name[RESULTS_NAME];
    struct result_run *runs;
    int count;
};

struct results {
    char name[RESULTS_NAME];
    char dataset[RESULTS_NAME]; // the same for all runs
    struct variant *variants;
    int count;
};

// Mean and standard error (0 with one run) of a column over a variant's runs; NAN values are left out, `n` counts
// the others; both are NAN when there are none.
struct estimate {
    double mean, error;
    int n;
};

// A column of tables: a member of struct measures.
struct column {
    const char *key;   // "test_error", "pruned_error_0.1"
    const char *title; // "test error %"
    size_t offset;     // of a double in struct measures
    int digits;        // after the point
    bool timing;       // differs from run to run of equal bits
};

extern const struct column results_columns[]; // one per member, in their order; ended by a NULL key

struct estimate results_estimate(const struct variant *v, const struct column *c);

// The column of this key, which must exist; of an error ("test_error", "pruned_error_0.1") where no run has errors: that of
// the loss ("test_loss", "pruned_loss_0.1").
const struct column *results_column(const struct results *r, const char *key);
bool results_have_errors(const struct results *r); // true also where there are no losses either

// Puts finished run folders together: variants by run name, in the order given. Fails when a folder holds no finished
// run, the runs were trained on different data sets, or a name comes twice with one seed. Free with results_free.
struct results *results_new(const char *name, const char *const *folders, int count,
                            const struct run_options *options, struct err *e);
void results_free(struct results *r);

// Runs and estimates as JSON.
struct json *results_write_new(const struct results *r);

// FOLDER/results.csv (a line per run, timing columns last) and FOLDER/results.json (results_write_new). Makes the
// folder.
int results_save(const struct results *r, const char *folder, struct err *e);

// The table for the terminal, with a sparkline of each variant's pruning curve, on stdout.
void results_print(const struct results *r);

#endif
