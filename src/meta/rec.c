/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec of the records in meta/rec.h: big-endian ids in keys, varints in values, a format byte first in every value.
 */
#include "meta/rec.h"
#include "base/err.h"
#include "base/hash.h"

/* ---- keys ---- */

static void key_start(struct buf *b, char kind, uint64_t id)
{
    buf_reset(b);
    buf_u8(b, (uint8_t)kind);
    buf_be64(b, id);
}

void key_dentry(struct buf *b, uint64_t parent, struct str name)
{
    key_start(b, 'D', parent);
    buf_str_add(b, name);
}

void key_id(struct buf *b, char kind, uint64_t id)
{
    key_start(b, kind, id);
}

void key_chunk(struct buf *b, uint64_t content, uint64_t off)
{
    key_start(b, 'C', content);
    buf_be64(b, off);
}

void key_ref(struct buf *b, uint64_t content, uint64_t borrower)
{
    key_start(b, 'R', content);
    buf_be64(b, borrower);
}

void key_ref_back(struct buf *b, uint64_t borrower, uint64_t content)
{
    key_start(b, 'r', borrower);
    buf_be64(b, content);
}

void key_link(struct buf *b, uint64_t file, uint64_t name)
{
    key_start(b, 'H', file);
    buf_be64(b, name);
}

void key_xattr(struct buf *b, uint64_t ino, struct str name)
{
    key_start(b, 'X', ino);
    buf_str_add(b, name);
}

void key_owner(struct buf *b, bool prefix, uint64_t mount, struct str key)
{
    key_start(b, prefix ? 'o' : 'O', mount);
    buf_str_add(b, key);
}

/* The UFS directory of a key decides its epoch; many directories share one of REC_EPOCHS counters, which costs a
 * second look at the UFS now and then and bounds the rows. */
void key_epoch(struct buf *b, uint64_t mount, struct str ufs_key)
{
    size_t n = ufs_key.n;
    if (n && ufs_key.p[n - 1] == '/')
        n--;
    while (n && ufs_key.p[n - 1] != '/')
        n--;
    uint64_t h = str_hash((struct str){ufs_key.p, n});
    key_start(b, 'E', mount);
    buf_be16(b, (uint16_t)(h % REC_EPOCHS));
}

void key_epoch_all(struct buf *b, uint64_t mount)
{
    key_start(b, 'E', mount);
    buf_be16(b, 0xffff);
}

void key_queue(struct buf *b, enum queue_kind kind, uint64_t due, uint64_t id, struct str key)
{
    buf_reset(b);
    buf_u8(b, 'Q');
    buf_u8(b, (uint8_t)kind);
    buf_be64(b, due);
    buf_be64(b, id);
    buf_str_add(b, key);
}

bool dec_queue_key(struct str key, enum queue_kind *ret_kind, uint64_t *ret_due, uint64_t *ret_id, struct str *ret_key)
{
    struct cur c = cur_of(key);
    if (cur_u8(&c) != 'Q')
        return false;
    *ret_kind = (enum queue_kind)cur_u8(&c);
    *ret_due = cur_be64(&c);
    *ret_id = cur_be64(&c);
    *ret_key = cur_rest(&c);
    return !c.bad;
}

void key_upload(struct buf *b, char kind, const unsigned char id[16])
{
    buf_reset(b);
    buf_u8(b, (uint8_t)kind);
    buf_add(b, id, 16);
}

void key_part(struct buf *b, const unsigned char id[16], unsigned part)
{
    key_upload(b, 'V', id);
    buf_be16(b, (uint16_t)part);
}

void key_upload_index(struct buf *b, uint64_t bucket, struct str key, const unsigned char id[16])
{
    key_start(b, 'u', bucket);
    buf_str_add(b, key);
    buf_u8(b, 0);
    buf_add(b, id, 16);
}

void key_turns(struct buf *b, uint64_t dir)
{
    key_start(b, 'Y', dir);
}

void key_turn(struct buf *b, uint64_t dir, uint64_t turn, uint64_t id)
{
    key_start(b, 'Y', dir);
    buf_be64(b, turn);
    buf_be64(b, id);
}

void key_sys(struct buf *b, const char *name)
{
    buf_reset(b);
    buf_u8(b, 'S');
    buf_putz(b, name);
}

/* ---- values ---- */

static void val_start(struct buf *b)
{
    buf_reset(b);
    buf_u8(b, REC_VERSION);
}

static int val_open(struct str v, const char *what, struct cur *ret)
{
    *ret = cur_of(v);
    uint8_t version = cur_u8(ret);
    if (ret->bad)
        return err_set(ERR_CORRUPT, "empty %s record", what);
    if (version != REC_VERSION)
        return err_set(ERR_VERSION, "%s record has format %u; this program reads %u: use the newer Forebay", what,
                       version, REC_VERSION);
    return 0;
}

static int val_close(const struct cur *c, const char *what)
{
    return c->bad ? err_set(ERR_CORRUPT, "malformed %s record", what) : 0;
}

static void put_z(struct buf *b, const char *z)
{
    buf_bytes(b, str_of(z));
}

static void get_z(struct cur *c, char *out, size_t size)
{
    struct str s = cur_bytes(c);
    if (s.n >= size) {
        c->bad = true;
        s.n = 0;
    }
    if (s.n)
        memcpy(out, s.p, s.n);
    out[s.n] = 0;
}

/* At the end of a record, and only where there is one. */
static void put_turn(struct buf *b, uint64_t turn, uint64_t dir)
{
    if (!turn)
        return;
    buf_varint(b, turn);
    buf_varint(b, dir);
}

static void get_turn(struct cur *c, uint64_t *ret_turn, uint64_t *ret_dir)
{
    if (c->bad || c->p == c->end)
        return;
    *ret_turn = cur_varint(c);
    *ret_dir = cur_varint(c);
}

void enc_dentry(struct buf *b, const struct dentry *d)
{
    val_start(b);
    buf_varint(b, d->ino);
    buf_u8(b, (uint8_t)d->type);
    buf_u8(b, d->has_prefix);
}

int dec_dentry(struct str v, struct dentry *ret)
{
    struct cur c;
    TRY(val_open(v, "dentry", &c));
    struct dentry d = {.ino = cur_varint(&c)};
    d.type = (enum rec_type)cur_u8(&c);
    d.has_prefix = cur_u8(&c);
    TRY(val_close(&c, "dentry"));
    *ret = d;
    return 0;
}

enum {
    I_EXPLICIT = 1,
    I_DIRTY = 2,
    I_TRANSIENT = 4,
    I_BLIND = 8,
    I_NO_PAIRS = 16,
    I_POSIX = 32,
    I_XATTRS = 64,
    I_SKIPPED = 128
};

void enc_inode(struct buf *b, const struct inode *i)
{
    val_start(b);
    buf_u8(b, (uint8_t)i->type);
    buf_u8(b, (uint8_t)((i->explicit_dir ? I_EXPLICIT : 0) | (i->dirty ? I_DIRTY : 0) |
                        (i->transient ? I_TRANSIENT : 0) | (i->blind ? I_BLIND : 0) | (i->no_pairs ? I_NO_PAIRS : 0) |
                        (i->posix ? I_POSIX : 0) | (i->xattrs ? I_XATTRS : 0) | (i->skipped ? I_SKIPPED : 0)));
    buf_u8(b, (uint8_t)i->loc);
    buf_varint(b, i->parent);
    buf_varint(b, i->mount);
    buf_varint(b, i->mode);
    buf_varint(b, i->uid);
    buf_varint(b, i->gid);
    buf_varint(b, i->nlink);
    buf_varint(b, i->size);
    buf_varint(b, i->mtime_ms);
    buf_varint(b, i->ctime_ms);
    buf_varint(b, i->mtime_frac);
    buf_varint(b, i->ctime_frac);
    buf_varint(b, i->atime_ns);
    buf_varint(b, i->rdev);
    buf_varint(b, i->content);
    buf_varint(b, i->version);
    buf_varint(b, i->link_of);
    buf_varint(b, i->holes);
    buf_varint(b, i->persist_due);
    buf_varint(b, i->settle_due);
    buf_varint(b, i->checked_ms);
    put_z(b, i->etag);
    put_z(b, i->ver);
    buf_bytes(b, i->name);
    buf_bytes(b, i->key);
    put_turn(b, i->turn, i->turn_dir);
}

int dec_inode(struct str v, uint64_t ino, struct inode *ret)
{
    struct cur c;
    TRY(val_open(v, "inode", &c));
    struct inode i = {.ino = ino, .type = (enum rec_type)cur_u8(&c)};
    uint8_t f = cur_u8(&c);
    i.explicit_dir = f & I_EXPLICIT;
    i.dirty = f & I_DIRTY;
    i.transient = f & I_TRANSIENT;
    i.blind = f & I_BLIND;
    i.no_pairs = f & I_NO_PAIRS;
    i.posix = f & I_POSIX;
    i.xattrs = f & I_XATTRS;
    i.skipped = f & I_SKIPPED;
    i.loc = (enum rec_loc)cur_u8(&c);
    i.parent = cur_varint(&c);
    i.mount = cur_varint(&c);
    i.mode = (uint32_t)cur_varint(&c);
    i.uid = (uint32_t)cur_varint(&c);
    i.gid = (uint32_t)cur_varint(&c);
    i.nlink = (uint32_t)cur_varint(&c);
    i.size = cur_varint(&c);
    i.mtime_ms = cur_varint(&c);
    i.ctime_ms = cur_varint(&c);
    i.mtime_frac = (uint32_t)cur_varint(&c);
    i.ctime_frac = (uint32_t)cur_varint(&c);
    i.atime_ns = cur_varint(&c);
    i.rdev = (uint32_t)cur_varint(&c);
    i.content = cur_varint(&c);
    i.version = cur_varint(&c);
    i.link_of = cur_varint(&c);
    i.holes = cur_varint(&c);
    i.persist_due = cur_varint(&c);
    i.settle_due = cur_varint(&c);
    i.checked_ms = cur_varint(&c);
    get_z(&c, i.etag, sizeof i.etag);
    get_z(&c, i.ver, sizeof i.ver);
    i.name = cur_bytes(&c);
    i.key = cur_bytes(&c);
    get_turn(&c, &i.turn, &i.turn_dir);
    TRY(val_close(&c, "inode"));
    *ret = i;
    return 0;
}

void enc_extents(struct buf *b, const struct extent *e, size_t n)
{
    val_start(b);
    buf_varint(b, n);
    for (; n; n--, e++) {
        buf_varint(b, e->len);
        buf_varint(b, e->blob);
        buf_varint(b, e->blob_off);
        buf_varint(b, e->origin);
        buf_varint(b, e->origin_off);
        buf_varint(b, e->part);
    }
}

int dec_extents(struct str v, struct extent *ret, size_t max, size_t *ret_n)
{
    struct cur c;
    TRY(val_open(v, "extent", &c));
    uint64_t n = cur_varint(&c);
    if (n > max)
        return err_set(ERR_CORRUPT, "extent record with %llu extents", (unsigned long long)n);
    for (size_t i = 0; i < n; i++) {
        ret[i].len = cur_varint(&c);
        ret[i].blob = cur_varint(&c);
        ret[i].blob_off = cur_varint(&c);
        ret[i].origin = cur_varint(&c);
        ret[i].origin_off = cur_varint(&c);
        ret[i].part = (uint32_t)cur_varint(&c);
    }
    TRY(val_close(&c, "extent"));
    *ret_n = n;
    return 0;
}

void enc_content(struct buf *b, const struct content *k)
{
    struct buf ext AUTO_BUF = {0};
    enc_extents(&ext, k->inl, k->chunked ? 0 : k->n);
    val_start(b);
    buf_u8(b, (uint8_t)k->state);
    buf_u8(b, (uint8_t)k->back);
    buf_u8(b, (uint8_t)((k->chunked ? 1 : 0) | (k->borrows ? 2 : 0)));
    buf_varint(b, k->ino);
    buf_varint(b, k->version);
    buf_varint(b, k->size);
    buf_varint(b, k->parts);
    buf_varint(b, k->drop_due);
    buf_varint(b, k->back_mount);
    buf_bytes(b, k->back_key);
    put_z(b, k->back_ver);
    buf_bytes(b, buf_str(&ext));
}

int dec_content(struct str v, uint64_t id, struct content *ret)
{
    struct cur c;
    TRY(val_open(v, "content", &c));
    struct content k = {.id = id, .state = (enum content_state)cur_u8(&c)};
    k.back = (enum content_backing)cur_u8(&c);
    uint8_t f = cur_u8(&c);
    k.chunked = f & 1;
    k.borrows = f & 2;
    k.ino = cur_varint(&c);
    k.version = cur_varint(&c);
    k.size = cur_varint(&c);
    k.parts = (uint32_t)cur_varint(&c);
    k.drop_due = cur_varint(&c);
    k.back_mount = cur_varint(&c);
    k.back_key = cur_bytes(&c);
    get_z(&c, k.back_ver, sizeof k.back_ver);
    struct str ext = cur_bytes(&c);
    TRY(val_close(&c, "content"));
    TRY(dec_extents(ext, k.inl, REC_INLINE, &k.n));
    *ret = k;
    return 0;
}

void enc_owner(struct buf *b, const struct owner *o)
{
    val_start(b);
    buf_u8(b, (uint8_t)o->kind);
    buf_u8(b, (uint8_t)o->claim);
    buf_varint(b, o->ino);
    put_z(b, o->ver);
    buf_varint(b, o->gone_ms);
    buf_varint(b, o->content);
    buf_varint(b, o->reap_due);
    buf_varint(b, o->boot);
    buf_varint(b, o->nonce);
    buf_varint(b, o->claim_ino);
    buf_varint(b, o->until_ms);
    put_z(b, o->intent);
    put_turn(b, o->turn, o->turn_dir);
}

int dec_owner(struct str v, struct owner *ret)
{
    struct cur c;
    TRY(val_open(v, "owner", &c));
    struct owner o = {.kind = (enum owner_kind)cur_u8(&c)};
    o.claim = (enum claim_kind)cur_u8(&c);
    o.ino = cur_varint(&c);
    get_z(&c, o.ver, sizeof o.ver);
    o.gone_ms = cur_varint(&c);
    o.content = cur_varint(&c);
    o.reap_due = cur_varint(&c);
    o.boot = cur_varint(&c);
    o.nonce = cur_varint(&c);
    o.claim_ino = cur_varint(&c);
    o.until_ms = cur_varint(&c);
    get_z(&c, o.intent, sizeof o.intent);
    get_turn(&c, &o.turn, &o.turn_dir);
    TRY(val_close(&c, "owner"));
    *ret = o;
    return 0;
}

void enc_queue(struct buf *b, const struct queue_rec *q)
{
    val_start(b);
    buf_varint(b, q->since_ms);
    buf_varint(b, q->attempts);
    buf_varint(b, q->bytes);
    buf_bytes(b, q->error);
}

int dec_queue(struct str v, struct queue_rec *ret)
{
    struct cur c;
    TRY(val_open(v, "queue", &c));
    struct queue_rec q = {.since_ms = cur_varint(&c)};
    q.attempts = (uint32_t)cur_varint(&c);
    q.bytes = cur_varint(&c);
    q.error = cur_bytes(&c);
    TRY(val_close(&c, "queue"));
    *ret = q;
    return 0;
}

void enc_turn(struct buf *b, const struct turn *t)
{
    val_start(b);
    buf_varint(b, t->dir);
    buf_varint(b, t->top);
    buf_u8(b, t->wide);
    buf_varint(b, t->ino);
    buf_varint(b, t->place);
    buf_varint(b, t->mount);
    buf_bytes(b, t->key);
}

int dec_turn(struct str v, struct turn *ret)
{
    struct cur c;
    TRY(val_open(v, "turn", &c));
    struct turn t = {.dir = cur_varint(&c)};
    t.top = cur_varint(&c);
    t.wide = cur_u8(&c);
    t.ino = cur_varint(&c);
    t.place = cur_varint(&c);
    t.mount = cur_varint(&c);
    t.key = cur_bytes(&c);
    TRY(val_close(&c, "turn"));
    *ret = t;
    return 0;
}

void enc_upload(struct buf *b, const struct upload *u)
{
    val_start(b);
    buf_varint(b, u->bucket);
    buf_varint(b, u->content);
    buf_varint(b, u->start_ms);
    buf_varint(b, u->revision);
    buf_varint(b, u->expire_due);
    buf_varint(b, u->mode);
    buf_varint(b, u->uid);
    buf_varint(b, u->gid);
    buf_u8(b, u->completing);
    buf_bytes(b, u->key);
    buf_bytes(b, u->ufs);
    buf_bytes(b, u->pairs);
}

int dec_upload(struct str v, const unsigned char id[16], struct upload *ret)
{
    struct cur c;
    TRY(val_open(v, "upload", &c));
    struct upload u = {.bucket = cur_varint(&c)};
    memcpy(u.id, id, 16);
    u.content = cur_varint(&c);
    u.start_ms = cur_varint(&c);
    u.revision = cur_varint(&c);
    u.expire_due = cur_varint(&c);
    u.mode = (uint32_t)cur_varint(&c);
    u.uid = (uint32_t)cur_varint(&c);
    u.gid = (uint32_t)cur_varint(&c);
    u.completing = cur_u8(&c);
    u.key = cur_bytes(&c);
    u.ufs = cur_bytes(&c);
    u.pairs = cur_bytes(&c);
    TRY(val_close(&c, "upload"));
    *ret = u;
    return 0;
}

void enc_part(struct buf *b, const struct part *p)
{
    struct buf ext AUTO_BUF = {0};
    if (p->ext_raw.p)
        buf_str_add(&ext, p->ext_raw);
    else
        enc_extents(&ext, p->ext, p->n);
    val_start(b);
    buf_varint(b, p->size);
    buf_varint(b, p->mtime_ms);
    put_z(b, p->etag);
    buf_bytes(b, p->pairs);
    buf_varint(b, p->n);
    buf_bytes(b, buf_str(&ext));
}

int dec_part(struct str v, struct part *ret)
{
    struct cur c;
    TRY(val_open(v, "part", &c));
    struct part p = {.size = cur_varint(&c)};
    p.mtime_ms = cur_varint(&c);
    get_z(&c, p.etag, sizeof p.etag);
    p.pairs = cur_bytes(&c);
    p.n = cur_varint(&c);
    p.ext_raw = cur_bytes(&c);
    TRY(val_close(&c, "part"));
    *ret = p;
    return 0;
}

void enc_answer(struct buf *b, const struct answer *a)
{
    val_start(b);
    buf_varint(b, a->ino);
    buf_varint(b, a->size);
    buf_varint(b, a->mtime_ms);
    buf_varint(b, a->due);
    put_z(b, a->etag);
    buf_bytes(b, a->parts_digest);
}

int dec_answer(struct str v, struct answer *ret)
{
    struct cur c;
    TRY(val_open(v, "answer", &c));
    struct answer a = {.ino = cur_varint(&c)};
    a.size = cur_varint(&c);
    a.mtime_ms = cur_varint(&c);
    a.due = cur_varint(&c);
    get_z(&c, a.etag, sizeof a.etag);
    a.parts_digest = cur_bytes(&c);
    TRY(val_close(&c, "answer"));
    *ret = a;
    return 0;
}

void enc_mount(struct buf *b, const struct mount_rec *m)
{
    val_start(b);
    buf_varint(b, m->ino);
    buf_u8(b, m->removing);
    buf_varint(b, m->caps);
    buf_bytes(b, m->path);
    buf_bytes(b, m->uri);
    buf_bytes(b, m->options);
}

int dec_mount(struct str v, uint64_t id, struct mount_rec *ret)
{
    struct cur c;
    TRY(val_open(v, "mount", &c));
    struct mount_rec m = {.id = id, .ino = cur_varint(&c)};
    m.removing = cur_u8(&c);
    m.caps = (unsigned)cur_varint(&c);
    m.path = cur_bytes(&c);
    m.uri = cur_bytes(&c);
    m.options = cur_bytes(&c);
    TRY(val_close(&c, "mount"));
    *ret = m;
    return 0;
}

/* ---- pairs ---- */

void pairs_add(struct buf *b, struct str name, struct str value)
{
    buf_bytes(b, name);
    buf_bytes(b, value);
}

bool pairs_next(struct cur *c, struct str *ret_name, struct str *ret_value)
{
    if (c->bad || c->p == c->end)
        return false;
    struct str n = cur_bytes(c), v = cur_bytes(c);
    if (c->bad)
        return false;
    *ret_name = n;
    *ret_value = v;
    return true;
}

bool pairs_get(struct str pairs, struct str name, struct str *ret_value)
{
    struct cur c = cur_of(pairs);
    struct str n, v;
    while (pairs_next(&c, &n, &v))
        if (str_eq(n, name)) {
            *ret_value = v;
            return true;
        }
    return false;
}

void pairs_merge(struct buf *out, struct str base, struct str over)
{
    struct cur c = cur_of(base);
    struct str n, v, ignored;
    while (pairs_next(&c, &n, &v))
        if (!pairs_get(over, n, &ignored))
            pairs_add(out, n, v);
    c = cur_of(over);
    while (pairs_next(&c, &n, &v))
        if (v.n)
            pairs_add(out, n, v);
}
