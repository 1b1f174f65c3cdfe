/* SPDX-License-Identifier: Apache-2.0
 *
 * Settling a file whose object somebody else changed or removed before it could be moved.
 *
 *   the same bytes lie there as another version   the record names that version, and the move goes on
 *   all bytes are here, pinned                    the file is dirty again and goes to its home from here
 *   else                                          the content is gone, by another's hand: its name goes too, as that of
 * any file whose object was removed
 *
 * The old key is given up in the last two cases (GONE with the version that was ours, which is all that reap may
 * delete), so that what somebody else put there appears under its name.
 */
#include "meta/tx.h"

struct conflict_arg {
    struct meta *m;
    struct meta_settle *s;
    enum meta_settle_found found;
    bool did;
};

static int to_dirty(struct kv_tx *tx, struct meta_settle *s, struct inode *i)
{
    struct content c;
    TRY(tx_gone(tx, s->mount, i->key, i->ver, 0, true));
    i->loc = LOC_NONE;
    i->key = STR("");
    i->ver[0] = 0;
    i->settle_due = 0;
    i->dirty = i->blind = true;
    i->persist_due = clock_wall_ms();
    /* since when the name is the file's: what somebody else put at home after that is another conflict */
    struct queue_rec q = {.since_ms = s->since_ms, .bytes = i->size};
    tx_queue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""), &q);
    TRY(tx_turn_keep(tx, i));
    tx_put_inode(tx, i);
    TRY(tx_content(tx, i->content, &c));
    c.back = BACK_NONE;
    tx_put_content(tx, &c);
    return 0;
}

static int forget(struct kv_tx *tx, struct conflict_arg *a, struct inode *i)
{
    struct buf leaf AUTO_BUF = {0};
    struct place p;
    int r = tx_climb(tx, i, &p);
    if (r == ERR_STALE) /* below a removed tree, whose job forgets it */
        return 0;
    TRY(r);
    tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    TRY(tx_forget_file(tx, a->m, i, &p, false));
    tx_del_dentry(tx, i->parent, inode_leaf(i, &leaf));
    return tx_prune(tx, &p, clock_wall_ms());
}

static int conflict_tx(struct kv_tx *tx, void *arg)
{
    struct conflict_arg *a = arg;
    struct meta_settle *s = a->s;
    struct inode i;
    a->did = false;
    if (s->how == SETTLE_COPY) /* what a dead process sent may still arrive: then its claim is kept until it cannot */
        TRY(tx_settle_unclaim(tx, a->m, s, s->taken_over));
    int r = tx_inode(tx, s->ino, &i);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (i.loc != LOC_KEY || !str_eq(i.key, str_of(s->src)) || strcmp(i.ver, s->ver))
        return 0;
    a->did = true;
    if (a->found == SETTLE_FOUND_NOTHING)
        return forget(tx, a, &i);
    if (a->found == SETTLE_FOUND_PAGES && !i.transient) {
        tx_unqueue(tx, Q_SETTLE, i.settle_due, i.ino, STR(""));
        return to_dirty(tx, s, &i);
    }
    if (a->found == SETTLE_FOUND_VERSION) {
        memcpy(i.ver, s->st.version, sizeof i.ver);
        tx_put_inode(tx, &i);
    }
    return 0;
}

int meta_settle_conflict(struct meta *m, struct meta_settle *s, enum meta_settle_found found, bool *ret_did)
{
    struct conflict_arg a = {.m = m, .s = s, .found = found};
    TRY(FAULT(META_SWITCH_BEFORE));
    TRY(meta_update(m, conflict_tx, &a));
    *ret_did = a.did;
    meta_kick(m, 0);
    return FAULT(META_SWITCH_AFTER);
}
