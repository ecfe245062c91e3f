// Starting the program under test as a child process. TEST_PROGRAM comes from CMake.
#ifndef TALLY_TESTS_PROGRAM_H
#define TALLY_TESTS_PROGRAM_H

#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

// With these words (NULL-terminated); its output goes to log.txt in the working directory.
static inline pid_t program_start(const char *const *words) {
    pid_t child = fork();
    if (child != 0) return child;
    const char *arguments[16] = {TEST_PROGRAM};
    for (int i = 0; words[i] && i < 14; i++) arguments[i + 1] = words[i];
    if (!freopen("log.txt", "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) _exit(99);
    execv(TEST_PROGRAM, (char *const *)arguments);
    _exit(98);
}

// Its exit status, or minus the signal that ended it.
static inline int program_end(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define RUN(...) program_end(program_start((const char *const[]){__VA_ARGS__, NULL}))

#endif
