// tally inspect: what is in a run; or a table of several, runs of equal name but different seed in one row.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/picture.h"
#include "experiments/saved.h"
#include "experiments/train.h"

static const char help[] =
    "usage: tally inspect RUN [--json]\n"
    "       tally inspect RUN RUN ...\n\n"
    "One run: its layers, their density, counters and the histogram of log10 abs(w), from the checkpoint.\n"
    "Several: a Markdown table from their summaries; runs that differ only in the seed share a row\n"
    "(mean and standard error).\n\n"
    "examples:\n"
    "  tally inspect runs/mnist\n"
    "  tally inspect runs/mnist-sgd-* runs/mnist-adam-*";

// --- one run
// ----------------------------------------------------------------------------------------------------

static void histogram_print(const struct param *p) {
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    struct histogram h = histogram_make(p);
    size_t most = 1;
    for (int b = 0; b < HISTOGRAM_BINS; b++) most = h.count[b] > most ? h.count[b] : most;
    printf("  %-20s |", p->name);
    for (int b = 0; b < HISTOGRAM_BINS; b++) {
        double share = log1p((double)h.count[b]) / log1p((double)most);
        printf("%s", blocks[h.count[b] ? 1 + (int)(share * 7) : 0]);
    }
    printf("|\n");
}

static void run_print(const struct run *r) {
    char count[2][32];
    size_t weights, nonzero;
    train_density(&weights, &nonzero, r->params);
    printf("%s, seed %lld: epoch %d of %d, step %lld; %s of %s weights are not zero, density %.4g\n",
           r->config.name, (long long)r->config.seed, (int)r->epoch, (int)r->config.train.epochs,
           (long long)r->step, log_count(count[0], (double)nonzero), log_count(count[1], (double)weights),
           weights ? (double)nonzero / (double)weights : 0);
    printf("training state: %.4g bytes per weight%s\n\n", optim_state_bytes(r->optim, OPTIM_WEIGHTS),
           r->optim->sparsity.frozen ? "; frozen" : "");
    struct json *layers = train_layers_new(r->params);
    printf("  %-20s %10s %10s %8s  counters\n", "layer", "weights", "non-zero", "density");
    for (int i = 0; i < json_count(layers); i++) {
        const struct json *l = json_item(layers, i);
        printf("  %-20s %10s %10s %8.4f", json_string(json_find(l, "name")),
               log_count(count[0], json_number(json_find(l, "weights"))),
               log_count(count[1], json_number(json_find(l, "nonzero"))),
               json_number(json_find(l, "density")));
        if (json_find(l, "map"))
            printf("  %s, %.0f bits, largest %.0f, %.0f saturated, scale %.4g",
                   json_string(json_find(l, "map")), json_number(json_find(l, "bits")),
                   json_number(json_find(l, "largest_counter")), json_number(json_find(l, "saturated")),
                   json_number(json_find(l, "scale")));
        printf("\n");
    }
    json_free(layers);
    printf(
        "\nhow many weights have this log10 abs(w), from %.0f (left) to %.0f (right), heights logarithmic:\n",
        histogram_low(0), histogram_low(HISTOGRAM_BINS));
    for (int i = 0; i < r->params->count; i++)
        if (param_is_weight(&r->params->list[i])) histogram_print(&r->params->list[i]);
}

static int one_inspect(const char *folder, bool as_json) {
    struct err e;
    struct run run;
    int result = saved_open(&run, folder, NULL, &e);
    if (result == 0 && as_json) {
        struct json *out = json_object_new();
        json_add(out, "config", json_copy_new(run.resolved));
        json_add_number(out, "epoch", (double)run.epoch);
        json_add_number(out, "step", (double)run.step);
        json_add_number(out, "state_bytes_per_weight", optim_state_bytes(run.optim, OPTIM_WEIGHTS));
        json_add(out, "per_layer", train_layers_new(run.params));
        json_add(out, "histogram", histogram_write_new(run.params));
        cli_print_json(out);
        json_free(out);
    } else if (result == 0) {
        run_print(&run);
    }
    run_close(&run);
    return result == 0 ? EXIT_GOOD : cli_fail(&e);
}

// --- a table
// ----------------------------------------------------------------------------------------------------

// A row: the runs of one name, data set and epochs.
struct row {
    char name[128], dataset[64];
    double epochs, bytes, file_bytes, error_sum, error_squares, density_sum;
    bool is_loss; // the runs have no error: their loss stands for it
    int count;
};

static int row_add(struct row *rows, int *row_count, const struct json *s, struct err *e) {
    static const char *const needed[] = {"test_error", "density", "epochs", "state_bytes_per_weight",
                                         "checkpoint_bytes"};
    const struct json *name = json_find(s, "name"), *dataset = json_find(s, "dataset");
    if (!name || json_type(name) != JSON_STRING || !dataset || json_type(dataset) != JSON_STRING ||
        !text_is_plain(json_string(name)) || !text_is_plain(json_string(dataset)))
        return err_set(e, "not a run's summary");
    double value[5];
    const struct json *error = json_find(s, needed[0]);
    bool is_loss = error && json_type(error) == JSON_NULL;
    for (int i = 0; i < 5; i++) {
        const struct json *node = json_find(s, is_loss && i == 0 ? "test_loss" : needed[i]);
        if (!node || json_type(node) != JSON_NUMBER)
            return err_set(e, "has no %s; is the run finished?", needed[i]);
        value[i] = json_number(node);
    }
    struct row *row = rows;
    for (; row < rows + *row_count; row++)
        if (strcmp(row->name, json_string(name)) == 0 && strcmp(row->dataset, json_string(dataset)) == 0 &&
            row->epochs == value[2] && row->is_loss == is_loss)
            break;
    if (row == rows + *row_count) {
        *row_count += 1;
        snprintf(row->name, sizeof row->name, "%s", json_string(name));
        snprintf(row->dataset, sizeof row->dataset, "%s", json_string(dataset));
        row->epochs = value[2];
        row->bytes = value[3];
        row->file_bytes = value[4];
        row->is_loss = is_loss;
    }
    row->count++;
    row->error_sum += value[0];
    row->error_squares += value[0] * value[0];
    row->density_sum += value[1];
    return 0;
}

static int many_inspect(const char *const *folders, int count) {
    struct row *rows = mem_new((size_t)count, sizeof *rows);
    int row_count = 0, result = 0;
    struct err e;
    for (int i = 0; i < count && result == 0; i++) {
        struct json *summary = saved_summary_new(folders[i], &e);
        result = summary ? row_add(rows, &row_count, summary, &e) : -1;
        if (summary && result != 0) err_at(&e, folders[i]);
        json_free(summary);
    }
    bool losses = false;
    for (int i = 0; i < row_count; i++) losses |= rows[i].is_loss;
    if (result == 0) {
        printf("| run | data | epochs | seeds | test error %%%s | density | state, bytes per weight | "
               "checkpoint, "
               "KB |\n",
               losses ? " or loss" : "");
        puts("|---|---|---|---|---|---|---|---|");
    }
    for (int i = 0; i < row_count && result == 0; i++) {
        const struct row *r = &rows[i];
        double mean = r->error_sum / r->count, error = 0;
        if (r->count > 1)
            error = sqrt(fmax(0, r->error_squares - r->count * mean * mean) / (r->count - 1) / r->count);
        int digits = r->is_loss ? 4 : 2;
        printf("| %s | %s | %.0f | %d | %s%.*f ± %.*f | %.4g | %.3g | %.0f |\n", r->name, r->dataset,
               r->epochs, r->count, r->is_loss ? "loss " : "", digits, mean, digits, error,
               r->density_sum / r->count, r->bytes, r->file_bytes / 1000);
    }
    mem_free(rows);
    return result == 0 ? EXIT_GOOD : cli_fail(&e);
}

int verb_inspect(int argc, char **argv) {
    bool as_json = false;
    int count = 0;
    const char **folders = mem_new((size_t)argc, sizeof *folders);
    int status = EXIT_GOOD;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            puts(help);
            mem_free(folders);
            return EXIT_GOOD;
        }
        if (strcmp(argv[i], "--json") == 0)
            as_json = true;
        else if (argv[i][0] == '-')
            status = cli_usage("inspect", "unknown option %s", argv[i]);
        else
            folders[count++] = argv[i];
    }
    if (status == EXIT_GOOD && count == 0)
        status = cli_usage("inspect", "wanted a run folder");
    else if (status == EXIT_GOOD && count > 1 && as_json)
        status = cli_usage("inspect", "--json wants one run");
    else if (status == EXIT_GOOD)
        status = count == 1 ? one_inspect(folders[0], as_json) : many_inspect(folders, count);
    mem_free(folders);
    return status;
}
