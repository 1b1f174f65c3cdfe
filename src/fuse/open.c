/* SPDX-License-Identifier: Apache-2.0
 *
 * The open files behind the kernel's numbers. One that an earlier process gave, whose mount we took over, stands for
 * "the file of this inode, open": it is opened at its first use. The kernel has checked what the program may do with
 * its descriptor, so it is opened for both directions where it can be.
 */
#include "base/map.h"
#include "base/mem.h"
#include "fuse/host.h"
#include <fcntl.h>

/* Files of earlier processes. What is left at the end the door releases. */
struct inherited {
    struct lock lock; /* RANK_FUSE + 1: taken under that of locks.c */
    struct map *file; /* number -> handle */
    struct map *lost; /* number -> not NULL: had a lock that somebody else has now */
    atomic_bool any_lost;
};

struct inherited *inherited_new(void)
{
    struct inherited *t = MEM_NEW(struct inherited);
    lock_init(&t->lock, RANK_FUSE + 1);
    t->file = map_new();
    t->lost = map_new();
    return t;
}

struct inherited *inherited_free(struct inherited *t)
{
    if (!t)
        return NULL;
    map_free(t->file);
    map_free(t->lost);
    lock_done(&t->lock);
    free(t);
    return NULL;
}

static struct fs_px_handle *known(struct inherited *t, uint64_t fh)
{
    LOCKED(&t->lock);
    return map_get(t->file, map_key64(&fh));
}

/* The handle that stands for fh from now on: h, or that of another thread that was first. */
static struct fs_px_handle *remember(struct inherited *t, uint64_t fh, struct fs_px_handle *h)
{
    LOCKED(&t->lock);
    struct fs_px_handle *first = map_get(t->file, map_key64(&fh));
    if (first)
        return first;
    map_put(t->file, map_key64(&fh), h);
    return h;
}

static int open_again(struct fs_px *px, uint64_t ino, struct fs_px_handle **ret)
{
    bool keep;
    int r = fs_px_open(px, ino, O_RDWR, ret, &keep);
    return r == ERR_READ_ONLY || r == ERR_DENIED ? fs_px_open(px, ino, O_RDONLY, ret, &keep) : r;
}

/* Was it given by a server that died, or before one that did? It stays so however often the mount is handed on since.
 */
static bool lost_writes(const struct fuse_host *h, uint64_t fh)
{
    return h->crashed && numbers_writer(fh) && (int32_t)(h->crashed - (uint32_t)(fh >> 32)) >= 0;
}

void host_lose_file(void *host, uint64_t fh)
{
    struct fuse_host *h = host;
    LOCKED(&h->inherited->lock);
    map_put(h->inherited->lost, map_key64(&fh), h);
    atomic_store(&h->inherited->any_lost, true);
}

bool host_lost_any(struct fuse_host *h)
{
    return atomic_load(&h->inherited->any_lost);
}

bool host_lost_file(struct fuse_host *h, uint64_t fh)
{
    if (!atomic_load(&h->inherited->any_lost))
        return false;
    LOCKED(&h->inherited->lock);
    return map_get(h->inherited->lost, map_key64(&fh));
}

int req_handle(struct fuse_req *q, uint64_t fh, uint64_t node, struct fs_px_handle **ret)
{
    struct fuse_host *h = q->h;
    struct fs_px_handle *file;
    if (numbers_ours(h->files, fh)) {
        file = numbers_get(h->files, fh);
        if (!file)
            return ERR_STALE;
        *ret = file;
        return 0;
    }
    if (lost_writes(h, fh))
        return err_set(ERR_IO,
                       "the file was open for writing when the process that served the mount died: open it again");
    if (host_lost_file(h, fh))
        return err_set(ERR_IO, "somebody else has its lock since the mount was not served for too long: open it again");
    *ret = known(h->inherited, fh);
    if (*ret)
        return 0;
    TRY(open_again(h->px, req_ino(q, node), &file));
    *ret = remember(h->inherited, fh, file);
    if (*ret != file)
        fs_px_release(file);
    return 0;
}

struct fs_px_handle *host_take_handle(struct fuse_host *h, uint64_t fh)
{
    if (numbers_ours(h->files, fh))
        return numbers_take(h->files, fh);
    LOCKED(&h->inherited->lock);
    map_del(h->inherited->lost, map_key64(&fh));
    return map_del(h->inherited->file, map_key64(&fh));
}
