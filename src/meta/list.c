/* SPDX-License-Identifier: Apache-2.0
 *
 * Listing from the namespace alone, in byte order of full keys.
 *
 * A directory's dentries are in that order already, because a directory's name ends in '/': "a-b" comes before "a/" as
 * "a-b" comes before "a/x". So a listing is a walk down and across, one range read a directory at a time, and starts
 * anywhere without reading what is before.
 */
#include "meta/tx.h"

enum { LIST_ROWS = 512, LIST_DEPTH = PLACE_DEPTH };

struct lister {
    struct meta *m;
    const struct meta_list *l;
    int (*fn)(void *arg, const struct meta_entry *e);
    void *arg;
    int (*unloaded)(void *arg, struct str path);
    struct buf path; /* of the directory being read, relative to the listed one */
    struct buf last; /* common prefix given last */
    bool have_last;
    size_t given;
    bool more; /* limit reached with something left */
    uint64_t now;
    struct buf out; /* what is given, encoded: the callback runs after the transaction */
};

enum { LIST_GO = 0, LIST_STOP = 1 };

static int walk_dir(struct kv_tx *tx, struct lister *s, uint64_t dir, unsigned depth);

static bool past_bound(const struct lister *s, struct str key)
{
    return s->l->bound.p && str_cmp(key, s->l->bound) > 0;
}

/* Is anything visible below? Implied directories show only through what they hold. */
static int dir_visible(struct kv_tx *tx, uint64_t dir, unsigned depth, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    key_id(&begin, 'D', dir);
    kv_prefix_end(buf_str(&begin), &end);
    *ret = false;
    for (bool more = true; more && !*ret && depth < LIST_DEPTH;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 64};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n && !*ret; i++) {
            struct dentry d;
            struct inode x;
            TRY(dec_dentry(rows.row[i].value, &d));
            *ret = d.type != REC_DIR;
            if (*ret)
                break;
            TRY(tx_inode(tx, d.ino, &x));
            *ret = x.explicit_dir;
            if (!*ret)
                TRY(dir_visible(tx, d.ino, depth + 1, ret));
        }
        more = rows.more;
        if (rows.n) {
            buf_reset(&begin);
            buf_str_add(&begin, rows.row[rows.n - 1].key);
            buf_u8(&begin, 0);
        }
    }
    return 0;
}

/* An inode found on the way: its number, and the record to hand over as it is. */
struct seen {
    struct inode i;
    struct str raw;
};

static int see(struct kv_tx *tx, uint64_t ino, struct seen *ret)
{
    return tx_inode_raw(tx, ino, &ret->i, &ret->raw);
}

static void out_entry(struct lister *s, struct str key, const struct seen *i)
{
    buf_varint(&s->out, i ? i->i.ino : 0);
    buf_bytes(&s->out, key);
    buf_bytes(&s->out, i ? i->raw : STR(""));
    s->given++;
}

static int give(struct lister *s, struct str key, const struct seen *i)
{
    if (s->given >= s->l->limit) {
        s->more = true;
        return LIST_STOP;
    }
    out_entry(s, key, i);
    return LIST_GO;
}

static int give_prefix(struct lister *s, struct str cp)
{
    if (s->have_last && str_eq(buf_str(&s->last), cp))
        return LIST_GO;
    if (str_eq(cp, s->l->after)) /* given by the page before */
        return LIST_GO;
    int r = give(s, cp, NULL);
    if (r == LIST_GO) {
        buf_reset(&s->last);
        buf_str_add(&s->last, cp);
        s->have_last = true;
    }
    return r;
}

/* The common prefix a key rolls up into, n 0 when it does not. */
static struct str rolled(const struct lister *s, struct str key)
{
    if (!s->l->delimiter || key.n <= s->l->prefix.n)
        return STR("");
    const char *from = key.p + s->l->prefix.n;
    const char *hit = memchr(from, s->l->delimiter, key.n - s->l->prefix.n);
    return hit ? (struct str){key.p, (size_t)(hit - key.p) + 1} : STR("");
}

static int visit_key(struct lister *s, struct str key, const struct seen *i)
{
    if (!str_starts(key, s->l->prefix) || str_cmp(key, s->l->after) <= 0)
        return LIST_GO;
    struct str cp = rolled(s, key);
    if (cp.n && !(s->l->posix && i->i.type == REC_DIR && cp.n == key.n))
        return str_starts(s->l->after, cp) && str_eq(cp, s->l->after) ? LIST_GO : give_prefix(s, cp);
    return give(s, key, i);
}

/* Can any key at or below this directory (its path ends in '/') be wanted? */
static bool dir_wanted(const struct lister *s, struct str path)
{
    struct str pre = s->l->prefix, after = s->l->after;
    if (!str_starts(path, pre) && !str_starts(pre, path))
        return false;
    return str_cmp(path, after) > 0 || str_starts(after, path);
}

static int enter_dir(struct kv_tx *tx, struct lister *s, const struct dentry *d, const struct inode *i, unsigned depth)
{
    if (i->key.n && s->unloaded) { /* its objects lie elsewhere in the UFS: a listing of the parent did not load them */
        struct place p;
        uint64_t until;
        bool deep;
        TRY(tx_climb(tx, i, &p));
        p.chain[p.depth++] = i->ino;
        TRY(tx_known(tx, &p, s->now, &until, &deep));
        if (!until || !deep)
            return s->unloaded(s->arg, buf_str(&s->path));
    }
    return walk_dir(tx, s, d->ino, depth + 1);
}

static int visit_dir(struct kv_tx *tx, struct lister *s, const struct dentry *d, unsigned depth)
{
    struct str path = buf_str(&s->path);
    struct seen found;
    const struct inode *i = &found.i;
    if (!dir_wanted(s, path))
        return LIST_GO;
    TRY(see(tx, d->ino, &found));
    struct str cp = rolled(s, path);
    bool whole = cp.n && s->l->delimiter == '/' && str_starts(path, s->l->prefix);
    if (whole && s->l->posix)
        return visit_key(s, path, &found);
    if (whole) { /* everything below rolls up into this one */
        bool visible = i->explicit_dir;
        if (str_eq(cp, s->l->after))
            return LIST_GO;
        if (str_starts(s->l->after, cp)) { /* the page starts inside: the rest below counts only if there is any */
            size_t before = s->given;
            int r = enter_dir(tx, s, d, i, depth);
            (void)before;
            return r;
        }
        if (!visible)
            TRY(dir_visible(tx, d->ino, depth, &visible));
        return visible ? give_prefix(s, cp) : LIST_GO;
    }
    if (i->explicit_dir || s->l->posix) {
        int r = visit_key(s, path, &found);
        if (r != LIST_GO)
            return r;
    }
    return enter_dir(tx, s, d, i, depth);
}

/* "a" beside "a/": POSIX shows the directory. */
static int beside_dir(struct kv_tx *tx, struct str file_key, bool *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    buf_str_add(&k, file_key);
    buf_u8(&k, '/');
    int r = kv_get(tx, buf_str(&k), &v);
    *ret = r == 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int visit_row(struct kv_tx *tx, struct lister *s, const struct kv_row *row, unsigned depth)
{
    struct str name = str_from(row->key, 9);
    size_t keep = s->path.n;
    struct dentry d;
    TRY(dec_dentry(row->value, &d));
    buf_str_add(&s->path, name);
    struct str key = buf_str(&s->path);
    int r = LIST_GO;
    if (past_bound(s, key) && !(d.type == REC_DIR && str_starts(s->l->bound, key))) {
        r = LIST_STOP;
    } else if (d.type == REC_DIR) {
        r = visit_dir(tx, s, &d, depth);
    } else if (str_starts(key, s->l->prefix) && str_cmp(key, s->l->after) > 0) {
        struct seen i;
        bool hidden = false;
        r = s->l->posix ? beside_dir(tx, row->key, &hidden) : 0;
        if (r == 0 && !hidden)
            r = see(tx, d.ino, &i);
        if (r == 0 && !hidden)
            r = visit_key(s, key, &i);
    }
    s->path.n = keep;
    return r;
}

/* Where in a directory to begin: the component of after, or of the prefix, that lies in it. */
static struct str first_name(const struct lister *s)
{
    struct str path = buf_str(&s->path), from = s->l->after;
    if (str_cmp(s->l->prefix, from) > 0)
        from = s->l->prefix;
    if (!str_starts(from, path))
        return STR("");
    from = str_from(from, path.n);
    const char *slash = from.n ? memchr(from.p, '/', from.n) : NULL;
    return slash ? (struct str){from.p, (size_t)(slash - from.p) + 1} : from;
}

static int walk_dir(struct kv_tx *tx, struct lister *s, uint64_t dir, unsigned depth)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    if (depth >= LIST_DEPTH)
        return err_set(ERR_NAME_TOO_LONG, "directories are nested deeper than %d", LIST_DEPTH);
    key_id(&begin, 'D', dir);
    kv_prefix_end(buf_str(&begin), &end);
    buf_str_add(&begin, first_name(s));
    for (;;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = LIST_ROWS};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            int rc = visit_row(tx, s, &rows.row[i], depth);
            if (rc != LIST_GO)
                return rc;
        }
        if (!rows.more || !rows.n)
            return LIST_GO;
        buf_reset(&begin);
        buf_str_add(&begin, rows.row[rows.n - 1].key);
        buf_u8(&begin, 0);
    }
}

static int list_tx(struct kv_tx *tx, void *arg)
{
    struct lister *s = arg;
    struct place p;
    struct dentry d;
    buf_reset(&s->path);
    buf_reset(&s->out);
    s->given = 0;
    s->more = s->have_last = false;
    s->now = clock_wall_ms();
    TRY(tx_walk(tx, s->l->dir, s->l->path, &p));
    uint64_t dir = p.dir;
    if (p.rest.n)
        return ERR_NOT_FOUND;
    if (p.leaf.n) {
        TRY(tx_dentry(tx, p.dir, p.leaf, &d));
        dir = d.ino;
        struct inode i;
        TRY(tx_inode(tx, dir, &i));
        int u = i.key.n ? enter_dir(tx, s, &d, &i, 0) : walk_dir(tx, s, dir, 0);
        return u == LIST_STOP ? 0 : u;
    }
    int r = walk_dir(tx, s, dir, 0);
    return r == LIST_STOP ? 0 : r;
}

static int hand_over(struct lister *s)
{
    struct cur c = cur_of(buf_str(&s->out));
    while (c.p < c.end) {
        struct inode i;
        uint64_t ino = cur_varint(&c);
        struct str key = cur_bytes(&c), rec = cur_bytes(&c);
        struct meta_entry e = {.key = key, .prefix = !ino, .i = ino ? &i : NULL};
        if (ino)
            TRY(dec_inode(rec, ino, &i));
        int r = s->fn(s->arg, &e);
        if (r)
            return r;
    }
    return 0;
}

int meta_list(struct meta *m, const struct meta_list *l, int (*fn)(void *arg, const struct meta_entry *e), void *arg,
              int (*unloaded)(void *arg, struct str path), bool *ret_more, uint64_t *ret_version)
{
    struct lister s = {.m = m, .l = l, .fn = fn, .arg = arg, .unloaded = unloaded};
    TRACE("meta.list", l->dir, l->limit);
    int r = kv_view(m->kv, list_tx, &s, ret_version);
    if (r == 0)
        r = hand_over(&s);
    if (r == 0)
        *ret_more = s.more;
    buf_done(&s.path);
    buf_done(&s.last);
    buf_done(&s.out);
    return r;
}
