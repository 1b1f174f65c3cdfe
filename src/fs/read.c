/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading: a file is one published content, held until it is closed.
 */
#include "fs/fs_in.h"

enum { CHANGE_WAIT_MS = 2000 }; /* a write-through makes its object visible and says so */

struct fs_file {
    struct fs *fs;
    struct fs_attr attr;
    struct buf pairs;
    bool held, fill;
    uint64_t mount; /* a folder object that has a content: it is read from there, whatever is asked of it */
    char *key, *ver;
    unsigned parts;
};

/* Is the beginning here? Else the UFS will be asked for bytes, so it may as well be asked first whether they still are
 * those of this version. */
static bool cached_start(struct fs *fs, const struct content *c, const struct extent *e, size_t n)
{
    if (!c->size || !n || !e->blob)
        return true;
    uint64_t want = e->len < 65536 ? e->len : 65536;
    return page_has(fs->pages, e->blob, e->blob_off, want);
}

/* 0; ERR_STALE: look the name up again. */
static int hold(struct fs *fs, struct meta_found *f, struct fs_file *file, bool *ret_cold)
{
    struct content c;
    struct extent e;
    struct buf strings AUTO_BUF = {0};
    size_t n;
    uint64_t first;
    *ret_cold = false;
    if (!f->i.content)
        return 0;
    TRY(meta_hold(fs->meta, f->i.content));
    int r = meta_extents(fs->meta, f->i.content, 0, &c, &strings, &e, 1, &n, &first);
    if (r == 0 && c.version != f->i.version)
        r = err_set(ERR_STALE, "the file was changed in place");
    if (r < 0) {
        meta_unhold(fs->meta, f->i.content);
        return r;
    }
    file->held = true;
    file->parts = c.parts;
    *ret_cold = !cached_start(fs, &c, &e, n);
    return 0;
}

static bool should_ask(const struct meta_found *f)
{
    return f->i.loc == LOC_HOME && !f->claimed && clock_wall_ms() > f->i.checked_ms + 1000;
}

/* ERR_STALE: look again, freshly. ERR_BUSY: its bytes are not here and somebody changes its object just now; patient:
 * try again when that is done. */
static int open_once(struct fs *fs, struct fs_at at, unsigned flags, bool fresh, bool patient, struct meta_found *f,
                     struct fs_file *file)
{
    bool cold;
    if (fresh)
        TRY(data_lookup(fs->data, at.dir, at.path, (flags & FS_POSIX ? DATA_POSIX : 0) | DATA_FRESH, f));
    TRY(fs_find(fs, at, flags, f));
    if (f->i.type == REC_DIR && !(f->i.explicit_dir && fs_is_dir_path(at.path)))
        return flags & FS_POSIX ? ERR_IS_DIR : err_set(ERR_NOT_FOUND, "the path does not exist");
    TRY(hold(fs, f, file, &cold));
    bool changing = cold && patient && f->claimed;
    if (!changing && (!cold || fresh || !should_ask(f)))
        return 0;
    meta_unhold(fs->meta, f->i.content);
    file->held = false;
    return changing ? ERR_BUSY : ERR_STALE;
}

int fs_open(struct fs *fs, struct fs_at at, unsigned flags, struct fs_file **ret)
{
    struct meta_found f = {0};
    struct fs_file *file = calloc(1, sizeof *file);
    enum meta_policy policy = META_WRITE_THROUGH;
    int r = fs_policy(fs, at, &policy);
    file->fs = fs;
    file->fill = policy != META_NO_CACHE;
    TRACE("fs.open", at.dir, at.path.n);
    uint64_t until = clock_mono_ms() + CHANGE_WAIT_MS;
    for (int i = 0; r == 0;) {
        r = open_once(fs, at, flags, i > 0, clock_mono_ms() < until, &f, file);
        if (r == ERR_BUSY)
            clock_sleep_ms(2);
        else if (r != ERR_STALE || i++ == 8)
            break;
        r = 0;
    }
    if (r == 0) {
        fs_fill_attr(&f, &file->attr);
        if (f.i.type == REC_DIR && f.i.size && f.i.loc == LOC_HOME) {
            file->mount = f.i.mount;
            file->key = str_dup(str_of(f.ident));
            file->ver = str_dup(str_of(f.i.ver));
        }
        buf_str_add(&file->pairs, buf_str(&f.pairs));
        *ret = file;
    } else {
        fs_close(file);
    }
    meta_found_done(&f);
    return r;
}

const struct fs_attr *fs_file_attr(const struct fs_file *f)
{
    return &f->attr;
}

void fs_file_meta(const struct fs_file *f, fs_meta_fn *meta, void *arg)
{
    struct cur c = cur_of(buf_str(&f->pairs));
    struct str n, v;
    while (pairs_next(&c, &n, &v))
        meta(arg, n, v);
}

unsigned fs_file_parts(const struct fs_file *f)
{
    return f->parts;
}

struct part_find {
    unsigned want, index, last;
    uint64_t off, n;
};

static int find_part(void *arg, const struct extent *e)
{
    struct part_find *p = arg;
    if (e->part != p->last || !p->index) {
        p->index++;
        p->last = e->part;
    }
    if (p->index < p->want)
        p->off += e->len;
    else if (p->index == p->want)
        p->n += e->len;
    return p->index > p->want;
}

int fs_file_part(struct fs_file *f, unsigned part, uint64_t *ret_off, uint64_t *ret_n)
{
    struct part_find p = {.want = part};
    if (part < 1 || part > (f->parts ? f->parts : 1))
        return err_set(ERR_RANGE, "the object has %u parts", f->parts ? f->parts : 1);
    if (!f->parts) {
        *ret_off = 0;
        *ret_n = f->attr.size;
        return 0;
    }
    int r = meta_blobs(f->fs->meta, f->attr.content, false, find_part, &p);
    if (r < 0)
        return r;
    *ret_off = p.off;
    *ret_n = p.n;
    return 0;
}

static int read_folder(struct fs_file *f, uint64_t off, uint64_t n, const struct fs_sink *sink)
{
    struct ufs *u;
    if (n > f->attr.size - off)
        n = f->attr.size - off;
    struct meta_mount *mt = meta_mount_get(f->fs->meta, f->mount);
    int r = mt ? meta_mount_ufs(f->fs->meta, mt, &u) : err_set(ERR_STALE, "the mount was removed");
    if (r == 0)
        r = ufs_read(u, str_of(f->key), off, n, f->ver, sink->bytes, sink->arg);
    meta_mount_put(f->fs->meta, mt);
    return r == ERR_PRECONDITION || r == ERR_NOT_FOUND
               ? err_set(ERR_STALE, "the object changed in the under file system")
               : r;
}

int fs_read(struct fs_file *f, uint64_t off, uint64_t n, const struct fs_sink *sink)
{
    struct data_sink s = {sink->range, sink->bytes, sink->arg};
    if (f->key && off < f->attr.size)
        return read_folder(f, off, n, sink);
    if (!f->held || off >= f->attr.size)
        return 0;
    return data_read(f->fs->data, f->attr.content, off, n, &s, f->fill, false);
}

struct fs_file *fs_close(struct fs_file *f)
{
    if (!f)
        return NULL;
    if (f->held)
        meta_unhold(f->fs->meta, f->attr.content);
    free(f->key);
    free(f->ver);
    buf_done(&f->pairs);
    free(f);
    return NULL;
}
