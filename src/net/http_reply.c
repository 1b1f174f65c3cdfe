/* SPDX-License-Identifier: Apache-2.0
 * Answers. The server's own lines are built in worker.out, the handler's headers were gathered in worker.sets; both
 * leave in one call with the first bytes of the body. */
#include "base/clock.h"
#include "base/trace.h"
#include "net/http_int.h"
#include <stdio.h>
#include <time.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

/* ---- the handler's headers ---- */

static bool server_writes(struct str name)
{
    static const char *const own[] = {"content-length", "transfer-encoding", "connection", "date",
                                      "server",         "keep-alive"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (str_ieq(name, str_of(own[i])))
            return true;
    return false;
}

bool http_can_say(struct str name, struct str value)
{
    return http_is_token(name) && http_is_field_value(value);
}

int http_set(struct http_req *rq, const char *name, struct str value)
{
    CHECK(rq->reply == REPLY_NONE, "header %s after the answer has begun", name);
    struct str nm = str_of(name);
    if (!http_is_token(nm) || server_writes(nm))
        return err_set(ERR_INVALID, "this header name cannot be set by a handler");
    if (!http_is_field_value(value))
        return err_set(ERR_INVALID, "the value of header %s holds a control character", name);
    size_t n = nm.n + 2 + value.n + 2;
    if (n > SETS_MAX - rq->sets_n)
        return err_set(ERR_LIMIT, "the answer's headers are larger than %d bytes", SETS_MAX);
    char *p = rq->w->sets + rq->sets_n;
    p = mempcpy(p, nm.p, nm.n);
    p = mempcpy(p, ": ", 2);
    if (value.n)
        p = mempcpy(p, value.p, value.n);
    memcpy(p, "\r\n", 2);
    rq->sets_n += n;
    return 0;
}

int http_setf(struct http_req *rq, const char *name, const char *fmt, ...)
{
    char v[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(v, sizeof v, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof v)
        return err_set(ERR_LIMIT, "the value of header %s is too long", name);
    return http_set(rq, name, str_mk(v, (size_t)n));
}

void http_unset_all(struct http_req *rq)
{
    rq->sets_n = 0;
}

void http_close_after(struct http_req *rq)
{
    rq->keep = false;
}

/* ---- the head ---- */

static void out_add(struct http_req *rq, const char *p, size_t n)
{
    CHECK(rq->out_n + n <= sizeof rq->w->out);
    memcpy(rq->w->out + rq->out_n, p, n);
    rq->out_n += n;
}

static void out_z(struct http_req *rq, const char *z)
{
    out_add(rq, z, strlen(z));
}

static void out_u64(struct http_req *rq, uint64_t v)
{
    char d[20];
    size_t i = sizeof d;
    do
        d[--i] = (char)('0' + v % 10);
    while (v /= 10);
    out_add(rq, d + i, sizeof d - i);
}

static const char *date_now(struct worker *w)
{
    uint64_t s = clock_wall_ms() / 1000;
    if (s != w->date_s) {
        time_t t = (time_t)s;
        struct tm tm;
        gmtime_r(&t, &tm);
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        snprintf(w->date, sizeof w->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
                 tm.tm_mday % 100, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour % 100,
                 tm.tm_min % 100, tm.tm_sec % 100);
        w->date_s = s;
    }
    return w->date;
}

static void out_framing(struct http_req *rq, int64_t length)
{
    if (rq->status == 204 || rq->status == 304)
        return;
    if (length >= 0) {
        out_z(rq, "Content-Length: ");
        out_u64(rq, (uint64_t)length);
        out_z(rq, "\r\n");
    } else if (rq->chunked_out) {
        out_z(rq, "Transfer-Encoding: chunked\r\n");
    }
}

/* Decides what becomes of the connection and builds the head. */
static void begin(struct http_req *rq, int status, int64_t length)
{
    CHECK(rq->reply == REPLY_NONE, "a second answer %d after %d", status, rq->status);
    CHECK(status >= 200 && status <= 599, "status %d", status);
    rq->reply = REPLY_OPEN;
    rq->status = status;
    rq->length = length;
    rq->bodiless = rq->is_head || status == 204 || status == 304;
    rq->chunked_out = length < 0 && rq->head.minor >= 1;
    rq->keep = rq->keep && http_body_keeps(rq) && !atomic_load_explicit(&rq->s->stopping, memory_order_relaxed);
    rq->out_n = 0;
    rq->held = true;
    out_z(rq, "HTTP/1.1 ");
    out_u64(rq, (uint64_t)status);
    out_z(rq, " ");
    out_z(rq, http_reason(status));
    out_z(rq, "\r\nDate: ");
    out_z(rq, date_now(rq->w));
    out_z(rq, "\r\nServer: ");
    out_z(rq, rq->s->o.server_name);
    out_z(rq, "\r\n");
    out_framing(rq, length);
    if (!rq->keep)
        out_z(rq, "Connection: close\r\n");
    memcpy(rq->w->sets + rq->sets_n, "\r\n", 2);
}

/* ---- sending ---- */

static int send_failed(struct http_req *rq, int code)
{
    rq->send_error = code;
    rq->keep = false;
    if (rq->reply != REPLY_NONE)
        rq->reply = REPLY_BROKEN;
    return code;
}

/* After r bytes went out: iov and n become the rest. */
static struct iovec *skip(struct iovec *iov, int *n, size_t r)
{
    while (*n && r >= iov->iov_len) {
        r -= iov->iov_len;
        iov++;
        --*n;
    }
    if (*n) {
        iov->iov_base = (char *)iov->iov_base + r;
        iov->iov_len -= r;
    }
    return iov;
}

int http_raw_send(struct http_req *rq, struct iovec *iov, int n, bool more)
{
    iov = skip(iov, &n, 0);
    while (n) {
        ssize_t r = rq->c->io->sendv(rq->c, iov, n, more);
        if (r > 0) {
            count(&rq->s->bytes_out, (uint64_t)r);
            iov = skip(iov, &n, (size_t)r);
            continue;
        }
        int w = r == IO_WANT_READ || r == IO_WANT_WRITE
                    ? http_wait(rq, r)
                    : err_set(ERR_INCOMPLETE_BODY, "the peer closed the connection while it was sent to");
        if (w < 0)
            return send_failed(rq, w);
    }
    return 0;
}

/* The head that is held back, as the first entries of iov; their number. */
static int take_head(struct http_req *rq, struct iovec *iov)
{
    if (!rq->held)
        return 0;
    rq->held = false;
    iov[0] = (struct iovec){rq->w->out, rq->out_n};
    iov[1] = (struct iovec){rq->w->sets, rq->sets_n + 2};
    return 2;
}

static int send_rest(struct http_req *rq, const char *tail)
{
    struct iovec iov[3];
    int n = take_head(rq, iov);
    iov[n++] = (struct iovec){(char *)tail, strlen(tail)};
    return http_raw_send(rq, iov, n, false);
}

/* ---- whole answers ---- */

static int reply_done(struct http_req *rq, int r)
{
    if (r < 0)
        return r;
    rq->reply = REPLY_DONE;
    TRACE("http.reply", rq->status, rq->sent);
    return 0;
}

int http_reply(struct http_req *rq, int status, const void *body, size_t n)
{
    begin(rq, status, (int64_t)n);
    if (rq->bodiless)
        n = 0;
    rq->sent = n;
    struct iovec iov[3];
    int k = take_head(rq, iov);
    iov[k++] = (struct iovec){(void *)body, n};
    return reply_done(rq, http_raw_send(rq, iov, k, false));
}

int http_reply_head(struct http_req *rq, int status, uint64_t length)
{
    CHECK(rq->is_head, "http_reply_head() answers HEAD only");
    begin(rq, status, (int64_t)length);
    return reply_done(rq, send_rest(rq, ""));
}

/* ---- answers in pieces ---- */

int http_reply_start(struct http_req *rq, int status, int64_t length)
{
    begin(rq, status, length < 0 ? HTTP_CHUNKED : length);
    return 0;
}

/* Whether body bytes may go out now; n is accounted for. */
static int may_send(struct http_req *rq, uint64_t n)
{
    if (rq->send_error)
        return rq->send_error;
    if (rq->reply == REPLY_BROKEN)
        return ERR_INCOMPLETE_BODY;
    CHECK(rq->reply == REPLY_OPEN, "a body without http_reply_start()");
    CHECK(rq->length < 0 || rq->sent + n <= (uint64_t)rq->length, "more than the announced %lld bytes",
          (long long)rq->length);
    rq->sent += n;
    return 0;
}

static int chunk_line(uint64_t n, char line[20], struct iovec *iov)
{
    int k = snprintf(line, 20, "%llx\r\n", (unsigned long long)n);
    *iov = (struct iovec){line, (size_t)k};
    return 1;
}

int http_send(struct http_req *rq, const void *p, size_t n)
{
    TRY(may_send(rq, n));
    if (rq->bodiless || !n)
        return 0;
    char line[20];
    struct iovec iov[5];
    int k = take_head(rq, iov);
    if (rq->chunked_out)
        k += chunk_line(n, line, &iov[k]);
    iov[k++] = (struct iovec){(void *)p, n};
    if (rq->chunked_out)
        iov[k++] = (struct iovec){(char *)"\r\n", 2};
    return http_raw_send(rq, iov, k, false);
}

/* Up to n bytes of the file into the worker's piece; all of them or as many as it holds. */
static int read_piece(struct http_req *rq, int fd, off_t off, uint64_t n, size_t *ret_n)
{
    ssize_t r;
    do
        r = pread(fd, rq->w->piece, n < SEND_PIECE ? (size_t)n : SEND_PIECE, off);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return err_set(ERR_IO, "reading the file that is sent: %s", strerror(errno));
    if (r == 0)
        return err_set(ERR_IO, "the file that is sent ends before byte %lld", (long long)off + (long long)n);
    *ret_n = (size_t)r;
    return 0;
}

/* Copies. sendfile(2) would not: what it queues are references to the file's pages in the page cache, in the socket's
 * queue and, over loopback, in the receiver's, long after it has returned and after the peer has acknowledged. The page
 * store reuses its segments in place, so a slow reader would be sent the bytes of whoever came next. */
int http_send_file(struct http_req *rq, int fd, off_t off, uint64_t n)
{
    TRY(may_send(rq, n));
    if (rq->bodiless || !n)
        return 0;
    char line[20];
    struct iovec iov[4];
    int k = take_head(rq, iov);
    if (rq->chunked_out)
        k += chunk_line(n, line, &iov[k]);
    while (n) {
        size_t got = 0;
        int r = read_piece(rq, fd, off, n, &got);
        if (r < 0)
            return send_failed(rq, r);
        off += (off_t)got;
        n -= got;
        iov[k++] = (struct iovec){rq->w->piece, got};
        TRY(http_raw_send(rq, iov, k, n || rq->chunked_out));
        k = 0;
    }
    return rq->chunked_out ? send_rest(rq, "\r\n") : 0;
}

int http_flush(struct http_req *rq)
{
    TRY(may_send(rq, 0));
    return send_rest(rq, "");
}

int http_reply_end(struct http_req *rq)
{
    TRY(may_send(rq, 0));
    if (!rq->bodiless && rq->length >= 0 && rq->sent < (uint64_t)rq->length) {
        http_reply_abort(rq);
        return err_set(ERR_INCOMPLETE_BODY, "the answer ended after %llu of %lld bytes", (unsigned long long)rq->sent,
                       (long long)rq->length);
    }
    return reply_done(rq, send_rest(rq, rq->chunked_out && !rq->bodiless ? "0\r\n\r\n" : ""));
}

void http_reply_abort(struct http_req *rq)
{
    rq->keep = false;
    rq->reply = REPLY_BROKEN;
    /* A body that ends with the connection looks whole after FIN; only a reset tells. */
    struct linger reset = {.l_onoff = 1};
    if (rq->length < 0 && !rq->chunked_out)
        setsockopt(rq->c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

bool http_reply_started(const struct http_req *rq)
{
    return rq->reply != REPLY_NONE;
}

int http_reply_status(const struct http_req *rq)
{
    return rq->status;
}

uint64_t http_reply_bytes(const struct http_req *rq)
{
    return rq->bodiless ? 0 : rq->sent;
}

/* ---- answers of the server itself ---- */

void http_reject(struct http_req *rq, int status, const char *reason)
{
    struct buf b AUTO_BUF = {0};
    http_unset_all(rq);
    http_close_after(rq);
    count(&rq->s->rejected, 1);
    const char *type = rq->s->o.error_body(rq->s->o.arg, status, reason, rq->id, &b);
    http_set(rq, "Content-Type", str_of(type));
    if (status == 503)
        http_set(rq, "Retry-After", STR("1"));
    http_event(rq->s, rq->c, status, reason);
    http_reply(rq, status, b.p, b.n);
}

void http_reply_finish(struct http_req *rq)
{
    if (rq->reply == REPLY_NONE && !rq->send_error)
        http_reject(rq, 500, "the handler gave no answer");
    else if (rq->reply == REPLY_OPEN)
        http_reply_abort(rq);
}
