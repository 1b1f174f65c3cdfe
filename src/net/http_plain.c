/* SPDX-License-Identifier: Apache-2.0
 * The transport without TLS. Signals are blocked in workers, so a send cannot kill the process by SIGPIPE. */
#include "net/http_int.h"
#include <sys/socket.h>

static ssize_t outcome(ssize_t r, ssize_t want)
{
    if (r >= 0)
        return r;
    return errno == EAGAIN || errno == EWOULDBLOCK ? want : IO_FAILED;
}

static ssize_t plain_recv(struct conn *c, void *p, size_t n)
{
    ssize_t r;
    do
        r = recv(c->fd, p, n, MSG_DONTWAIT);
    while (r < 0 && errno == EINTR);
    return outcome(r, IO_WANT_READ);
}

static ssize_t plain_sendv(struct conn *c, struct iovec *iov, int n, bool more)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t r;
    do
        r = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    while (r < 0 && errno == EINTR);
    return outcome(r, IO_WANT_WRITE);
}

static void plain_done(struct conn *c)
{
    (void)c;
}

const struct transport http_plain = {plain_recv, plain_sendv, plain_done};
