// What the verbs share. Contracts in cli.h.
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/memory.h"

int cli_fail(const struct err *e) {
    fprintf(stderr, "tally: %s\n", e->text);
    return EXIT_WRONG;
}

int cli_usage(const char *verb, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("tally: ", stderr);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see 'tally %s%s--help'\n", verb, *verb ? " " : "");
    va_end(args);
    return EXIT_USAGE;
}

bool cli_number(int *out, const char *verb, const char *option, const char *text, int min, int max) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*text && !*end && value >= min && value <= max) return *out = (int)value, true;
    cli_usage(verb, "%s: '%s' is not a whole number in %d .. %d", option, text, min, max);
    return false;
}

bool cli_memory(double *out, const char *verb, const char *text) {
    if (memory_parse(out, text)) return true;
    cli_usage(verb, "--max-memory: '%s' is not a number of bytes, such as 2G or 512M", text);
    return false;
}

void cli_print_json(const struct json *tree) {
    char *text = json_print_new(tree, false);
    puts(text);
    mem_free(text);
}

int cli_program(char path[4096], struct err *e) {
    ssize_t length = readlink("/proc/self/exe", path, 4095);
    if (length <= 0) return err_set(e, "/proc/self/exe: cannot be read, so no run can be started from here");
    path[length] = 0;
    return 0;
}

int cli_lock(struct lock *l, const char *folder, struct err *e) {
    int result = lock_take(l, folder, e);
    if (result > 0)
        fprintf(stderr, "note: no lock: %s; a second run into %s goes unnoticed\n", e->text, folder);
    return result < 0 ? -1 : 0;
}

void cli_streams_open(void) {
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++) // the least free number is taken; used, it fails
        if (fcntl(i, F_GETFD) < 0 && open("/dev/null", i == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
}

int cli_streams_close(int status) {
    bool lost = ferror(stdout) != 0;
    int error = 0; // of an earlier loss it is gone
    if (fclose(stdout) != 0) lost = true, error = errno;
    if (!lost) return status;
    fprintf(stderr, "tally: standard output: %s\n", error ? strerror(error) : "not all could be written");
    return status == EXIT_GOOD ? EXIT_WRONG : status;
}

// A signal handler can reach nothing else: the program's one mutable global.
static volatile sig_atomic_t stop_asked;

static void stop_ask(int signal_number) {
    (void)signal_number;
    stop_asked = 1;
}

const volatile sig_atomic_t *cli_stop_watch(void) {
    struct sigaction action = {.sa_handler = stop_ask, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return &stop_asked;
}
