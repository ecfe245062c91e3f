// The program: one verb per file, found by name.
#ifndef TALLY_CLI_CLI_H
#define TALLY_CLI_CLI_H

#include <signal.h>

#include "src/json.h"
#include "src/lock.h"

// Exit statuses, the same for every verb.
enum {
    EXIT_GOOD = 0,
    EXIT_WRONG = 1,    // the world is wrong: a file, a config
    EXIT_USAGE = 2,    // the command line is wrong
    EXIT_DIVERGED = 3, // training ended with a loss that is not finite
    EXIT_INTERRUPTED = 130
};

struct verb {
    const char *name, *help;
    int (*run)(int argc, char **argv); // argv[0] is the verb
};

#define VERB(name) int verb_##name(int argc, char **argv);
VERB(train)
VERB(eval)
VERB(inspect)
VERB(data)
VERB(list)
VERB(compare)
VERB(report)
VERB(sweep)
VERB(export)
VERB(infer)
VERB(bench)
#undef VERB

// "tally: MESSAGE" on stderr; returns EXIT_WRONG.
int cli_fail(const struct err *e);

// "tally: MESSAGE; see 'tally VERB --help'" on stderr; returns EXIT_USAGE.
int cli_usage(const char *verb, const char *format, ...) PRINTF_LIKE(2, 3);

// A whole number of an option; false (and a usage message) when it is none in min .. max.
bool cli_number(int *out, const char *verb, const char *option, const char *text, int min, int max);

// Bytes as --max-memory takes them: 2G, 512M; false (and a usage message) when it is no such number.
bool cli_memory(double *out, const char *verb, const char *text);

// Before any file is opened: a standard stream that came closed is opened on nothing, so that no file of ours gets its
// number and what is printed lands in no file.
void cli_streams_open(void);

// After all is said: when it did not all get out, says so and turns EXIT_GOOD into EXIT_WRONG.
int cli_streams_close(int status);

// From here on Ctrl-C (SIGINT) and SIGTERM set the flag that is returned instead of ending the program; a second one ends
// it at once.
const volatile sig_atomic_t *cli_stop_watch(void);

// lock_take; where the file system knows no locks it says so, and that is no failure.
int cli_lock(struct lock *l, const char *folder, struct err *e);

// The path of this program, for starting it again as a child process.
int cli_program(char path[4096], struct err *e);

// The tree on stdout, on one line.
void cli_print_json(const struct json *tree);

#endif
