/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters of one action. Written by every request without a lock: each number is right, a set of them read at once may
 * be a request apart.
 */
#pragma once
#include "s3/s3.h"
#include <stdatomic.h>

struct s3_stats {
    _Atomic uint64_t count, client_errors, server_errors, bytes_in, bytes_out, total_us;
    _Atomic uint64_t bucket[S3_BUCKETS];
} __attribute__((aligned(64)));

struct s3_sample {
    int status;
    uint64_t bytes_in, bytes_out, us;
};
void s3_stats_add(struct s3_stats *s, const struct s3_sample *x);
void s3_stats_read(const struct s3_stats *s, struct s3_action_figures *ret);
