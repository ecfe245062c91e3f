// What the parts of tally bench share.
#ifndef TALLY_CLI_BENCH_H
#define TALLY_CLI_BENCH_H

#include "src/json.h"

enum { BENCH_LIST = 16, BENCH_DENSITIES = 12 };

struct bench_shape {
    int in, out;
};

struct bench_arguments {
    const char *model;            // a file, or a config; NULL: single layers, or the machine
    const char *const *overrides; // of the config
    int override_count;
    const char *input, *data_folder;
    int batch[BENCH_LIST], batches;
    struct bench_shape shape[BENCH_LIST]; // of single layers, like density
    int shapes;
    double density[BENCH_DENSITIES];
    int densities;
    double seconds; // for each batch size
    int threads;    // of the machine, and of training
    bool json;
};

// What one thread of this machine can do, per second; gemms: so many of them at a time, together.
struct machine {
    int threads;
    double gemm, gemms; // floating-point operations of OpenBLAS's best large product
    double read, copy;  // bytes of memory read; bytes read and written
    double cache;       // bytes read of a buffer that stays in the cache
};

void machine_measure(struct machine *m, int threads);
void machine_print(const struct machine *m);
struct json *machine_json_new(const struct machine *m);

// Speed of an exported model at each batch: prints the table.
int bench_model(const struct bench_arguments *a, struct err *e);

// Speed of random single layers at each shape, density and batch, next to OpenBLAS: prints the tables.
int bench_layers(const struct bench_arguments *a, struct err *e);

// Where the time of training steps goes, as the config has them.
int bench_train(const struct bench_arguments *a, struct err *e);

// What the machine can do, alone.
int bench_machine(const struct bench_arguments *a, struct err *e);

#endif
