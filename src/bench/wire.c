/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and answers over one connection.
 */
#include "bench/wire.h"
#include "base/err.h"
#include "base/mem.h"
#include "bench/wire_int.h"
#include <sys/socket.h>

enum { SCRATCH = 256 << 10 };

void wire_init(struct wire *w, const struct target *t)
{
    *w = (struct wire){.target = t, .fd = -1, .in = mem_alloc(WIRE_BUFFER), .scratch = mem_alloc(SCRATCH)};
}

void wire_done(struct wire *w)
{
    wire_hang_up(w);
    buf_done(&w->body);
    free(w->in);
    free(w->scratch);
}

/* ---- sending ---- */

static ssize_t send_some(struct wire *w, struct iovec *v, size_t n)
{
    if (w->ssl)
        return wire_tls_send(w, v->iov_base, v->iov_len);
    struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
    return sendmsg(w->fd, &m, MSG_NOSIGNAL);
}

static size_t skip_sent(struct iovec *v, size_t n, size_t sent)
{
    size_t i = 0;
    while (i < n && sent >= v[i].iov_len)
        sent -= v[i++].iov_len;
    if (i < n) {
        v[i].iov_base = (char *)v[i].iov_base + sent;
        v[i].iov_len -= sent;
    }
    return i;
}

static int send_pieces(struct wire *w, struct iovec *v, size_t n)
{
    while (n) {
        ssize_t r = send_some(w, v, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return wire_failed(r, "send");
        size_t done = skip_sent(v, n, (size_t)r);
        v += done;
        n -= done;
    }
    return 0;
}

/* The head goes with the first pieces of the body, so that a small request is one packet. */
static int send_request(struct wire *w, const struct exchange *x)
{
    struct iovec v[WIRE_PIECES] = {{(void *)(uintptr_t)x->head.p, x->head.n}};
    size_t n = 1;
    for (uint64_t at = 0; at < x->length;) {
        size_t k;
        const unsigned char *p = x->source(x->arg, at, x->length - at, &k);
        v[n++] = (struct iovec){(void *)(uintptr_t)p, k};
        at += k;
        if (n == WIRE_PIECES) {
            TRY(send_pieces(w, v, n));
            n = 0;
        }
    }
    return send_pieces(w, v, n);
}

/* ---- receiving ---- */

static ssize_t recv_some(struct wire *w, void *p, size_t n)
{
    ssize_t r;
    do
        r = w->ssl ? wire_tls_recv(w, p, n) : recv(w->fd, p, n, 0);
    while (r < 0 && errno == EINTR);
    return r;
}

static int fill(struct wire *w)
{
    if (w->pos == w->have)
        w->pos = w->have = 0;
    if (w->have == WIRE_BUFFER && w->pos) {
        memmove(w->in, w->in + w->pos, w->have - w->pos);
        w->have -= w->pos;
        w->pos = 0;
    }
    if (w->have == WIRE_BUFFER)
        return err_set(ERR_INVALID, "a header line of more than %d bytes", (int)WIRE_BUFFER);
    ssize_t r = recv_some(w, w->in + w->have, WIRE_BUFFER - w->have);
    if (r <= 0)
        return wire_failed(r, "receive");
    w->have += (size_t)r;
    return 0;
}

/* The next line without its end; it lies in the buffer until the next fill. */
static int next_line(struct wire *w, struct str *ret)
{
    for (;;) {
        char *p = w->in + w->pos, *e = memchr(p, '\n', w->have - w->pos);
        if (e) {
            size_t n = (size_t)(e - p);
            w->pos += n + 1;
            *ret = str_mk(p, n && p[n - 1] == '\r' ? n - 1 : n);
            return 0;
        }
        TRY(fill(w));
    }
}

static int malformed(const char *what, struct str line)
{
    return err_set(ERR_INVALID, "the answer's %s is malformed: '%.*s'", what, (int)(line.n < 80 ? line.n : 80), line.p);
}

static bool has_word(struct str v, const char *word)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", STR_ARG(v));
    return strcasestr(text, word) != NULL;
}

static bool take_header(struct wire *w, struct str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon)
        return false;
    struct str name = str_mk(line.p, (size_t)(colon - line.p)), v = str_from(line, name.n + 1);
    while (v.n && v.p[0] == ' ')
        v = str_from(v, 1);
    if (str_ieq(name, STR("content-length")))
        return str_u64(v, UINT64_MAX, &w->length);
    if (str_ieq(name, STR("transfer-encoding")))
        w->chunked = has_word(v, "chunked");
    else if (str_ieq(name, STR("connection")))
        w->close_after = has_word(v, "close");
    else if (str_ieq(name, STR("etag")))
        snprintf(w->etag, sizeof w->etag, "%.*s", STR_ARG(v));
    return true;
}

static int read_head(struct wire *w)
{
    struct str line;
    w->length = 0;
    w->chunked = w->close_after = false;
    w->etag[0] = 0;
    TRY(next_line(w, &line));
    uint64_t status = 0;
    if (line.n < 12 || !str_starts(line, STR("HTTP/1.")) || !str_u64(str_mk(line.p + 9, 3), 599, &status))
        return malformed("first line", line);
    w->status = (int)status;
    for (;;) {
        TRY(next_line(w, &line));
        if (!line.n)
            return 0;
        if (!take_header(w, line))
            return malformed("header", line);
    }
}

static void body_piece(struct wire *w, const struct exchange *x, const char *p, size_t n)
{
    bool good = w->status < 300;
    if ((good && x->keep) || (!good && w->body.n < WIRE_ERROR_BODY))
        buf_add(&w->body, p, n);
    if (good && x->sink && !x->sink(x->arg, w->got, (const unsigned char *)p, n))
        w->sink_ok = false;
    w->got += n;
}

static int read_bytes(struct wire *w, const struct exchange *x, uint64_t n)
{
    while (n) {
        size_t there = w->have - w->pos, k = there < n ? there : (size_t)n;
        if (k) {
            body_piece(w, x, w->in + w->pos, k);
            w->pos += k;
            n -= k;
            continue;
        }
        ssize_t r = recv_some(w, w->scratch, n < SCRATCH ? (size_t)n : SCRATCH);
        if (r <= 0)
            return wire_failed(r, "receive the body");
        body_piece(w, x, w->scratch, (size_t)r);
        n -= (uint64_t)r;
    }
    return 0;
}

static int read_chunks(struct wire *w, const struct exchange *x)
{
    for (;;) {
        struct str line;
        char text[20], *end;
        TRY(next_line(w, &line));
        snprintf(text, sizeof text, "%.*s", STR_ARG(line));
        unsigned long long n = strtoull(text, &end, 16);
        if (end == text)
            return malformed("chunk", line);
        TRY(read_bytes(w, x, n));
        if (n) {
            TRY(next_line(w, &line)); /* the one behind the chunk's bytes */
            continue;
        }
        do
            TRY(next_line(w, &line)); /* trailers */
        while (line.n);
        return 0;
    }
}

static int read_answer(struct wire *w, const struct exchange *x)
{
    do
        TRY(read_head(w));
    while (w->status < 200);
    w->got = 0;
    w->sink_ok = true;
    buf_reset(&w->body);
    if (x->no_body || w->status == 204 || w->status == 304)
        return 0;
    return w->chunked ? read_chunks(w, x) : read_bytes(w, x, w->length);
}

/* A server may answer and close before it has read the whole request: its answer is worth more than our EPIPE. */
static int send_and_read(struct wire *w, const struct exchange *x)
{
    int sent = send_request(w, x);
    if (sent < 0 && sent != ERR_IO)
        return sent;
    TRY(read_answer(w, x));
    if (sent < 0 || w->close_after)
        wire_hang_up(w);
    return 0;
}

static int try_once(struct wire *w, const struct exchange *x)
{
    if (w->fd < 0)
        TRY(wire_dial(w));
    w->pos = w->have = 0;
    int r = send_and_read(w, x);
    if (r < 0)
        wire_hang_up(w);
    return r;
}

int wire_exchange(struct wire *w, const struct exchange *x)
{
    bool fresh = w->fd < 0;
    w->status = 0;
    int r = try_once(w, x);
    if (r != ERR_IO || fresh || w->status)
        return r;
    /* Closed by the server while it was idle, as it may: once more, on a new connection. */
    w->reconnects++;
    return try_once(w, x);
}
