/* SPDX-License-Identifier: Apache-2.0
 *
 * Emptying a segment: clean pages are evicted (or kept, when it is only cleaned), all others are copied elsewhere.
 *
 * Order, for every batch: copy -> sync the copies -> the index names the copies -> the source may be recycled. A crash
 * before the last step finds both at start; the copy has the higher sequence number and wins. Copies keep blob,
 * content, birth and the original block checksums, so that damage done meanwhile is still found.
 *
 * The caller has marked the segment busy; nothing new is placed in it and it is not recycled under our hands.
 */
#include "page/store.h"
#include <string.h>

enum { BATCH = 256 };

struct moved {
    uint64_t blob;
    uint32_t index, pos, len;
    enum page_state st;
    struct place to;
};

struct cleaner {
    struct seg *g;
    bool evict;
    uint64_t budget; /* bytes of recently read clean pages that may still be copied */
    char *buf;
    struct moved list[BATCH];
    unsigned n;
    unsigned epoch;
    bool stuck; /* something stays where it is */
};

/* ---- what happens to one page ---- */

enum fate { GONE, LEAVE, MOVE };

static enum fate fate_of(struct cleaner *c, struct entry *e)
{
    struct seg *g = c->g;
    if (ent_state(e) != ST_CLEAN || !c->evict)
        return MOVE;
    if (g->cls)
        return GONE;
    uint32_t bytes = page_place_bytes(g, ent_len(e));
    if (e->bits & ENT_REF && c->budget >= bytes) {
        e->bits &= ~ENT_REF;
        c->budget -= bytes;
        return MOVE;
    }
    return GONE;
}

/* Judge the page at pos; evicts it at once when it goes. */
static enum fate judge(struct cleaner *c, uint64_t blob, uint32_t index, uint32_t pos, struct moved *ret)
{
    struct page_store *s = c->g->dir->store;
    struct shard *sh = page_shard(s, blob);
    struct gone gone;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, blob, index);
        if (!e || ent_loc(e) != loc_make(c->g->no, pos))
            return LEAVE;
        if (fate_of(c, e) == MOVE) {
            *ret = (struct moved){blob, index, pos, ent_len(e), ent_state(e), {0}};
            return MOVE;
        }
        gone = page_entry_remove(s, sh, e);
    }
    page_gone_finish(&gone);
    atomic_fetch_add(&s->evicted, page_place_bytes(gone.seg, gone.len));
    return GONE;
}

/* ---- copying ---- */

static int copy_small(struct cleaner *c, struct moved *m)
{
    const struct disk_head *h = (const struct disk_head *)c->buf;
    TRY(page_io_read(c->g, c->buf, PG_REC_HEAD + m->len, page_seg_payload(c->g, m->pos)));
    if (!page_head_good(h, PG_REC_MAGIC, c->g, m->pos) || h->page.blob != m->blob || h->page.len != m->len)
        return ERR_CORRUPT;
    struct record r = {h->page, h->birth, (const uint32_t *)(h + 1), c->buf + PG_REC_HEAD, m->st};
    return page_small_append(c->g->dir, &r, true, &m->to);
}

static int copy_slot_bytes(struct cleaner *c, const struct moved *m)
{
    uint32_t n = (m->len + PG_BLOCK - 1) / PG_BLOCK * PG_BLOCK;
    for (uint32_t at = 0; at < n; at += PG_BUF) {
        uint32_t k = n - at < PG_BUF ? n - at : PG_BUF;
        struct iovec v = {c->buf, k};
        TRY(page_io_read(c->g, c->buf, k, page_seg_payload(c->g, m->pos) + at));
        TRY(page_io_write(m->to.seg, &v, 1, page_seg_payload(m->to.seg, m->to.pos) + at));
    }
    return 0;
}

static int copy_bulk(struct cleaner *c, struct moved *m)
{
    char block[PG_BLOCK] __attribute__((aligned(8)));
    const struct disk_head *h = (const struct disk_head *)block;
    TRY(page_head_read(c->g, m->pos, block, sizeof block));
    if (h->page.blob != m->blob || h->page.index != m->index)
        return ERR_CORRUPT;
    TRY(page_bulk_take(c->g->dir, c->g->cls, m->blob, m->index, m->st, false, false, &m->to));
    struct record r = {h->page, h->birth, (const uint32_t *)(h + 1), NULL, m->st};
    int e = copy_slot_bytes(c, m);
    if (e == 0)
        e = page_bulk_head(&m->to, &r);
    if (e < 0)
        page_place_free(&m->to, m->len, m->st);
    return e;
}

/* A page whose header is damaged cannot move: a clean one is forgotten, any other stays and keeps the segment. */
static int copy_page(struct cleaner *c, struct moved *m)
{
    TRY(FAULT(PAGE_CLEAN_COPY));
    int r = c->g->cls ? copy_bulk(c, m) : copy_small(c, m);
    if (r == ERR_CORRUPT) {
        page_entry_corrupt(c->g->dir->store, m->blob, m->index, loc_make(c->g->no, m->pos));
        c->stuck = c->stuck || m->st != ST_CLEAN;
        return 0;
    }
    TRY(r);
    c->n++;
    return 0;
}

/* ---- the end of a batch ---- */

static int sync_copies(struct cleaner *c)
{
    struct seg *last = NULL;
    TRY(FAULT(PAGE_CLEAN_SYNC));
    for (unsigned i = 0; i < c->n; i++) {
        struct seg *g = c->list[i].to.seg;
        if (g != last)
            TRY(page_io_sync(g, atomic_load(&g->wrote)));
        last = g;
    }
    if (atomic_load(&c->g->dir->epoch) != c->epoch)
        return err_set(ERR_IO, "%s failed while it was cleaned", c->g->dir->path);
    return FAULT(PAGE_CLEAN_MOVE);
}

static int batch_end(struct cleaner *c)
{
    struct page_store *s = c->g->dir->store;
    int r = c->n ? sync_copies(c) : 0;
    for (unsigned i = 0; i < c->n; i++) {
        struct moved *m = &c->list[i];
        if (r == 0 && page_entry_move(s, m->blob, m->index, loc_make(c->g->no, m->pos), &m->to, m->st))
            atomic_fetch_add(&s->cleaned, page_place_bytes(m->to.seg, m->len));
        else
            page_place_free(&m->to, m->len, m->st);
    }
    c->n = 0;
    return r;
}

static int clean_page(struct cleaner *c, uint64_t blob, uint32_t index, uint32_t pos)
{
    if (judge(c, blob, index, pos, &c->list[c->n]) != MOVE)
        return 0;
    TRY(copy_page(c, &c->list[c->n]));
    return c->n == BATCH ? batch_end(c) : 0;
}

static void drop_copies(struct cleaner *c)
{
    for (unsigned i = 0; i < c->n; i++)
        page_place_free(&c->list[i].to, c->list[i].len, c->list[i].st);
    c->n = 0;
}

/* A second chance is given while there is room for the copies, after those that must be made. */
static uint64_t second_chances(struct seg *g)
{
    uint64_t live, pinned, room;
    LOCKED(&g->dir->lock);
    room = page_log_room(g->dir);
    page_acct_seg(g, &live, &pinned);
    uint64_t most = room < g->dir->payload / 2 ? room : g->dir->payload / 2;
    return most > pinned ? most - pinned : 0;
}

static int clean_with(struct seg *g, bool evict, int (*all)(struct cleaner *c))
{
    struct page_store *s = g->dir->store;
    if (evict)
        TRY(FAULT(PAGE_EVICT));
    struct cleaner *c = calloc(1, sizeof *c);
    CHECK(c, "out of memory");
    *c = (struct cleaner){.g = g, .evict = evict, .buf = page_buf_get(s), .epoch = atomic_load(&g->dir->epoch)};
    c->budget = second_chances(g);
    int r = all(c);
    if (r < 0)
        drop_copies(c);
    else
        r = batch_end(c);
    page_buf_put(s, c->buf);
    free(c);
    uint64_t live, pinned;
    page_acct_seg(g, &live, &pinned);
    return r < 0 ? r : live == 0;
}

/* ---- small ---- */

static int all_rows(struct cleaner *c)
{
    AUTO_FREE struct disk_row *rows = NULL;
    uint32_t n, end;
    TRY(page_seg_list(c->g, &rows, &n, &end));
    for (uint32_t i = 0; i < n; i++)
        TRY(clean_page(c, rows[i].page.blob, rows[i].page.index, rows[i].pos));
    return 0;
}

int page_clean_small(struct seg *g, bool evict)
{
    return clean_with(g, evict, all_rows);
}

/* ---- bulk ---- */

static bool slot_page(struct seg *g, uint32_t i, uint64_t *ret_blob, uint32_t *ret_index)
{
    LOCKED(&g->dir->lock);
    *ret_blob = g->slots[i].blob;
    *ret_index = g->slots[i].index;
    return atomic_load(&g->slots[i].use) != 0;
}

/* A slot that a writer fills, or that a reader holds, keeps the segment: then nothing is evicted in vain. */
static bool can_empty(struct seg *g)
{
    struct page_store *s = g->dir->store;
    for (uint32_t i = 0; i < g->slot_count; i++) {
        uint64_t blob;
        uint32_t index;
        if (!slot_page(g, i, &blob, &index))
            continue;
        if (atomic_load(&g->slots[i].use) != SLOT_TAKEN)
            return false;
        struct shard *sh = page_shard(s, blob);
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, blob, index);
        if (!e || ent_loc(e) != loc_make(g->no, i * (pg_slot_size(g->cls) / PG_BLOCK)))
            return false;
    }
    return true;
}

static int all_slots(struct cleaner *c)
{
    struct seg *g = c->g;
    for (uint32_t i = 0; i < g->slot_count; i++) {
        uint64_t blob;
        uint32_t index;
        if (slot_page(g, i, &blob, &index))
            TRY(clean_page(c, blob, index, i * (pg_slot_size(g->cls) / PG_BLOCK)));
    }
    return 0;
}

int page_clean_bulk(struct seg *g)
{
    return can_empty(g) ? clean_with(g, true, all_slots) : 0;
}
