/* SPDX-License-Identifier: Apache-2.0
 *
 * Names go: DELETE, unlink, rmdir, a whole tree. The name is gone for everybody at once; what it stood for follows in
 * the background by the records written here.
 */
#include "meta/tx.h"

struct delete_arg {
    struct meta *m;
    const struct meta_delete *d;
    bool ask;    /* what the UFS should be asked about first is left alone */
    bool asking; /* out: it was */
};

/* The UFS object went already, under our claim: its row goes with the name. */
static int settle_claimed(struct kv_tx *tx, const struct meta_delete *d, struct place *p)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct owner o, none = {0};
    TRY(place_keys(p, home, ident));
    TRY(tx_owner(tx, false, p->mount, str_of(home), &o));
    if (o.nonce != d->nonce)
        return err_set(ERR_STALE, "the claim on the key was lost");
    if (o.kind == OWNER_GONE && o.reap_due)
        tx_unqueue(tx, Q_REAP, o.reap_due, p->mount, str_of(home));
    tx_put_owner(tx, false, p->mount, str_of(home), &none);
    return 0;
}

/* S3's DELETE of "a/": the marker goes, what is below stays. */
static int delete_marker(struct kv_tx *tx, struct meta *m, struct place *p, struct inode *i)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    bool empty;
    TRY(place_keys(p, home, ident));
    if (!i->explicit_dir)
        return ERR_NOT_FOUND;
    TRY(tx_marker_gone(tx, m, i, str_of(home), str_of(ident)));
    i->explicit_dir = false;
    i->etag[0] = 0;
    tx_put_inode(tx, i);
    tx_put_pairs(tx, i->ino, STR(""));
    TRY(tx_dir_empty(tx, i->ino, &empty));
    if (!empty || i->key.n)
        return 0;
    uint64_t until;
    bool deep;
    struct place below = *p;
    below.chain[below.depth++] = i->ino;
    TRY(tx_known(tx, &below, clock_wall_ms(), &until, &deep));
    if (!until)
        return 0;
    tx_del_dentry(tx, p->dir, p->leaf);
    tx_del_dir(tx, i->ino);
    return tx_prune(tx, p, clock_wall_ms());
}

static int find_leaf(struct kv_tx *tx, const struct meta_delete *d, struct place *p, struct inode *ret)
{
    struct dentry e;
    TRY(tx_walk(tx, d->dir, d->path, p));
    if (p->rest.n || !p->leaf.n)
        return p->depth || p->leaf.n ? ERR_NOT_FOUND : ERR_NO_BUCKET;
    TRY(tx_dentry(tx, p->dir, p->leaf, &e));
    return tx_inode(tx, e.ino, ret);
}

/* Its entry goes; what becomes of the directories above is the caller's to see to: *ret_prune. */
static int delete_entry(struct kv_tx *tx, struct delete_arg *a, struct place *p, bool *ret_prune)
{
    const struct meta_delete *d = a->d;
    struct inode i;
    *ret_prune = false;
    int r = find_leaf(tx, d, p, &i);
    if (a->ask && (r == ERR_NOT_FOUND || (r == 0 && inode_outdated(a->m, &i)))) {
        a->asking = true;
        return 0;
    }
    TRY(r);
    TRY(meta_cond_check(d->cond, i.type != REC_DIR || i.explicit_dir ? i.etag : NULL));
    if (i.parent == META_ROOT)
        return err_set(ERR_DENIED, "a bucket is removed by its mount (forebay mount remove)");
    if (i.type == REC_DIR)
        return delete_marker(tx, a->m, p, &i);
    TRY(tx_forget_file(tx, a->m, &i, p, false));
    if (d->nonce)
        TRY(settle_claimed(tx, d, p));
    tx_del_dentry(tx, p->dir, p->leaf);
    *ret_prune = !(d->flags & META_POSIX);
    return 0;
}

static int delete_tx(struct kv_tx *tx, void *arg)
{
    struct delete_arg *a = arg;
    struct place p;
    bool prune;
    TRY(delete_entry(tx, a, &p, &prune));
    return prune ? tx_prune(tx, &p, clock_wall_ms()) : 0;
}

int meta_delete(struct meta *m, const struct meta_delete *d)
{
    struct delete_arg a = {.m = m, .d = d};
    TRACE("meta.delete", d->dir, d->path.n);
    TRY(FAULT(META_DELETE_BEFORE));
    TRY(meta_or_conflict(meta_commit(m, delete_tx, &a, d->lazy ? KV_LAZY : KV_SYNC, NULL)));
    meta_kick(m, Q_REAP);
    meta_kick(m, Q_DROP);
    return FAULT(META_DELETE_AFTER);
}

/* ---- many at once ---- */

enum { MANY = 128 };

struct many_arg {
    struct meta *m;
    uint64_t dir;
    struct str path;
    const struct str *keys;
    size_t n;
    int *codes;
    bool *ask; /* NULL: delete whatever is here */
};

/* A directory that entries went from, and which of them comes last: in the order of names nothing was deleted behind
 * it. */
struct emptied {
    uint64_t dir;
    size_t last;
};

static void note_emptied(struct emptied *e, size_t *n, uint64_t dir, const struct many_arg *a, size_t key)
{
    for (size_t i = 0; i < *n; i++)
        if (e[i].dir == dir) {
            if (str_cmp(a->keys[e[i].last], a->keys[key]) < 0)
                e[i].last = key;
            return;
        }
    e[(*n)++] = (struct emptied){dir, key};
}

static struct str many_path(const struct many_arg *a, size_t key, struct buf *b)
{
    buf_reset(b);
    buf_str_add(b, a->path);
    buf_str_add(b, a->keys[key]);
    return buf_str(b);
}

/* Once for each directory, when all have gone: a look at each removal would step over the ones before. */
static int many_prune(struct kv_tx *tx, const struct many_arg *a, const struct emptied *e, size_t n, struct buf *path)
{
    struct place p;
    for (size_t i = 0; i < n; i++) {
        TRY(tx_walk(tx, a->dir, many_path(a, e[i].last, path), &p));
        if (!p.rest.n) /* else it went with one below it */
            TRY(tx_prune(tx, &p, clock_wall_ms()));
    }
    return 0;
}

static int many_tx(struct kv_tx *tx, void *arg)
{
    struct many_arg *a = arg;
    struct buf path AUTO_BUF = {0};
    struct emptied dirs[MANY];
    struct place p;
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        bool prune;
        if (a->codes[i])
            continue;
        struct meta_delete d = {.dir = a->dir, .path = many_path(a, i, &path)};
        struct delete_arg one = {a->m, &d, a->ask, false};
        int r = delete_entry(tx, &one, &p, &prune);
        if (r < 0 && (err_again(r) || r == ERR_LIMIT)) /* the engine's word: the whole transaction */
            return r;
        if (a->ask)
            a->ask[i] = one.asking;
        if (r < 0 && r != ERR_NOT_FOUND)
            a->codes[i] = r;
        if (r == 0 && prune)
            note_emptied(dirs, &n, p.dir, a, i);
    }
    return many_prune(tx, a, dirs, n, &path);
}

int meta_delete_many(struct meta *m, uint64_t dir, struct str path, const struct str *keys, size_t n, int *codes,
                     bool *ask)
{
    for (size_t i = 0; i < n; i += MANY) {
        struct many_arg a = {m, dir, path, keys + i, n - i < MANY ? n - i : MANY, codes + i, ask ? ask + i : NULL};
        TRY(FAULT(META_DELETE_BEFORE));
        TRY(meta_update(m, many_tx, &a));
    }
    meta_kick(m, Q_REAP);
    meta_kick(m, Q_DROP);
    return 0;
}

/* ---- directories ---- */

struct dirop_arg {
    struct meta *m;
    uint64_t dir;
    struct str path;
    bool tree;
};

int tx_dir_may_go(struct kv_tx *tx, const struct inode *i)
{
    struct owner o;
    bool left = false;
    if (!i->key.n)
        return 0;
    TRY(tx_owner(tx, true, i->mount, i->key, &o));
    if (o.claim == CLAIM_RENAME)
        TRY(tx_owned_below(tx, i->mount, i->key, &left));
    return left ? err_set(ERR_BUSY, "the directory is being renamed in the under file system just now; try again") : 0;
}

static int remove_dir(struct kv_tx *tx, struct meta *m, struct place *p, struct inode *i)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    bool empty;
    TRY(tx_dir_empty(tx, i->ino, &empty));
    if (!empty)
        return err_set(ERR_NOT_EMPTY, "the directory is not empty");
    TRY(tx_dir_may_go(tx, i));
    TRY(place_keys(p, home, ident));
    TRY(tx_marker_gone(tx, m, i, str_of(home), str_of(ident)));
    if (i->key.n) { /* moved and never settled: nothing of it is left to move */
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
        TRY(tx_prefix_release(tx, i->mount, i->key));
    }
    tx_del_dentry(tx, p->dir, p->leaf);
    tx_del_dir(tx, i->ino);
    return 0;
}

int tx_others_lie_there(struct kv_tx *tx, const struct place *p, const struct inode *i, struct str prefix, bool *ret)
{
    struct owner o;
    *ret = false;
    for (size_t n = 0; n < prefix.n; n++) {
        if (prefix.p[n] != '/')
            continue;
        TRY(tx_owner(tx, true, i->mount, (struct str){prefix.p, n + 1}, &o));
        if (o.kind == OWNER_MOVED) /* the innermost counts */
            *ret = o.ino != i->ino && !place_below(p, o.ino);
    }
    return 0;
}

/* Everything below goes with the name. What the UFS holds below its prefix is hidden by one row until it is reaped. */
static int remove_tree(struct kv_tx *tx, struct meta *m, struct place *p, struct inode *i)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct owner o;
    uint64_t now = clock_wall_ms();
    bool others;
    TRY(tx_dir_may_go(tx, i));
    TRY(place_keys(p, home, ident));
    TRY(tx_marker_gone(tx, m, i, str_of(home), str_of(ident)));
    struct str prefix = i->key.n ? i->key : str_of(ident);
    if (i->key.n)
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    TRY(tx_others_lie_there(tx, p, i, prefix, &others));
    TRY(tx_owner(tx, true, i->mount, prefix, &o));
    if (!others) {
        if (o.reap_due)
            tx_unqueue(tx, Q_PREFIX, o.reap_due, i->mount, prefix);
        if (o.claim == CLAIM_COPY_TO) /* its prefix was being pushed down: there is nothing to push any more */
            owner_unclaim(&o);
        o.kind = OWNER_GONE;
        o.ino = i->ino;
        o.gone_ms = o.reap_due = now;
        tx_put_owner(tx, true, i->mount, prefix, &o);
        tx_queue(tx, Q_PREFIX, now, i->mount, prefix, NULL);
    }
    tx_queue(tx, Q_TREE, now, i->ino, STR(""), NULL);
    tx_del_dentry(tx, p->dir, p->leaf);
    struct buf keep AUTO_BUF = {0};
    buf_str_add(&keep, prefix);
    i->parent = 0;
    i->key = buf_str(&keep); /* so that the tree job knows where its files' objects lie */
    i->settle_due = 0;
    tx_put_inode(tx, i);
    return 0;
}

static int dirop_tx(struct kv_tx *tx, void *arg)
{
    struct dirop_arg *a = arg;
    struct place p;
    struct dentry e;
    struct inode i;
    struct buf name AUTO_BUF = {0};
    TRY(tx_walk(tx, a->dir, a->path, &p));
    if (p.rest.n || !p.leaf.n)
        return ERR_NOT_FOUND;
    if (p.leaf.p[p.leaf.n - 1] != '/') {
        buf_str_add(&name, p.leaf);
        buf_u8(&name, '/');
        p.leaf = buf_str(&name);
    }
    int r = tx_dentry(tx, p.dir, p.leaf, &e);
    if (r == ERR_NOT_FOUND) {
        struct dentry file;
        p.leaf.n--;
        return tx_dentry(tx, p.dir, p.leaf, &file) == 0 ? ERR_NOT_DIR : ERR_NOT_FOUND;
    }
    TRY(r);
    TRY(tx_inode(tx, e.ino, &i));
    if (i.parent == META_ROOT)
        return err_set(ERR_DENIED, "a bucket is removed by its mount (forebay mount remove)");
    return a->tree ? remove_tree(tx, a->m, &p, &i) : remove_dir(tx, a->m, &p, &i);
}

int meta_rmdir(struct meta *m, uint64_t dir, struct str path, bool lazy)
{
    struct dirop_arg a = {m, dir, path, false};
    TRY(FAULT(META_DELETE_BEFORE));
    TRY(meta_commit(m, dirop_tx, &a, lazy ? KV_LAZY : KV_SYNC, NULL));
    meta_kick(m, Q_REAP);
    return 0;
}

int meta_remove_tree(struct meta *m, uint64_t dir, struct str path)
{
    struct dirop_arg a = {m, dir, path, true};
    TRACE("meta.remove_tree", dir, path.n);
    TRY(FAULT(META_TREE_BEFORE));
    TRY(meta_update(m, dirop_tx, &a));
    meta_kick(m, Q_TREE);
    return FAULT(META_TREE_AFTER);
}

struct mkdir_arg {
    struct meta *m;
    uint64_t dir, first_id;
    struct str path;
    uint32_t mode;
    bool parents;
    enum meta_fate fate;
    struct str pairs;
    const char *etag;
    struct meta_found *ret;
};

static int mkdir_tx(struct kv_tx *tx, void *arg)
{
    struct mkdir_arg *a = arg;
    struct buf path AUTO_BUF = {0};
    struct place p;
    struct dentry e;
    struct publish_out out;
    buf_str_add(&path, a->path);
    if (!path.n || path.p[path.n - 1] != '/')
        buf_u8(&path, '/');
    TRY(tx_walk(tx, a->dir, buf_str(&path), &p));
    if (!p.depth)
        return err_set(ERR_NO_BUCKET, "there is no such bucket: top-level directories are made by forebay mount add");
    if (p.rest.n && place_missing(&p) && !a->parents)
        return err_set(ERR_NOT_FOUND, "the parent directory does not exist");
    int r = p.rest.n ? ERR_NOT_FOUND : tx_dentry(tx, p.dir, p.leaf, &e);
    if (r == 0) {
        struct inode i;
        struct str pairs;
        TRY(tx_inode(tx, e.ino, &i));
        if (i.explicit_dir && !a->parents)
            return err_set(ERR_EXISTS, "the directory exists already");
        if (i.size) { /* others gave it a content, which stays */
            TRY(tx_pairs(tx, i.ino, &pairs));
            if (a->ret)
                found_fill(a->ret, &i, pairs);
            return 0;
        }
    } else if (r < 0 && r != ERR_NOT_FOUND) {
        return r;
    }
    if (r == ERR_NOT_FOUND) { /* a file of that name is in the way of mkdir(2) */
        struct str file = p.rest.n ? STR("") : (struct str){p.leaf.p, p.leaf.n - 1};
        if (file.n && tx_dentry(tx, p.dir, file, &e) == 0)
            return err_set(ERR_EXISTS, "a file of that name exists");
    }
    struct meta_publish pub = {.dir = a->dir,
                               .path = buf_str(&path),
                               .type = REC_DIR,
                               .mode = a->mode,
                               .fate = a->fate,
                               .pairs = a->pairs,
                               .etag = a->etag};
    TRY(tx_publish(tx, a->m, &pub, NULL, a->first_id, &out));
    if (a->ret)
        found_fill(a->ret, &out.i, out.pairs);
    return 0;
}

int meta_mkdir(struct meta *m, uint64_t dir, struct str path, uint32_t mode, bool parents, enum meta_fate fate,
               struct str pairs, const char *etag, struct meta_found *ret)
{
    struct mkdir_arg a = {m, dir, 0, path, mode, parents, fate, pairs, etag, ret};
    TRY(meta_mint(m, 2 + path_components(path), &a.first_id));
    TRY(FAULT(META_PUBLISH_BEFORE));
    TRY(meta_update(m, mkdir_tx, &a));
    meta_kick(m, Q_PERSIST);
    return 0;
}

/* ---- below a removed tree ---- */

struct tree_arg {
    struct meta *m;
    uint64_t dir, due;
    bool more;
};

enum { TREE_BATCH = 128 };

/* A file below: its object is reaped with its recorded version, wherever it lies. */
static int tree_file(struct kv_tx *tx, struct meta *m, const struct inode *i, struct str prefix, bool keep_ufs)
{
    struct buf key AUTO_BUF = {0};
    struct str at = i->key;
    if (i->loc == LOC_HOME) {
        buf_str_add(&key, prefix);
        buf_str_add(&key, i->name);
        at = buf_str(&key);
    }
    if (i->dirty)
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    if (i->loc == LOC_KEY)
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    bool gone = i->loc != LOC_NONE && !keep_ufs;
    if (gone) { /* by now the key may be that of a file made here since, which has moved on */
        struct owner o;
        TRY(tx_owner(tx, false, i->mount, at, &o));
        gone = o.kind != OWNER_MOVED || o.ino == i->ino;
    }
    if (gone) {
        TRY(tx_gone(tx, i->mount, at, i->ver, i->content, true));
        TRY(tx_turn_key(tx, m, i->mount, at, NULL));
    }
    return tx_file_end(tx, m, i, gone ? at : (struct str){0}, i->ver);
}

/* A directory below becomes a removed tree of its own: the walk needs no stack and each batch is small. */
static int tree_dir(struct kv_tx *tx, struct meta *m, struct inode *i, struct str prefix, bool keep_ufs)
{
    struct buf key AUTO_BUF = {0};
    uint64_t now = clock_wall_ms();
    TRY(tx_dir_may_go(tx, i));
    buf_str_add(&key, prefix);
    buf_str_add(&key, i->name);
    buf_u8(&key, '/');
    if (keep_ufs && i->dirty)
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    if (!keep_ufs)
        TRY(tx_marker_gone(tx, m, i, buf_str(&key), buf_str(&key)));
    if (i->key.n) { /* lies elsewhere: hide and reap that prefix too */
        struct owner o;
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
        TRY(tx_owner(tx, true, i->mount, i->key, &o));
        if (o.reap_due)
            tx_unqueue(tx, Q_PREFIX, o.reap_due, i->mount, i->key);
        if (o.claim == CLAIM_COPY_TO)
            owner_unclaim(&o);
        o.kind = OWNER_GONE;
        o.gone_ms = o.reap_due = now;
        tx_put_owner(tx, true, i->mount, i->key, &o);
        tx_queue(tx, Q_PREFIX, now, i->mount, i->key, NULL);
        buf_reset(&key);
        buf_str_add(&key, i->key);
    }
    i->dirty = i->transient = false;
    i->loc = LOC_NONE;
    i->parent = 0;
    i->settle_due = 0;
    i->key = buf_str(&key);
    tx_put_inode(tx, i);
    tx_queue(tx, Q_TREE, now, i->ino, STR(""), NULL);
    return 0;
}

static int mount_removing(struct kv_tx *tx, uint64_t mount, bool *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    struct mount_rec rec;
    key_id(&k, 'M', mount);
    int r = kv_get(tx, buf_str(&k), &v);
    *ret = r == ERR_NOT_FOUND;
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    TRY(dec_mount(v, mount, &rec));
    *ret = rec.removing;
    return 0;
}

/* Rows of a mount that is gone, by prefix, a batch at a time. */
static int mount_rows(struct kv_tx *tx, uint64_t mount, bool *ret_more)
{
    static const char kinds[] = "OoE";
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    for (size_t k = 0; k < sizeof kinds - 1; k++) {
        struct kv_rows rows;
        key_id(&begin, kinds[k], mount);
        kv_prefix_end(buf_str(&begin), &end);
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = TREE_BATCH};
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            struct owner o;
            struct str key = str_from(rows.row[i].key, 9);
            if (kinds[k] != 'E' && dec_owner(rows.row[i].value, &o) == 0 && o.reap_due)
                tx_unqueue(tx, kinds[k] == 'O' ? Q_REAP : Q_PREFIX, o.reap_due, mount, key);
            kv_del(tx, rows.row[i].key);
        }
        if (rows.n) {
            *ret_more = true;
            return 0;
        }
    }
    return 0;
}

static int tree_tx(struct kv_tx *tx, void *arg)
{
    struct tree_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, k AUTO_BUF = {0};
    struct inode dir;
    struct kv_rows rows;
    bool keep_ufs;
    a->more = false;
    int r = tx_inode(tx, a->dir, &dir);
    if (r == ERR_NOT_FOUND) {
        tx_unqueue(tx, Q_TREE, a->due, a->dir, STR(""));
        return 0;
    }
    TRY(r);
    TRY(mount_removing(tx, dir.mount, &keep_ufs));
    key_id(&begin, 'D', a->dir);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range range = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = TREE_BATCH};
    TRY(kv_range(tx, &range, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        struct dentry d;
        struct inode x;
        TRY(tx_dentry(tx, a->dir, str_from(rows.row[i].key, 9), &d)); /* one before may have changed it: hard links */
        TRY(tx_inode(tx, d.ino, &x));
        TRY(x.type == REC_DIR ? tree_dir(tx, a->m, &x, dir.key, keep_ufs) : tree_file(tx, a->m, &x, dir.key, keep_ufs));
        kv_del(tx, rows.row[i].key);
    }
    a->more = rows.n > 0;
    if (!a->more && keep_ufs && a->dir == dir.mount) {
        TRY(mount_rows(tx, dir.mount, &a->more));
        key_id(&k, 'M', dir.mount);
        if (!a->more)
            kv_del(tx, buf_str(&k));
    }
    if (a->more)
        return 0;
    tx_del_dir(tx, a->dir);
    tx_unqueue(tx, Q_TREE, a->due, a->dir, STR(""));
    return 0;
}

int meta_tree(struct meta *m, const struct meta_item *it, bool *ret_more)
{
    struct tree_arg a = {m, it->id, it->due, false};
    TRY(FAULT(META_TREE_STEP));
    TRY(meta_commit(m, tree_tx, &a, KV_LAZY, NULL));
    *ret_more = a.more;
    meta_kick(m, 0);
    return 0;
}
