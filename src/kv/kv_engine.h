/* SPDX-License-Identifier: Apache-2.0
 *
 * For those who write an engine behind kv.h. An engine is bare: snapshots, reads, one commit call, one sync call. The
 * layer above (the other files of this room) gives it the overlay of own writes, limits, retries, deadlines, the
 * settling of unknown outcomes, group sync, watching and figures, once for all engines. docs/kv-engines.md says how
 * each call maps to RocksDB, FoundationDB and PostgreSQL.
 *
 * Who owns what: the handle (void *e) and the snapshots are the engine's. What a read gives lies in the arena, or in
 * memory of the engine that stays until end(); the arena itself stays until after end(). Threads: every call may come
 * from any thread; one snapshot is used by one thread at a time. The layer calls nothing but version() while reopen()
 * or close() runs.
 *
 * Versions order the commits: they grow with each commit, are never 0 and never used again in the life of a handle, not
 * even after reopen() has lost some. For an engine without KV_ENGINE_LAZY they only tell watchers apart.
 *
 * What survives a crash: what commit() returned survives the death of the process; what sync() was told, power loss.
 */
#pragma once
#include "kv/kv.h"
#include <stdalign.h>

/* ---- memory of one run of a transaction function ---- */

struct kv_chunk;
struct kv_arena {
    struct kv_chunk *chunks;
    char *free;
    size_t left;
    alignas(16) char first[2048]; /* enough for most transactions */
};
void kv_arena_init(struct kv_arena *a);
void kv_arena_done(struct kv_arena *a);                     /* releases all; the arena is empty and usable again */
void *kv_arena_take(struct kv_arena *a, size_t n);          /* aligned for any type; aborts when memory is out */
struct str kv_arena_copy(struct kv_arena *a, struct str s); /* p is never NULL */

/* ---- reading ---- */

/* One row as read. p is NULL when absent. unsynced: 0 when what was read here (absence too) is durable, else a version
 * whose sync makes it so; an engine without KV_ENGINE_LAZY leaves it 0. */
struct kv_cell {
    struct str value;
    uint64_t unsynced;
};

/* Rows in order; begin empty. May hold fewer than asked with more = true, but at least one then. */
struct kv_batch {
    struct kv_row *row;
    size_t n, cap;
    bool more;
    uint64_t unsynced; /* as in struct kv_cell, for the range */
};
void kv_batch_add(struct kv_batch *b, struct kv_arena *a, struct str key, struct str value); /* pointers are kept */

/* ---- writing ---- */

enum kv_op { KV_OP_PUT, KV_OP_DEL, KV_OP_COUNT };

/* A change of a counter of 8 bytes, little-endian (absent or of another length: 0): add v (modulo 2^64), or raise to v.
 */
struct kv_step {
    struct kv_step *next; /* done after this one */
    bool is_max;
    uint64_t v;
};

struct kv_write {
    struct str key, value; /* value: KV_OP_PUT only */
    enum kv_op op;
    struct kv_step *step; /* KV_OP_COUNT only: at least one, in order */
};

struct kv_extent {
    struct str begin, end; /* begin <= key < end */
};

/* What a transaction did. Commit only if nothing in keys and extents changed since the snapshot. */
struct kv_commit {
    const struct str *key; /* point reads */
    size_t keys;
    const struct kv_extent *extent; /* as far as ranges were really read */
    size_t extents;
    struct kv_write *const *write; /* at least one, in key order, every key once */
    size_t writes;
};

/* The value after a KV_OP_COUNT, in 8 bytes. Engines without an atomic operation of their own use it. */
uint64_t kv_write_count(const struct kv_write *w, struct str before);

/* ---- an engine ---- */

enum kv_engine_can {
    KV_ENGINE_LAZY = 1,  /* a commit is visible before it is durable; sync() makes it so */
    KV_ENGINE_MAYBE = 2, /* an unknown outcome leaves the engine working: it is settled by a slot row. Without this flag
                          * an unknown outcome, like an error of sync(), means that the engine has failed: the layer
                          * calls reopen(), and what it kept decides */
};

struct kv_snap;

struct kv_engine {
    const char *name;

    /* Everything visible after open (and reopen) is durable. ret_can: enum kv_engine_can. */
    int (*open)(const struct kv_options *o, void **ret, unsigned *ret_can);
    /* After a failure: close and open the store, keeping the handle. Commits with a version above *ret_kept and up to
     * the version() before this call did not survive. On an error the layer calls it again later, and nothing else. */
    int (*reopen)(void *e, uint64_t *ret_kept);
    void (*close)(void *e);

    /* A snapshot that holds every commit that returned before this call. update: it may be committed. */
    int (*begin)(void *e, bool update, struct kv_arena *a, struct kv_snap **ret);
    void (*end)(void *e, struct kv_snap *s);
    int (*get)(void *e, struct kv_snap *s, struct kv_arena *a, const struct str *keys, size_t n, struct kv_cell *ret);
    /* max_rows and max_bytes of r are wishes: more or fewer rows may come, at least one if there is one. */
    int (*range)(void *e, struct kv_snap *s, struct kv_arena *a, const struct kv_range *r, struct kv_batch *ret);

    /* 0; ERR_CONFLICT: nothing happened, run again; ERR_BUSY: nothing happened, run again after a while;
     * ERR_UNKNOWN_OUTCOME; ERR_SHUTDOWN: nothing happened, the engine has failed before and waits for reopen()
     * (required after an unknown outcome of an engine without KV_ENGINE_MAYBE); any other code: nothing happened.
     * *ret_version is set with 0, and with ERR_UNKNOWN_OUTCOME by engines without KV_ENGINE_MAYBE (the version the
     * commit has if it happened). The snapshot must still be ended. */
    int (*commit)(void *e, struct kv_snap *s, const struct kv_commit *c, uint64_t *ret_version);
    /* The newest version all of whose predecessors are committed or unknown. */
    uint64_t (*version)(void *e);
    /* Make every commit up to the version durable; only with KV_ENGINE_LAZY. One caller at a time. Fails when a commit
     * up to there is unknown: nobody can say that it is durable. */
    int (*sync)(void *e, uint64_t upto);

    void (*figures)(void *e, struct kv_figures *f); /* adds what only the engine knows (disk_bytes) */
    /* As kv_wait(), for stores that other processes write too. NULL: every commit passes through this process, and the
     * layer's own watch table is enough. */
    int (*wait)(void *e, struct str key, uint64_t *version, uint64_t deadline_ns);
};
