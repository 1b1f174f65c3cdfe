/* SPDX-License-Identifier: Apache-2.0
 *
 * Durability: group sync. Whoever needs a version durable becomes the leader if there is none, else waits; one sync of
 * the engine serves all that were committed before it began, and the next leader starts right after, so that nobody
 * waits for more than two. The lock is not held while the engine syncs.
 *
 * Before the engine's sync, when lazy commits are among those it will make durable, the leader calls before_sync, which
 * syncs the data they name. The order in take_lead() matters: first which commits, then whether lazy ones had begun,
 * then the hook: a lazy commit in the target has begun earlier, and its data were written before that.
 *
 * Versions that a failure of the engine took away are kept as intervals: waiting for one gives ERR_CONFLICT here, on
 * which kv_update() runs again (it knows now that nothing happened) and kv_settle() reports an error.
 */
#include "base/mem.h"
#include "kv/kv_impl.h"

enum { RETRY_MS = 20 };

/* ---- what was lost ---- */

static bool is_lost(const struct kv *kv, uint64_t version)
{
    for (unsigned i = 0; i < kv->lost_n; i++)
        if (version > kv->lost[i].above && version <= kv->lost[i].upto)
            return true;
    return false;
}

/* The oldest two are taken together when there are very many: who still waits for a version between them is told of a
 * loss that did not happen. Nobody does: a thousand failures take longer than any wait. */
void kv_sync_lose(struct kv *kv, uint64_t above, uint64_t upto)
{
    if (kv->lost_n == KV_LOST_MAX) {
        kv->lost[1].above = kv->lost[0].above;
        memmove(kv->lost, kv->lost + 1, (KV_LOST_MAX - 1) * sizeof *kv->lost);
        kv->lost_n--;
    }
    kv->lost = mem_grow(kv->lost, kv->lost_n + 1, sizeof *kv->lost);
    kv->lost[kv->lost_n] = (struct kv_lost){above, upto};
    kv->lost_n++;
}

uint64_t kv_sync_missing(struct kv *kv, uint64_t version)
{
    return version > atomic_load(&kv->durable) ? version : 0;
}

/* ---- the leader ---- */

static int call_engine(struct kv *kv, uint64_t target)
{
    uint64_t t = clock_mono_ns();
    int r = FAULT(KV_SYNC_BEFORE);

    if (r == 0)
        r = kv->engine->sync(kv->e, target);
    if (r == 0)
        r = FAULT(KV_SYNC_AFTER);
    kv->syncs++;
    t = clock_mono_ns() - t;
    kv->sync_ns += t;
    spread_add(&kv->sync_time, spread_time_ns, t);
    TRACE("kv.sync", r, 0);
    if (r < 0)
        kv_fail(kv);
    return r;
}

static int lead(struct kv *kv, uint64_t commits, uint64_t begun)
{
    int r = 0;

    if (begun != kv->lazy_synced && kv->o.before_sync)
        r = kv->o.before_sync(kv->o.before_sync_arg);
    if (r == 0)
        r = call_engine(kv, kv->target);
    if (r < 0)
        return r;
    kv->lazy_synced = begun;
    kv->commits_synced = commits;
    if (atomic_load(&kv->durable) < kv->target)
        atomic_store(&kv->durable, kv->target);
    return 0;
}

/* Wake one of those who wait for the next sync, to lead it, then who waited for this one. */
static void pass_on(struct kv *kv, int r)
{
    struct gate *done = &kv->synced[kv->turn], *next = &kv->synced[kv->turn ^ 1];

    kv->turn ^= 1;
    if (r == 0)
        gate_open_one(next);
    else
        gate_open(next);
    gate_open(done);
}

/* Lock held; dropped while leading. Nobody else leads. */
static int take_lead(struct kv *kv, uint64_t deadline)
{
    uint64_t commits = kv->commits, begun;
    int r;

    kv->syncing = true;
    kv->target = kv->engine->version(kv->e);
    begun = kv->lazy_begun;
    lock_drop(&kv->lock);
    r = kv_enter(kv, deadline);
    if (r == 0) {
        r = lead(kv, commits, begun);
        kv_leave(kv);
    }
    lock_take(&kv->lock);
    kv->syncing = false;
    pass_on(kv, r);
    return r;
}

/* Where to wait, and since when. */
struct stand {
    struct gate *gate; /* NULL: nothing to wait for */
    unsigned look;
};

static void follow(struct kv *kv, uint64_t version, struct stand *ret)
{
    ret->gate = &kv->synced[version <= kv->target ? kv->turn : kv->turn ^ 1];
    ret->look = gate_look(ret->gate);
}

/* One step towards durability; *ret_done when there is a verdict. Lock held. */
static int advance(struct kv *kv, uint64_t version, uint64_t deadline, struct stand *ret_stand, bool *ret_done)
{
    *ret_done = true;
    if (is_lost(kv, version))
        return ERR_CONFLICT;
    if (!kv_sync_missing(kv, version))
        return 0;
    *ret_done = false;
    if (!kv->syncing)
        return take_lead(kv, deadline);
    follow(kv, version, ret_stand);
    return 0;
}

/* Too late for us; but the call to lead may have come to us. */
static int give_up(struct kv *kv, int r)
{
    LOCKED(&kv->lock);
    if (!kv->syncing)
        pass_on(kv, ERR_TIMEOUT);
    return r < 0 ? r : err_set(ERR_TIMEOUT, "the metadata engine did not sync in time");
}

int kv_sync_to(struct kv *kv, uint64_t version, uint64_t deadline)
{
    bool done = false;
    int r = 0;

    if (!version || !(kv->can & KV_ENGINE_LAZY))
        return 0;
    if (!kv_sync_missing(kv, version) && !kv->lost_n)
        return 0;
    do {
        struct stand stand = {NULL, 0};
        if (r < 0)
            clock_sleep_ms(RETRY_MS); /* the store is broken, or before_sync failed: again until the deadline */
        {
            LOCKED(&kv->lock);
            r = advance(kv, version, deadline, &stand, &done);
        }
        if (stand.gate && !gate_wait(stand.gate, stand.look, deadline))
            r = ERR_TIMEOUT;
        if (r == 0 && !kv->lost_n && !kv_sync_missing(kv, version))
            return 0; /* no lock: all who waited for one sync would queue for it */
    } while (!done && clock_mono_ns() < deadline);
    return done ? r : give_up(kv, r);
}

int kv_settle(struct kv *kv, uint64_t version)
{
    int r = kv_sync_to(kv, version, kv_deadline());

    if (r == ERR_CONFLICT)
        return err_set(ERR_IO, "the metadata engine failed and lost what was read before it was durable; try again");
    return r;
}
