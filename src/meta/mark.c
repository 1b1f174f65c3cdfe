/* SPDX-License-Identifier: Apache-2.0
 *
 * Persisting, the transactions: claim the home keys of a batch; after the uploads, mark.
 *
 * The mark re-reads everything. The file may have been renamed (its home is elsewhere now: the object stays where it
 * was put, MOVED, and a settle record follows), replaced or removed (the object is GONE), or given other content (the
 * same).
 */
#include "meta/tx.h"

enum { BUSY_MS = 50 };

struct batch_arg {
    struct meta *m;
    struct meta_persist *p;
    size_t n;
    uint64_t nonce;
    const uint64_t *due;
};

static void requeue_persist(struct kv_tx *tx, struct inode *i, const struct meta_item *it, uint64_t due, int code,
                            const char *error)
{
    struct queue_rec q = it->rec;
    if (code) {
        q.attempts++;
        q.error = str_of(error);
    }
    tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    i->persist_due = rec_due(due, i->type == REC_DIR ? 0 : i->turn);
    tx_queue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""), &q);
    tx_put_inode(tx, i);
}

/* The key belongs to another file, which must move first: it is brought forward. */
int tx_hurry(struct kv_tx *tx, uint64_t ino, uint64_t turn)
{
    struct inode b;
    uint64_t now = clock_wall_ms();
    int r = tx_inode(tx, ino, &b);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    bool early = b.turn && turn && b.turn > turn; /* it would wait for what waits for it */
    if (!b.settle_due || (rec_due(b.settle_due, 0) <= now && !early))
        return 0;
    struct queue_rec q = {.since_ms = now, .bytes = b.size};
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_queue(&k, Q_SETTLE, b.settle_due, ino, STR(""));
    if (kv_get(tx, buf_str(&k), &v) == 0) /* its attempts are kept: patience must end however often it is hurried */
        TRY(dec_queue(v, &q));
    tx_unqueue(tx, Q_SETTLE, b.settle_due, ino, STR(""));
    if (early)
        b.turn = b.turn_dir = 0;
    b.settle_due = rec_due(now, b.turn);
    tx_queue(tx, Q_SETTLE, b.settle_due, ino, STR(""), &q);
    tx_put_inode(tx, &b);
    return 0;
}

static void fill_expected(struct meta_persist *p, const struct inode *i, const struct owner *o)
{
    p->expect_known = o->kind == OWNER_GONE ? o->ver[0] != 0 : !i->blind;
    snprintf(p->expect, sizeof p->expect, "%s", o->kind == OWNER_GONE ? o->ver : "");
    p->gone_ms = o->kind == OWNER_GONE ? o->gone_ms : 0;
    p->gone_content = o->kind == OWNER_GONE ? o->content : 0;
    if (o->claim != CLAIM_NONE && !o->intent[0])
        p->expect_known = false;
}

/* What the object says beside its bytes. */
static int object_pairs(struct kv_tx *tx, const struct inode *i, struct buf *ret)
{
    struct str pairs;
    TRY(tx_pairs(tx, i->ino, &pairs));
    buf_reset(ret);
    buf_str_add(ret, pairs);
    if (i->posix)
        posix_to_pairs(i, ret);
    return xattrs_to_pairs(tx, i, ret);
}

/* Attributes were changed while the object was on its way (a rename's change of ctime is none). */
static int attributes_differ(struct kv_tx *tx, const struct meta_persist *p, const struct inode *i, bool *ret)
{
    struct buf now AUTO_BUF = {0}, a AUTO_BUF = {0}, b AUTO_BUF = {0}, ctime AUTO_BUF = {0};
    TRY(object_pairs(tx, i, &now));
    pairs_add(&ctime, STR("x-amz-meta-ctime"), STR(""));
    pairs_merge(&a, buf_str(&p->pairs), buf_str(&ctime));
    pairs_merge(&b, buf_str(&now), buf_str(&ctime));
    *ret = !str_eq(buf_str(&a), buf_str(&b));
    return 0;
}

/* A directory's marker comes when the directories above have settled; without markers, when its prefix has, too: what
 * is made before would only be in the way of the rename there. */
static bool marker_waits(struct meta *m, const struct inode *i, const char *home, const char *ident)
{
    return strcmp(home, ident) || (i->key.n && !(meta_caps(m, i->mount) & UFS_CAP_MARKERS));
}

static int claim_one(struct kv_tx *tx, struct meta *m, struct meta_persist *p, uint64_t nonce)
{
    struct inode i;
    struct place pl;
    struct owner o;
    char ident[META_KEY_MAX + 8];
    uint64_t blocker;
    p->go = META_SKIP;
    int r = tx_inode(tx, p->item.id, &i);
    if (r == ERR_NOT_FOUND || (r == 0 && (!i.dirty || i.persist_due != p->item.due))) {
        tx_unqueue(tx, Q_PERSIST, p->item.due, p->item.id, STR(""));
        return 0;
    }
    TRY(r);
    if (tx_out_of_turn(&i, &p->item)) {
        p->go = META_LATER;
        requeue_persist(tx, &i, &p->item, p->item.due, 0, NULL);
        return 0;
    }
    if (is_outrun(&i)) {
        bool wanted;
        TRY(tx_turn_behind(tx, i.mount, i.key, i.turn, &wanted)); /* else the name does not wait any more */
        if (!wanted)
            return tx_outrun_end(tx, &i);
        snprintf(p->key, sizeof p->key, "%.*s", STR_ARG(i.key));
    } else {
        r = tx_climb(tx, &i, &pl);
        if (r == ERR_STALE) /* below a removed tree: the tree job will forget it */
            r = ERR_BUSY;
        else
            TRY(r);
        if (r == 0)
            TRY(place_keys(&pl, p->key, ident));
        if (r == 0 && i.type == REC_DIR && marker_waits(m, &i, p->key, ident)) {
            i.turn = i.turn_dir = 0;
            p->go = META_LATER;
            requeue_persist(tx, &i, &p->item, tx_look_again_ms(p->item.rec.since_ms), 0, NULL);
            return 0;
        }
    }
    if (r == 0)
        r = tx_claimable(tx, m, i.mount, str_of(p->key), 0, &o, &blocker);
    if (r == 0 && o.kind == OWNER_MOVED) {
        blocker = o.ino;
        r = ERR_DIRTY;
    }
    if (r == ERR_BUSY || r == ERR_DIRTY) {
        if (r == ERR_DIRTY)
            TRY(tx_hurry(tx, blocker, i.turn));
        p->go = META_LATER;
        requeue_persist(tx, &i, &p->item, clock_wall_ms() + BUSY_MS, 0, NULL);
        return 0;
    }
    TRY(r);
    fill_expected(p, &i, &o);
    meta_intent(p->intent, i.etag, i.size);
    owner_take(m, &o, CLAIM_PUT, i.ino, nonce, p->intent, p->taken_intent);
    p->intended = !strcmp(o.intent, p->intent);
    if (!FAULT(TEST_SKIP_CLAIM))
        tx_put_owner(tx, false, i.mount, str_of(p->key), &o);
    TRY(object_pairs(tx, &i, &p->pairs));
    p->go = META_GO;
    p->nonce = nonce;
    p->mount = i.mount;
    p->ino = i.ino;
    p->content = i.content;
    p->version = i.version;
    p->size = i.size;
    p->mtime_ms = i.mtime_ms;
    p->type = i.type;
    p->since_ms = p->item.rec.since_ms;
    memcpy(p->etag, i.etag, sizeof p->etag);
    return 0;
}

static int claim_tx(struct kv_tx *tx, void *arg)
{
    struct batch_arg *a = arg;
    for (size_t i = 0; i < a->n; i++)
        TRY(claim_one(tx, a->m, &a->p[i], a->nonce + i));
    return 0;
}

int meta_persist_claim(struct meta *m, struct meta_persist *p, size_t n)
{
    struct batch_arg a = {.m = m, .p = p, .n = n};
    TRY(meta_mint(m, (unsigned)n, &a.nonce));
    TRY(FAULT(META_PERSIST_CLAIM));
    TRY(meta_update(m, claim_tx, &a));
    return FAULT(META_PERSIST_CLAIMED);
}

/* ---- what lies there was looked at ---- */

struct intend_arg {
    struct meta_persist *p;
    const char *ver;
};

static int intend_tx(struct kv_tx *tx, void *arg)
{
    struct intend_arg *a = arg;
    return tx_intend(tx, a->p->mount, str_of(a->p->key), a->p->nonce, a->ver, a->p->intent);
}

int meta_persist_intend(struct meta *m, struct meta_persist *p, const char *ver)
{
    struct intend_arg a = {p, ver};
    TRY(meta_update_or_conflict(m, intend_tx, &a));
    p->intended = true;
    return FAULT(META_INTEND_AFTER);
}

/* ---- mark ---- */

static int object_is_nobodys(struct kv_tx *tx, const struct meta_persist *p, struct owner *o)
{
    struct owner was = *o;
    if (was.kind == OWNER_GONE && was.reap_due)
        tx_unqueue(tx, Q_REAP, was.reap_due, p->mount, str_of(p->key));
    *o = (struct owner){.kind = OWNER_GONE, .gone_ms = clock_wall_ms(), .content = p->content};
    if (was.kind == OWNER_GONE) { /* deleted meanwhile: in the turn that deletion took */
        o->turn = was.turn;
        o->turn_dir = was.turn_dir;
    }
    o->reap_due = rec_due(o->gone_ms, o->turn);
    memcpy(o->ver, p->st.version, sizeof o->ver);
    tx_queue(tx, Q_REAP, o->reap_due, p->mount, str_of(p->key), NULL);
    tx_put_owner(tx, false, p->mount, str_of(p->key), o);
    struct content c; /* a dead content that still has readers can be read from there meanwhile */
    int r = p->content ? tx_content(tx, p->content, &c) : ERR_NOT_FOUND;
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (c.state == CONTENT_DEAD && c.back == BACK_NONE) {
        c.back = BACK_KEY;
        c.back_mount = p->mount;
        c.back_key = str_of(p->key);
        memcpy(c.back_ver, p->st.version, sizeof c.back_ver);
        tx_put_content(tx, &c);
    }
    return 0;
}

static int become_clean(struct kv_tx *tx, const struct meta_persist *p, struct inode *i, struct owner *o)
{
    struct place pl;
    struct content c;
    char home[META_KEY_MAX + 8] = "", ident[META_KEY_MAX + 8] = "";
    struct queue_rec q;
    int r = tx_climb(tx, i, &pl);
    if (r == 0)
        TRY(place_keys(&pl, home, ident));
    else if (r != ERR_STALE)
        return r;
    tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    if (o->kind == OWNER_GONE && o->reap_due)
        tx_unqueue(tx, Q_REAP, o->reap_due, p->mount, str_of(p->key));
    i->dirty = i->blind = false;
    i->persist_due = 0;
    i->checked_ms = clock_wall_ms();
    memcpy(i->ver, p->st.version, sizeof i->ver);
    *o = (struct owner){0};
    if (!strcmp(ident, p->key)) {
        i->loc = LOC_HOME;
        i->key = i->type == REC_DIR ? i->key : STR("");
    } else if (i->type == REC_DIR) { /* a marker is made anew at its new home */
        i->loc = LOC_NONE;
        i->ver[0] = 0;
        i->dirty = true;
        tx_persist_record(tx, i, clock_wall_ms());
        tx_put_inode(tx, i);
        return object_is_nobodys(tx, p, o);
    } else {
        i->loc = LOC_KEY;
        i->key = str_of(p->key);
        i->settle_due = clock_wall_ms();
        q = (struct queue_rec){.since_ms = i->settle_due, .bytes = i->size};
        tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &q);
        o->kind = OWNER_MOVED;
        o->ino = i->ino;
        if (!strcmp(home, p->key)) /* where it is to be seen; what is left is its directory's to do */
            i->turn = i->turn_dir = 0;
    }
    tx_put_owner(tx, false, p->mount, str_of(p->key), o);
    TRY(tx_turn_keep(tx, i));
    tx_put_inode(tx, i);
    if (!i->content)
        return 0;
    TRY(tx_content(tx, i->content, &c));
    c.back = BACK_INODE;
    tx_put_content(tx, &c);
    return 0;
}

static int not_done(struct kv_tx *tx, struct meta *m, struct meta_persist *p, struct owner *o, uint64_t due)
{
    struct inode i;
    int r = tx_inode(tx, p->ino, &i);
    bool mine = r == 0 && i.dirty && i.persist_due == p->item.due;
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    if (p->unknown) {
        o->until_ms = clock_wall_ms() + m->deadline_ms;
        if (due < o->until_ms)
            due = o->until_ms;
        if (o->kind == OWNER_NONE) /* should the file go elsewhere, nobody comes back to this key by itself */
            tx_queue(tx, Q_REAP, o->until_ms, p->mount, str_of(p->key), NULL);
    } else {
        owner_give_back(o, strcmp(o->intent, p->taken_intent) ? "" : p->taken_intent);
    }
    tx_put_owner(tx, false, p->mount, str_of(p->key), o);
    if (mine)
        requeue_persist(tx, &i, &p->item, due, p->unsent ? 0 : p->code, p->error);
    return 0;
}

static int mark_one(struct kv_tx *tx, struct meta *m, struct meta_persist *p, uint64_t due)
{
    struct owner o;
    struct inode i;
    if (p->go != META_GO)
        return 0;
    TRY(tx_owner(tx, false, p->mount, str_of(p->key), &o));
    if ((o.claim != CLAIM_PUT || o.nonce != p->nonce) && !FAULT(TEST_SKIP_CLAIM))
        return 0; /* taken over after our deadline: whoever did has looked at what we left */
    if (p->code)
        return not_done(tx, m, p, &o, due);
    int r = tx_inode(tx, p->ino, &i);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    if (r == 0 && is_outrun(&i)) { /* what has the name now overwrites it */
        TRY(tx_outrun_end(tx, &i));
        r = ERR_NOT_FOUND;
    }
    bool differ = false;
    if (r == 0)
        TRY(attributes_differ(tx, p, &i, &differ));
    if (r == 0 && i.dirty && !differ &&
        ((i.content == p->content && i.version == p->version) || FAULT(TEST_SKIP_VERSION_CHECK)) && i.type == p->type)
        return become_clean(tx, p, &i, &o);
    TRY(object_is_nobodys(tx, p, &o));
    if (!meta_ordered(m))
        return 0;
    bool behind; /* what is there is overwritten, or has its turn to go */
    TRY(tx_turn_behind(tx, p->mount, str_of(p->key), 0, &behind));
    return behind ? 0 : tx_turn_key(tx, m, p->mount, str_of(p->key), NULL);
}

static int mark_tx(struct kv_tx *tx, void *arg)
{
    struct batch_arg *a = arg;
    for (size_t i = 0; i < a->n; i++)
        TRY(mark_one(tx, a->m, &a->p[i], a->due[i]));
    return 0;
}

int meta_persist_mark(struct meta *m, struct meta_persist *p, size_t n, const uint64_t *due)
{
    struct batch_arg a = {.m = m, .p = p, .n = n, .due = due};
    TRY(FAULT(META_MARK_BEFORE));
    TRY(meta_update(m, mark_tx, &a));
    return FAULT(META_MARK_AFTER);
}
