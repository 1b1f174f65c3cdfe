/* SPDX-License-Identifier: Apache-2.0
 *
 * Histograms: how many values lay between fixed bounds, and their sum. Written without a lock from any thread: each
 * number is right, a set of them read at once may be a value apart.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { SPREAD_N = 18 };
/* Upper bounds, the last one UINT64_MAX: nanoseconds from 50 us to 10 s; bytes from 1 KiB to 4 GiB. */
extern const uint64_t spread_time_ns[SPREAD_N], spread_bytes[SPREAD_N];

struct spread {
    _Atomic uint64_t n[SPREAD_N], sum;
};
struct spread_figures {
    uint64_t n[SPREAD_N], sum; /* n[i]: values of at most bound i and more than the one before */
};

void spread_add(struct spread *h, const uint64_t *bounds, uint64_t value);
void spread_read(const struct spread *h, struct spread_figures *ret);
/* Add what other says to what ret says. */
void spread_sum(struct spread_figures *ret, const struct spread_figures *other);
