/* SPDX-License-Identifier: Apache-2.0
 * Start and stop of the server, its addresses, and the keeper that closes what is over its deadline. */
#include "net/http.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "net/http_int.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

/* ---- options ---- */

static void no_event(void *arg, const struct http_event *ev)
{
    (void)arg;
    (void)ev;
}

static const char *plain_error(void *arg, int status, const char *reason, const char *request_id, struct buf *out)
{
    (void)arg;
    (void)request_id;
    buf_printf(out, "%d %s: %s\n", status, http_reason(status), reason);
    return "text/plain";
}

#define DEFAULT(field, value) (o->field = o->field ? o->field : (value))

static void fill_defaults(struct http_options *o)
{
    DEFAULT(threads, 32);
    DEFAULT(threads_max, o->threads + 2016);
    DEFAULT(stack_size, 1 << 20);
    DEFAULT(connections_max, 20000);
    DEFAULT(head_max, HTTP_HEAD_MAX);
    DEFAULT(headers_max, HTTP_HEADERS_MAX);
    DEFAULT(body_max, INT64_MAX);
    DEFAULT(drain_max, 64 << 10);
    DEFAULT(buffers_max, 64 << 20);
    DEFAULT(idle_timeout_ms, 60000);
    DEFAULT(head_timeout_ms, 30000);
    DEFAULT(io_timeout_ms, 30000);
    if (!o->body_timeout_ms || o->body_timeout_ms > o->io_timeout_ms)
        o->body_timeout_ms = o->io_timeout_ms;
    DEFAULT(stall_ms, 20);
    DEFAULT(server_name, "Forebay");
    DEFAULT(event, no_event);
    DEFAULT(error_body, plain_error);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    o->stack_size *= 4; /* instrumented frames are larger */
#endif
}

static int check_options(const struct http_options *o)
{
    if (!o->n_listen || !o->handle)
        return err_set(ERR_INVALID, "an HTTP server needs an address and a handler");
    if (o->head_max > HTTP_HEAD_MAX || o->headers_max > HTTP_HEADERS_MAX)
        return err_set(ERR_INVALID, "at most %d bytes and %d lines of request head", HTTP_HEAD_MAX, HTTP_HEADERS_MAX);
    if (o->threads_max <= o->threads)
        return err_set(ERR_INVALID, "threads_max must be above threads (%zu)", o->threads);
    if (strlen(o->server_name) > 200 || !http_is_field_value(str_of(o->server_name)))
        return err_set(ERR_INVALID, "the server name is too long or holds control characters");
    if (!o->tls_cert != !o->tls_key)
        return err_set(ERR_INVALID, "TLS needs both a certificate and a key file");
    return 0;
}

/* ---- addresses ---- */

/* "host:port", "[v6]:port", "*:port", ":port"; host is NULL for all addresses. */
static int split_address(const char *text, char host[256], char port[16])
{
    const char *colon = strrchr(text, ':');
    uint64_t n;
    if (!colon || !str_u64(str_of(colon + 1), 65535, &n))
        return err_set(ERR_INVALID, "%s is no address to listen on: host:port is wanted", text);
    const char *h = text;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && h[0] == '[' && h[len - 1] == ']') {
        h++;
        len -= 2;
    }
    if (len > 255)
        return err_set(ERR_INVALID, "host name %.*s is too long", (int)len, h);
    snprintf(host, 256, "%.*s", (int)len, h);
    snprintf(port, 16, "%s", colon + 1);
    if (strcmp(host, "*") == 0)
        *host = 0;
    return 0;
}

static int listen_error(const char *text, int eno)
{
    int code = eno == EADDRINUSE ? ERR_BUSY : eno == EACCES ? ERR_DENIED : ERR_INVALID;
    char why[128];
    return err_set(code, "cannot listen on %s: %s", text, strerror_r(eno, why, sizeof why));
}

static int open_socket(const struct addrinfo *a, int *ret)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* these two are inherited by accepted sockets */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 4096) == 0) {
        *ret = fd;
        return 0;
    }
    int eno = errno;
    close(fd);
    return eno;
}

static void add_listener(struct http_server *s, int fd, size_t index)
{
    struct sockaddr_in6 a = {0};
    socklen_t n = sizeof a;
    getsockname(fd, (struct sockaddr *)&a, &n);
    s->listeners = mem_grow(s->listeners, s->n_listeners + 1, sizeof *s->listeners);
    struct listener *l = &s->listeners[s->n_listeners++];
    *l = (struct listener){.fd = fd, .index = index, .port = ntohs(a.sin6_port)};
    conn_peer_name(&a, l->address, sizeof l->address);
}

/* A name may stand for several addresses: one of them must work. Port 0 takes the first only. */
static int listen_on(struct http_server *s, size_t index, const char *text)
{
    char host[256], port[16];
    TRY(split_address(text, host, port));
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list;
    /* All addresses: one socket for both families where there is IPv6. */
    hints.ai_family = *host ? AF_UNSPEC : AF_INET6;
    int r = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (r)
        return err_set(ERR_INVALID, "cannot resolve %s to listen on: %s", text, gai_strerror(r));
    int eno = EADDRNOTAVAIL, fd = -1;
    bool found = false;
    for (struct addrinfo *a = list; a && !(found && strcmp(port, "0") == 0); a = a->ai_next) {
        int e = open_socket(a, &fd);
        if (e == 0) {
            add_listener(s, fd, index);
            found = true;
        } else if (!found) {
            eno = e;
        }
    }
    freeaddrinfo(list);
    return found ? 0 : listen_error(text, eno);
}

static int listen_everywhere(struct http_server *s)
{
    for (size_t i = 0; i < s->o.n_listen; i++) {
        const char *text = s->o.listen[i];
        int r = listen_on(s, i, text);
        if (r < 0 && (*text == '*' || *text == ':')) { /* no IPv6 in this kernel */
            char v4[32];
            snprintf(v4, sizeof v4, "0.0.0.0%.20s", text + (*text == '*'));
            r = listen_on(s, i, v4);
        }
        TRY(r);
    }
    return 0;
}

const char *http_server_address(const struct http_server *s, size_t i)
{
    for (size_t k = 0; k < s->n_listeners; k++)
        if (s->listeners[k].index == i)
            return s->listeners[k].address;
    return NULL;
}

int http_server_port(const struct http_server *s, size_t i)
{
    for (size_t k = 0; k < s->n_listeners; k++)
        if (s->listeners[k].index == i)
            return s->listeners[k].port;
    return 0;
}

/* ---- the keeper ---- */

static void expire(struct http_server *s, struct conn *c)
{
    if (c->saved && !c->linger) {
        static const char late[] = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        struct iovec iov = {(char *)late, sizeof late - 1};
        c->io->sendv(c, &iov, 1, false);
        count(&s->timeouts, 1);
        http_event(s, c, 408, "the request did not arrive in time");
    }
    conn_close(c);
}

static void close_expired(struct http_server *s)
{
    uint64_t now = clock_mono_ns();
    size_t n = atomic_load_explicit(&s->n_slabs, memory_order_acquire) * CONN_SLAB;
    for (size_t i = 0; i < n; i++) {
        struct conn *c = conn_expired(conn_at(s, i), now);
        if (c)
            expire(s, c);
    }
}

static void *keeper_main(void *arg)
{
    struct http_server *s = arg;
    lock_take(&s->lock);
    while (!s->quit) {
        uint64_t tick = clock_mono_ns() + KEEPER_MS * 1000000ull;
        while (!s->quit && cond_wait_until(&s->keeper_wake, &s->lock, tick))
            ;
        lock_drop(&s->lock);
        close_expired(s);
        worker_resume_listeners(s);
        worker_join_gone(s);
        lock_take(&s->lock);
    }
    lock_drop(&s->lock);
    return NULL;
}

/* ---- start ---- */

static int open_epoll(struct http_server *s)
{
    s->ep = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->ep < 0 || s->wake < 0)
        return err_set(err_from_errno(errno), "cannot make an epoll instance");
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    int r = epoll_ctl(s->ep, EPOLL_CTL_ADD, s->wake, &ev);
    for (size_t i = 0; i < s->n_listeners && r == 0; i++) {
        ev = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 1ull << 63 | i};
        r = epoll_ctl(s->ep, EPOLL_CTL_ADD, s->listeners[i].fd, &ev);
    }
    return r ? err_set(err_from_errno(errno), "cannot watch the listening sockets") : 0;
}

static void keep_strings(struct http_server *s)
{
    const char **field[] = {&s->o.server_name, &s->o.tls_cert, &s->o.tls_key};
    for (size_t i = 0; i < 3; i++)
        if (*field[i])
            *field[i] = s->strings[i] = str_dup(str_of(*field[i]));
}

static void init_fields(struct http_server *s, const struct http_options *o)
{
    s->o = *o;
    fill_defaults(&s->o);
    keep_strings(s);
    s->ep = s->wake = -1;
    s->no_keep_alive = s->o.no_keep_alive;
    s->idle_timeout_ms = s->o.idle_timeout_ms;
    s->slabs = mem_zero(s->o.connections_max / CONN_SLAB + 1, sizeof *s->slabs);
    lock_init(&s->lock, RANK_NET);
    cond_init(&s->changed);
    cond_init(&s->keeper_wake);
    if (getrandom(&s->id_base, sizeof s->id_base, 0) != (ssize_t)sizeof s->id_base)
        s->id_base = clock_wall_ms() << 20 ^ clock_mono_ns();
}

static int start(struct http_server *s)
{
    TRY(check_options(&s->o));
    if (s->o.tls_cert)
        TRY(tls_new(s->o.tls_cert, s->o.tls_key, &s->tls));
    TRY(listen_everywhere(s));
    TRY(open_epoll(s));
    TRY(thread_start(&s->keeper, "http-keeper", keeper_main, s));
    s->keeper_runs = true;
    for (size_t i = 0; i < s->o.threads; i++)
        TRY(worker_start(s));
    return 0;
}

int http_server_start(const struct http_options *o, struct http_server **ret)
{
    struct http_server *s = MEM_NEW(struct http_server);
    init_fields(s, o);
    int r = start(s);
    if (r < 0) {
        http_server_free(s);
        return r;
    }
    s->o.listen = NULL; /* the caller's, not needed any more */
    *ret = s;
    return 0;
}

/* ---- figures and settings ---- */

static uint64_t idle_connections(struct http_server *s)
{
    uint64_t idle = 0;
    size_t n = atomic_load_explicit(&s->n_slabs, memory_order_acquire) * CONN_SLAB;
    for (size_t i = 0; i < n; i++)
        idle += conn_is_idle(conn_at(s, i));
    return idle;
}

void http_server_figures(struct http_server *s, struct http_figures *ret)
{
    *ret = (struct http_figures){
        .connections = counted(&s->connections),
        .idle = idle_connections(s),
        .threads = counted(&s->threads),
        .stalled = counted(&s->stalled),
        .buffered = counted(&s->buffered),
        .accepted = counted(&s->accepted),
        .refused = counted(&s->refused),
        .requests = counted(&s->requests),
        .rejected = counted(&s->rejected),
        .timeouts = counted(&s->timeouts),
        .overrun = counted(&s->overrun),
        .bytes_in = counted(&s->bytes_in),
        .bytes_out = counted(&s->bytes_out),
    };
}

void http_server_keep_alive(struct http_server *s, bool on, unsigned idle_timeout_ms)
{
    atomic_store(&s->no_keep_alive, !on);
    atomic_store(&s->idle_timeout_ms, idle_timeout_ms);
}

/* ---- stop ---- */

static void close_idle(struct http_server *s)
{
    size_t n = atomic_load_explicit(&s->n_slabs, memory_order_acquire) * CONN_SLAB;
    for (size_t i = 0; i < n; i++)
        if (conn_claim_idle(conn_at(s, i)))
            conn_close(conn_at(s, i));
}

static void close_parked(struct http_server *s)
{
    size_t n = atomic_load_explicit(&s->n_slabs, memory_order_acquire) * CONN_SLAB;
    for (size_t i = 0; i < n; i++) {
        struct conn *c = conn_expired(conn_at(s, i), UINT64_MAX);
        if (c)
            conn_close(c);
    }
}

/* Wait a moment for changes; false when all connections are gone. */
static bool some_left(struct http_server *s, uint64_t until)
{
    LOCKED(&s->lock);
    if (counted(&s->connections) && clock_mono_ns() < until)
        cond_wait_until(&s->changed, &s->lock, sooner(until, clock_mono_ns() + 10000000));
    return counted(&s->connections) > 0;
}

static size_t cut_running(struct http_server *s)
{
    LOCKED(&s->lock);
    size_t cut = 0, n = atomic_load(&s->n_slabs) * CONN_SLAB;
    for (size_t i = 0; i < n; i++) {
        struct conn *c = conn_at(s, i);
        if (c->fd >= 0 && !atomic_load(&c->cut)) {
            conn_cut(c);
            cut++;
        }
    }
    return cut;
}

static void stop_accepting(struct http_server *s)
{
    atomic_store(&s->stopping, true);
    for (size_t i = 0; i < s->n_listeners; i++)
        shutdown(s->listeners[i].fd, SHUT_RDWR); /* closed later: a worker may hold it */
}

size_t http_server_stop(struct http_server *s, unsigned timeout_ms)
{
    uint64_t deadline = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
    size_t cut = 0;
    stop_accepting(s);
    do
        close_idle(s);
    while (some_left(s, deadline) && clock_mono_ns() < deadline);
    do {
        close_parked(s);
        cut += cut_running(s);
    } while (some_left(s, UINT64_MAX));
    return cut;
}

static void stop_threads(struct http_server *s)
{
    atomic_store(&s->leave, true);
    uint64_t one = 1;
    if (s->wake >= 0)
        (void)!write(s->wake, &one, sizeof one);
    lock_take(&s->lock);
    s->quit = true;
    pthread_cond_broadcast(&s->keeper_wake);
    lock_drop(&s->lock);
    if (s->keeper_runs)
        pthread_join(s->keeper, NULL);
    for (bool left = true; left;) {
        worker_join_gone(s);
        LOCKED(&s->lock);
        left = s->workers > 0;
        if (left && !s->gone)
            cond_wait(&s->changed, &s->lock);
    }
}

struct http_server *http_server_free(struct http_server *s)
{
    if (!s)
        return NULL;
    http_server_stop(s, 0);
    stop_threads(s);
    for (size_t i = 0; i < s->n_listeners; i++)
        close(s->listeners[i].fd);
    free(s->listeners);
    if (s->ep >= 0)
        close(s->ep);
    if (s->wake >= 0)
        close(s->wake);
    tls_free(s->tls);
    conn_slabs_free(s);
    for (size_t i = 0; i < 3; i++)
        free(s->strings[i]);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->keeper_wake);
    lock_done(&s->lock);
    free(s);
    return NULL;
}
