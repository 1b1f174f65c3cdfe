/* SPDX-License-Identifier: Apache-2.0
 *
 * Reaping, the transactions: objects that belong to nobody leave the UFS. Deleted is only what a row says is dead: a
 * recorded version, or, where none is known, an object not newer than the deletion. What somebody else put there since
 * stays and appears.
 */
#include "meta/tx.h"

enum { WAIT_MS = 50, SOON_MS = 5000 };

struct reap_arg {
    struct meta *m;
    struct meta_reap *r;
    size_t n;
    uint64_t nonce;
    const uint64_t *due;
};

/* The file at the path this key is home of, if there is one. start: directory inode the walk begins at. */
static int live_at(struct kv_tx *tx, uint64_t start, struct str path, struct inode *ret, bool *ret_there)
{
    struct place p;
    struct dentry d;
    *ret_there = false;
    int r = tx_walk(tx, start, path, &p);
    if (r == ERR_NOT_FOUND || r == ERR_STALE || r == ERR_BAD_NAME || r == ERR_NAME_TOO_LONG)
        return 0;
    TRY(r);
    r = p.rest.n || !p.leaf.n ? ERR_NOT_FOUND : tx_dentry(tx, p.dir, p.leaf, &d);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    TRY(tx_inode(tx, d.ino, ret));
    *ret_there = true;
    return 0;
}

/* Will a live file overwrite this key by itself (dirty, or on its way home), or does it shadow it (transient)? */
static int wanted(struct kv_tx *tx, uint64_t mount, struct str key, bool *ret)
{
    struct inode i;
    bool there;
    TRY(live_at(tx, mount, key, &i, &there));
    if (there && i.type == REC_DIR)
        *ret = i.explicit_dir && i.dirty;
    else
        *ret = there && (i.dirty || i.transient || i.loc == LOC_KEY);
    return 0;
}

/* Is a live file on its way to this key? (A transient one only shadows it.) */
static int coming(struct kv_tx *tx, uint64_t mount, struct str key, bool *ret)
{
    struct inode i;
    bool there;
    TRY(live_at(tx, mount, key, &i, &there));
    *ret = there && !i.transient && (i.dirty || (i.type != REC_DIR && i.loc == LOC_KEY));
    return 0;
}

/* Does the object at this key belong to a live file: one at its home, or below a directory that still lies here? */
static int lives(struct kv_tx *tx, uint64_t mount, struct str key, bool *ret)
{
    struct inode i;
    struct owner o;
    bool there;
    TRY(live_at(tx, mount, key, &i, &there));
    *ret = there && i.loc == LOC_HOME;
    for (size_t n = 0; n < key.n && !*ret; n++) {
        if (key.p[n] != '/')
            continue;
        TRY(tx_owner(tx, true, mount, (struct str){key.p, n + 1}, &o));
        if (o.kind != OWNER_MOVED)
            continue;
        TRY(live_at(tx, o.ino, str_from(key, n + 1), &i, &there));
        *ret = there && i.loc == LOC_HOME;
    }
    return 0;
}

static bool our_own(struct str key)
{
    return str_starts(key, STR(".forebay/"));
}

/* A key that nobody owns, claimed by a process that died or for a request whose outcome is unknown: what it may have
 * left there belongs to nobody, unless a live file has come to own it. It is known by the ETag it was to have. What was
 * written through stays: a PUT that nobody answered may have happened, and what lay there before it is gone. */
static int is_scrap(struct kv_tx *tx, const struct meta_item *it, const struct owner *o, bool *ret)
{
    bool live;
    *ret = false;
    if (o->kind != OWNER_NONE || o->claim == CLAIM_NONE || o->claim == CLAIM_THROUGH ||
        (!o->intent[0] && !our_own(it->key)))
        return 0;
    TRY(lives(tx, it->id, it->key, &live));
    *ret = !live;
    return 0;
}

/* A request of a dead process may have changed what lies at this key, and nobody was told: what is known of it, and
 * that the directories above are complete, is not known any more. */
static int look_again(struct kv_tx *tx, uint64_t mount, struct str key)
{
    struct buf k AUTO_BUF = {0};
    struct place p;
    struct dentry d;
    struct inode i;
    int r = tx_walk(tx, mount, key, &p);
    if (r == ERR_NOT_FOUND || r == ERR_STALE)
        return 0;
    TRY(r);
    for (size_t n = 0; n < p.depth; n++) {
        key_id(&k, 'L', p.chain[n]);
        kv_del(tx, buf_str(&k));
    }
    if (p.rest.n || !p.leaf.n || tx_dentry(tx, p.dir, p.leaf, &d) < 0)
        return 0;
    TRY(tx_inode(tx, d.ino, &i));
    i.checked_ms = 0;
    if (i.loc == LOC_HOME)
        tx_put_inode(tx, &i);
    return 0;
}

static int later(struct kv_tx *tx, const struct meta_item *it, struct owner *o, uint64_t due)
{
    due = rec_due(due, o->kind == OWNER_GONE ? o->turn : 0);
    tx_unqueue(tx, Q_REAP, it->due, it->id, it->key);
    tx_queue(tx, Q_REAP, due, it->id, it->key, &it->rec);
    if (o->kind == OWNER_GONE) {
        o->reap_due = due;
        tx_put_owner(tx, false, it->id, it->key, o);
    }
    return 0;
}

/* The file that is to overwrite it may have gone elsewhere: soon, then ever less often while it waits for its UFS. */
static uint64_t look_next(const struct meta_item *it)
{
    uint64_t now = clock_wall_ms(), age = now > it->rec.since_ms ? now - it->rec.since_ms : 0;
    return now + (age < META_REAP_LOOK_MS ? META_REAP_LOOK_MS : age > META_REAP_LATER_MS ? META_REAP_LATER_MS : age);
}

static int claim_one(struct kv_tx *tx, struct reap_arg *a, struct meta_reap *r, uint64_t nonce)
{
    const struct meta_item *it = &r->item;
    struct owner o;
    uint64_t blocker;
    bool want, scrap;
    r->go = META_SKIP;
    int rc = tx_claimable(tx, a->m, it->id, it->key, UINT64_MAX, &o, &blocker);
    if (rc == ERR_BUSY) {
        r->go = META_LATER;
        TRY(tx_owner(tx, false, it->id, it->key, &o));
        return later(tx, it, &o, clock_wall_ms() + WAIT_MS);
    }
    TRY(rc);
    if (o.kind == OWNER_MOVED || (o.kind == OWNER_NONE && o.claim == CLAIM_NONE) ||
        (o.kind == OWNER_GONE && o.reap_due != it->due)) {
        tx_unqueue(tx, Q_REAP, it->due, it->id, it->key);
        return 0;
    }
    if (o.kind == OWNER_GONE && o.turn && !it->in_turn) {
        r->go = META_LATER;
        return later(tx, it, &o, it->due);
    }
    TRY(wanted(tx, it->id, it->key, &want));
    if (o.kind == OWNER_NONE)
        TRY(coming(tx, it->id, it->key, &want));
    if (want &&
        o.kind ==
            OWNER_NONE) { /* its own persist or settle takes the claim over; should it go elsewhere, we are here */
        r->go = META_LATER;
        return later(tx, it, &o, clock_wall_ms() + SOON_MS);
    }
    if (want && o.turn) { /* it is to be gone in its turn, though the file overwrites it in a later one */
        bool behind;
        TRY(tx_turn_behind(tx, it->id, it->key, o.turn, &behind));
        want = !behind;
    }
    if (want) {
        r->go = META_LATER;
        o.turn = o.turn_dir = 0; /* it is overwritten in that file's turn */
        return later(tx, it, &o, look_next(it));
    }
    TRY(is_scrap(tx, it, &o, &scrap));
    if (o.kind == OWNER_NONE && !scrap) { /* whatever lies there is looked at by the next lookup */
        tx_unqueue(tx, Q_REAP, it->due, it->id, it->key);
        o = (struct owner){0};
        tx_put_owner(tx, false, it->id, it->key, &o);
        return look_again(tx, it->id, it->key);
    }
    r->go = META_GO;
    r->mount = it->id;
    r->nonce = nonce;
    r->gone_ms = scrap && our_own(it->key) ? clock_wall_ms() : o.gone_ms;
    r->content = o.content;
    memcpy(r->ver, o.ver, sizeof r->ver);
    snprintf(r->key, sizeof r->key, "%.*s", STR_ARG(it->key));
    snprintf(r->taken_intent, sizeof r->taken_intent, "%s", o.claim != CLAIM_NONE ? o.intent : "");
    owner_claim(a->m, &o, CLAIM_DELETE, 0, nonce, r->taken_intent);
    tx_put_owner(tx, false, it->id, it->key, &o);
    return 0;
}

static int claim_tx(struct kv_tx *tx, void *arg)
{
    struct reap_arg *a = arg;
    for (size_t i = 0; i < a->n; i++)
        TRY(claim_one(tx, a, &a->r[i], a->nonce + i));
    return 0;
}

int meta_reap_claim(struct meta *m, struct meta_reap *r, size_t n)
{
    struct reap_arg a = {.m = m, .r = r, .n = n};
    TRY(meta_mint(m, (unsigned)n, &a.nonce));
    TRY(FAULT(META_REAP_CLAIM));
    TRY(meta_update(m, claim_tx, &a));
    return FAULT(META_REAP_CLAIMED);
}

static int done_one(struct kv_tx *tx, struct meta *m, struct meta_reap *r, uint64_t due)
{
    const struct meta_item *it = &r->item;
    struct owner o;
    if (r->go != META_GO)
        return 0;
    TRY(tx_owner(tx, false, r->mount, it->key, &o));
    if (o.claim != CLAIM_DELETE || o.nonce != r->nonce)
        return 0;
    if (r->code == 0) {
        if (o.reap_due)
            tx_unqueue(tx, Q_REAP, o.reap_due, r->mount, it->key);
        o = (struct owner){0};
        tx_put_owner(tx, false, r->mount, it->key, &o);
        return 0;
    }
    if (r->unknown)
        o.until_ms = clock_wall_ms() + m->deadline_ms;
    else if (o.intent[0] || o.kind == OWNER_NONE)
        o.until_ms = clock_wall_ms(); /* nothing is under way; what may lie there is remembered */
    else
        owner_unclaim(&o);
    if (o.kind == OWNER_NONE) {
        tx_put_owner(tx, false, r->mount, it->key, &o);
        return later(tx, it, &o, due > o.until_ms ? due : o.until_ms);
    }
    if (o.kind != OWNER_GONE ||
        o.reap_due != it->due) { /* the row changed while we deleted: it has a record of its own */
        tx_put_owner(tx, false, r->mount, it->key, &o);
        return 0;
    }
    struct queue_rec q = it->rec;
    q.attempts++;
    q.error = str_of(err_info(r->code)->text);
    tx_unqueue(tx, Q_REAP, it->due, r->mount, it->key);
    o.reap_due = rec_due(due > o.until_ms ? due : o.until_ms, o.turn);
    tx_queue(tx, Q_REAP, o.reap_due, r->mount, it->key, &q);
    tx_put_owner(tx, false, r->mount, it->key, &o);
    return 0;
}

static int done_tx(struct kv_tx *tx, void *arg)
{
    struct reap_arg *a = arg;
    for (size_t i = 0; i < a->n; i++)
        TRY(done_one(tx, a->m, &a->r[i], a->due[i]));
    return 0;
}

int meta_reap_done(struct meta *m, struct meta_reap *r, size_t n, const uint64_t *due)
{
    struct reap_arg a = {.m = m, .r = r, .n = n, .due = due};
    TRY(FAULT(META_REAP_DONE));
    return meta_update(m, done_tx, &a);
}

/* ---- what lies below a removed prefix and no record names ---- */

struct prefix_arg {
    struct meta *m;
    uint64_t mount;
    struct str prefix, key;
    const struct ufs_stat *st;
    bool gone, pending;
    const struct meta_item *it;
};

static int belongs(struct kv_tx *tx, struct prefix_arg *a, const struct owner *row, bool *ret_live, bool *ret_wanted)
{
    struct inode i;
    bool there = false;
    *ret_live = *ret_wanted = false;
    if (row->kind == OWNER_MOVED) { /* below a directory that lies here by now, under another name */
        TRY(live_at(tx, row->ino, str_from(a->key, a->prefix.n), &i, &there));
        *ret_live = there && i.loc == LOC_HOME;
    }
    if (*ret_live)
        return 0;
    TRY(live_at(tx, a->mount, a->key, &i, &there));
    *ret_live = there && i.loc == LOC_HOME && !strcmp(i.ver, a->st->version);
    return wanted(tx, a->mount, a->key, ret_wanted);
}

/* Is a removed tree being forgotten? Its files still say that their objects lie at home. */
static int trees_wait(struct kv_tx *tx, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_queue(&begin, Q_TREE, 0, 0, STR(""));
    key_queue(&end, Q_TREE, UINT64_MAX, UINT64_MAX, STR(""));
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1};
    TRY(kv_range(tx, &r, &rows));
    *ret = rows.n > 0;
    return 0;
}

static int prefix_tx(struct kv_tx *tx, void *arg)
{
    struct prefix_arg *a = arg;
    struct owner row, own;
    bool live, want;
    a->gone = false;
    TRY(trees_wait(tx, &a->pending)); /* one may have been removed since the job looked */
    if (a->pending)
        return 0;
    TRY(tx_owner(tx, true, a->mount, a->prefix, &row));
    TRY(tx_owner(tx, false, a->mount, a->key, &own));
    if (!row.gone_ms)
        return 0;
    if (own.kind == OWNER_GONE) {
        TRY(wanted(tx, a->mount, a->key, &want));
        a->pending = !want;
        if (!want) /* the file that was to overwrite it went with the tree */
            TRY(tx_reap_if_gone(tx, a->mount, a->key));
    }
    if (own.kind != OWNER_NONE || own.claim != CLAIM_NONE)
        return 0;
    TRY(belongs(tx, a, &row, &live, &want));
    /* A directory's time moves when its entries go: an empty one below a removed tree goes too. */
    if (live || (!a->st->is_dir && a->st->mtime_ms > row.gone_ms))
        return 0;
    TRY(tx_gone(tx, a->mount, a->key, a->st->version, 0, !want));
    TRY(tx_turn_key(tx, a->m, a->mount, a->key, NULL));
    a->gone = true;
    a->pending = !want;
    return 0;
}

int meta_reap_prefix_key(struct meta *m, uint64_t mount, struct str prefix, struct str key, const struct ufs_stat *st,
                         bool *ret_pending)
{
    struct prefix_arg a = {.m = m, .mount = mount, .prefix = prefix, .key = key, .st = st};
    TRY(meta_commit(m, prefix_tx, &a, KV_LAZY, NULL));
    *ret_pending = a.pending;
    if (a.gone)
        meta_kick(m, Q_REAP);
    return 0;
}

static int prefix_done_tx(struct kv_tx *tx, void *arg)
{
    struct prefix_arg *a = arg;
    struct owner o;
    tx_unqueue(tx, Q_PREFIX, a->it->due, a->it->id, a->it->key);
    TRY(tx_owner(tx, true, a->it->id, a->it->key, &o));
    if (!o.gone_ms || o.reap_due != a->it->due)
        return 0;
    o.gone_ms = o.reap_due = 0;
    if (o.kind == OWNER_GONE) {
        o.kind = OWNER_NONE;
        o.ino = 0;
    }
    tx_put_owner(tx, true, a->it->id, a->it->key, &o);
    return 0;
}

int meta_reap_prefix_done(struct meta *m, const struct meta_item *it)
{
    struct prefix_arg a = {.it = it};
    return meta_update(m, prefix_done_tx, &a);
}
