// Training runs as child processes. Contracts in jobs.h.
#include "experiments/jobs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "experiments/checkpoint.h"
#include "experiments/log.h"
#include "experiments/saved.h"
#include "experiments/train.h"
#include "src/file.h"
#include "src/parallel.h"

enum {
    PATH_LENGTH = 4096,
    TAIL = 1 << 14,
    LOG_LIMIT = 1 << 20,
    CONFIG_LIMIT = 1 << 20,
    LABEL = 140,
    BAR = 10,
    LINES = 16
};
enum { POLL_NANOSECONDS = 20000000 };

static const double REDRAW_SECONDS = 0.2;

void jobs_add(struct jobs *jobs, const char *folder, struct json *config) {
    CHECK(strlen(folder) < JOB_FOLDER, "jobs_add: the folder %.60s... is too long", folder);
    jobs->list = mem_grow(jobs->list, (size_t)jobs->count, sizeof *jobs->list);
    struct job *job = &jobs->list[jobs->count++];
    strcpy(job->folder, folder);
    job->config = config;
    const struct json *epochs = json_at(config, "train.epochs");
    bool given = epochs && json_type(epochs) == JSON_NUMBER && json_number(epochs) >= 1;
    job->epochs = given && json_number(epochs) < 1e6 ? (int64_t)json_number(epochs)
                                                     : (int64_t)config_train_fields[0].initial;
}

void jobs_free(struct jobs *jobs) {
    for (int i = 0; i < jobs->count; i++) json_free(jobs->list[i].config);
    mem_free(jobs->list);
    *jobs = (struct jobs){0};
}

// FOLDER.ENDING; `out` has room for it.
static const char *beside(char out[PATH_LENGTH], const struct job *job, const char *ending) {
    snprintf(out, PATH_LENGTH, "%.*s.%s", JOB_FOLDER, job->folder, ending);
    return out;
}

// --- what is there already --------------------------------------------------------------------------------------

enum state { STATE_NEW, STATE_RESUME, STATE_DONE };

// Whether the checkpoint was made with the job's config: both with every default filled in.
static bool config_same(const struct job *job, const struct safetensors *file) {
    struct err ignored;
    struct config config = {0};
    struct run run = {0};
    struct dataset data;
    const char *set, *text = safetensors_meta(file, "config");
    if (!text || checkpoint_data(&set, &data, file, &ignored) != 0) return false;
    struct json *theirs = json_parse_new(text, strlen(text), &ignored);
    bool same = theirs && config_open_json(&config, json_copy_new(job->config), job->folder, &ignored) == 0 &&
                (!config.dataset || strcmp(config.dataset, set) == 0) &&
                run_open_without_data(&run, &config, set, &data, &ignored) == 0;
    if (same && json_type(theirs) == JSON_OBJECT) checkpoint_forgive(theirs, run.resolved);
    same = same && json_equal(run.resolved, theirs);
    run_close(&run);
    config_close(&config);
    json_free(theirs);
    return same;
}

// Whether the run diverged before its first checkpoint: then it is known by the config it was started with.
static bool diverged_early(const struct job *job) {
    char path[PATH_LENGTH];
    struct err ignored;
    struct json *summary = saved_summary_new(job->folder, &ignored);
    struct json *config = json_load_new(beside(path, job, "json"), CONFIG_LIMIT, &ignored);
    const struct json *status = json_find(summary, "status");
    bool diverged = status && json_type(status) == JSON_STRING &&
                    strcmp(json_string(status), train_status_name(TRAIN_DIVERGED)) == 0 && config &&
                    json_equal(config, job->config);
    json_free(config);
    json_free(summary);
    return diverged;
}

static enum state job_state(const struct job *job) {
    char path[PATH_LENGTH];
    struct err ignored, older;
    struct safetensors file;
    bool there = saved_newest(&file, path, sizeof path, &older, job->folder, &ignored) == 0;
    bool same = there && config_same(job, &file);
    safetensors_close(&file);
    if (!same) return !there && diverged_early(job) ? STATE_DONE : STATE_NEW;
    struct json *summary = saved_summary_new(job->folder, &ignored);
    const struct json *status = json_find(summary, "status");
    static const enum train_status ends[] = {TRAIN_FINISHED, TRAIN_DIVERGED, TRAIN_DEAD};
    enum state state = STATE_RESUME;
    for (int i = 0; i < 3; i++)
        if (status && json_type(status) == JSON_STRING && !*older.text &&
            strcmp(json_string(status), train_status_name(ends[i])) == 0)
            state = STATE_DONE;
    json_free(summary);
    return state;
}

bool job_done(const struct job *job) {
    return job_state(job) == STATE_DONE;
}

// --- the crew ---------------------------------------------------------------------------------------------------

struct child {
    pid_t pid;
    const struct job *job;
    uint64_t seen;        // size of metrics.jsonl when it was last read
    int64_t first, epoch; // epochs that were done when this process began, and now
    double error, loss;   // validation error in percent, and loss; -1 when there is none
};

struct crew {
    const struct jobs *jobs;
    const struct jobs_options *options;
    enum state *states; // of each job, when the crew began
    struct child *children;
    int running, most;      // children
    int next, ended, count; // jobs: the next to look at; of this call, over and in all
    double epochs, total;   // epochs of jobs that are over, and of all, in this call
    bool stopping, failed;
    struct log log;
    int drawn;
    double redrawn;
};

static double member_number(const struct json *node, const char *key) {
    const struct json *member = json_find(node, key);
    return member && json_type(member) == JSON_NUMBER ? json_number(member) : -1;
}

static const char *label(char text[LABEL], const struct job *job) {
    const struct json *name = json_find(job->config, "name");
    bool named = name && json_type(name) == JSON_STRING;
    snprintf(text, LABEL, "%.104s/%.0f", named ? json_string(name) : "", member_number(job->config, "seed"));
    return text;
}

// The last whole line of metrics.jsonl, when the file has grown.
static void child_look(struct child *c) {
    char path[PATH_LENGTH];
    struct err ignored;
    if (file_join(path, sizeof path, c->job->folder, TRAIN_METRICS, &ignored) != 0) return;
    uint64_t size = file_bytes(path);
    if (size == c->seen) return;
    c->seen = size;
    size_t used;
    char *tail = (char *)file_read_end_new(&used, path, TAIL, &ignored);
    if (!tail) return;
    while (used && tail[used - 1] != '\n') used--;
    if (used) used--;
    size_t start = used;
    while (start && tail[start - 1] != '\n') start--;
    struct json *line = json_parse_new(tail + start, used - start, &ignored);
    mem_free(tail);
    double epoch = member_number(line, "epoch");
    if (epoch >= 1 && epoch <= INT32_MAX) c->epoch = (int64_t)epoch;
    c->error = member_number(line, "validation_error");
    c->loss = member_number(line, "validation_loss");
    json_free(line);
}

// --- the display: a block of lines at the bottom of a terminal --------------------------------------------------

static void display_clear(struct crew *c) {
    if (c->drawn) fprintf(stderr, "\033[%dA\r\033[J", c->drawn);
    c->drawn = 0;
}

static void display_child(const struct crew *c, const struct child *child) {
    char text[LABEL], bar[BAR * 3 + 1], error[32] = "";
    int used = 0, filled = (int)(child->epoch * BAR / child->job->epochs);
    for (int i = 0; i < BAR; i++) used += snprintf(bar + used, 4, "%s", i < filled ? "█" : "░");
    if (child->error >= 0)
        snprintf(error, sizeof error, "validation %.2f %%", child->error);
    else if (child->loss >= 0)
        snprintf(error, sizeof error, "validation %.4f", child->loss);
    fprintf(stderr, "%s%s%s %4d/%-4d %-18s %.36s\n", c->log.colour ? "\033[32m" : "", bar,
            c->log.colour ? "\033[0m" : "", (int)child->epoch, (int)child->job->epochs, error,
            label(text, child->job));
}

static void display_draw(struct crew *c) {
    double now = log_seconds(), done = c->epochs, here = c->epochs;
    if (c->log.quiet || !c->log.terminal || now - c->redrawn < REDRAW_SECONDS) return;
    c->redrawn = now;
    display_clear(c);
    for (int i = 0; i < c->running; i++) {
        struct child *child = &c->children[i];
        child_look(child);
        done += (double)child->epoch, here += (double)(child->epoch - child->first);
        if (i < LINES) display_child(c, child);
    }
    char eta[24];
    double left = here > 0 ? (c->total - done) * (now - c->log.start) / here : 0;
    fprintf(stderr, "%d of %d runs done, %d running  ETA %s\n", c->ended, c->count, c->running,
            here > 0 ? log_duration(eta, left) : "?");
    c->drawn = (c->running < LINES ? c->running : LINES) + 1;
    fflush(stderr);
}

static void end_say(struct crew *c, const struct job *job) {
    char text[LABEL], error[48] = "";
    struct err ignored;
    struct json *summary = saved_summary_new(job->folder, &ignored);
    const struct json *status = json_find(summary, "status");
    double validation = member_number(summary, "validation_error");
    double loss = member_number(summary, "validation_loss");
    if (validation >= 0)
        snprintf(error, sizeof error, "validation error %.2f %%, ", validation);
    else if (loss >= 0)
        snprintf(error, sizeof error, "validation loss %.4f, ", loss);
    display_clear(c);
    log_line(&c->log, "%s %s: %sdensity %.4g (%d of %d)",
             status && json_type(status) == JSON_STRING ? json_string(status) : "ended", label(text, job),
             error, member_number(summary, "density"), c->ended, c->count);
    json_free(summary);
}

// --- children ---------------------------------------------------------------------------------------------------

static int config_write(const struct job *job, struct err *e) {
    char path[PATH_LENGTH], folder[JOB_FOLDER];
    strcpy(folder, job->folder);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = 0;
        if (file_make_folder(folder, e) != 0) return -1;
    }
    char *text = json_print_new(job->config, true);
    int result = file_write_text(beside(path, job, "json"), text, e);
    mem_free(text);
    return result;
}

// In the new process: nothing but system calls until the program is another.
static _Noreturn void child_become(const char *program, const char *const *words, int log, pid_t parent) {
#ifdef __linux__
    // A parent that is killed takes its children along; they can be resumed.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(126);
#else
    (void)parent;
#endif
    static const char said[] = "the program could not be started\n";
    if (dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0) {
        execv(program, (char *const *)words);
        if (write(STDERR_FILENO, said, sizeof said - 1) < 0) _exit(125);
    }
    _exit(127);
}

static int child_start(struct crew *c, int index, struct err *e) {
    const struct job *job = &c->jobs->list[index];
    bool resume = c->states[index] == STATE_RESUME;
    char path[PATH_LENGTH], config[PATH_LENGTH];
    if (config_write(job, e) != 0) return -1;
    const char *words[16] = {"tally", "train",     beside(config, job, "json"),
                             "--out", job->folder, "--threads",
                             "1",     "--quiet",   "--no-report"};
    int count = 9;
    if (c->options->data_folder) words[count++] = "--data", words[count++] = c->options->data_folder;
    if (resume) words[count++] = "--resume";
    const char *program = c->options->program;
    if (access(program, X_OK) != 0) return err_set(e, "%s: %s", program, strerror(errno));
    int log = file_create(beside(path, job, "log"), e);
    pid_t parent = getpid(), pid = log < 0 ? -1 : fork();
    if (pid == 0) child_become(program, words, log, parent);
    if (log >= 0 && pid < 0) err_set(e, "%s: no process could be made: %s", job->folder, strerror(errno));
    if (log >= 0) file_close(log);
    if (pid < 0) return -1;
    struct child *child = &c->children[c->running++];
    *child = (struct child){.pid = pid, .job = job, .error = -1, .loss = -1};
    // What an earlier run left in the folder is not this one's.
    if (file_join(path, sizeof path, job->folder, TRAIN_METRICS, e) == 0 && !resume)
        child->seen = file_bytes(path);
    if (resume) child_look(child);
    child->first = child->epoch;
    char text[LABEL];
    if (!c->log.terminal) log_line(&c->log, "%s %s", resume ? "resume" : "start", label(text, job));
    return 0;
}

// The last line of what the child said, after "tally: " and the name of its config or folder, which the folder stands for.
static void failure_tell(const struct job *job, int status, struct err *e) {
    char path[PATH_LENGTH], config[PATH_LENGTH];
    size_t size = 0;
    struct err ignored;
    unsigned char *text = file_read_new(&size, beside(path, job, "log"), LOG_LIMIT, &ignored);
    while (size && text[size - 1] == '\n') text[--size] = 0;
    char *last = size ? strrchr((char *)text, '\n') : NULL;
    last = last ? last + 1 : (char *)text;
    const char *const starts[] = {"tally", beside(config, job, "json"), job->folder};
    for (int i = 0; i < 3 && size; i++) {
        size_t length = strlen(starts[i]);
        if (strncmp(last, starts[i], length) == 0 && strncmp(last + length, ": ", 2) == 0) last += length + 2;
    }
    if (WIFSIGNALED(status))
        err_set(e, "%.200s: the training was ended by signal %d", job->folder, WTERMSIG(status));
    else if (size)
        err_set(e, "%.200s: %.300s", job->folder, last);
    else
        err_set(e, "%.200s: the training ended with exit status %d", job->folder, WEXITSTATUS(status));
    mem_free(text);
}

static void child_ended(struct crew *c, const struct job *job, int status, struct err *e) {
    bool good = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
    if (good) {
        char path[PATH_LENGTH];
        uint64_t said;
        struct err ignored;
        c->ended++, c->epochs += (double)job->epochs;
        end_say(c, job);
        if (file_size(&said, beside(path, job, "log"), &ignored) == 0 && said == 0) file_remove(path);
    } else if (!c->stopping && !c->failed) {
        c->failed = true;
        failure_tell(job, status, e);
    }
}

// Those that have ended leave the list.
static void children_reap(struct crew *c, struct err *e) {
    for (int i = 0; i < c->running;) {
        struct child child = c->children[i];
        int status;
        pid_t pid = waitpid(child.pid, &status, WNOHANG);
        if (pid == 0 || (pid < 0 && errno == EINTR)) {
            i++;
            continue;
        }
        int lost = pid < 0 ? errno : 0;
        memmove(&c->children[i], &c->children[i + 1], (size_t)(--c->running - i) * sizeof child);
        c->total -= (double)child.first; // epochs of an earlier process are no work of this one
        c->epochs -= (double)child.first;
        if (!lost)
            child_ended(c, child.job, status, e);
        else if (!c->failed)
            c->failed = true,
            err_set(e, "%.200s: its training is lost sight of: %s", child.job->folder, strerror(lost));
    }
}

static void children_start(struct crew *c, struct err *e) {
    for (; c->next < c->jobs->count && c->running < c->most && !c->stopping && !c->failed; c->next++)
        if (c->states[c->next] != STATE_DONE && child_start(c, c->next, e) != 0) c->failed = true;
}

static void crew_stop(struct crew *c) {
    if (c->stopping || !c->options->stop || !*c->options->stop) return;
    c->stopping = true;
    for (int i = 0; i < c->running; i++) kill(c->children[i].pid, SIGTERM);
}

int jobs_run(const struct jobs *jobs, const struct jobs_options *options, struct err *e) {
    struct crew c = {.jobs = jobs, .options = options};
    c.most = options->at_once > 0 ? options->at_once : parallel_processors();
    c.states = mem_new((size_t)jobs->count + 1, sizeof *c.states);
    c.children = mem_new((size_t)c.most, sizeof *c.children);
    log_open(&c.log, options->quiet);
    for (int i = 0; i < jobs->count; i++) {
        c.states[i] = job_state(&jobs->list[i]);
        if (c.states[i] == STATE_DONE) continue;
        c.count++, c.total += (double)jobs->list[i].epochs;
    }
    if (c.count < jobs->count)
        log_line(&c.log, "%d of %d runs were done before", jobs->count - c.count, jobs->count);
    for (;;) {
        crew_stop(&c);
        children_start(&c, e);
        children_reap(&c, e);
        if (!c.running && (c.next == jobs->count || c.stopping || c.failed)) break;
        display_draw(&c);
        nanosleep(&(struct timespec){.tv_nsec = POLL_NANOSECONDS}, NULL);
    }
    display_clear(&c);
    crew_stop(&c); // a Ctrl-C that a child heard first is no failure
    mem_free(c.states);
    mem_free(c.children);
    return c.stopping ? 1 : c.failed ? -1 : 0;
}
