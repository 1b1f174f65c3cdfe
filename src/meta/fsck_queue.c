/* SPDX-License-Identifier: Apache-2.0
 *
 * fsck: each queue record names something that waits for it, at the due time that something remembers.
 */
#include "meta/fsck.h"

#define LLU(x) ((unsigned long long)(x))

struct item {
    enum queue_kind kind;
    uint64_t due, id;
    struct str key;
};

static void names_nothing(struct fsck *f, const struct item *it, uint64_t ino, const char *what)
{
    fsck_breach(f, ino, "Q", "a record of kind %c at %llu names %s %llu%s%s, which does not wait for it", it->kind,
                LLU(it->due), what, LLU(it->id), it->key.n ? " " : "",
                it->key.n == 16 && it->kind != Q_REAP ? "(upload)" : fsck_text(it->key));
}

static int of_inode(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, it->id, &i, &there));
    bool waits = it->kind == Q_PERSIST ? i.dirty && i.persist_due == it->due
                                       : i.settle_due == it->due && i.key.n && (i.type == REC_DIR || i.loc == LOC_KEY);
    if (!there || !waits)
        names_nothing(f, it, there ? it->id : 0, "inode");
    return 0;
}

static int of_prefix(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    struct owner o;
    TRY(tx_owner(tx, true, it->id, it->key, &o));
    if (!o.gone_ms || o.reap_due != it->due)
        names_nothing(f, it, 0, "a prefix of mount");
    return 0;
}

static int of_content(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    struct content c;
    bool there;
    TRY(fsck_content(tx, it->id, &c, &there));
    if (!there || c.state != CONTENT_DEAD || c.drop_due != it->due)
        names_nothing(f, it, 0, "content");
    return 0;
}

static int of_blob(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    (void)tx;
    fsck_id(f, it->id, "blob");
    f->s.blob_records++;
    return 0;
}

static int of_tree(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, it->id, &i, &there));
    if (!there || i.parent || i.type != REC_DIR)
        names_nothing(f, it, there ? it->id : 0, "removed directory");
    else
        f->s.tree_records++;
    return 0;
}

static int of_upload(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    struct buf k AUTO_BUF = {0};
    struct upload u;
    struct content c;
    struct str v;
    bool there;
    if (it->key.n != 16) {
        names_nothing(f, it, 0, "upload");
        return 0;
    }
    TRY(fsck_content(tx, it->id, &c, &there));
    f->s.build_records += there && c.state == CONTENT_BUILDING;
    key_upload(&k, 'U', (const unsigned char *)it->key.p);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND) /* it is over: what it left is removed by this record */
        return 0;
    TRY(r);
    TRY(dec_upload(v, (const unsigned char *)it->key.p, &u));
    if (u.content != it->id || u.expire_due != it->due)
        names_nothing(f, it, 0, "upload");
    return 0;
}

static int of_answer(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    struct buf k AUTO_BUF = {0};
    bool there = false;
    if (it->key.n == 16) {
        key_upload(&k, 'W', (const unsigned char *)it->key.p);
        TRY(fsck_there(tx, buf_str(&k), &there));
    }
    if (!there)
        names_nothing(f, it, 0, "answer");
    return 0;
}

static int of_order(struct kv_tx *tx, struct fsck *f, const struct item *it)
{
    uint64_t due;
    int r = tx_order_head(tx, it->id, &due);
    if (r == ERR_NOT_FOUND || (r == 0 && due != it->due)) {
        names_nothing(f, it, 0, "ordered directory");
        return 0;
    }
    return r;
}

/* "Y dir" and "Y dir turn id". */
int fsck_turn_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct cur c = cur_of(r->key);
    uint64_t dir = cur_be64(&c), due;
    struct turn t;
    bool there;
    if (dir & REC_PLACE)
        return dec_turn(r->value, &t);
    int rc = tx_order_head(tx, dir, &due);
    if (rc == ERR_NOT_FOUND) {
        fsck_breach(r->f, 0, "R11", "publications of directory %llu wait for their turn, and nothing sees to it",
                    LLU(dir));
        return 0;
    }
    TRY(rc);
    if (r->key.n == 24)
        return dec_turn(r->value, &t);
    if (r->key.n != 8)
        fsck_breach(r->f, 0, "K", "malformed row of ordered publications");
    TRY(fsck_queued(tx, Q_ORDER, due, dir, STR(""), &there));
    if (!there)
        fsck_breach(r->f, 0, "R11", "ordered directory %llu has no order record at %llu", LLU(dir), LLU(due));
    return 0;
}

int fsck_queue_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct queue_rec q;
    struct cur c = cur_of(r->key);
    struct item it = {.kind = (enum queue_kind)cur_u8(&c)};
    it.due = cur_be64(&c);
    it.id = cur_be64(&c);
    it.key = cur_rest(&c);
    TRY(dec_queue(r->value, &q));
    switch (it.kind) {
    case Q_PERSIST:
    case Q_SETTLE:
        return of_inode(tx, r->f, &it);
    case Q_PREFIX:
        return of_prefix(tx, r->f, &it);
    case Q_DROP:
        return of_content(tx, r->f, &it);
    case Q_BLOB:
        return of_blob(tx, r->f, &it);
    case Q_TREE:
        return of_tree(tx, r->f, &it);
    case Q_UPLOAD:
        return of_upload(tx, r->f, &it);
    case Q_ANSWER:
        return of_answer(tx, r->f, &it);
    case Q_ORDER:
        return of_order(tx, r->f, &it);
    case Q_REAP:  /* may be left over from a claim that somebody took over: the job finds nothing and forgets it */
    case Q_RULES: /* its directory may be gone: the same */
        return 0;
    }
    fsck_breach(r->f, 0, "K", "queue record of unknown kind %d", it.kind);
    return 0;
}
