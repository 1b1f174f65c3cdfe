/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "netpeer.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

int peer_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    struct timeval t = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_return_code(connect(fd, (struct sockaddr *)&a, sizeof a), errno);
    return fd;
}

void peer_send_n(int fd, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t r = send(fd, (const char *)p + at, n - at, MSG_NOSIGNAL);
        assert_true(r > 0);
        at += (size_t)r;
    }
}

void peer_send(int fd, const char *z)
{
    peer_send_n(fd, z, strlen(z));
}

void peer_send_slowly(int fd, const char *z)
{
    for (; *z; z++) {
        peer_send_n(fd, z, 1);
        usleep(200);
    }
}

/* One byte, or -1 at the end. */
static int get(int fd)
{
    unsigned char c;
    ssize_t r = recv(fd, &c, 1, 0);
    if (r < 0 && errno != ECONNRESET)
        fail_msg("no answer: error %d", errno);
    return r == 1 ? c : -1;
}

static bool get_line(int fd, struct buf *b)
{
    for (int c; (c = get(fd)) >= 0;) {
        char ch = (char)c;
        buf_add(b, &ch, 1);
        if (b->n >= 2 && memcmp(b->p + b->n - 2, "\r\n", 2) == 0)
            return true;
    }
    return false;
}

/* At most n bytes; false when the stream ended before. */
static bool get_n(int fd, struct buf *b, uint64_t n)
{
    while (n) {
        char p[65536];
        ssize_t r = recv(fd, p, n < sizeof p ? n : sizeof p, 0);
        if (r <= 0)
            return false;
        buf_add(b, p, (size_t)r);
        n -= (uint64_t)r;
    }
    return true;
}

static bool get_chunks(int fd, struct buf *b)
{
    for (;;) {
        struct buf line AUTO_BUF = {0};
        if (!get_line(fd, &line))
            return false;
        uint64_t n = strtoull(line.p, NULL, 16);
        if (n && !get_n(fd, b, n))
            return false;
        buf_reset(&line);
        if (!get_line(fd, &line))
            return false;
        assert_string_equal(line.p, "\r\n");
        if (!n)
            return true;
    }
}

const char *answer_header(const struct answer *a, const char *name)
{
    static __thread char value[512];
    for (const char *p = strstr(a->head.p, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n"))
        if (strncasecmp(p + 2, name, strlen(name)) == 0 && p[2 + strlen(name)] == ':') {
            const char *v = p + 2 + strlen(name) + 1, *end = strstr(v, "\r\n");
            while (*v == ' ')
                v++;
            snprintf(value, sizeof value, "%.*s", (int)(end - v), v);
            return value;
        }
    return NULL;
}

static void read_head(int fd, struct answer *a)
{
    do
        if (!get_line(fd, &a->head))
            return;
    while (a->head.n < 4 || memcmp(a->head.p + a->head.n - 4, "\r\n\r\n", 4));
    assert_int_equal(strncmp(a->head.p, "HTTP/1.1 ", 9), 0);
    a->status = atoi(a->head.p + 9);
}

static bool read_body(int fd, struct answer *a)
{
    const char *v = answer_header(a, "Content-Length");
    if (v)
        return get_n(fd, &a->body, strtoull(v, NULL, 10));
    if (answer_header(a, "Transfer-Encoding"))
        return get_chunks(fd, &a->body);
    get_n(fd, &a->body, UINT64_MAX);
    return true;
}

void peer_read(int fd, struct answer *a, bool head_only)
{
    buf_reset(&a->head);
    buf_reset(&a->body);
    a->status = 0;
    a->whole = false;
    read_head(fd, a);
    bool none = head_only || a->status < 200 || a->status == 204 || a->status == 304;
    if (a->status)
        a->whole = none || read_body(fd, a);
}

void answer_done(struct answer *a)
{
    buf_done(&a->head);
    buf_done(&a->body);
}

void peer_ask(int fd, const char *request, int status, struct answer *a)
{
    peer_send(fd, request);
    peer_read(fd, a, strncmp(request, "HEAD ", 5) == 0);
    if (a->status != status || !a->whole)
        fail_msg("%s answer %d instead of %d to\n%s", a->whole ? "whole" : "short", a->status, status, request);
}

bool peer_closed(int fd)
{
    char c;
    return recv(fd, &c, 1, 0) == 0;
}

bool peer_silent(int fd)
{
    char c;
    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}
