/* SPDX-License-Identifier: Apache-2.0
 *
 * Named fault points: places where a test may ask for a crash or an error. Every point is one row of fault.tbl.
 *
 * FAULT(NAME) is a no-op unless armed: costs one relaxed load. Armed by FOREBAY_FAULT or fault_arm() with a list
 *     point:action[@hit][*times] [, ...]    action: kill (SIGKILL self) | abort | error CODE ("NO_SPACE", "IO" ..) |
 *                                           sleep MS | stop (SIGSTOP self)
 * "page.seal.before_sync:kill@3" kills at the third visit; without @ the first; *0 means from then on, for ever.
 * Visits are counted per point and process; fault_visits() lets the crash suite prove that a point was reached.
 * FOREBAY_FAULT_LOG=FILE appends a line per point at its first visit. Thread-safe.
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

enum fault_point {
#define F(name, text) FAULT_##name,
#include "base/fault.tbl"
#undef F
    FAULT_COUNT
};

extern atomic_int fault_armed; /* not zero: something is armed or visits are logged */

/* 0, or the error code a test asked for; may not return at all. */
int fault_hit(enum fault_point p);
#define FAULT(name)                                                                                                    \
    (__builtin_expect(atomic_load_explicit(&fault_armed, memory_order_relaxed), 0) ? fault_hit(FAULT_##name) : 0)

/* Arm from a list as above; NULL or "" disarms all. ERR_INVALID with detail for a list that does not parse. */
int fault_arm(const char *spec);
uint64_t fault_visits(enum fault_point p);
const char *fault_name(enum fault_point p); /* "page.seal.before_sync" */
const char *fault_text(enum fault_point p);
