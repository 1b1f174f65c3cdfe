/* SPDX-License-Identifier: Apache-2.0
 *
 * Time. All code asks here, so that tests can run on a clock of their own (clock_use).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct clock_ops {
    uint64_t (*wall_ms)(void *arg); /* milliseconds since 1970 UTC; may jump */
    uint64_t (*mono_ns)(void *arg); /* never goes back */
    void (*sleep_until_ns)(void *arg, uint64_t mono_ns);
    void *arg;
};

uint64_t clock_wall_ms(void);
uint64_t clock_wall_ns(void); /* the same, finer where the clock is */
uint64_t clock_mono_ns(void);
static inline uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}
void clock_sleep_ms(uint64_t ms);

/* Install another clock for the whole process (tests, before threads start); NULL puts the real one back. */
void clock_use(const struct clock_ops *ops);
/* False while a clock of a test is installed. */
bool clock_is_real(void);
