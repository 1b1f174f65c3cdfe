/* SPDX-License-Identifier: Apache-2.0
 *
 * The UFS of tests: an object store in memory, honest by itself, and the controls that make it late, forgetful and
 * repetitive. "mem:NAME" opens the store NAME; it is made when first named and lives until ufs_mem_drop(), so that it
 * survives the process that a test pretends to crash.
 *
 * Every request that changes the store has three moments:
 *
 *   sent     recorded, with a deadline; nothing has changed
 *   effect   at any time until the deadline, never (lost), or several times (repeated)
 *   answer   reaches the caller, or is lost: ERR_UNKNOWN_OUTCOME
 *
 * A hook is told of each moment, outside any lock: a scheduler may switch tasks there and decide. What it decides
 * nothing about happens at once and is answered. Requests whose effect may still come stay in the list of pending
 * requests, also after their caller has its answer (only if repeats are on) or is gone (a task thrown away inside the
 * hook).
 *
 * Version and ETag of an object are MD5 as in S3: equal bytes have equal versions.
 *
 * Threads: everything is under one lock per store (RANK_UFS) except the hook; a scheduler's use is single-threaded and
 * deterministic, chaos (below) is for threads. Time comes from base/clock.h.
 */
#pragma once
#include "ufs/ufs.h"

struct ufs_mem;

struct ufs_mem *ufs_mem_store(const char *name); /* the store of "mem:NAME"; made when new */
void ufs_mem_drop(const char *name);             /* no struct ufs may have it open */

/* UFS_CAP_ bits; the default is what S3 has. Without VERBATIM the names of a POSIX tree; without IF_MATCH and the like
 * conditions are ignored, as such stores do; RENAME is offered only when asked for. */
void ufs_mem_set_caps(struct ufs_mem *m, unsigned caps);
#define UFS_MEM_CAPS                                                                                                   \
    (UFS_CAP_VERBATIM | UFS_CAP_IF_MATCH | UFS_CAP_IF_NONE_MATCH | UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_TAGS |        \
     UFS_CAP_MULTIPART | UFS_CAP_DELETE_IF_MATCH | UFS_CAP_MARKERS | UFS_CAP_ETAG_MD5)

/* --- scheduling */

enum ufs_mem_step { UFS_MEM_READ, UFS_MEM_SENT, UFS_MEM_EFFECT, UFS_MEM_ANSWER };
/* request is 0 for UFS_MEM_READ (before a stat, list or read). NULL: no hook. */
void ufs_mem_on_step(struct ufs_mem *m, void (*on_step)(void *arg, enum ufs_mem_step step, uint64_t request),
                     void *arg);
/* Keep requests that were answered pending until their deadline, so that they can be repeated. Off at first. */
void ufs_mem_set_repeats(struct ufs_mem *m, bool on);

struct ufs_mem_request {
    uint64_t id;
    const char *
        call; /* "put", "delete", "copy", "rename", "mpu_create", "mpu_part", "mpu_complete", "mpu_abort", "set_meta" */
    struct str key, src; /* live while the request is pending */
    uint64_t sent_ns, until_ns;
    unsigned effects; /* times it took effect */
    bool answered;    /* its caller has an answer, or gave up */
};
/* Requests that may take effect (again), oldest first; how many there are (may exceed cap). Expired ones are removed.
 */
size_t ufs_mem_pending(struct ufs_mem *m, struct ufs_mem_request *ret, size_t cap);
/* Take effect now. Its result code (a refused condition is a result); ERR_TIMEOUT past the deadline, ERR_NOT_FOUND when
 * not pending. */
int ufs_mem_apply(struct ufs_mem *m, uint64_t request);
/* No effect from now on. In "sent": the caller gets ERR_UNKNOWN_OUTCOME. */
void ufs_mem_lose(struct ufs_mem *m, uint64_t request);
/* In "sent": the caller gets ERR_UNKNOWN_OUTCOME at once; the effect comes by ufs_mem_apply() or not at all. */
void ufs_mem_delay(struct ufs_mem *m, uint64_t request);
/* In "effect" or "answer": the caller gets ERR_UNKNOWN_OUTCOME. */
void ufs_mem_lose_answer(struct ufs_mem *m, uint64_t request);
/* In "sent": the caller gets ERR_DENIED and nothing happens; 0, before a read: that read is refused. */
void ufs_mem_refuse(struct ufs_mem *m, uint64_t request);
/* The callers of all requests under way are gone (their tasks were thrown away inside a hook, as a crash does). */
void ufs_mem_abandon(struct ufs_mem *m);

/* --- disturbances */

void ufs_mem_outage(struct ufs_mem *m, bool on);          /* every call: ERR_UNREACHABLE, nothing happens */
void ufs_mem_throttle(struct ufs_mem *m, unsigned calls); /* the next calls: ERR_THROTTLED */
void ufs_mem_full(struct ufs_mem *m, bool on);            /* puts and parts: ERR_NO_SPACE */
struct ufs_mem_chaos {
    uint64_t seed;
    /* chances in 1/1000 for each request */
    unsigned lose, delay, repeat, lose_answer, throttle, unreachable;
    uint64_t late_ms; /* delayed and repeated effects come within this (and the deadline) */
};
/* Random disturbances from now on; NULL: none. Delayed effects happen inside later calls once they are due. */
void ufs_mem_chaos(struct ufs_mem *m, const struct ufs_mem_chaos *c);
/* Let every pending effect that is still allowed happen or expire (in order of their dues): nothing comes afterwards.
 */
void ufs_mem_settle(struct ufs_mem *m);

/* --- behind our back, and looking */

void ufs_mem_external_put(struct ufs_mem *m, struct str key, struct str bytes);
void ufs_mem_external_delete(struct ufs_mem *m, struct str key);
bool ufs_mem_peek(struct ufs_mem *m, struct str key, struct buf *ret_bytes,
                  struct ufs_stat *ret); /* both may be NULL */
size_t ufs_mem_count(struct ufs_mem *m);
/* All objects in key order, reserved keys too; stops at non-zero. fn must not call back into the store. */
int ufs_mem_each(struct ufs_mem *m, int (*fn)(void *arg, struct str key, struct str bytes), void *arg);
size_t ufs_mem_uploads(struct ufs_mem *m); /* multipart uploads under way */
/* Objects (keys, bytes, metadata), uploads and pending requests; not times and ids. */
uint64_t ufs_mem_hash(struct ufs_mem *m);
