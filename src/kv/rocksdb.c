/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded engine: RocksDB on one local directory.
 *
 * Transactions are optimistic. Reads go to a RocksDB snapshot without any lock of ours; a commit takes the commit lock
 * and asks recent.c whether anything that was read has changed since, then writes one batch to log and memtable (sync =
 * false). It is visible then and survives the death of the process, for the log is in the kernel. sync() is one
 * fdatasync of the log for all commits before it.
 *
 * A version is RocksDB's own sequence number plus base: one step per row written. So, after a failure, the sequence
 * number that recovery has reached says which commits survived. base moves on when numbers were given to commits that
 * did not happen, so that no version is used twice.
 *
 * The log of a memtable is synced before the next one is begun: else a power cut could keep commits of the new log and
 * lose the last of the old. When a reopened store comes back, what recovery replayed has been flushed to synced files:
 * all that is visible is durable.
 *
 * Locks: commit (RANK_KV + 1) is held over the write to the log, against the rule: the order in the log is the order of
 * commits. It is a copy into the page cache; every 20 MiB one fdatasync and the change of memtable come on top. RocksDB
 * is told to refuse rather than to stall (no_slowdown), and the layer waits without locks.
 */
#include "kv/rocksdb.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/mem.h"
#include "kv/hot.h"
#include "kv/recent.h"
#include <unistd.h>

enum { HOT_BYTES = 16 << 20, HOT_READS = 48 };

struct rocks {
    char *dir;
    size_t cache_bytes;
    bool accept_loss;
    int mark_fd;
    struct rocks_options options;
    rocksdb_t *db; /* NULL: closed by a reopen that failed */
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *newest;
    struct recent *recent;
    struct hot *hot;
    struct lock commit;
    uint64_t base;         /* commit lock */
    atomic_ullong version; /* of the last commit; moved on under the commit lock */
    size_t bytes, deletes; /* in the current memtable; commit lock */
    atomic_bool sick;      /* a write or sync failed: nothing more until reopen() */
};

/* Most transactions find all they read among the hot rows, and never take a snapshot of RocksDB (which costs two turns
 * of its main mutex). What they read holds at reg.version then; open_snapshot() sees to it that it holds at the
 * snapshot. */
struct kv_snap {
    struct recent_snap reg; /* registered if update; else only its version is set */
    bool update;
    const rocksdb_snapshot_t *snapshot; /* NULL: not needed yet */
    rocksdb_readoptions_t *ro;
    unsigned reads;            /* among the hot rows, without a snapshot */
    uint32_t place[HOT_READS]; /* where */
};

/* ---- life ---- */

/* LZ4 may be missing from a build of RocksDB. */
static int open_db(struct rocks *e)
{
    char *err = NULL;

    for (int lz4 = 1; lz4 >= 0; lz4--) {
        rocks_options_make(&e->options, e->cache_bytes, lz4);
        int r = e->accept_loss ? 0 : rocks_mark_check(e->dir, e->options.o);
        if (r < 0 && !strstr(err_detail(r), "not linked")) {
            rocks_options_free(&e->options);
            return r;
        }
        e->db = rocksdb_open(e->options.o, e->dir, &err);
        if (!err)
            return 0;
        rocks_options_free(&e->options);
        if (!lz4 || !strstr(err, "not linked"))
            break;
        rocksdb_free(err);
        err = NULL;
    }
    if (strstr(err, "lock ") && strstr(err, "LOCK")) {
        rocksdb_free(err);
        return err_set(ERR_BUSY, "another process has the metadata store %s open; stop it first", e->dir);
    }
    return rocks_error(err, "opening the metadata store");
}

static void close_db(struct rocks *e)
{
    if (!e->db)
        return;
    rocksdb_close(e->db);
    rocks_options_free(&e->options);
    e->db = NULL;
}

/* All that recovery has found becomes durable: it does that by itself; this makes sure. */
static int settle_recovered(struct rocks *e)
{
    rocksdb_flushoptions_t *f = rocksdb_flushoptions_create();
    char *err = NULL;

    rocksdb_flushoptions_set_wait(f, 1);
    rocksdb_flush(e->db, f, &err);
    rocksdb_flushoptions_destroy(f);
    return rocks_error(err, "flushing what was recovered");
}

static int start(struct rocks *e)
{
    int r;

    TRY(open_db(e));
    r = settle_recovered(e);
    if (r == 0 && e->mark_fd < 0)
        r = rocks_mark_open(e->dir, &e->mark_fd);
    if (r < 0)
        close_db(e);
    else
        rocks_mark_set(e->mark_fd, rocksdb_get_latest_sequence_number(e->db));
    e->bytes = e->deletes = 0;
    e->sick = false;
    return r;
}

static void rocks_free(struct rocks *e)
{
    rocksdb_writeoptions_destroy(e->write);
    rocksdb_readoptions_destroy(e->newest);
    lock_done(&e->commit);
    if (e->mark_fd >= 0)
        close(e->mark_fd);
    free(e->dir);
    free(e);
}

static int rocks_open(const struct kv_options *o, void **ret, unsigned *ret_can)
{
    struct rocks *e = MEM_NEW(struct rocks);
    int r;

    CHECK(o->dir, "the rocksdb engine needs a directory");
    e->dir = str_dup(str_of(o->dir));
    e->cache_bytes = o->cache_bytes;
    e->accept_loss = o->accept_loss;
    e->mark_fd = -1;
    e->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_no_slowdown(e->write, 1);
    e->newest = rocksdb_readoptions_create();
    lock_init(&e->commit, RANK_KV + 1);
    r = start(e);
    if (r < 0) {
        rocks_free(e);
        return r;
    }
    e->base = 1; /* a new store has sequence number 0, and versions are never 0 */
    e->version = e->base + rocksdb_get_latest_sequence_number(e->db);
    e->recent = recent_new(e->version);
    e->hot = hot_new(HOT_BYTES);
    *ret = e;
    *ret_can = KV_ENGINE_LAZY;
    return 0;
}

static void rocks_close(void *h)
{
    struct rocks *e = h;

    close_db(e);
    recent_free(e->recent);
    hot_free(e->hot);
    rocks_free(e);
}

static int rocks_reopen(void *h, uint64_t *ret_kept)
{
    struct rocks *e = h;
    uint64_t top = e->version, sequence;

    close_db(e);
    TRY(start(e));
    sequence = rocksdb_get_latest_sequence_number(e->db);
    *ret_kept = e->base + sequence;
    CHECK(*ret_kept <= top, "RocksDB recovered version %lu, the last was %lu", *ret_kept, top);
    e->base = top - sequence;
    recent_reset(e->recent, top);
    hot_forget_all(e->hot);
    return 0;
}

/* ---- snapshots and reads ---- */

static int rocks_begin(void *h, bool update, struct kv_arena *a, struct kv_snap **ret)
{
    struct rocks *e = h;
    struct kv_snap *s = kv_arena_take(a, sizeof *s);

    s->update = update;
    s->snapshot = NULL;
    s->reads = 0;
    if (update)
        recent_register(e->recent, &s->reg);
    else
        s->reg.version = recent_version(e->recent);
    *ret = s;
    return 0;
}

/* ERR_CONFLICT: something that was read already may have changed before the snapshot was taken. Else all of it holds at
 * the snapshot as well, and the transaction is as if it had begun just now. */
static int open_snapshot(struct rocks *e, struct kv_snap *s)
{
    uint64_t began = s->reg.version;

    if (s->snapshot)
        return 0;
    if (s->update)
        recent_renew(e->recent, &s->reg);
    else
        s->reg.version = recent_version(e->recent);
    s->snapshot = rocksdb_create_snapshot(e->db);
    s->ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(s->ro, s->snapshot);
    for (unsigned i = 0; i < s->reads; i++)
        if (!hot_unchanged(e->hot, s->place[i], began))
            return ERR_CONFLICT;
    return 0;
}

static void rocks_end(void *h, struct kv_snap *s)
{
    struct rocks *e = h;

    if (s->snapshot) {
        rocksdb_readoptions_destroy(s->ro);
        rocksdb_release_snapshot(e->db, s->snapshot);
    }
    if (s->update)
        recent_unregister(e->recent, &s->reg);
}

static int get_one(struct rocks *e, rocksdb_readoptions_t *ro, struct kv_arena *a, struct str key, struct str *ret)
{
    char *err = NULL;
    rocksdb_pinnableslice_t *p = rocksdb_get_pinned(e->db, ro, key.p, key.n, &err);
    struct str v;

    TRY(rocks_error(err, "reading"));
    *ret = (struct str){NULL, 0};
    if (!p)
        return 0;
    v.p = rocksdb_pinnableslice_value(p, &v.n);
    *ret = kv_arena_copy(a, v);
    rocksdb_pinnableslice_destroy(p);
    return 0;
}

/* True: *ret is what this transaction sees. */
static bool get_hot(struct rocks *e, struct kv_snap *s, struct kv_arena *a, struct str key, uint64_t hash,
                    struct kv_cell *ret)
{
    uint64_t wrote;

    if (!s->snapshot && s->reads == HOT_READS)
        return false;
    if (!hot_get(e->hot, key, hash, s->reg.version, a, &ret->value, &wrote))
        return false;
    if (!s->snapshot)
        s->place[s->reads++] = hot_place(e->hot, hash);
    ret->unsynced = wrote > recent_durable(e->recent) ? wrote : 0;
    return true;
}

static int rocks_get(void *h, struct kv_snap *s, struct kv_arena *a, const struct str *keys, size_t n,
                     struct kv_cell *ret)
{
    struct rocks *e = h;

    for (size_t i = 0; i < n; i++) {
        uint64_t hash = hot_hash(keys[i]);
        if (get_hot(e, s, a, keys[i], hash, &ret[i]))
            continue;
        TRY(open_snapshot(e, s));
        TRY(get_one(e, s->ro, a, keys[i], &ret[i].value));
        ret[i].unsynced = recent_unsynced(e->recent, keys[i]);
        hot_keep(e->hot, keys[i], hash, s->reg.version, ret[i].value, ret[i].unsynced);
    }
    return 0;
}

static struct str iter_key(const rocksdb_iterator_t *it)
{
    struct str k;

    k.p = rocksdb_iter_key(it, &k.n);
    return k;
}

static void iter_start(rocksdb_iterator_t *it, const struct kv_range *r)
{
    if (!r->reverse) {
        rocksdb_iter_seek(it, r->begin.p, r->begin.n);
        return;
    }
    rocksdb_iter_seek_for_prev(it, r->end.p, r->end.n);
    if (rocksdb_iter_valid(it) && str_cmp(iter_key(it), r->end) >= 0)
        rocksdb_iter_prev(it);
}

static bool iter_inside(const rocksdb_iterator_t *it, const struct kv_range *r)
{
    struct str k;

    if (!rocksdb_iter_valid(it))
        return false;
    k = iter_key(it);
    return r->reverse ? str_cmp(k, r->begin) >= 0 : str_cmp(k, r->end) < 0;
}

static void iter_run(rocksdb_iterator_t *it, const struct kv_range *r, struct kv_arena *a, struct kv_batch *ret)
{
    size_t bytes = 0;

    for (iter_start(it, r); iter_inside(it, r); r->reverse ? rocksdb_iter_prev(it) : rocksdb_iter_next(it)) {
        struct str k = iter_key(it), v;

        if (ret->n && ((r->max_rows && ret->n >= r->max_rows) || (r->max_bytes && bytes >= r->max_bytes))) {
            ret->more = true;
            return;
        }
        v.p = rocksdb_iter_value(it, &v.n);
        kv_batch_add(ret, a, kv_arena_copy(a, k), kv_arena_copy(a, v));
        bytes += k.n + v.n;
    }
}

static int rocks_range(void *h, struct kv_snap *s, struct kv_arena *a, const struct kv_range *r, struct kv_batch *ret)
{
    struct rocks *e = h;
    rocksdb_iterator_t *it;
    char *err = NULL;

    TRY(open_snapshot(e, s));
    ret->more = false;
    rocksdb_readoptions_set_iterate_lower_bound(s->ro, r->begin.p, r->begin.n);
    rocksdb_readoptions_set_iterate_upper_bound(s->ro, r->end.p, r->end.n);
    it = rocksdb_create_iterator(e->db, s->ro);
    iter_run(it, r, a, ret);
    rocksdb_iter_get_error(it, &err);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_set_iterate_lower_bound(s->ro, NULL, 0);
    rocksdb_readoptions_set_iterate_upper_bound(s->ro, NULL, 0);
    ret->unsynced = recent_unsynced_any(e->recent);
    return rocks_error(err, "reading a range");
}

/* ---- committing ---- */

/* Counters are read and written under the commit lock: nobody comes between. */
static int add_count(struct rocks *e, rocksdb_writebatch_t *b, const struct kv_write *w)
{
    char *err = NULL;
    size_t n = 0;
    char *p = rocksdb_get(e->db, e->newest, w->key.p, w->key.n, &n, &err);
    uint64_t v;

    TRY(rocks_error(err, "reading a counter"));
    v = kv_write_count(w, str_mk(p, n));
    rocksdb_free(p);
    rocksdb_writebatch_put(b, w->key.p, w->key.n, (const char *)&v, sizeof v);
    return 0;
}

static bool add_plain(rocksdb_writebatch_t *b, const struct kv_commit *c)
{
    bool counts = false;

    for (size_t i = 0; i < c->writes; i++) {
        const struct kv_write *w = c->write[i];

        if (w->op == KV_OP_PUT)
            rocksdb_writebatch_put(b, w->key.p, w->key.n, w->value.p, w->value.n);
        else if (w->op == KV_OP_DEL)
            rocksdb_writebatch_delete(b, w->key.p, w->key.n);
        else
            counts = true;
    }
    return counts;
}

static int add_counts(struct rocks *e, rocksdb_writebatch_t *b, const struct kv_commit *c)
{
    for (size_t i = 0; i < c->writes; i++)
        if (c->write[i]->op == KV_OP_COUNT)
            TRY(add_count(e, b, c->write[i]));
    return 0;
}

static void note_size(struct rocks *e, const struct kv_commit *c)
{
    for (size_t i = 0; i < c->writes; i++) {
        e->bytes += c->write[i]->key.n + c->write[i]->value.n + 48;
        e->deletes += c->write[i]->op == KV_OP_DEL;
    }
}

static void sync_log(struct rocks *e, char **err)
{
    uint64_t sequence = rocksdb_get_latest_sequence_number(e->db); /* in the log by now */

    rocksdb_flush_wal(e->db, 1, err);
    if (!*err)
        rocks_mark_set(e->mark_fd, sequence);
}

/* Hand the memtable on: see the head of this file for the sync before it. */
static void maybe_switch(struct rocks *e)
{
    rocksdb_flushoptions_t *f;
    char *err = NULL;

    if (e->bytes < ROCKS_SWITCH_BYTES && e->deletes < ROCKS_SWITCH_DELETES)
        return;
    e->bytes = e->deletes = 0;
    sync_log(e, &err);
    if (rocks_error(err, "syncing the log before a new one") < 0 || FAULT(KV_MEMTABLE_SWITCH) < 0) {
        e->sick = true;
        return;
    }
    f = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(f, 0);
    err = NULL;
    rocksdb_flush(e->db, f, &err);
    rocksdb_flushoptions_destroy(f);
    if (rocks_error(err, "changing the memtable") < 0)
        e->sick = true;
}

/* The commit, admitted, is about to become visible. */
static void tell_hot(struct rocks *e, const struct kv_commit *c, uint64_t version)
{
    for (size_t i = 0; i < c->writes; i++) {
        const struct kv_write *w = c->write[i];

        if (w->op == KV_OP_COUNT)
            hot_forget(e->hot, w->key, version);
        else
            hot_write(e->hot, w->key, w->op == KV_OP_PUT ? w->value : (struct str){NULL, 0}, version);
    }
}

static void untell_hot(struct rocks *e, const struct kv_commit *c, uint64_t version)
{
    for (size_t i = 0; i < c->writes; i++)
        hot_forget(e->hot, c->write[i]->key, version);
}

/* The batch goes in under version, which recent.c has noted already. */
static int write_batch(struct rocks *e, const struct kv_commit *c, rocksdb_writebatch_t *b, uint64_t version)
{
    char *err = NULL;
    int r = FAULT(KV_ENGINE_WRITE);

    if (r == 0) {
        rocksdb_write(e->db, e->write, b, &err);
        r = rocks_error(err, "writing");
    }
    if (r == ERR_BUSY)
        e->base += version - e->version; /* refused because of a stall: the number is spent */
    else if (r == 0)
        CHECK(e->base + rocksdb_get_latest_sequence_number(e->db) == version);
    if (r < 0)
        untell_hot(e, c, version); /* before anybody may take it for committed */
    if (r < 0 && r != ERR_BUSY)
        e->sick = true; /* before the version: a sync that counts it must fail */
    e->version = version;
    recent_committed(e->recent, version);
    return r == 0 || r == ERR_BUSY ? r : ERR_UNKNOWN_OUTCOME;
}

static int commit_locked(struct rocks *e, struct kv_snap *s, const struct kv_commit *c, rocksdb_writebatch_t *b,
                         bool counts, uint64_t *ret_version)
{
    uint64_t version = e->version + c->writes;
    int r;

    if (e->sick)
        return ERR_SHUTDOWN;
    if (counts)
        TRY(add_counts(e, b, c));
    if (!recent_admit(e->recent, &s->reg, c, version))
        return ERR_CONFLICT;
    tell_hot(e, c, version);
    r = write_batch(e, c, b, version);
    *ret_version = version;
    if (r == 0) {
        note_size(e, c);
        maybe_switch(e);
    }
    return r;
}

static int rocks_commit(void *h, struct kv_snap *s, const struct kv_commit *c, uint64_t *ret_version)
{
    struct rocks *e = h;
    rocksdb_writebatch_t *b = rocksdb_writebatch_create();
    bool counts = add_plain(b, c);
    int r;

    {
        LOCKED(&e->commit);
        r = commit_locked(e, s, c, b, counts, ret_version);
    }
    rocksdb_writebatch_destroy(b);
    return r;
}

static uint64_t rocks_version(void *h)
{
    struct rocks *e = h;

    return e->version;
}

static int rocks_sync(void *h, uint64_t upto)
{
    struct rocks *e = h;
    char *err = NULL;

    if (e->sick)
        return err_set(ERR_IO, "the log of the metadata store could not be synced");
    if (FAULT(TEST_SKIP_KV_SYNC) == 0)
        sync_log(e, &err);
    if (err)
        e->sick = true;
    TRY(rocks_error(err, "syncing the log"));
    recent_synced(e->recent, upto);
    return 0;
}

/* ---- figures ---- */

static uint64_t property(struct rocks *e, const char *name)
{
    uint64_t v = 0;

    rocksdb_property_int(e->db, name, &v);
    return v;
}

static void rocks_figures(void *h, struct kv_figures *f)
{
    struct rocks *e = h;

    /* The log holds what the memtables do. */
    f->disk_bytes = property(e, "rocksdb.total-sst-files-size") + property(e, "rocksdb.cur-size-all-mem-tables");
}

const struct kv_engine kv_engine_rocksdb = {
    .name = "rocksdb",
    .open = rocks_open,
    .reopen = rocks_reopen,
    .close = rocks_close,
    .begin = rocks_begin,
    .end = rocks_end,
    .get = rocks_get,
    .range = rocks_range,
    .commit = rocks_commit,
    .version = rocks_version,
    .sync = rocks_sync,
    .figures = rocks_figures,
};
