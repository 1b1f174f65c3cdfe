/* SPDX-License-Identifier: Apache-2.0
 *
 * One run of a transaction function: reads through the overlay of its own writes, and the record of what was read that
 * the engine needs at commit. An engine error met by a read stays in tx->error, so that a function which swallows it
 * cannot commit.
 */
#include "kv/kv_impl.h"

int kv_tx_begin(struct kv_tx *tx, struct kv *kv, bool update, uint64_t deadline)
{
    tx->kv = kv;
    tx->update = update;
    tx->own = false;
    tx->slots = 0;
    tx->error = 0;
    tx->deadline = deadline;
    tx->unsynced = 0;
    tx->keys = tx->keys_cap = tx->extents = tx->extents_cap = tx->writes = tx->writes_cap = tx->bytes = 0;
    kv_arena_init(&tx->arena);
    return kv->engine->begin(kv->e, update, &tx->arena, &tx->snap);
}

void kv_tx_end(struct kv_tx *tx)
{
    tx->kv->engine->end(tx->kv->e, tx->snap);
    kv_arena_done(&tx->arena);
}

/* ---- the record of reads ---- */

void kv_tx_read_key(struct kv_tx *tx, struct str key)
{
    if (tx->keys == tx->keys_cap) {
        size_t cap = tx->keys_cap ? tx->keys_cap * 2 : 16;
        struct str *k = kv_arena_take(&tx->arena, cap * sizeof *k);

        if (tx->keys)
            memcpy(k, tx->key, tx->keys * sizeof *k);
        tx->key = k;
        tx->keys_cap = cap;
    }
    tx->key[tx->keys++] = kv_arena_copy(&tx->arena, key);
}

void kv_tx_read_extent(struct kv_tx *tx, struct str begin, struct str end)
{
    if (tx->extents == tx->extents_cap) {
        size_t cap = tx->extents_cap ? tx->extents_cap * 2 : 8;
        struct kv_extent *x = kv_arena_take(&tx->arena, cap * sizeof *x);

        if (tx->extents)
            memcpy(x, tx->extent, tx->extents * sizeof *x);
        tx->extent = x;
        tx->extents_cap = cap;
    }
    tx->extent[tx->extents++] = (struct kv_extent){kv_arena_copy(&tx->arena, begin), kv_arena_copy(&tx->arena, end)};
}

/* ---- reads ---- */

static int readable(struct kv_tx *tx, struct str key)
{
    if (tx->error)
        return tx->error;
    if (key.n > KV_KEY_MAX)
        return tx->error = err_set(ERR_LIMIT, "a key of %zu bytes is over the limit of %d", key.n, KV_KEY_MAX);
    if (clock_mono_ns() >= tx->deadline)
        return tx->error = err_set(ERR_TIMEOUT, "a metadata transaction took longer than %d ms", KV_TX_MS);
    return 0;
}

int kv_tx_fetch(struct kv_tx *tx, const struct str *keys, size_t n, struct kv_cell *ret)
{
    int r = tx->kv->engine->get(tx->kv->e, tx->snap, &tx->arena, keys, n, ret);

    if (r < 0)
        return tx->error = r;
    for (size_t i = 0; i < n; i++)
        kv_u64_max(&tx->unsynced, ret[i].unsynced);
    return 0;
}

static int get(struct kv_tx *tx, struct str key, bool loose, struct str *ret)
{
    const struct kv_write *w;
    struct kv_cell cell = {0};
    struct str v;

    TRY(readable(tx, key));
    w = kv_overlay_find(tx, key);
    if (!w || w->op == KV_OP_COUNT) {
        if (tx->update && !loose)
            kv_tx_read_key(tx, key);
        TRY(kv_tx_fetch(tx, &key, 1, &cell));
    }
    v = kv_overlay_apply(tx, w, cell.value);
    if (!v.p)
        return ERR_NOT_FOUND;
    *ret = v;
    return 0;
}

int kv_get(struct kv_tx *tx, struct str key, struct str *ret_value)
{
    return get(tx, key, false, ret_value);
}

int kv_get_loose(struct kv_tx *tx, struct str key, struct str *ret_value)
{
    return get(tx, key, true, ret_value);
}

/* Fetch the keys that the overlay does not decide, all in one call of the engine. */
int kv_get_many(struct kv_tx *tx, const struct str *keys, size_t n, struct str *ret_values)
{
    struct str *ask = kv_arena_take(&tx->arena, n * sizeof *ask);
    struct kv_cell *cell = kv_arena_take(&tx->arena, n * sizeof *cell);
    size_t asked = 0, at = 0;

    for (size_t i = 0; i < n; i++) {
        const struct kv_write *w;

        TRY(readable(tx, keys[i]));
        w = kv_overlay_find(tx, keys[i]);
        if (w && w->op != KV_OP_COUNT)
            continue;
        if (tx->update)
            kv_tx_read_key(tx, keys[i]);
        ask[asked++] = keys[i];
    }
    if (asked)
        TRY(kv_tx_fetch(tx, ask, asked, cell));
    for (size_t i = 0; i < n; i++) {
        const struct kv_write *w = kv_overlay_find(tx, keys[i]);

        ret_values[i] = kv_overlay_apply(tx, w, w && w->op != KV_OP_COUNT ? (struct str){0} : cell[at++].value);
    }
    return 0;
}
