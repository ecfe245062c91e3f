// The crash test: a run that is killed (kill -9) again and again, at random moments and in the middle of checkpoint writes,
// and each time gone on with, ends with the same bytes as one that nobody disturbed.
//
//     crash PROGRAM [--kills N] [--seed S]        default 100 kills, seed 1
//
// Runs are made in a new folder in the working directory, which goes when all is well. After each kill every checkpoint
// that has its name must be whole. When a run ends before it is killed, it is compared and the next one begins; the last one
// is left to end. Which moments are drawn follows from the seed; what the program is doing then does not.
#define _XOPEN_SOURCE 700
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "experiments/checkpoint.h"
#include "experiments/keep.h"
#include "experiments/log.h"
#include "src/file.h"
#include "src/rng.h"

enum { PATH = 300, FILE_LIMIT = 1 << 24, KEPT = 3 };

// Dropout, a freeze and packed layers, so that all there is to be saved is there; a checkpoint about every 20 ms.
static const char config_text[] =
    "{\"name\": \"crash\", \"data\": {\"set\": {\"digits\": {\"train\": 600, \"test\": 100}}, "
    "\"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 24}}, \"relu\", {\"dropout\": {\"p\": 0.1}},\n"
    "  {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [\"clip\", {\"counter\": {\"rate\": 0.03, \"leak\": 0.03}}], \"others\": "
    "[\"adam\"],\n"
    "  \"schedule\": \"cosine\", \"sparsity\": {\"target\": 0.1, \"freeze\": 0.7}},\n"
    " \"train\": {\"epochs\": 40, \"batch\": 25, \"shards\": 2, \"checkpoint_every\": 3, "
    "\"checkpoint_minutes\": 0.0003,\n"
    "  \"checkpoint_keep\": 3, \"checkpoint_best\": \"loss\"}}\n";

struct test {
    const char *program;
    int kills, killed, within; // to be made; made; of those, while a checkpoint was being written
    int seen;                  // temporary files of checkpoints
    int rounds, begun_anew;    // runs that came to their end; kills before a run's first checkpoint
    struct rng rng;
    double seconds; // of a run that is not disturbed
};

_Noreturn static void fail(const char *format, ...) PRINTF_LIKE(1, 2);
_Noreturn static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("crash: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static const char *inside(char path[PATH], const char *folder, const char *name) {
    snprintf(path, PATH, "%s/%s", folder, name);
    return path;
}

static bool ends_with(const char *name, const char *end) {
    size_t length = strlen(name), ending = strlen(end);
    return length >= ending && strcmp(name + length - ending, end) == 0;
}

// How many names in the folder end so; those of checkpoints are opened, too.
static int names_count(const char *folder, const char *end) {
    char path[PATH];
    struct err e;
    int count = 0, found = 0;
    char **names = file_names_new(&count, folder, &e);
    for (int i = 0; i < count; i++) {
        if (ends_with(names[i], end)) {
            found++;
            struct safetensors file = {0};
            if (ends_with(end, ".safetensors") &&
                checkpoint_open(&file, inside(path, folder, names[i]), &e) != 0)
                fail("after %s", e.text);
            safetensors_close(&file);
        }
        mem_free(names[i]);
    }
    mem_free(names);
    return found;
}

// Whether a checkpoint is being written, or was when its process was killed.
static bool is_writing(const char *folder) {
    struct err e;
    int count = 0;
    bool found = false;
    char **names = file_names_new(&count, folder, &e);
    for (int i = 0; i < count; i++) {
        found |= strstr(names[i], ".safetensors.") && ends_with(names[i], ".tmp");
        mem_free(names[i]);
    }
    mem_free(names);
    return found;
}

static void nap(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&time, &time) != 0) {}
}

// --- one process ---------------------------------------------------------------------------------------------------

static pid_t start(const struct test *t, const char *folder, bool resume) {
    pid_t child = fork();
    if (child != 0) return child;
    const char *words[] = {"tally",     "train", "crash.json", "--out",       folder,
                           "--threads", "1",     "--quiet",    "--no-report", resume ? "--resume" : NULL,
                           NULL};
    if (!freopen("log.txt", "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) _exit(99);
    execv(t->program, (char *const *)words);
    _exit(98);
}

static bool is_over(pid_t child) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid;
}

// A random moment, or while a checkpoint is being written, one of the next few: when its temporary file is there.
static void moment_wait(struct test *t, const char *folder, pid_t child) {
    double until = log_seconds() + rng_uniform(&t->rng) * t->seconds * 0.6;
    bool writing = rng_below(&t->rng, 2);
    double into = rng_uniform(&t->rng) * 0.001;
    while (log_seconds() < until && !is_over(child)) nap(1e-4);
    if (!writing) return;
    while (!is_writing(folder) && !is_over(child)) nap(1e-4);
    t->seen += is_writing(folder);
    nap(into);
}

// Whether it came to its end before it was killed.
static bool killed_or_over(struct test *t, const char *folder, pid_t child) {
    int status;
    if (t->killed < t->kills) moment_wait(t, folder, child);
    if (t->killed < t->kills) kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child) fail("the program is lost");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        char *said;
        size_t size;
        struct err e = {""};
        said = (char *)file_read_new(&size, "log.txt", FILE_LIMIT, &e);
        fail("%s: the program ended with status %d: %s", folder, status, said ? said : e.text);
    }
    t->killed++;
    t->within += is_writing(folder);
    return false;
}

// --- comparing -----------------------------------------------------------------------------------------------------

static char *content_new(size_t *size, const char *path) {
    struct err e;
    char *bytes = (char *)file_read_new(size, path, FILE_LIMIT, &e);
    if (!bytes) fail("%s", e.text);
    return bytes;
}

static void same_bytes(const char *folder, const char *name) {
    char path[PATH];
    size_t sizes[2];
    char *whole = content_new(&sizes[0], inside(path, "whole", name));
    char *other = content_new(&sizes[1], inside(path, folder, name));
    if (sizes[0] != sizes[1] || memcmp(whole, other, sizes[0]) != 0)
        fail("%s/%s is not as it is without a kill", folder, name);
    mem_free(whole);
    mem_free(other);
}

// Objects that differ in nothing but times; *end is behind each.
static void same_line(const char *folder, const char *name, const char *a, size_t a_size, const char *b,
                      size_t b_size) {
    struct err e;
    struct json *x = json_parse_new(a, a_size, &e), *y = json_parse_new(b, b_size, &e);
    if (!x || !y) fail("%s/%s: %s", folder, name, e.text);
    if (json_count(x) != json_count(y)) fail("%s/%s: other keys than without a kill", folder, name);
    for (const struct json *one = json_first(x); one; one = json_next(one)) {
        const char *key = json_key(one);
        const struct json *other = json_find(y, key);
        if (strcmp(key, "seconds") == 0 || strcmp(key, "samples_per_second") == 0) continue;
        if (!other || !json_equal(one, other))
            fail("%s/%s: another %s than without a kill", folder, name, key);
    }
    json_free(x);
    json_free(y);
}

static void same_summary(const char *folder) {
    char path[PATH];
    size_t sizes[2];
    char *whole = content_new(&sizes[0], inside(path, "whole", "summary.json"));
    char *other = content_new(&sizes[1], inside(path, folder, "summary.json"));
    same_line(folder, "summary.json", whole, sizes[0], other, sizes[1]);
    mem_free(whole);
    mem_free(other);
}

static void same_metrics(const char *folder) {
    char path[PATH];
    size_t sizes[2];
    char *whole = content_new(&sizes[0], inside(path, "whole", "metrics.jsonl"));
    char *other = content_new(&sizes[1], inside(path, folder, "metrics.jsonl"));
    char *a = whole, *b = other;
    while (*a && *b) {
        size_t a_size = strcspn(a, "\n"), b_size = strcspn(b, "\n");
        same_line(folder, "metrics.jsonl", a, a_size, b, b_size);
        a += a_size + 1, b += b_size + 1;
    }
    if (*a || *b) fail("%s/metrics.jsonl: not as many lines as without a kill", folder);
    mem_free(whole);
    mem_free(other);
}

static void ended_check(const char *folder) {
    static const char *const same[] = {"checkpoint.safetensors", "best.safetensors", "config.json",
                                       "histogram.json", "weights.png"};
    char path[PATH];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) same_bytes(folder, same[i]);
    same_summary(folder);
    same_metrics(folder);
    int kept = names_count(folder, ".safetensors") - 2;
    if (kept != KEPT) fail("%s: %d checkpoints are kept, not %d", folder, kept, KEPT);
    if (names_count(folder, ".tmp") != 0) fail("%s: temporary files are left", folder);
    if (file_exists(inside(path, folder, ".lock"))) fail("%s: the lock file is left", folder);
}

// --- the test ------------------------------------------------------------------------------------------------------

static void folder_remove(const char *folder) {
    char command[PATH];
    snprintf(command, sizeof command, "rm -rf '%s' '%s'.old*", folder, folder);
    if (system(command) != 0) fail("%s can't be removed", folder);
}

// A run, killed until all kills are made or it is over.
static void round_run(struct test *t) {
    char folder[40];
    snprintf(folder, sizeof folder, "run%d", ++t->rounds);
    for (bool over = false, there = false; !over;) {
        over = killed_or_over(t, folder, start(t, folder, there));
        bool before = there;
        there = names_count(folder, ".safetensors") > 0;
        if (before && !there) fail("%s: the checkpoints are gone", folder);
        t->begun_anew += !there;
    }
    ended_check(folder);
    folder_remove(folder);
}

static bool arguments_read(struct test *t, uint64_t *seed, int argc, char **argv) {
    if (argc < 2 || argc % 2 != 0) return false;
    t->program = argv[1];
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--kills") == 0)
            t->kills = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--seed") == 0)
            *seed = strtoull(argv[i + 1], NULL, 10);
        else
            return false;
    }
    return t->kills > 0;
}

int main(int argc, char **argv) {
    struct test t = {.kills = 100};
    uint64_t seed = 1;
    char folder[] = "crash-XXXXXX", program[4096];
    struct err e;
    if (!arguments_read(&t, &seed, argc, argv)) {
        fputs("usage: crash PROGRAM [--kills N] [--seed S]\n", stderr);
        return 2;
    }
    if (!realpath(t.program, program)) fail("%s is not there", t.program);
    t.program = program;
    t.rng = rng_stream(seed, "crash");
    unsetenv("TALLY_DATA");
    if (!mkdtemp(folder) || chdir(folder) != 0 || file_write_text("crash.json", config_text, &e) != 0)
        fail("%s can't be made", folder);
    double begun = log_seconds();
    struct test whole = {.program = t.program};
    if (!killed_or_over(&whole, "whole", start(&t, "whole", false))) fail("the undisturbed run was killed");
    t.seconds = log_seconds() - begun;
    ended_check("whole");
    while (t.killed < t.kills) round_run(&t);
    // In ten kills about five are made when there is one. A program that writes in its place would pass all else, mostly.
    if (t.kills >= 10 && t.seen == 0) fail("no checkpoint was ever written beside its place");
    printf("%d kills in %d runs, %d of them while a checkpoint was being written, %d before the first "
           "checkpoint; every run ended with the\n"
           "bytes of the undisturbed one (%.1f s); seed %llu\n",
           t.killed, t.rounds, t.within, t.begun_anew, t.seconds, (unsigned long long)seed);
    if (chdir("..") != 0) fail("the working directory is gone");
    folder_remove(folder);
    return 0;
}
