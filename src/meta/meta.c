/* SPDX-License-Identifier: Apache-2.0
 *
 * The namespace as one object: start, ids, what readers hold, waking the background.
 */
#include "meta/tx.h"
#include <sys/random.h>

enum { MINT_BLOCK = 1 << 16 };

int meta_update(struct meta *m, kv_fn *fn, void *arg)
{
    return meta_commit(m, fn, arg, KV_SYNC, NULL);
}

int meta_or_conflict(int r)
{
    return r == ERR_STALE ? err_set(ERR_CONFLICT, "%s", err_detail(r)) : r;
}

int meta_update_or_conflict(struct meta *m, kv_fn *fn, void *arg)
{
    return meta_or_conflict(meta_update(m, fn, arg));
}

int meta_sync(struct meta *m)
{
    return kv_settle(m->kv, atomic_load(&m->lazy_version));
}

struct kv *meta_kv(struct meta *m)
{
    return m->kv;
}

uint64_t meta_boot(const struct meta *m)
{
    return m->boot;
}

uint64_t meta_deadline_ms(const struct meta *m)
{
    return m->deadline_ms;
}

uint64_t meta_sync_ms(const struct meta *m)
{
    return m->sync_ms;
}

/* ---- start ---- */

static int sys_counter(struct kv_tx *tx, const char *name, uint64_t first, uint64_t add, uint64_t *ret_before)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct str old = {0};
    key_sys(&k, name);
    int r = kv_get(tx, buf_str(&k), &old);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    struct cur c = cur_of(old);
    *ret_before = r == ERR_NOT_FOUND ? first : cur_be64(&c);
    if (add) {
        buf_be64(&v, *ret_before + add);
        kv_put(tx, buf_str(&k), buf_str(&v));
    }
    return 0;
}

static int check_format(struct kv_tx *tx, bool write)
{
    uint64_t format;
    TRY(sys_counter(tx, "format", REC_VERSION, 0, &format));
    if (format != REC_VERSION)
        return err_set(ERR_VERSION,
                       "the metadata has format %llu, this program reads %d: use the Forebay that wrote it",
                       (unsigned long long)format, REC_VERSION);
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_sys(&k, "format");
    buf_be64(&v, REC_VERSION);
    if (write)
        kv_put(tx, buf_str(&k), buf_str(&v));
    return 0;
}

static void put_root(struct kv_tx *tx)
{
    struct inode root = {
        .ino = META_ROOT, .type = REC_DIR, .explicit_dir = true, .mode = 0755, .nlink = 2, .mtime_ms = clock_wall_ms()};
    root.ctime_ms = root.mtime_ms;
    tx_put_inode(tx, &root);
}

/* m->cluster holds a new name; one that is stored already wins. */
static int name_cluster(struct kv_tx *tx, struct meta *m)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_sys(&k, "cluster");
    int r = kv_get(tx, buf_str(&k), &v);
    if (r == ERR_NOT_FOUND) {
        kv_put(tx, buf_str(&k), str_of(m->cluster));
        return 0;
    }
    TRY(r);
    snprintf(m->cluster, sizeof m->cluster, "%.*s", STR_ARG(v));
    return 0;
}

static int boot_tx(struct kv_tx *tx, void *arg)
{
    struct meta *m = arg;
    struct inode root;
    TRY(check_format(tx, true));
    TRY(name_cluster(tx, m));
    TRY(sys_counter(tx, "boots", 1, 1, &m->boot));
    int r = tx_inode(tx, META_ROOT, &root);
    if (r == ERR_NOT_FOUND)
        put_root(tx);
    else
        TRY(r);
    return 0;
}

static int look_tx(struct kv_tx *tx, void *arg)
{
    struct meta *m = arg;
    TRY(check_format(tx, false));
    return sys_counter(tx, "boots", 1, 0, &m->boot);
}

int mounts_open(struct meta *m);
void mounts_close(struct meta *m);
int rules_open(struct meta *m);
void rules_close(struct meta *m);

int meta_open(const struct meta_options *o, struct meta **ret)
{
    struct meta *m = calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    m->kv = o->kv;
    m->deadline_ms = o->deadline_ms ? o->deadline_ms : 60000;
    m->sync_ms = o->sync_ms;
    m->write_cache = o->write_cache;
    m->read_only = o->read_only;
    m->allowed_roots = o->allowed_roots ? str_dup(str_of(o->allowed_roots)) : NULL;
    m->ufs_defaults = str_dup(str_of(o->ufs_defaults ? o->ufs_defaults : ""));
    lock_init(&m->lock, RANK_META);
    m->holds = map_new();
    m->opens = map_new();
    cond_init(&m->thawed);
    m->boot_ms = clock_wall_ms();
    unsigned char name[16] = {0};
    if (getrandom(name, sizeof name, 0) != sizeof name)
        memcpy(name, &m->boot_ms, sizeof m->boot_ms);
    str_hex(name, sizeof name, m->cluster);
    int r = m->read_only ? kv_view(m->kv, look_tx, m, NULL) : meta_update(m, boot_tx, m);
    if (r == 0)
        r = rules_open(m);
    if (r == 0)
        r = mounts_open(m);
    if (r < 0) {
        meta_close(m);
        return r;
    }
    *ret = m;
    return 0;
}

static int free_hold(void *arg, struct str key, void *value)
{
    (void)arg;
    (void)key;
    free(value);
    return 0;
}

struct meta *meta_close(struct meta *m)
{
    if (!m)
        return NULL;
    mounts_close(m);
    rules_close(m);
    map_each(m->holds, free_hold, NULL);
    map_free(m->holds);
    map_free(m->opens);
    pthread_cond_destroy(&m->thawed);
    free(m->watcher);
    lock_done(&m->lock);
    free(m->allowed_roots);
    free(m->ufs_defaults);
    free(m);
    return NULL;
}

/* ---- ids ---- */

struct mint {
    uint64_t first;
};

static int mint_tx(struct kv_tx *tx, void *arg)
{
    struct mint *a = arg;
    return sys_counter(tx, "ids", META_ROOT + 1, MINT_BLOCK, &a->first);
}

static bool mint_take(struct meta *m, unsigned n, uint64_t *ret)
{
    LOCKED(&m->lock);
    if (m->id_end - m->id_next < n)
        return false;
    *ret = m->id_next;
    m->id_next += n;
    return true;
}

int meta_mint(struct meta *m, unsigned n, uint64_t *ret_first)
{
    CHECK(n <= MINT_BLOCK);
    while (!mint_take(m, n, ret_first)) {
        struct mint a;
        TRY(meta_update(m, mint_tx, &a));
        LOCKED(&m->lock);
        if (m->id_end - m->id_next < n) { /* else another thread was first: this block is never used */
            m->id_next = a.first;
            m->id_end = a.first + MINT_BLOCK;
        }
    }
    return 0;
}

/* ---- waking the background ---- */

void meta_on_queue(struct meta *m, void (*fn)(void *arg, int kind), void *arg)
{
    LOCKED(&m->lock);
    m->notify = fn;
    m->notify_arg = arg;
}

void meta_kick(struct meta *m, int kind)
{
    void (*fn)(void *arg, int kind);
    void *arg;
    lock_take(&m->lock);
    fn = m->notify;
    arg = m->notify_arg;
    lock_drop(&m->lock);
    if (fn)
        fn(arg, kind);
}

/* ---- holds ---- */

struct hold {
    unsigned count;
    bool dropping; /* a drop is on its way: nobody may begin to hold it */
    bool frozen;   /* it is changed in place at this moment: who begins to hold it waits */
    uint64_t since_ms;
};

int meta_hold(struct meta *m, uint64_t content)
{
    LOCKED(&m->lock);
    struct hold *h;
    while ((h = map_get(m->holds, map_key64(&content))) && h->frozen)
        cond_wait(&m->thawed, &m->lock);
    if (h && h->dropping)
        return err_set(ERR_STALE, "the content was replaced");
    if (!h) {
        h = calloc(1, sizeof *h);
        if (!h)
            return ERR_NOMEM;
        h->since_ms = clock_mono_ms();
        map_put(m->holds, map_key64(&content), h);
    }
    h->count++;
    return 0;
}

void meta_unhold(struct meta *m, uint64_t content)
{
    LOCKED(&m->lock);
    struct hold *h = map_get(m->holds, map_key64(&content));
    CHECK(h && h->count, "content %llu is not held", (unsigned long long)content);
    if (--h->count == 0 && !h->frozen)
        free(map_del(m->holds, map_key64(&content)));
}

unsigned meta_held(struct meta *m, uint64_t content, uint64_t *ret_since_ms)
{
    LOCKED(&m->lock);
    struct hold *h = map_get(m->holds, map_key64(&content));
    if (h && h->count && ret_since_ms)
        *ret_since_ms = h->since_ms;
    return h ? h->count : 0;
}

/* True: nobody holds it and nobody will until hold_drop_end(). */
bool hold_drop_begin(struct meta *m, uint64_t content)
{
    LOCKED(&m->lock);
    if (map_get(m->holds, map_key64(&content)))
        return false;
    struct hold *h = calloc(1, sizeof *h);
    if (!h)
        return false;
    h->dropping = true;
    map_put(m->holds, map_key64(&content), h);
    return true;
}

void hold_drop_end(struct meta *m, uint64_t content)
{
    LOCKED(&m->lock);
    free(map_del(m->holds, map_key64(&content)));
}

bool hold_freeze(struct meta *m, uint64_t content, unsigned own)
{
    LOCKED(&m->lock);
    struct hold *h = map_get(m->holds, map_key64(&content));
    if (h && (h->dropping || h->frozen || h->count != own))
        return false;
    if (!h && own)
        return false;
    if (!h) {
        h = calloc(1, sizeof *h);
        if (!h)
            return false;
        map_put(m->holds, map_key64(&content), h);
    }
    h->frozen = true;
    return true;
}

void hold_thaw(struct meta *m, uint64_t content)
{
    LOCKED(&m->lock);
    struct hold *h = map_get(m->holds, map_key64(&content));
    CHECK(h && h->frozen, "content %llu is not frozen", (unsigned long long)content);
    h->frozen = false;
    if (!h->count)
        free(map_del(m->holds, map_key64(&content)));
    pthread_cond_broadcast(&m->thawed);
}
