/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading, writing and syncing segment files: whole transfers or an error, and the error is told to the directory.
 *
 * Group commit: every completed write counts seg.wrote up; who needs durability waits until seg.synced has reached the
 * count it saw. One thread (the leader) reads wrote, syncs, and publishes it as synced; the next leader starts at once,
 * so a waiter waits for the sync that runs and for one more. Who waits for the sync that runs waits at one gate, who
 * came too late for it at the other, so that nobody wakes for nothing; a leader wakes the next one first.
 *
 * A failed fdatasync is final for the data it covered (the kernel forgets it): the directory is set aside, its epoch
 * counts up, and everybody who waits, or seals later what was written before, gets ERR_IO.
 */
#include "page/store.h"
#include <errno.h>
#include <string.h>

static int write_failed(struct seg *g, int eno)
{
    if (eno == ENOSPC || eno == EDQUOT)
        return err_set(ERR_NO_SPACE,
                       "the disk under %s is full: free space there or lower "
                       "alluxio.worker.page.store.sizes",
                       g->dir->path);
    return page_dir_failed(g->dir, "a write failed", eno);
}

static int fault_as_io(struct seg *g, int code, const char *what)
{
    return code == ERR_IO ? page_dir_failed(g->dir, what, EIO) : code;
}

/* Step over n bytes that were written. */
static int iov_skip(struct iovec **v, int n, size_t done)
{
    while (n && done >= (*v)->iov_len) {
        done -= (*v)->iov_len;
        (*v)++;
        n--;
    }
    if (n) {
        (*v)->iov_base = (char *)(*v)->iov_base + done;
        (*v)->iov_len -= done;
    }
    return n;
}

int page_io_write(struct seg *g, struct iovec *v, int n, uint64_t off)
{
    int f = FAULT(PAGE_WRITE);
    if (f)
        return fault_as_io(g, f, "a write failed");
    while (n > 0) {
        ssize_t w = pwritev(g->fd, v, n, (off_t)off);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return write_failed(g, w ? errno : EIO);
        off += (uint64_t)w;
        n = iov_skip(&v, n, (size_t)w);
    }
    atomic_fetch_add(&g->wrote, 1);
    return 0;
}

int page_io_read(struct seg *g, void *p, size_t n, uint64_t off)
{
    int f = FAULT(PAGE_READ);
    if (f)
        return f == ERR_IO ? page_dir_unreadable(g->dir, "a read failed", EIO) : f;
    for (size_t done = 0; done < n;) {
        ssize_t r = pread(g->fd, (char *)p + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return page_dir_unreadable(g->dir, "a read failed", errno);
        if (r == 0)
            return page_dir_unreadable(g->dir, "a segment file is shorter than it was", EIO);
        done += (size_t)r;
    }
    return 0;
}

static int sync_now(struct seg *g)
{
    int f = FAULT(PAGE_SYNC);
    if (f)
        return fault_as_io(g, f, "a sync failed");
    if (FAULT(TEST_SKIP_PAGE_SYNC))
        return 0;
    atomic_fetch_add_explicit(&g->dir->store->syncs, 1, memory_order_relaxed);
    return fdatasync(g->fd) == 0 ? 0 : page_dir_failed(g->dir, "a sync failed", errno);
}

/* One of those who wait for the next sync, to lead it, then all who waited for this one; when it failed, all. */
static void sync_pass_on(struct seg *g, int r)
{
    struct gate *done = &g->sync_gate[g->sync_turn], *next = &g->sync_gate[g->sync_turn ^ 1];
    g->sync_turn ^= 1;
    if (r == 0)
        gate_open_one(next);
    else
        gate_open(next);
    gate_open(done);
}

/* Lead one sync; the lock is held before and after, not during. */
static int sync_lead(struct seg *g)
{
    g->syncing = true;
    /* in this order: who set lazy had counted its writes before */
    bool was_lazy = atomic_exchange(&g->lazy, false);
    g->sync_target = atomic_load(&g->wrote);
    lock_drop(&g->sync_lock);
    int r = sync_now(g);
    lock_take(&g->sync_lock);
    g->syncing = false;
    if (r == 0 && g->sync_target > atomic_load(&g->synced))
        atomic_store(&g->synced, g->sync_target);
    if (was_lazy && r < 0)
        atomic_store(&g->lazy, true);
    else if (was_lazy)
        atomic_fetch_sub(&g->dir->store->lazy_segs, 1);
    sync_pass_on(g, r);
    return r;
}

/* One step towards durability; *ret_gate: to wait at, *ret_look: for this look. */
static int sync_step(struct seg *g, uint64_t upto, unsigned epoch, struct gate **ret_gate, unsigned *ret_look)
{
    LOCKED(&g->sync_lock);
    *ret_gate = NULL;
    if (atomic_load(&g->synced) >= upto)
        return 0;
    if (atomic_load(&g->dir->epoch) != epoch)
        return err_set(ERR_IO, "%s was set aside: %s", g->dir->path, atomic_load(&g->dir->reason));
    if (!g->syncing)
        return sync_lead(g);
    *ret_gate = &g->sync_gate[upto <= g->sync_target ? g->sync_turn : g->sync_turn ^ 1];
    *ret_look = gate_look(*ret_gate);
    return 0;
}

int page_io_sync(struct seg *g, uint64_t upto)
{
    unsigned epoch = atomic_load(&g->dir->epoch), look = 0;
    while (atomic_load(&g->synced) < upto) {
        struct gate *gate;
        TRY(sync_step(g, upto, epoch, &gate, &look));
        if (gate)
            gate_wait(gate, look, UINT64_MAX);
    }
    return 0;
}

char *page_buf_get(struct page_store *s)
{
    {
        LOCKED(&s->buf_lock);
        if (s->buf_count)
            return s->bufs[--s->buf_count];
    }
    void *b = NULL;
    CHECK(posix_memalign(&b, PG_BLOCK, PG_BUF) == 0, "out of memory for a page buffer");
    return b;
}

void page_buf_put(struct page_store *s, char *b)
{
    if (!b)
        return;
    {
        LOCKED(&s->buf_lock);
        if (s->buf_count < sizeof s->bufs / sizeof *s->bufs) {
            s->bufs[s->buf_count++] = b;
            return;
        }
    }
    free(b);
}

static uint32_t head_crc(const struct disk_head *h, const uint32_t *crcs)
{
    uint32_t c =
        crc32c(0, (const char *)h + offsetof(struct disk_head, seg), sizeof *h - offsetof(struct disk_head, seg));
    return crc32c(c, crcs, pg_crcs(h->page.len) * sizeof *crcs);
}

/* The block checksums are copied behind h, where there must be room for them. */
void page_head_make(struct disk_head *h, uint32_t magic, const struct seg *g, const uint32_t *crcs)
{
    h->magic = magic;
    h->seg = g->id;
    h->life = g->life;
    memcpy(h + 1, crcs, pg_crcs(h->page.len) * sizeof *crcs);
    h->crc = head_crc(h, crcs);
}

bool page_head_good(const struct disk_head *h, uint32_t magic, const struct seg *g, uint32_t pos)
{
    if (h->magic != magic || h->seg != g->id || h->life != g->life || h->pos != pos || h->page.len == 0 ||
        h->page.len > (magic == PG_REC_MAGIC ? PG_SMALL_MAX : pg_slot_size(g->cls)))
        return false;
    return h->crc == head_crc(h, (const uint32_t *)(h + 1));
}

int page_head_read(struct seg *g, uint32_t pos, void *ret, size_t cap)
{
    if (g->cls == 0) {
        TRY(page_io_read(g, ret, PG_REC_HEAD, page_seg_payload(g, pos)));
        return page_head_good(ret, PG_REC_MAGIC, g, pos) ? 0 : ERR_CORRUPT;
    }
    uint32_t slot = page_bulk_slot(g, pos);
    size_t n = sizeof(struct disk_head) + pg_crcs(pg_slot_size(g->cls)) * 4;
    CHECK(n <= cap);
    TRY(page_io_read(g, ret, n, PG_BLOCK * (1 + (uint64_t)slot)));
    return page_head_good(ret, PG_SLOT_MAGIC, g, slot) ? 0 : ERR_CORRUPT;
}
