/* SPDX-License-Identifier: Apache-2.0
 *
 * The own writes of a transaction: one entry a key, in key order, so that reads see them and the engine gets the result
 * only. Steps on a counter that nobody put here are kept in order, neighbours of one kind as one; on a value that was
 * put or deleted here they are done at once.
 */
#include "kv/kv_impl.h"

size_t kv_overlay_at(const struct kv_tx *tx, struct str key)
{
    size_t lo = 0, hi = tx->writes;

    if (hi && str_cmp(tx->write[hi - 1]->key, key) < 0)
        return hi; /* keys often come in order */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (str_cmp(tx->write[mid]->key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct kv_write *kv_overlay_find(const struct kv_tx *tx, struct str key)
{
    size_t at = kv_overlay_at(tx, key);

    return at < tx->writes && str_eq(tx->write[at]->key, key) ? tx->write[at] : NULL;
}

static void grow(struct kv_tx *tx)
{
    size_t cap = tx->writes_cap ? tx->writes_cap * 2 : 16;
    struct kv_write **w = kv_arena_take(&tx->arena, cap * sizeof(void *));

    if (tx->writes)
        memcpy(w, tx->write, tx->writes * sizeof(void *));
    tx->write = w;
    tx->writes_cap = cap;
}

/* The entry for key, made if absent: then op is PUT and value.p NULL, for the caller to fill. */
static struct kv_write *entry(struct kv_tx *tx, struct str key, bool *ret_new)
{
    size_t at = kv_overlay_at(tx, key);
    struct kv_write *w;

    *ret_new = !(at < tx->writes && str_eq(tx->write[at]->key, key));
    if (!*ret_new)
        return tx->write[at];
    if (tx->writes == tx->writes_cap)
        grow(tx);
    w = kv_arena_take(&tx->arena, sizeof *w);
    *w = (struct kv_write){.key = kv_arena_copy(&tx->arena, key)};
    memmove(tx->write + at + 1, tx->write + at, (tx->writes - at) * sizeof(void *));
    tx->write[at] = w;
    tx->writes++;
    tx->bytes += key.n;
    return w;
}

/* Replace the value and keep the count of bytes right. */
static void set(struct kv_tx *tx, struct kv_write *w, enum kv_op op, struct str value)
{
    size_t before = w->op == KV_OP_COUNT ? 8 : w->value.n, after = op == KV_OP_COUNT ? 8 : value.n;

    tx->bytes = tx->bytes - before + after;
    w->op = op;
    w->value = value;
}

void kv_overlay_put(struct kv_tx *tx, struct str key, struct str value)
{
    bool new;
    struct kv_write *w = entry(tx, key, &new);

    set(tx, w, KV_OP_PUT, kv_arena_copy(&tx->arena, value));
}

void kv_overlay_del(struct kv_tx *tx, struct str key)
{
    bool new;
    struct kv_write *w = entry(tx, key, &new);

    set(tx, w, KV_OP_DEL, (struct str){NULL, 0});
}

static bool writable(struct kv_tx *tx, struct str key, size_t value)
{
    CHECK(tx->update, "a view must not write");
    if (tx->error)
        return false;
    if (key.n > KV_KEY_MAX)
        tx->error = err_set(ERR_LIMIT, "a key of %zu bytes is over the limit of %d", key.n, KV_KEY_MAX);
    else if (value > KV_VALUE_MAX)
        tx->error = err_set(ERR_LIMIT, "a value of %zu bytes is over the limit of %d", value, KV_VALUE_MAX);
    else if (!tx->own && str_cmp(key, STR(KV_OWN)) >= 0)
        tx->error = err_set(ERR_LIMIT, "keys that start with byte 255 belong to the metadata engine");
    return !tx->error;
}

static void check_size(struct kv_tx *tx)
{
    if (tx->bytes > KV_TX_MAX)
        tx->error = err_set(ERR_LIMIT, "a transaction that writes more than %d bytes; split it", KV_TX_MAX);
}

void kv_put(struct kv_tx *tx, struct str key, struct str value)
{
    if (!writable(tx, key, value.n))
        return;
    kv_overlay_put(tx, key, value);
    check_size(tx);
}

void kv_del(struct kv_tx *tx, struct str key)
{
    if (!writable(tx, key, 0))
        return;
    kv_overlay_del(tx, key);
    check_size(tx);
}

static struct str counter(struct kv_tx *tx, uint64_t v)
{
    return kv_arena_copy(&tx->arena, str_mk(&v, sizeof v));
}

static void append_step(struct kv_tx *tx, struct kv_write *w, struct kv_step step)
{
    struct kv_step **at = &w->step;

    while (*at && (*at)->next)
        at = &(*at)->next;
    if (*at && (*at)->is_max == step.is_max) {
        (*at)->v = !step.is_max ? (*at)->v + step.v : (*at)->v < step.v ? step.v : (*at)->v;
        return;
    }
    if (*at)
        at = &(*at)->next;
    *at = kv_arena_take(&tx->arena, sizeof step);
    **at = step;
}

static void count(struct kv_tx *tx, struct str key, struct kv_step step)
{
    bool new;
    struct kv_write *w;

    if (!writable(tx, key, sizeof(uint64_t)))
        return;
    w = entry(tx, key, &new);
    if (new)
        set(tx, w, KV_OP_COUNT, (struct str){NULL, 0});
    if (w->op == KV_OP_COUNT)
        append_step(tx, w, step);
    else
        set(tx, w, KV_OP_PUT, counter(tx, kv_write_count(&(struct kv_write){.step = &step}, w->value)));
    check_size(tx);
}

void kv_add(struct kv_tx *tx, struct str key, int64_t delta)
{
    count(tx, key, (struct kv_step){.v = (uint64_t)delta});
}

void kv_max(struct kv_tx *tx, struct str key, uint64_t value)
{
    count(tx, key, (struct kv_step){.is_max = true, .v = value});
}

struct str kv_overlay_apply(struct kv_tx *tx, const struct kv_write *w, struct str base)
{
    if (!w)
        return base;
    switch (w->op) {
    case KV_OP_PUT:
        return w->value;
    case KV_OP_DEL:
        return (struct str){NULL, 0};
    case KV_OP_COUNT:
        return counter(tx, kv_write_count(w, base));
    }
    return base;
}
