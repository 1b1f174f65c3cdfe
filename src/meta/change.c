/* SPDX-License-Identifier: Apache-2.0
 *
 * A changed content is shown.
 *
 * In place: the content keeps its number, the rows of extents that changed are written, its version moves on. Nobody
 * else may hold it meanwhile (readers that come wait for the short time of the transaction and look again: the version
 * tells them) and nobody may borrow from it. Else a new content takes over that borrows from the old one, as a copy
 * does, and the old one is dead: whoever reads it reads on.
 *
 * A content that is too long for one transaction is written ahead, as a dead one with a drop record: a crash in between
 * leaves nothing that the drop job would not take away.
 */
#include "meta/tx.h"
#include "base/mem.h"

enum { AHEAD_BYTES = 600000, AHEAD_DROP_MS = 600000, EXTENT_BYTES = 36 };

struct change_arg {
    struct meta *m;
    struct meta_change *c;
    uint64_t fresh; /* number for a new content */
    uint64_t old;   /* what is written ahead borrows all from it, 0: each from its own */
    uint64_t ahead; /* drop record of what was written ahead, 0: nothing was */
    bool frozen;
    struct place pl;
    struct link_change links;
};

static bool inline_fits(const struct meta_change *c)
{
    return c->extents <= REC_INLINE;
}

/* What the old content borrowed from others lies in its own object, which backs the new one's bytes until it is
 * overwritten: pages of an origin that is backed may be evicted at any time. old: 0 when the old content is not in the
 * UFS. */
static struct extent rebased(const struct extent *e, uint64_t content, uint64_t old, uint64_t at)
{
    struct extent x = *e;
    if (old && x.blob && x.origin != content) {
        x.origin = old;
        x.origin_off = at;
    }
    return x;
}

static void put_row(struct kv_tx *tx, uint64_t content, uint64_t old, const struct meta_row *r)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct extent *e AUTO_FREE = mem_alloc(r->n * sizeof *e);
    uint64_t at = r->off;
    for (size_t i = 0; i < r->n; at += r->ext[i++].len)
        e[i] = rebased(&r->ext[i], content, old, at);
    key_chunk(&k, content, r->off);
    enc_extents(&v, e, r->n);
    kv_put(tx, buf_str(&k), buf_str(&v));
}

static bool refer(struct kv_tx *tx, uint64_t content, uint64_t old, const struct meta_row *r)
{
    uint64_t last = 0;
    bool any = false;
    for (size_t i = 0; i < r->n; i++) {
        const struct extent *e = &r->ext[i];
        if (!e->blob || e->origin == content)
            continue;
        uint64_t origin = old ? old : e->origin;
        any = true;
        if (origin != last)
            tx_ref(tx, origin, content);
        last = origin;
    }
    return any;
}

static void fill_inline(const struct meta_change *c, struct content *k, uint64_t old)
{
    uint64_t at = 0;
    k->chunked = false;
    k->n = 0;
    for (size_t i = 0; i < c->rows; i++)
        for (size_t e = 0; e < c->row[i].n; at += c->row[i].ext[e++].len)
            k->inl[k->n++] = rebased(&c->row[i].ext[e], k->id, old, at);
}

static void put_extents(struct kv_tx *tx, const struct meta_change *c, struct content *k, uint64_t old, bool all,
                        bool ahead)
{
    struct buf key AUTO_BUF = {0};
    for (size_t i = 0; !all && i < c->gone_n; i++) {
        key_chunk(&key, k->id, c->gone[i]);
        kv_del(tx, buf_str(&key));
    }
    for (size_t i = 0; i < c->rows; i++)
        if (all || c->row[i].write)
            k->borrows |= refer(tx, k->id, old, &c->row[i]);
    if (inline_fits(c)) {
        fill_inline(c, k, old);
        return;
    }
    k->chunked = true;
    k->n = 0;
    for (size_t i = 0; i < c->rows && !ahead; i++)
        if (all || c->row[i].write)
            put_row(tx, k->id, old, &c->row[i]);
}

/* ---- the object of what is changed ---- */

static int leave_object(struct kv_tx *tx, struct change_arg *a, struct inode *i, uint64_t backs,
                        struct str *ret_backing, struct buf *keep)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    *ret_backing = (struct str){0};
    if (i->loc == LOC_NONE)
        return 0;
    struct inode was = *i;
    if (a->c->overrule && a->c->base_ver)
        snprintf(was.ver, sizeof was.ver, "%s", a->c->base_ver);
    TRY(tx_climb(tx, i, &a->pl));
    TRY(place_keys(&a->pl, home, ident));
    struct str key;
    TRY(tx_forget_object(tx, &was, str_of(home), str_of(ident), true, backs, &key));
    buf_str_add(keep, key);
    *ret_backing = buf_str(keep);
    i->loc = LOC_NONE;
    i->key = STR("");
    i->settle_due = 0;
    i->blind = false;
    return 0;
}

/* Due a quiet time after this change, at most a longest time after the first. */
static int persist_later(struct kv_tx *tx, const struct meta_change *c, struct inode *i)
{
    struct queue_rec q = {.since_ms = clock_wall_ms(), .bytes = c->size};
    uint64_t due = q.since_ms + c->quiet_ms;
    struct buf k AUTO_BUF = {0};
    struct str v;
    if (i->dirty) {
        struct queue_rec old;
        key_queue(&k, Q_PERSIST, i->persist_due, i->ino, STR(""));
        if (kv_get(tx, buf_str(&k), &v) == 0) {
            TRY(dec_queue(v, &old));
            q.since_ms = old.since_ms;
        }
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
        if (due > q.since_ms + c->max_age_ms)
            due = q.since_ms + c->max_age_ms;
    }
    i->dirty = true;
    i->persist_due = due;
    tx_queue(tx, Q_PERSIST, due, i->ino, STR(""), &q);
    return 0;
}

static int set_fate(struct kv_tx *tx, const struct meta_change *c, struct inode *i)
{
    if (!i->parent || c->fate == META_TRANSIENT_FILE) {
        if (i->dirty)
            tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
        i->dirty = false;
        i->persist_due = 0;
        i->transient = true;
        return 0;
    }
    i->transient = i->skipped = false;
    return persist_later(tx, c, i);
}

static void own_etag(const struct content *k, char out[72])
{
    uint64_t h[2] = {k->id, k->version};
    uint64_t x = str_hash(str_mk(h, sizeof h));
    h[0] = x;
    h[1] = str_hash(str_mk(&x, sizeof x)) ^ k->size;
    str_hex(h, sizeof h, out);
    memcpy(out + 32, "-1", 3);
}

/* ---- lazily ---- */

void tx_put_lazy(struct kv_tx *tx, uint64_t content, const struct inode *before)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0}, rec AUTO_BUF = {0};
    enc_inode(&rec, before);
    key_id(&k, 'Z', content);
    buf_u8(&v, REC_VERSION);
    buf_varint(&v, before->ino);
    buf_bytes(&v, buf_str(&rec));
    kv_put(tx, buf_str(&k), buf_str(&v));
}

static int has_lazy(struct kv_tx *tx, uint64_t content, bool *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_id(&k, 'Z', content);
    int r = content ? kv_get(tx, buf_str(&k), &v) : ERR_NOT_FOUND;
    *ret = r == 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int must_be_synced(void)
{
    return err_set(ERR_BUSY, "what is changed is durable: so must be the change");
}

/* ---- the transaction ---- */

static int in_place(struct kv_tx *tx, struct change_arg *a, struct inode *i, struct content *k)
{
    struct meta_change *c = a->c;
    struct buf keep AUTO_BUF = {0};
    struct str backing;
    bool pending;
    TRY(has_lazy(tx, i->content, &pending));
    if (c->lazy && !pending)
        return must_be_synced();
    TRY(leave_object(tx, a, i, 0, &backing, &keep));
    i->ver[0] = 0;
    k->back = BACK_NONE;
    k->back_key = STR("");
    k->back_ver[0] = 0;
    k->parts = 0;
    k->version++;
    k->size = c->size;
    put_extents(tx, c, k, 0, false, false);
    tx_put_content(tx, k);
    c->in_place = true;
    return 0;
}

static int as_new(struct kv_tx *tx, struct change_arg *a, struct inode *i)
{
    struct meta_change *c = a->c;
    struct buf keep AUTO_BUF = {0};
    struct str backing;
    struct content old = {0}, k = {.id = a->fresh,
                                   .ino = i->ino,
                                   .state = CONTENT_LIVE,
                                   .version = i->version + 1,
                                   .size = c->size};
    struct inode before = *i;
    bool pending = false, had = i->content != 0, clean = i->loc != LOC_NONE;
    if (had)
        TRY(tx_content(tx, i->content, &old));
    if (c->lazy && had) {
        TRY(has_lazy(tx, i->content, &pending));
        if (old.back != BACK_NONE || (!c->replace && !pending))
            return must_be_synced();
    }
    TRY(leave_object(tx, a, i, i->content, &backing, &keep)); /* readers may still need what it backs */
    TRY(tx_content_dead(tx, i->content, i->mount, backing, i->ver));
    i->ver[0] = 0;
    if (a->ahead) {
        tx_unqueue(tx, Q_DROP, a->ahead, k.id, STR(""));
        k.borrows = true;
    }
    put_extents(tx, c, &k, clean && !c->overrule && !c->replace ? c->content : 0, true, a->ahead);
    tx_put_content(tx, &k);
    if (c->lazy) {
        before.size = before.content ? before.size : 0;
        tx_put_lazy(tx, k.id, &before);
    }
    i->content = k.id;
    c->in_place = false;
    return 0;
}

static int change_tx(struct kv_tx *tx, void *arg)
{
    struct change_arg *a = arg;
    struct meta_change *c = a->c;
    struct inode i;
    struct content k = {0};
    bool borrowed = true;
    int r = tx_inode(tx, c->ino, &i);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the file was removed");
    TRY(r);
    bool same = i.content == c->content && i.version == c->version;
    if (!same && !c->overrule)
        return err_set(ERR_STALE, "the file was replaced");
    if ((i.loc != LOC_NONE || !same) && c->content && !c->brought && !c->replace)
        return err_set(ERR_DIRTY, "the bytes must be here before the object is given up");
    if (a->frozen && same && !a->ahead) {
        TRY(tx_content(tx, i.content, &k));
        TRY(tx_borrowed(tx, i.content, &borrowed));
        borrowed |= c->brought && k.borrows; /* others who borrow the same may be unpinning it */
    }
    TRY(borrowed ? as_new(tx, a, &i) : in_place(tx, a, &i, &k));
    TRY(tx_content(tx, i.content, &k));
    i.version = k.version;
    i.size = c->size;
    i.holes = c->holes;
    i.mode &= ~c->drop_mode;
    if (c->mtime_ns) {
        i.mtime_ms = c->mtime_ns / 1000000;
        i.mtime_frac = (uint32_t)(c->mtime_ns % 1000000);
    }
    uint64_t now = clock_wall_ns();
    i.ctime_ms = now / 1000000;
    i.ctime_frac = (uint32_t)(now % 1000000);
    if (c->etag)
        snprintf(i.etag, sizeof i.etag, "%s", c->etag);
    else
        own_etag(&k, i.etag);
    TRY(set_fate(tx, c, &i));
    TRY(tx_turn(tx, a->m, &i, NULL, NULL));
    tx_put_inode(tx, &i);
    TRY(tx_links_follow(tx, a->m, &i, &a->links));
    tx_note_inode(i.ino);
    c->now_content = k.id;
    c->now_version = k.version;
    if (c->found) {
        struct str pairs;
        TRY(tx_pairs(tx, i.ino, &pairs));
        found_fill(c->found, &i, pairs);
    }
    return 0;
}

/* ---- written ahead ---- */

struct ahead_arg {
    struct change_arg *a;
    size_t from, to;
    uint64_t end;
    bool more;
};

static int ahead_tx(struct kv_tx *tx, void *arg)
{
    struct ahead_arg *h = arg;
    struct meta_change *c = h->a->c;
    struct content k = {.id = h->a->fresh,
                        .state = CONTENT_DEAD,
                        .size = h->end,
                        .chunked = true,
                        .drop_due = h->a->ahead,
                        .borrows = true};
    for (size_t i = h->from; i < h->to; i++) {
        put_row(tx, k.id, h->a->old, &c->row[i]);
        refer(tx, k.id, h->a->old, &c->row[i]);
    }
    tx_put_content(tx, &k);
    tx_queue(tx, Q_DROP, k.drop_due, k.id, STR(""), NULL);
    return 0;
}

/* What a try before this one wrote ahead, which failed: its rows begin elsewhere. */
static int clear_tx(struct kv_tx *tx, void *arg)
{
    enum { ROWS = 512 };
    struct ahead_arg *h = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct content k;
    struct kv_rows rows;
    h->more = false;
    int r = tx_content(tx, h->a->fresh, &k);
    if (r == ERR_NOT_FOUND || (r == 0 && k.state != CONTENT_DEAD))
        return 0;
    TRY(r);
    key_id(&begin, 'C', k.id);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range range = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = ROWS};
    TRY(kv_range(tx, &range, &rows));
    for (size_t i = 0; i < rows.n; i++)
        kv_del(tx, rows.row[i].key);
    h->more = rows.more;
    tx_unqueue(tx, Q_DROP, k.drop_due, k.id, STR(""));
    k.drop_due = h->a->ahead;
    tx_put_content(tx, &k);
    tx_queue(tx, Q_DROP, k.drop_due, k.id, STR(""), NULL);
    return 0;
}

static int write_ahead(struct change_arg *a)
{
    struct meta_change *c = a->c;
    struct ahead_arg h = {.a = a, .more = true};
    a->old = c->brought && !c->overrule ? c->content : 0;
    a->ahead = clock_wall_ms() + AHEAD_DROP_MS;
    while (h.more)
        TRY(meta_commit(a->m, clear_tx, &h, KV_LAZY, NULL));
    while (h.to < c->rows) {
        size_t bytes = 0;
        h.from = h.to;
        for (; h.to < c->rows && bytes < AHEAD_BYTES; h.to++) {
            bytes += c->row[h.to].n * EXTENT_BYTES;
            for (size_t e = 0; e < c->row[h.to].n; e++)
                h.end += c->row[h.to].ext[e].len;
        }
        TRY(meta_commit(a->m, ahead_tx, &h, KV_LAZY, NULL));
        TRY(FAULT(META_CHANGE_AHEAD));
    }
    return 0;
}

static size_t bytes_of(const struct meta_change *c, bool all)
{
    size_t n = 0;
    for (size_t i = 0; i < c->rows; i++)
        n += all || c->row[i].write ? c->row[i].n * EXTENT_BYTES : 0;
    return inline_fits(c) ? 0 : n + c->gone_n * 24;
}

static int commit_change(struct change_arg *a)
{
    struct meta_change *c = a->c;
    bool big = bytes_of(c, false) > AHEAD_BYTES;
    a->frozen =
        c->content && !c->replace && !c->overrule && !c->shared && !big && hold_freeze(a->m, c->content, c->own);
    if ((big || !a->frozen) && bytes_of(c, true) > AHEAD_BYTES && !a->ahead)
        TRY(write_ahead(a));
    int r = FAULT(META_CHANGE_BEFORE);
    if (r == 0)
        r = meta_commit(a->m, change_tx, a, c->lazy ? KV_LAZY : KV_SYNC, NULL);
    if (a->frozen)
        hold_thaw(a->m, c->content);
    if (r == ERR_LIMIT && !a->ahead) { /* in place was not possible after all, and all of it is too much for one */
        TRY(write_ahead(a));
        r = meta_commit(a->m, change_tx, a, c->lazy ? KV_LAZY : KV_SYNC, NULL);
    }
    return r;
}

int meta_change(struct meta *m, struct meta_change *c)
{
    struct change_arg *a AUTO_FREE = calloc(1, sizeof *a); /* a place is too large for some stacks */
    if (!a)
        return ERR_NOMEM;
    a->m = m;
    a->c = c;
    TRACE("meta.change", c->ino, c->extents);
    a->fresh = c->fresh;
    a->links.fate = c->fate;
    a->links.quiet_ms = c->quiet_ms;
    int r = commit_change(a);
    for (int i = 0; i < 3 && r == ERR_NOT_CACHED; i++) { /* it has other names */
        TRY(link_change_prepare(m, c->ino, &a->links));
        r = commit_change(a);
    }
    TRY(r);
    meta_kick(m, Q_PERSIST);
    if (!c->in_place && c->content)
        meta_kick(m, Q_DROP);
    return FAULT(META_CHANGE_AFTER);
}

/* ---- compacted ---- */

static int compact_tx(struct kv_tx *tx, void *arg)
{
    struct meta_change *c = arg;
    struct inode i;
    struct content k = {0};
    bool borrowed;
    int r = tx_inode(tx, c->ino, &i);
    if (r == 0 && (i.content != c->content || i.version != c->version || i.loc != LOC_NONE))
        r = ERR_NOT_FOUND;
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the file was changed, or is in the under file system");
    TRY(r);
    TRY(tx_borrowed(tx, c->content, &borrowed));
    if (borrowed)
        return err_set(ERR_BUSY, "others borrow from the content");
    TRY(tx_content(tx, c->content, &k));
    put_extents(tx, c, &k, 0, false, false);
    tx_put_content(tx, &k);
    return 0;
}

int meta_compact(struct meta *m, struct meta_change *c)
{
    TRACE("meta.compact", c->ino, c->extents);
    if (!hold_freeze(m, c->content, c->own))
        return err_set(ERR_BUSY, "others read the content");
    int r = FAULT(META_COMPACT_BEFORE);
    if (r == 0)
        r = meta_commit(m, compact_tx, c, KV_LAZY, NULL);
    hold_thaw(m, c->content);
    TRY(r);
    c->in_place = true;
    TRY(FAULT(META_COMPACT_AFTER));
    return 0;
}

/* ---- after a start ---- */

struct lazy_arg {
    struct meta *m;
    int (*fn)(void *arg, const struct meta_lazy *l);
    void *arg;
    struct meta_lazy l;
    const uint64_t *content;
    size_t n;
};

static int dec_lazy(struct str v, uint64_t *ret_ino, struct str *ret_before)
{
    struct cur c = cur_of(v);
    if (cur_u8(&c) != REC_VERSION)
        return err_set(ERR_VERSION, "a record of a lazy publish has another format: use the newer Forebay");
    *ret_ino = cur_varint(&c);
    *ret_before = cur_bytes(&c);
    return c.bad ? err_set(ERR_CORRUPT, "malformed record of a lazy publish") : 0;
}

static int shown_tx(struct kv_tx *tx, void *arg)
{
    struct lazy_arg *a = arg;
    struct inode i;
    int r = tx_inode(tx, a->l.ino, &i);
    a->l.shown = r == 0 && i.content == a->l.content && i.loc == LOC_NONE;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int each_lazy(void *arg, struct str key, struct str value)
{
    struct lazy_arg *a = arg;
    struct str before;
    struct cur k = cur_of(str_from(key, 1));
    a->l.content = cur_be64(&k);
    TRY(dec_lazy(value, &a->l.ino, &before));
    TRY(kv_view(a->m->kv, shown_tx, a, NULL));
    return a->fn(a->arg, &a->l);
}

int meta_lazy_each(struct meta *m, int (*fn)(void *arg, const struct meta_lazy *l), void *arg)
{
    struct lazy_arg a = {.m = m, .fn = fn, .arg = arg};
    return kv_scan(m->kv, STR("Z"), each_lazy, &a);
}

static int confirm_tx(struct kv_tx *tx, void *arg)
{
    struct lazy_arg *a = arg;
    struct buf k AUTO_BUF = {0};
    for (size_t i = 0; i < a->n; i++) {
        key_id(&k, 'Z', a->content[i]);
        kv_del(tx, buf_str(&k));
    }
    return 0;
}

int meta_lazy_confirm(struct meta *m, const uint64_t *content, size_t n)
{
    enum { BATCH = 10000 };
    TRY(FAULT(META_CONFIRM_BEFORE));
    for (size_t i = 0; i < n; i += BATCH) {
        struct lazy_arg a = {.content = content + i, .n = n - i < BATCH ? n - i : BATCH};
        TRY(meta_commit(m, confirm_tx, &a, KV_LAZY, NULL));
    }
    return 0;
}

static int revive_content(struct kv_tx *tx, struct inode *i)
{
    struct content c;
    int r = i->content ? tx_content(tx, i->content, &c) : ERR_NOT_FOUND;
    if (r == ERR_NOT_FOUND) {
        i->content = i->size = 0;
        return 0;
    }
    TRY(r);
    i->version = c.version;
    if (c.state == CONTENT_DEAD)
        tx_unqueue(tx, Q_DROP, c.drop_due, c.id, STR(""));
    c.state = CONTENT_LIVE;
    c.ino = i->ino;
    c.drop_due = 0;
    c.back = BACK_NONE;
    tx_put_content(tx, &c);
    return 0;
}

static int revert_tx(struct kv_tx *tx, void *arg)
{
    struct lazy_arg *a = arg;
    struct buf k AUTO_BUF = {0};
    struct str v, rec;
    struct inode i, before;
    uint64_t ino;
    key_id(&k, 'Z', a->l.content);
    TRY(kv_get(tx, buf_str(&k), &v));
    TRY(dec_lazy(v, &ino, &rec));
    TRY(dec_inode(rec, ino, &before));
    kv_del(tx, buf_str(&k));
    int r = tx_inode(tx, ino, &i);
    if (r == ERR_NOT_FOUND || (r == 0 && i.content != a->l.content))
        return 0;
    TRY(r);
    if (is_outrun(&i))
        return tx_outrun_end(tx, &i);
    TRY(tx_content_dead(tx, i.content, 0, (struct str){0}, ""));
    i.content = before.content;
    i.size = before.content ? before.size : 0;
    i.mtime_ms = before.mtime_ms;
    i.mtime_frac = before.mtime_frac;
    memcpy(i.etag, before.etag, sizeof i.etag);
    TRY(revive_content(tx, &i));
    tx_put_inode(tx, &i);
    return 0;
}

int meta_lazy_revert(struct meta *m, uint64_t content)
{
    struct lazy_arg a = {.l.content = content};
    return meta_commit(m, revert_tx, &a, KV_SYNC, NULL);
}
