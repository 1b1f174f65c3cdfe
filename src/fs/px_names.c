/* SPDX-License-Identifier: Apache-2.0
 *
 * Names as POSIX means them: looked up, made, removed, renamed; the parent is an inode, the name one component.
 */
#include "fs/px_in.h"

#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"

int px_name_ok(struct str name)
{
    if (name.n > PX_NAME_MAX)
        return err_set(ERR_NAME_TOO_LONG, "a name has at most %d bytes", PX_NAME_MAX);
    if (!name.n || str_eq(name, STR(".")) || str_eq(name, STR("..")) || memchr(name.p, '/', name.n))
        return err_set(ERR_INVALID, "this name is not one to make");
    return str_utf8(name) ? 0 : err_set(ERR_BAD_NAME, "the name is not valid UTF-8");
}

static struct fs_at at(uint64_t parent, struct str name)
{
    return (struct fs_at){parent, name};
}

/* A directory above was removed, or it is none. */
static int no_parent(int r)
{
    return r == ERR_STALE ? err_set(ERR_NOT_FOUND, "the directory was removed") : r;
}

int fs_px_resolve(struct fs_px *px, struct str path, uint64_t *ret_ino)
{
    struct meta_found f = {0};
    PX_ENTER(px);
    struct fs_at a = fs_path(path);
    while (a.path.n && a.path.p[a.path.n - 1] == '/')
        a.path.n--;
    int r = a.path.n ? fs_find(px->fs, a, FS_POSIX, &f) : 0;
    if (r == 0)
        *ret_ino = a.path.n ? f.i.ino : FS_ROOT;
    meta_found_done(&f);
    return r;
}

static int found_stat(struct fs_px *px, const struct meta_stat *s, struct fs_px_stat *ret)
{
    if (s->i.link_of)
        return px_stat_ino(px, s->i.link_of, ret);
    struct px_node *n = s->i.type == REC_FILE ? px_node_find(px->e, s->i.ino) : NULL;
    if (n) {
        px_node_put(n);
        return px_stat_ino(px, s->i.ino, ret);
    }
    px_fill(px, s, ret);
    return 0;
}

/* What the record says needs no look at the UFS: not clean, or clean and seen there lately. */
static bool is_fresh(struct fs_px *px, const struct inode *i)
{
    uint64_t sync = meta_sync_ms(px->fs->meta);
    if (i->type == REC_DIR || i->dirty || i->transient || i->loc != LOC_HOME)
        return true;
    return !i->no_pairs && i->checked_ms && (sync == UINT64_MAX || clock_wall_ms() < i->checked_ms + sync);
}

/* From the namespace alone, without the way to the directory: 1, or 0 when the long way must be gone. */
static int near(struct fs_px *px, uint64_t parent, struct str name, struct meta_stat *ret)
{
    struct buf path AUTO_BUF = {0};
    uint64_t mount;
    bool absent;
    TRY(px_path(px->e, parent, &path, &mount));
    buf_str_add(&path, name);
    if (meta_rule(px->fs->meta, buf_str(&path)).policy == META_NO_CACHE)
        return 0;
    int r = meta_child(px->fs->meta, parent, name, ret, &absent);
    if (r == ERR_NOT_FOUND)
        return absent ? err_set(ERR_NOT_FOUND, "the name does not exist") : 0;
    TRY(r);
    return is_fresh(px, &ret->i);
}

static int look_up(struct fs_px *px, uint64_t parent, struct str name, struct meta_stat *ret)
{
    struct meta_found f = {0};
    int r = near(px, parent, name, ret);
    if (r)
        return r < 0 ? r : 0;
    r = no_parent(fs_find(px->fs, at(parent, name), FS_POSIX, &f));
    if (r == 0)
        r = f.i.type == REC_DIR ? meta_stat(px->fs->meta, f.i.ino, ret) : 0;
    if (r == 0 && f.i.type != REC_DIR)
        *ret = (struct meta_stat){.i = f.i};
    ret->i.name = ret->i.key = STR("");
    meta_found_done(&f);
    return r == ERR_NO_BUCKET || r == ERR_STALE ? err_set(ERR_NOT_FOUND, "the name does not exist") : r;
}

int fs_px_lookup(struct fs_px *px, uint64_t parent, struct str name, struct fs_px_stat *ret)
{
    struct meta_stat s = {0};
    PX_ENTER(px);
    if (name.n > PX_NAME_MAX)
        return err_set(ERR_NAME_TOO_LONG, "a name has at most %d bytes", PX_NAME_MAX);
    if (px_name_ok(name) < 0)
        return err_set(ERR_NOT_FOUND, "there can be no such name");
    TRY(look_up(px, parent, name, &s));
    return found_stat(px, &s, ret);
}

/* ---- making ---- */

/* May it be made there, and can the UFS hold the key? Whether the name is there is judged by the transaction. */
static int check_place(struct fs_px *px, uint64_t parent, struct str name, enum meta_policy *ret)
{
    struct buf path AUTO_BUF = {0};
    struct ufs *u;
    uint64_t mount;
    TRY(px_name_ok(name));
    if (parent == FS_ROOT)
        return err_set(ERR_DENIED, "top-level directories are made by forebay mount add");
    TRY(px_path(px->e, parent, &path, &mount));
    buf_str_add(&path, name);
    TRY(fs_writable_path(px->fs, buf_str(&path), ret));
    struct str key = buf_str(&path);
    const char *slash = memchr(key.p + 1, '/', key.n - 1);
    key = slash ? str_from(key, (size_t)(slash - key.p) + 1) : STR("");
    if (key.n > META_KEY_MAX)
        return err_set(ERR_NAME_TOO_LONG, "a path has at most %d bytes", META_KEY_MAX);
    struct meta_mount *mt = meta_mount_get(px->fs->meta, mount);
    if (!mt)
        return err_set(ERR_NOT_FOUND, "the mount was removed");
    int r = *ret != META_TRANSIENT && meta_mount_ufs(px->fs->meta, mt, &u) == 0 ? ufs_key_check(u, key) : 0;
    meta_mount_put(px->fs->meta, mt);
    return r;
}

static int published(struct fs_px *px, struct meta_publish *p, enum meta_policy policy, struct fs_px_stat *ret)
{
    struct meta_found f = {0};
    p->found = &f;
    p->flags = META_POSIX;
    p->posix = p->excl = p->lazy = true;
    p->fate = px_fate(policy);
    p->quiet_ms = px_through(policy) ? 0 : px->e->quiet_ms;
    int r = no_parent(meta_publish(px->fs->meta, p));
    if (r == ERR_CONFLICT || r == ERR_KEY_UNSUPPORTED)
        r = r == ERR_CONFLICT ? err_set(ERR_NOT_FOUND, "the directory was removed")
                              : err_set(ERR_EXISTS, "the name exists");
    struct meta_stat s = {.i = f.i};
    if (r == 0)
        r = found_stat(px, &s, ret);
    if (r == 0 && f.i.type == REC_FILE)
        px_note_seen(px, &f.i, true, NULL, NULL);
    meta_found_done(&f);
    return r;
}

int fs_px_mkdir(struct fs_px *px, uint64_t parent, struct str name, uint32_t mode, uint32_t uid, uint32_t gid,
                struct fs_px_stat *ret)
{
    struct buf path AUTO_BUF = {0};
    enum meta_policy policy;
    PX_ENTER(px);
    TRY(check_place(px, parent, name, &policy));
    buf_str_add(&path, name);
    buf_u8(&path, '/');
    struct meta_publish p = {.dir = parent,
                             .path = buf_str(&path),
                             .type = REC_DIR,
                             .mode = mode & 07777,
                             .uid = uid,
                             .gid = gid,
                             .etag = EMPTY_MD5};
    TRY(published(px, &p, policy, ret));
    return px_through(policy) ? fs_wait_persisted(px->fs, ret->ino) : 0;
}

int fs_px_mknod(struct fs_px *px, uint64_t parent, struct str name, enum fs_type type, uint32_t mode, uint32_t rdev,
                uint32_t uid, uint32_t gid, struct fs_px_stat *ret)
{
    enum meta_policy policy;
    PX_ENTER(px);
    if (type == FS_DIR || type == FS_SYMLINK)
        return err_set(ERR_INVALID, "directories and symbolic links are made by calls of their own");
    TRY(check_place(px, parent, name, &policy));
    struct meta_publish p = {.dir = parent,
                             .path = name,
                             .type = (enum rec_type)type,
                             .mode = mode & 07777,
                             .uid = uid,
                             .gid = gid,
                             .rdev = rdev,
                             .etag = EMPTY_MD5};
    TRY(published(px, &p, policy, ret));
    return px_through(policy) && type != FS_FILE ? fs_wait_persisted(px->fs, ret->ino) : 0;
}

/* ---- symbolic links: an object that begins with a line of ours, then the target ---- */

static int write_target(struct fs_px *px, uint64_t content, struct str target, char etag[33])
{
    struct buf text AUTO_BUF = {0};
    struct page_writer *w;
    unsigned char sum[32];
    buf_putz(&text, FS_PX_LINK_MAGIC);
    buf_str_add(&text, target);
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, text.p, text.n);
    digest_end(d, sum);
    str_hex(sum, 16, etag);
    TRY(page_write_begin(px->fs->pages, content + 1, content, PAGE_PINNED, text.n,
                         clock_mono_ns() + PX_SPACE_WAIT_MS * 1000000ull, &w));
    int r = page_append(w, text.p, text.n);
    if (r < 0) {
        page_abort(w);
        return r;
    }
    return page_seal_lazy(w);
}

int fs_px_symlink(struct fs_px *px, uint64_t parent, struct str name, struct str target, uint32_t uid, uint32_t gid,
                  struct fs_px_stat *ret)
{
    enum meta_policy policy;
    char etag[33];
    uint64_t id;
    PX_ENTER(px);
    if (!target.n || target.n > FS_PX_LINK_MAX)
        return err_set(target.n ? ERR_NAME_TOO_LONG : ERR_NOT_FOUND, "a symbolic link's target has 1 to %d bytes",
                       FS_PX_LINK_MAX);
    TRY(check_place(px, parent, name, &policy));
    TRY(meta_mint(px->fs->meta, 2, &id));
    TRY(write_target(px, id, target, etag));
    uint64_t n = sizeof FS_PX_LINK_MAGIC - 1 + target.n;
    struct extent e = {.len = n, .blob = id + 1, .origin = id};
    struct meta_publish p = {.dir = parent,
                             .path = name,
                             .type = REC_SYMLINK,
                             .mode = 0777,
                             .uid = uid,
                             .gid = gid,
                             .etag = etag,
                             .size = n,
                             .content = id,
                             .ext = &e,
                             .n = 1};
    int r = published(px, &p, policy, ret);
    if (r < 0) {
        page_drop(px->fs->pages, id + 1, n);
        return r;
    }
    px_confirm_later(px->e, id);
    return px_through(policy) ? fs_wait_persisted(px->fs, ret->ino) : 0;
}

int fs_px_readlink(struct fs_px *px, uint64_t ino, struct buf *ret)
{
    enum { MAGIC = sizeof FS_PX_LINK_MAGIC - 1 };
    char text[FS_PX_LINK_MAX + MAGIC + 1];
    struct px_node *n;
    size_t got = 0;
    PX_ENTER(px);
    TRY(px_node_get(px->e, ino, &n));
    px_gate_read(&n->gate);
    int r = n->i.type == REC_SYMLINK ? px_read_node(n, 0, text, sizeof text, &got)
                                     : err_set(ERR_INVALID, "this is no symbolic link");
    px_gate_read_end(&n->gate);
    px_node_put(n);
    TRY(r);
    struct str s = str_mk(text, got);
    if (str_starts(s, STR(FS_PX_LINK_MAGIC)))
        s = str_from(s, MAGIC);
    buf_reset(ret);
    buf_str_add(ret, s);
    return 0;
}

static int link_one(struct fs_px *px, struct px_node *x, struct meta_name *n)
{
    struct meta_found f = {0};
    n->found = &f;
    TRY(px_publish(x, false)); /* all its names show what was written until now */
    TRY(px_node_refresh(x));
    int r = x->i.parent ? meta_file_link(px->fs->meta, n) : meta_file_name(px->fs->meta, n);
    if (r == 0)
        r = px_node_refresh(x);
    meta_found_done(&f);
    return r;
}

int fs_px_link(struct fs_px *px, uint64_t ino, uint64_t parent, struct str name, struct fs_px_stat *ret)
{
    struct meta_name n = {.ino = ino, .dir = parent, .name = name};
    struct px_node *x;
    enum meta_policy policy;
    PX_ENTER(px);
    TRY(check_place(px, parent, name, &policy));
    n.fate = px_fate(policy);
    n.quiet_ms = px_through(policy) ? 0 : px->e->quiet_ms;
    TRY(px_node_get(px->e, ino, &x));
    px_gate_write(&x->gate);
    int r = no_parent(link_one(px, x, &n));
    px_gate_write_end(&x->gate);
    px_node_put(x);
    return r < 0 ? r : px_stat_ino(px, ino, ret);
}

/* ---- removing and renaming ---- */

int fs_px_unlink(struct fs_px *px, uint64_t parent, struct str name)
{
    struct meta_stat s = {0};
    enum meta_policy policy;
    PX_ENTER(px);
    if (name.n > PX_NAME_MAX)
        return err_set(ERR_NAME_TOO_LONG, "a name has at most %d bytes", PX_NAME_MAX);
    TRY(px_policy_at(px->e, parent, name, &policy));
    TRY(look_up(px, parent, name, &s));
    if (s.i.type == REC_DIR)
        return err_set(ERR_IS_DIR, "directories are removed by rmdir");
    if (px_through(policy))
        return fs_delete(px->fs, at(parent, name), FS_POSIX, NULL);
    struct meta_delete d = {.dir = parent, .path = name, .flags = META_POSIX, .lazy = true};
    return no_parent(meta_delete(px->fs->meta, &d));
}

int fs_px_rmdir(struct fs_px *px, uint64_t parent, struct str name)
{
    PX_ENTER(px);
    if (name.n > PX_NAME_MAX)
        return err_set(ERR_NAME_TOO_LONG, "a name has at most %d bytes", PX_NAME_MAX);
    return no_parent(fs_rmdir_lazy(px->fs, at(parent, name)));
}

/* A file that was written and never synced replaces one that was: both must not be lost. */
static int settle_first(void *arg, const struct inode *i)
{
    struct fs_px *px = arg;
    struct px_node *n = px_node_find(px->e, i->link_of ? i->link_of : i->ino);
    int r = 0;
    if (n) {
        px_gate_write(&n->gate);
        r = px_publish(n, false);
        px_gate_write_end(&n->gate);
        px_node_put(n);
    }
    if (r == 0 && (n || px_unconfirmed(px->e, i->content)))
        r = meta_sync(px->fs->meta);
    return r;
}

int fs_px_rename(struct fs_px *px, uint64_t parent, struct str name, uint64_t to_parent, struct str to_name,
                 unsigned flags)
{
    PX_ENTER(px);
    TRY(px_name_ok(name));
    TRY(px_name_ok(to_name));
    return no_parent(
        fs_rename_lazy(px->fs, at(parent, name), at(to_parent, to_name), FS_POSIX | flags, settle_first, px));
}
