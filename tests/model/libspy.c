/* SPDX-License-Identifier: Apache-2.0
 *
 * The mem engine with an ear in it. The hash of all rows is kept up to date write by write; what a transaction reads
 * goes into the history of the task that reads, so that two tasks which have seen the same are in the same state
 * however the others came there.
 */
#include "model.h"
#include "kv/kv_impl.h"
#include "base/map.h"

static struct map *rows; /* key -> hash of key and value */
static uint64_t hash;

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t row_hash(struct str key, struct str value)
{
    return mix(str_hash(key), str_hash(value)) | 1;
}

static void seen(uint64_t what)
{
    if (w.cur >= 0)
        w.task[w.cur].history = mix(w.task[w.cur].history, what);
}

static int spy_get(void *e, struct kv_snap *s, struct kv_arena *a, const struct str *keys, size_t n,
                   struct kv_cell *ret)
{
    TRY(kv_engine_mem.get(e, s, a, keys, n, ret));
    for (size_t i = 0; i < n; i++)
        seen(ret[i].value.p ? row_hash(keys[i], ret[i].value) : str_hash(keys[i]));
    return 0;
}

static int spy_range(void *e, struct kv_snap *s, struct kv_arena *a, const struct kv_range *r, struct kv_batch *ret)
{
    TRY(kv_engine_mem.range(e, s, a, r, ret));
    seen(str_hash(r->begin) + ret->more);
    for (size_t i = 0; i < ret->n; i++)
        seen(row_hash(ret->row[i].key, ret->row[i].value));
    return 0;
}

static void set_row(struct str key, struct str value)
{
    uint64_t old = (uint64_t)(uintptr_t)map_get(rows, key);
    hash ^= old;
    if (value.p) {
        uint64_t h = row_hash(key, value);
        map_put(rows, key, (void *)(uintptr_t)h);
        hash ^= h;
    } else if (old) {
        map_del(rows, key);
    }
    if (key.n && strchr("DI", key.p[0]))
        w.names_moved = true;
}

static int spy_commit(void *e, struct kv_snap *s, const struct kv_commit *c, uint64_t *ret_version)
{
    struct kv_snap *after;
    struct kv_arena a;
    int r = kv_engine_mem.commit(e, s, c, ret_version);
    seen((uint64_t)(int64_t)r);
    if (r < 0)
        return r;
    kv_arena_init(&a);
    CHECK(kv_engine_mem.begin(e, false, &a, &after) == 0);
    for (size_t i = 0; i < c->writes; i++) {
        struct kv_cell cell;
        CHECK(kv_engine_mem.get(e, after, &a, &c->write[i]->key, 1, &cell) == 0);
        set_row(c->write[i]->key, cell.value);
    }
    kv_engine_mem.end(e, after);
    kv_arena_done(&a);
    return 0;
}

struct kv_engine spy_engine;

void spy_reset(void)
{
    spy_engine = kv_engine_mem;
    spy_engine.get = spy_get;
    spy_engine.range = spy_range;
    spy_engine.commit = spy_commit;
    map_free(rows);
    rows = map_new();
    hash = 0;
}

uint64_t spy_hash(void)
{
    return hash;
}

static int each(void *arg, struct str key, struct str value)
{
    (void)arg;
    set_row(key, value);
    return 0;
}

void spy_rehash(struct kv *kv)
{
    map_free(rows);
    rows = map_new();
    hash = 0;
    CHECK(kv_scan(kv, STR(""), each, NULL) == 0);
}
