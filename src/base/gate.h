/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for something that is then found out without a lock: a condition variable whose waiters do not take the mutex
 * again when they wake, one after the other, only to see that what they waited for has come.
 *
 * Take a look (gate_look) before testing what is waited for, then wait for the gate to have been opened since that
 * look.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gate {
    atomic_uint opened;
};

static inline unsigned gate_look(struct gate *g)
{
    return atomic_load(&g->opened);
}
/* False when deadline (clock_mono_ns; UINT64_MAX: none) passed. True may also be a wake-up for nothing. */
bool gate_wait(struct gate *g, unsigned look, uint64_t deadline_ns);
void gate_open(struct gate *g);     /* to all who wait */
void gate_open_one(struct gate *g); /* to one of them, and to all who looked and do not wait yet */
