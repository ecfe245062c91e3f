// Where the time of a training step goes: by op, forward and backward, by stage of the optimiser, and the rest.
//
// Measured steps and others alternate, so that what measuring costs shows. Steps that took over DISTURBED times the fastest
// one are left out: others use the machine too. Times are by the clock on the wall, means over the steps; shards' times
// are divided by the number of threads, so that everything adds up to the step. What is left, "rest", is threads that start
// or wait, and the program around it all.
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "experiments/log.h"
#include "experiments/run.h"

enum { WARM = 3, ROWS = 2 * PROFILE_CELLS };

static const double disturbed = 1.3;

// Of steps that are alike.
struct steps {
    double seconds, fastest;
    int count, left_out;
};

struct bench {
    struct run run;
    struct machine machine;
    struct profile *profiles, *part; // [shards + 1]: sums over the steps; those of one step
    struct steps measured, others;
    struct profile_cell rows[ROWS]; // of a step
    int row_count;
};

// --- measuring
// ------------------------------------------------------------------------------------------------------

static double step_seconds(struct run *r) {
    int64_t whole = r->batches.count[PART_TRAIN] / r->config.train.batch;
    if (r->batch == whole) r->batch = 0; // the first epoch over and over, without what is left at its end
    double start = profile_seconds();
    run_step(r);
    return profile_seconds() - start;
}

static bool steps_add(struct steps *s, double seconds) {
    s->fastest = seconds < s->fastest ? seconds : s->fastest;
    if (seconds > disturbed * s->fastest) return s->left_out++, false;
    s->seconds += seconds;
    s->count++;
    return true;
}

static void steps_run(struct bench *b, double seconds) {
    struct run *r = &b->run;
    int profiles = (int)r->config.train.shards + 1;
    b->profiles = mem_new((size_t)profiles, sizeof *b->profiles);
    b->part = mem_new((size_t)profiles, sizeof *b->part);
    b->measured = b->others = (struct steps){.fastest = DBL_MAX};
    batches_epoch(&r->batches, 0);
    optim_epoch(r->optim, 0, r->config.train.epochs);
    for (int i = 0; i < WARM; i++) step_seconds(r);
    double end = profile_seconds() + seconds;
    do {
        steps_add(&b->others, step_seconds(r));
        memset(b->part, 0, (size_t)profiles * sizeof *b->part);
        run_measure(r, b->part);
        bool good = steps_add(&b->measured, step_seconds(r));
        run_measure(r, NULL);
        for (int i = 0; good && i < profiles; i++) profile_add(&b->profiles[i], &b->part[i]);
    } while (profile_seconds() < end);
}

// --- rows
// -----------------------------------------------------------------------------------------------------------

static int rows_order(const void *a, const void *b) {
    const struct profile_cell *x = a, *y = b;
    if (x->group != y->group) return (int)x->group - (int)y->group;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void rows_add(struct bench *b, const struct profile *p, double threads) {
    for (int i = 0; i < p->count; i++) {
        struct profile_cell *row = &b->rows[b->row_count];
        *row = p->cells[i];
        if (row->group == PROFILE_PART && strcmp(row->name, "shards") == 0)
            continue; // the shards' own rows say it
        row->seconds /= threads * b->measured.count;
        row->calls /= b->measured.count;
        row->flops /= b->measured.count;
        row->bytes /= b->measured.count;
        b->row_count++;
    }
}

static void rows_make(struct bench *b) {
    int shards = (int)b->run.config.train.shards;
    int threads = b->run.threads < shards ? b->run.threads : shards;
    struct profile sum = {0};
    for (int i = 0; i < shards; i++) profile_add(&sum, &b->profiles[i]);
    rows_add(b, &sum, threads);
    rows_add(b, &b->profiles[shards], 1);
    struct profile_cell rest = {.group = PROFILE_PART, .name = "rest", .calls = 1};
    rest.seconds = b->measured.seconds / b->measured.count;
    for (int i = 0; i < b->row_count; i++) rest.seconds -= b->rows[i].seconds;
    b->rows[b->row_count++] = rest;
    qsort(b->rows, (size_t)b->row_count, sizeof *b->rows, rows_order);
}

static double step_flops(const struct bench *b) {
    double flops = 0;
    for (int i = 0; i < b->row_count; i++) flops += b->rows[i].flops;
    return flops;
}

// --- saying
// ---------------------------------------------------------------------------------------------------------

static const char *const group_names[PROFILE_GROUPS] = {"forward", "backward", "optimiser", "other"};

// A stage's path, without what all have.
static const char *row_name(const struct profile_cell *row) {
    size_t length = strlen("optim.");
    return strncmp(row->name, "optim.", length) == 0 ? row->name + length : row->name;
}

// Of products, all threads together: operations per second of a row.
static double row_rate(const struct profile_cell *row) {
    return row->flops / row->seconds;
}

static void print(const struct bench *b, const char *config) {
    const struct run *r = &b->run;
    double step = b->measured.seconds / b->measured.count, other = b->others.seconds / b->others.count;
    double flops = step_flops(b);
    printf("%s: %s, batch %d in %d shards, %d thread%s\n", config, r->data.type->name,
           (int)r->config.train.batch, (int)r->config.train.shards, r->threads, r->threads == 1 ? "" : "s");
    machine_print(&b->machine);
    printf(
        "a step: %.3f ms, %.3f ms when measured; %.0f samples/s; products %.1f MFLOP, %.1f GFLOP/s, %.2f of "
        "sgemm's\n%d steps measured, %d left out because they took over %g times the fastest\n\n",
        1e3 * other, 1e3 * step, (double)r->config.train.batch / other, flops / 1e6, flops / other / 1e9,
        flops / other / b->machine.gemms, b->measured.count, b->measured.left_out, disturbed);
    printf("  %-34s %9s %7s %7s %8s %9s %9s\n", "", "ms", "share", "calls", "GFLOP/s", "of sgemm",
           "FLOP/byte");
    for (int i = 0; i < b->row_count; i++) {
        const struct profile_cell *row = &b->rows[i];
        if (i == 0 || row->group != row[-1].group) printf("%s\n", group_names[row->group]);
        printf("  %-34s %9.4f %6.1f%% %7.0f", row_name(row), 1e3 * row->seconds, 100 * row->seconds / step,
               row->calls);
        if (row->flops > 0)
            printf(" %8.1f %9.2f %9.1f", row_rate(row) / 1e9, row_rate(row) / b->machine.gemms,
                   row->flops / row->bytes);
        printf("\n");
    }
}

static struct json *row_json(const struct bench *b, const struct profile_cell *row) {
    struct json *out = json_object_new();
    json_add_string(out, "group", group_names[row->group]);
    json_add_string(out, "name", row_name(row));
    json_add_number(out, "ms", 1e3 * row->seconds);
    json_add_number(out, "share", row->seconds * b->measured.count / b->measured.seconds);
    json_add_number(out, "calls", row->calls);
    if (row->flops == 0) return out;
    json_add_number(out, "mflop", row->flops / 1e6);
    json_add_number(out, "gflops", row_rate(row) / 1e9);
    json_add_number(out, "of_gemm", row_rate(row) / b->machine.gemms);
    json_add_number(out, "flop_per_byte", row->flops / row->bytes);
    return out;
}

static void print_json(const struct bench *b, const char *config) {
    const struct run *r = &b->run;
    double other = b->others.seconds / b->others.count, flops = step_flops(b);
    struct json *out = json_object_new(), *rows = json_array_new();
    json_add_string(out, "config", config);
    json_add_string(out, "dataset", r->data.type->name);
    json_add_number(out, "batch", (double)r->config.train.batch);
    json_add_number(out, "shards", (double)r->config.train.shards);
    json_add_number(out, "threads", r->threads);
    json_add(out, "machine", machine_json_new(&b->machine));
    json_add_number(out, "steps", b->measured.count);
    json_add_number(out, "left_out", b->measured.left_out);
    json_add_number(out, "ms_per_step", 1e3 * other);
    json_add_number(out, "ms_per_step_measured", 1e3 * b->measured.seconds / b->measured.count);
    json_add_number(out, "samples_per_second", (double)r->config.train.batch / other);
    json_add_number(out, "mflop", flops / 1e6);
    json_add_number(out, "gflops", flops / other / 1e9);
    json_add_number(out, "of_gemm", flops / other / b->machine.gemms);
    for (int i = 0; i < b->row_count; i++) json_add(rows, NULL, row_json(b, &b->rows[i]));
    json_add(out, "rows", rows);
    cli_print_json(out);
    json_free(out);
}

int bench_train(const struct bench_arguments *a, struct err *e) {
    struct bench *b = mem_new(1, sizeof *b);
    struct config config = {0};
    const struct run_options options = {.data_folder = a->data_folder, .threads = a->threads};
    int result = config_open(&config, a->model, a->overrides, a->override_count, e);
    if (result == 0) result = run_open(&b->run, &config, &options, e);
    if (result == 0 && b->run.batches.count[PART_TRAIN] < b->run.config.train.batch)
        result = err_set(e, "%s: %u training samples, fewer than a batch of %d", a->model,
                         b->run.batches.count[PART_TRAIN], (int)b->run.config.train.batch);
    if (result == 0) {
        struct log log;
        log_open(&log, a->json);
        log_line(&log, "the machine's products and memory, then steps for %g s", a->seconds);
        machine_measure(&b->machine, a->threads);
        steps_run(b, a->seconds);
        rows_make(b);
        if (a->json)
            print_json(b, a->model);
        else
            print(b, a->model);
    }
    mem_free(b->profiles);
    mem_free(b->part);
    run_close(&b->run);
    config_close(&config);
    mem_free(b);
    return result;
}
