/* SPDX-License-Identifier: Apache-2.0
 *
 * After a start: files without a name are nobody's; contents that were published lazily and not confirmed are looked
 * at, for a power loss may have kept their records and not their bytes. What is not whole is again what it was before.
 */
#include "fs/px_in.h"
#include "base/log.h"

struct recover {
    struct fs *fs;
    uint64_t content;    /* being looked at */
    struct buf all, bad; /* contents */
};

static int check_pages(struct recover *r, const struct extent *e)
{
    char part[65536];
    for (uint64_t at = 0; at < e->len;) {
        size_t n = e->len - at < sizeof part ? (size_t)(e->len - at) : sizeof part;
        TRY(page_read(r->fs->pages, e->blob, e->blob_off + at, part, n, true));
        at += n;
    }
    return 0;
}

/* Are these bytes in the origin's object? Not when they were written for it after that, or for what took its place. */
static bool origin_names(struct recover *r, const struct extent *e)
{
    struct content c;
    struct buf strings AUTO_BUF = {0};
    struct extent x;
    size_t n = 0;
    uint64_t at;
    int rc = meta_extents(r->fs->meta, e->origin, e->origin_off, &c, &strings, &x, 1, &n, &at);
    return rc == 0 && n && x.blob == e->blob;
}

/* Copied by reference from what is in the UFS: its pages may be evicted. */
static int check_extent(void *arg, const struct extent *e)
{
    struct recover *r = arg;
    struct meta_backing b;
    int rc = e->blob ? check_pages(r, e) : 0;
    if ((rc == ERR_NOT_CACHED || rc == ERR_CORRUPT) && e->origin != r->content && origin_names(r, e) &&
        meta_backing(r->fs->meta, e->origin, &b) == 0)
        return 0;
    return rc;
}

static int note(void *arg, const struct meta_lazy *l)
{
    struct recover *r = arg;
    buf_varint(&r->all, l->content);
    buf_varint(&r->all, l->ino);
    buf_u8(&r->all, l->shown);
    return 0;
}

static int look_at(struct recover *r, uint64_t content, uint64_t ino, bool *ret_good)
{
    r->content = content;
    int rc = meta_blobs(r->fs->meta, content, false, check_extent, r);
    *ret_good = rc == 0 || rc == ERR_STALE;
    if (*ret_good)
        return 0;
    if (rc != ERR_NOT_CACHED && rc != ERR_CORRUPT)
        return rc;
    log_warn("px.revert",
             "ino=%llu error=\"%s\" meaning=\"a file that was closed and not synced lost bytes to a power loss\" "
             "action=\"it has the content "
             "it had before\"",
             (unsigned long long)ino, err_detail(rc));
    return meta_lazy_revert(r->fs->meta, content);
}

static bool all_disks(struct fs *fs)
{
    struct page_figures f;
    page_figures(fs->pages, &f);
    return f.dirs_failed == 0;
}

static int one_round(struct recover *r, bool *ret_again)
{
    uint64_t *good AUTO_FREE = NULL;
    size_t n = 0;
    buf_reset(&r->all);
    *ret_again = false;
    TRY(meta_lazy_each(r->fs->meta, note, r));
    struct cur c = cur_of(buf_str(&r->all));
    while (c.p < c.end) {
        uint64_t content = cur_varint(&c), ino = cur_varint(&c);
        bool shown = cur_u8(&c), ok = true;
        if (shown)
            TRY(look_at(r, content, ino, &ok));
        *ret_again |= !ok;
        if (ok && shown) {
            good = mem_grow(good, n + 1, sizeof *good);
            good[n++] = content;
        }
    }
    return meta_lazy_confirm(r->fs->meta, good, n);
}

/* Those that are not shown any more: what replaced them is whole. */
static int forget_rest(struct recover *r)
{
    uint64_t *rest AUTO_FREE = NULL;
    size_t n = 0;
    buf_reset(&r->all);
    TRY(meta_lazy_each(r->fs->meta, note, r));
    struct cur c = cur_of(buf_str(&r->all));
    while (c.p < c.end) {
        rest = mem_grow(rest, n + 1, sizeof *rest);
        rest[n++] = cur_varint(&c);
        cur_varint(&c);
        cur_u8(&c);
    }
    return meta_lazy_confirm(r->fs->meta, rest, n);
}

int px_recover(struct fs *fs)
{
    struct recover r = {.fs = fs};
    bool again = all_disks(fs);
    int rc = 0;
    while (rc == 0 && again) /* what a bad one gives way to may be one of them itself */
        rc = one_round(&r, &again);
    if (rc == 0 && all_disks(fs)) /* else a disk may come back with what is missing: the rows stay */
        rc = forget_rest(&r);
    if (rc == 0)
        rc = meta_file_forget_all(fs->meta);
    buf_done(&r.all);
    buf_done(&r.bad);
    return rc;
}
