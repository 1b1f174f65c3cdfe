/* SPDX-License-Identifier: Apache-2.0
 * What a worker does with a connection it owns: gather a head (and a small body), run the handler, go on or park.
 *
 * Bytes of an incomplete request stay with the connection (conn.saved) while it is parked, everything else happens in
 * the worker's own buffer: a request that arrives in one piece costs one recv and one send, and no allocation. */
#include "base/clock.h"
#include "base/trace.h"
#include "net/http_int.h"
#include <stdio.h>
#include <sys/epoll.h>

enum { RECV_MAX = 72 << 10, SAVED_MIN = 1 << 10, LINGER_READS = 64 };

/* What to do with the connection next. */
enum next {
    NEXT_READ,  /* nothing is left over: look for more, then park */
    NEXT_AGAIN, /* bytes of the next request are here already */
    NEXT_GONE,  /* parked or closed: not ours any more */
};

void http_event(struct http_server *s, const struct conn *c, int status, const char *reason)
{
    char peer[64];
    conn_peer_name(&c->peer, peer, sizeof peer);
    s->o.event(s->o.arg, &(struct http_event){status, reason, peer});
}

static uint64_t in_ms(unsigned ms)
{
    return clock_mono_ns() + (uint64_t)ms * 1000000;
}

static uint32_t events_for(ssize_t want)
{
    return want == IO_WANT_WRITE ? EPOLLOUT : EPOLLIN;
}

/* ---- the end of a connection ---- */

/* Throw away what still comes, for a bounded time: a close with unread bytes would be a reset, and that can destroy the
 * answer on its way to the peer. */
static void linger_on(struct worker *w, struct conn *c)
{
    for (int i = 0; i < LINGER_READS; i++) {
        ssize_t r = recv(c->fd, w->in, sizeof w->in, MSG_DONTWAIT);
        if (r > 0)
            continue;
        if (r < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        conn_close(c);
        return;
    }
    conn_park(c, EPOLLIN, sooner(in_ms(LINGER_MS), c->head_start));
}

static void linger(struct worker *w, struct conn *c)
{
    c->io->done(c);
    c->io = &http_plain;
    conn_unsave(c);
    shutdown(c->fd, SHUT_WR);
    c->linger = true;
    c->head_start = in_ms(LINGER_TOTAL_MS); /* from here on: the end of patience */
    linger_on(w, c);
}

/* ---- one request ---- */

static void make_id(struct http_req *rq)
{
    /* A bijection of a counter: unique here; a random base: unlike those of other processes (splitmix64). */
    uint64_t x = rq->s->id_base + atomic_fetch_add_explicit(&rq->s->next_id, 1, memory_order_relaxed);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    x ^= x >> 31;
    for (int i = 15; i >= 0; i--, x >>= 4)
        rq->id[i] = "0123456789ABCDEF"[x & 15];
    rq->id[16] = 0;
}

/* Everything but the head, which the parser fills. */
static struct http_req *request_begin(struct worker *w, struct conn *c)
{
    struct http_req *rq = &w->rq;
    memset(rq, 0, offsetof(struct http_req, head));
    rq->s = w->s;
    rq->w = w;
    rq->c = c;
    rq->start_ns = clock_mono_ns();
    make_id(rq);
    return rq;
}

/* Refuse what cannot be understood; the connection cannot be trusted any more. */
static enum next reject(struct worker *w, struct conn *c, struct http_req *rq, const struct http_fault *f)
{
    rq->body_over = true;
    rq->is_head = str_eq(rq->head.method, STR("HEAD"));
    http_reject(rq, f->status, f->reason);
    linger(w, c);
    return NEXT_GONE;
}

static enum next reject_bytes(struct worker *w, struct conn *c, int status, const char *reason)
{
    struct http_req *rq = request_begin(w, c);
    memset(&rq->head, 0, offsetof(struct http_head, headers));
    rq->head.minor = 1;
    return reject(w, c, rq, &(struct http_fault){status, reason});
}

static void run_handler(struct http_req *rq)
{
    /* No body can be refused here, so the peer that waits for the 100 gets it at once. */
    if (rq->body == BODY_NONE && http_continue(rq) < 0)
        return;
    count(&rq->s->requests, 1);
    TRACE("http.request", rq->c->slot, rq->head.length);
    err_clear();
    rq->s->o.handle(rq->s->o.arg, rq);
    http_reply_finish(rq);
}

/* The head is parsed and w->in_at stands behind it. */
static enum next handle(struct worker *w, struct conn *c, struct http_req *rq)
{
    http_body_begin(rq);
    rq->is_head = str_eq(rq->head.method, STR("HEAD"));
    rq->keep = rq->head.keep_alive && !atomic_load_explicit(&w->s->no_keep_alive, memory_order_relaxed);
    if (rq->body_left > w->s->o.body_max)
        http_reject(rq, 413, "the request body is larger than allowed");
    else
        run_handler(rq);
    bool whole = rq->reply == REPLY_DONE && !rq->send_error;
    if (whole && rq->keep && http_body_finish(rq)) {
        c->head_start = 0;
        c->need = c->scan = 0;
        return w->in_at < w->in_n ? NEXT_AGAIN : NEXT_READ;
    }
    if (whole && (!rq->body_over || w->in_at < w->in_n))
        linger(w, c);
    else
        conn_close(c);
    return NEXT_GONE;
}

/* ---- gathering ---- */

/* Park with the n bytes at p until more have come. */
static enum next wait_for_more(struct worker *w, struct conn *c, size_t cap, ssize_t want)
{
    struct http_server *s = w->s;
    if (!c->head_start)
        c->head_start = clock_mono_ns();
    if (!conn_save(c, w->in + w->in_at, w->in_n - w->in_at, cap))
        return reject_bytes(w, c, 503, "too many incomplete requests: no buffer left");
    uint64_t deadline =
        c->need ? in_ms(s->o.body_timeout_ms) : c->head_start + (uint64_t)s->o.head_timeout_ms * 1000000;
    conn_park(c, events_for(want), deadline);
    return NEXT_GONE;
}

static ssize_t read_some(struct worker *w, struct conn *c)
{
    size_t room = IN_CAP - w->in_n;
    ssize_t r = c->io->recv(c, w->in + w->in_n, room < RECV_MAX ? room : RECV_MAX);
    if (r > 0) {
        w->in_n += (size_t)r;
        count(&w->s->bytes_in, (uint64_t)r);
    }
    return r;
}

/* Bytes the peer may put between requests. */
static void skip_blank(struct worker *w, struct conn *c)
{
    while (w->in_n - w->in_at >= 2 && w->in[w->in_at] == '\r' && w->in[w->in_at + 1] == '\n') {
        w->in_at += 2;
        c->scan = 0;
    }
    /* Keep room for a whole head and a small body behind what is here. */
    if (w->in_at > HTTP_HEAD_MAX || w->in_at == w->in_n) {
        memmove(w->in, w->in + w->in_at, w->in_n - w->in_at);
        w->in_n -= w->in_at;
        w->in_at = 0;
    }
}

/* Read on until the input holds `need` bytes: 1, or what the transport said. */
static ssize_t read_up_to(struct worker *w, struct conn *c, size_t need)
{
    while (w->in_n - w->in_at < need) {
        ssize_t r = read_some(w, c);
        if (r <= 0)
            return r;
    }
    return 1;
}

/* How much of head and body to have before a thread is spent on the request. */
static size_t wanted(const struct worker *w, const struct http_head *h, size_t head_n)
{
    if (h->length <= 0 || h->length > READ_AHEAD_MAX || h->expect || (uint64_t)h->length > w->s->o.body_max)
        return head_n;
    return head_n + (size_t)h->length;
}

static bool buffers_left(const struct http_server *s, size_t n)
{
    return counted(&s->buffered) + n <= s->o.buffers_max;
}

/* A whole head of head_n bytes is here. */
static enum next serve_head(struct worker *w, struct conn *c, size_t head_n)
{
    struct http_req *rq = request_begin(w, c);
    struct http_fault f;
    if (!http_head_parse(w->in + w->in_at, head_n, w->s->o.headers_max, w->arena, &rq->head, &f))
        return reject(w, c, rq, &f);
    size_t need = wanted(w, &rq->head, head_n);
    ssize_t r = read_up_to(w, c, need);
    if (r < 0 && r != IO_FAILED && buffers_left(w->s, need)) {
        c->need = need;
        return wait_for_more(w, c, need, r);
    }
    w->in_at += head_n; /* a body that ended early is the handler's to see */
    return handle(w, c, rq);
}

/* Some bytes of a request may be here: serve it, or read until it is whole, or park. */
static enum next serve_one(struct worker *w, struct conn *c)
{
    for (;;) {
        skip_blank(w, c);
        struct http_fault f;
        ssize_t n = http_head_end(w->in + w->in_at, w->in_n - w->in_at, w->s->o.head_max, &c->scan, &f);
        if (n > 0)
            return serve_head(w, c, (size_t)n);
        if (n < 0)
            return reject_bytes(w, c, f.status, f.reason);
        ssize_t r = read_some(w, c);
        if (r > 0)
            continue;
        if (r == IO_EOF || r == IO_FAILED) {
            conn_close(c);
            return NEXT_GONE;
        }
        if (w->in_n > w->in_at)
            return wait_for_more(w, c, 0, r);
        c->scan = 0;
        unsigned idle =
            c->io == &http_tls && !c->handshaken ? w->s->o.head_timeout_ms : atomic_load(&w->s->idle_timeout_ms);
        conn_park(c, events_for(r), in_ms(idle));
        return NEXT_GONE;
    }
}

/* ---- bytes saved with the connection ---- */

static void load_saved(struct worker *w, struct conn *c)
{
    memcpy(w->in, c->saved, c->saved_n);
    w->in_n = c->saved_n;
    conn_unsave(c);
}

static bool saved_is_ready(struct conn *c)
{
    if (c->need)
        return c->saved_n >= c->need;
    size_t scan = c->scan;
    struct http_fault f;
    ssize_t n = http_head_end(c->saved, c->saved_n, c->s->o.head_max, &scan, &f);
    if (!n)
        c->scan = scan; /* otherwise the line that decides must be seen again */
    return n != 0;
}

static bool grow_saved(struct conn *c)
{
    if (c->saved_n < c->saved_cap)
        return true;
    return conn_save(c, c->saved, c->saved_n, 2 * c->saved_cap < SAVED_MIN ? SAVED_MIN : 2 * c->saved_cap);
}

/* Read into the connection's own buffer: a peer that sends byte by byte costs no copies. True when the worker's buffer
 * holds something to serve. */
static bool gather_saved(struct worker *w, struct conn *c)
{
    while (!saved_is_ready(c)) {
        if (!grow_saved(c))
            break; /* the worker's buffer has room: serve_one goes on from there, and refuses if it must */
        ssize_t r = c->io->recv(c, c->saved + c->saved_n, c->saved_cap - c->saved_n);
        if (r > 0) {
            c->saved_n += (size_t)r;
            count(&w->s->bytes_in, (uint64_t)r);
            continue;
        }
        if (r == IO_WANT_READ || r == IO_WANT_WRITE) {
            uint64_t head_end = c->head_start + (uint64_t)w->s->o.head_timeout_ms * 1000000;
            conn_park(c, events_for(r), c->need ? in_ms(w->s->o.body_timeout_ms) : head_end);
            return false;
        }
        if (!c->need) {
            conn_close(c);
            return false;
        }
        break; /* the body ended early: the handler gets what came */
    }
    load_saved(w, c);
    return true;
}

static bool load(struct worker *w, struct conn *c)
{
    w->in_at = w->in_n = 0;
    bool more = c->more;
    c->more = false;
    if (!c->saved)
        return true;
    if (!more)
        return gather_saved(w, c);
    load_saved(w, c);
    return true;
}

/* Others first: go to the end of epoll's list. False when the bytes in hand cannot be kept. */
static bool yield_turn(struct worker *w, struct conn *c)
{
    if (w->in_at < w->in_n && !conn_save(c, w->in + w->in_at, w->in_n - w->in_at, 0))
        return false;
    c->more = true;
    conn_park(c, EPOLLIN | EPOLLOUT, in_ms(w->s->o.io_timeout_ms));
    return true;
}

void http_serve(struct worker *w, struct conn *c)
{
    if (c->linger) {
        linger_on(w, c);
        return;
    }
    if (!load(w, c))
        return;
    for (int turn = 1;; turn++) {
        enum next n = serve_one(w, c);
        if (n == NEXT_GONE)
            return;
        if (turn % TURNS == 0 && yield_turn(w, c))
            return;
    }
}
