/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes in and out of an open file.
 */
#include "fs/px_in.h"

struct into {
    char *p;
    size_t n, got;
};

static int take(void *arg, const void *p, size_t n)
{
    struct into *t = arg;
    if (n > t->n - t->got)
        return err_set(ERR_BUG, "more bytes than were asked for");
    memcpy(t->p + t->got, p, n);
    t->got += n;
    return 0;
}

static int read_remote(struct px_node *n, uint64_t off, void *p, size_t len)
{
    struct into t = {p, len, 0};
    struct data_sink sink = {.bytes = take, .arg = &t};
    if (!n->i.content)
        return 0;
    TRY(data_read(n->px->fs->data, n->i.content, off, len, &sink, true, false));
    return t.got == len ? 0 : err_set(ERR_CORRUPT, "the content is shorter than its record says");
}

/* ---- the window ---- */

enum { WINDOW = 1024 };

void px_window_free(struct px_node *n)
{
    free(atomic_exchange(&n->window, NULL));
}

static int into_window(void *arg, uint64_t off, const struct extent *e, size_t k, bool stored)
{
    struct px_window *w = arg;
    (void)stored;
    for (size_t i = 0; i < k; off += e[i++].len) {
        if (w->n == WINDOW) {
            w->whole = false;
            return 0;
        }
        w->seg[w->n++] = (struct px_seg){off, e[i]};
    }
    return 0;
}

static int window_make(struct px_node *n, const struct px_window **ret)
{
    struct px_window *w = mem_alloc(sizeof *w + WINDOW * sizeof w->seg[0]), *was = NULL;
    *w = (struct px_window){.content = n->i.content, .version = n->i.version, .whole = true};
    int r = meta_rows(n->px->fs->meta, n->i.content, into_window, w);
    if (r < 0) {
        free(w);
        return r;
    }
    w = mem_grow(w, 1, sizeof *w + (w->whole ? w->n : 0) * sizeof w->seg[0]);
    if (!atomic_compare_exchange_strong(&n->window, &was, w)) {
        free(w);
        w = was;
    }
    *ret = w;
    return 0;
}

static size_t window_find(const struct px_window *w, uint64_t off)
{
    size_t lo = 0, hi = w->n;
    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (w->seg[mid].at <= off)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* All of it from pages that are here; ERR_NOT_CACHED: by the long way. */
static int read_window(struct px_node *n, uint64_t off, char *p, size_t len)
{
    const struct px_window *w = atomic_load(&n->window);
    if (!w)
        TRY(window_make(n, &w));
    if (!w->whole || w->content != n->i.content || w->version != n->i.version)
        return ERR_NOT_CACHED;
    for (size_t i = window_find(w, off); len; i++) {
        const struct px_seg *s = i < w->n ? &w->seg[i] : NULL;
        if (!s || off < s->at || off - s->at >= s->e.len)
            return ERR_NOT_CACHED;
        uint64_t skip = off - s->at;
        size_t k = s->e.len - skip < len ? (size_t)(s->e.len - skip) : len;
        if (s->e.blob)
            TRY(page_read(n->px->fs->pages, s->e.blob, s->e.blob_off + skip, p, k, false));
        else
            memset(p, 0, k);
        p += k;
        off += k;
        len -= k;
    }
    return 0;
}

static int read_unchanged(struct px_node *n, uint64_t off, void *p, size_t len)
{
    if (n->i.content && n->held && read_window(n, off, p, len) == 0)
        return 0;
    err_clear();
    return read_remote(n, off, p, len);
}

/* It was persisted since, and evicted: it lies in the content's own object, at the same offset. */
static int read_evicted(struct px_node *n, const struct extent *e, uint64_t at, uint64_t off, char *p, size_t len)
{
    struct into t = {p, len, 0};
    struct data_sink sink = {.bytes = take, .arg = &t};
    TRY(data_read_extent(n->px->fs->data, n->i.content, e, at, off, len, &sink));
    return t.got == len ? 0 : err_set(ERR_CORRUPT, "an extent is shorter than its record says");
}

/* Not in an object of this file yet: where the origin has it. */
static int read_shared(struct px_node *n, const struct extent *e, uint64_t skip, char *p, size_t len)
{
    struct into t = {p, len, 0};
    struct data_sink sink = {.bytes = take, .arg = &t};
    TRY(data_read_extent(n->px->fs->data, e->origin, e, e->origin_off, e->origin_off + skip, len, &sink));
    return t.got == len ? 0 : err_set(ERR_CORRUPT, "an extent is shorter than its record says");
}

int px_read_piece(struct px_node *n, const struct extent *e, uint64_t at, uint64_t off, char *p, size_t len)
{
    int r = page_read(n->px->fs->pages, e->blob, e->blob_off + (off - at), p, len, false);
    if (r == ERR_NOT_CACHED && px_is_shared(n, e->blob))
        return read_shared(n, e, off - at, p, len);
    return r == ERR_NOT_CACHED && n->i.content ? read_evicted(n, e, at, off, p, len) : r;
}

static int read_rows(struct px_node *n, uint64_t off, char *p, size_t len)
{
    for (size_t r = px_row_find(n, off); r < n->rows && len; r++) {
        uint64_t at = n->row[r].off;
        for (size_t i = 0; i < n->row[r].n && len; i++) {
            const struct extent *e = &n->row[r].e[i];
            uint64_t skip = off - at;
            if (off >= at + e->len) {
                at += e->len;
                continue;
            }
            size_t k = e->len - skip < len ? (size_t)(e->len - skip) : len;
            if (e->blob)
                TRY(px_read_piece(n, e, at, off, p, k));
            else
                memset(p, 0, k);
            p += k;
            off += k;
            len -= k;
            at += e->len;
        }
    }
    memset(p, 0, len); /* behind the rows: a hole that is not published yet, or in memory */
    return 0;
}

int px_read_node(struct px_node *n, uint64_t off, void *p, size_t len, size_t *ret_n)
{
    if (off >= n->size)
        len = 0;
    else if (len > n->size - off)
        len = (size_t)(n->size - off);
    if (len) {
        TRY(n->local ? read_rows(n, off, p, len) : read_unchanged(n, off, p, len));
        px_pieces_overlay(n, off, p, len);
    }
    *ret_n = len;
    return 0;
}

static bool full(const struct px_node *n, size_t more)
{
    return n->pieces && (n->buffered + more > PX_FLUSH || n->pieces >= PX_PIECES ||
                         atomic_load(&n->px->buffered) + more > n->px->buffer_max);
}

int px_write_node(struct px_node *n, uint64_t off, const void *p, size_t len)
{
    if (off > INT64_MAX - len)
        return err_set(ERR_TOO_LARGE, "a file may have at most %lld bytes", (long long)INT64_MAX);
    if (!len)
        return 0;
    TRY(px_local(n));
    if (full(n, len)) /* before it is taken: a write that fails leaves nothing */
        TRY(px_flush(n));
    px_pieces_put(n, off, p, len);
    if (off + len > n->size)
        n->size = off + len;
    n->md5_good = false;
    px_changed(n);
    return 0;
}

/* ---- the calls ---- */

int fs_px_read(struct fs_px_handle *h, uint64_t off, void *p, size_t n, size_t *ret_n)
{
    PX_ENTER(h->px);
    px_gate_read(&h->node->gate);
    int r = px_read_node(h->node, off, p, n, ret_n);
    px_gate_read_end(&h->node->gate);
    return r;
}

static bool writable(const struct fs_px_handle *h)
{
    return (h->flags & O_ACCMODE) != O_RDONLY;
}

static uint32_t set_id_bits(uint32_t mode)
{
    return S_ISUID | (mode & S_IXGRP ? S_ISGID : 0);
}

int fs_px_write(struct fs_px_handle *h, uint64_t off, const void *p, size_t n, bool kill_priv)
{
    struct px_node *x = h->node;
    PX_ENTER(h->px);
    if (!writable(h))
        return err_set(ERR_DENIED, "the file is open for reading only");
    px_gate_write(&x->gate);
    int r = px_write_node(x, h->flags & O_APPEND ? x->size : off, p, n);
    if (r == 0 && kill_priv && x->i.posix)
        x->drop_mode |= set_id_bits(x->i.mode) & x->i.mode;
    px_gate_write_end(&x->gate);
    return r;
}

/* ---- space ---- */

static int room_for(struct px *px, uint64_t n)
{
    struct page_figures f;
    page_figures(px->fs->pages, &f);
    return f.pinned + n > f.pinned_limit
               ? err_set(ERR_NO_SPACE, "%llu bytes do not fit the space for what is not in the under file system",
                         (unsigned long long)n)
               : 0;
}

/* The file has zeros there, and nothing is kept for them. */
static int make_hole(struct px_node *n, uint64_t off, uint64_t len)
{
    struct extent hole;
    if (off >= n->size)
        return 0;
    if (len > n->size - off)
        len = n->size - off;
    px_pieces_cut(n, off, len);
    hole = (struct extent){.len = len};
    px_rows_put(n, off, len, &hole, 1);
    n->md5_good = false;
    px_changed(n);
    return 0;
}

static int allocate(struct px_node *n, int mode, uint64_t off, uint64_t len)
{
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    if (!(mode & FALLOC_FL_PUNCH_HOLE))
        TRY(room_for(n->px, len));
    TRY(px_local(n));
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        TRY(make_hole(n, off, len));
    if (!keep && off + len > n->size)
        return px_truncate(n, off + len);
    return 0;
}

int fs_px_fallocate(struct fs_px_handle *h, int mode, uint64_t off, uint64_t n)
{
    static const int known[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    bool ok = false;
    PX_ENTER(h->px);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        ok |= known[i] == mode;
    if (!ok)
        return err_set(ERR_NOT_SUPPORTED, "this mode of fallocate is not supported");
    if (!n || off > INT64_MAX - n)
        return err_set(n ? ERR_TOO_LARGE : ERR_INVALID, "the range is empty or too large");
    if (!writable(h))
        return err_set(ERR_DENIED, "the file is open for reading only");
    px_gate_write(&h->node->gate);
    int r = allocate(h->node, mode, off, n);
    px_gate_write_end(&h->node->gate);
    return r;
}

/* ---- holes ---- */

static int seek_rows(struct px_node *n, uint64_t off, int whence, uint64_t *ret)
{
    for (size_t r = px_row_find(n, off); r < n->rows; r++) {
        uint64_t at = n->row[r].off;
        for (size_t i = 0; i < n->row[r].n; i++) {
            const struct extent *e = &n->row[r].e[i];
            bool data = e->blob != 0;
            if (at + e->len > off && data == (whence == SEEK_DATA)) {
                *ret = at > off ? at : off;
                return 0;
            }
            at += e->len;
        }
    }
    return whence == SEEK_DATA ? ERR_NOT_FOUND : 0;
}

static int seek(struct px_node *n, uint64_t off, int whence, uint64_t *ret)
{
    if (off >= n->size)
        return err_set(ERR_NO_DATA, "there is nothing behind the end of the file");
    *ret = n->size;
    if (!n->local && !n->i.holes) {
        *ret = whence == SEEK_DATA ? off : n->size;
        return 0;
    }
    TRY(px_local(n));
    TRY(px_flush(n));
    px_rows_cover(n, n->size);
    int r = seek_rows(n, off, whence, ret);
    return r == ERR_NOT_FOUND ? err_set(ERR_NO_DATA, "only holes are behind this offset") : r;
}

int fs_px_lseek(struct fs_px_handle *h, uint64_t off, int whence, uint64_t *ret)
{
    PX_ENTER(h->px);
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return err_set(ERR_INVALID, "only SEEK_DATA and SEEK_HOLE are asked here");
    uint64_t at = 0;
    px_gate_write(&h->node->gate);
    int r = seek(h->node, off, whence, &at);
    px_gate_write_end(&h->node->gate);
    if (r == 0)
        *ret = at;
    return r;
}
