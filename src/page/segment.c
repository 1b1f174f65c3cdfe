/* SPDX-License-Identifier: Apache-2.0
 *
 * Segment files: made, formatted for a new life, listed, recycled. States are in store.h.
 *
 * Invariant: a segment's new life is durable before anything of it is written. So a crash never finds records of two
 * lives that both look true, and blocks of the former life may be overwritten in any order.
 */
#include "page/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { GROW_AGAIN_MS = 1000, SCAN_WINDOW = 1 << 20 };

struct seg *page_seg_at(struct page_store *s, uint32_t no)
{
    return &s->dirs[no >> s->seg_bits].segs[no & ((1u << s->seg_bits) - 1)];
}

uint64_t page_seg_payload(const struct seg *g, uint32_t pos)
{
    return g->dir->area + (uint64_t)pos * PG_BLOCK;
}

uint32_t page_seg_reserve(const struct dir *d)
{
    return d->seg_count >= 6 ? 1 : 0;
}

/* ---- states ---- */

static uint32_t *count_of(struct dir *d, enum seg_state st)
{
    switch (st) {
    case SEG_FREE:
        return &d->free_count;
    case SEG_READY:
        return &d->ready_count;
    case SEG_ABSENT:
        return &d->absent_count;
    default:
        return NULL;
    }
}

void page_seg_set(struct seg *g, enum seg_state st)
{
    uint32_t *from = count_of(g->dir, g->state), *to = count_of(g->dir, st);
    g->state = st;
    if (g->surplus)
        return;
    if (from)
        --*from;
    if (to)
        ++*to;
}

static bool may_grow(const struct dir *d)
{
    return clock_mono_ns() >= d->grow_after_ns;
}

uint32_t page_seg_empty(struct dir *d)
{
    return d->free_count + d->ready_count + (may_grow(d) ? d->absent_count : 0);
}

static bool bulk_empty(const struct seg *g)
{
    return g->state == SEG_BULK && !g->busy && g->slot_free == g->slot_count;
}

/* How little a segment suits: the log wants blocks that were written before, bulk leaves those to it. */
static int unfit(const struct seg *g, bool small, bool grow)
{
    if (g->surplus)
        return 99;
    if (g->state == SEG_FREE)
        return g->written == small ? 0 : 1;
    if (g->state == SEG_ABSENT && grow)
        return 2;
    if (g->state == SEG_READY && !small)
        return 3;
    return bulk_empty(g) ? 4 : 99;
}

static void leave_bulk(struct seg *g)
{
    g->dir->class_free[g->cls] -= g->slot_count;
    if (g->dir->class_hint[g->cls] == g)
        g->dir->class_hint[g->cls] = NULL;
    if (g->dir->victim[g->cls] == g)
        g->dir->victim[g->cls] = NULL;
    free(g->slots);
    g->slots = NULL;
    g->slot_count = g->slot_free = 0;
}

struct seg *page_seg_take(struct dir *d, bool cleaning, bool small)
{
    struct seg *best = NULL;
    int least = 99;
    bool grow = may_grow(d);
    bool only_bulk = !cleaning && page_seg_empty(d) <= page_seg_reserve(d);
    for (uint32_t i = 0; i < d->seg_total && least; i++) {
        struct seg *g = &d->segs[i];
        int u = only_bulk ? (bulk_empty(g) && !g->surplus ? 4 : 99) : unfit(g, small, grow);
        if (u < least) {
            least = u;
            best = g;
        }
    }
    if (!best)
        return NULL;
    if (best->state == SEG_BULK)
        leave_bulk(best);
    page_seg_set(best, SEG_FORMAT);
    return best;
}

void page_seg_released(struct seg *g)
{
    uint64_t live, pinned;
    if ((g->state != SEG_SEALED && g->state != SEG_FULL) || g->busy || g->inflight || atomic_load(&g->holds))
        return;
    page_acct_seg(g, &live, &pinned);
    if (live || atomic_load(&g->holds) || FAULT(PAGE_RECYCLE) < 0)
        return;
    free(g->rows);
    g->rows = NULL;
    g->row_count = g->row_cap = g->end = 0;
    g->written = true;
    page_seg_set(g, SEG_FREE);
}

void page_seg_maybe_free(struct seg *g)
{
    LOCKED(&g->dir->lock);
    page_seg_released(g);
}

/* ---- making and formatting ---- */

static int no_room_to_grow(struct dir *d)
{
    LOCKED(&d->lock);
    d->grow_after_ns = clock_mono_ns() + GROW_AGAIN_MS * 1000000ull;
    return err_set(ERR_NO_SPACE,
                   "the disk under %s is too full for another segment: free space there, or lower "
                   "alluxio.worker.page.store.sizes",
                   d->path);
}

static int allocate(struct seg *g, int fd)
{
    off_t size = (off_t)g->dir->area + g->dir->payload;
    int f = FAULT(PAGE_SEGMENT_CREATE);
    if (f == ERR_NO_SPACE)
        return no_room_to_grow(g->dir);
    if (f < 0)
        return page_dir_failed(g->dir, "a segment file cannot be made", EIO);
    if (!page_dir_roomy(g->dir, (uint64_t)size))
        return no_room_to_grow(g->dir);
    if (fallocate(fd, 0, 0, size) == 0)
        return 0;
    if (errno == EOPNOTSUPP && ftruncate(fd, size) == 0)
        return 0;
    if (errno == ENOSPC || errno == EDQUOT)
        return no_room_to_grow(g->dir);
    return page_dir_failed(g->dir, "a segment file cannot be made", errno);
}

static int segment_make(struct seg *g)
{
    char name[32];
    snprintf(name, sizeof name, "segments/%08u", g->num);
    AUTO_CLOSE int fd = openat(g->dir->fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    AUTO_CLOSE int list = openat(g->dir->fd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || list < 0)
        return page_dir_failed(g->dir, "a segment file cannot be made", errno);
    int r = allocate(g, fd);
    if (r < 0) {
        unlinkat(g->dir->fd, name, 0);
        return r;
    }
    if (fsync(fd) != 0 || fsync(list) != 0)
        return page_dir_failed(g->dir, "a segment file cannot be synced", errno);
    g->fd = page_fd_take(&fd);
    return 0;
}

static int fill_zeros(struct seg *g)
{
    static char zeros[SCAN_WINDOW];
    for (uint64_t done = 0; done < g->dir->payload;) {
        uint64_t n = g->dir->payload - done;
        struct iovec v = {zeros, n < SCAN_WINDOW ? n : SCAN_WINDOW};
        n = v.iov_len;
        TRY(page_io_write(g, &v, 1, g->dir->area + done));
        done += n;
    }
    g->written = true;
    return 0;
}

/* Who the segment is, at both ends of the header area. */
static int identity_write(struct seg *g)
{
    char block[PG_BLOCK] = "";
    struct disk_seg *h = (struct disk_seg *)block;
    *h = (struct disk_seg){PG_SEG_MAGIC, 0, g->id, g->life, g->dir->payload, PG_VERSION, g->cls, g->written};
    h->crc = crc32c(0, &h->id, sizeof *h - offsetof(struct disk_seg, id));
    struct iovec v = {block, sizeof block};
    TRY(page_io_write(g, &v, 1, 0));
    v = (struct iovec){block, sizeof block};
    TRY(page_io_write(g, &v, 1, g->dir->area - PG_BLOCK));
    return page_io_sync(g, atomic_load(&g->wrote));
}

static int format(struct seg *g, unsigned cls, bool fill)
{
    TRY(FAULT(PAGE_SEGMENT_OPEN));
    if (g->fd < 0)
        TRY(segment_make(g));
    while (!g->id)
        if (getrandom(&g->id, sizeof g->id, 0) != sizeof g->id)
            g->id = 0;
    g->life++;
    g->cls = (uint8_t)cls;
    if (fill && !g->written)
        TRY(fill_zeros(g));
    TRY(identity_write(g));
    return FAULT(PAGE_SEGMENT_OPENED);
}

int page_seg_format(struct seg *g, unsigned cls, bool fill)
{
    int r = format(g, cls, fill);
    if (r < 0) {
        LOCKED(&g->dir->lock);
        page_seg_set(g, g->fd < 0 ? SEG_ABSENT : SEG_FREE);
        return r;
    }
    if (atomic_exchange(&g->lazy, false))
        atomic_fetch_sub(&g->dir->store->lazy_segs, 1);
    g->end = g->inflight = g->row_count = 0;
    atomic_store(&g->stamp, atomic_load(&g->dir->store->seq));
    return 0;
}

int page_seg_unlink(struct seg *g)
{
    char name[32];
    {
        LOCKED(&g->dir->lock);
        if (bulk_empty(g)) {
            leave_bulk(g);
            page_seg_set(g, SEG_FREE);
        }
        if (!g->surplus || g->state != SEG_FREE || g->fd < 0)
            return 0;
        page_seg_set(g, SEG_FORMAT);
    }
    snprintf(name, sizeof name, "segments/%08u", g->num);
    unlinkat(g->dir->fd, name, 0);
    LOCKED(&g->dir->lock);
    close(g->fd);
    g->fd = -1;
    page_seg_set(g, SEG_ABSENT);
    return 1;
}

/* ---- what is in a small one ---- */

static uint32_t table_crc(const struct disk_table *t, const struct disk_row *rows)
{
    uint32_t c = crc32c(0, &t->seg, sizeof *t - offsetof(struct disk_table, seg));
    return crc32c(c, rows, t->count * sizeof *rows);
}

int page_seg_table(struct seg *g, struct disk_row **ret, uint32_t *ret_n, uint32_t *ret_end)
{
    struct disk_table t;
    TRY(page_io_read(g, &t, sizeof t, PG_BLOCK));
    if (t.magic != PG_TABLE_MAGIC || t.seg != g->id || t.life != g->life || t.count > g->dir->payload / PG_BLOCK)
        return ERR_NOT_FOUND;
    AUTO_FREE struct disk_row *rows = malloc(t.count * sizeof *rows + 1);
    CHECK(rows, "out of memory");
    TRY(page_io_read(g, rows, t.count * sizeof *rows, PG_BLOCK + sizeof t));
    if (t.crc != table_crc(&t, rows))
        return ERR_NOT_FOUND;
    *ret = TAKE(rows);
    *ret_n = t.count;
    *ret_end = t.end;
    return 0;
}

int page_seg_table_write(struct seg *g)
{
    size_t n = sizeof(struct disk_table) + g->row_count * sizeof *g->rows;
    struct disk_table t = {PG_TABLE_MAGIC, 0, g->id, g->life, g->row_count, g->end};
    t.crc = table_crc(&t, g->rows);
    CHECK(PG_BLOCK + n <= g->dir->area - PG_BLOCK, "table of %u rows", g->row_count);
    struct iovec v[2] = {{&t, sizeof t}, {g->rows, g->row_count * sizeof *g->rows}};
    return page_io_write(g, v, 2, PG_BLOCK);
}

struct scan {
    struct seg *g;
    char *window;
    uint64_t at, have; /* payload offset and bytes of the window */
    struct disk_row *rows;
    uint32_t n, cap, end;
};

/* The bytes at pos, at least a record long unless the segment ends before. */
static int scan_at(struct scan *s, uint32_t pos, const char **ret, size_t *ret_n)
{
    uint64_t off = (uint64_t)pos * PG_BLOCK, most = s->g->dir->payload;
    if (off < s->at || off + PG_REC_HEAD + PG_SMALL_MAX > s->at + s->have) {
        uint64_t n = most - off < SCAN_WINDOW ? most - off : SCAN_WINDOW;
        if (off < s->at || off + n > s->at + s->have) {
            TRY(page_io_read(s->g, s->window, n, s->g->dir->area + off));
            s->at = off;
            s->have = n;
        }
    }
    *ret = s->window + (off - s->at);
    *ret_n = s->at + s->have - off;
    return 0;
}

static bool record_whole(struct seg *g, uint32_t pos, const char *p, size_t n)
{
    const struct disk_head *h = (const struct disk_head *)p;
    if (!page_head_good(h, PG_REC_MAGIC, g, pos) || PG_REC_HEAD + (size_t)h->page.len > n)
        return false;
    const uint32_t *crcs = (const uint32_t *)(h + 1);
    for (uint32_t done = 0, i = 0; done < h->page.len; done += PG_CRC_BLOCK, i++) {
        uint32_t m = h->page.len - done < PG_CRC_BLOCK ? h->page.len - done : PG_CRC_BLOCK;
        if (crc32c(0, p + PG_REC_HEAD + done, m) != crcs[i])
            return false;
    }
    return true;
}

static void scan_row(struct scan *s, const struct disk_head *h)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->rows = realloc(s->rows, s->cap * sizeof *s->rows);
        CHECK(s->rows, "out of memory");
    }
    s->rows[s->n++] = (struct disk_row){h->page, h->pos, h->birth};
    s->end = h->pos + pg_small_blocks(h->page.len);
}

/* Every 4 KiB bound is tried: a gap or a torn record ends nothing. Inside a whole record nothing is looked for. */
static int scan_all(struct scan *s)
{
    uint32_t blocks = s->g->dir->payload / PG_BLOCK;
    for (uint32_t pos = 0; pos < blocks;) {
        const char *p;
        size_t n;
        TRY(scan_at(s, pos, &p, &n));
        if (record_whole(s->g, pos, p, n)) {
            scan_row(s, (const struct disk_head *)p);
            pos = s->end;
        } else {
            pos++;
        }
    }
    return 0;
}

int page_seg_scan(struct seg *g, struct disk_row **ret, uint32_t *ret_n, uint32_t *ret_end)
{
    struct scan s = {.g = g, .window = malloc(SCAN_WINDOW)};
    CHECK(s.window, "out of memory");
    int r = scan_all(&s);
    free(s.window);
    if (r < 0) {
        free(s.rows);
        return r;
    }
    *ret = s.rows;
    *ret_n = s.n;
    *ret_end = s.end;
    return 0;
}

int page_seg_list(struct seg *g, struct disk_row **ret, uint32_t *ret_n, uint32_t *ret_end)
{
    int r = page_seg_table(g, ret, ret_n, ret_end);
    return r == ERR_NOT_FOUND ? page_seg_scan(g, ret, ret_n, ret_end) : r;
}
