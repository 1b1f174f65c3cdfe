/* SPDX-License-Identifier: Apache-2.0
 *
 * From paths to places and back: the one path resolver, and what is known about a place.
 *
 * While walking, two UFS prefixes are kept: home (what the path maps to) and ident (where the directory's objects
 * really lie: differs below a renamed directory that has not been settled yet).
 */
#include "meta/tx.h"

bool name_ok(struct str path)
{
    return str_utf8(path);
}

static int extend(char *prefix, size_t *n, struct str name)
{
    if (*n + name.n > META_KEY_MAX)
        return err_set(ERR_NAME_TOO_LONG, "a path may have at most %d bytes below its bucket", META_KEY_MAX);
    memcpy(prefix + *n, name.p, name.n);
    *n += name.n;
    prefix[*n] = 0;
    return 0;
}

static int enter(struct kv_tx *tx, struct place *p, struct str name, const struct dentry *d)
{
    if (p->depth >= PLACE_DEPTH)
        return err_set(ERR_NAME_TOO_LONG, "a path may have at most %d components", PLACE_DEPTH);
    if (p->dir == META_ROOT) {
        p->mount = d->ino;
    } else {
        TRY(extend(p->home, &p->home_n, name));
        TRY(extend(p->ident, &p->ident_n, name));
    }
    if (d->has_prefix) {
        struct inode i;
        TRY(tx_inode(tx, d->ino, &i));
        p->ident_n = 0;
        TRY(extend(p->ident, &p->ident_n, i.key));
    }
    p->dir = d->ino;
    p->chain[p->depth++] = d->ino;
    return 0;
}

static struct str next_component(struct str path)
{
    const char *slash = path.n ? memchr(path.p, '/', path.n) : NULL;
    return slash ? (struct str){path.p, (size_t)(slash - path.p) + 1} : path;
}

static int walk_down(struct kv_tx *tx, struct str path, struct place *p)
{
    for (;;) {
        struct str name = next_component(path), rest = str_from(path, name.n);
        p->leaf = name;
        if (!rest.n)
            return 0;
        struct dentry d;
        int r = tx_dentry(tx, p->dir, name, &d);
        if (r == ERR_NOT_FOUND) {
            p->rest = path;
            return 0;
        }
        TRY(r);
        TRY(enter(tx, p, name, &d));
        path = rest;
    }
}

static void place_start(struct place *p)
{
    p->mount = 0;
    p->dir = META_ROOT;
    p->leaf = p->rest = STR("");
    p->leaf_dir = false;
    p->home_n = p->ident_n = p->depth = 0;
    p->home[0] = p->ident[0] = 0;
}

int tx_walk(struct kv_tx *tx, uint64_t start, struct str path, struct place *p)
{
    if (!str_utf8(path))
        return err_set(ERR_BAD_NAME, "the name is not valid UTF-8 or holds a NUL byte");
    place_start(p);
    if (start != META_ROOT) {
        struct inode i;
        TRY(tx_inode(tx, start, &i));
        TRY(tx_climb(tx, &i, p));
        struct dentry d = {.ino = start, .type = REC_DIR, .has_prefix = i.key.n > 0};
        struct buf leaf AUTO_BUF = {0};
        TRY(enter(tx, p, inode_leaf(&i, &leaf), &d));
        p->leaf = STR("");
        p->leaf_dir = false;
        if (!path.n)
            return 0;
    }
    return walk_down(tx, path, p);
}

int tx_climb(struct kv_tx *tx, const struct inode *i, struct place *p)
{
    struct inode *up AUTO_FREE = NULL;
    size_t n = 0, cap = 0;
    place_start(p);
    for (uint64_t ino = i->parent; ino != META_ROOT;) {
        if (!ino)
            return ERR_STALE;
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            struct inode *more = realloc(up, cap * sizeof *up);
            if (!more)
                return ERR_NOMEM;
            up = more;
        }
        int r = tx_inode(tx, ino, &up[n]);
        if (r == ERR_NOT_FOUND)
            return ERR_STALE;
        TRY(r);
        ino = up[n++].parent;
    }
    struct buf leaf AUTO_BUF = {0};
    while (n--) {
        struct dentry d = {.ino = up[n].ino, .type = REC_DIR, .has_prefix = up[n].key.n > 0};
        TRY(enter(tx, p, inode_leaf(&up[n], &leaf), &d));
    }
    p->leaf = i->name;
    p->leaf_dir = i->type == REC_DIR;
    return 0;
}

int place_keys(const struct place *p, char home[META_KEY_MAX + 8], char ident[META_KEY_MAX + 8])
{
    struct str tail = p->rest.n ? p->rest : p->leaf;
    size_t h = p->home_n, d = p->ident_n;
    memcpy(home, p->home, h + 1);
    memcpy(ident, p->ident, d + 1);
    if (p->dir == META_ROOT && !p->mount)
        return 0; /* a bucket itself: the root of its UFS */
    TRY(extend(home, &h, tail));
    TRY(extend(ident, &d, tail));
    if (!p->leaf_dir)
        return 0;
    TRY(extend(home, &h, STR("/")));
    return extend(ident, &d, STR("/"));
}

/* ---- what is known ---- */

static int known_until(struct kv_tx *tx, uint64_t dir, uint64_t now, uint64_t *ret_until, bool *ret_deep)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    *ret_until = 0;
    *ret_deep = false;
    key_id(&k, 'L', dir);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    struct cur c = cur_of(v);
    cur_u8(&c);
    bool deep = cur_u8(&c);
    uint64_t until = cur_varint(&c);
    if (c.bad || now >= until)
        return 0;
    *ret_until = until;
    *ret_deep = deep;
    return 0;
}

int tx_known(struct kv_tx *tx, const struct place *p, uint64_t now, uint64_t *ret_until, bool *ret_deep)
{
    uint64_t until;
    bool deep;
    *ret_deep = false;
    *ret_until = p->depth ? 0 : UINT64_MAX; /* the root: buckets are only what is mounted */
    for (size_t i = p->depth; i--;) {
        TRY(known_until(tx, p->chain[i], now, &until, &deep));
        if (!until || (!deep && i + 1 < p->depth))
            continue;
        *ret_until = until;
        *ret_deep = deep;
        if (deep)
            break;
    }
    return 0;
}

bool place_below(const struct place *p, uint64_t ino)
{
    for (size_t i = 0; i < p->depth; i++)
        if (p->chain[i] == ino)
            return true;
    return false;
}

/* What lies below a directory that was renamed out of another renamed one is the inner one's: the last row counts. */
static int hidden(struct kv_tx *tx, const struct place *p, struct str ident, bool through, bool *ret)
{
    struct owner o;
    bool others = false;
    TRY(tx_owner(tx, false, p->mount, ident, &o));
    *ret = o.kind != OWNER_NONE || (o.claim != CLAIM_NONE && !(through && o.claim == CLAIM_THROUGH));
    for (size_t i = 0; i < ident.n && !*ret; i++) {
        if (ident.p[i] != '/')
            continue;
        TRY(tx_owner(tx, true, p->mount, (struct str){ident.p, i + 1}, &o));
        *ret = o.kind == OWNER_GONE || o.claim != CLAIM_NONE || (o.kind == OWNER_MOVED && o.gone_ms);
        if (o.kind == OWNER_MOVED)
            others = !place_below(p, o.ino);
    }
    *ret |= others;
    return 0;
}

int tx_hidden(struct kv_tx *tx, const struct place *p, struct str ident, bool *ret)
{
    return hidden(tx, p, ident, false, ret);
}

int tx_unseen(struct kv_tx *tx, const struct place *p, struct str ident, bool *ret)
{
    return hidden(tx, p, ident, true, ret);
}

int tx_renamed_above(struct kv_tx *tx, uint64_t mount, struct str key, bool *ret)
{
    struct owner o;
    *ret = false;
    for (size_t i = 0; i + 1 < key.n && !*ret; i++) {
        if (key.p[i] != '/')
            continue;
        TRY(tx_owner(tx, true, mount, (struct str){key.p, i + 1}, &o));
        *ret = o.claim == CLAIM_RENAME;
    }
    return 0;
}

int tx_owned_below(struct kv_tx *tx, uint64_t mount, struct str prefix, bool *ret)
{
    *ret = false;
    for (int pass = 0; pass < 2 && !*ret; pass++) {
        struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, self AUTO_BUF = {0};
        struct kv_rows rows;
        key_owner(&begin, pass, mount, prefix);
        kv_prefix_end(buf_str(&begin), &end);
        key_owner(&self, true, mount, prefix);
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 2};
        TRY(kv_range(tx, &r, &rows));
        for (size_t k = 0; k < rows.n; k++)
            *ret |= !str_eq(rows.row[k].key, buf_str(&self));
    }
    return 0;
}

int tx_claimable(struct kv_tx *tx, struct meta *m, uint64_t mount, struct str key, uint64_t via, struct owner *ret_o,
                 uint64_t *ret_blocker)
{
    unsigned caps = meta_caps(m, mount);
    struct owner o;
    *ret_blocker = 0;
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] != '/')
            continue;
        TRY(tx_owner(tx, true, mount, (struct str){key.p, i + 1}, &o));
        if (o.claim == CLAIM_RENAME)
            return ERR_BUSY;
        if (o.kind == OWNER_MOVED && o.ino != via && via != UINT64_MAX) {
            *ret_blocker = o.ino;
            return ERR_DIRTY;
        }
    }
    TRY(tx_owner(tx, false, mount, key, ret_o));
    if (owner_claim_live(m, ret_o, caps) && !FAULT(TEST_SKIP_CLAIM))
        return ERR_BUSY;
    return 0;
}

/* ---- directories ---- */

int tx_dir_empty(struct kv_tx *tx, uint64_t dir, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_id(&begin, 'D', dir);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1};
    TRY(kv_range(tx, &r, &rows));
    *ret = rows.n == 0;
    return 0;
}

/* One row of the directory on one side of a name. */
static int entry_beside(struct kv_tx *tx, uint64_t dir, struct str name, bool below, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    if (below) {
        key_id(&begin, 'D', dir);
        key_dentry(&end, dir, name);
    } else {
        key_dentry(&begin, dir, name);
        buf_u8(&begin, 0);
        struct buf all AUTO_BUF = {0};
        key_id(&all, 'D', dir);
        kv_prefix_end(buf_str(&all), &end);
    }
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1, .reverse = below};
    TRY(kv_range(tx, &r, &rows));
    *ret = rows.n > 0;
    return 0;
}

int tx_dir_empty_without(struct kv_tx *tx, uint64_t dir, struct str name, bool *ret)
{
    bool other;
    TRY(entry_beside(tx, dir, name, false, &other));
    if (!other)
        TRY(entry_beside(tx, dir, name, true, &other));
    *ret = !other;
    return 0;
}

unsigned place_missing(const struct place *p)
{
    unsigned n = 0;
    for (size_t i = 0; i + 1 < p->rest.n; i++)
        n += p->rest.p[i] == '/';
    return n;
}

void tx_put_known(struct kv_tx *tx, uint64_t dir, bool deep, uint64_t until)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_id(&k, 'L', dir);
    buf_u8(&v, REC_VERSION);
    buf_u8(&v, deep);
    buf_varint(&v, until);
    kv_put(tx, buf_str(&k), buf_str(&v));
}

int tx_make_dirs(struct kv_tx *tx, struct place *p, uint64_t *next_id, uint64_t now)
{
    if (!p->rest.n)
        return 0;
    struct str path = p->rest;
    p->rest = STR("");
    bool deep;
    uint64_t until;
    TRY(tx_known(tx, p, now, &until, &deep));
    for (;;) {
        struct str name = next_component(path), rest = str_from(path, name.n);
        p->leaf = name;
        if (!rest.n)
            return 0;
        struct inode i = {.ino = (*next_id)++,
                          .parent = p->dir,
                          .mount = p->mount,
                          .type = REC_DIR,
                          .mode = 0755,
                          .nlink = 2,
                          .mtime_ms = now,
                          .ctime_ms = now,
                          .name = {name.p, name.n - 1}};
        struct dentry d = {.ino = i.ino, .type = REC_DIR};
        tx_put_inode(tx, &i);
        tx_put_dentry(tx, p->dir, name, &d);
        if (until) /* nothing of that name is in the UFS: so nothing below it either */
            tx_put_known(tx, i.ino, true, until);
        TRY(enter(tx, p, name, &d));
        path = rest;
    }
}

static int prunable(struct kv_tx *tx, uint64_t dir, struct str gone, uint64_t now, struct place *p, struct inode *i,
                    bool *ret)
{
    bool deep;
    uint64_t until;
    *ret = false;
    TRY(tx_inode(tx, dir, i));
    if (i->explicit_dir || i->parent == META_ROOT || i->key.n || i->dirty)
        return 0;
    TRY(tx_dir_empty_without(tx, dir, gone, ret));
    if (!*ret)
        return 0;
    TRY(tx_known(tx, p, now, &until, &deep));
    *ret = until != 0;
    return 0;
}

int tx_prune(struct kv_tx *tx, struct place *p, uint64_t now)
{
    struct buf leaf AUTO_BUF = {0};
    struct str gone = p->leaf;
    while (p->depth > 1) {
        struct inode i;
        bool yes;
        TRY(prunable(tx, p->chain[p->depth - 1], gone, now, p, &i, &yes));
        if (!yes)
            return 0;
        gone = inode_leaf(&i, &leaf);
        tx_del_dentry(tx, i.parent, gone);
        tx_del_dir(tx, i.ino);
        p->depth--;
        p->dir = p->chain[p->depth - 1];
    }
    return 0;
}
