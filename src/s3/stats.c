/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters of one action (contract in stats.h).
 */
#include "s3/stats.h"

const uint64_t s3_bucket_us[S3_BUCKETS] = {50,     100,     250,     500,     1000,     2500,
                                           5000,   10000,   25000,   50000,   100000,   250000,
                                           500000, 1000000, 2500000, 5000000, 10000000, UINT64_MAX};

static void add(_Atomic uint64_t *to, uint64_t n)
{
    if (n)
        atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

static size_t bucket_of(uint64_t us)
{
    size_t i = 0;
    while (us > s3_bucket_us[i])
        i++;
    return i;
}

void s3_stats_add(struct s3_stats *s, const struct s3_sample *x)
{
    add(&s->count, 1);
    add(&s->client_errors, x->status >= 400 && x->status < 500);
    add(&s->server_errors, x->status >= 500);
    add(&s->bytes_in, x->bytes_in);
    add(&s->bytes_out, x->bytes_out);
    add(&s->total_us, x->us);
    add(&s->bucket[bucket_of(x->us)], 1);
}

void s3_stats_read(const struct s3_stats *s, struct s3_action_figures *ret)
{
    ret->count = get(&s->count);
    ret->client_errors = get(&s->client_errors);
    ret->server_errors = get(&s->server_errors);
    ret->bytes_in = get(&s->bytes_in);
    ret->bytes_out = get(&s->bytes_out);
    ret->total_us = get(&s->total_us);
    for (size_t i = 0; i < S3_BUCKETS; i++)
        ret->bucket[i] = get(&s->bucket[i]);
}
