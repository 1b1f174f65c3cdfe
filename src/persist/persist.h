/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows a commit in the background: the queues that transactions leave records in, and the jobs that drain them.
 *
 *   persist  a dirty file -> its home key in the UFS            (claim, upload, mark)
 *   settle   an object that lies away from its file's home     (claim, server-side copy, switch) ; directories too
 *   reap     an object that belongs to nobody any more          (claim, delete, forget)
 *   drop     contents nobody refers to -> pages                 (check references and readers, forget, recycle)
 *   tree     what hangs below a removed directory               (forget in batches)
 *   orphan   expired uploads and abandoned writes
 *   walk     what the page store found at start
 *   rules    files that became persistable by a change of rules or by a rename
 *   order    where the path configuration asks for it: the first three, one directory at a time, in the order of
 * commits
 *
 * Each job is straight-line code that a crash may end anywhere: the record stays until the job's last transaction. Only
 * a bounded active set is in memory. Threads: all calls from any thread.
 */
#pragma once
#include "base/buf.h"

struct persist;
struct meta;
struct page_store;
struct conf;

struct persist_options {
    struct meta *meta;
    struct page_store *pages;
    const struct conf *conf;
};
int persist_new(const struct persist_options *o, struct persist **ret);
/* Start the threads. Without it nothing happens but by persist_step. */
int persist_start(struct persist *p);
struct persist *
persist_free(struct persist *p); /* stops threads; jobs end at their next step; NULL fine; returns NULL */

enum persist_kind {
    PERSIST_UPLOAD,
    PERSIST_SETTLE,
    PERSIST_REAP,
    PERSIST_DROP,
    PERSIST_TREE,
    PERSIST_ORPHAN,
    PERSIST_WALK,
    PERSIST_RULES,
    PERSIST_ORDER,
    PERSIST_KINDS
};
const char *persist_kind_name(enum persist_kind k);
/* Run one unit of one queue in the calling thread: *ret_did when something was done; *ret_due_ms (wall clock) when the
 * next record falls due (UINT64_MAX: none). Errors of the UFS are part of the job (retried by record), not returned. */
int persist_step(struct persist *p, enum persist_kind k, bool *ret_did, uint64_t *ret_due_ms);
/* The same for everything until no record is due now. */
int persist_drain(struct persist *p);

/* Stop and resume uploads and settles (benchmarks, maintenance); reads and writes go on. */
void persist_pause(struct persist *p, bool on);
bool persist_paused(struct persist *p);

struct persist_item {
    struct str path;
    uint64_t ino, size, since_ms, due_ms;
    unsigned attempts;
    bool running;
    struct str error; /* the last one, or "" */
    const char *kind; /* "persist" or "settle" */
    bool in_order;    /* waits for its turn in its directory */
};
/* Pending and running items, oldest first, after the given ino (0: from the start). */
int persist_list(struct persist *p, size_t limit, int (*fn)(void *arg, const struct persist_item *it), void *arg);
/* One path ("/bucket/key"). State text: PERSISTED, NOT_PERSISTED, TRANSIENT,
 * SKIPPED. */
int persist_stat(struct persist *p, struct str path, struct persist_item *ret, struct buf *ret_text,
                 const char **ret_state);
/* Retry everything due now (after an outage was mended). */
void persist_kick(struct persist *p);

/* Directories whose publications are ordered and wait, up to limit (0: 1,000), stopped ones only where asked. */
struct persist_order {
    struct str dir, path, error; /* path: what stands first; error: why it failed last, or "" */
    uint64_t since_ms, waiting;  /* waiting: it and those behind it, counted up to 16,384 */
    unsigned attempts;
    bool stopped; /* it has failed three times, and nothing behind it goes on before it is sent or skipped */
    bool deletes; /* it is a deletion */
};
int persist_orders(struct persist *p, size_t limit, bool stopped, int (*fn)(void *arg, const struct persist_order *o),
                   void *arg);
void persist_order_counts(struct persist *p, uint64_t *ret_waiting, uint64_t *ret_stopped);
/* Release a directory from what waits at path; *ret_text: what became of it, for people. ERR_NOT_FOUND: nothing waits
 * there. */
int persist_skip(struct persist *p, struct str path, const char **ret_text);

/* Did the UFS of this mount not answer when it was last sent something? It is probed until it does. */
bool persist_mount_away(struct persist *p, uint64_t mount);

struct persist_figures {
    uint64_t dirty_files, dirty_bytes, oldest_since_ms; /* 0: none */
    uint64_t uploaded_files, uploaded_bytes, upload_retries, upload_failures;
    uint64_t readers_cut;     /* whose object went before they had read it, for lack of room */
    uint64_t conflicts, lost; /* lost: of them files whose content was here no more */
    uint64_t settled, reaped, dropped, orphans, running;
    uint64_t skipped;
};
void persist_figures(struct persist *p, struct persist_figures *ret);
