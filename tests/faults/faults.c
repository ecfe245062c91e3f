// Fault injection: small runs of the program, in each of which one call into the system goes wrong, for every call of the run
// and every way to go wrong. Whatever fails, the program ends by itself, with exit status 0 and the unbroken run's result or
// with 1 and a message; what it leaves is old, new or absent, never half; and the same command, unhindered, then gives the
// unbroken run's result.
//
//     faults [--every N] [COMMAND ...]     only each N-th fault; only these commands
//
// Works in the folder faults.d of the working directory.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/file.h"
#include "tests/faults/state.h"

enum { PATH = 1024, WORDS = 16, CALLS_MAX = 64, SECONDS = 120, SOME = 4 };

// --- what goes wrong -----------------------------------------------------------------------------------------------

enum after { ANY, GOOD, KILLED }; // exit status 0 or 1; 0; none

static const struct fault {
    const char *call;
    int error; // 0: `what`
    const char *what;
    bool on; // and every call after it
    enum after after;
} faults[] = {
    {"access", EIO, NULL, false, ANY},
    {"close", EIO, NULL, false, ANY},
    {"close", EINTR, NULL, false, GOOD},
    {"dup2", EBUSY, NULL, false, ANY},
    {"execv", EACCES, NULL, false, ANY},
    {"fcntl", ENOLCK, NULL, false, ANY},
    {"fork", EAGAIN, NULL, false, ANY},
    {"fstat", EIO, NULL, false, ANY},
    {"fsync", EIO, NULL, false, ANY},
    {"fsync", EINTR, NULL, false, GOOD},
    {"fsync", 0, "kill", false, KILLED},
    {"ftruncate", EIO, NULL, false, ANY},
    {"lseek", EIO, NULL, false, ANY},
    {"mkdir", ENOSPC, NULL, false, ANY},
    {"mkstemp", EROFS, NULL, false, ANY},
    {"open", EACCES, NULL, false, ANY},
    {"open", EMFILE, NULL, true, ANY},
    {"open", EINTR, NULL, false, GOOD},
    {"open", 0, "kill", false, KILLED},
    {"opendir", EMFILE, NULL, false, ANY},
    {"posix_spawnp", EAGAIN, NULL, false, ANY},
    {"pread", EIO, NULL, false, ANY},
    {"pwrite", ENOSPC, NULL, false, GOOD},
    {"read", EIO, NULL, false, ANY},
    {"read", EINTR, NULL, false, GOOD},
    {"read", 0, "half", false, GOOD},
    {"read", 0, "half", true, GOOD},
    {"read", 0, "end", false, ANY},
    {"readdir", EIO, NULL, false, ANY},
    {"readlink", EACCES, NULL, false, ANY},
    {"rename", EACCES, NULL, false, ANY},
    {"rename", 0, "kill", false, KILLED},
    {"rmdir", EACCES, NULL, false, ANY},
    {"stat", EIO, NULL, false, ANY},
    {"truncate", EIO, NULL, false, ANY},
    {"unlink", EACCES, NULL, false, ANY},
    {"waitpid", ECHILD, NULL, false, ANY},
    {"waitpid", EINTR, NULL, false, GOOD},
    {"write", ENOSPC, NULL, false, ANY},
    {"write", ENOSPC, NULL, true, ANY},
    {"write", EINTR, NULL, false, GOOD},
    {"write", 0, "half", false, GOOD},
    {"write", 0, "half", true, GOOD},
    {"write", 0, "kill", false, KILLED},
};
enum { FAULTS = sizeof faults / sizeof *faults };

// --- commands ------------------------------------------------------------------------------------------------------

// Started in a folder `work` beside `in`. `before` makes what is there at first, `killed` by that fault; `again` is how the same is done after a failure, where that is not by the same words.
static const struct command {
    const char *name;
    int depth; // whose calls fail: the program's own, or its children's
    const char *before[WORDS], *killed, *words[WORDS], *again[WORDS], *if_there;
} commands[] = {
#define TRAIN "train", "../in/config.json", "--out", "out", "--threads", "1", "--quiet"
#define KEEP "train.checkpoint_keep=2", "train.checkpoint_best=loss"
#define RESUME TRAIN, "--no-report", "--resume"
    {"train", .words = {TRAIN, "--no-report"}, .again = {RESUME}, .if_there = "out/checkpoint.safetensors"},
    {"train-keep", .words = {TRAIN, "--no-report", KEEP}, .again = {RESUME, KEEP},
     .if_there = "out/checkpoint.safetensors"},
    {"train-report", .words = {TRAIN}, .again = {TRAIN, "--resume"},
     .if_there = "out/checkpoint.safetensors"},
    {"train-over", .before = {TRAIN, "--no-report", "seed=2"}, .words = {TRAIN, "--no-report"}},
    {"resume", .before = {TRAIN, "--no-report"}, .killed = "rename:5:kill", .words = {RESUME}},
    {"eval", .words = {"eval", "../in/run", "--threads", "1", "--json", "--logits", "l.npy", "--inputs",
                       "i.npy", "--labels", "y.npy"}},
    {"inspect", .words = {"inspect", "../in/run"}},
#define EXPORT "export", "../in/run", "--format"
    {"export-tally", .words = {EXPORT, "tally", "-o", "out.tally"}},
    {"export-small", .words = {EXPORT, "tally", "--profile", "small", "--json", "-o", "out.tally"}},
    {"export-safetensors", .words = {EXPORT, "safetensors", "-o", "out.safetensors"}},
    {"export-onnx", .words = {EXPORT, "onnx", "-o", "out.onnx"}},
    {"export-npz", .words = {EXPORT, "npz", "-o", "out"}},
    {"export-mtx", .words = {EXPORT, "mtx", "-o", "out"}},
    {"export-c", .words = {EXPORT, "c", "--self-test", "-o", "out"}},
    {"export-over", .before = {EXPORT, "tally", "--dense", "-o", "out.tally"},
     .words = {EXPORT, "tally", "-o", "out.tally"}},
#define INFER "infer", "../in/model.tally", "--input"
    {"infer-png", .words = {INFER, "../in/png/test/0/00001.png", "--json"}},
    {"infer-npy", .words = {INFER, "../in/x.npy", "--output", "y.npy", "--json"}},
    {"infer-set", .words = {INFER, "{\"digits\": {\"train\": 40, \"test\": 20}}", "--json"}},
    {"report", .before = {TRAIN, "--no-report"}, .words = {"report", "out", "--threads", "1"}},
#define COMPARE "compare", "../in/compare.json", "--out", "out", "--jobs", "1", "--quiet", "--json"
    {"compare", .words = {COMPARE}},
    {"compare-again", .before = {COMPARE}, .words = {COMPARE}},
    {"compare-child", .depth = 1, .words = {COMPARE}},
    {"sweep",
     .words = {"sweep", "../in/config.json", "seed=1,2", "--out", "out", "--jobs", "1", "--quiet", "--json"}},
    {"data-png", .words = {"data", "digits", "train=12", "test=6", "--png", "out", "--json"}},
#define SET "--data", "../in", "--json"
    {"data-mnist", .words = {"data", "mnist", SET}},
    {"data-cifar10", .words = {"data", "cifar10", SET}},
    {"data-text", .words = {"data", "text", "file=text.txt", "context=8", SET}},
    {"data-npy", .words = {"data", "npy", "folder=npy", SET}},
    {"data-png_folder", .words = {"data", "png_folder", "folder=png", SET}},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const char config[] =
    "{\"data\": {\"set\": {\"digits\": {\"train\": 60, \"test\": 20}}, \"validation\": 20},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 8}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.05}}], \"others\": [\"adam\"]},\n"
    " \"train\": {\"epochs\": 3, \"batch\": 20, \"shards\": 2}}\n";
static const char compare[] =
    "{\"base\": \"config.json\", \"seeds\": 1, \"variants\": {\"counter\": {}, \"sgd\": {\"optim.weights\": "
    "[{\"sgd\": {\"rate\": 0.05}}]}}}\n";

// --- running -------------------------------------------------------------------------------------------------------

static _Noreturn void die(const char *what) {
    fprintf(stderr, "faults: %s\n", what);
    exit(2);
}

static void shell(const char *line) {
    if (system(line) != 0) die(line);
}

// The program in `work`, its output in out.txt and err.txt; returns its exit status, or minus the signal that ended it, or
// -1000 when it hung.
static int run(const char *const *words, const char *fault, bool counted) {
    const char *arguments[WORDS + 2] = {"tally"};
    for (int i = 0; i < WORDS && words[i]; i++) arguments[i + 1] = words[i];
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) die("no process");
    if (child == 0) {
        setpgid(0, 0);
        int out = open("out.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        int err = open("err.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        setenv("TALLY_FAULT", fault, 1);
        setenv("TALLY_FAULT_COUNTS", counted ? "../counts.txt" : "/dev/null", 1);
        if (dup2(out, 1) < 0 || dup2(err, 2) < 0 || chdir("work") != 0) _exit(98);
        close(out);
        close(err);
        execv("../tally", (char *const *)arguments);
        _exit(97);
    }
    int status = 0;
    for (int tick = 0; waitpid(child, &status, WNOHANG) == 0; tick++) {
        if (tick >= SECONDS * 500) {
            kill(-child, SIGKILL);
            waitpid(child, &status, 0);
            return -1000;
        }
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// A line "tally: WHAT: WHY" on stderr.
static bool has_said(void) {
    size_t size;
    struct err ignored;
    char *text = (char *)file_read_new(&size, "err.txt", 1 << 20, &ignored);
    char *said = text ? strstr(text, "tally: ") : NULL;
    bool good = said && strlen(said) > 20 && strchr(said + 7, ':') && strchr(said, '\n');
    mem_free(text);
    return good;
}

static void before_restore(void) {
    shell("rm -rf work && cp -a before work");
}

static bool is_given(const char *const *words) {
    return words[0] != NULL;
}

// --- one command ---------------------------------------------------------------------------------------------------

struct tally {
    long injected[CALLS_MAX],
        survived[CALLS_MAX]; // of each fault of the table: in all, and with exit status 0
    long failed;
};

static void complain(const struct command *c, const char *fault, const char *what) {
    printf("FAILED %s %s: %s\n", c->name, fault, what);
    fflush(stdout);
    shell("sed 's/^/    stderr: /' err.txt");
}

// How often the unbroken run makes the call, in one of its processes of that depth.
static long count_of(const char *call, int depth) {
    FILE *f = fopen("counts.txt", "r");
    char name[40];
    int at;
    long count, most = 0;
    while (f && fscanf(f, "%d %39s %ld", &at, name, &count) == 3)
        if (at == depth && strcmp(name, call) == 0 && count > most) most = count;
    if (f) fclose(f);
    return most;
}

static const char *again_check(const struct command *c, bool litter, struct err *e) {
    char there[PATH];
    snprintf(there, sizeof there, "work/%s", c->if_there ? c->if_there : "");
    bool other = is_given(c->again) && file_exists(there);
    int status = run(other ? c->again : c->words, "", false);
    if (status != 0) return "the same command fails afterwards";
    if (state_done("work", "wanted", litter, e) != 0) return e->text;
    return state_same("out.txt", "wanted.txt") ? NULL : "the same command prints something else afterwards";
}

// NULL, or what is wrong.
static const char *fault_check(const struct command *c, const struct fault *f, const char *fault, int *status,
                               struct err *e) {
    bool kill = f->after == KILLED,
         litter = kill || c->killed || strcmp(f->call, "unlink") == 0 || strcmp(f->call, "rmdir") == 0;
    before_restore();
    *status = run(c->words, fault, false);
    if (*status == -1000) return "hangs";
    if (kill && c->depth == 0 && *status != -SIGKILL) return "was not killed";
    if (*status != 0 && *status != 1 && !(kill && *status == -SIGKILL))
        return err_set(e, "ends with %d", *status), e->text;
    if (f->after == GOOD && *status != 0) return "does not bear what is harmless";
    if (*status == 1 && !has_said()) return "fails without a message";
    if (*status == 0 && state_done("work", "wanted", litter, e) != 0) return e->text;
    if (*status == 0 && !state_same("out.txt", "wanted.txt")) return "prints something else";
    if (*status == 0) return NULL;
    if (state_whole("work", "before", "wanted", litter, e) != 0) return e->text;
    return again_check(c, litter, e);
}

static bool is_polled(const char *call) {
    return strcmp(call, "waitpid") == 0;
}

// Between fork and another program's start nobody counts; each child begins with its parent's numbers, which are 0.
static long unseen_count(const char *call, int depth) {
    long most = strcmp(call, "dup2") == 0 ? 2 : strcmp(call, "execv") == 0;
    return count_of("fork", depth) ? most : 0;
}

static void faults_run(struct tally *t, const struct command *c, int every, long *turn) {
    for (int k = 0; k < FAULTS; k++) {
        const struct fault *f = &faults[k];
        long count = count_of(f->call, c->depth);
        count = count ? count : unseen_count(f->call, c->depth);
        if (is_polled(f->call) && count > SOME) count = SOME;  // as often as it takes
        if (f->on && f->after == GOOD && count > 1) count = 1; // from the first on is all of them
        for (long n = 1; n <= count; n++) {
            if ((*turn)++ % every != 0) continue;
            char fault[64], what[16];
            struct err e;
            int status;
            snprintf(what, sizeof what, "%d", f->error);
            snprintf(fault, sizeof fault, "%s:%ld%s:%s:%d", f->call, n, f->on ? "+" : "",
                     f->what ? f->what : what, c->depth);
            const char *wrong = fault_check(c, f, fault, &status, &e);
            t->injected[k]++;
            if (wrong)
                t->failed++, complain(c, fault, wrong);
            else
                t->survived[k] += status == 0;
        }
    }
}

static void command_run(struct tally *t, const struct command *c, int every, long *turn) {
    struct tally own = {.failed = 0};
    time_t start = time(NULL);
    shell("rm -rf work before wanted && mkdir work");
    if (is_given(c->before) &&
        run(c->before, c->killed ? c->killed : "", false) != (c->killed ? -SIGKILL : 0))
        die("what comes before a command fails");
    shell("cp -a work before && rm -f counts.txt");
    if (run(c->words, "", true) != 0) {
        complain(c, "unbroken", "fails");
        t->failed++;
        return;
    }
    shell("cp -a work wanted && cp -a out.txt wanted.txt");
    faults_run(&own, c, every, turn);
    long injected = 0, survived = 0;
    for (int k = 0; k < FAULTS; k++) {
        injected += own.injected[k], survived += own.survived[k];
        t->injected[k] += own.injected[k], t->survived[k] += own.survived[k];
    }
    t->failed += own.failed;
    printf("%-20s %6ld faults: %6ld harmless, %6ld told, %ld failed  (%ld s)\n", c->name, injected, survived,
           injected - survived - own.failed, own.failed, (long)(time(NULL) - start));
    fflush(stdout);
}

// --- what the commands read ----------------------------------------------------------------------------------------

static void text_write(const char *path, const char *text) {
    struct err e;
    if (file_write_text(path, text, &e) != 0) die(e.text);
}

static void bytes_write(const char *path, const void *head, size_t head_size, size_t size, int modulus) {
    uint8_t *bytes = mem_new(head_size + size, 1);
    struct err e;
    if (head_size) memcpy(bytes, head, head_size);
    for (size_t i = 0; i < size; i++) bytes[head_size + i] = (uint8_t)(i * 37 % (size_t)modulus);
    if (file_write_bytes(path, bytes, head_size + size, &e) != 0) die(e.text);
    mem_free(bytes);
}

static void sets_write(void) {
    static const uint8_t images[16] = {0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 28, 0, 0, 0, 28};
    static const uint8_t labels[8] = {0, 0, 8, 1, 0, 0, 0, 40};
    static const char *const batches[] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                          "data_batch_4", "data_batch_5", "test_batch"};
    char path[PATH];
    for (int test = 0; test < 2; test++) {
        snprintf(path, sizeof path, "in/mnist/%s-images-idx3-ubyte", test ? "t10k" : "train");
        bytes_write(path, images, sizeof images, 40 * 784, 251);
        snprintf(path, sizeof path, "in/mnist/%s-labels-idx1-ubyte", test ? "t10k" : "train");
        bytes_write(path, labels, sizeof labels, 40, 10);
    }
    shell("gzip in/mnist/t10k* in/mnist/train-labels*");
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "in/cifar10/%s.bin", batches[i]);
        bytes_write(path, NULL, 0, 5 * 3073, 10);
    }
    char text[2001] = "";
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = "a text of more than one kind of letter.\n"[i % 40];
    text_write("in/text.txt", text);
}

// It draws the same for all plots, and at once.
static void gnuplot_write(void) {
    char path[2 * PATH], folder[PATH];
    const char *usual = getenv("PATH");
    shell("mkdir in/bin");
    text_write("in/bin/gnuplot", "#!/bin/sh\ncat >/dev/null\n"
                                 "echo '<svg><g id=\"gnuplot_canvas\"><path d=\"M0 0h9\"/></g></svg>'\n");
    shell("chmod +x in/bin/gnuplot");
    if (!getcwd(folder, sizeof folder)) die("where am I?");
    snprintf(path, sizeof path, "%s/in/bin:%s", folder, usual ? usual : "/usr/bin:/bin");
    setenv("PATH", path, 1);
}

static void inputs_make(void) {
    static const char *const steps[][WORDS] = {
        {"train", "../in/config.json", "--out", "../in/run", "--threads", "1", "--quiet", "--no-report"},
        {"export", "../in/run", "-o", "../in/model.tally"},
        {"eval", "../in/run", "--inputs", "../in/x.npy", "--labels", "../in/npy/y.npy"},
        {"data", "digits", "train=40", "test=20", "--png", "../in/png"},
    };
    shell("rm -rf faults.d && mkdir -p faults.d && cp '" TEST_PROGRAM
          "' faults.d/tally"); // it stays as it is meanwhile
    if (chdir("faults.d") != 0) die("faults.d");
    shell("mkdir -p work in/mnist in/cifar10 in/npy");
    gnuplot_write();
    text_write("in/config.json", config);
    text_write("in/compare.json", compare);
    sets_write();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (run(steps[i], "", false) != 0) die("what the commands read can't be made; see faults.d/err.txt");
    shell("cp in/x.npy in/npy && cp -a in in.before");
}

// -------------------------------------------------------------------------------------------------------------------

static void table_print(const struct tally *t) {
    printf("\n%-14s %-28s %8s %8s\n", "call", "fault", "injected", "harmless");
    long injected = 0, survived = 0;
    for (int k = 0; k < FAULTS; k++) {
        const struct fault *f = &faults[k];
        char what[64];
        snprintf(what, sizeof what, "%.40s%s", f->what ? f->what : strerror(f->error), f->on ? " ..." : "");
        printf("%-14s %-28s %8ld %8ld\n", f->call, what, t->injected[k], t->survived[k]);
        injected += t->injected[k], survived += t->survived[k];
    }
    printf("%ld faults: %ld harmless, %ld told, %ld failed\n", injected, survived,
           injected - survived - t->failed, t->failed);
}

static bool is_command(const char *word) {
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0) return true;
    return false;
}

int main(int argc, char **argv) {
    int every = 1, first = 1;
    if (argc > 2 && strcmp(argv[1], "--every") == 0) every = atoi(argv[2]), first = 3;
    for (int k = first; k < argc; k++) every = is_command(argv[k]) ? every : 0;
    if (every < 1) die("usage: faults [--every N] [COMMAND ...]; the commands are in tests/faults/faults.c");
    // A sanitizer's report has a status of its own, and the program does not start itself anew.
    setenv("ASAN_OPTIONS", "exitcode=99", 1);
    setenv("UBSAN_OPTIONS", "exitcode=99:print_stacktrace=1", 1);
    setenv("GOMP_SPINCOUNT", "1000", 1);
    setenv("TMPDIR", ".", 1);
    inputs_make();
    struct tally t = {.failed = 0};
    long turn = 0;
    for (int i = 0; i < COMMANDS; i++) {
        bool chosen = first >= argc;
        for (int k = first; k < argc; k++) chosen |= strcmp(argv[k], commands[i].name) == 0;
        if (chosen) command_run(&t, &commands[i], every, &turn);
    }
    table_print(&t);
    if (system("diff -r in in.before") != 0) die("what the commands read has changed");
    return t.failed || turn == 0;
}
