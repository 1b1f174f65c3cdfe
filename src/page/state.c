/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages that are named, unnamed and change state: insert, move, pin, unpin, drop, evict by blob.
 *
 * A page goes in two steps: its entry is removed under the shard's lock (from then on nobody finds it), then, without
 * that lock, its place is given back, or left to the last reader that holds it.
 */
#include "page/store.h"

#define SLOT_HOLDS (SLOT_TAKEN - 1)

uint32_t page_count_of(const struct page_store *s, uint64_t bytes)
{
    return (uint32_t)((bytes + s->page_size - 1) >> s->page_shift);
}

static struct seg *seg_of(struct page_store *s, const struct entry *e)
{
    return page_seg_at(s, loc_seg(ent_loc(e)));
}

int page_entry_insert(struct page_store *s, const struct place *at, const struct disk_page *p, enum page_state st,
                      bool verified)
{
    struct shard *sh = page_shard(s, p->blob);
    LOCKED(&sh->lock);
    if (page_idx_find(sh, p->blob, p->index))
        return ERR_EXISTS;
    struct entry *e = page_idx_add(sh, p->blob, p->index);
    e->content = p->content;
    e->birth_s = (uint32_t)(p->birth_ms / 1000);
    e->bits = p->len | (verified ? ENT_VERIFIED : 0);
    ent_set_state(e, st);
    ent_set_loc(e, loc_make(at->seg->no, at->pos));
    atomic_fetch_add_explicit(&s->pages, 1, memory_order_relaxed);
    if (p->index == 0)
        atomic_fetch_add_explicit(&s->blobs, 1, memory_order_relaxed);
    return 0;
}

struct gone page_entry_remove(struct page_store *s, struct shard *sh, struct entry *e)
{
    struct gone g = {seg_of(s, e), loc_pos(ent_loc(e)), ent_len(e)};
    page_acct_sub(g.seg, ent_state(e), page_place_bytes(g.seg, g.len));
    if (e->index == 0)
        atomic_fetch_sub_explicit(&s->blobs, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->pages, 1, memory_order_relaxed);
    page_idx_del(sh, e);
    return g;
}

void page_gone_finish(const struct gone *g)
{
    uint64_t live, pinned;
    if (g->seg->cls) {
        uint32_t slot = page_bulk_slot(g->seg, g->pos);
        if ((atomic_fetch_or(&g->seg->slots[slot].use, SLOT_DEAD) & SLOT_HOLDS) == 0)
            page_bulk_free(g->seg, slot);
        return;
    }
    page_acct_seg(g->seg, &live, &pinned);
    if (live == 0)
        page_seg_maybe_free(g->seg);
}

void page_held_release(const struct held *h)
{
    if (h->seg->cls) {
        uint32_t slot = page_bulk_slot(h->seg, h->pos);
        if (atomic_fetch_sub(&h->seg->slots[slot].use, 1) - 1 == (SLOT_TAKEN | SLOT_DEAD))
            page_bulk_free(h->seg, slot);
        return;
    }
    uint64_t live, pinned;
    if (atomic_fetch_sub(&h->seg->holds, 1) != 1)
        return;
    page_acct_seg(h->seg, &live, &pinned);
    if (live == 0)
        page_seg_maybe_free(h->seg);
}

bool page_entry_held(struct page_store *s, const struct entry *e)
{
    struct seg *g = seg_of(s, e);
    if (g->cls)
        return atomic_load(&g->slots[page_bulk_slot(g, loc_pos(ent_loc(e)))].use) & SLOT_HOLDS;
    return atomic_load(&g->holds) > 0;
}

static bool move_locked(struct page_store *s, struct shard *sh, uint64_t blob, uint32_t index, uint64_t loc,
                        const struct place *to, enum page_state st)
{
    struct entry *e = page_idx_find(sh, blob, index);
    if (!e || ent_loc(e) != loc)
        return false;
    uint32_t len = ent_len(e);
    page_acct_sub(seg_of(s, e), ent_state(e), page_place_bytes(seg_of(s, e), len));
    page_acct_move(to->seg, st, ent_state(e), page_place_bytes(to->seg, len));
    ent_set_loc(e, loc_make(to->seg->no, to->pos));
    e->bits &= ~ENT_VERIFIED;
    return true;
}

bool page_entry_move(struct page_store *s, uint64_t blob, uint32_t index, uint64_t loc, const struct place *to,
                     enum page_state st)
{
    struct shard *sh = page_shard(s, blob);
    struct gone old = {page_seg_at(s, loc_seg(loc)), loc_pos(loc), 0};
    {
        LOCKED(&sh->lock);
        if (!move_locked(s, sh, blob, index, loc, to, st))
            return false;
    }
    page_gone_finish(&old);
    return true;
}

void page_entry_corrupt(struct page_store *s, uint64_t blob, uint32_t index, uint64_t loc)
{
    struct shard *sh = page_shard(s, blob);
    struct gone g;
    atomic_fetch_add(&s->corrupt, 1);
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, blob, index);
        if (!e || ent_loc(e) != loc || ent_state(e) != ST_CLEAN)
            return;
        g = page_entry_remove(s, sh, e);
    }
    page_gone_finish(&g);
}

/* ---- by blob ---- */

static bool has_page(struct page_store *s, struct shard *sh, uint64_t blob, uint32_t index, uint64_t end)
{
    struct entry *e = page_idx_find(sh, blob, index);
    uint64_t start = (uint64_t)index << s->page_shift;
    return e && !ent_writing(e) && (end > start + s->page_size || ent_len(e) >= end - start);
}

bool page_has(struct page_store *s, uint64_t blob, uint64_t off, uint64_t n)
{
    struct shard *sh = page_shard(s, blob);
    if (!n)
        return true;
    LOCKED(&sh->lock);
    for (uint64_t i = off >> s->page_shift; i <= (off + n - 1) >> s->page_shift; i++)
        if (!has_page(s, sh, blob, (uint32_t)i, off + n))
            return false;
    return true;
}

static void unpin_one(struct page_store *s, struct shard *sh, uint64_t blob, uint32_t index)
{
    LOCKED(&sh->lock);
    struct entry *e = page_idx_find(sh, blob, index);
    if (!e || ent_writing(e) || ent_state(e) == ST_CLEAN)
        return;
    struct seg *g = seg_of(s, e);
    page_acct_move(g, ent_state(e), ST_CLEAN, page_place_bytes(g, ent_len(e)));
    ent_set_state(e, ST_CLEAN);
}

void page_unpin(struct page_store *s, uint64_t blob, uint64_t bytes)
{
    struct shard *sh = page_shard(s, blob);
    TRACE("page.unpin", blob, bytes);
    for (uint32_t i = 0, n = page_count_of(s, bytes); i < n; i++)
        unpin_one(s, sh, blob, i);
    page_space_freed(s);
}

static void pin_one(struct page_store *s, struct entry *e)
{
    struct seg *g = seg_of(s, e);
    page_acct_move(g, ent_state(e), ST_PINNED, page_place_bytes(g, ent_len(e)));
    ent_set_state(e, ST_PINNED);
}

/* What becomes the only copy must not be lost with the power: the next page_sync() includes it. */
static void to_be_synced(struct page_store *s, struct seg *g)
{
    if (!atomic_exchange(&g->lazy, true))
        atomic_fetch_add(&s->lazy_segs, 1);
}

/* All pages are in one shard, so the look and the change are one step: no eviction comes between, nothing to undo. */
int page_pin(struct page_store *s, uint64_t blob, uint64_t bytes, bool force)
{
    struct shard *sh = page_shard(s, blob);
    uint32_t n = page_count_of(s, bytes);
    uint64_t more = 0;
    TRACE("page.pin", blob, bytes);
    LOCKED(&sh->lock);
    for (uint32_t i = 0; i < n; i++) {
        if (!has_page(s, sh, blob, i, bytes))
            return err_set(ERR_NOT_CACHED, "page %u of blob %llx is not in the page store", i,
                           (unsigned long long)blob);
        struct entry *e = page_idx_find(sh, blob, i);
        if (ent_state(e) != ST_PINNED)
            more += page_place_bytes(seg_of(s, e), ent_len(e));
    }
    if (more && !force)
        TRY(page_space_can_pin(s, more));
    for (uint32_t i = 0; i < n; i++) {
        struct entry *e = page_idx_find(sh, blob, i);
        if (ent_state(e) != ST_PINNED)
            to_be_synced(s, seg_of(s, e));
        pin_one(s, e);
    }
    return 0;
}

static bool drop_one(struct page_store *s, struct shard *sh, uint64_t blob, uint32_t index, bool evict, uint64_t *freed)
{
    struct gone g;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, blob, index);
        if (!e || ent_writing(e) || (evict && (ent_state(e) != ST_CLEAN || page_entry_held(s, e))))
            return false;
        g = page_entry_remove(s, sh, e);
    }
    *freed += page_place_bytes(g.seg, g.len);
    page_gone_finish(&g);
    return true;
}

static uint64_t drop_all(struct page_store *s, uint64_t blob, uint64_t bytes, bool evict)
{
    struct shard *sh = page_shard(s, blob);
    uint64_t freed = 0;
    for (uint32_t i = 0, n = page_count_of(s, bytes); i < n; i++)
        drop_one(s, sh, blob, i, evict, &freed);
    if (freed)
        page_space_freed(s);
    return freed;
}

void page_drop(struct page_store *s, uint64_t blob, uint64_t bytes)
{
    TRACE("page.drop", blob, bytes);
    (void)FAULT(PAGE_DROP); /* a crash here is what can be tried; a drop has no error to give */
    drop_all(s, blob, bytes, false);
}

uint64_t page_evict(struct page_store *s, uint64_t blob, uint64_t bytes)
{
    uint64_t freed = drop_all(s, blob, bytes, true);
    TRACE("page.evict", blob, freed);
    atomic_fetch_add(&s->evicted, freed);
    return freed;
}
