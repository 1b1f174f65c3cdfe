/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of an open store: opening, closing, and mending after the engine has failed (states: kv_impl.h).
 *
 * A user brackets its engine calls by kv_enter() and kv_leave(): two atomic operations. Who meets a failure of the
 * engine calls kv_fail() before it leaves; whoever comes next and finds no user left reopens the engine. The order
 * "count myself, then look at failed" against "set failed, then look at the count" makes sure that nobody is inside
 * while it is reopened. What a reopen lost is remembered (sync.c), so that whoever waits for such a commit learns it.
 */
#include "base/mem.h"
#include "kv/kv_impl.h"
#include <sys/random.h>

enum { RETRY_MS = 100 };

int kv_open(const struct kv_engine *engine, const struct kv_options *o, struct kv **ret)
{
    struct kv *kv = MEM_NEW(struct kv);
    int r;

    kv->engine = engine;
    kv->o = *o;
    lock_init(&kv->lock, RANK_KV);
    lock_init(&kv->watch_lock, RANK_KV + 4);
    cond_init(&kv->moved);
    cond_init(&kv->watch_cond);
    kv->nonce = o->seed;
    if (!o->seed && getrandom(&kv->nonce, sizeof kv->nonce, 0) != sizeof kv->nonce)
        kv->nonce = clock_wall_ms() << 20;
    r = engine->open(o, &kv->e, &kv->can);
    if (r == 0) {
        kv->durable = engine->version(kv->e);
        r = kv->can & KV_ENGINE_MAYBE ? kv_slot_sweep(kv) : 0;
        if (r < 0)
            engine->close(kv->e);
    }
    if (r < 0) {
        free(kv);
        return r;
    }
    *ret = kv;
    return 0;
}

struct kv *kv_close(struct kv *kv)
{
    if (!kv)
        return NULL;
    if (kv->can & KV_ENGINE_LAZY)
        kv_sync_to(kv, kv->engine->version(kv->e), kv_deadline());
    kv->engine->close(kv->e);
    lock_done(&kv->lock);
    lock_done(&kv->watch_lock);
    free(kv->lost);
    pthread_cond_destroy(&kv->moved);
    pthread_cond_destroy(&kv->watch_cond);
    free(kv);
    return NULL;
}

/* ---- users and failure ---- */

void kv_leave(struct kv *kv)
{
    if (atomic_fetch_sub(&kv->users, 1) == 1 && atomic_load(&kv->failed)) {
        LOCKED(&kv->lock);
        pthread_cond_broadcast(&kv->moved);
    }
}

void kv_fail(struct kv *kv)
{
    TRACE("kv.failed", 0, 0);
    atomic_store(&kv->failed, true);
}

/* Lock held; dropped while the engine works. */
static int reopen(struct kv *kv)
{
    uint64_t top = kv->engine->version(kv->e), kept = 0;
    int r;

    kv->reopening = true;
    lock_drop(&kv->lock);
    r = FAULT(KV_REOPEN);
    if (r == 0)
        r = kv->engine->reopen(kv->e, &kept);
    lock_take(&kv->lock);
    kv->reopening = false;
    TRACE("kv.reopened", r, 0);
    pthread_cond_broadcast(&kv->moved);
    if (r < 0) {
        kv->retry_ns = clock_mono_ns() + RETRY_MS * 1000000ull;
        kv->broken = r;
        return r;
    }
    if (kept < top)
        kv_sync_lose(kv, kept, top);
    atomic_store(&kv->durable, kv->engine->version(kv->e));
    kv->lazy_synced = kv->lazy_begun;
    kv->reopened++;
    kv->broken = 0;
    atomic_store(&kv->failed, false);
    kv_watch_all(kv);
    return 0;
}

static int mend(struct kv *kv, uint64_t deadline)
{
    LOCKED(&kv->lock);
    while (atomic_load(&kv->failed)) {
        if (kv->reopening || atomic_load(&kv->users)) {
            if (!cond_wait_until(&kv->moved, &kv->lock, deadline))
                return err_set(ERR_TIMEOUT, "the metadata engine failed and is being reopened");
            continue;
        }
        if (kv->broken && clock_mono_ns() < kv->retry_ns)
            return err_set(kv->broken, "the metadata engine failed and could not be reopened yet; look at its disk");
        TRY(reopen(kv));
    }
    return 0;
}

int kv_enter(struct kv *kv, uint64_t deadline)
{
    for (;;) {
        atomic_fetch_add(&kv->users, 1);
        if (__builtin_expect(!atomic_load(&kv->failed), 1))
            return 0;
        kv_leave(kv);
        TRY(mend(kv, deadline));
    }
}

/* ---- figures ---- */

void kv_figures(struct kv *kv, struct kv_figures *ret)
{
    struct kv_figures f = {
        .commits = kv->commits,
        .conflicts = kv->conflicts,
        .syncs = kv->syncs,
        .reopened = kv->reopened,
        .commit_ns = kv->commit_ns,
        .sync_ns = kv->sync_ns,
    };

    spread_read(&kv->commit_time, &f.commit_time);
    spread_read(&kv->sync_time, &f.sync_time);
    if (kv->can & KV_ENGINE_LAZY && kv_sync_missing(kv, kv->engine->version(kv->e)))
        f.unsynced = f.commits - kv->commits_synced;
    atomic_fetch_add(&kv->users, 1); /* like kv_enter(), but a failed engine is left alone */
    if (!atomic_load(&kv->failed))
        kv->engine->figures(kv->e, &f);
    kv_leave(kv);
    *ret = f;
}
