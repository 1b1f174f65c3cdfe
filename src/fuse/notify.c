/* SPDX-License-Identifier: Apache-2.0
 *
 * What others changed is taken out of the kernel's caches. The kernel does it before write(2) returns; it may wait
 * there for requests of its own that are under way, which other threads of ours answer.
 */
#include "fuse/host.h"
#include <sys/uio.h>

static void cut_off(struct fuse_host *h)
{
    atomic_store(&h->gone, true); /* those who wait behind us need not */
    stream_cut(h->calls);
    stream_cut(h->notices);
}

/* Until the other host's kernel has heard it. One that does not answer in time must not keep what it may have cached:
 * its connection ends, and with that what we owe it. */
static void send_notice_there(struct fuse_host *h, const struct iovec *v, size_t n)
{
    enum stream_kind kind;
    char none;
    size_t got;
    LOCKED(&h->notice);
    if (atomic_load(&h->gone))
        return;
    if (stream_send(h->notices, STREAM_NOTICE, v, n) < 0 || stream_receive(h->notices, &kind, &none, 0, &got) < 0)
        cut_off(h);
}

static void send_notice(struct fuse_host *h, int code, const struct iovec *part, size_t n)
{
    struct fuse_out_header out = {.error = code, .len = sizeof out};
    struct iovec v[4] = {{&out, sizeof out}};
    for (size_t i = 0; i < n; i++) {
        v[i + 1] = part[i];
        out.len += (uint32_t)part[i].iov_len;
    }
    if (h->notices) {
        send_notice_there(h, v, n + 1);
        return;
    }
    while (writev(h->fd, v, (int)n + 1) < 0 && errno == EINTR) /* ENOENT: it knows no such thing, which is as good */
        ;
}

void host_resend(struct fuse_host *h)
{
    enum {
        RESEND = 7
    }; /* FUSE_NOTIFY_RESEND, Linux 6.9; older kernels refuse it, and what the dead process had read stays unanswered */
    send_notice(h, RESEND, NULL, 0);
}

static uint64_t node_of(const struct fuse_host *h, uint64_t ino)
{
    return ino == h->root ? FUSE_ROOT_ID : ino;
}

static void forget_name(struct fuse_host *h, uint64_t parent, struct str name)
{
    struct fuse_notify_inval_entry_out e = {.parent = node_of(h, parent), .namelen = (uint32_t)name.n};
    struct iovec v[] = {{&e, sizeof e}, {(void *)name.p, name.n}, {(void *)"", 1}};
    send_notice(h, FUSE_NOTIFY_INVAL_ENTRY, v, 3);
}

static void forget_inode(struct fuse_host *h, uint64_t ino)
{
    struct fuse_notify_inval_inode_out i = {.ino = node_of(h, ino), .off = 0, .len = 0};
    struct iovec v[] = {{&i, sizeof i}};
    send_notice(h, FUSE_NOTIFY_INVAL_INODE, v, 1);
}

void host_changed(void *arg, uint64_t parent, struct str name, uint64_t ino)
{
    struct fuse_host *h = arg;
    if (!atomic_load(&h->ready) || atomic_load(&h->gone))
        return;
    TRACE("fuse.changed", parent, ino);
    if (name.n)
        forget_name(h, parent, name);
    if (name.n && parent)
        forget_inode(h, parent); /* its times and its cached listing */
    if (ino)
        forget_inode(h, ino);
}
