// Training runs as children: the same bits as single runs, nothing trained twice, a stop and what goes on from it, what a
// failing child says.
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "experiments/jobs.h"
#include "experiments/saved.h"
#include "src/file.h"
#include "tests/check.h"

static const char config_text[] =
    "{\"name\": \"small\", \"seed\": 1, \"data\": {\"set\": {\"digits\": {\"train\": 400, \"test\": 50}}, "
    "\"validation\": 100},\n"
    " \"model\": [\"flatten\", {\"linear\": {\"out\": 12}}, \"relu\", {\"linear\": {\"out\": 10}}],\n"
    " \"optim\": {\"weights\": [{\"counter\": {\"rate\": 0.03, \"leak\": 0.03}}], \"others\": [\"adam\"]},\n"
    " \"train\": {\"epochs\": 3, \"batch\": 50, \"shards\": 2}}\n";

static void add(struct jobs *jobs, const char *folder, const char *const *overrides) {
    struct json *config = json_of(config_text);
    struct err e;
    for (int i = 0; overrides && overrides[i]; i++)
        if (json_override(config, overrides[i], &e) != 0) fail_msg("%s", e.text);
    jobs_add(jobs, folder, config);
}

#define ADD(jobs, folder, ...) add(jobs, folder, (const char *const[]){__VA_ARGS__, NULL})

static int run(const struct jobs *jobs, int at_once, struct err *e) {
    struct jobs_options options = {.program = TEST_PROGRAM, .at_once = at_once, .quiet = true};
    e->text[0] = 0;
    return jobs_run(jobs, &options, e);
}

static void assert_same_file(const char *a, const char *b) {
    size_t size_a, size_b;
    struct err e;
    unsigned char *bytes_a = file_read_new(&size_a, a, 1 << 24, &e),
                  *bytes_b = file_read_new(&size_b, b, 1 << 24, &e);
    assert_non_null(bytes_a);
    assert_non_null(bytes_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    mem_free(bytes_a);
    mem_free(bytes_b);
}

static struct timespec changed(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) fail_msg("%s is not there", path);
    return info.st_mtim;
}

static bool unchanged(const char *path, struct timespec before) {
    struct timespec now = changed(path);
    return now.tv_sec == before.tv_sec && now.tv_nsec == before.tv_nsec;
}

static int alone(const char *arguments) {
    char command[512];
    snprintf(command, sizeof command, "'%s' train %s --quiet 2>alone.txt", TEST_PROGRAM, arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void same_bits_and_no_second_time(void **state) {
    (void)state;
    struct jobs jobs = {0};
    struct err e;
    ADD(&jobs, "many/a", "seed=1");
    ADD(&jobs, "many/b", "seed=2");
    assert_int_equal(jobs.list[0].epochs, 3);
    assert_false(job_done(&jobs.list[0]));
    if (run(&jobs, 2, &e) != 0) fail_msg("%s", e.text);
    assert_true(job_done(&jobs.list[0]) && job_done(&jobs.list[1]));
    assert_false(file_exists("many/a.log")); // nothing was said
    assert_int_equal(alone("small.json seed=1 --out one"), 0);
    assert_int_equal(alone("small.json seed=2 --out two"), 0);
    assert_same_file("one/checkpoint.safetensors", "many/a/checkpoint.safetensors");
    assert_same_file("two/checkpoint.safetensors", "many/b/checkpoint.safetensors");
    struct timespec a = changed("many/a/summary.json"), b = changed("many/b/summary.json");
    assert_int_equal(run(&jobs, 2, &e), 0);
    assert_true(unchanged("many/a/summary.json", a) && unchanged("many/b/summary.json", b));
    jobs_free(&jobs);
    // A default that is written out is no change; another value is one, and the earlier run is kept.
    ADD(&jobs, "many/a", "seed=1", "train.checkpoint_every=1");
    assert_true(job_done(&jobs.list[0]));
    ADD(&jobs, "many/b", "seed=2", "epochs=2");
    assert_false(job_done(&jobs.list[1]));
    assert_int_equal(run(&jobs, 1, &e), 0);
    assert_true(unchanged("many/a/summary.json", a));
    assert_true(job_done(&jobs.list[1]));
    assert_true(file_exists("many/b.old1/summary.json") && unchanged("many/b.old1/summary.json", b));
    jobs_free(&jobs);
}

static void resumed(void **state) {
    (void)state;
    struct jobs jobs = {0};
    struct err e;
    // The state that a kill -9 after the last checkpoint leaves: no summary yet.
    assert_int_equal(rename("two", "many/c"), 0);
    assert_int_equal(unlink("many/c/summary.json"), 0);
    ADD(&jobs, "many/c", "seed=2");
    assert_false(job_done(&jobs.list[0]));
    struct timespec before = changed("many/c/weights.png");
    if (run(&jobs, 1, &e) != 0) fail_msg("%s", e.text);
    assert_true(job_done(&jobs.list[0]));
    assert_false(unchanged("many/c/weights.png", before));
    assert_false(file_exists("many/c.1")); // it was gone on with, not begun anew
    jobs_free(&jobs);
}

static volatile sig_atomic_t stop;

static void stop_set(int signal_number) {
    (void)signal_number;
    stop = 1;
}

// Sets `stop` once the run has written a line of metrics, from a process that watches.
static pid_t stop_when_begun(const char *metrics) {
    pid_t parent = getpid(), child = fork();
    if (child != 0) return child;
    while (file_bytes(metrics) == 0) nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    kill(parent, SIGUSR1);
    _exit(0);
}

static void stopped_and_resumed(void **state) {
    (void)state;
    struct jobs jobs = {0};
    struct err e;
    struct sigaction action = {.sa_handler = stop_set};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    ADD(&jobs, "stop/long", "epochs=200", "train.checkpoint_every=200");
    ADD(&jobs, "stop/later", "epochs=200", "train.checkpoint_every=200", "seed=2");
    struct jobs_options options = {.program = TEST_PROGRAM, .at_once = 1, .quiet = true, .stop = &stop};
    pid_t watcher = stop_when_begun("stop/long/metrics.jsonl");
    assert_int_equal(jobs_run(&jobs, &options, &e), 1);
    assert_int_equal(waitpid(watcher, NULL, 0), watcher);
    assert_false(saved_exists("stop/later")); // not started any more
    struct json *summary = saved_summary_new("stop/long", &e);
    assert_string_equal(json_string(json_find(summary, "status")), "interrupted");
    assert_true(json_number(json_find(summary, "epochs")) < 200);
    json_free(summary);
    assert_false(job_done(&jobs.list[0]));
    assert_int_equal(jobs_run(&jobs, &options, &e), 1); // still set: nothing begins
    stop = 0;
    if (jobs_run(&jobs, &options, &e) != 0) fail_msg("%s", e.text);
    assert_false(file_exists("stop/long.1"));
    assert_int_equal(alone("small.json epochs=200 train.checkpoint_every=200 --out whole"), 0);
    assert_same_file("whole/checkpoint.safetensors", "stop/long/checkpoint.safetensors");
    jobs_free(&jobs);
}

static void failures(void **state) {
    (void)state;
    struct jobs jobs = {0};
    struct err e;
    ADD(&jobs, "fail/bad", "optim.weights=[{\"counter\": {\"leek\": 1}}]");
    ADD(&jobs, "fail/good", "epochs=100"); // still at it when the first has failed
    ADD(&jobs, "fail/never", "epochs=1", "seed=2");
    assert_int_equal(run(&jobs, 2, &e), -1);
    assert_string_equal(e.text, "fail/bad: optim.weights.0.counter: unknown key 'leek'; did you "
                                "mean 'leak'?");
    assert_true(job_done(&jobs.list[1])); // it was running already
    assert_false(file_exists("fail/never.json"));
    jobs_free(&jobs);
    // Divergence is a result: one with a checkpoint is not trained again.
    ADD(&jobs, "fail/far", "optim.weights=[{\"sgd\": {\"rate\": 1000}}]");
    assert_int_equal(run(&jobs, 1, &e), 0);
    struct json *summary = saved_summary_new("fail/far", &e);
    assert_string_equal(json_string(json_find(summary, "status")), "diverged");
    json_free(summary);
    struct jobs_options options = {.program = "fail/nothing", .quiet = true};
    ADD(&jobs, "fail/other", "epochs=1");
    assert_int_equal(jobs_run(&jobs, &options, &e), -1);
    assert_string_equal(e.text, "fail/nothing: No such file or directory");
    jobs_free(&jobs);
    // A summary that is no JSON, or a checkpoint that is none, is no finished run.
    ADD(&jobs, "fail/good", "epochs=100");
    assert_int_equal(file_write_text("fail/good/summary.json", "{\"status\": 3}", &e), 0);
    assert_false(job_done(&jobs.list[0]));
    assert_int_equal(file_write_text("fail/good/checkpoint.safetensors", "x", &e), 0);
    assert_false(job_done(&jobs.list[0]));
    if (run(&jobs, 1, &e) != 0) fail_msg("%s", e.text);
    assert_true(job_done(&jobs.list[0]));
    jobs_free(&jobs);
}

// Nobody waits for ever for children whose ends the system does not tell.
static void ends_are_missed(void **state) {
    (void)state;
    struct jobs jobs = {0};
    struct err e;
    ADD(&jobs, "missed/a", "epochs=1");
    signal(SIGCHLD, SIG_IGN);
    int result = run(&jobs, 1, &e);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(result, -1);
    assert_string_equal(e.text, "missed/a: its training is lost sight of: No child processes");
    jobs_free(&jobs);
    char command[512];
    snprintf(command, sizeof command,
             "trap '' CHLD; exec '%s' sweep small.json seed=1,2 epochs=1 --out missed --quiet", TEST_PROGRAM);
    assert_int_equal(system(command), 0); // the program itself wants to know
}

static int folder_make(void **state) {
    (void)state;
    static char folder[] = "jobs-XXXXXX";
    struct err e;
    unsetenv("TALLY_DATA");
    return mkdtemp(folder) && chdir(folder) == 0 ? file_write_text("small.json", config_text, &e) : -1;
}

static int folder_remove(void **state) {
    (void)state;
    return system("rm -rf \"$PWD\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_and_no_second_time),
        cmocka_unit_test(resumed),
        cmocka_unit_test(stopped_and_resumed),
        cmocka_unit_test(failures),
        cmocka_unit_test(ends_are_missed),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
