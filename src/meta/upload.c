/* SPDX-License-Identifier: Apache-2.0
 *
 * Multipart uploads: a content that is being built.
 *
 *   create    upload row, its index by key, a content in state BUILDING
 *   part      a row with the part's extents; a replaced part's blobs get drop records
 *   complete  the list is checked on a snapshot, the extents are written ahead under the content (invisible), and one
 *             transaction makes the content LIVE under its name: no data moves, whatever the number of parts
 *   abort     upload row goes; part rows, blobs and content follow in the background (Q_UPLOAD)
 *
 * An upload that passes through (struct upload.ufs) keeps rows of its parts, without extents: their bytes are in the
 * store, which makes the object of them at Complete, under a claim on the object's key. Its content is one blob a part,
 * without pages, backed by the object. Whoever ends such an upload (Complete, abort, expiry) holds that claim.
 *
 * revision changes with each part and each attempt to complete, so what was written ahead is used only by the attempt
 * that wrote it. A crash between the steps leaves a BUILDING content with an upload row: Complete may simply be
 * repeated.
 */
#include "meta/tx.h"
#include "base/hash.h"

enum { ANSWER_MS = 24 * 3600 * 1000, AHEAD_CHUNKS = 12, CLEAN_BATCH = 256 };

static int tx_upload(struct kv_tx *tx, const unsigned char id[16], struct upload *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_upload(&k, 'U', id);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_NO_UPLOAD, "the upload does not exist: it was completed, aborted, or has expired");
    TRY(r);
    return dec_upload(v, id, ret);
}

static void tx_put_upload(struct kv_tx *tx, const struct upload *u)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_upload(&k, 'U', u->id);
    enc_upload(&v, u);
    kv_put(tx, buf_str(&k), buf_str(&v));
}

/* An upload belongs to its bucket's inode and its key there. */
static int check_key(struct kv_tx *tx, uint64_t dir, struct str path, const struct upload *u, uint64_t *ret_bucket)
{
    struct place p;
    TRY(tx_walk(tx, dir, path, &p));
    if (!p.depth)
        return err_set(ERR_NO_BUCKET, "there is no such bucket");
    struct buf key AUTO_BUF = {0};
    buf_add(&key, p.home, p.home_n);
    buf_str_add(&key, p.rest.n ? p.rest : p.leaf);
    if (ret_bucket)
        *ret_bucket = p.mount;
    if (u && (u->bucket != p.mount || !str_eq(u->key, buf_str(&key))))
        return err_set(ERR_NO_UPLOAD, "the upload is of another key");
    return 0;
}

/* ---- create ---- */

struct create_arg {
    const struct meta_upload_new *u;
    uint64_t content;
};

static void queue_upload(struct kv_tx *tx, uint64_t due, uint64_t content, const unsigned char id[16], bool aborted)
{
    struct queue_rec q = {.since_ms = clock_wall_ms(), .bytes = aborted};
    tx_queue(tx, Q_UPLOAD, due, content, str_mk(id, 16), &q);
}

static int create_tx(struct kv_tx *tx, void *arg)
{
    struct create_arg *a = arg;
    struct upload u = {.content = a->content,
                       .start_ms = clock_wall_ms(),
                       .revision = 1,
                       .mode = a->u->mode,
                       .uid = a->u->uid,
                       .gid = a->u->gid,
                       .ufs = a->u->ufs,
                       .pairs = a->u->pairs};
    struct buf key AUTO_BUF = {0}, k AUTO_BUF = {0};
    struct place p;
    TRY(tx_walk(tx, a->u->dir, a->u->path, &p));
    if (!p.depth)
        return err_set(ERR_NO_BUCKET, "there is no such bucket; mount one (forebay mount add) or create it");
    buf_add(&key, p.home, p.home_n);
    buf_str_add(&key, p.rest.n ? p.rest : p.leaf);
    memcpy(u.id, a->u->id, 16);
    u.bucket = p.mount;
    u.key = buf_str(&key);
    u.expire_due = u.start_ms + a->u->expire_ms;
    struct content c = {.id = a->content, .state = CONTENT_BUILDING};
    tx_put_upload(tx, &u);
    key_upload_index(&k, u.bucket, u.key, u.id);
    kv_put(tx, buf_str(&k), STR(""));
    tx_put_content(tx, &c);
    queue_upload(tx, u.expire_due, u.content, u.id, false);
    return 0;
}

int meta_upload_create(struct meta *m, const struct meta_upload_new *u)
{
    struct create_arg a = {.u = u};
    TRY(meta_mint(m, 1, &a.content));
    return meta_update(m, create_tx, &a);
}

struct get_arg {
    uint64_t dir;
    struct str path;
    const unsigned char *id;
    struct upload *ret;
    struct buf *strings;
};

static int get_tx(struct kv_tx *tx, void *arg)
{
    struct get_arg *a = arg;
    struct upload u;
    TRY(tx_upload(tx, a->id, &u));
    if (a->path.p)
        TRY(check_key(tx, a->dir, a->path, &u, NULL));
    buf_reset(a->strings);
    buf_str_add(a->strings, u.key);
    buf_str_add(a->strings, u.ufs);
    buf_str_add(a->strings, u.pairs);
    const char *s = a->strings->p;
    u.key.p = s;
    u.ufs.p = s + u.key.n;
    u.pairs.p = u.ufs.p + u.ufs.n;
    *a->ret = u;
    return 0;
}

int meta_upload_get(struct meta *m, uint64_t dir, struct str path, const unsigned char id[16], struct upload *ret,
                    struct buf *ret_strings)
{
    struct get_arg a = {dir, path, id, ret, ret_strings};
    return kv_view(m->kv, get_tx, &a, NULL);
}

/* ---- parts ---- */

static void drop_blob(struct kv_tx *tx, const struct extent *e)
{
    struct queue_rec q = {.since_ms = clock_wall_ms(), .bytes = e->len};
    tx_queue(tx, Q_BLOB, clock_wall_ms(), e->blob, STR(""), &q);
}

static int part_extents(const struct part *p, struct extent **ret)
{
    size_t n;
    *ret = calloc(p->n ? p->n : 1, sizeof **ret);
    if (!*ret)
        return ERR_NOMEM;
    return dec_extents(p->ext_raw, *ret, p->n, &n);
}

/* A part row goes: blobs written for this upload are nobody's. */
static int drop_part(struct kv_tx *tx, uint64_t content, const struct part *p)
{
    struct extent *e AUTO_FREE = NULL;
    TRY(part_extents(p, &e));
    for (size_t i = 0; i < p->n; i++)
        if (e[i].origin == content)
            drop_blob(tx, &e[i]);
    return 0;
}

struct part_arg {
    const unsigned char *id;
    unsigned part;
    const struct part *p;
    uint64_t borrow_from;
};

static int borrow(struct kv_tx *tx, const struct part *p, uint64_t content)
{
    for (size_t i = 0; i < p->n; i++) {
        struct content origin;
        if (!p->ext[i].blob || p->ext[i].origin == content)
            continue;
        int r = tx_content(tx, p->ext[i].origin, &origin);
        if (r == ERR_NOT_FOUND)
            return err_set(ERR_STALE, "the source changed during the copy");
        TRY(r);
        tx_ref(tx, p->ext[i].origin, content);
    }
    return 0;
}

static int part_tx(struct kv_tx *tx, void *arg)
{
    struct part_arg *a = arg;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct upload u;
    struct part old;
    struct str row;
    TRY(tx_upload(tx, a->id, &u));
    key_part(&k, a->id, a->part);
    int r = kv_get(tx, buf_str(&k), &row);
    if (r == 0) {
        TRY(dec_part(row, &old));
        TRY(drop_part(tx, u.content, &old));
    } else if (r != ERR_NOT_FOUND) {
        return r;
    }
    if (a->borrow_from)
        TRY(borrow(tx, a->p, u.content));
    enc_part(&v, a->p);
    kv_put(tx, buf_str(&k), buf_str(&v));
    u.revision++;
    tx_put_upload(tx, &u);
    return 0;
}

int meta_upload_part(struct meta *m, const unsigned char id[16], unsigned part, const struct part *p,
                     uint64_t borrow_from)
{
    struct part_arg a = {id, part, p, borrow_from};
    TRY(FAULT(META_PART_BEFORE));
    return meta_update_or_conflict(m, part_tx, &a);
}

struct parts_arg {
    const unsigned char *id;
    unsigned after;
    size_t limit;
    struct buf out;
    bool more;
};

static int parts_tx(struct kv_tx *tx, void *arg)
{
    struct parts_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    buf_reset(&a->out);
    key_part(&begin, a->id, a->after + 1);
    key_upload(&end, 'V', a->id);
    struct buf stop AUTO_BUF = {0};
    kv_prefix_end(buf_str(&end), &stop);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&stop), .max_rows = a->limit};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        struct cur c = cur_of(str_from(rows.row[i].key, 17));
        buf_be16(&a->out, cur_be16(&c));
        buf_bytes(&a->out, rows.row[i].value);
    }
    a->more = rows.more;
    return 0;
}

int meta_upload_parts(struct meta *m, const unsigned char id[16], unsigned after, size_t limit,
                      int (*fn)(void *arg, unsigned part, const struct part *p), void *arg, bool *ret_more)
{
    struct parts_arg a = {id, after, limit, {0}, false};
    int r = after >= 65535 ? 0 : kv_view(m->kv, parts_tx, &a, NULL);
    struct cur c = cur_of(buf_str(&a.out));
    while (r == 0 && c.p < c.end) {
        struct part p;
        unsigned n = cur_be16(&c);
        r = dec_part(cur_bytes(&c), &p);
        if (r == 0)
            r = fn(arg, n, &p);
    }
    if (r == 0)
        *ret_more = a.more;
    buf_done(&a.out);
    return r;
}

/* ---- complete ---- */

struct completion {
    struct meta_pass pass; /* first: what meta_pass_plan() gives out */
    struct meta *m;
    struct meta_complete *c;
    struct upload u;
    struct buf strings, unused; /* unused: encoded extents of blobs of parts that are not named */
    struct extent *ext;
    size_t n, cap, matched;
    unsigned last_seen;
    uint64_t size, revision;
    char etag[72];
    struct digest *md5;
    unsigned char list_digest[16];
    size_t ahead; /* chunks written ahead so far */
    uint64_t first_id;
    bool repeated;
    bool passes;             /* the store has the parts */
    struct ufs_part *stored; /* as it is told of them */
};

static struct str unquoted(struct str s)
{
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct str){s.p + 1, s.n - 2} : s;
}

static bool checksum_ok(const struct part *p, struct str want)
{
    struct cur c = cur_of(p->pairs);
    struct str n, v;
    while (pairs_next(&c, &n, &v))
        if (str_eq(v, want) && !str_eq(n, STR(META_PART_STORED)))
            return true;
    return false;
}

static int extent_room(struct completion *s, size_t more)
{
    if (s->n + more <= s->cap)
        return 0;
    s->cap = (s->n + more) * 2;
    struct extent *grown = realloc(s->ext, s->cap * sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    s->ext = grown;
    return 0;
}

/* The part lies in the store: an extent without pages, its blob minted later. */
static int push_stored(struct completion *s, const struct part *p, unsigned number)
{
    struct str etag;
    if (!pairs_get(p->pairs, STR(META_PART_STORED), &etag))
        return err_set(ERR_CORRUPT, "part %u of an upload that passes through has no ETag of the store", number);
    struct ufs_part *u = &s->stored[s->matched];
    u->part = number;
    snprintf(u->etag, sizeof u->etag, "%.*s", STR_ARG(etag));
    if (!p->size)
        return 0;
    TRY(extent_room(s, 1));
    s->ext[s->n++] = (struct extent){.len = p->size, .origin = s->u.content, .origin_off = s->size, .part = number};
    s->size += p->size;
    return 0;
}

static int push_extents(struct completion *s, const struct part *p, unsigned number)
{
    struct extent *e AUTO_FREE = NULL;
    TRY(part_extents(p, &e));
    TRY(extent_room(s, p->n));
    for (size_t i = 0; i < p->n; i++) {
        uint64_t off = s->size;
        e[i].part = number;
        if (e[i].origin == s->u.content)
            e[i].origin_off = off;
        s->ext[s->n++] = e[i];
        s->size += e[i].len;
    }
    return 0;
}

static int take_part(struct completion *s, unsigned number, const struct part *p)
{
    const struct meta_part_ref *want = &s->c->part[s->matched];
    bool last = s->matched + 1 == s->c->n;
    unsigned char md5[16];
    if (!str_eq(unquoted(want->etag), str_of(p->etag)))
        return err_set(ERR_INVALID_PART, "part %u has ETag \"%s\", not %.*s", number, p->etag, STR_ARG(want->etag));
    if (want->checksum.p && !checksum_ok(p, want->checksum))
        return err_set(ERR_INVALID_PART, "part %u has another checksum than the one given", number);
    if (!last && p->size < s->c->min_part)
        return err_set(ERR_PART_SMALL, "part %u has %llu bytes; all but the last must have %llu", number,
                       (unsigned long long)p->size, (unsigned long long)s->c->min_part);
    if (!str_unhex(str_of(p->etag), md5, 16))
        return err_set(ERR_CORRUPT, "part %u has no MD5", number);
    digest_add(s->md5, md5, 16);
    TRY(s->passes ? push_stored(s, p, number) : push_extents(s, p, number));
    s->matched++;
    return 0;
}

static int match_part(void *arg, unsigned number, const struct part *p)
{
    struct completion *s = arg;
    s->last_seen = number;
    if (s->matched < s->c->n && s->c->part[s->matched].part < number)
        return err_set(ERR_INVALID_PART, "part %u was not uploaded", s->c->part[s->matched].part);
    if (s->matched < s->c->n && s->c->part[s->matched].part == number)
        return take_part(s, number, p);
    struct extent *e AUTO_FREE = NULL; /* not named: dropped */
    TRY(part_extents(p, &e));
    for (size_t i = 0; i < p->n; i++)
        if (e[i].origin == s->u.content) {
            buf_varint(&s->unused, e[i].blob);
            buf_varint(&s->unused, e[i].len);
        }
    return 0;
}

static int match_parts(struct completion *s)
{
    bool more = true;
    for (size_t i = 1; i < s->c->n; i++)
        if (s->c->part[i].part <= s->c->part[i - 1].part)
            return err_set(ERR_PART_ORDER, "part %u comes after part %u", s->c->part[i].part, s->c->part[i - 1].part);
    if (!s->c->n)
        return err_set(ERR_MALFORMED_XML, "the list of parts is empty");
    while (more)
        TRY(meta_upload_parts(s->m, s->c->id, s->last_seen, 500, match_part, s, &more));
    if (s->matched < s->c->n)
        return err_set(ERR_INVALID_PART, "part %u was not uploaded", s->c->part[s->matched].part);
    unsigned char sum[32];
    digest_end(s->md5, sum);
    str_hex(sum, 16, s->etag);
    snprintf(s->etag + 32, sizeof s->etag - 32, "-%zu", s->c->n);
    return 0;
}

/* One more attempt begins: what earlier ones wrote ahead is removed. */
static int begin_tx(struct kv_tx *tx, void *arg)
{
    struct completion *s = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct upload u;
    struct kv_rows rows;
    TRY(tx_upload(tx, s->c->id, &u));
    if (u.revision != s->u.revision)
        return err_set(ERR_STALE, "a part was uploaded during Complete");
    u.revision++;
    s->revision = u.revision;
    tx_put_upload(tx, &u);
    key_id(&begin, 'C', u.content);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_bytes = 4 << 20};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++)
        kv_del(tx, rows.row[i].key);
    return 0;
}

static int ahead_tx(struct kv_tx *tx, void *arg)
{
    struct completion *s = arg;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct upload u;
    TRY(tx_upload(tx, s->c->id, &u));
    if (u.revision != s->revision && !s->passes)
        return err_set(ERR_STALE, "another Complete of this upload is running");
    uint64_t off = 0;
    size_t first = s->ahead * REC_CHUNK;
    for (size_t i = 0; i < first; i++)
        off += s->ext[i].len;
    for (size_t c = 0; c < AHEAD_CHUNKS && first < s->n; c++) {
        size_t n = s->n - first < REC_CHUNK ? s->n - first : REC_CHUNK;
        key_chunk(&k, u.content, off);
        enc_extents(&v, s->ext + first, n);
        kv_put(tx, buf_str(&k), buf_str(&v));
        for (size_t i = 0; i < n; i++)
            off += s->ext[first + i].len;
        first += n;
    }
    return 0;
}

static int finish_upload(struct kv_tx *tx, const struct upload *u, bool aborted)
{
    struct buf k AUTO_BUF = {0};
    key_upload(&k, 'U', u->id);
    kv_del(tx, buf_str(&k));
    key_upload_index(&k, u->bucket, u->key, u->id);
    kv_del(tx, buf_str(&k));
    tx_unqueue(tx, Q_UPLOAD, u->expire_due, u->content, str_mk(u->id, 16));
    queue_upload(tx, clock_wall_ms(), u->content, u->id, aborted);
    return 0;
}

static void put_answer(struct kv_tx *tx, struct completion *s, const struct inode *i)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct answer w = {.ino = i->ino,
                       .size = i->size,
                       .mtime_ms = i->mtime_ms,
                       .due = clock_wall_ms() + ANSWER_MS,
                       .parts_digest = str_mk(s->list_digest, 16)};
    memcpy(w.etag, i->etag, sizeof w.etag);
    key_upload(&k, 'W', s->c->id);
    enc_answer(&v, &w);
    kv_put(tx, buf_str(&k), buf_str(&v));
    tx_queue(tx, Q_ANSWER, w.due, 0, str_mk(s->c->id, 16), NULL);
}

static void drop_unused(struct kv_tx *tx, struct completion *s)
{
    struct cur un = cur_of(buf_str(&s->unused));
    while (un.p < un.end) {
        struct extent e = {.blob = cur_varint(&un)};
        e.len = cur_varint(&un);
        drop_blob(tx, &e);
    }
}

static int publish_upload(struct kv_tx *tx, struct completion *s, const struct upload *u, struct publish_out *out)
{
    struct meta_complete *c = s->c;
    struct content k;
    struct buf pairs AUTO_BUF = {0};
    bool borrows = false;
    TRY(tx_content(tx, u->content, &k));
    k.size = s->size;
    k.parts = (uint32_t)c->n;
    k.chunked = s->n > REC_INLINE;
    k.n = k.chunked ? 0 : s->n;
    memcpy(k.inl, s->ext, k.n * sizeof *k.inl);
    pairs_merge(&pairs, u->pairs, c->pairs);
    struct meta_publish p = {.dir = c->dir,
                             .path = c->path,
                             .cond = c->cond,
                             .type = REC_FILE,
                             .mode = u->mode ? u->mode : 0644,
                             .uid = u->uid,
                             .gid = u->gid,
                             .size = s->size,
                             .content = u->content,
                             .etag = s->etag,
                             .pairs = buf_str(&pairs),
                             .fate = c->fate};
    if (c->claim) { /* the condition was judged when the key was claimed */
        p.cond = (struct meta_cond){0};
        p.fate = META_CLEAN;
        p.nonce = c->claim->nonce;
        p.st = c->st;
    }
    for (size_t i = 0; i < s->n; i++)
        borrows |= s->ext[i].origin != u->content;
    TRY(tx_publish(tx, s->m, &p, &k, s->first_id, out));
    k.borrows = borrows;
    tx_put_content(tx, &k);
    if (c->found)
        found_fill(c->found, &out->i, out->pairs);
    return 0;
}

/* NO_CACHE, or somebody else's object is at the key by now: nothing is kept of it, the next look asks the UFS. */
static int forget_upload(struct kv_tx *tx, struct completion *s, struct inode *ret)
{
    struct meta_complete *c = s->c;
    struct meta_claim now = *c->claim;
    now.st = c->st;
    TRY(tx_claim_done(tx, s->m, &now, s->first_id));
    *ret = (struct inode){.type = REC_FILE, .size = s->size, .mtime_ms = c->st->mtime_ms, .nlink = 1};
    memcpy(ret->etag, s->etag, sizeof ret->etag);
    if (c->found)
        found_fill(c->found, ret, STR(""));
    return 0;
}

static int complete_tx(struct kv_tx *tx, void *arg)
{
    struct completion *s = arg;
    struct upload u;
    struct publish_out out;
    TRY(tx_upload(tx, s->c->id, &u));
    if (u.revision != s->revision && !s->passes)
        return err_set(ERR_STALE, "another Complete of this upload is running");
    TRY(s->c->forget ? forget_upload(tx, s, &out.i) : publish_upload(tx, s, &u, &out));
    drop_unused(tx, s);
    put_answer(tx, s, &out.i);
    return finish_upload(tx, &u, s->c->forget);
}

static void digest_list(struct completion *s)
{
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    unsigned char out[32];
    for (size_t i = 0; i < s->c->n; i++) {
        struct str e = unquoted(s->c->part[i].etag);
        digest_add(d, &s->c->part[i].part, sizeof s->c->part[i].part);
        digest_add(d, e.p, e.n);
    }
    digest_end(d, out);
    memcpy(s->list_digest, out, 16);
}

/* The answer a finished Complete of the same list gave. */
static int repeat_tx(struct kv_tx *tx, void *arg)
{
    struct completion *s = arg;
    struct buf k AUTO_BUF = {0};
    struct answer w;
    struct str v;
    key_upload(&k, 'W', s->c->id);
    s->repeated = false;
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    TRY(dec_answer(v, &w));
    if (!str_eq(w.parts_digest, str_mk(s->list_digest, 16)))
        return err_set(ERR_NO_UPLOAD, "the upload was completed with another list of parts");
    s->repeated = true;
    struct inode i = {.ino = w.ino, .size = w.size, .mtime_ms = w.mtime_ms, .type = REC_FILE, .nlink = 1};
    memcpy(i.etag, w.etag, sizeof i.etag);
    struct inode now;
    if (tx_inode(tx, w.ino, &now) == 0)
        i = now;
    if (s->c->found)
        found_fill(s->c->found, &i, STR(""));
    return 0;
}

static int complete_once(struct completion *s)
{
    struct meta *m = s->m;
    TRY(meta_upload_get(m, s->c->dir, s->c->path, s->c->id, &s->u, &s->strings));
    TRY(match_parts(s));
    TRY(meta_update_or_conflict(m, begin_tx, s));
    for (s->ahead = 0; s->n > REC_INLINE && s->ahead * REC_CHUNK < s->n; s->ahead += AHEAD_CHUNKS) {
        TRY(FAULT(META_COMPLETE_AHEAD));
        TRY(meta_update_or_conflict(m, ahead_tx, s));
    }
    TRY(meta_mint(m, 1 + path_components(s->c->path), &s->first_id));
    TRY(FAULT(META_COMPLETE_BEFORE));
    TRY(meta_update_or_conflict(m, complete_tx, s));
    meta_kick(m, 0);
    return FAULT(META_COMPLETE_AFTER);
}

static void completion_reset(struct completion *s)
{
    s->n = s->matched = 0;
    s->last_seen = 0;
    s->size = 0;
    buf_reset(&s->unused);
    digest_free(s->md5);
    s->md5 = digest_new(DIGEST_MD5);
}

int meta_upload_complete(struct meta *m, struct meta_complete *c)
{
    struct completion s = {.m = m, .c = c};
    TRACE("meta.complete", c->n, 0);
    digest_list(&s);
    int r = kv_view(m->kv, repeat_tx, &s, NULL);
    for (int attempt = 0; r == 0 && !s.repeated; attempt++) {
        completion_reset(&s);
        r = complete_once(&s);
        if (r == 0)
            break;
        if (r == ERR_CONFLICT && attempt < 40) { /* others complete it too: one of them will have won */
            r = 0;
            clock_sleep_ms((uint64_t)(attempt < 10 ? attempt : 10) * 5);
        }
        if (r == ERR_NO_UPLOAD || r == 0) { /* another Complete may have won meanwhile */
            int again = kv_view(m->kv, repeat_tx, &s, NULL);
            r = again < 0 ? again : s.repeated ? 0 : r;
        }
    }
    buf_done(&s.strings);
    buf_done(&s.unused);
    free(s.ext);
    digest_free(s.md5);
    return r;
}

/* ---- complete, where the store has the parts ---- */

struct meta_pass *meta_pass_free(struct meta_pass *p)
{
    struct completion *s = (struct completion *)p;
    if (!s)
        return NULL;
    buf_done(&s->strings);
    buf_done(&s->unused);
    free(s->ext);
    free(s->stored);
    free((char *)s->pass.upload);
    digest_free(s->md5);
    free(s);
    return NULL;
}

static int plan(struct completion *s)
{
    digest_list(s);
    TRY(kv_view(s->m->kv, repeat_tx, s, NULL));
    if (s->repeated)
        return 0;
    completion_reset(s);
    TRY(meta_upload_get(s->m, s->c->dir, s->c->path, s->c->id, &s->u, &s->strings));
    s->pass.upload = strndup(s->u.ufs.p, s->u.ufs.n);
    if (!s->pass.upload)
        return ERR_NOMEM;
    return match_parts(s);
}

int meta_pass_plan(struct meta *m, struct meta_complete *c, struct meta_pass **ret, bool *ret_repeated)
{
    struct completion *s = calloc(1, sizeof *s);
    TRACE("meta.pass_plan", c->n, 0);
    if (s)
        s->stored = calloc(c->n ? c->n : 1, sizeof *s->stored);
    if (!s || !s->stored) {
        free(s);
        return ERR_NOMEM;
    }
    s->m = m;
    s->c = c;
    s->passes = true;
    int r = plan(s);
    if (r < 0) {
        meta_pass_free(&s->pass);
        return r;
    }
    s->pass.part = s->stored;
    s->pass.n = c->n;
    s->pass.size = s->size;
    memcpy(s->pass.etag, s->etag, sizeof s->pass.etag);
    *ret_repeated = s->repeated;
    *ret = &s->pass;
    return 0;
}

int meta_pass_begin(struct meta *m, struct meta_pass *p)
{
    struct completion *s = (struct completion *)p;
    uint64_t blob;
    TRY(meta_mint(m, (unsigned)s->n + 1 + path_components(s->c->path), &blob));
    s->first_id = blob + s->n;
    for (size_t i = 0; i < s->n; i++)
        s->ext[i].blob = blob + i;
    TRY(meta_update_or_conflict(m, begin_tx, s));
    if (s->c->forget)
        return 0;
    for (s->ahead = 0; s->n > REC_INLINE && s->ahead * REC_CHUNK < s->n; s->ahead += AHEAD_CHUNKS)
        TRY(meta_update_or_conflict(m, ahead_tx, s));
    return 0;
}

int meta_pass_publish(struct meta *m, struct meta_pass *p)
{
    struct completion *s = (struct completion *)p;
    TRY(FAULT(META_COMPLETE_BEFORE));
    TRY(meta_update_or_conflict(m, complete_tx, s));
    meta_kick(m, 0);
    return FAULT(META_COMPLETE_AFTER);
}

/* ---- abort, expiry ---- */

struct abort_arg {
    uint64_t dir;
    struct str path;
    const unsigned char *id;
};

static int abort_tx(struct kv_tx *tx, void *arg)
{
    struct abort_arg *a = arg;
    struct upload u;
    TRY(tx_upload(tx, a->id, &u));
    if (a->path.p)
        TRY(check_key(tx, a->dir, a->path, &u, NULL));
    return finish_upload(tx, &u, true);
}

int meta_upload_abort(struct meta *m, uint64_t dir, struct str path, const unsigned char id[16])
{
    struct abort_arg a = {dir, path, id};
    TRY(FAULT(META_ABORT_BEFORE));
    TRY(meta_update(m, abort_tx, &a));
    meta_kick(m, Q_UPLOAD);
    return 0;
}

struct clean_arg {
    const struct meta_item *it;
    bool more;
};

/* An aborted upload borrows from nobody. */
static int return_borrowed(struct kv_tx *tx, uint64_t content, const struct part *p)
{
    struct extent *e AUTO_FREE = NULL;
    TRY(part_extents(p, &e));
    for (size_t i = 0; i < p->n; i++) {
        if (e[i].blob && e[i].origin != content)
            tx_unref(tx, e[i].origin, content);
    }
    return 0;
}

static int clean_tx(struct kv_tx *tx, void *arg)
{
    struct clean_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    unsigned char id[16];
    struct kv_rows rows;
    struct upload u;
    bool aborted = a->it->rec.bytes;
    memcpy(id, a->it->key.p, 16);
    a->more = false;
    int r = tx_upload(tx, id, &u);
    if (r == 0) /* expired: the rest is for the record that is made now */
        return finish_upload(tx, &u, true);
    if (r != ERR_NO_UPLOAD)
        return r;
    key_upload(&begin, 'V', id);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range range = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = CLEAN_BATCH};
    TRY(kv_range(tx, &range, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        struct part p;
        TRY(dec_part(rows.row[i].value, &p));
        if (aborted) {
            TRY(drop_part(tx, a->it->id, &p));
            TRY(return_borrowed(tx, a->it->id, &p));
        }
        kv_del(tx, rows.row[i].key);
    }
    a->more = rows.more;
    if (a->more)
        return 0;
    if (aborted)
        TRY(tx_content_dead(tx, a->it->id, 0, (struct str){0}, ""));
    tx_unqueue(tx, Q_UPLOAD, a->it->due, a->it->id, str_mk(id, 16));
    return 0;
}

int meta_upload_clean(struct meta *m, const struct meta_item *it, bool *ret_more)
{
    struct clean_arg a = {it, false};
    TRY(meta_commit(m, clean_tx, &a, KV_LAZY, NULL));
    *ret_more = a.more;
    meta_kick(m, 0);
    return 0;
}

struct later_arg {
    const struct meta_item *it;
    uint64_t due;
    const char *error;
};

static int later_tx(struct kv_tx *tx, void *arg)
{
    struct later_arg *a = arg;
    struct queue_rec q = a->it->rec;
    struct upload u;
    unsigned char id[16];
    memcpy(id, a->it->key.p, 16);
    int r = tx_upload(tx, id, &u);
    if (r == ERR_NO_UPLOAD || (r == 0 && u.expire_due != a->it->due)) /* it ended meanwhile, with a record of its own */
        return 0;
    TRY(r);
    q.attempts++;
    q.error = str_of(a->error);
    if (q.error.n > 200)
        q.error.n = 200;
    tx_unqueue(tx, Q_UPLOAD, a->it->due, a->it->id, a->it->key);
    u.expire_due = a->due;
    tx_put_upload(tx, &u);
    tx_queue(tx, Q_UPLOAD, u.expire_due, u.content, str_mk(id, 16), &q);
    return 0;
}

int meta_upload_later(struct meta *m, const struct meta_item *it, uint64_t due, const char *error)
{
    struct later_arg a = {it, due, error};
    return kv_update(m->kv, later_tx, &a, KV_LAZY, NULL);
}

static int answer_tx(struct kv_tx *tx, void *arg)
{
    const struct meta_item *it = arg;
    struct buf k AUTO_BUF = {0};
    unsigned char id[16];
    memcpy(id, it->key.p, 16);
    key_upload(&k, 'W', id);
    kv_del(tx, buf_str(&k));
    tx_unqueue(tx, Q_ANSWER, it->due, it->id, it->key);
    return 0;
}

int meta_answer_forget(struct meta *m, const struct meta_item *it)
{
    return meta_commit(m, answer_tx, (void *)it, KV_LAZY, NULL);
}

/* ---- listing ---- */

struct uploads_arg {
    uint64_t bucket;
    struct str prefix, after_key;
    const unsigned char *after_id;
    size_t limit;
    struct buf out;
    bool more;
};

static int uploads_tx(struct kv_tx *tx, void *arg)
{
    struct uploads_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, base AUTO_BUF = {0};
    struct kv_rows rows;
    unsigned char last[16];
    buf_reset(&a->out);
    key_id(&base, 'u', a->bucket);
    buf_str_add(&base, a->prefix);
    kv_prefix_end(buf_str(&base), &end);
    buf_str_add(&begin, buf_str(&base));
    if (a->after_key.n) { /* without an id: after all uploads of that key */
        struct buf from AUTO_BUF = {0};
        memset(last, 0xff, sizeof last);
        key_upload_index(&from, a->bucket, a->after_key, a->after_id ? a->after_id : last);
        buf_u8(&from, 0);
        if (str_cmp(buf_str(&from), buf_str(&begin)) > 0) {
            buf_reset(&begin);
            buf_str_add(&begin, buf_str(&from));
        }
    }
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = a->limit};
    if (!a->limit)
        return 0;
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        unsigned char id[16];
        struct upload u;
        struct buf v AUTO_BUF = {0};
        memcpy(id, rows.row[i].key.p + rows.row[i].key.n - 16, 16);
        TRY(tx_upload(tx, id, &u));
        buf_add(&a->out, id, 16);
        enc_upload(&v, &u);
        buf_bytes(&a->out, buf_str(&v));
    }
    a->more = rows.more;
    return 0;
}

int meta_uploads(struct meta *m, uint64_t bucket, struct str prefix, struct str after_key,
                 const unsigned char *after_id, size_t limit, int (*fn)(void *arg, const struct upload *u), void *arg,
                 bool *ret_more)
{
    struct uploads_arg a = {bucket, prefix, after_key, after_id, limit, {0}, false};
    int r = kv_view(m->kv, uploads_tx, &a, NULL);
    struct cur c = cur_of(buf_str(&a.out));
    while (r == 0 && c.p < c.end) {
        struct upload u;
        const unsigned char *id = c.p;
        c.p += 16;
        r = dec_upload(cur_bytes(&c), id, &u);
        if (r == 0)
            r = fn(arg, &u);
    }
    if (r == 0)
        *ret_more = a.more;
    buf_done(&a.out);
    return r;
}
