/* SPDX-License-Identifier: Apache-2.0
 *
 * Hard links. A file has one inode that POSIX knows, under its first name; every other name has a record of its own
 * (link_of names the first), with a content that borrows the file's and a state and an object in the UFS like any other
 * file's. So the UFS and S3 see as many objects, and what is done to one of them there is done to that name.
 *
 * What changes the file gives its other names the same content again. When the first name goes, one of the others takes
 * its place: its record's place, object and content become the file's.
 */
#include "meta/tx.h"

static void link_row(struct kv_tx *tx, uint64_t file, uint64_t name, bool there)
{
    struct buf k AUTO_BUF = {0};
    key_link(&k, file, name);
    if (there)
        kv_put(tx, buf_str(&k), STR(""));
    else
        kv_del(tx, buf_str(&k));
}

static void touch(struct inode *i)
{
    uint64_t ns = clock_wall_ns();
    i->ctime_ms = ns / 1000000;
    i->ctime_frac = (uint32_t)(ns % 1000000);
}

int tx_links(struct kv_tx *tx, uint64_t file, uint64_t *ret, size_t max, size_t *ret_n)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_id(&begin, 'H', file);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = max};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        struct cur c = cur_of(str_from(rows.row[i].key, 9));
        ret[i] = cur_be64(&c);
    }
    *ret_n = rows.n;
    return 0;
}

int tx_link_detach(struct kv_tx *tx, const struct inode *name)
{
    struct inode file;
    link_row(tx, name->link_of, name->ino, false);
    int r = tx_inode(tx, name->link_of, &file);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    file.nlink--;
    touch(&file);
    tx_put_inode(tx, &file);
    tx_note_inode(file.ino);
    return 0;
}

static int move_owner(struct kv_tx *tx, const struct inode *name, uint64_t to)
{
    struct owner o;
    if (name->loc != LOC_KEY)
        return 0;
    TRY(tx_owner(tx, false, name->mount, name->key, &o));
    o.ino = to;
    tx_put_owner(tx, false, name->mount, name->key, &o);
    return 0;
}

static int move_record(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t from, uint64_t to)
{
    struct queue_rec q = {.since_ms = due};
    struct buf k AUTO_BUF = {0}, error AUTO_BUF = {0};
    struct str v;
    key_queue(&k, kind, due, from, STR(""));
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == 0) {
        TRY(dec_queue(v, &q));
        buf_str_add(&error, q.error);
        q.error = buf_str(&error);
    } else if (r != ERR_NOT_FOUND) {
        return r;
    }
    tx_unqueue(tx, kind, due, from, STR(""));
    tx_queue(tx, kind, due, to, STR(""), &q);
    return 0;
}

/* The file's first name went, and its object with it: another name's record becomes the file's. */
int tx_link_promote(struct kv_tx *tx, struct meta *m, const struct inode *file, struct str backing, const char *ver,
                    bool *ret_done)
{
    struct buf name AUTO_BUF = {0}, key AUTO_BUF = {0};
    struct inode a, f = *file;
    struct content c;
    uint64_t other;
    size_t n;
    *ret_done = false;
    if (file->nlink < 2)
        return 0;
    TRY(tx_links(tx, file->ino, &other, 1, &n));
    if (!n)
        return 0;
    TRY(tx_inode(tx, other, &a));
    buf_str_add(&name, a.name);
    buf_str_add(&key, a.key);
    a.name = buf_str(&name);
    a.key = buf_str(&key);
    TRY(tx_content_dead(tx, file->content, file->mount, backing, ver));
    if (a.content) {
        TRY(tx_content(tx, a.content, &c));
        c.ino = f.ino;
        tx_put_content(tx, &c);
    }
    if (a.dirty)
        TRY(move_record(tx, Q_PERSIST, a.persist_due, a.ino, f.ino));
    if (a.loc == LOC_KEY)
        TRY(move_record(tx, Q_SETTLE, a.settle_due, a.ino, f.ino));
    TRY(move_owner(tx, &a, f.ino));
    link_row(tx, f.ino, a.ino, false);
    tx_del_inode(tx, a.ino);
    f.nlink--;
    touch(&f);
    f.parent = a.parent;
    f.mount = a.mount;
    f.name = a.name;
    f.key = a.key;
    f.loc = a.loc;
    f.dirty = a.dirty;
    f.transient = a.transient;
    f.blind = a.blind;
    f.no_pairs = a.no_pairs;
    f.persist_due = a.persist_due;
    f.settle_due = a.settle_due;
    f.checked_ms = a.checked_ms;
    f.content = a.content;
    f.version = a.version;
    f.size = a.size;
    f.holes = a.holes;
    memcpy(f.etag, a.etag, sizeof f.etag);
    memcpy(f.ver, a.ver, sizeof f.ver);
    TRY(tx_turn(tx, m, &f, NULL, NULL));
    tx_put_inode(tx, &f);
    struct dentry d = {.ino = f.ino, .type = f.type};
    tx_put_dentry(tx, f.parent, f.name, &d);
    tx_note_inode(f.ino);
    *ret_done = true;
    return 0;
}

static void same_attributes(const struct inode *file, struct inode *name)
{
    name->posix = file->posix;
    name->mode = file->mode;
    name->uid = file->uid;
    name->gid = file->gid;
    name->rdev = file->rdev;
    name->mtime_ms = file->mtime_ms;
    name->mtime_frac = file->mtime_frac;
    name->ctime_ms = file->ctime_ms;
    name->ctime_frac = file->ctime_frac;
    name->atime_ns = file->atime_ns;
}

static int give_content(struct kv_tx *tx, const struct inode *file, struct inode *name, uint64_t fresh)
{
    struct content c = {.id = fresh, .ino = name->ino, .state = CONTENT_LIVE};
    name->content = 0;
    if (file->content) {
        TRY(tx_copy_content(tx, file->content, &c));
        bool borrows = c.borrows;
        TRY(tx_new_content(tx, &c));
        if (borrows && !c.borrows) {
            c.borrows = true;
            tx_put_content(tx, &c);
        }
        name->content = fresh;
    }
    name->version = 0;
    name->size = file->size;
    name->holes = file->holes;
    memcpy(name->etag, file->etag, sizeof name->etag);
    return 0;
}

static int follow(struct kv_tx *tx, struct meta *m, const struct inode *file, uint64_t ino, uint64_t fresh,
                  const struct link_change *l)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct place *p AUTO_FREE = calloc(1, sizeof *p);
    struct buf keep AUTO_BUF = {0};
    struct str backing = {0};
    struct inode n;
    if (!p)
        return ERR_NOMEM;
    TRY(tx_inode(tx, ino, &n));
    same_attributes(file, &n);
    if (n.loc != LOC_NONE) {
        TRY(tx_climb(tx, &n, p));
        TRY(place_keys(p, home, ident));
        TRY(tx_forget_object(tx, &n, str_of(home), str_of(ident), true, n.content, &backing));
        buf_str_add(&keep, backing);
        backing = buf_str(&keep);
        n.blind = false;
    }
    TRY(tx_content_dead(tx, n.content, n.mount, backing, n.ver));
    TRY(give_content(tx, file, &n, fresh));
    if (n.dirty)
        tx_unqueue(tx, Q_PERSIST, n.persist_due, n.ino, STR(""));
    n.loc = LOC_NONE;
    n.ver[0] = 0;
    n.key = STR("");
    n.settle_due = 0;
    n.dirty = l->fate == META_DIRTY;
    n.transient = !n.dirty;
    if (n.dirty)
        tx_persist_record(tx, &n, clock_wall_ms() + l->quiet_ms);
    TRY(tx_turn(tx, m, &n, NULL, NULL));
    tx_put_inode(tx, &n);
    return 0;
}

int tx_links_follow(struct kv_tx *tx, struct meta *m, const struct inode *file, const struct link_change *l)
{
    uint64_t *name AUTO_FREE = NULL;
    size_t n;
    if (file->nlink < 2)
        return 0;
    if (file->nlink > l->ids + 1)
        return ERR_NOT_CACHED; /* ids are to be minted first */
    name = calloc(file->nlink, sizeof *name);
    if (!name)
        return ERR_NOMEM;
    TRY(tx_links(tx, file->ino, name, file->nlink, &n));
    for (size_t i = 0; i < n; i++)
        TRY(follow(tx, m, file, name[i], l->first_id + i, l));
    return 0;
}

int link_change_prepare(struct meta *m, uint64_t ino, struct link_change *l)
{
    struct meta_stat s;
    int r = meta_stat(m, ino, &s);
    l->ids = r == 0 && s.i.nlink > 1 ? s.i.nlink : 0;
    return l->ids ? meta_mint(m, (unsigned)l->ids, &l->first_id) : 0;
}

/* ---- one more name ---- */

struct link_arg {
    struct meta *m;
    const struct meta_name *n;
    uint64_t id; /* of the name's record; the next is its content's */
};

static int link_tx(struct kv_tx *tx, void *arg)
{
    struct link_arg *a = arg;
    const struct meta_name *n = a->n;
    struct publish_out out;
    struct inode file, name;
    struct meta_publish p = tx_naming(n);
    int r = tx_inode(tx, n->ino, &file);
    if (r == ERR_NOT_FOUND || (r == 0 && !file.parent && file.type != REC_DIR))
        return err_set(ERR_NOT_FOUND, "the file was removed");
    TRY(r);
    if (file.type == REC_DIR)
        return err_set(ERR_DENIED, "directories have one name");
    if (file.nlink >= META_LINKS_MAX)
        return err_set(ERR_TOO_MANY_LINKS, "a file has at most %d names", META_LINKS_MAX);
    p.type = file.type;
    p.size = file.size;
    TRY(tx_publish(tx, a->m, &p, NULL, a->id, &out));
    if (out.i.mount != file.mount)
        return err_set(ERR_CROSS_MOUNT, "a file's names lie in one mount");
    name = out.i;
    name.link_of = file.ino;
    file.nlink++;
    touch(&file);
    same_attributes(&file, &name);
    TRY(give_content(tx, &file, &name, a->id + 1));
    tx_put_inode(tx, &name);
    tx_put_inode(tx, &file);
    tx_note_inode(file.ino);
    link_row(tx, file.ino, name.ino, true);
    return 0;
}

int meta_file_link(struct meta *m, const struct meta_name *n)
{
    struct link_arg a = {.m = m, .n = n};
    TRY(meta_mint(m, 2, &a.id));
    TRY(meta_commit(m, link_tx, &a, KV_LAZY, NULL));
    meta_kick(m, Q_PERSIST);
    return FAULT(META_LINK_AFTER);
}
