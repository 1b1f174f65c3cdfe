/* SPDX-License-Identifier: Apache-2.0
 *
 * Histograms (contract in spread.h).
 */
#include "base/spread.h"

#define US(x) ((uint64_t)(x)*1000)
const uint64_t spread_time_ns[SPREAD_N] = {US(50),     US(100),     US(250),     US(500),     US(1000),     US(2500),
                                           US(5000),   US(10000),   US(25000),   US(50000),   US(100000),   US(250000),
                                           US(500000), US(1000000), US(2500000), US(5000000), US(10000000), UINT64_MAX};

#define KIB(x) ((uint64_t)(x) << 10)
const uint64_t spread_bytes[SPREAD_N] = {
    KIB(1),    KIB(4),     KIB(16),    KIB(64),     KIB(128),    KIB(256),     KIB(512),     KIB(1024),    KIB(4096),
    KIB(8192), KIB(16384), KIB(65536), KIB(131072), KIB(262144), KIB(1048576), KIB(2097152), KIB(4194304), UINT64_MAX};

void spread_add(struct spread *h, const uint64_t *bounds, uint64_t value)
{
    size_t i = 0;
    while (value > bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->n[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}

void spread_read(const struct spread *h, struct spread_figures *ret)
{
    for (size_t i = 0; i < SPREAD_N; i++)
        ret->n[i] = atomic_load_explicit(&h->n[i], memory_order_relaxed);
    ret->sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
}

void spread_sum(struct spread_figures *ret, const struct spread_figures *other)
{
    for (size_t i = 0; i < SPREAD_N; i++)
        ret->n[i] += other->n[i];
    ret->sum += other->sum;
}
