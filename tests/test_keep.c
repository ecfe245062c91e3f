// What a run keeps, through the program: the newest checkpoints and the best one, by epochs and by the clock, to the same
// bits; what --resume takes when files are damaged; a disk that is full, a folder that is gone or can't be written; two runs
// into one folder.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "experiments/checkpoint.h"
#include "experiments/keep.h"
#include "experiments/saved.h"
#include "src/file.h"
#include "tests/check.h"
#include "tests/program.h"

enum { PATH = 300, LOG = 16000, EPOCHS = 10, STEPS = 4 }; // steps of an epoch

// The freeze, after epoch 7, makes the checkpoint larger: from then on it says what is alive.
static const char config_text[] =
    "{\"name\": \"small\", \"data\": {\"set\": {\"digits\": {\"train\": 250, \"test\": 50}}, \"validation\": "
    "50},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 16}}, \"relu\", {\"dropout\": {\"p\": 0.1}}, "
    "{\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.1}}], \"others\": [\"adam\"],\n"
    "  \"sparsity\": {\"target\": 0.1, \"freeze\": 0.7}},\n"
    " \"train\": {\"epochs\": 10, \"batch\": 50, \"shards\": 2}}\n";

static const char compare_text[] = "{\"base\": \"small.json\", \"seeds\": 1, \"variants\": {\"a\": {}}}\n";

#define TRAIN(folder, ...) RUN("train", "small.json", "--no-report", "--quiet", "--out", folder, __VA_ARGS__)

static const char *const frequent[] = {"train.checkpoint_minutes=1e-9", "train.checkpoint_keep=3",
                                       "train.checkpoint_best=loss"};
#define FREQUENT frequent[0], frequent[1], frequent[2]

static const char *inside(char path[PATH], const char *folder, const char *name) {
    snprintf(path, PATH, "%s/%s", folder, name);
    return path;
}

static void command(const char *format, ...) PRINTF_LIKE(1, 2);
static void command(const char *format, ...) {
    char text[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (system(text) != 0) fail_msg("%s", text);
}

// What the program said; from the file of the working directory.
static void log_read(char log[LOG]) {
    struct err e = {""};
    size_t size;
    char *text = (char *)file_read_new(&size, "log.txt", LOG - 1, &e);
    snprintf(log, LOG, "%s", text ? text : e.text);
    mem_free(text);
}

static void assert_log(const char *format, ...) PRINTF_LIKE(1, 2);
static void assert_log(const char *format, ...) {
    char log[LOG], wanted[LOG];
    va_list args;
    va_start(args, format);
    vsnprintf(wanted, sizeof wanted, format, args);
    va_end(args);
    log_read(log);
    assert_string_equal(log, wanted);
}

static unsigned char *bytes_new(size_t *size, const char *folder, const char *name) {
    char path[PATH];
    struct err e;
    unsigned char *bytes = file_read_new(size, inside(path, folder, name), 1 << 24, &e);
    if (!bytes) fail_msg("%s", e.text);
    return bytes;
}

static bool same_file(const char *folder, const char *other, const char *name) {
    size_t sizes[2];
    unsigned char *a = bytes_new(&sizes[0], folder, name), *b = bytes_new(&sizes[1], other, name);
    bool same = sizes[0] == sizes[1] && memcmp(a, b, sizes[0]) == 0;
    mem_free(a);
    mem_free(b);
    return same;
}

static void checkpoint_read(struct safetensors *file, const char *folder, const char *name) {
    char path[PATH];
    struct err e;
    if (checkpoint_open(file, inside(path, folder, name), &e) != 0) fail_msg("%s", e.text);
}

static int64_t step_of(const char *folder, const char *name) {
    struct safetensors file;
    checkpoint_read(&file, folder, name);
    int64_t step = checkpoint_step(&file);
    safetensors_close(&file);
    return step;
}

// The same tensors: for runs that differ in when checkpoints are written.
static void assert_same_tensors(const char *folder, const char *other) {
    struct safetensors a, b;
    checkpoint_read(&a, folder, TRAIN_CHECKPOINT);
    checkpoint_read(&b, other, TRAIN_CHECKPOINT);
    assert_int_equal(a.count, b.count);
    for (int i = 0; i < a.count; i++) {
        const struct safetensor *x = &a.tensors[i], *y = &b.tensors[i];
        assert_string_equal(x->name, y->name);
        assert_memory_equal(x->bytes, y->bytes, shape_size(x->shape) * dtype_bytes(x->dtype));
    }
    safetensors_close(&a);
    safetensors_close(&b);
}

// The lines of metrics.jsonl; line i must be of epoch i + 1. Each gets its number under this key.
static int metrics_read(double *values, int room, const char *folder, const char *key) {
    size_t size;
    char *text = (char *)bytes_new(&size, folder, TRAIN_METRICS), *line = text;
    int count = 0;
    for (; *line; line += strcspn(line, "\n") + 1, count++) {
        struct err e;
        struct json *tree = json_parse_new(line, strcspn(line, "\n"), &e);
        if (!tree) fail_msg("%s, line %d: %s", folder, count + 1, e.text);
        assert_int_equal(json_number(json_find(tree, "epoch")), count + 1);
        if (count < room) values[count] = json_number(json_find(tree, key));
        json_free(tree);
    }
    mem_free(text);
    return count;
}

static int metrics_count(const char *folder) {
    return metrics_read(NULL, 0, folder, "");
}

// The names that end so, with a space after each.
static void names_read(char out[1000], const char *folder, const char *end) {
    struct err e;
    int count = 0;
    char **names = file_names_new(&count, folder, &e);
    out[0] = 0;
    for (int i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        if (length >= strlen(end) && strcmp(names[i] + length - strlen(end), end) == 0)
            snprintf(out + strlen(out), 1000 - strlen(out), "%s ", names[i]);
        mem_free(names[i]);
    }
    mem_free(names);
}

static void assert_names(const char *folder, const char *end, const char *wanted) {
    char names[1000];
    names_read(names, folder, end);
    assert_string_equal(names, wanted);
}

// --- what is kept --------------------------------------------------------------------------------------------------

static void the_last_ones(void **state) {
    (void)state;
    assert_names("plain", ".safetensors", "checkpoint.safetensors ");
    assert_names("whole", ".safetensors",
                 "best.safetensors checkpoint-38.safetensors checkpoint-39.safetensors "
                 "checkpoint-40.safetensors checkpoint.safetensors ");
    for (int step = 38; step <= 40; step++) {
        char name[40];
        snprintf(name, sizeof name, "checkpoint-%d.safetensors", step);
        assert_int_equal(step_of("whole", name), step);
    }
    command("cmp whole/checkpoint-40.safetensors whole/checkpoint.safetensors");
    assert_int_equal(TRAIN("third", "train.checkpoint_every=3", "train.checkpoint_keep=2"), 0);
    assert_names("third", ".safetensors",
                 "checkpoint-36.safetensors checkpoint-40.safetensors checkpoint.safetensors ");
    // What else has such a name stays; fewer are kept from here on.
    command("touch third/checkpoint-.safetensors third/checkpoint-5.safetensors.bak "
            "third/checkpoint-x.safetensors");
    command("rm third/summary.json");
    assert_int_equal(TRAIN("third", "train.checkpoint_every=3", "train.checkpoint_keep=1", "--resume"), 0);
    assert_names("third", ".bak", "checkpoint-5.safetensors.bak ");
    assert_int_equal(keep_step_of("checkpoint-0.safetensors"), 0);
    assert_int_equal(keep_step_of("checkpoint-12345678901.safetensors"), 12345678901);
    static const char *const others[] = {"checkpoint.safetensors",    "checkpoint-.safetensors",
                                         "checkpoint--1.safetensors", "checkpoint-1.safetensor",
                                         "checkpoint- 1.safetensors", "Checkpoint-1.safetensors",
                                         "checkpoint-1x.safetensors", ""};
    for (int i = 0; i < 8; i++) assert_int_equal(keep_step_of(others[i]), -1);
}

// A file system without second names: the file is written twice.
static bool no_links;

int link(const char *from, const char *to) {
    if (no_links) return errno = EPERM, -1;
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static void without_links(void **state) {
    (void)state;
    static const char *const changes[] = {"train.checkpoint_keep=2", "train.epochs=3"};
    const struct run_options options = {.threads = 1};
    const struct train_options how = {.folder = "nolinks", .quiet = true};
    for (int i = 0; i < 2; i++) {
        struct run r;
        struct config config;
        struct json *summary = NULL;
        enum train_status status;
        struct stat info;
        struct err e = {""};
        command("mkdir nolinks");
        if (config_open(&config, "small.json", changes, 2, &e) != 0 ||
            run_open(&r, &config, &options, &e) != 0)
            fail_msg("%s", e.text);
        no_links = i;
        int result = train(&r, &how, &status, &summary, &e);
        no_links = false;
        if (result != 0) fail_msg("%s", e.text);
        json_free(summary);
        run_close(&r);
        assert_names("nolinks", ".safetensors",
                     "checkpoint-12.safetensors checkpoint-8.safetensors checkpoint.safetensors ");
        assert_int_equal(stat("nolinks/checkpoint.safetensors", &info), 0);
        assert_int_equal(info.st_nlink, i ? 1 : 2);
        command("cmp nolinks/checkpoint.safetensors nolinks/checkpoint-12.safetensors && rm -r nolinks");
    }
}

// A checkpoint after every step, packed layers and all: the same numbers.
static void the_clock_does_not_matter(void **state) {
    (void)state;
    double plain[EPOCHS], whole[EPOCHS];
    assert_same_tensors("plain", "whole");
    assert_int_equal(metrics_read(plain, EPOCHS, "plain", "validation_loss"), EPOCHS);
    assert_int_equal(metrics_read(whole, EPOCHS, "whole", "validation_loss"), EPOCHS);
    assert_memory_equal(plain, whole, sizeof plain);
    assert_int_equal(TRAIN("again", FREQUENT), 0);
    assert_true(same_file("whole", "again", "checkpoint.safetensors"));
    assert_true(same_file("whole", "again", "best.safetensors"));
}

// best.safetensors is of the first of the best epochs, says how good it was, and is a run to be looked at.
static void the_best(void **state) {
    (void)state;
    static const char *const keys[] = {"loss", "error"};
    for (int i = 0; i < 2; i++) {
        char folder[20], option[40], key[40];
        double found[EPOCHS], text;
        struct safetensors file;
        int best = 0;
        snprintf(folder, sizeof folder, "best-%s", keys[i]);
        snprintf(option, sizeof option, "train.checkpoint_best=%s", keys[i]);
        snprintf(key, sizeof key, "validation_%s", keys[i]);
        assert_int_equal(TRAIN(folder, option, "optim.weights.0.counter.rate=0.5"), 0);
        assert_int_equal(metrics_read(found, EPOCHS, folder, key), EPOCHS);
        for (int epoch = 1; epoch < EPOCHS; epoch++)
            if (found[epoch] < found[best]) best = epoch;
        assert_true(best > 0 && best < EPOCHS - 1); // else this says little
        assert_int_equal(step_of(folder, TRAIN_BEST), (best + 1) * STEPS);
        checkpoint_read(&file, folder, TRAIN_BEST);
        text = strtod(safetensors_meta(&file, i ? "validation_wrong" : "validation_loss"), NULL);
        assert_near(i ? text / 50 * 100 : text / 50, found[best], 1e-9);
        safetensors_close(&file);
    }
    assert_int_equal(RUN("eval", "best-loss/best.safetensors"), 0);
}

// One that can't be read when a run goes on is said, and the best of what follows takes its place.
static void the_best_is_damaged(void **state) {
    (void)state;
    command(
        "cp -r whole worst && truncate -s 5 worst/best.safetensors && rm worst/checkpoint-39.safetensors "
        "worst/checkpoint-40.safetensors && cp worst/checkpoint-38.safetensors worst/checkpoint.safetensors");
    assert_int_equal(TRAIN("worst", FREQUENT, "--resume"), 0);
    assert_log("warning: worst/best.safetensors: not a safetensors file, or cut off; the best epoch from "
               "here on takes "
               "its place\n");
    assert_int_equal(step_of("worst", TRAIN_BEST), 40);
    assert_true(same_file("whole", "worst", "checkpoint.safetensors"));
}

// --- going on ------------------------------------------------------------------------------------------------------

#define CUT ": not a safetensors file, or cut off"

static void the_newest_that_is_whole(void **state) {
    (void)state;
    static const struct {
        const char *harm, *said;
        int status;
    } rows[] = {
        {"true", "", 0},
        {"truncate -s 5 checkpoint.safetensors",
         "warning: torn/checkpoint.safetensors" CUT
         "; going on from torn/checkpoint-40.safetensors instead\n",
         0},
        {"truncate -s 5 checkpoint.safetensors checkpoint-40.safetensors",
         "warning: torn/checkpoint.safetensors" CUT
         "; going on from torn/checkpoint-39.safetensors instead\n",
         0},
        {"truncate -s 5 checkpoint.safetensors checkpoint-40.safetensors; rm checkpoint-39.safetensors",
         "warning: torn/checkpoint.safetensors" CUT
         "; going on from torn/checkpoint-38.safetensors instead\n",
         0},
        {"rm checkpoint.safetensors checkpoint-40.safetensors; echo > checkpoint-9999.safetensors",
         "warning: torn/checkpoint.safetensors: No such file or directory; going on from "
         "torn/checkpoint-39.safetensors instead\n",
         0},
        {"rm checkpoint*",
         "warning: torn/checkpoint.safetensors: No such file or directory; going on from "
         "torn/best.safetensors instead\n",
         0},
        {"truncate -s 5 checkpoint*; rm best.safetensors",
         "tally: torn/checkpoint.safetensors" CUT "; there is no other checkpoint\n", 1},
        {"rm *.safetensors", "tally: torn/checkpoint.safetensors: nothing to resume\n", 1},
        {"rm checkpoint-39* checkpoint-40*; cp checkpoint-38* checkpoint.safetensors; echo > "
         "checkpoint-98.safetensors; "
         "echo > checkpoint-99.safetensors",
         "", 0},
        {"mv checkpoint-38.safetensors x; rm checkpoint*; cp x checkpoint.safetensors", "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        command("rm -rf torn && cp -r whole torn && rm torn/summary.json && cd torn && %s", rows[i].harm);
        print_message("%s\n", rows[i].harm);
        assert_int_equal(TRAIN("torn", FREQUENT, "--resume"), rows[i].status);
        assert_log("%s", rows[i].said);
        if (rows[i].status != 0) continue;
        assert_true(same_file("whole", "torn", "checkpoint.safetensors"));
        assert_true(same_file("whole", "torn", "best.safetensors"));
        assert_int_equal(metrics_count("torn"), EPOCHS);
        assert_true(same_file("whole", "torn", "checkpoint-40.safetensors"));
    }
    assert_int_equal(TRAIN("nowhere", "--resume"), 1);
    assert_log("tally: nowhere/checkpoint.safetensors: nothing to resume\n");
    assert_false(file_exists("nowhere"));
}

// Lines of epochs that will be made again, half a line, and what is none: only what the checkpoint has stays.
static void metrics_are_trimmed(void **state) {
    (void)state;
    command("rm -rf torn && cp -r whole torn && rm torn/summary.json torn/checkpoint.safetensors "
            "torn/checkpoint-39.safetensors torn/checkpoint-40.safetensors");
    command("printf '\\0\\0\\0\\n{\"epoch\": 10}\\n[]\\n{\"epoch\": \"one\"}\\n{\"epoch\": 9' >> "
            "torn/metrics.jsonl");
    assert_int_equal(TRAIN("torn", FREQUENT, "--resume"), 0);
    double whole[EPOCHS], torn[EPOCHS];
    assert_int_equal(metrics_read(whole, EPOCHS, "whole", "loss"), EPOCHS);
    assert_int_equal(metrics_read(torn, EPOCHS, "torn", "loss"), EPOCHS);
    assert_memory_equal(whole, torn, sizeof whole);
}

// A compare goes on from an older file as well, and does not take a damaged run for a finished one.
static void compare_goes_on(void **state) {
    (void)state;
    assert_int_equal(RUN("compare", "compare.json", "--out", "two", "--quiet"), 0);
    command("cp two/a-1/checkpoint.safetensors two/a-1/checkpoint-40.safetensors && truncate -s 5 "
            "two/a-1/checkpoint.safetensors");
    assert_int_equal(RUN("compare", "compare.json", "--out", "two", "--quiet"), 0);
    assert_int_equal(step_of("two/a-1", TRAIN_CHECKPOINT), 40);
    assert_false(file_exists("two/a-1.old1"));
}

// --- the disk ------------------------------------------------------------------------------------------------------

// From the freeze on checkpoints no longer fit: the run goes on to its end, which is an error, and the last good checkpoint
// can be gone on from.
static void a_full_disk(void **state) {
    (void)state;
    struct rlimit old, tight;
    struct stat info;
    assert_int_equal(stat("plain/checkpoint.safetensors", &info), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){(rlim_t)info.st_size - 1000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    pid_t child = program_start(
        (const char *const[]){"train", "small.json", "--no-report", "--quiet", "--out", "full", NULL});
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(program_end(child), 1);
    static const char said[] = "full/checkpoint.safetensors: File too large; the checkpoint of step 28 stays";
    assert_log("warning: %s, the run goes on\ntally: %s\n", said, said);
    assert_int_equal(step_of("full", TRAIN_CHECKPOINT), 28);
    assert_int_equal(metrics_count("full"), EPOCHS);
    assert_names("full", ".tmp", "");
    assert_false(file_exists("full/summary.json") || file_exists("full/.lock"));
    assert_int_equal(TRAIN("full", "--resume"), 0);
    assert_true(same_file("plain", "full", "checkpoint.safetensors"));
    assert_int_equal(metrics_count("full"), EPOCHS);
}

static void a_name_that_is_taken(void **state) {
    (void)state;
    command("mkdir -p taken/summary.json");
    assert_int_equal(TRAIN("taken", "train.epochs=1"), 1);
    assert_log("tally: taken/summary.json: Is a directory\n");
    command("rm -r taken; mkdir -p taken/checkpoint.safetensors");
    assert_int_equal(TRAIN("taken", "train.epochs=2"), 1);
    assert_log(
        "warning: taken/checkpoint.safetensors: Is a directory; there is no checkpoint, the run goes on\n"
        "tally: taken/checkpoint.safetensors: Is a directory; there is no checkpoint\n");
    command("rm -r taken; mkdir -p taken/best.safetensors");
    assert_int_equal(TRAIN("taken", "train.epochs=1", "train.checkpoint_best=loss"), 1);
    assert_log("tally: taken/best.safetensors: Is a directory; the checkpoint of step 4 stays\n");
    assert_int_equal(step_of("taken", TRAIN_CHECKPOINT), STEPS);
    command("rm -r taken; mkdir -p taken/metrics.jsonl");
    assert_int_equal(TRAIN("taken", "train.epochs=1"), 1);
    assert_log("tally: taken/metrics.jsonl: Is a directory\n");
    command("rm -r taken; mkdir taken; touch taken/file");
    assert_int_equal(TRAIN("taken/file", "train.epochs=1"), 1);
    assert_log("tally: taken/file: not a folder\n");
}

// --- a run that is going -------------------------------------------------------------------------------------------

#define LONG "train.epochs=50"

static pid_t long_start(const char *folder) {
    return program_start(
        (const char *const[]){"train", "small.json", "--no-report", "--quiet", "--out", folder, LONG, NULL});
}

static bool is_over(pid_t child) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid;
}

static void until_file(pid_t child, const char *path) {
    while (!file_exists(path) && !is_over(child)) usleep(300);
}

static void until_warned(pid_t child) {
    char log[LOG] = "";
    for (; !strstr(log, "warning: ") && !is_over(child); log_read(log)) usleep(300);
}

// It stands still when this returns.
static void halt(pid_t child) {
    int status;
    kill(child, SIGSTOP);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status)); // or it was over before anything could happen to it
}

// Every line that the program said is one of these two, the step being any.
static void assert_only(const char *first, const char *second) {
    char log[LOG], line[LOG];
    log_read(log);
    assert_true(*log);
    for (char *at = log; *at; at += strcspn(at, "\n") + 1) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        char *step = strstr(line, "of step ");
        if (step)
            memmove(step + 8, step + 8 + strspn(step + 8, "0123456789"),
                    strlen(step + 8) + 1 - strspn(step + 8, "0123456789"));
        if (strcmp(line, first) != 0 && strcmp(line, second) != 0) fail_msg("%s", line);
    }
}

// The folder is moved away and comes back: nothing is lost.
static void a_folder_that_comes_back(void **state) {
    (void)state;
    pid_t child = long_start("gone");
    until_file(child, "gone/checkpoint.safetensors");
    halt(child);
    assert_int_equal(rename("gone", "away"), 0);
    kill(child, SIGCONT);
    until_warned(child);
    halt(child);
    assert_false(file_exists("gone"));
    assert_int_equal(rename("away", "gone"), 0);
    kill(child, SIGCONT);
    assert_int_equal(program_end(child), 0);
    assert_only("warning: gone/metrics.jsonl: No such file or directory; the checkpoint of step  stays, the "
                "run goes on",
                "");
    assert_int_equal(metrics_count("gone"), 50);
    assert_int_equal(TRAIN("long", LONG, "train.checkpoint_every=50"), 0);
    assert_same_tensors("gone", "long");
}

static void a_folder_that_stays_away(void **state) {
    (void)state;
    pid_t child = long_start("lost");
    until_file(child, "lost/checkpoint.safetensors");
    halt(child);
    assert_int_equal(rename("lost", "moved"), 0);
    kill(child, SIGCONT);
    assert_int_equal(program_end(child), 1);
    assert_only("warning: lost/metrics.jsonl: No such file or directory; the checkpoint of step  stays, the "
                "run goes on",
                "tally: lost/metrics.jsonl: No such file or directory; the checkpoint of step  stays");
    assert_false(file_exists("lost"));
    // Where it was moved to it is a run as any other.
    assert_true(step_of("moved", TRAIN_CHECKPOINT) > 0);
    assert_int_equal(TRAIN("moved", LONG, "--resume"), 0);
    assert_same_tensors("moved", "long");
}

// Whether the run noticed that its folder was exchanged. One that stood still between its look at the folder and its write did not.
static bool another_is_seen(void) {
    struct lock other;
    struct err e;
    pid_t child = long_start("mine");
    until_file(child, "mine/checkpoint.safetensors");
    halt(child);
    assert_int_equal(rename("mine", "removed"), 0);
    assert_int_equal(lock_take(&other, "mine", &e), 0);
    kill(child, SIGCONT);
    until_warned(child);
    kill(child, SIGTERM);
    int status = program_end(child);
    bool seen = !file_exists("mine/checkpoint.safetensors");
    assert_true(file_exists("mine/.lock"));
    lock_release(&other, "mine");
    if (!seen) return command("rm -r mine removed"), false;
    assert_int_equal(status, 1);
    assert_only("warning: mine: this run's folder is gone, and another run writes into the one of its name; "
                "the checkpoint "
                "of step  stays, the run goes on",
                "tally: mine: this run's folder is gone, and another run writes into the one of its name; "
                "the checkpoint of "
                "step  stays");
    assert_names("mine", "", "");
    return true;
}

// Removed, and another process works in a folder of its name: it is left alone.
static void a_folder_of_another(void **state) {
    (void)state;
    bool seen = false;
    for (int tries = 0; tries < 5 && !seen; tries++) seen = another_is_seen();
    assert_true(seen);
}

static void two_runs(void **state) {
    (void)state;
    pid_t child = long_start("shared");
    until_file(child, "shared/checkpoint.safetensors");
    halt(child);
    assert_int_equal(rename("log.txt", "first.txt"), 0);
    assert_int_equal(TRAIN("shared", "train.epochs=1"), 1);
    assert_log("tally: shared: in use by process %ld; wait for it or choose another --out\n", (long)child);
    assert_int_equal(TRAIN("shared", LONG, "--resume"), 1);
    assert_log("tally: shared: in use by process %ld; wait for it or choose another --out\n", (long)child);
    assert_int_equal(TRAIN("shared/", "train.epochs=1"), 1);
    kill(child, SIGTERM);
    kill(child, SIGCONT);
    assert_int_equal(program_end(child), 130);
    assert_false(file_exists("shared/.lock") || file_exists("shared.old1"));
    // Killed, it lets go, and what it left is no lock: neither for going on nor for a new run.
    child = program_start((const char *const[]){"train", "small.json", "--no-report", "--quiet", "--out",
                                                "shared", LONG, "--resume", NULL});
    until_file(child, "shared/.lock");
    kill(child, SIGKILL);
    assert_int_equal(program_end(child), -SIGKILL);
    assert_true(file_exists("shared/.lock"));
    command("echo '1 elsewhere' > shared/.lock; touch shared/checkpoint.safetensors.999999999.tmp");
    assert_int_equal(TRAIN("shared", LONG, "--resume"), 0);
    assert_same_tensors("shared", "long");
    assert_names("shared", ".tmp", "");
    command("echo '1 elsewhere' > shared/.lock");
    assert_int_equal(TRAIN("shared", "train.epochs=1"), 0);
    assert_true(file_exists("shared.old1/checkpoint.safetensors"));
    assert_false(file_exists("shared/.lock") || file_exists("shared.old1/.lock"));
}

// Also into the folder of a compare or a sweep, and of one of its runs.
static void two_compares(void **state) {
    (void)state;
    static const struct {
        const char *verb, *what, *folder, *held, *values;
    } rows[] = {{"compare", "compare.json", "held", "held", NULL},
                {"compare", "plain", "held", "held", NULL},
                {"sweep", "small.json", "held", "held", "seed=1,2"},
                {"train", "small.json", "held", "held", NULL},
                {"compare", "compare.json", "free", "free/a-1", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lock lock;
        struct err e;
        assert_int_equal(lock_take(&lock, rows[i].held, &e), 0);
        assert_int_equal(RUN(rows[i].verb, rows[i].what, "--out", rows[i].folder, "--quiet", rows[i].values),
                         1);
        assert_log("tally: %s: in use by process %ld; wait for it or choose another --out\n", rows[i].held,
                   (long)getpid());
        lock_release(&lock, rows[i].held);
    }
    assert_int_equal(RUN("compare", "compare.json", "--out", "free", "--quiet"), 0);
    assert_false(file_exists("free/.lock") || file_exists("free/a-1/.lock"));
}

// --- file systems of our own, where that is allowed ----------------------------------------------------------------

static void mounts_or_skip(void) {
    static int allowed = -1;
    if (allowed < 0)
        allowed = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                  mkdir("mounted", 0777) == 0 && mount("none", "mounted", "tmpfs", 0, "size=4k") == 0 &&
                  umount("mounted") == 0;
    if (allowed) return;
    print_message("skipped: no file system may be mounted here\n");
    skip();
}

static void a_really_full_disk(void **state) {
    (void)state;
    mounts_or_skip();
    assert_int_equal(mount("none", "mounted", "tmpfs", 0, "size=40k"), 0);
    assert_int_equal(TRAIN("mounted/run", "train.epochs=2"), 1);
    static const char said[] =
        "mounted/run/checkpoint.safetensors: No space left on device; there is no checkpoint";
    assert_log("warning: %s, the run goes on\ntally: %s\n", said, said);
    assert_names("mounted/run", "", "config.json metrics.jsonl ");
    assert_int_equal(umount("mounted"), 0);
}

static void a_folder_that_is_only_read(void **state) {
    (void)state;
    mounts_or_skip();
    assert_int_equal(mount("none", "mounted", "tmpfs", 0, "size=4m"), 0);
    assert_int_equal(TRAIN("mounted/run", "train.epochs=2"), 0);
    assert_int_equal(mount("none", "mounted", "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(TRAIN("mounted/new", "train.epochs=2"), 1);
    assert_log("tally: mounted/new: Read-only file system\n");
    assert_int_equal(TRAIN("mounted/run", "train.epochs=2", "--resume"), 1);
    assert_log("tally: mounted/run/.lock: Read-only file system\n");
    assert_int_equal(umount("mounted"), 0);
    // And one that becomes so for a while.
    pid_t child = long_start("turns");
    until_file(child, "turns/checkpoint.safetensors");
    halt(child);
    assert_int_equal(mount("none", "turns", "tmpfs", MS_RDONLY, "size=4k"), 0);
    kill(child, SIGCONT);
    until_warned(child);
    halt(child);
    assert_int_equal(umount("turns"), 0);
    kill(child, SIGCONT);
    assert_int_equal(program_end(child), 0);
    char log[LOG];
    log_read(log);
    for (char *at = log, *end; *at; at = end + strspn(end, "\n")) { // metrics, or the checkpoint behind them
        end = at + strcspn(at, "\n");
        assert_memory_equal(at, "warning: turns/", 15);
        char *rest = strstr(at, ": Read-only file system; the checkpoint of step ");
        assert_true(rest && rest < end);
    }
    assert_true(*log);
    assert_int_equal(metrics_count("turns"), 50);
    assert_same_tensors("turns", "long");
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "keep-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    if (!mkdtemp(folder) || chdir(folder) != 0 || file_write_text("small.json", config_text, &e) != 0 ||
        file_write_text("compare.json", compare_text, &e) != 0)
        return -1;
    return TRAIN("plain", "--threads", "1") == 0 && TRAIN("whole", FREQUENT) == 0 ? 0 : -1;
}

static int folder_remove(void **state) {
    (void)state;
    return system("rm -rf \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_ones),
        cmocka_unit_test(without_links),
        cmocka_unit_test(the_clock_does_not_matter),
        cmocka_unit_test(the_best),
        cmocka_unit_test(the_best_is_damaged),
        cmocka_unit_test(the_newest_that_is_whole),
        cmocka_unit_test(metrics_are_trimmed),
        cmocka_unit_test(compare_goes_on),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(a_name_that_is_taken),
        cmocka_unit_test(a_folder_that_comes_back),
        cmocka_unit_test(a_folder_that_stays_away),
        cmocka_unit_test(a_folder_of_another),
        cmocka_unit_test(two_runs),
        cmocka_unit_test(two_compares),
        cmocka_unit_test(a_really_full_disk),
        cmocka_unit_test(a_folder_that_is_only_read),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
