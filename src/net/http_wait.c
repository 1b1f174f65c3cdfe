/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the peer in the middle of a request, without costing the other requests a thread.
 *
 * A short wait is granted while other workers are idle. What is longer, or comes after the request has used up its
 * grant, counts the worker as stalled, and a stalled worker is replaced. So a thousand dribbling peers hold a thousand
 * sleeping threads with small stacks, and the number of threads that can run stays what it was. */
#include "base/clock.h"
#include "net/http_int.h"
#include <poll.h>
#include <stdio.h>

static void link_last(struct http_server *s, struct conn *c)
{
    c->stall_next = NULL;
    c->stall_prev = s->stall_tail;
    *(s->stall_tail ? &s->stall_tail->stall_next : &s->stall_head) = c;
    s->stall_tail = c;
}

static void unlink_one(struct http_server *s, struct conn *c)
{
    *(c->stall_prev ? &c->stall_prev->stall_next : &s->stall_head) = c->stall_next;
    *(c->stall_next ? &c->stall_next->stall_prev : &s->stall_tail) = c->stall_prev;
}

/* No more threads: cut the transfer that has stalled longest, whose worker then takes over. */
static void cut_oldest(struct http_server *s)
{
    char peer[64] = "";
    lock_take(&s->lock);
    struct conn *c = s->stall_head;
    while (c && atomic_load(&c->cut))
        c = c->stall_next;
    if (c) {
        conn_peer_name(&c->peer, peer, sizeof peer);
        conn_cut(c);
        count(&s->overrun, 1);
    }
    lock_drop(&s->lock);
    if (*peer)
        s->o.event(s->o.arg, &(struct http_event){0, "too many stalled transfers: the longest was cut", peer});
}

static void stall_begin(struct conn *c)
{
    struct http_server *s = c->s;
    lock_take(&s->lock);
    link_last(s, c);
    count(&s->stalled, 1);
    bool need_one = counted(&s->threads) - counted(&s->stalled) < s->o.threads;
    lock_drop(&s->lock);
    if (need_one && worker_start(s) < 0)
        cut_oldest(s);
}

static void stall_end(struct conn *c)
{
    LOCKED(&c->s->lock);
    unlink_one(c->s, c);
    atomic_fetch_sub_explicit(&c->s->stalled, 1, memory_order_relaxed);
}

/* > 0 ready, 0 not. */
static int poll_for(int fd, short events, unsigned ms)
{
    uint64_t end = clock_mono_ms() + ms;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        uint64_t now = clock_mono_ms();
        int r = poll(&p, 1, now < end ? (int)(end - now) : 0);
        if (r >= 0 || errno != EINTR)
            return r != 0;
    }
}

static bool granted(const struct http_req *rq)
{
    return rq->waited_ns < (uint64_t)rq->s->o.stall_ms * 1000000 && counted(&rq->s->idle_workers) > 0;
}

static int wait_stalled(struct http_req *rq, short events)
{
    struct conn *c = rq->c;
    unsigned ms = events == POLLIN ? rq->s->o.body_timeout_ms : rq->s->o.io_timeout_ms;
    stall_begin(c);
    int ready = poll_for(c->fd, events, ms);
    stall_end(c);
    if (atomic_load(&c->cut))
        return err_set(ERR_INCOMPLETE_BODY, "the connection was cut");
    if (ready)
        return 0;
    count(&rq->s->timeouts, 1);
    return err_set(ERR_TIMEOUT, "the peer did not move a byte for %u ms", ms);
}

int http_wait(struct http_req *rq, ssize_t want)
{
    short events = want == IO_WANT_WRITE ? POLLOUT : POLLIN;
    if (granted(rq)) {
        uint64_t t = clock_mono_ns();
        int ready = poll_for(rq->c->fd, events, rq->s->o.stall_ms);
        rq->waited_ns += clock_mono_ns() - t;
        if (ready)
            return 0;
    }
    return wait_stalled(rq, events);
}
