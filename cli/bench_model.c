// Speed of an exported model: its sparse kernels, its dense ones, and the faster for each layer, in turn.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/race.h"
#include "datasets/samples.h"
#include "experiments/log.h"
#include "src/parallel.h"
#include "src/rng.h"

enum { POOL = 256, LANES = 64, FEW = 4 };

// Of MNIST's test images.
static const double usual_nonzero = 0.19;

// --- one model, as one kernel runs it
// --------------------------------------------------------------------------------

struct side {
    enum tally_kernel kernel;
    struct tally_model *model;
    const float *x; // [pool] samples, of which each call takes the next
    size_t pool, next, batch;
    float *y;
    void *scratch;
    size_t scratch_bytes;
    // Each call.
    double operations, bytes; // of weights
};

static void side_run(void *context, size_t calls) {
    struct side *s = context;
    size_t inputs = tally_model_inputs(s->model);
    for (; calls > 0; calls--) {
        if (s->next + s->batch > s->pool) s->next = 0;
        int status =
            tally_run(s->model, s->x + s->next * inputs, s->batch, s->y, s->scratch, s->scratch_bytes, NULL);
        CHECK(status == TALLY_OK, "bench: tally_run says %d", status);
        s->next += s->batch;
    }
}

// What a call does with weights: groups of LANES samples share them, and up to FEW samples at the end run one by one.
static void side_count(struct side *s) {
    size_t rest = s->batch % LANES, one = rest <= FEW ? rest : 0, groups = s->batch / LANES + (rest > FEW);
    s->operations = s->bytes = 0;
    for (size_t i = 0; i < tally_model_layers(s->model); i++) {
        struct tally_layer l = tally_model_layer(s->model, i);
        if (l.nonzero == 0) continue;
        double sparse = (double)l.products, dense = sparse / (double)l.nonzero * (double)l.weights;
        double for_one = l.kernel_one[0] == 'd' ? dense : sparse,
               for_many = l.kernel_many[0] == 'd' ? dense : sparse;
        s->operations += 2 * (for_one * (double)one + for_many * (double)(s->batch - one));
        s->bytes += (double)(l.bytes_one * one + l.bytes_many * groups);
    }
}

// --- the inputs
// ------------------------------------------------------------------------------------------------------

struct inputs {
    float *x;
    size_t count;
    double nonzero; // share of the numbers
    char name[64];
};

static void inputs_random(struct inputs *in, size_t numbers) {
    struct rng rng = rng_stream(1, "bench");
    for (size_t i = 0; i < in->count * numbers; i++)
        in->x[i] = rng_uniform(&rng) < usual_nonzero ? (float)(1 + rng_below(&rng, 255)) / 255 : 0;
    snprintf(in->name, sizeof in->name, "random");
}

static int inputs_take(struct inputs *in, struct shape wanted, const struct bench_arguments *a,
                       struct err *e) {
    struct data_source source = {.folder = {a->data_folder, getenv("TALLY_DATA"), "data"},
                                 .threads = parallel_processors()};
    struct samples s;
    size_t numbers = shape_size(wanted);
    int result = samples_open(&s, a->input, wanted, &source, e);
    for (size_t i = 0; result == 0 && i < in->count * numbers; i++) {
        size_t at = i % (s.count * numbers);
        in->x[i] = s.bytes ? (float)s.bytes[at] / 255 : s.floats[at];
    }
    if (result == 0) snprintf(in->name, sizeof in->name, "%.60s", s.labels ? s.data.type->name : a->input);
    samples_close(&s);
    return result;
}

// Enough for the largest batch; mem_free in->x, also after a failure.
static int inputs_make(struct inputs *in, const struct tally_model *m, const struct bench_arguments *a,
                       struct err *e) {
    size_t dim[4], numbers = tally_model_inputs(m), bytes, alive = 0;
    struct shape shape = {tally_model_shape(m, dim), {0}};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = (int)dim[i];
    *in = (struct inputs){.count = POOL};
    for (int i = 0; i < a->batches; i++)
        in->count = (size_t)a->batch[i] > in->count ? (size_t)a->batch[i] : in->count;
    if (!size_mul(&bytes, in->count, numbers * sizeof *in->x) || bytes > (size_t)1 << 31)
        return err_set(e, "%.300s: %zu samples of %zu numbers are more than 2 GB; lower --batch", a->model,
                       in->count, numbers);
    in->x = mem_new(in->count, numbers * sizeof *in->x);
    if (!a->input) inputs_random(in, numbers);
    if (a->input && inputs_take(in, shape, a, e) != 0) return -1;
    for (size_t i = 0; i < in->count * numbers; i++) alive += in->x[i] != 0;
    in->nonzero = (double)alive / (double)(in->count * numbers);
    return 0;
}

// --- saying
// ------------------------------------------------------------------------------------------------------

static const enum tally_kernel order[] = {TALLY_SPARSE, TALLY_DENSE, TALLY_AUTO};

enum { SIDES = 3, DENSE_SIDE = 1 };

static struct json *head_json(const struct tally_model *m, const struct inputs *in,
                              const struct bench_arguments *a) {
    struct json *out = json_object_new();
    double weights = (double)tally_model_weights(m), nonzero = (double)tally_model_nonzero(m);
    json_add_string(out, "model", a->model);
    json_add_number(out, "weights", weights);
    json_add_number(out, "nonzero", nonzero);
    json_add_number(out, "density", weights > 0 ? nonzero / weights : 0);
    json_add_string(out, "instructions", tally_model_instructions(m));
    json_add_string(out, "input", in->name);
    json_add_number(out, "input_nonzero", in->nonzero);
    return out;
}

static void head_print(const struct tally_model *m, const struct inputs *in,
                       const struct bench_arguments *a) {
    char count[2][32];
    double weights = (double)tally_model_weights(m), nonzero = (double)tally_model_nonzero(m);
    printf("%s: %s of %s weights (density %.4f), %s; %s images, %.0f %% of the pixels not zero; one "
           "thread\n\n",
           a->model, log_count(count[0], nonzero), log_count(count[1], weights),
           weights > 0 ? nonzero / weights : 0, tally_model_instructions(m), in->name, 100 * in->nonzero);
    printf("  %5s  %-6s %12s %24s %13s %13s %10s %8s %7s\n", "batch", "kernel", "us per call",
           "fastest .. slowest", "us per sample", "samples/s", "dense/this", "GFLOP/s", "GB/s");
}

static void side_print(const struct side *s, const struct race *race, int index) {
    char range[32], rate[32];
    struct spread t = race_spread(race, index);
    snprintf(range, sizeof range, "%.3f .. %.3f", 1e6 * t.low, 1e6 * t.high);
    printf("  %5zu  %-6s %12.3f %24s %13.4f %13s %10.2f %8.2f %7.2f\n", s->batch, engine_kernels[s->kernel],
           1e6 * t.median, range, 1e6 * t.median / (double)s->batch,
           log_count(rate, (double)s->batch / t.median), race_ratio(race, DENSE_SIDE, index),
           s->operations / t.median / 1e9, s->bytes / t.median / 1e9);
}

static struct json *side_json(const struct side *s, const struct race *race, int index) {
    struct json *out = json_object_new();
    struct spread t = race_spread(race, index);
    json_add_string(out, "kernel", engine_kernels[s->kernel]);
    json_add_number(out, "us_per_call", 1e6 * t.median);
    json_add_number(out, "us_fastest", 1e6 * t.low);
    json_add_number(out, "us_slowest", 1e6 * t.high);
    json_add_number(out, "us_per_sample", 1e6 * t.median / (double)s->batch);
    json_add_number(out, "samples_per_second", (double)s->batch / t.median);
    json_add_number(out, "dense_ratio", race_ratio(race, DENSE_SIDE, index));
    json_add_number(out, "gflops", s->operations / t.median / 1e9);
    json_add_number(out, "gbytes", s->bytes / t.median / 1e9);
    return out;
}

// --- measuring
// ------------------------------------------------------------------------------------------------------

// One batch size: a table row for each kernel, or an object for `list`.
static void batch_measure(struct side sides[SIDES], size_t batch, double seconds, struct json *list) {
    struct racer racers[SIDES];
    struct race race;
    for (int i = 0; i < SIDES; i++) {
        struct side *s = &sides[i];
        s->batch = batch;
        s->next = 0;
        s->scratch_bytes = tally_scratch_bytes(s->model, batch);
        s->scratch = mem_new(s->scratch_bytes, 1);
        s->y = mem_new(batch, tally_model_outputs(s->model) * sizeof *s->y);
        side_count(s);
        racers[i] = (struct racer){side_run, s};
    }
    race_run(&race, racers, SIDES, seconds);
    struct json *kernels = json_array_new();
    for (int i = 0; i < SIDES; i++) {
        if (list)
            json_add(kernels, NULL, side_json(&sides[i], &race, i));
        else
            side_print(&sides[i], &race, i);
        mem_free(sides[i].scratch);
        mem_free(sides[i].y);
    }
    if (!list) return json_free(kernels);
    struct json *row = json_object_new();
    json_add_number(row, "batch", (double)batch);
    json_add(row, "kernels", kernels);
    json_add(list, NULL, row);
}

static void model_measure(struct side sides[SIDES], const struct inputs *in,
                          const struct bench_arguments *a) {
    struct machine machine;
    struct json *out = head_json(sides[0].model, in, a), *list = json_array_new();
    if (!a->json) head_print(sides[0].model, in, a);
    for (int i = 0; i < a->batches; i++) {
        batch_measure(sides, (size_t)a->batch[i], a->seconds, a->json ? list : NULL);
        if (!a->json) fflush(stdout);
    }
    machine_measure(&machine, 1);
    json_add(out, "machine", machine_json_new(&machine));
    json_add(out, "batches", list);
    if (a->json) {
        cli_print_json(out);
    } else {
        puts("");
        machine_print(&machine);
    }
    json_free(out);
}

int bench_model(const struct bench_arguments *a, struct err *e) {
    struct side sides[SIDES] = {{0}};
    struct inputs in = {0};
    size_t size;
    unsigned char *bytes = engine_bytes_new(&size, a->model, e);
    int result = bytes ? 0 : -1;
    for (int i = 0; i < SIDES && result == 0; i++) {
        sides[i].kernel = order[i];
        result = engine_load(&sides[i].model, bytes, size, a->model, order[i], e);
    }
    if (result == 0) result = inputs_make(&in, sides[0].model, a, e);
    for (int i = 0; i < SIDES; i++) {
        sides[i].x = in.x;
        sides[i].pool = in.count;
    }
    if (result == 0) model_measure(sides, &in, a);
    for (int i = 0; i < SIDES; i++) tally_model_free(sides[i].model);
    mem_free(in.x);
    mem_free(bytes);
    return result;
}
