// The generated text: short tales of two people who have, find, lose and give things, as
//
//   Anna has 7 coins and Ben has 2. Ben finds 3 coins. Anna gives 1 coin to Ben. Now Anna has 6 coins and Ben has 6.
//   Who has more? Both have the same.
//
// each on one line. Names, things and numbers are drawn; the rest follows: a model that reads well writes the right names,
// plurals and sums. The bytes depend on the options only.
#include <stdio.h>

#include "datasets/source.h"
#include "datasets/windows.h"
#include "src/rng.h"

enum { LINE = 512, MOST = 99 };

struct config {
    int64_t length, seed;
    struct windows windows;
};

static const struct field fields[] = {{"length", FIELD_INT, offsetof(struct config, length), 1000000, 1000,
                                       1 << 28, NULL, "characters of the text"},
                                      {"seed", FIELD_INT, offsetof(struct config, seed), 0, 0,
                                       9007199254740991.0, NULL, "another seed, other tales"},
                                      WINDOWS_FIELDS(config, windows),
                                      FIELD_END};

static const char *const names[] = {"Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo"};
static const char *const things[] = {"apple", "book", "coin", "egg", "leaflet", "pear", "stone", "ticket"};
enum { NAMES = sizeof names / sizeof *names, THINGS = sizeof things / sizeof *things };

// One tale with its newline into `line`; returns its length.
static int tale_make(char line[LINE], struct rng *r) {
    int who[2], have[2];
    who[0] = (int)rng_below(r, NAMES);
    who[1] = (who[0] + 1 + (int)rng_below(r, NAMES - 1)) % NAMES;
    const char *thing = things[rng_below(r, THINGS)];
    for (int i = 0; i < 2; i++) have[i] = 1 + (int)rng_below(r, 9);
    int used = snprintf(line, LINE, "%s has %d %s%s and %s has %d.", names[who[0]], have[0], thing,
                        have[0] == 1 ? "" : "s", names[who[1]], have[1]);
    for (int events = 1 + (int)rng_below(r, 3); events > 0; events--) {
        int a = (int)rng_below(r, 2), what = (int)rng_below(r, 3);
        if (have[a] == 0) what = 0;
        int amount = 1 + (int)rng_below(r, what == 0 ? 9 : (uint32_t)(have[a] < 9 ? have[a] : 9));
        static const char *const verbs[] = {"finds", "loses", "gives"};
        have[a] += what == 0 ? amount : -amount;
        if (what == 2) have[!a] += amount;
        used += snprintf(line + used, (size_t)(LINE - used), " %s %s %d %s%s%s%s.", names[who[a]],
                         verbs[what], amount, thing, amount == 1 ? "" : "s", what == 2 ? " to " : "",
                         what == 2 ? names[who[!a]] : "");
    }
    CHECK(have[0] <= MOST && have[1] <= MOST, "tales: %d and %d things", have[0], have[1]);
    used += snprintf(line + used, (size_t)(LINE - used), " Now %s has %d %s%s and %s has %d. Who has more? ",
                     names[who[0]], have[0], thing, have[0] == 1 ? "" : "s", names[who[1]], have[1]);
    const char *more = have[0] == have[1] ? "Both have the same" : names[who[have[1] > have[0]]];
    return used + snprintf(line + used, (size_t)(LINE - used), "%s.\n", more);
}

static int tales_open(struct dataset *d, const void *config, struct data_source *source, struct err *e) {
    const struct config *c = config;
    if (source_room(source, 4 * (double)c->length, "tales", e) != 0) return -1;
    size_t length = (size_t)c->length, used = 0;
    char *text = mem_new(length + LINE, 1);
    struct rng stream = rng_stream((uint64_t)c->seed, "tales");
    for (uint64_t tale = 0; used < length; tale++) {
        struct rng row = rng_row(stream, tale);
        used += (size_t)tale_make(text + used, &row);
    }
    int result = windows_make(d, (const uint8_t *)text, length, false, &c->windows, "tales", e);
    mem_free(text);
    return result;
}

const struct dataset_type tales_dataset = {
    .name = "tales",
    .help = "short tales in which things are counted, generated: text that needs no files",
    .fields = fields,
    .config_size = sizeof(struct config),
    .keeps_validation = true,
    .open = tales_open,
};
