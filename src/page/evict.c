/* SPDX-License-Identifier: Apache-2.0
 *
 * Making room: which segment, and what of it goes.
 *
 * Eviction takes clean pages only. Recency is kept by segment (stamp: the store's sequence at the last use) and,
 * inside, by a bit per page: what was read since the last visit is passed by once. In this order:
 *     1. small segments below 25% live: their rest is copied, nothing is lost
 *     2. the segment used longest ago whose pinned part is at most a quarter: clean pages go, pinned ones are copied
 *     3. the one with the least pinned data, up to 7/8: cleaning gains little but something
 *     4. the head of the log, when it is mostly dead
 * A bulk segment of the class that is asked for gives a few slots at a time, from a hand that passes over it once (it
 * stays the victim until then, though the new pages make it look young); all others are emptied whole.
 * One thread at a time makes room in a directory (dir.reclaiming); the others wait for it and look again.
 */
#include "page/store.h"

enum { EVICT_BATCH = 1 << 20, PICKS = 64 };

/* ---- who makes room ---- */

/* False: somebody else did meanwhile. */
static bool reclaim_begin(struct dir *d)
{
    LOCKED(&d->lock);
    if (d->reclaiming) {
        while (d->reclaiming)
            cond_wait(&d->cond, &d->lock);
        return false;
    }
    d->reclaiming = true;
    return true;
}

static void reclaim_end(struct dir *d)
{
    LOCKED(&d->lock);
    d->reclaiming = false;
    pthread_cond_broadcast(&d->cond);
}

void page_reclaim_pause(struct dir *d)
{
    while (!reclaim_begin(d))
        ;
}

void page_reclaim_resume(struct dir *d)
{
    reclaim_end(d);
}

/* ---- which segment ---- */

/* Bytes the log can take without making room. */
uint64_t page_log_room(struct dir *d)
{
    uint64_t room = (uint64_t)page_seg_empty(d) * d->payload;
    if (d->head)
        room += d->payload - (uint64_t)d->head->end * PG_BLOCK;
    return room > PG_SMALL_MAX ? room - PG_SMALL_MAX : 0;
}

static bool can_move(struct dir *d, const struct seg *g, uint64_t bytes)
{
    if (!bytes)
        return true;
    if (!g->cls)
        return bytes <= page_log_room(d);
    return bytes / pg_slot_size(g->cls) <= d->class_free[g->cls] - g->slot_free;
}

static uint64_t score_whole(struct dir *d, const struct seg *g)
{
    uint64_t stamp = atomic_load_explicit(&g->stamp, memory_order_relaxed);
    bool sparse = !g->cls && g->live < d->payload / 4;
    if (!can_move(d, g, sparse ? g->live : g->pinned))
        return sparse && can_move(d, g, g->pinned) ? 2ull << 60 | stamp : UINT64_MAX;
    if (sparse)
        return 1ull << 60 | stamp;
    if (g->pinned <= d->payload / 4)
        return 2ull << 60 | stamp;
    return g->pinned <= d->payload / 8 * 7 ? 3ull << 60 | g->pinned : UINT64_MAX;
}

static uint64_t score(struct dir *d, const struct seg *g, unsigned cls)
{
    if (g->busy || g->surplus || (g->state != SEG_SEALED && g->state != SEG_BULK) || atomic_load(&g->holds))
        return UINT64_MAX;
    if (g->state == SEG_BULK && g->cls == cls)
        return g->live > g->pinned ? 2ull << 60 | atomic_load_explicit(&g->stamp, memory_order_relaxed) : UINT64_MAX;
    return score_whole(d, g);
}

static struct seg *pick(struct dir *d, unsigned cls, uint64_t worst)
{
    struct seg *best = NULL;
    uint64_t least = worst;
    LOCKED(&d->lock);
    LOCKED(&d->store->acct);
    for (uint32_t i = 0; i < d->seg_total; i++) {
        uint64_t n = score(d, &d->segs[i], cls);
        if (n < least) {
            least = n;
            best = &d->segs[i];
        }
    }
    if (best)
        best->busy = true;
    return best;
}

static void unbusy(struct seg *g, bool gained)
{
    LOCKED(&g->dir->lock);
    g->busy = false;
    if (!gained)
        atomic_store(&g->stamp, atomic_load(&g->dir->store->seq));
    page_seg_released(g);
}

/* ---- slots of one class ---- */

static bool slot_page(struct seg *g, uint32_t i, uint64_t *ret_blob, uint32_t *ret_index)
{
    LOCKED(&g->dir->lock);
    if (atomic_load(&g->slots[i].use) != SLOT_TAKEN)
        return false;
    *ret_blob = g->slots[i].blob;
    *ret_index = g->slots[i].index;
    return true;
}

static bool evict_slot(struct seg *g, uint32_t i, bool second)
{
    struct page_store *s = g->dir->store;
    uint64_t blob;
    uint32_t index;
    struct gone gone;
    if (!slot_page(g, i, &blob, &index))
        return false;
    struct shard *sh = page_shard(s, blob);
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, blob, index);
        uint64_t loc = loc_make(g->no, i * (pg_slot_size(g->cls) / PG_BLOCK));
        if (!e || ent_loc(e) != loc || ent_state(e) != ST_CLEAN || page_entry_held(s, e))
            return false;
        if (!second && e->bits & ENT_REF) {
            e->bits &= ~ENT_REF;
            return false;
        }
        gone = page_entry_remove(s, sh, e);
    }
    page_gone_finish(&gone);
    atomic_fetch_add(&s->evicted, pg_slot_size(g->cls));
    return true;
}

/* From the hand on; slots behind it hold new pages already and are left alone until the next turn. */
static int evict_slots(struct seg *g, bool second)
{
    uint64_t freed = 0;
    TRY(FAULT(PAGE_EVICT));
    for (; g->hand < g->slot_count && freed < EVICT_BATCH; g->hand++)
        if (evict_slot(g, g->hand, second))
            freed += pg_slot_size(g->cls);
    return freed > 0;
}

/* The segment that gave slots last, when it has more to give; now busy. */
static struct seg *take_victim(struct dir *d, unsigned cls)
{
    LOCKED(&d->lock);
    struct seg *g = d->victim[cls];
    if (!g || g->busy || g->state != SEG_BULK || g->cls != cls || g->hand >= g->slot_count)
        return NULL;
    g->busy = true;
    return g;
}

static void set_victim(struct dir *d, unsigned cls, struct seg *g)
{
    LOCKED(&d->lock);
    d->victim[cls] = g;
}

static int drain(struct seg *g, bool second)
{
    g->hand = 0;
    set_victim(g->dir, g->cls, g);
    return evict_slots(g, second);
}

/* ---- the head, when nothing else is left ---- */

static bool give_up_head(struct dir *d)
{
    LOCKED(&d->lock);
    struct seg *g = d->head;
    uint64_t live, pinned;
    if (!g || g->inflight || !g->end)
        return false;
    page_acct_seg(g, &live, &pinned);
    if (live && (uint64_t)g->end * PG_BLOCK - pinned < d->payload / 4)
        return false;
    page_small_detach(d);
    return true;
}

static int last_resort(struct dir *d)
{
    if (page_small_seal_full(d))
        return 1;
    if (!give_up_head(d))
        return 0;
    page_small_seal_full(d);
    return 1;
}

static int empty_one(struct seg *g, unsigned cls, bool second)
{
    if (g->state == SEG_BULK)
        return g->cls == cls ? drain(g, second) : page_clean_bulk(g);
    uint64_t live, pinned;
    page_acct_seg(g, &live, &pinned);
    return page_clean_small(g, live >= g->dir->payload / 4);
}

static int go_on_draining(struct dir *d, unsigned cls)
{
    struct seg *g = take_victim(d, cls);
    int r = g ? evict_slots(g, false) : 0;
    if (g)
        unbusy(g, true);
    return r;
}

static int reclaim(struct dir *d, unsigned cls)
{
    if (cls && go_on_draining(d, cls) > 0)
        return 1;
    for (int i = 0; i < PICKS; i++) {
        struct seg *g = pick(d, cls, UINT64_MAX);
        if (!g)
            break;
        int r = empty_one(g, cls, i >= PICKS / 2);
        unbusy(g, r > 0);
        if (r > 0 || r == ERR_IO)
            return r;
    }
    return last_resort(d);
}

int page_reclaim(struct dir *d, unsigned cls)
{
    if (!reclaim_begin(d))
        return 1;
    int r = reclaim(d, cls);
    reclaim_end(d);
    if (r > 0)
        page_space_freed(d->store);
    return r;
}

bool page_clean_sparse(struct dir *d)
{
    if (!reclaim_begin(d))
        return true;
    struct seg *g = pick(d, 0, 2ull << 60);
    int r = g ? page_clean_small(g, false) : 0;
    if (g)
        unbusy(g, r > 0);
    reclaim_end(d);
    return r > 0;
}

/* ---- segments beyond the configured bytes ---- */

static struct seg *pick_surplus(struct dir *d)
{
    LOCKED(&d->lock);
    for (uint32_t i = d->seg_count; i < d->seg_total; i++) {
        struct seg *g = &d->segs[i];
        if (g->state == SEG_SEALED || g->state == SEG_BULK || (g->state == SEG_FREE && g->fd >= 0)) {
            g->busy = true;
            return g;
        }
    }
    return NULL;
}

bool page_clean_surplus(struct dir *d)
{
    if (d->seg_total == d->seg_count || !reclaim_begin(d))
        return false;
    struct seg *g = pick_surplus(d);
    int r = 0;
    if (g && g->state != SEG_FREE)
        r = g->cls ? page_clean_bulk(g) : page_clean_small(g, true);
    if (g)
        unbusy(g, r > 0);
    r = g ? page_seg_unlink(g) : 0;
    reclaim_end(d);
    return r > 0;
}
