/* SPDX-License-Identifier: Apache-2.0
 *
 * fsck: contents and their extents (R6, R8, R9), references between contents (R7), uploads and their parts (U), blobs
 * that are to be dropped.
 */
#include "meta/fsck.h"

#define LLU(x) ((unsigned long long)(x))

static uint64_t id_at(struct str key, size_t at)
{
    struct cur c = cur_of(str_from(key, at));
    return cur_be64(&c);
}

/* ---- extents ---- */

/* R8: the page store is the only place these bytes are in. own: the content the extent is of. */
static int bytes_here(struct kv_tx *tx, struct fsck *f, const struct content *own, const struct extent *e)
{
    struct content origin;
    bool there = true;
    if (!f->has || own->state == CONTENT_DEAD || own->back != BACK_NONE)
        return 0;
    if (e->origin != own->id) {
        TRY(fsck_content(tx, e->origin, &origin, &there));
        if (!there || origin.back != BACK_NONE) /* missing: said by R7 */
            return 0;
    }
    if (e->len && !f->has(f->has_arg, e->blob, e->blob_off, e->len))
        fsck_breach(f, own->ino, "R8",
                    "bytes %llu+%llu of blob %llu are not in the page store and nowhere else (content %llu)",
                    LLU(e->blob_off), LLU(e->len), LLU(e->blob), LLU(own->id));
    return 0;
}

/* R7, seen from the borrower. */
static int origin_there(struct kv_tx *tx, struct fsck *f, const struct content *own, const struct extent *e)
{
    struct buf k AUTO_BUF = {0};
    struct content origin;
    bool there, ref, back;
    if (e->origin == own->id)
        return 0;
    TRY(fsck_content(tx, e->origin, &origin, &there));
    key_ref(&k, e->origin, own->id);
    TRY(fsck_there(tx, buf_str(&k), &ref));
    key_ref_back(&k, own->id, e->origin);
    TRY(fsck_there(tx, buf_str(&k), &back));
    ref = ref && back;
    if (!there)
        fsck_breach(f, own->ino, "R7", "content %llu borrows from %llu, which is forgotten", LLU(own->id),
                    LLU(e->origin));
    if (!ref || (own->state == CONTENT_LIVE && !own->borrows))
        fsck_breach(f, own->ino, "R7", "content %llu borrows from %llu, and %s", LLU(own->id), LLU(e->origin),
                    ref ? "its record says that it does not borrow" : "no reference row says so");
    return 0;
}

static int extent_rules(struct kv_tx *tx, struct fsck *f, const struct content *own, const struct extent *e)
{
    if (!e->blob) /* a hole */
        return 0;
    fsck_id(f, e->blob, "blob");
    TRY(origin_there(tx, f, own, e));
    return bytes_here(tx, f, own, e);
}

/* ---- contents ---- */

static int live_content(struct kv_tx *tx, struct fsck *f, const struct content *c)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, c->ino, &i, &there));
    if (!there || i.content != c->id)
        fsck_breach(f, there ? c->ino : 0, "R9",
                    "content %llu is live for inode %llu, which %s, and has no drop record", LLU(c->id), LLU(c->ino),
                    there ? "has another" : "is not there");
    return 0;
}

static int dead_content(struct kv_tx *tx, struct fsck *f, const struct content *c)
{
    bool there;
    TRY(fsck_queued(tx, Q_DROP, c->drop_due, c->id, STR(""), &there));
    if (!there)
        fsck_breach(f, 0, "R9", "content %llu is dead and its drop record is not there", LLU(c->id));
    return 0;
}

static int chunked_content(struct kv_tx *tx, struct fsck *f, const struct content *c)
{
    struct buf k AUTO_BUF = {0};
    bool there;
    key_chunk(&k, c->id, 0);
    TRY(fsck_there(tx, buf_str(&k), &there));
    if (!there && c->size)
        fsck_breach(f, c->ino, "R6", "content %llu has no extents at its start", LLU(c->id));
    return 0;
}

int fsck_content_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct fsck *f = r->f;
    struct content c;
    uint64_t sum = 0, id = id_at(r->key, 0);
    TRY(dec_content(r->value, id, &c));
    fsck_id(f, id, "content");
    if (c.state == CONTENT_LIVE)
        TRY(live_content(tx, f, &c));
    else if (c.state == CONTENT_DEAD)
        TRY(dead_content(tx, f, &c));
    else if (c.state == CONTENT_BUILDING)
        f->s.building++;
    else
        fsck_breach(f, 0, "K", "content %llu is in no known state", LLU(id));
    for (size_t i = 0; i < c.n; i++) {
        TRY(extent_rules(tx, f, &c, &c.inl[i]));
        sum += c.inl[i].len;
    }
    if (c.chunked)
        return chunked_content(tx, f, &c);
    if (sum != c.size && c.state != CONTENT_BUILDING)
        fsck_breach(f, c.ino, "R6", "content %llu has %llu bytes, its extents %llu", LLU(id), LLU(c.size), LLU(sum));
    return 0;
}

/* C rows come content by content, in order of their offsets. */
void fsck_chunks_end(struct fsck *f)
{
    const struct content *c = &f->s.chunks.c;
    if (f->s.chunks.any && f->s.chunks.there && !f->s.chunks.bad && c->state != CONTENT_BUILDING &&
        f->s.chunks.end != c->size)
        fsck_breach(f, c->ino, "R6", "content %llu has %llu bytes, its extents %llu", LLU(c->id), LLU(c->size),
                    LLU(f->s.chunks.end));
    f->s.chunks.any = false;
}

static int chunks_begin(struct kv_tx *tx, struct fsck *f, uint64_t id)
{
    f->s.chunks.any = true;
    f->s.chunks.bad = false;
    f->s.chunks.id = id;
    f->s.chunks.end = 0;
    TRY(fsck_content(tx, id, &f->s.chunks.c, &f->s.chunks.there));
    if (!f->s.chunks.there || (!f->s.chunks.c.chunked && f->s.chunks.c.state != CONTENT_BUILDING))
        fsck_breach(f, 0, "R6", "extents of content %llu, which %s", LLU(id),
                    f->s.chunks.there ? "has them in its own row" : "is not there");
    return 0;
}

int fsck_chunk_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct fsck *f = r->f;
    struct extent *e AUTO_FREE = calloc(REC_CHUNK, sizeof *e);
    uint64_t id = id_at(r->key, 0), off = id_at(r->key, 8);
    size_t n;
    if (!e)
        return ERR_NOMEM;
    if (!f->s.chunks.any || f->s.chunks.id != id) {
        fsck_chunks_end(f);
        TRY(chunks_begin(tx, f, id));
    }
    if (off != f->s.chunks.end && !f->s.chunks.bad) {
        f->s.chunks.bad = true;
        fsck_breach(f, 0, "R6", "content %llu has a gap or overlap between %llu and %llu", LLU(id),
                    LLU(f->s.chunks.end), LLU(off));
    }
    TRY(dec_extents(r->value, e, REC_CHUNK, &n));
    for (size_t i = 0; i < n && f->s.chunks.there; i++)
        TRY(extent_rules(tx, f, &f->s.chunks.c, &e[i]));
    f->s.chunks.end = off;
    for (size_t i = 0; i < n; i++)
        f->s.chunks.end += e[i].len;
    return 0;
}

int fsck_ref_back_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct buf k AUTO_BUF = {0};
    bool there;
    key_ref(&k, id_at(r->key, 8), id_at(r->key, 0));
    TRY(fsck_there(tx, buf_str(&k), &there));
    if (!there)
        fsck_breach(r->f, 0, "R7", "content %llu says that it borrows from %llu, which does not know",
                    LLU(id_at(r->key, 0)), LLU(id_at(r->key, 8)));
    return 0;
}

int fsck_lazy_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct cur c = cur_of(r->value);
    struct content k;
    bool there;
    TRY(fsck_content(tx, id_at(r->key, 0), &k, &there));
    if (cur_u8(&c) != REC_VERSION || !cur_varint(&c) || c.bad)
        fsck_breach(r->f, 0, "K", "malformed record of a lazy publish of content %llu", LLU(id_at(r->key, 0)));
    return 0;
}

int fsck_ref_row(struct kv_tx *tx, struct fsck_row *r)
{
    uint64_t origin = id_at(r->key, 0), borrower = id_at(r->key, 8);
    struct content c;
    bool there;
    TRY(fsck_content(tx, origin, &c, &there));
    if (!there)
        fsck_breach(r->f, 0, "R7", "content %llu is forgotten, and %llu borrows from it", LLU(origin), LLU(borrower));
    return 0; /* a row too many, of a part that was replaced or left out, goes with the origin */
}

/* ---- uploads ---- */

static void upload_text(const unsigned char id[16], char out[33])
{
    str_hex(id, 16, out);
}

int fsck_upload_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct fsck *f = r->f;
    struct buf k AUTO_BUF = {0};
    struct upload u;
    struct content c;
    unsigned char id[16];
    char text[33];
    bool there;
    memcpy(id, r->key.p, 16);
    upload_text(id, text);
    TRY(dec_upload(r->value, id, &u));
    fsck_id(f, u.content, "content");
    TRY(fsck_content(tx, u.content, &c, &there));
    if (!there || c.state != CONTENT_BUILDING)
        fsck_breach(f, 0, "U", "upload %s of %s builds content %llu, which is %s", text, fsck_text(u.key),
                    LLU(u.content), there ? "not being built" : "not there");
    key_upload_index(&k, u.bucket, u.key, id);
    TRY(fsck_there(tx, buf_str(&k), &there));
    if (!there)
        fsck_breach(f, 0, "U", "upload %s of %s is not in the index by key", text, fsck_text(u.key));
    TRY(fsck_queued(tx, Q_UPLOAD, u.expire_due, u.content, str_mk(id, 16), &there));
    if (!there)
        fsck_breach(f, 0, "U", "upload %s of %s has no record of its expiry", text, fsck_text(u.key));
    return 0;
}

int fsck_upload_index_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct buf k AUTO_BUF = {0};
    struct upload u = {0};
    struct str v;
    unsigned char id[16];
    memcpy(id, r->key.p + r->key.n - 16, 16);
    struct str key = {r->key.p + 8, r->key.n - 8 - 17};
    key_upload(&k, 'U', id);
    int rc = kv_get(tx, buf_str(&k), &v);
    if (rc < 0 && rc != ERR_NOT_FOUND)
        return rc;
    if (rc == 0)
        TRY(dec_upload(v, id, &u));
    if (rc == ERR_NOT_FOUND || u.bucket != id_at(r->key, 0) || !str_eq(u.key, key))
        fsck_breach(r->f, 0, "U", "the index by key names an upload of %s that is %s", fsck_text(key),
                    rc == 0 ? "of another key" : "not there");
    return 0;
}

/* Part rows of an upload that is over stay until its record is worked off. */
struct over {
    struct str id;
    bool found;
};

static int names_upload(void *arg, struct str key, struct str value)
{
    struct over *o = arg;
    enum queue_kind kind;
    uint64_t due, id;
    struct str rest;
    (void)value;
    o->found = dec_queue_key(key, &kind, &due, &id, &rest) && str_eq(rest, o->id);
    return o->found;
}

static int parts_begin(struct kv_tx *tx, struct fsck *f, const unsigned char id[16])
{
    struct buf k AUTO_BUF = {0};
    struct upload u;
    struct str v;
    char text[33];
    key_upload(&k, 'U', id);
    int r = kv_get(tx, buf_str(&k), &v);
    f->s.parts_any = true;
    f->s.parts_content = 0;
    memcpy(f->s.parts_of, id, 16);
    if (r == 0) {
        TRY(dec_upload(v, id, &u));
        f->s.parts_content = u.content;
        return 0;
    }
    if (r != ERR_NOT_FOUND)
        return r;
    struct over o = {str_mk(id, 16), false};
    r = kv_scan(f->m->kv, STR("QU"), names_upload, &o);
    upload_text(id, text);
    if (r >= 0 && !o.found)
        fsck_breach(f, 0, "U", "parts of upload %s, which is not there and has no record that would remove them", text);
    return r < 0 ? r : 0;
}

int fsck_part_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct fsck *f = r->f;
    struct part p;
    struct content c;
    bool there;
    uint64_t sum = 0;
    size_t n;
    if (!f->s.parts_any || memcmp(f->s.parts_of, r->key.p, 16))
        TRY(parts_begin(tx, f, (const unsigned char *)r->key.p));
    TRY(dec_part(r->value, &p));
    struct extent *e AUTO_FREE = calloc(p.n ? p.n : 1, sizeof *e);
    if (!e)
        return ERR_NOMEM;
    TRY(dec_extents(p.ext_raw, e, p.n, &n));
    if (!f->s.parts_content)
        return 0;
    TRY(fsck_content(tx, f->s.parts_content, &c, &there));
    for (size_t i = 0; i < n; i++) {
        sum += e[i].len;
        if (there)
            TRY(extent_rules(tx, f, &c, &e[i]));
    }
    struct str stored; /* its bytes are in the store: no extents */
    bool passes = pairs_get(p.pairs, STR(META_PART_STORED), &stored);
    if (sum != (passes ? 0 : p.size))
        fsck_breach(f, 0, "U", "a part of the upload that builds content %llu has %llu bytes, its extents %llu",
                    LLU(f->s.parts_content), LLU(p.size), LLU(sum));
    return 0;
}

int fsck_answer_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct answer a;
    char text[33];
    bool there;
    TRY(dec_answer(r->value, &a));
    TRY(fsck_queued(tx, Q_ANSWER, a.due, 0, r->key, &there));
    upload_text((const unsigned char *)r->key.p, text);
    if (!there)
        fsck_breach(r->f, 0, "U", "the answer of upload %s would be remembered for ever", text);
    return 0;
}

/* ---- blobs that are to be dropped ---- */

/* No row leads from a blob to a content that names it, so the other way round: the blobs of one batch of records,
 * sorted, against every extent there is. */
enum { BLOB_BATCH = 1 << 16 };
struct blobs {
    struct fsck *f;
    uint64_t *blob;
    size_t n;
    struct buf from; /* the record after the batch */
    bool more;
    uint64_t content; /* under check */
};

static int take_blobs(struct kv_tx *tx, void *arg)
{
    struct blobs *b = arg;
    struct kv_rows rows;
    struct kv_range r = {.begin = buf_str(&b->from), .end = STR("QC"), .max_rows = BLOB_BATCH - b->n};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        enum queue_kind kind;
        uint64_t due;
        struct str rest;
        dec_queue_key(rows.row[i].key, &kind, &due, &b->blob[b->n + i], &rest);
    }
    b->n += rows.n;
    b->more = rows.more;
    if (rows.n) {
        buf_reset(&b->from);
        buf_str_add(&b->from, rows.row[rows.n - 1].key);
        buf_u8(&b->from, 0);
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void look_up(struct blobs *b, const struct extent *e, size_t n, uint64_t content)
{
    for (; n; n--, e++)
        if (bsearch(&e->blob, b->blob, b->n, sizeof e->blob, by_number))
            fsck_breach(b->f, 0, "R9", "blob %llu is to be dropped and content %llu names it", LLU(e->blob),
                        LLU(content));
}

static int whole_content(struct kv_tx *tx, struct fsck_row *r)
{
    struct blobs *b = (struct blobs *)r->value.p;
    struct content c;
    bool there;
    TRY(fsck_content(tx, b->content, &c, &there));
    if (there && c.state != CONTENT_DEAD)
        look_up(b, c.inl, c.n, c.id);
    return 0;
}

static int content_extents(void *arg, struct str key, struct str value)
{
    struct blobs *b = arg;
    struct fsck_row row = {b->f, key, {(const char *)b, 0}};
    (void)value;
    b->content = id_at(key, 1);
    return fsck_view(b->f, &row, whole_content);
}

struct chunk_look {
    struct blobs *b;
    struct str key, value;
};

static int chunk_look_tx(struct kv_tx *tx, struct fsck_row *r)
{
    const struct chunk_look *l = (const struct chunk_look *)r->value.p;
    struct extent *e AUTO_FREE = calloc(REC_CHUNK, sizeof *e);
    struct content c;
    bool there;
    size_t n;
    if (!e)
        return ERR_NOMEM;
    TRY(dec_extents(l->value, e, REC_CHUNK, &n));
    TRY(fsck_content(tx, id_at(l->key, 1), &c, &there));
    if (there && c.state != CONTENT_DEAD)
        look_up(l->b, e, n, c.id);
    return 0;
}

static int chunk_extents(void *arg, struct str key, struct str value)
{
    struct blobs *b = arg;
    struct chunk_look l = {b, key, value};
    struct fsck_row row = {b->f, key, {(const char *)&l, 0}};
    return fsck_view(b->f, &row, chunk_look_tx);
}

int fsck_dropped_blobs(struct fsck *f)
{
    struct blobs b = {.f = f, .blob = calloc(BLOB_BATCH, sizeof *b.blob), .more = true};
    int r = b.blob ? 0 : ERR_NOMEM;
    buf_putz(&b.from, "QB");
    while (r == 0 && b.more) {
        for (b.n = 0; r == 0 && b.more && b.n < BLOB_BATCH;)
            r = kv_view(f->m->kv, take_blobs, &b, NULL);
        if (r < 0)
            break;
        qsort(b.blob, b.n, sizeof *b.blob, by_number);
        r = kv_scan(f->m->kv, STR("c"), content_extents, &b);
        if (r == 0)
            r = kv_scan(f->m->kv, STR("C"), chunk_extents, &b);
    }
    buf_done(&b.from);
    free(b.blob);
    return r;
}
