/* SPDX-License-Identifier: Apache-2.0
 *
 * Settling a directory by one rename in the UFS: what left it meanwhile.
 *
 * At the claim no row lies below the old prefix. Until the switch the namespace goes on: a file or a directory that
 * leaves, or is removed, gets a row there, and the rename carried its objects along all the same. So the rows follow:
 *
 *   MOVED                  its file's, or directory's, key is below the new prefix
 *   GONE, of this version  that version is dead there, and reaped there
 *   GONE, of no version    says what was at the path, not below the moved directory: it stays
 */
#include "meta/tx.h"

enum { CARRY_BATCH = 128 };

struct carry {
    struct kv_tx *tx;
    uint64_t mount;
    struct str dst;
    bool prefix;
};

static int inode_follows(struct carry *c, const struct owner *o, struct str from, struct str to)
{
    struct inode i;
    int r = o->ino ? tx_inode(c->tx, o->ino, &i) : ERR_NOT_FOUND;
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (!str_eq(i.key, from))
        return 0;
    i.key = to;
    tx_put_inode(c->tx, &i);
    return 0;
}

/* A dead content that is still read has its missing pages there. */
static int backing_follows(struct carry *c, const struct owner *o, struct str from, struct str to)
{
    struct content x;
    int r = o->content ? tx_content(c->tx, o->content, &x) : ERR_NOT_FOUND;
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    if (x.back != BACK_KEY || x.back_mount != c->mount || !str_eq(x.back_key, from))
        return 0;
    x.back_key = to;
    tx_put_content(c->tx, &x);
    return 0;
}

static void drop_record(struct carry *c, const struct owner *o, struct str key)
{
    if (o->reap_due)
        tx_unqueue(c->tx, c->prefix ? Q_PREFIX : Q_REAP, o->reap_due, c->mount, key);
}

static int carry_row(struct carry *c, struct str from, struct str to, struct owner *o)
{
    struct owner there, none = {0};
    TRY(tx_owner(c->tx, c->prefix, c->mount, to, &there)); /* of what was at the path before */
    drop_record(c, &there, to);
    drop_record(c, o, from);
    o->turn = o->turn_dir = 0; /* rows of turns name the old key: it goes without */
    if (o->reap_due) {
        o->reap_due = clock_wall_ms();
        tx_queue(c->tx, c->prefix ? Q_PREFIX : Q_REAP, o->reap_due, c->mount, to, NULL);
    }
    TRY(inode_follows(c, o, from, to));
    TRY(backing_follows(c, o, from, to));
    tx_put_owner(c->tx, c->prefix, c->mount, to, o);
    tx_put_owner(c->tx, c->prefix, c->mount, from, &none);
    return 0;
}

static bool follows(const struct owner *o, bool prefix)
{
    if (o->claim != CLAIM_NONE)
        return false;
    return o->kind == OWNER_MOVED || (o->kind == OWNER_GONE && (prefix || o->ver[0]));
}

static int carry_rows(struct carry *c, struct str src, struct kv_rows *rows, size_t *n)
{
    for (size_t k = 0; k < rows->n && *n < CARRY_BATCH; k++) {
        struct buf from AUTO_BUF = {0}, to AUTO_BUF = {0};
        struct owner o;
        buf_str_add(&from, str_from(rows->row[k].key, 9));
        TRY(tx_owner(c->tx, c->prefix, c->mount, buf_str(&from), &o));
        if (str_eq(buf_str(&from), src) || !follows(&o, c->prefix))
            continue;
        buf_str_add(&to, c->dst);
        buf_str_add(&to, str_from(buf_str(&from), src.n));
        TRY(carry_row(c, buf_str(&from), buf_str(&to), &o));
        ++*n;
    }
    return 0;
}

int tx_carry(struct kv_tx *tx, uint64_t mount, struct str src, struct str dst, bool *ret_more)
{
    struct carry c = {.tx = tx, .mount = mount, .dst = dst};
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
        c.prefix = pass;
        key_owner(&begin, pass, mount, src);
        kv_prefix_end(buf_str(&begin), &end);
        for (bool more = true; more && n < CARRY_BATCH;) {
            struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 256};
            struct kv_rows rows;
            struct buf next AUTO_BUF = {0};
            TRY(kv_range(tx, &r, &rows));
            more = rows.more && rows.n;
            if (rows.n)
                buf_str_add(&next, rows.row[rows.n - 1].key); /* the lookups below may take its memory */
            TRY(carry_rows(&c, src, &rows, &n));
            buf_u8(&next, 0);
            buf_reset(&begin);
            buf_str_add(&begin, buf_str(&next));
        }
    }
    *ret_more = n >= CARRY_BATCH;
    return 0;
}
