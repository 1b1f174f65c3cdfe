/* SPDX-License-Identifier: Apache-2.0
 *
 * The mount's life.
 */
#include "base/mem.h"
#include "conf/conf.h"
#include "fuse/host.h"

enum { READY_MS = 10000, ASIDE_MS = 5000 };

static void keep_for(struct fuse_host *h)
{
    uint64_t ms = conf_ms(h->conf, PROP_FUSE_CACHE_TIMEOUT), look = conf_ms(h->conf, PROP_METADATA_SYNC_INTERVAL);
    if (ms > look) /* what is asked of the UFS each time must be asked of us each time */
        ms = look;
    h->keep = (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
}

/* The kernel sends INIT when it likes; a mount point that answers is what the caller was promised. */
static int wait_ready(struct fuse_host *h)
{
    for (unsigned ms = 0; !atomic_load(&h->ready); ms++) {
        if (atomic_load(&h->gone) || ms >= READY_MS)
            return err_set(ERR_IO, "the kernel did not take up the mount of %s", h->mountpoint);
        clock_sleep_ms(1);
    }
    return 0;
}

/* ---- life ---- */

void host_news(const struct fuse_host *h, enum link_state state, struct link_news *ret)
{
    *ret = (struct link_news){
        .state = (uint32_t)state, .minor = h->minor, .nonce = h->nonce, .crashed = h->crashed, .root = h->root};
}

/* The device of a mount that others served before. */
static int take_over(struct fuse_host *h, const struct link_news *n)
{
    if (n->root != h->root)
        return err_set(ERR_STALE, "the directory that %s shows was replaced: unmount it", h->mountpoint);
    h->minor = n->minor;
    /* Later than all before; not the very next: the keeper may not have heard of one that came between and gave
     * numbers. */
    h->nonce = n->nonce + 1 + (uint32_t)(clock_mono_ns() & 0xfff);
    h->crashed = n->state == LINK_LEFT ? n->crashed : n->nonce;
    return 0;
}

static int begin(struct fuse_host *h, const struct fuse_host_options *o)
{
    const struct fs_px_options p = {.changed = host_changed, .arg = h, .uid = geteuid(), .gid = getegid()};
    const char *path = o->path ? o->path : "/";
    bool taken = o->before && o->before->state != LINK_NEW;
    h->nonce = 1 + (uint32_t)clock_mono_ns();
    TRY(fs_px_new(o->fs, &p, &h->px));
    TRY(fs_px_resolve(h->px, str_of(path), &h->root));
    if (taken)
        TRY(take_over(h, o->before));
    bool local = !o->held;
    char *options AUTO_FREE = NULL;
    if (!o->before) {
        TRY(mounting_options(o->mount_options, &options, &local));
        TRY(mounting_new(o->mountpoint, path, options, &h->mounting, &h->fd));
    }
    h->files = numbers_new(h->nonce);
    h->dirs = numbers_new(h->nonce);
    h->inherited = inherited_new();
    if (!local)
        locks_attach(o->locks, h, o->held ? o->held : &(struct locks_mount){0}, host_lose_file, h, &h->locks);
    atomic_store(&h->ready, taken);
    if (host_lost_any(h))
        log_warn("fuse.locks",
                 "mountpoint=\"%s\" meaning=\"locks that programs there had are held by others now: their files answer "
                 "EIO\" "
                 "action=\"start these programs again\"",
                 h->mountpoint);
    if (taken && o->serving)
        TRY(o->serving(o->serving_arg, h));
    if (taken && !h->notices) /* before anything is read: what we have read already must not come again. A keeper on
                                 another host does it itself */
        host_resend(h);
    TRY(serve_start(h));
    TRY(wait_ready(h));
    if (!taken && o->serving)
        TRY(o->serving(o->serving_arg, h));
    return 0;
}

int fuse_host_open(const struct fuse_host_options *o, struct fuse_host **ret)
{
    struct fuse_host *h = MEM_NEW(struct fuse_host);
    lock_init(&h->lock, RANK_FUSE);
    cond_init(&h->changed);
    lock_init(&h->notice, RANK_FUSE + 1);
    h->fd = o->before ? o->device : -1;
    h->calls = o->calls;
    h->notices = o->notices;
    atomic_store(&h->comes_back, o->calls != NULL); /* until its keeper says that it is over */
    h->conf = o->conf;
    h->mountpoint = str_dup(str_of(o->mountpoint));
    h->threads_max = (unsigned)conf_u64(o->conf, PROP_FUSE_THREADS);
    keep_for(h);
    int r = begin(h, o);
    if (r < 0) {
        char why[400];
        snprintf(why, sizeof why, "%s", err_detail(r));
        if (o->held && !h->locks) /* it was not taken over yet */
            lock_book_close(o->held->book);
        fuse_host_close(h);
        return err_set(r, "%s", why);
    }
    *ret = h;
    return 0;
}

/* Unmounted while we still answer: the last writes of the kernel's caches and of programs that end come through. */
static void unmount(struct fuse_host *h)
{
    for (unsigned ms = 0; ms < ASIDE_MS; ms += 50) {
        if (mounting_undo(h->mounting, false))
            return;
        clock_sleep_ms(50);
    }
    log_warn("fuse.busy",
             "mountpoint=\"%s\" meaning=\"programs still use the mount; they get ENOTCONN from now on\" "
             "action=\"end them before the mount is stopped\"",
             h->mountpoint);
    mounting_undo(h->mounting, true);
}

static void leave_file(void *p) /* the door releases them, and says whether all could be published */
{
    (void)p;
}

static int release_all(struct fuse_host *h)
{
    if (h->files) {
        numbers_free(h->files, leave_file);
        numbers_free(h->dirs, host_free_dir);
        inherited_free(h->inherited);
    }
    return fs_px_end(h->px);
}

int fuse_host_end(struct fuse_host *h)
{
    if (!h)
        return 0;
    if (h->mounting)
        unmount(h);
    locks_quiet(h->locks);
    if (h->thread)
        serve_stop(h);
    locks_detach(h->locks, !atomic_load(&h->comes_back) || h->minor < RESEND_MINOR);
    int r = release_all(h);
    if (r < 0)
        log_error("fuse.lost",
                  "mountpoint=\"%s\" error=\"%s\" meaning=\"what was written to files that were open could not be "
                  "published and is lost\" action=\"write these files again\"",
                  h->mountpoint, err_detail(r));
    if (h->mounting)
        mounting_free(h->mounting);
    else if (h->fd >= 0)
        close(h->fd);
    locks_end(h->locks, !atomic_load(&h->comes_back));
    pthread_cond_destroy(&h->changed);
    lock_done(&h->notice);
    lock_done(&h->lock);
    free(h->mountpoint);
    free(h);
    return r;
}

struct fuse_host *fuse_host_close(struct fuse_host *h)
{
    fuse_host_end(h);
    return NULL;
}

bool fuse_host_gone(const struct fuse_host *h)
{
    return atomic_load(&h->gone);
}
