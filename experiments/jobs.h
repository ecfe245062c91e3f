// Many training runs as child processes, several at a time, with one progress display for all.
#ifndef TALLY_EXPERIMENTS_JOBS_H
#define TALLY_EXPERIMENTS_JOBS_H

#include <signal.h>

#include "src/json.h"

enum { JOB_FOLDER = 4000 };

struct job {
    char folder[JOB_FOLDER]; // of the run
    struct json *config;     // what to train, a whole config; its `name` and `seed` are set
    int64_t epochs;          // for the progress display
};

struct jobs {
    struct job *list;
    int count;
};

void jobs_add(struct jobs *jobs, const char *folder, struct json *config); // takes the config over
void jobs_free(struct jobs *jobs);

struct jobs_options {
    const char *program;     // of ours, to be started as PROGRAM train ...
    const char *data_folder; // --data, or NULL
    int at_once;             // 0: as many as there are processors
    bool quiet;
    const volatile sig_atomic_t *stop; // set by a signal handler: children are stopped with a checkpoint
};

// Whether the folder holds a finished run of just this config, compared with all defaults filled in.
bool job_done(const struct job *job);

// Trains what is not done yet; a run that was stopped goes on from its checkpoint, a run of another config is kept aside
// as `train` does. Each child trains on one thread, quietly; its config is FOLDER.json. Fails with the first child's
// message after the others have ended; a run that diverged or died is no failure. Returns 1 when stopped by `stop`.
int jobs_run(const struct jobs *jobs, const struct jobs_options *options, struct err *e);

#endif
