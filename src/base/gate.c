/* SPDX-License-Identifier: Apache-2.0
 * A counter that is waited for in the kernel (futex). */
#include "base/gate.h"
#include "base/clock.h"
#include "base/err.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A test's clock does not wake anybody, so look at it every millisecond. */
static uint64_t real_deadline(uint64_t ns)
{
    struct timespec t;
    if (clock_is_real() || ns == UINT64_MAX)
        return ns;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec + 1000000;
}

bool gate_wait(struct gate *g, unsigned look, uint64_t deadline_ns)
{
    uint64_t wake = real_deadline(deadline_ns);
    struct timespec until = {(time_t)(wake / 1000000000), (long)(wake % 1000000000)};
    if (gate_look(g) != look)
        return true;
    long r = syscall(SYS_futex, &g->opened, FUTEX_WAIT_BITSET_PRIVATE, look, deadline_ns == UINT64_MAX ? NULL : &until,
                     NULL, FUTEX_BITSET_MATCH_ANY);
    CHECK(r == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT, "error %d", errno);
    return gate_look(g) != look || clock_mono_ns() < deadline_ns;
}

static void open_to(struct gate *g, int n)
{
    atomic_fetch_add(&g->opened, 1);
    syscall(SYS_futex, &g->opened, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void gate_open(struct gate *g)
{
    open_to(g, INT_MAX);
}

void gate_open_one(struct gate *g)
{
    open_to(g, 1);
}
