/* SPDX-License-Identifier: Apache-2.0
 *
 * A histogram of times: every value is counted, in buckets of at most 1/64 of their value, in a fixed amount of memory.
 * So a run of any length has exact counts and percentiles that are right to 1.6 %. Zeroed is empty. One thread at a
 * time; those of several threads are added up afterwards.
 */
#pragma once
#include <stdint.h>

enum { HIST_FINE = 64, HIST_BUCKETS = 37 * HIST_FINE }; /* up to 2^42 ns, more than an hour; above: the last bucket */

struct hist {
    uint64_t n, max; /* max is exact */
    uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
void hist_merge(struct hist *to, const struct hist *from);
/* The value that `share` (0..1) of all values do not exceed: the upper edge of its bucket, never above max. 0 when
 * there are none. */
uint64_t hist_at(const struct hist *h, double share);
