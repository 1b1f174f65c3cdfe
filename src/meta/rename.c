/* SPDX-License-Identifier: Apache-2.0
 *
 * rename(2): one transaction for a file or a directory with a million files.
 *
 * A clean file keeps its object where it is: the inode remembers that key (loc KEY), the key's owner row says whose it
 * is (MOVED), and a settle record lets a background job move it home. A dirty file's object, if there is one at the old
 * home, is outdated anyway: it is GONE. A directory remembers its old prefix the same way, for everything below at
 * once.
 */
#include "meta/tx.h"

struct end {
    struct place p;
    struct inode i;
    bool there;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct buf leaf;
};

struct rename_arg {
    struct meta *m;
    const struct meta_rename *r;
    struct end *from, *to;
    bool transient; /* what the rule at the place makes of what moves there now */
};

/* The leaf as a file's name or as a directory's. */
static int find_leaf(struct kv_tx *tx, struct end *e, struct str name, bool dir, struct dentry *ret)
{
    struct buf leaf AUTO_BUF = {0};
    buf_str_add(&leaf, name);
    if (dir)
        buf_u8(&leaf, '/');
    buf_reset(&e->leaf);
    buf_str_add(&e->leaf, buf_str(&leaf));
    e->p.leaf = buf_str(&e->leaf);
    return tx_dentry(tx, e->p.dir, e->p.leaf, ret);
}

/* Where a file and a directory have the name: the file, for POSIX the directory, which is all it shows. */
static int find_end(struct kv_tx *tx, uint64_t dir, struct str path, bool posix, struct end *e)
{
    struct dentry d;
    struct buf name AUTO_BUF = {0};
    e->there = false;
    TRY(tx_walk(tx, dir, path, &e->p));
    if (e->p.rest.n)
        return err_set(ERR_NOT_FOUND, "%.*s: a directory above it does not exist", STR_ARG(path));
    if (!e->p.leaf.n || !e->p.depth)
        return err_set(ERR_DENIED, "a bucket cannot be renamed");
    bool slash = e->p.leaf.p[e->p.leaf.n - 1] == '/';
    buf_add(&name, e->p.leaf.p, e->p.leaf.n - slash);
    int r = find_leaf(tx, e, buf_str(&name), slash || posix, &d);
    if (r == ERR_NOT_FOUND && !slash)
        r = find_leaf(tx, e, buf_str(&name), !posix, &d);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    TRY(tx_inode(tx, d.ino, &e->i));
    e->there = true;
    return place_keys(&e->p, e->home, e->ident);
}

/* The destination is looked for under the source's kind of name. */
static int find_target(struct kv_tx *tx, const struct meta_rename *r, bool source_is_dir, struct end *e)
{
    TRY(find_end(tx, r->dir_to, r->to, r->posix, e));
    bool is_dir = e->there && e->i.type == REC_DIR;
    if (e->there && is_dir == source_is_dir)
        return 0;
    if (e->there && !r->exchange)
        return is_dir ? err_set(ERR_IS_DIR, "the destination is a directory")
                      : err_set(ERR_NOT_DIR, "the destination is no directory");
    if (e->there)
        return 0;
    buf_reset(&e->leaf);
    struct str leaf = str_from(r->to, 0);
    while (leaf.n && leaf.p[leaf.n - 1] == '/')
        leaf.n--;
    const char *slash = memrchr(leaf.p, '/', leaf.n);
    buf_str_add(&e->leaf, slash ? str_from(leaf, (size_t)(slash - leaf.p) + 1) : leaf);
    if (source_is_dir)
        buf_u8(&e->leaf, '/');
    e->p.leaf = buf_str(&e->leaf);
    return place_keys(&e->p, e->home, e->ident);
}

static void queue_settle(struct kv_tx *tx, struct inode *i)
{
    i->settle_due = clock_wall_ms();
    struct queue_rec q = {.since_ms = i->settle_due, .bytes = i->size};
    tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &q);
}

/* Leaving: what the old home key means from now on. */
static int leave_file(struct kv_tx *tx, const struct rename_arg *a, struct end *e)
{
    struct inode *i = &e->i;
    struct owner o;
    if (i->loc != LOC_HOME) /* where the directory lay before: nothing that replaces it comes there any more */
        TRY(tx_reap_if_gone(tx, i->mount, str_of(e->ident)));
    if (i->loc == LOC_NONE) {
        TRY(tx_owner(tx, false, i->mount, str_of(e->home), &o));
        if (o.kind == OWNER_GONE)
            return tx_reap_if_gone(tx, i->mount, str_of(e->home));
        if (o.kind == OWNER_NONE && (i->blind || o.claim != CLAIM_NONE))
            return tx_gone(tx, i->mount, str_of(e->home), "", 0, true);
        return 0;
    }
    if (i->loc == LOC_KEY) /* the old home may hide an outdated object that was to be replaced */
        return tx_reap_if_gone(tx, i->mount, str_of(e->home));
    TRY(tx_owner(tx, false, i->mount, str_of(e->ident), &o));
    if (o.claim ==
        CLAIM_THROUGH) /* live, or of a dead process: then what it left there is not known before reap has let go */
        return err_set(ERR_BUSY, "the file is being written through to the under file system");
    if (!i->checked_ms && !a->r->unchecked)
        return err_set(ERR_BUSY, "a process that died may have changed the file in the under file system");
    o.kind = OWNER_MOVED;
    o.ino = i->ino;
    if (!FAULT(TEST_SKIP_OWNER_ROW))
        tx_put_owner(tx, false, i->mount, str_of(e->ident), &o);
    i->loc = LOC_KEY;
    i->key = str_of(e->ident);
    queue_settle(tx, i);
    return 0;
}

/* Is the object at its new home already (renamed there and back)? */
static int arrive_file(struct kv_tx *tx, struct rename_arg *a, struct inode *i, struct end *at, bool blind)
{
    if (i->loc == LOC_NONE) {
        i->blind = blind;
    } else if (str_eq(i->key, str_of(at->ident)) && str_eq(str_of(at->ident), str_of(at->home)) && !a->transient) {
        struct owner o;
        TRY(tx_owner(tx, false, i->mount, i->key, &o));
        o.kind = OWNER_NONE;
        o.ino = 0;
        tx_put_owner(tx, false, i->mount, i->key, &o);
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
        i->loc = LOC_HOME;
        i->key = STR("");
        i->settle_due = 0;
    }
    return 0;
}

/* What the rule of the new path makes of a file. */
static void change_fate(struct kv_tx *tx, const struct rename_arg *a, struct inode *i)
{
    if (a->transient) {
        if (i->dirty)
            tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
        i->dirty = false;
        i->transient = true; /* with an object at loc KEY: its settle record takes that away, pages first */
    } else if (i->transient) {
        i->transient = i->skipped = false;
        if (i->loc == LOC_NONE) {
            i->dirty = true;
            tx_persist_record(tx, i, clock_wall_ms());
        }
    }
}

/* What is written through below a directory at this moment lands at keys of its old prefix: the rename waits for it. */
static int check_through(struct kv_tx *tx, struct meta *m, uint64_t mount, struct str prefix)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    unsigned caps = meta_caps(m, mount);
    key_owner(&begin, false, mount, prefix);
    kv_prefix_end(buf_str(&begin), &end);
    for (bool more = true; more;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1000};
        struct kv_rows rows;
        struct owner o;
        TRY(kv_range(tx, &r, &rows));
        for (size_t k = 0; k < rows.n; k++) {
            TRY(dec_owner(rows.row[k].value, &o));
            if (o.claim == CLAIM_THROUGH && owner_claim_live(m, &o, caps))
                return err_set(ERR_BUSY, "a file below is being written through to the under file system");
        }
        more = rows.more && rows.n;
        if (more) {
            buf_reset(&begin);
            buf_str_add(&begin, rows.row[rows.n - 1].key);
            buf_u8(&begin, 0);
        }
    }
    return 0;
}

static int leave_dir(struct kv_tx *tx, struct meta *m, struct end *e)
{
    struct inode *i = &e->i;
    struct owner o;
    TRY(check_through(tx, m, i->mount, str_of(e->home)));
    TRY(check_through(tx, m, i->mount, str_of(e->ident)));
    bool markers = meta_caps(m, i->mount) & UFS_CAP_MARKERS, others = false;
    if (!i->key.n)
        TRY(tx_others_lie_there(tx, &e->p, i, str_of(e->ident), &others));
    if (i->explicit_dir && (markers || others || i->loc == LOC_NONE)) { /* the marker is made anew at the new place */
        TRY(tx_marker_moves(tx, m, i, str_of(e->home), str_of(e->ident)));
        i->dirty = true;
        tx_persist_record(tx, i, clock_wall_ms());
    }
    if (i->key.n || others) /* others: nothing to move, and the prefix stays whose it is */
        return 0;
    TRY(tx_owner(tx, true, i->mount, str_of(e->ident), &o));
    /* Where a tree was removed shortly before, gone_ms and its reap stay in the row beside the new owner. */
    o.kind = OWNER_MOVED;
    o.ino = i->ino;
    if (!FAULT(TEST_SKIP_OWNER_ROW))
        tx_put_owner(tx, true, i->mount, str_of(e->ident), &o);
    i->key = str_of(e->ident);
    queue_settle(tx, i);
    return 0;
}

static int arrive_dir(struct kv_tx *tx, struct inode *i, struct end *at)
{
    if (!str_eq(i->key, str_of(at->home)) || !str_eq(str_of(at->home), str_of(at->ident)))
        return 0;
    struct owner o;
    TRY(tx_owner(tx, true, i->mount, i->key, &o));
    if (o.claim != CLAIM_NONE) /* it is being moved at this moment: the job will see where it belongs */
        return 0;
    TRY(tx_prefix_release(tx, i->mount, i->key));
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    i->key = STR("");
    i->settle_due = 0;
    return 0;
}

static int place_at(struct kv_tx *tx, struct inode *i, struct end *at)
{
    bool dir = i->type == REC_DIR;
    struct str leaf = at->p.leaf;
    struct buf name AUTO_BUF = {0};
    bool slash = leaf.n && leaf.p[leaf.n - 1] == '/';
    buf_add(&name, leaf.p, leaf.n - slash);
    i->name = buf_str(&name);
    i->parent = at->p.dir;
    i->ctime_ms = clock_wall_ms();
    struct dentry d = {.ino = i->ino, .type = i->type, .has_prefix = dir && i->key.n};
    tx_put_inode(tx, i);
    struct buf full AUTO_BUF = {0};
    tx_put_dentry(tx, at->p.dir, inode_leaf(i, &full), &d);
    return 0;
}

static int clear_target(struct kv_tx *tx, struct rename_arg *a, struct end *to, bool *ret_blind)
{
    *ret_blind = false;
    if (!to->there) {
        struct owner o;
        uint64_t until;
        bool deep;
        TRY(tx_owner(tx, false, to->p.mount, str_of(to->home), &o));
        TRY(tx_known(tx, &to->p, clock_wall_ms(), &until, &deep));
        *ret_blind = o.kind == OWNER_NONE && !until;
        return 0;
    }
    if (a->r->noreplace)
        return err_set(ERR_EXISTS, "the destination exists");
    if (to->i.type != REC_DIR) {
        *ret_blind = to->i.loc == LOC_NONE && to->i.blind;
        return tx_forget_file(tx, a->m, &to->i, &to->p, true);
    }
    bool empty;
    TRY(tx_dir_empty(tx, to->i.ino, &empty));
    if (!empty)
        return err_set(ERR_NOT_EMPTY, "the destination directory is not empty");
    TRY(tx_dir_may_go(tx, &to->i));
    TRY(tx_marker_gone(tx, a->m, &to->i, str_of(to->home), str_of(to->ident)));
    if (to->i.key.n) {
        tx_unqueue(tx, Q_SETTLE, to->i.settle_due, to->i.ino, STR(""));
        TRY(tx_prefix_release(tx, to->i.mount, to->i.key));
    }
    tx_del_dir(tx, to->i.ino);
    return 0;
}

static int move_one(struct kv_tx *tx, struct rename_arg *a, struct end *from, struct end *to, bool blind)
{
    if (from->i.type == REC_DIR) {
        struct queue_rec q = {.since_ms = clock_wall_ms(), .bytes = 1};
        TRY(leave_dir(tx, a->m, from));
        TRY(arrive_dir(tx, &from->i, to));
        tx_queue(tx, Q_RULES, q.since_ms, from->i.ino, STR(""), &q); /* other rules may apply below now */
    } else {
        TRY(leave_file(tx, a, from));
        TRY(arrive_file(tx, a, &from->i, to, blind));
        change_fate(tx, a, &from->i);
    }
    TRY(tx_turn(tx, a->m, &from->i, &to->p, &from->p));
    if (from->i.type != REC_DIR)
        TRY(tx_turn_key(tx, a->m, from->i.mount, str_of(from->home), NULL));
    return place_at(tx, &from->i, to);
}

static int rename_checks(struct rename_arg *a)
{
    struct end *from = a->from, *to = a->to;
    if (from->p.mount != to->p.mount)
        return err_set(ERR_CROSS_MOUNT, "source and destination lie in different mounts: copy and delete instead");
    if (from->i.type == REC_DIR && place_below(&to->p, from->i.ino))
        return err_set(ERR_LOOP, "a directory cannot move below itself");
    if (a->r->exchange && !to->there)
        return ERR_NOT_FOUND;
    if (a->r->exchange && to->i.type == REC_DIR && place_below(&from->p, to->i.ino))
        return err_set(ERR_LOOP, "a directory cannot move below itself");
    return 0;
}

static int check_tree_names(struct kv_tx *tx, struct meta *m, struct end *to, bool dir)
{
    if (meta_caps(m, to->p.mount) & UFS_CAP_VERBATIM)
        return 0;
    struct buf other AUTO_BUF = {0};
    struct dentry d;
    struct str leaf = to->p.leaf;
    buf_add(&other, leaf.p, dir ? leaf.n - 1 : leaf.n);
    if (!dir)
        buf_u8(&other, '/');
    int r = tx_dentry(tx, to->p.dir, buf_str(&other), &d);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    return err_set(dir ? ERR_NOT_DIR : ERR_IS_DIR, "the destination exists as a %s", dir ? "file" : "directory");
}

/* Names of one file: rename(2) does nothing then. */
static bool same_file(const struct inode *a, const struct inode *b)
{
    return (a->link_of ? a->link_of : a->ino) == (b->link_of ? b->link_of : b->ino);
}

static int rename_tx(struct kv_tx *tx, void *arg)
{
    struct rename_arg *a = arg;
    const struct meta_rename *r = a->r;
    struct end *from = a->from, *to = a->to;
    bool blind;
    a->transient = r->to_transient;
    TRY(find_end(tx, r->dir_from, r->from, r->posix, from));
    if (!from->there)
        return err_set(ERR_NOT_FOUND, "%.*s does not exist", STR_ARG(r->from));
    TRY(find_target(tx, r, from->i.type == REC_DIR, to));
    TRY(rename_checks(a));
    if (to->there && same_file(&to->i, &from->i))
        return 0;
    if (!to->there)
        TRY(check_tree_names(tx, a->m, to, from->i.type == REC_DIR));
    tx_del_dentry(tx, from->p.dir, from->p.leaf);
    if (r->exchange) {
        struct end at_from = *from, at_to = *to;
        tx_del_dentry(tx, to->p.dir, to->p.leaf);
        TRY(move_one(tx, a, from, &at_to, false));
        a->transient = r->from_transient;
        return move_one(tx, a, to, &at_from, false);
    }
    TRY(clear_target(tx, a, to, &blind));
    TRY(move_one(tx, a, from, to, blind));
    return r->keep_dirs ? 0 : tx_prune(tx, &from->p, clock_wall_ms());
}

int meta_rename(struct meta *m, const struct meta_rename *r)
{
    struct end *ends = calloc(2, sizeof *ends);
    struct rename_arg a = {m, r, &ends[0], &ends[1], false};
    TRACE("meta.rename", r->from.n, r->to.n);
    int rc = FAULT(META_RENAME_BEFORE);
    if (rc == 0)
        rc = meta_commit(m, rename_tx, &a, r->lazy ? KV_LAZY : KV_SYNC, NULL);
    if (rc == 0)
        rc = FAULT(META_RENAME_AFTER);
    buf_done(&ends[0].leaf);
    buf_done(&ends[1].leaf);
    free(ends);
    if (rc == 0)
        meta_kick_queued(m);
    return rc;
}
