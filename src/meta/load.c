/* SPDX-License-Identifier: Apache-2.0
 *
 * What the UFS was seen to hold enters the namespace here.
 *
 * Between the look at the UFS and this transaction everything may have changed. An insert is right only if nothing
 * hides the key now and nothing that hid it was removed since the look: that is the epoch. A refresh or a removal is
 * right only for a clean file nobody has confirmed after the look began.
 */
#include "meta/tx.h"
#include "base/hash.h"

struct load_arg {
    struct meta *m;
    struct meta_load *l;
    uint64_t first_id;
};

int tx_new_content(struct kv_tx *tx, struct content *c)
{
    c->borrows = false;
    for (size_t i = 0; i < c->n; i++)
        if (c->inl[i].blob && c->inl[i].origin != c->id) {
            c->borrows = true;
            tx_ref(tx, c->inl[i].origin, c->id);
        }
    tx_put_content(tx, c);
    return 0;
}

static bool etag_like(const char *z)
{
    size_t n = strspn(z, "0123456789abcdef");
    if (n != 32)
        return false;
    return !z[n] || (z[n] == '-' && z[n + 1] && z[n + 1 + strspn(z + n + 1, "0123456789")] == 0);
}

/* The UFS's ETag where it is one as S3 writes it, else one that changes with the version. */
static void loaded_etag(const struct ufs_stat *st, char out[72])
{
    if (etag_like(st->etag)) {
        snprintf(out, 72, "%s", st->etag);
        return;
    }
    uint64_t h[2] = {str_hash(str_of(st->version)), 0};
    h[1] = str_hash(str_mk(h, sizeof h)) ^ st->size;
    str_hex(h, sizeof h, out);
    memcpy(out + 32, "-1", 3);
}

static int put_loaded_content(struct kv_tx *tx, uint64_t content, uint64_t blob, uint64_t ino, uint64_t size)
{
    struct content c = {.id = content, .ino = ino, .state = CONTENT_LIVE, .back = BACK_INODE, .size = size};
    c.n = size > 0;
    c.inl[0] = (struct extent){.len = size, .blob = blob, .origin = content};
    return tx_new_content(tx, &c);
}

static void seen(struct inode *i, const struct ufs_stat *st)
{
    i->loc = LOC_HOME;
    i->size = i->type == REC_DIR && st->is_dir ? 0 : st->size; /* a folder object that others made may have a content */
    i->mtime_ms = st->mtime_ms;
    i->ctime_ms = st->mtime_ms;
    i->checked_ms = clock_wall_ms();
    snprintf(i->ver, sizeof i->ver, "%s", st->version);
    loaded_etag(st, i->etag);
}

static int insert(struct kv_tx *tx, struct place *p, const struct meta_load_entry *e, uint64_t *id)
{
    struct inode i = {.mode = 0644, .nlink = 1, .type = REC_FILE};
    struct dentry d = {.type = REC_FILE};
    uint64_t now = clock_wall_ms();
    TRY(tx_make_dirs(tx, p, id, now));
    if (p->leaf.p[p->leaf.n - 1] == '/') {
        i.type = d.type = REC_DIR;
        i.mode = 0755;
        i.nlink = 2;
        i.explicit_dir = e->st != NULL;
        i.name = (struct str){p->leaf.p, p->leaf.n - 1};
    } else {
        i.name = p->leaf;
    }
    i.ino = d.ino = (*id)++;
    i.parent = p->dir;
    i.mount = p->mount;
    i.mtime_ms = i.ctime_ms = now;
    if (e->st)
        seen(&i, e->st);
    if (i.type == REC_FILE) {
        i.content = (*id)++;
        TRY(put_loaded_content(tx, i.content, (*id)++, i.ino, i.size));
        i.no_pairs = !e->pairs.p;
    }
    posix_from_pairs(&i, e->pairs);
    xattrs_from_pairs(tx, &i, e->pairs);
    d.type = i.type;
    tx_put_pairs(tx, i.ino, e->pairs);
    tx_put_inode(tx, &i);
    tx_put_dentry(tx, p->dir, p->leaf, &d);
    return 0;
}

/* A file known from a listing only turns out to be of another type, or mode, when its metadata is read. */
static int tx_learn(struct kv_tx *tx, struct inode *i, struct str pairs, enum rec_type was)
{
    struct dentry d;
    posix_from_pairs(i, pairs);
    xattrs_from_pairs(tx, i, pairs);
    if (i->type == was || !i->parent || i->type == REC_DIR)
        return 0;
    TRY(tx_dentry(tx, i->parent, i->name, &d));
    d.type = i->type;
    tx_put_dentry(tx, i->parent, i->name, &d);
    return 0;
}

int tx_refresh(struct kv_tx *tx, struct inode *i, const struct meta_load_entry *e, uint64_t *id)
{
    char old_ver[96];
    memcpy(old_ver, i->ver, sizeof old_ver);
    if (i->content)
        TRY(tx_content_dead(tx, i->content, i->mount, e->ident, old_ver));
    seen(i, e->st);
    i->version = i->holes = 0;
    if (i->link_of) { /* what lies there now is no name of that file any more */
        TRY(tx_link_detach(tx, i));
        i->link_of = 0;
    }
    enum rec_type was = i->type;
    if (i->type != REC_DIR) {
        i->type = REC_FILE;
        i->content = (*id)++;
        TRY(put_loaded_content(tx, i->content, (*id)++, i->ino, i->size));
        i->no_pairs = !e->pairs.p;
        tx_put_pairs(tx, i->ino, e->pairs);
    }
    TRY(tx_learn(tx, i, e->pairs, was));
    tx_put_inode(tx, i);
    tx_note_inode(i->ino);
    return 0;
}

/* Below a directory that is not settled yet a file without an object there shadows what lies there: nothing would ever
 * overwrite that, and it would come back at the old path once the directory has left it. */
static int shadowed(struct kv_tx *tx, const struct inode *i, struct str home, const struct meta_load_entry *e,
                    bool *ret)
{
    struct owner o;
    *ret = e->st && i->type != REC_DIR && i->loc != LOC_HOME && !str_eq(home, e->ident) && !str_eq(i->key, e->ident);
    if (!*ret)
        return 0;
    TRY(tx_owner(tx, false, i->mount, e->ident, &o));
    return o.kind == OWNER_NONE && o.claim == CLAIM_NONE ? tx_gone(tx, i->mount, e->ident, e->st->version, 0, true) : 0;
}

static int meet(struct kv_tx *tx, struct load_arg *a, const struct place *p, uint64_t ino, struct str home,
                const struct meta_load_entry *e, uint64_t *id)
{
    struct inode i;
    bool hidden, old;
    TRY(tx_inode(tx, ino, &i));
    TRY(shadowed(tx, &i, home, e, &old));
    if (old)
        return 0;
    if (!e->st || i.dirty || i.transient)
        return 0;
    if (i.type == REC_DIR && !i.explicit_dir) {   /* implied until now; the UFS has a marker for it */
        TRY(tx_hidden(tx, p, e->ident, &hidden)); /* or one that is to go, or another directory's */
        if (hidden || (i.key.n && !(meta_caps(a->m, i.mount) & UFS_CAP_MARKERS)))
            return 0;
        i.explicit_dir = true;
        seen(&i, e->st);
        tx_put_inode(tx, &i);
        return 0;
    }
    if (i.loc != LOC_HOME || i.checked_ms >= a->l->start_ms)
        return 0;
    TRY(tx_hidden(tx, p, e->ident, &hidden)); /* it, or a directory above, is being written or moved */
    if (hidden)
        return 0;
    if (strcmp(i.ver, e->st->version))
        return tx_refresh(tx, &i, e, id);
    if (a->l->whole_epoch && !e->pairs.p)
        return 0; /* listings do not write a row for each unchanged file */
    i.checked_ms = clock_wall_ms();
    if (i.no_pairs && e->pairs.p) {
        i.no_pairs = false;
        tx_put_pairs(tx, i.ino, e->pairs);
        TRY(tx_learn(tx, &i, e->pairs, i.type));
    }
    tx_put_inode(tx, &i);
    return 0;
}

static int epoch_now(struct kv_tx *tx, uint64_t mount, struct str key, bool whole, uint64_t *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    if (whole)
        key_epoch_all(&k, mount);
    else
        key_epoch(&k, mount, key);
    int r = kv_get(tx, buf_str(&k), &v);
    *ret = r == 0 ? kv_counter(v) : 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int load_entry(struct kv_tx *tx, struct load_arg *a, struct meta_load_entry *e, uint64_t *id)
{
    struct buf path AUTO_BUF = {0};
    struct place p;
    struct dentry d;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    uint64_t epoch;
    bool hidden;
    buf_str_add(&path, a->l->path);
    buf_str_add(&path, e->path);
    e->ask_again = e->look_below = false;
    TRY(tx_walk(tx, a->l->dir, buf_str(&path), &p));
    TRY(place_keys(&p, home, ident));
    if (!p.leaf.n)
        return 0;
    if (!str_eq(str_of(ident), e->ident)) { /* a directory above was renamed since the look */
        e->ask_again = true;
        return 0;
    }
    int r = p.rest.n ? ERR_NOT_FOUND : tx_dentry(tx, p.dir, p.leaf, &d);
    if (r == 0)
        return meet(tx, a, &p, d.ino, str_of(home), e, id);
    if (r != ERR_NOT_FOUND)
        return r;
    TRY(tx_unseen(tx, &p, e->ident, &hidden));
    if (hidden)
        return 0;
    TRY(epoch_now(tx, p.mount, e->ident, a->l->whole_epoch, &epoch));
    if (epoch != a->l->epoch && !FAULT(TEST_SKIP_EPOCH_CHECK)) {
        e->ask_again = true;
        return 0;
    }
    if (!e->st)
        TRY(tx_owned_below(tx, p.mount, e->ident, &e->look_below));
    return e->look_below ? 0 : insert(tx, &p, e, id);
}

static int load_tx(struct kv_tx *tx, void *arg)
{
    struct load_arg *a = arg;
    uint64_t id = a->first_id;
    for (size_t i = 0; i < a->l->n; i++)
        TRY(load_entry(tx, a, &a->l->entry[i], &id));
    return 0;
}

unsigned path_components(struct str path)
{
    unsigned n = 1;
    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '/';
    return n;
}

int meta_load(struct meta *m, struct meta_load *l)
{
    struct load_arg a = {m, l, 0};
    unsigned ids = 0;
    for (size_t i = 0; i < l->n; i++)
        ids += 3 + path_components(l->entry[i].path);
    TRACE("meta.load", l->n, l->epoch);
    TRY(meta_mint(m, ids + 1, &a.first_id));
    TRY(meta_commit(m, load_tx, &a, KV_LAZY, NULL));
    return l->n == 1 && l->entry[0].ask_again ? ERR_CONFLICT : 0;
}

/* ---- gone, checked ---- */

struct one_arg {
    struct meta *m;
    uint64_t ino, epoch, mount;
    const char *ver;
    struct str pairs, key;
    bool whole, deep, gone;
    uint64_t until;
};

static int gone_tx(struct kv_tx *tx, void *arg)
{
    struct one_arg *a = arg;
    struct inode i;
    struct place p;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    struct buf leaf AUTO_BUF = {0};
    a->gone = false;
    int r = tx_inode(tx, a->ino, &i);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (i.type == REC_DIR || i.dirty || i.transient || i.loc != LOC_HOME || strcmp(i.ver, a->ver))
        return 0;
    TRY(tx_climb(tx, &i, &p));
    TRY(place_keys(&p, home, ident));
    bool moving;
    uint64_t epoch;
    TRY(tx_hidden(tx, &p, str_of(ident), &moving));
    TRY(epoch_now(tx, i.mount, str_of(ident), false, &epoch));
    if (moving || epoch != a->epoch || !str_eq(str_of(ident), a->key))
        return 0;
    a->gone = true;
    tx_del_dentry(tx, i.parent, inode_leaf(&i, &leaf));
    TRY(tx_file_end(tx, a->m, &i, str_of(ident), i.ver));
    return tx_prune(tx, &p, clock_wall_ms());
}

int meta_load_gone(struct meta *m, uint64_t ino, const char *ver, struct str ident, uint64_t epoch, bool *ret_gone)
{
    struct one_arg a = {.m = m, .ino = ino, .ver = ver, .key = ident, .epoch = epoch};
    TRY(meta_commit(m, gone_tx, &a, KV_LAZY, NULL));
    *ret_gone = a.gone;
    return 0;
}

static int checked_tx(struct kv_tx *tx, void *arg)
{
    struct one_arg *a = arg;
    struct inode i;
    int r = tx_inode(tx, a->ino, &i);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (i.dirty || i.loc == LOC_NONE || strcmp(i.ver, a->ver))
        return 0;
    i.checked_ms = clock_wall_ms();
    if (i.no_pairs && a->pairs.p) {
        i.no_pairs = false;
        tx_put_pairs(tx, i.ino, a->pairs);
        TRY(tx_learn(tx, &i, a->pairs, i.type));
    }
    tx_put_inode(tx, &i);
    return 0;
}

int meta_load_checked(struct meta *m, uint64_t ino, const char *ver, struct str pairs)
{
    struct one_arg a = {.m = m, .ino = ino, .ver = ver, .pairs = pairs};
    return meta_commit(m, checked_tx, &a, KV_LAZY, NULL);
}

static int epoch_tx(struct kv_tx *tx, void *arg)
{
    struct one_arg *a = arg;
    return epoch_now(tx, a->mount, a->key, a->whole, &a->epoch);
}

int meta_epoch(struct meta *m, uint64_t mount, struct str ufs_key, bool whole, uint64_t *ret)
{
    struct one_arg a = {.mount = mount, .key = ufs_key, .whole = whole};
    TRY(kv_view(m->kv, epoch_tx, &a, NULL));
    *ret = a.epoch;
    return 0;
}

static int complete_tx(struct kv_tx *tx, void *arg)
{
    struct one_arg *a = arg;
    struct inode i;
    TRY(tx_inode(tx, a->ino, &i));
    tx_put_known(tx, a->ino, a->deep, a->until);
    return 0;
}

int meta_load_complete(struct meta *m, uint64_t dir, bool deep, uint64_t until_ms)
{
    struct one_arg a = {.ino = dir, .deep = deep, .until = until_ms};
    return meta_commit(m, complete_tx, &a, KV_LAZY, NULL);
}

struct dir_arg {
    uint64_t dir;
    struct str path;
    struct meta_dir *ret;
};

static int dir_tx(struct kv_tx *tx, void *arg)
{
    struct dir_arg *a = arg;
    struct meta_dir *r = a->ret;
    struct place p;
    struct dentry d;
    struct inode i;
    uint64_t until;
    bool deep;
    char home[META_KEY_MAX + 8];
    *r = (struct meta_dir){0};
    TRY(tx_walk(tx, a->dir, a->path, &p));
    int rc = p.rest.n ? ERR_NOT_FOUND : 0;
    if (rc == 0 && p.leaf.n) {
        rc = tx_dentry(tx, p.dir, p.leaf, &d);
        if (rc == 0) { /* step into the leaf */
            TRY(tx_inode(tx, d.ino, &i));
            TRY(place_keys(&p, home, r->ident));
            if (i.key.n)
                snprintf(r->ident, sizeof r->ident, "%.*s", STR_ARG(i.key));
            if (p.dir == META_ROOT)
                p.mount = d.ino;
            p.chain[p.depth++] = d.ino;
            p.dir = d.ino;
        }
    } else if (rc == 0) {
        memcpy(r->ident, p.ident, p.ident_n + 1);
    }
    if (rc < 0 && rc != ERR_NOT_FOUND)
        return rc;
    TRY(tx_known(tx, &p, clock_wall_ms(), &until, &deep));
    r->mount = p.mount;
    r->ino = p.dir;
    uint64_t ever;
    TRY(tx_known(tx, &p, 0, &ever, &r->once));
    r->once = ever != 0;
    r->exists = rc == 0;
    r->known = until != 0;
    r->deep_known = until && deep;
    if (!r->exists) {
        if (!p.depth)
            return ERR_NO_BUCKET;
        TRY(place_keys(&p, home, r->ident));
    }
    bool hidden = false;
    if (r->ident[0])
        TRY(tx_hidden(tx, &p, str_of(r->ident), &hidden));
    r->hidden = hidden;
    return 0;
}

int meta_dir(struct meta *m, uint64_t dir, struct str path, struct meta_dir *ret)
{
    struct dir_arg a = {dir, path, ret};
    return kv_view(m->kv, dir_tx, &a, NULL);
}
