/* SPDX-License-Identifier: Apache-2.0
 *
 * Ranked mutexes. A thread takes locks in rising rank only; in debug and sanitizer builds (FB_LOCK_CHECK) a breach
 * aborts. No lock is held across I/O, a KV transaction or a UFS request, except where its declaration says so and why.
 * Ranks are listed here, lowest (taken first) to highest.
 */
#pragma once
#include "base/cleanup.h"
#include <pthread.h>
#include <stdint.h>

enum lock_rank {
    RANK_FUSE = 5,     /* fuse: threads of a mount */
    RANK_ADMIN = 10,   /* admin: jobs table */
    RANK_S3 = 20,      /* s3: server state */
    RANK_NET = 30,     /* net: connections, pools */
    RANK_PERSIST = 40, /* persist: active sets */
    RANK_FS = 50,      /* fs: handles, mounts in memory */
    RANK_META = 60,    /* meta: caches, holds, ids */
    RANK_UFS = 70,     /* ufs: connection pools, limits */
    RANK_PAGE = 80,    /* page: index shards, segments (own sub-ranks 80..89) */
    RANK_KV = 90,      /* kv: commit lock, waiters (own sub-ranks 90..94) */
    RANK_LEAF = 99     /* base: log, trace, fault */
};

struct lock {
    pthread_mutex_t m;
    int rank;
};
#define LOCK_INIT(r)                                                                                                   \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, (r)                                                                                 \
    }

void lock_init(struct lock *l, int rank);
void lock_done(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);
/* Condition variables on CLOCK_MONOTONIC. */
void cond_init(pthread_cond_t *c);
void cond_wait(pthread_cond_t *c, struct lock *l);
/* False when deadline (clock_mono_ns) passed. True may also be a wake-up for nothing. */
int cond_wait_until(pthread_cond_t *c, struct lock *l, uint64_t mono_ns);

static inline void cleanup_lock_drop(struct lock **l)
{
    if (*l)
        lock_drop(*l);
}
/* Hold l until the end of the scope. */
#define LOCKED_(l, id) struct lock *locked_##id __attribute__((unused)) CLEANUP(cleanup_lock_drop) = (lock_take(l), (l))
#define LOCKED__(l, id) LOCKED_(l, id)
#define LOCKED(l) LOCKED__(l, __COUNTER__)
