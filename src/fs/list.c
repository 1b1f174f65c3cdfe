/* SPDX-License-Identifier: Apache-2.0
 *
 * Listing: from the namespace alone where it is complete; else page by page, each page of the UFS's listing loaded
 * first, so that what is given up to that page's end is the merge of both.
 */
#include "fs/fs_in.h"

struct listing {
    struct fs *fs;
    const struct fs_list *l;
    int (*fn)(void *arg, const struct meta_entry *e);
    void *arg;
    struct buf last, pending; /* pending: a directory to load before going on */
    bool has_pending;
    size_t given;
    uint64_t version;
};

static int give(void *arg, const struct meta_entry *e)
{
    struct listing *s = arg;
    if (e->prefix && s->given && str_eq(buf_str(&s->last), e->key)) /* rolled up by the piece before */
        return 0;
    buf_reset(&s->last);
    buf_str_add(&s->last, e->key);
    s->given++;
    return s->fn(s->arg, e);
}

static int note_unloaded(void *arg, struct str path)
{
    struct listing *s = arg;
    buf_reset(&s->pending);
    buf_str_add(&s->pending, path);
    s->has_pending = true;
    return ERR_NOT_CACHED;
}

/* One piece from the namespace, up to bound; directories that lie elsewhere in the UFS are loaded when the walk meets
 * them, and the piece is taken again. */
static int from_namespace(struct listing *s, struct str after, struct str bound, bool *ret_more)
{
    struct meta_list q = {.dir = s->l->dir.dir,
                          .path = s->l->dir.path,
                          .prefix = s->l->prefix,
                          .after = after,
                          .bound = bound,
                          .delimiter = s->l->delimiter,
                          .limit = s->l->limit - s->given,
                          .posix = s->l->flags & FS_POSIX};
    for (int i = 0; i < 1000; i++) {
        uint64_t version;
        s->has_pending = false;
        int r = meta_list(s->fs->meta, &q, give, s, i < 999 ? note_unloaded : NULL, ret_more, &version);
        if (version > s->version)
            s->version = version;
        if (r != ERR_NOT_CACHED || !s->has_pending)
            return r == ERR_NOT_FOUND ? 0 : r;
        struct buf path AUTO_BUF = {0};
        buf_str_add(&path, s->l->dir.path);
        buf_str_add(&path, buf_str(&s->pending));
        r = data_load_dir(s->fs->data, s->l->dir.dir, buf_str(&path), true);
        if (r < 0)
            return r;
        if (meta_sync_ms(s->fs->meta) == 0) { /* never complete: what was loaded just now has to do */
            uint64_t v;
            r = meta_list(s->fs->meta, &q, give, s, NULL, ret_more, &v);
            return r == ERR_NOT_FOUND ? 0 : r;
        }
    }
    return 0;
}

static int merged(struct listing *s, bool *ret_more)
{
    struct buf after AUTO_BUF = {0}, bound AUTO_BUF = {0};
    bool ufs_more = true, more = false;
    buf_str_add(&after, s->l->after);
    while (ufs_more && s->given < s->l->limit && !more) {
        char d = s->l->delimiter == '/' ? '/' : 0;
        TRY(data_load_page(s->fs->data, s->l->dir.dir, s->l->dir.path, s->l->prefix, buf_str(&after), d, &bound,
                           &ufs_more));
        int r = from_namespace(s, buf_str(&after), ufs_more ? buf_str(&bound) : (struct str){0}, &more);
        if (r)
            return r;
        buf_reset(&after);
        buf_str_add(&after, buf_str(&bound));
    }
    *ret_more = more || (ufs_more && s->given >= s->l->limit);
    return 0;
}

/* Where the listed keys lie: complete already? */
static int is_known(struct fs *fs, const struct fs_list *l, bool *ret_known, bool *ret_once)
{
    struct buf path AUTO_BUF = {0};
    struct meta_dir md;
    size_t n = l->prefix.n;
    while (n && l->prefix.p[n - 1] != '/')
        n--;
    buf_str_add(&path, l->dir.path);
    buf_add(&path, l->prefix.p, n);
    TRY(meta_dir(fs->meta, l->dir.dir, buf_str(&path), &md));
    bool one_level = l->delimiter == '/';
    enum meta_policy policy;
    TRY(fs_policy(fs, l->dir, &policy));
    *ret_known = (md.deep_known || (md.known && one_level && md.exists)) && policy != META_NO_CACHE;
    *ret_once = md.once;
    return 0;
}

struct attr_list {
    int (*fn)(void *arg, const struct fs_entry *e);
    void *arg;
};

static int give_attr(void *arg, const struct meta_entry *e)
{
    struct attr_list *a = arg;
    struct fs_attr attr = {0};
    struct fs_entry x = {.key = e->key, .prefix = e->prefix, .attr = &attr};
    if (e->i) {
        struct meta_found f = {.i = *e->i};
        fs_fill_attr(&f, &attr);
    }
    return a->fn(a->arg, &x);
}

int fs_list(struct fs *fs, const struct fs_list *l, int (*fn)(void *arg, const struct fs_entry *e), void *arg,
            bool *ret_more, uint64_t *ret_version)
{
    struct attr_list a = {fn, arg};
    return fs_list_meta(fs, l, give_attr, &a, ret_more, ret_version);
}

int fs_list_meta(struct fs *fs, const struct fs_list *l, int (*fn)(void *arg, const struct meta_entry *e), void *arg,
                 bool *ret_more, uint64_t *ret_version)
{
    struct listing s = {.fs = fs, .l = l, .fn = fn, .arg = arg};
    bool known = true, once = true, more = false;
    TRACE("fs.list", l->dir.dir, l->limit);
    int r = l->dir.path.n || l->dir.dir != FS_ROOT ? is_known(fs, l, &known, &once) : 0;
    if (r == 0 && !l->limit) {
        *ret_more = false;
        return 0;
    }
    if (r == 0 && !known && !(l->flags & FS_NO_LOAD)) {
        r = merged(&s, &more);
        if (r == ERR_UNREACHABLE && once &&
            !s.given) /* what was known last is better than nothing: it is all we ever loaded */
            known = true;
    } else if (r == 0) {
        known = true;
    }
    if (known && (r == 0 || r == ERR_UNREACHABLE))
        r = from_namespace(&s, l->after, (struct str){0}, &more);
    if (r == 0) {
        *ret_more = more;
        if (ret_version)
            *ret_version = s.version;
    }
    buf_done(&s.last);
    buf_done(&s.pending);
    return r;
}
