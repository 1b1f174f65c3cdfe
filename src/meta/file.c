/* SPDX-License-Identifier: Apache-2.0
 *
 * Files by number: attributes, extended attributes, and files that have no name (yet, or any more) but are open.
 */
#include "meta/tx.h"
#include <sys/stat.h>

/* ---- without a name ---- */

struct file_arg {
    struct meta *m;
    uint64_t ino, fresh;
    const struct meta_unnamed *u;
    const struct meta_name *n;
    const struct meta_attr *a;
    struct link_change links;
};

static void unnamed_row(struct kv_tx *tx, uint64_t ino, bool there)
{
    struct buf k AUTO_BUF = {0};
    key_id(&k, 'G', ino);
    if (there)
        kv_put(tx, buf_str(&k), STR(""));
    else
        kv_del(tx, buf_str(&k));
}

static void stamp(uint64_t *ms, uint32_t *frac)
{
    uint64_t ns = clock_wall_ns();
    *ms = ns / 1000000;
    *frac = (uint32_t)(ns % 1000000);
}

static int unnamed_tx(struct kv_tx *tx, void *arg)
{
    const struct meta_unnamed *u = ((struct file_arg *)arg)->u;
    struct inode dir, i = {.ino = u->ino,
                           .type = REC_FILE,
                           .mode = u->mode,
                           .uid = u->uid,
                           .gid = u->gid,
                           .posix = true,
                           .transient = true,
                           .name = STR("(unnamed)")};
    TRY(tx_inode(tx, u->dir, &dir));
    i.mount = dir.mount;
    TRY(tx_inherit_group(tx, u->dir, &i));
    stamp(&i.mtime_ms, &i.mtime_frac);
    i.ctime_ms = i.mtime_ms;
    i.ctime_frac = i.mtime_frac;
    tx_put_inode(tx, &i);
    unnamed_row(tx, i.ino, true);
    if (u->found)
        found_fill(u->found, &i, STR(""));
    return 0;
}

int meta_file_unnamed(struct meta *m, const struct meta_unnamed *u)
{
    struct file_arg a = {.m = m, .u = u};
    return meta_commit(m, unnamed_tx, &a, KV_LAZY, NULL);
}

static int forget_tx(struct kv_tx *tx, void *arg)
{
    struct file_arg *a = arg;
    struct inode i;
    struct content c = {0};
    struct buf k AUTO_BUF = {0}, key AUTO_BUF = {0};
    struct str v;
    key_id(&k, 'G', a->ino);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    unnamed_row(tx, a->ino, false);
    r = tx_inode(tx, a->ino, &i);
    if (r == ERR_NOT_FOUND || (r == 0 && i.parent) || file_is_open(a->m, a->ino))
        return r == ERR_NOT_FOUND ? 0 : r;
    TRY(r);
    r = i.content ? tx_content(tx, i.content, &c) : ERR_NOT_FOUND;
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    buf_str_add(&key, c.back_key);
    TRY(tx_content_dead(tx, i.content, c.back_mount, c.back == BACK_KEY ? buf_str(&key) : (struct str){0}, c.back_ver));
    tx_del_inode(tx, a->ino);
    return 0;
}

int meta_file_forget(struct meta *m, uint64_t ino)
{
    struct file_arg a = {.m = m, .ino = ino};
    TRY(FAULT(META_FORGET_BEFORE));
    TRY(meta_commit(m, forget_tx, &a, KV_LAZY, NULL));
    meta_kick(m, Q_DROP);
    return 0;
}

static int note_unnamed(void *arg, struct str key, struct str value)
{
    struct cur c = cur_of(str_from(key, 1));
    (void)value;
    buf_varint(arg, cur_be64(&c));
    return 0;
}

int meta_file_forget_all(struct meta *m)
{
    struct buf all AUTO_BUF = {0};
    TRY(kv_scan(m->kv, STR("G"), note_unnamed, &all));
    struct cur c = cur_of(buf_str(&all));
    while (c.p < c.end)
        TRY(meta_file_forget(m, cur_varint(&c)));
    return 0;
}

/* As a file that is made there, but with what it is already. */
static int name_tx(struct kv_tx *tx, void *arg)
{
    struct file_arg *a = arg;
    const struct meta_name *n = a->n;
    struct publish_out out;
    struct inode i, was;
    struct meta_publish p = tx_naming(n);
    TRY(tx_inode(tx, n->ino, &was));
    if (was.parent)
        return err_set(ERR_NOT_SUPPORTED, "the file has a name already");
    p.size = was.size;
    TRY(tx_publish(tx, a->m, &p, NULL, n->ino, &out));
    if (out.i.mount != was.mount)
        return err_set(ERR_CROSS_MOUNT, "the file was made in another mount");
    i = was;
    i.parent = out.i.parent;
    i.name = out.i.name;
    i.nlink = 1;
    i.dirty = out.i.dirty;
    i.transient = out.i.transient;
    i.blind = out.i.blind;
    i.persist_due = out.i.persist_due;
    i.turn = out.i.turn;
    i.turn_dir = out.i.turn_dir;
    i.ctime_ms = out.i.ctime_ms;
    i.ctime_frac = out.i.ctime_frac;
    tx_put_inode(tx, &i);
    unnamed_row(tx, i.ino, false);
    if (n->found)
        found_fill(n->found, &i, STR(""));
    return 0;
}

int meta_file_name(struct meta *m, const struct meta_name *n)
{
    struct file_arg a = {.m = m, .n = n};
    TRY(meta_commit(m, name_tx, &a, KV_LAZY, NULL));
    meta_kick(m, Q_PERSIST);
    return 0;
}

/* ---- attributes ---- */

static void xattr_row(struct kv_tx *tx, const struct meta_attr *a, bool put)
{
    struct buf k AUTO_BUF = {0};
    key_xattr(&k, a->ino, a->xattr);
    if (put)
        kv_put(tx, buf_str(&k), a->value);
    else
        kv_del(tx, buf_str(&k));
}

enum { XATTR_ALL = 80 << 10 };

static int xattr_room(struct kv_tx *tx, const struct meta_attr *a)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    size_t sum = a->xattr.n + a->value.n;
    key_id(&begin, 'X', a->ino);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_bytes = 2 * XATTR_ALL};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++)
        if (!str_eq(str_from(rows.row[i].key, 9), a->xattr))
            sum += rows.row[i].key.n - 9 + rows.row[i].value.n;
    return sum > XATTR_ALL
               ? err_set(ERR_NO_SPACE, "the extended attributes of a file may have %d bytes together", XATTR_ALL)
               : 0;
}

static int set_xattr(struct kv_tx *tx, const struct meta_attr *a, struct inode *i)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_xattr(&k, a->ino, a->xattr);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    if (r == 0 && a->xattr_must == 1)
        return err_set(ERR_EXISTS, "the file has the attribute already");
    if (r == ERR_NOT_FOUND && (a->xattr_must == 2 || !a->value.p))
        return err_set(ERR_NO_ATTR, "the file has no such attribute");
    if (a->value.p)
        TRY(xattr_room(tx, a));
    xattr_row(tx, a, a->value.p != NULL);
    i->xattrs = true;
    return 0;
}

static void default_owner(const struct meta_attr *a, struct inode *i)
{
    if (i->posix)
        return;
    i->posix = true;
    i->mode = a->def_mode;
    i->uid = a->def_uid;
    i->gid = a->def_gid;
}

/* The object in the UFS says otherwise now: the file is to be sent again. Its bytes stay where they are: the new
 * content borrows from the old one, whose object is there until it is overwritten. */
static int send_again(struct kv_tx *tx, struct file_arg *f, struct inode *i)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct buf keep AUTO_BUF = {0};
    struct place *p AUTO_FREE = NULL;
    struct content c = {.id = f->fresh, .ino = i->ino, .state = CONTENT_LIVE, .version = i->version + 1};
    struct str backing;
    if (i->loc == LOC_NONE)
        return 0;
    p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    TRY(tx_climb(tx, i, p));
    TRY(place_keys(p, home, ident));
    if (i->content)
        TRY(tx_copy_content(tx, i->content, &c));
    TRY(tx_forget_object(tx, i, str_of(home), str_of(ident), true, i->content, &backing));
    buf_str_add(&keep, backing);
    TRY(tx_content_dead(tx, i->content, i->mount, buf_str(&keep), i->ver));
    if (i->content) {
        bool borrows = c.borrows;
        TRY(tx_new_content(tx, &c));
        if (borrows && !c.borrows) {
            c.borrows = true;
            tx_put_content(tx, &c);
        }
        i->content = c.id;
        i->version = c.version;
    }
    i->loc = LOC_NONE;
    i->ver[0] = 0;
    i->key = STR("");
    i->settle_due = 0;
    i->blind = false;
    i->dirty = f->a->fate == META_DIRTY;
    i->transient = !i->dirty;
    if (i->dirty)
        tx_persist_record(tx, i, clock_wall_ms() + f->a->quiet_ms);
    return tx_turn(tx, f->m, i, p, NULL);
}

static int dir_again(struct kv_tx *tx, struct file_arg *f, struct inode *i)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct place *p AUTO_FREE = NULL;
    if (i->parent == META_ROOT || i->ino == META_ROOT || !i->parent)
        return 0;
    p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    TRY(tx_climb(tx, i, p));
    TRY(place_keys(p, home, ident));
    i->explicit_dir = true;
    if (!i->etag[0])
        snprintf(i->etag, sizeof i->etag, "d41d8cd98f00b204e9800998ecf8427e");
    return tx_dir_dirty(tx, f->m, i, f->a->fate, str_of(home), str_of(ident));
}

/* The counter of a directory's time goes on from here; what it said until now is kept where it still holds. */
static int fold_dir_time(struct kv_tx *tx, struct inode *i)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_id(&k, 'T', i->ino);
    int r = kv_get_loose(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    uint64_t ns = kv_counter(v);
    if (ns > i->ctime_ms * 1000000 + i->ctime_frac) {
        i->mtime_ms = ns / 1000000;
        i->mtime_frac = (uint32_t)(ns % 1000000);
    }
    return 0;
}

static void set_fields(const struct meta_attr *a, struct inode *i)
{
    if (a->set & META_SET_MODE)
        i->mode = a->mode & 07777;
    if (a->set & META_SET_UID)
        i->uid = a->uid;
    if (a->set & META_SET_GID)
        i->gid = a->gid;
    i->mode &= ~a->drop_mode;
    if (a->set & META_SET_ATIME)
        i->atime_ns = a->atime_ns;
    if (a->set & META_SET_MTIME) {
        if (!i->atime_ns) /* it followed the other until now */
            i->atime_ns = i->mtime_ms * 1000000 + i->mtime_frac;
        i->mtime_ms = a->mtime_ns / 1000000;
        i->mtime_frac = (uint32_t)(a->mtime_ns % 1000000);
    }
    stamp(&i->ctime_ms, &i->ctime_frac);
}

static int attr_tx(struct kv_tx *tx, void *arg)
{
    struct file_arg *f = arg;
    const struct meta_attr *a = f->a;
    struct inode i;
    struct str pairs;
    int r = tx_inode(tx, a->ino, &i);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the file was removed");
    TRY(r);
    if (a->set & META_SET_XATTR)
        TRY(set_xattr(tx, a, &i));
    if (i.type == REC_DIR)
        TRY(fold_dir_time(tx, &i));
    default_owner(a, &i);
    set_fields(a, &i);
    if (a->set & ~(unsigned)META_SET_ATIME || a->drop_mode)
        TRY(i.type == REC_DIR ? dir_again(tx, f, &i) : send_again(tx, f, &i));
    tx_put_inode(tx, &i);
    if (i.type != REC_DIR && (a->set & ~(unsigned)META_SET_ATIME || a->drop_mode))
        TRY(tx_links_follow(tx, f->m, &i, &f->links));
    tx_note_inode(i.ino);
    TRY(tx_pairs(tx, i.ino, &pairs));
    if (a->found)
        found_fill(a->found, &i, pairs);
    return 0;
}

int meta_attr(struct meta *m, const struct meta_attr *a)
{
    struct file_arg f = {.m = m, .a = a};
    TRY(meta_mint(m, 1, &f.fresh));
    f.links.fate = a->fate;
    f.links.quiet_ms = a->quiet_ms;
    int r = meta_commit(m, attr_tx, &f, KV_LAZY, NULL);
    for (int i = 0; i < 3 && r == ERR_NOT_CACHED; i++) { /* it has other names */
        TRY(link_change_prepare(m, a->ino, &f.links));
        r = meta_commit(m, attr_tx, &f, KV_LAZY, NULL);
    }
    TRY(r);
    meta_kick(m, Q_PERSIST);
    return FAULT(META_ATTR_AFTER);
}

/* ---- reading ---- */

struct look_arg {
    uint64_t ino;
    struct str name;
    struct buf *ret;
};

static int xattr_tx(struct kv_tx *tx, void *arg)
{
    struct look_arg *a = arg;
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_xattr(&k, a->ino, a->name);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_NO_ATTR, "the file has no such attribute");
    TRY(r);
    buf_reset(a->ret);
    buf_str_add(a->ret, v);
    return 0;
}

int meta_xattr(struct meta *m, uint64_t ino, struct str name, struct buf *ret)
{
    struct look_arg a = {.ino = ino, .name = name, .ret = ret};
    return kv_view(m->kv, xattr_tx, &a, NULL);
}

static int xattrs_tx(struct kv_tx *tx, void *arg)
{
    struct look_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_id(&begin, 'X', a->ino);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_bytes = 4 * XATTR_ALL};
    TRY(kv_range(tx, &r, &rows));
    buf_reset(a->ret);
    for (size_t i = 0; i < rows.n; i++) {
        buf_str_add(a->ret, str_from(rows.row[i].key, 9));
        buf_u8(a->ret, 0);
    }
    return 0;
}

int meta_xattrs(struct meta *m, uint64_t ino, struct buf *ret)
{
    struct look_arg a = {.ino = ino, .ret = ret};
    return kv_view(m->kv, xattrs_tx, &a, NULL);
}

static int counter(struct kv_tx *tx, char kind, uint64_t id, uint64_t *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_id(&k, kind, id);
    int r = kv_get(tx, buf_str(&k), &v);
    *ret = r == 0 ? kv_counter(v) : 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

struct stat_arg {
    uint64_t ino;
    struct str name;
    struct meta_stat *ret;
    bool absent;
};

static int fill_stat(struct kv_tx *tx, uint64_t ino, struct meta_stat *s)
{
    *s = (struct meta_stat){0};
    TRY(tx_inode(tx, ino, &s->i));
    s->i.name = s->i.key = STR("");
    if (s->i.type != REC_DIR)
        return 0;
    TRY(counter(tx, 'T', ino, &s->changed_ns));
    return counter(tx, 'N', ino, &s->dirs);
}

static int stat_tx(struct kv_tx *tx, void *arg)
{
    struct stat_arg *a = arg;
    return fill_stat(tx, a->ino, a->ret);
}

int meta_stat(struct meta *m, uint64_t ino, struct meta_stat *ret)
{
    struct stat_arg a = {.ino = ino, .ret = ret};
    return kv_view(m->kv, stat_tx, &a, NULL);
}

static int child_tx(struct kv_tx *tx, void *arg)
{
    struct stat_arg *a = arg;
    struct place p = {.depth = 1};
    struct dentry d;
    uint64_t until;
    bool deep;
    char name[260];
    a->absent = false;
    memcpy(name, a->name.p, a->name.n);
    name[a->name.n] = '/';
    int r = tx_dentry(tx, a->ino, str_mk(name, a->name.n + 1), &d);
    if (r == ERR_NOT_FOUND)
        r = tx_dentry(tx, a->ino, a->name, &d);
    if (r == 0)
        return fill_stat(tx, d.ino, a->ret);
    if (r != ERR_NOT_FOUND)
        return r;
    p.chain[0] = a->ino;
    TRY(tx_known(tx, &p, clock_wall_ms(), &until, &deep));
    a->absent = until != 0;
    return ERR_NOT_FOUND;
}

int meta_child(struct meta *m, uint64_t dir, struct str name, struct meta_stat *ret, bool *ret_absent)
{
    struct stat_arg a = {.ino = dir, .name = name, .ret = ret};
    if (name.n > 255)
        return err_set(ERR_NAME_TOO_LONG, "a name has at most 255 bytes");
    int r = kv_view(m->kv, child_tx, &a, NULL);
    *ret_absent = a.absent;
    return r;
}
