/* SPDX-License-Identifier: Apache-2.0
 *
 * Where connections go, and making them.
 */
#include "base/err.h"
#include "base/mem.h"
#include "bench/wire_int.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

struct target {
    char host[256]; /* as in the Host header, with the port unless it is the scheme's own */
    char name[256]; /* without it */
    struct addrinfo *addr;
    struct ssl_ctx_st *tls; /* NULL: plain */
};

static bool split_port(struct str *host, const char *otherwise, char port[8])
{
    snprintf(port, 8, "%s", otherwise);
    const char *colon = memrchr(host->p, ':', host->n);
    if (!colon || memchr(colon, ']', host->n - (size_t)(colon - host->p)))
        return true;
    struct str digits = str_from(*host, (size_t)(colon - host->p) + 1);
    uint64_t n;
    if (!str_u64(digits, 65535, &n) || n == 0)
        return false;
    snprintf(port, 8, "%u", (unsigned)n);
    host->n = (size_t)(colon - host->p);
    return true;
}

/* "[::1]" is named with brackets and looked up without. */
static struct str without_brackets(struct str s)
{
    return s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']' ? str_mk(s.p + 1, s.n - 2) : s;
}

static int parse_url(const char *url, struct target *t, char port[8], bool *ret_tls)
{
    struct str s = str_of(url);
    *ret_tls = str_starts(s, STR("https://"));
    if (!*ret_tls && !str_starts(s, STR("http://")))
        return err_set(ERR_INVALID, "the endpoint '%s' does not begin with http:// or https://", url);
    s = str_from(s, *ret_tls ? 8 : 7);
    if (s.n && s.p[s.n - 1] == '/')
        s.n--;
    struct str host = s;
    if (!s.n || s.n >= sizeof t->host || memchr(s.p, '/', s.n) || !split_port(&host, *ret_tls ? "443" : "80", port))
        return err_set(ERR_INVALID, "the endpoint '%s' is not SCHEME://HOST or SCHEME://HOST:PORT", url);
    struct str name = without_brackets(host);
    snprintf(t->host, sizeof t->host, "%.*s", STR_ARG(s));
    snprintf(t->name, sizeof t->name, "%.*s", STR_ARG(name));
    return 0;
}

static int resolve(struct target *t, const char *port)
{
    struct addrinfo hint = {.ai_socktype = SOCK_STREAM};
    int e = getaddrinfo(t->name, port, &hint, &t->addr);
    return e ? err_set(ERR_INVALID, "the endpoint's host '%s': %s", t->name, gai_strerror(e)) : 0;
}

int target_open(const char *url, const char *ca, struct target **ret)
{
    struct target *t = MEM_NEW(struct target);
    char port[8];
    bool tls;
    int r = parse_url(url, t, port, &tls);
    if (r == 0)
        r = resolve(t, port);
    if (r == 0 && tls)
        r = wire_tls_new(ca, &t->tls);
    if (r < 0) {
        target_close(t);
        return r;
    }
    *ret = t;
    return 0;
}

const char *target_host(const struct target *t)
{
    return t->host;
}

struct target *target_close(struct target *t)
{
    if (!t)
        return NULL;
    if (t->addr)
        freeaddrinfo(t->addr);
    wire_tls_free(t->tls);
    free(t);
    return NULL;
}

static void set_options(int fd)
{
    int one = 1;
    struct timeval tv = {.tv_sec = WIRE_SECONDS};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

int wire_dial(struct wire *w)
{
    int e = EADDRNOTAVAIL;
    for (const struct addrinfo *a = w->target->addr; a; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            e = errno;
            continue;
        }
        set_options(fd); /* the time limit holds for connect() too */
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            w->fd = fd;
            w->pos = w->have = 0;
            int r = w->target->tls ? wire_tls_open(w, w->target->tls, w->target->name) : 0;
            if (r < 0)
                wire_hang_up(w);
            return r;
        }
        e = errno;
        close(fd);
    }
    char why[128];
    return err_set(ERR_UNREACHABLE, "connect: %s", strerror_r(e, why, sizeof why));
}

void wire_hang_up(struct wire *w)
{
    if (w->ssl)
        wire_tls_close(w);
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

int wire_failed(ssize_t r, const char *doing)
{
    int e = errno;
    char why[128];
    if (r == 0)
        return err_set(ERR_IO, "%s: the server closed the connection", doing);
    if (e == EAGAIN || e == EWOULDBLOCK)
        return err_set(ERR_TIMEOUT, "%s: nothing for %d seconds", doing, WIRE_SECONDS);
    return err_set(ERR_IO, "%s: %s", doing, strerror_r(e, why, sizeof why));
}
