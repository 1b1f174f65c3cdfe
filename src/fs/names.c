/* SPDX-License-Identifier: Apache-2.0
 *
 * Names: delete, directories, rename. What the UFS knows of a name is loaded first, so that the transaction can judge.
 */
#include "fs/fs_in.h"

enum { BUSY_WAIT_MS = 15000 };

/* The UFS is renaming the directory just now, as a rule for moments. */
static int remove_patiently(struct fs *fs, struct fs_at at, bool tree, bool lazy)
{
    for (uint64_t until = clock_mono_ms() + BUSY_WAIT_MS, wait = 1;; wait = wait < 50 ? wait * 2 : 50) {
        int r = tree ? meta_remove_tree(fs->meta, at.dir, at.path) : meta_rmdir(fs->meta, at.dir, at.path, lazy);
        if (r != ERR_BUSY || clock_mono_ms() > until)
            return r;
        clock_sleep_ms(wait);
    }
}

static int delete_through(struct fs *fs, struct fs_at at, const struct fs_cond *cond, enum meta_policy policy)
{
    struct meta_claim c = {.dir = at.dir, .path = at.path, .cond = fs_cond_of(cond), .kind = CLAIM_DELETE};
    struct ufs *u;
    TRY(fs_claim(fs, &c));
    struct meta_mount *mt = meta_mount_get(fs->meta, c.mount);
    int r = mt ? meta_mount_ufs(fs->meta, mt, &u) : ERR_NO_BUCKET;
    if (r == 0)
        r = data_protect(fs->data, c.content, true); /* copies and readers of what is deleted */
    if (r == 0)
        r = ufs_delete(u, str_of(c.key), NULL);
    if (r == ERR_NOT_FOUND || r == ERR_NOT_EMPTY)
        r = 0;
    if (r == 0)
        r = ufs_sync(u);
    meta_mount_put(fs->meta, mt);
    if (r < 0) {
        char why[300];
        bool unknown = err_info(r)->retry == ERR_RETRY_MAYBE || r == ERR_TIMEOUT || r == ERR_IO;
        snprintf(why, sizeof why, "%s", err_detail(r));
        meta_unclaim(fs->meta, &c, false, unknown ? meta_deadline_ms(fs->meta) : 0);
        return err_set(r, "%s", why);
    }
    if (policy == META_NO_CACHE)
        return meta_unclaim(fs->meta, &c, true, 0);
    struct meta_delete d = {.dir = at.dir, .path = at.path, .nonce = c.nonce};
    r = meta_delete(fs->meta, &d);
    return r == ERR_NOT_FOUND ? meta_unclaim(fs->meta, &c, true, 0) : r;
}

int fs_delete(struct fs *fs, struct fs_at at, unsigned flags, const struct fs_cond *cond)
{
    struct meta_found f = {0};
    struct meta_cond mc = fs_cond_of(cond);
    enum meta_policy policy;
    TRACE("fs.delete", at.dir, at.path.n);
    TRY(fs_writable(fs, at, &policy));
    int r = fs_find(fs, at, 0, &f);
    bool dir = r == 0 && f.i.type == REC_DIR;
    meta_found_done(&f);
    TRY(r);
    if (!dir && (policy == META_WRITE_THROUGH || policy == META_NO_CACHE))
        return delete_through(fs, at, cond, policy);
    struct meta_delete d = {
        .dir = at.dir, .path = at.path, .flags = flags & FS_POSIX ? META_POSIX : 0, .cond = cond ? &mc : NULL};
    return meta_delete(fs->meta, &d);
}

/* Which keys go in the batch: those whose removal is a record only. */
static int sort_key(struct fs *fs, struct fs_at at, bool *ret_batch)
{
    enum meta_policy policy;
    *ret_batch = false;
    TRY(fs_writable(fs, at, &policy));
    if (policy == META_WRITE_THROUGH || policy == META_NO_CACHE) {
        int r = fs_delete(fs, at, 0, NULL);
        return r == ERR_NOT_FOUND ? 0 : r;
    }
    *ret_batch = true;
    return 0;
}

static struct fs_at key_at(struct fs_at dir, struct str key, struct buf *path)
{
    buf_reset(path);
    buf_str_add(path, dir.path);
    buf_str_add(path, key);
    return (struct fs_at){dir.dir, buf_str(path)};
}

/* What the UFS alone can tell about is loaded; then there is nothing to ask any more. */
static int delete_asked(struct fs *fs, struct fs_at dir, const struct str *keys, size_t n, int *codes, const bool *ask)
{
    struct str *again AUTO_FREE = calloc(n, sizeof *again);
    size_t *index AUTO_FREE = calloc(n, sizeof *index), found = 0;
    int *code AUTO_FREE = calloc(n, sizeof *code);
    struct buf path AUTO_BUF = {0};
    struct meta_found f = {0};
    for (size_t i = 0; i < n; i++) {
        if (codes[i] || !ask[i])
            continue;
        struct fs_at at = key_at(dir, keys[i], &path);
        codes[i] = data_lookup(fs->data, at.dir, at.path, 0, &f);
        if (codes[i] == 0 && f.no_bucket)
            codes[i] = ERR_NO_BUCKET;
        if (codes[i] == 0 && f.state == META_FOUND) {
            again[found] = keys[i];
            index[found++] = i;
        }
    }
    meta_found_done(&f);
    int r = found ? meta_delete_many(fs->meta, dir.dir, dir.path, again, found, code, NULL) : 0;
    for (size_t i = 0; i < found; i++)
        codes[index[i]] = code[i];
    return r;
}

int fs_delete_many(struct fs *fs, struct fs_at dir, const struct str *keys, size_t n, int *codes)
{
    struct str *batch AUTO_FREE = calloc(n ? n : 1, sizeof *batch);
    size_t *index AUTO_FREE = calloc(n ? n : 1, sizeof *index);
    int *code AUTO_FREE = calloc(n ? n : 1, sizeof *code);
    bool *ask AUTO_FREE = calloc(n ? n : 1, sizeof *ask);
    struct buf path AUTO_BUF = {0};
    size_t b = 0;
    TRACE("fs.delete_many", dir.dir, n);
    for (size_t i = 0; i < n; i++) {
        bool in;
        codes[i] = sort_key(fs, key_at(dir, keys[i], &path), &in);
        if (in) {
            batch[b] = keys[i];
            index[b++] = i;
        }
    }
    if (!b)
        return 0;
    int r = meta_delete_many(fs->meta, dir.dir, dir.path, batch, b, code, ask);
    if (r == 0)
        r = delete_asked(fs, dir, batch, b, code, ask);
    for (size_t i = 0; i < b; i++)
        codes[index[i]] = r < 0 ? r : code[i];
    return 0;
}

int fs_remove_tree(struct fs *fs, struct fs_at at)
{
    struct meta_found f = {0};
    enum meta_policy policy;
    TRY(fs_writable(fs, at, &policy));
    int r = fs_find(fs, at, FS_POSIX, &f);
    bool dir = r == 0 && f.i.type == REC_DIR;
    meta_found_done(&f);
    TRY(r);
    return dir ? remove_patiently(fs, at, true, false) : fs_delete(fs, at, FS_POSIX, NULL);
}

int fs_mkdir(struct fs *fs, struct fs_at at, uint32_t mode, unsigned flags, struct fs_attr *ret)
{
    struct meta_found f = {0};
    struct buf dir AUTO_BUF = {0};
    enum meta_policy policy;
    buf_str_add(&dir, at.path);
    if (!fs_is_dir_path(at.path))
        buf_u8(&dir, '/');
    struct fs_at d = {at.dir, buf_str(&dir)};
    TRY(fs_writable(fs, d, &policy));
    TRY(fs_check_key(fs, d));
    int r = data_lookup(fs->data, at.dir, at.path, DATA_POSIX, &f);
    if (r == 0 && f.state == META_FOUND && (f.i.type != REC_DIR || (f.i.explicit_dir && !(flags & FS_PARENTS))))
        r = err_set(ERR_EXISTS, "the path exists already");
    if (r == 0)
        r = meta_mkdir(fs->meta, d.dir, d.path, mode ? mode : 0755, flags & FS_PARENTS,
                       policy == META_TRANSIENT ? META_TRANSIENT_FILE : META_DIRTY, STR(""),
                       "d41d8cd98f00b204e9800998ecf8427e", &f);
    if (r == 0 && (policy == META_WRITE_THROUGH || policy == META_NO_CACHE))
        r = fs_wait_persisted(fs, f.i.ino);
    if (r == 0)
        fs_fill_attr(&f, ret);
    meta_found_done(&f);
    return r;
}

/* Empty is what is known to be empty. */
static int load_children(struct fs *fs, struct fs_at at)
{
    struct buf dir AUTO_BUF = {0};
    struct meta_dir md;
    buf_str_add(&dir, at.path);
    if (!fs_is_dir_path(at.path))
        buf_u8(&dir, '/');
    TRY(meta_dir(fs->meta, at.dir, buf_str(&dir), &md));
    return md.exists && !md.known ? data_load_dir(fs->data, at.dir, buf_str(&dir), false) : 0;
}

static int remove_dir(struct fs *fs, struct fs_at at, bool lazy)
{
    struct meta_found f = {0};
    enum meta_policy policy;
    TRY(fs_writable(fs, at, &policy));
    int r = fs_find(fs, at, FS_POSIX, &f);
    if (r == 0 && f.i.type != REC_DIR)
        r = ERR_NOT_DIR;
    if (r == 0)
        r = load_children(fs, at);
    meta_found_done(&f);
    TRY(r);
    return remove_patiently(fs, at, false, lazy);
}

int fs_rmdir(struct fs *fs, struct fs_at at)
{
    return remove_dir(fs, at, false);
}

int fs_rmdir_lazy(struct fs *fs, struct fs_at at)
{
    return remove_dir(fs, at, true);
}

static int check_moved_key(struct fs *fs, struct fs_at to, bool dir)
{
    struct buf path AUTO_BUF = {0};
    buf_str_add(&path, to.path);
    if (dir && !fs_is_dir_path(to.path))
        buf_u8(&path, '/');
    struct fs_at at = {to.dir, buf_str(&path)};
    int r = fs_check_key(fs, at);
    return r;
}

/* The lookup that found nothing there has asked the UFS for a file and for a directory of that name: only the key is
 * left to judge. */
static int check_home(struct fs *fs, const struct meta_found *t)
{
    struct meta_mount *mt = meta_mount_get(fs->meta, t->mount);
    struct ufs *u;
    int r = mt && meta_mount_ufs(fs->meta, mt, &u) == 0 ? ufs_key_check(u, str_of(t->home)) : 0;
    meta_mount_put(fs->meta, mt);
    return r;
}

/* A directory that only the UFS knows is a place to rename to as well. */
static int load_parent(struct fs *fs, struct fs_at to)
{
    struct meta_found f = {0};
    struct str dir = to.path;
    if (fs_is_dir_path(dir))
        dir.n--;
    while (dir.n && dir.p[dir.n - 1] != '/')
        dir.n--;
    if (!dir.n)
        return 0;
    int r = data_lookup(fs->data, to.dir, dir, DATA_POSIX, &f);
    meta_found_done(&f);
    return r;
}

struct renaming {
    bool lazy;
    int (*over)(void *arg, const struct inode *i);
    void *arg;
};

static int rename_at(struct fs *fs, struct fs_at from, struct fs_at to, unsigned flags, const struct renaming *how)
{
    struct meta_found f = {0}, t = {0};
    enum meta_policy pf, pt;
    TRACE("fs.rename", from.path.n, to.path.n);
    TRY(fs_writable(fs, from, &pf));
    TRY(fs_writable(fs, to, &pt));
    if (pf == META_NO_CACHE || pt == META_NO_CACHE)
        return err_set(ERR_CROSS_MOUNT, "paths under NO_CACHE cannot be renamed: copy and delete instead");
    int r = fs_find(fs, from, FS_POSIX, &f);
    if (r == 0)
        r = data_lookup(fs->data, to.dir, to.path, DATA_POSIX, &t);
    if (r == 0 && t.state == META_FOUND && t.i.type == REC_DIR && !(flags & FS_EXCHANGE))
        r = load_children(fs, to);
    if (r == 0 && t.state != META_FOUND)
        r = how->lazy ? 0 : load_parent(fs, to);
    if (r == 0 && t.state != META_FOUND)
        r = how->lazy ? check_home(fs, &t) : check_moved_key(fs, to, f.i.type == REC_DIR);
    if (r == ERR_STALE)
        r = err_set(ERR_NOT_FOUND, "a directory on the way was removed");
    struct meta_rename n = {.dir_from = from.dir,
                            .dir_to = to.dir,
                            .from = from.path,
                            .to = to.path,
                            .noreplace = flags & FS_NOREPLACE,
                            .exchange = flags & FS_EXCHANGE,
                            .to_transient = pt == META_TRANSIENT,
                            .from_transient = pf == META_TRANSIENT,
                            .lazy = how->lazy,
                            .keep_dirs = how->lazy,
                            .posix = flags & FS_POSIX};
    if (r == 0 && how->over && t.state == META_FOUND && f.i.type == REC_FILE)
        r = how->over(how->arg, &f.i);
    for (uint64_t until = clock_mono_ms() + BUSY_WAIT_MS, wait = 1; r == 0; wait = wait < 50 ? wait * 2 : 50) {
        r = meta_rename(fs->meta, &n);
        if (r != ERR_BUSY || clock_mono_ms() > until)
            break;
        clock_sleep_ms(wait); /* somebody writes through to the UFS just now, or a process that died did */
        r = fs_find(fs, from, FS_POSIX, &f);
        if (r == 0)
            r = data_lookup(fs->data, to.dir, to.path, DATA_POSIX, &t);
        n.unchecked = r == 0 && !f.claimed && !f.i.checked_ms;
    }
    meta_found_done(&f);
    meta_found_done(&t);
    return r;
}

int fs_rename(struct fs *fs, struct fs_at from, struct fs_at to, unsigned flags)
{
    struct renaming how = {0};
    return rename_at(fs, from, to, flags, &how);
}

int fs_rename_lazy(struct fs *fs, struct fs_at from, struct fs_at to, unsigned flags,
                   int (*over)(void *arg, const struct inode *i), void *arg)
{
    struct renaming how = {true, over, arg};
    return rename_at(fs, from, to, flags, &how);
}
