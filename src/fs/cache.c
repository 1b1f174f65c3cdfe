/* SPDX-License-Identifier: Apache-2.0
 *
 * What is cached of a file or a tree: how much, load it, free it.
 */
#include "fs/fs_in.h"

struct cache_walk {
    struct fs *fs;
    int (*fn)(struct cache_walk *w, uint64_t content);
    uint64_t bytes, files, freed;
    struct buf last;
};

static int visit(void *arg, const struct fs_entry *e)
{
    struct cache_walk *w = arg;
    buf_reset(&w->last);
    buf_str_add(&w->last, e->key);
    if (e->prefix || e->attr->type != FS_FILE || !e->attr->content)
        return 0;
    if (meta_hold(w->fs->meta, e->attr->content) < 0)
        return 0;
    int r = w->fn(w, e->attr->content);
    meta_unhold(w->fs->meta, e->attr->content);
    w->files += r == 0;
    return r == ERR_STALE ? 0 : r;
}

static int walk_tree(struct cache_walk *w, struct fs_at at)
{
    struct buf dir AUTO_BUF = {0}, after AUTO_BUF = {0};
    bool more = true;
    buf_str_add(&dir, at.path);
    if (at.path.n && !fs_is_dir_path(at.path))
        buf_u8(&dir, '/');
    while (more) {
        struct fs_list l = {.dir = {at.dir, buf_str(&dir)}, .after = buf_str(&after), .limit = 1000};
        TRY(fs_list(w->fs, &l, visit, w, &more, NULL));
        buf_reset(&after);
        buf_str_add(&after, buf_str(&w->last));
    }
    return 0;
}

static int run(struct cache_walk *w, struct fs_at at)
{
    struct meta_found f = {0};
    int r = at.path.n ? fs_find(w->fs, at, FS_POSIX, &f) : 0;
    if (r == 0 && at.path.n && f.i.type != REC_DIR) {
        struct fs_attr a;
        fs_fill_attr(&f, &a);
        struct fs_entry e = {.key = at.path, .attr = &a};
        r = visit(w, &e);
    } else if (r == 0 && !at.path.n) {
        r = err_set(ERR_INVALID, "name a bucket or a path below one");
    } else if (r == 0) {
        r = walk_tree(w, at);
    }
    meta_found_done(&f);
    buf_done(&w->last);
    return r;
}

static int evict(struct cache_walk *w, uint64_t content)
{
    uint64_t before = w->bytes;
    int r = data_evict(w->fs->data, content, &w->bytes);
    w->freed += w->bytes > before;
    return r;
}

int fs_free(struct fs *fs, struct fs_at at, uint64_t *ret_bytes, uint64_t *ret_files)
{
    struct cache_walk w = {.fs = fs, .fn = evict};
    TRY(run(&w, at));
    *ret_bytes = w.bytes;
    *ret_files = w.freed;
    return 0;
}

static int swallow(void *arg, const void *p, size_t n)
{
    (void)p;
    *(uint64_t *)arg += n;
    return 0;
}

static int fetch(struct cache_walk *w, uint64_t content)
{
    struct data_sink s = {.bytes = swallow, .arg = &w->bytes};
    return data_read(w->fs->data, content, 0, UINT64_MAX, &s, true, false);
}

int fs_load(struct fs *fs, struct fs_at at, uint64_t *ret_bytes, uint64_t *ret_files)
{
    struct cache_walk w = {.fs = fs, .fn = fetch};
    TRY(run(&w, at));
    *ret_bytes = w.bytes;
    *ret_files = w.files;
    return 0;
}

static int count(struct cache_walk *w, uint64_t content)
{
    uint64_t n = 0;
    int r = data_cached(w->fs->data, content, &n);
    w->bytes += n;
    return r;
}

int fs_cached(struct fs *fs, struct fs_at at, uint64_t *ret_bytes)
{
    struct cache_walk w = {.fs = fs, .fn = count};
    TRY(run(&w, at));
    *ret_bytes = w.bytes;
    return 0;
}
