// tally list: everything that configs can name, straight from the tables.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "datasets/dataset.h"
#include "experiments/config.h"
#include "experiments/loss.h"
#include "export/export.h"
#include "layers/model.h"
#include "optim/optim.h"

static const char help[] =
    "usage: tally list [TOPIC] [--json]\n\n"
    "Prints every thing that a config can name, with its keys, defaults, limits and one line of help.\n"
    "Topics: config, layers, ops, stages, numbers, schedules, datasets, losses, metrics, formats; without "
    "one,\n"
    "all.\n\n"
    "examples:\n"
    "  tally list stages\n"
    "  tally list --json";

// Both forms of output go through here: `tree` is NULL for text.
struct out {
    struct json *tree;
};

static void choice_text(char text[64], const struct field *f) {
    const char *word = f->text;
    for (int i = 0; i < (int)f->initial; i++) word = strchr(word, '|') + 1;
    snprintf(text, 64, "%.*s", (int)strcspn(word, "|"), word);
}

static void field_text(char type[160], char initial[64], const struct field *f) {
    snprintf(initial, 64, "%.10g", f->initial);
    switch (f->type) {
    case FIELD_INT:
        snprintf(type, 160, "whole number, %.16g .. %.16g", f->min, f->max);
        break;
    case FIELD_REAL:
        snprintf(type, 160, "number, %.10g .. %.10g", f->min, f->max);
        break;
    case FIELD_BOOL:
        snprintf(type, 160, "true or false");
        snprintf(initial, 64, "%s", f->initial != 0 ? "true" : "false");
        break;
    case FIELD_STRING:
        snprintf(type, 160, "string");
        snprintf(initial, 64, "%s", f->text ? f->text : "");
        break;
    case FIELD_CHOICE:
        snprintf(type, 160, "%s", f->text);
        choice_text(initial, f);
        break;
    case FIELD_NODE:
        snprintf(type, 160, "section");
        initial[0] = 0;
    }
}

static void topic_begin(struct out *o, const char *topic, const char *where) {
    if (o->tree)
        json_add(o->tree, topic, json_array_new());
    else
        printf("%s (%s)\n", topic, where);
}

static void entry_print(struct out *o, const char *topic, const char *name, const char *what,
                        const struct field *fields) {
    struct json *list = NULL;
    if (o->tree) {
        struct json *entry = json_object_new();
        json_add_string(entry, "name", name);
        json_add_string(entry, "help", what);
        json_add(entry, "keys", list = json_array_new());
        json_add((struct json *)json_find(o->tree, topic), NULL, entry);
    } else {
        printf("  %-20s %s\n", name, what);
    }
    for (const struct field *f = fields; f && f->name; f++) {
        char type[160], initial[64];
        field_text(type, initial, f);
        if (list) {
            struct json *key = json_object_new();
            json_add_string(key, "name", f->name);
            json_add_string(key, "type", type);
            json_add_string(key, "default", initial);
            json_add_string(key, "help", f->help);
            json_add(list, NULL, key);
        } else {
            char shown[72] = "";
            if (*initial) snprintf(shown, sizeof shown, "= %s", initial);
            printf("      %-21s %-12s %s  [%s]\n", f->name, shown, f->help, type);
        }
    }
}

static void list_config(struct out *o, const char *topic) {
    topic_begin(o, topic, "the keys of a config file");
    entry_print(o, topic, "config", "the whole file", config_fields);
    entry_print(o, topic, "data", "section", config_data_fields);
    entry_print(o, topic, "data.augment", "section", augment_fields);
    entry_print(o, topic, "train", "section", config_train_fields);
    entry_print(o, topic, "optim", "section", optim_fields);
    entry_print(o, topic, "optim.sparsity", "section", sparsity_fields);
}

static void list_layers(struct out *o, const char *topic) {
    topic_begin(o, topic, "items of `model`");
    for (int i = 0; layer_types[i]; i++)
        entry_print(o, topic, layer_types[i]->name, layer_types[i]->help, layer_types[i]->fields);
}

static void list_ops(struct out *o, const char *topic) {
    topic_begin(o, topic, "what layers are made of");
    for (int i = 0; ops[i]; i++) entry_print(o, topic, ops[i]->name, ops_help[i], NULL);
}

static void list_stages(struct out *o, const char *topic) {
    topic_begin(o, topic, "items of `optim.weights` and `optim.others`");
    for (int i = 0; stage_types[i]; i++)
        entry_print(o, topic, stage_types[i]->name, stage_types[i]->help, stage_types[i]->fields);
}

static void list_numbers(struct out *o, const char *topic) {
    topic_begin(o, topic, "`map` of the stage counter; madam belongs to the stage integer_madam");
    for (int i = 0; i < NUMBER_KINDS; i++)
        entry_print(o, topic, number_name((enum number_kind)i), number_help((enum number_kind)i), NULL);
}

static void list_schedules(struct out *o, const char *topic) {
    topic_begin(o, topic, "`optim.schedule`");
    for (const struct schedule_type *s = schedule_types; s->name; s++)
        entry_print(o, topic, s->name, s->help, s->fields);
}

static void list_datasets(struct out *o, const char *topic) {
    topic_begin(o, topic, "`data.set` and `data.fallback`");
    for (int i = 0; dataset_types[i]; i++)
        entry_print(o, topic, dataset_types[i]->name, dataset_types[i]->help, dataset_types[i]->fields);
}

static void list_losses(struct out *o, const char *topic) {
    topic_begin(o, topic, "`train.loss`");
    for (const struct loss_type *l = loss_types; l->name; l++)
        entry_print(o, topic, l->name, l->help, l->fields);
}

static void list_metrics(struct out *o, const char *topic) {
    topic_begin(o, topic, "items of `train.metrics`");
    for (int i = 0; i < METRICS; i++) entry_print(o, topic, metric_names[i], metric_helps[i], NULL);
}

static void list_formats(struct out *o, const char *topic) {
    topic_begin(o, topic, "`--format` of tally export");
    for (int i = 0; export_formats[i]; i++)
        entry_print(o, topic, export_formats[i]->name, export_formats[i]->help, NULL);
}

static const struct topic {
    const char *name;
    void (*list)(struct out *o, const char *topic);
} topics[] = {{"config", list_config},
              {"layers", list_layers},
              {"ops", list_ops},
              {"stages", list_stages},
              {"numbers", list_numbers},
              {"schedules", list_schedules},
              {"datasets", list_datasets},
              {"losses", list_losses},
              {"metrics", list_metrics},
              {"formats", list_formats},
              {NULL, NULL}};

int verb_list(int argc, char **argv) {
    const char *wanted = NULL, *known[sizeof topics / sizeof *topics] = {NULL};
    struct out o = {NULL};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return puts(help), EXIT_GOOD;
        if (strcmp(argv[i], "--json") == 0)
            o.tree = o.tree ? o.tree : json_object_new();
        else if (wanted || argv[i][0] == '-')
            return cli_usage("list", "unexpected: %s", argv[i]);
        else
            wanted = argv[i];
    }
    bool found = !wanted;
    for (int i = 0; topics[i].name; i++) {
        known[i] = topics[i].name;
        if (wanted && strcmp(wanted, topics[i].name) != 0) continue;
        topics[i].list(&o, topics[i].name);
        found = true;
    }
    if (o.tree) cli_print_json(o.tree);
    json_free(o.tree);
    struct err e;
    return found ? EXIT_GOOD
                 : (json_unknown("", "topic", wanted, known, &e), cli_usage("list", "%s", e.text));
}
