/* SPDX-License-Identifier: Apache-2.0
 *
 * page_check: every rule the store relies on, tried. Upkeep, cleaning and eviction pause meanwhile; the caller sees to
 * it that nobody writes, pins or drops, or a rule may look broken that is not.
 *
 *     1. an entry's place is in a segment of a state that can hold pages, inside its bounds
 *     2. no two entries share a block; a bulk entry's slot names it, a taken slot has an entry
 *     3. the record or slot header at the place names the page, its length and this life of the segment
 *     4. live and pinned of a segment, live of a directory, the store's bytes by state: the sums over entries
 *     5. pages and blobs: the counts of entries, of entries with number 0
 *     6. a directory's free, ready and absent counts and its free slots by class: the counts over its segments
 *     7. nothing live is in a free, ready or absent segment; reservations are 0 when no writer is left (told, not
 * tried)
 *     8. verify: every block matches its checksum
 */
#include "page/store.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sums {
    uint64_t live, pinned;
    uint32_t pages;
    unsigned char *blocks; /* a bit for each payload block that an entry covers */
};

struct check {
    struct page_store *s;
    bool verify;
    void (*say)(void *arg, const char *line);
    void *arg;
    uint64_t breaches, bytes[ST_COUNT], pages, blobs;
    struct sums *sums[64]; /* by directory, by segment */
};

static void breach(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void breach(struct check *c, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    c->breaches++;
    if (c->say)
        c->say(c->arg, line);
}

static bool holds_pages(const struct seg *g)
{
    return g->state == SEG_HEAD || g->state == SEG_FULL || g->state == SEG_SEALING || g->state == SEG_SEALED ||
           g->state == SEG_BULK || g->state == SEG_LOST;
}

/* ---- one entry ---- */

static void claim_blocks(struct check *c, const struct entry *e, struct seg *g, struct sums *m)
{
    uint32_t pos = loc_pos(ent_loc(e)), n = page_place_bytes(g, ent_len(e)) / PG_BLOCK,
             all = g->dir->payload / PG_BLOCK;
    if (pos + n > all) {
        breach(c, "blob %" PRIx64 " page %u lies beyond segment %u", e->blob, e->index, g->no);
        return;
    }
    if (!m->blocks)
        m->blocks = calloc(1, all / 8 + 1);
    CHECK(m->blocks, "out of memory");
    for (uint32_t i = pos; i < pos + n; i++) {
        if (m->blocks[i / 8] & 1u << i % 8) {
            breach(c, "blob %" PRIx64 " page %u shares block %u of segment %u", e->blob, e->index, i, g->no);
            return;
        }
        m->blocks[i / 8] |= (unsigned char)(1u << i % 8);
    }
}

static void check_slot(struct check *c, const struct entry *e, struct seg *g)
{
    uint32_t slot = page_bulk_slot(g, loc_pos(ent_loc(e)));
    if (g->cls == 0)
        return;
    if (g->state == SEG_LOST || slot >= g->slot_count)
        return;
    const struct slot *t = &g->slots[slot];
    if (t->blob != e->blob || t->index != e->index || !(atomic_load(&t->use) & SLOT_TAKEN) ||
        atomic_load(&t->use) & SLOT_DEAD)
        breach(c, "slot %u of segment %u does not name blob %" PRIx64 " page %u", slot, g->no, e->blob, e->index);
}

static void check_entry(struct check *c, const struct entry *e)
{
    struct seg *g = page_seg_at(c->s, loc_seg(ent_loc(e)));
    struct sums *m = &c->sums[g->dir->no][g->num];
    uint64_t bytes = page_place_bytes(g, ent_len(e));
    if (!holds_pages(g))
        breach(c, "blob %" PRIx64 " page %u is in segment %u of state %d", e->blob, e->index, g->no, (int)g->state);
    if (ent_len(e) == 0 || ent_len(e) > c->s->page_size)
        breach(c, "blob %" PRIx64 " page %u has length %u", e->blob, e->index, ent_len(e));
    claim_blocks(c, e, g, m);
    check_slot(c, e, g);
    m->live += bytes;
    m->pinned += ent_state(e) == ST_CLEAN ? 0 : bytes;
    m->pages++;
    c->bytes[ent_state(e)] += bytes;
    c->pages++;
    c->blobs += e->index == 0;
}

/* ---- what the disk says ---- */

static void check_disk(struct check *c, const struct entry *e)
{
    char block[PG_BLOCK] __attribute__((aligned(8)));
    const struct disk_head *h = (const struct disk_head *)block;
    struct held at = {
        page_seg_at(c->s, loc_seg(ent_loc(e))), loc_pos(ent_loc(e)), ent_len(e), e->index, e->blob, false};
    int r = page_head_read(at.seg, at.pos, block, sizeof block);
    if (r < 0 || h->page.blob != e->blob || h->page.index != e->index || h->page.len != ent_len(e) ||
        h->page.content != e->content) {
        breach(c, "segment %u block %u does not hold blob %" PRIx64 " page %u: %s", at.seg->no, at.pos, e->blob,
               e->index, r < 0 ? err_info(r)->name : "another page");
        return;
    }
    if (c->verify && page_held_verify(&at) < 0)
        breach(c, "blob %" PRIx64 " page %u: %s", e->blob, e->index, err_detail(ERR_CORRUPT));
}

/* The shard's entries, copied: reading the disk must not hold its lock. */
static void check_shard(struct check *c, struct shard *sh)
{
    struct entry *copy;
    uint32_t n = 0;
    {
        LOCKED(&sh->lock);
        copy = malloc(sh->count * sizeof *copy + 1);
        CHECK(copy, "out of memory");
        for (uint32_t i = 0; i < sh->used; i++) {
            struct entry *e = page_idx_at(sh, i);
            if (e && page_idx_find(sh, e->blob, e->index) != e)
                breach(c, "blob %" PRIx64 " page %u is twice in the index", e->blob, e->index);
            if (e)
                copy[n++] = *e;
        }
        if (n != sh->count)
            breach(c, "a shard counts %u entries and has %u", sh->count, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        check_entry(c, &copy[i]);
        if (!ent_writing(&copy[i]))
            check_disk(c, &copy[i]);
    }
    free(copy);
}

/* ---- segments, directories, sums ---- */

static void check_slots(struct check *c, struct seg *g)
{
    uint32_t unused = 0, taken = 0, pages = c->sums[g->dir->no][g->num].pages;
    for (uint32_t i = 0; i < g->slot_count; i++) {
        unsigned use = atomic_load(&g->slots[i].use);
        unused += use == 0;
        taken += use && !(use & SLOT_DEAD);
    }
    if (unused != g->slot_free)
        breach(c, "segment %u counts %u free slots and has %u", g->no, g->slot_free, unused);
    if (taken != pages)
        breach(c, "segment %u has %u taken slots and %u pages", g->no, taken, pages);
}

static void check_seg(struct check *c, struct seg *g)
{
    const struct sums *m = &c->sums[g->dir->no][g->num];
    uint64_t live, pinned;
    page_acct_seg(g, &live, &pinned);
    if (live != m->live || pinned != m->pinned)
        breach(c, "segment %u counts %" PRIu64 " live, %" PRIu64 " pinned; its pages are %" PRIu64 ", %" PRIu64, g->no,
               live, pinned, m->live, m->pinned);
    if (g->state == SEG_BULK)
        check_slots(c, g);
    if (!holds_pages(g) && m->pages)
        breach(c, "segment %u of state %d has %u pages", g->no, (int)g->state, m->pages);
}

static void check_dir(struct check *c, struct dir *d)
{
    uint32_t free_n = 0, ready = 0, absent = 0, slots[PG_CLASSES_MAX] = {0};
    uint64_t live = 0, pinned = 0;
    for (uint32_t i = 0; i < d->seg_total; i++) {
        struct seg *g = &d->segs[i];
        check_seg(c, g);
        live += g->live;
        pinned += g->pinned;
        if (g->state == SEG_BULK)
            slots[g->cls] += g->slot_free;
        free_n += !g->surplus && g->state == SEG_FREE;
        ready += !g->surplus && g->state == SEG_READY;
        absent += !g->surplus && g->state == SEG_ABSENT;
    }
    if (free_n != d->free_count || ready != d->ready_count || absent != d->absent_count)
        breach(c, "%s counts %u free, %u ready, %u absent segments and has %u, %u, %u", d->path, d->free_count,
               d->ready_count, d->absent_count, free_n, ready, absent);
    if (memcmp(slots, d->class_free, sizeof slots) != 0)
        breach(c, "%s counts its free slots wrong", d->path);
    if (live != d->live || pinned != d->pinned)
        breach(c, "%s counts %" PRIu64 " live, %" PRIu64 " pinned bytes and has %" PRIu64 ", %" PRIu64, d->path,
               d->live, d->pinned, live, pinned);
}

static void check_sums(struct check *c)
{
    struct page_store *s = c->s;
    for (int st = 0; st < ST_COUNT; st++)
        if (c->bytes[st] != s->bytes[st])
            breach(c, "state %d counts %" PRIu64 " bytes, its pages are %" PRIu64, st, s->bytes[st], c->bytes[st]);
    if (c->pages != atomic_load(&s->pages) || c->blobs != atomic_load(&s->blobs))
        breach(c, "the store counts %" PRIu64 " pages, %" PRIu64 " blobs and has %" PRIu64 ", %" PRIu64,
               (uint64_t)atomic_load(&s->pages), (uint64_t)atomic_load(&s->blobs), c->pages, c->blobs);
}

static void check_all(struct check *c)
{
    struct page_store *s = c->s;
    for (size_t i = 0; i < IDX_SHARDS; i++)
        check_shard(c, &s->shards[i]);
    for (size_t i = 0; i < s->dir_count; i++) {
        if (!atomic_load(&s->dirs[i].open))
            continue;
        LOCKED(&s->dirs[i].lock);
        check_dir(c, &s->dirs[i]);
    }
    LOCKED(&s->acct);
    check_sums(c);
}

static void sums_make(struct check *c)
{
    for (size_t i = 0; i < c->s->dir_count; i++) {
        c->sums[i] = calloc(c->s->dirs[i].seg_total + 1, sizeof *c->sums[i]);
        CHECK(c->sums[i], "out of memory");
    }
}

static void sums_free(struct check *c)
{
    for (size_t i = 0; i < c->s->dir_count; i++) {
        for (uint32_t k = 0; k < c->s->dirs[i].seg_total; k++)
            free(c->sums[i][k].blocks);
        free(c->sums[i]);
    }
}

int page_check(struct page_store *s, bool verify, void (*say)(void *arg, const char *line), void *arg)
{
    struct check c = {.s = s, .verify = verify, .say = say, .arg = arg};
    page_upkeep_pause(s);
    for (size_t i = 0; i < s->dir_count; i++)
        page_reclaim_pause(&s->dirs[i]);
    sums_make(&c);
    check_all(&c);
    sums_free(&c);
    page_upkeep_resume(s);
    for (size_t i = 0; i < s->dir_count; i++)
        page_reclaim_resume(&s->dirs[i]);
    return c.breaches ? err_set(ERR_CORRUPT, "%" PRIu64 " rules of the page store are broken", c.breaches) : 0;
}
