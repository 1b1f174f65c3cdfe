/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static const struct clock_ops *_Atomic installed; /* NULL: the real clock */

static uint64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static const struct clock_ops *current(void)
{
    return atomic_load_explicit(&installed, memory_order_acquire);
}

uint64_t clock_wall_ms(void)
{
    const struct clock_ops *o = current();
    return o ? o->wall_ms(o->arg) : read_ns(CLOCK_REALTIME) / 1000000;
}

uint64_t clock_wall_ns(void)
{
    const struct clock_ops *o = current();
    return o ? o->wall_ms(o->arg) * 1000000 : read_ns(CLOCK_REALTIME);
}

uint64_t clock_mono_ns(void)
{
    const struct clock_ops *o = current();
    return o ? o->mono_ns(o->arg) : read_ns(CLOCK_MONOTONIC);
}

void clock_sleep_ms(uint64_t ms)
{
    uint64_t until = clock_mono_ns() + ms * 1000000;
    const struct clock_ops *o = current();
    if (o) {
        o->sleep_until_ns(o->arg, until);
        return;
    }
    struct timespec t = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

void clock_use(const struct clock_ops *ops)
{
    atomic_store_explicit(&installed, ops, memory_order_release);
}

bool clock_is_real(void)
{
    return current() == NULL;
}
