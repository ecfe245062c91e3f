// Below which density a sparse layer is faster than a dense one: random layers of 8-bit counters, run by the inference
// library's sparse kernels, next to OpenBLAS on the same weights with their zeros. OpenBLAS gets the layout it is fastest
// with, and no bias; the library's side includes the bias and bringing samples into its own layout.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/race.h"
#include "experiments/log.h"
#include "export/tally.h"
#include "infer/tally_infer.h"
#include "src/blas.h"
#include "src/rng.h"

// --- the sparse side
// -------------------------------------------------------------------------------------------------

struct sparse {
    struct bytes file;
    struct tally_model *model;
    const float *x;
    float *y;
    void *scratch;
    size_t scratch_bytes, batch;
};

static void sparse_run(void *context, size_t calls) {
    const struct sparse *s = context;
    for (; calls > 0; calls--) {
        int status = tally_run(s->model, s->x, s->batch, s->y, s->scratch, s->scratch_bytes, NULL);
        CHECK(status == TALLY_OK, "bench: tally_run says %d", status);
    }
}

// A weight (out, in) whose counters are not zero with this probability, else any of 8 bits.
static void weight_fill(struct net_tensor *w, double density, uint64_t row) {
    struct rng rng = rng_row(rng_stream(1, "bench"), row);
    for (size_t i = 0; i < w->size; i++) {
        uint32_t draw = rng_u32(&rng);
        int32_t counter = (int32_t)(1 + draw % 127);
        w->counter[i] = rng_uniform(&rng) < density ? (draw >> 31 ? counter : -counter) : 0;
        w->value[i] = (float)(w->scale * w->counter[i]);
    }
}

// The library's model of one layer with the weight.
static int sparse_open(struct sparse *s, const struct net_tensor *w, struct err *e) {
    struct net_layer layer = {.kind = NET_LINEAR,
                              .name = "layer",
                              .input = {NET_SAMPLE, NET_NONE},
                              .in = shape_1(net_columns(w)),
                              .out = shape_1(net_rows(w)),
                              .weight = *w};
    const struct net net = {.name = "layer", .in = layer.in, .std = 1, .layers = &layer, .count = 1};
    const struct tally_options load = {.kernel = TALLY_SPARSE, .memory_limit = SIZE_MAX / 4};
    size_t layer_bytes;
    struct export_sizes sizes = {0, &layer_bytes};
    struct tally_error error;
    if (tally_compose(&s->file, &net, &(struct export_options){0}, &sizes, e) != 0) return -1;
    if (tally_model_load(&s->model, s->file.at, s->file.size, &load, &error) == TALLY_OK) return 0;
    return err_set(e, "%s", error.text);
}

// --- the dense side
// --------------------------------------------------------------------------------------------------

// w (out, in) and x (batch, in), and both transposed.
struct dense {
    int in, out, batch, form;
    float *w, *w_t, *x, *x_t, *y;
};

enum { FORMS = 6, FORM_VECTOR = 4, FORM_FEATURES = 2 };

static const char *const form_name[FORMS] = {"gemm", "gemm", "gemm", "gemm", "gemv", "gemv"};

static void dense_run(void *context, size_t calls) {
    const struct dense *d = context;
    const struct matrix w = {d->w, d->in, false}, w_t = {d->w_t, d->out, false}, x = {d->x, d->in, false},
                        x_t = {d->x_t, d->batch, false};
    const struct matrix w_turned = {d->w, d->in, true}, w_t_turned = {d->w_t, d->out, true};
    for (; calls > 0; calls--) switch (d->form) {
        case 0:
            blas_gemm(d->y, d->out, d->batch, d->out, d->in, x, w_turned, 0);
            break;
        case 1:
            blas_gemm(d->y, d->out, d->batch, d->out, d->in, x, w_t, 0);
            break;
        case FORM_FEATURES: // y is (out, batch) in this one and the next
            blas_gemm(d->y, d->batch, d->out, d->batch, d->in, w, x_t, 0);
            break;
        case 3:
            blas_gemm(d->y, d->batch, d->out, d->batch, d->in, w_t_turned, x_t, 0);
            break;
        case FORM_VECTOR:
            blas_gemv(d->y, d->out, d->in, w, d->x);
            break;
        default:
            blas_gemv(d->y, d->out, d->in, w_t_turned, d->x);
        }
}

static void transpose(float *to, const float *from, int rows, int columns) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) to[(size_t)j * (size_t)rows + (size_t)i] = *from++;
}

// Room for this batch, and inputs without zeros.
static void dense_open(struct dense *d, int batch) {
    struct rng rng = rng_stream(2, "bench");
    size_t numbers = (size_t)batch * (size_t)d->in;
    d->batch = batch;
    d->x = mem_new(numbers, sizeof *d->x);
    d->x_t = mem_new(numbers, sizeof *d->x_t);
    d->y = mem_new((size_t)batch, (size_t)d->out * sizeof *d->y);
    for (size_t i = 0; i < numbers; i++) d->x[i] = (float)(1 + rng_below(&rng, 255)) / 255;
    transpose(d->x_t, d->x, batch, d->in);
}

static void dense_close(struct dense *d) {
    mem_free(d->x);
    mem_free(d->x_t);
    mem_free(d->y);
}

// The fastest form; those of one sample only with one.
static void form_choose(struct dense *d) {
    double best = INFINITY;
    int fastest = 0;
    for (int i = 0; i < (d->batch == 1 ? FORMS : FORM_VECTOR); i++) {
        struct race race;
        d->form = i;
        race_run(&race, &(struct racer){dense_run, d}, 1, 0.02);
        double seconds = race_spread(&race, 0).low;
        if (seconds < best) best = seconds, fastest = i;
    }
    d->form = fastest;
}

// --- measuring
// ------------------------------------------------------------------------------------------------------

// One shape and batch.
struct row {
    struct bench_shape shape;
    int batch, form;
    struct spread dense, sparse[BENCH_DENSITIES];
    double ratio[BENCH_DENSITIES]; // dense time / sparse time
};

// What is timed against each other must be the same product: y of the sparse side, whose weight the dense side has.
static void outputs_check(const struct sparse *s, const struct dense *d) {
    bool features = d->form == FORM_FEATURES || d->form == FORM_FEATURES + 1;
    for (int i = 0; i < d->batch; i++)
        for (int j = 0; j < d->out; j++) {
            size_t at = (size_t)i * (size_t)d->out + (size_t)j;
            size_t other = features ? (size_t)j * (size_t)d->batch + (size_t)i : at;
            CHECK(fabsf(s->y[at] - d->y[other]) < 1e-3, "bench: sparse %g, dense %g", (double)s->y[at],
                  (double)d->y[other]);
        }
}

static void row_measure(struct row *row, struct sparse *sparse, struct dense *d,
                        const struct bench_arguments *a) {
    struct racer racers[BENCH_DENSITIES + 1] = {{dense_run, d}};
    struct race race;
    dense_open(d, row->batch);
    form_choose(d);
    for (int i = 0; i < a->densities; i++) {
        struct sparse *s = &sparse[i];
        s->batch = (size_t)row->batch;
        s->x = d->x;
        s->y = mem_new(s->batch, (size_t)d->out * sizeof *s->y);
        s->scratch_bytes = tally_scratch_bytes(s->model, s->batch);
        s->scratch = mem_new(s->scratch_bytes, 1);
        racers[i + 1] = (struct racer){sparse_run, s};
    }
    race_run(&race, racers, a->densities + 1, a->seconds);
    outputs_check(&sparse[0], d);
    row->form = d->form;
    row->dense = race_spread(&race, 0);
    for (int i = 0; i < a->densities; i++) {
        row->sparse[i] = race_spread(&race, i + 1);
        row->ratio[i] = race_ratio(&race, 0, i + 1);
        mem_free(sparse[i].y);
        mem_free(sparse[i].scratch);
    }
    dense_close(d);
}

// The rows of one shape: its layers are made once for all batches.
static int shape_measure(struct row *rows, struct bench_shape shape, const struct bench_arguments *a,
                         struct log *log, struct err *e) {
    struct sparse sparse[BENCH_DENSITIES];
    memset(sparse, 0, sizeof sparse);
    struct net_tensor w = {.shape = shape_2(shape.out, shape.in), .counted = true};
    w.size = shape_size(w.shape);
    w.number = number_make(NUMBER_LINEAR, 8, 0, 0);
    w.scale = 1 / (127 * sqrt(shape.in)); // sums stay near 1
    w.counter = mem_new(w.size, sizeof *w.counter);
    w.value = mem_new(w.size, sizeof *w.value);
    struct dense d = {.in = shape.in, .out = shape.out};
    d.w = mem_new(w.size, sizeof *d.w);
    d.w_t = mem_new(w.size, sizeof *d.w_t);
    int result = 0;
    for (int i = 0; i < a->densities && result == 0; i++) {
        weight_fill(&w, a->density[i], (uint64_t)i);
        if (i == 0) memcpy(d.w, w.value, w.size * sizeof *d.w);
        result = sparse_open(&sparse[i], &w, e);
    }
    transpose(d.w_t, d.w, d.out, d.in);
    for (int i = 0; i < a->batches && result == 0; i++) {
        log_line(log, "%d x %d, batch %d", shape.in, shape.out, a->batch[i]);
        rows[i].shape = shape;
        rows[i].batch = a->batch[i];
        row_measure(&rows[i], sparse, &d, a);
    }
    for (int i = 0; i < a->densities; i++) {
        tally_model_free(sparse[i].model);
        bytes_free(&sparse[i].file);
    }
    mem_free(w.counter);
    mem_free(w.value);
    mem_free(d.w);
    mem_free(d.w_t);
    return result;
}

// --- saying
// ---------------------------------------------------------------------------------------------------------

// The density at which both take the same time, between neighbours of the list and on logarithmic scales; NaN where the
// ratio does not cross 1.
static double even_density(const struct row *row, const struct bench_arguments *a) {
    for (int i = 0; i + 1 < a->densities; i++) {
        double here = log(row->ratio[i]), next = log(row->ratio[i + 1]);
        if ((here > 0) == (next > 0)) continue;
        double share = here / (here - next), from = log(a->density[i]), to = log(a->density[i + 1]);
        return exp(from + share * (to - from));
    }
    return NAN;
}

// Where it lies outside the list, the end of the list.
static void even_print(const struct row *row, const struct bench_arguments *a) {
    double even = even_density(row, a), most = a->density[0], least = a->density[0];
    for (int i = 1; i < a->densities; i++) {
        most = fmax(most, a->density[i]);
        least = fmin(least, a->density[i]);
    }
    if (!isnan(even))
        printf(" %.2g |\n", even);
    else if (row->ratio[0] > 1)
        printf(" > %g |\n", most);
    else
        printf(" < %g |\n", least);
}

static void tables_print(const struct row *rows, const struct bench_arguments *a) {
    printf("Time of OpenBLAS's dense product / time of the sparse kernels; above 1 sparse is faster. One "
           "thread.\n");
    for (int b = 0; b < a->batches; b++) {
        printf("\nBatch %d\n\n| in x out | dense, us | as |", a->batch[b]);
        for (int i = 0; i < a->densities; i++) printf(" %g |", a->density[i]);
        printf(" even at |\n|---|---|---|---|");
        for (int i = 0; i < a->densities; i++) printf("---|");
        puts("");
        for (int s = 0; s < a->shapes; s++) {
            const struct row *row = &rows[s * a->batches + b];
            printf("| %dx%d | %.2f | %s |", row->shape.in, row->shape.out, 1e6 * row->dense.median,
                   form_name[row->form]);
            for (int i = 0; i < a->densities; i++) printf(" %.2f |", row->ratio[i]);
            even_print(row, a);
        }
    }
    puts("");
}

static void spread_add(struct json *out, struct spread s) {
    json_add_number(out, "us", 1e6 * s.median);
    json_add_number(out, "us_fastest", 1e6 * s.low);
    json_add_number(out, "us_slowest", 1e6 * s.high);
}

static struct json *row_json(const struct row *row, const struct bench_arguments *a) {
    struct json *out = json_object_new(), *dense = json_object_new(), *list = json_array_new();
    double even = even_density(row, a);
    json_add_number(out, "in", row->shape.in);
    json_add_number(out, "out", row->shape.out);
    json_add_number(out, "batch", row->batch);
    if (!isnan(even)) json_add_number(out, "even_density", even);
    json_add(out, "dense", dense);
    json_add_string(dense, "as", form_name[row->form]);
    spread_add(dense, row->dense);
    json_add(out, "sparse", list);
    for (int i = 0; i < a->densities; i++) {
        struct json *item = json_object_new();
        json_add_number(item, "density", a->density[i]);
        spread_add(item, row->sparse[i]);
        json_add_number(item, "ratio", row->ratio[i]);
        json_add(list, NULL, item);
    }
    return out;
}

static void json_print(const struct row *rows, const struct machine *m, const struct bench_arguments *a) {
    struct json *out = json_object_new(), *list = json_array_new();
    json_add(out, "machine", machine_json_new(m));
    json_add(out, "layers", list);
    for (int i = 0; i < a->shapes * a->batches; i++) json_add(list, NULL, row_json(&rows[i], a));
    cli_print_json(out);
    json_free(out);
}

int bench_layers(const struct bench_arguments *a, struct err *e) {
    struct row *rows = mem_new((size_t)a->shapes * (size_t)a->batches, sizeof *rows);
    struct machine machine;
    struct log log;
    log_open(&log, a->json);
    machine_measure(&machine, 1);
    int result = 0;
    for (int i = 0; i < a->shapes && result == 0; i++)
        result = shape_measure(rows + i * a->batches, a->shape[i], a, &log, e);
    if (result == 0 && a->json) json_print(rows, &machine, a);
    if (result == 0 && !a->json) {
        tables_print(rows, a);
        machine_print(&machine);
    }
    mem_free(rows);
    return result;
}
