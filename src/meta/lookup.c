/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking: a path to what the namespace says of it, an inode back to its path, a content to its extents and backing.
 */
#include "meta/tx.h"

void meta_found_done(struct meta_found *f)
{
    buf_done(&f->buf);
    buf_done(&f->pairs);
}

bool inode_outdated(const struct meta *m, const struct inode *i)
{
    if (i->type == REC_DIR || i->dirty || i->transient || i->loc != LOC_HOME)
        return false;
    if (i->no_pairs || !i->checked_ms)
        return true;
    return m->sync_ms != UINT64_MAX && clock_wall_ms() >= i->checked_ms + m->sync_ms;
}

/* Copies, so that the caller may keep them. */
void found_fill(struct meta_found *f, const struct inode *i, struct str pairs)
{
    f->state = META_FOUND;
    f->i = *i;
    buf_reset(&f->buf);
    buf_str_add(&f->buf, i->name);
    buf_str_add(&f->buf, i->key);
    f->i.name = (struct str){f->buf.p, i->name.n};
    f->i.key = (struct str){f->buf.p + i->name.n, i->key.n};
    f->mount = i->mount;
    f->dir = i->parent;
    buf_reset(&f->pairs);
    buf_str_add(&f->pairs, pairs);
}

struct lookup_arg {
    struct meta *m;
    uint64_t dir;
    struct str path;
    unsigned flags;
    struct meta_found *ret;
};

static int leaf_dentry(struct kv_tx *tx, struct place *p, unsigned flags, struct dentry *ret)
{
    if (!(flags & META_POSIX) || (p->leaf.n && p->leaf.p[p->leaf.n - 1] == '/'))
        return tx_dentry(tx, p->dir, p->leaf, ret);
    struct buf name AUTO_BUF = {0};
    buf_str_add(&name, p->leaf);
    buf_u8(&name, '/');
    int r = tx_dentry(tx, p->dir, buf_str(&name), ret);
    return r == ERR_NOT_FOUND ? tx_dentry(tx, p->dir, p->leaf, ret) : r;
}

static int fill_inode(struct kv_tx *tx, const struct place *p, uint64_t ino, struct meta_found *f)
{
    struct inode i;
    struct str pairs;
    struct owner o;
    TRY(tx_inode(tx, ino, &i));
    TRY(tx_pairs(tx, ino, &pairs));
    found_fill(f, &i, pairs);
    if (i.loc == LOC_KEY && i.type != REC_DIR)
        snprintf(f->ident, sizeof f->ident, "%.*s", STR_ARG(i.key));
    f->claimed = false;
    if (i.loc != LOC_NONE && p) {
        TRY(tx_owner(tx, false, i.mount, str_of(f->ident), &o));
        f->claimed = o.claim != CLAIM_NONE;
    }
    return 0;
}

/* Hidden, and only for as long as a request that changes it runs: a write-through, or the rename of a directory above.
 * What lies there now is as good as unknown. */
static int being_changed(struct kv_tx *tx, const struct place *p, struct str ident, bool *ret)
{
    struct owner o;
    TRY(tx_owner(tx, false, p->mount, ident, &o));
    *ret = o.claim == CLAIM_THROUGH;
    bool gone = o.kind != OWNER_NONE || (o.claim != CLAIM_NONE && !*ret);
    for (size_t i = 0; i < ident.n && !gone; i++) {
        if (ident.p[i] != '/')
            continue;
        TRY(tx_owner(tx, true, p->mount, (struct str){ident.p, i + 1}, &o));
        *ret |= o.claim == CLAIM_RENAME;
        gone = o.kind == OWNER_GONE;
    }
    *ret &= !gone;
    return 0;
}

static int judge_missing(struct kv_tx *tx, struct lookup_arg *a, struct place *p)
{
    struct meta_found *f = a->ret;
    struct buf k AUTO_BUF = {0};
    struct str v;
    uint64_t until;
    bool deep, hidden;
    f->state = META_ABSENT;
    f->claimed = false;
    f->mount = p->mount;
    f->dir = p->dir;
    f->no_bucket = p->depth == 0;
    f->missing = p->rest.n ? p->rest.n : p->leaf.n;
    if (f->no_bucket)
        return 0;
    TRY(tx_known(tx, p, clock_wall_ms(), &until, &deep));
    if (until && !(a->flags & META_ASK))
        return 0;
    TRY(tx_unseen(tx, p, str_of(f->ident), &hidden));
    if (hidden)
        return being_changed(tx, p, str_of(f->ident), &f->claimed);
    f->state = META_UNKNOWN;
    key_epoch(&k, p->mount, str_of(f->ident));
    int r = kv_get(tx, buf_str(&k), &v);
    f->epoch = r == 0 ? kv_counter(v) : 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int lookup_tx(struct kv_tx *tx, void *arg)
{
    struct lookup_arg *a = arg;
    struct meta_found *f = a->ret;
    struct place p;
    struct dentry d;
    TRY(tx_walk(tx, a->dir, a->path, &p));
    TRY(place_keys(&p, f->home, f->ident));
    if (!p.leaf.n)
        return fill_inode(tx, &p, p.dir, f);
    int r = p.rest.n ? ERR_NOT_FOUND : leaf_dentry(tx, &p, a->flags, &d);
    if (r == ERR_NOT_FOUND)
        return judge_missing(tx, a, &p);
    TRY(r);
    return fill_inode(tx, &p, d.ino, f);
}

int meta_lookup(struct meta *m, uint64_t dir, struct str path, unsigned flags, struct meta_found *ret)
{
    struct lookup_arg a = {m, dir, path, flags, ret};
    TRACE("meta.lookup", dir, path.n);
    return kv_view(m->kv, lookup_tx, &a, &ret->version);
}

struct inode_arg {
    uint64_t ino;
    struct meta_found *ret;
};

static int inode_tx(struct kv_tx *tx, void *arg)
{
    struct inode_arg *a = arg;
    struct inode i;
    struct place p;
    TRY(tx_inode(tx, a->ino, &i));
    if (i.ino == META_ROOT) {
        a->ret->home[0] = a->ret->ident[0] = 0;
        return fill_inode(tx, NULL, a->ino, a->ret);
    }
    int r = tx_climb(tx, &i, &p);
    if (r == ERR_STALE)
        return ERR_NOT_FOUND;
    TRY(r);
    TRY(place_keys(&p, a->ret->home, a->ret->ident));
    return fill_inode(tx, &p, a->ino, a->ret);
}

int meta_inode(struct meta *m, uint64_t ino, struct meta_found *ret)
{
    struct inode_arg a = {ino, ret};
    return kv_view(m->kv, inode_tx, &a, &ret->version);
}

struct path_arg {
    uint64_t ino;
    struct buf *ret;
};

static int path_tx(struct kv_tx *tx, void *arg)
{
    struct path_arg *a = arg;
    struct buf tail AUTO_BUF = {0}, head AUTO_BUF = {0};
    struct inode i;
    for (uint64_t ino = a->ino; ino != META_ROOT; ino = i.parent) {
        if (!ino)
            return ERR_NOT_FOUND;
        TRY(tx_inode(tx, ino, &i));
        buf_reset(&head);
        buf_u8(&head, '/');
        buf_str_add(&head, i.name);
        if (ino == a->ino && i.type == REC_DIR)
            buf_u8(&head, '/');
        buf_str_add(&head, buf_str(&tail));
        struct buf swap = tail;
        tail = head;
        head = swap;
    }
    buf_reset(a->ret);
    buf_str_add(a->ret, tail.n ? buf_str(&tail) : STR("/"));
    return 0;
}

int meta_path(struct meta *m, uint64_t ino, struct buf *ret)
{
    struct path_arg a = {ino, ret};
    return kv_view(m->kv, path_tx, &a, NULL);
}

/* ---- contents ---- */

struct extents_arg {
    uint64_t content, off;
    struct content *ret;
    struct buf *strings;
    struct extent *ext;
    size_t max, *ret_n;
    uint64_t *ret_first;
};

static void keep_strings(struct content *c, struct buf *b)
{
    buf_reset(b);
    buf_str_add(b, c->back_key);
    c->back_key = buf_str(b);
}

/* From e[0..n) which begin at first: those that reach off, at most max. */
static void window(struct extents_arg *a, const struct extent *e, size_t n, uint64_t first)
{
    while (n && first + e->len <= a->off) {
        first += e->len;
        e++;
        n--;
    }
    *a->ret_n = n < a->max ? n : a->max;
    memcpy(a->ext, e, *a->ret_n * sizeof *e);
    *a->ret_first = first;
}

static int chunk_at(struct kv_tx *tx, uint64_t content, uint64_t off, struct extent ext[REC_CHUNK], size_t *ret_n,
                    uint64_t *ret_first)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_chunk(&begin, content, 0);
    key_chunk(&end, content, off);
    buf_u8(&end, 0);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1, .reverse = true};
    TRY(kv_range(tx, &r, &rows));
    if (!rows.n)
        return err_set(ERR_CORRUPT, "content %llu has no extents at %llu", (unsigned long long)content,
                       (unsigned long long)off);
    struct cur c = cur_of(str_from(rows.row[0].key, 9));
    *ret_first = cur_be64(&c);
    return dec_extents(rows.row[0].value, ext, REC_CHUNK, ret_n);
}

static int extents_tx(struct kv_tx *tx, void *arg)
{
    struct extents_arg *a = arg;
    int r = tx_content(tx, a->content, a->ret);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the content was replaced");
    TRY(r);
    *a->ret_n = 0;
    *a->ret_first = 0;
    if (a->off < a->ret->size && !a->ret->chunked)
        window(a, a->ret->inl, a->ret->n, 0);
    if (a->off < a->ret->size && a->ret->chunked) {
        struct extent ext[REC_CHUNK];
        size_t n;
        uint64_t first;
        TRY(chunk_at(tx, a->content, a->off, ext, &n, &first));
        window(a, ext, n, first);
    }
    keep_strings(a->ret, a->strings);
    return 0;
}

int meta_extents(struct meta *m, uint64_t content, uint64_t off, struct content *ret, struct buf *ret_strings,
                 struct extent *ext, size_t max, size_t *ret_n, uint64_t *ret_first_off)
{
    struct extents_arg a = {content, off, ret, ret_strings, ext, max, ret_n, ret_first_off};
    return kv_view(m->kv, extents_tx, &a, NULL);
}

struct backing_arg {
    uint64_t content;
    struct meta_backing *ret;
};

static int backing_of_inode(struct kv_tx *tx, uint64_t ino, uint64_t content, struct meta_backing *ret)
{
    struct inode i;
    struct place p;
    char home[META_KEY_MAX + 8];
    TRY(tx_inode(tx, ino, &i));
    if (i.content != content || i.loc == LOC_NONE)
        return ERR_NOT_FOUND;
    ret->mount = i.mount;
    snprintf(ret->ver, sizeof ret->ver, "%s", i.ver);
    if (i.loc == LOC_KEY) {
        snprintf(ret->key, sizeof ret->key, "%.*s", STR_ARG(i.key));
        return 0;
    }
    TRY(tx_climb(tx, &i, &p));
    return place_keys(&p, home, ret->key);
}

static int backing_tx(struct kv_tx *tx, void *arg)
{
    struct backing_arg *a = arg;
    struct content c;
    TRY(tx_content(tx, a->content, &c));
    if (c.back == BACK_INODE)
        return backing_of_inode(tx, c.ino, a->content, a->ret);
    if (c.back == BACK_NONE)
        return ERR_NOT_FOUND;
    a->ret->mount = c.back_mount;
    snprintf(a->ret->key, sizeof a->ret->key, "%.*s", STR_ARG(c.back_key));
    snprintf(a->ret->ver, sizeof a->ret->ver, "%s", c.back_ver);
    return 0;
}

int meta_backing(struct meta *m, uint64_t content, struct meta_backing *ret)
{
    struct backing_arg a = {content, ret};
    int r = kv_view(m->kv, backing_tx, &a, NULL);
    return r == ERR_STALE ? ERR_NOT_FOUND : r;
}

struct blobs_arg {
    uint64_t content, off;
    struct content c;
    struct extent *ext;
    size_t n;
    uint64_t first;
};

static int blobs_tx(struct kv_tx *tx, void *arg)
{
    struct blobs_arg *a = arg;
    int r = tx_content(tx, a->content, &a->c);
    if (r == ERR_NOT_FOUND)
        return ERR_STALE;
    TRY(r);
    a->n = 0;
    if (!a->c.chunked) {
        a->n = a->c.n;
        memcpy(a->ext, a->c.inl, a->n * sizeof *a->ext);
        return 0;
    }
    return a->off < a->c.size ? chunk_at(tx, a->content, a->off, a->ext, &a->n, &a->first) : 0;
}

int meta_blobs(struct meta *m, uint64_t content, bool own, int (*fn)(void *arg, const struct extent *e), void *arg)
{
    struct blobs_arg a = {.content = content};
    a.ext = calloc(REC_CHUNK, sizeof *a.ext);
    int r;
    do {
        r = kv_view(m->kv, blobs_tx, &a, NULL);
        for (size_t i = 0; i < a.n && r == 0; i++) {
            a.off = (a.c.chunked && i == 0 ? a.first : a.off) + a.ext[i].len;
            if (!own || a.ext[i].origin == content)
                r = fn(arg, &a.ext[i]);
        }
    } while (r == 0 && a.c.chunked && a.n && a.off < a.c.size);
    free(a.ext);
    return r;
}

int meta_rows(struct meta *m, uint64_t content,
              int (*fn)(void *arg, uint64_t off, const struct extent *e, size_t n, bool stored), void *arg)
{
    struct blobs_arg a = {.content = content};
    a.ext = calloc(REC_CHUNK, sizeof *a.ext);
    int r = a.ext ? 0 : ERR_NOMEM;
    do {
        if (r == 0)
            r = kv_view(m->kv, blobs_tx, &a, NULL);
        uint64_t off = a.c.chunked ? a.first : 0;
        if (r == 0 && a.n)
            r = fn(arg, off, a.ext, a.n, a.c.chunked);
        a.off = off;
        for (size_t i = 0; i < a.n && r == 0; i++)
            a.off += a.ext[i].len;
    } while (r == 0 && a.c.chunked && a.n && a.off < a.c.size);
    free(a.ext);
    return r;
}
