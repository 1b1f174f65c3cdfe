/* SPDX-License-Identifier: Apache-2.0
 *
 * A content becomes what a name shows: PUT, copy, Complete, mkdir of S3's "a/". One transaction: precondition, parents,
 * dentry, inode, content, persist record, and what becomes of the file that had the name.
 */
#include "meta/tx.h"

static bool etag_matches(struct str cond, const char *etag)
{
    if (str_eq(cond, STR("*")))
        return true;
    while (cond.n) { /* a list of quoted or bare tags */
        const char *comma = memchr(cond.p, ',', cond.n);
        struct str one = comma ? (struct str){cond.p, (size_t)(comma - cond.p)} : cond;
        cond = str_from(cond, one.n + (comma ? 1 : 0));
        while (one.n && *one.p == ' ')
            one = str_from(one, 1);
        while (one.n && one.p[one.n - 1] == ' ')
            one.n--;
        if (one.n >= 2 && one.p[0] == '"' && one.p[one.n - 1] == '"')
            one = (struct str){one.p + 1, one.n - 2};
        if (str_eq(one, str_of(etag)))
            return true;
    }
    return false;
}

int meta_cond_check(const struct meta_cond *c, const char *etag)
{
    if (!c)
        return 0;
    if (c->if_match.p && !etag)
        return err_set(ERR_NOT_FOUND, "If-Match was given and there is no such object");
    if (c->if_match.p && !etag_matches(c->if_match, etag))
        return err_set(ERR_PRECONDITION, "the object's ETag is \"%s\": If-Match does not hold", etag);
    if (c->if_none_match.p && etag && etag_matches(c->if_none_match, etag))
        return err_set(ERR_PRECONDITION, "the object exists with ETag \"%s\": If-None-Match does not hold", etag);
    return 0;
}

/* Where the UFS is a tree like any other file system, a name is a file or a directory, not both. */
static int check_clash(struct kv_tx *tx, struct meta *m, struct place *p)
{
    if (meta_caps(m, p->mount) & UFS_CAP_VERBATIM)
        return 0;
    struct buf other AUTO_BUF = {0};
    struct str name =
        p->rest.n ? (struct str){p->rest.p, (size_t)((const char *)memchr(p->rest.p, '/', p->rest.n) - p->rest.p) + 1}
                  : p->leaf;
    bool dir = name.p[name.n - 1] == '/';
    struct dentry d;
    buf_add(&other, name.p, dir ? name.n - 1 : name.n);
    if (!dir)
        buf_u8(&other, '/');
    int r = tx_dentry(tx, p->dir, buf_str(&other), &d);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (!dir) { /* an implied directory that holds nothing any more is no obstacle */
        struct inode i;
        bool empty;
        TRY(tx_inode(tx, d.ino, &i));
        TRY(tx_dir_empty(tx, d.ino, &empty));
        if (empty && !i.explicit_dir && !i.key.n) {
            tx_del_dentry(tx, p->dir, buf_str(&other));
            tx_del_dir(tx, d.ino);
            return 0;
        }
    }
    return err_set(ERR_KEY_UNSUPPORTED,
                   "\"%.*s\" exists as a %s, and this under file system cannot hold a file and a directory of "
                   "one name",
                   STR_ARG(buf_str(&other)), dir ? "file" : "directory");
}

/* Where a clean marker lies. A UFS without markers has the directory itself: it goes where its prefix goes. */
static struct str marker_at(struct meta *m, const struct inode *i, struct str ident)
{
    return i->key.n && !(meta_caps(m, i->mount) & UFS_CAP_MARKERS) ? i->key : ident;
}

int tx_dir_dirty(struct kv_tx *tx, struct meta *m, struct inode *i, enum meta_fate fate, struct str home,
                 struct str ident)
{
    if (i->dirty)
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    i->dirty = fate == META_DIRTY;
    i->transient = fate == META_TRANSIENT_FILE;
    if (i->loc == LOC_HOME) { /* overwritten where it lies, if that is at home; should the directory go first, reaped */
        struct str at = marker_at(m, i, ident);
        TRY(tx_gone(tx, i->mount, at, i->ver, 0, !i->dirty || !str_eq(at, home)));
    }
    i->loc = LOC_NONE;
    i->ver[0] = 0;
    if (i->dirty)
        tx_persist_record(tx, i, clock_wall_ms());
    return 0;
}

int tx_marker_gone(struct kv_tx *tx, struct meta *m, struct inode *i, struct str home, struct str ident)
{
    if (i->dirty)
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    if (i->loc == LOC_HOME)
        TRY(tx_gone(tx, i->mount, marker_at(m, i, ident), i->ver, 0, true));
    else if (i->explicit_dir && i->blind)
        TRY(tx_gone(tx, i->mount, home, "", 0, true));
    else
        TRY(tx_reap_if_gone(tx, i->mount, home));
    i->dirty = i->transient = i->blind = false;
    i->loc = LOC_NONE;
    i->ver[0] = 0;
    i->size = 0;
    return 0;
}

int tx_marker_moves(struct kv_tx *tx, struct meta *m, struct inode *i, struct str home, struct str ident)
{
    if (i->loc != LOC_HOME || !i->size)
        return tx_marker_gone(tx, m, i, home, ident);
    i->loc = LOC_NONE;
    i->ver[0] = 0;
    i->size = 0;
    i->etag[0] = 0;
    return 0;
}

static int old_file(struct kv_tx *tx, struct place *p, struct inode *ret, bool *ret_there)
{
    struct dentry d;
    *ret_there = false;
    int r = p->rest.n ? ERR_NOT_FOUND : tx_dentry(tx, p->dir, p->leaf, &d);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    TRY(tx_inode(tx, d.ino, ret));
    *ret_there = true;
    return 0;
}

static int release_claim(struct kv_tx *tx, const struct meta_publish *p, struct place *pl, struct str home)
{
    struct owner o;
    TRY(tx_owner(tx, false, pl->mount, home, &o));
    if (o.nonce != p->nonce)
        return err_set(ERR_STALE, "the claim on the key was lost");
    if (o.kind == OWNER_GONE && o.reap_due)
        tx_unqueue(tx, Q_REAP, o.reap_due, pl->mount, home);
    o = (struct owner){0};
    tx_put_owner(tx, false, pl->mount, home, &o);
    return 0;
}

static int is_blind(struct kv_tx *tx, struct place *p, const struct inode *old, bool there, struct str home, bool *ret)
{
    struct owner o;
    uint64_t until;
    bool deep;
    if (there && old->loc == LOC_NONE && old->explicit_dir == false && old->type != REC_DIR) {
        *ret = old->blind;
        return 0;
    }
    TRY(tx_owner(tx, false, p->mount, home, &o));
    TRY(tx_known(tx, p, clock_wall_ms(), &until, &deep));
    *ret = o.kind == OWNER_NONE && !until && !there;
    return 0;
}

static void set_clean(struct inode *i, const struct ufs_stat *st, bool same)
{
    i->loc = same ? LOC_HOME : LOC_KEY;
    i->checked_ms = clock_wall_ms();
    snprintf(i->ver, sizeof i->ver, "%s", st->version);
}

static int new_inode(struct kv_tx *tx, const struct meta_publish *p, struct place *pl, const struct inode *old,
                     bool there, struct str home, struct str ident, struct inode *i)
{
    uint64_t now = clock_wall_ms();
    *i = (struct inode){.parent = pl->dir,
                        .mount = pl->mount,
                        .type = p->type,
                        .mode = p->mode,
                        .uid = p->uid,
                        .gid = p->gid,
                        .nlink = 1,
                        .size = p->size,
                        .content = p->content,
                        .name = pl->leaf};
    i->ctime_ms = there && now <= old->ctime_ms ? old->ctime_ms + 1 : now;
    i->mtime_ms = p->mtime_ms ? p->mtime_ms : i->ctime_ms;
    snprintf(i->etag, sizeof i->etag, "%s", p->etag ? p->etag : "");
    i->dirty = p->fate == META_DIRTY;
    i->transient = p->fate == META_TRANSIENT_FILE;
    if (p->fate == META_CLEAN) {
        set_clean(i, p->st, str_eq(home, ident));
        if (i->loc == LOC_KEY)
            return err_set(ERR_BUSY, "the directory is being moved in the under file system");
        return 0;
    }
    return is_blind(tx, pl, old, there, home, &i->blind);
}

static void set_posix(const struct meta_publish *p, struct inode *i)
{
    uint64_t ns = clock_wall_ns();
    i->posix = true;
    i->rdev = p->rdev;
    i->mtime_ms = i->ctime_ms = ns / 1000000;
    i->mtime_frac = i->ctime_frac = (uint32_t)(ns % 1000000);
}

static int publish_dir(struct kv_tx *tx, struct meta *m, const struct meta_publish *p, struct place *pl,
                       struct inode *old, bool there, uint64_t id, struct publish_out *ret)
{
    struct dentry d = {.ino = id, .type = REC_DIR};
    struct inode i;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    uint64_t until = 0;
    bool deep;
    TRY(place_keys(pl, home, ident));
    if (there) {
        i = *old;
    } else {
        TRY(new_inode(tx, p, pl, old, there, str_of(home), str_of(ident), &i));
        i.ino = id;
        i.name.n--;
        i.nlink = 2;
        if (p->posix) {
            set_posix(p, &i);
            TRY(tx_inherit_group(tx, pl->dir, &i));
        }
        TRY(tx_known(tx, pl, clock_wall_ms(), &until, &deep));
        if (until)
            tx_put_known(tx, id, true, until);
        i.dirty = i.transient = false;
    }
    bool was = there && old->explicit_dir && !old->size; /* a content that others gave it is overwritten */
    i.size = 0;
    i.explicit_dir = true;
    if (!p->posix)
        i.mtime_ms = clock_wall_ms();
    snprintf(i.etag, sizeof i.etag, "%s", p->etag ? p->etag : "");
    if (p->fate == META_CLEAN && !strcmp(home, ident))
        set_clean(&i, p->st, true);
    else if (p->fate == META_CLEAN) /* it stays when the directory above comes */
        TRY(tx_dir_dirty(tx, m, &i, META_DIRTY, str_of(home), str_of(ident)));
    else if (!was || p->pairs.n)
        TRY(tx_dir_dirty(tx, m, &i, p->fate, str_of(home), str_of(ident)));
    tx_put_inode(tx, &i);
    tx_put_pairs(tx, i.ino, p->pairs);
    if (!there)
        tx_put_dentry(tx, pl->dir, pl->leaf, &d);
    ret->i = i;
    ret->pairs = p->pairs;
    ret->replaced = false;
    return 0;
}

/* Neither as a file nor as a directory. */
static int check_new_name(struct kv_tx *tx, struct place *p, bool there)
{
    struct buf other AUTO_BUF = {0};
    struct dentry d;
    if (there)
        return err_set(ERR_EXISTS, "the name exists");
    if (p->rest.n)
        return 0;
    bool dir = p->leaf.p[p->leaf.n - 1] == '/';
    buf_add(&other, p->leaf.p, p->leaf.n - dir);
    if (!dir)
        buf_u8(&other, '/');
    int r = tx_dentry(tx, p->dir, buf_str(&other), &d);
    return r == 0 ? err_set(ERR_EXISTS, "the name exists") : r == ERR_NOT_FOUND ? 0 : r;
}

int tx_publish(struct kv_tx *tx, struct meta *m, const struct meta_publish *p, struct content *c, uint64_t first_id,
               struct publish_out *ret)
{
    struct place pl;
    struct inode old = {0}, i;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    bool there;
    uint64_t id = first_id;
    TRY(tx_walk(tx, p->dir, p->path, &pl));
    if (!pl.depth || !pl.leaf.n)
        return err_set(pl.rest.n || !pl.leaf.n ? ERR_NO_BUCKET : ERR_DENIED,
                       "there is no such bucket; mount one (forebay mount add) or create it");
    if (pl.rest.n && (p->flags & META_POSIX) && place_missing(&pl))
        return ERR_NOT_FOUND;
    TRY(check_clash(tx, m, &pl));
    TRY(old_file(tx, &pl, &old, &there));
    if (p->excl)
        TRY(check_new_name(tx, &pl, there));
    TRY(meta_cond_check(&p->cond, there && (old.type != REC_DIR || old.explicit_dir) ? old.etag : NULL));
    TRY(tx_make_dirs(tx, &pl, &id, clock_wall_ms()));
    TRY(place_keys(&pl, home, ident));
    if (p->type == REC_DIR) {
        if (p->fate == META_CLEAN)
            TRY(release_claim(tx, p, &pl, str_of(home)));
        return publish_dir(tx, m, p, &pl, &old, there, id, ret);
    }
    if (there)
        TRY(tx_forget_file(tx, m, &old, &pl, true));
    if (p->fate == META_CLEAN)
        TRY(release_claim(tx, p, &pl, str_of(home)));
    TRY(new_inode(tx, p, &pl, &old, there, str_of(home), str_of(ident), &i));
    i.ino = id;
    if (p->posix) {
        set_posix(p, &i);
        TRY(tx_inherit_group(tx, pl.dir, &i));
    }
    if (i.dirty)
        tx_persist_record(tx, &i, clock_wall_ms() + p->quiet_ms);
    TRY(tx_turn(tx, m, &i, &pl, NULL));
    struct dentry d = {.ino = id, .type = p->type};
    tx_put_dentry(tx, pl.dir, pl.leaf, &d);
    tx_put_inode(tx, &i);
    tx_put_pairs(tx, id, p->pairs);
    if (c) {
        c->ino = id;
        c->state = CONTENT_LIVE;
        c->back = p->fate == META_CLEAN ? BACK_INODE : BACK_NONE;
        TRY(tx_new_content(tx, c));
        struct inode before = i;
        before.content = before.size = 0;
        if (p->lazy)
            tx_put_lazy(tx, c->id, &before);
    }
    ret->i = i;
    ret->pairs = p->pairs;
    ret->replaced = there;
    return 0;
}

struct publish_arg {
    struct meta *m;
    struct meta_publish *p;
    uint64_t first_id;
    bool replaced; /* out: a file that was there before is to be dropped */
};

/* A copy of content that is in the UFS names its source as origin, whose object backs every byte of it; one of content
 * that is not keeps the source's own origins. */
static void rebase(struct extent *e, size_t n, uint64_t src, uint64_t off)
{
    for (; n; n--, e++) {
        e->origin = src;
        e->origin_off = off;
        off += e->len;
    }
}

/* The source's extents, row by row, become the copy's; each origin learns of its borrower. */
static int copy_chunks(struct kv_tx *tx, uint64_t src, uint64_t dst, bool backed)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct extent ext[REC_CHUNK];
    uint64_t last_origin = 0;
    key_id(&begin, 'C', src);
    kv_prefix_end(buf_str(&begin), &end);
    for (bool more = true; more;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 8};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            size_t n;
            struct cur c = cur_of(str_from(rows.row[i].key, 9));
            uint64_t off = cur_be64(&c);
            TRY(dec_extents(rows.row[i].value, ext, REC_CHUNK, &n));
            if (backed)
                rebase(ext, n, src, off);
            key_chunk(&k, dst, off);
            enc_extents(&v, ext, n);
            kv_put(tx, buf_str(&k), buf_str(&v));
            for (size_t e = 0; e < n; e++)
                if (ext[e].blob && ext[e].origin != last_origin) {
                    last_origin = ext[e].origin;
                    tx_ref(tx, last_origin, dst);
                }
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

static int copied_content(struct kv_tx *tx, const struct meta_publish *p, struct content *c)
{
    struct inode i;
    int r = tx_inode(tx, p->src_ino, &i);
    if (r == ERR_NOT_FOUND || (r == 0 && i.content != p->src_content))
        return err_set(ERR_STALE, "the source changed during the copy");
    TRY(r);
    if (p->src_etag && strcmp(i.etag, p->src_etag))
        return err_set(ERR_STALE, "the source changed during the copy");
    return tx_copy_content(tx, p->src_content, c);
}

int tx_copy_content(struct kv_tx *tx, uint64_t from, struct content *c)
{
    struct content src;
    TRY(tx_content(tx, from, &src));
    c->size = src.size;
    c->parts = src.parts;
    c->chunked = src.chunked;
    c->n = src.n;
    memcpy(c->inl, src.inl, sizeof c->inl);
    if (src.back == BACK_INODE)
        rebase(c->inl, c->n, src.id, 0);
    if (src.chunked) {
        c->borrows = true;
        c->n = 0;
        return copy_chunks(tx, src.id, c->id, src.back == BACK_INODE);
    }
    return 0;
}

static int publish_tx(struct kv_tx *tx, void *arg)
{
    struct publish_arg *a = arg;
    struct meta_publish *p = a->p;
    struct publish_out out;
    struct content c = {.id = p->content, .size = p->size, .n = p->n};
    for (size_t i = 0; i < p->n; i++)
        c.inl[i] = p->ext[i];
    if (p->src_content)
        TRY(copied_content(tx, p, &c));
    bool borrows = c.borrows;
    TRY(tx_publish(tx, a->m, p, p->content ? &c : NULL, a->first_id, &out));
    if (borrows && p->content && !c.borrows) {
        c.borrows = true;
        tx_put_content(tx, &c);
    }
    a->replaced = out.replaced;
    if (p->found)
        found_fill(p->found, &out.i, out.pairs);
    return 0;
}

int meta_publish(struct meta *m, struct meta_publish *p)
{
    struct publish_arg a = {m, p, 0, false};
    TRACE("meta.publish", p->content, p->size);
    TRY(meta_mint(m, 1 + path_components(p->path), &a.first_id));
    TRY(FAULT(META_PUBLISH_BEFORE));
    TRY(meta_or_conflict(meta_commit(m, publish_tx, &a, p->lazy ? KV_LAZY : KV_SYNC, NULL)));
    int r = FAULT(META_PUBLISH_AFTER);
    if (p->fate == META_DIRTY)
        meta_kick(m, Q_PERSIST);
    if (a.replaced)
        meta_kick(m, Q_DROP);
    return r;
}

/* ---- claims of writes that go through ---- */

struct claim_arg {
    struct meta *m;
    struct meta_claim *c;
};

static int claim_tx(struct kv_tx *tx, void *arg)
{
    struct claim_arg *a = arg;
    struct meta_claim *c = a->c;
    struct place pl;
    struct inode old = {0};
    struct owner o;
    uint64_t blocker;
    bool there;
    char ident[META_KEY_MAX + 8];
    TRY(tx_walk(tx, c->dir, c->path, &pl));
    if (!pl.depth || !pl.leaf.n)
        return err_set(ERR_NO_BUCKET, "there is no such bucket; mount one (forebay mount add) or create it");
    if (c->kind == CLAIM_PUT)
        TRY(check_clash(tx, a->m, &pl));
    TRY(old_file(tx, &pl, &old, &there));
    TRY(meta_cond_check(&c->cond, there && (old.type != REC_DIR || old.explicit_dir) ? old.etag : NULL));
    TRY(place_keys(&pl, c->key, ident));
    c->mount = pl.mount;
    int r = strcmp(c->key, ident) ? ERR_BUSY : tx_claimable(tx, a->m, pl.mount, str_of(c->key), 0, &o, &blocker);
    if (r == ERR_DIRTY)
        r = ERR_BUSY;
    if (r == 0 && o.kind == OWNER_MOVED)
        r = ERR_BUSY;
    if (r == ERR_BUSY)
        return err_set(ERR_BUSY, "the key is being moved or written in the under file system");
    TRY(r);
    c->content = o.kind == OWNER_GONE ? o.content : there && old.loc == LOC_HOME ? old.content : 0;
    c->expected = o.kind == OWNER_GONE || (there && old.loc == LOC_HOME);
    snprintf(c->ver, sizeof c->ver, "%s", o.kind == OWNER_GONE ? o.ver : there ? old.ver : "");
    if (o.claim != CLAIM_NONE) /* a dead process may have written there: what it finds is what counts */
        c->expected = false;
    if (c->expect_content && (!there || old.content != c->expect_content))
        return err_set(ERR_STALE, "the object was replaced meanwhile");
    snprintf(c->taken_intent, sizeof c->taken_intent, "%s", o.claim != CLAIM_NONE ? o.intent : "");
    owner_claim(a->m, &o, CLAIM_THROUGH, there ? old.ino : 0, c->nonce, c->intent);
    tx_put_owner(tx, false, pl.mount, str_of(c->key), &o);
    return 0;
}

int meta_claim(struct meta *m, struct meta_claim *c)
{
    struct claim_arg a = {m, c};
    TRY(meta_mint(m, 1, &c->nonce));
    TRY(FAULT(META_CLAIM_BEFORE));
    TRY(meta_update_or_conflict(m, claim_tx, &a));
    return FAULT(META_CLAIM_AFTER);
}

struct unclaim_arg {
    struct meta *m;
    struct meta_claim *c;
    bool done;
    uint64_t unknown_ms, first_id;
};

/* What the namespace still says of the path is outdated. A listing may have loaded the file a moment ago and be about
 * to read it here. */
static int outdate(struct kv_tx *tx, struct meta *m, const struct meta_claim *c, struct inode *old, struct place *pl,
                   uint64_t id)
{
    struct meta_load_entry now = {.st = c->st, .ident = str_of(c->key)};
    if (c->st && old->loc == LOC_HOME && !old->dirty && !old->transient)
        return tx_refresh(tx, old, &now, &id);
    if (old->type == REC_DIR)
        return 0;
    TRY(tx_forget_file(tx, m, old, pl, true));
    tx_del_dentry(tx, pl->dir, pl->leaf);
    return tx_prune(tx, pl, clock_wall_ms());
}

/* The key was changed and no inode is kept for it. */
static int forget_path(struct kv_tx *tx, struct meta *m, const struct meta_claim *c, uint64_t id)
{
    struct place pl;
    struct inode old;
    bool there;
    struct owner none = {0}, o;
    TRY(tx_walk(tx, c->dir, c->path, &pl));
    TRY(old_file(tx, &pl, &old, &there));
    struct place chain = pl;
    if (there && (old.type != REC_DIR || old.explicit_dir))
        TRY(outdate(tx, m, c, &old, &pl, id));
    TRY(tx_owner(tx, false, c->mount, str_of(c->key), &o));
    if (o.kind == OWNER_GONE && o.reap_due)
        tx_unqueue(tx, Q_REAP, o.reap_due, c->mount, str_of(c->key));
    tx_put_owner(tx, false, c->mount, str_of(c->key), &none);
    struct buf k AUTO_BUF = {0};
    for (size_t i = 0; i < chain.depth; i++) { /* the UFS holds what no row here says: nothing is complete any more */
        key_id(&k, 'L', chain.chain[i]);
        kv_del(tx, buf_str(&k));
    }
    return 0;
}

int tx_claim_done(struct kv_tx *tx, struct meta *m, const struct meta_claim *c, uint64_t first_id)
{
    struct owner o;
    TRY(tx_owner(tx, false, c->mount, str_of(c->key), &o));
    if (o.nonce != c->nonce || o.claim == CLAIM_NONE)
        return err_set(ERR_STALE, "the claim on the key was lost");
    return forget_path(tx, m, c, first_id);
}

static int unclaim_tx(struct kv_tx *tx, void *arg)
{
    struct unclaim_arg *a = arg;
    struct owner o;
    TRY(tx_owner(tx, false, a->c->mount, str_of(a->c->key), &o));
    if (o.nonce != a->c->nonce || o.claim == CLAIM_NONE)
        return 0;
    if (a->done)
        return forget_path(tx, a->m, a->c, a->first_id);
    if (a->unknown_ms) {
        o.until_ms = clock_wall_ms() + a->unknown_ms;
        if (o.kind == OWNER_NONE) { /* nothing would ever look at the row again */
            struct queue_rec q = {.since_ms = clock_wall_ms()};
            tx_queue(tx, Q_REAP, o.until_ms, a->c->mount, str_of(a->c->key), &q);
        }
    } else {
        owner_give_back(&o, a->c->taken_intent);
    }
    tx_put_owner(tx, false, a->c->mount, str_of(a->c->key), &o);
    return 0;
}

int meta_unclaim(struct meta *m, struct meta_claim *c, bool done, uint64_t unknown_ms)
{
    struct unclaim_arg a = {m, c, done, unknown_ms, 0};
    int r = done && c->st ? meta_mint(m, 2, &a.first_id) : 0;
    if (r == 0)
        r = meta_update(m, unclaim_tx, &a);
    meta_kick(m, Q_REAP);
    return r;
}

/* ---- pairs ---- */

struct pairs_arg {
    uint64_t ino;
    struct str over;
};

static int pairs_tx(struct kv_tx *tx, void *arg)
{
    struct pairs_arg *a = arg;
    struct inode i;
    struct str old;
    struct buf out AUTO_BUF = {0};
    TRY(tx_inode(tx, a->ino, &i));
    TRY(tx_pairs(tx, a->ino, &old));
    pairs_merge(&out, old, a->over);
    tx_put_pairs(tx, a->ino, buf_str(&out));
    i.ctime_ms = clock_wall_ms();
    tx_put_inode(tx, &i);
    return 0;
}

int meta_set_pairs(struct meta *m, uint64_t ino, struct str over)
{
    struct pairs_arg a = {ino, over};
    return meta_update(m, pairs_tx, &a);
}
