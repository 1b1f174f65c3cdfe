/* SPDX-License-Identifier: Apache-2.0
 *
 * Telling others what a transaction changed. While a transaction function runs, the names and inodes it changes are
 * noted (a run that is repeated starts its notes anew); after the commit those who watch are called, before the caller
 * goes on. Nothing is noted while nobody watches.
 *
 * A thread may act for one of the watchers (meta_as): that one is not told of what it does itself.
 */
#include "meta/tx.h"

struct watcher {
    meta_watch_fn *fn;
    void *arg;
};

static __thread struct buf *notes; /* of the transaction function that runs on this thread */
static __thread const void *acting;
static __thread uint32_t queued; /* kinds, 'A' the lowest bit; too many where a function ran several times */

const void *meta_as(const void *arg)
{
    const void *was = acting;
    acting = arg;
    return was;
}

const void *meta_acting(void)
{
    return acting;
}

int meta_watch(struct meta *m, meta_watch_fn *fn, void *arg)
{
    LOCKED(&m->lock);
    if (m->watcher_n == META_WATCHERS)
        return err_set(ERR_LIMIT, "at most %d mounts of one instance", META_WATCHERS);
    struct watcher *more = realloc(m->watcher, (m->watcher_n + 1) * sizeof *more);
    if (!more)
        return ERR_NOMEM;
    m->watcher = more;
    m->watcher[m->watcher_n++] = (struct watcher){fn, arg};
    atomic_store(&m->watched, true);
    return 0;
}

/* Those who are told at this moment are waited for: after the return fn is not called any more. */
void meta_unwatch(struct meta *m, void *arg)
{
    LOCKED(&m->lock);
    size_t n = 0;
    for (size_t i = 0; i < m->watcher_n; i++)
        if (m->watcher[i].arg != arg)
            m->watcher[n++] = m->watcher[i];
    m->watcher_n = n;
    atomic_store(&m->watched, n > 0);
    while (m->telling)
        cond_wait(&m->thawed, &m->lock);
}

void tx_note(uint64_t parent, struct str name, uint64_t ino)
{
    if (!notes)
        return;
    buf_varint(notes, parent);
    buf_bytes(notes, name);
    buf_varint(notes, ino);
}

void tx_note_inode(uint64_t ino)
{
    tx_note(0, STR(""), ino);
}

/* ---- queues ---- */

void tx_note_queue(enum queue_kind kind)
{
    queued |= 1u << (kind - 'A');
}

void meta_kick_queued(struct meta *m)
{
    for (int bit = 0; bit < 26; bit++)
        if (queued & 1u << bit)
            meta_kick(m, 'A' + bit);
}

struct noting {
    kv_fn *fn;
    void *arg;
    struct buf notes;
};

static int noting_tx(struct kv_tx *tx, void *arg)
{
    struct noting *n = arg;
    struct buf *was = notes;
    buf_reset(&n->notes);
    notes = &n->notes;
    int r = n->fn(tx, n->arg);
    notes = was;
    return r;
}

static void tell_one(const struct watcher *w, struct str changes)
{
    struct cur c = cur_of(changes);
    while (!c.bad && c.p < c.end) {
        uint64_t parent = cur_varint(&c);
        struct str name = cur_bytes(&c);
        uint64_t ino = cur_varint(&c);
        if (!c.bad)
            w->fn(w->arg, parent, name, ino);
    }
}

static void tell(struct meta *m, struct str changes)
{
    struct watcher w[META_WATCHERS];
    size_t n;
    lock_take(&m->lock);
    for (n = 0; n < m->watcher_n; n++)
        w[n] = m->watcher[n];
    m->telling++;
    lock_drop(&m->lock);
    for (size_t i = 0; i < n; i++)
        if (w[i].arg != acting)
            tell_one(&w[i], changes);
    lock_take(&m->lock);
    if (--m->telling == 0)
        pthread_cond_broadcast(&m->thawed);
    lock_drop(&m->lock);
}

static int commit(struct meta *m, kv_fn *fn, void *arg, enum kv_durability d, uint64_t *ret_version)
{
    uint64_t version = 0;
    TRY(kv_update(m->kv, fn, arg, d, &version));
    uint64_t last = atomic_load(&m->lazy_version);
    while (version > last && !atomic_compare_exchange_weak(&m->lazy_version, &last, version))
        ;
    if (ret_version)
        *ret_version = version;
    return 0;
}

void watch_rules(struct meta *m)
{
    struct buf b AUTO_BUF = {0};
    buf_varint(&b, 0);
    buf_bytes(&b, STR(""));
    buf_varint(&b, 0);
    tell(m, buf_str(&b));
}

int meta_commit(struct meta *m, kv_fn *fn, void *arg, enum kv_durability d, uint64_t *ret_version)
{
    queued = 0;
    if (!atomic_load_explicit(&m->watched, memory_order_relaxed))
        return commit(m, fn, arg, d, ret_version);
    struct noting n = {fn, arg, {0}};
    int r = commit(m, noting_tx, &n, d, ret_version);
    if (r == 0 && n.notes.n)
        tell(m, buf_str(&n.notes));
    buf_done(&n.notes);
    return r;
}

/* ---- files somebody has open ---- */

void meta_file_open(struct meta *m, uint64_t ino)
{
    LOCKED(&m->lock);
    uintptr_t n = (uintptr_t)map_get(m->opens, map_key64(&ino));
    map_put(m->opens, map_key64(&ino), (void *)(n + 1));
}

bool meta_file_close(struct meta *m, uint64_t ino)
{
    LOCKED(&m->lock);
    uintptr_t n = (uintptr_t)map_get(m->opens, map_key64(&ino));
    CHECK(n, "inode %llu is not open", (unsigned long long)ino);
    if (n > 1)
        map_put(m->opens, map_key64(&ino), (void *)(n - 1));
    else
        map_del(m->opens, map_key64(&ino));
    return n == 1;
}

bool file_is_open(struct meta *m, uint64_t ino)
{
    LOCKED(&m->lock);
    return map_get(m->opens, map_key64(&ino)) != NULL;
}
