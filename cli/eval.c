// tally eval: the error of a saved run.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/saved.h"
#include "experiments/train.h"

static const char help[] = "usage: tally eval RUN [options]\n\n"
                           "Error and loss of a trained run (its folder, or a checkpoint file) on the data "
                           "set it was trained on.\n\n"
                           "  --split S     test (default), validation or train\n"
                           "  --keep SHARE  first prune, once and without retraining: each layer keeps its "
                           "largest SHARE of weights, the\n"
                           "                last layer twice that share\n"
                           "  --data DIR    look for data here first\n"
                           "  --threads N\n"
                           "  --json        one JSON object on stdout\n"
                           "  --help\n\n"
                           "examples:\n"
                           "  tally eval runs/mnist\n"
                           "  tally eval runs/mnist --split validation --json\n"
                           "  tally eval runs/mnist-sgd --keep 0.1";

static void score_print(const struct run *r, enum part part, struct score score, bool as_json) {
    size_t weights, nonzero;
    train_density(&weights, &nonzero, r->params);
    if (as_json) {
        struct json *out = json_object_new();
        json_add_string(out, "dataset", r->data.type->name);
        json_add_string(out, "split", part_name(part));
        json_add_number(out, "samples", (double)score.count);
        json_add_number(out, "wrong", (double)score.wrong);
        json_add_number(out, "error", score_error(score));
        json_add_number(out, "loss", score_loss(score));
        json_add_number(out, "density", weights ? (double)nonzero / (double)weights : 0);
        cli_print_json(out);
        json_free(out);
        return;
    }
    char count[2][32];
    printf("%s %s: error %.2f %% (%s of %s samples), loss %.4f, density %.4g\n", r->data.type->name,
           part_name(part), score_error(score), log_count(count[0], (double)score.wrong),
           log_count(count[1], (double)score.count), score_loss(score),
           weights ? (double)nonzero / (double)weights : 0);
}

int verb_eval(int argc, char **argv) {
    static const struct option options[] = {{"split", required_argument, NULL, 's'},
                                            {"keep", required_argument, NULL, 'k'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct run_options opened = {0};
    const char *split = "test";
    bool as_json = false;
    double keep = 1;
    char *end;
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, "h", options, NULL)) != -1;) switch (letter) {
        case 's':
            split = optarg;
            break;
        case 'k':
            keep = strtod(optarg, &end);
            if (!*optarg || *end || !(keep > 0 && keep <= 1))
                return cli_usage("eval", "--keep: '%s' is not a share in 0 .. 1", optarg);
            break;
        case 'd':
            opened.data_folder = optarg;
            break;
        case 't':
            if (!cli_number(&opened.threads, "eval", "--threads", optarg, 1, 1024)) return EXIT_USAGE;
            break;
        case 'j':
            as_json = true;
            break;
        case 'h':
            puts(help);
            return EXIT_GOOD;
        default:
            return cli_usage("eval", "unknown option or missing value: %s", argv[optind - 1]);
        }
    if (optind + 1 != argc) return cli_usage("eval", "wanted one run folder");
    int part = 0;
    while (part < PARTS && strcmp(part_name((enum part)part), split) != 0) part++;
    if (part == PARTS) return cli_usage("eval", "--split: '%s' is not test, validation or train", split);
    struct err e;
    struct run run;
    int result = saved_open(&run, argv[optind], &opened, &e);
    if (result == 0 && run.batches.count[part] == 0)
        result = err_set(&e, "%s: the run has no %s samples", argv[optind], split);
    if (result == 0 && keep < 1) sparsity_cut_layers(run.params, keep, 2);
    if (result == 0) score_print(&run, (enum part)part, run_evaluate(&run, (enum part)part), as_json);
    run_close(&run);
    return result == 0 ? EXIT_GOOD : cli_fail(&e);
}
