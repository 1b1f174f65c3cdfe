/* SPDX-License-Identifier: Apache-2.0
 *
 * How much space there is and who has it.
 *
 * Counters, all under store.acct, in bytes of space (a page counts its whole record or slot):
 *     store.bytes[state]    sum over pages and places by state
 *     store.reserved[p]     promised to writers (p: pinned), not yet placed; placing turns it into bytes[W..]
 *     seg.live, seg.pinned  sum over its pages and places; pinned: all that eviction may not touch
 *     dir.live, dir.pinned  sums over its segments
 * A directory that is set aside counts for the capacity (its share of the limit is taken by its pages), but no space
 * is promised there.
 *
 * Rule: bytes[PINNED] + bytes[WPINNED] + reserved[1] <= pinned_ratio * capacity, except for forced pins.
 *
 * A reservation looks at bytes only; a segment or slot is found when a page is placed, by eviction if need be. So a
 * writer learns early that space is short, and may still, rarely, learn it late (fragments, a disk that filled up).
 */
#include "page/store.h"
#include <inttypes.h>

static bool evictable(enum page_state st)
{
    return st == ST_CLEAN;
}

void page_acct_add(struct seg *g, enum page_state st, uint64_t bytes)
{
    LOCKED(&g->dir->store->acct);
    g->dir->store->bytes[st] += bytes;
    g->live += bytes;
    g->dir->live += bytes;
    if (!evictable(st)) {
        g->pinned += bytes;
        g->dir->pinned += bytes;
    }
}

void page_acct_sub(struct seg *g, enum page_state st, uint64_t bytes)
{
    struct page_store *s = g->dir->store;
    LOCKED(&s->acct);
    CHECK(s->bytes[st] >= bytes && g->live >= bytes, "segment %u, state %d", g->no, (int)st);
    s->bytes[st] -= bytes;
    g->live -= bytes;
    g->dir->live -= bytes;
    if (!evictable(st)) {
        g->pinned -= bytes;
        g->dir->pinned -= bytes;
    }
}

void page_acct_move(struct seg *g, enum page_state from, enum page_state to, uint64_t bytes)
{
    LOCKED(&g->dir->store->acct);
    g->dir->store->bytes[from] -= bytes;
    g->dir->store->bytes[to] += bytes;
    uint64_t more = evictable(to) ? 0 : bytes, less = evictable(from) ? 0 : bytes;
    g->pinned += more - less;
    g->dir->pinned += more - less;
}

void page_acct_seg(struct seg *g, uint64_t *ret_live, uint64_t *ret_pinned)
{
    LOCKED(&g->dir->store->acct);
    *ret_live = g->live;
    *ret_pinned = g->pinned;
}

/* ---- capacity ---- */

uint64_t page_space_capacity(struct page_store *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->dir_count; i++)
        if (atomic_load(&s->dirs[i].open))
            n += (uint64_t)s->dirs[i].seg_count * s->dirs[i].payload;
    return n;
}

static bool works(struct dir *d)
{
    return atomic_load(&d->open) && !atomic_load(&d->failed);
}

/* Under store.acct: bytes that eviction could make free in the directories that work, less what is promised. */
static int64_t within_reach(struct page_store *s)
{
    int64_t n = -(int64_t)(s->reserved[0] + s->reserved[1]);
    for (size_t i = 0; i < s->dir_count; i++) {
        struct dir *d = &s->dirs[i];
        if (works(d))
            n += (int64_t)(d->seg_count - page_seg_reserve(d)) * d->payload - (int64_t)d->pinned;
    }
    return n;
}

static bool any_works(struct page_store *s)
{
    for (size_t i = 0; i < s->dir_count; i++)
        if (works(&s->dirs[i]))
            return true;
    return false;
}

static uint64_t pinned_limit(struct page_store *s)
{
    return (uint64_t)(s->o.pinned_ratio * (double)page_space_capacity(s));
}

uint64_t page_space_need(const struct page_store *s, uint64_t bytes)
{
    uint64_t tail = bytes % s->page_size, n = bytes - tail;
    unsigned cls = pg_class((uint32_t)tail);
    if (!tail)
        return n;
    return n + (cls ? pg_slot_size(cls) : (uint64_t)pg_small_blocks((uint32_t)tail) * PG_BLOCK);
}

/* Room counts free space in full and what eviction would give a little. */
struct dir *page_space_dir(struct page_store *s, const struct dir *not_this, uint64_t bytes)
{
    struct dir *best = NULL;
    uint64_t best_room = 0;
    LOCKED(&s->acct);
    for (size_t i = 0; i < s->dir_count; i++) {
        struct dir *d = &s->dirs[i];
        if (d == not_this || !works(d))
            continue;
        uint64_t cap = (uint64_t)d->seg_count * d->payload, used = d->live + d->reserved;
        uint64_t room = 1 + cap / 8 + (cap > used ? cap - used : 0);
        if (room > best_room) {
            best = d;
            best_room = room;
        }
    }
    if (best)
        best->reserved += bytes;
    return best;
}

void page_space_dir_return(struct dir *d, uint64_t bytes)
{
    LOCKED(&d->store->acct);
    CHECK(d->reserved >= bytes);
    d->reserved -= bytes;
}

/* ---- reservations ---- */

enum verdict { FITS, PINNED_FULL, FULL };

static enum verdict try_reserve(struct page_store *s, bool pinned, uint64_t bytes, uint64_t limit)
{
    LOCKED(&s->acct);
    const uint64_t *b = s->bytes;
    uint64_t held = b[ST_PINNED] + b[ST_WPINNED] + s->reserved[1];
    if (pinned && held + bytes > limit)
        return PINNED_FULL;
    if ((int64_t)bytes > within_reach(s))
        return FULL;
    s->reserved[pinned] += bytes;
    return FITS;
}

int page_space_none(struct page_store *s, uint64_t bytes)
{
    return err_set(ERR_NO_SPACE,
                   "no space for %" PRIu64 " bytes: all %" PRIu64 " of the page store are unpersisted or in "
                   "use; raise alluxio.worker.page.store.sizes or persist faster",
                   bytes, page_space_capacity(s));
}

static int pinned_full(struct page_store *s, uint64_t bytes)
{
    return err_set(ERR_NO_SPACE,
                   "no space for %" PRIu64 " bytes: unpersisted data fills its %" PRIu64 " bytes; raise "
                   "alluxio.worker.page.store.pinned.file.capacity.limit.ratio or alluxio.worker.page.store.sizes",
                   bytes, pinned_limit(s));
}

static bool may_wait(struct page_store *s)
{
    LOCKED(&s->acct);
    return !s->walk_done && s->bytes[ST_UNKNOWN] > 0;
}

/* True when space came free or pages became known; false: the deadline is over or there is nothing to wait for. */
static bool wait_for_space(struct page_store *s, uint64_t deadline_ns)
{
    if (deadline_ns <= clock_mono_ns() || !may_wait(s))
        return false;
    LOCKED(&s->wait_lock);
    s->waiters++;
    uint64_t slice =
        clock_mono_ns() + 50 * 1000000ull; /* a wake-up between the look and the wait is not lost for long */
    cond_wait_until(&s->wait_cond, &s->wait_lock, slice < deadline_ns ? slice : deadline_ns);
    s->waiters--;
    return true;
}

int page_space_reserve(struct page_store *s, bool pinned, uint64_t bytes, uint64_t deadline_ns)
{
    TRY(FAULT(PAGE_RESERVE));
    for (;;) {
        enum verdict v = try_reserve(s, pinned, bytes, pinned_limit(s));
        if (v == FITS)
            return 0;
        if (!any_works(s))
            return err_set(ERR_IO, "every directory of the page store is set aside");
        if (!wait_for_space(s, deadline_ns))
            return v == FULL ? page_space_none(s, bytes) : pinned_full(s, bytes);
    }
}

void page_space_return(struct page_store *s, bool pinned, uint64_t bytes)
{
    LOCKED(&s->acct);
    CHECK(s->reserved[pinned] >= bytes);
    s->reserved[pinned] -= bytes;
}

/* May bytes more of what is here become pinned? Looks only: pins that race may go a little over the limit. */
int page_space_can_pin(struct page_store *s, uint64_t bytes)
{
    uint64_t limit = pinned_limit(s), held;
    {
        LOCKED(&s->acct);
        held = s->bytes[ST_PINNED] + s->bytes[ST_WPINNED] + s->reserved[1];
    }
    return held + bytes > limit ? pinned_full(s, bytes) : 0;
}

void page_space_freed(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    if (s->waiters)
        pthread_cond_broadcast(&s->wait_cond);
}

void page_walk_done(struct page_store *s)
{
    {
        LOCKED(&s->acct);
        s->walk_done = true;
    }
    page_space_freed(s);
}
