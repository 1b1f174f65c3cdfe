/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading everything, for dump and fsck, and sweeping the slots of processes that are gone. Rows are copied out of each
 * batch's snapshot before they are shown, so that fn may take its time and is called once a row.
 */
#include "kv/kv_impl.h"

struct scan {
    struct buf from, end; /* what is left */
    struct buf rows;      /* key and value, each with its length before it */
    bool more;
};

static int read_batch(struct kv_tx *tx, void *arg)
{
    struct scan *s = arg;
    struct kv_range r = {.begin = buf_str(&s->from), .end = buf_str(&s->end), .loose = true};
    struct kv_rows rows;

    buf_reset(&s->rows);
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        buf_bytes(&s->rows, rows.row[i].key);
        buf_bytes(&s->rows, rows.row[i].value);
    }
    s->more = rows.more;
    return 0;
}

static int show(struct scan *s, int (*fn)(void *arg, struct str key, struct str value), void *arg)
{
    struct cur c = cur_of(buf_str(&s->rows));
    struct str key = {0};

    while (c.p < c.end) {
        struct str value;
        int r;

        key = cur_bytes(&c);
        value = cur_bytes(&c);
        CHECK(!c.bad);
        r = fn(arg, key, value);
        if (r)
            return r;
    }
    if (s->more) {
        buf_reset(&s->from);
        buf_str_add(&s->from, key);
        buf_u8(&s->from, 0);
    }
    return 0;
}

int kv_scan(struct kv *kv, struct str prefix, int (*fn)(void *arg, struct str key, struct str value), void *arg)
{
    struct scan s = {0};
    int r = 0;

    buf_str_add(&s.from, prefix);
    kv_prefix_end(prefix, &s.end);
    do {
        r = kv_view(kv, read_batch, &s, NULL);
        if (r == 0)
            r = show(&s, fn, arg);
    } while (r == 0 && s.more);
    buf_done(&s.from);
    buf_done(&s.end);
    buf_done(&s.rows);
    return r;
}
