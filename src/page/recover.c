/* SPDX-License-Identifier: Apache-2.0
 *
 * At start: read the header area of every segment and put what is found into the index as *unknown*.
 *
 *     identity not readable, both copies   the segment is free (its records cannot be told from another life's)
 *     small with a good table              the rows are taken; records are verified at their first read
 *     small without                        every 4 KiB bound is tried, whole records are taken (their bytes verified)
 *     bulk                                 every slot whose header is of this life is taken
 * A page found twice (a crash while it was moved) is the one with the higher sequence number; but a page that is
 * already known (a directory that comes back at run time) stays.
 * A segment that cannot be read sets the directory aside and is LOST until the disk gives it.
 */
#include "page/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADERS = 64 }; /* slot headers read at once */

/* ---- one page ---- */

static uint64_t seq_at(struct seg *g, uint32_t pos)
{
    char block[PG_BLOCK] __attribute__((aligned(8)));
    return page_head_read(g, pos, block, sizeof block) == 0 ? ((struct disk_head *)block)->page.seq : 0;
}

/* The page is in the index already: does the one found win? Then the other is gone on return. */
static bool replaces(struct page_store *s, const struct disk_page *p)
{
    struct shard *sh = page_shard(s, p->blob);
    struct gone gone;
    uint64_t loc;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, p->blob, p->index);
        if (!e)
            return true;
        if (ent_state(e) != ST_UNKNOWN)
            return false;
        loc = ent_loc(e);
    }
    if (seq_at(page_seg_at(s, loc_seg(loc)), loc_pos(loc)) >= p->seq)
        return false;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, p->blob, p->index);
        if (!e || ent_loc(e) != loc || ent_state(e) != ST_UNKNOWN)
            return false;
        gone = page_entry_remove(s, sh, e);
    }
    page_gone_finish(&gone);
    return true;
}

/* True when the page is in the index now. */
static bool found(struct seg *g, uint32_t pos, const struct disk_page *p)
{
    struct page_store *s = g->dir->store;
    struct place at = {g, pos};
    uint64_t seq = atomic_load(&s->seq);
    while (seq <= p->seq && !atomic_compare_exchange_weak(&s->seq, &seq, p->seq + 1))
        ;
    page_acct_add(g, ST_UNKNOWN, page_place_bytes(g, p->len));
    for (int tries = 0; tries < 2; tries++) {
        if (page_entry_insert(s, &at, p, ST_UNKNOWN, false) == 0)
            return true;
        if (!replaces(s, p))
            break;
    }
    page_acct_sub(g, ST_UNKNOWN, page_place_bytes(g, p->len));
    return false;
}

/* ---- small ---- */

static bool row_good(const struct seg *g, const struct disk_row *r)
{
    return r->page.len && r->page.len <= PG_SMALL_MAX &&
           r->pos + pg_small_blocks(r->page.len) <= g->dir->payload / PG_BLOCK;
}

static void set_state(struct seg *g, enum seg_state st)
{
    LOCKED(&g->dir->lock);
    page_seg_set(g, st);
}

static int recover_small(struct seg *g)
{
    AUTO_FREE struct disk_row *rows = NULL;
    uint32_t n = 0, end = 0;
    int r = page_seg_table(g, &rows, &n, &end);
    bool sealed = r == 0;
    if (r == ERR_NOT_FOUND)
        r = page_seg_scan(g, &rows, &n, &end);
    TRY(r);
    for (uint32_t i = 0; i < n; i++)
        if (row_good(g, &rows[i]))
            found(g, rows[i].pos, &rows[i].page);
    g->end = end;
    if (!sealed && !g->dir->store->o.read_only) {
        g->row_count = g->row_cap = n;
        g->rows = TAKE(rows);
    }
    LOCKED(&g->dir->lock);
    page_seg_set(g, sealed || g->dir->store->o.read_only ? SEG_SEALED : SEG_FULL);
    bool written = g->written;
    page_seg_released(g);
    if (g->state == SEG_FREE)
        g->written = written || sealed;
    return 0;
}

/* ---- bulk ---- */

static void recover_slot(struct seg *g, uint32_t i, const struct disk_head *h)
{
    struct slot *t = &g->slots[i];
    if (atomic_load(&t->use))
        return; /* found when the segment could be read in part */
    if (h->magic == PG_SLOT_MAGIC)
        t->index = h->page.index, t->blob = h->page.blob; /* a header is there, good or not: to be wiped before reuse */
    if (!page_head_good(h, PG_SLOT_MAGIC, g, i))
        return;
    atomic_store(&t->use, SLOT_TAKEN);
    g->slot_free--;
    if (!found(g, i * (pg_slot_size(g->cls) / PG_BLOCK), &h->page)) {
        atomic_store(&t->use, 0);
        g->slot_free++;
    }
}

static int recover_slots(struct seg *g, char *buf)
{
    for (uint32_t at = 0; at < g->slot_count; at += HEADERS) {
        uint32_t n = g->slot_count - at < HEADERS ? g->slot_count - at : HEADERS;
        TRY(page_io_read(g, buf, (size_t)n * PG_BLOCK, PG_BLOCK * (1 + (uint64_t)at)));
        for (uint32_t i = 0; i < n; i++)
            recover_slot(g, at + i, (const struct disk_head *)(buf + (size_t)i * PG_BLOCK));
    }
    return 0;
}

static int recover_bulk(struct seg *g)
{
    if (!g->slots)
        page_bulk_slots(g);
    char *buf = malloc((size_t)HEADERS * PG_BLOCK);
    CHECK(buf, "out of memory");
    int r = recover_slots(g, buf);
    free(buf);
    TRY(r);
    LOCKED(&g->dir->lock);
    if (g->slot_free == g->slot_count) {
        free(g->slots);
        g->slots = NULL;
        g->slot_count = g->slot_free = 0;
        page_seg_set(g, SEG_FREE);
        return 0;
    }
    g->dir->class_free[g->cls] += g->slot_free;
    page_seg_set(g, SEG_BULK);
    return 0;
}

/* ---- one segment ---- */

static bool identity_good(const struct seg *g, const struct disk_seg *h)
{
    return h->magic == PG_SEG_MAGIC && h->crc == crc32c(0, &h->id, sizeof *h - offsetof(struct disk_seg, id)) &&
           h->payload == g->dir->payload && h->version == PG_VERSION && h->id &&
           (h->cls == 0 || h->cls <= g->dir->store->top_class);
}

/* 1: known; 0: nobody's. */
static int identity_read(struct seg *g)
{
    struct disk_seg h[2];
    TRY(page_io_read(g, &h[0], sizeof h[0], 0));
    TRY(page_io_read(g, &h[1], sizeof h[1], g->dir->area - PG_BLOCK));
    bool good[2] = {identity_good(g, &h[0]), identity_good(g, &h[1])};
    if (!good[0] && !good[1])
        return 0;
    const struct disk_seg *best = !good[1] || (good[0] && h[0].life >= h[1].life) ? &h[0] : &h[1];
    g->id = best->id;
    g->life = best->life;
    g->cls = best->cls;
    g->written = best->written;
    return 1;
}

/* 1: the file is there and whole; 0: it is not there, or was being made when the process died. */
static int file_open(struct seg *g)
{
    char name[32];
    struct stat st;
    snprintf(name, sizeof name, "segments/%08u", g->num);
    AUTO_CLOSE int fd = openat(g->dir->fd, name, (g->dir->store->o.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) != 0)
        return page_dir_unreadable(g->dir, "a segment cannot be opened", errno);
    if ((uint64_t)st.st_size != (uint64_t)g->dir->area + g->dir->payload)
        return 0;
    g->fd = page_fd_take(&fd);
    return 1;
}

static int recover_seg(struct seg *g)
{
    TRY(FAULT(PAGE_RECOVER));
    int there = g->fd >= 0 ? 1 : file_open(g);
    if (there <= 0) {
        if (there == 0)
            set_state(g, SEG_ABSENT);
        return there;
    }
    atomic_store(&g->stamp, atomic_load(&g->dir->store->seq));
    int known = identity_read(g);
    if (known > 0)
        return g->cls ? recover_bulk(g) : recover_small(g);
    if (known == 0)
        set_state(g, SEG_FREE);
    return known;
}

static void try_seg(struct seg *g)
{
    int r = recover_seg(g);
    if (r == 0)
        return;
    if (!atomic_load(&g->dir->failed))
        page_dir_unreadable(g->dir, "a segment cannot be read", EIO);
    set_state(g, SEG_LOST);
}

/* Ask the kernel for the header areas of the next segments. */
static void read_ahead(struct dir *d, uint32_t i)
{
    struct seg *g = i < d->seg_total ? &d->segs[i] : NULL;
    if (!g || g->fd >= 0 || file_open(g) != 1)
        return;
    posix_fadvise(g->fd, 0, d->area, POSIX_FADV_WILLNEED);
}

void page_recover_dir(struct dir *d)
{
    enum { AHEAD = 8 };
    for (uint32_t i = 0; i < d->seg_total; i++) {
        read_ahead(d, i + AHEAD);
        try_seg(&d->segs[i]);
    }
}

void page_recover_lost(struct dir *d)
{
    for (uint32_t i = 0; i < d->seg_total; i++) {
        struct seg *g = &d->segs[i];
        bool lost;
        {
            LOCKED(&d->lock);
            lost = g->state == SEG_LOST;
        }
        if (lost)
            try_seg(g);
    }
}
