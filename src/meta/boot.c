/* SPDX-License-Identifier: Apache-2.0
 *
 * After a start: claims that a dead process left, and the walk for files that other rules apply to now.
 */
#include "meta/tx.h"

enum { RULES_BATCH = 128 };

struct recover_arg {
    struct meta *m;
    struct buf keys; /* mount, key ... of rows nobody would come back to */
};

static int each_owner(void *arg, struct str key, struct str value)
{
    struct recover_arg *a = arg;
    struct owner o;
    TRY(dec_owner(value, &o));
    if (o.claim == CLAIM_NONE || o.boot == a->m->boot || o.kind != OWNER_NONE)
        return 0;
    buf_bytes(&a->keys, str_from(key, 1));
    return 0;
}

struct revive_arg {
    struct str key;
    uint64_t mount, due;
};

static int revive_tx(struct kv_tx *tx, void *arg)
{
    struct revive_arg *a = arg;
    tx_queue(tx, Q_REAP, a->due, a->mount, a->key, NULL);
    return 0;
}

/* A rename of a whole prefix that a dead process had under way, for a directory that is not there any more to finish
 * it. */
static int each_prefix(void *arg, struct str key, struct str value)
{
    struct recover_arg *a = arg;
    struct owner o;
    TRY(dec_owner(value, &o));
    if (o.claim == CLAIM_RENAME && o.boot != a->m->boot)
        buf_bytes(&a->keys, str_from(key, 1));
    return 0;
}

static int prefix_tx(struct kv_tx *tx, void *arg)
{
    struct revive_arg *a = arg;
    struct owner o;
    struct inode i;
    TRY(tx_owner(tx, true, a->mount, a->key, &o));
    int r = tx_inode(tx, o.claim_ino, &i);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    if (o.claim != CLAIM_RENAME || (r == 0 && i.parent && i.settle_due))
        return 0; /* its settle record brings it up again */
    return tx_prefix_arrived_dead(tx, a->mount, a->key);
}

static int recover_prefixes(struct meta *m)
{
    struct recover_arg a = {.m = m};
    int r = kv_scan(m->kv, STR("o"), each_prefix, &a);
    struct cur c = cur_of(buf_str(&a.keys));
    while (r == 0 && c.p < c.end) {
        struct cur k = cur_of(cur_bytes(&c));
        struct revive_arg v = {.mount = cur_be64(&k)};
        v.key = cur_rest(&k);
        r = meta_commit(m, prefix_tx, &v, KV_LAZY, NULL);
    }
    buf_done(&a.keys);
    return r;
}

int meta_recover(struct meta *m)
{
    TRY(recover_prefixes(m));
    struct recover_arg a = {.m = m};
    int r = kv_scan(m->kv, STR("O"), each_owner, &a);
    struct cur c = cur_of(buf_str(&a.keys));
    while (r == 0 && c.p < c.end) {
        struct str row = cur_bytes(&c);
        struct cur k = cur_of(row);
        struct revive_arg v = {.mount = cur_be64(&k), .due = clock_wall_ms()};
        v.key = cur_rest(&k);
        if (!(meta_caps(m, v.mount) & UFS_CAP_CERTAIN))
            v.due = m->boot_ms + m->deadline_ms;
        r = meta_commit(m, revive_tx, &v, KV_LAZY, NULL);
    }
    buf_done(&a.keys);
    return r;
}

/* ---- rules ---- */

struct rules_walk {
    struct meta *m;
    const struct meta_item *it;
    struct str base; /* absolute path of the directory, ends in '/' */
    bool more;
};

static int fate_by_rule(struct kv_tx *tx, struct rules_walk *a, struct inode *i, struct str path)
{
    enum meta_policy p = meta_rule(a->m, path).policy;
    bool renamed = a->it->rec.bytes;
    if (i->skipped)
        return 0;
    if (i->transient && (p == META_WRITE_BACK || p == META_WRITE_THROUGH)) {
        i->transient = false;
        if (i->loc == LOC_NONE) {
            i->dirty = true;
            tx_persist_record(tx, i, clock_wall_ms());
        }
    } else if (renamed && p == META_TRANSIENT && !i->transient) {
        if (i->dirty)
            tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
        i->dirty = false;
        i->transient = true;
        /* A clean one in its place goes the way of a moved one: its settle record takes the object away. */
        if (i->loc == LOC_HOME) {
            struct place pl;
            char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
            struct owner o;
            if (tx_climb(tx, i, &pl) < 0 || place_keys(&pl, home, ident) < 0 ||
                tx_owner(tx, false, i->mount, str_of(ident), &o) < 0)
                return 0;
            o.kind = OWNER_MOVED;
            o.ino = i->ino;
            tx_put_owner(tx, false, i->mount, str_of(ident), &o);
            struct buf key AUTO_BUF = {0};
            buf_putz(&key, ident);
            i->loc = LOC_KEY;
            i->key = buf_str(&key);
            i->settle_due = clock_wall_ms();
            tx_queue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""), NULL);
            TRY(tx_turn(tx, a->m, i, NULL, NULL));
            tx_put_inode(tx, i);
            return 0;
        }
    } else {
        return 0;
    }
    TRY(tx_turn(tx, a->m, i, NULL, NULL));
    tx_put_inode(tx, i);
    return 0;
}

/* One directory a time, from the name the record's key remembers; directories below get records of their own. */
static int rules_tx(struct kv_tx *tx, void *arg)
{
    struct rules_walk *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, path AUTO_BUF = {0};
    struct kv_rows rows;
    uint64_t now = clock_wall_ms();
    key_id(&begin, 'D', a->it->id);
    kv_prefix_end(buf_str(&begin), &end);
    buf_str_add(&begin, a->it->key);
    if (a->it->key.n)
        buf_u8(&begin, 0);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = RULES_BATCH};
    TRY(kv_range(tx, &r, &rows));
    tx_unqueue(tx, Q_RULES, a->it->due, a->it->id, a->it->key);
    for (size_t k = 0; k < rows.n; k++) {
        struct dentry d;
        struct inode i;
        struct str name = str_from(rows.row[k].key, 9);
        TRY(dec_dentry(rows.row[k].value, &d));
        if (d.type == REC_DIR) {
            tx_queue(tx, Q_RULES, now, d.ino, STR(""), &a->it->rec);
            continue;
        }
        TRY(tx_inode(tx, d.ino, &i));
        buf_reset(&path);
        buf_str_add(&path, a->base);
        buf_str_add(&path, name);
        TRY(fate_by_rule(tx, a, &i, buf_str(&path)));
    }
    a->more = rows.more && rows.n;
    if (a->more)
        tx_queue(tx, Q_RULES, now, a->it->id, str_from(rows.row[rows.n - 1].key, 9), &a->it->rec);
    return 0;
}

int meta_rules_walk(struct meta *m, const struct meta_item *it, bool *ret_more)
{
    struct buf base AUTO_BUF = {0};
    struct rules_walk a = {.m = m, .it = it};
    int r = meta_path(m, it->id, &base);
    if (r == ERR_NOT_FOUND)
        return meta_unqueue(m, it);
    TRY(r);
    a.base = buf_str(&base);
    TRY(meta_commit(m, rules_tx, &a, KV_LAZY, NULL));
    *ret_more = true;
    meta_kick(m, Q_PERSIST);
    return 0;
}
