/* SPDX-License-Identifier: Apache-2.0
 *
 * Settling, the transactions: an object that lies away from its file's home moves there.
 *
 *   file       claim(dst) -> UFS copy -> switch: record names dst, src is GONE and reaped
 *   directory  claim(both prefixes) -> UFS rename -> switch;  or push: each child gets a record of its own, then the
 * prefix is released
 *
 * A destination that another moved file still occupies waits for that one; a ring of such waits is broken by moving one
 * of them through .forebay/parked/ (.forebay/tmp/ is swept at a start).
 */
#include "meta/tx.h"

#define PARKED ".forebay/parked/"
enum { CHAIN_MAX = 32, PATIENCE = 6, WAIT_MS = 50, DIR_WAIT_MS = 1000, PUSH_BATCH = 128 };

struct settle_arg {
    struct meta *m;
    struct meta_settle *s;
    bool unknown;
    uint64_t due;
    int code;
    const char *error;
    struct buf *cursor, next; /* next: the cursor after this batch, taken over when it is committed */
    bool more;
};

static void move_record(struct kv_tx *tx, struct inode *i, const struct meta_item *it, uint64_t due, int code,
                        const char *error)
{
    struct queue_rec q = it->rec;
    q.attempts++;
    if (code)
        q.error = str_of(error);
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    i->settle_due = rec_due(due, i->turn);
    tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &q);
    tx_put_inode(tx, i);
}

/* It can only wait, which its patience is not for. */
static int wait_for_others(struct kv_tx *tx, struct meta_settle *s, struct inode *i)
{
    struct meta_item it = s->item;
    s->go = META_LATER;
    if (it.rec.attempts)
        it.rec.attempts--;
    move_record(tx, i, &it, tx_look_again_ms(it.rec.since_ms), 0, NULL);
    return 0;
}

static int home_of(struct kv_tx *tx, const struct inode *i, char home[META_KEY_MAX + 8], char ident[META_KEY_MAX + 8])
{
    struct place p;
    TRY(tx_climb(tx, i, &p));
    return place_keys(&p, home, ident);
}

/* Does the file that occupies our home wait, directly or through others, for us? */
static int in_ring(struct kv_tx *tx, uint64_t self, uint64_t blocker, bool *ret)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    *ret = false;
    for (int n = 0; n < CHAIN_MAX; n++) {
        struct inode b;
        struct owner o;
        int r = tx_inode(tx, blocker, &b);
        if (r == ERR_NOT_FOUND)
            return 0;
        TRY(r);
        r = home_of(tx, &b, home, ident);
        if (r == ERR_STALE)
            return 0;
        TRY(r);
        TRY(tx_owner(tx, b.type == REC_DIR, b.mount, str_of(home), &o));
        if (o.kind != OWNER_MOVED)
            return 0;
        if (o.ino == self) {
            *ret = true;
            return 0;
        }
        blocker = o.ino;
    }
    return 0;
}

static int already_home(struct kv_tx *tx, struct inode *i)
{
    struct owner o;
    TRY(tx_owner(tx, false, i->mount, i->key, &o));
    o.kind = OWNER_NONE;
    o.ino = 0;
    tx_put_owner(tx, false, i->mount, i->key, &o);
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    i->loc = LOC_HOME;
    i->key = STR("");
    i->settle_due = 0;
    i->turn = i->turn_dir = 0;
    tx_put_inode(tx, i);
    return 0;
}

/* The object of a file that moved, this one or another, lies where a directory above the home shall be. */
static int below_object(struct kv_tx *tx, const struct inode *i, struct str home, bool *ret)
{
    struct owner o;
    *ret = false;
    for (size_t n = 0; n < home.n && !*ret; n++) {
        if (home.p[n] != '/')
            continue;
        TRY(tx_owner(tx, false, i->mount, (struct str){home.p, n}, &o));
        *ret = o.kind == OWNER_MOVED;
    }
    return 0;
}

/* Where a name is either a file's or a directory's: a directory that is to leave still lies where the file shall go, or
 * a file where its directory shall be. It may be waiting for the file in its turn. */
static int crossed(struct kv_tx *tx, struct settle_arg *a, const struct inode *i, struct str home, bool *ret)
{
    struct buf prefix AUTO_BUF = {0};
    struct owner o;
    *ret = false;
    if ((meta_caps(a->m, i->mount) & UFS_CAP_VERBATIM) || a->s->item.rec.attempts < PATIENCE)
        return 0;
    TRY(below_object(tx, i, home, ret));
    if (*ret)
        return 0;
    buf_str_add(&prefix, home);
    buf_u8(&prefix, '/');
    TRY(tx_owner(tx, true, i->mount, buf_str(&prefix), &o));
    *ret = o.kind == OWNER_MOVED;
    return *ret ? 0 : tx_owned_below(tx, i->mount, buf_str(&prefix), ret);
}

static int claim_dst(struct kv_tx *tx, struct settle_arg *a, struct inode *i, const char *home)
{
    struct meta_settle *s = a->s;
    struct owner o;
    uint64_t blocker = 0;
    bool parked = str_starts(i->key, STR(PARKED)); /* it stands in nobody's way: it waits there */
    bool ring = !parked && s->item.rec.attempts >= PATIENCE * 4;
    snprintf(s->dst, sizeof s->dst, "%s", home);
    int r = tx_claimable(tx, a->m, i->mount, str_of(s->dst), 0, &o, &blocker);
    if (r == 0 && o.kind == OWNER_MOVED) {
        blocker = o.ino;
        r = ERR_DIRTY;
    }
    if (r == ERR_DIRTY && !ring && !parked)
        TRY(in_ring(tx, i->ino, blocker, &ring));
    if (r == 0 && !parked) {
        TRY(crossed(tx, a, i, str_of(home), &ring));
        r = ring ? ERR_DIRTY : 0;
    }
    if (r == ERR_DIRTY && ring) {
        snprintf(s->dst, sizeof s->dst, PARKED "%llx-%llx", (unsigned long long)i->ino, (unsigned long long)s->nonce);
        TRY(tx_owner(tx, false, i->mount, str_of(s->dst), &o));
        r = 0;
    } else if (r == ERR_DIRTY) {
        TRY(tx_hurry(tx, blocker, i->turn));
        r = ERR_BUSY;
    }
    if (r == ERR_BUSY) {
        s->go = META_LATER;
        move_record(tx, i, &s->item, clock_wall_ms() + WAIT_MS, 0, NULL);
        return 0;
    }
    TRY(r);
    s->expect_known = o.kind == OWNER_GONE ? o.ver[0] != 0 : false;
    s->taken_over = o.claim != CLAIM_NONE;
    s->taken_own = o.claim == CLAIM_COPY_TO && o.claim_ino == i->ino;
    s->size = i->size;
    s->dst_content = o.kind == OWNER_GONE ? o.content : 0;
    s->gone_ms = o.kind == OWNER_GONE ? o.gone_ms : 0;
    memcpy(s->expect, o.ver, sizeof s->expect);
    meta_intent(s->intent, i->etag, i->size);
    owner_take(a->m, &o, CLAIM_COPY_TO, i->ino, s->nonce, s->intent, s->taken_intent);
    s->intended = !strcmp(o.intent, s->intent);
    tx_put_owner(tx, false, i->mount, str_of(s->dst), &o);
    s->go = META_GO;
    s->how = SETTLE_COPY;
    return 0;
}

static int claim_file(struct kv_tx *tx, struct settle_arg *a, struct inode *i, const char *home, const char *ident)
{
    struct meta_settle *s = a->s;
    snprintf(s->src, sizeof s->src, "%.*s", STR_ARG(i->key));
    if (i->transient) {
        s->how = SETTLE_TAKE_AWAY;
        s->go = META_GO;
        return 0;
    }
    if (str_eq(str_of(ident), i->key) && !strcmp(home, ident))
        return already_home(tx, i);
    if (str_eq(str_of(home), i->key)) { /* it is where it belongs; its directory is not yet, and is waited for */
        s->go = META_LATER;
        i->turn = i->turn_dir = 0; /* it is seen there already */
        move_record(tx, i, &s->item, clock_wall_ms() + DIR_WAIT_MS, 0, NULL);
        return 0;
    }
    return claim_dst(tx, a, i, home);
}

static void claim_prefix(struct kv_tx *tx, struct settle_arg *a, const char *prefix, enum claim_kind kind)
{
    struct owner o;
    if (tx_owner(tx, true, a->s->mount, str_of(prefix), &o) < 0)
        return;
    owner_claim(a->m, &o, kind, a->s->ino, a->s->nonce, NULL);
    tx_put_owner(tx, true, a->s->mount, str_of(prefix), &o);
}

static int can_rename(struct kv_tx *tx, struct settle_arg *a, bool *ret)
{
    struct meta_settle *s = a->s;
    struct owner from, to;
    bool below;
    *ret = false;
    if (!(meta_caps(a->m, s->mount) & UFS_CAP_RENAME))
        return 0;
    TRY(tx_owner(tx, true, s->mount, str_of(s->src), &from));
    TRY(tx_owner(tx, true, s->mount, str_of(s->dst), &to));
    if (from.gone_ms || from.claim == CLAIM_COPY_TO || to.kind != OWNER_NONE)
        return 0;
    TRY(tx_owned_below(tx, s->mount, str_of(s->src), &below));
    if (below)
        return 0;
    TRY(tx_owned_below(tx, s->mount, str_of(s->dst), &below));
    if (below)
        return 0;
    for (size_t i = 0; s->dst[i + 1]; i++) { /* nobody else owns what is above the destination */
        struct owner o;
        if (s->dst[i] != '/')
            continue;
        TRY(tx_owner(tx, true, s->mount, str_mk(s->dst, i + 1), &o));
        if (o.kind != OWNER_NONE || o.claim != CLAIM_NONE)
            return 0;
    }
    *ret = !str_starts(str_of(s->dst), str_of(s->src)) && !str_starts(str_of(s->src), str_of(s->dst));
    return 0;
}

/* Where the rename of a dead process, or one with an unknown outcome, was to take this prefix: the row that has its
 * nonce. That move is finished first, wherever the directory is at home by now; the objects may lie there already. */
static int old_destination(struct kv_tx *tx, struct settle_arg *a, uint64_t nonce)
{
    struct meta_settle *s = a->s;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    key_id(&begin, 'o', s->mount);
    kv_prefix_end(buf_str(&begin), &end);
    for (bool more = true; more;) {
        struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 256, .loose = true};
        struct kv_rows rows;
        TRY(kv_range(tx, &r, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            struct owner o;
            struct str prefix = str_from(rows.row[i].key, 9);
            TRY(dec_owner(rows.row[i].value, &o));
            if (o.claim == CLAIM_RENAME && o.nonce == nonce && !str_eq(prefix, str_of(s->src)))
                snprintf(s->dst, sizeof s->dst, "%.*s", STR_ARG(prefix));
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

static int claim_dir(struct kv_tx *tx, struct settle_arg *a, struct inode *i, const char *home, const char *ident)
{
    struct meta_settle *s = a->s;
    struct owner o;
    bool rename;
    snprintf(s->src, sizeof s->src, "%.*s", STR_ARG(i->key));
    snprintf(s->dst, sizeof s->dst, "%s", home);
    TRY(tx_owner(tx, true, i->mount, i->key, &o));
    s->taken_over = o.claim == CLAIM_RENAME;
    if (!s->taken_over && o.claim == CLAIM_NONE && strcmp(home, ident)) /* a directory above goes first */
        return wait_for_others(tx, s, i);
    if (s->taken_over)
        TRY(old_destination(tx, a, o.nonce));
    TRY(can_rename(tx, a, &rename));
    rename = rename && s->item.rec.attempts < 2 * PATIENCE && !s->loaded;
    if (!rename && !s->taken_over && o.claim == CLAIM_NONE && (meta_caps(a->m, s->mount) & UFS_CAP_RENAME) &&
        s->item.rec.attempts < PATIENCE) { /* single keys are on their way out: one rename is worth waiting for */
        s->go = META_LATER;
        move_record(tx, i, &s->item, clock_wall_ms() + WAIT_MS, 0, NULL);
        return 0;
    }
    s->go = META_GO;
    s->how = rename || s->taken_over ? SETTLE_RENAME : SETTLE_PUSH;
    s->sealed = s->how == SETTLE_RENAME || s->loaded || o.claim == CLAIM_COPY_TO;
    if (!s->sealed) /* its children are loaded first; then nothing may enter through the old prefix any more */
        return 0;
    claim_prefix(tx, a, s->src, s->how == SETTLE_RENAME ? CLAIM_RENAME : CLAIM_COPY_TO);
    if (s->how == SETTLE_RENAME)
        claim_prefix(tx, a, s->dst, CLAIM_RENAME);
    return 0;
}

static int claim_tx(struct kv_tx *tx, void *arg)
{
    struct settle_arg *a = arg;
    struct meta_settle *s = a->s;
    struct inode i;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    s->go = META_SKIP;
    s->taken_over = s->expect_known = false;
    int r = tx_inode(tx, s->item.id, &i);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    if (r == ERR_NOT_FOUND || i.settle_due != s->item.due || !i.key.n || (i.type != REC_DIR && i.loc != LOC_KEY)) {
        tx_unqueue(tx, Q_SETTLE, s->item.due, s->item.id, STR(""));
        return 0;
    }
    if (tx_out_of_turn(&i, &s->item)) {
        s->go = META_LATER;
        move_record(tx, &i, &s->item, s->item.due, 0, NULL);
        return 0;
    }
    s->mount = i.mount;
    s->ino = i.ino;
    s->content = i.content;
    s->since_ms = s->item.rec.since_ms;
    memcpy(s->ver, i.ver, sizeof s->ver);
    memcpy(s->etag, i.etag, sizeof s->etag);
    r = home_of(tx, &i, home, ident);
    if (r == ERR_STALE) { /* below a removed tree, whose job will forget it */
        move_record(tx, &i, &s->item, clock_wall_ms() + WAIT_MS, 0, NULL);
        return 0;
    }
    TRY(r);
    bool moving;
    TRY(tx_renamed_above(tx, i.mount, i.key, &moving));
    if (moving) /* where its objects are is known when that is done */
        return wait_for_others(tx, s, &i);
    return i.type == REC_DIR ? claim_dir(tx, a, &i, home, ident) : claim_file(tx, a, &i, home, ident);
}

int meta_settle_claim(struct meta *m, struct meta_settle *s)
{
    struct settle_arg a = {.m = m, .s = s};
    TRY(meta_mint(m, 1, &s->nonce));
    TRY(FAULT(META_SETTLE_CLAIM));
    TRY(meta_update(m, claim_tx, &a));
    return FAULT(META_SETTLE_CLAIMED);
}

/* ---- what lies at the destination was looked at ---- */

struct intend_arg {
    struct meta_settle *s;
    const char *ver;
};

static int intend_tx(struct kv_tx *tx, void *arg)
{
    struct intend_arg *a = arg;
    return tx_intend(tx, a->s->mount, str_of(a->s->dst), a->s->nonce, a->ver, a->s->intent);
}

int meta_settle_intend(struct meta *m, struct meta_settle *s, const char *ver)
{
    struct intend_arg a = {s, ver};
    TRY(meta_update_or_conflict(m, intend_tx, &a));
    s->intended = true;
    return FAULT(META_INTEND_AFTER);
}

/* ---- switch ---- */

static int switch_file(struct kv_tx *tx, struct meta *m, struct meta_settle *s, struct inode *i, struct owner *o)
{
    char home[META_KEY_MAX + 8] = "", ident[META_KEY_MAX + 8] = "";
    int r = home_of(tx, i, home, ident);
    if (r < 0 && r != ERR_STALE)
        return r;
    struct owner now = {0};
    if (o->kind == OWNER_GONE && o->reap_due)
        tx_unqueue(tx, Q_REAP, o->reap_due, s->mount, str_of(s->dst));
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    i->checked_ms = clock_wall_ms();
    memcpy(i->ver, s->st.version, sizeof i->ver);
    if (!strcmp(ident, s->dst)) {
        i->loc = LOC_HOME;
        i->key = STR("");
        i->settle_due = 0;
    } else {
        now.kind = OWNER_MOVED;
        now.ino = i->ino;
        i->key = str_of(s->dst);
        i->settle_due = clock_wall_ms();
        tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &s->item.rec);
    }
    tx_put_owner(tx, false, s->mount, str_of(s->dst), &now);
    TRY(tx_gone(tx, s->mount, str_of(s->src), s->ver, 0, true));
    if (i->turn)
        TRY(tx_turn_key(tx, m, s->mount, str_of(s->src), i));
    TRY(tx_turn_keep(tx, i));
    tx_put_inode(tx, i);
    return 0;
}

static int copy_is_nobodys(struct kv_tx *tx, struct meta_settle *s, struct owner *o)
{
    owner_unclaim(o);
    tx_put_owner(tx, false, s->mount, str_of(s->dst), o);
    return tx_gone(tx, s->mount, str_of(s->dst), s->st.version, 0, true);
}

/* Gone from the UFS by rule, not by name: the pages are here and pinned by now. */
static int take_away(struct kv_tx *tx, struct meta_settle *s, struct inode *i)
{
    struct content c;
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    TRY(tx_gone(tx, s->mount, str_of(s->src), s->ver, 0, true));
    i->loc = LOC_NONE;
    i->key = STR("");
    i->ver[0] = 0;
    i->settle_due = 0;
    i->turn = i->turn_dir = 0;
    tx_put_inode(tx, i);
    TRY(tx_content(tx, i->content, &c));
    c.back = BACK_NONE;
    tx_put_content(tx, &c);
    return 0;
}

static int release_prefixes(struct kv_tx *tx, struct meta_settle *s)
{
    struct owner o;
    TRY(tx_prefix_release(tx, s->mount, str_of(s->src)));
    if (s->how != SETTLE_RENAME)
        return 0;
    TRY(tx_owner(tx, true, s->mount, str_of(s->dst), &o));
    if (o.nonce != s->nonce)
        return 0;
    owner_unclaim(&o);
    tx_put_owner(tx, true, s->mount, str_of(s->dst), &o);
    return 0;
}

static int set_dentry_prefix(struct kv_tx *tx, const struct inode *i)
{
    struct buf leaf AUTO_BUF = {0};
    struct dentry d = {.ino = i->ino, .type = i->type, .has_prefix = i->key.n > 0};
    if (i->parent)
        tx_put_dentry(tx, i->parent, inode_leaf(i, &leaf), &d);
    return 0;
}

static int switch_dir(struct kv_tx *tx, struct meta_settle *s, struct inode *i)
{
    char home[META_KEY_MAX + 8] = "", ident[META_KEY_MAX + 8] = "";
    struct owner o;
    int r = home_of(tx, i, home, ident);
    if (r < 0 && r != ERR_STALE)
        return r;
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    TRY(release_prefixes(tx, s));
    if (!strcmp(ident, s->dst)) {
        i->key = STR("");
        i->settle_due = 0;
    } else { /* it, or a directory above, was renamed meanwhile: the objects lie where they were renamed to */
        TRY(tx_owner(tx, true, s->mount, str_of(s->dst), &o));
        o.kind = OWNER_MOVED;
        o.ino = i->ino;
        tx_put_owner(tx, true, s->mount, str_of(s->dst), &o);
        i->key = str_of(s->dst);
        i->settle_due = clock_wall_ms();
        tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &s->item.rec);
    }
    if (s->src_absent && i->explicit_dir && i->loc == LOC_HOME) { /* somebody else removed it: it is made anew */
        i->loc = LOC_NONE;
        i->ver[0] = 0;
        i->dirty = true;
        tx_persist_record(tx, i, clock_wall_ms());
    }
    TRY(tx_turn_keep(tx, i));
    tx_put_inode(tx, i);
    return set_dentry_prefix(tx, i);
}

/* The directory was removed while the UFS renamed it: what arrived at dst is as dead as the tree it belonged to. */
int tx_prefix_arrived_dead(struct kv_tx *tx, uint64_t mount, struct str prefix)
{
    struct owner o;
    TRY(tx_owner(tx, true, mount, prefix, &o));
    owner_unclaim(&o);
    if (o.kind == OWNER_NONE) {
        if (o.reap_due)
            tx_unqueue(tx, Q_PREFIX, o.reap_due, mount, prefix);
        o.kind = OWNER_GONE;
        o.gone_ms = o.reap_due = clock_wall_ms();
        tx_queue(tx, Q_PREFIX, o.reap_due, mount, prefix, NULL);
    }
    tx_put_owner(tx, true, mount, prefix, &o);
    return 0;
}

static int switch_dead(struct kv_tx *tx, struct meta_settle *s)
{
    struct owner o;
    TRY(tx_owner(tx, true, s->mount, str_of(s->src), &o));
    if (o.claim == CLAIM_RENAME && o.nonce == s->nonce) {
        owner_unclaim(&o);
        tx_put_owner(tx, true, s->mount, str_of(s->src), &o);
    }
    TRY(tx_owner(tx, true, s->mount, str_of(s->dst), &o));
    return o.claim == CLAIM_RENAME && o.nonce == s->nonce ? tx_prefix_arrived_dead(tx, s->mount, str_of(s->dst)) : 0;
}

static int switch_tx(struct kv_tx *tx, void *arg)
{
    struct settle_arg *a = arg;
    struct meta_settle *s = a->s;
    struct inode i;
    struct owner o;
    a->more = false;
    if (s->how == SETTLE_RENAME)
        TRY(tx_carry(tx, s->mount, str_of(s->src), str_of(s->dst), &a->more));
    if (a->more) /* first those */
        return 0;
    int r = tx_inode(tx, s->ino, &i);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    bool same = r == 0 && i.key.n && str_eq(i.key, str_of(s->src));
    if (s->how == SETTLE_RENAME)
        return same && i.parent ? switch_dir(tx, s, &i) : switch_dead(tx, s);
    same = same && i.loc == LOC_KEY && !strcmp(i.ver, s->ver);
    if (s->how == SETTLE_TAKE_AWAY)
        return same && i.transient ? take_away(tx, s, &i) : 0;
    TRY(tx_owner(tx, false, s->mount, str_of(s->dst), &o));
    if (o.claim == CLAIM_NONE || o.nonce != s->nonce)
        return 0;
    return same ? switch_file(tx, a->m, s, &i, &o) : copy_is_nobodys(tx, s, &o);
}

int meta_settle_switch(struct meta *m, struct meta_settle *s)
{
    struct settle_arg a = {.m = m, .s = s, .more = true};
    TRY(FAULT(META_SWITCH_BEFORE));
    while (a.more)
        TRY(meta_update(m, switch_tx, &a));
    meta_kick(m, 0);
    return FAULT(META_SWITCH_AFTER);
}

static int unclaim_row(struct kv_tx *tx, struct meta *m, const struct meta_settle *s, bool unknown, bool prefix,
                       const char *key)
{
    struct owner o;
    TRY(tx_owner(tx, prefix, s->mount, str_of(key), &o));
    if (o.claim == CLAIM_NONE || o.nonce != s->nonce)
        return 0;
    if (unknown) {
        o.until_ms = clock_wall_ms() + m->deadline_ms;
        if (!prefix && o.kind == OWNER_NONE)
            tx_queue(tx, Q_REAP, o.until_ms, s->mount, str_of(key), NULL);
    } else {
        owner_give_back(&o, prefix || strcmp(o.intent, s->taken_intent) ? "" : s->taken_intent);
    }
    tx_put_owner(tx, prefix, s->mount, str_of(key), &o);
    return 0;
}

int tx_settle_unclaim(struct kv_tx *tx, struct meta *m, const struct meta_settle *s, bool unknown)
{
    return unclaim_row(tx, m, s, unknown, false, s->dst);
}

static int giveup_tx(struct kv_tx *tx, void *arg)
{
    struct settle_arg *a = arg;
    struct meta_settle *s = a->s;
    struct inode i;
    if (s->how == SETTLE_COPY)
        TRY(tx_settle_unclaim(tx, a->m, s, a->unknown));
    if (s->how == SETTLE_RENAME && !a->unknown) {
        TRY(unclaim_row(tx, a->m, s, false, true, s->src));
        TRY(unclaim_row(tx, a->m, s, false, true, s->dst));
    }
    int r = tx_inode(tx, s->ino, &i);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (i.settle_due == s->item.due && i.settle_due)
        move_record(tx, &i, &s->item, a->due, a->code, a->error);
    return 0;
}

int meta_settle_giveup(struct meta *m, struct meta_settle *s, bool unknown, uint64_t due, int code, const char *error)
{
    struct settle_arg a = {.m = m, .s = s, .unknown = unknown, .due = due, .code = code, .error = error};
    return meta_update(m, giveup_tx, &a);
}

/* ---- push ---- */

static int push_file(struct kv_tx *tx, const struct settle_arg *a, const struct inode *dir, struct inode *i)
{
    const struct meta_settle *s = a->s;
    struct buf key AUTO_BUF = {0};
    struct owner o;
    buf_putz(&key, s->src);
    buf_str_add(&key, i->name);
    if (i->loc != LOC_HOME) /* what it was to replace there is not replaced any more */
        return tx_reap_if_gone(tx, s->mount, buf_str(&key));
    TRY(tx_owner(tx, false, s->mount, buf_str(&key), &o));
    o.kind = OWNER_MOVED;
    o.ino = i->ino;
    tx_put_owner(tx, false, s->mount, buf_str(&key), &o);
    i->loc = LOC_KEY;
    i->key = buf_str(&key);
    i->settle_due = clock_wall_ms();
    struct queue_rec q = {.since_ms = s->since_ms, .bytes = i->size};
    tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &q);
    TRY(tx_turn_child(tx, a->m, dir, i));
    tx_put_inode(tx, i);
    return 0;
}

/* The marker at this key goes; it is made anew at home. */
static int marker_anew(struct kv_tx *tx, struct meta *m, struct inode *i, struct str key)
{
    TRY(tx_marker_moves(tx, m, i, key, key));
    i->dirty = true;
    tx_persist_record(tx, i, clock_wall_ms());
    return 0;
}

static int push_dir(struct kv_tx *tx, const struct settle_arg *a, const struct inode *dir, struct inode *i)
{
    const struct meta_settle *s = a->s;
    struct buf key AUTO_BUF = {0};
    struct owner o;
    bool lies_here = !i->key.n;
    buf_putz(&key, s->src);
    buf_str_add(&key, i->name);
    buf_u8(&key, '/');
    if (i->explicit_dir && i->loc == LOC_HOME && (lies_here || (meta_caps(a->m, i->mount) & UFS_CAP_MARKERS))) {
        TRY(marker_anew(tx, a->m, i, buf_str(&key)));
        tx_put_inode(tx, i);
    }
    if (!lies_here)
        return 0;
    TRY(tx_owner(tx, true, s->mount, buf_str(&key), &o));
    o.kind = OWNER_MOVED;
    o.ino = i->ino;
    tx_put_owner(tx, true, s->mount, buf_str(&key), &o);
    i->key = buf_str(&key);
    i->settle_due = clock_wall_ms();
    struct queue_rec q = {.since_ms = s->since_ms};
    tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), &q);
    TRY(tx_turn_child(tx, a->m, dir, i));
    tx_put_inode(tx, i);
    return set_dentry_prefix(tx, i);
}

static int push_end(struct kv_tx *tx, struct meta *m, struct meta_settle *s, struct inode *dir)
{
    tx_unqueue(tx, Q_SETTLE, dir->settle_due, dir->ino, STR(""));
    TRY(tx_prefix_release(tx, s->mount, str_of(s->src)));
    dir->key = STR("");
    dir->settle_due = 0;
    dir->turn = dir->turn_dir = 0;
    if (dir->explicit_dir && dir->loc == LOC_HOME && !(meta_caps(m, dir->mount) & UFS_CAP_MARKERS))
        TRY(marker_anew(tx, m, dir, str_of(s->src))); /* the directory itself stayed behind */
    tx_put_inode(tx, dir);
    return set_dentry_prefix(tx, dir);
}

static int push_tx(struct kv_tx *tx, void *arg)
{
    struct settle_arg *a = arg;
    struct meta_settle *s = a->s;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, base AUTO_BUF = {0};
    struct inode dir, i;
    struct kv_rows rows;
    a->more = false;
    int r = tx_inode(tx, s->ino, &dir);
    if (r == ERR_NOT_FOUND || (r == 0 && (!dir.parent || !str_eq(dir.key, str_of(s->src)))))
        return 0;
    TRY(r);
    key_id(&base, 'D', s->ino);
    kv_prefix_end(buf_str(&base), &end);
    buf_str_add(&begin, a->cursor->n ? buf_str(a->cursor) : buf_str(&base));
    struct kv_range range = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = PUSH_BATCH};
    TRY(kv_range(tx, &range, &rows));
    for (size_t k = 0; k < rows.n; k++) {
        struct dentry d;
        TRY(dec_dentry(rows.row[k].value, &d));
        TRY(tx_inode(tx, d.ino, &i));
        TRY(i.type == REC_DIR ? push_dir(tx, a, &dir, &i) : push_file(tx, a, &dir, &i));
    }
    a->more = rows.more;
    if (!a->more)
        return push_end(tx, a->m, s, &dir);
    buf_reset(&a->next);
    buf_str_add(&a->next, rows.row[rows.n - 1].key);
    buf_u8(&a->next, 0);
    return 0;
}

int meta_settle_push(struct meta *m, struct meta_settle *s, struct buf *cursor, bool *ret_more)
{
    struct settle_arg a = {.m = m, .s = s, .cursor = cursor};
    int r = FAULT(META_SWITCH_BEFORE);
    if (r == 0)
        r = meta_update(m, push_tx, &a);
    if (r == 0) {
        *ret_more = a.more;
        buf_reset(cursor);
        buf_str_add(cursor, buf_str(&a.next));
        meta_kick(m, 0);
    }
    buf_done(&a.next);
    return r;
}
