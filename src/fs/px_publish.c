/* SPDX-License-Identifier: Apache-2.0
 *
 * From memory to the page store (flush) and from there to everybody (publish).
 *
 * What was never durable may be shown lazily: a power loss that takes its pages is noticed at the next start, and the
 * file is what it was before. What changes durable bytes in place has no before to go back to: its pages and the commit
 * are synced, in this order.
 */
#include "fs/px_in.h"

void px_changed(struct px_node *n)
{
    px_by(n);
    if (!n->dirty)
        n->since_ms = clock_mono_ms();
    n->dirty = true;
    n->mtime_ns = clock_wall_ns();
    atomic_store(&n->changed_ms, clock_mono_ms());
}

/* ---- local ---- */

static int is_here(struct px_node *n, struct map *asked, uint64_t blob, bool *ret)
{
    const struct px_blob *b = map_get(n->blobs, map_key64(&blob));
    if (b->shared) { /* not what the object of this file has: it is copied after all */
        *ret = false;
        return 0;
    }
    uintptr_t known = (uintptr_t)map_get(asked, map_key64(&blob));
    if (!known) {
        int r = page_pin(n->px->fs->pages, blob, b->bytes, true);
        if (r < 0 && r != ERR_NOT_CACHED)
            return r;
        known = r == 0 ? 1 : 2;
        map_put(asked, map_key64(&blob), (void *)known);
    }
    *ret = known == 1;
    return 0;
}

/* What is not here is read where it lies in the UFS and written anew, as if a program had. */
static int rewrite_missing(struct px_node *n, struct map *asked)
{
    enum { STEP = 1 << 20 };
    char *p AUTO_FREE = mem_alloc(STEP);
    struct extent e;
    for (uint64_t off = 0, at; off < n->end;) {
        px_extent_at(n, off, &e, &at);
        bool here = true;
        if (e.blob)
            TRY(is_here(n, asked, e.blob, &here));
        if (here) {
            off = at + e.len;
            continue;
        }
        size_t k = at + e.len - off < STEP ? (size_t)(at + e.len - off) : STEP;
        TRY(px_read_piece(n, &e, at, off, p, k));
        px_pieces_put(n, off, p, k);
        n->rewritten = true;
        off += k;
        if (n->buffered >= PX_FLUSH || n->pieces >= PX_PIECES)
            TRY(px_flush(n));
    }
    return px_flush(n);
}

/* Every byte is here and pinned; durable when the publish that needs it so has synced (change_once). */
static int bring(struct px_node *n)
{
    TRY(px_flush(n));
    struct map *asked = map_new();
    int r = rewrite_missing(n, asked);
    map_free(asked);
    return r;
}

/* Blobs that were written into a list of extents that is not going to be stored. Only where no extent of it was shared
 * by copy_file_range: those are others' too. */
static void drop_rewritten(struct px_node *n)
{
    for (size_t i = 0; i < n->unshown_n; i++) {
        const struct px_blob *b = map_get(n->blobs, map_key64(&n->unshown[i]));
        if (b && !b->shown)
            px_drop_later(n->px, &(struct px_dead){n->unshown[i], b->bytes, false}, 1);
    }
}

int px_local(struct px_node *n)
{
    if (n->local)
        return 0;
    int r = px_rows_load(n);
    n->local = r == 0;
    n->size = n->i.size;
    if (r == 0)
        r = bring(n);
    if (r < 0) {
        px_pieces_free(n);
        drop_rewritten(n);
        px_rows_free(n);
        n->local = false;
    }
    return r;
}

/* ---- flush ---- */

uint64_t px_origin(const struct px_node *n)
{
    return n->i.content && !n->replaced ? n->i.content : n->fresh;
}

int px_mint_fresh(struct px_node *n)
{
    return n->fresh ? 0 : meta_mint(n->px->fs->meta, 1, &n->fresh);
}

/* The whole file in one piece: its MD5 is its ETag, as if it had been put. */
static void take_md5(struct px_node *n)
{
    n->md5_good = n->end == 0 && n->pieces == 1 && n->piece[0].off == 0 && n->piece[0].n == n->size &&
                  n->size <= PX_MD5_MAX && (!n->i.content || n->replaced);
    if (!n->md5_good)
        return;
    unsigned char sum[32];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, n->piece[0].p, n->piece[0].n);
    digest_end(d, sum);
    str_hex(sum, 16, n->md5);
}

static int write_blob(struct px_node *n, uint64_t blob)
{
    struct page_writer *w;
    TRY(page_write_begin(n->px->fs->pages, blob, px_origin(n), PAGE_PINNED, n->buffered,
                         clock_mono_ns() + PX_SPACE_WAIT_MS * 1000000ull, &w));
    for (size_t i = 0; i < n->pieces; i++) {
        int r = page_append(w, n->piece[i].p, n->piece[i].n);
        if (r < 0) {
            page_abort(w);
            return r;
        }
    }
    return page_seal_lazy(w);
}

int px_flush(struct px_node *n)
{
    uint64_t blob, at = 0;
    if (!n->pieces)
        return 0;
    TRY(px_mint_fresh(n));
    TRY(meta_mint(n->px->fs->meta, 1, &blob));
    TRACE("px.flush", n->ino, n->buffered);
    take_md5(n);
    TRY(write_blob(n, blob));
    for (size_t i = 0; i < n->pieces; i++) {
        const struct px_piece *p = &n->piece[i];
        struct extent e = {.len = p->n, .blob = blob, .blob_off = at, .origin = px_origin(n), .origin_off = p->off};
        px_rows_put(n, p->off, p->n, &e, 1);
        at += p->n;
    }
    px_pieces_free(n);
    px_compact(n);
    return FAULT(PX_FLUSHED);
}

/* ---- size ---- */

int px_truncate(struct px_node *n, uint64_t size)
{
    if (size == 0 && !n->local) { /* nothing of the content is needed any more */
        n->blobs = map_new();
        n->local = true;
        n->size = n->i.size;
        n->replaced = n->i.content != 0;
    }
    TRY(px_local(n));
    if (size < n->size) {
        px_pieces_cut(n, size, UINT64_MAX - size);
        px_rows_cut(n, size);
    }
    if (size == 0 && n->i.content)
        n->replaced = true;
    n->md5_good = false;
    n->size = size;
    px_changed(n);
    return 0;
}

/* ---- publish ---- */

void px_release_dead(struct px_node *n, bool in_place)
{
    size_t k = 0;
    for (size_t i = 0; i < n->dead_n; i++)
        if (in_place || !n->dead[i].shown)
            n->dead[k++] = n->dead[i];
    px_drop_later(n->px, n->dead, k);
    free(n->dead);
    n->dead = NULL;
    n->dead_n = 0;
}

static void rows_stored(struct px_node *n, const struct meta_change *c)
{
    for (size_t i = 0; i < n->rows; i++) {
        n->row[i].write = false;
        n->row[i].stored = c->extents > REC_INLINE;
    }
    free(n->gone);
    n->gone = NULL;
    n->gone_n = 0;
    px_blobs_shown(n);
    px_rows_shared(n);
    px_release_dead(n, c->in_place);
}

/* Does an extent name bytes of a third content? */
static bool has_foreign(const struct px_node *n, uint64_t old, uint64_t now)
{
    for (size_t i = 0; i < n->rows; i++)
        for (size_t k = 0; k < n->row[i].n; k++) {
            const struct extent *e = &n->row[i].e[k];
            if (e->blob && e->origin != old && e->origin != now)
                return true;
        }
    return false;
}

static void published(struct px_node *n, const struct meta_change *c)
{
    struct px *px = n->px;
    bool reload = !c->in_place && has_foreign(n, n->i.content, c->now_content);
    rows_stored(n, c);
    atomic_store(&n->untidy, c->extents > REC_INLINE);
    n->tries = 0;
    if (!c->in_place) {
        uint64_t old = n->held ? n->i.content : 0;
        n->held = meta_hold(px->fs->meta, c->now_content) == 0;
        if (old)
            meta_unhold(px->fs->meta, old);
        n->lazy_row = c->lazy;
        n->fresh = 0;
        if (c->lazy)
            px_confirm_later(px, c->now_content);
    } else if (!c->lazy) {
        n->lazy_row = false;
    }
    n->i = c->found->i;
    n->i.name = n->i.key = STR("");
    n->dirty = n->replaced = n->rewritten = false;
    n->drop_mode = 0;
    if (reload) { /* what is stored may name the old content where we have a third one (meta/change.c, rebased) */
        px_rows_free(n);
        n->local = false;
    }
    struct fs_px *by = (struct fs_px *)meta_acting();
    if (by)
        px_note_seen(by, &n->i, true, NULL, NULL);
}

/* Many or few: rows that were stored are not when all fit the content's own record. */
static void rows_inline(struct px_node *n)
{
    for (size_t i = 0; i < n->rows; i++)
        if (n->row[i].stored) {
            n->gone = mem_grow(n->gone, n->gone_n + 1, sizeof *n->gone);
            n->gone[n->gone_n++] = n->row[i].off;
            n->row[i].stored = false;
        }
}

static void to_rows(struct px_node *n, struct meta_change *c)
{
    c->extents = px_rows_extents(n);
    if (c->extents <= REC_INLINE)
        rows_inline(n);
    c->row = mem_alloc((n->rows ? n->rows : 1) * sizeof *c->row);
    for (size_t i = 0; i < n->rows; i++)
        c->row[i] = (struct meta_row){n->row[i].off, n->row[i].e, n->row[i].n, n->row[i].write || !n->row[i].stored};
    c->rows = n->rows;
    c->gone = n->gone;
    c->gone_n = n->gone_n;
}

static int change_once(struct px_node *n, struct meta_change *c, bool sync)
{
    struct fs *fs = n->px->fs;
    c->lazy = !sync && (!n->i.content || n->lazy_row || (n->replaced && n->i.loc == LOC_NONE));
    if (!c->lazy)
        TRY(page_sync(fs->pages));
    int r = meta_change(fs->meta, c);
    if (r != ERR_BUSY || !c->lazy)
        return r;
    c->lazy = false; /* it has become durable meanwhile */
    TRY(page_sync(fs->pages));
    return meta_change(fs->meta, c);
}

/* Somebody else's version came between (seen in the UFS, or another mount's): ours is whole, and wins. */
static int overrule(struct px_node *n, struct meta_change *c)
{
    struct meta_stat s;
    int r = meta_stat(n->px->fs->meta, n->ino, &s);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the file was removed");
    TRY(r);
    c->overrule = true;
    memcpy(n->base, n->i.ver, sizeof n->base);
    bool other = strcmp(s.i.etag, n->i.etag); /* else the same bytes, of another of its names: its first one went */
    c->base_ver = other && n->base[0] ? n->base : NULL;
    c->replace = false;
    return 0;
}

static int change(struct px_node *n, struct meta_change *c, bool sync)
{
    int r = change_once(n, c, sync);
    for (int i = 0; i < 3 && r == ERR_STALE; i++) {
        TRY(overrule(n, c));
        r = change_once(n, c, true);
    }
    return r;
}

static int publish_once(struct px_node *n, bool sync, struct meta_change *c)
{
    struct px *px = n->px;
    TRY(px_mint_fresh(n));
    px_rows_cover(n, n->size);
    c->ino = n->ino;
    c->content = n->i.content;
    c->version = n->i.version;
    c->own = n->held ? 1 : 0;
    c->replace = n->replaced;
    c->fresh = n->fresh;
    c->size = n->size;
    c->holes = n->holes;
    c->mtime_ns = n->mtime_ns;
    c->drop_mode = n->drop_mode;
    c->etag = n->size == 0 ? "d41d8cd98f00b204e9800998ecf8427e" : n->md5_good ? n->md5 : NULL;
    c->quiet_ms = px_through(n->policy) ? 0 : px->quiet_ms;
    c->max_age_ms = px_through(n->policy) ? 0 : px->max_age_ms;
    to_rows(n, c);
    int r = change(n, c, sync);
    free(c->row);
    return r;
}

int px_publish(struct px_node *n, bool sync)
{
    struct meta_found found = {0};
    enum meta_policy policy;
    if (!n->dirty)
        return 0;
    TRY(px_node_policy(n, &policy));
    TRY(px_local(n));
    TRY(px_flush(n));
    px_compact(n);
    struct meta_change c = {.fate = px_fate(policy), .found = &found};
    int r = publish_once(n, sync, &c);
    if (r == ERR_DIRTY) { /* it was persisted: what is unpinned, or evicted, is brought back first */
        c.shared = meta_held(n->px->fs->meta, n->i.content, NULL) > c.own;
        r = bring(n);
        c.brought = true;
        if (r == 0)
            r = publish_once(n, true, &c);
    }
    if (r == 0)
        published(n, &c);
    meta_found_done(&found);
    return r;
}

int px_show_compacted(struct px_node *n)
{
    struct fs *fs = n->px->fs;
    struct meta_change c = {.ino = n->ino, .content = n->i.content, .version = n->i.version, .own = 1};
    to_rows(n, &c);
    int r = page_sync(fs->pages);
    if (r == 0)
        r = meta_compact(fs->meta, &c);
    free(c.row);
    if (r == 0) {
        rows_stored(n, &c);
        return 0;
    }
    if (r == ERR_BUSY || r == ERR_STALE) /* refused; else the commit may have happened, and the walk decides */
        drop_rewritten(n);
    px_rows_free(n); /* whatever the stored rows say is right */
    n->local = false;
    return r;
}

int px_unpack(struct px_node *n)
{
    if (n->dirty || n->i.loc == LOC_NONE || !n->i.version || !n->i.content)
        return 0;
    TRY(px_local(n));
    if (!n->rewritten) /* all of it is here, and pinned now */
        return 0;
    px_changed(n);
    n->mtime_ns = 0; /* nobody wrote */
    return px_publish(n, false);
}
