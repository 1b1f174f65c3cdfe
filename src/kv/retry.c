/* SPDX-License-Identifier: Apache-2.0
 *
 * Running transaction functions: views, updates, and the one retry loop.
 *
 * A run of an update ends in one of these ways; only the first leaves the loop with success:
 *     committed            0, made durable if asked
 *     fn said no           fn's code; nothing written
 *     conflict, busy,      run again until the deadline, then ERR_TIMEOUT; nothing written
 *     stopped
 *     unknown outcome      asked: the slot row of an engine that answers MAYBE, else what a reopened engine has kept.
 *                          Did it happen: as committed. Did it not: run again
 * ERR_UNKNOWN_OUTCOME comes out of kv_update() only when that question got no answer until the deadline: the engine
 * could not be reopened or reached. The same holds for a commit that is visible but could not be made durable as asked.
 */
#include "kv/kv_impl.h"

struct update {
    struct kv *kv;
    kv_fn *fn;
    void *arg;
    enum kv_durability d;
    uint64_t deadline;
    int result;
    bool again, wrote, unknown;
    uint64_t version, nonce;
};

/* Pause before run n: none at first, then a growing jitter. The jitter follows a counter, so that a seeded
 * single-threaded test is the same each time. False when the deadline has passed. */
static bool pause_before(struct kv *kv, unsigned n, bool busy, uint64_t deadline)
{
    uint64_t x = (kv->conflicts + 1) * 0x9e3779b97f4a7c15u;
    unsigned shift = n > 8 ? 5 : n > 3 ? n - 3 : 0;

    if (busy)
        clock_sleep_ms(5);
    else if (shift)
        clock_sleep_ms((x >> 32) & ((1u << shift) - 1));
    return clock_mono_ns() < deadline;
}

static int gave_up(void)
{
    return err_set(ERR_TIMEOUT, "a metadata transaction could not be committed within %d ms; try again", KV_TX_MS);
}

/* ---- views ---- */

static int view_once(struct kv *kv, kv_fn *fn, void *arg, uint64_t deadline, uint64_t *version)
{
    struct kv_tx tx;
    int r;

    TRY(kv_enter(kv, deadline));
    r = kv_tx_begin(&tx, kv, false, deadline);
    if (r == 0) {
        r = fn(&tx, arg);
        if (tx.error)
            r = tx.error;
        *version = kv_sync_missing(kv, tx.unsynced);
        kv_tx_end(&tx);
    }
    kv_leave(kv);
    return r;
}

int kv_view(struct kv *kv, kv_fn *fn, void *arg, uint64_t *ret_version)
{
    uint64_t deadline = kv_deadline(), version = 0;
    int r;

    for (unsigned n = 0;; n++) {
        r = view_once(kv, fn, arg, deadline, &version);
        if (r != ERR_CONFLICT)
            break;
        if (!pause_before(kv, n, false, deadline))
            return gave_up();
    }
    if (ret_version)
        *ret_version = version;
    return r;
}

/* ---- updates ---- */

static void hook(const struct kv *kv)
{
    if (kv->o.on_commit)
        kv->o.on_commit(kv->o.on_commit_arg);
}

static int call_commit(struct update *u, struct kv_tx *tx)
{
    struct kv_commit c = {tx->key, tx->keys, tx->extent, tx->extents, tx->write, tx->writes};
    uint64_t t = clock_mono_ns();
    int r;

    if (u->d == KV_LAZY)
        atomic_fetch_add(&u->kv->lazy_begun, 1);
    r = u->kv->engine->commit(u->kv->e, tx->snap, &c, &u->version);
    if (r == 0 && FAULT(KV_COMMIT_AFTER) < 0)
        r = ERR_UNKNOWN_OUTCOME;
    t = clock_mono_ns() - t;
    u->kv->commit_ns += t;
    spread_add(&u->kv->commit_time, spread_time_ns, t);
    TRACE("kv.commit", tx->writes, r);
    return r;
}

/* Hand the transaction to the engine and sort its answer. */
static void commit(struct update *u, struct kv_tx *tx)
{
    struct kv *kv = u->kv;
    bool maybe = kv->can & KV_ENGINE_MAYBE;

    hook(kv);
    u->result = FAULT(KV_COMMIT_BEFORE);
    if (u->result < 0)
        return;
    u->nonce = maybe ? kv_slot_add(tx) : 0;
    u->result = call_commit(u, tx);
    u->unknown = u->result == ERR_UNKNOWN_OUTCOME;
    u->wrote = u->result == 0 || u->unknown;
    u->again = u->result == ERR_CONFLICT || u->result == ERR_BUSY || u->result == ERR_SHUTDOWN;
    if ((u->unknown && !maybe) || u->result == ERR_SHUTDOWN)
        kv_fail(kv);
    if (maybe)
        kv_slot_done(tx, u->result == 0);
    if (u->wrote)
        kv_watch_bump(kv, tx->write, tx->writes);
    hook(kv);
}

static void run_once(struct update *u)
{
    struct kv_tx tx;

    u->again = u->wrote = u->unknown = false;
    u->version = 0;
    u->result = kv_enter(u->kv, u->deadline);
    if (u->result < 0)
        return;
    u->result = kv_tx_begin(&tx, u->kv, true, u->deadline);
    if (u->result == 0) {
        u->result = u->fn(&tx, u->arg);
        if (tx.error)
            u->result = tx.error;
        CHECK(u->result <= 0, "a transaction function returned %d", u->result);
        u->version = tx.unsynced;
        if (u->result == 0 && tx.writes)
            commit(u, &tx);
        kv_tx_end(&tx);
    }
    u->again |= u->result == ERR_CONFLICT;
    kv_leave(u->kv);
}

/* Ask the slot row. The commit may have got its version late, so that only an upper bound is known: when a failure
 * takes away something below that bound, the slot is asked again, and it is given up for deletion only after that. */
static int ask_slot(struct update *u)
{
    struct kv *kv = u->kv;
    int r, synced = 0;

    do {
        r = kv_slot_settle(kv, u->nonce, u->deadline, &u->version);
        if (r == 0 && u->d == KV_SYNC)
            synced = kv_sync_to(kv, u->version, u->deadline);
    } while (r == 0 && synced == ERR_CONFLICT);
    if (r == 0)
        kv_slot_keep(kv, u->nonce, 0);
    if (r == 0 && u->d == KV_SYNC)
        u->version = 0;
    return r == 0 ? synced : r;
}

/* Find out whether it happened. A failed engine is reopened on the way into kv_sync_to(). */
static void settle_unknown(struct update *u)
{
    int r = u->kv->can & KV_ENGINE_MAYBE ? ask_slot(u) : kv_sync_to(u->kv, u->version, u->deadline);

    u->again = r == ERR_CONFLICT;
    u->wrote = r == 0;
    u->result = r == 0 || u->again ? r : ERR_UNKNOWN_OUTCOME;
}

/* KV_SYNC: what was written, or what the answer rests on, becomes durable. */
static void settle_durable(struct update *u)
{
    int r = kv_sync_to(u->kv, u->version, u->deadline);

    if (r == ERR_CONFLICT)
        u->again = true;
    else if (r < 0 && u->wrote)
        u->result = err_set(ERR_UNKNOWN_OUTCOME, "the change is visible but could not be made durable");
    else if (r < 0)
        u->result = r;
    u->version = 0;
}

static void run(struct update *u)
{
    run_once(u);
    if (u->unknown)
        settle_unknown(u);
    if (!u->again && u->wrote)
        u->kv->commits++;
    if (!u->again && u->d == KV_SYNC && u->result != ERR_UNKNOWN_OUTCOME)
        settle_durable(u);
}

int kv_update(struct kv *kv, kv_fn *fn, void *arg, enum kv_durability d, uint64_t *ret_version)
{
    struct update u = {.kv = kv, .fn = fn, .arg = arg, .d = d, .deadline = kv_deadline()};

    for (unsigned n = 0;; n++) {
        run(&u);
        if (!u.again)
            break;
        atomic_fetch_add(&kv->conflicts, 1);
        if (!pause_before(kv, n, u.result == ERR_BUSY, u.deadline))
            return gave_up();
    }
    if (ret_version)
        *ret_version = kv->can & KV_ENGINE_LAZY ? kv_sync_missing(kv, u.version) : 0;
    return u.result;
}
