/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the contract layer. Not for engines and not for other rooms.
 *
 * An open store is in one of these states (life.c):
 *     working     users come and go
 *     failed      an engine error was seen; new users wait, the old ones leave
 *     reopening   the last user has left, one thread is inside engine->reopen()
 *     broken      reopen() failed; users get ERR_IO until a later try succeeds (one each 100 ms at most)
 * failed -> reopening -> working | broken -> reopening ...
 *
 * Locks: kv->lock (RANK_KV) guards life and sync state and is never held across engine calls; watch.lock (RANK_KV + 4).
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/gate.h"
#include "base/lock.h"
#include "base/trace.h"
#include "kv/kv_engine.h"
#include <stdatomic.h>

/* Keys from here on are the layer's own (slot rows); ranges of users end before it. */
#define KV_OWN "\xff"

enum { KV_LOST_MAX = 1024, KV_WATCH_BUCKETS = 64, KV_SLOTS_KEPT = 64, KV_SLOTS_FREED = 8 };

struct kv_lost {
    uint64_t above, upto; /* versions above < v <= upto did not survive a reopen */
};

struct kv_slot {
    uint64_t nonce, due_ns; /* its row may be deleted from then on */
};

struct kv {
    const struct kv_engine *engine;
    void *e;
    unsigned can;
    struct kv_options o;

    /* life.c */
    atomic_uint users;
    atomic_bool failed;
    struct lock lock;
    pthread_cond_t moved; /* users left, reopened */
    bool reopening;
    uint64_t retry_ns; /* broken: not before */
    int broken;        /* the error of the last reopen, 0: none */

    /* sync.c */
    bool syncing;
    uint64_t target; /* what the running sync will make durable */
    unsigned turn;   /* synced[turn]: waiters of the running sync; the other: of the next one */
    struct gate synced[2];
    atomic_ullong durable;    /* all commits up to here are durable or lost */
    atomic_ullong lazy_begun; /* lazy commits handed to the engine */
    uint64_t lazy_synced;     /* of those: covered by a before_sync */
    struct kv_lost *lost;
    atomic_uint lost_n;

    /* slot.c */
    atomic_ullong nonce;
    struct kv_slot slot[KV_SLOTS_KEPT]; /* settled, row still there */
    unsigned slots;

    /* watch.c */
    struct lock watch_lock;
    pthread_cond_t watch_cond;
    atomic_uint watchers;
    atomic_ullong watch[KV_WATCH_BUCKETS]; /* moved on by each commit of a key of the bucket */

    /* figures */
    atomic_ullong commits, conflicts, syncs, reopened, commit_ns, sync_ns, commits_synced;
    struct spread commit_time, sync_time;
};

/* One run of a transaction function. */
struct kv_tx {
    struct kv *kv;
    struct kv_snap *snap;
    bool update;
    bool own;          /* the layer's own keys may be touched */
    int error;         /* first engine error or breach of a limit; beats what fn returns */
    uint64_t deadline; /* clock_mono_ns */
    uint64_t unsynced; /* greatest of what was read */
    struct kv_arena arena;

    struct str *key; /* point reads */
    size_t keys, keys_cap;
    struct kv_extent *extent;
    size_t extents, extents_cap;
    struct kv_write **write; /* the overlay, in key order */
    size_t writes, writes_cap, bytes;
    struct kv_slot slot[KV_SLOTS_FREED]; /* whose rows this transaction deletes */
    unsigned slots;
    uint64_t nonce; /* of its own slot */
};

/* life.c: bracket every use of the engine. */
int kv_enter(struct kv *kv, uint64_t deadline);
void kv_leave(struct kv *kv);
void kv_fail(struct kv *kv); /* by a user, before it leaves */

/* tx.c: one run. */
int kv_tx_begin(struct kv_tx *tx, struct kv *kv, bool update, uint64_t deadline);
void kv_tx_end(struct kv_tx *tx);
void kv_tx_read_key(struct kv_tx *tx, struct str key);
void kv_tx_read_extent(struct kv_tx *tx, struct str begin, struct str end);
int kv_tx_fetch(struct kv_tx *tx, const struct str *keys, size_t n, struct kv_cell *ret); /* past the overlay */

/* overlay.c: own writes. */
struct kv_write *kv_overlay_find(const struct kv_tx *tx, struct str key);
size_t kv_overlay_at(const struct kv_tx *tx, struct str key); /* index of the first own write at or after key */
void kv_overlay_put(struct kv_tx *tx, struct str key, struct str value);
void kv_overlay_del(struct kv_tx *tx, struct str key);
/* The value a reader sees for base (p NULL: absent) under own write w (may be NULL). */
struct str kv_overlay_apply(struct kv_tx *tx, const struct kv_write *w, struct str base);

/* slot.c: unknown outcomes of engines with KV_ENGINE_MAYBE. */
uint64_t kv_slot_add(struct kv_tx *tx); /* the nonce; adds the slot row, and deletes of old ones */
/* After the outcome of tx is known. */
void kv_slot_done(struct kv_tx *tx, bool happened);
void kv_slot_keep(struct kv *kv, uint64_t nonce, uint64_t due_ns); /* delete its row some time after */
/* 0: committed, not after *ret_version, and the caller owes kv_slot_keep(); ERR_CONFLICT: not, and never will be; else
 * still unknown. */
int kv_slot_settle(struct kv *kv, uint64_t nonce, uint64_t deadline, uint64_t *ret_version);
int kv_slot_sweep(struct kv *kv); /* at open: remove what crashed processes left */

/* sync.c */
/* Durable up to version: 0. ERR_CONFLICT: lost by a failure of the engine. */
int kv_sync_to(struct kv *kv, uint64_t version, uint64_t deadline);
void kv_sync_lose(struct kv *kv, uint64_t above, uint64_t upto); /* lock held */
uint64_t kv_sync_missing(struct kv *kv, uint64_t version);       /* version, or 0 when it is durable */

/* watch.c */
void kv_watch_bump(struct kv *kv, struct kv_write *const *w, size_t n);
void kv_watch_all(struct kv *kv);

static inline uint64_t kv_deadline(void)
{
    return clock_mono_ns() + (uint64_t)KV_TX_MS * 1000000;
}
static inline void kv_u64_max(uint64_t *v, uint64_t with)
{
    if (*v < with)
        *v = with;
}
