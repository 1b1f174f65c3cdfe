/* SPDX-License-Identifier: Apache-2.0
 *
 * The queues of work: records ordered by due time. Only what is durable is handed out (invariant 5: effects come after
 * the metadata is safe).
 */
#include "meta/tx.h"

struct queue_arg {
    enum queue_kind kind;
    uint64_t from, now, next;
    size_t max;
    struct buf *mem;
    size_t n;
};

static int queue_tx(struct kv_tx *tx, void *arg)
{
    struct queue_arg *a = arg;
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    buf_reset(a->mem);
    a->n = 0;
    a->next = UINT64_MAX;
    key_queue(&begin, a->kind, a->from, 0, STR(""));
    key_queue(&end, (enum queue_kind)(a->kind + 1), 0, 0, STR(""));
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = a->max + 1};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        enum queue_kind kind;
        uint64_t due, id;
        struct str key;
        if (!dec_queue_key(rows.row[i].key, &kind, &due, &id, &key))
            return err_set(ERR_CORRUPT, "malformed queue key");
        if (due > a->now || a->n == a->max) {
            a->next = due;
            break;
        }
        buf_bytes(a->mem, rows.row[i].key);
        buf_bytes(a->mem, rows.row[i].value);
        a->n++;
    }
    return 0;
}

int meta_queue(struct meta *m, enum queue_kind kind, uint64_t from, uint64_t now, size_t max, struct meta_items *ret)
{
    struct queue_arg a = {.kind = kind, .from = from, .now = now, .max = max, .mem = &ret->mem};
    uint64_t version;
    ret->n = 0;
    TRY(kv_view(m->kv, queue_tx, &a, &version));
    if (a.n)
        TRY(kv_settle(m->kv, version));
    free(ret->item);
    ret->item = calloc(a.n ? a.n : 1, sizeof *ret->item);
    struct cur c = cur_of(buf_str(&ret->mem));
    for (size_t i = 0; i < a.n; i++) {
        struct meta_item *it = &ret->item[i];
        if (!dec_queue_key(cur_bytes(&c), &it->kind, &it->due, &it->id, &it->key))
            return ERR_CORRUPT;
        TRY(dec_queue(cur_bytes(&c), &it->rec));
    }
    ret->n = a.n;
    ret->next_due = a.next;
    return 0;
}

void meta_items_done(struct meta_items *it)
{
    free(it->item);
    buf_done(&it->mem);
    *it = (struct meta_items){0};
}

/* ---- moving a record ---- */

struct requeue_arg {
    const struct meta_item *it;
    uint64_t due;
    int code;
    const char *error;
};

/* The due time stands in the record's subject too: both move together. False: the subject has no such record any more.
 */
static int retime(struct kv_tx *tx, const struct meta_item *it, uint64_t *ret_due, bool *ret)
{
    uint64_t due = *ret_due;
    struct inode i;
    struct owner o;
    struct content c;
    int r = 0;
    *ret = true;
    switch (it->kind) {
    case Q_PERSIST:
    case Q_SETTLE:
        r = tx_inode(tx, it->id, &i);
        if (r == 0) {
            uint64_t *at = it->kind == Q_PERSIST ? &i.persist_due : &i.settle_due;
            *ret = *at == it->due;
            due = rec_due(due, it->kind == Q_SETTLE || i.type != REC_DIR ? i.turn : 0);
            *at = due;
            if (*ret)
                tx_put_inode(tx, &i);
        }
        break;
    case Q_REAP:
    case Q_PREFIX:
        TRY(tx_owner(tx, it->kind == Q_PREFIX, it->id, it->key, &o));
        if (o.kind != OWNER_NONE && o.reap_due == it->due) {
            due = rec_due(due, it->kind == Q_REAP ? o.turn : 0);
            o.reap_due = due;
            tx_put_owner(tx, it->kind == Q_PREFIX, it->id, it->key, &o);
        } else if (o.claim == CLAIM_NONE) {
            *ret = false;
        }
        break;
    case Q_DROP:
        r = tx_content(tx, it->id, &c);
        if (r == 0) {
            c.drop_due = due;
            tx_put_content(tx, &c);
        }
        break;
    case Q_ORDER:
        TRY(tx_order_due(tx, it->id, it->due, due, ret));
        break;
    default:
        break;
    }
    *ret_due = due;
    if (r == ERR_NOT_FOUND)
        *ret = false;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int requeue_tx(struct kv_tx *tx, void *arg)
{
    struct requeue_arg *a = arg;
    const struct meta_item *it = a->it;
    struct buf k AUTO_BUF = {0};
    struct queue_rec q;
    struct str v;
    bool live;
    key_queue(&k, it->kind, it->due, it->id, it->key);
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    TRY(dec_queue(v, &q));
    kv_del(tx, buf_str(&k));
    uint64_t due = a->due;
    TRY(retime(tx, it, &due, &live));
    if (!live)
        return 0;
    if (a->code) {
        q.attempts++;
        q.error = str_cut(str_of(a->error ? a->error : ""), 200);
    }
    tx_queue(tx, it->kind, due, it->id, it->key, &q);
    return 0;
}

int meta_requeue(struct meta *m, const struct meta_item *it, uint64_t due, int code, const char *error)
{
    struct requeue_arg a = {it, due, code, error};
    return meta_commit(m, requeue_tx, &a, KV_LAZY, NULL);
}

static int unqueue_tx(struct kv_tx *tx, void *arg)
{
    const struct meta_item *it = arg;
    tx_unqueue(tx, it->kind, it->due, it->id, it->key);
    return 0;
}

int meta_unqueue(struct meta *m, const struct meta_item *it)
{
    return meta_commit(m, unqueue_tx, (void *)it, KV_LAZY, NULL);
}

/* ---- one file's record, for people ---- */

struct state_arg {
    uint64_t ino;
    struct meta_item *ret;
    struct buf *mem;
};

static int state_tx(struct kv_tx *tx, void *arg)
{
    struct state_arg *a = arg;
    struct buf k AUTO_BUF = {0};
    struct inode i;
    struct str v;
    TRY(tx_inode(tx, a->ino, &i));
    *a->ret = (struct meta_item){.id = a->ino};
    if (i.dirty) {
        a->ret->kind = Q_PERSIST;
        a->ret->due = i.persist_due;
    } else if (i.loc == LOC_KEY || (i.type == REC_DIR && i.key.n)) {
        a->ret->kind = Q_SETTLE;
        a->ret->due = i.settle_due;
    } else {
        return 0;
    }
    key_queue(&k, a->ret->kind, a->ret->due, a->ino, STR(""));
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    buf_reset(a->mem);
    buf_str_add(a->mem, v);
    return dec_queue(buf_str(a->mem), &a->ret->rec);
}

int meta_persist_state(struct meta *m, uint64_t ino, struct meta_item *ret, struct buf *ret_mem)
{
    struct state_arg a = {ino, ret, ret_mem};
    return kv_view(m->kv, state_tx, &a, NULL);
}
