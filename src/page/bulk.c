/* SPDX-License-Identifier: Apache-2.0
 *
 * Bulk segments: slots of one size, each with a header block in the table at the segment's front.
 *
 * States of a slot (slot.use):
 *     free (0)         -> taken            page_bulk_take, under dir.lock
 *     taken            -> named            page_bulk_head wrote its header, an index entry names it
 *     named            -> dead             its entry is gone (drop, evict, move)      fetch_or SLOT_DEAD
 *     dead, no holds   -> free             by whoever sees DEAD and no hold: the dropper or the last reader, one of
 * them taken            -> free             page_place_free: the writer gave up Slots are reused in place. A stale
 * header (of a page that is gone) is wiped before its slot is written again, so that after the death of the process no
 * header names half-written bytes; after power loss block checksums tell.
 */
#include "page/store.h"
#include <string.h>

#define NO_INDEX UINT32_MAX /* slot.index: no header was ever written here in this life */

int page_bulk_slots(struct seg *g)
{
    g->slot_count = g->dir->payload / pg_slot_size(g->cls);
    g->slots = calloc(g->slot_count, sizeof *g->slots);
    CHECK(g->slots, "out of memory for slots");
    for (uint32_t i = 0; i < g->slot_count; i++)
        g->slots[i].index = NO_INDEX;
    g->slot_free = g->slot_count;
    g->slot_next = g->hand = 0;
    return 0;
}

uint32_t page_bulk_slot(const struct seg *g, uint32_t pos)
{
    return pos / (pg_slot_size(g->cls) / PG_BLOCK);
}

static uint32_t slot_pos(const struct seg *g, uint32_t slot)
{
    return slot * (pg_slot_size(g->cls) / PG_BLOCK);
}

static bool has_slot(const struct seg *g, unsigned cls)
{
    return g && g->state == SEG_BULK && g->cls == cls && g->slot_free && !g->busy && !g->surplus;
}

static struct seg *seg_with_slot(struct dir *d, unsigned cls)
{
    if (has_slot(d->class_hint[cls], cls))
        return d->class_hint[cls];
    if (!d->class_free[cls])
        return NULL;
    for (uint32_t i = 0; i < d->seg_count; i++)
        if (has_slot(&d->segs[i], cls))
            return d->class_hint[cls] = &d->segs[i];
    return NULL;
}

/* A free slot of g, now taken; *ret_stale: a header of a former page is there. */
static uint32_t slot_take(struct seg *g, uint64_t blob, uint32_t index, bool *ret_stale)
{
    uint32_t i = g->slot_next;
    while (atomic_load(&g->slots[i].use))
        i = (i + 1) % g->slot_count;
    struct slot *t = &g->slots[i];
    *ret_stale = t->index != NO_INDEX;
    atomic_store(&t->use, SLOT_TAKEN);
    t->blob = blob;
    t->index = index;
    g->slot_next = (i + 1) % g->slot_count;
    g->slot_free--;
    g->dir->class_free[g->cls]--;
    return i;
}

/* Format a segment for the class; dir.lock is held before and after, not during. */
static int open_one(struct dir *d, unsigned cls, bool cleaning)
{
    struct seg *g = page_seg_take(d, cleaning, false);
    if (!g)
        return ERR_NO_SPACE;
    d->opening = true;
    lock_drop(&d->lock);
    int r = page_seg_format(g, cls, false);
    if (r == 0)
        page_bulk_slots(g);
    lock_take(&d->lock);
    d->opening = false;
    if (r == 0) {
        page_seg_set(g, SEG_BULK);
        d->class_free[cls] += g->slot_count;
    }
    pthread_cond_broadcast(&d->cond);
    return r;
}

static int seg_with_room(struct dir *d, unsigned cls, bool cleaning, struct seg **ret)
{
    for (;;) {
        struct seg *g = seg_with_slot(d, cls);
        if (g) {
            *ret = g;
            return 0;
        }
        if (d->opening)
            cond_wait(&d->cond, &d->lock);
        else
            TRY(open_one(d, cls, cleaning));
    }
}

static int header_wipe(struct seg *g, uint32_t slot)
{
    static const char zeros[PG_BLOCK];
    struct iovec v = {(void *)zeros, sizeof zeros};
    return page_io_write(g, &v, 1, PG_BLOCK * (1 + (uint64_t)slot));
}

static int slot_reserve(struct dir *d, unsigned cls, uint64_t blob, uint32_t index, enum page_state st, bool cleaning,
                        struct place *ret, bool *ret_stale)
{
    struct seg *g;
    LOCKED(&d->lock);
    TRY(seg_with_room(d, cls, cleaning, &g));
    uint32_t slot = slot_take(g, blob, index, ret_stale);
    page_acct_add(g, st, pg_slot_size(cls));
    *ret = (struct place){g, slot_pos(g, slot)};
    return 0;
}

int page_bulk_take(struct dir *d, unsigned cls, uint64_t blob, uint32_t index, enum page_state st, bool reclaim,
                   bool cleaning, struct place *ret)
{
    struct place at;
    bool stale;
    if (atomic_load(&d->failed))
        return err_set(ERR_IO, "%s is set aside: %s", d->path, atomic_load(&d->reason));
    for (;;) {
        int r = slot_reserve(d, cls, blob, index, st, cleaning, &at, &stale);
        if (r == 0)
            break;
        if (r != ERR_NO_SPACE || !reclaim)
            return r;
        r = page_reclaim(d, cls);
        if (r <= 0)
            return r ? r : page_space_none(d->store, pg_slot_size(cls));
    }
    atomic_store(&at.seg->stamp, atomic_fetch_add(&d->store->seq, 1));
    int r = stale ? header_wipe(at.seg, page_bulk_slot(at.seg, at.pos)) : 0;
    if (r < 0) {
        page_place_free(&at, pg_slot_size(cls), st);
        return r;
    }
    *ret = at;
    return 0;
}

int page_bulk_head(const struct place *at, const struct record *r)
{
    char block[PG_BLOCK] __attribute__((aligned(8))) = "";
    struct disk_head *h = (struct disk_head *)block;
    TRY(FAULT(PAGE_WRITE_HEAD));
    h->page = r->page;
    h->page.seq = atomic_fetch_add(&at->seg->dir->store->seq, 1);
    h->pos = page_bulk_slot(at->seg, at->pos);
    h->birth = r->birth;
    page_head_make(h, PG_SLOT_MAGIC, at->seg, r->crcs);
    struct iovec v = {block, sizeof block};
    return page_io_write(at->seg, &v, 1, PG_BLOCK * (1 + (uint64_t)h->pos));
}

void page_bulk_free(struct seg *g, uint32_t slot)
{
    struct dir *d = g->dir;
    LOCKED(&d->lock);
    atomic_store(&g->slots[slot].use, 0);
    g->slot_free++;
    if (g->state != SEG_BULK)
        return; /* still being recovered: counted at its end */
    d->class_free[g->cls]++;
    if (!has_slot(d->class_hint[g->cls], g->cls))
        d->class_hint[g->cls] = g;
}

uint32_t page_place_bytes(const struct seg *g, uint32_t len)
{
    return g->cls ? pg_slot_size(g->cls) : pg_small_blocks(len) * PG_BLOCK;
}

void page_place_free(const struct place *at, uint32_t len, enum page_state st)
{
    page_acct_sub(at->seg, st, page_place_bytes(at->seg, len));
    if (at->seg->cls)
        page_bulk_free(at->seg, page_bulk_slot(at->seg, at->pos));
    else
        page_seg_maybe_free(at->seg);
    page_space_freed(at->seg->dir->store);
}
