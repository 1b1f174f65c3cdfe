/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room. A lane is one kind of work: its queues, its threads, what they work on now. A job is one file of
 * this room with one function that runs a batch of records; the table in persist.c names them.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/trace.h"
#include "conf/conf.h"
#include "data/data.h"
#include "persist/persist.h"
#include <stdatomic.h>

struct persist;
typedef int job_fn(struct persist *p, struct meta_item *it, size_t n);

struct job {
    enum persist_kind kind;
    enum queue_kind queue;
    size_t batch;     /* records a run takes at most */
    uint64_t bytes;   /* and of how many bytes together (0: any) */
    unsigned threads; /* 0: as many as the property says */
    bool pausable;
    job_fn *run;
    unsigned linger_ms; /* how long after a commit queued something it looks: nobody waits for it, and many are cheaper
                           than one */
};

struct lane {
    struct persist *p;
    const struct job *job;
    struct lock lock; /* RANK_PERSIST */
    pthread_cond_t wake;
    struct map *running;     /* queue key -> (void *)1 */
    struct meta_items ready; /* fetched, from next on not yet taken */
    size_t next;
    uint64_t next_due; /* wall ms of the next record in the KV */
    uint64_t from;     /* nothing due before this is left (but what runs) */
    uint64_t full_scan_ns, linger_ns;
    bool fetching;
    unsigned scouts; /* idle workers that wake by themselves; the soonest at scout_ms, wall clock */
    uint64_t scout_ms;
    atomic_bool kicked;
    pthread_t *thread;
    size_t threads;
};

struct persist {
    struct meta *meta;
    struct page_store *pages;
    struct data *data;
    uint64_t retry_first_ms, retry_max_ms, skew_ms, orphan_ms, scan_ms;
    unsigned upload_threads;
    struct lane *lane;
    size_t lanes;
    atomic_bool stop, paused, walked;
    pthread_t prober, walker;
    bool has_prober, has_walker;
    struct lock lock; /* RANK_PERSIST: down */
    pthread_cond_t wake;
    bool disk_failed[64]; /* as the log was told; the prober's own */
    struct map *down;     /* mount id -> (void *)1: its UFS did not answer lately */
    struct map *stopped;  /* directory -> (void *)1: its order stands still, as the log was told */
    struct map *turns;    /* inode -> (void *)1: it is published in its turn at this moment */
    atomic_uint_fast64_t uploaded_files, uploaded_bytes, upload_retries, upload_failures, conflicts, lost, settled,
        reaped, dropped, orphans, running, skipped;
};

job_fn run_upload, run_settle, run_reap, run_prefix, run_drop, run_tree, run_orphan, run_answer, run_rules, run_order;
int run_walk(struct persist *p, bool *ret_did);
/* Blobs that nothing names and that are older than the orphan timeout go; pages that are persisted and still pinned are
 * unpinned. What a crash of a job between two steps leaves behind while the process lives on. */
int run_orphan_scan(struct persist *p);

/* When a record that failed `attempts` times is tried again: exponential, with jitter. */
uint64_t persist_backoff(struct persist *p, unsigned attempts, int code);
/* A job's UFS did not answer, or did: the prober brings waiting records forward when it answers again. */
void persist_mount_down(struct persist *p, uint64_t mount, int code);
/* Lines of the log (watch.c). */
void persist_tell_away(struct persist *p, uint64_t mount, const char *error);
void persist_tell_back(struct persist *p, uint64_t mount);
void persist_watch_disks(struct persist *p);
/* The UFS of a mount, with the mount to put back. */
int persist_ufs(struct persist *p, uint64_t mount, struct meta_mount **ret_mt, struct ufs **ret);

/* What lies at a key where we want to put an object. */
enum look_verdict { LOOK_FREE, LOOK_OURS /* is what we would put */, LOOK_OLD /* may be overwritten */, LOOK_CONFLICT };
struct look {
    bool expect_known;
    const char *expect;       /* version, "" nothing */
    const char *taken_intent; /* what an earlier request may have put */
    const char *etag;         /* what we are about to put */
    uint64_t size, since_ms, skew_ms;
    uint64_t own_size; /* an earlier copy of ours may lie there, known by its size alone: copies of what came in parts
                          have an ETag of their own. UINT64_MAX: none may */
};
/* Is this what an earlier request of ours left there? */
bool persist_left(const struct look *l, const struct ufs_stat *st);
/* 0 and the verdict with *ret_st as it is (version "" when absent), or an error. */
int persist_look(struct ufs *u, const char *key, const struct look *l, enum look_verdict *ret, struct ufs_stat *ret_st);
/* Somebody else's object lies where ours must go: it is kept beside it, under a name that says what it is. */
int persist_conflict_copy(struct persist *p, struct ufs *u, const char *key, const struct ufs_stat *st);
