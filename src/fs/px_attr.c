/* SPDX-License-Identifier: Apache-2.0
 *
 * Attributes, extended attributes, figures of the whole.
 */
#include "fs/px_in.h"

enum { LINK_MAGIC = sizeof FS_PX_LINK_MAGIC - 1 };

static struct timespec ts_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

static uint64_t ns_of(struct timespec t)
{
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

enum meta_fate px_fate(enum meta_policy p)
{
    return p == META_TRANSIENT ? META_TRANSIENT_FILE : META_DIRTY;
}

int px_policy(struct fs *fs, uint64_t ino, enum meta_policy *ret)
{
    int r = fs_writable(fs, (struct fs_at){ino, STR("")}, ret);
    if (r != ERR_NOT_FOUND)
        return r;
    *ret = META_TRANSIENT;
    return 0;
}

static void fill_dir(const struct meta_stat *s, struct fs_px_stat *ret)
{
    uint64_t ctime = ns_of(ret->ctime);
    ret->nlink = 2 + (uint32_t)s->dirs;
    ret->size = 4096;
    ret->blocks = 8;
    if (s->changed_ns <= ctime)
        return;
    ret->mtime = ret->ctime = ts_of(s->changed_ns);
}

void px_fill(struct fs_px *px, const struct meta_stat *s, struct fs_px_stat *ret)
{
    const struct inode *i = &s->i;
    uint64_t mtime = i->mtime_ms * 1000000 + i->mtime_frac;
    *ret = (struct fs_px_stat){.ino = i->ino,
                               .parent = i->parent,
                               .type = (enum fs_type)i->type,
                               .nlink = i->nlink,
                               .rdev = i->rdev,
                               .size = i->size,
                               .persisted = !i->dirty && !i->transient,
                               .guessed = i->no_pairs};
    ret->mode = i->posix ? i->mode : i->type == REC_DIR ? px->o.dir_mode : px->o.file_mode;
    ret->uid = i->posix ? i->uid : px->o.uid;
    ret->gid = i->posix ? i->gid : px->o.gid;
    ret->mtime = ts_of(mtime);
    ret->atime = ts_of(i->atime_ns ? i->atime_ns : mtime);
    ret->ctime = ts_of(i->ctime_ms * 1000000 + i->ctime_frac);
    ret->blocks = (i->size - i->holes + 4095) / 4096 * 8;
    if (i->type == REC_DIR)
        fill_dir(s, ret);
    else if (i->type == REC_SYMLINK && ret->size >= LINK_MAGIC)
        ret->size -= LINK_MAGIC;
    if (i->type == REC_FILE)
        px_note_seen(px, i, false, NULL, &ret->generation);
}

void px_overlay(struct px_node *n, struct fs_px_stat *ret)
{
    ret->size = n->size;
    ret->mode &= ~n->drop_mode;
    if (!n->dirty)
        return;
    ret->mtime = ret->ctime = ts_of(n->mtime_ns);
    uint64_t data = n->local ? n->end - n->holes : n->i.size;
    ret->blocks = (data + n->buffered + 4095) / 4096 * 8;
}

int px_stat_ino(struct fs_px *px, uint64_t ino, struct fs_px_stat *ret)
{
    struct meta_stat s;
    struct px_node *n = px_node_find(px->e, ino);
    int r = 0;
    if (n)
        px_gate_read(&n->gate);
    r = meta_stat(px->fs->meta, ino, &s);
    if (r == 0) {
        px_fill(px, &s, ret);
        if (n && n->dirty)
            px_overlay(n, ret);
    }
    if (n) {
        px_gate_read_end(&n->gate);
        px_node_put(n);
    }
    return r == ERR_NOT_FOUND ? err_set(ERR_STALE, "the file was removed") : r;
}

int fs_px_getattr(struct fs_px *px, uint64_t ino, struct fs_px_handle *h, struct fs_px_stat *ret)
{
    (void)h;
    PX_ENTER(px);
    return px_stat_ino(px, ino, ret);
}

/* ---- changing ---- */

static int resize(struct fs_px *px, uint64_t ino, struct fs_px_handle *h, uint64_t size)
{
    struct px_node *n;
    enum meta_policy policy;
    if (size > INT64_MAX)
        return err_set(ERR_TOO_LARGE, "a file may have at most %lld bytes", (long long)INT64_MAX);
    TRY(px_policy(px->fs, ino, &policy));
    TRY(px_node_get(px->e, ino, &n));
    px_gate_write(&n->gate);
    int r =
        n->i.type == REC_FILE ? 0 : err_set(n->i.type == REC_DIR ? ERR_IS_DIR : ERR_INVALID, "only files have a size");
    if (r == 0 && (size != n->size || !n->local))
        r = px_truncate(n, size);
    else if (r == 0)
        px_changed(n);
    if (r == 0 && !h)
        r = px_publish(n, false);
    px_gate_write_end(&n->gate);
    int put = px_node_put(n);
    r = r < 0 ? r : put;
    return r == 0 && !h && px_through(policy) ? fs_wait_persisted(px->fs, ino) : r;
}

static void fill_request(struct fs_px *px, const struct fs_px_stat *to, unsigned set, struct meta_attr *a)
{
    uint64_t now = clock_wall_ns();
    a->mode = to->mode;
    a->uid = to->uid;
    a->gid = to->gid;
    a->set |= set & FS_PX_MODE ? META_SET_MODE : 0;
    a->set |= set & FS_PX_UID ? META_SET_UID : 0;
    a->set |= set & FS_PX_GID ? META_SET_GID : 0;
    a->set |= set & (FS_PX_ATIME | FS_PX_ATIME_NOW) ? META_SET_ATIME : 0;
    a->set |= set & (FS_PX_MTIME | FS_PX_MTIME_NOW) ? META_SET_MTIME : 0;
    a->atime_ns = set & FS_PX_ATIME_NOW ? now : ns_of(to->atime);
    a->mtime_ns = set & FS_PX_MTIME_NOW ? now : ns_of(to->mtime);
    (void)px;
}

/* What is unpublished is published first, so that times do not overtake each other; then the record is changed and the
 * node looks at it again. */
static bool is_packed(const struct inode *i)
{
    return i->type == REC_FILE && i->loc != LOC_NONE && i->version && i->content;
}

static int change_record(struct fs_px *px, struct meta_attr *a, unsigned set, struct fs_px_stat *ret)
{
    struct px_node *n = NULL;
    struct meta_found f = {0};
    struct meta_stat s;
    enum meta_policy policy = META_TRANSIENT;
    int r = px_policy(px->fs, a->ino, &policy);
    if (r == 0)
        r = meta_stat(px->fs->meta, a->ino, &s);
    if (r == 0 && is_packed(&s.i))
        r = px_node_get(px->e, a->ino, &n);
    else if (r == 0)
        n = px_node_find(px->e, a->ino);
    if (n)
        px_gate_write(&n->gate);
    if (r == 0 && n)
        r = px_publish(n, false);
    if (r == 0 && n && a->set & ~(unsigned)META_SET_ATIME)
        r = px_unpack(n);
    if (r == 0)
        r = meta_stat(px->fs->meta, a->ino, &s);
    if (r == 0) {
        a->def_mode = s.i.type == REC_DIR ? px->o.dir_mode : px->o.file_mode;
        a->def_uid = px->o.uid;
        a->def_gid = px->o.gid;
        a->fate = px_fate(policy);
        a->quiet_ms = px_through(policy) ? 0 : px->e->quiet_ms;
        a->found = &f;
        if (set & FS_PX_KILL_PRIV)
            a->drop_mode = S_ISUID | ((s.i.posix ? s.i.mode : a->def_mode) & S_IXGRP ? S_ISGID : 0);
        r = meta_attr(px->fs->meta, a);
    }
    if (r == 0 && f.i.type == REC_FILE)
        px_note_seen(px, &f.i, true, NULL, NULL);
    if (r == 0 && n)
        r = px_node_refresh(n);
    if (n) {
        px_gate_write_end(&n->gate);
        px_node_put(n);
    }
    if (r == 0 && px_through(policy) && f.i.dirty)
        r = fs_wait_persisted(px->fs, a->ino);
    meta_found_done(&f);
    if (r == ERR_NOT_FOUND)
        r = err_set(ERR_STALE, "the file was removed");
    return r == 0 && ret ? px_stat_ino(px, a->ino, ret) : r;
}

int fs_px_setattr(struct fs_px *px, uint64_t ino, struct fs_px_handle *h, const struct fs_px_stat *to, unsigned set,
                  struct fs_px_stat *ret)
{
    struct meta_attr a = {.ino = ino};
    PX_ENTER(px);
    if (set & FS_PX_SIZE)
        TRY(resize(px, ino, h, to->size));
    fill_request(px, to, set, &a);
    if (!a.set && !(set & FS_PX_KILL_PRIV))
        return px_stat_ino(px, ino, ret);
    return change_record(px, &a, set, ret);
}

/* ---- extended attributes ---- */

enum { XATTR_VALUE = 64 << 10 };

static int xattr_ok(struct str name)
{
    if (!name.n || name.n > PX_NAME_MAX || memchr(name.p, 0, name.n))
        return err_set(ERR_RANGE, "an extended attribute's name has 1 to 255 bytes");
    if (str_starts(name, STR("system.")))
        return err_set(ERR_NOT_SUPPORTED, "ACLs and other attributes of the system are not kept");
    return 0;
}

int fs_px_getxattr(struct fs_px *px, uint64_t ino, struct str name, struct buf *ret)
{
    PX_ENTER(px);
    TRY(xattr_ok(name));
    return meta_xattr(px->fs->meta, ino, name, ret);
}

int fs_px_setxattr(struct fs_px *px, uint64_t ino, struct str name, struct str value, unsigned flags)
{
    struct meta_attr a = {.ino = ino, .set = META_SET_XATTR, .xattr = name, .value = value.p ? value : STR("")};
    PX_ENTER(px);
    TRY(xattr_ok(name));
    if (value.n > XATTR_VALUE)
        return err_set(ERR_LIMIT, "a value may have at most %d bytes", XATTR_VALUE);
    a.xattr_must = flags & FS_PX_XATTR_CREATE ? 1 : flags & FS_PX_XATTR_REPLACE ? 2 : 0;
    return change_record(px, &a, 0, NULL);
}

int fs_px_removexattr(struct fs_px *px, uint64_t ino, struct str name)
{
    struct meta_attr a = {.ino = ino, .set = META_SET_XATTR, .xattr = name};
    PX_ENTER(px);
    TRY(xattr_ok(name));
    return change_record(px, &a, 0, NULL);
}

int fs_px_listxattr(struct fs_px *px, uint64_t ino, struct buf *ret)
{
    PX_ENTER(px);
    return meta_xattrs(px->fs->meta, ino, ret);
}

/* ---- figures ---- */

int fs_px_statfs(struct fs_px *px, struct fs_px_statfs *ret)
{
    struct page_figures f;
    page_figures(px->fs->pages, &f);
    uint64_t left = f.pinned < f.pinned_limit ? f.pinned_limit - f.pinned : 0;
    *ret = (struct fs_px_statfs){
        .bytes = f.capacity, .free = left, .avail = left, .files = UINT32_MAX, .files_free = UINT32_MAX};
    return 0;
}
