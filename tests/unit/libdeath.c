/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "death.h"
#include <sys/wait.h>
#include <unistd.h>

static void child(void (*fn)(void *arg), void *arg, int err)
{
    dup2(err, STDERR_FILENO);
    close(err);
    fn(arg);
    _exit(0);
}

int death_of(void (*fn)(void *arg), void *arg, char *text, size_t text_n)
{
    int pipe_fds[2], status = 0;
    size_t n = 0;
    ssize_t got;
    char buf[4096];
    assert_int_equal(pipe(pipe_fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipe_fds[0]);
        child(fn, arg, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    while ((got = read(pipe_fds[0], buf, sizeof buf)) > 0) {
        size_t fits = text_n - 1 - n < (size_t)got ? text_n - 1 - n : (size_t)got;
        memcpy(text + n, buf, fits);
        n += fits;
    }
    text[n] = 0;
    close(pipe_fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

void assert_aborts(void (*fn)(void *arg), void *arg, const char *words)
{
    char text[16384];
    int status = death_of(fn, arg, text, sizeof text);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, words))
        fail_msg("expected an abort saying \"%s\"; status %d, it said:\n%s", words, status, text);
}
