/* SPDX-License-Identifier: Apache-2.0
 *
 * What was written recently: see recent.h. The table uses open addressing with linear probing; 0 marks an empty place.
 */
#include "base/lock.h"
#include "base/mem.h"
#include "kv/recent.h"

enum { KEYS_MAX = 1 << 20, BYTES_MAX = 64 << 20, TABLE_MIN = 1024 };

struct item {
    uint64_t hash;
    struct str key;
};

/* One commit; the bytes of its keys follow the items. */
struct entry {
    struct entry *older, *newer;
    uint64_t version;
    size_t n, bytes;
    struct item item[];
};

struct place {
    uint64_t hash, version;
};

struct recent {
    struct lock lock;
    struct entry *oldest, *newest;
    size_t keys, bytes;
    struct place *table;
    size_t cap, used;         /* cap: a power of two */
    struct recent_snap snaps; /* ring head, by version */
    uint64_t floor;
    atomic_ullong noted, committed, durable;
};

/* ---- the table ---- */

static uint64_t hash_of(struct str key)
{
    uint64_t h = str_hash(key);

    return h ? h : 1;
}

static struct place *find(struct recent *r, uint64_t hash)
{
    size_t i = hash & (r->cap - 1);

    while (r->table[i].hash && r->table[i].hash != hash)
        i = (i + 1) & (r->cap - 1);
    return &r->table[i];
}

static void table_grow(struct recent *r)
{
    struct place *old = r->table;
    size_t n = r->cap;

    r->cap *= 2;
    r->table = mem_zero(r->cap, sizeof *r->table);
    for (size_t i = 0; i < n; i++)
        if (old[i].hash)
            *find(r, old[i].hash) = old[i];
    free(old);
}

static void table_set(struct recent *r, uint64_t hash, uint64_t version)
{
    struct place *p;

    if (r->used * 2 >= r->cap)
        table_grow(r);
    p = find(r, hash);
    r->used += !p->hash;
    *p = (struct place){hash, version};
}

/* Take the entry out if it is still this version's, and close the gap for those that probed over it. */
static void table_drop(struct recent *r, uint64_t hash, uint64_t version)
{
    size_t mask = r->cap - 1, gap = (size_t)(find(r, hash) - r->table), i = gap;

    if (r->table[gap].hash != hash || r->table[gap].version != version)
        return;
    for (;;) {
        i = (i + 1) & mask;
        if (!r->table[i].hash)
            break;
        if (((i - (r->table[i].hash & mask)) & mask) >= ((i - gap) & mask)) {
            r->table[gap] = r->table[i];
            gap = i;
        }
    }
    r->table[gap] = (struct place){0};
    r->used--;
}

/* ---- the log ---- */

static void drop_oldest(struct recent *r)
{
    struct entry *e = r->oldest;

    for (size_t i = 0; i < e->n; i++)
        table_drop(r, e->item[i].hash, e->version);
    r->oldest = e->newer;
    if (e->newer)
        e->newer->older = NULL;
    else
        r->newest = NULL;
    r->keys -= e->n;
    r->bytes -= e->bytes;
    free(e);
}

static void prune(struct recent *r)
{
    uint64_t limit = r->snaps.next == &r->snaps ? r->committed : r->snaps.next->version;

    if (limit > r->durable)
        limit = r->durable;
    while (r->oldest && r->oldest->version <= limit)
        drop_oldest(r);
    while (r->oldest && (r->keys > KEYS_MAX || r->bytes > BYTES_MAX)) {
        r->floor = r->oldest->version;
        drop_oldest(r);
    }
}

static struct entry *entry_new(const struct kv_commit *c, uint64_t version)
{
    size_t bytes = 0;
    struct entry *e;
    char *p;

    for (size_t i = 0; i < c->writes; i++)
        bytes += c->write[i]->key.n;
    bytes += sizeof *e + c->writes * sizeof e->item[0];
    e = mem_alloc(bytes);
    *e = (struct entry){.version = version, .n = c->writes, .bytes = bytes};
    p = (char *)(e->item + c->writes);
    for (size_t i = 0; i < c->writes; i++) {
        struct str key = c->write[i]->key;

        if (key.n)
            memcpy(p, key.p, key.n);
        e->item[i] = (struct item){hash_of(key), str_mk(p, key.n)};
        p += key.n;
    }
    return e;
}

static void add(struct recent *r, struct entry *e)
{
    e->older = r->newest;
    if (r->newest)
        r->newest->newer = e;
    else
        r->oldest = e;
    r->newest = e;
    r->keys += e->n;
    r->bytes += e->bytes;
    for (size_t i = 0; i < e->n; i++)
        table_set(r, e->item[i].hash, e->version);
}

static bool touches(const struct entry *e, const struct kv_commit *c)
{
    for (size_t i = 0; i < e->n; i++)
        for (size_t x = 0; x < c->extents; x++)
            if (str_cmp(e->item[i].key, c->extent[x].begin) >= 0 && str_cmp(e->item[i].key, c->extent[x].end) < 0)
                return true;
    return false;
}

static bool conflicts(struct recent *r, uint64_t since, const struct kv_commit *c)
{
    if ((c->keys || c->extents) && since < r->floor)
        return true;
    for (size_t i = 0; i < c->keys; i++)
        if (find(r, hash_of(c->key[i]))->version > since)
            return true;
    if (c->extents)
        for (const struct entry *e = r->newest; e && e->version > since; e = e->older)
            if (touches(e, c))
                return true;
    return false;
}

bool recent_admit(struct recent *r, const struct recent_snap *snap, const struct kv_commit *c, uint64_t version)
{
    struct entry *e = entry_new(c, version);

    LOCKED(&r->lock);
    if (conflicts(r, snap->version, c)) {
        free(e);
        return false;
    }
    add(r, e);
    prune(r);
    atomic_store(&r->noted, version);
    return true;
}

void recent_committed(struct recent *r, uint64_t version)
{
    atomic_store(&r->committed, version);
}

void recent_synced(struct recent *r, uint64_t upto)
{
    LOCKED(&r->lock);
    if (atomic_load(&r->durable) < upto)
        atomic_store(&r->durable, upto);
    prune(r);
}

/* ---- snapshots ---- */

static void link_snap(struct recent *r, struct recent_snap *snap)
{
    snap->version = atomic_load(&r->committed);
    snap->next = &r->snaps;
    snap->prev = r->snaps.prev;
    snap->prev->next = snap->next->prev = snap;
}

static void unlink_snap(struct recent_snap *snap)
{
    snap->prev->next = snap->next;
    snap->next->prev = snap->prev;
}

void recent_register(struct recent *r, struct recent_snap *snap)
{
    LOCKED(&r->lock);
    link_snap(r, snap);
}

void recent_unregister(struct recent *r, struct recent_snap *snap)
{
    LOCKED(&r->lock);
    unlink_snap(snap);
}

void recent_renew(struct recent *r, struct recent_snap *snap)
{
    if (snap->version == atomic_load(&r->committed))
        return;
    LOCKED(&r->lock);
    unlink_snap(snap);
    link_snap(r, snap);
}

/* ---- what is not durable ---- */

uint64_t recent_version(struct recent *r)
{
    return atomic_load(&r->committed);
}

uint64_t recent_durable(struct recent *r)
{
    return atomic_load(&r->durable);
}

uint64_t recent_unsynced_any(struct recent *r)
{
    uint64_t noted = atomic_load(&r->noted);

    return noted > atomic_load(&r->durable) ? noted : 0;
}

uint64_t recent_unsynced(struct recent *r, struct str key)
{
    uint64_t version, durable;

    if (!recent_unsynced_any(r))
        return 0;
    LOCKED(&r->lock);
    version = find(r, hash_of(key))->version;
    durable = atomic_load(&r->durable);
    if (version < r->floor)
        version = r->floor;
    return version > durable ? version : 0;
}

/* ---- life ---- */

struct recent *recent_new(uint64_t version)
{
    struct recent *r = MEM_NEW(struct recent);

    lock_init(&r->lock, RANK_KV + 2);
    r->snaps.prev = r->snaps.next = &r->snaps;
    r->cap = TABLE_MIN;
    r->table = mem_zero(r->cap, sizeof *r->table);
    r->noted = version;
    r->committed = version;
    r->durable = version;
    return r;
}

void recent_reset(struct recent *r, uint64_t version)
{
    LOCKED(&r->lock);
    while (r->oldest)
        drop_oldest(r);
    r->floor = version;
    r->noted = version;
    r->committed = version;
    r->durable = version;
}

void recent_free(struct recent *r)
{
    while (r->oldest)
        drop_oldest(r);
    lock_done(&r->lock);
    free(r->table);
    free(r);
}
