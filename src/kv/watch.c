/* SPDX-License-Identifier: Apache-2.0
 *
 * Watching keys: a counter per hash bucket, moved on by each commit that writes a key of the bucket, after the commit
 * is visible. A version is the counter plus one, so it is never 0. Keys that share a bucket wake each other: wake-ups
 * may be spurious, never missed: a waiter counts itself before it looks at the counter, a writer moves the counter
 * before it looks for waiters.
 */
#include "kv/kv_impl.h"

static atomic_ullong *bucket(struct kv *kv, struct str key)
{
    return &kv->watch[str_hash(key) % KV_WATCH_BUCKETS];
}

static void wake(struct kv *kv)
{
    if (!atomic_load(&kv->watchers))
        return;
    LOCKED(&kv->watch_lock);
    pthread_cond_broadcast(&kv->watch_cond);
}

void kv_watch_bump(struct kv *kv, struct kv_write *const *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        atomic_fetch_add(bucket(kv, w[i]->key), 1);
    wake(kv);
}

void kv_watch_all(struct kv *kv)
{
    for (size_t i = 0; i < KV_WATCH_BUCKETS; i++)
        atomic_fetch_add(&kv->watch[i], 1);
    wake(kv);
}

int kv_wait(struct kv *kv, struct str key, uint64_t *version, uint64_t deadline_ns)
{
    atomic_ullong *b = bucket(kv, key);
    int r = 0;

    if (kv->engine->wait)
        return kv->engine->wait(kv->e, key, version, deadline_ns);
    if (!*version)
        *version = atomic_load(b) + 1;
    LOCKED(&kv->watch_lock);
    atomic_fetch_add(&kv->watchers, 1);
    while (r == 0 && atomic_load(b) + 1 == *version)
        if (!cond_wait_until(&kv->watch_cond, &kv->watch_lock, deadline_ns))
            r = ERR_TIMEOUT;
    atomic_fetch_sub(&kv->watchers, 1);
    if (r == 0)
        *version = atomic_load(b) + 1;
    return r;
}
