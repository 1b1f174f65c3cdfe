/* SPDX-License-Identifier: Apache-2.0
 *
 * Open, close, sync and figures of the page store. What is where:
 *     layout.h   what lies on the disk          store.h   what lies in memory, locks, states of a segment
 *     dir.c      a directory and its health     segment.c its files       io.c       transfers and group commit
 *     small.c    the log of small pages         bulk.c    slots           space.c    counters and reservations
 *     writer.c   a blob being written           fill.c    a cached page   reader.c   read, hold, verify
 *     state.c    pin, unpin, drop, evict        walk.c    after a start   recover.c  at the start
 *     evict.c    which segment gives room       clean.c   emptying one    keeper.c   in the background
 *     check.c    every rule, tried              index.c   (blob, page) -> place
 */
#include "page/store.h"
#include <sys/resource.h>
#include <string.h>

enum { DIRS_MAX = 64 };

static int options_check(const struct page_options *o)
{
    uint32_t p = o->page_size;
    if (p < PG_SLOT_MIN || p > PG_SLOT_MAX || (p & (p - 1)))
        return err_set(ERR_INVALID,
                       "alluxio.worker.page.store.page.size must be a power of two from 128KB to 4MB, not %u", p);
    if (!(o->pinned_ratio >= 0 && o->pinned_ratio <= 1))
        return err_set(ERR_INVALID, "alluxio.worker.page.store.pinned.file.capacity.limit.ratio must be from 0 to 1");
    if (o->dir_count < 1 || o->dir_count > DIRS_MAX)
        return err_set(ERR_INVALID, "alluxio.worker.page.store.dirs must name 1 to %d directories", DIRS_MAX);
    return 0;
}

/* A segment file stays open: one descriptor for each 64 MiB. */
static void raise_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static void dir_init(struct page_store *s, uint32_t i, const struct page_dir_spec *spec)
{
    struct dir *d = &s->dirs[i];
    d->store = s;
    d->no = i;
    d->path = str_dup(str_of(spec->path));
    d->bytes = spec->bytes;
    d->fd = d->lock_fd = -1;
    atomic_store(&d->reason, "");
    lock_init(&d->lock, RANK_PAGE + 2);
    cond_init(&d->cond);
}

static struct page_store *store_new(const struct page_options *o)
{
    struct page_store *s = calloc(1, sizeof *s);
    CHECK(s, "out of memory");
    s->o = *o;
    s->o.dirs = NULL;
    s->page_size = o->page_size;
    s->page_shift = (uint32_t)__builtin_ctz(o->page_size);
    s->top_class = pg_class(o->page_size);
    s->seg_bits = IDX_SEG_BITS;
    for (size_t n = 1; n < o->dir_count; n *= 2)
        s->seg_bits--;
    atomic_store(&s->seq, 1);
    lock_init(&s->acct, RANK_PAGE + 8);
    lock_init(&s->wait_lock, RANK_PAGE + 1);
    lock_init(&s->buf_lock, RANK_PAGE + 9);
    cond_init(&s->wait_cond);
    cond_init(&s->keeper_cond);
    for (size_t i = 0; i < IDX_SHARDS; i++)
        page_idx_init(&s->shards[i]);
    s->dir_count = o->dir_count;
    s->dirs = calloc(o->dir_count, sizeof *s->dirs);
    CHECK(s->dirs, "out of memory");
    for (uint32_t i = 0; i < o->dir_count; i++)
        dir_init(s, i, &o->dirs[i]);
    return s;
}

static void store_free(struct page_store *s)
{
    for (size_t i = 0; i < s->dir_count; i++) {
        struct dir *d = &s->dirs[i];
        page_dir_close(d);
        free(d->path);
        lock_done(&d->lock);
        pthread_cond_destroy(&d->cond);
    }
    free(s->dirs);
    for (size_t i = 0; i < IDX_SHARDS; i++)
        page_idx_done(&s->shards[i]);
    while (s->buf_count)
        free(s->bufs[--s->buf_count]);
    lock_done(&s->acct);
    lock_done(&s->wait_lock);
    lock_done(&s->buf_lock);
    pthread_cond_destroy(&s->wait_cond);
    pthread_cond_destroy(&s->keeper_cond);
    free(s);
}

/* A directory that is in use, of another format or ill configured is a mistake to report; one whose disk fails is set
 * aside while another works. */
static int dirs_open(struct page_store *s)
{
    size_t good = 0;
    int last = 0;
    for (size_t i = 0; i < s->dir_count; i++) {
        int r = page_dir_open(&s->dirs[i]);
        if (r < 0 && r != ERR_IO)
            return r;
        good += r == 0;
        last = r < 0 ? r : last;
    }
    return good ? 0 : last;
}

int page_open(const struct page_options *o, struct page_store **ret)
{
    TRY(options_check(o));
    raise_descriptors();
    struct page_store *s = store_new(o);
    int r = dirs_open(s);
    if (r == 0 && !o->read_only)
        r = page_keeper_start(s);
    if (r < 0) {
        store_free(s);
        return r;
    }
    TRACE("page.open", atomic_load(&s->pages), s->dir_count);
    *ret = s;
    return 0;
}

static void dir_finish(struct dir *d)
{
    if (!atomic_load(&d->open) || atomic_load(&d->failed) || d->store->o.read_only)
        return;
    {
        LOCKED(&d->lock);
        page_small_detach(d);
    }
    while (page_small_seal_full(d))
        ;
    for (uint32_t i = 0; i < d->seg_total; i++)
        if (d->segs[i].fd >= 0 && page_io_sync(&d->segs[i], atomic_load(&d->segs[i].wrote)) < 0)
            return; /* the next start finds out what is there */
}

struct page_store *page_close(struct page_store *s)
{
    if (!s)
        return NULL;
    page_keeper_stop(s);
    CHECK(s->reserved[0] + s->reserved[1] == 0, "the page store is closed under a writer");
    for (size_t i = 0; i < s->dir_count; i++)
        dir_finish(&s->dirs[i]);
    store_free(s);
    return NULL;
}

static int sync_lazy(struct dir *d)
{
    for (uint32_t i = 0; i < d->seg_total; i++) {
        struct seg *g = &d->segs[i];
        if (!atomic_load(&g->lazy))
            continue;
        if (atomic_load(&d->failed))
            return err_set(ERR_IO, "%s is set aside: %s", d->path, atomic_load(&d->reason));
        TRY(page_io_sync(g, atomic_load(&g->wrote)));
    }
    return 0;
}

int page_sync(struct page_store *s)
{
    for (size_t i = 0; i < s->dir_count && atomic_load(&s->lazy_segs); i++)
        if (atomic_load(&s->dirs[i].open))
            TRY(sync_lazy(&s->dirs[i]));
    return 0;
}

/* ---- figures ---- */

static void count_dirs(struct page_store *s, struct page_figures *f)
{
    f->dirs = s->dir_count;
    for (size_t i = 0; i < s->dir_count; i++) {
        f->dirs_failed += atomic_load(&s->dirs[i].failed);
        if (atomic_load(&s->dirs[i].open))
            f->segments += s->dirs[i].seg_count;
    }
}

void page_figures(struct page_store *s, struct page_figures *ret)
{
    struct page_figures f = {.capacity = page_space_capacity(s)};
    f.pinned_limit = (uint64_t)(s->o.pinned_ratio * (double)f.capacity);
    count_dirs(s, &f);
    {
        LOCKED(&s->acct);
        f.pinned = s->bytes[ST_PINNED] + s->bytes[ST_WPINNED] + s->reserved[1];
        f.evictable = s->bytes[ST_CLEAN] + s->bytes[ST_WCLEAN];
        f.unknown = s->bytes[ST_UNKNOWN];
        uint64_t used = f.pinned + f.evictable + f.unknown + s->reserved[0];
        f.free = f.capacity > used ? f.capacity - used : 0;
    }
    f.pages = atomic_load(&s->pages);
    f.blobs = atomic_load(&s->blobs);
    f.evicted_bytes = atomic_load(&s->evicted);
    f.cleaned_bytes = atomic_load(&s->cleaned);
    f.corrupt = atomic_load(&s->corrupt);
    f.hits = atomic_load(&s->hits);
    f.hit_bytes = atomic_load(&s->hit_bytes);
    f.syncs = atomic_load(&s->syncs);
    *ret = f;
}

size_t page_dir_count(struct page_store *s)
{
    return s->dir_count;
}

void page_dir_figures(struct page_store *s, size_t i, struct page_dir_figures *ret)
{
    struct dir *d = &s->dirs[i];
    struct page_dir_figures f = {.path = d->path, .bytes = d->bytes, .failed = atomic_load(&d->failed)};
    f.reason = f.failed ? atomic_load(&d->reason) : "";
    {
        LOCKED(&s->acct);
        f.used = d->live;
    }
    *ret = f;
}
