/* SPDX-License-Identifier: Apache-2.0
 * Workers: each waits in epoll for one event at a time and serves it to its end. Linux wakes the waiter that came last,
 * so the same few threads stay warm and the surplus runs into its timeout and leaves. */
#include "base/clock.h"
#include "base/mem.h"
#include "net/http_int.h"
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>

enum { ACCEPTS = 64 };

/* ---- new connections ---- */

/* The head was not read and will not be; a small answer fits into any new socket's buffer. */
static void refuse(struct http_server *s, int fd, const struct sockaddr_in6 *peer)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                                 "Connection: close\r\n\r\n";
    char name[64];
    count(&s->refused, 1);
    conn_peer_name(peer, name, sizeof name);
    s->o.event(s->o.arg, &(struct http_event){s->tls ? 0 : 503, "too many connections", name});
    if (!s->tls)
        (void)!send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    char scrap[4096];
    for (int i = 0; i < 16 && recv(fd, scrap, sizeof scrap, MSG_DONTWAIT) > 0; i++)
        ; /* what is unread would turn the close into a reset */
    close(fd);
}

static void welcome(struct http_server *s, int fd, const struct sockaddr_in6 *peer)
{
    struct conn *c = conn_open(s, fd, peer);
    if (!c) {
        refuse(s, fd, peer);
        return;
    }
    count(&s->accepted, 1);
    if (s->tls && !tls_attach(s->tls, c)) {
        conn_close(c);
        return;
    }
    unsigned ms = s->tls ? s->o.head_timeout_ms : atomic_load(&s->idle_timeout_ms);
    conn_park(c, EPOLLIN, clock_mono_ns() + (uint64_t)ms * 1000000);
}

static void arm_listener(struct http_server *s, size_t i)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 1ull << 63 | i};
    if (!atomic_load(&s->stopping))
        epoll_ctl(s->ep, EPOLL_CTL_MOD, s->listeners[i].fd, &ev);
}

/* False when descriptors or memory are out: the keeper tries again later. */
static bool accept_some(struct http_server *s, struct listener *l)
{
    for (int i = 0; i < ACCEPTS && !atomic_load(&s->stopping); i++) {
        struct sockaddr_in6 peer = {0};
        socklen_t n = sizeof peer;
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            welcome(s, fd, &peer);
        else if (errno == EAGAIN)
            return true;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return false;
    }
    return true;
}

static void take_listener(struct http_server *s, size_t i)
{
    if (accept_some(s, &s->listeners[i]))
        arm_listener(s, i);
    else
        atomic_store(&s->listeners[i].paused, true);
}

void worker_resume_listeners(struct http_server *s)
{
    for (size_t i = 0; i < s->n_listeners; i++)
        if (atomic_exchange(&s->listeners[i].paused, false))
            arm_listener(s, i);
}

/* ---- a worker's life ---- */

static void dispatch(struct worker *w, uint64_t data)
{
    if (data == UINT64_MAX)
        return; /* woken to look at `leave` */
    if (data >> 63) {
        take_listener(w->s, (size_t)(data & INT64_MAX));
        return;
    }
    struct conn *c = conn_claim(w->s, data);
    if (c)
        http_serve(w, c);
}

/* Surplus after a wave of stalls: leave, if the rule still holds without this one. */
static bool may_leave(struct http_server *s)
{
    LOCKED(&s->lock);
    if (!atomic_load(&s->leave) && counted(&s->threads) - counted(&s->stalled) <= s->o.threads)
        return false;
    atomic_fetch_sub_explicit(&s->threads, 1, memory_order_relaxed);
    return true;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct http_server *s = w->s;
    for (;;) {
        struct epoll_event ev;
        count(&s->idle_workers, 1);
        int n = epoll_wait(s->ep, &ev, 1, IDLE_LEAVE_MS);
        atomic_fetch_sub_explicit(&s->idle_workers, 1, memory_order_relaxed);
        if (n == 1)
            dispatch(w, ev.data.u64);
        if ((n == 0 || atomic_load_explicit(&s->leave, memory_order_relaxed)) && may_leave(s))
            break;
    }
    LOCKED(&s->lock);
    w->next = s->gone;
    s->gone = w;
    pthread_cond_broadcast(&s->changed);
    return NULL;
}

static int create(struct worker *w)
{
    pthread_attr_t a;
    sigset_t all, before;
    CHECK(pthread_attr_init(&a) == 0);
    int r = pthread_attr_setstacksize(&a, w->s->o.stack_size);
    CHECK(r == 0, "stack size %zu", w->s->o.stack_size);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&w->thread, &a, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&a);
    return r ? err_set(ERR_NOMEM, "no more threads: error %d (see TasksMax, ulimit -u)", r) : 0;
}

static bool reserve_thread(struct http_server *s)
{
    LOCKED(&s->lock);
    if (counted(&s->threads) >= s->o.threads_max || atomic_load(&s->leave))
        return false;
    count(&s->threads, 1);
    s->workers++;
    return true;
}

static void unreserve_thread(struct http_server *s)
{
    LOCKED(&s->lock);
    atomic_fetch_sub_explicit(&s->threads, 1, memory_order_relaxed);
    s->workers--;
    pthread_cond_broadcast(&s->changed);
}

int worker_start(struct http_server *s)
{
    if (!reserve_thread(s))
        return err_set(ERR_LIMIT, "threads_max is reached");
    /* mmap and not malloc: the far end of the buffers costs nothing until a large head comes. */
    struct worker *w =
        mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int r = w == MAP_FAILED ? err_set(ERR_NOMEM, "no memory for a worker") : 0;
    if (r == 0) {
        w->s = s;
        r = create(w);
        if (r < 0)
            munmap(w, sizeof *w);
    }
    if (r < 0)
        unreserve_thread(s);
    return r;
}

void worker_join_gone(struct http_server *s)
{
    lock_take(&s->lock);
    while (s->gone) {
        struct worker *w = s->gone;
        s->gone = w->next;
        lock_drop(&s->lock);
        pthread_join(w->thread, NULL);
        munmap(w, sizeof *w);
        lock_take(&s->lock);
        s->workers--;
        pthread_cond_broadcast(&s->changed);
    }
    lock_drop(&s->lock);
}
