/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets: values below HIST_FINE one each, then HIST_FINE for each power of two.
 */
#include "bench/hist.h"
#include <math.h>

static unsigned bucket_of(uint64_t v)
{
    if (v < HIST_FINE)
        return (unsigned)v;
    unsigned shift = 57 - (unsigned)__builtin_clzll(v); /* leaves v >> shift in [64, 128) */
    unsigned b = shift * HIST_FINE + (unsigned)(v >> shift);
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t upper_edge(unsigned b)
{
    if (b < 2 * HIST_FINE)
        return b;
    unsigned shift = b / HIST_FINE - 1;
    uint64_t first = (uint64_t)(b % HIST_FINE + HIST_FINE) << shift;
    return first + ((uint64_t)1 << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->bucket[bucket_of(ns)]++;
    h->n++;
    if (ns > h->max)
        h->max = ns;
}

void hist_merge(struct hist *to, const struct hist *from)
{
    for (unsigned b = 0; b < HIST_BUCKETS; b++)
        to->bucket[b] += from->bucket[b];
    to->n += from->n;
    if (from->max > to->max)
        to->max = from->max;
}

uint64_t hist_at(const struct hist *h, double share)
{
    uint64_t want = (uint64_t)ceil(share * (double)h->n), seen = 0;
    if (!h->n)
        return 0;
    if (want < 1)
        want = 1;
    for (unsigned b = 0; b < HIST_BUCKETS - 1; b++) {
        seen += h->bucket[b];
        if (seen >= want)
            return upper_edge(b) < h->max ? upper_edge(b) : h->max;
    }
    return h->max;
}
