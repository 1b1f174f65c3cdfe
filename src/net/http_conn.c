/* SPDX-License-Identifier: Apache-2.0
 * Connections: slots, ownership, parking; the state machine is at the top of http_int.h. */
#include "base/mem.h"
#include "net/http_int.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/epoll.h>

static uint64_t word(uint64_t gen, enum conn_state st)
{
    return gen << 8 | st;
}

static uint64_t gen_of(struct conn *c)
{
    return atomic_load_explicit(&c->state, memory_order_relaxed) >> 8;
}

static bool switch_state(struct conn *c, uint64_t gen, enum conn_state from, enum conn_state to)
{
    uint64_t expected = word(gen, from);
    return atomic_compare_exchange_strong_explicit(&c->state, &expected, word(gen, to), memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* ---- slots ---- */

/* One more slab on the free list. Under the lock. */
static void add_slab(struct http_server *s)
{
    size_t k = atomic_load_explicit(&s->n_slabs, memory_order_relaxed);
    struct conn *slab = mem_zero(CONN_SLAB, sizeof *slab);
    for (size_t i = CONN_SLAB; i-- > 0;) {
        slab[i].slot = (uint32_t)(k * CONN_SLAB + i);
        slab[i].s = s;
        slab[i].fd = -1;
        slab[i].next = s->free;
        s->free = &slab[i];
    }
    s->slabs[k] = slab;
    atomic_store_explicit(&s->n_slabs, k + 1, memory_order_release);
}

static struct conn *take_slot(struct http_server *s, int fd)
{
    LOCKED(&s->lock);
    if (counted(&s->connections) >= s->o.connections_max)
        return NULL;
    if (!s->free)
        add_slab(s);
    struct conn *c = s->free;
    s->free = c->next;
    c->fd = fd;
    count(&s->connections, 1);
    return c;
}

struct conn *conn_open(struct http_server *s, int fd, const struct sockaddr_in6 *peer)
{
    struct conn *c = take_slot(s, fd);
    if (!c)
        return NULL;
    c->io = &http_plain;
    c->tls = NULL;
    c->head_start = 0;
    c->need = c->scan = 0;
    c->more = c->linger = c->registered = c->handshaken = false;
    atomic_store_explicit(&c->cut, false, memory_order_relaxed);
    c->peer = *peer;
    atomic_store_explicit(&c->state, word(gen_of(c) + 1, CONN_RUNNING), memory_order_release);
    return c;
}

static void give_slot(struct conn *c)
{
    struct http_server *s = c->s;
    LOCKED(&s->lock);
    c->fd = -1;
    atomic_store_explicit(&c->state, word(gen_of(c), CONN_FREE), memory_order_release);
    c->next = s->free;
    s->free = c;
    atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
    pthread_cond_broadcast(&s->changed);
}

void conn_close(struct conn *c)
{
    int fd = c->fd;
    conn_unsave(c);
    c->io->done(c);
    give_slot(c); /* before close: from here on nobody can shut down a descriptor that may be reused */
    close(fd);
}

void conn_cut(struct conn *c)
{
    if (c->fd < 0)
        return;
    atomic_store(&c->cut, true);
    shutdown(c->fd, SHUT_RDWR);
}

void conn_slabs_free(struct http_server *s)
{
    size_t n = atomic_load(&s->n_slabs);
    for (size_t i = 0; i < n; i++)
        free(s->slabs[i]);
    free(s->slabs);
}

/* ---- parking and claiming ---- */

static void arm(struct conn *c, uint64_t gen, uint32_t events)
{
    struct epoll_event ev = {.events = events | EPOLLONESHOT, .data.u64 = (gen & 0x7fffffff) << 32 | c->slot};
    int op = c->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    c->registered = true;
    int r = epoll_ctl(c->s->ep, op, c->fd, &ev);
    CHECK(r == 0 || errno == ENOMEM || errno == ENOSPC, "epoll_ctl: error %d", errno);
    if (r < 0) /* without an event only the deadline ends it */
        atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
}

void conn_park(struct conn *c, uint32_t events, uint64_t deadline)
{
    uint64_t gen = gen_of(c);
    c->events = events;
    atomic_store_explicit(&c->deadline, deadline, memory_order_relaxed);
    for (;;) {
        arm(c, gen, events);
        if (switch_state(c, gen, CONN_RUNNING, CONN_PARKED))
            return;
        /* The event was faster and has been swallowed; what caused it is still there, so arming again repeats it. */
        CHECK(switch_state(c, gen, CONN_PENDING, CONN_RUNNING));
    }
}

struct conn *conn_claim(struct http_server *s, uint64_t data)
{
    struct conn *c = conn_at(s, (uint32_t)data);
    for (;;) {
        uint64_t w = atomic_load_explicit(&c->state, memory_order_acquire);
        if ((w >> 8 & 0x7fffffff) != data >> 32)
            return NULL;
        if ((w & 255) == CONN_PARKED) {
            if (switch_state(c, w >> 8, CONN_PARKED, CONN_RUNNING))
                return c;
        } else if ((w & 255) != CONN_RUNNING || switch_state(c, w >> 8, CONN_RUNNING, CONN_PENDING)) {
            return NULL;
        }
    }
}

static bool claim_parked(struct conn *c)
{
    uint64_t w = atomic_load_explicit(&c->state, memory_order_acquire);
    return (w & 255) == CONN_PARKED && switch_state(c, w >> 8, CONN_PARKED, CONN_RUNNING);
}

/* Claimed by mistake: park again as it was. */
static void unclaim(struct conn *c)
{
    conn_park(c, c->events, atomic_load_explicit(&c->deadline, memory_order_relaxed));
}

struct conn *conn_expired(struct conn *c, uint64_t now)
{
    if (atomic_load_explicit(&c->deadline, memory_order_relaxed) > now || !claim_parked(c))
        return NULL;
    /* It may have been served and parked again since the first look. */
    if (atomic_load_explicit(&c->deadline, memory_order_relaxed) <= now)
        return c;
    unclaim(c);
    return NULL;
}

bool conn_claim_idle(struct conn *c)
{
    if (!claim_parked(c))
        return false;
    if (!c->saved && !c->linger)
        return true;
    unclaim(c);
    return false;
}

bool conn_is_idle(struct conn *c)
{
    return (atomic_load_explicit(&c->state, memory_order_relaxed) & 255) == CONN_PARKED;
}

/* ---- bytes kept while parked ---- */

bool conn_save(struct conn *c, const char *p, size_t n, size_t cap)
{
    struct http_server *s = c->s;
    if (cap < n)
        cap = n;
    if (counted(&s->buffered) + cap > s->o.buffers_max)
        return false;
    char *q = malloc(cap);
    if (!q)
        return false;
    memcpy(q, p, n);
    conn_unsave(c);
    c->saved = q;
    c->saved_n = n;
    c->saved_cap = cap;
    count(&s->buffered, cap);
    return true;
}

void conn_unsave(struct conn *c)
{
    if (!c->saved)
        return;
    atomic_fetch_sub_explicit(&c->s->buffered, c->saved_cap, memory_order_relaxed);
    free(TAKE(c->saved));
    c->saved_n = c->saved_cap = 0;
}

void conn_peer_name(const struct sockaddr_in6 *a, char *out, size_t n)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const void *)a;
    if (a->sin6_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
        snprintf(out, n, "%s:%u", ip, ntohs(v4->sin_port));
    } else if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr)) {
        inet_ntop(AF_INET, &a->sin6_addr.s6_addr[12], ip, sizeof ip);
        snprintf(out, n, "%s:%u", ip, ntohs(a->sin6_port));
    } else {
        inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof ip);
        snprintf(out, n, "[%s]:%u", ip, ntohs(a->sin6_port));
    }
}
