/* SPDX-License-Identifier: Apache-2.0
 *
 * The metadata store as the rest of Forebay sees it: an ordered map of byte strings with strictly serializable
 * transactions. One contract, several engines (rocksdb: embedded; mem: tests; foundationdb, postgres: to come).
 *
 * Who owns what: keys and values handed in are copied; what a getter gives is valid until the transaction function
 * returns. Threads: every function may be called from any thread; a struct kv_tx belongs to the running function.
 *
 * What survives a crash after return: KV_SYNC: power loss. KV_LAZY: the death of the process; power loss from the next
 * sync on. A transaction is visible to all at once when it is committed, which may be before it is durable: who answers
 * another machine, or does something irreversible, calls kv_settle() with the version its view or update returned.
 *
 * Rules for a transaction function: it may run several times, on any thread, touches only its transaction and its
 * argument, resets what it computed at its start, does no I/O, and mints no ids. It returns 0 to commit, or a negative
 * code that becomes the result (nothing is written then). ERR_CONFLICT never comes out of kv_update: it is retried
 * until the deadline (4 s), then ERR_TIMEOUT.
 *
 * Limits, enforced here for every engine: key 2,048 bytes, value 90,000, a transaction 1,000,000 bytes of keys and
 * values written, 4 s. Breach: ERR_LIMIT. Keys that start with byte 0xff are the layer's own: writing one is ERR_LIMIT,
 * ranges end before them.
 */
#pragma once
#include "base/buf.h"
#include "base/spread.h"

struct kv;
struct kv_tx;

enum kv_durability { KV_LAZY, KV_SYNC };

enum { KV_KEY_MAX = 4352, KV_VALUE_MAX = 90000, KV_TX_MAX = 1000000, KV_TX_MS = 4000 };

typedef int kv_fn(struct kv_tx *tx, void *arg);

/* Run fn on a snapshot; writing is a bug. *ret_version (may be NULL): for kv_settle; 0 when all that was read is
 * durable already (point reads are judged row by row, a range read by the whole store). Result: what fn returned, or an
 * engine error (ERR_IO, ERR_UNREACHABLE, ERR_TIMEOUT). *ret_version is set also when fn returned an error: a refusal
 * rests on what was read, too. */
int kv_view(struct kv *kv, kv_fn *fn, void *arg, uint64_t *ret_version);

/* Run fn as a transaction and commit it. With KV_SYNC it is durable on return. "Maybe committed" is settled inside.
 * *ret_version as above (0 after KV_SYNC). ERR_UNKNOWN_OUTCOME: only when the store could not be asked until the
 * deadline. */
int kv_update(struct kv *kv, kv_fn *fn, void *arg, enum kv_durability d, uint64_t *ret_version);

/* Wait until everything up to version is durable; version 0 returns at once. */
int kv_settle(struct kv *kv, uint64_t version);

/* ---- inside a transaction function ---- */

/* ERR_NOT_FOUND when absent. */
int kv_get(struct kv_tx *tx, struct str key, struct str *ret_value);

/* Many keys in one round trip: values[i].p is NULL where absent. */
int kv_get_many(struct kv_tx *tx, const struct str *keys, size_t n, struct str *ret_values);

struct kv_row {
    struct str key, value;
};

struct kv_range {
    struct str begin, end; /* begin <= key < end; both directions use the same bounds */
    size_t max_rows;       /* 0: as many as max_bytes allows */
    size_t max_bytes;      /* of keys and values; 0: 256 KiB. At least one row is returned if there is one */
    bool reverse;          /* from end towards begin */
    bool loose;            /* in an update: do not conflict with later changes in the range */
};

struct kv_rows {
    const struct kv_row *row;
    size_t n;
    bool more; /* a limit ended the read */
};

/* Own writes of this transaction are included. */
int kv_range(struct kv_tx *tx, const struct kv_range *r, struct kv_rows *ret);

/* In an update only. A loose get: sees the value but does not conflict with a later change of it. */
int kv_get_loose(struct kv_tx *tx, struct str key, struct str *ret_value);
void kv_put(struct kv_tx *tx, struct str key, struct str value);
void kv_del(struct kv_tx *tx, struct str key);

/* Atomic operations on 8-byte little-endian counters (absent: 0), without a read conflict; on keys that nobody gets in
 * an update except loosely. */
void kv_add(struct kv_tx *tx, struct str key, int64_t delta);
void kv_max(struct kv_tx *tx, struct str key, uint64_t value);
static inline uint64_t kv_counter(struct str value)
{
    uint64_t v = 0;
    if (value.n == sizeof v)
        memcpy(&v, value.p, sizeof v);
    return v;
}

/* The first key after every key that starts with prefix (for ranges), into out (cleared first). */
void kv_prefix_end(struct str prefix, struct buf *out);

/* ---- watching ---- */

/* Wait until the value of key differs from what it was when *version was taken (0: now), or deadline (clock_mono_ns)
 * passes: 0 and *version moved on, or ERR_TIMEOUT. Spurious wake-ups happen. To miss none: take the version (0 with a
 * deadline in the past sets it), look at the data, then wait. */
int kv_wait(struct kv *kv, struct str key, uint64_t *version, uint64_t deadline_ns);

/* ---- life ---- */

struct kv_options {
    const char *dir;    /* rocksdb: directory, made if absent */
    size_t cache_bytes; /* block cache; 0: 64 MiB */
    bool accept_loss;   /* rocksdb: open a store of which less is left than was synced; else ERR_CORRUPT, untouched */
    uint64_t seed;      /* mem: seed of its nastiness; 0: well-behaved */
    /* Called before a sync makes lazy commits durable, to sync first what they name. NULL: nothing. */
    int (*before_sync)(void *arg);
    void *before_sync_arg;
    /* Tests only (model checker): called around every commit, may switch tasks. NULL: nothing. */
    void (*on_commit)(void *arg);
    void *on_commit_arg;
};

struct kv_figures {
    uint64_t commits, conflicts, syncs, reopened, unsynced;
    uint64_t commit_ns, sync_ns; /* sums */
    struct spread_figures commit_time, sync_time;
    uint64_t disk_bytes;
};

/* A row per engine; src/bin names them. */
struct kv_engine;
extern const struct kv_engine kv_engine_rocksdb;
extern const struct kv_engine kv_engine_mem;

int kv_open(const struct kv_engine *engine, const struct kv_options *o, struct kv **ret);
struct kv *kv_close(struct kv *kv); /* syncs; NULL is fine; returns NULL */
void kv_figures(struct kv *kv, struct kv_figures *ret);

/* mem only: forget every commit that was not synced, as a power cut does. Transaction functions that are running never
 * go on, or get ERR_CONFLICT when they do. */
void kv_mem_power_cut(struct kv *kv);
/* mem only: a hash of all rows, for state hashing. */
uint64_t kv_mem_hash(struct kv *kv);
/* Everything, row by row, on one snapshot per batch: dump and fsck. fn stops it with non-zero, which is returned. */
int kv_scan(struct kv *kv, struct str prefix, int (*fn)(void *arg, struct str key, struct str value), void *arg);
