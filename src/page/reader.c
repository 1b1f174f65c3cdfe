/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading: find a page, hold its place, verify it once, hand out a range or copy bytes.
 *
 * A hold is taken under the shard's lock while the entry exists, so a place that was given back is never held anew.
 * Verification is remembered by a bit per page: the first read after a write, a move, or a start reads the whole page
 * and checks every block; later reads trust it unless they ask. A page that fails is counted; a clean one is forgotten
 * (the caller fetches it from the under store), any other stays as it is: it may be the only copy.
 */
#include "page/store.h"
#include <inttypes.h>
#include <string.h>

static int hold_page(struct page_store *s, uint64_t blob, uint32_t index, struct held *ret)
{
    struct shard *sh = page_shard(s, blob);
    LOCKED(&sh->lock);
    struct entry *e = page_idx_find(sh, blob, index);
    if (!e || ent_writing(e))
        return ERR_NOT_CACHED;
    struct seg *g = page_seg_at(s, loc_seg(ent_loc(e)));
    *ret = (struct held){g, loc_pos(ent_loc(e)), ent_len(e), index, blob, e->bits & ENT_VERIFIED};
    e->bits |= ENT_REF;
    atomic_store_explicit(&g->stamp, atomic_load_explicit(&s->seq, memory_order_relaxed), memory_order_relaxed);
    if (g->cls)
        atomic_fetch_add(&g->slots[page_bulk_slot(g, ret->pos)].use, 1);
    else
        atomic_fetch_add(&g->holds, 1);
    return 0;
}

static uint64_t held_off(const struct held *h)
{
    return page_seg_payload(h->seg, h->pos) + (h->seg->cls ? 0 : PG_REC_HEAD);
}

static uint64_t held_loc(const struct held *h)
{
    return loc_make(h->seg->no, h->pos);
}

static void mark_verified(struct page_store *s, const struct held *h)
{
    struct shard *sh = page_shard(s, h->blob);
    LOCKED(&sh->lock);
    struct entry *e = page_idx_find(sh, h->blob, h->index);
    if (e && ent_loc(e) == held_loc(h))
        e->bits |= ENT_VERIFIED;
}

static int corrupt(const struct held *h, const char *what)
{
    page_entry_corrupt(h->seg->dir->store, h->blob, h->index, held_loc(h));
    return err_set(ERR_CORRUPT, "page %u of blob %" PRIx64 " in %s/segments/%08u: %s", h->index, h->blob,
                   h->seg->dir->path, h->seg->num, what);
}

/* A clean page that its disk will not give is as good as absent: the under store has it. */
static int unreadable(const struct held *h, int r)
{
    struct page_store *s = h->seg->dir->store;
    struct shard *sh = page_shard(s, h->blob);
    struct gone g;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, h->blob, h->index);
        if (!e || ent_loc(e) != held_loc(h) || ent_state(e) != ST_CLEAN)
            return r;
        g = page_entry_remove(s, sh, e);
    }
    page_gone_finish(&g);
    return ERR_NOT_CACHED;
}

/* The page's header with its block checksums; block has room for PG_BLOCK. */
static int read_head(const struct held *h, char *block)
{
    struct disk_head *d = (struct disk_head *)block;
    int r = page_head_read(h->seg, h->pos, block, PG_BLOCK);
    if (r == ERR_CORRUPT || (r == 0 && (d->page.blob != h->blob || d->page.index != h->index || d->page.len != h->len)))
        return corrupt(h, "its header is damaged");
    if (r < 0)
        return unreadable(h, r);
    return 0;
}

static const uint32_t *crcs_in(const char *block)
{
    return (const uint32_t *)(block + sizeof(struct disk_head));
}

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Bytes [from, to) of the page, both on block bounds or the page's end, into p, checked. */
static int read_blocks(const struct held *h, const uint32_t *crcs, uint32_t from, uint32_t to, char *p)
{
    int r = page_io_read(h->seg, p, to - from, held_off(h) + from);
    if (r < 0)
        return unreadable(h, r);
    for (uint32_t at = from; at < to; at += PG_CRC_BLOCK)
        if (crc32c(0, p + (at - from), min32(PG_CRC_BLOCK, to - at)) != crcs[at / PG_CRC_BLOCK])
            return corrupt(h, "a checksum does not match");
    return 0;
}

static int verify_with(const struct held *h, char *buf)
{
    char block[PG_BLOCK] __attribute__((aligned(8)));
    TRY(read_head(h, block));
    for (uint32_t at = 0; at < h->len; at += PG_BUF)
        TRY(read_blocks(h, crcs_in(block), at, min32(at + PG_BUF, h->len), buf));
    mark_verified(h->seg->dir->store, h);
    return 0;
}

int page_held_verify(const struct held *h)
{
    struct page_store *s = h->seg->dir->store;
    char *buf = page_buf_get(s);
    int r = verify_with(h, buf);
    page_buf_put(s, buf);
    return r;
}

/* Part [off, off+n) of the page into p; whole blocks are read where they belong, edges through buf. */
static int copy_checked(const struct held *h, const uint32_t *crcs, uint32_t off, uint32_t n, char *p, char *buf)
{
    while (n) {
        uint32_t in = off % PG_CRC_BLOCK, start = off - in, end = min32(start + PG_CRC_BLOCK, h->len), take;
        if (in || off + n < end) {
            TRY(read_blocks(h, crcs, start, end, buf));
            take = min32(n, end - off);
            memcpy(p, buf + in, take);
        } else {
            uint32_t to = off + n == h->len ? h->len : (off + n) / PG_CRC_BLOCK * PG_CRC_BLOCK;
            TRY(read_blocks(h, crcs, off, to, p));
            take = to - off;
        }
        off += take;
        p += take;
        n -= take;
    }
    return 0;
}

static int read_checked(const struct held *h, uint32_t off, uint32_t n, char *p)
{
    struct page_store *s = h->seg->dir->store;
    char block[PG_BLOCK] __attribute__((aligned(8)));
    TRY(read_head(h, block));
    char *buf = page_buf_get(s);
    int r = copy_checked(h, crcs_in(block), off, n, p, buf);
    page_buf_put(s, buf);
    if (r == 0 && off == 0 && n == h->len)
        mark_verified(s, h);
    return r;
}

static int read_held(struct page_store *s, const struct held *h, uint32_t off, uint32_t n, char *p, bool verify)
{
    if (verify || s->o.verify_always)
        return read_checked(h, off, n, p);
    if (!h->verified && off == 0 && n == h->len)
        return read_checked(h, off, n, p);
    if (!h->verified)
        TRY(page_held_verify(h));
    int r = page_io_read(h->seg, p, n, held_off(h) + off);
    return r < 0 ? unreadable(h, r) : 0;
}

static void count_hit(struct page_store *s, uint64_t n)
{
    atomic_fetch_add_explicit(&s->hits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->hit_bytes, n, memory_order_relaxed);
}

static int read_page(struct page_store *s, uint64_t blob, uint64_t off, char *p, uint32_t n, bool verify)
{
    struct held h = {0};
    uint32_t in = (uint32_t)(off & (s->page_size - 1));
    TRY(hold_page(s, blob, (uint32_t)(off >> s->page_shift), &h));
    int r = in + n > h.len ? ERR_NOT_CACHED : read_held(s, &h, in, n, p, verify);
    page_held_release(&h);
    return r;
}

int page_read(struct page_store *s, uint64_t blob, uint64_t off, void *p, size_t n, bool verify)
{
    for (size_t done = 0; done < n;) {
        uint64_t at = off + done;
        uint64_t left = s->page_size - (at & (s->page_size - 1));
        uint32_t take = (uint32_t)(left < n - done ? left : n - done);
        TRY(read_page(s, blob, at, (char *)p + done, take, verify));
        done += take;
    }
    count_hit(s, n);
    TRACE("page.read", blob, n);
    return 0;
}

/* ---- ranges: the hold is encoded in the pointer, segment number and slot ---- */

static void *hold_code(const struct held *h)
{
    uintptr_t slot = h->seg->cls ? page_bulk_slot(h->seg, h->pos) : 0;
    return (void *)((uintptr_t)h->seg->no << 17 | slot << 1 | 1);
}

int page_hold(struct page_store *s, uint64_t blob, uint64_t off, size_t n, struct page_range *ret)
{
    struct held h = {0};
    uint32_t in = (uint32_t)(off & (s->page_size - 1));
    TRY(hold_page(s, blob, (uint32_t)(off >> s->page_shift), &h));
    int r = in >= h.len ? ERR_NOT_CACHED : 0;
    if (r == 0 && (!h.verified || s->o.verify_always))
        r = page_held_verify(&h);
    if (r < 0) {
        page_held_release(&h);
        return r;
    }
    size_t most = h.len - in;
    *ret = (struct page_range){h.seg->fd, (off_t)(held_off(&h) + in), n < most ? n : most, hold_code(&h)};
    count_hit(s, ret->n);
    TRACE("page.hold", blob, ret->n);
    return 0;
}

void page_release(struct page_store *s, struct page_range *r)
{
    uintptr_t code = (uintptr_t)r->hold;
    if (!code)
        return;
    struct seg *g = page_seg_at(s, (uint32_t)(code >> 17));
    uint32_t slot = (uint32_t)(code >> 1 & 0xffff);
    struct held h = {.seg = g, .pos = g->cls ? slot * (pg_slot_size(g->cls) / PG_BLOCK) : 0};
    page_held_release(&h);
    r->hold = NULL;
}
