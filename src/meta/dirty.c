/* SPDX-License-Identifier: Apache-2.0
 *
 * What is not persisted, mount by mount, in one pass over the persist queue: for figures, which want all mounts at
 * once.
 */
#include "base/mem.h"
#include "meta/tx.h"

enum { BATCH = 1000 };

struct by_mount {
    struct meta_mount_dirty *sum; /* what earlier batches found */
    size_t n;
    struct buf from;
    bool more;
    /* Of the batch, which may run more than once: rows whose file was found. */
    struct {
        uint64_t mount, bytes, since_ms;
    } row[BATCH];
    size_t rows;
};

static int take_row(struct kv_tx *tx, struct by_mount *a, const struct kv_row *row)
{
    enum queue_kind kind;
    uint64_t due, ino;
    struct str rest;
    struct queue_rec q;
    struct inode i;
    if (!dec_queue_key(row->key, &kind, &due, &ino, &rest))
        return 0;
    TRY(dec_queue(row->value, &q));
    int r = tx_inode(tx, ino, &i);
    if (r < 0)
        return r == ERR_NOT_FOUND ? 0 : r;
    a->row[a->rows].mount = i.mount;
    a->row[a->rows].bytes = q.bytes;
    a->row[a->rows++].since_ms = q.since_ms;
    return 0;
}

static int batch_tx(struct kv_tx *tx, void *arg)
{
    struct by_mount *a = arg;
    struct kv_rows rows;
    struct kv_range r = {.begin = buf_str(&a->from), .end = STR("QQ"), .max_rows = BATCH};
    struct buf next AUTO_BUF = {0};
    a->rows = 0;
    TRY(kv_range(tx, &r, &rows));
    a->more = rows.more;
    if (rows.n)
        buf_str_add(&next, rows.row[rows.n - 1].key); /* the lookups below may take its memory */
    for (size_t i = 0; i < rows.n; i++)
        TRY(take_row(tx, a, &rows.row[i]));
    if (rows.n) {
        buf_u8(&next, 0);
        buf_reset(&a->from);
        buf_str_add(&a->from, buf_str(&next));
    }
    return 0;
}

static void add_rows(struct by_mount *a)
{
    for (size_t i = 0; i < a->rows; i++)
        for (size_t k = 0; k < a->n; k++) {
            struct meta_mount_dirty *s = &a->sum[k];
            if (s->mount != a->row[i].mount)
                continue;
            s->files++;
            s->bytes += a->row[i].bytes;
            if (!s->oldest_ms || a->row[i].since_ms < s->oldest_ms)
                s->oldest_ms = a->row[i].since_ms;
        }
}

int meta_dirty_by_mount(struct meta *m, struct meta_mount_dirty *sum, size_t n)
{
    struct by_mount *a = MEM_NEW(struct by_mount);
    int r = 0;
    a->sum = sum;
    a->n = n;
    a->more = true;
    buf_putz(&a->from, "QP");
    while (r == 0 && a->more) {
        r = kv_view(m->kv, batch_tx, a, NULL);
        if (r == 0)
            add_rows(a);
    }
    buf_done(&a->from);
    free(a);
    return r;
}
