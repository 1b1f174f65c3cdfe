/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the page store, shared by the files of this room only.
 *
 * Who owns what: the store owns directories, a directory its segments, a bulk segment its slots. A page is owned by its
 * index entry; until that is made (writer) or once it is gone (held page) its place is owned by who took it.
 *
 * Locks, in the order they are taken; none is held across I/O:
 *     RANK_PAGE+1  store.wait_lock   waiting for space, the keeper's sleep
 *     RANK_PAGE+2  dir.lock          segment states, free counts, slots, the head of the log
 *     RANK_PAGE+4  shard.lock        index entries
 *     RANK_PAGE+6  seg.sync_lock     one fdatasync at a time for each segment
 *     RANK_PAGE+8  store.acct        byte counters of store, directories and segments
 *
 * States of a segment, under dir.lock:
 *     ABSENT   no file yet                                                       -> FORMAT
 *     FREE     nothing live in it                                                -> FORMAT
 *     FORMAT   one thread writes its new life                                    -> READY, BULK; FREE on failure
 *     READY    formatted for the log, blocks written before                      -> HEAD, FORMAT (taken for bulk)
 *     HEAD     the directory's log is appended here                              -> FULL
 *     FULL     no more appends; some may be in flight; rows in memory            -> SEALING, FREE
 *     SEALING  one thread syncs it and writes the table                          -> SEALED; FULL on failure
 *     SEALED   rows on the disk                                                  -> FREE
 *     BULK     slots                                                             -> FORMAT when all are free
 *     LOST     could not be read at start; tried again when the disk is well     -> as recovered
 * A segment becomes FREE only when nothing in it is live, held or in flight. busy: one thread cleans it.
 */
#pragma once
#include "page/page.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/gate.h"
#include "base/hash.h"
#include "base/clock.h"
#include "base/trace.h"
#include "page/index.h"
#include "page/layout.h"
#include <stdatomic.h>
#include <sys/uio.h>

enum seg_state {
    SEG_ABSENT,
    SEG_FREE,
    SEG_FORMAT,
    SEG_READY,
    SEG_HEAD,
    SEG_FULL,
    SEG_SEALING,
    SEG_SEALED,
    SEG_BULK,
    SEG_LOST
};

#define SLOT_TAKEN (1u << 30) /* a page or a writer owns it */
#define SLOT_DEAD (1u << 31)  /* its page is gone; free when the last hold goes */

struct slot {
    uint64_t blob;
    uint32_t index;
    atomic_uint use; /* holds, SLOT_TAKEN, SLOT_DEAD; 0: free */
};

struct seg {
    struct dir *dir;
    uint32_t no, num; /* in locations; in the directory */
    int fd;
    enum seg_state state;
    uint8_t cls;
    bool written, busy, surplus;
    uint64_t id, life;
    uint64_t live, pinned;      /* bytes of space, pinned: all that is not ST_CLEAN; under store.acct */
    atomic_uint_fast64_t stamp; /* store.seq at the last use: recency for eviction */
    atomic_uint holds;          /* small: pages held; bulk: not used */
    atomic_bool lazy;           /* has lazily sealed pages that are not synced */
    /* small */
    uint32_t end, inflight, row_count, row_cap;
    struct disk_row *rows;
    /* bulk */
    struct slot *slots;
    uint32_t slot_count, slot_free, slot_next, hand; /* hand: next to evict */
    /* group commit: wrote counts completed writes, synced says up to which count they are durable */
    struct lock sync_lock;
    atomic_uint_fast64_t wrote, synced;
    uint64_t sync_target; /* what the running sync covers */
    struct gate sync_gate[2];
    unsigned sync_turn; /* whose gate the running sync opens; the other one: who waits for the next */
    bool syncing;
};

struct dir {
    struct page_store *store;
    uint32_t no;
    char *path;
    uint64_t bytes;
    int fd, lock_fd;
    atomic_bool open; /* its segments are usable */
    uint32_t payload, area;
    uint32_t seg_count; /* that the configured bytes allow */
    uint32_t seg_total; /* and those found beyond: emptied, then unlinked */
    struct seg *segs;
    struct lock lock;
    pthread_cond_t cond; /* reclaiming ended */
    struct seg *head;
    uint32_t free_count, ready_count, absent_count;
    uint32_t class_free[PG_CLASSES_MAX]; /* free slots */
    struct seg *class_hint[PG_CLASSES_MAX];
    struct seg *victim[PG_CLASSES_MAX]; /* bulk: being drained, from its hand on */
    bool opening;                       /* one thread formats a segment */
    bool reclaiming;                    /* one thread makes room */
    uint64_t grow_after_ns;             /* the disk was too full to make a segment file */
    uint64_t live, pinned, reserved;    /* under store.acct */
    atomic_bool failed;
    atomic_uint epoch; /* failures so far: what was unsynced then is not to be trusted */
    _Atomic(const char *) reason;
    atomic_uint_fast64_t probe_at_ns;
    atomic_bool probing; /* one thread tries to take it back */
};

struct page_store {
    struct page_options o;
    uint32_t page_size, page_shift;
    unsigned top_class, seg_bits; /* class of a whole page; bits of a segment's number within its directory */
    struct dir *dirs;
    size_t dir_count;
    struct shard shards[IDX_SHARDS];
    struct lock acct;
    uint64_t bytes[ST_COUNT], reserved[2]; /* reserved: for clean, for pinned */
    atomic_uint_fast64_t seq;
    struct lock wait_lock;
    pthread_cond_t wait_cond, keeper_cond;
    unsigned waiters;
    bool walk_done, stop, kicked, keeper_runs;
    unsigned upkeeps, paused; /* rounds that run; checks that want none */
    pthread_t keeper;
    struct lock buf_lock;
    char *bufs[32];
    unsigned buf_count;
    atomic_uint_fast64_t pages, blobs, evicted, cleaned, corrupt, hits, hit_bytes, syncs, lazy_segs;
};

enum { PG_BUF = 128 << 10 }; /* a writer's and a cleaner's buffer */

/* ---- io.c: whole transfers, failures told to the directory ---- */
int page_io_write(struct seg *g, struct iovec *v, int n, uint64_t off); /* iov is used up */
int page_io_read(struct seg *g, void *p, size_t n, uint64_t off);
int page_io_sync(struct seg *g, uint64_t upto); /* group commit: durable up to that count of seg.wrote */
char *page_buf_get(struct page_store *s);       /* PG_BUF bytes, page aligned */
void page_buf_put(struct page_store *s, char *b);
void page_head_make(struct disk_head *h, uint32_t magic, const struct seg *g, const uint32_t *crcs);
bool page_head_good(const struct disk_head *h, uint32_t magic, const struct seg *g, uint32_t pos);
int page_head_read(struct seg *g, uint32_t pos, void *ret, size_t cap); /* ERR_CORRUPT when it is none; cap PG_BLOCK */

static inline int page_fd_take(int *fd) /* out of an AUTO_CLOSE */
{
    int r = *fd;
    *fd = -1;
    return r;
}

/* ---- dir.c ---- */
int page_dir_open(struct dir *d); /* label, lock, segments; recover.c reads them */
void page_dir_close(struct dir *d);
int page_dir_failed(struct dir *d, const char *reason, int eno);     /* sets it aside; ERR_IO with detail */
int page_dir_unreadable(struct dir *d, const char *reason, int eno); /* as that, but nothing written is in doubt */
bool page_dir_probe(struct dir *d);                                  /* try to take a failed one back */
bool page_dir_roomy(struct dir *d, uint64_t more);                   /* would keep_free stay free? */

/* ---- segment.c ---- */
struct seg *page_seg_at(struct page_store *s, uint32_t no);
uint64_t page_seg_payload(const struct seg *g, uint32_t pos); /* file offset of a payload block */
int page_seg_format(struct seg *g, unsigned cls, bool fill);  /* FORMAT only; fill: write zeros where never written */
struct seg *page_seg_take(struct dir *d, bool cleaning, bool small); /* dir.lock held: an empty one, now FORMAT */
void page_seg_set(struct seg *g, enum seg_state st);                 /* dir.lock held: keeps the counts */
void page_seg_maybe_free(struct seg *g);
void page_seg_released(struct seg *g); /* dir.lock held: as maybe_free */
int page_seg_list(struct seg *g, struct disk_row **ret, uint32_t *ret_n, uint32_t *ret_end); /* a small one's records */
int page_seg_scan(struct seg *g, struct disk_row **ret, uint32_t *ret_n, uint32_t *ret_end);
int page_seg_table_write(struct seg *g);
int page_seg_table(struct seg *g, struct disk_row **ret, uint32_t *ret_n, uint32_t *ret_end);
int page_seg_unlink(struct seg *g);             /* a surplus one, when it is empty: 1 */
uint32_t page_seg_reserve(const struct dir *d); /* empty segments kept for cleaning */
uint32_t page_seg_empty(struct dir *d);         /* dir.lock held: how many can be taken */

/* ---- small.c, bulk.c: places for pages ---- */
struct place {
    struct seg *seg;
    uint32_t pos; /* payload block */
};
struct record {
    struct disk_page page; /* seq is set here */
    uint32_t birth;
    const uint32_t *crcs;
    const void *p;
    enum page_state st;
};
/* Append to the log: written, accounted under r->st, not synced. */
int page_small_append(struct dir *d, const struct record *in, bool cleaning, struct place *ret);
int page_small_seal(struct seg *g); /* SEALING only */
bool page_small_seal_full(struct dir *d);
void page_small_detach(struct dir *d); /* dir.lock held: the head takes no more */
/* A slot of class cls, accounted under st. reclaim: make room when there is none. */
int page_bulk_take(struct dir *d, unsigned cls, uint64_t blob, uint32_t index, enum page_state st, bool reclaim,
                   bool cleaning, struct place *ret);
int page_bulk_head(const struct place *at, const struct record *r); /* the page is written: name it */
uint32_t page_bulk_slot(const struct seg *g, uint32_t pos);
void page_bulk_free(struct seg *g, uint32_t slot);
int page_bulk_slots(struct seg *g); /* make the slot array for g->cls */
/* Give back a place that no entry names; st as accounted. */
void page_place_free(const struct place *at, uint32_t len, enum page_state st);
uint32_t page_place_bytes(const struct seg *g, uint32_t len); /* space that a page takes there */

/* ---- space.c ---- */
void page_acct_add(struct seg *g, enum page_state st, uint64_t bytes);
void page_acct_sub(struct seg *g, enum page_state st, uint64_t bytes);
void page_acct_move(struct seg *g, enum page_state from, enum page_state to, uint64_t bytes);
void page_acct_seg(struct seg *g, uint64_t *ret_live, uint64_t *ret_pinned);
int page_space_reserve(struct page_store *s, bool pinned, uint64_t bytes, uint64_t deadline_ns);
void page_space_return(struct page_store *s, bool pinned, uint64_t bytes);
uint64_t page_space_need(const struct page_store *s, uint64_t bytes); /* space that a blob takes */
uint64_t page_space_capacity(struct page_store *s);
int page_space_can_pin(struct page_store *s, uint64_t bytes);
/* The roomiest that works, or NULL; bytes are counted as promised there. */
struct dir *page_space_dir(struct page_store *s, const struct dir *not_this, uint64_t bytes);
void page_space_dir_return(struct dir *d, uint64_t bytes);
void page_space_freed(struct page_store *s); /* wake who waits for space */
int page_space_none(struct page_store *s, uint64_t bytes);

/* ---- state.c: entries that come and go ---- */
struct gone {
    struct seg *seg;
    uint32_t pos, len;
};
struct gone page_entry_remove(struct page_store *s, struct shard *sh, struct entry *e); /* shard lock held */
void page_gone_finish(const struct gone *g);                                            /* no lock held */
/* Name the page at a place; ERR_EXISTS when there is one already (the place stays the caller's). */
int page_entry_insert(struct page_store *s, const struct place *at, const struct disk_page *p, enum page_state st,
                      bool verified);
/* The copy of a page takes over from the one at loc: false (and nothing changed) when that is no longer the page.
 * st: as the copy is accounted. */
bool page_entry_move(struct page_store *s, uint64_t blob, uint32_t index, uint64_t loc, const struct place *to,
                     enum page_state st);
void page_entry_corrupt(struct page_store *s, uint64_t blob, uint32_t index,
                        uint64_t loc);                             /* counted; forgotten if clean */
bool page_entry_held(struct page_store *s, const struct entry *e); /* shard lock held */
static inline struct shard *page_shard(struct page_store *s, uint64_t blob)
{
    return &s->shards[page_idx_shard(blob)];
}
uint32_t page_count_of(const struct page_store *s, uint64_t bytes);

/* ---- reader.c ---- */
struct held {
    struct seg *seg;
    uint32_t pos, len, index;
    uint64_t blob;
    bool verified;
};
void page_held_release(const struct held *h);
int page_held_verify(const struct held *h); /* every block; ERR_CORRUPT, ERR_IO */

/* ---- evict.c, clean.c ---- */
int page_reclaim(struct dir *d, unsigned cls);   /* 1: some room was made (or somebody made some), 0: none can be */
int page_clean_small(struct seg *g, bool evict); /* busy only: empties it; bytes that came free, or an error */
int page_clean_bulk(struct seg *g);
uint64_t page_log_room(struct dir *d);  /* dir.lock held: bytes the log can take without making room */
bool page_clean_sparse(struct dir *d);  /* one segment below 25% live */
bool page_clean_surplus(struct dir *d); /* one segment beyond the configured bytes */
void page_reclaim_pause(struct dir *d); /* nobody cleans or evicts until resume */
void page_reclaim_resume(struct dir *d);

/* ---- recover.c, keeper.c ---- */
void page_recover_dir(struct dir *d);  /* what cannot be read sets the directory aside and stays SEG_LOST */
void page_recover_lost(struct dir *d); /* try those again */
int page_keeper_start(struct page_store *s);
void page_keeper_stop(struct page_store *s);
void page_keeper_kick(struct page_store *s);
void page_upkeep_pause(struct page_store *s); /* no round runs until resume */
void page_upkeep_resume(struct page_store *s);
