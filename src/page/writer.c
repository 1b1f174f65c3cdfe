/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a blob, page by page, with the memory of one buffer whatever its size.
 *
 * A page that may still be small gathers in the buffer; above 64 KiB (or when the hint says so) it gets a slot and its
 * bytes go there as they come: straight from the caller in pieces of 128 KiB and more, else through the buffer. Writes
 * are whole 4 KiB blocks (the last padded with zeros), so that the kernel never reads a block to change a part of it.
 * Checksums are computed from the caller's bytes on the way.
 *
 * States of a writer's page: buffered (no slot) -> streaming (slot taken, `flushed` bytes of it written) -> ended
 * (named in the index as W..., which readers and eviction pass by). page_seal makes the entries visible, page_abort
 * removes them. With an unknown size a slot of a whole page is taken; a short tail moves to a smaller one at its end.
 */
#include "page/store.h"
#include <fcntl.h>
#include <string.h>

enum { DIRS_TOUCHED = 8 };

struct page_writer {
    struct page_store *store;
    struct dir *dir;
    unsigned epoch;
    uint64_t blob, content, birth_ms, hint, total, deadline_ns;
    enum page_birth birth;
    uint64_t reserved, dir_reserved;
    uint32_t index; /* of the page that is being written */
    char *buf;
    uint32_t buf_n, flushed; /* of this page */
    bool has_slot, failed;
    struct place at;
    uint32_t touched_n, touched_cap;
    struct seg **touched;                  /* segments written to: one for each 64 MiB */
    struct dir *touched_dir[DIRS_TOUCHED]; /* directories besides dir, with their epochs */
    unsigned touched_epoch[DIRS_TOUCHED], touched_dirs;
    uint32_t crc[PG_CRCS_MAX];
};

static enum page_state writing_state(const struct page_writer *w)
{
    return w->birth == PAGE_PINNED ? ST_WPINNED : ST_WCLEAN;
}

static uint32_t page_len(const struct page_writer *w)
{
    return w->flushed + w->buf_n;
}

/* ---- space ---- */

static int reserve_more(struct page_writer *w, uint64_t bytes)
{
    if (w->reserved >= bytes)
        return 0;
    TRY(page_space_reserve(w->store, w->birth == PAGE_PINNED, bytes - w->reserved, w->deadline_ns));
    w->reserved = bytes;
    return 0;
}

/* bytes were placed: they are counted there now. */
static void reserve_used(struct page_writer *w, uint64_t bytes)
{
    uint64_t n = bytes < w->reserved ? bytes : w->reserved, m = bytes < w->dir_reserved ? bytes : w->dir_reserved;
    page_space_return(w->store, w->birth == PAGE_PINNED, n);
    w->reserved -= n;
    page_space_dir_return(w->dir, m);
    w->dir_reserved -= m;
}

static void reserve_done(struct page_writer *w)
{
    page_space_return(w->store, w->birth == PAGE_PINNED, w->reserved);
    page_space_dir_return(w->dir, w->dir_reserved);
    w->reserved = w->dir_reserved = 0;
}

/* ---- what must be synced at the seal ---- */

static int touch_dir(struct page_writer *w, struct dir *d)
{
    for (unsigned i = 0; i < w->touched_dirs; i++)
        if (w->touched_dir[i] == d)
            return 0;
    if (w->touched_dirs == DIRS_TOUCHED)
        return err_set(ERR_NO_SPACE, "a blob would be spread over more than %d directories", DIRS_TOUCHED);
    w->touched_dir[w->touched_dirs] = d;
    w->touched_epoch[w->touched_dirs++] = atomic_load(&d->epoch);
    return 0;
}

static void touch_seg(struct page_writer *w, struct seg *g)
{
    for (uint32_t i = w->touched_n; i-- > 0;)
        if (w->touched[i] == g)
            return;
    if (w->touched_n == w->touched_cap) {
        w->touched_cap = w->touched_cap ? w->touched_cap * 2 : 4;
        w->touched = realloc(w->touched, w->touched_cap * sizeof(void *));
        CHECK(w->touched, "out of memory");
    }
    w->touched[w->touched_n++] = g;
}

static bool dir_failed_since(const struct page_writer *w)
{
    for (unsigned i = 0; i < w->touched_dirs; i++)
        if (atomic_load(&w->touched_dir[i]->epoch) != w->touched_epoch[i])
            return true;
    return false;
}

/* ---- placing a page: in the writer's directory, or in another when that is full ---- */

static int next_dir(struct page_writer *w, int r)
{
    if (r != ERR_NO_SPACE || w->store->dir_count < 2)
        return r;
    struct dir *d = page_space_dir(w->store, w->dir, 0);
    if (!d)
        return r;
    page_space_dir_return(w->dir, w->dir_reserved);
    w->dir_reserved = 0;
    w->dir = d;
    return touch_dir(w, d);
}

static int take_slot(struct page_writer *w, unsigned cls, struct place *ret)
{
    TRY(reserve_more(w, pg_slot_size(cls)));
    for (size_t tries = w->store->dir_count;; tries--) {
        int r = page_bulk_take(w->dir, cls, w->blob, w->index, writing_state(w), true, false, ret);
        if (r == 0)
            break;
        if (tries <= 1)
            return r;
        TRY(next_dir(w, r));
    }
    touch_seg(w, ret->seg);
    reserve_used(w, pg_slot_size(cls));
    return 0;
}

static int append_small(struct page_writer *w, const struct record *r, struct place *ret)
{
    uint64_t bytes = (uint64_t)pg_small_blocks(r->page.len) * PG_BLOCK;
    TRY(reserve_more(w, bytes));
    for (size_t tries = w->store->dir_count;; tries--) {
        int e = page_small_append(w->dir, r, false, ret);
        if (e == 0)
            break;
        if (tries <= 1)
            return e;
        TRY(next_dir(w, e));
    }
    touch_seg(w, ret->seg);
    reserve_used(w, bytes);
    return 0;
}

/* ---- bytes into the slot ---- */

static uint64_t slot_off(const struct page_writer *w)
{
    return page_seg_payload(w->at.seg, w->at.pos) + w->flushed;
}

static int flush(struct page_writer *w, bool end)
{
    uint32_t n = end ? (w->buf_n + PG_BLOCK - 1) / PG_BLOCK * PG_BLOCK : w->buf_n;
    if (!n)
        return 0;
    memset(w->buf + w->buf_n, 0, n - w->buf_n);
    struct iovec v = {w->buf, n};
    TRY(page_io_write(w->at.seg, &v, 1, slot_off(w)));
    w->flushed += w->buf_n;
    w->buf_n = 0;
    return 0;
}

/* Move what is written of this page into a slot of another class. */
static int change_slot(struct page_writer *w, const struct place *to)
{
    char *buf = page_buf_get(w->store);
    uint32_t n = (w->flushed + PG_BLOCK - 1) / PG_BLOCK * PG_BLOCK;
    int r = 0;
    for (uint32_t at = 0; r == 0 && at < n; at += PG_BUF) {
        uint32_t m = n - at < PG_BUF ? n - at : PG_BUF;
        struct iovec v = {buf, m};
        r = page_io_read(w->at.seg, buf, m, page_seg_payload(w->at.seg, w->at.pos) + at);
        if (r == 0)
            r = page_io_write(to->seg, &v, 1, page_seg_payload(to->seg, to->pos) + at);
    }
    page_buf_put(w->store, buf);
    page_place_free(r < 0 ? to : &w->at, PG_SLOT_MAX, writing_state(w));
    if (r == 0)
        w->at = *to;
    return r;
}

/* How long the page that is being written will be, as far as the hint tells; a whole page when it does not. */
static uint32_t planned_len(const struct page_writer *w, uint32_t need)
{
    uint64_t start = (uint64_t)w->index << w->store->page_shift;
    if (w->hint < start + need || w->hint > start + w->store->page_size)
        return w->store->page_size;
    return (uint32_t)(w->hint - start);
}

/* The page is (final) or will be at least need bytes long: get it a slot that fits. */
static int want_slot(struct page_writer *w, uint32_t need, bool final)
{
    struct place to;
    if (w->has_slot && pg_slot_size(w->at.seg->cls) >= need)
        return 0;
    unsigned cls = pg_class(final ? need : planned_len(w, need));
    TRY(take_slot(w, cls ? cls : 1, &to));
    if (w->has_slot)
        return change_slot(w, &to);
    w->at = to;
    w->has_slot = true;
    return 0;
}

/* A tail much shorter than its slot moves, when a fitting one is at hand and the blob is not long anyway. */
static void shrink_slot(struct page_writer *w)
{
    struct place to;
    unsigned cls = pg_class(page_len(w));
    if (!cls)
        cls = 1;
    if (cls >= w->at.seg->cls || w->index >= 8)
        return;
    if (reserve_more(w, pg_slot_size(cls)) < 0 ||
        page_bulk_take(w->dir, cls, w->blob, w->index, writing_state(w), false, false, &to) < 0)
        return;
    touch_seg(w, to.seg);
    reserve_used(w, pg_slot_size(cls));
    change_slot(w, &to);
}

/* ---- ending a page ---- */

static struct record record_of(const struct page_writer *w)
{
    return (struct record){
        {w->blob, w->content, w->birth_ms, 0, w->index, page_len(w)}, w->birth, w->crc, w->buf, writing_state(w)};
}

static int end_bulk(struct page_writer *w, const struct record *r)
{
    TRY(want_slot(w, r->page.len, true));
    TRY(flush(w, true));
    shrink_slot(w);
    TRY(page_bulk_head(&w->at, r));
    sync_file_range(w->at.seg->fd, (off_t)page_seg_payload(w->at.seg, w->at.pos), r->page.len, SYNC_FILE_RANGE_WRITE);
    return 0;
}

static int name_page(struct page_writer *w, const struct record *r)
{
    int e = page_entry_insert(w->store, &w->at, &r->page, writing_state(w), false);
    if (e < 0) {
        page_place_free(&w->at, r->page.len, writing_state(w));
        w->has_slot = false;
        return err_set(e, "blob %llx is in the page store already", (unsigned long long)w->blob);
    }
    return 0;
}

static int end_page(struct page_writer *w)
{
    struct record r = record_of(w);
    if (!w->has_slot && r.page.len <= PG_SMALL_MAX)
        TRY(append_small(w, &r, &w->at));
    else
        TRY(end_bulk(w, &r));
    TRY(name_page(w, &r));
    w->index++;
    w->buf_n = w->flushed = 0;
    w->has_slot = false;
    return 0;
}

/* ---- append ---- */

static void add_crc(struct page_writer *w, const char *p, uint32_t n)
{
    uint32_t at = page_len(w);
    while (n) {
        uint32_t in = at % PG_CRC_BLOCK, take = PG_CRC_BLOCK - in < n ? PG_CRC_BLOCK - in : n;
        uint32_t *c = &w->crc[at / PG_CRC_BLOCK];
        *c = crc32c(in ? *c : 0, p, take);
        at += take;
        p += take;
        n -= take;
    }
}

/* Whole blocks straight from the caller; returns how many bytes went. */
static int write_through(struct page_writer *w, const char *p, uint32_t n, uint32_t *ret_took)
{
    uint32_t m = n / PG_BLOCK * PG_BLOCK;
    TRY(want_slot(w, page_len(w) + n, false));
    add_crc(w, p, m);
    struct iovec v = {(void *)p, m};
    TRY(page_io_write(w->at.seg, &v, 1, slot_off(w)));
    w->flushed += m;
    *ret_took = m;
    return 0;
}

static int gather(struct page_writer *w, const char *p, uint32_t n, uint32_t *ret_took)
{
    uint32_t m = PG_BUF - w->buf_n < n ? PG_BUF - w->buf_n : n;
    add_crc(w, p, m);
    memcpy(w->buf + w->buf_n, p, m);
    w->buf_n += m;
    *ret_took = m;
    if (w->buf_n < PG_BUF || page_len(w) == w->store->page_size)
        return 0;
    TRY(want_slot(w, page_len(w), false));
    return flush(w, false);
}

static int append(struct page_writer *w, const char *p, size_t n)
{
    while (n) {
        uint32_t room = w->store->page_size - page_len(w), take = n < room ? (uint32_t)n : room, took;
        if (w->buf_n == 0 && take >= PG_BUF)
            TRY(write_through(w, p, take, &took));
        else
            TRY(gather(w, p, take, &took));
        p += took;
        n -= took;
        w->total += took;
        if (page_len(w) == w->store->page_size)
            TRY(end_page(w));
    }
    return 0;
}

int page_append(struct page_writer *w, const void *p, size_t n)
{
    CHECK(!w->failed, "append to a writer that failed");
    int r = append(w, p, n);
    w->failed = r < 0;
    return r;
}

uint64_t page_written(const struct page_writer *w)
{
    return w->total;
}

/* ---- begin, seal, abort ---- */

int page_write_begin(struct page_store *s, uint64_t blob, uint64_t content, enum page_birth birth, uint64_t size_hint,
                     uint64_t deadline_ns, struct page_writer **ret)
{
    uint64_t need = page_space_need(s, size_hint);
    if (s->o.read_only)
        return err_set(ERR_READ_ONLY, "the page store is open for checking only");
    TRY(page_space_reserve(s, birth == PAGE_PINNED, need, deadline_ns));
    struct dir *d = page_space_dir(s, NULL, need);
    if (!d) {
        page_space_return(s, birth == PAGE_PINNED, need);
        return err_set(ERR_IO, "every directory of the page store is set aside");
    }
    struct page_writer *w = calloc(1, sizeof *w);
    CHECK(w, "out of memory for a writer");
    w->store = s;
    w->dir = d;
    w->blob = blob;
    w->content = content;
    w->birth = birth;
    w->birth_ms = clock_wall_ms();
    w->hint = size_hint;
    w->deadline_ns = deadline_ns;
    w->reserved = w->dir_reserved = need;
    w->buf = page_buf_get(s);
    touch_dir(w, d);
    TRACE("page.begin", blob, size_hint);
    *ret = w;
    return 0;
}

static void writer_free(struct page_writer *w)
{
    reserve_done(w);
    page_buf_put(w->store, w->buf);
    free(w->touched);
    page_space_freed(w->store);
    free(w);
}

static void forget_page(struct page_writer *w, uint32_t index)
{
    struct shard *sh = page_shard(w->store, w->blob);
    struct gone g;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, w->blob, index);
        if (!e || !ent_writing(e))
            return;
        g = page_entry_remove(w->store, sh, e);
    }
    page_gone_finish(&g);
}

void page_abort(struct page_writer *w)
{
    if (!w)
        return;
    if (w->has_slot)
        page_place_free(&w->at, PG_SLOT_MAX, writing_state(w));
    for (uint32_t i = 0; i < w->index; i++)
        forget_page(w, i);
    TRACE("page.abort", w->blob, w->total);
    writer_free(w);
}

static void show_page(struct page_writer *w, struct shard *sh, uint32_t index)
{
    LOCKED(&sh->lock);
    struct entry *e = page_idx_find(sh, w->blob, index);
    CHECK(e && ent_writing(e), "a page of a writer is gone");
    enum page_state st = w->birth == PAGE_PINNED ? ST_PINNED : ST_CLEAN;
    struct seg *g = page_seg_at(w->store, loc_seg(ent_loc(e)));
    page_acct_move(g, ent_state(e), st, page_place_bytes(g, ent_len(e)));
    ent_set_state(e, st);
}

static int make_durable(struct page_writer *w, bool lazy)
{
    for (uint32_t i = 0; i < w->touched_n; i++) {
        struct seg *g = w->touched[i];
        if (!lazy)
            TRY(page_io_sync(g, atomic_load(&g->wrote)));
        else if (!atomic_exchange(&g->lazy, true))
            atomic_fetch_add(&w->store->lazy_segs, 1);
    }
    if (dir_failed_since(w))
        return err_set(ERR_IO, "a disk of the page store failed while the data was written");
    return 0;
}

static int finish(struct page_writer *w, bool lazy)
{
    if (page_len(w))
        TRY(end_page(w));
    TRY(FAULT(PAGE_SEAL_BEFORE_SYNC));
    TRY(make_durable(w, lazy));
    return FAULT(PAGE_SEAL_AFTER_SYNC);
}

static int seal(struct page_writer *w, bool lazy)
{
    CHECK(!w->failed, "seal of a writer that failed");
    TRACE("page.seal", w->blob, w->total);
    int r = finish(w, lazy);
    if (r < 0) {
        page_abort(w);
        return r;
    }
    struct shard *sh = page_shard(w->store, w->blob);
    for (uint32_t i = 0; i < w->index; i++)
        show_page(w, sh, i);
    writer_free(w);
    return 0;
}

int page_seal(struct page_writer *w)
{
    return seal(w, false);
}

int page_seal_lazy(struct page_writer *w)
{
    return seal(w, true);
}
