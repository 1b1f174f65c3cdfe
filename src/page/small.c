/* SPDX-License-Identifier: Apache-2.0
 *
 * The log of small pages: records appended to the head segment of a directory.
 *
 * A record is header, payload and zeros up to the next 4 KiB bound, in one pwritev: no block is read to be written. An
 * append reserves its offset under the directory's lock and writes without it, so appends run in parallel; a record
 * whose write fails leaves a gap, which ends nothing.
 *
 * Rows: every record that was written has one in its segment's memory until the table is on the disk (SEALED). The
 * table is written only after all its records were synced, so that a table never names bytes that are not there.
 */
#include "page/store.h"
#include <string.h>

static uint32_t blocks_of(const struct dir *d)
{
    return d->payload / PG_BLOCK;
}

void page_small_detach(struct dir *d)
{
    struct seg *g = d->head;
    if (!g)
        return;
    d->head = NULL;
    page_seg_set(g, SEG_FULL);
    page_seg_released(g);
}

static struct seg *ready_one(struct dir *d, bool cleaning)
{
    if (!d->ready_count || (!cleaning && page_seg_empty(d) <= page_seg_reserve(d)))
        return NULL;
    for (uint32_t i = 0; i < d->seg_count; i++)
        if (d->segs[i].state == SEG_READY)
            return &d->segs[i];
    return NULL;
}

/* Format a segment for the log; dir.lock is held before and after, not during. */
static int open_one(struct dir *d, bool cleaning)
{
    struct seg *g = page_seg_take(d, cleaning, true);
    if (!g)
        return ERR_NO_SPACE;
    d->opening = true;
    lock_drop(&d->lock);
    int r = page_seg_format(g, 0, false);
    lock_take(&d->lock);
    d->opening = false;
    if (r == 0)
        page_seg_set(g, SEG_READY);
    pthread_cond_broadcast(&d->cond);
    return r;
}

/* A head with room for blocks more; dir.lock is held before and after. ERR_NO_SPACE: something must be reclaimed. */
static int head_with_room(struct dir *d, uint32_t blocks, bool cleaning)
{
    while (!d->head || d->head->end + blocks > blocks_of(d)) {
        if (d->opening) {
            cond_wait(&d->cond, &d->lock);
            continue;
        }
        struct seg *g = ready_one(d, cleaning);
        if (!g) {
            TRY(open_one(d, cleaning));
            continue;
        }
        page_small_detach(d);
        page_seg_set(g, SEG_HEAD);
        d->head = g;
    }
    return 0;
}

static int log_reserve(struct dir *d, uint32_t blocks, bool cleaning, enum page_state st, struct place *ret)
{
    for (;;) {
        {
            LOCKED(&d->lock);
            int r = head_with_room(d, blocks, cleaning);
            if (r == 0) {
                struct seg *g = d->head;
                *ret = (struct place){g, g->end};
                g->end += blocks;
                g->inflight++;
                page_acct_add(g, st, (uint64_t)blocks * PG_BLOCK);
                return 0;
            }
            if (r != ERR_NO_SPACE || cleaning)
                return r;
        }
        int r = page_reclaim(d, 0);
        if (r <= 0)
            return r ? r : page_space_none(d->store, (uint64_t)blocks * PG_BLOCK);
    }
}

static int record_write(const struct place *at, const struct record *r)
{
    static const char zeros[PG_BLOCK];
    union {
        struct disk_head h;
        char bytes[PG_REC_HEAD];
    } head = {.h = {.page = r->page, .pos = at->pos, .birth = r->birth}};
    page_head_make(&head.h, PG_REC_MAGIC, at->seg, r->crcs);
    size_t n = PG_REC_HEAD + r->page.len, pad = (size_t)pg_small_blocks(r->page.len) * PG_BLOCK - n;
    struct iovec v[3] = {{head.bytes, PG_REC_HEAD}, {(void *)r->p, r->page.len}, {(void *)zeros, pad}};
    return page_io_write(at->seg, v, pad ? 3 : 2, page_seg_payload(at->seg, at->pos));
}

static void row_add(struct seg *g, const struct record *r, uint32_t pos)
{
    if (g->row_count == g->row_cap) {
        g->row_cap = g->row_cap ? g->row_cap * 2 : 64;
        g->rows = realloc(g->rows, g->row_cap * sizeof *g->rows);
        CHECK(g->rows, "out of memory");
    }
    g->rows[g->row_count++] = (struct disk_row){r->page, pos, r->birth};
}

static void written(const struct place *at, const struct record *r, bool good)
{
    struct seg *g = at->seg;
    bool full;
    {
        LOCKED(&g->dir->lock);
        g->inflight--;
        if (good)
            row_add(g, r, at->pos);
        else
            page_acct_sub(g, r->st, page_place_bytes(g, r->page.len));
        page_seg_released(g);
        full = g->state == SEG_FULL && g->inflight == 0;
    }
    if (full)
        page_keeper_kick(g->dir->store);
}

int page_small_append(struct dir *d, const struct record *in, bool cleaning, struct place *ret)
{
    struct place at = {0};
    struct record r = *in;
    if (atomic_load(&d->failed))
        return err_set(ERR_IO, "%s is set aside: %s", d->path, atomic_load(&d->reason));
    TRY(log_reserve(d, pg_small_blocks(r.page.len), cleaning, r.st, &at));
    CHECK(at.seg, "no place was reserved");
    r.page.seq = atomic_fetch_add(&d->store->seq, 1);
    atomic_store(&at.seg->stamp, r.page.seq);
    int w = record_write(&at, &r);
    written(&at, &r, w == 0);
    if (w == 0)
        *ret = at;
    return w;
}

/* ---- sealing ---- */

static int table_write(struct seg *g)
{
    TRY(page_io_sync(g, atomic_load(&g->wrote)));
    TRY(FAULT(PAGE_FOOTER));
    TRY(page_seg_table_write(g));
    TRY(FAULT(PAGE_FOOTER_AFTER));
    return page_io_sync(g, atomic_load(&g->wrote));
}

int page_small_seal(struct seg *g)
{
    int r = table_write(g);
    LOCKED(&g->dir->lock);
    page_seg_set(g, r < 0 ? SEG_FULL : SEG_SEALED);
    if (r == 0) {
        free(g->rows);
        g->rows = NULL;
        g->row_count = g->row_cap = 0;
        g->written = true;
    }
    page_seg_released(g);
    return r;
}

static struct seg *full_one(struct dir *d)
{
    LOCKED(&d->lock);
    for (uint32_t i = 0; i < d->seg_total; i++) {
        struct seg *g = &d->segs[i];
        if (g->state != SEG_FULL || g->inflight || g->busy)
            continue;
        page_seg_released(g);
        if (g->state != SEG_FULL)
            continue;
        page_seg_set(g, SEG_SEALING);
        return g;
    }
    return NULL;
}

bool page_small_seal_full(struct dir *d)
{
    struct seg *g = full_one(d);
    return g && page_small_seal(g) == 0;
}
