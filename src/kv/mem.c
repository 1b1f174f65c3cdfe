/* SPDX-License-Identifier: Apache-2.0
 *
 * The mem engine, for tests: an ordered map in memory with versions and snapshots.
 *
 * With seed 0 it behaves well. With a seed it is nastier than any real engine, the same way each time for the same seed
 * and the same calls:
 *     a commit in 8 answers ERR_CONFLICT though nothing was in its way
 *     a commit in 16 answers ERR_UNKNOWN_OUTCOME: it has happened, has not, or will try again later, when another
 * commit comes, as a message that was only late a range gives a few rows of those asked for a call in 64 takes a
 * millisecond (of base/clock.h) A failure (reopen) keeps all that was committed, or, with a seed and by chance, only
 * what was synced. A write that fails (KV_ENGINE_WRITE) did not happen.
 *
 * One lock for everything. What a read gives are pointers into the rows: they stay as long as the snapshot.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/lock.h"
#include "kv/kv_impl.h"
#include "kv/mem_rows.h"
#include "base/mem.h"

struct kv_snap {
    struct kv_snap *prev, *next; /* by version */
    uint64_t version;
    unsigned life; /* of the engine when it was taken */
};

/* A commit that is still under way though its caller was told "maybe". */
struct late {
    struct kv_arena arena;
    struct kv_snap snap;
    struct kv_commit c;
};

struct mem {
    struct lock lock; /* everything below */
    struct mem_rows *rows;
    struct kv_snap snaps; /* ring head */
    uint64_t version, random;
    uint64_t durable; /* what readers are told */
    uint64_t synced;  /* what a power cut leaves: a sync takes along what was committed during before_sync */
    uint64_t stopped; /* version of the write that failed, 0: none; well-behaved engines stop there */
    bool nasty;
    unsigned life; /* moves on when snapshots are forgotten */
    struct late *late;
};

/* ---- chance ---- */

static uint64_t chance(struct mem *m, uint64_t of)
{
    uint64_t x = m->random += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % of;
}

static void delay(struct mem *m)
{
    bool slow;

    if (!m->nasty)
        return;
    {
        LOCKED(&m->lock);
        slow = chance(m, 64) == 0;
    }
    if (slow)
        clock_sleep_ms(1);
}

/* ---- snapshots ---- */

static void snap_link(struct mem *m, struct kv_snap *s, uint64_t version)
{
    s->version = version;
    s->life = m->life;
    s->next = &m->snaps;
    s->prev = m->snaps.prev;
    s->prev->next = s->next->prev = s;
}

static void snap_unlink(const struct mem *m, struct kv_snap *s)
{
    if (s->life != m->life)
        return;
    s->prev->next = s->next;
    s->next->prev = s->prev;
}

static struct mem_horizon horizon(const struct mem *m)
{
    bool any = m->snaps.next != &m->snaps;

    return (struct mem_horizon){
        .oldest = any ? m->snaps.next->version : m->version,
        .newest = any ? m->snaps.prev->version : m->version,
        .synced = m->synced,
    };
}

static int mem_begin(void *e, bool update, struct kv_arena *a, struct kv_snap **ret)
{
    struct mem *m = e;
    struct kv_snap *s = kv_arena_take(a, sizeof *s);

    (void)update;
    LOCKED(&m->lock);
    snap_link(m, s, m->version);
    *ret = s;
    return 0;
}

static void mem_end(void *e, struct kv_snap *s)
{
    struct mem *m = e;

    LOCKED(&m->lock);
    snap_unlink(m, s);
}

/* ---- reading ---- */

static uint64_t unsynced(const struct mem *m, uint64_t version)
{
    return version > m->durable ? version : 0;
}

static int mem_get(void *e, struct kv_snap *s, struct kv_arena *a, const struct str *keys, size_t n,
                   struct kv_cell *ret)
{
    struct mem *m = e;

    (void)a;
    delay(m);
    LOCKED(&m->lock);
    if (s->life != m->life)
        return ERR_CONFLICT;
    for (size_t i = 0; i < n; i++) {
        const struct mem_node *node = mem_rows_find(m->rows, keys[i]);
        const struct mem_cell *c = node ? mem_cell_at(node, s->version) : NULL;

        ret[i] = (struct kv_cell){0};
        if (c)
            ret[i].unsynced = unsynced(m, c->version);
        if (c && !c->dead)
            ret[i].value = str_mk(c->bytes, c->n);
    }
    return 0;
}

struct limits {
    size_t rows, bytes; /* 0: none */
};

static bool enough(const struct kv_batch *b, const struct limits *l, size_t bytes)
{
    return b->n && ((l->rows && b->n >= l->rows) || (l->bytes && bytes >= l->bytes));
}

/* From node on, in the direction of r, while inside. */
static void walk(struct mem *m, const struct kv_snap *s, const struct kv_range *r, const struct limits *l,
                 struct kv_arena *a, struct kv_batch *ret)
{
    struct mem_node *n = r->reverse ? mem_rows_before(m->rows, r->end) : mem_rows_at(m->rows, r->begin);
    size_t bytes = 0;

    for (; n; n = r->reverse ? mem_prev(m->rows, n) : mem_next(n)) {
        const struct mem_cell *c = mem_cell_at(n, s->version);

        if (r->reverse ? str_cmp(n->key, r->begin) < 0 : str_cmp(n->key, r->end) >= 0)
            return;
        if (!c || c->dead)
            continue;
        if (enough(ret, l, bytes)) {
            ret->more = true;
            return;
        }
        kv_batch_add(ret, a, n->key, str_mk(c->bytes, c->n));
        bytes += n->key.n + c->n;
    }
}

static int mem_range(void *e, struct kv_snap *s, struct kv_arena *a, const struct kv_range *r, struct kv_batch *ret)
{
    struct mem *m = e;
    struct limits l = {r->max_rows, r->max_bytes};

    delay(m);
    LOCKED(&m->lock);
    if (s->life != m->life)
        return ERR_CONFLICT;
    if (m->nasty && chance(m, 2))
        l.rows = 1 + chance(m, 4);
    ret->more = false;
    walk(m, s, r, &l, a, ret);
    ret->unsynced = unsynced(m, m->version);
    return 0;
}

/* ---- committing ---- */

static bool changed(struct mem *m, const struct kv_snap *s, const struct kv_commit *c)
{
    for (size_t i = 0; i < c->keys; i++) {
        const struct mem_node *n = mem_rows_find(m->rows, c->key[i]);

        if (n && n->cell->version > s->version)
            return true;
    }
    for (size_t i = 0; i < c->extents; i++) {
        struct mem_node *n = mem_rows_at(m->rows, c->extent[i].begin);

        for (; n && str_cmp(n->key, c->extent[i].end) < 0; n = mem_next(n))
            if (n->cell->version > s->version)
                return true;
    }
    return false;
}

static void apply_one(struct mem *m, const struct kv_write *w, const struct mem_horizon *h)
{
    const struct mem_node *n = w->op == KV_OP_PUT ? NULL : mem_rows_find(m->rows, w->key);
    struct str before = n && !n->cell->dead ? str_mk(n->cell->bytes, n->cell->n) : (struct str){NULL, 0};
    struct str after = w->value;
    uint64_t v;

    if (w->op == KV_OP_DEL && !before.p)
        return;
    if (w->op == KV_OP_COUNT) {
        v = kv_write_count(w, before);
        after = str_mk(&v, sizeof v);
    }
    mem_rows_put(m->rows, w->key, after, m->version, h);
}

static void apply(struct mem *m, const struct kv_commit *c)
{
    struct mem_horizon h;

    m->version++;
    h = horizon(m);
    for (size_t i = 0; i < c->writes; i++)
        apply_one(m, c->write[i], &h);
    mem_rows_collect(m->rows, &h);
}

static void late_drop(struct mem *m)
{
    if (!m->late)
        return;
    snap_unlink(m, &m->late->snap);
    kv_arena_done(&m->late->arena);
    free(m->late);
    m->late = NULL;
}

static struct kv_write *write_copy(struct kv_arena *a, const struct kv_write *w)
{
    struct kv_write *c = kv_arena_take(a, sizeof *c);
    struct kv_step **at = &c->step;

    *c = *w;
    c->key = kv_arena_copy(a, w->key);
    if (w->value.p)
        c->value = kv_arena_copy(a, w->value);
    for (const struct kv_step *s = w->step; s; s = s->next, at = &(*at)->next) {
        *at = kv_arena_take(a, sizeof *s);
        **at = *s;
    }
    return c;
}

/* Copy a commit, to try it when the next one comes. */
static void late_keep(struct mem *m, const struct kv_snap *s, const struct kv_commit *c)
{
    struct late *l = MEM_NEW(struct late);
    struct str *key;
    struct kv_extent *extent;
    struct kv_write **write;

    kv_arena_init(&l->arena);
    key = kv_arena_take(&l->arena, c->keys * sizeof *key);
    extent = kv_arena_take(&l->arena, c->extents * sizeof *extent);
    write = kv_arena_take(&l->arena, c->writes * sizeof(void *));
    for (size_t i = 0; i < c->keys; i++)
        key[i] = kv_arena_copy(&l->arena, c->key[i]);
    for (size_t i = 0; i < c->extents; i++)
        extent[i] = (struct kv_extent){kv_arena_copy(&l->arena, c->extent[i].begin),
                                       kv_arena_copy(&l->arena, c->extent[i].end)};
    for (size_t i = 0; i < c->writes; i++)
        write[i] = write_copy(&l->arena, c->write[i]);
    l->c = (struct kv_commit){key, c->keys, extent, c->extents, write, c->writes};
    /* In the ring its place is by version: before the snapshot it was taken from. */
    l->snap = (struct kv_snap){.version = s->version, .life = m->life, .prev = s->prev, .next = s->prev->next};
    l->snap.prev->next = l->snap.next->prev = &l->snap;
    m->late = l;
}

static void late_arrives(struct mem *m)
{
    if (!m->late)
        return;
    if (!changed(m, &m->late->snap, &m->late->c))
        apply(m, &m->late->c);
    late_drop(m);
}

/* 0: nothing nasty; else what the commit answers. */
static int nastiness(struct mem *m, const struct kv_snap *s, const struct kv_commit *c)
{
    uint64_t x;

    if (!m->nasty)
        return 0;
    x = chance(m, 48);
    if (x < 6)
        return ERR_CONFLICT;
    if (x == 6)
        apply(m, c);
    else if (x == 7 && !m->late)
        late_keep(m, s, c);
    else if (x > 8)
        return 0;
    return ERR_UNKNOWN_OUTCOME;
}

/* Asked for by a test. It did not happen. */
static int write_failed(struct mem *m, uint64_t *ret_version)
{
    *ret_version = ++m->version;
    if (!m->nasty)
        m->stopped = m->version;
    return ERR_UNKNOWN_OUTCOME;
}

static int mem_commit(void *e, struct kv_snap *s, const struct kv_commit *c, uint64_t *ret_version)
{
    struct mem *m = e;
    int r;

    delay(m);
    r = FAULT(KV_ENGINE_WRITE);
    LOCKED(&m->lock);
    if (m->stopped)
        return ERR_SHUTDOWN;
    if (r < 0)
        return write_failed(m, ret_version);
    late_arrives(m);
    if (s->life != m->life || changed(m, s, c))
        return ERR_CONFLICT;
    r = nastiness(m, s, c);
    if (r == 0)
        apply(m, c);
    if (r != ERR_CONFLICT)
        *ret_version = m->version;
    return r;
}

static uint64_t mem_version(void *e)
{
    struct mem *m = e;

    LOCKED(&m->lock);
    return m->version;
}

static int mem_sync(void *e, uint64_t upto)
{
    struct mem *m = e;
    struct mem_horizon h;

    delay(m);
    LOCKED(&m->lock);
    if (m->stopped)
        return ERR_IO;
    m->synced = m->version;
    if (m->durable < upto)
        m->durable = upto;
    h = horizon(m);
    mem_rows_collect(m->rows, &h);
    return 0;
}

/* ---- life ---- */

static int mem_open(const struct kv_options *o, void **ret, unsigned *ret_can)
{
    struct mem *m = MEM_NEW(struct mem);

    lock_init(&m->lock, RANK_KV + 2);
    m->rows = mem_rows_new();
    m->snaps.prev = m->snaps.next = &m->snaps;
    m->version = m->synced = m->durable = 1;
    m->random = o->seed;
    m->nasty = o->seed != 0;
    *ret = m;
    *ret_can = KV_ENGINE_LAZY | (m->nasty ? KV_ENGINE_MAYBE : 0u);
    return 0;
}

static void mem_close(void *e)
{
    struct mem *m = e;

    late_drop(m);
    mem_rows_free(m->rows);
    lock_done(&m->lock);
    free(m);
}

/* Snapshots still in use belong to functions that will never go on, or get ERR_CONFLICT when they do. */
static void forget(struct mem *m)
{
    late_drop(m);
    m->life++;
    m->snaps.prev = m->snaps.next = &m->snaps;
    mem_rows_cut(m->rows, m->synced);
}

static int mem_reopen(void *e, uint64_t *ret_kept)
{
    struct mem *m = e;

    LOCKED(&m->lock);
    *ret_kept = m->stopped ? m->stopped - 1 : m->version;
    m->stopped = 0;
    if (m->nasty && chance(m, 2)) {
        *ret_kept = m->synced;
        forget(m);
    }
    m->synced = m->durable = m->version;
    return 0;
}

static void mem_figures(void *e, struct kv_figures *f)
{
    struct mem *m = e;

    LOCKED(&m->lock);
    f->disk_bytes = mem_rows_bytes(m->rows);
}

const struct kv_engine kv_engine_mem = {
    .name = "mem",
    .open = mem_open,
    .reopen = mem_reopen,
    .close = mem_close,
    .begin = mem_begin,
    .end = mem_end,
    .get = mem_get,
    .range = mem_range,
    .commit = mem_commit,
    .version = mem_version,
    .sync = mem_sync,
    .figures = mem_figures,
};

/* ---- for tests only ---- */

static uint64_t cut(struct mem *m)
{
    uint64_t kept;

    LOCKED(&m->lock);
    kept = m->synced;
    forget(m);
    m->synced = m->durable = m->version;
    return kept;
}

void kv_mem_power_cut(struct kv *kv)
{
    uint64_t kept;

    CHECK(kv->engine == &kv_engine_mem);
    kept = cut(kv->e);
    LOCKED(&kv->lock);
    if (kept < mem_version(kv->e))
        kv_sync_lose(kv, kept, mem_version(kv->e));
    kv->durable = mem_version(kv->e);
    kv->lazy_synced = kv->lazy_begun;
    kv->syncing = false;
    kv_watch_all(kv);
}

uint64_t kv_mem_hash(struct kv *kv)
{
    struct mem *m = kv->e;
    uint64_t h = 0;

    CHECK(kv->engine == &kv_engine_mem);
    LOCKED(&m->lock);
    for (struct mem_node *n = mem_rows_first(m->rows); n && str_cmp(n->key, STR(KV_OWN)) < 0; n = mem_next(n)) {
        if (n->cell->dead)
            continue;
        h = (h ^ str_hash(n->key)) * 0x9e3779b97f4a7c15u;
        h = (h ^ (h >> 29) ^ str_hash(str_mk(n->cell->bytes, n->cell->n))) * 0xbf58476d1ce4e5b9u;
    }
    return h;
}
