/* SPDX-License-Identifier: Apache-2.0
 * Ranked mutexes. With FB_LOCK_CHECK each thread remembers what it holds. */
#include "base/lock.h"
#include "base/clock.h"
#include "base/err.h"
#include <time.h>

#ifdef FB_LOCK_CHECK
enum { HELD_MAX = 32 };
static __thread struct {
    const struct lock *l[HELD_MAX];
    int n;
} held;

static void check_take(const struct lock *l)
{
    for (int i = 0; i < held.n; i++)
        CHECK(held.l[i]->rank < l->rank, "lock rank %d is taken while rank %d is held", l->rank, held.l[i]->rank);
    CHECK(held.n < HELD_MAX);
    held.l[held.n++] = l;
}

static void check_drop(const struct lock *l)
{
    for (int i = held.n - 1; i >= 0; i--)
        if (held.l[i] == l) {
            for (held.n--; i < held.n; i++)
                held.l[i] = held.l[i + 1];
            return;
        }
    CHECK(0, "lock rank %d is dropped by a thread that does not hold it", l->rank);
}
#else
static void check_take(const struct lock *l)
{
    (void)l;
}
static void check_drop(const struct lock *l)
{
    (void)l;
}
#endif

void lock_init(struct lock *l, int rank)
{
    int r = pthread_mutex_init(&l->m, NULL);
    CHECK(r == 0, "error %d", r);
    l->rank = rank;
}

void lock_done(struct lock *l)
{
    int r = pthread_mutex_destroy(&l->m);
    CHECK(r == 0, "lock rank %d is still held, error %d", l->rank, r);
}

void lock_take(struct lock *l)
{
    check_take(l);
    int r = pthread_mutex_lock(&l->m);
    CHECK(r == 0, "error %d", r);
}

void lock_drop(struct lock *l)
{
    check_drop(l);
    int r = pthread_mutex_unlock(&l->m);
    CHECK(r == 0, "error %d", r);
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    CHECK(pthread_condattr_init(&a) == 0);
    CHECK(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(c, &a) == 0);
    pthread_condattr_destroy(&a);
}

/* Waiting gives the lock away, so it counts as dropped and taken again. */
void cond_wait(pthread_cond_t *c, struct lock *l)
{
    check_drop(l);
    int r = pthread_cond_wait(c, &l->m);
    CHECK(r == 0, "error %d", r);
    check_take(l);
}

static int wait_real(pthread_cond_t *c, struct lock *l, uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    check_drop(l);
    int r = pthread_cond_timedwait(c, &l->m, &t);
    CHECK(r == 0 || r == ETIMEDOUT, "error %d", r);
    check_take(l);
    return r == 0;
}

/* A test's clock does not wake anybody, so look at it every millisecond. Each look goes through the caller: a signal
 * that comes between two waits wakes nobody, and what it was about must not be missed. */
static int wait_test_clock(pthread_cond_t *c, struct lock *l, uint64_t ns)
{
    struct timespec t;
    if (clock_mono_ns() >= ns)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &t);
    wait_real(c, l, (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec + 1000000);
    return clock_mono_ns() < ns;
}

int cond_wait_until(pthread_cond_t *c, struct lock *l, uint64_t mono_ns)
{
    return clock_is_real() ? wait_real(c, l, mono_ns) : wait_test_clock(c, l, mono_ns);
}
