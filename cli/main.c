// tally VERB ...: finds the verb. Under the name `train` (a link) the program is `tally train`.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "experiments/version.h"
#include "src/parallel.h"

static const struct verb verbs[] = {
    {"train", "train a network as a config says", verb_train},
    {"eval", "error of a trained run on its test or validation data", verb_eval},
    {"inspect", "what is in a run: layers, density, counters; or a table of several runs", verb_inspect},
    {"compare", "train variants of a config, or take runs, and put them side by side", verb_compare},
    {"report", "a page with tables and plots of finished runs", verb_report},
    {"sweep", "train a grid or random draws of options, sorted by validation error", verb_sweep},
    {"export", "write a trained run in a format that others read, sparse", verb_export},
    {"infer", "run an exported model on a picture, an array or a data set", verb_infer},
    {"bench",
     "speed of an exported model, of sparse layers, of the machine; where a training step's time goes",
     verb_bench},
    {"data", "what a data set is; or the set as folders of PNG images", verb_data},
    {"list", "every layer, op, stage, number system, data set with its options", verb_list},
    {NULL, NULL, NULL}};

static void help_print(void) {
    puts("Tally trains sparse networks whose weights are integer counters.\n\n"
         "usage: tally VERB ...\n");
    for (const struct verb *v = verbs; v->name; v++) printf("  %-8s  %s\n", v->name, v->help);
    puts("\nexamples:\n"
         "  tally train configs/mnist.json\n"
         "  tally eval runs/mnist\n"
         "  tally inspect runs/mnist\n"
         "  tally list stages\n\n"
         "tally VERB --help tells more. Exit status: 0 good, 1 error, 2 wrong usage, 3 training diverged,\n"
         "130 interrupted (with a checkpoint).");
}

static int verb_run(int argc, char **argv) {
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
    if (strcmp(name, "train") == 0) return verb_train(argc, argv);
    if (argc < 2) return help_print(), EXIT_USAGE;
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return help_print(), EXIT_GOOD;
    if (strcmp(word, "--version") == 0) {
        printf("tally %s %s (%s)\n", version_text(), version_commit(), version_build());
        return EXIT_GOOD;
    }
    const char *known[sizeof verbs / sizeof *verbs] = {NULL};
    for (int i = 0; verbs[i].name; i++) {
        if (strcmp(verbs[i].name, word) == 0) return verbs[i].run(argc - 1, argv + 1);
        known[i] = verbs[i].name;
    }
    struct err e;
    json_unknown("", "verb", word, known, &e);
    return cli_usage("", "%s", e.text);
}

int main(int argc, char **argv) {
    cli_streams_open();
    parallel_start(argv);
    signal(SIGCHLD, SIG_DFL); // who started us may ignore it, and the ends of children with it
    signal(SIGXFSZ, SIG_IGN); // a file that may not grow is an error of its write, and no end of a run
    return cli_streams_close(verb_run(argc, argv));
}
