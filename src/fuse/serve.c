/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads. Each has a clone of the device where that can be (requests are then spread by the kernel, without one
 * queue's lock for all), a buffer to read into and one to answer from. A thread that takes the last free place starts
 * another first, so that slow requests (the UFS) do not keep fast ones waiting, up to forebay.fuse.threads.max.
 *
 *     idle (in read) -> working -> idle ... -> ended (device gone, or stopping)
 *
 * Ending: the device answers ENODEV once it is unmounted and nobody uses it; before that, threads are woken by a signal
 * whose handler does nothing, until they have seen `stopping`.
 */
#include "base/mem.h"
#include "fuse/host.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>

enum { WAKE = SIGURG }; /* ignored by default, used by nobody here */

static void woken(int sig)
{
    (void)sig;
}

/* Names that are not there are everyday business; the rest is worth a line for who looks for it. */
static void note_failure(const struct fuse_req *q, const char *op, int r)
{
    if (r != ERR_NOT_FOUND && r != ERR_NO_BUCKET)
        log_debug("fuse.failed", "op=%s node=%llu code=%s error=\"%s\"", op, (unsigned long long)q->in->nodeid,
                  err_info(r)->name, err_detail(r));
    if (r == ERR_BUG || r == ERR_CORRUPT)
        log_error("fuse.failed",
                  "op=%s node=%llu error=\"%s\" action=\"stop the instance and run forebay fsck --verify\"", op,
                  (unsigned long long)q->in->nodeid, err_detail(r));
}

static void serve_one(struct fuse_req *q)
{
    uint64_t began = clock_mono_ns();
    uint32_t code = q->in->opcode;
    const struct fuse_op *op = code < HOST_OPS ? &fuse_ops[code] : NULL;
    if (!op || !op->run) {
        req_error(q, ENOSYS);
        return;
    }
    err_clear();
    TRACE("fuse.op", code, q->in->nodeid);
    int r = q->n < op->min ? ERR_INVALID : op->run(q);
    if (r < 0)
        note_failure(q, op->name, r);
    if (!op->silent && !q->answered)
        req_error(q, r < 0 ? err_info(r)->eno : EIO);
    figures_count(code, clock_mono_ns() - began, r);
}

/* ---- threads ---- */

static void *serve(void *arg);

/* Under the lock. */
static void start_thread(struct fuse_host *h)
{
    if (h->started == h->threads_max || atomic_load(&h->stopping))
        return;
    if (thread_start(&h->thread[h->started], "fuse", serve, h) < 0)
        return; /* those that are there go on */
    h->started++;
    h->threads++;
    h->idle++;
}

static void begin_work(struct fuse_host *h)
{
    LOCKED(&h->lock);
    if (--h->idle == 0)
        start_thread(h);
}

static void end_work(struct fuse_host *h)
{
    LOCKED(&h->lock);
    h->idle++;
}

static void leave(struct fuse_host *h)
{
    LOCKED(&h->lock);
    h->idle--;
    h->threads--;
    pthread_cond_broadcast(&h->changed);
}

/* Not of a device that a keeper holds, where the kernel can ask again: what was read through a clone ends with it
 * (ECONNABORTED), also when we die, while what was read through the device itself is asked for again from the next one.
 */
static int clone_device(const struct fuse_host *h)
{
    uint32_t from = (uint32_t)h->fd;
    if (h->fd < 0 || (!h->mounting && h->minor >= RESEND_MINOR))
        return -1;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (ioctl(fd, FUSE_DEV_IOC_CLONE, &from) == 0)
        return fd;
    close(fd);
    return -1;
}

static size_t next_from_afar(struct fuse_host *h, char *b)
{
    enum stream_kind kind;
    size_t n;
    int r = stream_receive(h->calls, &kind, b, HOST_BUFFER, &n);
    if (r == 0 && kind == STREAM_REQUEST && n >= sizeof(struct fuse_in_header))
        return n;
    if (r == 0 && kind == STREAM_OVER)
        atomic_store(&h->comes_back, false);
    if (r == 0)
        stream_cut(h->calls);
    atomic_store(&h->gone, true);
    return 0;
}

/* The next request into b; its length, 0 when there will be none. */
static size_t next_request(struct fuse_host *h, int fd, char *b)
{
    for (;;) {
        if (atomic_load(&h->stopping))
            return 0;
        if (h->calls)
            return next_from_afar(h, b);
        ssize_t n = read(fd, b, HOST_BUFFER);
        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            return (size_t)n;
        if (n >= 0 ||
            (errno != EINTR && errno != EAGAIN && errno != ENOENT)) { /* ENOENT: interrupted before we had it */
            atomic_store(&h->gone, true);
            return 0;
        }
    }
}

static void *serve(void *arg)
{
    struct fuse_host *h = arg;
    char *in = mem_alloc(HOST_BUFFER), *out = mem_alloc(HOST_BUFFER);
    sigset_t wake;
    sigemptyset(&wake);
    sigaddset(&wake, WAKE);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
    int own = -1;
    bool decided = false;
    size_t n;
    while ((n = next_request(h, own < 0 ? h->fd : own, in))) {
        struct fuse_req q = {.h = h, .fd = own < 0 ? h->fd : own, .in = (const void *)in, .out = out};
        q.arg = in + sizeof *q.in;
        q.n = n - sizeof *q.in;
        begin_work(h);
        serve_one(&q);
        end_work(h);
        if (!decided && atomic_load(&h->ready)) { /* what the kernel can do is known */
            decided = true;
            own = clone_device(h);
        }
    }
    if (own >= 0)
        close(own);
    free(in);
    free(out);
    leave(h);
    return NULL;
}

int serve_start(struct fuse_host *h)
{
    struct sigaction a = {.sa_handler = woken}; /* without SA_RESTART: read(2) ends */
    sigaction(WAKE, &a, NULL);
    h->thread = mem_zero(h->threads_max, sizeof *h->thread);
    LOCKED(&h->lock);
    start_thread(h);
    return h->started ? 0 : err_set(ERR_NOMEM, "no thread can be started for the mount");
}

void serve_stop(struct fuse_host *h)
{
    enum { AGAIN_NS = 10000000 };
    atomic_store(&h->stopping, true);
    lock_take(&h->lock);
    while (h->threads) {
        for (unsigned i = 0; i < h->started; i++)
            pthread_kill(h->thread[i], WAKE); /* not joined yet, so the ids are good */
        cond_wait_until(&h->changed, &h->lock, clock_mono_ns() + AGAIN_NS);
    }
    lock_drop(&h->lock);
    for (unsigned i = 0; i < h->started; i++)
        pthread_join(h->thread[i], NULL);
    free(h->thread);
    h->thread = NULL;
    h->started = 0;
}
