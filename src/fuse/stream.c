/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames over TCP (contract in stream.h).
 */
#include "fuse/stream.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "fuse/link.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { PARTS = 8, BACKLOG = 64 };

struct head {
    uint32_t kind, n; /* n: bytes behind it */
};

struct stream {
    int fd;
    atomic_bool reading;       /* false: ended by us */
    struct lock send, receive; /* RANK_FUSE + 2: a frame is not mixed with another */
};

/* A host that vanished without a word is found out. */
static void watch_over(int fd)
{
    const struct {
        int level, name, value;
    } o[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
             {IPPROTO_TCP, TCP_KEEPIDLE, 5},
             {IPPROTO_TCP, TCP_KEEPINTVL, 3},
             {IPPROTO_TCP, TCP_KEEPCNT, 3},
             {IPPROTO_TCP, TCP_USER_TIMEOUT, STREAM_DEAD_MS},
             {IPPROTO_TCP, TCP_NODELAY, 1}};
    for (size_t i = 0; i < sizeof o / sizeof o[0]; i++)
        setsockopt(fd, o[i].level, o[i].name, &o[i].value, sizeof o[i].value);
}

struct stream *stream_new(int fd)
{
    struct stream *s = MEM_NEW(struct stream);
    s->fd = fd;
    atomic_store(&s->reading, true);
    lock_init(&s->send, RANK_FUSE + 2);
    lock_init(&s->receive, RANK_FUSE + 2);
    watch_over(fd);
    return s;
}

struct stream *stream_free(struct stream *s)
{
    if (!s)
        return NULL;
    close(s->fd);
    lock_done(&s->send);
    lock_done(&s->receive);
    free(s);
    return NULL;
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}

void stream_limits(struct stream *s, unsigned send_ms, unsigned receive_ms)
{
    const struct timeval out = {send_ms / 1000, send_ms % 1000 * 1000},
                         in = {receive_ms / 1000, receive_ms % 1000 * 1000};
    setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &out, sizeof out);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &in, sizeof in);
}

static int gone(void)
{
    return err_set(ERR_IO, "the other side is gone");
}

/* ---- frames ---- */

/* v from *i on, n bytes of it were taken. */
static void advance(struct iovec *v, size_t *i, size_t n)
{
    while (n >= v[*i].iov_len && n) {
        n -= v[*i].iov_len;
        ++*i;
    }
    if (n) {
        v[*i].iov_base = (char *)v[*i].iov_base + n;
        v[*i].iov_len -= n;
    }
}

static int send_all(int fd, struct iovec *v, size_t n, size_t bytes)
{
    for (size_t i = 0; bytes;) {
        struct msghdr m = {.msg_iov = v + i, .msg_iovlen = n - i};
        ssize_t done = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return gone();
        bytes -= (size_t)done;
        advance(v, &i, (size_t)done);
    }
    return 0;
}

int stream_send(struct stream *s, enum stream_kind kind, const struct iovec *part, size_t n)
{
    struct head h = {.kind = kind};
    struct iovec v[PARTS + 1] = {{&h, sizeof h}};
    CHECK(n <= PARTS);
    for (size_t i = 0; i < n; i++) {
        v[i + 1] = part[i];
        h.n += (uint32_t)part[i].iov_len;
    }
    LOCKED(&s->send);
    int r = send_all(s->fd, v, n + 1, sizeof h + h.n);
    if (r < 0)
        shutdown(s->fd, SHUT_RDWR); /* half a frame may be out */
    return r;
}

static int receive_all(struct stream *s, void *b, size_t n)
{
    for (size_t at = 0; at < n;) {
        if (!atomic_load(&s->reading))
            return gone();
        ssize_t got = recv(s->fd, (char *)b + at, n - at, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return gone();
        at += (size_t)got;
    }
    return 0;
}

int stream_receive(struct stream *s, enum stream_kind *ret_kind, void *b, size_t max, size_t *ret_n)
{
    struct head h;
    LOCKED(&s->receive);
    TRY(receive_all(s, &h, sizeof h));
    if (h.n > max || h.kind < STREAM_CHALLENGE || h.kind > STREAM_OVER) {
        stream_cut(s);
        return err_set(ERR_INVALID, "the other side speaks another protocol");
    }
    TRY(receive_all(s, b, h.n));
    *ret_kind = (enum stream_kind)h.kind;
    *ret_n = h.n;
    return 0;
}

void stream_end_reading(struct stream *s)
{
    atomic_store(&s->reading, false);
}

/* A socket that is closed while it holds what nobody read is reset, and the other side may lose what it has not read
 * yet. */
void stream_finish(struct stream *s, unsigned ms)
{
    uint64_t until = clock_mono_ms() + ms, now;
    char sink[4096];
    shutdown(s->fd, SHUT_WR);
    while ((now = clock_mono_ms()) < until) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, (int)(until - now)) < 0 && errno == EINTR)
            continue;
        ssize_t n = recv(s->fd, sink, sizeof sink, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

void stream_end_sending(struct stream *s)
{
    shutdown(s->fd, SHUT_WR);
}

void stream_cut(struct stream *s)
{
    atomic_store(&s->reading, false);
    shutdown(s->fd, SHUT_RDWR);
}

/* ---- addresses ---- */

static int resolve(const char *address, bool listening, struct addrinfo **ret)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    bool brackets = n >= 2 && address[0] == '[' && address[n - 1] == ']';
    if (!colon || n >= sizeof host || !colon[1])
        return err_set(ERR_INVALID, "%s is not HOST:PORT", address);
    snprintf(host, sizeof host, "%.*s", (int)(n - 2 * brackets), address + brackets);
    struct addrinfo hints = {.ai_flags = AI_NUMERICSERV | (listening ? AI_PASSIVE : 0), .ai_socktype = SOCK_STREAM};
    int e = getaddrinfo(host[0] ? host : NULL, colon + 1, &hints, ret);
    return e ? err_set(e == EAI_AGAIN ? ERR_UNREACHABLE : ERR_INVALID, "%s: %s", address, gai_strerror(e)) : 0;
}

int stream_connect(const char *address, struct stream **ret)
{
    struct addrinfo *list;
    int eno = EADDRNOTAVAIL;
    TRY(resolve(address, false, &list));
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        struct timeval limit = {.tv_sec = 5};
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* of connect(2), too */
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            freeaddrinfo(list);
            *ret = stream_new(fd);
            return 0;
        }
        eno = errno;
        if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(list);
    return err_set(ERR_UNREACHABLE, "nothing serves mounts at %s: %s (there forebay.fuse.listen must be set)", address,
                   strerror(eno));
}

int stream_listen(const char *address, int *ret_fd)
{
    struct addrinfo *list;
    int one = 1, eno = EADDRNOTAVAIL, fd = -1;
    TRY(resolve(address, true, &list));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd >= 0 && bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
            break;
        eno = errno;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    *ret_fd = fd;
    return fd >= 0 ? 0 : err_set(err_from_errno(eno), "cannot listen on %s: %s", address, strerror(eno));
}

void stream_address(int fd, char *ret, size_t n)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[128] = "", port[16] = "";
    if (getsockname(fd, (struct sockaddr *)&a, &size) == 0)
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(ret, n, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void prove(const char *token, const char *word, const unsigned char challenge[32], const struct stream_hello *h,
                  unsigned char ret[32])
{
    unsigned char said[16 + 32 + sizeof h->role + sizeof h->session] = {0}, *at = said + 16;
    memcpy(said, word, strlen(word)); /* shorter than 16 */
    memcpy(at, challenge, 32);
    memcpy(at + 32, &h->role, sizeof h->role);
    memcpy(at + 32 + sizeof h->role, h->session, sizeof h->session);
    hmac_sha256(token, strlen(token), said, sizeof said, ret);
}

void stream_prove(const char *token, const unsigned char challenge[32], struct stream_hello *h)
{
    prove(token, "keeper", challenge, h, h->proof);
}

void stream_welcome(const char *token, const unsigned char challenge[32], const struct stream_hello *h,
                    unsigned char ret[32])
{
    prove(token, "server", challenge, h, ret);
}

bool stream_same(const unsigned char a[32], const unsigned char b[32])
{
    unsigned char differ = 0;
    for (size_t i = 0; i < 32; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}
