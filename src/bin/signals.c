/* SPDX-License-Identifier: Apache-2.0
 *
 * The signal thread (contract in signals.h). It ends with the process. One is enough for a process, hence the statics.
 */
#include "bin/signals.h"
#include "base/err.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static sigset_t taken;
static int events[2]; /* a byte a signal, from the thread to signals_wait */

static void *take_signals(void *arg)
{
    int sig, stops = 0;
    (void)arg;
    for (;;) {
        if (sigwait(&taken, &sig) != 0)
            continue;
        stops += sig != SIGHUP;
        if (stops > 1)
            _exit(128 + sig);
        unsigned char b = (unsigned char)sig;
        ssize_t done = write(events[1], &b, 1);
        CHECK(done == 1, "the pipe of signals is full");
    }
    return NULL;
}

void signals_start(void)
{
    pthread_t t;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&taken);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGINT);
    sigaddset(&taken, SIGHUP);
    CHECK(pipe(events) == 0, "no pipe for signals");
    pthread_sigmask(SIG_BLOCK, &taken, NULL);
    CHECK(pthread_create(&t, NULL, take_signals, NULL) == 0, "no thread for signals");
    pthread_detach(t);
}

int signals_wait(void (*hup)(void *arg), void *arg)
{
    unsigned char sig;
    for (;;) {
        if (read(events[0], &sig, 1) != 1)
            continue;
        if (sig != SIGHUP)
            return sig;
        hup(arg);
    }
}
