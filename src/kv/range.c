/* SPDX-License-Identifier: Apache-2.0
 *
 * Range reads: the engine's rows, in batches as it likes to give them, merged with the transaction's own writes.
 *
 * A merge goes one way, up or down. Its fence is the bound the engine has answered for so far: on the near side of it
 * all rows of the engine are known, beyond it another batch must be fetched first. A conflict is recorded only for the
 * part that the caller got to know: up to the last row given when a limit ended the read.
 */
#include "kv/kv_impl.h"

enum { BYTES_DEFAULT = 256 * 1024 };

struct merge {
    struct kv_tx *tx;
    struct kv_range r; /* what is left for the engine to answer */
    struct kv_batch batch;
    size_t at;        /* next row of the batch */
    size_t own, owns; /* own writes: next index; how many are left */
    bool all;         /* the engine has no more rows */
    struct kv_batch out;
    size_t bytes, max_rows, max_bytes;
};

static struct str after(struct kv_tx *tx, struct str key)
{
    char *p = kv_arena_take(&tx->arena, key.n + 1);

    memcpy(p, key.p, key.n);
    p[key.n] = 0;
    return str_mk(p, key.n + 1);
}

/* Ask the engine for what lies beyond its last answer. */
static int fetch(struct merge *m)
{
    struct kv *kv = m->tx->kv;

    m->batch.n = m->at = 0;
    m->batch.more = false;
    m->r.max_rows = m->max_rows ? m->max_rows - m->out.n : 0;
    m->r.max_bytes = m->max_bytes > m->bytes ? m->max_bytes - m->bytes : 1;
    m->tx->error = kv->engine->range(kv->e, m->tx->snap, &m->tx->arena, &m->r, &m->batch);
    TRY(m->tx->error);
    kv_u64_max(&m->tx->unsynced, m->batch.unsynced);
    m->all = !m->batch.more;
    CHECK(m->all || m->batch.n, "an engine gave no row and more = true");
    if (m->all)
        return 0;
    if (m->r.reverse)
        m->r.end = m->batch.row[m->batch.n - 1].key;
    else
        m->r.begin = after(m->tx, m->batch.row[m->batch.n - 1].key);
    return 0;
}

static const struct kv_row *engine_row(const struct merge *m)
{
    return m->at < m->batch.n ? &m->batch.row[m->at] : NULL;
}

static const struct kv_write *own_write(const struct merge *m)
{
    return m->owns ? m->tx->write[m->own] : NULL;
}

static void own_next(struct merge *m)
{
    m->own += m->r.reverse ? (size_t)-1 : 1;
    m->owns--;
}

/* The next row in order, own writes applied; value.p NULL for one that is deleted here. False at the end. */
static bool step(struct merge *m, struct kv_row *ret)
{
    const struct kv_row *e = engine_row(m);
    const struct kv_write *w = own_write(m);
    int c = !e ? 1 : !w ? -1 : str_cmp(e->key, w->key) * (m->r.reverse ? -1 : 1);

    if (!e && !w)
        return false;
    *ret = c <= 0 ? *e : (struct kv_row){w->key, {NULL, 0}};
    if (c >= 0) {
        ret->value = kv_overlay_apply(m->tx, w, ret->value);
        own_next(m);
    }
    if (c <= 0)
        m->at++;
    return true;
}

static bool full(const struct merge *m, const struct kv_row *next)
{
    if (!m->out.n)
        return false;
    return (m->max_rows && m->out.n >= m->max_rows) || m->bytes + next->key.n + next->value.n > m->max_bytes;
}

/* Give rows until there are none or a limit is met. */
static int run(struct merge *m)
{
    struct kv_row row;

    for (;;) {
        if (!engine_row(m) && !m->all) {
            m->out.more = m->max_rows && m->out.n >= m->max_rows;
            if (m->out.more)
                return 0;
            TRY(fetch(m));
        }
        if (!step(m, &row))
            return 0;
        if (!row.value.p)
            continue;
        if (full(m, &row)) {
            m->out.more = true;
            return 0;
        }
        kv_batch_add(&m->out, &m->tx->arena, row.key, row.value);
        m->bytes += row.key.n + row.value.n;
    }
}

static void find_own(struct merge *m)
{
    size_t lo = kv_overlay_at(m->tx, m->r.begin), hi = kv_overlay_at(m->tx, m->r.end);

    m->owns = hi > lo ? hi - lo : 0;
    m->own = m->r.reverse ? hi - 1 : lo;
}

static void record(struct kv_tx *tx, const struct kv_range *r, const struct kv_batch *out)
{
    struct str begin = r->begin, end = r->end;

    if (out->more && r->reverse)
        begin = out->row[out->n - 1].key;
    else if (out->more)
        end = after(tx, out->row[out->n - 1].key);
    kv_tx_read_extent(tx, begin, end);
}

static int check(struct kv_tx *tx, const struct kv_range *r)
{
    if (tx->error)
        return tx->error;
    if (r->begin.n > KV_KEY_MAX + 1 || r->end.n > KV_KEY_MAX + 1)
        return tx->error = err_set(ERR_LIMIT, "a bound of a range is over the limit of %d bytes", KV_KEY_MAX);
    if (clock_mono_ns() >= tx->deadline)
        return tx->error = err_set(ERR_TIMEOUT, "a metadata transaction took longer than %d ms", KV_TX_MS);
    return 0;
}

int kv_range(struct kv_tx *tx, const struct kv_range *r, struct kv_rows *ret)
{
    struct kv_range in = *r;
    struct merge m = {.tx = tx, .max_rows = r->max_rows, .max_bytes = r->max_bytes ? r->max_bytes : BYTES_DEFAULT};

    TRY(check(tx, r));
    if (!tx->own && str_cmp(in.end, STR(KV_OWN)) > 0)
        in.end = STR(KV_OWN);
    if (str_cmp(in.begin, in.end) < 0) {
        in.begin = kv_arena_copy(&tx->arena, in.begin);
        in.end = kv_arena_copy(&tx->arena, in.end);
        m.r = in;
        find_own(&m);
        TRY(run(&m));
        if (tx->update && !r->loose)
            record(tx, &in, &m.out);
    }
    *ret = (struct kv_rows){m.out.row, m.out.n, m.out.more};
    return 0;
}

void kv_prefix_end(struct str prefix, struct buf *out)
{
    size_t n = prefix.n;

    buf_reset(out);
    while (n && (unsigned char)prefix.p[n - 1] == 0xff)
        n--;
    if (!n) { /* nothing is greater: the bound of all keys that users have */
        buf_add(out, KV_OWN, 1);
        return;
    }
    buf_add(out, prefix.p, n);
    out->p[n - 1] = (char)(out->p[n - 1] + 1);
}
