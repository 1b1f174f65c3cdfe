/* SPDX-License-Identifier: Apache-2.0
 *
 * Dropping: contents that nobody owns, borrows from or reads are forgotten; their blobs are handed out for recycling
 * only after that commit is durable. And the question the page store asks after a start: what do you think of this
 * blob?
 */
#include "meta/tx.h"

/* What becomes of one record of a batch. */
enum drop_fate { DROP_DONE, DROP_NOTHING /* no dead content: the record goes */, DROP_BORROWED, DROP_HELD, DROP_LATER };

struct drop_batch {
    struct meta *m;
    const struct meta_item *it;
    size_t n;
    enum drop_fate *fate;
    bool may_borrow;  /* somebody may borrow from one of the batch */
    struct buf blobs; /* blob, bytes ... of own extents */
};

static bool any_of(const struct extent *e, size_t n, uint64_t origin)
{
    for (size_t i = 0; i < n; i++)
        if (e[i].blob && e[i].origin == origin)
            return true;
    return false;
}

/* Do this content's extents name the origin? A building one may yet. */
static int borrows_from(struct kv_tx *tx, const struct content *c, uint64_t origin, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct extent ext[REC_CHUNK];
    *ret = c->state == CONTENT_BUILDING || any_of(c->inl, c->chunked ? 0 : c->n, origin);
    if (*ret || !c->chunked)
        return 0;
    key_id(&begin, 'C', c->id);
    kv_prefix_end(buf_str(&begin), &end);
    for (bool more = true; more && !*ret;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 8};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n && !*ret; i++) {
            size_t n;
            TRY(dec_extents(rows.row[i].value, ext, REC_CHUNK, &n));
            *ret = any_of(ext, n, origin);
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

/* Does anybody borrow from it still? Rows of borrowers that are gone, or that never named it in the end (parts that
 * were replaced or left out), go here. */
int tx_borrowed(struct kv_tx *tx, uint64_t content, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    struct content c;
    key_id(&begin, 'R', content);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 256};
    TRY(kv_range(tx, &r, &rows));
    *ret = false;
    for (size_t i = 0; i < rows.n && !*ret; i++) { /* one is enough: it is asked again later */
        struct cur k = cur_of(str_from(rows.row[i].key, 9));
        uint64_t borrower = cur_be64(&k);
        int rc = tx_content(tx, borrower, &c);
        if (rc == 0)
            rc = borrows_from(tx, &c, content, ret);
        else if (rc == ERR_NOT_FOUND)
            rc = 0;
        TRY(rc);
        if (!*ret)
            tx_unref(tx, content, borrower);
    }
    *ret |= rows.more;
    return 0;
}

void tx_ref(struct kv_tx *tx, uint64_t origin, uint64_t borrower)
{
    struct buf k AUTO_BUF = {0};
    key_ref(&k, origin, borrower);
    kv_put(tx, buf_str(&k), STR(""));
    key_ref_back(&k, borrower, origin);
    kv_put(tx, buf_str(&k), STR(""));
}

void tx_unref(struct kv_tx *tx, uint64_t origin, uint64_t borrower)
{
    struct buf k AUTO_BUF = {0};
    key_ref(&k, origin, borrower);
    kv_del(tx, buf_str(&k));
    key_ref_back(&k, borrower, origin);
    kv_del(tx, buf_str(&k));
}

int tx_unref_all(struct kv_tx *tx, uint64_t borrower)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, k AUTO_BUF = {0};
    key_id(&begin, 'r', borrower);
    kv_prefix_end(buf_str(&begin), &end);
    for (bool more = true; more;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1000};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            struct cur c = cur_of(str_from(rows.row[i].key, 9));
            key_ref(&k, cur_be64(&c), borrower);
            kv_del(tx, buf_str(&k));
            kv_del(tx, rows.row[i].key);
        }
        more = rows.more && rows.n;
    }
    return 0;
}

/* One look for the whole batch: contents that died together have numbers near each other, and are seldom borrowed from.
 */
static int any_ref(struct kv_tx *tx, struct drop_batch *b)
{
    struct buf begin AUTO_BUF = {0}, last AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    uint64_t lo = UINT64_MAX, hi = 0;
    for (size_t i = 0; i < b->n; i++)
        if (b->it[i].kind == Q_DROP && b->fate[i] != DROP_HELD) {
            lo = b->it[i].id < lo ? b->it[i].id : lo;
            hi = b->it[i].id > hi ? b->it[i].id : hi;
        }
    b->may_borrow = false;
    if (lo > hi)
        return 0;
    key_id(&begin, 'R', lo);
    key_id(&last, 'R', hi);
    kv_prefix_end(buf_str(&last), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1};
    TRY(kv_range(tx, &r, &rows));
    b->may_borrow = rows.n > 0;
    return 0;
}

static void forget_extents(struct drop_batch *b, uint64_t content, const struct extent *e, size_t n)
{
    for (; n; n--, e++) {
        if (!e->blob || e->origin != content)
            continue;
        buf_varint(&b->blobs, e->blob);
        buf_varint(&b->blobs, e->blob_off + e->len);
    }
}

static int forget_chunks(struct kv_tx *tx, struct drop_batch *b, uint64_t content)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct extent ext[REC_CHUNK];
    key_id(&begin, 'C', content);
    kv_prefix_end(buf_str(&begin), &end);
    for (bool more = true; more;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 8};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            size_t n;
            TRY(dec_extents(rows.row[i].value, ext, REC_CHUNK, &n));
            forget_extents(b, content, ext, n);
            kv_del(tx, rows.row[i].key);
        }
        more = rows.more && rows.n;
    }
    return 0;
}

static int drop_content(struct kv_tx *tx, struct drop_batch *b, const struct meta_item *it, enum drop_fate *fate)
{
    struct content c;
    struct buf k AUTO_BUF = {0};
    bool refs = false;
    *fate = DROP_NOTHING;
    int r = tx_content(tx, it->id, &c);
    if (r == ERR_NOT_FOUND || (r == 0 && (c.state != CONTENT_DEAD || c.drop_due != it->due)))
        return 0;
    TRY(r);
    if (c.chunked && b->n > 1) { /* its rows may be many: in a transaction of its own */
        *fate = DROP_LATER;
        return 0;
    }
    if (b->may_borrow)
        TRY(tx_borrowed(tx, it->id, &refs));
    if (refs) {
        *fate = DROP_BORROWED;
        return 0;
    }
    forget_extents(b, it->id, c.inl, c.chunked ? 0 : c.n);
    if (c.chunked)
        TRY(forget_chunks(tx, b, it->id));
    TRY(tx_unref_all(tx, it->id)); /* whether or not an extent names them still */
    key_id(&k, 'c', it->id);
    kv_del(tx, buf_str(&k));
    *fate = DROP_DONE;
    return 0;
}

static int drop_tx(struct kv_tx *tx, void *arg)
{
    struct drop_batch *b = arg;
    buf_reset(&b->blobs);
    TRY(any_ref(tx, b));
    for (size_t i = 0; i < b->n; i++) {
        const struct meta_item *it = &b->it[i];
        if (b->fate[i] == DROP_HELD)
            continue;
        if (it->kind == Q_BLOB) {
            buf_varint(&b->blobs, it->id);
            buf_varint(&b->blobs, it->rec.bytes);
            b->fate[i] = DROP_DONE;
        } else {
            TRY(drop_content(tx, b, it, &b->fate[i]));
        }
        if (b->fate[i] == DROP_DONE || b->fate[i] == DROP_NOTHING)
            tx_unqueue(tx, it->kind, it->due, it->id, STR(""));
    }
    return 0;
}

static int hand_out(struct drop_batch *b, int (*fn)(void *arg, uint64_t blob, uint64_t bytes), void *arg)
{
    struct cur c = cur_of(buf_str(&b->blobs));
    while (c.p < c.end) {
        uint64_t blob = cur_varint(&c), bytes = cur_varint(&c);
        TRY(fn(arg, blob, bytes));
    }
    return 0;
}

/* Nobody begins to hold a content of the batch while it is dropped. */
static void keep_readers_out(struct drop_batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        b->fate[i] = b->it[i].kind == Q_DROP && !hold_drop_begin(b->m, b->it[i].id) ? DROP_HELD : DROP_NOTHING;
}

static void let_readers_in(struct drop_batch *b, const bool *out)
{
    for (size_t i = 0; i < b->n; i++)
        if (out[i])
            hold_drop_end(b->m, b->it[i].id);
}

static int put_off(struct meta *m, const struct meta_item *it, enum drop_fate fate)
{
    uint64_t wait = 200ull << (it->rec.attempts < 8 ? it->rec.attempts : 8);
    if (fate == DROP_HELD) /* read by somebody */
        return meta_requeue(m, it, clock_wall_ms() + 200, 0, NULL);
    return fate == DROP_BORROWED ? meta_requeue(m, it, clock_wall_ms() + wait, ERR_BUSY, "others borrow from it") : 0;
}

/* One transaction for all of them; then, when it is durable, the blobs. */
static int drop_some(struct drop_batch *b, int (*fn)(void *arg, uint64_t blob, uint64_t bytes), void *arg,
                     size_t *ret_dropped)
{
    bool *out AUTO_FREE = calloc(b->n, sizeof *out);
    uint64_t version = 0;
    keep_readers_out(b);
    for (size_t i = 0; i < b->n; i++)
        out[i] = b->it[i].kind == Q_DROP && b->fate[i] != DROP_HELD;
    int r = meta_commit(b->m, drop_tx, b, KV_LAZY, &version);
    let_readers_in(b, out);
    for (size_t i = 0; i < b->n && r == 0; i++) {
        *ret_dropped += b->fate[i] == DROP_DONE;
        r = put_off(b->m, &b->it[i], b->fate[i]);
    }
    if (r == 0 && b->blobs.n)
        r = kv_settle(b->m->kv, version);
    if (r == 0)
        r = FAULT(META_DROP_AFTER);
    return r == 0 ? hand_out(b, fn, arg) : r;
}

int meta_drop(struct meta *m, const struct meta_item *it, size_t n, int (*fn)(void *arg, uint64_t blob, uint64_t bytes),
              void *arg, size_t *ret_dropped)
{
    enum drop_fate *fate AUTO_FREE = calloc(n ? n : 1, sizeof *fate), alone;
    struct drop_batch all = {m, it, n, fate, false, {0}};
    size_t dropped = 0;
    TRY(FAULT(META_DROP_BEFORE));
    int r = n ? drop_some(&all, fn, arg, &dropped) : 0;
    for (size_t i = 0; i < n && r == 0; i++)
        if (fate[i] == DROP_LATER) {
            struct drop_batch one = {m, &it[i], 1, &alone, false, {0}};
            r = drop_some(&one, fn, arg, &dropped);
            buf_done(&one.blobs);
        }
    buf_done(&all.blobs);
    if (r == 0)
        *ret_dropped = dropped;
    return r;
}

/* ---- who still needs what ---- */

struct borrow_arg {
    uint64_t content;
    struct buf from, out;
    bool more;
    bool backed, only_here;
};

static int borrowers_tx(struct kv_tx *tx, void *arg)
{
    struct borrow_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, last AUTO_BUF = {0};
    struct kv_rows rows;
    buf_reset(&a->out);
    key_id(&begin, 'R', a->content);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {
        .begin = a->from.n ? buf_str(&a->from) : buf_str(&begin), .end = buf_str(&end), .max_rows = 256};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        struct content c;
        struct cur k = cur_of(str_from(rows.row[i].key, 9));
        uint64_t b = cur_be64(&k);
        int rc = tx_content(tx, b, &c);
        if (rc == ERR_NOT_FOUND)
            continue;
        TRY(rc);
        if (c.back == BACK_NONE && c.state != CONTENT_DEAD)
            buf_varint(&a->out, b);
    }
    a->more = rows.more;
    if (rows.n) {
        buf_str_add(&last, rows.row[rows.n - 1].key);
        buf_u8(&last, 0);
        buf_reset(&a->from);
        buf_str_add(&a->from, buf_str(&last));
    }
    return 0;
}

int meta_borrowers(struct meta *m, uint64_t content, int (*fn)(void *arg, uint64_t borrower), void *arg)
{
    struct borrow_arg a = {.content = content, .more = true};
    int r = 0;
    while (r == 0 && a.more) {
        r = kv_view(m->kv, borrowers_tx, &a, NULL);
        struct cur c = cur_of(buf_str(&a.out));
        while (r == 0 && c.p < c.end)
            r = fn(arg, cur_varint(&c));
    }
    buf_done(&a.from);
    buf_done(&a.out);
    return r;
}

static int origin_tx(struct kv_tx *tx, void *arg)
{
    struct borrow_arg *a = arg;
    struct content c;
    int r = tx_content(tx, a->content, &c);
    a->only_here = r == 0 && c.back == BACK_NONE;
    a->backed = r == ERR_NOT_FOUND || (r == 0 && (c.back != BACK_NONE || c.state == CONTENT_DEAD));
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int stop_at_first(void *arg, uint64_t borrower)
{
    (void)borrower;
    *(bool *)arg = false;
    return 1;
}

int meta_origin_backed(struct meta *m, uint64_t origin, bool *ret)
{
    struct borrow_arg a = {.content = origin};
    struct content_state_of_origin {
        bool all;
    } s = {true};
    TRY(kv_view(m->kv, origin_tx, &a, NULL));
    *ret = a.backed && !(a.only_here && meta_held(m, origin, NULL)); /* its readers have no object to read from */
    if (!*ret)
        return 0;
    int r = meta_borrowers(m, origin, stop_at_first, &s.all);
    if (r < 0)
        return r;
    *ret = s.all;
    return 0;
}

/* ---- the walk after a start ---- */

struct walk_arg {
    uint64_t content;
    struct content c;
    bool there;
    struct upload up;
};

static int walk_tx(struct kv_tx *tx, void *arg)
{
    struct walk_arg *a = arg;
    int r = tx_content(tx, a->content, &a->c);
    a->there = r == 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

struct seek {
    uint64_t blob;
    bool found;
};

static int seek_blob(void *arg, const struct extent *e)
{
    struct seek *s = arg;
    s->found |= e->blob == s->blob;
    return s->found;
}

/* A building content's blobs are in its upload's part rows; which upload it is stands in no row by content, but the
 * walk is rare and uploads are few: all parts are asked. */
struct part_seek {
    struct seek s;
    uint64_t content;
};

static int seek_part(void *arg, struct str key, struct str value)
{
    struct part_seek *p = arg;
    struct part part;
    (void)key;
    TRY(dec_part(value, &part));
    struct extent *e AUTO_FREE = calloc(part.n ? part.n : 1, sizeof *e);
    size_t n;
    TRY(dec_extents(part.ext_raw, e, part.n, &n));
    for (size_t i = 0; i < n; i++)
        if (e[i].origin == p->content && e[i].blob == p->s.blob)
            p->s.found = true;
    return p->s.found;
}

struct borrower_seek {
    struct meta *m;
    struct seek *s;
};

static int seek_borrower(void *arg, struct str key, struct str value)
{
    struct borrower_seek *b = arg;
    struct cur c = cur_of(str_from(key, 9));
    (void)value;
    int r = meta_blobs(b->m, cur_be64(&c), false, seek_blob, b->s);
    return r == ERR_STALE ? 0 : r;
}

static int seek_borrowers(struct meta *m, uint64_t content, struct seek *s)
{
    struct buf rows AUTO_BUF = {0};
    struct borrower_seek b = {m, s};
    key_id(&rows, 'R', content);
    int r = kv_scan(m->kv, buf_str(&rows), seek_borrower, &b);
    return r < 0 ? r : 0;
}

static int judge(struct meta *m, struct meta_blob *b)
{
    struct walk_arg a = {.content = b->content};
    struct part_seek s = {{b->blob, false}, b->content};
    bool backed;
    b->verdict = 2;
    TRY(kv_view(m->kv, walk_tx, &a, NULL));
    if (!a.there)
        return 0;
    int r = a.c.state == CONTENT_BUILDING ? kv_scan(m->kv, STR("V"), seek_part, &s)
                                          : meta_blobs(m, b->content, true, seek_blob, &s.s);
    if (r < 0 && r != ERR_STALE)
        return r;
    if (!s.s.found) /* replaced in this content, or never shown by it: one that borrows from it may name it */
        TRY(seek_borrowers(m, b->content, &s.s));
    if (!s.s.found)
        return 0;
    if (a.c.state == CONTENT_BUILDING) {
        b->verdict = 0;
        return 0;
    }
    TRY(meta_origin_backed(m, b->content, &backed));
    b->verdict = backed ? 1 : 0;
    return 0;
}

int meta_walk(struct meta *m, struct meta_blob *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        TRY(judge(m, &b[i]));
    return 0;
}
